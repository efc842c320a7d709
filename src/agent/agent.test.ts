import { afterEach, describe, expect, test, setDefaultTimeout } from "bun:test";
import { X509Certificate } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Principal, Role } from "#access/access.ts";
import { ADMIN, JOIN_TOKEN, type TestAgent, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";
import { FollowStore } from "#hub/followers/follow-store.ts";
import { ChunkRepair } from "#hub/followers/repair.ts";
import { connect, parseHubAddress } from "#agent/hub-client.ts";
import { ownKey, readIdentity } from "#agent/identity.ts";
import { holdDataDir } from "#agent/only-agent.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { LINK_ROOT } from "#hub/agents/control.ts";

setDefaultTimeout(AGENT_TEST_MS);

const READER: Principal = { ...ADMIN, id: "user:eve", name: "eve", roles: ["reader"] };
const never = new AbortController().signal;

const text = (dir: string, name: string): string | undefined =>
  existsSync(join(dir, name)) ? readFileSync(join(dir, name), "utf8") : undefined;

const stampOf = (dir: string): string | undefined => {
  const name = readdirSync(join(dir, ".syncline")).find((one) => /^stamp-[0-9a-f]{16}$/.test(one));
  return name === undefined ? undefined : text(dir, `.syncline/${name}`);
};

/** Files below a folder with their contents, the private directory aside. */
function tree(dir: string, below = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(join(dir, below), { withFileTypes: true })) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.name === ".syncline") continue;
    if (entry.isDirectory()) Object.assign(found, tree(dir, path));
    else found[path] = readFileSync(join(dir, path), "utf8");
  }
  return found;
}

describe("hub and agents", () => {
  let hub: AgentHub;

  afterEach(async () => {
    await hub[Symbol.asyncDispose]();
  });

  const same = (a: string, b: string): boolean => JSON.stringify(sorted(tree(a))) === JSON.stringify(sorted(tree(b)));
  const sorted = (files: Record<string, string>): [string, string][] => Object.entries(files).toSorted();

  /** Both agents have taken part in a complete cycle and are watching. */
  const settled = (...names: string[]): Promise<void> =>
    until(`${names.join(" and ")} are healthy: ${hub.log.slice(-8).join("\n")}`, () => names.every(isHealthy));
  const isHealthy = (name: string): boolean => {
    const host = hub.agents.hosts(ADMIN).find((one) => one.name === name);
    return host !== undefined && host.links.length > 0 && host.status === "healthy";
  };

  async function pair(): Promise<{ a: string; b: string; agents: TestAgent[] }> {
    hub = await AgentHub.start();
    const a = hub.folder("a");
    const b = hub.folder("b");
    const agents = [hub.agent("web1", [linkTo(a, "demo")]), hub.agent("web2", [linkTo(b, "demo")])];
    await settled("web1", "web2");
    return { a, b, agents };
  }

  test("[AGENT-50] two directories follow one space: edits, deletions, renames, large files, both ways", async () => {
    const { a, b } = await pair();
    mkdirSync(join(a, "d/e"), { recursive: true });
    writeFileSync(join(a, "d/e/f"), "one");
    writeFileSync(join(b, "g"), "two");
    writeFileSync(join(b, "large"), "x".repeat(3 << 20));
    await until("all is on both", () => text(b, "d/e/f") === "one" && text(a, "g") === "two" && text(a, "large")?.length === 3 << 20);
    renameSync(join(b, "d"), join(b, "moved"));
    writeFileSync(join(a, "g"), "two, changed");
    await until("the rename and the edit arrive", () => text(a, "moved/e/f") === "one" && !existsSync(join(a, "d")) && text(b, "g") === "two, changed");
    rmSync(join(a, "g"));
    await until("the deletion arrives", () => !existsSync(join(b, "g")));
    await settled("web1", "web2");
    expect(same(a, b)).toBe(true);
    const journal = await hub.spaces.journal(ADMIN, "demo", 0, 1000);
    expect(new Set(journal.map(({ origin }) => origin.actor))).toEqual(new Set(["agent:web1", "agent:web2"]));
    expect(journal.some(({ action }) => action === "move")).toBe(true);
    expect(hub.registry.host("web1")).toMatchObject({ labels: ["test"], program: "syncline test" });
  });

  test("[AGENT-51] what both changed while apart is a conflict: one keeps the name, the other is kept beside it", async () => {
    const { a, b, agents } = await pair();
    writeFileSync(join(a, "f.txt"), "first");
    await until("it is on both", () => text(b, "f.txt") === "first");
    await settled("web1", "web2");
    await agents[1]!.stop();
    writeFileSync(join(a, "f.txt"), "of a");
    writeFileSync(join(b, "f.txt"), "of b");
    await until("the hub has a's", async () => (await hub.spaces.version(ADMIN, "demo", "f.txt"))?.entry?.kind === "file" && isHealthy("web1"));
    hub.agent("web2", [linkTo(b, "demo")]);
    await until("both contents are on both sides", () => same(a, b) && Object.keys(tree(a)).length === 2);
    expect(Object.values(tree(a)).toSorted()).toEqual(["of a", "of b"]);
  });

  test("[AGENT-52] while the hub is away edits go on; when it is back they are carried over", async () => {
    const { a, b } = await pair();
    writeFileSync(join(a, "f"), "before");
    await until("it is on both", () => text(b, "f") === "before");
    await hub.stop();
    writeFileSync(join(a, "f"), "meanwhile");
    writeFileSync(join(b, "g"), "of b");
    await hub.start();
    await until("both caught up", () => text(b, "f") === "meanwhile" && text(a, "g") === "of b");
    await settled("web1", "web2");
    expect(same(a, b)).toBe(true);
  });

  test("[AGENT-53] an agent that begins again carries over what happened while it did not run, deletions too", async () => {
    const { a, b, agents } = await pair();
    for (const name of ["keep", "gone-a", "gone-b"]) writeFileSync(join(a, name), name);
    await until("all on b", () => Object.keys(tree(b)).length === 3);
    await settled("web1", "web2");
    await agents[0]!.stop();
    rmSync(join(a, "gone-a"));
    rmSync(join(b, "gone-b"));
    writeFileSync(join(a, "new"), "new");
    await settled("web2");
    const certificate = readIdentity(agents[0]!.dataDir)!.certificate;
    hub.agent("web1", [linkTo(a, "demo")], { joinToken: () => { throw new Error("it has joined already"); } });
    await until("both are the same", () => same(a, b));
    expect(tree(a)).toEqual({ keep: "keep", new: "new" });
    expect(readIdentity(agents[0]!.dataDir)!.certificate).toBe(certificate);
  });

  test("[AGENT-54] a removed host is cut off at once and cannot come back with its certificate", async () => {
    const { a, b, agents } = await pair();
    await hub.agents.removeHost(ADMIN, "web1");
    await until("it is told", () => hub.log.some((one) => one.startsWith("hub connection ended: no longer known host=web1")));
    writeFileSync(join(a, "f"), "never arrives");
    writeFileSync(join(b, "g"), "here");
    await until("it is refused", () => hub.log.some((one) => one.startsWith("hub connection refused") && one.includes("code=AUTH")));
    const told = (one: string): boolean => one.startsWith("web1 ") && one.includes(`remove ${agents[0]!.dataDir}/identity.json`);
    await until("it says how it comes back", () => hub.log.some(told));
    await until("the other one goes on", async () => (await hub.spaces.version(ADMIN, "demo", "g")) !== undefined);
    expect(await hub.spaces.version(ADMIN, "demo", "f")).toBeUndefined();
    expect(existsSync(join(a, "g"))).toBe(false);
    // However often it tries, the other hosts behind its address get in.
    const { ca } = readIdentity(agents[0]!.dataDir)!;
    const reach = { host: "127.0.0.1", port: hub.port, ca, identity: undefined, root: "agent", program: "test", clock: hub.host.clock };
    const tries = await Promise.all(Array.from({ length: 12 }, () => connect(reach, never).catch((error: unknown) => error)));
    expect(tries.every((error) => error instanceof SynclineError && error.code === "AUTH")).toBe(true);
    expect(await connect(reach, never).catch((error: unknown) => error)).toMatchObject({ message: expect.stringContaining("too many") });
    await agents[1]!.stop();
    hub.agent("web2", [linkTo(b, "demo")]);
    await settled("web2");
  });

  test("[AGENT-99] a host that was removed joins anew as it is told to, under its old name", async () => {
    const { a, agents } = await pair();
    await hub.agents.removeHost(ADMIN, "web1");
    await agents[0]!.stop();
    rmSync(join(agents[0]!.dataDir, "identity.json"));
    hub.agent("web1", [linkTo(a, "demo")]);
    await settled("web1");
  });

  test("[AGENT-102] a revoked host is cut off at once, is told how it comes back, and does so with its links", async () => {
    const { a, b, agents } = await pair();
    const { dataDir } = agents[0]!;
    await hub.agents.revokeHost(ADMIN, "web1");
    await until("it is cut off", () => hub.log.some((one) => one.startsWith("hub connection ended: no longer known host=web1")));
    expect(hub.agents.host(ADMIN, "web1").status).toBe("silent");
    writeFileSync(join(a, "f"), "waits");
    writeFileSync(join(b, "g"), "here");
    const told = (one: string): boolean => one.startsWith("web1 ") && one.includes(`remove ${dataDir}/identity.json and ${dataDir}/key.pem`);
    await until("it says how it comes back", () => hub.log.some(told));
    await until("the other one goes on", async () => (await hub.spaces.version(ADMIN, "demo", "g")) !== undefined);
    expect(await hub.spaces.version(ADMIN, "demo", "f")).toBeUndefined();
    expect(existsSync(join(a, "g"))).toBe(false);
    await agents[0]!.stop();

    // Half of what it was told to do is not enough, and is told again.
    rmSync(join(dataDir, "identity.json"));
    const { value } = await hub.access.joinTokens.create({ id: "user:admin" }, {});
    expect(await hub.agent("web1", [linkTo(a, "demo")], { joinToken: () => value }).failed).toMatchObject({ code: "DENIED", hint: expect.stringContaining("key.pem") });
    rmSync(join(dataDir, "key.pem"));
    expect(await hub.agent("web1", [linkTo(a, "demo")]).failed).toMatchObject({ code: "DENIED", hint: expect.stringContaining("join-token create") });
    hub.agent("web1", [linkTo(a, "demo")], { joinToken: () => value });
    await until("both are the same", () => same(a, b) && text(b, "f") === "waits" && text(a, "g") === "here");
    expect(hub.registry.host("web1")?.labels).toEqual(["test"]);
  });

  test("[AGENT-122] a database that cannot be asked who a host is ends no connection, and counts against no address", async () => {
    await pair();
    await hub.database.run("ALTER TABLE access_certificates RENAME TO away");
    // Who exists has changed, and all are looked at anew.
    await hub.access.joinTokens.create({ id: "user:admin" }, {});
    await until("they were looked at", () => hub.log.some((one) => one.startsWith("hub connections could not be looked at")));
    await hub.database.run("ALTER TABLE away RENAME TO access_certificates");
    await hub.access.joinTokens.create({ id: "user:admin" }, {});
    await Bun.sleep(50);
    expect(hub.log.filter((one) => /^hub (connection ended|disconnected)/.test(one))).toEqual([]);
  });

  test("[AGENT-103] a host that the hub's database does not know, as it was put back, is removed all the same", async () => {
    const { agents } = await pair();
    await hub.database.run("DELETE FROM access_hosts WHERE name = 'web1'");
    await hub.database.run("DELETE FROM access_certificates WHERE host = 'web1'");
    await hub.agents.removeHost(ADMIN, "web1");
    await until("it is refused", () => hub.log.some((one) => one.startsWith("hub connection refused") && one.includes("code=AUTH")));
    await agents[0]!.stop();
  });

  test("[AGENT-55] a wrong join token, an unknown hub, a taken name: the agent ends with what is wrong", async () => {
    hub = await AgentHub.start();
    const wrong = hub.agent("web1", [], { joinToken: () => "x".repeat(32) });
    expect(await wrong.failed).toMatchObject({ code: "AUTH" });
    const careful = hub.agent("web2", [], { acceptNew: false });
    const authority = hub.listener.hello().fingerprint;
    expect(await careful.failed).toMatchObject({ code: "TRUST", hint: expect.stringContaining(authority) });
    const other = hub.agent("web3", [], { fingerprint: `SHA256:${"0".repeat(64)}` });
    expect(await other.failed).toMatchObject({ code: "TRUST", message: expect.stringContaining(authority) });
    expect(hub.registry.hosts()).toEqual([]);
    const pinned = hub.agent("web4", [], { acceptNew: false, fingerprint: authority });
    await until("it has joined", () => hub.registry.host("web4")?.program === "syncline test");
    await pinned.stop();
    // The name is the first key's.
    rmSync(pinned.dataDir, { recursive: true });
    expect(await hub.agent("web4", []).failed).toMatchObject({ code: "EXISTS" });
  });

  test("[AGENT-98] a second agent with the same data directory is refused; the copy of one is told that it may be", async () => {
    const { a, agents } = await pair();
    const [first] = agents;
    const second = hub.agent("web1", []);
    expect(await second.failed).toMatchObject({ code: "ROOT_BUSY", path: first!.dataDir });
    writeFileSync(join(a, "f"), "one");
    await until("the first goes on", async () => (await hub.spaces.version(ADMIN, "demo", "f").catch(() => undefined)) !== undefined);
    const copy = join(hub.dir, "copy");
    cpSync(first!.dataDir, copy, { recursive: true });
    const twice = hub.agent("web1", [], { dataDir: copy });
    await until("they are told", () => hub.log.some((one) => one.startsWith("web1 ") && one.includes("run twice?")));
    await twice.stop();
    await first!.stop();
    await hub.agent("web1", []).stop();
  });

  test("[AGENT-121] who is refused because another agent begins in the same directory leaves no key there", async () => {
    hub = await AgentHub.start();
    const dataDir = join(hub.dir, "agents", "web1");
    const release = holdDataDir(hub.host.fs, dataDir);
    expect(await hub.agent("web1", []).failed).toMatchObject({ code: "ROOT_BUSY" });
    expect(readdirSync(dataDir)).toEqual(["agent.lock"]);
    release();
    hub.agent("web1", []);
    await until("it has joined", () => hub.registry.host("web1")?.program === "syncline test");
  });

  test("[AGENT-56] the link of another host, or of nobody, cannot be opened; nor anything without a certificate", async () => {
    const { agents } = await pair();
    const { ca, certificate } = readIdentity(agents[0]!.dataDir)!;
    const identity = { certificate, key: ownKey(agents[0]!.dataDir) };
    const reach = { host: "127.0.0.1", port: hub.port, ca, program: "test", clock: hub.host.clock };
    const others = hub.registry.linksOf("web2")[0]!.id;
    for (const id of [others, "0".repeat(16), "../../etc"]) {
      const refused = connect({ ...reach, identity, root: `${LINK_ROOT}${id}` }, never);
      await expect(refused).rejects.toMatchObject({ code: "ROOT_UNKNOWN" });
    }
    await expect(connect({ ...reach, identity, root: "demo" }, never)).rejects.toMatchObject({ code: "ROOT_UNKNOWN" });
    for (const root of [`${LINK_ROOT}${others}`, "agent"]) {
      await expect(connect({ ...reach, identity: undefined, root }, never)).rejects.toMatchObject({ code: "AUTH" });
    }
    expect(JOIN_TOKEN).not.toBe("");
  });

  test("[AGENT-57] a plan over the brake waits at the hub; approved, exactly that plan is carried out", async () => {
    const { a, b } = await pair();
    for (let at = 0; at < 60; at++) writeFileSync(join(a, `f${at}`), `file ${at}`);
    await until("all on b", () => Object.keys(tree(b)).length === 60);
    await settled("web1", "web2");
    for (let at = 0; at < 60; at++) rmSync(join(a, `f${at}`));
    await until("it is held", async () => (await hub.registry.held.all())[0]?.plan.total === 60);
    const [hold] = await hub.registry.held.all();
    expect(hold).toMatchObject({ host: "web1", plan: { counts: { beta: { removes: 60 } } } });
    expect(hold!.plan.changes).toHaveLength(60);
    expect(isHealthy("web1")).toBe(false);
    expect(Object.keys(tree(b))).toHaveLength(60);
    const { link, host, plan } = hold!;
    await expect(hub.agents.approve(ADMIN, link, host, "0".repeat(12))).rejects.toMatchObject({ code: "STALE" });
    await expect(hub.agents.approve(READER, link, host, plan.hash)).rejects.toMatchObject({ code: "DENIED" });
    await hub.agents.approve(ADMIN, link, host, plan.hash);
    // What was approved here is approved for the other host, too.
    await until("all are gone", () => Object.keys(tree(b)).length === 0);
    await until("nothing is held", async () => (await hub.registry.held.all()).length === 0);
    await settled("web1", "web2");
  });

  test("[AGENT-58] a link assigned by label begins, is changed and ends by the hub alone", async () => {
    hub = await AgentHub.start();
    const root = join(hub.dir, "hosts", "assigned");
    mkdirSync(join(hub.dir, "hosts"), { recursive: true });
    hub.agent("web1", []);
    await until("it is here", () => hub.registry.host("web1") !== undefined);
    const link = await hub.agents.createLink(ADMIN, { selector: "test", root, space: "demo", prefix: "sub", settings: { settle: "immediate" } });
    await settled("web1");
    writeFileSync(join(root, "f"), "one");
    await until("it is below the prefix", async () => (await hub.spaces.version(ADMIN, "demo", "sub/f")) !== undefined);
    await expect(hub.agents.updateLink(READER, link.id, { enabled: false })).rejects.toMatchObject({ code: "DENIED" });
    await hub.agents.updateLink(ADMIN, link.id, { enabled: false });
    await until("it rests", () => hub.listener.presence.heard("web1", link.id, 0)?.state.phase === "disabled");
    await hub.agents.updateLink(ADMIN, link.id, { enabled: true });
    await settled("web1");
    await hub.agents.setLabels(ADMIN, "web1", ["other"]);
    await until("it has ended", () => hub.log.some((one) => one.startsWith(`web1 link has ended link=${link.id}`)));
  });

  test("[AGENT-112] who changes a link lends it nothing that somebody else has led it to at the same time", async () => {
    const linker: Role = {
      name: "linker", includes: [],
      rules: [
        { effect: "allow", resource: "host", actions: ["read", "manage"] },
        { effect: "allow", resource: "space", actions: ["read"] },
        { effect: "allow", resource: "space", actions: ["write"], names: ["demo"] },
      ],
    };
    hub = await AgentHub.start(["demo", "other"], [linker]);
    const who: Principal = { id: "user:ann", kind: "user", name: "ann", roles: ["linker"], scopes: undefined };
    const settings = { mode: "one-way-replica", from: "space" } as const;
    const { id } = await hub.agents.createLink(ADMIN, { host: "web1", root: "/srv", space: "demo", settings });
    const moved = hub.agents.updateLink(ADMIN, id, { space: "other" });
    const widened = hub.agents.updateLink(who, id, { settings: { mode: "two-way-safe" } });
    await moved;
    await expect(widened).rejects.toMatchObject({ code: "DENIED" });
    expect(hub.registry.link(id)).toMatchObject({ space: "other", settings });
    await hub.agents.updateLink(ADMIN, id, { space: "demo" });
    expect(await hub.agents.updateLink(who, id, { settings: { mode: "two-way-safe" } })).toMatchObject({ space: "demo" });
  });

  test("[JOB-48] a host looks at everything below a link's root when it is asked, and says when it has, or why it cannot", async () => {
    hub = await AgentHub.start();
    const a = hub.folder("a");
    const agent = hub.agent("web1", []);
    await until("it has joined", () => hub.agents.hosts(ADMIN).length === 1);
    const { id } = await hub.agents.createLink(ADMIN, { ...linkTo(a, "demo"), host: "web1" });
    await settled("web1");
    const ask = (link = id, signal = never) =>
      hub.listener.rescan("web1", link, 7, signal).then(() => "looked", (error: unknown) => (error as SynclineError).code);
    const before = hub.log.length;
    expect(await ask()).toBe("looked");
    await settled("web1");
    writeFileSync(join(a, "new"), "new");
    await until("it goes on", async () => (await hub.spaces.version(ADMIN, "demo", "new")) !== undefined);
    expect(hub.log.slice(before).some((line) => line.includes("failed"))).toBe(false);
    expect(await ask("0000000000000000")).toBe("STATE");
    await hub.agents.updateLink(ADMIN, id, { enabled: false });
    await until("it is disabled", () => hub.agents.links(ADMIN)[0]!.state?.phase === "disabled");
    expect(await ask()).toBe("STATE");
    const cancelled = new AbortController();
    cancelled.abort(new SynclineError({ code: "INTERRUPTED", op: "x", message: "cancelled" }));
    expect(await ask(id, cancelled.signal)).toBe("INTERRUPTED");
    await agent.stop();
    await until("it has gone", async () => (await ask()) === "LINK_LOST");
  });

  test("[AGENT-59] a space that does not exist yet is waited for", async () => {
    hub = await AgentHub.start([]);
    const a = hub.folder("a");
    writeFileSync(join(a, "f"), "one");
    hub.agent("web1", [linkTo(a, "later")]);
    await until("it says so", () => hub.registry.linksOf("web1").some(({ id }) => hub.listener.presence.heard("web1", id, 0)?.state.error?.code === "SPACE_UNKNOWN"));
    await hub.spaces.createSpace(ADMIN, "later");
    await until("it begins", async () => (await hub.spaces.version(ADMIN, "later", "f").catch(() => undefined)) !== undefined);
  });

  /** Are all of these contents there, under whatever names? */
  const keepsBoth = (files: Record<string, string>, ...words: string[]): boolean =>
    words.every((word) => Object.values(files).includes(word));

  test("[AGENT-60] a host restored from a backup, its root older than its state, brings old files, not new ones", async () => {
    const { a, b, agents } = await pair();
    for (const name of ["mine", "theirs", "still"]) writeFileSync(join(a, name), `${name} 1`);
    await until("all on b", () => Object.keys(tree(b)).length === 3);
    await settled("web1", "web2");
    await until("it has a stamp", () => stampOf(a) !== undefined);
    const kept = join(hub.dir, "backup");
    cpSync(a, join(kept, "root"), { recursive: true, preserveTimestamps: true });
    // A backup is not of one moment: the state is of after the edit, and takes the old file for another edit of it.
    writeFileSync(join(a, "mine"), "mine 2");
    await until("it is on b", () => text(b, "mine") === "mine 2");
    await settled("web1", "web2");
    await agents[0]!.stop();
    cpSync(agents[0]!.dataDir, join(kept, "data"), { recursive: true, preserveTimestamps: true });
    writeFileSync(join(b, "theirs"), "theirs 2");
    const again = hub.agent("web1", [linkTo(a, "demo")]);
    await until("it has that", () => text(a, "theirs") === "theirs 2");
    await settled("web1", "web2");
    await again.stop();
    rmSync(a, { recursive: true });
    rmSync(again.dataDir, { recursive: true });
    cpSync(join(kept, "root"), a, { recursive: true, preserveTimestamps: true });
    cpSync(join(kept, "data"), again.dataDir, { recursive: true, preserveTimestamps: true });
    hub.agent("web1", [linkTo(a, "demo")]);
    await settled("web1", "web2");
    await until("both are the same", () => same(a, b));
    expect(tree(a)).toMatchObject({ mine: "mine 2", theirs: "theirs 2", still: "still 1" });
    expect(keepsBoth(tree(a), "mine 1", "theirs 1")).toBe(true);
    expect(hub.log.some((one) => one.startsWith("hub agent knows less than it did"))).toBe(true);
  });

  test("[AGENT-61] a root alone that is put back from a backup is compared, and its files do not pass for edits", async () => {
    const { a, b, agents } = await pair();
    for (const name of ["f", "g"]) writeFileSync(join(a, name), `${name} 1`);
    await until("all on b", () => Object.keys(tree(b)).length === 2);
    await settled("web1", "web2");
    await until("it has a stamp", () => stampOf(a) !== undefined);
    await agents[0]!.stop();
    const kept = join(hub.dir, "backup");
    cpSync(a, kept, { recursive: true, preserveTimestamps: true });
    // Another run draws another stamp.
    const again = hub.agent("web1", [linkTo(a, "demo")]);
    await settled("web1");
    await until("it has another stamp", () => stampOf(a) !== stampOf(kept));
    writeFileSync(join(a, "f"), "f 2");
    await until("it is on b", () => text(b, "f") === "f 2");
    await settled("web1", "web2");
    await again.stop();
    rmSync(a, { recursive: true });
    cpSync(kept, a, { recursive: true, preserveTimestamps: true });
    const before = await hub.spaces.version(ADMIN, "demo", "f");
    hub.agent("web1", [linkTo(a, "demo")]);
    await until("it is noticed", () => hub.log.some((one) => one.startsWith("web1 root or state was restored")));
    await until("both are the same", () => same(a, b) && Object.keys(tree(a)).length === 3);
    expect(before).toBeDefined();
    expect(tree(a)).toMatchObject({ f: "f 2", g: "g 1" });
    expect(keepsBoth(tree(a), "f 1")).toBe(true);
  });

  test("[AGENT-62] a link that a host declares is had only where the hub allows it", async () => {
    hub = await AgentHub.start(["demo", "forbidden"]);
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    writeFileSync(join(a, "f"), "one");
    hub.agent("web1", [linkTo(a, "forbidden"), linkTo(b, "demo")]);
    await settled("web1");
    expect(hub.registry.linksOf("web1").map(({ space }) => space)).toEqual(["demo"]);
    expect(await hub.spaces.version(ADMIN, "forbidden", "f")).toBeUndefined();
  });

  test("[AGENT-63] a certificate is renewed before its end, whatever the hub's clock says, and the new one is used", async () => {
    hub = await AgentHub.start();
    const a = hub.folder("a");
    const late: Clock = { ...hub.host.clock, nowMs: () => hub.host.clock.nowMs() + 70 * 86_400_000 };
    const agent = hub.agent("web1", [linkTo(a, "demo")], { host: { ...hub.host, clock: late } });
    await until("it has joined", () => readIdentity(agent.dataDir) !== undefined);
    const first = readIdentity(agent.dataDir)!;
    await until("it is renewed", () => readIdentity(agent.dataDir)!.certificate !== first.certificate);
    await agent.stop();
    expect(statSync(join(agent.dataDir, "key.pem")).mode & 0o777).toBe(0o600);
    expect(statSync(join(agent.dataDir, "identity.json")).mode & 0o777).toBe(0o600);
    hub.agent("web1", [linkTo(a, "demo")]);
    await settled("web1");
    const shown = hub.agents.host(ADMIN, "web1");
    expect(shown.serial).toBe(new X509Certificate(readIdentity(agent.dataDir)!.certificate).serialNumber.toLowerCase());
    expect(Math.abs(shown.skewMs!)).toBeLessThan(60_000);
  });

  test("[AGENT-64] the hub is found through its HTTP API; a hub that is not ours is no hub, and is asked again", async () => {
    hub = await AgentHub.start();
    let answer = (): string => "<html>";
    await using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: ({ url }) => new Response(url.endsWith("/v1/hub") ? answer() : "?") });
    const address = parseHubAddress(`http://127.0.0.1:${server.port}`);
    expect(await hub.agent("web1", [], { address }).failed).toMatchObject({ code: "PROTOCOL" });
    answer = () => JSON.stringify(hub.listener.hello());
    const a = hub.folder("a");
    const agent = hub.agent("web1", [linkTo(a, "demo")], { address });
    await settled("web1");
    await agent.stop();
    // Another hub has taken the address: nothing of ours is told to it.
    const other = await AgentHub.start();
    answer = () => JSON.stringify(other.listener.hello());
    const again = hub.agent("web1", [linkTo(a, "demo")], { address });
    await until("it is not trusted", () => hub.log.some((one) => one.includes("is not our hub")));
    answer = () => JSON.stringify(hub.listener.hello());
    await settled("web1");
    await again.stop();
    await other[Symbol.asyncDispose]();
  });

  test("[AGENT-65] a plan that was approved while its agent was away is carried out when it is back", async () => {
    const { a, b, agents } = await pair();
    for (let at = 0; at < 40; at++) writeFileSync(join(a, `f${at}`), `file ${at}`);
    writeFileSync(join(b, "keep"), "keep");
    await until("all are on both", () => Object.keys(tree(b)).length === 41 && same(a, b));
    await settled("web1", "web2");
    await agents[1]!.stop();
    for (let at = 0; at < 40; at++) rmSync(join(a, `f${at}`));
    await until("it is held", async () => (await hub.registry.held.all()).length === 1);
    await agents[0]!.stop();
    const [hold] = await hub.agents.holds(ADMIN);
    await hub.agents.approve(ADMIN, hold!.link, "web1", hold!.plan.hash);
    hub.agent("web1", [linkTo(a, "demo")]);
    await until("it is done", async () => (await hub.spaces.version(ADMIN, "demo", "f0"))?.entry === undefined);
    await until("nothing is held", async () => (await hub.registry.held.all()).length === 0);
    expect((await hub.spaces.version(ADMIN, "demo", "keep"))?.entry?.kind).toBe("file");
  });

  test("[AGENT-66] who breaks the protocol is cut off, and nobody else is", async () => {
    const { a, b, agents } = await pair();
    // Else it comes again now and then, and whoever speaks in its name is gone because of that.
    await agents[0]!.stop();
    const { ca, certificate } = readIdentity(agents[0]!.dataDir)!;
    const identity = { certificate, key: ownKey(agents[0]!.dataDir) };
    const reach = { host: "127.0.0.1", port: hub.port, ca, program: "test", clock: hub.host.clock };
    const told = async (root: string, method: string, ...messages: string[]): Promise<unknown> => {
      const mux = await connect({ ...reach, identity, root }, never);
      const channel = mux.open(method);
      // It may be cut off before the last one.
      for (const message of messages) await Promise.resolve(channel.send(Buffer.from(message))).catch(() => undefined);
      let answer: unknown;
      try {
        for (;;) if ((await channel.receive()) === undefined) break;
      } catch (error) {
        answer = error;
      }
      mux.close();
      return answer;
    };
    const foreign = hub.registry.linksOf("web2")[0]!.id;
    const hello = { type: "hello", version: 1, program: "x", platform: "", links: [] };
    const wrong: [string, string, string][] = [
      ["agent", "control", "not JSON"],
      ["agent", "control", JSON.stringify({ type: "heartbeat", sentMs: 1, links: [] })],
      ["agent", "control", JSON.stringify({ ...hello, links: Array(65).fill(null) })],
      ["agent", "other", "x"],
      ["enrol", "enrol", "{}"],
      ["enrol", "control", "{}"],
      ["hello", "enrol", "{}"],
    ];
    for (const [root, method, message] of wrong) expect(await told(root, method, message)).toMatchObject({ code: "PROTOCOL" });
    // A host says nothing of another one's links.
    const counts = { creates: 0, replaces: 0, metadata: 0, removes: 1, moves: 0, bytes: 0 };
    const plan = { link: foreign, hash: "a".repeat(12), reason: "r", counts: { alpha: counts, beta: counts }, changes: [], total: 1, removals: null };
    const mine = JSON.stringify({ ...hello, links: [linkTo(a, "demo")] });
    expect(await told("agent", "control", mine, JSON.stringify({ type: "hold", plan }), "end")).toMatchObject({ code: "PROTOCOL" });
    expect(await hub.registry.held.all()).toEqual([]);
    hub.agent("web1", [linkTo(a, "demo")]);
    writeFileSync(join(b, "f"), "goes on");
    await until("the others go on", () => text(a, "f") === "goes on");
  });

  test("[AGENT-67] a one-way link from the space makes the root what the space is, and never writes the space", async () => {
    const { a, b, agents } = await pair();
    await agents[1]!.stop();
    const release = linkTo(b, "demo", { mode: "one-way-replica", from: "space" });
    hub.agent("web2", [release]);
    writeFileSync(join(a, "f"), "one");
    await until("it arrives", () => text(b, "f") === "one");
    await settled("web1", "web2");
    const { sequence } = await hub.spaces.space(ADMIN, "demo");
    writeFileSync(join(b, "f"), "of b");
    writeFileSync(join(b, "own"), "of b");
    await until("they are put right", () => text(b, "f") === "one" && !existsSync(join(b, "own")));
    await settled("web1", "web2");
    expect((await hub.spaces.space(ADMIN, "demo")).sequence).toBe(sequence);
    expect(hub.registry.rulesOfHost("web2")).toMatchObject([{ actions: ["read"] }]);
  });

  test("[AGENT-68] a root that is gone halts its link, deletes nothing, and goes on when it is back", async () => {
    const { a, b } = await pair();
    writeFileSync(join(a, "f"), "one");
    await until("it is on b", () => text(b, "f") === "one");
    await settled("web1", "web2");
    renameSync(a, `${a}-away`);
    mkdirSync(a);
    writeFileSync(join(a, "other"), "not ours");
    await until("it is halted", () => hub.agents.host(ADMIN, "web1").status === "halted");
    expect(hub.agents.host(ADMIN, "web1").links[0]!.state!.error).toMatchObject({ code: "ROOT_IDENTITY" });
    rmSync(a, { recursive: true });
    renameSync(`${a}-away`, a);
    writeFileSync(join(a, "g"), "two");
    await until("it goes on", () => text(b, "g") === "two");
    await settled("web1", "web2");
    expect(tree(b)).toEqual({ f: "one", g: "two" });
  });

  test("[AGENT-69] hooks: one that fails before a batch stops it, one after is told what happened; hubs set none", async () => {
    hub = await AgentHub.start();
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    const gate = join(hub.dir, "gate");
    const seen = join(hub.dir, "seen");
    const hooks = { before: `test -e ${gate}`, after: `cat >> ${seen}; echo "$SYNCLINE_SPACE $SYNCLINE_CHANGES" >> ${seen}`, timeoutMs: 10_000, onAfterFailure: "report" } as const;
    hub.agent("web1", [linkTo(a, "demo")]);
    hub.agent("web2", [linkTo(b, "demo")], { hooks });
    await settled("web1", "web2");
    writeFileSync(join(a, "f"), "one");
    await until("it is stopped", () => hub.agents.host(ADMIN, "web2").links[0]!.state?.error?.code === "HALT");
    expect(existsSync(join(b, "f"))).toBe(false);
    writeFileSync(gate, "");
    await until("it passes", () => text(b, "f") === "one");
    await until("it was told", () => (text(hub.dir, "seen") ?? "").includes("demo 1"));
    expect(text(hub.dir, "seen")!.split("\n")[0]).toBe(JSON.stringify({ action: "create", path: "f" }));
    await settled("web2");
  });

  test("[DIGEST-4] a link whose digest is another one than its space's is shown diverged, however well it says it is", async () => {
    hub = await AgentHub.start();
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    for (const name of ["f", "g"]) writeFileSync(join(a, name), name);
    const agents = [hub.agent("web1", [linkTo(a, "demo")])];
    await settled("web1");
    agents.push(hub.agent("web2", [linkTo(b, "demo")]));
    await settled("web1", "web2");
    await until("all is everywhere", () => same(a, b) && text(b, "g") === "g");
    const linkOf = (name: string) => hub.agents.host(ADMIN, name).links[0]!;
    const digestOf = (name: string): string | undefined => {
      const { id } = linkOf(name).link;
      return hub.listener.digests.at(name, id, linkOf(name).state?.sequence ?? -1);
    };
    await agents[1]!.stop();
    await until("web1 and its space were compared", () => digestOf("web1") !== undefined && linkOf("web1").status === "healthy");
    expect(linkOf("web1").state!.digest).toBe(digestOf("web1")!);
    await agents[0]!.stop();
    // A row is lost at the hub, which no sequence tells of.
    const { id } = await hub.spaces.space(ADMIN, "demo");
    await hub.database.run("DELETE FROM versions WHERE space_id = ? AND path = ?", [id, Buffer.from("f")]);
    await hub.stop();
    await hub.start();
    hub.agent("web2", [linkTo(b, "demo")]);
    await until("it is found", () => linkOf("web2").status === "diverged");
    expect(linkOf("web2").state).toMatchObject({ phase: "watching", conflicts: 0, problems: 0 });
    expect(hub.log.some((one) => one.includes("a link holds something else than its space"))).toBe(true);
  });

  test("[REPAIR-2] a damaged chunk is healed from an agent that has the file, and from no file that is not the link's", async () => {
    const { a, b, agents } = await pair();
    const bytes = hub.host.random.bytes(3_000_000);
    writeFileSync(join(a, "large"), bytes);
    await until("it is everywhere", () => existsSync(join(b, "large")) && statSync(join(b, "large")).size === bytes.length);
    await settled("web1", "web2");
    const store = new FollowStore(hub.database, hub.meta.hubId);
    const repair = new ChunkRepair({
      store, meta: hub.meta, chunks: hub.chunks, clock: hub.host.clock, sourceOf: () => undefined, agents: hub.listener, onLost: () => undefined,
      log: () => undefined,
    });
    const packs = join(hub.dataDir, "chunks");
    const rot = (): void => {
      const pack = join(packs, readdirSync(packs).find((name) => name.endsWith(".pack"))!);
      const data = readFileSync(pack);
      for (let at = 500_000; at < data.length - 1000; at += 700_000) data[at]! ^= 1;
      writeFileSync(pack, data);
    };
    await hub.chunks.flush();
    rot();
    const { damaged } = await hub.chunks.scrub(undefined, Number.MAX_SAFE_INTEGER, never);
    expect(damaged.length).toBeGreaterThan(1);
    await repair.lost(damaged);
    // Whoever has not what was committed is of no help: its bytes are not those of the chunk.
    await agents[1]!.stop();
    const version = (await hub.spaces.version(ADMIN, "demo", "large"))!;
    const outside = { ...version, path: "../../secret" };
    const space = await hub.spaces.space(ADMIN, "demo");
    writeFileSync(join(hub.dir, "secret"), bytes);
    const part = { position: 0, length: 100, id: damaged[0]! };
    expect(await hub.listener.read(space, outside, part, never)).toBeUndefined();
    expect(await repair.round(never)).toEqual({ healed: damaged.length, left: 0 });
    const content = await hub.spaces.open(ADMIN, "demo", version);
    const read = new Uint8Array(content.size);
    await content.read(read, 0);
    expect(Buffer.compare(read, bytes)).toBe(0);
    expect(await store.lostCount()).toBe(0);
  });
});
