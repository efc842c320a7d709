import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";
import { ApiLab, type Asked, TOKENS } from "#gateway/api/api-fixture.ts";
import { DAV_XML } from "#gateway/dav/xml-bounds.ts";
import { type XmlElement, childElements, parseXml, textOf } from "#gateway/xml.ts";

let lab: ApiLab;
beforeAll(async () => {
  lab = await ApiLab.open({}, undefined);
  await lab.ask("/v1/users", { method: "POST", json: { name: "ann", password: "correct-horse-1", roles: ["admin"] } });
});
afterAll(() => lab[Symbol.asyncDispose]());

const dav = (method: string, path: string, asked: Asked = {}): Promise<Response> => lab.ask(`/dav/${path}`, { method, ...asked });
const status = async (method: string, path: string, asked: Asked = {}): Promise<number> => {
  const response = await dav(method, path, asked);
  await response.text();
  return response.status;
};
const basic = (user: string, password: string): Record<string, string> => ({ authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` });

async function xmlOf(response: Response): Promise<XmlElement> {
  return parseXml(new Uint8Array(await response.arrayBuffer()), DAV_XML);
}

/** Properties by href and local name, of those that were found. */
async function props(path: string, headers: Record<string, string> = { depth: "0" }, body = ""): Promise<Record<string, Record<string, string>>> {
  const response = await dav("PROPFIND", path, { headers, ...(body === "" ? {} : { body }) });
  expect(response.status).toBe(207);
  const all: Record<string, Record<string, string>> = {};
  for (const one of childElements(await xmlOf(response))) {
    const [href, ...stats] = childElements(one);
    const found: Record<string, string> = {};
    for (const stat of stats) {
      const [prop, line] = childElements(stat);
      if (!textOf(line!).includes("200")) continue;
      for (const element of childElements(prop!)) found[element.name] = childElements(element).map(({ name }) => name).join() || textOf(element);
    }
    all[textOf(href!)] = found;
  }
  return all;
}

const lockBody = (scope = "exclusive"): string =>
  `<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:${scope}/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>`;
async function lock(path: string, asked: Asked & { scope?: string } = {}): Promise<{ status: number; token: string }> {
  const { scope, headers, ...more } = asked;
  const response = await dav("LOCK", path, { body: lockBody(scope), headers: { depth: "0", ...headers }, ...more });
  await response.text();
  return { status: response.status, token: response.headers.get("lock-token") ?? "" };
}
const patch = (inner: string): string => `<D:propertyupdate xmlns:D="DAV:" xmlns:x="urn:x">${inner}</D:propertyupdate>`;

describe("WebDAV", () => {
  test("[DAV-6] who is not signed in is told how, and is told nothing else but what the door speaks", async () => {
    for (const path of ["", "demo/", "demo/none"]) {
      const response = await dav("PROPFIND", path, { token: "" });
      expect([response.status, response.headers.get("www-authenticate")]).toEqual([401, expect.stringContaining("Basic")]);
    }
    const options = await dav("OPTIONS", "demo/", { token: "" });
    expect([options.status, options.headers.get("dav"), options.headers.get("allow")]).toEqual([200, "1, 2", expect.stringContaining("LOCK")]);
    expect((await lab.ask("/", { method: "OPTIONS", token: "" })).headers.get("dav")).toBe("1, 2");
    const asAnn = (password: string) => status("PROPFIND", "", { token: "", headers: { ...basic("ann", password), depth: "0" } });
    expect(await asAnn("correct-horse-1")).toBe(207);
    expect(await asAnn("wrong")).toBe(401);
    const asAdmin = (user: string) => status("PROPFIND", "", { token: "", headers: { ...basic(user, TOKENS.admin), depth: "0" } });
    expect([await asAdmin("admin"), await asAdmin(""), await asAdmin("ann")]).toEqual([207, 207, 401]);
    expect(await status("REPORT", "demo/")).toBe(405);
  });

  test("[DAV-7] spaces are collections of one, and listings tell what is there, level by level or as a whole", async () => {
    await lab.put("list/a.txt", "one");
    await lab.put("list/d/%E4%B8%AD%20x", "two");
    const levels = await props("demo/list", { depth: "1" });
    expect(Object.keys(levels)).toEqual(["/dav/demo/list/", "/dav/demo/list/a.txt", "/dav/demo/list/d/"]);
    expect(levels["/dav/demo/list/a.txt"]).toMatchObject({ resourcetype: "", getcontentlength: "3", displayname: "a.txt", getcontenttype: "text/plain; charset=utf-8" });
    expect(levels["/dav/demo/list/d/"]).toMatchObject({ resourcetype: "collection" });
    expect(Object.keys(await props("demo/list/", { depth: "infinity" }))).toContain("/dav/demo/list/d/%E4%B8%AD%20x");
    expect(Object.keys(await props("", { depth: "1" }))).toEqual(["/dav/", "/dav/demo/", "/dav/other/"]);
    const endless = await dav("PROPFIND", "", { headers: {} });
    expect([endless.status, await endless.text()]).toEqual([403, expect.stringContaining("propfind-finite-depth")]);
    const etag = (await dav("HEAD", "demo/list/a.txt")).headers.get("etag");
    expect(levels["/dav/demo/list/a.txt"]!["getetag"]).toBe(etag!);
  });

  test("[DAV-7] a listing is told in pages, whatever its length, and one of too much is refused", async () => {
    const count = 2300;
    await lab.ask("/v1/spaces", { method: "POST", json: { name: "many" } });
    await fill("many", count);
    const body = `<propfind xmlns="DAV:"><prop><getcontentlength/></prop></propfind>`;
    const all = await (await dav("PROPFIND", "many/d", { headers: { depth: "1" }, body })).text();
    expect([...all.matchAll(/<D:response>/g)]).toHaveLength(count + 1);
    expect(all).toEndWith("</D:multistatus>\n");
    await fill("many", 10_000);
    expect(await status("PROPFIND", "many/d", { headers: { depth: "infinity" } })).toBe(403);
  });

  test("[DAV-8] a request asks for all, for names, or for some properties; anything else is refused", async () => {
    await lab.put("p.txt", "x");
    const ask = (inner: string, more: Record<string, string> = {}) =>
      dav("PROPFIND", "demo/p.txt", { headers: { depth: "0", ...more }, body: `<D:propfind xmlns:D="DAV:">${inner}</D:propfind>` });
    const names = await (await ask("<D:propname/>")).text();
    expect(names).toContain("<D:quota-used-bytes/>");
    expect(names).not.toContain("quota-available");
    const some = await (await ask('<D:prop><D:getetag/><none xmlns="urn:n"/></D:prop>')).text();
    expect(some).toMatch(/404 Not Found/);
    expect(await (await ask('<D:prop><D:getetag/><none xmlns="urn:n"/></D:prop>', { prefer: "return=minimal" })).text()).not.toMatch(/404/);
    expect(await (await ask("<D:allprop/><D:include><D:quota-used-bytes/></D:include>")).text()).toContain("<D:quota-used-bytes>");
    for (const wrong of ["", "<D:prop/><D:allprop/>", "<D:other/>"]) expect((await ask(wrong)).status).toBe(400);
    expect(await status("PROPFIND", "demo/p.txt", { body: "<no", headers: { depth: "0" } })).toBe(400);
    expect(await status("PROPFIND", "demo/p.txt", { headers: { depth: "2" } })).toBe(400);
    await lab.ask("/v1/spaces/other", { method: "PATCH", json: { settings: { quotaBytes: 1000 } } });
    const quota = `<propfind xmlns="DAV:"><prop><quota-available-bytes/><quota-used-bytes/></prop></propfind>`;
    expect((await props("other/", { depth: "0" }, quota))["/dav/other/"]).toEqual({ "quota-available-bytes": "1000", "quota-used-bytes": "0" });
  });

  test("[DAV-30] a time that no door can tell is refused, the last that can be is kept", async () => {
    const put = (time: string) => dav("PUT", "demo/far.txt", { body: "far", headers: { "x-oc-mtime": time } });
    const patch = (time: string) => {
      const body = `<propertyupdate xmlns="DAV:"><set><prop><lastmodified>${time}</lastmodified></prop></set></propertyupdate>`;
      return dav("PROPPATCH", "demo/far.txt", { body });
    };
    const mtime = async () => ((await (await lab.ask("/v1/spaces/demo/entries/far.txt")).json()) as { mtime: string }).mtime;
    expect((await put("253402300799.999999999")).status).toBe(201);
    for (const time of ["253402300800", "999999999999", "-62167219201"]) expect([time, (await put(time)).status]).toEqual([time, 400]);
    expect(await (await patch("253402300800")).text()).toContain("409");
    expect(await mtime()).toBe("9999-12-31T23:59:59.999999999Z");
    expect((await put("-62167219200")).status).toBe(204);
    expect(await mtime()).toBe("0000-01-01T00:00:00Z");
  });

  test("[DAV-9] a file is put whole or not at all, under its conditions, with the time that the client says", async () => {
    const put = (path: string, body: string, headers: Record<string, string> = {}) => dav("PUT", `demo/${path}`, { body, headers });
    const first = await put("put.txt", "one", { "x-oc-mtime": "1600000000.25" });
    const etag = first.headers.get("etag")!;
    expect([first.status, first.headers.get("x-oc-mtime"), etag.length > 10]).toEqual([201, "accepted", true]);
    expect((await props("demo/put.txt"))["/dav/demo/put.txt"]!["getlastmodified"]).toBe(new Date(1_600_000_000_000).toUTCString());
    expect((await put("put.txt", "two", { "if-match": '"other"' })).status).toBe(412);
    expect((await put("put.txt", "two", { "if-none-match": "*" })).status).toBe(412);
    expect((await put("put.txt", "two", { if: `(["x"])` })).status).toBe(412);
    expect((await put("put.txt", "two", { if: "garbage" })).status).toBe(400);
    expect((await put("put.txt", "two", { "content-range": "bytes 0-2/9" })).status).toBe(400);
    expect((await put("put.txt", "two", { "x-oc-mtime": "soon" })).status).toBe(400);
    expect((await put("put.txt", "two", { "x-expected-entity-length": "7" })).status).toBe(400);
    expect((await put("put.txt", "two", { "content-digest": `sha-256=:${"A".repeat(43)}=:` })).status).toBe(400);
    expect(await lab.text("put.txt")).toBe("one");
    expect((await put("put.txt", "two", { "if-match": etag, if: `([${etag}])`, "content-type": "text/x-own" })).status).toBe(204);
    expect((await dav("GET", "demo/put.txt")).headers.get("content-type")).toBe("text/x-own");
    expect((await put("no/parent", "x")).status).toBe(409);
    expect((await put("put.txt/below", "x")).status).toBe(409);
    expect((await put("", "x")).status).toBe(405);
    expect((await put("list", "x")).status).toBe(405);
    const part = await dav("GET", "demo/put.txt", { headers: { range: "bytes=1-" } });
    expect([part.status, await part.text()]).toEqual([206, "wo"]);
    const page = await dav("GET", "demo/put.txt");
    expect(page.headers.get("content-security-policy")).toContain("sandbox");
  });

  test("[DAV-24] a checksum that is sent is verified, kept with the bytes, and told to who asks", async () => {
    const sha1 = createHash("sha1").update("summed").digest("hex");
    const put = (body: string, sum?: string) =>
      status("PUT", "demo/summed", { body, ...(sum === undefined ? {} : { headers: { "oc-checksum": sum } }) });
    const known = async (path = "demo/summed") => {
      const body = `<propfind xmlns="DAV:"><prop><checksums xmlns="http://owncloud.org/ns"/></prop></propfind>`;
      return (await (await dav("PROPFIND", path, { headers: { depth: "0" }, body })).text()).match(/<checksum>(.*)<\/checksum>/)?.[1];
    };
    const md5 = createHash("md5").update("summed").digest("hex");
    expect([await put("summed", `SHA1:${sha1}`), await known()]).toEqual([201, `SHA1:${sha1} MD5:${md5}`]);
    expect(await put("other", `SHA1:${sha1}`)).toBe(400);
    for (const bad of ["SHA1:abc", "SHA1", `MD5:${sha1}`, `SHA1:${"g".repeat(40)}`]) expect([bad, await put("summed", bad)]).toEqual([bad, 400]);
    expect(await put("summed", "ADLER32:08e80287")).toBe(204);
    expect(await known()).toBe(`SHA1:${sha1} MD5:${md5}`);
    await dav("COPY", "demo/summed", { headers: { destination: "/dav/demo/summed2" } });
    expect([await put("other"), await known(), await known("demo/summed2")]).toEqual([204, undefined, `SHA1:${sha1} MD5:${md5}`]);
    expect([await put("summed", `MD5:${md5.toUpperCase()}`), await known()]).toEqual([204, `MD5:${md5}`]);
  });

  test("[DAV-9] a body that breaks off leaves what was there, whether its length was told or not", async () => {
    await lab.put("whole", "as it was");
    const { port } = new URL(lab.hub.url);
    const head = (more: string): string =>
      `PUT /dav/demo/whole HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOKENS.admin}\r\n${more}\r\n\r\n`;
    const bodies = [`${head("content-length: 100000")}part`, `${head("transfer-encoding: chunked")}4\r\npart\r\n`, `${head("transfer-encoding: chunked")}4\r\npa`];
    for (const text of bodies) {
      const socket = connect(Number(port), "127.0.0.1");
      await new Promise<void>((resolve) => socket.write(text, () => resolve()));
      await Bun.sleep(50);
      socket.destroy();
    }
    await Bun.sleep(200);
    expect(await lab.text("whole")).toBe("as it was");
    const { versions } = (await (await lab.ask("/v1/spaces/demo/versions/whole")).json()) as { versions: unknown[] };
    expect(versions).toHaveLength(1);
  });

  test("[DAV-10] collections are made and removed with all that is in them; names that are no paths are refused", async () => {
    expect(await status("MKCOL", "demo/col/")).toBe(201);
    expect(await status("MKCOL", "demo/col")).toBe(405);
    expect(await status("MKCOL", "demo/col/a/b")).toBe(409);
    expect(await status("MKCOL", "demo/col2", { body: "x" })).toBe(415);
    expect(await status("MKCOL", "newspace")).toBe(404);
    expect(await status("DELETE", "demo/")).toBe(403);
    await lab.put("col/x/y", "z");
    expect(await status("DELETE", "demo/col", { headers: { depth: "0" } })).toBe(400);
    expect(await status("DELETE", "demo/col")).toBe(204);
    expect(await status("DELETE", "demo/col")).toBe(404);
    for (const bad of ["demo/a%2Fb", "demo/a//b", "demo/%00", "demo/%zz", "demo/.syncline", `demo/${"n".repeat(300)}`]) {
      expect([bad, await status("PUT", bad, { body: "x" })]).toEqual([bad, 400]);
    }
  });

  test("[DAV-11] copies and moves take what is there as one change, and replace only what they may", async () => {
    for (const [path, text] of [["t/a", "A"], ["t/d/b", "B"], ["u/old", "O"], ["v", "V"]] as const) await lab.put(`cm/${path}`, text);
    const to = (path: string, more: Record<string, string> = {}): Asked => ({ headers: { destination: `${lab.hub.url}/dav/demo/cm/${path}`, ...more } });
    expect(await status("COPY", "demo/cm/t", to("t2"))).toBe(201);
    expect(await lab.text("cm/t2/d/b")).toBe("B");
    expect(await status("COPY", "demo/cm/t", to("u", { overwrite: "F" }))).toBe(412);
    expect(await status("COPY", "demo/cm/t", to("u"))).toBe(204);
    expect(Object.keys(await props("demo/cm/u", { depth: "infinity" }))).not.toContain("/dav/demo/cm/u/old");
    expect(await status("COPY", "demo/cm/t", to("t3", { depth: "0" }))).toBe(201);
    expect(Object.keys(await props("demo/cm/t3", { depth: "1" }))).toHaveLength(1);
    expect(await status("MOVE", "demo/cm/t/a", to("v"))).toBe(204);
    expect([await lab.text("cm/v"), await status("GET", "demo/cm/t/a")]).toEqual(["A", 404]);
    expect(await status("MOVE", "demo/cm/t", to("t/inside"))).toBe(403);
    expect(await status("COPY", "demo/cm/t", to("t"))).toBe(403);
    expect(await status("MOVE", "demo/cm/t/d", to("t"))).toBe(409);
    expect(await status("MOVE", "demo/cm/t", to("no/parent"))).toBe(409);
    expect(await status("MOVE", "demo/cm/t", { headers: { destination: "http://elsewhere.example/dav/demo/x" } })).toBe(502);
    expect(await status("MOVE", "demo/cm/t", {})).toBe(400);
    const before = (await (await lab.ask("/v1/spaces/demo")).json()) as { sequence: number };
    expect(await status("MOVE", "demo/cm/t", to("moved"))).toBe(201);
    const journal = (await (await lab.ask(`/v1/spaces/demo/journal?after=${before.sequence}`)).json()) as { records: { commit: number }[] };
    expect(new Set(journal.records.map(({ commit }) => commit)).size).toBe(1);
  });

  test("[DAV-25] between spaces bytes are brought over, and a move takes the source away when they are there", async () => {
    await lab.ask("/v1/spaces/other", { method: "PATCH", json: { settings: { quotaBytes: null } } });
    const large = randomBytes(3_000_000);
    await lab.ask("/v1/spaces/demo/content/across/d/large", { method: "PUT", body: large });
    await lab.put("across/empty", "");
    await dav("PROPPATCH", "demo/across/d/large", { body: patch("<D:set><D:prop><x:a>kept</x:a></D:prop></D:set>") });
    const to = { headers: { destination: "/dav/other/came" } };
    expect(await status("COPY", "demo/across", to)).toBe(201);
    const read = async (path: string) => Buffer.from(await (await dav("GET", path)).arrayBuffer());
    expect((await read("other/came/d/large")).equals(large)).toBe(true);
    expect(await (await dav("PROPFIND", "other/came/d/large", { headers: { depth: "0" } })).text()).toContain("kept");
    // Named by the other space's own seeds: putting the same bytes there changes nothing of the sum.
    const sum = async () => (await lab.hub.spaces.version(SYSTEM, "other", "came/d/large"))!.entry as { sum: string };
    const brought = (await sum()).sum;
    await dav("PUT", "other/came/d/large", { body: large });
    expect((await sum()).sum).toBe(brought);
    expect(await status("COPY", "demo/across", { headers: { destination: "/dav/other/came", overwrite: "F" } })).toBe(412);
    expect(await status("MOVE", "demo/across", to)).toBe(204);
    expect([await status("GET", "demo/across"), (await read("other/came/d/large")).equals(large)]).toEqual([404, true]);
    expect(await status("MOVE", "demo", { headers: { destination: "/dav/other/x" } })).toBe(403);
    await lab.put("busy/f", "1");
    const { token } = await lock("demo/busy/f");
    expect(await status("MOVE", "demo/busy", { headers: { destination: "/dav/other/busy" } })).toBe(207);
    expect(await status("GET", "other/busy/f")).toBe(404);
    await status("UNLOCK", "demo/busy/f", { headers: { "lock-token": token } });
  });

  test("[DAV-26] a copy of a file that has several names is a file of its own", async () => {
    await lab.put("names/a", "one");
    const a = (await lab.hub.spaces.version(SYSTEM, "demo", "names/a"))!;
    await using intake = lab.hub.spaces.intake(SYSTEM, "demo");
    await intake.hold(a.content!);
    const entry = { ...a.entry!, linkTo: "names/a" } as typeof a.entry & object;
    const change = { type: "put", path: "names/b", expect: { kind: "any" }, entry, content: a.content, makeParents: true } as const;
    await lab.hub.spaces.commit(SYSTEM, "demo", { changes: [change], intake, ...REQUEST });
    await dav("COPY", "demo/names/b", { headers: { destination: "/dav/demo/names/c" } });
    await lab.ask("/v1/spaces/demo/copy", { method: "POST", json: { from: "names/b", to: "names/d" } });
    const linkOf = async (path: string) => ((await lab.hub.spaces.version(SYSTEM, "demo", path))!.entry as { linkTo?: string }).linkTo;
    expect([await linkOf("names/b"), await linkOf("names/c"), await linkOf("names/d")]).toEqual(["names/a", undefined, undefined]);
  });

  test("[DAV-12] what clients keep with a resource goes where it goes, over edits, copies, moves and a restart", async () => {
    await lab.put("dead/f", "1");
    const set = patch(`<D:set><D:prop xml:lang="de"><x:color y="1">rot<x:i/></x:color><plain xmlns="">p</plain></D:prop></D:set>`);
    expect(await status("PROPPATCH", "demo/dead/f", { body: set })).toBe(207);
    expect(await status("PROPPATCH", "demo/dead", { body: set })).toBe(207);
    const color = async (path: string): Promise<string> => {
      const body = `<propfind xmlns="DAV:"><prop><color xmlns="urn:x"/><plain xmlns=""/></prop></propfind>`;
      return (await (await dav("PROPFIND", path, { headers: { depth: "0" }, body })).text()).replace(/^[^]*?<D:prop>([^]*?)<\/D:prop>[^]*$/, "$1");
    };
    const kept = '<x:color xmlns:x="urn:x" y="1" xml:lang="de">rot<x:i/></x:color><plain xml:lang="de">p</plain>';
    expect([await color("demo/dead/f"), await color("demo/dead")]).toEqual([kept, kept]);
    await lab.put("dead/f", "2");
    await dav("COPY", "demo/dead/f", { headers: { destination: "/dav/demo/dead/g" } });
    await dav("MOVE", "demo/dead", { headers: { destination: "/dav/demo/gone" } });
    await dav("PUT", "demo/gone/f", { body: "3", headers: { "content-type": "text/x" } });
    await lab.hub.close();
    await lab.start();
    expect(await Promise.all(["demo/gone/f", "demo/gone/g", "demo/gone"].map(color))).toEqual([kept, kept, kept]);
    const change = patch(`<D:remove><D:prop><x:color/></D:prop></D:remove><D:set><D:prop><x:n>1</x:n></D:prop></D:set>`);
    expect(await status("PROPPATCH", "demo/gone/f", { body: change })).toBe(207);
    expect(await color("demo/gone/f")).toBe('<plain xml:lang="de">p</plain>');
  });

  test("[DAV-13] properties are changed all or none, and each is told what became of it", async () => {
    await lab.put("patch", "1");
    const both = patch(`<D:set><D:prop><x:a>1</x:a><D:getetag>no</D:getetag></D:prop></D:set>`);
    const text = await (await dav("PROPPATCH", "demo/patch", { body: both })).text();
    expect(text).toMatch(/<a xmlns="urn:x"\/><\/D:prop><D:status>HTTP\/1.1 424/);
    expect(text).toMatch(/<D:getetag\/><\/D:prop><D:status>HTTP\/1.1 403.*cannot-modify-protected-property/);
    expect(await (await dav("PROPFIND", "demo/patch", { headers: { depth: "0" } })).text()).not.toContain("urn:x");
    const large = patch(`<D:set><D:prop><x:a>${"x".repeat(17_000)}</x:a></D:prop></D:set>`);
    expect(await (await dav("PROPPATCH", "demo/patch", { body: large })).text()).toContain("507");
    for (const body of ["", "<a/>", patch(""), patch("<D:set/>")]) expect(await status("PROPPATCH", "demo/patch", { body })).toBe(400);
    const windows = `<D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop><Z:Win32FileAttributes>00000020</Z:Win32FileAttributes>
      <Z:Win32LastModifiedTime>Sun, 13 Sep 2020 12:26:40 GMT</Z:Win32LastModifiedTime></D:prop></D:set></D:propertyupdate>`;
    expect(await (await dav("PROPPATCH", "demo/patch", { body: windows })).text()).toContain("200 OK");
    expect((await props("demo/patch"))["/dav/demo/patch"]).toMatchObject({ getlastmodified: "Sun, 13 Sep 2020 12:26:40 GMT", Win32FileAttributes: "00000020" });
    expect(await lab.text("patch")).toBe("1");
  });

  test("[DAV-14] a lock keeps others from writing, until it is given back, ends, or somebody who may breaks it", async () => {
    await lab.put("lk/f", "1");
    const taken = await lock("demo/lk/f", { headers: { timeout: "Infinite" } });
    expect(taken.status).toBe(200);
    const held = { headers: { if: `(${taken.token})` } };
    const destination = "/dav/demo/lk/g";
    const tries: [string, string, Asked][] = [
      ["PUT", "demo/lk/f", { body: "2" }],
      ["DELETE", "demo/lk/f", {}],
      ["PROPPATCH", "demo/lk/f", { body: patch("<D:set><D:prop><x:a>1</x:a></D:prop></D:set>") }],
      ["MOVE", "demo/lk/f", { headers: { destination } }],
      ["LOCK", "demo/lk/f", { body: lockBody() }],
      ["LOCK", "demo/lk/f", { body: lockBody("shared") }],
    ];
    for (const [method, path, asked] of tries) expect([method, await status(method, path, asked)]).toEqual([method, 423]);
    const tree = await dav("DELETE", "demo/lk");
    expect([tree.status, await tree.text()]).toEqual([207, expect.stringContaining("423 Locked")]);
    expect(await status("DELETE", "demo/lk", { headers: { if: "(Not <DAV:no-lock>)" } })).toBe(207);
    const asAnn = { token: "", headers: { ...basic("ann", "correct-horse-1"), ...held.headers } };
    expect(await status("PUT", "demo/lk/f", { body: "2", ...asAnn })).toBe(423);
    expect(await status("PUT", "demo/lk/f", { body: "2", ...held })).toBe(204);
    expect(await status("COPY", "demo/lk/f", { headers: { destination } })).toBe(201);
    expect((await props("demo/lk/f"))["/dav/demo/lk/f"]!["lockdiscovery"]).toBe("activelock");
    expect(await status("UNLOCK", "demo/lk/f", { headers: { "lock-token": "<other:1>" } })).toBe(409);
    expect(await status("UNLOCK", "demo/lk/f")).toBe(400);
    // Who manages the space may break it.
    expect(await status("UNLOCK", "demo/lk/f", { ...asAnn, headers: { ...asAnn.headers, "lock-token": taken.token } })).toBe(204);
    expect(await status("PUT", "demo/lk/f", { body: "3" })).toBe(204);
    expect(await lab.text("lk/f")).toBe("3");
  });

  test("[DAV-14] locks outlive a restart, are refreshed, and go with what they are on", async () => {
    await lab.put("keep/f", "1");
    const { token } = await lock("demo/keep", { headers: { depth: "infinity" } });
    await lab.hub.close();
    await lab.start();
    expect(await status("PUT", "demo/keep/new", { body: "x" })).toBe(423);
    expect(await status("PUT", "demo/keep/new", { body: "x", headers: { if: `</dav/demo/keep/> (${token})` } })).toBe(201);
    expect(await status("LOCK", "demo/keep/f", { body: lockBody(), headers: { depth: "0" } })).toBe(423);
    const refreshed = await dav("LOCK", "demo/keep/f", { headers: { if: `(${token})`, timeout: "Second-77" } });
    expect([refreshed.status, await refreshed.text()]).toEqual([200, expect.stringContaining("Second-77")]);
    expect(await status("LOCK", "demo/keep/f", { headers: { if: "(Not <DAV:no-lock>)" } })).toBe(412);
    expect(await status("DELETE", "demo/keep", { headers: { if: `(${token})` } })).toBe(204);
    await lab.put("keep/f", "1");
    expect(await status("PUT", "demo/keep/f", { body: "2" })).toBe(204);
    const shared = await lock("demo/keep/f", { scope: "shared" });
    expect((await lock("demo/keep/f", { scope: "shared" })).status).toBe(200);
    expect(await status("PUT", "demo/keep/f", { body: "3", headers: { if: `(${shared.token})` } })).toBe(204);
    const short = await lock("demo/keep/soon", { headers: { timeout: "Second-1" } });
    expect(short.status).toBe(201);
    expect([await lab.text("keep/soon"), await status("PUT", "demo/keep/soon", { body: "x" })]).toEqual(["", 423]);
    await Bun.sleep(1100);
    expect(await status("PUT", "demo/keep/soon", { body: "x" })).toBe(204);
    expect((await lock("demo/no/parent/x")).status).toBe(409);
  });

  test("[DAV-15] a lock is told only when no change is under way that had not seen it", async () => {
    await lab.put("race/f", "0");
    for (let round = 0; round < 10; round++) {
      const writes = Array.from({ length: 6 }, (_, at) => status("PUT", "demo/race/f", { body: `${round}.${at}` }));
      const { token } = await lock("demo/race/f");
      const seen = await lab.text("race/f");
      await Promise.all(writes);
      expect(await lab.text("race/f")).toBe(seen);
      await status("UNLOCK", "demo/race/f", { headers: { "lock-token": token } });
    }
  });

  test("[DAV-29] a property that is set while new bytes come stays", async () => {
    await lab.put("slow", "old");
    const end = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const body = new ReadableStream<Uint8Array>({
      async pull(stream) {
        stream.enqueue(Buffer.from("new"));
        begun.resolve();
        await end.promise;
        stream.close();
      },
    });
    const putting = status("PUT", "demo/slow", { body, headers: { "content-type": "text/plain" } });
    await begun.promise;
    await Bun.sleep(50);
    const set = patch("<D:set><D:prop><x:a>meanwhile</x:a></D:prop></D:set>");
    expect(await status("PROPPATCH", "demo/slow", { body: set })).toBe(207);
    end.resolve();
    expect(await putting).toBe(204);
    expect(await lab.text("slow")).toBe("new");
    expect((await props("demo/slow"))["/dav/demo/slow"]).toMatchObject({ a: "meanwhile", getcontenttype: "text/plain" });
  });

  test("[DAV-16] symlinks are not shown, and nothing takes their place", async () => {
    await link("demo", "links/s", "/etc/passwd");
    expect(Object.keys(await props("demo/links", { depth: "1" }))).toEqual(["/dav/demo/links/"]);
    expect(await status("GET", "demo/links/s")).toBe(404);
    expect(await status("PUT", "demo/links/s", { body: "x" })).toBe(409);
    expect(await status("DELETE", "demo/links/s")).toBe(404);
    await lab.put("links/f", "1");
    expect(await status("MOVE", "demo/links/f", { headers: { destination: "/dav/demo/links/s" } })).toBe(409);
  });

  test("[DAV-27] whatever is asked, the answer is one of the protocol's own, and the door goes on", async () => {
    const method = fc.constantFrom("PROPFIND", "PROPPATCH", "MKCOL", "GET", "HEAD", "PUT", "DELETE", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT");
    const path = fc.constantFrom("", "demo", "demo/", "demo/fz", "demo/fz/a", "demo/fz/a/b", "demo/%FF", "demo/fz/%20", "none/x", "demo/fz/d/", "other/fz");
    const value = (...known: string[]) => fc.oneof(fc.constantFrom(...known), fc.string({ maxLength: 12, unit: fc.constantFrom("a", "(", ")", "<", ">", '"', "/", ",", " ", "0") }));
    const headers = fc.record(
      {
        depth: value("0", "1", "infinity"),
        destination: value("/dav/demo/fz/x", "/dav/demo/fz", "/dav/other/fz", "/dav/", "http://[", "//"),
        overwrite: value("T", "F"),
        if: value("(<a:b>)", '(["x"])', "(Not <DAV:no-lock>)", "</dav/none/x> (<a:b>)", "<http://["),
        timeout: value("Second-1", "Infinite"),
        "lock-token": value("<a:b>"),
        "if-match": value("*", '"x"'),
        "if-unmodified-since": value("Sun, 13 Sep 2020 12:26:40 GMT"),
        range: value("bytes=0-", "bytes=9-1"),
        "x-oc-mtime": value("1", "-1", "9".repeat(12)),
        "oc-checksum": value("SHA1:x", "MD5:d41d8cd98f00b204e9800998ecf8427e"),
      },
      { requiredKeys: [] },
    );
    const body = fc.constantFrom("", "x", lockBody(), lockBody("shared"), patch("<D:set><D:prop><x:a>1</x:a></D:prop></D:set>"), "<propfind xmlns='DAV:'><propname/></propfind>", "<!DOCTYPE a>");
    await fc.assert(
      fc.asyncProperty(method, path, headers, body, async (verb, at, given, content) => {
        const sent = ["GET", "HEAD"].includes(verb) || content === "" ? {} : { body: content };
        const trimmed = Object.fromEntries(Object.entries(given).map(([name, text]) => [name, text.trim()]));
        const response = await dav(verb, at, { headers: trimmed, ...sent });
        await response.arrayBuffer();
        // 502: a destination that is not ours.
        expect([verb, at, trimmed, response.status < 500 || response.status === 502]).toEqual([verb, at, trimmed, true]);
      }),
      { numRuns: 600 },
    );
    expect(lab.log.filter(({ message }) => message === "request failed")).toEqual([]);
  }, 60_000);
});

const SYSTEM = { id: "system:test", kind: "system", name: "test", roles: [], scopes: undefined } as const;
const REQUEST = { atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;

async function fill(space: string, count: number): Promise<void> {
  await using intake = lab.hub.spaces.intake(SYSTEM, space);
  const { content, sum } = await intake.store(Buffer.from("x"));
  const entry = { kind: "file", size: 1, mode: 0o644, mtimeNs: 1n, sum } as const;
  const changes = Array.from({ length: count }, (_, at) => ({ type: "put", path: `d/f${at}`, expect: { kind: "any" }, entry, content, makeParents: true }) as const);
  await lab.hub.spaces.commit(SYSTEM, space, { changes, intake, ...REQUEST });
}

async function link(space: string, path: string, target: string): Promise<void> {
  const change = { type: "put", path, expect: { kind: "any" }, entry: { kind: "symlink", target }, content: undefined, makeParents: true } as const;
  await lab.hub.spaces.commit(SYSTEM, space, { changes: [change], intake: undefined, ...REQUEST });
}
