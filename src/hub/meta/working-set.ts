/**
 * A space inside the transaction of a commit: what is at the paths that the commit looks at, and what it has changed so
 * far. Rows are read and written in bulk; what must see everything (is a directory empty? what is in it?) writes first.
 */
import { AGAIN, NO_ATTRIBUTES, ownAttributes } from "#hub/attributes.ts";
import { storedBytes } from "#hub/encrypted-content.ts";
import { type VersionLock, lockOfNew } from "#hub/locks.ts";
import { insertLocks } from "#hub/meta/lock-rows.ts";
import { afterPath, rangeBelow } from "#hub/meta/ranges.ts";
import {
  type Draft,
  NEW_VERSION_COLUMNS,
  NEW_VERSION_WIDTH,
  type NewVersionRow,
  type VersionRow,
  VERSION_COLUMNS,
  rowOf,
  valuesOf,
  versionOf,
} from "#hub/meta/rows.ts";
import { ListText, RowsText } from "#hub/meta/texts.ts";
import type { Space, SpaceId, Version, VersionVector } from "#hub/space.ts";
import { type RelPath, encodeName } from "#model/path.ts";
import type { Sql } from "#platform/sql/database.ts";

/** Versions kept in memory; more are forgotten and read again. */
const KNOWN_MAX = 50_000;
/** Rows that wait to be written. */
const PENDING_MAX = 2048;
/** What is known to be at a path before the transaction: null where there never was anything, undefined where it is not known. */
export type Lately = (space: SpaceId, path: RelPath) => Version | null | undefined;

/** Updates sent without waiting for each answer. */
const UPDATES_AT_ONCE = 256;

const FROM_CURRENT = "FROM versions INDEXED BY versions_current WHERE space_id = ? AND replaced IS NULL";
const LOAD = new ListText(
  `SELECT ${VERSION_COLUMNS} ${FROM_CURRENT} AND present IN (0, 1) AND path IN (%)`,
);
const FROM_BELOW = `${FROM_CURRENT} AND present = 1 AND path >= ? AND path < ?`;
const ANY_BELOW = `SELECT 1 AS one ${FROM_BELOW} LIMIT 1`;
const BELOW = `SELECT ${VERSION_COLUMNS} ${FROM_BELOW}`;
const FIRST_BELOW = `${BELOW} ORDER BY path LIMIT ?`;
const LAST_BELOW = `${BELOW} ORDER BY path DESC LIMIT ?`;
const LONGEST_BELOW = `SELECT max(length(path)) AS longest ${FROM_BELOW}`;
/** By sequence: what is asked about is what came in the last moments. */
const ANY_CHANGED = `SELECT 1 AS one FROM versions WHERE space_id = ? AND seq > ? AND seq <= ?
  AND (path = ? OR (path >= ? AND path < ?)) LIMIT 1`;
const INSERT = new RowsText(`INSERT INTO versions (${NEW_VERSION_COLUMNS}) VALUES`, NEW_VERSION_WIDTH);
const REPLACE = "UPDATE versions SET replaced = ? WHERE space_id = ? AND seq = ?";

export class WorkingSet {
  readonly space: Space;
  sequence: number;
  bytes: number;
  entries: number;
  readonly #sql: Sql;
  readonly #hubId: string;
  readonly #lately: Lately;
  /** The sequence of the first change of the commit that is being made. */
  #commit = 0;
  #timeMs = 0;
  /** Undefined: looked at, and there never was anything. */
  #known = new Map<RelPath, Version | undefined>();
  /** New rows by their sequence, which rises. */
  #pending = new Map<number, NewVersionRow>();
  /** Sequences of rows in the table that are replaced, and by which. */
  #replaced: [was: number, now: number][] = [];
  /** Of new rows, by their sequence. */
  #locks = new Map<number, VersionLock>();

  constructor(sql: Sql, space: Space, hubId: string, lately: Lately = () => undefined) {
    this.#sql = sql;
    this.#hubId = hubId;
    this.#lately = lately;
    this.space = space;
    this.sequence = space.sequence;
    this.bytes = space.usage.bytes;
    this.entries = space.usage.entries;
  }

  /** @param timeMs by the hub's clock: when locks of what is made begin */
  beginCommit(timeMs: number): void {
    this.#timeMs = timeMs;
    this.#commit = this.sequence + 1;
  }

  /** Reads what is at these paths, all at once. */
  async load(paths: Iterable<RelPath>): Promise<void> {
    // What waits to be written is known here alone.
    if (this.#known.size > KNOWN_MAX) {
      await this.flush();
      this.#known.clear();
    }
    // What was known before is so as long as nothing was changed here.
    const isBefore = this.sequence === this.space.sequence;
    const list: Uint8Array[] = [];
    for (const path of new Set(paths)) {
      if (this.#known.has(path)) continue;
      const known = isBefore ? this.#lately(this.space.id, path) : undefined;
      this.#known.set(path, known ?? undefined);
      if (known === undefined) list.push(encodeName(path));
    }
    for (const { text, values } of LOAD.pieces([this.space.id], list)) {
      this.#learn(await this.#sql.all<VersionRow>(text, values));
    }
  }

  #learn(rows: readonly VersionRow[]): Version[] {
    return rows.map((row) => {
      const version = versionOf(row, this.#hubId);
      this.#known.set(version.path, version);
      return version;
    });
  }

  /** The current version, also a tombstone. */
  async current(path: RelPath): Promise<Version | undefined> {
    if (!this.#known.has(path)) await this.load([path]);
    return this.#known.get(path);
  }

  async hasBelow(dir: RelPath): Promise<boolean> {
    await this.flush();
    const { from, to } = rangeBelow(dir);
    return (await this.#sql.get(ANY_BELOW, [this.space.id, from, to])) !== undefined;
  }

  /** Did another commit change the path, or anything below it, after a sequence? */
  async changedSince(path: RelPath, sequence: number): Promise<boolean> {
    const last = this.#commit - 1;
    if (last <= sequence) return false;
    await this.flush();
    const { from, to } = rangeBelow(path);
    const values = [this.space.id, sequence, last, encodeName(path), from, to];
    return (await this.#sql.get(ANY_CHANGED, values)) !== undefined;
  }

  /** Bytes of the longest path below a directory; 0 when it is empty. */
  async longestBelow(dir: RelPath): Promise<number> {
    await this.flush();
    const { from, to } = rangeBelow(dir);
    const row = await this.#sql.get<{ longest: number | null }>(LONGEST_BELOW, [this.space.id, from, to]);
    return row?.longest ?? 0;
  }

  /** Present entries below a directory, the first ones after a path. */
  async firstBelow(dir: RelPath, after: RelPath | undefined, limit: number): Promise<Version[]> {
    await this.flush();
    const range = rangeBelow(dir);
    const { from, to } = after === undefined ? range : afterPath(range, after);
    return this.#learn(await this.#sql.all<VersionRow>(FIRST_BELOW, [this.space.id, from, to, limit]));
  }

  /** Present entries below a directory, from the last one on backwards. */
  async lastBelow(dir: RelPath, limit: number): Promise<Version[]> {
    await this.flush();
    const { from, to } = rangeBelow(dir);
    return this.#learn(await this.#sql.all<VersionRow>(LAST_BELOW, [this.space.id, from, to, limit]));
  }

  /** Makes the next version of a path. */
  async record(draft: Draft): Promise<Version> {
    const { path, entry, content, again } = draft;
    const own = ownAttributes(draft.attributes);
    const attributes = again === undefined ? own : { ...own, [AGAIN]: String(again) };
    const before = await this.current(path);
    const sequence = ++this.sequence;
    const vector: VersionVector = { ...before?.vector, [this.#hubId]: sequence };
    const version: Version = { path, sequence, entry, content, attributes, vector };
    const previous = before?.sequence ?? 0;
    const row = rowOf(this.space.id, this.#hubId, version, { ...draft, attributes }, { previous, commit: this.#commit });
    const pending = this.#pending.get(previous);
    if (pending !== undefined) this.#pending.set(previous, { ...pending, replaced: sequence });
    else if (previous > 0) this.#replaced.push([previous, sequence]);
    this.#pending.set(sequence, row);
    this.#known.set(path, version);
    // What is shown again has the lock that it always had.
    const lock = entry?.kind !== "file" || again !== undefined ? undefined : lockOfNew(this.space.settings.lock, draft.lock, this.#timeMs);
    if (lock !== undefined) this.#locks.set(sequence, lock);
    this.bytes += storedBytes(entry, attributes) - storedBytes(before?.entry, before?.attributes ?? NO_ATTRIBUTES);
    this.entries += (entry === undefined ? 0 : 1) - (before?.entry === undefined ? 0 : 1);
    if (this.#pending.size >= PENDING_MAX) await this.flush();
    return version;
  }

  /** Writes what waits. */
  async flush(): Promise<void> {
    const sql = this.#sql;
    for (let at = 0; at < this.#replaced.length; at += UPDATES_AT_ONCE) {
      const some = this.#replaced.slice(at, at + UPDATES_AT_ONCE);
      await Promise.all(some.map(([was, now]) => sql.run(REPLACE, [now, this.space.id, was])));
    }
    const rows = [...this.#pending.values()].map(valuesOf);
    for (const { text, values } of INSERT.pieces(rows)) await sql.run(text, values);
    if (this.#locks.size > 0) await insertLocks(sql, this.space.id, this.#locks);
    this.#replaced = [];
    this.#pending.clear();
    this.#locks.clear();
  }

  /** Everything goes on from here, or back to it. */
  async mark(): Promise<() => Promise<void>> {
    await this.flush();
    await this.#sql.run("SAVEPOINT atomic_commit");
    const { sequence, bytes, entries } = this;
    return async () => {
      await this.#sql.run("ROLLBACK TO atomic_commit");
      this.sequence = sequence;
      this.bytes = bytes;
      this.entries = entries;
      this.#known.clear();
      this.#pending.clear();
      this.#replaced = [];
      this.#locks.clear();
    };
  }

  /** Ends what mark() began. */
  async release(): Promise<void> {
    await this.flush();
    await this.#sql.run("RELEASE atomic_commit");
  }
}
