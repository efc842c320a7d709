import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { S3Lab, codeOf } from "#gateway/s3/s3-fixture.ts";

let lab: S3Lab;
beforeAll(async () => {
  lab = await S3Lab.open();
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

const textOf = async (target: string): Promise<string> => (await lab.ask(target)).text();
const all = (text: string, name: string): string[] => [...text.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, "g"))].map(([, inner]) => inner!);
const tagging = (name: string): string => `<Tagging><TagSet><Tag><Key>${name}</Key><Value>v</Value></Tag></TagSet></Tagging>`;

async function bucketOf(name: string): Promise<string> {
  expect((await lab.ask(`/${name}`, { method: "PUT" })).status).toBe(200);
  return name;
}

async function setVersioning(bucket: string, status: "Enabled" | "Suspended"): Promise<void> {
  const body = `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`;
  expect((await lab.ask(`/${bucket}?versioning`, { method: "PUT", body })).status).toBe(200);
}

const put = async (target: string, body: string): Promise<string | null> =>
  (await lab.ask(target, { method: "PUT", body })).headers.get("x-amz-version-id");

/** A version as S3 would tell it, the newest first. */
type Told = { readonly id: string; readonly text: string | undefined; tag: string | undefined };

type Step =
  | { readonly do: "put"; readonly text: string }
  | { readonly do: "delete" | "Enabled" | "Suspended" | "other door" }
  | { readonly do: "delete version" | "tag"; readonly at: number };

const stepArb: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("put" as const), text: fc.constantFrom("one", "two", "three") }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom("delete" as const, "Enabled" as const, "Suspended" as const, "other door" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("delete version" as const), at: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("tag" as const), at: fc.nat(6) }) },
);

/** One key of a bucket of its own, beside what S3 says it should be. */
class Life {
  readonly bucket: string;
  status: "Enabled" | "Suspended" | undefined;
  told: Told[] = [];
  #count = 0;

  constructor(bucket: string) {
    this.bucket = bucket;
  }

  get #key(): string {
    return `/${this.bucket}/d/a`;
  }

  #make(id: string | null, text: string | undefined): void {
    const name = this.status === undefined ? "null" : id!;
    expect([name === "null", id]).toEqual([this.status !== "Enabled", this.status === undefined ? null : name]);
    if (name === "null") this.told = this.told.filter((one) => one.id !== "null");
    this.told.unshift({ id: name, text, tag: undefined });
  }

  async step(step: Step): Promise<void> {
    if (step.do === "put") this.#make(await put(this.#key, step.text), step.text);
    else if (step.do === "Enabled" || step.do === "Suspended") await setVersioning(this.bucket, (this.status = step.do));
    else if (step.do === "delete") await this.#delete();
    else if (step.do === "other door") await this.#otherDoor();
    else if ("at" in step) {
      const one = this.told[step.at];
      if (one !== undefined) await (step.do === "tag" ? this.#tag(one) : this.#deleteVersion(one));
    }
  }

  async #delete(): Promise<void> {
    const gone = await lab.ask(this.#key, { method: "DELETE" });
    expect(gone.status).toBe(204);
    const [first] = this.told;
    // Below a delete marker with a number of its own the null version goes, and a null marker comes.
    const isMarked = this.status === "Suspended" && first !== undefined && first.id !== "null" && this.told.some(({ id }) => id === "null");
    if (first?.text === undefined && !isMarked) return;
    if (this.status === undefined) this.told = [];
    else this.#make(gone.headers.get("x-amz-version-id"), undefined);
  }

  /** What does not know of versions makes them all the same; it leaves the tags of the path. */
  async #otherDoor(): Promise<void> {
    const text = `door ${++this.#count}`;
    await lab.api.put("d/a", text, this.bucket);
    const id = all(await textOf(`/${this.bucket}?versions&max-keys=1`), "VersionId")[0]!;
    const tag = this.told[0]?.tag;
    this.#make(this.status === undefined ? null : id, text);
    this.told[0]!.tag = tag;
  }

  async #deleteVersion(one: Told): Promise<void> {
    const gone = await lab.ask(`${this.#key}?versionId=${one.id}`, { method: "DELETE" });
    const marker = one.text === undefined ? "true" : null;
    expect([gone.status, gone.headers.get("x-amz-delete-marker")]).toEqual([204, marker]);
    this.told = this.told.filter((other) => other !== one);
  }

  async #tag(one: Told): Promise<void> {
    const tag = `t${++this.#count}`;
    const target = `${this.#key}?tagging&versionId=${one.id}`;
    const done = await lab.ask(target, { method: "PUT", body: tagging(tag) });
    expect(done.status).toBe(one.text === undefined ? 405 : 200);
    if (one.text !== undefined) one.tag = tag;
  }

  async check(): Promise<void> {
    const pages: string[] = [];
    for (let marker = ""; ; ) {
      const page = await textOf(`/${this.bucket}?versions&max-keys=2${marker}`);
      pages.push(page);
      if (all(page, "IsTruncated")[0] === "false") break;
      marker = `&key-marker=${all(page, "NextKeyMarker")[0]}&version-id-marker=${all(page, "NextVersionIdMarker")[0]}`;
    }
    const listed = pages.join("");
    expect(all(listed, "VersionId")).toEqual(this.told.map(({ id }) => id));
    expect(all(listed, "IsLatest")).toEqual(this.told.map((_, at) => String(at === 0)));
    for (const { id, text, tag } of this.told) {
      const got = await lab.ask(`${this.#key}?versionId=${id}`);
      expect([got.status, got.headers.get("x-amz-version-id")]).toEqual([text === undefined ? 405 : 200, id]);
      if (text === undefined) continue;
      expect(await got.text()).toBe(text);
      expect(all(await textOf(`${this.#key}?tagging&versionId=${id}`), "Key")).toEqual(tag === undefined ? [] : [tag]);
    }
    const now = await lab.ask(this.#key);
    const [first] = this.told;
    const id = this.status === undefined ? null : (first?.id ?? null);
    expect([now.status, now.headers.get("x-amz-version-id")]).toEqual([first?.text === undefined ? 404 : 200, id]);
    if (!this.told.some((one) => one.id === "null") && this.status !== undefined) {
      expect(await codeOf(await lab.ask(`${this.#key}?versionId=null`))).toBe("404 NoSuchVersion");
    }
  }
}

describe("null versions", () => {
  test("[VERSIONS-5] in any order of puts, deletes and switches the versions of a key are those of S3", async () => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(stepArb, { minLength: 3, maxLength: 16 }), async (steps) => {
        const life = new Life(await bucketOf(`life-${++count}`));
        for (const step of steps) await life.step(step);
        await life.check();
      }),
      { numRuns: 60 },
    );
  }, 120_000);

  test("[VERSIONS-6] what was there before versioning is the null version, until what is put while it is suspended takes its place", async () => {
    const bucket = await bucketOf("early");
    await put(`/${bucket}/a`, "zero");
    await put(`/${bucket}/a`, "one");
    await put(`/${bucket}/gone`, "x");
    await lab.ask(`/${bucket}/gone`, { method: "DELETE" });
    await setVersioning(bucket, "Enabled");
    const two = await put(`/${bucket}/a`, "two");
    const listed = await textOf(`/${bucket}?versions`);
    expect([all(listed, "Key"), all(listed, "VersionId")]).toEqual([["a", "a"], [two!, "null"]]);
    expect(await textOf(`/${bucket}/a?versionId=null`)).toBe("one");
    // What stands behind the null version has no name of its own, and its number is none.
    for (const id of [1, 2]) expect(await codeOf(await lab.ask(`/${bucket}/a?versionId=${id}`))).toBe("404 NoSuchVersion");
    const source = `${bucket}/a?versionId=null`;
    const copy = await lab.ask(`/${bucket}/b`, { method: "PUT", headers: { "x-amz-copy-source": source } });
    expect([copy.headers.get("x-amz-copy-source-version-id"), await textOf(`/${bucket}/b`)]).toEqual(["null", "one"]);
    await setVersioning(bucket, "Suspended");
    expect(await put(`/${bucket}/a`, "three")).toBe("null");
    expect(all(await textOf(`/${bucket}?versions&prefix=a`), "VersionId")).toEqual(["null", two!]);
    // The space keeps what S3 has no name for any more.
    const history = (await (await lab.api.ask(`/v1/spaces/${bucket}/versions/a`)).json()) as { versions: unknown[] };
    expect(history.versions.length).toBe(4);
    const many = `<Delete><Object><Key>a</Key><VersionId>null</VersionId></Object><Object><Key>b</Key></Object></Delete>`;
    const deleted = await (await lab.ask(`/${bucket}?delete`, { method: "POST", body: many })).text();
    expect([all(deleted, "VersionId"), all(deleted, "DeleteMarkerVersionId")]).toEqual([["null"], ["null"]]);
    expect([await textOf(`/${bucket}/a`), (await lab.ask(`/${bucket}/b`)).headers.get("x-amz-version-id")]).toEqual(["two", "null"]);
  });

  test("[VERSIONS-8] a removal while versioning is suspended leaves no null version, also where a delete marker stands already", async () => {
    const bucket = await bucketOf("twice");
    for (const key of ["a", "b"]) await put(`/${bucket}/d/${key}`, "early");
    await setVersioning(bucket, "Enabled");
    const remove = (key: string): Promise<Response> => lab.ask(`/${bucket}/d/${key}`, { method: "DELETE" });
    const own = (await remove("a")).headers.get("x-amz-version-id")!;
    await remove("b");
    await setVersioning(bucket, "Suspended");
    const again = await remove("a");
    expect([again.status, again.headers.get("x-amz-version-id"), again.headers.get("x-amz-delete-marker")]).toEqual([204, "null", "true"]);
    const many = await lab.ask(`/${bucket}?delete`, { method: "POST", body: "<Delete><Object><Key>d/b</Key></Object></Delete>" });
    expect(all(await many.text(), "DeleteMarkerVersionId")).toEqual(["null"]);
    const listed = await textOf(`/${bucket}?versions&prefix=d/a`);
    expect([all(listed, "VersionId"), all(listed, "IsLatest"), listed.includes("<Version>")]).toEqual([["null", own], ["true", "false"], false]);
    // Once is enough.
    expect((await remove("a")).headers.get("x-amz-version-id")).toBeNull();
    // Without the markers nothing comes back that was removed.
    for (const id of ["null", own]) await lab.ask(`/${bucket}/d/a?versionId=${id}`, { method: "DELETE" });
    expect(all(await textOf(`/${bucket}?versions&prefix=d/a`), "VersionId")).toEqual([]);
    expect((await lab.ask(`/${bucket}/d/a`)).status).toBe(404);
  });

  test("[VERSIONS-7] deleting the null version is deleting a version: it takes the right to purge where versions are shown", async () => {
    await put("/demo/in/null", "x");
    await setVersioning("demo", "Enabled");
    await put("/demo/in/null", "y");
    expect(await codeOf(await lab.ask("/demo/in/null?versionId=null", { method: "DELETE", as: "writer" }))).toBe("403 AccessDenied");
    expect(await codeOf(await lab.ask("/demo/in/null?versionId=null", { as: "stranger" }))).toBe("404 NoSuchBucket");
    expect(await codeOf(await lab.ask("/demo/in/null?tagging&versionId=null", { method: "PUT", body: tagging("t"), as: "reader" }))).toBe("403 AccessDenied");
    expect((await lab.ask("/demo/in/null?versionId=null", { method: "DELETE", as: "keeper" })).status).toBe(204);
    expect(await textOf("/demo/in/null")).toBe("y");
  });
});

test("[TAGS-3] tags of an old version are its own, come back with it, and are those that it was given last", async () => {
  const bucket = await bucketOf("tags");
  await setVersioning(bucket, "Enabled");
  const key = `/${bucket}/a`;
  const one = await put(key, "one");
  const two = await put(key, "two");
  const tagsOf = async (query: string): Promise<string[]> => all(await textOf(`${key}?tagging${query}`), "Key");
  const done = await lab.ask(`${key}?tagging&versionId=${one}`, { method: "PUT", body: tagging("old") });
  expect([done.status, done.headers.get("x-amz-version-id")]).toEqual([200, one]);
  expect([await tagsOf(`&versionId=${one}`), await tagsOf("")]).toEqual([["old"], []]);
  expect((await lab.ask(`${key}?versionId=${one}`)).headers.get("x-amz-tagging-count")).toBe("1");
  await lab.ask(`/${bucket}/b`, { method: "PUT", headers: { "x-amz-copy-source": `${bucket}/a?versionId=${one}` } });
  expect(all(await textOf(`/${bucket}/b?tagging`), "Key")).toEqual(["old"]);
  // It is current again, and is given others; then it is old once more.
  await lab.ask(`${key}?versionId=${two}`, { method: "DELETE" });
  expect(await tagsOf("")).toEqual(["old"]);
  await lab.ask(`${key}?tagging`, { method: "PUT", body: tagging("new") });
  await put(key, "three");
  expect(await tagsOf(`&versionId=${one}`)).toEqual(["new"]);
  expect((await lab.ask(`${key}?tagging&versionId=${one}`, { method: "DELETE" })).status).toBe(204);
  expect(await tagsOf(`&versionId=${one}`)).toEqual([]);
  expect(await codeOf(await lab.ask(`${key}?tagging&versionId=${two}`, { method: "PUT", body: tagging("x") }))).toBe("404 NoSuchVersion");
});
