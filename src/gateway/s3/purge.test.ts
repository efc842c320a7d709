import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { S3Lab, type S3Asked, codeOf } from "#gateway/s3/s3-fixture.ts";

let lab: S3Lab;
beforeAll(async () => {
  lab = await S3Lab.open();
  await versioned("demo");
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

const textOf = async (target: string): Promise<string> => (await lab.ask(target)).text();
const all = (text: string, name: string): string[] => [...text.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, "gs"))].map(([, inner]) => inner!);

async function versioned(bucket: string): Promise<void> {
  await lab.ask(`/${bucket}`, { method: "PUT" });
  const body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
  expect((await lab.ask(`/${bucket}?versioning`, { method: "PUT", body })).status).toBe(200);
}

const put = async (target: string, body: string, headers: Record<string, string> = {}): Promise<string> => {
  const done = await lab.ask(target, { method: "PUT", body, headers });
  expect([target, done.status]).toEqual([target, 200]);
  return done.headers.get("x-amz-version-id")!;
};
const remove = async (target: string, asked: S3Asked = {}): Promise<string> => {
  const done = await lab.ask(target, { method: "DELETE", ...asked });
  const { headers } = done;
  return `${await codeOf(done)} ${headers.get("x-amz-version-id") ?? ""} ${headers.get("x-amz-delete-marker") ?? ""}`.trim();
};
/** "id*" for the latest, "-id" for a delete marker. */
const listed = async (target: string): Promise<string[]> => {
  const text = await textOf(target);
  return [...text.matchAll(/<(Version|DeleteMarker)>.*?<VersionId>(.*?)<\/VersionId><IsLatest>(.*?)<\/IsLatest>/gs)].map(
    ([, kind, id, latest]) => `${kind === "DeleteMarker" ? "-" : ""}${id}${latest === "true" ? "*" : ""}`,
  );
};

describe("deleting single versions", () => {
  test("[S3-PURGE-1] a version is deleted for good, the one before it is current again under its own id, a marker brings the key back", async () => {
    const one = await put("/demo/k/a", "one", { "x-amz-meta-n": "1" });
    const two = await put("/demo/k/a", "two");
    const three = await put("/demo/k/a", "three");
    expect(await remove(`/demo/k/a?versionId=${two}`)).toBe(`204 ${two}`);
    expect(await codeOf(await lab.ask(`/demo/k/a?versionId=${two}`))).toBe("404 NoSuchVersion");
    expect(await listed("/demo?versions&prefix=k/")).toEqual([`${three}*`, one]);
    expect(await remove(`/demo/k/a?versionId=${three}`)).toBe(`204 ${three}`);
    const back = await lab.ask("/demo/k/a");
    expect([await back.text(), back.headers.get("x-amz-version-id"), back.headers.get("x-amz-meta-n")]).toEqual(["one", one, "1"]);
    expect([await listed("/demo?versions&prefix=k/"), await textOf(`/demo/k/a?versionId=${one}`)]).toEqual([[`${one}*`], "one"]);
    const [, marker] = (await remove("/demo/k/a")).split(" ");
    expect(await listed("/demo?versions&prefix=k/")).toEqual([`-${marker}*`, one]);
    expect(await remove(`/demo/k/a?versionId=${marker}`)).toBe(`204 ${marker} true`);
    expect([await textOf("/demo/k/a"), await listed("/demo?versions&prefix=k/")]).toEqual(["one", [`${one}*`]]);
    expect(await remove(`/demo/k/a?versionId=${one}`)).toBe(`204 ${one}`);
    const gone = await lab.ask("/demo/k/a");
    expect([gone.status, gone.headers.get("x-amz-delete-marker")]).toEqual([404, null]);
    expect([await listed("/demo?versions&prefix=k/"), all(await textOf("/demo?list-type=2&prefix=k"), "Key")]).toEqual([[], []]);
    // The record of each stays.
    const told = (await (await lab.api.ask("/v1/spaces/demo/versions/k/a")).json()) as { versions: { sequence: number; purged?: boolean }[] };
    const purged = told.versions.filter((version) => version.purged === true).map(({ sequence }) => String(sequence));
    expect([one, two, three, marker!].every((id) => purged.includes(id))).toBe(true);
    // What is not there, or not any more, is no trouble.
    for (const id of [one, two, "999999"]) expect(await remove(`/demo/k/a?versionId=${id}`)).toBe(`204 ${id}`);
    expect(await remove("/demo/k/a?versionId=abc")).toBe("400 InvalidArgument");
    expect(await remove(`/demo/k//b?versionId=${one}`)).toBe(`204 ${one}`);
  });

  test("[S3-PURGE-2] many are deleted at once, and versions are listed in pages whatever shows them", async () => {
    const ids: string[] = [];
    for (const text of ["1", "2", "3", "4"]) ids.push(await put("/demo/m/a", text));
    const other = await put("/demo/m/b", "other");
    const [, marker] = (await remove("/demo/m/b")).split(" ");
    const object = (key: string, id: string): string => `<Object><Key>${key}</Key><VersionId>${id}</VersionId></Object>`;
    const body = `<Delete>${object("m/a", ids[3]!)}${object("m/b", marker!)}${object("m/a", "77777777")}${object("m/a", "x")}<Object><Key>m/b</Key></Object></Delete>`;
    const answer = await (await lab.ask("/demo?delete", { method: "POST", body })).text();
    expect(all(answer, "Deleted").map((line) => line.replaceAll(/<\/?\w+>/g, " ").trim().replaceAll(/\s+/g, " "))).toEqual([
      `m/a ${ids[3]}`, `m/b ${marker} true ${marker}`, "m/a 77777777", expect.stringMatching(/^m\/b true \d+$/),
    ]);
    expect(all(answer, "Code")).toEqual(["InvalidArgument"]);
    const latest = (await listed("/demo?versions&prefix=m/b"))[0]!;
    expect(await listed("/demo?versions&prefix=m/")).toEqual([`${ids[2]}*`, ids[1]!, ids[0]!, latest, other]);
    for (const max of [1, 2]) {
      const told: string[] = [];
      for (let from = ""; ; ) {
        const page = await textOf(`/demo?versions&prefix=m/a&max-keys=${max}${from}`);
        told.push(...all(page, "VersionId"));
        if (all(page, "IsTruncated")[0] === "false") break;
        from = `&key-marker=${all(page, "NextKeyMarker")[0]}&version-id-marker=${all(page, "NextVersionIdMarker")[0]}`;
      }
      expect(told).toEqual([ids[2]!, ids[1]!, ids[0]!]);
    }
  });

  test("[S3-PURGE-3] only who has the right to purge deletes a version", async () => {
    const id = await put("/demo/in/a", "one");
    for (const as of ["reader", "writer"]) {
      expect(await remove(`/demo/in/a?versionId=${id}`, { as })).toBe("403 AccessDenied");
      const body = `<Delete><Object><Key>in/a</Key><VersionId>${id}</VersionId></Object></Delete>`;
      expect(all(await (await lab.ask("/demo?delete", { method: "POST", body, as })).text(), "Code")).toEqual(["AccessDenied"]);
    }
    expect(await remove(`/demo/in/a?versionId=${id}`, { as: "stranger" })).toBe("404 NoSuchBucket");
    expect(await remove(`/other/in/a?versionId=${id}`, { as: "writer" })).toBe("404 NoSuchBucket");
    expect(await textOf("/demo/in/a")).toBe("one");
    expect(await remove(`/demo/in/a?versionId=${id}`, { as: "keeper" })).toBe(`204 ${id}`);
    expect(await remove(`/demo/k/a?versionId=${id}`, { as: "keeper" })).toBe("403 AccessDenied");
  });

  test("[S3-PURGE-4] a bucket's policy gives and denies deleting versions and locking them, and never bypassing", async () => {
    const ids = [await put("/demo/in/p", "one"), await put("/demo/in/p", "two"), await put("/demo/in/p", "three")];
    const policy = (effect: string, user: string, action: string): string =>
      JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: effect, Principal: { AWS: `arn:aws:iam:::user/${user}` }, Action: `s3:${action}`, Resource: "arn:aws:s3:::demo/in/*" }] });
    const set = async (body: string): Promise<string> => codeOf(await lab.ask("/demo?policy", { method: "PUT", body }));
    expect(await set(policy("Deny", "keeper", "DeleteObjectVersion"))).toBe("204");
    expect(await remove(`/demo/in/p?versionId=${ids[0]}`, { as: "keeper" })).toBe("403 AccessDenied");
    expect(await set(policy("Allow", "writer", "DeleteObjectVersion"))).toBe("204");
    expect(await remove(`/demo/in/p?versionId=${ids[0]}`, { as: "writer" })).toBe(`204 ${ids[0]}`);
    expect(await set(policy("Allow", "writer", "DeleteObject"))).toBe("204");
    expect(await remove(`/demo/in/p?versionId=${ids[1]}`, { as: "writer" })).toBe("403 AccessDenied");
    expect(await set(policy("Allow", "writer", "BypassGovernanceRetention"))).toBe("400 MalformedPolicy");
    expect((await lab.ask("/demo?policy", { method: "DELETE" })).status).toBe(204);
  });
});
