import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import fc from "fast-check";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { CHECKSUMS, checksumOf, concatOf, metadataOf } from "#gateway/tus/tus-headers.ts";
import { noise } from "#hub/uploads/uploads-fixture.ts";

const MIB = 1 << 20;
const TYPE = { "content-type": "application/offset+octet-stream" };

let lab: ApiLab;
beforeAll(async () => {
  lab = await ApiLab.open();
});
afterAll(() => lab[Symbol.asyncDispose]());

type More = { headers?: Record<string, string>; body?: Uint8Array; token?: string };
const tus = (method: string, path: string, { headers, body, token }: More = {}): Promise<Response> =>
  lab.ask(path, {
    method,
    headers: { "tus-resumable": "1.0.0", ...headers },
    ...(body === undefined ? {} : { body: new Uint8Array(body) }),
    ...(token === undefined ? {} : { token }),
  });
const named = (name: string, more: Record<string, string> = {}): string =>
  Object.entries({ filename: name, ...more }).map(([key, value]) => `${key} ${Buffer.from(value).toString("base64")}`).join(",");
const begin = (name: string, size: number, headers: Record<string, string> = {}, more: More = {}): Promise<Response> =>
  tus("POST", "/v1/tus/demo", { ...more, headers: { "upload-length": String(size), "upload-metadata": named(name), ...headers } });
const patch = (url: string, offset: number, body: Uint8Array, headers: Record<string, string> = {}): Promise<Response> =>
  tus("PATCH", url, { body, headers: { ...TYPE, "upload-offset": String(offset), ...headers } });
const begun = async (name: string, size: number, headers: Record<string, string> = {}): Promise<string> =>
  (await begin(name, size, headers)).headers.get("location")!;
const bytesAt = async (path: string): Promise<Buffer> =>
  Buffer.from(await (await lab.ask(`/v1/spaces/demo/content/${path}`)).arrayBuffer());

describe("tus", () => {
  test("[TUS-1] says what it can, and speaks its own version alone", async () => {
    const options = await lab.ask("/v1/tus/demo", { method: "OPTIONS", token: "" });
    expect([options.status, options.headers.get("tus-version")]).toEqual([204, "1.0.0"]);
    expect(options.headers.get("tus-extension")).toContain("concatenation");
    expect(options.headers.get("tus-checksum-algorithm")).toContain("sha1");
    for (const version of [undefined, "0.2.2"]) {
      const other = await lab.ask("/v1/tus/demo", { method: "POST", headers: version === undefined ? {} : { "tus-resumable": version } });
      expect([other.status, other.headers.get("tus-version"), other.headers.get("tus-resumable")]).toEqual([412, "1.0.0", "1.0.0"]);
    }
    expect((await tus("PUT", "/v1/tus/demo")).status).toBe(405);
    expect((await tus("POST", "/v1/tus")).status).toBe(404);
  });

  test("[TUS-2] an upload grows at its offset, and is a file when the last byte has come", async () => {
    const bytes = noise(3 * MIB + 5, 1);
    const made = await begin("a.bin", bytes.length, { "upload-metadata": named("dir/a.bin", { filetype: "text/x-a", colour: "rot" }) });
    const url = made.headers.get("location")!;
    expect([made.status, made.headers.get("upload-expires")]).toEqual([201, expect.stringMatching(/GMT$/)]);
    expect((await patch(url, 5, bytes)).status).toBe(409);
    expect((await patch(url, 0, bytes.subarray(0, 10), { "content-type": "text/plain" })).status).toBe(415);
    const first = await patch(url, 0, bytes.subarray(0, MIB));
    expect([first.status, first.headers.get("upload-offset")]).toEqual([204, String(MIB)]);
    const head = await tus("HEAD", url);
    expect(Object.fromEntries(["upload-offset", "upload-length", "cache-control"].map((name) => [name, head.headers.get(name)]))).toEqual({
      "upload-offset": String(MIB), "upload-length": String(bytes.length), "cache-control": "no-store",
    });
    expect(metadataOf(head.headers.get("upload-metadata")).get("colour")).toBe("rot");
    expect((await lab.ask("/v1/spaces/demo/entries/dir/a.bin")).status).toBe(404);
    expect((await patch(url, MIB, noise(3 * MIB, 9))).status).toBe(413);
    const last = await tus("POST", url, { body: bytes.subarray(MIB), headers: { ...TYPE, "upload-offset": String(MIB), "x-http-method-override": "PATCH" } });
    expect([last.status, last.headers.get("upload-offset")]).toEqual([204, String(bytes.length)]);
    expect(Buffer.compare(await bytesAt("dir/a.bin"), bytes)).toBe(0);
    const entry = (await (await lab.ask("/v1/spaces/demo/entries/dir/a.bin")).json()) as { attributes: unknown };
    expect(entry.attributes).toEqual({ "http.content-type": "text/x-a", "user.colour": "rot" });
    expect((await tus("HEAD", url)).headers.get("upload-offset")).toBe(String(bytes.length));
  });

  test("[TUS-3] creation: with bytes, without a length, without a name, of nothing, too large, in a directory", async () => {
    const bytes = noise(1000, 2);
    const whole = await begin("whole", 1000, TYPE, { body: bytes });
    expect([whole.status, whole.headers.get("upload-offset")]).toEqual([201, "1000"]);
    expect(Buffer.compare(await bytesAt("whole"), bytes)).toBe(0);
    expect((await begin("empty", 0)).status).toBe(201);
    expect((await bytesAt("empty")).length).toBe(0);
    const late = await tus("POST", "/v1/tus/demo/in/deep", { headers: { "upload-defer-length": "1", "upload-metadata": named("late") } });
    const url = late.headers.get("location")!;
    expect((await tus("HEAD", url)).headers.get("upload-defer-length")).toBe("1");
    await patch(url, 0, bytes);
    expect((await tus("HEAD", url)).headers.get("upload-offset")).toBe("1000");
    expect((await patch(url, 1000, new Uint8Array(0), { "upload-length": "1000" })).status).toBe(204);
    expect(Buffer.compare(await bytesAt("in/deep/late"), bytes)).toBe(0);
    const path = await tus("POST", "/v1/tus/demo/by/url", { headers: { "upload-length": "0" } });
    expect([path.status, (await bytesAt("by/url")).length]).toEqual([201, 0]);
    const refused: [Record<string, string>, number][] = [
      [{ "upload-length": "5" }, 400],
      [{ "upload-metadata": named("x") }, 400],
      [{ "upload-length": "5", "upload-defer-length": "1", "upload-metadata": named("x") }, 400],
      [{ "upload-length": "-5", "upload-metadata": named("x") }, 400],
      [{ "upload-length": String(2 ** 52), "upload-metadata": named("x") }, 413],
      [{ "upload-length": "5", "upload-metadata": named("../x") }, 400],
      [{ "upload-length": "5", "upload-metadata": "filename eA==,filename eA==" }, 400],
    ];
    for (const [headers, status] of refused) expect((await tus("POST", "/v1/tus/demo", { headers })).status).toBe(status);
  });

  test("[TUS-4] a checksum that does not fit costs all bytes of its request, and no others", async () => {
    const bytes = noise(2 * MIB, 3);
    const url = await begun("sum", bytes.length);
    const digest = (name: string, part: Uint8Array): string => new Bun.CryptoHasher(name as "sha1").update(part).digest("base64");
    const half = bytes.subarray(0, MIB);
    const wrong = await patch(url, 0, half, { "upload-checksum": `sha1 ${digest("sha1", bytes)}` });
    expect(wrong.status).toBe(460);
    expect((await tus("HEAD", url)).headers.get("upload-offset")).toBe("0");
    expect((await patch(url, 0, half, { "upload-checksum": "sha3 AAAA" })).status).toBe(400);
    expect((await patch(url, 0, half, { "upload-checksum": `sha256 ${digest("sha256", half)}` })).status).toBe(204);
    const crc = Buffer.alloc(4);
    crc.writeUInt32BE(Bun.hash.crc32(bytes.subarray(MIB)));
    expect((await patch(url, MIB, bytes.subarray(MIB), { "upload-checksum": `crc32 ${crc.toString("base64")}` })).status).toBe(204);
    expect(Buffer.compare(await bytesAt("sum"), bytes)).toBe(0);
  });

  test("[TUS-5] what came before the connection broke off counts", async () => {
    const bytes = noise(3 * MIB, 4);
    const url = await begun("cut", bytes.length);
    const { hostname, port } = new URL(lab.hub.url);
    const socket = connect(Number(port), hostname);
    const head = `PATCH ${url} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOKENS.admin}\r\ntus-resumable: 1.0.0\r\n`;
    socket.write(`${head}content-type: ${TYPE["content-type"]}\r\nupload-offset: 0\r\ncontent-length: ${bytes.length}\r\n\r\n`);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(bytes.subarray(0, 2 * MIB), () => setTimeout(() => socket.destroy(), 100));
    await closed;
    // The next request takes the place of the one that hangs, if it hangs.
    const early = await patch(url, 0, bytes);
    expect(early.status).toBe(409);
    const offset = Number((await tus("HEAD", url)).headers.get("upload-offset"));
    expect(offset).toBeGreaterThan(0);
    expect(offset).toBeLessThanOrEqual(2 * MIB);
    expect((await patch(url, offset, bytes.subarray(offset))).status).toBe(204);
    expect(Buffer.compare(await bytesAt("cut"), bytes)).toBe(0);
  });

  test("[TUS-6] partial uploads are joined to one file, which takes no bytes of its own", async () => {
    const parts = [noise(MIB + 7, 5), noise(2 * MIB, 6)];
    const urls: string[] = [];
    for (const part of parts) {
      const made = await tus("POST", "/v1/tus/demo", { body: part, headers: { ...TYPE, "upload-length": String(part.length), "upload-concat": "partial" } });
      urls.push(made.headers.get("location")!);
    }
    expect((await lab.ask("/v1/spaces/demo/entries/partial-upload")).status).toBe(404);
    const join = (concat: string, more: Record<string, string> = {}): Promise<Response> =>
      tus("POST", "/v1/tus/demo", { headers: { "upload-concat": concat, "upload-metadata": named("joined"), ...more } });
    const made = await join(`final;${urls[0]} ${lab.hub.url}${urls[1]}`);
    expect(made.status).toBe(201);
    const url = made.headers.get("location")!;
    expect(Buffer.compare(await bytesAt("joined"), Buffer.concat(parts))).toBe(0);
    const head = await tus("HEAD", url);
    expect([head.headers.get("upload-concat"), head.headers.get("upload-offset")]).toEqual([`final;${urls.join(" ")}`, String(3 * MIB + 7)]);
    expect((await patch(url, 0, parts[0]!)).status).toBe(403);
    expect((await join("final;")).status).toBe(400);
    expect((await join("final;/v1/tus/other/00112233445566778899aabbccddeeff")).status).toBe(400);
    expect((await join("final;/v1/tus/demo/00112233445566778899aabbccddeeff")).status).toBe(404);
    expect((await join(`final;${urls[0]}`, { "upload-length": "5" })).status).toBe(400);
    expect((await join(`final;${await begun("whole-one", 5)}`)).status).toBe(400);
  });

  test("[TUS-7] uploads are given up, belong to one user, and ask for the right to write at every step", async () => {
    const url = await begun("gone", 5);
    expect((await tus("HEAD", url, { token: TOKENS.writer })).status).toBe(404);
    expect((await tus("HEAD", url.replace("/demo/", "/other/"))).status).toBe(404);
    expect((await tus("HEAD", url, { token: "" })).status).toBe(401);
    expect((await tus("DELETE", url)).status).toBe(204);
    for (const method of ["HEAD", "DELETE"]) expect((await tus(method, url)).status).toBe(404);
    const of = (token: string, name: string): Promise<Response> => begin(name, 5, {}, { token });
    expect((await of(TOKENS.writer, "in/f")).status).toBe(201);
    for (const [token, name] of [[TOKENS.writer, "out/f"], [TOKENS.reader, "in/f"], [TOKENS.stranger, "in/f"]] as const) {
      expect((await of(token, name)).status).toBe(403);
    }
    const once = await begun("once", 3, { "if-none-match": "*" });
    await lab.put("once", "x");
    const bytes = new Uint8Array(3);
    expect((await patch(once, 0, bytes)).status).toBe(412);
    // Who asks is not told that the file is there.
    expect((await tus("HEAD", once)).status).toBe(412);
    expect((await lab.text("once"))).toBe("x");
  });

  test("[TUS-8] header fields are values or refused, whatever they hold", () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.stringMatching(/^[a-z]{1,5}( [A-Za-z0-9+/=]{0,9})?(,[a-z]{1,3} [A-Za-z=]{0,8})*$/));
    const readers = [metadataOf, checksumOf, concatOf];
    fc.assert(fc.property(text, fc.constantFrom(...readers), (given, read) => {
      try {
        read(given);
      } catch (error) {
        expect(error).toBeInstanceOf(ApiProblem);
      }
    }), { numRuns: 2000 });
    const pairs = fc.dictionary(fc.stringMatching(/^[!-+\--~]{1,20}$/), fc.string({ unit: "grapheme" }), { maxKeys: 5 });
    fc.assert(fc.property(pairs, (given) => {
      const written = Object.entries(given).map(([key, value]) => `${key} ${Buffer.from(value).toString("base64")}`.trim()).join(",");
      expect(Object.fromEntries(metadataOf(written))).toEqual(given);
    }));
    expect(() => metadataOf(`a ${"A".repeat(5000)}`)).toThrow("at most");
    for (const name of ["__proto__", "constructor", "toString"]) expect(() => checksumOf(`${name} AAAA`)).toThrow(Object.keys(CHECKSUMS)[0]!);
  });
});
