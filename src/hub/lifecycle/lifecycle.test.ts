import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HELD_MS_MAX } from "#hub/commit-times.ts";
import { EVERYTHING, TRACE, TestHub } from "#hub/hub-fixture.ts";
import { LifecycleRows } from "#hub/lifecycle/lifecycle-rows.ts";
import { type LifecycleRule, agedMs, dueMs, expiryOf, matches, matchesOld } from "#hub/lifecycle/rules.ts";
import { LIFECYCLE_NOTHING, type LifecycleDone, runLifecycle } from "#hub/lifecycle/run-lifecycle.ts";
import { NO_ATTRIBUTES } from "#hub/attributes.ts";
import { SpaceVersions } from "#hub/versions/versions.ts";
import type { Clock } from "#platform/host.ts";

const DAY_MS = 24 * 3_600_000;
/** In the morning of the first day. */
const BEGIN_MS = Date.UTC(2030, 0, 1, 10);

let hub: TestHub;
let rows: LifecycleRows;
let versions: SpaceVersions;
let nowMs: number;
let passedMs = 0;
const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => passedMs, sleep: () => Promise.resolve() };

async function open(): Promise<void> {
  nowMs = BEGIN_MS;
  hub = await TestHub.open(undefined, clock);
  rows = new LifecycleRows(hub.database, hub.meta.hubId);
  const { spaces, meta, audit } = hub;
  versions = new SpaceVersions({ spaces, meta, access: EVERYTHING, audit, clock });
  await spaces.createSpace(hub.who, "demo", { lock: { period: undefined } });
}
beforeEach(open);
afterEach(() => hub[Symbol.asyncDispose]());

const rule = (more: Partial<LifecycleRule>): LifecycleRule => ({ id: "r", enabled: true, filter: {}, ...more });
const setRules = (rules: readonly LifecycleRule[]) => hub.spaces.updateSpace(hub.who, "demo", { settings: { lifecycle: rules } });
/** To the morning of a day, the first being 0. */
const goTo = (day: number): void => void (nowMs = BEGIN_MS + day * DAY_MS);

async function run(
  onBatch: (done: LifecycleDone) => Promise<void> = () => Promise.resolve(),
  signal = new AbortController().signal,
): Promise<LifecycleDone> {
  const { spaces, meta, audit } = hub;
  const uploads = { abortBegunBefore: () => Promise.resolve(0) };
  const asked = { nowMs, traceId: TRACE, runId: "lifecycle-1", signal, onBatch };
  return runLifecycle({ meta, rows, spaces, versions, uploads, audit }, asked, LIFECYCLE_NOTHING);
}

const idOf = async (): Promise<number> => (await hub.spaces.space(hub.who, "demo")).sequence;
async function remove(path: string): Promise<void> {
  const changes = [{ type: "remove", path, expect: { kind: "present" }, recursive: false }] as const;
  await hub.spaces.commit(hub.who, "demo", { changes, intake: undefined, atomic: false, cause: "upload", traceId: TRACE });
}
const isThere = async (path: string, sequence: number): Promise<boolean> => (await versions.named(hub.who, "demo", { path, sequence })) !== undefined;

describe("lifecycle", () => {
  test("[LIFECYCLE-1] days end with the next midnight, and what is as old is due", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4e12 }), fc.integer({ min: 0, max: 4e12 }), fc.nat(4000), (sinceMs, at, days) => {
        expect(dueMs(sinceMs, days) % DAY_MS).toBe(0);
        expect(dueMs(sinceMs, days) - sinceMs - days * DAY_MS).toBeWithin(0, DAY_MS);
        expect(dueMs(sinceMs, days) <= at).toBe(sinceMs <= agedMs(at, days));
      }),
    );
    expect(dueMs(BEGIN_MS, 2_147_483_647)).toBeLessThanOrEqual(8.64e15);
  });

  test("[LIFECYCLE-2] a filter is a prefix, tags and sizes together; the first rule that expires a version is told", () => {
    const file = (path: string, size: number, tags = ""): Parameters<typeof matches>[1] => ({
      path, entry: { kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined }, attributes: tags === "" ? NO_ATTRIBUTES : { "s3.tags": tags },
    });
    const filter = { prefix: "a/", tags: [["k", "v w"]], largerThan: 1, smallerThan: 4 } as const;
    const given = [file("a/b", 2, "k=v+w&x=y"), file("b", 2, "k=v+w"), file("a/b", 1, "k=v+w"), file("a/b", 4, "k=v+w"), file("a/b", 2), file("a/b", 2, "k=v")];
    expect(given.map((one) => matches(filter, one))).toEqual([true, false, false, false, false, false]);
    const tombstone = { path: "a/b", entry: undefined, attributes: NO_ATTRIBUTES };
    expect([{}, { prefix: "a" }, { prefix: "b" }, filter].map((one) => matchesOld(one, tombstone))).toEqual([true, true, false, false]);
    const rules = [rule({ id: "never", enabled: false, expireDays: 1 }), rule({ id: "ten", expireDays: 10 }), rule({ id: "two", expireDays: 2, filter: { prefix: "a/" } })];
    expect(expiryOf(rules, given[0]!, BEGIN_MS)).toEqual({ ruleId: "two", atMs: Date.UTC(2030, 0, 4) });
    expect(expiryOf(rules, given[1]!, BEGIN_MS)?.ruleId).toBe("ten");
  });

  test("[LIFECYCLE-18] whoever is asked to give way does so at once, and whatever happened before", async () => {
    const names = ["a", "b", "c", "d"];
    for (const name of names) {
      await hub.spaces.createSpace(hub.who, name, { lifecycle: [rule({ expireDays: 1 })] });
      await hub.put(name, "f", "x");
    }
    goTo(9);
    const commit = hub.spaces.commit.bind(hub.spaces);
    hub.spaces.commit = (who, space, request) => (space === "a" ? Promise.reject(new Error("the database")) : commit(who, space, request));
    let batches = 0;
    const yields = (): Promise<void> => (++batches === 1 ? Promise.reject(new Error("give way")) : Promise.resolve());
    expect(await run(yields).then(() => "done", (error: Error) => error.message)).toBe("give way");
    expect(batches).toBe(1);
  });

  test("[LIFECYCLE-3] what is due is removed with the directories that it empties, each version looked at once; it can be taken back", async () => {
    await setRules([rule({ expireDays: 2, filter: { prefix: "old/" } })]);
    await hub.put("demo", "old/a/x", "x");
    await hub.put("demo", "kept", "kept");
    goTo(2);
    await hub.put("demo", "old/y", "y");
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    goTo(3);
    expect(await run()).toMatchObject({ removed: 1 });
    expect(Object.keys(await hub.files("demo")).sort()).toEqual(["kept", "old/y"]);
    expect((await hub.meta.version((await hub.spaces.space(hub.who, "demo")).id, "old/a"))?.entry).toBeUndefined();
    const records = await hub.spaces.journalOfRun(hub.who, "demo", "lifecycle-1");
    expect(records.map(({ path, origin }) => [path, origin.actor, origin.cause])).toEqual(["old/a/x", "old/a"].map((path) => [path, "system:lifecycle", "lifecycle"]));
    const [audited] = await hub.audit.page({ action: "space.lifecycle" }, undefined, 10);
    expect([audited?.actor, JSON.parse(audited!.details!)]).toEqual(["system:lifecycle", { removed: 1, purged: 0, uploads: 0, runId: "lifecycle-1" }]);
    await hub.spaces.undoRun(hub.who, "demo", "lifecycle-1", TRACE);
    expect(Object.keys(await hub.files("demo")).sort()).toEqual(["kept", "old/a/x", "old/y"]);
    // What was taken back is as new.
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    // Another rule begins with the first version.
    await setRules([rule({ expireDateMs: nowMs + 1 })]);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    nowMs++;
    expect(await run()).toMatchObject({ removed: 3 });
    expect(await hub.files("demo")).toEqual({});
  });

  test("[LIFECYCLE-4] a run that is cut off goes on where it was, and what a clock put out of order waits for its time", async () => {
    await setRules([rule({ expireDays: 1 })]);
    goTo(400);
    await hub.put("demo", "future", "the clock was a year ahead");
    goTo(0);
    await hub.put("demo", "held", "as new as the last, until the clock is believed");
    passedMs += HELD_MS_MAX;
    for (let at = 0; at < 3; at++) await hub.put("demo", `f${at}`, "x");
    goTo(2);
    let batches = 0;
    const cut = run(() => (++batches === 1 ? Promise.reject(new Error("cut off")) : Promise.resolve()));
    await expect(cut).rejects.toThrow("cut off");
    expect(Object.keys(await hub.files("demo"))).toEqual(["future", "held"]);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    goTo(401);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    goTo(402);
    expect(await run()).toMatchObject({ removed: 2 });
  });

  /** As a host without a battery does that has no network for hours. */
  async function atTheBeginningOfTime(work: () => Promise<unknown>): Promise<void> {
    nowMs = 0;
    await hub.put("demo", "held", "has the time of the last one, until the clock is believed");
    passedMs += HELD_MS_MAX;
    nowMs += HELD_MS_MAX;
    await work();
  }

  test("[LIFECYCLE-15] what was made, or replaced, while the clock was far behind is as old as what came when it was right again", async () => {
    await setRules([rule({ id: "made", filter: { prefix: "in/" }, expireDays: 30 }), rule({ id: "old", oldDays: 30 })]);
    const one = await hub.put("demo", "out/a", "one");
    await atTheBeginningOfTime(async () => {
      await hub.put("demo", "in/b", "new");
      await hub.put("demo", "out/a", "two");
    });
    goTo(1);
    await hub.put("demo", "out/c", "the clock is right again");
    goTo(20);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    expect([await isThere("out/a", one), Object.keys(await hub.files("demo")).includes("in/b")]).toEqual([true, true]);
    goTo(32);
    expect(await run()).toMatchObject({ removed: 1, purged: 1 });
  });

  test("[LIFECYCLE-16] nor does such a time make a version old that has so many newer ones", async () => {
    await setRules([rule({ oldDays: 30, oldKeep: 1 })]);
    const one = await hub.put("demo", "a", "one");
    await atTheBeginningOfTime(async () => {
      await hub.put("demo", "a", "two");
      await hub.put("demo", "a", "three");
    });
    goTo(1);
    await hub.put("demo", "b", "the clock is right again");
    goTo(20);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    expect(await isThere("a", one)).toBe(true);
    goTo(32);
    expect(await run()).toMatchObject({ purged: 1 });
  });

  test("[LIFECYCLE-17] all tombstones are looked at in a week at the latest, also after the clock was years ahead", async () => {
    await setRules([rule({ expireMarkers: true })]);
    goTo(4000);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    goTo(0);
    await hub.put("demo", "a", "one");
    await remove("a");
    await hub.spaces.updateSpace(hub.who, "demo", { settings: { retention: { versions: 0, ageMs: undefined } } });
    await hub.meta.expire((await hub.spaces.space(hub.who, "demo")).id, nowMs, 10);
    goTo(8);
    expect(await run()).toMatchObject({ purged: 1 });
  });

  test("[LIFECYCLE-5] what is locked, or shown by a restore point, is passed over and looked at again", async () => {
    await setRules([rule({ oldDays: 1 })]);
    const [one, two] = [await hub.put("demo", "a", "one"), await hub.put("demo", "b", "two")];
    await versions.changeLock(hub.who, "demo", { path: "a", sequence: one }, { traceId: TRACE, term: { mode: "governance", untilMs: BEGIN_MS + 5 * DAY_MS } });
    await hub.spaces.createRestorePoint(hub.who, "demo", "point");
    for (const path of ["a", "b"]) await hub.put("demo", path, "three");
    goTo(3);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    await hub.spaces.deleteRestorePoint(hub.who, "demo", "point");
    goTo(6);
    expect(await run()).toMatchObject({ purged: 1 });
    expect([await isThere("a", one), await isThere("b", two)]).toEqual([false, true]);
    goTo(11);
    expect(await run()).toMatchObject({ purged: 1 });
    expect(await isThere("b", two)).toBe(false);
  });

  test("[LIFECYCLE-19] what was put off while the clock was years ahead is looked at again in a week by the right time", async () => {
    await setRules([rule({ oldDays: 1 })]);
    const one = await hub.put("demo", "a", "one");
    await hub.spaces.createRestorePoint(hub.who, "demo", "point");
    await hub.put("demo", "a", "two");
    goTo(4000);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    goTo(3);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    await hub.spaces.deleteRestorePoint(hub.who, "demo", "point");
    goTo(11);
    expect(await run()).toMatchObject({ purged: 1 });
    expect(await isThere("a", one)).toBe(false);
  });

  test("[LIFECYCLE-13] what was to be looked at again is, also when the runs that came to it were cut off or refused, several times", async () => {
    await setRules([rule({ oldDays: 1 })]);
    const all: [string, number][] = [];
    for (const path of ["a", "b", "c"]) all.push([path, await hub.put("demo", path, "one")]);
    await hub.spaces.createRestorePoint(hub.who, "demo", "point");
    for (const [path] of all) await hub.put("demo", path, "two");
    goTo(3);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    await hub.spaces.deleteRestorePoint(hub.who, "demo", "point");
    goTo(11);
    for (let time = 0; time < 2; time++) await expect(run(undefined, AbortSignal.abort(new Error("cut off")))).rejects.toThrow("cut off");
    // The disk takes the first of them and not the second.
    const [, [, second] = ["", 0]] = all;
    await hub.database.run(`CREATE TRIGGER refusing BEFORE INSERT ON purges WHEN NEW.seq = ${second} BEGIN SELECT RAISE(ABORT, 'refused'); END`);
    for (let time = 0; time < 2; time++) await expect(run()).rejects.toThrow();
    await hub.database.run("DROP TRIGGER refusing");
    expect(await run()).toMatchObject({ purged: 2 });
    for (const [path, sequence] of all) expect(await isThere(path, sequence)).toBe(false);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
  });

  test("[LIFECYCLE-8] a version goes on the day on which another one becomes old that has to be newer, however old it is", async () => {
    await setRules([rule({ oldDays: 1, oldKeep: 1 })]);
    const [one, two] = [await hub.put("demo", "a", "1"), await hub.put("demo", "a", "2")];
    goTo(10);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    await hub.put("demo", "a", "3");
    expect(await run()).toMatchObject({ purged: 1 });
    expect([await isThere("a", one), await isThere("a", two)]).toEqual([false, true]);
  });

  test("[LIFECYCLE-9] a version that is shown again is not old, until it is replaced once more", async () => {
    await setRules([rule({ oldDays: 1 })]);
    const [one, two] = [await hub.put("demo", "a", "1"), await hub.put("demo", "a", "2")];
    await versions.purge(hub.who, "demo", [{ path: "a", sequence: two }], { traceId: TRACE });
    goTo(3);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    expect(await hub.files("demo")).toEqual({ a: "1" });
    await hub.put("demo", "a", "3");
    goTo(4);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    goTo(5);
    expect(await run()).toMatchObject({ purged: 1 });
    expect(await isThere("a", one)).toBe(false);
  });

  test("[LIFECYCLE-10] a version that gets other tags when it is old is looked at again", async () => {
    await setRules([rule({ oldDays: 1, filter: { tags: [["keep", "no"]] } })]);
    const one = await hub.put("demo", "a", "1");
    await hub.put("demo", "a", "2");
    goTo(3);
    expect(await run()).toEqual(LIFECYCLE_NOTHING);
    const asked = { traceId: TRACE, attributes: { "s3.tags": "keep=no" } };
    expect(await versions.changeOld(hub.who, "demo", { path: "a", sequence: one }, asked)).toEqual({ status: "done" });
    expect(await run()).toMatchObject({ purged: 1 });
    expect(await isThere("a", one)).toBe(false);
  });

  test("[LIFECYCLE-11] a version whose place another null version has taken is none that could be newer", async () => {
    const set = (status: string) => hub.spaces.updateSpace(hub.who, "demo", { settings: { doors: { "s3.versioning": status } } });
    await setRules([rule({ oldDays: 1, oldKeep: 2 })]);
    await set("Enabled");
    const own = await hub.put("demo", "a", "own");
    await set("Suspended");
    for (const text of ["1", "2", "3"]) await hub.put("demo", "a", text);
    await set("Enabled");
    await hub.put("demo", "a", "last");
    goTo(3);
    await run();
    // One that is newer and old: the last of those that are null.
    expect(await isThere("a", own)).toBe(true);
  });

  test("[LIFECYCLE-14] a space that has got the name meanwhile, or other rules, loses nothing by those of before", async () => {
    // Between the two rules there is a safe point.
    const rules = [rule({ id: "a", abortDays: 1 }), rule({ id: "b", oldDays: 1, expireDays: 1 })];
    const made = async (): Promise<void> => {
      await hub.put("demo", "f", "one");
      await hub.put("demo", "f", "two");
      await hub.put("demo", "g", "one");
    };
    await made();
    await setRules(rules);
    goTo(5);
    let isSwapped = false;
    await run(async () => {
      if (isSwapped) return;
      isSwapped = true;
      await hub.spaces.updateSpace(hub.who, "demo", { name: "gone" });
      await hub.spaces.createSpace(hub.who, "demo");
      await made();
    });
    expect(isSwapped).toBe(true);
    expect(await hub.files("demo")).toEqual({ f: "two", g: "one" });
    expect([await isThere("f", 1), await isThere("f", 2), await isThere("g", 3)]).toEqual([true, true, true]);

    await setRules(rules);
    goTo(10);
    await run(() => setRules([]).then(() => undefined));
    expect(await hub.files("demo")).toEqual({ f: "two", g: "one" });
    await setRules(rules);
    expect(await run()).toMatchObject({ removed: 2, purged: 1 });
  });

  test("[LIFECYCLE-6] whatever happens over the days: a run leaves what a look at everything would leave", async () => {
    const stepArb = fc.record({ path: fc.constantFrom("a", "b", "d/c"), act: fc.constantFrom("put", "put", "remove", "purge"), wait: fc.nat(2) });
    const ruleArb = fc.record({
      prefix: fc.constantFrom(undefined, "a", "d/"),
      expireDays: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      oldDays: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      oldKeep: fc.option(fc.integer({ min: 1, max: 2 }), { nil: undefined }),
      expireMarkers: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(ruleArb, { minLength: 1, maxLength: 2 }), fc.array(stepArb, { maxLength: 20 }), async (given, steps) => {
        await hub[Symbol.asyncDispose]();
        await open();
        const rules = given.map(({ prefix, ...more }, at) => rule({ ...more, id: `r${at}`, filter: prefix === undefined ? {} : { prefix } }));
        await setRules(rules);
        const told = new Told();
        let day = 0;
        for (const [at, { path, act, wait }] of steps.entries()) {
          const current = told.current(path);
          if (act === "put") await hub.put("demo", path, `text ${at}`);
          if (act === "remove") await remove(path);
          if (act === "put" || (act === "remove" && current?.isFile === true)) told.add(path, act === "put", await idOf(), nowMs);
          if (act === "purge" && current !== undefined && current.sequence > 0) {
            await versions.purge(hub.who, "demo", [{ path, sequence: current.sequence }], { traceId: TRACE });
            told.purge(current, nowMs);
          }
          for (let left = wait; left > 0; left--) {
            goTo(++day);
            await run();
            told.run(rules, nowMs);
            await told.compare();
          }
        }
      }),
      { numRuns: 60 },
    );
  }, 120_000);
});

/** `sinceMs`: when it was made, or shown again. */
type One = {
  readonly path: string;
  readonly isFile: boolean;
  readonly sequence: number;
  sinceMs: number;
  replacedMs: number | undefined;
  gone: boolean;
};

/** Looks at everything, every time. */
class Told {
  readonly all: One[] = [];

  current(path: string): One | undefined {
    return this.all.findLast((one) => one.path === path && !one.gone);
  }

  add(path: string, isFile: boolean, sequence: number, sinceMs: number): void {
    const before = this.current(path);
    if (before !== undefined) before.replacedMs = sinceMs;
    this.all.push({ path, isFile, sequence, sinceMs, replacedMs: undefined, gone: false });
  }

  purge(one: One, atMs: number): void {
    one.gone = true;
    const now = this.current(one.path);
    if (now !== undefined) Object.assign(now, { sinceMs: atMs, replacedMs: undefined });
  }

  run(rules: readonly LifecycleRule[], at: number): void {
    const paths = [...new Set(this.all.map(({ path }) => path))];
    for (const { filter, expireDays, oldDays, oldKeep } of rules) {
      const theirs = paths.filter((path) => path.startsWith(filter.prefix ?? ""));
      for (const path of theirs) {
        const now = this.current(path);
        const isDue = expireDays !== undefined && now?.isFile === true && dueMs(now.sinceMs, expireDays) <= at;
        // Its sequence is read from the space.
        if (isDue) this.add(path, false, 0, at);
      }
      if (oldDays !== undefined) for (const path of theirs) this.#purgeOld(path, oldDays, oldKeep ?? 0, at);
    }
    for (const { filter, expireMarkers } of rules) {
      if (expireMarkers !== true) continue;
      for (const path of paths.filter((one) => one.startsWith(filter.prefix ?? ""))) {
        const left = this.all.filter((one) => one.path === path && !one.gone);
        if (left.length === 1 && !left[0]!.isFile) left[0]!.gone = true;
      }
    }
  }

  #purgeOld(path: string, days: number, keep: number, at: number): void {
    const left = this.all.filter((one) => one.path === path && !one.gone);
    let newer = 0;
    for (const one of left.toReversed().slice(1)) {
      if (newer >= keep && dueMs(one.replacedMs!, days) <= at) one.gone = true;
      if (one.isFile) newer++;
    }
  }

  async compare(): Promise<void> {
    const { id } = await hub.spaces.space(hub.who, "demo");
    for (const path of new Set(this.all.map((one) => one.path))) {
      const now = this.current(path);
      const version = await hub.meta.version(id, path);
      expect([path, version?.entry !== undefined]).toEqual([path, now?.isFile === true]);
      for (const one of this.all.filter((some) => some.path === path && some.sequence > 0)) {
        expect([path, one.sequence, await isThere(path, one.sequence)]).toEqual([path, one.sequence, !one.gone]);
      }
      const markers = (await hub.meta.history(id, path, undefined, 1000)).filter(({ entry, isPurged, attributes }) => {
        return entry === undefined && isPurged !== true && attributes["version.again"] === undefined;
      });
      expect([path, markers.length]).toEqual([path, this.all.filter((one) => one.path === path && !one.isFile && !one.gone).length]);
    }
  }
}
