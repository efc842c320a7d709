/** Every method of WebDAV with every kind of credential. A method that is added is covered, or this fails. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ApiLab, type Asked, TOKENS } from "#gateway/api/api-fixture.ts";
import { DAV_METHODS } from "#gateway/dav/dav.ts";

const LOCK = `<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>`;
const PATCH = `<propertyupdate xmlns="DAV:"><set><prop><a xmlns="urn:x">1</a></prop></set></propertyupdate>`;

/** What is sent with each; paths are inside or outside of what reader and writer see. */
const REQUESTS: Record<string, (path: string) => Asked> = {
  PROPFIND: () => ({ headers: { depth: "1" } }),
  PROPPATCH: () => ({ body: PATCH }),
  MKCOL: () => ({}),
  GET: () => ({}),
  HEAD: () => ({}),
  PUT: () => ({ body: "changed" }),
  DELETE: () => ({}),
  COPY: (path) => ({ headers: { destination: `/dav/demo/${path}/copied` } }),
  MOVE: (path) => ({ headers: { destination: `/dav/demo/${path}/moved` } }),
  LOCK: () => ({ body: LOCK, headers: { timeout: "Second-1" } }),
  UNLOCK: () => ({ headers: { "lock-token": "<made:up>" } }),
};
const READS = new Set(["PROPFIND", "GET", "HEAD"]);
const REFUSED = [403, 404];

describe("rights over WebDAV", () => {
  let lab: ApiLab;
  beforeAll(async () => {
    lab = await ApiLab.open();
    for (const path of ["in/a", "in/b", "out/a", "out/b"]) await lab.put(path, path);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const statusOf = async (method: string, path: string, token: string, more: Asked = {}): Promise<number> => {
    const target = method === "MKCOL" ? `${path}/made` : `${path}/a`;
    const asked = REQUESTS[method]!(path);
    const response = await lab.ask(`/dav/demo/${target}`, { method, token, ...asked, headers: { ...asked.headers, ...more.headers } });
    await response.text();
    return response.status;
  };
  const state = async (): Promise<unknown> => (await lab.ask("/v1/spaces/demo/journal")).json();

  test("[DAV-17] each method has a request to be tried with", () => {
    expect(Object.keys(DAV_METHODS).sort()).toEqual(Object.keys(REQUESTS).sort());
  });

  test("[DAV-17] none, wrong and ended credentials are refused with 401, whatever else is right or wrong", async () => {
    const credential = fc.constantFrom<Record<string, string>>(
      {},
      { authorization: `Bearer ${"x".repeat(40)}` },
      { authorization: "Basic !!!" },
      { authorization: `Basic ${btoa("admin:wrong")}` },
      { authorization: `Basic ${btoa(`reader:${TOKENS.admin}`)}` },
      { authorization: "Basic" },
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...Object.keys(REQUESTS)), credential, fc.constantFrom("in", "%zz", "none"), async (method, headers, path) => {
        expect([401, 429]).toContain(await statusOf(method, path, "", { headers }));
      }),
      { numRuns: 100 },
    );
  });

  test("[DAV-17] each person may do what the roles say, inside a prefix and outside of it; nothing else does anything", async () => {
    const before = await state();
    for (const method of Object.keys(REQUESTS)) {
      const said = async (path: string, token: string): Promise<number> => statusOf(method, path, token);
      const check = (who: string, status: number, expected: readonly number[]): void =>
        expect([method, who, status, expected.includes(status)]).toEqual([method, who, status, true]);
      for (const path of ["in", "out"]) check("stranger", await said(path, TOKENS.stranger), REFUSED);
      expect([method, "reader out", await said("out", TOKENS.reader)]).toEqual([method, "reader out", 403]);
      expect([method, "writer out", await said("out", TOKENS.writer)]).toEqual([method, "writer out", 403]);
      check("reader in", await said("in", TOKENS.reader), READS.has(method) ? [200, 207] : [403]);
    }
    expect(await state()).toEqual(before);
  });

  test("[DAV-17] nothing goes out of a prefix, or comes in over another one's wall, by copying, moving or locking", async () => {
    const before = await state();
    const asked = (method: string, path: string, headers: Record<string, string>, body?: string) =>
      lab.ask(`/dav/demo/${path}`, { method, token: TOKENS.writer, headers, ...(body === undefined ? {} : { body }) });
    for (const method of ["COPY", "MOVE"]) {
      expect((await asked(method, "out/a", { destination: "/dav/demo/in/stolen" })).status).toBe(403);
      expect((await asked(method, "in/a", { destination: "/dav/demo/out/placed" })).status).toBe(403);
    }
    expect((await asked("LOCK", "", {}, LOCK)).status).toBe(403);
    expect((await asked("LOCK", "in", { depth: "infinity" }, LOCK)).status).toBe(200);
    // Conditions on what somebody may not see tell nothing of it.
    const etag = (await lab.ask("/dav/demo/out/a", { method: "HEAD" })).headers.get("etag")!;
    const probe = await asked("GET", "in/a", { if: `</dav/demo/out/a> ([${etag}])` });
    expect(probe.status).toBe(412);
    const listed = await (await asked("PROPFIND", "", { depth: "1" })).text();
    expect(listed).toContain("/dav/demo/in/");
    expect(listed).not.toContain("/out");
    expect(await state()).toEqual(before);
  });

  test("[DAV-17] the writer may do all of it inside", async () => {
    await Bun.sleep(1100);
    await lab.ask("/dav/demo/in", { method: "UNLOCK", headers: { "lock-token": await tokenOf(lab) } });
    for (const method of [...Object.keys(REQUESTS)].filter((one) => one !== "DELETE" && one !== "MOVE").concat("MOVE", "DELETE")) {
      const status = await statusOf(method, "in", TOKENS.writer);
      const isGone = method === "DELETE";
      expect([method, isGone ? [204, 404].includes(status) : status < 400 || (method === "UNLOCK" && status === 409)]).toEqual([method, true]);
      if (method === "LOCK") await Bun.sleep(1100);
    }
  });
});

/** The token of the lock on the collection. */
async function tokenOf(lab: ApiLab): Promise<string> {
  const text = await (await lab.ask("/dav/demo/in", { method: "PROPFIND", headers: { depth: "0" } })).text();
  return `<${/<D:locktoken><D:href>([^<]*)/.exec(text)![1]!}>`;
}
