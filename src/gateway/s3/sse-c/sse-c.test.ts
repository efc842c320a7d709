import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type S3Asked, S3Lab, SECRET, codeOf } from "#gateway/s3/s3-fixture.ts";
import { scopeText, sign, signingKey } from "#platform/net/aws-signature.ts";

const MIB = 1 << 20;
const PART = 5 * MIB;

let lab: S3Lab;
beforeAll(async () => {
  lab = await S3Lab.open({ tls: "always" });
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

const md5 = (bytes: Uint8Array | string, as: "hex" | "base64" = "base64"): string => new Bun.CryptoHasher("md5").update(bytes).digest(as);
const CUSTOMER = "x-amz-server-side-encryption-customer-";
/** 32 bytes that are found again where they should not be. */
const keyOf = (letter: string): Buffer => Buffer.from(`the-key-of-a-client-${letter.repeat(12)}`);
const key = (letter: string, prefix = CUSTOMER): Record<string, string> => ({
  [`${prefix}algorithm`]: "AES256",
  [`${prefix}key`]: keyOf(letter).toString("base64"),
  [`${prefix}key-md5`]: md5(keyOf(letter)),
});
const A = key("a");
const B = key("b");
const from = (source: string, letter?: string): Record<string, string> => ({
  "x-amz-copy-source": source,
  ...(letter === undefined ? {} : key(letter, "x-amz-copy-source-server-side-encryption-customer-")),
});

const tag = (text: string, name: string): string => new RegExp(`<${name}>(.*?)</${name}>`).exec(text)?.[1]?.replaceAll("&quot;", '"') ?? "";
const get = (target: string, headers: Record<string, string> = {}): Promise<Response> => lab.ask(target, { headers });
const textOf = async (target: string, headers: Record<string, string> = {}): Promise<string> => (await get(target, headers)).text();
const code = async (target: string, asked: S3Asked): Promise<string> => codeOf(await lab.ask(target, asked));
const put = (name: string, body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> =>
  lab.ask(`/demo/${name}`, { method: "PUT", body, headers });

async function bytesOf(target: string, headers: Record<string, string>): Promise<Uint8Array> {
  return new Uint8Array(await (await get(target, headers)).arrayBuffer());
}

describe("objects that are encrypted with a key of the client", () => {
  test("[SSEC-9] are read with the key they were put with, whole and in ranges; without it, or with another, not at all", async () => {
    const text = "a secret that nobody else is to know";
    const made = await put("own/a", text, { ...A, "x-amz-meta-a": "b" });
    expect([made.status, made.headers.get(`${CUSTOMER}algorithm`), made.headers.get(`${CUSTOMER}key-md5`)]).toEqual([200, "AES256", md5(keyOf("a"))]);
    const etag = made.headers.get("etag")!;
    expect(etag).toMatch(/^"[0-9a-f]{32}"$/);
    expect(etag).not.toBe(`"${md5(text, "hex")}"`);
    const got = await get("/demo/own/a", A);
    expect([got.status, await got.text()]).toEqual([200, text]);
    expect(["etag", "x-amz-meta-a", "content-length", `${CUSTOMER}algorithm`].map((name) => got.headers.get(name))).toEqual([
      etag, "b", String(text.length), "AES256",
    ]);
    const part = await get("/demo/own/a", { ...A, range: "bytes=2-7" });
    expect([part.status, part.headers.get("content-range"), await part.text()]).toEqual([206, `bytes 2-7/${text.length}`, "secret"]);
    for (const method of ["GET", "HEAD"]) {
      expect((await lab.ask("/demo/own/a", { method, headers: A })).headers.get("content-length")).toBe(String(text.length));
      expect((await lab.ask("/demo/own/a", { method })).status).toBe(400);
      expect((await lab.ask("/demo/own/a", { method, headers: B })).status).toBe(403);
    }
    expect(await code("/demo/own/a", {})).toBe("400 InvalidRequest");
    expect(await code("/demo/own/a", { headers: B })).toBe("403 AccessDenied");
    // A condition tells nothing to who has no key.
    expect(await code("/demo/own/a", { headers: { ...B, "if-none-match": etag } })).toBe("403 AccessDenied");
    expect((await get("/demo/own/a", { ...A, "if-none-match": etag })).status).toBe(304);
    await put("own/plain", "x");
    expect(await code("/demo/own/plain", { headers: A })).toBe("400 InvalidRequest");
    // The same bytes look different each time.
    expect((await put("own/b", text, A)).headers.get("etag")).not.toBe(etag);
    const listed = await textOf("/demo?list-type=2&prefix=own/");
    expect([...listed.matchAll(/<Size>(\d+)<\/Size>/g)].map(([, size]) => Number(size))).toEqual([text.length, text.length, 1]);
    expect((await put("own/empty", "", A)).status).toBe(200);
    expect([await textOf("/demo/own/empty", A), (await get("/demo/own/empty")).status]).toEqual(["", 400]);
  });

  test("[SSEC-10] large ones come and go in pieces, and any range of them", async () => {
    const bytes = new Uint8Array(Buffer.from(Array.from({ length: 3 * MIB + 17 }, (_, at) => (at * 31) ^ (at >> 8))));
    const made = await lab.ask("/demo/large", { method: "PUT", body: bytes, headers: { ...A, "content-md5": md5(bytes) }, payload: "UNSIGNED-PAYLOAD" });
    expect(made.status).toBe(200);
    expect(Buffer.compare(await bytesOf("/demo/large", A), bytes)).toBe(0);
    for (const [start, end] of [[0, 0], [65_535, 65_536], [1_000_000, 2_999_999], [3 * MIB, 3 * MIB + 16]] as const) {
      const part = await bytesOf("/demo/large", { ...A, range: `bytes=${start}-${end}` });
      expect(Buffer.compare(part, bytes.subarray(start, end + 1))).toBe(0);
    }
    const tail = await bytesOf("/demo/large", { ...A, range: "bytes=-70000" });
    expect(Buffer.compare(tail, bytes.subarray(-70_000))).toBe(0);
    expect(await code("/demo/large", { headers: { ...A, range: `bytes=${bytes.length}-` } })).toBe("416 InvalidRange");
  });

  test("[SSEC-11] headers that are wrong are refused, and nothing is written", async () => {
    const change = (name: string, value: string | undefined): Record<string, string> => {
      const headers = { ...A };
      if (value === undefined) delete headers[CUSTOMER + name];
      else headers[CUSTOMER + name] = value;
      return headers;
    };
    const short = keyOf("a").subarray(1);
    const wrong: [Record<string, string>, string][] = [
      [change("algorithm", "AES128"), "400 InvalidEncryptionAlgorithmError"],
      [change("algorithm", "aws:kms"), "400 InvalidEncryptionAlgorithmError"],
      [change("algorithm", undefined), "400 InvalidArgument"],
      [change("key", undefined), "400 InvalidArgument"],
      [change("key-md5", undefined), "400 InvalidArgument"],
      [change("key", "not base64!"), "400 InvalidArgument"],
      [change("key", ""), "400 InvalidArgument"],
      [{ ...change("key", short.toString("base64")), [`${CUSTOMER}key-md5`]: md5(short) }, "400 InvalidArgument"],
      [change("key-md5", md5(keyOf("b"))), "400 InvalidArgument"],
      [change("key-md5", "AAAA"), "400 InvalidArgument"],
      [{ ...A, "x-amz-server-side-encryption": "AES256" }, "400 InvalidArgument"],
    ];
    await put("wrong", "before", A);
    for (const [headers, expected] of wrong) {
      expect([headers, await code("/demo/wrong", { method: "PUT", body: "x", headers })]).toEqual([headers, expected]);
      expect(await code("/demo/wrong2?uploads", { method: "POST", headers })).toBe(expected);
    }
    for (const [headers, expected] of wrong.slice(0, -1)) expect(await code("/demo/wrong", { headers })).toBe(expected);
    expect([await textOf("/demo/wrong", A), (await get("/demo/wrong2")).status]).toEqual(["before", 404]);
  });

  test("[SSEC-12] over plain HTTP no key is taken", async () => {
    await using plain = await S3Lab.open();
    for (const asked of [{ headers: A }, { method: "PUT", body: "x", headers: A }, { method: "PUT", headers: from("demo/b", "a") }]) {
      await plain.put("a", "x");
      expect(await codeOf(await plain.ask("/demo/a", asked))).toBe("400 InvalidRequest");
    }
    expect(await (await plain.ask("/demo/a")).text()).toBe("x");
  });

  test("[SSEC-13] checksums are of what was sent: compared, told, and kept so that the key alone makes them readable", async () => {
    const text = "checked";
    const crc = Buffer.from(Bun.hash.crc32(text).toString(16).padStart(8, "0"), "hex").toString("base64");
    const made = await put("sums/a", text, { ...A, "x-amz-checksum-crc32": crc, "content-md5": md5(text) });
    expect([made.status, made.headers.get("x-amz-checksum-crc32")]).toEqual([200, crc]);
    expect(await codeOf(await put("sums/b", "other", { ...A, "x-amz-checksum-crc32": crc }))).toBe("400 BadDigest");
    expect(await codeOf(await put("sums/b", "other", { ...A, "content-md5": md5(text) }))).toBe("400 BadDigest");
    const mode = { ...A, "x-amz-checksum-mode": "ENABLED" };
    for (const method of ["GET", "HEAD"]) {
      expect((await lab.ask("/demo/sums/a", { method, headers: mode })).headers.get("x-amz-checksum-crc32")).toBe(crc);
    }
    expect(await textOf("/demo?list-type=2&prefix=sums/")).not.toContain("CRC32");
    const wanted = { ...A, "x-amz-object-attributes": "Checksum,ObjectSize,ETag" };
    const told = await textOf("/demo/sums/a?attributes", wanted);
    expect([tag(told, "ChecksumCRC32"), tag(told, "ObjectSize")]).toEqual([crc, String(text.length)]);
    expect(await code("/demo/sums/a?attributes", { headers: { "x-amz-object-attributes": "ETag" } })).toBe("400 InvalidRequest");
  });

  test("[SSEC-14] parts come each with the key of their upload; the object is theirs together, in any range", async () => {
    const name = "parts/a";
    const begin = async (more: Record<string, string> = {}): Promise<string> =>
      tag(await (await lab.ask(`/demo/${name}?uploads`, { method: "POST", headers: { ...A, "x-amz-checksum-algorithm": "CRC64NVME", ...more } })).text(), "UploadId");
    const id = await begin();
    const sent = [Buffer.alloc(PART, "one "), Buffer.alloc(PART, "two "), Buffer.from("three")];
    const part = (number: number, body: Uint8Array, headers: Record<string, string>): Promise<Response> =>
      lab.ask(`/demo/${name}?partNumber=${number}&uploadId=${id}`, { method: "PUT", body, headers, payload: "UNSIGNED-PAYLOAD" });
    expect(await codeOf(await part(1, Buffer.from("x"), {}))).toBe("400 InvalidRequest");
    expect(await codeOf(await part(1, Buffer.from("x"), B))).toBe("400 InvalidRequest");
    const numbers = [2, 5, 9];
    // In another order than theirs, and the first twice.
    await part(2, Buffer.alloc(PART, "zero"), A);
    const etags: string[] = [];
    for (const at of [1, 0, 2]) {
      const done = await part(numbers[at]!, sent[at]!, { ...A, "content-md5": md5(sent[at]!) });
      expect([done.status, done.headers.get(`${CUSTOMER}algorithm`), done.headers.has("x-amz-checksum-crc64nvme")]).toEqual([200, "AES256", false]);
      etags[at] = done.headers.get("etag")!;
      expect(etags[at]).not.toBe(`"${md5(sent[at]!, "hex")}"`);
    }
    const listed = await textOf(`/demo/${name}?uploadId=${id}`);
    expect([...listed.matchAll(/<Size>(\d+)<\/Size>/g)].map(([, size]) => Number(size))).toEqual([PART, PART, 5]);
    const inner = numbers.map((number, at) => `<Part><PartNumber>${number}</PartNumber><ETag>${etags[at]}</ETag></Part>`).join("");
    const body = `<CompleteMultipartUpload>${inner}</CompleteMultipartUpload>`;
    const complete = (headers: Record<string, string>): Promise<Response> => lab.ask(`/demo/${name}?uploadId=${id}`, { method: "POST", body, headers });
    expect(await codeOf(await complete(B))).toBe("400 InvalidRequest");
    expect(await codeOf(await complete({ "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=" }))).toBe("400 InvalidRequest");
    expect(await codeOf(await complete({ ...A, "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=" }))).toBe("400 BadDigest");
    const whole = await put("parts/whole", Buffer.concat(sent), { "x-amz-checksum-algorithm": "CRC64NVME" });
    const crc = whole.headers.get("x-amz-checksum-crc64nvme")!;
    const done = await (await complete({ ...A, "x-amz-mp-object-size": String(2 * PART + 5), "x-amz-checksum-crc64nvme": crc })).text();
    expect(tag(done, "ETag")).toMatch(/^"[0-9a-f]{32}-3"$/);
    const bytes = Buffer.concat(sent);
    expect(Buffer.compare(await bytesOf(`/demo/${name}`, A), bytes)).toBe(0);
    for (const [start, end] of [[PART - 3, PART + 3], [2 * PART - 70_000, 2 * PART + 4], [2 * PART, 2 * PART + 4]] as const) {
      const found = await bytesOf(`/demo/${name}`, { ...A, range: `bytes=${start}-${end}` });
      expect(Buffer.compare(found, bytes.subarray(start, end + 1))).toBe(0);
    }
    const third = await get(`/demo/${name}?partNumber=3`, A);
    expect([third.status, third.headers.get("x-amz-mp-parts-count"), await third.text()]).toEqual([206, "3", "three"]);
    expect(tag(done, "ChecksumCRC64NVME")).toBe(crc);
    const head = await lab.ask(`/demo/${name}`, { method: "HEAD", headers: { ...A, "x-amz-checksum-mode": "ENABLED" } });
    expect([head.headers.get("x-amz-checksum-crc64nvme"), head.headers.get("content-length")]).toEqual([crc, String(bytes.length)]);
    expect(tag(await textOf(`/demo/${name}?attributes`, { ...A, "x-amz-object-attributes": "ObjectParts" }), "PartsCount")).toBe("3");
    expect(await code(`/demo/${name}`, {})).toBe("400 InvalidRequest");
    // Asked again, it is the same; and a plain upload takes no key.
    expect(tag(await (await complete({})).text(), "ETag")).toBe(tag(done, "ETag"));
    const plain = tag(await (await lab.ask("/demo/parts/plain?uploads", { method: "POST" })).text(), "UploadId");
    expect(await code(`/demo/parts/plain?partNumber=1&uploadId=${plain}`, { method: "PUT", body: "x", headers: A })).toBe("400 InvalidRequest");
  });

  test("[SSEC-15] an upload is completed without its key, too; its checksum is not known then", async () => {
    const id = tag(await (await lab.ask("/demo/parts/b?uploads", { method: "POST", headers: { ...A, "x-amz-checksum-algorithm": "CRC32" } })).text(), "UploadId");
    const put1 = await lab.ask(`/demo/parts/b?partNumber=1&uploadId=${id}`, { method: "PUT", body: "whole", headers: A });
    const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${put1.headers.get("etag")}</ETag></Part></CompleteMultipartUpload>`;
    const done = await (await lab.ask(`/demo/parts/b?uploadId=${id}`, { method: "POST", body })).text();
    expect([tag(done, "Key"), tag(done, "ChecksumCRC32")]).toEqual(["parts/b", ""]);
    const got = await get("/demo/parts/b", { ...A, "x-amz-checksum-mode": "ENABLED" });
    expect([await got.text(), got.headers.get("x-amz-checksum-crc32")]).toEqual(["whole", null]);
  });

  test("[SSEC-16] copies take the key of the source and that of the copy: each may be there, another, or none", async () => {
    await put("copy/a", "copied", { ...A, "x-amz-meta-a": "b", "x-amz-checksum-algorithm": "CRC32" });
    const copy = (to: string, headers: Record<string, string>): Promise<Response> => lab.ask(to, { method: "PUT", headers });
    expect(await codeOf(await copy("/demo/copy/b", from("demo/copy/a")))).toBe("400 InvalidRequest");
    expect(await codeOf(await copy("/demo/copy/b", from("demo/copy/a", "b")))).toBe("403 AccessDenied");
    expect(await codeOf(await copy("/demo/copy/b", { ...from("demo/copy/a"), ...A }))).toBe("400 InvalidRequest");
    const crc = (await get("/demo/copy/a", { ...A, "x-amz-checksum-mode": "ENABLED" })).headers.get("x-amz-checksum-crc32")!;
    for (const bucket of ["demo", "other"]) {
      const to = `/${bucket}/copy/to`;
      for (const letter of ["a", "b", undefined]) {
        const own = letter === undefined ? {} : key(letter);
        const done = await copy(to, { ...from("demo/copy/a", "a"), ...own });
        expect([bucket, letter, done.status, tag(await done.text(), "ChecksumCRC32")]).toEqual([bucket, letter, 200, crc]);
        const got = await get(to, { ...own, "x-amz-checksum-mode": "ENABLED" });
        expect([await got.text(), got.headers.get("x-amz-meta-a"), got.headers.get("x-amz-checksum-crc32")]).toEqual(["copied", "b", crc]);
        if (letter !== undefined) expect((await get(to)).status).toBe(400);
        if (letter === undefined) expect(got.headers.get("etag")).toBe(`"${md5("copied", "hex")}"`);
      }
    }
    // What was plain becomes encrypted.
    await put("copy/plain", "plain", { "x-amz-checksum-algorithm": "CRC32" });
    expect((await copy("/demo/copy/locked", { ...from("demo/copy/plain"), ...B })).status).toBe(200);
    expect([await textOf("/demo/copy/locked", B), (await get("/demo/copy/locked")).status]).toEqual(["plain", 400]);
    expect(await codeOf(await copy("/demo/copy/x", { ...from("demo/copy/plain", "a") }))).toBe("400 InvalidRequest");
    // Onto itself: another key, and other metadata with the same.
    expect((await copy("/demo/copy/a", { ...from("demo/copy/a", "a"), ...B })).status).toBe(200);
    expect([await textOf("/demo/copy/a", B), (await get("/demo/copy/a", A)).status]).toEqual(["copied", 403]);
    const replaced = { "x-amz-metadata-directive": "REPLACE", "x-amz-meta-c": "d" };
    expect((await copy("/demo/copy/a", { ...from("demo/copy/a", "b"), ...B, ...replaced })).status).toBe(200);
    const got = await get("/demo/copy/a", B);
    expect([await got.text(), got.headers.get("x-amz-meta-a"), got.headers.get("x-amz-meta-c")]).toEqual(["copied", null, "d"]);
  });

  test("[SSEC-17] parts are copied from what is encrypted, into what is", async () => {
    await put("pcopy/a", "0123456789", A);
    const begin = async (headers: Record<string, string>): Promise<string> =>
      tag(await (await lab.ask("/demo/pcopy/to?uploads", { method: "POST", headers })).text(), "UploadId");
    for (const own of [B, {}]) {
      const id = await begin(own);
      const part = (headers: Record<string, string>): Promise<Response> =>
        lab.ask(`/demo/pcopy/to?partNumber=1&uploadId=${id}`, { method: "PUT", headers: { ...headers, "x-amz-copy-source-range": "bytes=2-6" } });
      expect(await codeOf(await part({ ...from("demo/pcopy/a"), ...own }))).toBe("400 InvalidRequest");
      if (own === B) expect(await codeOf(await part(from("demo/pcopy/a", "a")))).toBe("400 InvalidRequest");
      const etag = tag(await (await part({ ...from("demo/pcopy/a", "a"), ...own })).text(), "ETag");
      const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`;
      expect((await lab.ask(`/demo/pcopy/to?uploadId=${id}`, { method: "POST", body })).status).toBe(200);
      expect(await textOf("/demo/pcopy/to", own)).toBe("23456");
    }
  });

  test("[SSEC-18] each version has its own: an old one with a key, the current one without, and what tags say changes neither", async () => {
    await lab.ask("/kept", { method: "PUT" });
    await lab.ask("/kept?versioning", { method: "PUT", body: "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>" });
    const ids: string[] = [];
    for (const [text, headers] of [["one", A], ["two", {}], ["three", B]] as const) {
      ids.push((await lab.ask("/kept/a", { method: "PUT", body: text, headers })).headers.get("x-amz-version-id")!);
    }
    const old = (at: number, headers: Record<string, string>): Promise<string> => textOf(`/kept/a?versionId=${ids[at]}`, headers);
    expect(await Promise.all([old(0, A), old(1, {}), old(2, B)])).toEqual(["one", "two", "three"]);
    expect(await code(`/kept/a?versionId=${ids[0]}`, {})).toBe("400 InvalidRequest");
    expect(await code(`/kept/a?versionId=${ids[1]}`, { headers: A })).toBe("400 InvalidRequest");
    const tagging = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    expect((await lab.ask("/kept/a?tagging", { method: "PUT", body: tagging })).status).toBe(200);
    const got = await get("/kept/a", B);
    expect([await got.text(), got.headers.get("x-amz-tagging-count")]).toEqual(["three", "1"]);
    // Those that are in the way go; what is left is what it was.
    for (const id of [ids[1]!, ids[2]!, got.headers.get("x-amz-version-id")!]) expect((await lab.ask(`/kept/a?versionId=${id}`, { method: "DELETE" })).status).toBe(204);
    expect([await textOf("/kept/a", A), (await get("/kept/a")).status]).toEqual(["one", 400]);
  });

  test("[SSEC-19] in an address no key is taken", async () => {
    const query = Object.entries(A).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
    await put("presigned", "x", A);
    expect(await codeOf(await lab.send(lab.presigned(`/demo/presigned?${query}`), "GET", { host: lab.host }))).toBe("400 InvalidRequest");
    expect(await codeOf(await lab.send(lab.presigned("/demo/presigned"), "GET", { host: lab.host }))).toBe("400 InvalidRequest");
    // Whoever has seen an address cannot add a key that nobody signed.
    expect(await codeOf(await lab.send(lab.presigned("/demo/presigned"), "GET", { host: lab.host, ...A }))).toBe("403 AccessDenied");
  });
});

/** A form as a browser sends it, signed by its policy. */
function formOf(name: string, file: string, fields: Record<string, string>): string {
  const time = `${new Date().toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}Z`;
  const scope = { accessKey: "admin", date: time.slice(0, 8), region: "local" };
  const own = { "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": `admin/${scopeText(scope)}`, "x-amz-date": time, ...fields };
  const conditions = [{ bucket: "demo" }, { key: name }, ...Object.entries(own).map(([field, value]) => ({ [field]: value }))];
  const expiration = new Date(Date.now() + 60_000).toISOString();
  const policy = Buffer.from(JSON.stringify({ expiration, conditions })).toString("base64");
  const all = { key: name, policy, ...own, "x-amz-signature": sign(signingKey(SECRET("admin"), scope), policy) };
  const parts = Object.entries(all).map(([field, value]) => `--B\r\nContent-Disposition: form-data; name="${field}"\r\n\r\n${value}\r\n`);
  return `${parts.join("")}--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n${file}\r\n--B--\r\n`;
}

describe("what else is done with them", () => {
  test("[SSEC-39] a form of a browser may bring a key, too", async () => {
    const post = (name: string, fields: Record<string, string>): Promise<Response> =>
      lab.send("/demo", "POST", { host: lab.host, "content-type": "multipart/form-data; boundary=B" }, formOf(name, "by form", fields));
    const made = await post("form/a", A);
    expect([made.status, made.headers.get(`${CUSTOMER}algorithm`)]).toEqual([204, "AES256"]);
    expect([await textOf("/demo/form/a", A), (await get("/demo/form/a")).status]).toEqual(["by form", 400]);
    expect(await codeOf(await post("form/b", { ...A, [`${CUSTOMER}key-md5`]: md5("x") }))).toBe("400 InvalidArgument");
    expect((await get("/demo/form/b")).status).toBe(404);
  });


  const api = (path: string, asked: Parameters<S3Lab["api"]["ask"]>[1] = {}): Promise<Response> =>
    lab.api.ask(path, { ...asked, ca: readFileSync(join(lab.api.dir, "hub/ca.pem"), "utf8") });

  test("[SSEC-20] other doors show them, move, copy and remove them, and refuse to read them with the next step", async () => {
    await put("api/a", "hidden from others", A);
    const refused = await api("/v1/spaces/demo/content/api/a");
    const problem = (await refused.json()) as { code: string; detail: string; hint: string };
    expect([refused.status, problem.code]).toEqual([403, "ENCRYPTED"]);
    expect(problem.detail + problem.hint).toMatch(/SSE-C.*S3.*key/);
    const shown = (await (await api("/v1/spaces/demo/entries/api/a")).json()) as Record<string, unknown>;
    expect(shown).toMatchObject({ kind: "file", size: 18, encrypted: "sse-c" });
    expect(JSON.stringify(shown)).not.toContain("content.sse-c");
    expect((await api("/v1/spaces/demo/copy", { method: "POST", json: { from: "api/a", to: "api/b" } })).status).toBe(201);
    expect((await api("/v1/spaces/demo/move", { method: "POST", json: { from: "api/a", to: "api/c" } })).status).toBe(200);
    expect([await textOf("/demo/api/b", A), await textOf("/demo/api/c", A)]).toEqual(["hidden from others", "hidden from others"]);
    expect((await api("/v1/spaces/demo/content/api/b", { method: "DELETE" })).status).toBe(200);
    // Other bytes are no longer encrypted.
    expect((await api("/v1/spaces/demo/content/api/c", { method: "PUT", body: "open" })).status).toBe(200);
    expect([await textOf("/demo/api/c"), await (await api("/v1/spaces/demo/content/api/c")).text()]).toEqual(["open", "open"]);
  });

  test("[SSEC-21] an archive has a text in their place that says so; of one alone there is none", async () => {
    await put("arc/a", "hidden", A);
    await put("arc/b", "shown");
    const tar = await (await api("/v1/spaces/demo/archive/arc?format=tar")).text();
    expect([tar.includes("shown"), tar.includes("arc/a.left-out-encrypted.txt"), tar.includes("SSE-C"), tar.includes("hidden")]).toEqual([true, true, true, false]);
    expect((await api("/v1/spaces/demo/archive/arc?format=zip")).status).toBe(200);
    expect((await api("/v1/spaces/demo/archive/arc/a")).status).toBe(403);
  });

  test("[SSEC-22] neither the key nor what was encrypted is in any file of the hub, or in its log", async () => {
    const text = "words-that-are-in-no-file-".repeat(20);
    await put("leak/a", text, A);
    await codeOf(await put("leak/a", text, { ...A, [`${CUSTOMER}key-md5`]: md5("other") }));
    await get("/demo/leak/a", B);
    const look = [keyOf("a"), Buffer.from(keyOf("a").toString("base64")), Buffer.from(keyOf("a").toString("hex")), Buffer.from("words-that-are-in-no-file-"), Buffer.from(md5(text)), Buffer.from(md5(text, "hex")), Buffer.from(md5(text, "hex"), "hex")];
    const dir = join(lab.api.dir, "hub");
    const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
    expect(files.length).toBeGreaterThan(3);
    for (const file of files) {
      const bytes = readFileSync(join(file.parentPath, file.name));
      for (const [at, secret] of look.entries()) expect([file.name, at, bytes.includes(secret)]).toEqual([file.name, at, false]);
    }
    const log = JSON.stringify(lab.api.log);
    for (const secret of [keyOf("a").toString("base64"), keyOf("b").toString("base64")]) expect(log).not.toContain(secret);
  });

  test("[SSEC-23] who may not read a key learns nothing of it with any key, and who may only write writes", async () => {
    await put("out", "x", A);
    expect(await code("/demo/out", { as: "reader", headers: A })).toBe("403 AccessDenied");
    expect(await code("/demo/in/a", { method: "PUT", as: "reader", body: "x", headers: A })).toBe("403 AccessDenied");
    expect(await code("/demo/in/a", { method: "PUT", as: "writer", body: "x", headers: A })).toBe("200");
    expect(await code("/demo/in/b", { method: "PUT", as: "writer", headers: { ...from("demo/out", "a") } })).toBe("403 AccessDenied");
    expect(await code("/demo/in/a", { as: "stranger", headers: A })).not.toBe("200");
  });
});
