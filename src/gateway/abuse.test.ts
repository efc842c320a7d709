/** What is sent to break doors: names that lead elsewhere, requests that can be read in two ways, documents that grow. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { systemPrincipal } from "#access/access.ts";
import { pathFault } from "#model/path.ts";
import { OPEN } from "#platform/net/sftp-wire.ts";
import { type Person, RightsLab } from "#gateway/rights-fixture.ts";
import { OPERATIONS } from "#gateway/rights-operations.ts";

const SECRET = "nobody but some may read this";
const WAIT_MS_MAX = 10_000;

/** Bytes as they are, over a connection of their own; all that is answered until the server ends it, or is silent. */
function raw(port: number, bytes: string, silentMs = WAIT_MS_MAX): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    let text = "";
    socket.setTimeout(silentMs, () => socket.destroy());
    socket.on("data", (data) => void (text += data.toString("latin1")));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(text));
    socket.write(bytes, "latin1");
  });
}

const statuses = (text: string): number[] => [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status));

let lab: RightsLab;
let writer: Person;
beforeAll(async () => {
  lab = await RightsLab.open(OPERATIONS.slice(0, 1));
  writer = lab.person("writer");
  await lab.api.put("out/secret", SECRET);
});
afterAll(() => lab[Symbol.asyncDispose]());

const s3Port = (): number => Number(new URL(lab.s3.url).port);

/** Bytes in latin1. Behind "in/", which the writer may write to, they try to get to "out", and to what is no name. */
const NAMES = [
  "../out/secret", "x/../../out/secret", "./../out/secret", "../../../../../etc/passwd", "..", ".", "a/./b", "a//b", "//out/secret", "/out/secret",
  "%2e%2e/out/secret", "..%2fout%2fsecret", "%2e%2e%2fout%2fsecret", "%252e%252e%252fout%252fsecret", "..%5cout%5csecret", "..\\out\\secret",
  "..%c0%afout%c0%afsecret", "%c0%ae%c0%ae/out/secret", "%e0%80%ae%e0%80%ae/out/secret", "..\xc0\xafout\xc0\xafsecret", "\xc0\xae\xc0\xae/out/secret",
  "..%00/out/secret", "x%00/../../out/secret", "x\0", "..;/out/secret", "x:stream", "x::$DATA", "dot.", "space ", "..%u2215out", "%", "%2", "%zz", "~/x", "con",
  "%ff%fe", "\xff\xfe", "%ed%a0%80", "..%0d%0a/x", "x%0d%0aX-Evil: 1", ".syncline/x",
];

/** Each door with a name as it is sent: once to put something there, once to read what is. */
const DOORS: Readonly<Record<string, (name: string) => Promise<string[]>>> = {
  API: async (name) => [await http("/v1/spaces/demo/content/in/", name, "PUT"), await http("/v1/spaces/demo/content/in/", name, "GET")],
  entries: async (name) => [await http("/v1/spaces/demo/entries/in/", name, "GET"), await http("/v1/spaces/demo/archive/in/", name, "GET")],
  WebDAV: async (name) => [
    await http("/dav/demo/in/", name, "PUT"), await http("/dav/demo/in/", name, "GET"),
    await http("/dav/demo/in/0-writer/", "thing-a", "COPY", `Destination: /dav/demo/in/${headerOf(name)}\r\n`),
  ],
  tus: async (name) => {
    const path = `in/${name}`;
    const metadata = `relativePath ${Buffer.from(path, "latin1").toString("base64")}`;
    const headers = { "tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream", "upload-length": "3", "upload-metadata": metadata };
    return [(await writer.http("POST", "/v1/tus/demo", { headers, body: "new" })).told];
  },
  S3: async (name) => {
    const target = `/demo/in/${urlOf(name)}`;
    const source = { "x-amz-copy-source": `/demo/in/${headerOf(name)}` };
    const told = [await writer.s3("PUT", target, { body: "new" }), await writer.s3("GET", target)];
    return [...told, await writer.s3("PUT", "/demo/in/copied", { headers: source })].map((one) => one.told);
  },
  FTP: async (name) => {
    if (/[\r\n\0]/.test(name)) return [];
    return [(await writer.ftpSends(`STOR /demo/in/${name}`)).told, (await writer.ftpGets(`RETR /demo/in/${name}`)).told];
  },
  SFTP: async (name) => {
    const sftp = await writer.sftp();
    const path = `/demo/in/${name}`;
    const handle = await sftp.open(path, OPEN.write | OPEN.create | OPEN.truncate);
    if (typeof handle !== "number") {
      await sftp.write(handle, 0, "new");
      await sftp.close(handle);
    }
    await sftp.symlink(`../../../${name}`, "/demo/in/link");
    return [String(await sftp.get(path)), String(await sftp.get(`/demo/in/link`))];
  },
  gRPC: async (name) => {
    const path = `in/${name}`;
    const places = [{ space: "demo", path }, { space: "demo", rawPath: Buffer.from(path, "latin1") }, { space: "demo/in/../out", path: "secret" }];
    const told = [];
    for (const place of places) {
      told.push(await writer.grpc("Upload", {}, [{ header: { place, makeParents: true } }, { data: Buffer.from("new") }, { finish: true }]));
      told.push(await writer.grpc("Download", { place }));
    }
    return told.map((one) => one.told);
  },
};

/** Where a target cannot hold a byte, it is what a client would make of it. */
const urlOf = (name: string): string => name.replaceAll(/[\0-\x20\x7f-\xff#?]/g, (char) => `%${Buffer.from(char, "latin1").toString("hex")}`);
const headerOf = (name: string): string => name.replaceAll(/[\0-\x1f]/g, "");

async function http(base: string, name: string, method: string, more = ""): Promise<string> {
  const body = method === "PUT" ? "new" : "";
  const head = `${method} ${base}${urlOf(name)} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer ${writer.token}\r\nConnection: close\r\n${more}`;
  return raw(lab.api.hub.port, `${head}Content-Length: ${body.length}\r\n\r\n${body}`);
}

const DOOR_NAMES = Object.keys(DOORS);

describe("hostile names at every door", () => {
  test.each(DOOR_NAMES)("[ABUSE-1] %s: no name leads out of what somebody may use, and none is kept that is no path", async (door) => {
    const spaces = lab.api.hub.spaces;
    const system = systemPrincipal("test");
    for (const name of NAMES) {
      for (const told of await DOORS[door]!(name)) expect([name, told.includes(SECRET), /\b50[0-6] /.test(told.slice(0, 14))]).toEqual([name, false, false]);
    }
    const all = await spaces.list(system, "demo", { below: "", after: undefined, shallow: false, limit: 5000, at: undefined });
    const outside = all.map(({ path }) => path).filter((path) => path !== "in" && !path.startsWith("in/"));
    expect(outside).toEqual(["out", "out/secret"]);
    expect(all.filter(({ path }) => pathFault(path) !== undefined)).toEqual([]);
    expect(await lab.api.text("out/secret")).toBe(SECRET);
  }, 60_000);
});

/** Requests of which two programs could see two, each with what it would hide. Made for who may write. */
function smuggled(token: string): Record<string, string> {
  const hidden = "GET /v1/health HTTP/1.1\r\nHost: h\r\n\r\n";
  const put = (fields: string, body: string): string =>
    `PUT /v1/spaces/demo/content/in/smuggled HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${token}\r\n${fields}\r\n\r\n${body}${hidden}`;
  const chunked = (body: string): string => put("Transfer-Encoding: chunked", body);
  const get = (fields: string): string => `GET /v1/health HTTP/1.1\r\nHost: h\r\n${fields}\r\n\r\n${hidden}`;
  return {
    "length and coding": put("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    "coding and length": put("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
    "two lengths": put("Content-Length: 5\r\nContent-Length: 0", "12345"),
    "a list of lengths": put("Content-Length: 5, 5", "12345"),
    "a length with a sign": put("Content-Length: +5", "12345"),
    "a length in hex": put("Content-Length: 0x5", "12345"),
    "a length below zero": put("Content-Length: -1", ""),
    "a length of many digits": put("Content-Length: 99999999999999999999999", "12345"),
    "an unknown coding": put("Transfer-Encoding: xchunked", "0\r\n\r\n"),
    "chunked and not last": put("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    "two codings": put("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
    "a space before the colon": put("Transfer-Encoding : chunked", "0\r\n\r\n"),
    "half of a line end": get("X: a\nTransfer-Encoding: chunked"),
    "a line that goes on": get("X: a\r\n b"),
    "half of a line end in a value": get("X: a\rb"),
    "NUL in a value": get("X: a\0b"),
    "half of a line end in an extension": chunked("5;a=\nx\r\nhello\r\n0\r\n\r\n"),
    "a chunk of many digits": chunked("FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
    "a chunk below zero": chunked("-5\r\nhello\r\n0\r\n\r\n"),
    "chunks with half of line ends": chunked("5\nhello\n0\n\n"),
    "a chunk that is longer than it says": chunked("5\r\nhelloX\r\n0\r\n\r\n"),
  };
}

describe("requests that can be read in two ways", () => {
  test("[ABUSE-2] are refused on the main listener and on that of S3, and what is behind them is never answered", async () => {
    for (const port of [lab.api.hub.port, s3Port()]) {
      const told = await Promise.all(Object.entries(smuggled(writer.token)).map(async ([what, bytes]) => [what, statuses(await raw(port, bytes))] as const));
      expect(told.filter(([, codes]) => codes.length !== 1 || codes[0]! < 400)).toEqual([]);
    }
    expect((await lab.api.ask("/v1/spaces/demo/content/in/smuggled")).status).toBe(404);
  }, 60_000);
});

describe("documents that grow", () => {
  /** Good documents but for what is put into them: in front, as attributes, and inside. */
  const propfind = (inside: string, front = "", attributes = ""): string =>
    `<?xml version="1.0"?>${front}<D:propfind xmlns:D="DAV:"${attributes}><D:allprop/>${inside}</D:propfind>`;
  const deletion = (inside: string, front = "", attributes = ""): string =>
    `<?xml version="1.0"?>${front}<Delete${attributes}><Object><Key>in/none</Key></Object>${inside}</Delete>`;
  const bombs = (document: typeof propfind): Record<string, string> => ({
    "entities of entities": document("<a>&c;</a>", `<!DOCTYPE a [<!ENTITY b "${"x".repeat(1000)}"><!ENTITY c "${"&b;".repeat(1000)}">]>`),
    "a file of the host": document("<a>&b;</a>", `<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>`),
    "a document type elsewhere": document("", `<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x">`),
    depth: document(`${"<a>".repeat(5_000)}${"</a>".repeat(5_000)}`),
    elements: document("<a/>".repeat(61_000)),
    attributes: document("", "", Array.from({ length: 61_000 }, (_, at) => ` a${at}="1"`).join("")),
    namespaces: document("", "", Array.from({ length: 61_000 }, (_, at) => ` xmlns:a${at}="u"`).join("")),
    size: document(" ".repeat(4 << 20)),
    "an end that never comes": document("<!--".repeat(50_000)),
  });

  test("[ABUSE-3] are refused by WebDAV and S3 while they are read, and the next request is answered", async () => {
    const viaDav = async (body: string): Promise<number> =>
      (await writer.dav("PROPFIND", "/dav/demo/in", { body, headers: { depth: "0" } })).response.status;
    const viaS3 = async (body: string): Promise<string> => (await writer.s3("POST", "/demo?delete", { body })).told.slice(0, 400);
    for (const [what, body] of Object.entries(bombs(propfind))) {
      const status = await viaDav(body);
      expect([what, status, [400, 413].includes(status)]).toEqual([what, status, true]);
      expect(await viaDav(propfind(""))).toBe(207);
    }
    for (const [what, body] of Object.entries(bombs(deletion))) {
      expect([what, await viaS3(body)]).toEqual([what, expect.stringMatching(/<Code>(MalformedXML|MaxMessageLengthExceeded|EntityTooLarge)</)]);
      expect(await viaS3(deletion(""))).toContain("<Deleted>");
    }
  }, 60_000);
});
