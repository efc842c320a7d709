import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { lifecycleOf, lifecycleXml } from "#gateway/s3/lifecycle-xml.ts";
import { S3Lab, type S3Asked, codeOf } from "#gateway/s3/s3-fixture.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { parseXml } from "#gateway/s3/xml.ts";
import type { LifecycleRule } from "#hub/lifecycle/rules.ts";

let lab: S3Lab;
beforeAll(async () => {
  lab = await S3Lab.open();
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

const configuration = (...rules: string[]): string => `<LifecycleConfiguration>${rules.map((rule) => `<Rule>${rule}</Rule>`).join("")}</LifecycleConfiguration>`;
const put = async (body: string, more: S3Asked = {}): Promise<string> => codeOf(await lab.ask("/demo?lifecycle", { method: "PUT", body, ...more }));
const BASE = "<ID>one</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter>";
const DAYS = "<Expiration><Days>3</Days></Expiration>";
const read = (xml: string): LifecycleRule[] => lifecycleOf(parseXml(xml), () => "made");

describe("lifecycle of a bucket", () => {
  test("[S3-LIFECYCLE-1] rules are kept as they were given, and told with the objects that they are about", async () => {
    expect(await codeOf(await lab.ask("/demo?lifecycle"))).toBe("404 NoSuchLifecycleConfiguration");
    const rules = [
      `${BASE}${DAYS}`,
      "<ID>b &amp; c</ID><Prefix>plain/</Prefix><Status>Disabled</Status><Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>",
      "<ID>c</ID><Filter><And><Prefix>x/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>10</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status>" +
        "<NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
      "<ID>d</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>" +
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
    ];
    expect(await put(configuration(...rules))).toBe("200");
    const told = await (await lab.ask("/demo?lifecycle")).text();
    expect(told.replace(/^.*?<LifecycleConfiguration.*?>/s, "<LifecycleConfiguration>")).toBe(configuration(...rules.map((rule) => rule.replace("<ID>one</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter>", "<ID>one</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>"))));
    const made = await lab.put("logs/a", "x");
    const due = new Date(Math.ceil((Date.now() + 3 * 86_400_000) / 86_400_000) * 86_400_000).toUTCString();
    const expected = `expiry-date="${due}", rule-id="one"`;
    expect(made.headers.get("x-amz-expiration")).toBe(expected);
    for (const method of ["GET", "HEAD"]) expect((await lab.ask("/demo/logs/a", { method })).headers.get("x-amz-expiration")).toBe(expected);
    expect((await lab.put("other", "x")).headers.get("x-amz-expiration")).toBeNull();
    expect((await lab.put("plain/x", "x")).headers.get("x-amz-expiration")).toBeNull();
    expect((await lab.ask("/demo?lifecycle", { method: "DELETE" })).status).toBe(204);
    expect(await codeOf(await lab.ask("/demo?lifecycle"))).toBe("404 NoSuchLifecycleConfiguration");
    expect((await lab.ask("/demo/logs/a")).headers.get("x-amz-expiration")).toBeNull();
  });

  test("[S3-LIFECYCLE-2] what is no rule, or asks for what is not done, is refused as a whole; who may not manage changes nothing", async () => {
    const wrong: [string, string][] = [
      ["<LifecycleConfiguration/>", "400 MalformedXML"],
      [configuration(BASE), "400 MalformedXML"],
      [configuration(`${BASE}<Expiration><Days>0</Days></Expiration>`), "400 InvalidArgument"],
      [configuration(`${BASE}<Expiration><Days>1</Days><Date>2030-01-01</Date></Expiration>`), "400 MalformedXML"],
      [configuration(`${BASE}<Expiration><Date>20200101</Date></Expiration>`), "400 MalformedXML"],
      [configuration(`${BASE}<Expiration><Date>2030-02-30</Date></Expiration>`), "400 MalformedXML"],
      [configuration(`${BASE}<Expiration><Date>2030-01-01T01:00:00Z</Date></Expiration>`), "400 InvalidArgument"],
      [configuration(`${BASE.replace("Enabled", "enabled")}${DAYS}`), "400 MalformedXML"],
      [configuration(`${BASE.replace("one", "i".repeat(256))}${DAYS}`), "400 InvalidArgument"],
      [configuration(`${BASE.replace("one", "&#xd800;")}${DAYS}`), "400 MalformedXML"],
      [configuration(`${BASE}${DAYS}`, `${BASE}${DAYS}`), "400 InvalidArgument"],
      [configuration(`${BASE}${DAYS}<Nonsense/>`), "400 MalformedXML"],
      [configuration(`${BASE}${DAYS}<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>`), "501 NotImplemented"],
      [configuration(`${BASE}<NoncurrentVersionExpiration><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>`), "400 MalformedXML"],
      [configuration("<Status>Enabled</Status><Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "400 InvalidRequest"],
    ];
    for (const [body, code] of wrong) expect([body, await put(body)]).toEqual([body, code]);
    for (const as of ["reader", "writer", "keeper"]) {
      expect(await put(configuration(`${BASE}${DAYS}`), { as })).toBe("403 AccessDenied");
      expect(await codeOf(await lab.ask("/demo?lifecycle", { method: "DELETE", as }))).toBe("403 AccessDenied");
    }
    expect(await put(configuration(`${BASE}${DAYS}`), { as: "stranger" })).toBe("403 AccessDenied");
    expect(await codeOf(await lab.ask("/demo?lifecycle"))).toBe("404 NoSuchLifecycleConfiguration");
  });

  test("[S3-LIFECYCLE-3] whatever is sent is refused with a code, or is the same rules when it is told and sent again", () => {
    const number = fc.oneof(fc.integer({ min: -2, max: 40 }).map(String), fc.constantFrom("", "x", "1e3", "99999999999999999", " 3 "));
    const named = (name: string, inner: fc.Arbitrary<string>): fc.Arbitrary<string> => inner.map((one) => `<${name}>${one}</${name}>`);
    const text = fc.string({ maxLength: 12 }).map((one) => one.replaceAll(/[<&>]/g, "&amp;"));
    const some = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
      fc.tuple(...parts.map((part) => fc.option(part, { nil: "", freq: 2 }))).map((all) => all.join(""));
    const tag = named("Tag", some(named("Key", text), named("Value", text)));
    const conditions = some(named("Prefix", text), tag, tag, named("ObjectSizeGreaterThan", number), named("ObjectSizeLessThan", number));
    const date = named("Date", fc.constantFrom("2030-01-01", "2030-01-01T00:00:00Z", "2030-13-01", "x", "2030-01-01T00:00:01Z"));
    const expiration = named("Expiration", fc.oneof(named("Days", number), date, named("ExpiredObjectDeleteMarker", fc.constantFrom("true", "false", "1"))));
    const old = named("NoncurrentVersionExpiration", some(named("NoncurrentDays", number), named("NewerNoncurrentVersions", number)));
    const abort = named("AbortIncompleteMultipartUpload", named("DaysAfterInitiation", number));
    const status = named("Status", fc.constantFrom("Enabled", "Enabled", "Disabled", "on"));
    const filter = fc.oneof(named("Prefix", text), named("Filter", fc.oneof(conditions, named("And", conditions))));
    const rule = named("Rule", fc.tuple(some(named("ID", text)), filter, status, some(expiration, old, abort)).map((all) => all.join("")));
    let taken = 0;
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 3 }), fc.nat(), fc.boolean(), (rules, cut, isCut) => {
        const whole = `<LifecycleConfiguration>${rules.join("")}</LifecycleConfiguration>`;
        try {
          const found = read(isCut ? whole.slice(0, cut % whole.length) : whole);
          expect(read(`<LifecycleConfiguration>${lifecycleXml(found)}</LifecycleConfiguration>`)).toEqual(found);
          taken++;
        } catch (error) {
          expect(error).toBeInstanceOf(S3Error);
          expect((error as S3Error).status).toBeLessThan(500);
        }
      }),
      { numRuns: 3000 },
    );
    expect(taken).toBeGreaterThan(20);
  });
});
