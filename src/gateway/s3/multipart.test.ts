import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type S3Asked, S3Lab, codeOf } from "#gateway/s3/s3-fixture.ts";

const MIB = 1 << 20;
const PART = 5 * MIB;

let lab: S3Lab;
beforeAll(async () => {
  lab = await S3Lab.open();
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

const tag = (text: string, name: string): string => new RegExp(`<${name}>(.*?)</${name}>`).exec(text)?.[1]?.replaceAll("&quot;", '"') ?? "";

async function begin(key: string, headers: Record<string, string> = {}): Promise<string> {
  return tag(await (await lab.ask(`/demo/${key}?uploads`, { method: "POST", headers })).text(), "UploadId");
}

const letters = (letter: string): Uint8Array => Buffer.alloc(PART, letter);

async function part(key: string, id: string, number: number, body: Uint8Array | string, more: S3Asked = {}): Promise<string> {
  const answer = await lab.ask(`/demo/${key}?partNumber=${number}&uploadId=${id}`, { method: "PUT", body, payload: "UNSIGNED-PAYLOAD", ...more });
  return answer.headers.get("etag") ?? (await codeOf(answer));
}

type Named = readonly [number: number, etag: string];

function complete(key: string, id: string, parts: readonly Named[], headers: Record<string, string> = {}): Promise<Response> {
  const inner = parts.map(([number, etag]) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`).join("");
  const body = `<CompleteMultipartUpload>${inner}</CompleteMultipartUpload>`;
  return lab.ask(`/demo/${key}?uploadId=${id}`, { method: "POST", body, headers });
}

describe("uploads in parts", () => {
  test("[PARTS-1] come together as AWS puts them together: ETag, checksums, parts that can be asked for", async () => {
    const golden = {
      SHA1: "sizjvY4eud3MrcHdZM3cQ/ol39o=-3", SHA256: "uWBwpe1dxI4Vw8Gf0X9ynOdw/SS6VBzfWm9giiv1sf4=-3",
      CRC32: "WgDhBQ==", CRC32C: "xU+Krw==", CRC64NVME: "i+6LR0y3eFo=",
    };
    for (const [name, value] of Object.entries(golden)) {
      const type = value.endsWith("-3") ? "COMPOSITE" : "FULL_OBJECT";
      const headers = { "x-amz-checksum-algorithm": name, "x-amz-checksum-type": type, "x-amz-meta-a": "b", "content-type": "text/x-own" };
      const id = await begin("m/abc", headers);
      const parts: Named[] = [];
      // In any order, and the last word counts.
      await part("m/abc", id, 1, "thrown away");
      for (const [number, letter] of [[3, "C"], [1, "A"], [2, "B"]] as const) parts.push([number, await part("m/abc", id, number, letters(letter))]);
      parts.sort(([a], [b]) => a - b);
      const header = `x-amz-checksum-${name.toLowerCase()}`;
      expect(await codeOf(await complete("m/abc", id, parts, { [header]: value.replace(/^../, "AA") }))).toBe("400 BadDigest");
      const done = await (await complete("m/abc", id, parts, { [header]: value })).text();
      expect([tag(done, "ETag"), tag(done, `Checksum${name}`), tag(done, "ChecksumType")]).toEqual(['"b2add96cc9702bbf4efb0ccdfc6b7747-3"', value, type]);
      // A client that has not heard asks again.
      expect(tag(await (await complete("m/abc", id, parts)).text(), `Checksum${name}`)).toBe(value);
      expect(await codeOf(await complete("m/abc", id, parts.slice(0, 2)))).toBe("404 NoSuchUpload");
    }
    const head = await lab.ask("/demo/m/abc?partNumber=2", { method: "HEAD", headers: { "x-amz-checksum-mode": "ENABLED" } });
    expect([head.status, head.headers.get("content-range"), head.headers.get("x-amz-mp-parts-count")]).toEqual([
      206, `bytes ${PART}-${2 * PART - 1}/${3 * PART}`, "3",
    ]);
    const got = await lab.ask("/demo/m/abc");
    expect([got.headers.get("x-amz-meta-a"), got.headers.get("content-type"), got.headers.get("content-length")]).toEqual(["b", "text/x-own", String(3 * PART)]);
    expect(Buffer.from(await got.arrayBuffer()).equals(Buffer.concat(["A", "B", "C"].map(letters)))).toBe(true);
  }, 60_000);

  test("[PARTS-2] what does not fit is refused, and nothing of it is an object", async () => {
    const id = await begin("m/bad");
    const first = await part("m/bad", id, 1, "small");
    const second = await part("m/bad", id, 2, "last");
    const outcomes = [
      [[], "400 MalformedXML"], [[[2, second], [1, first]], "400 InvalidPartOrder"], [[[1, first], [1, first]], "400 InvalidPartOrder"],
      [[[1, second]], "400 InvalidPart"], [[[3, first]], "400 InvalidPart"], [[[1, first], [2, second]], "400 EntityTooSmall"],
    ] as const;
    for (const [parts, code] of outcomes) expect(await codeOf(await complete("m/bad", id, parts))).toBe(code);
    expect(await part("m/bad", id, 0, "x")).toBe("400 InvalidArgument");
    expect(await part("m/bad", id, 10_001, "x")).toBe("400 InvalidArgument");
    expect(await part("m/bad", "0".repeat(32), 1, "x")).toBe("404 NoSuchUpload");
    expect(await part("m/other", id, 1, "x")).toBe("404 NoSuchUpload");
    expect(await part("m/bad", id, 1, "x", { as: "writer" })).toBe("404 NoSuchUpload");
    expect(await part("m/bad", id, 1, "x", { headers: { "content-md5": "AAAAAAAAAAAAAAAAAAAAAA==" } })).toBe("400 BadDigest");
    const sum = { "x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "FULL_OBJECT" };
    expect(await codeOf(await complete("m/bad", id, [[1, first]], sum))).toBe("400 BadDigest");
    expect(await codeOf(await lab.ask("/demo/m/bad"))).toBe("404 NoSuchKey");
    expect((await complete("m/bad", id, [[1, first]])).status).toBe(200);
    expect(await (await lab.ask("/demo/m/bad")).text()).toBe("small");
  });

  test("[PARTS-3] conditions hold at the moment of completing", async () => {
    const ids = await Promise.all([begin("m/cond"), begin("m/cond")]);
    const etags = [await part("m/cond", ids[0]!, 1, "one"), await part("m/cond", ids[1]!, 1, "two")];
    const none = { "if-none-match": "*" };
    const both = await Promise.all(ids.map((id, at) => complete("m/cond", id, [[1, etags[at]!]], none)));
    expect(both.map(({ status }) => status).sort()).toEqual([200, 412]);
    const loser = both[0]!.status === 412 ? 0 : 1;
    // It stays open, and can replace the other.
    expect((await complete("m/cond", ids[loser]!, [[1, etags[loser]!]])).status).toBe(200);
  });

  test("[PARTS-4] are listed with their parts, in pages, until they are completed or aborted", async () => {
    const keys = ["l/a", "l/a", "l/b/c", "l/b/d", "l/e"];
    const ids = await Promise.all(keys.map((key) => begin(key)));
    const list = async (query: string): Promise<string> => (await lab.ask(`/demo?uploads&${query}`)).text();
    const all = await list("prefix=l/");
    expect([...all.matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key]) => key!)).toEqual(keys);
    const rolled = await list("prefix=l/&delimiter=/");
    expect([...rolled.matchAll(/<(?:Key|CommonPrefixes><Prefix)>(.*?)</g)].map(([, key]) => key!)).toEqual(["l/a", "l/a", "l/b/", "l/e"]);
    const told: string[] = [];
    for (let marker = ""; ; ) {
      const page = await list(`prefix=l/&max-uploads=2${marker}`);
      for (const [, id] of page.matchAll(/<UploadId>(.*?)<\/UploadId>/g)) told.push(id!);
      if (tag(page, "IsTruncated") === "false") break;
      marker = `&key-marker=${tag(page, "NextKeyMarker")}&upload-id-marker=${tag(page, "NextUploadIdMarker")}`;
    }
    expect(told.toSorted()).toEqual(ids.toSorted());
    for (const number of [1, 2, 3]) await part("l/e", ids[4]!, number, `part ${number}`);
    const page = await (await lab.ask(`/demo/l/e?uploadId=${ids[4]}&max-parts=2`)).text();
    expect([tag(page, "NextPartNumberMarker"), tag(page, "IsTruncated"), page.split("<Part>").length - 1]).toEqual(["2", "true", 2]);
    expect(await (await lab.ask(`/demo/l/e?uploadId=${ids[4]}&part-number-marker=2`)).text()).toContain("<PartNumber>3</PartNumber>");
    for (const [at, key] of keys.entries()) expect((await lab.ask(`/demo/${key}?uploadId=${ids[at]}`, { method: "DELETE" })).status).toBe(204);
    expect(await list("prefix=l/")).not.toContain("<Upload>");
    expect(await codeOf(await lab.ask(`/demo/l/e?uploadId=${ids[4]}`, { method: "DELETE" }))).toBe("404 NoSuchUpload");
  });

  test("[PARTS-5] parts are copied from objects, whole or by range", async () => {
    await lab.put("m/source", "0123456789");
    const id = await begin("m/copied");
    const copy = (number: number, headers: Record<string, string> = {}): Promise<Response> =>
      lab.ask(`/demo/m/copied?partNumber=${number}&uploadId=${id}`, { method: "PUT", headers: { "x-amz-copy-source": "demo/m/source", ...headers } });
    const etag = tag(await (await copy(1, { "x-amz-copy-source-range": "bytes=2-4" })).text(), "ETag");
    expect(await codeOf(await copy(1, { "x-amz-copy-source-range": "bytes=2-10" }))).toBe("400 InvalidArgument");
    expect(await codeOf(await copy(2, { "x-amz-copy-source": "demo/m/none" }))).toBe("404 NoSuchKey");
    expect((await complete("m/copied", id, [[1, etag]])).status).toBe(200);
    expect(await (await lab.ask("/demo/m/copied")).text()).toBe("234");
  });
});
