import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { ADMIN, AgentHub, linkTo, until } from "#testing/agent-hub.ts";
import { HUB_TLS_NAME } from "#hub/agents/hello.ts";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import { HubClient } from "#gateway/client/hub-client.ts";
import { checkAtRest, restoreHub } from "#cli/hub-care.ts";
import type { SynclineError } from "#model/error.ts";
import { openHost } from "#platform/host-bun.ts";
import { connectTls } from "#platform/net/tls-socket.ts";

const never = new AbortController().signal;
const nothing = (): void => undefined;

/** Paths and texts of what is in a folder, but our own. */
function tree(folder: string, prefix = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const item of readdirSync(folder, { withFileTypes: true })) {
    const path = `${prefix}${item.name}`;
    if (item.name === ".syncline") continue;
    if (item.isDirectory()) Object.assign(found, tree(join(folder, item.name), `${path}/`));
    else found[path] = readFileSync(join(folder, item.name), "utf8");
  }
  return found;
}

describe("a hub and its backup", () => {
  let hub: AgentHub | undefined;
  afterEach(async () => {
    await hub?.[Symbol.asyncDispose]();
    hub = undefined;
  });

  async function inSpace(): Promise<Record<string, string>> {
    const { spaces } = hub!;
    const all: Record<string, string> = {};
    const request = { below: "", after: undefined, shallow: false, limit: 1000, at: undefined };
    for (const version of await spaces.list(ADMIN, "demo", request)) {
      if (version.entry?.kind !== "file") continue;
      const reader = await spaces.open(ADMIN, "demo", version);
      const bytes = new Uint8Array(reader.size);
      await reader.read(bytes, 0);
      all[version.path] = Buffer.from(bytes).toString();
    }
    return all;
  }

  test("[BACKUP-8] a restored hub and its agents converge, and nothing that came after the backup is lost", async () => {
    hub = await AgentHub.start();
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    hub.agent("web1", [linkTo(a, "demo")]);
    hub.agent("web2", [linkTo(b, "demo")]);
    mkdirSync(join(a, "d"));
    for (const [path, text] of Object.entries({ edited: "v1", gone: "g1", same: "s", "d/f": "f1" })) writeFileSync(join(a, path), text);
    await until("all is on both", () => Bun.deepEquals(tree(b), tree(a)) && Object.keys(tree(b)).length === 4);
    const backup = join(hub.dir, "backup");
    await hub.backup(backup);
    const { lineage } = await hub.spaces.space(ADMIN, "demo");
    writeFileSync(join(a, "edited"), "v2, after the backup");
    writeFileSync(join(b, "new"), "made after the backup");
    rmSync(join(a, "gone"));
    rmSync(join(b, "d"), { recursive: true });
    const after = { edited: "v2, after the backup", new: "made after the backup", same: "s" };
    await until("that is on both", () => Bun.deepEquals(tree(b), after) && Bun.deepEquals(tree(a), after));
    await hub.stop();
    hub.dataDir = join(hub.dir, "restored");
    await restoreHub(hub.host, backup, hub.dataDir, nothing, never);
    mkdirSync(join(hub.dataDir, "stage"), { recursive: true });
    await hub.start();
    expect((await hub.spaces.space(ADMIN, "demo")).lineage).not.toBe(lineage);
    const hasAll = (found: Record<string, string>): boolean => {
      const texts = Object.values(found);
      return ["v2, after the backup", "made after the backup", "s"].every((text) => texts.includes(text));
    };
    await until("all three hold the same, and all that was new", async () => {
      const [one, two, three] = [tree(a), tree(b), await inSpace()];
      return hasAll(one) && Bun.deepEquals(one, two) && Bun.deepEquals(one, three);
    });
    const found = tree(a);
    // The edit that the hub had forgotten stands; what was deleted after the backup is there again, for people to judge.
    expect(found).toMatchObject({ same: "s", new: "made after the backup", gone: "g1", "d/f": "f1" });
    expect(found["edited"]).toBe("v2, after the backup");
    expect(Object.entries(found).filter(([path, text]) => path.startsWith("edited") && text === "v1")).toHaveLength(1);
    // It goes on from there.
    writeFileSync(join(b, "later"), "later");
    await until("an edit arrives", () => existsSync(join(a, "later")));
    const records = await hub.access.audit.page({ action: "hub.restore" }, undefined, 10);
    expect(records.map(({ actor, outcome }) => [actor, outcome])).toEqual([["system:restore", "done"]]);
    expect(await hub.access.audit.verify()).toMatchObject({ sound: true });
  }, 60_000);

  test("[AGENT-70] the sync listener takes a new certificate while it runs; connections that stand go on", async () => {
    hub = await AgentHub.start();
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    hub.agent("web1", [linkTo(a, "demo")]);
    hub.agent("web2", [linkTo(b, "demo")]);
    writeFileSync(join(a, "f"), "one");
    await until("it is there", () => tree(b)["f"] === "one");
    const { authority } = hub.access;
    const serial = async (): Promise<string> => {
      const options = { host: "127.0.0.1", port: hub!.port, authorities: authority.certificate, identity: undefined, serverName: HUB_TLS_NAME };
      const { transport, peer } = await connectTls(options, never);
      transport.close();
      expect(peer.fault).toBeUndefined();
      return peer.fingerprint;
    };
    const before = await serial();
    const { identity, isNew } = authority.serverIdentity([HUB_TLS_NAME, "localhost", "127.0.0.1", "another.example"]);
    expect(isNew).toBe(true);
    hub.listener.useIdentity(identity);
    const { fingerprint256 } = new X509Certificate(identity.certificate);
    expect(await serial()).toBe(`SHA256:${fingerprint256.replaceAll(":", "").toLowerCase()}`);
    expect(await serial()).not.toBe(before);
    writeFileSync(join(a, "f"), "two");
    await until("what stood goes on", () => tree(b)["f"] === "two");
    expect(hub.log.filter((one) => one.startsWith("hub disconnected"))).toEqual([]);
    const c = hub.folder("c");
    hub.agent("web3", [linkTo(c, "demo")]);
    await until("a new one comes", () => tree(c)["f"] === "two");
  }, 60_000);
});

describe("backup and check over the API", () => {
  let lab: ApiLab;
  afterEach(() => lab[Symbol.asyncDispose]());

  const client = (token: string = TOKENS.admin): HubClient =>
    new HubClient({ url: lab.hub.url, token, program: "test", traceId: "0".repeat(32), signal: never });
  const linesOf = async (lines: AsyncGenerator<{ readonly type: string }>) => {
    const all = [];
    for await (const line of lines) all.push(line);
    return all as Record<string, unknown>[];
  };
  const codeOf = (work: Promise<unknown>): Promise<string> =>
    work.then(() => "none", (error: unknown) => (error as SynclineError).code);

  test("[BACKUP-9] a hub that runs is backed up and checked by who may manage it; the restored one serves the same", async () => {
    lab = await ApiLab.open();
    await lab.put("in/a", "text of a");
    await lab.put("in/large", "0123456789".repeat(300_000));
    const directory = join(lab.dir, "backup");
    const lines = await linesOf(client().care("backup", { directory }));
    expect(lines[0]).toMatchObject({ type: "progress" });
    expect(lines.at(-1)).toMatchObject({ type: "done", packs: 1, copiedPacks: 1 });
    expect((await linesOf(client().care("backup", { directory }))).at(-1)).toMatchObject({ type: "done", copiedPacks: 0 });
    for (const deep of [false, true]) {
      const checked = await linesOf(client().care("check", { deep }));
      expect(checked).toEqual([expect.objectContaining({ type: "done", findings: 0, spaces: 2, versions: 3 })]);
    }
    expect(await codeOf(linesOf(client(TOKENS.writer).care("backup", { directory })))).toBe("DENIED");
    expect(await codeOf(linesOf(client(TOKENS.writer).care("check", {})))).toBe("DENIED");
    expect(await codeOf(linesOf(client().care("backup", { directory: join(lab.dir, "hub") })))).toBe("USAGE");
    expect(await codeOf(linesOf(client().care("backup", { directory: "here" })))).toBe("USAGE");
    await lab.hub.close();
    rmSync(join(lab.dir, "hub"), { recursive: true });
    await restoreHub(openHost(), directory, join(lab.dir, "hub"), nothing, never);
    const at = { host: openHost(), dataDir: join(lab.dir, "hub"), database: "sqlite" };
    expect(await checkAtRest(at, true, nothing, never)).toMatchObject({ findings: 0, versions: 3 });
    await lab.start();
    expect(await lab.text("in/a")).toBe("text of a");
    const audited = (await (await lab.ask("/v1/audit?limit=100")).json()) as { records: { action: string; actor: string; outcome: string }[] };
    const of = (action: string) => audited.records.filter((one) => one.action === action).map(({ actor, outcome }) => [actor, outcome]);
    // The record of a backup comes after what it copies, and so is not in it; the one before is.
    expect(of("hub.backup")).toEqual([["user:admin", "done"]]);
    expect(of("hub.restore")).toEqual([["system:restore", "done"]]);
  }, 60_000);

  test("[CHECK-4] a check of a hub that runs tells what is wrong as it finds it, and leaves nothing behind", async () => {
    lab = await ApiLab.open();
    await lab.put("in/small", "small");
    // Bytes that do not become less by packing.
    let random = "";
    while (random.length < 200_000) random += Bun.hash(random.slice(-50) + random.length).toString(36);
    await lab.put("in/large", random);
    await lab.hub.close();
    const chunks = join(lab.dir, "hub/chunks");
    const pack = readdirSync(chunks).find((name) => name.endsWith(".pack"));
    const bytes = readFileSync(join(chunks, pack!));
    bytes[bytes.length - 1000]! ^= 1;
    writeFileSync(join(chunks, pack!), bytes);
    await lab.start();
    const lines = await linesOf(client().care("check", { deep: true }));
    expect(lines[0]).toMatchObject({ type: "finding", kind: "chunk", where: "demo:in/large #3" });
    expect(lines.at(-1)).toMatchObject({ type: "done", findings: 1, findingsByKind: { chunk: 1 } });
    expect(readdirSync(join(lab.dir, "hub")).filter((name) => name.startsWith("check"))).toEqual([]);
  }, 60_000);
});
