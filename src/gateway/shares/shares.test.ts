import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { readFileSync } from "node:fs";
import { ApiLab, type Asked, TOKENS } from "#gateway/api/api-fixture.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import type { ShareJson } from "#gateway/api/routes-shares.ts";
import { Traffic } from "#gateway/api/traffic.ts";
import { ShareTable } from "#hub/shares/share-table.ts";

type Made = { readonly share: ShareJson; readonly url: string };

let lab: ApiLab;
beforeAll(async () => {
  lab = await ApiLab.open();
  await lab.ask("/v1/users", { method: "POST", json: { name: "ann", password: "correct-horse-1", roles: ["writer"] } });
});
afterAll(() => lab[Symbol.asyncDispose]());

async function share(body: Record<string, unknown>, asked: Asked = {}): Promise<Made> {
  const response = await lab.ask("/v1/spaces/demo/shares", { method: "POST", json: body, ...asked });
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
  return (await response.json()) as Made;
}
/** Without any credential, as whoever was given the address. */
const open = (url: string, init: RequestInit = {}): Promise<Response> => fetch(url, { redirect: "manual", ...init });
const status = async (url: string, init: RequestInit = {}): Promise<number> => {
  const response = await open(url, init);
  await response.arrayBuffer();
  return response.status;
};
const told = async (url: string): Promise<Record<string, unknown>> =>
  (await (await open(url, { headers: { accept: "application/json" } })).json()) as Record<string, unknown>;
const get = async (id: string): Promise<ShareJson> => (await (await lab.ask(`/v1/spaces/demo/shares/${id}`)).json()) as ShareJson;
const PAGE = { accept: "text/html,*/*" };

describe("shares", () => {
  test("[SHARE-1] the address holds 192 random bits, of which the hub keeps only the hash", async () => {
    await lab.put("one/a", "A");
    const { url } = await share({ path: "one" });
    const secret = url.split("/").at(-1)!;
    expect(Buffer.from(secret, "base64url")).toHaveLength(24);
    for (const file of ["hub.db", "hub.db-wal"]) expect(readFileSync(`${lab.dir}/hub/${file}`).includes(secret)).toBe(false);
    expect(await status(`${lab.hub.url}/s/${"A".repeat(32)}`)).toBe(404);
    expect(await status(`${lab.hub.url}/s/`)).toBe(404);
    expect(await status(`${lab.hub.url}/s/%zz`)).toBe(400);
  });

  test("[SHARE-2] a share to read shows and gives what is below its path, and nothing else", async () => {
    for (const [path, text] of [["dir/a.txt", "A"], ["dir/sub/b", "BBBB"], ["outside", "no"]] as const) await lab.put(path, text);
    const { url } = await share({ path: "dir", note: "for you" });
    expect(await told(url)).toMatchObject({ name: "dir", kind: "dir", allows: "read", note: "for you", entries: [{ name: "a.txt", kind: "file", size: 1 }, { name: "sub", kind: "dir" }] });
    expect(await told(`${url}/sub/`)).toMatchObject({ entries: [{ name: "b", size: 4 }] });
    const file = await open(`${url}/sub/b`, { headers: { range: "bytes=1-2" } });
    expect([file.status, await file.text(), file.headers.get("content-disposition")]).toEqual([206, "BB", expect.stringMatching(/^attachment/)]);
    for (const path of ["..", "../outside", "%2e%2e/outside", "sub%2f..%2f..%2foutside", "none", "a.txt/x"]) {
      expect([path, await status(`${url}/${path}`) >= 400]).toEqual([path, true]);
    }
    expect(await status(`${url}/new`, { method: "PUT", body: "x" })).toBe(405);
    expect(await status(url, { method: "DELETE" })).toBe(405);
    const one = await share({ path: "dir/a.txt" });
    expect(await (await open(one.url)).text()).toBe("A");
    expect(await told(one.url)).toMatchObject({ name: "a.txt", kind: "file", size: 1 });
    expect(await status(`${one.url}/x`)).toBe(404);
  });

  test("[SHARE-13] whatever is asked of an address, nothing outside of it is told, and nothing fails", async () => {
    for (const [path, text] of [["fuzz/in/a.txt", "INSIDE"], ["fuzz/b.txt", "OUTSIDE"], ["b.txt", "OUTSIDE"]] as const) await lab.put(path, text);
    const { url } = await share({ path: "fuzz/in", kind: "both" });
    const piece = fc.constantFrom("/", "//", "..", "%2e%2e", "%2F", "a.txt", "b.txt", "fuzz", "in", ".", "%00", "%", "%FF", "-", "\\", ".syncline", "~");
    const query = fc.constantFrom("", "?download", "?archive=zip", "?archive=tar", "?archive=..", "?after=Li4v", "?after=%00", "?after=x&after=y", "?=", "?a%zz");
    const accept = fc.constantFrom("text/html", "application/json", "*/*", "");
    const method = fc.constantFrom("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PROPFIND");
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 6 }), query, accept, method, async (pieces, search, type, verb) => {
        const body = verb === "PUT" || verb === "POST" ? { body: "x" } : {};
        const response = await open(`${url}${pieces.join("")}${search}`, { method: verb, headers: { accept: type }, ...body });
        expect(response.status).toBeLessThan(500);
        expect(await response.text()).not.toMatch(/OUTSIDE|fuzz\//);
      }),
      { numRuns: 400 },
    );
    expect([await lab.text("fuzz/b.txt"), await lab.text("b.txt")]).toEqual(["OUTSIDE", "OUTSIDE"]);
    const { entries } = (await (await lab.ask("/v1/spaces/demo/entries?below=fuzz&shallow=true")).json()) as { entries: { path: string }[] };
    expect(entries.map(({ path }) => path)).toEqual(["fuzz/b.txt", "fuzz/in"]);
  });

  test("[SHARE-3] a share to put files neither shows nor gives nor replaces anything", async () => {
    await lab.put("inbox/a.txt", "old");
    const { url, share: made } = await share({ path: "inbox", kind: "upload", note: "yours" });
    expect(await told(url)).not.toHaveProperty("entries");
    expect(await status(`${url}/a.txt`)).toBe(404);
    expect(await status(`${url}?archive=zip`)).toBe(200);
    expect((await open(`${url}?archive=zip`)).headers.get("content-type")).toBe("application/json");
    const put = async (name: string, body: string) => (await open(`${url}/${name}`, { method: "PUT", body })).json();
    expect(await put("a.txt", "new")).toEqual({ name: "a (2).txt", size: 3 });
    expect(await put("a.txt", "newer")).toEqual({ name: "a (3).txt", size: 5 });
    expect(await put("deep/er/c", "c")).toEqual({ name: "deep/er/c", size: 1 });
    expect([await lab.text("inbox/a.txt"), await lab.text("inbox/a%20(2).txt"), await lab.text("inbox/deep/er/c")]).toEqual(["old", "new", "c"]);
    expect(await status(url, { method: "PUT", body: "x" })).toBe(400);
    expect(await status(`${url}/${"n".repeat(300)}`, { method: "PUT", body: "x" })).toBe(400);
    const under = await open(`${url}/a.txt/below`, { method: "PUT", body: "x" });
    expect([under.status, await under.text()]).toEqual([409, expect.not.stringContaining("inbox")]);
    const { versions } = (await (await lab.ask("/v1/spaces/demo/versions/inbox/deep/er/c")).json()) as { versions: { message: string; actor: string }[] };
    expect(versions[0]).toMatchObject({ actor: "user:admin", message: `through share ${made.id}: yours` });
    expect(await get(made.id)).toMatchObject({ uploads: 3, bytesIn: 9, downloads: 0 });
  });

  test("[SHARE-15] a name of any length that is taken gets a number, and is shortened for it", async () => {
    await lab.put("long/there", "x");
    const { url } = await share({ path: "long", kind: "upload" });
    const put = async (name: string) => (await open(`${url}/${encodeURIComponent(name)}`, { method: "PUT", body: name })).json();
    for (const [name, second] of [
      ["n".repeat(255), `${"n".repeat(251)} (2)`], [`${"n".repeat(251)}.txt`, `${"n".repeat(247)} (2).txt`],
      [`${"é".repeat(127)}z`, `${"é".repeat(125)} (2)`], [`a.${"n".repeat(253)}`, `a.${"n".repeat(249)} (2)`],
      [`.${"n".repeat(254)}`, `.${"n".repeat(250)} (2)`], ["n".repeat(251), `${"n".repeat(251)} (3)`],
    ] as const) {
      const first = await put(name);
      expect([first, await put(name)]).toEqual([{ name, size: Buffer.byteLength(name) }, { name: second, size: Buffer.byteLength(name) }]);
    }
  });

  test("[SHARE-4] one that is over, revoked, of somebody who may not any more or of a space that is gone leads nowhere", async () => {
    const asAnn = { token: await tokenOf("ann") };
    await lab.put("end/a", "A");
    const make = (more: Record<string, unknown> = {}) => share({ path: "end", ...more }, asAnn);
    const soon = await make({ expires: new Date(Date.now() + 300).toISOString() });
    const revoked = await make();
    const kept = await make();
    expect(await Promise.all([soon, revoked, kept].map(({ url }) => status(url)))).toEqual([200, 200, 200]);
    await Bun.sleep(350);
    expect((await lab.ask(`/v1/spaces/demo/shares/${revoked.share.id}`, { method: "DELETE", ...asAnn })).status).toBe(204);
    const dead = [await open(soon.url), await open(revoked.url), await open(`${lab.hub.url}/s/${"B".repeat(32)}`)];
    const bodies = await Promise.all(dead.map(async (one) => [one.status, (await one.text()).replaceAll(/"traceId":"[^"]*"/g, "")]));
    expect(bodies[0]).toEqual(bodies[2]!);
    expect(bodies[1]).toEqual(bodies[2]!);
    expect((await get(soon.share.id)).state).toBe("over");
    const change = (json: Record<string, unknown>) => lab.ask("/v1/users/ann", { method: "PATCH", json });
    for (const [off, on] of [[{ roles: [] }, { roles: ["writer"] }], [{ disabled: true }, { disabled: false }]] as const) {
      expect((await change(off)).status).toBe(200);
      expect([await status(kept.url), await status(`${kept.url}/a`), (await get(kept.share.id)).state]).toEqual([404, 404, "dead"]);
      await change(on);
      expect(await status(kept.url)).toBe(200);
    }
    await lab.ask("/v1/users/ann", { method: "DELETE" });
    await lab.ask("/v1/users", { method: "POST", json: { name: "ann", roles: ["writer"] } });
    expect([await status(kept.url), (await get(kept.share.id)).state]).toEqual([404, "dead"]);
    await lab.ask("/v1/spaces", { method: "POST", json: { name: "short" } });
    const gone = (await (await lab.ask("/v1/spaces/short/shares", { method: "POST", json: {} })).json()) as Made;
    expect(await status(gone.url)).toBe(200);
    await lab.ask("/v1/spaces/short", { method: "PATCH", json: { name: "renamed" } });
    expect(await status(gone.url)).toBe(200);
    await lab.ask("/v1/spaces/renamed", { method: "DELETE" });
    expect(await status(gone.url)).toBe(404);
    expect((await lab.ask("/v1/spaces/demo/shares", { method: "POST", json: { expires: "2020-01-01T00:00:00Z" } })).status).toBe(400);
  });

  test("[SHARE-5] as many downloads as there may be are let through, whoever comes at the same time", async () => {
    await lab.put("few", "x".repeat(1000));
    const { url, share: made } = await share({ path: "few", downloadsMax: 5 });
    const all = await Promise.all(Array.from({ length: 24 }, () => status(url)));
    expect(all.toSorted()).toEqual([...Array<number>(5).fill(200), ...Array<number>(19).fill(410)]);
    expect(await get(made.id)).toMatchObject({ downloads: 5, bytesOut: 5000, state: "used-up" });
    // What was begun can be gone on with; but not without end.
    expect(await status(url, { headers: { range: "bytes=500-" } })).toBe(206);
    const page = await open(url, { headers: PAGE });
    expect([page.status, await page.text()]).toEqual([410, expect.stringContaining("as often as it may be")]);
    const asked = await share({ path: "few", downloadsMax: 1 });
    const { etag } = (await told(asked.url)) as { etag: string };
    expect(await status(asked.url, { method: "HEAD" })).toBe(200);
    expect(await status(asked.url, { headers: { "if-none-match": etag } })).toBe(304);
    expect([await status(asked.url), await status(asked.url)]).toEqual([200, 410]);
    const archive = await share({ path: "", downloadsMax: 1 });
    expect([await status(`${archive.url}?archive=tar`), await status(`${archive.url}?archive=tar`)]).toEqual([200, 410]);
  });

  test("[SHARE-14] a download whose first ranges are asked for at the same time is one", async () => {
    await lab.put("ranges", "x".repeat(4000));
    const { url, share: made } = await share({ path: "ranges", downloadsMax: 1 });
    // Somebody else has the database for a moment.
    const table = ShareTable.prototype;
    const { countDownload } = table;
    table.countDownload = async function (...given) {
      await Bun.sleep(30);
      return countDownload.apply(this, given);
    };
    const ranges = Array.from({ length: 4 }, (_, at) => status(url, { headers: { range: `bytes=${at * 1000}-${at * 1000 + 999}` } }));
    expect(await Promise.all(ranges).finally(() => (table.countDownload = countDownload))).toEqual([206, 206, 206, 206]);
    expect(await get(made.id)).toMatchObject({ downloads: 1, bytesOut: 4000 });
    expect(await status(url)).toBe(410);
  });

  test("[SHARE-16] a download that could not be begun is none", async () => {
    const text = "x".repeat(600_000);
    await lab.put("wanted", text);
    const { url, share: made } = await share({ path: "wanted", downloadsMax: 1 });
    // Of all that has come already there is no more.
    expect(await status(url, { headers: { range: `bytes=${text.length}-` } })).toBe(416);
    const { download } = Traffic.prototype;
    // As with so many that are at work.
    Traffic.prototype.download = () => {
      throw new ApiProblem("BUSY", "256 downloads are at work");
    };
    const archive = await share({ path: "", downloadsMax: 1 });
    const busy = [await status(url), await status(`${archive.url}?archive=tar`)];
    Traffic.prototype.download = download;
    expect(busy).toEqual([503, 503]);
    expect([(await get(made.id)).downloads, (await get(archive.share.id)).downloads]).toEqual([0, 0]);
    // Nor can it be gone on with.
    expect(await (await open(url)).text()).toBe(text);
    expect([await status(url), (await get(made.id)).downloads]).toEqual([410, 1]);
    expect([await status(`${archive.url}?archive=tar`), await status(`${archive.url}?archive=tar`)]).toEqual([200, 410]);
  });

  test("[SHARE-7] the page runs nothing but the hub's own script, and names and notes are only texts in it", async () => {
    const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`;
    await lab.put(`page/${encodeURIComponent(evil).replaceAll("%2F", "_")}`, "<script>alert(3)</script>");
    await lab.put("page/x.html", "<script>alert(4)</script>");
    const { url } = await share({ path: "page", kind: "both", note: evil });
    const page = await open(url, { headers: PAGE });
    const policy = page.headers.get("content-security-policy")!;
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    expect([page.headers.get("referrer-policy"), page.headers.get("cache-control")]).toEqual(["no-referrer", "no-store"]);
    const html = await page.text();
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(html).not.toMatch(/<img|<[^>]*\son\w+=|style="|https?:\/\//);
    expect(html).toContain("&lt;script&gt;alert(1)");
    for (const name of ["share.css", "share.js"]) expect(await status(`${lab.hub.url}/s/-/${name}`)).toBe(200);
    expect(await status(`${lab.hub.url}/s/-/other`)).toBe(404);
    const content = await open(`${url}/x.html`, { headers: PAGE });
    expect(content.headers.get("content-disposition")).toMatch(/^attachment/);
    expect([content.headers.get("content-security-policy"), content.headers.get("x-content-type-options")]).toEqual([expect.stringContaining("sandbox"), "nosniff"]);
    const nowhere = await open(`${lab.hub.url}/s/none`, { headers: PAGE });
    expect([nowhere.status, nowhere.headers.get("content-security-policy")]).toEqual([404, policy]);
  });

  test("[SHARE-8] who may not read or write a tree gives nobody leave to; who may not manage a space knows only their own", async () => {
    await lab.put("in/a", "A");
    const create = async (token: string, json: Record<string, unknown>): Promise<number> =>
      (await lab.ask("/v1/spaces/demo/shares", { method: "POST", json, token })).status;
    expect(await create(TOKENS.reader, { path: "in" })).toBe(201);
    expect(await create(TOKENS.reader, { path: "in", kind: "upload" })).toBe(403);
    expect(await create(TOKENS.reader, { path: "" })).toBe(403);
    expect(await create(TOKENS.writer, { path: "in", kind: "both" })).toBe(201);
    expect(await create(TOKENS.writer, { path: "in/none" })).toBe(404);
    expect(await create(TOKENS.stranger, { path: "in" })).toBe(403);
    const scopes = [{ effect: "allow", resource: "space", actions: ["read"], names: ["demo"] }];
    const { value } = (await (await lab.ask("/v1/tokens", { method: "POST", json: { user: "reader", name: "narrow", scopes } })).json()) as { value: string };
    expect(await create(value, { path: "in" })).toBe(403);
    const listed = async (token: string): Promise<ShareJson[]> =>
      ((await (await lab.ask("/v1/spaces/demo/shares", { token })).json()) as { shares: ShareJson[] }).shares;
    expect((await listed(TOKENS.reader)).map(({ user }) => user)).toEqual(["reader"]);
    const [own] = await listed(TOKENS.reader);
    expect((await listed(TOKENS.admin)).some(({ id }) => id === own!.id)).toBe(true);
    expect((await lab.ask(`/v1/spaces/demo/shares/${own!.id}`, { method: "DELETE", token: TOKENS.writer })).status).toBe(404);
    expect((await lab.ask(`/v1/spaces/demo/shares/${own!.id}`, { method: "DELETE" })).status).toBe(204);
  });

  test("[SHARE-9] making, using, guessing and revoking are in the audit log, and what went through in the metrics", async () => {
    await lab.put("told/a", "AAAA");
    const { url, share: made } = await share({ path: "told", kind: "both", password: "open sesame" });
    const headers = { authorization: `Basic ${btoa("x:open sesame")}` };
    await status(`${url}/a`, { headers });
    await status(`${url}/b`, { headers, method: "PUT", body: "B" });
    await status(url, { headers: { authorization: `Basic ${btoa("x:no")}` } });
    await lab.ask(`/v1/spaces/demo/shares/${made.id}`, { method: "DELETE" });
    const { records } = (await (await lab.ask("/v1/audit?limit=50")).json()) as { records: { action: string; outcome: string; details?: { id?: string } }[] };
    const mine = records.filter(({ details }) => details?.id === made.id).map(({ action, outcome }) => `${action} ${outcome}`);
    expect(mine.toReversed()).toEqual(["share.create done", "share.download done", "share.upload done", "share.open denied", "share.revoke done"]);
    const metrics = await (await lab.ask("/metrics")).text();
    expect(metrics).toMatch(/syncline_space_bytes_total\{space="demo",direction="out"\} [1-9]/);
    expect(metrics).toMatch(/syncline_user_bytes_total\{user="user:admin",direction="in"\} [1-9]/);
    expect(metrics).toMatch(/syncline_share_uses_total\{kind="downloads"\} [1-9]/);
    expect(metrics).toMatch(/syncline_shares\{state="open"\} [1-9]/);
  });

  test("[SHARE-10] shares and their counts outlive a restart", async () => {
    await lab.put("stay", "S");
    const { url, share: made } = await share({ path: "stay", downloadsMax: 2 });
    expect(await status(url)).toBe(200);
    const port = new URL(url).port;
    await lab.hub.close();
    await lab.start();
    const moved = url.replace(`:${port}`, `:${lab.hub.port}`);
    expect([await status(moved), await status(moved)]).toEqual([200, 410]);
    expect(await get(made.id)).toMatchObject({ downloads: 2, bytesOut: 2 });
  });

  test("[SHARE-6] a password is asked of programs and of people, and guessing it is slowed down", async () => {
    await lab.put("locked/a", "A");
    const { url, share: made } = await share({ path: "locked", password: "open sesame" });
    const basic = (password: string) => ({ authorization: `Basic ${btoa(`anybody:${password}`)}` });
    const closed = await open(`${url}/a`);
    expect([closed.status, closed.headers.get("www-authenticate")]).toEqual([401, expect.stringContaining("Basic")]);
    expect(await status(`${url}/a`, { headers: basic("wrong") })).toBe(401);
    expect(await (await open(`${url}/a`, { headers: basic("open sesame") })).text()).toBe("A");
    const page = await open(url, { headers: PAGE });
    expect([page.status, page.headers.get("www-authenticate"), await page.text()]).toEqual([401, null, expect.stringContaining('type="password"')]);
    const send = (password: string) => open(url, { method: "POST", headers: PAGE, body: new URLSearchParams({ password }) });
    expect((await send("wrong")).status).toBe(401);
    const opened = await send("open sesame");
    const cookie = opened.headers.get("set-cookie")!;
    expect([opened.status, cookie]).toEqual([303, expect.stringMatching(/; Path=\/s\/[\w-]{32}; HttpOnly; SameSite=Lax; Max-Age=\d+$/)]);
    const pair = cookie.split(";")[0]!;
    expect(await status(`${url}/a`, { headers: { cookie: pair } })).toBe(200);
    const other = await share({ path: "locked", password: "open sesame" });
    const forged = pair.replace(made.id, other.share.id);
    expect(await status(other.url, { headers: { cookie: forged } })).toBe(401);
    expect(await status(url, { headers: { cookie: pair.replace(/=\d+/, "=9999999999999") } })).toBe(401);
    const tries: number[] = [];
    for (let at = 0; at < 12; at++) tries.push(await status(other.url, { headers: basic(`guess ${at}`) }));
    expect(tries.at(-1)).toBe(429);
    expect((await lab.ask("/v1/spaces/demo/shares", { method: "POST", json: { password: "short" } })).status).toBe(400);
  });
});

async function tokenOf(user: string): Promise<string> {
  const json = { user, name: "test" };
  return ((await (await lab.ask("/v1/tokens", { method: "POST", json })).json()) as { value: string }).value;
}
