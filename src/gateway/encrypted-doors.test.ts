import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemPrincipal } from "#access/access.ts";
import { type Person, RightsLab } from "#gateway/rights-fixture.ts";
import { ENCRYPTED, OPENER_BYTES, encryptionText, isEncrypted, storedPartBytes } from "#hub/encrypted-content.ts";
import { OPEN } from "#platform/net/sftp-wire.ts";
import { openHost } from "#platform/host-bun.ts";

const SYSTEM = systemPrincipal("test");
const SIZE = 1234;

/** Files that are encrypted with a key of their client, at doors that are given no keys. */
describe("every other door", () => {
  let lab: RightsLab;
  let who: Person;
  beforeAll(async () => {
    lab = await RightsLab.open([{ name: "nothing", needs: () => [], run: () => Promise.resolve({ kind: "done", told: "" }) }]);
    who = lab.person("full");
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  async function put(path: string): Promise<void> {
    const { spaces } = lab.api.hub;
    const { random } = openHost();
    await using intake = spaces.intake(SYSTEM, "demo");
    const { content } = await intake.store(random.bytes(storedPartBytes(SIZE)));
    const entry = { kind: "file", size: SIZE, mode: 0o644, mtimeNs: 1n, sum: undefined } as const;
    const opener = random.bytes(OPENER_BYTES);
    const attributes = { [ENCRYPTED]: encryptionText({ opener, parts: [{ number: 1, size: SIZE }], sums: {} }) };
    const change = { type: "put", path, expect: { kind: "any" }, entry, content, attributes, makeParents: true } as const;
    const request = { changes: [change], intake, atomic: true, cause: "upload", traceId: "0".repeat(32) } as const;
    expect((await spaces.commit(SYSTEM, "demo", request)).results[0]!.status).toBe("done");
  }
  const isThere = async (path: string): Promise<boolean> => {
    const version = await lab.api.hub.spaces.version(SYSTEM, "demo", path);
    return version?.entry?.kind === "file" && isEncrypted(version);
  };

  test("[SSEC-32] WebDAV shows, moves and copies them, and answers 403 to who reads", async () => {
    await put("in/dav");
    const found = await who.dav("PROPFIND", "/dav/demo/in/dav", { headers: { depth: "0" } });
    expect(found.told).toContain(`<D:getcontentlength>${SIZE}</D:getcontentlength>`);
    const got = await who.dav("GET", "/dav/demo/in/dav");
    expect([got.response.status, got.told.includes("SSE-C")]).toEqual([403, true]);
    const to = (name: string): Record<string, string> => ({ destination: `${lab.api.hub.url}/dav/demo/in/${name}` });
    await who.dav("COPY", "/dav/demo/in/dav", { headers: to("dav2") });
    await who.dav("MOVE", "/dav/demo/in/dav", { headers: to("dav3") });
    const body = '<propertyupdate xmlns="DAV:"><set><prop><x xmlns="urn:a">1</x></prop></set></propertyupdate>';
    expect((await who.dav("PROPPATCH", "/dav/demo/in/dav3", { body })).response.status).toBe(207);
    expect([await isThere("in/dav2"), await isThere("in/dav3")]).toEqual([true, true]);
    expect((await who.dav("DELETE", "/dav/demo/in/dav3")).response.status).toBe(204);
  });

  test("[SSEC-33] FTP tells their size, renames them and changes their mode, and answers 550 to who reads or appends", async () => {
    await put("in/ftp");
    const at = "/demo/in/ftp";
    expect((await who.ftpSays(`SIZE ${at}`)).told).toContain(`213 ${SIZE}`);
    for (const outcome of [await who.ftpGets(`RETR ${at}`), await who.ftpGets(`RETR ${at}`, 5), await who.ftpSays(`XSHA256 ${at}`)]) {
      expect(outcome.told).toMatch(/^550 .*SSE-C/);
    }
    expect((await who.ftpSends(`APPE ${at}`)).told).toMatch(/^550 .*SSE-C/);
    expect((await who.ftpSays(`SITE CHMOD 600 ${at}`)).kind).toBe("done");
    expect((await who.ftpSays(`RNFR ${at}`, `RNTO ${at}2`)).kind).toBe("done");
    expect(await isThere("in/ftp2")).toBe(true);
    expect((await who.ftpSends(`STOR ${at}2`)).kind).toBe("done");
    expect(await isThere("in/ftp2")).toBe(false);
  });

  test("[SSEC-34] SFTP tells their size and renames them, and refuses to open them for reading or to go on writing", async () => {
    await put("in/sftp");
    const at = "/demo/in/sftp";
    const sftp = await who.sftp();
    expect(await sftp.attrs("stat", at)).toMatchObject({ size: SIZE });
    for (const flags of [OPEN.read, OPEN.read | OPEN.write]) expect(await sftp.open(at, flags)).toBe(3);
    expect(await sftp.rename(at, `${at}2`)).toBe(0);
    expect(await sftp.status("setstat", (packet) => packet.name(`${at}2`).uint32(4).uint32(0o600))).toBe(0);
    expect(await isThere("in/sftp2")).toBe(true);
    // What is written into it would be written into bytes that nobody knows.
    const handle = await sftp.open(`${at}2`, OPEN.write);
    const status = typeof handle === "number" ? handle : (await sftp.write(handle, 10, "x")) || (await sftp.close(handle));
    expect([status === 0, await isThere("in/sftp2")]).toEqual([false, true]);
    expect(await sftp.put(`${at}2`, "new")).toBe(0);
    expect(await isThere("in/sftp2")).toBe(false);
  });

  test("[SSEC-35] gRPC stats and moves them, and has a failed precondition for who reads", async () => {
    await put("in/grpc");
    const place = { space: "demo", path: "in/grpc" };
    expect((await who.grpc("Stat", { place })).told).toContain(String(SIZE));
    expect((await who.grpc("Download", { place })).told).toMatch(/^9 .*SSE-C/);
    expect((await who.grpc("Move", { from: place, toPath: "in/grpc2" })).kind).toBe("done");
    expect(await isThere("in/grpc2")).toBe(true);
  });

  test("[SSEC-36] a share lists them, hands none out, and counts none as a download", async () => {
    await put("in/shared/a");
    const made = await lab.api.ask("/v1/spaces/demo/shares", { method: "POST", json: { path: "in/shared", downloadsMax: 1 } });
    const { url } = (await made.json()) as { url: string };
    expect(await (await fetch(url, { headers: { accept: "application/json" } })).text()).toContain(String(SIZE));
    for (let time = 0; time < 2; time++) expect((await fetch(`${url}/a`, { headers: { accept: "*/*" } })).status).toBe(403);
    await lab.api.hub.spaces.commit(SYSTEM, "demo", {
      changes: [{ type: "remove", path: "in/shared/a", expect: { kind: "any" }, recursive: false }],
      intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32),
    });
    const archive = await fetch(`${url}?archive=tar`);
    expect(archive.status).toBe(200);
  });
});
