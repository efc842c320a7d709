import { describe, expect, test } from "bun:test";
import type { AgentJson, HoldJson, LinkStateJson } from "#gateway/api/routes-links.ts";
import { LINK_SETTINGS } from "#hub/agents/link.ts";
import { agentLines, holdFate, holdLines, linkLines, needsAttention, paintedStatus } from "#cli/fleet-text.ts";
import { columnsOf, formatAgo, formatSpan, wrapLine } from "#cli/format.ts";
import { settingWords } from "#cli/link-text.ts";
import { makePaint } from "#cli/screen.ts";

const plain = makePaint(false);
const ID = "1fa8df15634eba30";
const HASH = "2c8fbc22a8f1";

const state: NonNullable<LinkStateJson["state"]> = {
  id: ID, generation: 1, phase: "watching", sequence: 9, stored: null, backlog: 0, lagMs: 0, files: 1200, conflicts: 0,
  problems: 0, changes: 3, syncedAgoMs: 1000, digest: null, holdHash: null, error: null, pause: null, releases: null, projects: [],
};
const link = (more: Partial<LinkStateJson> = {}, settings: object = {}): LinkStateJson => ({
  link: {
    id: ID, host: "web1", root: "/srv/site", space: "demo", prefix: "site", settings: LINK_SETTINGS.parse(settings),
    enabled: true, generation: 1, origin: "hub", created: "2026-11-26T01:00:00.000Z",
  },
  host: "web1", status: "healthy", lagMs: 0, heardAgoMs: 2000, state, ...more,
});
const agent = (more: Partial<AgentJson> = {}): AgentJson => ({
  name: "web1", labels: ["role=web"], program: "syncline 0.1.0", platform: "linux-x64", status: "healthy", heardAgoMs: 2000,
  clockSkewMs: 3, links: [link()], ...more,
});
const none = { creates: 0, replaces: 0, metadata: 0, removes: 0, moves: 0, bytes: 0 };
const hold: HoldJson = {
  link: ID, host: "web1", held: "2026-11-26T01:00:00.000Z",
  plan: {
    link: ID, hash: HASH, reason: "50 of 60 entries of the space would be removed or replaced", total: 50, removals: null,
    counts: { alpha: none, beta: { ...none, removes: 50, bytes: 2048 } },
    changes: Array.from({ length: 50 }, (_, at) => `space remove f${at}`),
  },
};
const NOW = Date.parse(hold.held) + 180_000;

describe("hosts of a hub", () => {
  test("[CLI-44] a host is one line: how it is, when it was heard, what it runs", () => {
    const hosts = [agent(), agent({ name: "db", status: "silent", heardAgoMs: undefined, labels: [], program: "", links: [] })];
    expect(agentLines(hosts, plain, false)).toEqual([
      "web1  healthy  heard 2 s ago  1 link   syncline 0.1.0  role=web",
      "db    silent   never heard    0 links",
    ]);
  });

  test("[CLI-44] a host whose key was revoked is not shown as one that may only be off", () => {
    const gone = agent({ name: "db", status: "silent", revoked: "2026-11-27T01:00:00.000Z", heardAgoMs: undefined, labels: [], links: [] });
    const lines = agentLines([gone], plain, true);
    expect(lines).toEqual([
      "db  revoked  never heard  0 links  syncline 0.1.0",
      "  its key was revoked, 2026-11-27T01:00:00.000Z: nothing is heard of it until it joins anew",
      "  hint: the agent on db says how; it takes a new token of syncline join-token create",
    ]);
    for (const line of lines) expect(wrapLine(line, 100)).toEqual([line]);
  });

  test("[CLI-44] what is wrong with a link is told with what to do, in lines that fit a terminal", () => {
    const trouble = { code: "DISK", message: "the disk is full", hint: "make room" };
    const held = link({ status: "held", lagMs: 90_000, state: { ...state, backlog: 50, holdHash: HASH, conflicts: 1, problems: 2, error: trouble } });
    const lines = agentLines([agent({ status: "held", clockSkewMs: -90_000, links: [held, link()] })], plain, true);
    expect(lines).toEqual([
      "web1  held  heard 2 s ago  2 links  syncline 0.1.0  role=web",
      "  its clock is 2 min behind the hub's",
      "  held     /srv/site = demo:site",
      "    1,200 files, 50 changes to carry over, behind for 2 min, compared 3 s ago",
      "    1 conflict: both sides changed the same path",
      "    2 problems: the agent's log on web1 names the paths",
      "    held: a plan waits for a person",
      `    syncline approve ${ID} web1 ${HASH}`,
      "    the disk is full",
      "    hint: make room",
      "  healthy  /srv/site = demo:site",
      "    1,200 files, compared 3 s ago",
    ]);
    for (const line of lines) expect(wrapLine(line, 80)).toEqual([line]);
  });

  test("[CLI-44] a link whose space is gone is told how it comes back, and how the link ends", () => {
    const error = { code: "SPACE_UNKNOWN", message: 'there is no space "demo"', hint: null };
    const lines = agentLines([agent({ links: [link({ status: "retrying", state: { ...state, error } })] })], plain, true);
    expect(lines.at(-1)).toBe(
      `    hint: if it was deleted: syncline space undelete demo; if it is no more wanted: syncline link remove ${ID}`,
    );
  });

  test("[CLI-44] only what is well looks well", () => {
    const paint = makePaint(true);
    const all = ["healthy", "waiting", "disabled", "starting", "behind", "retrying", "held", "diverged", "halted", "silent", "new"];
    expect(all.filter((status) => paintedStatus(status, paint).includes("\u001b[32m"))).toEqual(["healthy"]);
    expect(all.filter(needsAttention)).toEqual(["behind", "retrying", "held", "diverged", "halted", "silent", "new"]);
    for (const status of all) expect(columnsOf(paintedStatus(status, paint))).toBe(status.length);
  });

  test("[CLI-44] a link is its id, its host, how it is and what it keeps the same; verbose its settings", () => {
    const other = link({ status: "silent", state: undefined }, { mode: "one-way-safe", from: "space", bytesPerSecond: 1 << 20, ignore: ["*.tmp"] });
    expect(linkLines([link(), other], [], plain, false)).toEqual([
      `${ID}  web1  healthy  /srv/site = demo:site`,
      `${ID}  web1  silent   /srv/site = demo:site`,
    ]);
    expect(linkLines([other], [], plain, true)[1]).toBe("    mode=one-way-safe, from=space, bwlimit=1.0 MiB/s, ignore=*.tmp, made at the hub");
    const { host: _, ...rest } = link().link;
    const idle = { ...rest, selector: "role=nobody", enabled: false };
    expect(linkLines([link()], [idle], plain, true).slice(3)).toEqual([
      `${ID}  role=nobody  no host  /srv/site = demo:site`,
      "    for hosts with role=nobody, made at the hub, switched off",
    ]);
    expect(settingWords(LINK_SETTINGS.parse({}))).toEqual([]);
  });

  test("[CLI-45] a held plan says where, since when, how much and of what, and ends with the command for exactly it", () => {
    expect(holdLines(hold, link(), NOW, plain, false)).toEqual([
      "web1  /srv/site = demo:site  held 3 min ago",
      "  50 of 60 entries of the space would be removed or replaced",
      "  on the space: remove 50 entries, 2.0 KiB",
      ...Array.from({ length: 8 }, (_, at) => `    space remove f${at}`),
      "    and 42 more",
    ]);
    expect(holdLines(hold, link({}, { from: "space" }), NOW, plain, true)).toContain("  on the host: remove 50 entries, 2.0 KiB");
    expect(holdLines(hold, undefined, NOW, plain, true)).toHaveLength(53);
    expect(holdFate(hold, NOW)).toBe(`  syncline approve ${ID} web1 ${HASH}`);
    const approved = { ...hold, approvedBy: "user:ann", approved: "2026-11-26T01:02:00.000Z" };
    expect(holdFate(approved, NOW)).toBe("  approved by user:ann 1 min ago: carried out when web1 is here");
  });

  test("[CLI-46] a time is how long ago it is, in one number; nothing of a hub reaches the terminal as it is", () => {
    expect([0, 999, 1000, 59_400, 60_000, 3_600_000, 47 * 3_600_000, 48 * 3_600_000].map(formatSpan)).toEqual([
      "now", "now", "1 s", "59 s", "1 min", "1 h", "47 h", "2 days",
    ]);
    expect([0, 5000, -90 * 86_400_000].map(formatAgo)).toEqual(["just now", "5 s ago", "in 90 days"]);
    const evil = "\u001b[2J";
    const bad = link({ state: { ...state, error: { code: "X", message: evil, hint: evil } } }, { ignore: [evil] });
    const link2 = { ...bad, link: { ...bad.link, root: `/${evil}`, prefix: evil } };
    const plan = { ...hold.plan, reason: evil, changes: [evil] };
    const text = [
      ...agentLines([agent({ program: evil, platform: evil, links: [link2] })], plain, true),
      ...linkLines([link2], [link2.link], plain, true),
      ...holdLines({ ...hold, plan }, link2, NOW, plain, true),
    ].join("\n");
    expect(text).not.toContain("\u001b");
  });
});
