import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { OPERATIONS } from "#gateway/s3/operations.ts";
import { S3Lab, codeOf } from "#gateway/s3/s3-fixture.ts";

let lab: S3Lab;
beforeAll(async () => {
  lab = await S3Lab.open();
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

/** Who guesses often is slowed down. */
const REFUSED = [403, 503];
const NOT_RIGHT = /^(403 SignatureDoesNotMatch|503 SlowDown)$/;

const textOf = async (target: string): Promise<string> => (await lab.ask(target)).text();
const md5 = (text: string): string => createHash("md5").update(text).digest("hex");

describe("who asks", () => {
  test("[BUCKET-1] is known by the header, the query and every form of a signed body, and by nothing else", async () => {
    expect((await lab.put("who/a", "hello")).status).toBe(200);
    expect(await textOf("/demo/who/a")).toBe("hello");
    expect(await (await lab.send(lab.presigned("/demo/who/a"), "GET", {})).text()).toBe("hello");
    expect((await lab.send(lab.presigned("/demo/who/b", { method: "PUT" }), "PUT", {}, "presigned")).status).toBe(200);
    expect((await lab.putInChunks("/demo/who/c", ["x".repeat(70_000), "end"], undefined)).status).toBe(200);
    const trailer = { "x-amz-checksum-crc32": "7AOAtA==" };
    const bad = await lab.putInChunks("/demo/who/d", ["hello"], trailer);
    expect(await codeOf(bad)).toBe("400 BadDigest");
    expect((await lab.putInChunks("/demo/who/d", ["hello"], { "x-amz-checksum-crc32": "NhCmhg==" })).status).toBe(200);
    expect((await lab.ask("/demo/who/c", { method: "HEAD" })).headers.get("content-length")).toBe("70003");
    expect(await codeOf(await lab.send("/demo/who/a", "GET", {}))).toBe("403 AccessDenied");
  });

  test("[BUCKET-2] any credential with another secret, and any change behind the signature, is refused", async () => {
    await lab.put("who/a", "hello");
    const secret = "another-secret-0123456789abcdef0123456789";
    const unsigned = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    for (const method of ["GET", "HEAD", "PUT", "DELETE", "POST"]) {
      for (const target of ["/", "/demo", "/demo/who/a", "/demo?list-type=2", "/demo?delete", "/demo/who/a?uploads"]) {
        for (const payload of [undefined, "UNSIGNED-PAYLOAD", unsigned]) {
          const more = payload === unsigned ? { headers: { "x-amz-decoded-content-length": "1" } } : {};
          const body = method === "PUT" || method === "POST" ? { body: "1\r\nx\r\n0\r\n\r\n" } : {};
          const answer = await lab.ask(target, { method, secret, ...body, ...more, ...(payload === undefined ? {} : { payload }) });
          expect([method, target, REFUSED.includes(answer.status)]).toEqual([method, target, true]);
        }
        expect(REFUSED).toContain((await lab.send(lab.presigned(target, { method, secret }), method, {})).status);
      }
    }
    expect(await codeOf(await lab.putInChunks("/demo/who/a", ["evil"], undefined, { secret }))).toMatch(NOT_RIGHT);
    expect(await codeOf(await lab.ask("/demo/who/a", { as: "nobody" }))).toMatch(NOT_RIGHT);
    const moved = lab.presigned("/demo/who/a").replace("/who/a", "/who/b");
    expect(await codeOf(await lab.send(moved, "GET", {}))).toMatch(NOT_RIGHT);
    expect(await codeOf(await lab.send(`${lab.presigned("/demo/who/a")}&versionId=1`, "GET", {}))).toMatch(NOT_RIGHT);
    // A header that S3 would act on, put beside a signature that was made without it.
    const more = { headers: { "x-amz-copy-source": "/demo/secret" }, signs: ["host", "x-amz-content-sha256", "x-amz-date"] };
    expect(await codeOf(await lab.ask("/demo/who/a", { method: "PUT", ...more }))).toBe("403 AccessDenied");
    expect(await textOf("/demo/who/a")).toBe("hello");
  });

  test("[BUCKET-3] a request is good for its time, and a presigned one for the seconds it says", async () => {
    await lab.put("who/a", "hello");
    const nowMs = Date.now();
    for (const timeMs of [nowMs - 16 * 60_000, nowMs + 16 * 60_000]) {
      expect(await codeOf(await lab.ask("/demo/who/a", { timeMs }))).toBe("403 RequestTimeTooSkewed");
    }
    expect((await lab.ask("/demo/who/a", { timeMs: nowMs - 14 * 60_000 })).status).toBe(200);
    for (const seconds of [0, -1, 604_801, 1.5]) {
      expect(await codeOf(await lab.send(lab.presigned("/demo/who/a", { seconds }), "GET", {}))).toBe("403 AccessDenied");
    }
    const late = lab.presigned("/demo/who/a", { timeMs: nowMs - 61_000, seconds: 60 });
    expect(await codeOf(await lab.send(late, "GET", {}))).toBe("403 AccessDenied");
    expect((await lab.send(lab.presigned("/demo/who/a", { timeMs: nowMs - 3_600_000, seconds: 7200 }), "GET", {})).status).toBe(200);
  });

  test("[BUCKET-4] nothing of a body is kept that is not what was signed, announced or summed", async () => {
    const wrong = await lab.put("body/a", "hello", { payload: "0".repeat(64) });
    expect(await codeOf(wrong)).toBe("400 XAmzContentSHA256Mismatch");
    const sums = [
      ["content-md5", "AAAAAAAAAAAAAAAAAAAAAA==", "BadDigest"], ["content-md5", "short", "InvalidDigest"],
      ["x-amz-checksum-sha256", "arcu6553sHVAiX4MjW0j7I7vD4w6R+Gz9Ok0Q9lTa+0=", "BadDigest"],
      ["x-amz-checksum-crc64nvme", "Qeh8oXvGiSo=", "BadDigest"], ["x-amz-checksum-crc32c", "AA==", "InvalidRequest"],
    ] as const;
    for (const [name, value, code] of sums) {
      expect(await codeOf(await lab.put("body/a", "hello", { headers: { [name]: value } }))).toBe(`400 ${code}`);
    }
    expect(await codeOf(await lab.ask("/demo/body/a"))).toBe("404 NoSuchKey");
  });
});

describe("objects", () => {
  test("[BUCKET-5] come back with what was said of them; the ETag is the MD5", async () => {
    const headers = {
      "content-type": "text/x-own", "cache-control": "max-age=5", "content-encoding": "aws-chunked, gzip",
      "x-amz-meta-color": "blue", "x-amz-checksum-crc32": "NhCmhg==",
    };
    const put = await lab.put("o/typed", "hello", { headers });
    expect(put.headers.get("etag")).toBe(`"${md5("hello")}"`);
    expect(put.headers.get("x-amz-checksum-crc32")).toBe("NhCmhg==");
    const got = await lab.ask("/demo/o/typed", { headers: { "x-amz-checksum-mode": "ENABLED" } });
    const shown = ["content-type", "cache-control", "content-encoding", "x-amz-meta-color", "x-amz-checksum-crc32", "x-amz-checksum-type", "etag"];
    expect(shown.map((name) => got.headers.get(name))).toEqual([
      "text/x-own", "max-age=5", "gzip", "blue", "NhCmhg==", "FULL_OBJECT", `"${md5("hello")}"`,
    ]);
    expect((await lab.ask("/demo/o/typed")).headers.get("x-amz-checksum-crc32")).toBeNull();
  });

  test("[BUCKET-6] what another door wrote has a tag that is no MD5, and keeps no sum of bytes that are gone", async () => {
    await lab.put("o/shared", "hello", { headers: { "x-amz-meta-kept": "yes", "x-amz-checksum-crc32": "NhCmhg==" } });
    await lab.api.put("o/shared", "from the API");
    const got = await lab.ask("/demo/o/shared", { headers: { "x-amz-checksum-mode": "ENABLED" } });
    expect(got.headers.get("etag")).toMatch(/^"[0-9a-f]{32}-1"$/);
    expect([got.headers.get("x-amz-meta-kept"), got.headers.get("x-amz-checksum-crc32")]).toEqual(["yes", null]);
    expect(await got.text()).toBe("from the API");
  });

  test("[BUCKET-7] ranges, conditions and parts of reading", async () => {
    await lab.put("o/r", "0123456789");
    const range = async (text: string, more: Record<string, string> = {}): Promise<[number, string | null, string]> => {
      const got = await lab.ask("/demo/o/r", { headers: { range: text, ...more } });
      return [got.status, got.headers.get("content-range"), got.status < 300 ? await got.text() : await codeOf(got)];
    };
    expect(await range("bytes=2-4")).toEqual([206, "bytes 2-4/10", "234"]);
    expect(await range("bytes=-3")).toEqual([206, "bytes 7-9/10", "789"]);
    expect(await range("bytes=8-")).toEqual([206, "bytes 8-9/10", "89"]);
    expect(await range("bytes=0-1,4-5")).toEqual([200, null, "0123456789"]);
    expect(await range("bytes=10-")).toEqual([416, "bytes */10", "416 InvalidRange"]);
    expect(await range("bytes=2-4", { "if-range": '"other"' })).toEqual([200, null, "0123456789"]);
    const etag = `"${md5("0123456789")}"`;
    const status = async (headers: Record<string, string>): Promise<number> => (await lab.ask("/demo/o/r", { headers })).status;
    expect(await status({ "if-match": etag })).toBe(200);
    expect(await status({ "if-match": md5("0123456789") })).toBe(200);
    expect(await status({ "if-match": '"x"' })).toBe(412);
    expect(await status({ "if-none-match": etag })).toBe(304);
    expect(await status({ "if-modified-since": new Date(Date.now() + 1000).toUTCString() })).toBe(304);
    expect(await status({ "if-unmodified-since": new Date(1000).toUTCString() })).toBe(412);
    expect((await lab.ask("/demo/o/r?partNumber=1")).status).toBe(206);
    expect(await codeOf(await lab.ask("/demo/o/r?partNumber=2"))).toBe("416 InvalidPartNumber");
    const named = await lab.ask("/demo/o/r?response-content-type=text%2Fother&response-expires=never");
    expect([named.headers.get("content-type"), named.headers.get("expires")]).toEqual(["text/other", "never"]);
  });

  test("[BUCKET-8] conditions of writing are decided by the commit: of many, one makes the key", async () => {
    const none = { headers: { "if-none-match": "*" } };
    const made = await Promise.all(Array.from({ length: 20 }, (_, at) => lab.put("lock/tf", `holder ${at}`, none)));
    expect(made.map(({ status }) => status).sort()).toEqual([200, ...Array.from({ length: 19 }, () => 412)]);
    const etag = (await lab.ask("/demo/lock/tf", { method: "HEAD" })).headers.get("etag")!;
    const swapped = await Promise.all(Array.from({ length: 20 }, (_, at) => lab.put("lock/tf", `next ${at}`, { headers: { "if-match": etag } })));
    expect(swapped.filter(({ status }) => status === 200).length).toBe(1);
    expect(swapped.filter(({ status }) => status === 412).length).toBe(19);
    expect(await codeOf(await lab.put("lock/gone", "x", { headers: { "if-match": etag } }))).toBe("404 NoSuchKey");
    expect((await lab.ask("/demo/lock/tf", { method: "DELETE", headers: { "if-match": etag } })).status).toBe(412);
    expect((await lab.ask("/demo/lock/tf", { method: "DELETE", headers: { "if-match": "*" } })).status).toBe(204);
    expect(await codeOf(await lab.ask("/demo/lock/tf"))).toBe("404 NoSuchKey");
  });

  test("[BUCKET-9] copies are metadata only, with the source's words or new ones", async () => {
    const copy = (key: string, source: string, headers: Record<string, string> = {}): Promise<Response> =>
      lab.ask(`/demo/${key}`, { method: "PUT", headers: { "x-amz-copy-source": source, ...headers } });
    await lab.put("c/from%20me", "hello", { headers: { "x-amz-meta-a": "1", "content-type": "text/x-own" } });
    expect(await (await copy("c/to", "/demo/c/from%20me")).text()).toContain(`&quot;${md5("hello")}&quot;`);
    const to = await lab.ask("/demo/c/to");
    expect([to.headers.get("x-amz-meta-a"), to.headers.get("content-type"), await to.text()]).toEqual(["1", "text/x-own", "hello"]);
    expect(await codeOf(await copy("c/to", "demo/c/to"))).toBe("400 InvalidRequest");
    const replaced = { "x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2", "x-amz-checksum-algorithm": "CRC32" };
    expect(await (await copy("c/to", "demo/c/to", replaced)).text()).toContain("<ChecksumCRC32>NhCmhg==</ChecksumCRC32>");
    const again = await lab.ask("/demo/c/to");
    expect([again.headers.get("x-amz-meta-a"), again.headers.get("x-amz-meta-b"), await again.text()]).toEqual([null, "2", "hello"]);
    expect(await codeOf(await copy("c/to", "demo/c/gone"))).toBe("404 NoSuchKey");
    expect(await codeOf(await copy("c/to", "demo/c/from%20me", { "x-amz-copy-source-if-match": '"x"' }))).toBe("412 PreconditionFailed");
    expect(await codeOf(await copy("c/to", "demo/c/from%20me", { "if-none-match": "*" }))).toBe("412 PreconditionFailed");
    const across = await lab.ask("/other/there", { method: "PUT", headers: { "x-amz-copy-source": "demo/c/from%20me" } });
    expect([across.status, await textOf("/other/there")]).toEqual([200, "hello"]);
  });

  test("[BUCKET-10] keys are paths: what cannot be one is refused, and nothing takes the place of what is below it", async () => {
    for (const key of ["a//b", "a/../b", "./a", "n".repeat(256), ".syncline/x", "a/b//"]) {
      expect(await codeOf(await lab.ask(`/demo/${key.replaceAll(".", "%2e")}`, { method: "PUT", body: "x" }))).toBe("400 InvalidObjectName");
      expect(await codeOf(await lab.ask(`/demo/${key.replaceAll(".", "%2e")}`))).toBe("404 NoSuchKey");
    }
    expect(await codeOf(await lab.ask(`/demo/${"k/".repeat(520)}`))).toBe("400 KeyTooLongError");
    await lab.put("p/a/b", "x");
    expect(await codeOf(await lab.put("p/a", "x"))).toBe("400 InvalidObjectName");
    expect(await codeOf(await lab.put("p/a/b/c", "x"))).toBe("400 InvalidObjectName");
    expect((await lab.ask("/demo/p/a", { method: "DELETE" })).status).toBe(204);
    expect(await textOf("/demo/p/a/b")).toBe("x");
    // A key with "/" at its end never takes the place of the one without, nor the other way about.
    await lab.put("p/empty/", "");
    const refused = [await lab.put("p/a/b/", ""), await lab.put("p/empty", "x"), await lab.put("p/a/b/c", "x"), await lab.put("p/a", "x")];
    const told = await Promise.all(refused.map((one) => one.text()));
    for (const text of told) expect(text).toContain("<Code>InvalidObjectName</Code>");
    expect(told.map((text) => /<Message>(.*?); keys are paths/.exec(text)![1])).toEqual([
      'a key above this one is a file: &quot;p/a/b&quot; is no directory', 'there is a key &quot;p/empty/&quot;, or keys below that',
      'a key above this one is a file: &quot;p/a/b&quot; is no directory', 'there is a key &quot;p/a/&quot;, or keys below that',
    ]);
    expect([await textOf("/demo/p/a/b"), (await lab.ask("/demo/p/empty/", { method: "HEAD" })).status]).toEqual(["x", 200]);
    const odd = "%E4%B8%AD/%20%2B%25%26%3D%0A'()*!~";
    await lab.ask(`/demo/odd/${odd}`, { method: "PUT", body: "odd" });
    expect(await textOf(`/demo/odd/${odd}`)).toBe("odd");
  });

  test("[BUCKET-11] directories: those that were put stay, all others live by what is in them", async () => {
    const keys = async (): Promise<string[]> => [...(await textOf("/demo?prefix=d/")).matchAll(/<Key>(.*?)<\/Key>/g)].map((match) => match[1]!);
    await lab.put("d/deep/er/file", "x");
    await lab.put("d/made/", "");
    await lab.put("d/made/inner", "x");
    expect(await keys()).toEqual(["d/deep/er/file", "d/made/", "d/made/inner"]);
    expect((await lab.ask("/demo/d/made/", { method: "HEAD" })).status).toBe(200);
    expect(await codeOf(await lab.put("d/made/", "bytes"))).toBe("400 InvalidObjectName");
    for (const key of ["d/deep/er/file", "d/made/inner"]) await lab.ask(`/demo/${key}`, { method: "DELETE" });
    expect(await keys()).toEqual(["d/made/"]);
    const made = await lab.api.ask("/v1/spaces/demo/entries?below=d");
    expect(((await made.json()) as { entries: { path: string }[] }).entries.map(({ path }) => path)).toEqual(["d/made"]);
    await lab.put("d/made/inner", "x");
    await lab.ask("/demo/d/made/", { method: "DELETE" });
    expect(await keys()).toEqual(["d/made/inner"]);
    await lab.ask("/demo/d/made/inner", { method: "DELETE" });
    expect(await keys()).toEqual([]);
    await lab.put("d/alone/", "");
    expect(await keys()).toEqual(["d/alone/"]);
    await lab.ask("/demo/d/alone/", { method: "DELETE" });
    expect(await keys()).toEqual([]);
  });

  test("[BUCKET-21] a directory keeps its permissions when its key is put, copied onto and deleted", async () => {
    const modeOf = async (): Promise<unknown> => {
      const { entries } = (await (await lab.api.ask("/v1/spaces/demo/entries?below=kept")).json()) as { entries: { path: string; mode: string }[] };
      return entries.find(({ path }) => path === "kept/private")?.mode;
    };
    const made = await lab.api.ask("/v1/spaces/demo/mkdir", { method: "POST", json: { path: "kept/private", mode: "0700" } });
    expect(made.status).toBe(201);
    await lab.put("kept/private/inner", "x");
    await lab.put("kept/other/", "");
    expect((await lab.put("kept/private/", "")).status).toBe(200);
    expect(await modeOf()).toBe("0700");
    expect((await lab.ask("/demo/kept/private/", { method: "PUT", headers: { "x-amz-copy-source": "/demo/kept/other/" } })).status).toBe(200);
    expect(await modeOf()).toBe("0700");
    expect((await lab.ask("/demo/kept/private/", { method: "DELETE" })).status).toBe(204);
    expect(await modeOf()).toBe("0700");
  });

  test("[BUCKET-12] many are deleted at once, each with its own outcome", async () => {
    const names = Array.from({ length: 30 }, (_, at) => `many/${at % 3}/${at}`);
    for (const name of names) await lab.put(name, name);
    const objects = [...names, "many/none", "many//"].map((key) => `<Object><Key>${key}</Key></Object>`).join("");
    const answer = await lab.ask("/demo?delete", { method: "POST", body: `<Delete>${objects}</Delete>` });
    const text = await answer.text();
    expect([answer.status, text.split("<Deleted>").length - 1, text.includes("<Error>")]).toEqual([200, 32, false]);
    expect(await textOf("/demo?prefix=many")).not.toContain("<Key>");
    const quiet = await lab.ask("/demo?delete", { method: "POST", body: `<Delete><Quiet>true</Quiet>${objects}</Delete>` });
    expect(await quiet.text()).not.toContain("Deleted>");
    const tooMany = "<Object><Key>k</Key></Object>".repeat(1001);
    for (const body of [`<Delete>${tooMany}</Delete>`, "<Delete></Delete>", "<Delete>", "<!DOCTYPE x []><Delete/>", "<Delete><Object/></Delete>"]) {
      expect(await codeOf(await lab.ask("/demo?delete", { method: "POST", body }))).toBe("400 MalformedXML");
    }
  });
});

describe("buckets", () => {
  test("[BUCKET-13] are spaces: made, seen, emptied, removed, and made again", async () => {
    expect((await lab.ask("/fresh", { method: "PUT" })).status).toBe(200);
    expect(await codeOf(await lab.ask("/fresh", { method: "PUT" }))).toBe("409 BucketAlreadyOwnedByYou");
    expect(await codeOf(await lab.ask("/Not_A_Name", { method: "PUT" }))).toBe("400 InvalidBucketName");
    expect(await textOf("/")).toContain("<Name>fresh</Name>");
    expect(await textOf("/fresh?location")).toContain(">local</LocationConstraint>");
    await lab.ask("/fresh/a/b", { method: "PUT", body: "x" });
    expect(await codeOf(await lab.ask("/fresh", { method: "DELETE" }))).toBe("409 BucketNotEmpty");
    await lab.ask("/fresh/a/b", { method: "DELETE" });
    expect((await lab.ask("/fresh", { method: "DELETE" })).status).toBe(204);
    expect((await lab.ask("/fresh", { method: "HEAD" })).status).toBe(404);
    expect((await lab.ask("/fresh", { method: "PUT" })).status).toBe(200);
    expect(await codeOf(await lab.ask("/none/key"))).toBe("404 NoSuchBucket");
  });

  test("[BUCKET-14] what is not implemented says so, and never falls through to the object", async () => {
    await lab.put("safe", "safe");
    for (const sub of ["torrent", "restore", "select", "website", "logging", "nonsense", "annotation", "renameObject", "attributes&torrent"]) {
      for (const method of ["GET", "PUT", "DELETE", "POST"]) {
        const body = method === "PUT" || method === "POST" ? { body: "overwritten" } : {};
        expect(await codeOf(await lab.ask(`/demo/safe?${sub}`, { method, ...body }))).toBe("501 NotImplemented");
        expect([405, 501]).toContain((await lab.ask(`/demo?${sub}`, { method, ...body })).status);
      }
    }
    const headers = { "x-amz-website-redirect-location": "/elsewhere" };
    expect(await codeOf(await lab.put("safe", "x", { headers }))).toBe("501 NotImplemented");
    expect(await textOf("/demo/safe")).toBe("safe");
  });

  test("[BUCKET-15] rights are those of the hub, and nothing of what one may not read is told", async () => {
    await lab.put("in/seen", "x");
    await lab.put("hidden/a", "x");
    const status = async (as: string, target: string, method = "GET", body = ""): Promise<string> => codeOf(await lab.ask(target, { as, method, body }));
    expect(await status("reader", "/demo/in/seen")).toBe("200");
    expect(await status("reader", "/demo/hidden/a")).toBe("403 AccessDenied");
    expect(await status("reader", "/demo/hidden/none")).toBe("403 AccessDenied");
    expect(await status("reader", "/demo/in/new", "PUT", "x")).toBe("403 AccessDenied");
    expect(await status("reader", "/demo/in/seen", "DELETE")).toBe("403 AccessDenied");
    expect(await status("writer", "/demo/in/new", "PUT", "x")).toBe("200");
    expect(await status("writer", "/demo/hidden/a", "PUT", "x")).toBe("403 AccessDenied");
    const copy = { as: "writer", method: "PUT", headers: { "x-amz-copy-source": "demo/hidden/a" } };
    expect(await codeOf(await lab.ask("/demo/in/copy", copy))).toBe("403 AccessDenied");
    expect(await status("writer", "/made", "PUT")).toBe("403 AccessDenied");
    expect(await status("writer", "/demo", "DELETE")).toBe("403 AccessDenied");
    const listed = await (await lab.ask("/demo", { as: "reader" })).text();
    expect(listed).toContain("<Key>in/seen</Key>");
    expect(listed).not.toContain("hidden");
    expect(await (await lab.ask("/demo?prefix=hidden/", { as: "reader" })).text()).not.toContain("<Key>");
    expect(await (await lab.ask("/demo?delimiter=/", { as: "reader" })).text()).toContain("<Prefix>in/</Prefix>");
    for (const target of ["/demo", "/demo/in/seen", "/demo?prefix=in", "/none", "/demo/in/none", "/demo?location", "/demo?acl"]) {
      expect(await status("stranger", target)).toBe("404 NoSuchBucket");
    }
    const body = "<Delete><Object><Key>in/new</Key></Object><Object><Key>hidden/a</Key></Object></Delete>";
    const deleted = await (await lab.ask("/demo?delete", { as: "writer", method: "POST", body })).text();
    expect(deleted).toContain("<Deleted><Key>in/new</Key></Deleted>");
    expect(deleted).toContain("<Error><Key>hidden/a</Key><Code>AccessDenied</Code>");
  });

  test("[BUCKET-18] a key that was narrowed does no more than its rules say, whoever's it is", async () => {
    await lab.put("in/seen", "x");
    await lab.put("hidden/a", "x");
    const scopes = [{ effect: "allow", resource: "space", actions: ["read"], names: ["demo"], prefixes: ["in"] }];
    const made = await lab.api.ask("/v1/users/admin/s3-keys", { method: "POST", body: JSON.stringify({ scopes }) });
    const { accessKey, secretKey } = (await made.json()) as { accessKey: string; secretKey: string };
    const status = async (target: string, method = "GET", body = ""): Promise<string> =>
      codeOf(await lab.ask(target, { as: accessKey, secret: secretKey, method, body }));
    expect(await status("/demo/in/seen")).toBe("200");
    expect(await status("/demo/hidden/a")).toBe("403 AccessDenied");
    expect(await status("/demo/in/new", "PUT", "x")).toBe("403 AccessDenied");
    expect(await status("/other")).toBe("404 NoSuchBucket");
    expect(await status("/made-by-narrow", "PUT")).toBe("403 AccessDenied");
    expect(await status("/demo?policy", "PUT", "{}")).toBe("403 AccessDenied");
  });

  test("[BUCKET-16] every operation asks for rights: who may see nothing, or other paths only, gets and changes nothing", async () => {
    await lab.put("hidden/a", "secret");
    const sequence = async (): Promise<number> => ((await (await lab.api.ask("/v1/spaces/demo")).json()) as { sequence: number }).sequence;
    const before = await sequence();
    const bodies: Record<string, string> = {
      DeleteObjects: "<Delete><Object><Key>hidden/a</Key></Object></Delete>",
      PutBucketVersioning: "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
      PutBucketTagging: "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
      PutObjectTagging: "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
      PutBucketCors:
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
      CompleteMultipartUpload: '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"x"</ETag></Part></CompleteMultipartUpload>',
    };
    const subs: Record<string, string> = { uploadId: `uploadId=${"0".repeat(32)}&partNumber=1`, "list-type": "list-type=2" };
    for (const { name, method, on, sub, query, header } of OPERATIONS) {
      const own = sub === undefined ? "" : (subs[sub] ?? sub);
      const asked = query.includes("partNumber") || !own.includes("&partNumber") ? own : own.split("&")[0]!;
      const target = `${on === "service" ? "/" : on === "bucket" ? "/demo" : "/demo/hidden/a"}${asked === "" ? "" : `?${asked}`}`;
      const headers: Record<string, string> = {
        "x-amz-acl": "private", ...(header === undefined ? {} : { [header]: "demo/hidden/a" }),
      };
      const body = method === "PUT" || method === "POST" ? (bodies[name] ?? "") : "";
      for (const as of ["stranger", "reader", "writer"]) {
        const answer = await lab.ask(target, { as, method, headers, body });
        const text = await answer.text();
        expect([name, as, text.includes("secret"), text.includes("<Key>hidden")]).toEqual([
          name, as, false, name === "DeleteObjects" && as !== "stranger" && answer.status === 200 && text.includes("AccessDenied"),
        ]);
        const isAllowed = on === "service" || (as !== "stranger" && on === "bucket" && method !== "PUT" && method !== "DELETE");
        if (!isAllowed) expect([name, as, answer.status < 400]).toEqual([name, as, false]);
      }
    }
    expect(await sequence()).toBe(before);
    expect(await textOf("/demo/hidden/a")).toBe("secret");
    expect(await textOf("/demo?versioning")).not.toContain("Enabled");
  });

  test("[BUCKET-17] a bucket may be the first part of the host", async () => {
    await using virtual = await S3Lab.open({ s3Domain: ["s3.test"] });
    const headers = { host: "demo.s3.test:9000" };
    expect((await virtual.ask("/dir/key", { method: "PUT", body: "hello", headers })).status).toBe(200);
    expect(await (await virtual.ask("/dir/key", { headers })).text()).toBe("hello");
    expect(await (await virtual.ask("/?list-type=2", { headers })).text()).toContain("<Key>dir/key</Key>");
    expect(await (await virtual.ask("/demo/dir/key", { headers: { host: "s3.test" } })).text()).toBe("hello");
    expect(await codeOf(await virtual.ask("/dir/key", { headers: { host: "none.s3.test" } }))).toBe("404 NoSuchBucket");
  });
});
