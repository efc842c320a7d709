/**
 * Does what the rules of spaces say. Each rule has a place in the journal of its space, and goes on from there: a version
 * is looked at once, when its time has come, and not with all others every day. A place is saved when what lies before it
 * is done, so a run that was cut off does a batch again at most, which changes nothing twice.
 *
 * What is not due at its place (a clock of the hub that once was wrong), or is kept by a lock or a restore point, is noted
 * with the time at which it is looked at again.
 */
import { systemPrincipal } from "#access/access.ts";
import { againOf } from "#hub/attributes.ts";
import type { Dated, Due, LifecycleRows } from "#hub/lifecycle/lifecycle-rows.ts";
import { type LifecycleFilter, type LifecycleRule, agedMs, dueMs, matches, matchesOld } from "#hub/lifecycle/rules.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import { hash48 } from "#hub/meta/rows.ts";
import { type SpaceAudit, spaceResource } from "#hub/space-audit.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Space, SpaceChange, SpaceId } from "#hub/space.ts";
import type { HubUploads } from "#hub/uploads/hub-uploads.ts";
import { Versioning, leavesMarker } from "#hub/versioning.ts";
import type { Versions } from "#hub/versions/versions.ts";
import { type RelPath, decodeName, encodeName, parentOf } from "#model/path.ts";

const DAY_MS = 24 * 3_600_000;
/** Rows looked at, and changes made, between two safe points. */
const ROWS = 1000;
/** Versions that one transaction purges: nobody else writes meanwhile. */
const PURGES_AT_ONCE = 200;
/** What is kept without a known end is looked at again after this; so are all tombstones, for those that retention bared. */
const AGAIN_MS = 7 * DAY_MS;
const SOON_MS = 3_600_000;
/** A place by the clock and not in the journal: when a space was looked at last. */
const LAST_RUN = "last run";
/** Attribute of a directory that somebody has put: it stays without anything in it. */
const DIRECTORY = "s3.directory";
/** Every path is behind it. */
const FIRST_PATH = new Uint8Array(0);

export type LifecycleParts = {
  readonly meta: MetaStore;
  readonly rows: LifecycleRows;
  readonly spaces: SpaceService;
  readonly versions: Versions;
  readonly uploads: Pick<HubUploads, "abortBegunBefore">;
  readonly audit: SpaceAudit;
};

export type LifecycleDone = {
  /** Current files that were removed, old versions and tombstones that were purged, uploads that were dropped. */
  readonly removed: number;
  readonly purged: number;
  readonly uploads: number;
};

export const LIFECYCLE_NOTHING: LifecycleDone = { removed: 0, purged: 0, uploads: 0 };

export type LifecycleRun = {
  readonly nowMs: number;
  readonly traceId: string;
  /** Of what it removes, so that it can be taken back. */
  readonly runId: string;
  readonly signal: AbortSignal;
  /** Between two batches; what it throws ends the work there. */
  readonly onBatch: (done: LifecycleDone) => Promise<void>;
};

const WHO = systemPrincipal("lifecycle");

/** All spaces that are not deleted and follow nobody. What cannot be done in one stops none of the others. */
export async function runLifecycle(parts: LifecycleParts, run: LifecycleRun, from: LifecycleDone): Promise<LifecycleDone> {
  let total = from;
  const failures: unknown[] = [];
  /** What ends all of it. */
  const ends: unknown[] = [];
  for (const { name, settings } of await parts.spaces.spaces(WHO)) {
    if (settings.lifecycle === undefined) continue;
    const before = total;
    const onBatch = (done: LifecycleDone): Promise<void> => {
      total = plus(before, done);
      return run.onBatch(total).catch((error: unknown) => {
        ends.push(error);
        throw error;
      });
    };
    try {
      await lifecycleOf(parts, name, { ...run, onBatch });
    } catch (error) {
      run.signal.throwIfAborted();
      if (ends.length > 0) throw ends[0];
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return total;
}

const plus = (a: LifecycleDone, b: LifecycleDone): LifecycleDone => ({
  removed: a.removed + b.removed,
  purged: a.purged + b.purged,
  uploads: a.uploads + b.uploads,
});

async function lifecycleOf(parts: LifecycleParts, name: string, run: LifecycleRun): Promise<void> {
  const space = await parts.spaces.space(WHO, name);
  if (space.follows !== undefined) return;
  const work = new SpaceLifecycle(parts, space, run);
  try {
    await work.run();
  } catch (error) {
    if (!(error instanceof Overtaken)) throw error;
  } finally {
    await work.record();
  }
}

/** The space has another name or other rules than when its turn came: what is due by those is for the next run. */
class Overtaken extends Error {
  override readonly name = "Overtaken";
}

/** A change of what a rule is about begins it anew; its name does not. */
function placeOf(kind: string, filter: LifecycleFilter, more: readonly (number | undefined)[]): string {
  return `${kind} ${hash48(Buffer.from(JSON.stringify([filter, more]))).toString(16)}`;
}

class SpaceLifecycle {
  readonly #parts: LifecycleParts;
  readonly #space: Space;
  readonly #run: LifecycleRun;
  readonly #rules: readonly LifecycleRule[];
  readonly #used = new Set<string>();
  readonly #aged = new Map<number, number>();
  #places = new Map<string, number>();
  #done = LIFECYCLE_NOTHING;

  constructor(parts: LifecycleParts, space: Space, run: LifecycleRun) {
    this.#parts = parts;
    this.#space = space;
    this.#run = run;
    this.#rules = (space.settings.lifecycle ?? []).filter(({ enabled }) => enabled);
  }

  get #id(): SpaceId {
    return this.#space.id;
  }

  async run(): Promise<void> {
    const { rows } = this.#parts;
    this.#places = await rows.places(this.#id);
    await this.#mindClock();
    await this.#overdue();
    for (const rule of this.#rules) {
      await this.#expire(rule);
      await this.#purgeOld(rule);
      await this.#abort(rule);
    }
    for (const rule of this.#rules) await this.#purgeMarkers(rule);
    await rows.dropPlaces(this.#id, [...this.#places.keys()].filter((name) => !this.#used.has(name)));
    if (this.#rules.length === 0) await rows.forgetLater(this.#id);
  }

  /** What was put off while the clock was ahead would wait until then; each is looked at anew, and put off as it should be. */
  async #mindClock(): Promise<void> {
    const { rows } = this.#parts;
    const { nowMs } = this.#run;
    this.#used.add(LAST_RUN);
    if ((this.#places.get(LAST_RUN) ?? 0) > nowMs + SOON_MS) await rows.sooner(this.#id, nowMs);
    await rows.savePlace(this.#id, LAST_RUN, nowMs);
  }

  /** What was done, in the audit log; nothing where nothing was. */
  async record(): Promise<void> {
    const { removed, purged, uploads } = this.#done;
    if (removed + purged + uploads === 0) return;
    const { traceId, runId } = this.#run;
    const event = { action: "space.lifecycle", resource: spaceResource(this.#space.name), outcome: "done" } as const;
    await this.#parts.audit.append({ id: WHO.id, traceId }, { ...event, details: { ...this.#done, runId } });
  }

  /**
   * In the turn of each change, which is asked for by the name of the space: another one may have it by now, with other
   * versions under the same numbers. And a rule that was taken away removes nothing any more.
   */
  async #requireSame(): Promise<void> {
    const { name, settings } = this.#space;
    const now = await this.#parts.spaces.space(WHO, name);
    const isSame = now.id === this.#id && now.name === name;
    if (!isSame || JSON.stringify(now.settings.lifecycle) !== JSON.stringify(settings.lifecycle)) throw new Overtaken();
  }

  #count(more: Partial<LifecycleDone>): void {
    this.#done = plus(this.#done, { ...LIFECYCLE_NOTHING, ...more });
  }

  /** Goes through the journal from where the rule is up to a sequence. */
  async #walk(
    place: string,
    until: number,
    page: (after: number, until: number, limit: number) => Promise<Dated[]>,
    work: (found: readonly Dated[]) => Promise<void>,
  ): Promise<void> {
    this.#used.add(place);
    for (let after = this.#places.get(place) ?? 0; after < until; ) {
      this.#run.signal.throwIfAborted();
      const found = await page(after, until, ROWS);
      await work(found);
      after = found.length < ROWS ? until : found.at(-1)!.at;
      await this.#parts.rows.savePlace(this.#id, place, after);
      await this.#run.onBatch(this.#done);
    }
  }

  /** What was made up to here is as old, also where the clock was far behind: what was made then says itself that it is older. */
  async #agedTo(days: number): Promise<number> {
    const { nowMs } = this.#run;
    const known = this.#aged.get(days) ?? (await this.#parts.meta.certainlyOld(this.#id, agedMs(nowMs, days), nowMs));
    this.#aged.set(days, known);
    return known;
  }

  // ---------------------------------------------------------------- current versions

  async #expire({ filter, expireDays, expireDateMs }: LifecycleRule): Promise<void> {
    const { nowMs } = this.#run;
    if (expireDays === undefined && (expireDateMs === undefined || expireDateMs > nowMs)) return;
    const until = expireDays === undefined ? this.#space.sequence : await this.#agedTo(expireDays);
    const place = placeOf("expire", filter, [expireDays, expireDateMs]);
    const page = (after: number, last: number, limit: number) => this.#parts.rows.current(this.#id, after, last, limit);
    await this.#walk(place, until, page, async (found) => {
      const theirs = found.filter(({ version }) => matches(filter, version));
      await this.#remove(await this.#ripe(theirs, expireDays ?? 0));
    });
  }

  /** Those whose days have passed; the others are looked at again then. */
  async #ripe(found: readonly Dated[], days: number): Promise<Dated[]> {
    const { nowMs } = this.#run;
    const later = new Map<number, number>();
    const aged = days === 0 ? Infinity : await this.#agedTo(days);
    const ripe = found.filter(({ version, sinceMs, at }) => {
      const atMs = dueMs(sinceMs, days);
      const isDue = days === 0 || (atMs <= nowMs && at <= aged);
      if (!isDue) later.set(version.sequence, atMs > nowMs ? atMs : nowMs + SOON_MS);
      return isDue;
    });
    await this.#parts.rows.later(this.#id, later);
    return ripe;
  }

  async #remove(found: readonly Dated[]): Promise<void> {
    const removals = found.map(({ version: { path, sequence } }): SpaceChange => {
      return { type: "remove", path, expect: { kind: "sequence", sequence }, recursive: false };
    });
    const done = await this.#commit(removals);
    this.#count({ removed: done.length });
    await this.#removeEmptied(done);
  }

  async #commit(changes: readonly SpaceChange[]): Promise<RelPath[]> {
    if (changes.length === 0) return [];
    const { traceId, runId } = this.#run;
    const asked = { changes, intake: undefined, atomic: false, cause: "lifecycle", traceId, runId } as const;
    await this.#requireSame();
    const { results } = await this.#parts.spaces.commit(WHO, this.#space.name, asked);
    return results.filter(({ status }) => status === "done").map(({ path }) => path);
  }

  /** Directories that have nothing in them any more go too, as when an object is deleted over S3. */
  async #removeEmptied(removed: readonly RelPath[]): Promise<void> {
    const { meta } = this.#parts;
    for (let dirs = new Set(removed.map(parentOf)); dirs.size > 0; ) {
      const removals: SpaceChange[] = [];
      for (const path of dirs) {
        const dir = path === "" ? undefined : await meta.version(this.#id, path);
        if (dir?.entry?.kind !== "dir" || dir.attributes[DIRECTORY] !== undefined) continue;
        if ((await meta.count(this.#id, path, 1)) > 0) continue;
        removals.push({ type: "remove", path, expect: { kind: "sequence", sequence: dir.sequence }, recursive: false });
      }
      dirs = new Set((await this.#commit(removals)).map(parentOf));
    }
  }

  // ---------------------------------------------------------------- old versions

  async #purgeOld({ filter, oldDays, oldKeep }: LifecycleRule): Promise<void> {
    if (oldDays === undefined) return;
    const page = (after: number, until: number, limit: number) => this.#parts.rows.replaced(this.#id, after, until, limit);
    const aged = await this.#agedTo(oldDays);
    const place = placeOf("old", filter, [oldDays, oldKeep]);
    if (oldKeep === undefined) {
      await this.#walk(place, aged, page, async (found) => {
        const theirs = found.filter(({ version }) => matchesOld(filter, version));
        await this.#purge(await this.#stillOld(await this.#ripe(theirs, oldDays)));
      });
      return;
    }
    // A version may go when its days have passed, or when the last one comes that has to be newer.
    const { sequence } = (await this.#parts.meta.space(this.#id)) ?? this.#space;
    for (const [name, until] of [[place, aged], [placeOf("newer", filter, [oldDays, oldKeep]), sequence]] as const) {
      await this.#walk(name, until, page, async (found) => {
        const paths = new Set(found.map(({ version }) => version.path));
        for (const path of paths) await this.#purgeBeyond(path, filter, oldDays, oldKeep);
      });
    }
  }

  /** Without those of which nothing is left, and those that a later change shows again: their turn comes with that one. */
  async #stillOld(found: readonly Dated[]): Promise<Dated[]> {
    const old: Dated[] = [];
    for (const one of found) {
      if (!(await this.#isShown(one))) continue;
      const again = await this.#parts.rows.lastShown(this.#id, one.name);
      if (again === undefined || again === one.version.sequence) old.push(one);
    }
    return old;
  }

  /** A file with its content, or the tombstone of one. */
  async #isShown({ version, name, previous }: Dated): Promise<boolean> {
    if (version.entry !== undefined) return version.content !== undefined;
    if (name !== version.sequence) return name > 0;
    return leavesMarker((await this.#parts.rows.one(this.#id, previous))?.version);
  }

  /** Of one path: all old versions that have so many newer old ones, and whose days have passed. */
  async #purgeBeyond(path: RelPath, filter: LifecycleFilter, days: number, keep: number): Promise<void> {
    const current = await this.#parts.meta.version(this.#id, path);
    const seen = new Set(current === undefined ? [] : [againOf(current.attributes) ?? current.sequence]);
    const isOver = await this.#overwritten(path);
    const aged = await this.#agedTo(days);
    let newer = 0;
    for (let before = Number.MAX_SAFE_INTEGER; ; ) {
      const page = await this.#parts.rows.oldOf(this.#id, path, before, ROWS);
      const ripe: Dated[] = [];
      for (const one of page) {
        if (seen.has(one.name)) continue;
        seen.add(one.name);
        const isDue = dueMs(one.sinceMs, days) <= this.#run.nowMs && one.at <= aged;
        if (newer >= keep && isDue && matchesOld(filter, one.version) && (await this.#isShown(one))) ripe.push(one);
        if (one.version.entry !== undefined && !isOver(one.name)) newer++;
      }
      await this.#purge(ripe);
      if (page.length < ROWS) return;
      before = page.at(-1)!.version.sequence;
    }
  }

  /** Whether another "null" version of the path has taken the place of one: then it is no version that could be newer. */
  async #overwritten(path: RelPath): Promise<(name: number) => boolean> {
    const versioning = new Versioning(this.#space.settings.doors);
    if (!versioning.isShown) return () => false;
    const last = await this.#parts.meta.nullVersion(this.#id, path);
    return (name) => versioning.isNull(name) && name !== last?.sequence;
  }

  async #purge(found: readonly Dated[]): Promise<void> {
    const { versions, rows } = this.#parts;
    const { traceId, nowMs, signal } = this.#run;
    for (let at = 0; at < found.length; at += PURGES_AT_ONCE) {
      signal.throwIfAborted();
      const some = found.slice(at, at + PURGES_AT_ONCE);
      const names = some.map(({ version: { path }, name }) => ({ path, sequence: name }));
      await this.#requireSame();
      const { results } = await versions.purge(WHO, this.#space.name, names, { traceId, cause: "lifecycle" });
      const later = new Map<number, number>();
      for (const [index, result] of results.entries()) {
        if (result.status !== "kept") continue;
        later.set(some[index]!.version.sequence, Math.max(result.untilMs ?? nowMs + AGAIN_MS, nowMs + SOON_MS));
      }
      await rows.later(this.#id, later);
      this.#count({ purged: results.filter(({ status }) => status === "purged").length });
    }
  }

  // ---------------------------------------------------------------- tombstones, uploads, what waited

  async #purgeMarkers({ filter, expireMarkers }: LifecycleRule): Promise<void> {
    if (expireMarkers !== true) return;
    const { rows } = this.#parts;
    const id = this.#id;
    const place = placeOf("markers", filter, []);
    this.#used.add(place);
    for (let after = this.#places.get(place) ?? 0; ; ) {
      const purges = await rows.purgesAfter(id, after, ROWS);
      const paths = [...new Set(purges.map(({ path }) => decodeName(path)))];
      const found = await Promise.all(paths.map((path) => rows.soleMarker(this.#space, path)));
      await this.#purge(found.filter((one) => one !== undefined && matchesOld(filter, one.version)) as Dated[]);
      if (purges.length > 0) await rows.savePlace(id, place, (after = purges.at(-1)!.number));
      await this.#run.onBatch(this.#done);
      if (purges.length < ROWS) break;
    }
    await this.#allMarkers(filter);
  }

  /** What retention bared is in no log: all tombstones are looked at, now and then. */
  async #allMarkers(filter: LifecycleFilter): Promise<void> {
    const { rows } = this.#parts;
    const place = placeOf("all-markers", filter, []);
    this.#used.add(place);
    // A clock that was ahead when it was done last makes nobody wait for it.
    const agoMs = this.#run.nowMs - (this.#places.get(place) ?? 0);
    if (agoMs >= 0 && agoMs < AGAIN_MS) return;
    const first: Uint8Array = filter.prefix === undefined ? FIRST_PATH : encodeName(filter.prefix.slice(0, -1));
    for (let after: Uint8Array | undefined = first; after !== undefined; ) {
      this.#run.signal.throwIfAborted();
      const page: { found: Dated[]; next: Uint8Array | undefined } = await rows.soleMarkers(this.#space, after, ROWS);
      await this.#purge(page.found.filter(({ version }) => matchesOld(filter, version)));
      await this.#run.onBatch(this.#done);
      after = page.next;
    }
    await rows.savePlace(this.#id, place, this.#run.nowMs);
  }

  async #abort({ filter, abortDays }: LifecycleRule): Promise<void> {
    if (abortDays === undefined) return;
    const { uploads } = this.#parts;
    const isMeant = (path: RelPath): boolean => path.startsWith(filter.prefix ?? "");
    await this.#requireSame();
    const dropped = await uploads.abortBegunBefore(this.#id, "s3", agedMs(this.#run.nowMs, abortDays), isMeant, this.#run.signal);
    this.#count({ uploads: dropped });
    await this.#run.onBatch(this.#done);
  }

  /** Versions whose time has come since they were looked at. */
  async #overdue(): Promise<void> {
    const { rows } = this.#parts;
    for (;;) {
      this.#run.signal.throwIfAborted();
      const due = await rows.due(this.#id, this.#run.nowMs, ROWS);
      if (due.length === 0) return;
      const looked: Due[] = [];
      try {
        for (const one of due) {
          await this.#lookAgain(one.sequence);
          looked.push(one);
        }
      } finally {
        // Not before: nobody else would ever come to what a run that is cut off here had not looked at.
        await rows.doneLater(this.#id, looked);
      }
      await this.#run.onBatch(this.#done);
    }
  }

  async #lookAgain(sequence: number): Promise<void> {
    const { rows } = this.#parts;
    const one = await rows.one(this.#id, sequence);
    if (one === undefined) return;
    const { path } = one.version;
    const current = await this.#parts.meta.version(this.#id, path);
    const isCurrent = current?.sequence === sequence;
    for (const { filter, expireDays, expireDateMs, oldDays, oldKeep } of this.#rules) {
      const expires = expireDays !== undefined || (expireDateMs ?? Infinity) <= this.#run.nowMs;
      if (isCurrent && expires && matches(filter, one.version)) await this.#remove(await this.#ripe([one], expireDays ?? 0));
      if (isCurrent || oldDays === undefined) continue;
      if (oldKeep !== undefined) await this.#purgeBeyond(path, filter, oldDays, oldKeep);
      else await this.#purgeOne(one, filter, oldDays);
    }
  }

  async #purgeOne({ version, name }: Dated, filter: LifecycleFilter, days: number): Promise<void> {
    const [old] = await this.#parts.rows.oldOf(this.#id, version.path, version.sequence + 1, 1);
    if (old?.name !== name || !matchesOld(filter, version)) return;
    await this.#purge(await this.#stillOld(await this.#ripe([old], days)));
  }
}
