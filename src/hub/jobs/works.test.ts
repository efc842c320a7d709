/** The hub's own jobs, run by the real queue over real stores. */
import { basename } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type Principal, systemPrincipal } from "#access/access.ts";
import { AgentRegistry } from "#hub/agents/registry.ts";
import { BackupLab, type Stores, TRACE, bytesOf } from "#hub/backup/backup-fixture.ts";
import type { HubCare } from "#hub/hub-care.ts";
import type { HubSpaces } from "#hub/hub-spaces.ts";
import { LifecycleRows } from "#hub/lifecycle/lifecycle-rows.ts";
import { HUB_SCHEDULES } from "#hub/jobs/kinds.ts";
import { PART_CHANGES } from "#hub/jobs/restore-work.ts";
import { hubJobs } from "#hub/jobs/works.ts";
import type { SpaceService } from "#hub/space-service.ts";
import { SpaceVersions } from "#hub/versions/versions.ts";
import { CHUNK_GRACE_MS } from "#hub/upkeep.ts";
import { type Job, isOver } from "#jobs/job.ts";
import { Jobs } from "#jobs/jobs.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";

const WHO = systemPrincipal("test");
const BY = { id: "system:test", traceId: TRACE };
const PAST = "1";

let lab: BackupLab;
let hub: Stores & AsyncDisposable;
let cursor: string | undefined;
/** What the wall clock is ahead. */
let aheadMs: number;
let stop: AbortController;
let running: Promise<void>;
let jobs: Jobs;

beforeEach(async () => {
  lab = new BackupLab();
  aheadMs = 0;
  const { clock } = lab.host;
  const ahead: Clock = {
    nowMs: () => clock.nowMs() + aheadMs,
    monotonicMs: () => clock.monotonicMs(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
  };
  (lab.host as { clock: Clock }).clock = ahead;
  cursor = undefined;
  hub = await lab.open();
  await hub.spaces.createSpace(WHO, "demo");
  await begin(hub.spaces);
});
afterEach(async () => {
  await end();
  await hub[Symbol.asyncDispose]();
  lab[Symbol.dispose]();
});

async function begin(spaces: SpaceService): Promise<void> {
  const { meta, chunks, access, db } = hub;
  const { clock, random } = lab.host;
  const care: HubCare = {
    backup: (_by, directory) => lab.backup(hub, { name: basename(directory) }),
    check: () => Promise.reject(new Error("not here")),
  };
  const registry = await AgentRegistry.open({ db, clock, random });
  const listener = { rescan: () => Promise.reject(new Error("not here")), presence: undefined as never };
  const scrubbed = { read: () => Promise.resolve(cursor), write: async (to: string | undefined) => void (cursor = to) };
  const uploads = {
    sweep: () => Promise.resolve(0),
    abortBegunBefore: () => Promise.resolve(0),
    liveChunks: async function* () {},
    complete: () => Promise.reject(new Error("not here")),
  };
  const lifecycle = new LifecycleRows(db, meta.hubId);
  const versions = new SpaceVersions({ spaces: spaces as HubSpaces, meta, access, audit: access.audit, clock });
  const parts = { meta, chunks, spaces, audit: access.audit, care, registry, listener, uploads, lifecycle, versions, cursor: scrubbed, clock, random };
  const transfers = { run: () => Promise.reject(new Error("not here")), forget: () => undefined, sweep: () => Promise.resolve(), check: () => undefined };
  const kinds = hubJobs({ ...parts, transfers, log: () => undefined, onDamaged: () => Promise.resolve() });
  const userByName = (): Promise<undefined> => Promise.resolve(undefined);
  const more = { kinds, schedules: HUB_SCHEDULES, isAlone: true, log: () => undefined, userByName };
  jobs = await Jobs.open({ db, clock, random, access, audit: access.audit, ...more });
  stop = new AbortController();
  running = jobs.run(stop.signal);
}

async function end(): Promise<void> {
  stop.abort();
  await running;
}

/** The spaces as they are, but for what becomes of a commit. */
function withCommit(commit: SpaceService["commit"]): HubSpaces {
  return new Proxy(hub.spaces, {
    get(target, name) {
      if (name === "commit") return commit;
      const value = Reflect.get(target, name) as unknown;
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const submit = (kind: string, args: object): Promise<Job> => jobs.submit(WHO, BY, { kind, args });

async function done(kind: string, args: object): Promise<Job> {
  const { id } = await submit(kind, args);
  return ended(id);
}

async function ended(id: number): Promise<Job> {
  for (;;) {
    const job = await jobs.job(WHO, id);
    if (isOver(job.state)) return job;
    await Bun.sleep(5);
  }
}

describe("jobs of a hub", () => {
  test("[JOB-41] expire, prune and scrub do what upkeep is, and say what they did", async () => {
    await hub.spaces.updateSpace(WHO, "demo", { settings: { retention: { versions: 0, ageMs: undefined } } });
    for (let at = 0; at < 5; at++) await lab.put(hub, "demo", { f: bytesOf(100_000, at) });
    expect(await done("expire", {})).toMatchObject({ state: "done", result: { erasedSpaces: 0, expiredVersions: 4 } });
    expect(await done("prune", {})).toMatchObject({ state: "done", result: { removedChunks: 0 } });
    const { storedBytes } = hub.chunks.stats();
    const scrub = await done("scrub", { bytes: Math.floor(storedBytes / 2) });
    expect(scrub).toMatchObject({ state: "done", result: { damagedChunks: 0 }, progress: { unit: "bytes" } });
    expect(cursor).toMatch(/:/);
    expect(await done("scrub", { fromStart: true })).toMatchObject({ state: "done" });
    expect(cursor).toBeUndefined();
    expect((await done("backup", { directory: "/copy" })).result).toMatchObject({ packs: expect.any(Number) });
    expect(lab.has("copy/backup.json")).toBe(true);
  });

  test("[JOB-80] a clock that jumps ahead makes nothing go that is not old: no deleted space, no version, no object", async () => {
    const { spaces } = hub;
    await lab.put(hub, "demo", { f: "one" });
    await lab.put(hub, "demo", { f: "two" });
    const lifecycle = [{ id: "r", enabled: true, filter: {}, expireDays: 30 }];
    await spaces.updateSpace(WHO, "demo", { settings: { retention: { versions: undefined, ageMs: 1000 }, lifecycle } });
    await spaces.createSpace(WHO, "wanted");
    await lab.put(hub, "wanted", { a: "a" });
    await spaces.deleteSpace(WHO, "wanted");
    aheadMs += 365 * 86_400_000;
    expect(await done("expire", {})).toMatchObject({ state: "done", result: { erasedSpaces: 0, expiredVersions: 0 } });
    expect(await done("lifecycle", {})).toMatchObject({ state: "done", result: { removed: 0 } });
    aheadMs = 0;
    await spaces.undeleteSpace(WHO, "wanted");
    expect([await lab.files(hub, "wanted"), await lab.files(hub, "demo")]).toEqual([{ a: "a" }, { f: "two" }]);
  });

  test("[JOB-42] a prune of more than half of the store fails until a person says how much may go", async () => {
    await hub.spaces.updateSpace(WHO, "demo", { settings: { retention: { versions: 0, ageMs: undefined } } });
    for (let at = 0; at < 5; at++) await lab.put(hub, "demo", { f: bytesOf(100_000, at) });
    await done("expire", {});
    aheadMs += 2 * CHUNK_GRACE_MS;
    const refused = await done("prune", {});
    expect(refused).toMatchObject({ state: "failed", tries: 1, error: { code: "HALT" } });
    expect(refused.error!.hint).toContain("syncline jobs run prune share=100%");
    expect((await done("prune", { share: 1 })).result).toMatchObject({ removedChunks: expect.any(Number) });
    // To say so is a right of its own.
    const { rules } = { rules: [{ effect: "allow", resource: "job", actions: ["manage", "read"] }] as const };
    const narrow: Principal = { id: "user:op", kind: "user", name: "op", roles: ["admin"], scopes: rules };
    const ask = (share: number) => jobs.submit(narrow, BY, { kind: "prune", args: { share } }).then(() => "taken", codeOf);
    expect([await ask(0.5), await ask(0.51)]).toEqual(["taken", "DENIED"]);
  });

  test("[JOB-43] a restore in parts gives what a restore at once gives, as one run that can be taken back", async () => {
    const { spaces } = hub;
    const before = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`d${at % 7}/f${at}`, `old ${at}`]));
    const to = await lab.put(hub, "demo", { ...before, "gone/file": "gone", kind: "a file" });
    const remove = (path: string, recursive: boolean) => ({ type: "remove", path, expect: { kind: "any" }, recursive }) as const;
    const changes = [remove("gone", true), remove("d3", true), remove("kind", false)];
    await spaces.commit(WHO, "demo", { changes, intake: undefined, atomic: true, cause: "edit", traceId: TRACE });
    await lab.put(hub, "demo", { "d1/f1": "edited", "new/file": "new", "kind/is": "a directory" });
    const after = await lab.files(hub, "demo");
    const job = await done("restore", { space: "demo", to: String(to) });
    expect(job).toMatchObject({ state: "done", result: { to, leftAlone: 0 } });
    expect(await lab.files(hub, "demo")).toEqual({ ...before, "gone/file": "gone", kind: "a file" });
    const { runId, changed } = job.result as { runId: string; changed: number };
    expect((await spaces.journalOfRun(WHO, "demo", runId)).length).toBe(changed);
    const [record] = await hub.access.audit.page({ action: "space.restore" }, undefined, 1);
    expect([record!.outcome, record!.resource, JSON.parse(record!.details!)]).toMatchObject(["done", "space:demo", { job: job.id, runId }]);
    await spaces.undoRun(WHO, "demo", runId, TRACE);
    expect(await lab.files(hub, "demo")).toEqual(after);
    expect(await done("restore", { space: "demo", to: "@nowhere" })).toMatchObject({ state: "failed", error: { code: "NOT_FOUND" } });
    expect(await done("restore", { space: "demo", to: "99999" })).toMatchObject({ state: "failed", error: { code: "NOT_FOUND" } });
    expect(await submit("restore", { space: "demo", to: "yesterday" }).then(() => "taken", codeOf)).toBe("USAGE");
  });

  test("[JOB-44] a restore goes on after its hub has gone, and leaves alone what was changed after it began", async () => {
    const count = 2 * PART_CHANGES + 10;
    const names = Array.from({ length: count }, (_, at) => `f${String(at).padStart(5, "0")}`);
    const old = Object.fromEntries(names.map((name) => [name, "old"]));
    const to = await lab.put(hub, "demo", old);
    await lab.put(hub, "demo", Object.fromEntries(names.map((name) => [name, "new"])));
    // The hub ends after the first part is durable.
    await end();
    let commits = 0;
    const dying = withCommit(async (...args) => {
      if (++commits === 2) stop.abort();
      if (commits >= 2) throw new SynclineError({ code: "INTERRUPTED", op: "commit", message: "the hub ends" });
      return hub.spaces.commit(...args);
    });
    await begin(dying);
    const { id } = await submit("restore", { space: "demo", to: String(to) });
    await running;
    const [restored, untouched] = [names[0]!, names.at(-1)!];
    expect(await lab.files(hub, "demo")).toMatchObject({ [restored]: "old", [untouched]: "new" });
    await lab.put(hub, "demo", { [restored]: "edited since", [untouched]: "edited too" });
    await begin(hub.spaces);
    const job = await ended(id);
    expect(job).toMatchObject({ state: "done", tries: 0, result: { changed: count - 1, leftAlone: 2 } });
    expect(await lab.files(hub, "demo")).toEqual({ ...old, [restored]: "edited since", [untouched]: "edited too" });
    const { runId, left } = job.result as { runId: string; left: { path: string }[] };
    expect(left.map(({ path }) => path)).toEqual([restored, untouched]);
    expect(await hub.spaces.journalOfRun(WHO, "demo", runId)).toHaveLength(count - 1);
  });

  test("[JOB-45] the hub has schedules of its own, begins with them within minutes, and nobody can remove them", async () => {
    const own = await jobs.schedules(WHO);
    expect(own.map(({ name, enabled }) => [name, enabled])).toEqual([["expire", true], ["lifecycle", true], ["prune", true], ["scrub", true]]);
    const nowMs = lab.host.clock.nowMs();
    for (const { fireMs } of own) expect([fireMs! > nowMs, fireMs! <= nowMs + 6 * 60_000]).toEqual([true, true]);
    expect(await jobs.removeSchedule(WHO, BY, "prune").then(() => "gone", codeOf)).toBe("USAGE");
    const { name, ...scrub } = own.find((one) => one.name === "scrub")!;
    await jobs.putSchedule(WHO, BY, name, { ...scrub, cron: "@daily", enabled: false });
    await end();
    await begin(hub.spaces);
    expect((await jobs.schedule(WHO, "scrub"))).toMatchObject({ cron: "@daily", enabled: false, origin: "hub", submitter: { id: "system:jobs" } });
    aheadMs += 7 * 60_000;
    for (;;) {
      const made = await jobs.list(WHO, { schedule: "expire" }, undefined, 10);
      if (made.some(({ state }) => state === "done")) break;
      await Bun.sleep(20);
    }
    expect(await jobs.list(WHO, { schedule: "scrub" }, undefined, 10)).toEqual([]);
  });

  test("[JOB-72] a restore of one path that its hub has left after the commit is done, and leaves nothing alone", async () => {
    const to = await lab.put(hub, "demo", { f: "old" });
    await lab.put(hub, "demo", { f: "new" });
    await end();
    const dying = withCommit(async (...args) => {
      const outcome = await hub.spaces.commit(...args);
      stop.abort();
      return outcome;
    });
    await begin(dying);
    const { id } = await submit("restore", { space: "demo", path: "f", to: String(to) });
    await running;
    await begin(hub.spaces);
    expect(await ended(id)).toMatchObject({ state: "done", result: { leftAlone: 0, left: [] } });
    expect(await lab.files(hub, "demo")).toEqual({ f: "old" });
    const { sequence } = await hub.spaces.space(WHO, "demo");
    expect(await done("restore", { space: "demo", path: "f", to: String(to) })).toMatchObject({ result: { changed: 0, leftAlone: 0 } });
    expect((await hub.spaces.space(WHO, "demo")).sequence).toBe(sequence);
  });

  test("[JOB-74] a restore is of the space that it was asked for, and of none that has got its name while it waited", async () => {
    const { spaces } = hub;
    await spaces.createSpace(WHO, "spare");
    await lab.put(hub, "demo", { a: "old" });
    await lab.put(hub, "spare", { a: "first", b: "b" });
    await lab.put(hub, "spare", { a: "now" });
    await end();
    const { id } = await submit("restore", { space: "demo", to: PAST });
    await spaces.updateSpace(WHO, "demo", { name: "before" });
    await spaces.updateSpace(WHO, "spare", { name: "demo" });
    await begin(spaces);
    const job = await ended(id);
    expect(job).toMatchObject({ state: "failed", tries: 1, error: { code: "SPACE_UNKNOWN" } });
    expect(job.error!.message).toContain("another one");
    await jobs.retry(WHO, BY, id);
    expect(await ended(id)).toMatchObject({ state: "failed", error: { code: "SPACE_UNKNOWN" } });
    expect(await lab.files(hub, "demo")).toEqual({ a: "now", b: "b" });
    expect(await done("restore", { space: "demo", to: PAST })).toMatchObject({ state: "done" });
  });

  test("[JOB-75] a restore ends where its space loses its name between two parts, and changes no other", async () => {
    const names = Array.from({ length: PART_CHANGES + 10 }, (_, at) => `f${String(at).padStart(5, "0")}`);
    const to = await lab.put(hub, "demo", Object.fromEntries(names.map((name) => [name, "old"])));
    await lab.put(hub, "demo", Object.fromEntries(names.map((name) => [name, "new"])));
    await end();
    let commits = 0;
    const renamed = withCommit(async (...args) => {
      const outcome = await hub.spaces.commit(...args);
      if (++commits > 1) return outcome;
      await hub.spaces.updateSpace(WHO, "demo", { name: "before" });
      await hub.spaces.createSpace(WHO, "demo");
      return outcome;
    });
    await begin(renamed);
    expect(await done("restore", { space: "demo", to: String(to) })).toMatchObject({ state: "failed", error: { code: "SPACE_UNKNOWN" } });
    expect((await hub.spaces.space(WHO, "demo")).sequence).toBe(0);
  });

  test("[JOB-76] imports and exports are of the space that they were asked for, also those of a schedule", async () => {
    const { spaces } = hub;
    await end();
    const args = { space: "demo", url: "s3://bucket/?endpoint=https://there.example" };
    const ids = [(await submit("import", args)).id, (await submit("export", args)).id];
    const settings = { cron: "@daily", zone: "UTC", kind: "export", args, priority: "bulk", misfire: "skip", catchUp: 1, overlap: "forbid", enabled: true, spreadMs: 0 } as const;
    await jobs.putSchedule(WHO, BY, "nightly", settings);
    ids.push((await jobs.runSchedule(WHO, BY, "nightly")).id);
    await spaces.updateSpace(WHO, "demo", { name: "before" });
    await spaces.createSpace(WHO, "demo");
    await begin(spaces);
    for (const id of ids) expect(await ended(id)).toMatchObject({ state: "failed", error: { code: "SPACE_UNKNOWN" } });
    const { id } = await jobs.runSchedule(WHO, BY, "nightly");
    expect((await ended(id)).error!.message).toContain("not here");
  });

  test("[JOB-73] schedules whose times cannot be told any more say so, and stop neither the hub nor its jobs", async () => {
    const settings = { cron: "@daily", zone: "UTC", kind: "scrub", args: {}, priority: "bulk", misfire: "skip", catchUp: 1, overlap: "forbid", enabled: true, spreadMs: 0 } as const;
    for (const name of ["due", "later"]) await jobs.putSchedule(WHO, BY, name, settings);
    // As one of another hub whose system has more zones.
    await hub.db.run("UPDATE job_schedules SET settings = replace(settings, '\"UTC\"', '\"Mars/Phobos\"') WHERE name IN ('due', 'later')");
    await end();
    await begin(hub.spaces);
    await hub.db.run("UPDATE job_schedules SET fire_ms = 1 WHERE name = 'due'");
    expect(await done("expire", {})).toMatchObject({ state: "done" });
    const due = async (): Promise<string | undefined> => (await jobs.schedule(WHO, "due")).lastOutcome;
    while ((await due()) === undefined) await Bun.sleep(20);
    expect(await due()).toContain("Mars/Phobos");
    expect(await jobs.list(WHO, { kind: "scrub" }, undefined, 10)).toEqual([]);
  });

  test("[JOB-85] a restore to a point of which something was purged changes nothing, and says that it was purged", async () => {
    const { meta, access } = hub;
    const versions = new SpaceVersions({ spaces: hub.spaces, meta, access, audit: access.audit, clock: lab.host.clock });
    const sequence = await lab.put(hub, "demo", { f: "old" });
    await lab.put(hub, "demo", { f: "new" });
    await versions.purge(WHO, "demo", [{ path: "f", sequence }], { traceId: TRACE });
    const job = await done("restore", { space: "demo", to: String(sequence) });
    expect(job).toMatchObject({ state: "failed", error: { code: "CHUNK_MISSING", message: expect.stringContaining("or purged") } });
    expect(await lab.files(hub, "demo")).toEqual({ f: "new" });
  });

  test("[JOB-43] a point from before the space began empties it", async () => {
    await lab.put(hub, "demo", { a: "a" });
    await done("restore", { space: "demo", to: "0" });
    expect(await lab.files(hub, "demo")).toEqual({});
    await done("restore", { space: "demo", to: PAST });
    expect(await lab.files(hub, "demo")).toEqual({ a: "a" });
  });
  /** The space as a hub sees it that ends with its n-th commit: before it is made, or right after. */
  function dyingAt(nth: number, isMade: boolean): HubSpaces {
    let commits = 0;
    return new Proxy(hub.spaces, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (typeof value !== "function") return value;
        if (name !== "commit") return value.bind(target);
        return async (...args: Parameters<SpaceService["commit"]>) => {
          if (++commits < nth) return target.commit(...args);
          stop.abort();
          if (isMade && commits === nth) return target.commit(...args);
          throw new SynclineError({ code: "INTERRUPTED", op: "commit", message: "the hub ends" });
        };
      },
    });
  }

  async function cutOff(spaces: HubSpaces, args: object): Promise<number> {
    await end();
    await begin(spaces);
    const { id } = await submit("restore", { space: "demo", ...args });
    await running;
    return id;
  }

  const namesOf = (count: number, dir = ""): string[] => Array.from({ length: count }, (_, at) => `${dir}f${String(at).padStart(5, "0")}`);
  const filled = (names: readonly string[], text: string): Record<string, string> => Object.fromEntries(names.map((name) => [name, text]));
  const removals = async (...paths: string[]): Promise<void> => {
    const changes = paths.map((path) => ({ type: "remove", path, expect: { kind: "any" }, recursive: true }) as const);
    await hub.spaces.commit(WHO, "demo", { changes, intake: undefined, atomic: true, cause: "edit", traceId: TRACE });
  };

  test("[JOB-82] a restore whose hub has gone between a commit and what is noted of it tells all that it has changed", async () => {
    const names = namesOf(PART_CHANGES + 3);
    const to = await lab.put(hub, "demo", filled(names, "old"));
    await lab.put(hub, "demo", filled(names, "new"));
    const id = await cutOff(dyingAt(1, true), { to: String(to) });
    await begin(hub.spaces);
    expect(await ended(id)).toMatchObject({ state: "done", result: { changed: names.length, leftAlone: 0 }, progress: { done: names.length } });
    expect(await lab.files(hub, "demo")).toEqual(filled(names, "old"));
  });

  test("[JOB-83] what was removed after a restore began stays removed, and is told", async () => {
    const to = await lab.put(hub, "demo", { same: "same", edited: "old", "dir/same": "same", back: "back" });
    await removals("back");
    await lab.put(hub, "demo", { edited: "new" });
    const id = await cutOff(dyingAt(1, false), { to: String(to) });
    await removals("same", "edited", "dir");
    await begin(hub.spaces);
    const job = await ended(id);
    expect(await lab.files(hub, "demo")).toEqual({ back: "back" });
    expect(job).toMatchObject({ state: "done", result: { changed: 1, leftAlone: 4 } });
    const { left } = job.result as { left: { path: string; why: string }[] };
    expect(left.map(({ path }) => path)).toEqual(["dir", "dir/same", "edited", "same"]);
  });

  test("[JOB-84] a path that a restore has removed itself, to put something else there, is put though its hub had gone in between", async () => {
    const to = await lab.put(hub, "demo", { d: "a file" });
    await removals("d");
    // With the directory they are one part.
    await lab.put(hub, "demo", filled(namesOf(PART_CHANGES - 1, "d/"), "x"));
    const id = await cutOff(dyingAt(2, false), { path: "d", to: String(to) });
    expect(await lab.files(hub, "demo")).toEqual({});
    await begin(hub.spaces);
    expect(await ended(id)).toMatchObject({ state: "done", result: { changed: PART_CHANGES + 1, leftAlone: 0 } });
    expect(await lab.files(hub, "demo")).toEqual({ d: "a file" });
  });

  test("[JOB-81] a restore that leaves many long paths alone is done, and names some of them", async () => {
    const dir = Array.from({ length: 15 }, () => "n".repeat(250)).join("/");
    const names = namesOf(100, `${dir}/`);
    const to = await lab.put(hub, "demo", filled(names, "old"));
    await lab.put(hub, "demo", filled(names, "new"));
    const id = await cutOff(dyingAt(1, false), { to: String(to) });
    await lab.put(hub, "demo", filled(names, "newer"));
    await begin(hub.spaces);
    const job = await ended(id);
    expect(job).toMatchObject({ state: "done", result: { changed: 0, leftAlone: names.length } });
    expect((job.result as { left: unknown[] }).left.length).toBeGreaterThan(3);
  });
});

function codeOf(error: unknown): string {
  return error instanceof SynclineError ? error.code : String(error);
}
