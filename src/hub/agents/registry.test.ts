import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemRandom } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import type { HeldPlan } from "#hub/agents/control.ts";
import { type DeclaredLink, LINKS_PER_HOST_MAX, LINK_SETTINGS } from "#hub/agents/link.ts";
import { AgentRegistry, type HeardState } from "#hub/agents/registry.ts";

const settings = LINK_SETTINGS.parse({});
const declared = (root: string, more: Partial<DeclaredLink> = {}): DeclaredLink => ({ root, space: "demo", prefix: "", settings, ...more });
const counts = { creates: 0, replaces: 0, metadata: 0, removes: 3, moves: 0, bytes: 0 };
const plan = (link: string, hash: string): HeldPlan => ({
  link, hash, reason: "too many", counts: { alpha: counts, beta: counts }, changes: ["beta remove a"], total: 3, removals: null,
});
const heardOf = (link: string): HeardState => ({
  link, host: "web1", heardMs: 5,
  state: {
    id: link, generation: 1, phase: "watching", sequence: 7, stored: null, backlog: 0, lagMs: 0, files: 3, conflicts: 0, problems: 0,
    changes: 2, syncedAgoMs: 10, digest: null, holdHash: null, error: null, pause: null, releases: null, projects: [],
  },
});

describe("agent registry", () => {
  let dir: string;
  let db: Database;
  let registry: AgentRegistry;

  const open = async (): Promise<void> => {
    db = openSqlite(join(dir, "hub.db"));
    registry = await AgentRegistry.open({ db, clock: systemClock, random: systemRandom });
  };

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "syncline-registry-"));
    await open();
  });

  afterEach(async () => {
    await db.close();
    rmSync(dir, { recursive: true });
  });

  const reopen = async (): Promise<void> => {
    await db.close();
    await open();
  };

  test("[AGENT-1] a link for a label belongs to the hosts that have it, and to no other, also after a restart", async () => {
    await registry.setLabels("web1", ["role=web"]);
    await registry.joined("db1", "aa");
    const link = await registry.createLink({ selector: "role=web", root: "/srv/site/", space: "demo" });
    expect(link).toMatchObject({ root: "/srv/site", generation: 1, settings: { mode: "two-way-safe", conflict: "copy" } });
    expect(registry.linksOf("web1").map(({ id }) => id)).toEqual([link.id]);
    expect(registry.linksOf("db1")).toEqual([]);
    expect(registry.linksOf("nobody")).toEqual([]);
    await registry.setLabels("web1", []);
    expect(registry.linksOf("web1")).toEqual([]);
    await registry.setLabels("db1", ["role=web", "x"]);
    await reopen();
    expect(registry.host("db1")).toMatchObject({ serial: "aa", labels: ["role=web", "x"] });
    expect(registry.linksOf("db1")).toEqual([link]);
  });

  test("[AGENT-2] what a host declares is exactly what it has: added, changed, gone; the hub's own links stay", async () => {
    const fixed = await registry.createLink({ host: "web1", root: "/srv/fixed", space: "demo", prefix: "fixed" });
    expect(await registry.declare("web1", [declared("/a"), declared("/b", { prefix: "b" })])).toBe(true);
    const before = registry.linksOf("web1");
    expect(before.map(({ root, origin }) => `${root} ${origin}`)).toEqual(["/srv/fixed hub", "/a host", "/b host"]);
    expect(await registry.declare("web1", [declared("/a"), declared("/b", { prefix: "b" })])).toBe(false);
    const other = { ...settings, settle: "immediate" as const };
    await registry.declare("web1", [declared("/a", { settings: other }), declared("/c")]);
    const after = registry.linksOf("web1");
    expect(after.map(({ root, generation }) => `${root} ${generation}`)).toEqual(["/srv/fixed 1", "/a 2", "/c 1"]);
    expect(after[1]!.id).toBe(before[1]!.id);
    await registry.declare("web1", []);
    expect(registry.linksOf("web1")).toEqual([fixed]);
    await reopen();
    expect(registry.links()).toEqual([fixed]);
  });

  test("[AGENT-111] a link that was led elsewhere while its space was looked for follows that one no more", async () => {
    const { id } = await registry.createLink({ host: "web1", root: "/srv", space: "one" });
    // The agent's list is being made: the space has been found.
    const found = { space: registry.link(id)!.space, id: 1 };
    await registry.updateLink(id, { space: "two" });
    await registry.bindSpace({ id, space: found.space }, found.id);
    await registry.spacesAre([{ id: 1, name: "one-renamed" }, { id: 2, name: "two" }]);
    expect(registry.link(id)!.space).toBe("two");
    await registry.bindSpace({ id, space: "two" }, 2);
    await registry.spacesAre([{ id: 2, name: "two-renamed" }]);
    expect(registry.link(id)!.space).toBe("two-renamed");
  });

  test("[AGENT-3] a link that its host declares is changed there alone; others carry a generation", async () => {
    await registry.declare("web1", [declared("/a")]);
    const own = registry.linksOf("web1")[0]!;
    await expect(registry.updateLink(own.id, { enabled: false })).rejects.toMatchObject({ code: "DENIED" });
    await expect(registry.removeLink(own.id)).rejects.toMatchObject({ code: "DENIED" });
    const link = await registry.createLink({ host: "web1", root: "/b", space: "demo" });
    await expect(registry.createLink({ host: "web1", root: "/b/", space: "other" })).rejects.toMatchObject({ code: "EXISTS" });
    const changed: (string | undefined)[] = [];
    const stop = new AbortController();
    registry.onLinks((host) => changed.push(host), stop.signal);
    const [one, two] = await Promise.all([
      registry.updateLink(link.id, { settings: { settle: "immediate" } }),
      registry.updateLink(link.id, { enabled: false }),
    ]);
    expect([one.generation, two.generation]).toEqual([2, 3]);
    expect(registry.link(link.id)).toMatchObject({ enabled: false, settings: { settle: "immediate", mode: "two-way-safe" } });
    expect(changed).toEqual(["web1", "web1"]);
    stop.abort();
    expect(await registry.removeLink(link.id)).toBe(true);
    expect(await registry.removeLink(link.id)).toBe(false);
    expect(changed).toHaveLength(2);
  });

  test("[AGENT-4] links that cannot be are refused with what is wrong", async () => {
    const good = { host: "web1", root: "/a", space: "demo" };
    const wrong: [object, RegExp][] = [
      [{ ...good, root: "a" }, /root: is not an absolute path/],
      [{ ...good, host: "WEB" }, /host/],
      [{ ...good, space: "../x" }, /space: is not the name/],
      [{ ...good, prefix: "a/../b" }, /prefix/],
      [{ ...good, prefix: ".syncline" }, /prefix/],
      [{ ...good, selector: "web" }, /a host or a selector/],
      [{ root: "/a", space: "demo" }, /a host or a selector/],
      [{ ...good, settings: { windows: ["25:00-26:00"] } }, /settings.windows.0/],
      [{ ...good, settings: { ignore: ["x".repeat(3000)] } }, /settings.ignore: has more than/],
      [{ ...good, settings: { unknown: 1 } }, /nrecognized/],
    ];
    for (const [value, message] of wrong) {
      await expect(registry.createLink(value)).rejects.toMatchObject({ code: "USAGE", message: expect.stringMatching(message) });
    }
    await registry.setLabels("web1", []);
    await expect(registry.setLabels("web1", ["no label"])).rejects.toMatchObject({ code: "USAGE" });
    expect(registry.links()).toEqual([]);
  });

  test("[AGENT-5] the rights of an agent are its links': both ways, or reading alone, below their prefix", async () => {
    await registry.joined("web1", "aa");
    await registry.createLink({ host: "web1", root: "/a", space: "demo" });
    const release = { mode: "one-way-replica", from: "space" };
    await registry.createLink({ host: "web1", root: "/b", space: "builds", prefix: "site", settings: release });
    expect(registry.rulesOfHost("web1")).toEqual([
      { effect: "allow", resource: "space", actions: ["read", "write"], names: ["demo"] },
      { effect: "allow", resource: "space", actions: ["read"], names: ["builds"], prefixes: ["site"] },
    ]);
    expect(registry.rulesOfHost("web2")).toEqual([]);
  });

  test("[AGENT-6] an approval is for exactly the plan that is held, and goes when another one takes its place", async () => {
    const link = (await registry.createLink({ host: "web1", root: "/a", space: "demo" })).id;
    await registry.held.hold("web1", plan(link, "aaaaaaaaaaaa"));
    await expect(registry.held.approve(link, "web1", "bbbbbbbbbbbb", "user:ann")).rejects.toMatchObject({ code: "STALE" });
    await expect(registry.held.approve(link, "web2", "aaaaaaaaaaaa", "user:ann")).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await registry.held.approve(link, "web1", "aaaaaaaaaaaa", "user:ann")).toMatchObject({ approvedBy: "user:ann" });
    // Told again by an agent that was started again: still approved.
    await registry.held.hold("web1", plan(link, "aaaaaaaaaaaa"));
    await reopen();
    expect(await registry.held.all()).toMatchObject([{ host: "web1", approvedBy: "user:ann", plan: plan(link, "aaaaaaaaaaaa") }]);
    await registry.held.hold("web1", plan(link, "cccccccccccc"));
    expect(await registry.held.of(link, "web1")).toMatchObject({ approvedBy: undefined });
    await registry.held.release(link, "web1");
    expect(await registry.held.all()).toEqual([]);
  });

  test("[AGENT-7] what was heard is kept over a restart, and goes with the host or the link", async () => {
    await registry.joined("web1", "aa");
    const link = (await registry.createLink({ host: "web1", root: "/a", space: "demo" })).id;
    const { state } = heardOf(link);
    await registry.saveHeard([{ link, host: "web1", heardMs: 5, state }], [{ name: "web1", lastSeenMs: 5 }]);
    await registry.saveHeard([{ link, host: "web1", heardMs: 9, state: { ...state, sequence: 8 } }], [{ name: "web1", lastSeenMs: 9 }]);
    registry.marks.acknowledge(link, "web1", { session: "s", epoch: "e", acknowledged: 9 });
    registry.marks.set(link, "web1", { session: "s", epoch: "e", acknowledged: 6 });
    registry.marks.set(link, "web1", { session: "s", epoch: "e", acknowledged: 4 });
    registry.marks.acknowledge(link, "web1", { session: "other", epoch: "e", acknowledged: 9 });
    await registry.saveMarks();
    await reopen();
    expect(await registry.heard()).toEqual([{ link, host: "web1", heardMs: 9, state: { ...state, sequence: 8 } }]);
    expect(registry.marks.of(link, "web1")).toEqual({ session: "s", epoch: "e", acknowledged: 6 });
    expect(registry.host("web1")!.lastSeenMs).toBe(9);
    await db.run("UPDATE agent_states SET state = ?", ["{"]);
    expect(await registry.heard()).toEqual([]);
    expect(await registry.removeHost("web1")).toBe(true);
    expect([registry.links(), registry.marks.of(link, "web1"), registry.hosts()]).toEqual([[], undefined, []]);
  });

  test("[AGENT-105] how far an agent had stored what came is written in the end, however often the disk refuses it", async () => {
    await registry.joined("web1", "aa");
    const link = (await registry.createLink({ host: "web1", root: "/a", space: "demo" })).id;
    registry.marks.set(link, "web1", { session: "s", epoch: "e", acknowledged: 6 });
    await registry.saveMarks();
    registry.marks.set(link, "web1", { session: "s", epoch: "e", acknowledged: 9 });
    await db.run("CREATE TRIGGER refusing BEFORE INSERT ON agent_marks BEGIN SELECT RAISE(ABORT, 'refused'); END");
    for (let time = 0; time < 2; time++) await registry.saveMarks().catch(() => undefined);
    await db.run("DROP TRIGGER refusing");
    await registry.saveMarks();
    await reopen();
    expect(registry.marks.of(link, "web1")).toEqual({ session: "s", epoch: "e", acknowledged: 9 });
  });

  test("[AGENT-124] a plan that has gone is held no longer, however often the disk refused to write that", async () => {
    const { id } = await registry.createLink({ host: "web1", root: "/a", space: "demo" });
    await registry.joined("web1", "aa");
    await registry.held.hold("web1", plan(id, "aaaaaaaaaaaa"));
    await db.run("CREATE TRIGGER refusing BEFORE DELETE ON agent_holds BEGIN SELECT RAISE(ABORT, 'refused'); END");
    for (let round = 0; round < 2; round++) await expect(registry.held.release(id, "web1")).rejects.toThrow();
    await db.run("DROP TRIGGER refusing");
    await registry.held.release(id, "web1");
    expect(await registry.held.all()).toEqual([]);
  });

  test("[AGENT-106] a link that is led to another space stays there, however often that was refused, or cut off, before", async () => {
    const spaces = [{ id: 1, name: "one" }, { id: 2, name: "two" }];
    const link = await registry.createLink({ host: "web1", root: "/a", space: "one" });
    await registry.bindSpace(link, 1);
    const refusing = "CREATE TRIGGER refusing BEFORE UPDATE OF space_id ON agent_links BEGIN SELECT RAISE(ABORT, 'refused'); END";
    await db.run(refusing);
    for (let time = 0; time < 2; time++) await expect(registry.updateLink(link.id, { space: "two" })).rejects.toThrow();
    // What was refused has not happened, neither here nor after a restart.
    expect(registry.link(link.id)?.space).toBe("one");
    await reopen();
    expect(registry.link(link.id)?.space).toBe("one");
    await db.run("DROP TRIGGER refusing");
    const changed = await registry.updateLink(link.id, { space: "two" });
    await reopen();
    await registry.spacesAre(spaces);
    expect(registry.link(link.id)?.space).toBe("two");
    // Nor is it bound to the space that it had led to when it was looked at; and a binding that is refused is tried again.
    await registry.bindSpace(link, 1);
    await db.run(refusing);
    await expect(registry.bindSpace(changed, 2)).rejects.toThrow();
    await db.run("DROP TRIGGER refusing");
    await registry.bindSpace(changed, 2);
    await reopen();
    await registry.spacesAre([{ id: 1, name: "one" }, { id: 2, name: "renamed" }]);
    expect(registry.link(link.id)?.space).toBe("renamed");
  });

  test("[AGENT-107] links of a space that got another name follow it, also when the disk refuses that at first", async () => {
    const link = await registry.createLink({ host: "web1", root: "/a", space: "one" });
    await registry.bindSpace(link, 1);
    await db.run("CREATE TRIGGER refusing BEFORE UPDATE OF space ON agent_links BEGIN SELECT RAISE(ABORT, 'refused'); END");
    await expect(registry.spacesAre([{ id: 1, name: "two" }])).rejects.toThrow();
    await expect(registry.saveMarks()).rejects.toThrow();
    await db.run("DROP TRIGGER refusing");
    await registry.saveMarks();
    expect(registry.link(link.id)?.space).toBe("two");
    await reopen();
    expect(registry.link(link.id)?.space).toBe("two");
  });

  test("[AGENT-110] of a link that was removed nothing is written or remembered, whatever of it was under way", async () => {
    await registry.joined("web1", "aa");
    const made = { host: "web1", root: "/a", space: "demo" };
    const mark = { session: "s", epoch: "e", acknowledged: 1 };
    const { id } = await registry.createLink(made);
    registry.marks.set(id, "web1", mark);
    // Both begin before it is gone, and end after it.
    const removed = registry.removeLink(id);
    await Promise.all([removed, registry.saveHeard([heardOf(id)], []), registry.saveMarks()]);
    registry.marks.set(id, "web1", mark);
    await registry.saveMarks();
    expect([await registry.heard(), registry.marks.of(id, "web1"), registry.marks.hasSession("s")]).toEqual([[], undefined, false]);
    await reopen();
    expect(registry.marks.of(id, "web1")).toBeUndefined();
    // What a host declares anew leads to what has the name now, and not to what had it.
    await registry.declare("web1", [declared("/b")]);
    const own = registry.linksOf("web1")[0]!;
    await registry.bindSpace(own, 1);
    await registry.declare("web1", []);
    await registry.declare("web1", [declared("/b")]);
    await registry.spacesAre([{ id: 1, name: "before" }, { id: 2, name: own.space }]);
    expect(registry.linksOf("web1")).toMatchObject([{ id: own.id, space: own.space }]);
  });

  test("[AGENT-8] a host has no more links than its agent takes", async () => {
    await registry.joined("web1", "aa");
    for (let at = 0; at < LINKS_PER_HOST_MAX + 3; at++) {
      await registry.createLink({ host: "web1", root: `/r${at}`, space: "demo" });
    }
    expect(registry.linksOf("web1")).toHaveLength(LINKS_PER_HOST_MAX);
  });
});
