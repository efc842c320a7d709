/**
 * Takes single versions away for good, and changes their locks and, of old ones, their attributes.
 *
 * The record of a version that is taken away stays, with who did it; its content goes, and with it the chunks that nobody
 * else needs, by the next prune.
 *
 * A version is known by its sequence for ever. When the current one of a path is taken away, the one before it is current
 * again: that is a change of the path like any other, with a sequence of its own, whose attribute says which version it
 * shows. All rows that show a version are taken away with it.
 */
import { type Attributes, attributesFault, ownAttributes } from "#hub/attributes.ts";
import { NO_LOCK, type VersionLock, lockFault, termFault } from "#hub/locks.ts";
import { applyPut, removeOne } from "#hub/meta/apply-change.ts";
import {
  type WrittenSpaceRow, SAVE_SPACE, SPACE_WRITTEN, followedSpace, saveCommit, unknownSpace,
} from "#hub/meta/commit.ts";
import { insertLater, withLater } from "#hub/meta/later-attributes.ts";
import { nullVersion } from "#hub/meta/null-version.ts";
import { insertLocks, lastMark, locksOf } from "#hub/meta/lock-rows.ts";
import { dropUnreferred } from "#hub/meta/manifests.ts";
import { VERSION_COLUMNS, type VersionRow, contentIdOfRow, knownBy, plainText, spaceOf, sumOf, versionOf } from "#hub/meta/rows.ts";
import type { WithIt } from "#hub/meta/meta-store.ts";
import { restorePoints } from "#hub/meta/spaces.ts";
import { WorkingSet } from "#hub/meta/working-set.ts";
import type { Origin, RefusalCode, Space, SpaceId, Version } from "#hub/space.ts";
import { Versioning, leavesMarker } from "#hub/versioning.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, decodeName, encodeName } from "#model/path.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

/** Versions that one transaction takes away. */
export const PURGE_MAX = 1000;
/** Earlier versions looked at together. */
const PAGE = 100;

export type VersionName = { readonly path: RelPath; readonly sequence: number };

export type PurgeRequest = {
  readonly space: SpaceId;
  readonly versions: readonly VersionName[];
  readonly origin: Origin;
  readonly timeMs: number;
  /** Of locks for governance. */
  readonly mayBypass: boolean;
};

export type PurgeResult =
  | {
      readonly status: "purged";
      readonly path: RelPath;
      /** As it was. */
      readonly version: Version;
      /** What the path has become by it; undefined: it is as it was. */
      readonly current: Version | undefined;
    }
  /** There is no such version, or it was taken away before. */
  | { readonly status: "absent"; readonly path: RelPath }
  /** A lock or a restore point keeps it; `untilMs`: as far as that is known. */
  | { readonly status: "kept"; readonly path: RelPath; readonly why: string; readonly untilMs: number | undefined }
  | { readonly status: "refused"; readonly path: RelPath; readonly code: RefusalCode; readonly message: string };

export type PurgeOutcome = { readonly results: readonly PurgeResult[]; readonly before: number; readonly after: number };

type PurgeRow = VersionRow & { readonly purged: number | null };

const FROM = `SELECT ${VERSION_COLUMNS}, purged FROM versions`;
const ONE = `${FROM} WHERE space_id = ? AND seq = ?`;
const SHOWN_BY = `${FROM} INDEXED BY versions_again WHERE space_id = ? AND again = ? ORDER BY seq`;
const BEFORE = `${FROM} INDEXED BY versions_history WHERE space_id = ? AND path = ? AND seq < ? ORDER BY seq DESC LIMIT ?`;
const DROP = "UPDATE versions SET content = NULL, sum = ?, purged = ? WHERE space_id = ? AND seq = ?";
const MARK = "UPDATE versions SET purged = ? WHERE space_id = ? AND seq = ?";
const NOTE = "INSERT INTO purges (space_id, number, seq, time_ms, actor, trace_id, cause) VALUES (?, ?, ?, ?, ?, ?, ?)";

/** Written in the same transaction; when it throws, nothing is changed. */
export type WithPurge = (sql: Sql, outcome: PurgeOutcome) => Promise<void>;

/** @throws {SynclineError} SPACE_UNKNOWN; DENIED for a space that follows */
export function purgeVersions(db: Database, hubId: string, request: PurgeRequest, withIt?: WithPurge): Promise<PurgeOutcome> {
  return db.transaction(async (sql) => {
    const row = await lockedSpace(db, sql, request.space);
    const outcome = await new Purging(sql, hubId, row, request).run();
    await withIt?.(sql, outcome);
    return outcome;
  });
}

async function lockedSpace(db: Database, sql: Sql, id: SpaceId): Promise<WrittenSpaceRow> {
  const row = await sql.get<WrittenSpaceRow>(SPACE_WRITTEN[db.engine], [id]);
  if (row === undefined) throw unknownSpace(id);
  if (row.follows_url !== null) throw followedSpace(row.name, { url: row.follows_url, source: row.follows_source! });
  return row;
}

class Purging {
  readonly #sql: Sql;
  readonly #hubId: string;
  readonly #space: Space;
  /** The greatest order of its commits before. */
  readonly #latest: number;
  readonly #request: PurgeRequest;
  readonly #set: WorkingSet;
  #number = 0;

  constructor(sql: Sql, hubId: string, row: WrittenSpaceRow, request: PurgeRequest) {
    this.#sql = sql;
    this.#hubId = hubId;
    this.#space = spaceOf(row);
    this.#latest = row.latest ?? -Infinity;
    this.#request = request;
    this.#set = new WorkingSet(sql, this.#space, hubId);
  }

  async run(): Promise<PurgeOutcome> {
    const { versions, timeMs, origin } = this.#request;
    const { id, sequence: before } = this.#space;
    const set = this.#set;
    const latest = this.#latest;
    this.#number = await lastMark(this.#sql, id);
    set.beginCommit(timeMs);
    const results: PurgeResult[] = [];
    for (const name of versions) results.push(await this.#purge(name));
    await set.flush();
    if (set.sequence > before) {
      await this.#sql.run(SAVE_SPACE, [set.sequence, set.bytes, set.entries, id]);
      const made = { space: id, timeMs: Math.max(timeMs, latest), origin };
      await saveCommit(this.#sql, made, { first: before + 1, last: set.sequence, latest });
    }
    return { results, before, after: set.sequence };
  }

  async #purge({ path, sequence }: VersionName): Promise<PurgeResult> {
    const rows = await rowsOfVersion(this.#sql, this.#space.id, path, sequence);
    const [first] = rows;
    // The rows of one version are all of the same state: the one that still has its content tells it.
    const told = rows.find(({ content }) => content !== null) ?? first;
    if (first === undefined || told === undefined || first.purged !== null) return { status: "absent", path };
    const version = versionOf(told, this.#hubId);
    const isFile = version.entry?.kind === "file";
    if (!isFile && version.entry !== undefined) return { status: "absent", path };
    if (isFile && version.content === undefined) return { status: "absent", path };
    const kept = await this.#keptBy(path, sequence, rows);
    if (kept !== undefined) return kept;
    const current = rows.find(({ replaced }) => replaced === null);
    const shown = current === undefined ? undefined : await this.#showEarlier(path, sequence, current);
    if (shown?.status === "refused" || shown?.status === "stale") return refusedBy(shown);
    await this.#drop(rows);
    return { status: "purged", path, version, current: shown?.version };
  }

  async #keptBy(path: RelPath, sequence: number, rows: readonly PurgeRow[]): Promise<PurgeResult | undefined> {
    const { timeMs, mayBypass } = this.#request;
    const lock = (await locksOf(this.#sql, this.#space.id, [sequence])).get(sequence) ?? NO_LOCK;
    const why = lockFault(lock, timeMs, mayBypass);
    if (why !== undefined) return { status: "kept", path, why, untilMs: lock.hold ? undefined : lock.term?.untilMs };
    for (const { seq, replaced, content } of rows) {
      if (content === null) continue;
      const point = (await restorePoints(this.#sql, this.#space.id)).find(
        (one) => one.sequence >= seq && one.sequence < (replaced ?? Number.MAX_SAFE_INTEGER),
      );
      if (point !== undefined) return { status: "kept", path, why: `the restore point "${point.name}" shows it`, untilMs: undefined };
    }
    return undefined;
  }

  /** Makes the state current that was before this version, as far as anything is left of it. */
  async #showEarlier(path: RelPath, sequence: number, { seq }: PurgeRow) {
    const row = await this.#earlier(path, sequence, seq);
    const set = this.#set;
    const [earlier] = row === undefined ? [] : await withLater(this.#sql, this.#space.id, [versionOf(row, this.#hubId)]);
    if (row === undefined || earlier?.entry === undefined) {
      const version = await removeOne(set, path, row === undefined ? 0 : knownBy(row));
      return { status: "done", path, version } as const;
    }
    const { entry, content, attributes } = earlier;
    const change = { type: "put", path, expect: { kind: "any" }, entry, content, attributes, makeParents: true } as const;
    return applyPut(set, change, new Set<ContentId>(), knownBy(row));
  }

  /** The newest version before it that is there to be shown: a file with its content, or a tombstone over one. */
  async #earlier(path: RelPath, sequence: number, from: number): Promise<PurgeRow | undefined> {
    const versioning = new Versioning(this.#space.settings.doors);
    // Where versions are not shown, nobody knows one of them by a name that a later one has taken.
    const last = versioning.isShown ? await nullVersion(this.#sql, this.#space, path) : undefined;
    const isOver = (name: number): boolean => {
      return versioning.isShown && versioning.isNull(name) && (name !== last?.sequence || !last.isShown);
    };
    let found: PurgeRow | undefined;
    for (let before = from; ; ) {
      const page = await this.#sql.all<PurgeRow>(BEFORE, [this.#space.id, encodeName(path), before, PAGE]);
      for (const row of page) {
        const { entry, content } = versionOf(row, this.#hubId);
        const name = knownBy(row);
        if (found !== undefined && leavesMarker({ entry })) return found;
        found = undefined;
        if (row.purged !== null || name === sequence || name === 0 || isOver(name)) continue;
        if (entry?.kind === "file" && content !== undefined) return row;
        if (entry === undefined && name !== row.seq) return row;
        if (entry === undefined) found = row;
      }
      if (page.length < PAGE) return undefined;
      before = page.at(-1)!.seq;
    }
  }

  async #drop(rows: readonly PurgeRow[]): Promise<void> {
    const { origin, timeMs } = this.#request;
    // Rows that were replaced a moment ago are written first.
    await this.#set.flush();
    const { actor, traceId, cause } = origin;
    const note = { number: ++this.#number, sequence: rows[0]!.seq, timeMs, actor, traceId, cause };
    await dropRows(this.#sql, this.#hubId, this.#space.id, rows, note);
  }
}

type Note = {
  readonly number: number;
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly traceId: string;
  readonly cause: string;
};

/** The rows of one version lose their content, and say by which purge. */
export async function dropRows(sql: Sql, hubId: string, space: SpaceId, rows: readonly VersionRow[], note: Note): Promise<void> {
  const { number, sequence, timeMs, actor, traceId, cause } = note;
  const dropped = new Set<ContentId>();
  for (const row of rows) {
    // A damaged row must not get a sum that makes it good.
    versionOf(row, hubId);
    if (row.content === null) {
      await sql.run(MARK, [number, space, row.seq]);
      continue;
    }
    dropped.add(contentIdOfRow(row.content));
    await sql.run(DROP, [sumOf({ ...row, content: null }), number, space, row.seq]);
  }
  await dropUnreferred(sql, dropped);
  await sql.run(NOTE, [space, number, sequence, timeMs, plainText(actor), plainText(traceId), plainText(cause)]);
}

type Refusal = { readonly status: "refused" | "stale"; readonly path: RelPath; readonly code?: RefusalCode; readonly message?: string };

function refusedBy({ path, code = "NAME", message = "something else is there" }: Refusal): PurgeResult {
  return { status: "refused", path, code, message };
}

/** The row of a version, and those that show it again; none where there is no such version of the path. */
export async function rowsOfVersion(sql: Sql, space: SpaceId, path: RelPath, sequence: number): Promise<PurgeRow[]> {
  if (!Number.isSafeInteger(sequence) || sequence < 1) return [];
  const row = await sql.get<PurgeRow>(ONE, [space, sequence]);
  if (row === undefined || decodeName(row.path) !== path) return [];
  // One that shows another is known by the other's sequence.
  return knownBy(row) === sequence ? [row, ...(await sql.all<PurgeRow>(SHOWN_BY, [space, sequence]))] : [];
}

/**
 * A version by the sequence that it is known by, where its content, or that of one that shows it again, is there.
 * Undefined also for one that was taken away.
 */
export async function versionNamed(sql: Sql, hubId: string, space: SpaceId, name: VersionName): Promise<Version | undefined> {
  const rows = await rowsOfVersion(sql, space, name.path, name.sequence);
  const [first] = rows;
  if (first === undefined || first.purged !== null) return undefined;
  const [version] = await withLater(sql, space, [versionOf(rows.findLast(({ content }) => content !== null) ?? first, hubId)]);
  return version!.entry?.kind === "file" && version!.content === undefined ? undefined : version;
}

// ---------------------------------------------------------------- locks

export type LockChange = {
  readonly space: SpaceId;
  readonly version: VersionName;
  /** Undefined: as it is. */
  readonly hold?: boolean | undefined;
  /** Undefined: as it is; null: none. */
  readonly term?: VersionLock["term"] | null;
  readonly timeMs: number;
  readonly mayBypass: boolean;
};

export type LockOutcome =
  | { readonly status: "done"; readonly lock: VersionLock; readonly before: VersionLock }
  | { readonly status: "absent" }
  | { readonly status: "kept"; readonly why: string };

/** In the transaction of a lock that was changed. */
export type WithLock = (sql: Sql, outcome: Extract<LockOutcome, { status: "done" }>) => Promise<void>;

/** @throws {SynclineError} SPACE_UNKNOWN; DENIED for a space that follows */
export function changeLock(
  db: Database,
  hubId: string,
  { space: id, version: name, hold, term, timeMs, mayBypass }: LockChange,
  withIt?: WithLock,
): Promise<LockOutcome> {
  return db.transaction(async (sql) => {
    const space = spaceOf(await lockedSpace(db, sql, id));
    const version = await versionNamed(sql, hubId, space.id, name);
    if (version?.content === undefined) return { status: "absent" };
    const before = (await locksOf(sql, id, [name.sequence])).get(name.sequence) ?? NO_LOCK;
    const wanted = term === null ? undefined : (term ?? before.term);
    const why = term === undefined ? undefined : termFault(before.term, wanted, timeMs, mayBypass);
    if (why !== undefined) return { status: "kept", why };
    const lock: VersionLock = { term: wanted, hold: hold ?? before.hold };
    await insertLocks(sql, id, new Map([[name.sequence, lock]]));
    const outcome = { status: "done", lock, before } as const;
    await withIt?.(sql, outcome);
    return outcome;
  });
}

// ---------------------------------------------------------------- attributes

export type OldAttributesChange = {
  readonly space: SpaceId;
  readonly version: VersionName;
  /** By name; undefined takes one away. What is not named stays. */
  readonly attributes: Readonly<Record<string, string | undefined>>;
  readonly timeMs: number;
};

/** "current": it is, and is changed by a commit. */
export type OldAttributesOutcome = { readonly status: "done" | "absent" | "current" };

const LOOK_AGAIN = `INSERT INTO lifecycle_later (space_id, seq, due_ms) VALUES (?, ?, ?)
  ON CONFLICT (space_id, seq) DO UPDATE SET due_ms = excluded.due_ms`;

/**
 * Of a file that is not the current version of its path.
 * @throws {SynclineError} SPACE_UNKNOWN; DENIED for a space that follows; USAGE for what no version can have
 */
export function changeOldAttributes(
  db: Database,
  hubId: string,
  { space: id, version: name, attributes: given, timeMs }: OldAttributesChange,
  withIt: WithIt,
): Promise<OldAttributesOutcome> {
  return db.transaction(async (sql) => {
    const { sequence: at, settings } = spaceOf(await lockedSpace(db, sql, id));
    const version = await versionNamed(sql, hubId, id, name);
    if (version?.content === undefined) return { status: "absent" };
    if ((await rowsOfVersion(sql, id, name.path, name.sequence)).some(({ replaced }) => replaced === null)) return { status: "current" };
    const whole = Object.entries({ ...ownAttributes(version.attributes), ...given }).filter(([, value]) => value !== undefined);
    const attributes = Object.fromEntries(whole) as Attributes;
    const fault = attributesFault(attributes);
    if (fault !== undefined) throw unusable(name.path, fault);
    await insertLater(sql, id, { sequence: name.sequence, attributes, at });
    // Rules that have gone past it may be about it now.
    if (settings.lifecycle !== undefined) await sql.run(LOOK_AGAIN, [id, version.sequence, timeMs]);
    await withIt(sql);
    return { status: "done" };
  });
}

function unusable(path: RelPath, message: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "change version", path, message, hint: "say less of it, or with shorter names" });
}
