import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Principal } from "#access/access.ts";
import type { Keep } from "#hub/agents/left-conflicts.ts";
import { SynclineError } from "#model/error.ts";
import { ADMIN, AGENT_TEST_MS, AgentHub, type WrapRoot, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

const READER: Principal = { ...ADMIN, id: "user:eve", name: "eve", roles: ["reader"] };
const text = (dir: string, name: string): string | undefined =>
  existsSync(join(dir, name)) ? readFileSync(join(dir, name), "utf8") : undefined;
const codeOf = (done: Promise<unknown>): Promise<string> =>
  done.then(() => "done", (error: unknown) => (error instanceof SynclineError ? error.code : String(error)));

describe("conflicts that a link has left open", () => {
  let hub: AgentHub;
  afterEach(() => hub[Symbol.asyncDispose]());

  /** A host on which each of these files is another one than in the space, and a link that leaves that. */
  async function left(
    files: readonly string[],
    settings: Parameters<typeof linkTo>[2] = {},
    prefix = "",
    given: Parameters<AgentHub["agent"]>[2] = {},
  ) {
    hub = await AgentHub.start();
    const root = hub.folder("a");
    const seeds = hub.folder("seeds");
    for (const name of files) {
      mkdirSync(join(root, name, ".."), { recursive: true });
      mkdirSync(join(seeds, name, ".."), { recursive: true });
      writeFileSync(join(root, name), `host ${name}`);
      writeFileSync(join(seeds, name), `space's ${name}`);
    }
    const first = hub.agent("web2", [linkTo(seeds, "demo", {}, prefix)]);
    const there = (name: string): Promise<unknown> => hub.spaces.version(ADMIN, "demo", join(prefix, name));
    await until("the space has its files", async () => !(await Promise.all(files.map(there))).includes(undefined));
    await first.stop();
    const agent = hub.agent("web1", [linkTo(root, "demo", { conflict: "leave", ...settings }, prefix)], given);
    const count = (): number => hub.agents.host(ADMIN, "web1").links[0]?.state?.conflicts ?? -1;
    await until("they are in conflict", () => hub.registry.host("web1") !== undefined && count() === files.length);
    const list = async () => (await hub.agents.leftConflicts(ADMIN, "demo", "")).left;
    const decide = async (path: string, keep: Keep, who = ADMIN): Promise<void> => {
      const one = (await list()).find((each) => each.path === path)!;
      await hub.agents.resolveLeft(who, one.link, one.host, { path, tag: one.conflict.tag, keep });
    };
    const inSpace = async (path: string): Promise<string | undefined> => {
      const version = await hub.spaces.version(ADMIN, "demo", path);
      if (version?.entry?.kind !== "file") return undefined;
      const reader = await hub.spaces.open(ADMIN, "demo", version);
      const bytes = new Uint8Array(reader.size);
      await reader.read(bytes, 0);
      return Buffer.from(bytes).toString();
    };
    return { root, agent, count, list, decide, inSpace };
  }

  test("[CONFLICT-5] are listed with both sides, and settled one by one: by the space's, the host's, or both", async () => {
    const { root, count, list, decide, inSpace } = await left(["d/current", "d/copy", "d/both", "d/open"]);
    const found = await list();
    expect(found.map(({ path, host }) => [path, host])).toEqual(["d/both", "d/copy", "d/current", "d/open"].map((path) => [path, "web1"]));
    expect(found[0]!.conflict).toMatchObject({
      path: "d/both", reason: "both-changed", host: { kind: "file", size: 11 }, space: { kind: "file", size: 14 },
    });
    await Promise.all([decide("d/current", "current"), decide("d/copy", "copy"), decide("d/both", "both")]);
    await until("one is left", () => count() === 1);
    expect((await list()).map(({ path }) => path)).toEqual(["d/open"]);
    expect([text(root, "d/current"), await inSpace("d/current")]).toEqual(["space's d/current", "space's d/current"]);
    expect([text(root, "d/copy"), await inSpace("d/copy")]).toEqual(["host d/copy", "host d/copy"]);
    expect([text(root, "d/open"), await inSpace("d/open")]).toEqual(["host d/open", "space's d/open"]);
    // Both are on both, and the loser is a conflict of the space now.
    const { conflicts } = await hub.spaces.conflicts(ADMIN, "demo", { below: "d", after: undefined, limit: 10 });
    const [copy] = conflicts;
    expect(conflicts).toMatchObject([{ path: "d/both" }]);
    await until("the copy is on both", async () => text(root, copy!.copy.path) === (await inSpace(copy!.copy.path)));
    const held = [text(root, "d/both"), text(root, copy!.copy.path)];
    expect(held.toSorted()).toEqual(["host d/both", "space's d/both"]);
  });

  test("[CONFLICT-6] what was changed since it was looked at is left alone, and who may not is told nothing", async () => {
    const { root, list, decide, count } = await left(["f"]);
    const [before] = await list();
    const ask = (who: Principal, tag: string, path = "f"): Promise<string> =>
      codeOf(hub.agents.resolveLeft(who, before!.link, "web1", { path, tag, keep: "current" }));
    expect(await ask(ADMIN, "0".repeat(16))).toBe("STALE");
    expect(await ask(ADMIN, before!.conflict.tag, "g")).toBe("NOT_FOUND");
    expect(["DENIED", "NOT_FOUND"]).toContain(await ask(READER, before!.conflict.tag));
    writeFileSync(join(root, "f"), "changed meanwhile");
    await until("it is another conflict", async () => (await list())[0]!.conflict.tag !== before!.conflict.tag);
    expect(await ask(ADMIN, before!.conflict.tag)).toBe("STALE");
    expect(text(root, "f")).toBe("changed meanwhile");
    await decide("f", "copy");
    await until("it is settled", () => count() === 0);
    expect(text(root, "f")).toBe("changed meanwhile");
  });

  test("[CONFLICT-7] of a link with a prefix have the space's paths; what loses is in the host's trash", async () => {
    const { root, decide, count, inSpace } = await left(["e/f"], {}, "sub");
    expect((await hub.agents.leftConflicts(ADMIN, "demo", "other")).left).toEqual([]);
    expect((await hub.agents.leftConflicts(ADMIN, "demo", "sub/e")).left).toMatchObject([{ path: "sub/e/f", conflict: { path: "e/f" } }]);
    await decide("sub/e/f", "current");
    await until("it is settled", () => count() === 0);
    expect([text(root, "e/f"), await inSpace("sub/e/f")]).toEqual(["space's e/f", "space's e/f"]);
    expect(readdirSync(join(root, ".syncline"), { recursive: true }).join()).toContain("trash");
  });

  test("[CONFLICT-9] a decision outlives the agent, and is carried out where the conflict is still the one that was decided", async () => {
    let isStuck = false;
    const wrapRoot: WrapRoot = (root) => {
      const scan = root.scan.bind(root);
      root.scan = async (request, onBatch, signal) => {
        if (isStuck) await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
        return scan(request, onBatch, signal);
      };
      return root;
    };
    const { root, agent, count, list, decide, inSpace } = await left(["d/current", "d/both", "d/other", "d/open"], {}, "", { wrapRoot });
    isStuck = true;
    await decide("d/current", "current");
    await decide("d/both", "both");
    await decide("d/other", "current");
    await agent.stop();
    expect([text(root, "d/current"), await inSpace("d/current")]).toEqual(["host d/current", "space's d/current"]);
    writeFileSync(join(root, "d/other"), "changed while nobody looked");
    const lines: string[] = [];
    hub.agent("web1", [linkTo(root, "demo", { conflict: "leave" })], { log: (message, fields) => void lines.push(`${message} ${JSON.stringify(fields)}`) });
    await until("two are left", () => count() === 2);
    expect((await list()).map(({ path }) => path)).toEqual(["d/open", "d/other"]);
    expect([text(root, "d/current"), await inSpace("d/current")]).toEqual(["space's d/current", "space's d/current"]);
    expect([text(root, "d/other"), await inSpace("d/other")]).toEqual(["changed while nobody looked", "space's d/other"]);
    expect(lines.filter((line) => line.startsWith("a decision about a conflict was dropped"))).toEqual([expect.stringContaining("d/other")]);
    const decisions = join(hub.dir, "agents/web1/decisions");
    await until("nothing waits any more", () => readdirSync(decisions).every((name) => text(decisions, name) === ""));
  });

  test("[CONFLICT-10] a decision outlives a lost connection, and is carried out where the conflict is still the one that was decided", async () => {
    let isLost = false;
    const wrapRoot: WrapRoot = (root) => {
      const scan = root.scan.bind(root);
      root.scan = async (request, onBatch, signal) => {
        if (isLost) throw new SynclineError({ code: "LINK_LOST", op: "test", message: "lost", retryable: true });
        return scan(request, onBatch, signal);
      };
      return root;
    };
    const { root, list, count, decide, inSpace } = await left(["same", "other", "open"], {}, "", { wrapRoot });
    isLost = true;
    await decide("same", "current");
    await decide("other", "current");
    const tries = (): number => hub.log.filter((line) => line.startsWith("web1 link will be tried again")).length;
    const before = tries();
    await until("the connection was lost", () => tries() > before + 1);
    writeFileSync(join(root, "other"), "changed while the hub was away");
    isLost = false;
    await until("two are left", () => count() === 2);
    expect((await list()).map(({ path }) => path)).toEqual(["open", "other"]);
    expect([text(root, "same"), await inSpace("same")]).toEqual(["space's same", "space's same"]);
    expect([text(root, "other"), await inSpace("other")]).toEqual(["changed while the hub was away", "space's other"]);
    const dropped = hub.log.filter((line) => line.includes("a decision about a conflict was dropped"));
    expect(dropped).toEqual([expect.stringContaining("path=other")]);
    const decisions = join(hub.dir, "agents/web1/decisions");
    await until("nothing waits any more", () => readdirSync(decisions).every((name) => text(decisions, name) === ""));
  });

  test("[CONFLICT-7] what a link's mode cannot bring over is refused, and an agent that has gone is named", async () => {
    const { agent, list, decide } = await left(["f"], { mode: "one-way-safe", from: "space" });
    expect(await codeOf(decide("f", "copy"))).toBe("UNSUPPORTED");
    expect(await list()).toHaveLength(1);
    await agent.stop();
    await until("its connection has ended", async () => (await hub.agents.leftConflicts(ADMIN, "demo", "")).left.length === 0);
    expect((await hub.agents.leftConflicts(ADMIN, "demo", "")).unanswered).toMatchObject([{ host: "web1", conflicts: 1 }]);
  });
});
