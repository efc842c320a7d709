import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { ApiLab, type Asked, TOKENS } from "#gateway/api/api-fixture.ts";
import type { UploadJson, UploadPartJson } from "#gateway/api/routes-uploads.ts";
import { proofHead } from "#hub/uploads/upload.ts";
import { noise } from "#hub/uploads/uploads-fixture.ts";

const MIB = 1 << 20;
const hash = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const digest = (bytes: Uint8Array) => ({
  "content-digest": `sha-256=:${Buffer.from(hash(bytes), "hex").toString("base64")}:`,
});

let lab: ApiLab;
beforeAll(async () => {
  lab = await ApiLab.open();
});
afterAll(() => lab[Symbol.asyncDispose]());

const UPLOADS = "/v1/spaces/demo/uploads";
const post = (path: string, json: unknown, asked: Asked = {}): Promise<Response> => lab.ask(path, { ...asked, method: "POST", json });
const begin = async (body: object, asked: Asked = {}): Promise<UploadJson> =>
  (await (await post(UPLOADS, body, asked)).json()) as UploadJson;
const part = (id: string, number: number, bytes: Uint8Array, asked: Asked = {}): Promise<Response> =>
  lab.ask(`${UPLOADS}/${id}/parts/${number}`, { method: "PUT", body: new Uint8Array(bytes), headers: digest(bytes), ...asked });
const state = async (id: string, query = "") =>
  (await (await lab.ask(`${UPLOADS}/${id}${query}`)).json()) as { upload: UploadJson; parts: UploadPartJson[]; nextAfter?: number };
const codeOf = async (response: Response): Promise<[number, string]> => [response.status, ((await response.json()) as { code: string }).code];

describe("uploads over the API", () => {
  test("[UPAPI-1] parts come in any order, are verified, and are one file at the end", async () => {
    const parts = [noise(2 * MIB, 1), noise(MIB, 2), noise(77, 3)];
    const size = parts.reduce((sum, { length }) => sum + length, 0);
    const { id } = await begin({ path: "up/f", size, mode: "0600", mtime: "2020-02-03T04:05:06Z", attributes: { "user.a": "b" }, label: "mine" });
    expect((await part(id, 3, parts[2]!)).status).toBe(200);
    const wrong = await part(id, 1, parts[0]!, { headers: digest(parts[1]!) });
    expect(await codeOf(wrong)).toEqual([400, "DIGEST"]);
    await Promise.all([part(id, 2, parts[1]!), part(id, 1, parts[0]!)]);
    const { upload, parts: shown } = await state(id);
    expect(upload).toMatchObject({ path: "up/f", size, received: size, label: "mine", attributes: { "user.a": "b" } });
    expect(shown).toEqual(parts.map((bytes, at) => ({ number: at + 1, size: bytes.length, sha256: hash(bytes) })));
    expect((await state(id, "?limit=2")).nextAfter).toBe(2);
    const listed = (await (await lab.ask(`${UPLOADS}?prefix=up/`)).json()) as { uploads: UploadJson[] };
    expect(listed.uploads.map((one) => one.id)).toEqual([id]);
    const done = await post(`${UPLOADS}/${id}/complete`, {});
    expect(done.status).toBe(200);
    const version = (await done.json()) as { sequence: number };
    expect(version).toMatchObject({ path: "up/f", size, mode: "0600", mtime: "2020-02-03T04:05:06Z" });
    expect(await (await post(`${UPLOADS}/${id}/complete`, {})).json()).toEqual(version);
    expect((await state(id)).upload.sequence).toBe(version.sequence);
    const content = await lab.ask("/v1/spaces/demo/content/up/f");
    expect(hash(new Uint8Array(await content.arrayBuffer()))).toBe(hash(new Uint8Array(Buffer.concat(parts))));
  });

  test("[UPAPI-2] what is there already is proved by who may read it, and sent by who may not", async () => {
    const bytes = noise(3 * MIB, 7);
    const print = { number: 1, size: bytes.length, sha256: hash(bytes) };
    const first = await begin({ path: "out/known" });
    await part(first.id, 1, bytes);
    await post(`${UPLOADS}/${first.id}/complete`, {});
    const writer = { token: TOKENS.writer };
    const hidden = await begin({ path: "in/mine" }, writer);
    const offer = async (id: string, asked: Asked) =>
      (await (await post(`${UPLOADS}/${id}/offer`, { parts: [print] }, asked)).json()) as {
        nonce: string; parts: { number: number; start: number; length: number }[];
      };
    expect((await offer(hidden.id, writer)).parts).toEqual([]);
    const second = await begin({ path: "out/again" });
    const { nonce, parts: [asked] } = await offer(second.id, {});
    const hmac = new Bun.CryptoHasher("sha256", Buffer.from(nonce, "hex")).update(proofHead(print, asked!.start));
    const mac = hmac.update(bytes.subarray(asked!.start, asked!.start + asked!.length)).digest("hex");
    const taken = await post(`${UPLOADS}/${second.id}/prove`, { nonce, proofs: [{ number: 1, mac }] });
    expect(await taken.json()).toEqual({ parts: [1] });
    expect((await post(`${UPLOADS}/${second.id}/complete`, {})).status).toBe(200);
    expect(hash(new Uint8Array(await (await lab.ask("/v1/spaces/demo/content/out/again")).arrayBuffer()))).toBe(print.sha256);
  });

  test("[UPAPI-3] conditions, aborting, other people's uploads and other addresses are told as they are", async () => {
    await lab.put("cond", "x");
    const { id } = await begin({ path: "cond", sequence: 0 });
    await part(id, 1, noise(5, 1));
    expect(await codeOf(await post(`${UPLOADS}/${id}/complete`, {}))).toEqual([409, "EXISTS"]);
    expect(await codeOf(await post(`${UPLOADS}/${id}/complete`, { parts: [2] }))).toEqual([409, "STALE"]);
    expect(await codeOf(await lab.ask(`${UPLOADS}/${id}`, { token: TOKENS.writer }))).toEqual([404, "NOT_FOUND"]);
    expect(await codeOf(await lab.ask(`/v1/spaces/other/uploads/${id}`))).toEqual([404, "NOT_FOUND"]);
    expect(await codeOf(await post(UPLOADS, { path: "out/f" }, { token: TOKENS.writer }))).toEqual([403, "DENIED"]);
    expect((await lab.ask(`${UPLOADS}/${id}`, { method: "DELETE" })).status).toBe(204);
    expect(await codeOf(await part(id, 1, noise(5, 1)))).toEqual([404, "NOT_FOUND"]);
    expect(await lab.text("cond")).toBe("x");
  });

  test("[UPAPI-4] a part whose body breaks off does not count", async () => {
    const { id } = await begin({ path: "cut" });
    const { hostname, port } = new URL(lab.hub.url);
    const socket = connect(Number(port), hostname);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(
      `PUT ${UPLOADS}/${id}/parts/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOKENS.admin}\r\ncontent-length: 1000000\r\n\r\n`,
    );
    socket.write(noise(500_000, 1), () => setTimeout(() => socket.destroy(), 50));
    await closed;
    expect((await part(id, 2, noise(5, 2))).status).toBe(200);
    expect((await state(id)).parts.map(({ number }) => number)).toEqual([2]);
  });
});
