import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { holdOf, periodOf, retentionOf } from "#gateway/s3/lock-text.ts";
import { S3Lab, type S3Asked, codeOf } from "#gateway/s3/s3-fixture.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { parseXml } from "#gateway/s3/xml.ts";

let lab: S3Lab;
beforeAll(async () => {
  lab = await S3Lab.open();
  await lab.ask("/locked", { method: "PUT", headers: { "x-amz-bucket-object-lock-enabled": "true" } });
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

const LATER = "2999-01-01T00:00:00.000Z";
const SOONER = "2998-01-01T00:00:00Z";
const BYPASS = { "x-amz-bypass-governance-retention": "true" };
const textOf = async (target: string): Promise<string> => (await lab.ask(target)).text();
const ask = async (method: string, target: string, body = "", more: S3Asked = {}): Promise<string> => codeOf(await lab.ask(target, { method, body, ...more }));
const retention = (mode: string, until: string): string => `<Retention><Mode>${mode}</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`;
const configuration = (rule: string): string => `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>${rule}</ObjectLockConfiguration>`;
const rule = (inner: string): string => `<Rule><DefaultRetention>${inner}</DefaultRetention></Rule>`;
const locking = (mode: string, until = LATER): Record<string, string> => ({ "x-amz-object-lock-mode": mode, "x-amz-object-lock-retain-until-date": until });

async function put(key: string, text: string, headers: Record<string, string> = {}): Promise<string> {
  const done = await lab.ask(`/locked/${key}`, { method: "PUT", body: text, headers });
  expect([key, done.status]).toEqual([key, 200]);
  return done.headers.get("x-amz-version-id")!;
}

describe("object lock", () => {
  test("[S3-LOCK-1] a bucket keeps locks where it has versions, and from then on", async () => {
    expect(await textOf("/locked?object-lock")).toContain("<ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>");
    expect(await textOf("/locked?versioning")).toContain("<Status>Enabled</Status>");
    const suspend = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    expect(await ask("PUT", "/locked?versioning", suspend)).toBe("409 InvalidBucketState");
    expect(await ask("GET", "/demo?object-lock")).toBe("404 ObjectLockConfigurationNotFoundError");
    expect(await ask("PUT", "/demo?object-lock", configuration(""))).toBe("409 InvalidBucketState");
    await lab.put("a", "x");
    expect(await ask("PUT", "/demo/a?retention", retention("GOVERNANCE", LATER))).toBe("400 InvalidRequest");
    expect(await ask("GET", "/demo/a?legal-hold")).toBe("400 InvalidRequest");
    expect(await ask("PUT", "/demo/b", "x", { headers: locking("GOVERNANCE") })).toBe("400 InvalidRequest");
    const wrong: [string, string][] = [
      ["<ObjectLockConfiguration/>", "400 MalformedXML"],
      [configuration(rule("<Mode>GOVERNANCE</Mode>")), "400 MalformedXML"],
      [configuration(rule("<Mode>governance</Mode><Days>1</Days>")), "400 MalformedXML"],
      [configuration(rule("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>")), "400 MalformedXML"],
      [configuration(rule("<Mode>GOVERNANCE</Mode><Days>0</Days>")), "400 InvalidRetentionPeriod"],
      [configuration(rule("<Mode>GOVERNANCE</Mode><Years>101</Years>")), "400 InvalidRetentionPeriod"],
    ];
    for (const [body, code] of wrong) expect(await ask("PUT", "/locked?object-lock", body)).toBe(code);
  });

  test("[S3-LOCK-2] what is locked for governance goes only to who may bypass it, for compliance to nobody; other versions come and go", async () => {
    const one = await put("g", "one", locking("GOVERNANCE"));
    const got = await lab.ask("/locked/g");
    expect(["mode", "retain-until-date", "legal-hold"].map((name) => got.headers.get(`x-amz-object-lock-${name}`))).toEqual(["GOVERNANCE", LATER, null]);
    const two = await put("g", "two");
    expect((await lab.ask("/locked/g", { method: "DELETE" })).status).toBe(204);
    expect(await ask("DELETE", `/locked/g?versionId=${two}`)).toBe("204");
    expect(await ask("DELETE", `/locked/g?versionId=${one}`)).toBe("403 AccessDenied");
    expect(await textOf(`/locked/g?versionId=${one}`)).toBe("one");
    expect(await ask("PUT", `/locked/g?retention&versionId=${one}`, retention("GOVERNANCE", SOONER))).toBe("403 AccessDenied");
    expect(await ask("PUT", `/locked/g?retention&versionId=${one}`, retention("GOVERNANCE", SOONER), { headers: BYPASS })).toBe("200");
    expect(await textOf(`/locked/g?retention&versionId=${one}`)).toContain("<Mode>GOVERNANCE</Mode><RetainUntilDate>2998-01-01T00:00:00.000Z</RetainUntilDate>");
    expect(await ask("DELETE", `/locked/g?versionId=${one}`, "", { headers: BYPASS })).toBe("204");
    const three = await put("c", "three", locking("COMPLIANCE"));
    for (const body of [retention("COMPLIANCE", SOONER), retention("GOVERNANCE", LATER), "<Retention/>"]) {
      expect(await ask("PUT", `/locked/c?retention`, body, { headers: BYPASS })).toBe("403 AccessDenied");
    }
    expect(await ask("DELETE", `/locked/c?versionId=${three}`, "", { headers: BYPASS })).toBe("403 AccessDenied");
    const many = `<Delete><Object><Key>c</Key><VersionId>${three}</VersionId></Object></Delete>`;
    expect(await (await lab.ask("/locked?delete", { method: "POST", body: many, headers: BYPASS })).text()).toContain("<Code>AccessDenied</Code>");
    expect(await ask("DELETE", "/locked")).toBe("409 BucketNotEmpty");
    expect((await lab.ask("/locked/c", { method: "DELETE" })).status).toBe(204);
    // Not even with all current keys gone; and the bucket has its name still.
    for (const key of ["c", "g"]) await lab.ask(`/locked/${key}`, { method: "DELETE" });
    expect(await ask("DELETE", "/locked")).toBe("409 BucketNotEmpty");
    expect(await textOf(`/locked/c?versionId=${three}`)).toBe("three");
  });

  test("[S3-LOCK-3] a legal hold is put on and taken off, with an object or later, also on parts and copies", async () => {
    const id = await put("h", "one", { "x-amz-object-lock-legal-hold": "ON" });
    expect((await lab.ask("/locked/h", { method: "HEAD" })).headers.get("x-amz-object-lock-legal-hold")).toBe("ON");
    expect(await ask("DELETE", `/locked/h?versionId=${id}`, "", { headers: BYPASS })).toBe("403 AccessDenied");
    expect(await ask("GET", "/locked/h?retention")).toBe("404 NoSuchObjectLockConfiguration");
    expect(await ask("PUT", "/locked/h?legal-hold", "<LegalHold><Status>on</Status></LegalHold>")).toBe("400 MalformedXML");
    expect(await ask("PUT", "/locked/h?legal-hold", "<LegalHold><Status>OFF</Status></LegalHold>")).toBe("200");
    expect(await textOf("/locked/h?legal-hold")).toContain("<Status>OFF</Status>");
    const copy = { "x-amz-copy-source": "locked/h", ...locking("GOVERNANCE") };
    expect(await ask("PUT", "/locked/copy", "", { headers: copy })).toBe("200");
    expect(await textOf("/locked/copy?retention")).toContain("GOVERNANCE");
    const begun = await (await lab.ask("/locked/parts?uploads", { method: "POST", headers: { ...locking("COMPLIANCE"), "x-amz-object-lock-legal-hold": "ON" } })).text();
    const uploadId = /<UploadId>(.*?)</.exec(begun)![1]!;
    const part = await lab.ask(`/locked/parts?partNumber=1&uploadId=${uploadId}`, { method: "PUT", body: "bytes" });
    const complete = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers.get("etag")}</ETag></Part></CompleteMultipartUpload>`;
    expect(await ask("POST", `/locked/parts?uploadId=${uploadId}`, complete)).toBe("200");
    expect(await textOf("/locked/parts?retention")).toContain("COMPLIANCE");
    expect(await textOf("/locked/parts?legal-hold")).toContain("ON");
    const wrong: Record<string, string>[] = [
      { "x-amz-object-lock-mode": "GOVERNANCE" }, { "x-amz-object-lock-retain-until-date": LATER }, locking("governance"), locking("GOVERNANCE", "2001-01-01T00:00:00Z"),
      locking("GOVERNANCE", "2099-02-30T00:00:00Z"),
      locking("GOVERNANCE", "soon"), locking("GOVERNANCE", "+275760-09-13T00:00:00Z"), { "x-amz-object-lock-legal-hold": "yes" },
    ];
    for (const headers of wrong) expect(await ask("PUT", "/locked/wrong", "x", { headers })).toBe("400 InvalidArgument");
    expect(await ask("GET", "/locked/wrong")).toBe("404 NoSuchKey");
  });

  test("[S3-LOCK-7] other tags are no other version: its id, hold and retention stay, and all of it goes at once", async () => {
    const tagging = (name: string): string => `<Tagging><TagSet><Tag><Key>${name}</Key><Value>v</Value></Tag></TagSet></Tagging>`;
    const id = await put("tagged", "one", { ...locking("GOVERNANCE"), "x-amz-object-lock-legal-hold": "ON" });
    for (const name of ["a", "b"]) expect(await ask("PUT", "/locked/tagged?tagging", tagging(name))).toBe("200");
    expect(await ask("PUT", `/locked/tagged?tagging&versionId=${id}`, tagging("c"))).toBe("200");
    expect(await textOf("/locked/tagged?legal-hold")).toContain("ON");
    expect(await textOf("/locked/tagged?retention")).toContain("GOVERNANCE");
    expect((await lab.ask("/locked/tagged", { method: "HEAD" })).headers.get("x-amz-version-id")).toBe(id);
    const listed = await textOf("/locked?versions&prefix=tagged");
    expect([...listed.matchAll(/<VersionId>(\d+)</g)].map(([, one]) => one)).toEqual([id]);
    for (const query of ["tagging", `tagging&versionId=${id}`]) expect(await textOf(`/locked/tagged?${query}`)).toContain("<Key>c</Key>");
    expect(await ask("DELETE", `/locked/tagged?versionId=${id}`, "", { headers: BYPASS })).toBe("403 AccessDenied");
    const two = await put("tagged", "two");
    expect(await ask("PUT", `/locked/tagged?tagging&versionId=${id}`, tagging("d"))).toBe("200");
    expect(await ask("DELETE", `/locked/tagged?versionId=${two}`)).toBe("204");
    expect([await textOf("/locked/tagged"), await textOf("/locked/tagged?tagging")]).toEqual(["one", expect.stringContaining("<Key>d</Key>")]);
    expect(await ask("PUT", "/locked/tagged?legal-hold", "<LegalHold><Status>OFF</Status></LegalHold>")).toBe("200");
    expect(await ask("DELETE", `/locked/tagged?versionId=${id}`, "", { headers: BYPASS })).toBe("204");
    expect(await ask("GET", "/locked/tagged")).toBe("404 NoSuchKey");
    expect(await ask("GET", `/locked/tagged?versionId=${id}`)).toBe("404 NoSuchVersion");
  });

  test("[S3-LOCK-4] what a bucket gives to new objects, every door gives", async () => {
    expect(await ask("PUT", "/locked?object-lock", configuration(rule("<Mode>COMPLIANCE</Mode><Years>1</Years>")))).toBe("200");
    expect(await textOf("/locked?object-lock")).toContain(rule("<Mode>COMPLIANCE</Mode><Years>1</Years>"));
    await put("s3", "x");
    await lab.api.put("api/file", "through the API", "locked");
    for (const key of ["s3", "api/file"]) expect(await textOf(`/locked/${key}?retention`)).toContain("<Mode>COMPLIANCE</Mode>");
    expect(await ask("PUT", "/locked?object-lock", configuration(""))).toBe("200");
    await put("free", "x");
    expect(await ask("GET", "/locked/free?retention")).toBe("404 NoSuchObjectLockConfiguration");
  });

  test("[S3-LOCK-5] locking and bypassing are rights of their own", async () => {
    const versioning = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    await lab.ask("/demo?versioning", { method: "PUT", body: versioning });
    expect(await ask("PUT", "/demo?object-lock", configuration(""), { as: "writer" })).toBe("403 AccessDenied");
    expect(await ask("PUT", "/demo?object-lock", configuration(""))).toBe("200");
    await lab.put("in/w", "x");
    for (const as of ["reader", "writer"]) {
      expect(await ask("PUT", "/demo/in/w?retention", retention("GOVERNANCE", LATER), { as })).toBe("403 AccessDenied");
      expect(await ask("PUT", "/demo/in/w?legal-hold", "<LegalHold><Status>ON</Status></LegalHold>", { as })).toBe("403 AccessDenied");
      expect(await ask("PUT", "/demo/in/x", "x", { as, headers: locking("GOVERNANCE") })).toBe("403 AccessDenied");
    }
    expect(await ask("PUT", "/demo/in/w?retention", retention("GOVERNANCE", LATER), { as: "keeper" })).toBe("200");
    expect(await ask("GET", "/demo/in/w?retention", "", { as: "reader" })).toBe("200");
    expect(await ask("GET", "/demo/in/w?retention", "", { as: "stranger" })).toBe("404 NoSuchBucket");
    const id = (await lab.ask("/demo/in/w")).headers.get("x-amz-version-id")!;
    // The keeper may purge and lock, and not bypass.
    expect(await ask("DELETE", `/demo/in/w?versionId=${id}`, "", { as: "keeper", headers: BYPASS })).toBe("403 AccessDenied");
    expect(await ask("PUT", "/demo/in/w?retention", "<Retention/>", { as: "keeper", headers: BYPASS })).toBe("403 AccessDenied");
    expect(await ask("PUT", "/demo/in/w?retention", "<Retention/>", { headers: BYPASS })).toBe("200");
    expect(await ask("DELETE", `/demo/in/w?versionId=${id}`, "", { as: "keeper" })).toBe("204");
  });

  test("[S3-LOCK-6] whatever is sent as a configuration is one, or is refused", () => {
    const tag = fc.constantFrom("Retention", "Mode", "RetainUntilDate", "Status", "Rule", "DefaultRetention", "Days", "Years", "ObjectLockEnabled", "x");
    const text = fc.oneof(fc.constantFrom("GOVERNANCE", "COMPLIANCE", "Enabled", "ON", "1", "-1", "1e9", LATER, "99999999999", "", "constructor", "__proto__"), fc.string());
    const { tree } = fc.letrec<{ tree: string }>((tie) => ({
      tree: fc.oneof(
        { depthSize: "small" },
        text.map((one) => one.replaceAll(/[<&]/g, "")),
        fc.tuple(tag, fc.array(tie("tree"), { maxLength: 4 })).map(([name, inner]) => `<${name}>${inner.join("")}</${name}>`),
      ),
    }));
    fc.assert(
      fc.property(fc.array(tree, { maxLength: 4 }), fc.nat(), (inner, cut) => {
        for (const document of [`<Retention>${inner.join("")}</Retention>`, `<Retention>${inner.join("")}`.slice(0, cut % 200)]) {
          for (const read of [(one: string) => periodOf(parseXml(one)), (one: string) => holdOf(parseXml(one)), (one: string) => retentionOf(parseXml(one), 0)]) {
            try {
              const found = read(document);
              if (typeof found === "object" && found !== null) expect(["governance", "compliance"]).toContain(found.mode);
            } catch (error) {
              expect(error).toBeInstanceOf(S3Error);
              expect((error as S3Error).status).toBe(400);
            }
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});
