/** What the rules of a space look at: rows of the journal in the order of their sequences, and how far each rule has come. */
import { withLater } from "#hub/meta/later-attributes.ts";
import { nullVersion } from "#hub/meta/null-version.ts";
import { VERSION_COLUMNS, VERSION_COLUMNS_V, type VersionRow, knownBy, versionOf } from "#hub/meta/rows.ts";
import type { Space, SpaceId, Version } from "#hub/space.ts";
import { Versioning, leavesMarker } from "#hub/versioning.ts";
import { type RelPath, encodeName } from "#model/path.ts";
import type { Database, SqlValue } from "#platform/sql/database.ts";

/** A version, by the sequence that it is known by, and since when it is what it is: made, or replaced. */
export type Dated = {
  readonly version: Version;
  readonly name: number;
  readonly sinceMs: number;
  /** The change that made it so. */
  readonly at: number;
  /** What it replaced; 0: nothing. */
  readonly previous: number;
};

/** A version to be looked at again, and when. */
export type Due = { readonly sequence: number; readonly dueMs: number };

type DatedRow = VersionRow & { readonly since_ms: number; readonly at_seq: number };

const COLUMNS_P = VERSION_COLUMNS.split(", ").map((column) => `p.${column}`).join(", ");
const COMMIT = "JOIN commits c ON c.space_id = v.space_id AND c.seq = v.commit_seq";
const DATED = `${VERSION_COLUMNS_V}, c.time_ms AS since_ms, v.seq AS at_seq`;
const CURRENT = `SELECT ${DATED} FROM versions AS v INDEXED BY versions_since ${COMMIT}
  WHERE v.space_id = ? AND v.replaced IS NULL AND v.seq > ? AND v.seq <= ? ORDER BY v.seq LIMIT ?`;
const REPLACED = `SELECT ${COLUMNS_P}, c.time_ms AS since_ms, v.seq AS at_seq FROM versions v ${COMMIT}
  JOIN versions p ON p.space_id = v.space_id AND p.seq = v.previous
  WHERE v.space_id = ? AND v.previous > 0 AND v.seq > ? AND v.seq <= ? ORDER BY v.seq LIMIT ?`;
/** Those that somebody could still be shown. */
const SHOWN = "purged IS NULL AND (content IS NOT NULL OR present = 0) AND (again IS NULL OR again > 0)";
const ofAlias = (alias: string): string => SHOWN.replaceAll(/purged|content|present|again/g, (column) => `${alias}.${column}`);
const OLD_OF = `SELECT ${COLUMNS_P}, c.time_ms AS since_ms, v.seq AS at_seq FROM versions AS p INDEXED BY versions_history
  JOIN versions v ON v.space_id = p.space_id AND v.seq = p.replaced ${COMMIT}
  WHERE p.space_id = ? AND p.path = ? AND p.seq < ? AND p.replaced IS NOT NULL AND ${ofAlias("p")} ORDER BY p.seq DESC LIMIT ?`;
const ONE = `SELECT ${DATED} FROM versions v ${COMMIT} WHERE v.space_id = ? AND v.seq = ?`;
const SHOWN_AGAIN = "SELECT seq FROM versions INDEXED BY versions_again WHERE space_id = ? AND again = ? ORDER BY seq DESC LIMIT 1";
/** Tombstones of files below which nothing is left, or nothing but "null" versions, made in so many ranges. */
function soleText(ranges: number, which: string): string {
  const nulls = Array.from({ length: ranges }, () => "COALESCE(o.again, o.seq) BETWEEN ? AND ?").join(" OR ");
  return `SELECT ${DATED} FROM versions AS v INDEXED BY versions_current ${COMMIT}
    WHERE v.space_id = ? AND v.replaced IS NULL AND v.present = 0 AND (v.again IS NULL OR v.again > 0)
    AND NOT EXISTS (SELECT 1 FROM versions AS o INDEXED BY versions_history WHERE o.space_id = v.space_id AND o.path = v.path
      AND o.replaced IS NOT NULL AND COALESCE(o.again, o.seq) <> COALESCE(v.again, v.seq) AND ${ofAlias("o")}
      ${ranges === 0 ? "" : `AND NOT (${nulls})`}) AND ${which}`;
}
const IS_LEFT = `SELECT seq FROM versions INDEXED BY versions_history
  WHERE space_id = ? AND path = ? AND replaced IS NOT NULL AND COALESCE(again, seq) = ? AND ${SHOWN} LIMIT 1`;
const PURGES = `SELECT u.number, v.path FROM purges u JOIN versions v ON v.space_id = u.space_id AND v.seq = u.seq
  WHERE u.space_id = ? AND u.number > ? ORDER BY u.number LIMIT ?`;
const PLACES = "SELECT rule, place FROM lifecycle_places WHERE space_id = ?";
const SAVE_PLACE = `INSERT INTO lifecycle_places (space_id, rule, place) VALUES (?, ?, ?)
  ON CONFLICT (space_id, rule) DO UPDATE SET place = excluded.place`;
const DROP_PLACE = "DELETE FROM lifecycle_places WHERE space_id = ? AND rule = ?";
const LATER = `INSERT INTO lifecycle_later (space_id, seq, due_ms) VALUES (?, ?, ?)
  ON CONFLICT (space_id, seq) DO UPDATE SET due_ms = excluded.due_ms`;
const DUE = `SELECT seq, due_ms FROM lifecycle_later INDEXED BY lifecycle_due WHERE space_id = ? AND due_ms <= ?
  ORDER BY due_ms, seq LIMIT ?`;
const DONE_LATER = "DELETE FROM lifecycle_later WHERE space_id = ? AND seq = ? AND due_ms = ?";
const SOONER = "UPDATE lifecycle_later SET due_ms = ? WHERE space_id = ? AND due_ms > ?";
const FORGET_LATER = "DELETE FROM lifecycle_later WHERE space_id = ?";

export class LifecycleRows {
  readonly #db: Database;
  readonly #hubId: string;

  /** @param db whose tables SqlMetaStore has made */
  constructor(db: Database, hubId: string) {
    this.#db = db;
    this.#hubId = hubId;
  }

  #dated(row: DatedRow): Dated {
    return { version: versionOf(row, this.#hubId), name: knownBy(row), sinceMs: row.since_ms, at: row.at_seq, previous: row.previous };
  }

  /** Current versions that were made after a sequence and up to another, in order, with when they were made. */
  async current(space: SpaceId, after: number, until: number, limit: number): Promise<Dated[]> {
    return (await this.#db.all<DatedRow>(CURRENT, [space, after, until, limit])).map((row) => this.#dated(row));
  }

  /** Versions that were replaced after a sequence and up to another, in that order. */
  async replaced(space: SpaceId, after: number, until: number, limit: number): Promise<Dated[]> {
    return this.#old(space, await this.#db.all<DatedRow>(REPLACED, [space, after, until, limit]));
  }

  /** Old versions of a path that are still there, newest first, before a sequence. */
  async oldOf(space: SpaceId, path: RelPath, before: number, limit: number): Promise<Dated[]> {
    return this.#old(space, await this.#db.all<DatedRow>(OLD_OF, [space, encodeName(path), before, limit]));
  }

  async one(space: SpaceId, sequence: number): Promise<Dated | undefined> {
    const row = await this.#db.get<DatedRow>(ONE, [space, sequence]);
    return row === undefined ? undefined : (await this.#old(space, [row]))[0];
  }

  /** With what was said of them when they were old. */
  async #old(space: SpaceId, rows: readonly DatedRow[]): Promise<Dated[]> {
    const found = rows.map((row) => this.#dated(row));
    const versions = await withLater(this.#db, space, found.map(({ version }) => version));
    return found.map((one, at) => ({ ...one, version: versions[at]! }));
  }

  /** The last change that shows a version again; undefined: it is shown by itself alone. */
  async lastShown(space: SpaceId, name: number): Promise<number | undefined> {
    return (await this.#db.get<{ seq: number }>(SHOWN_AGAIN, [space, name]))?.seq;
  }

  /** The delete marker of a path, where no version but it is left. */
  async soleMarker(space: Space, path: RelPath): Promise<Dated | undefined> {
    const [row] = await this.#sole(space, "v.path = ?", [encodeName(path)]);
    return row === undefined ? undefined : this.#marker(space, row);
  }

  /** All of them, page by page in the order of paths; `next` is what the following page comes after. */
  async soleMarkers(space: Space, after: Uint8Array, limit: number): Promise<{ found: Dated[]; next: Uint8Array | undefined }> {
    const rows = await this.#sole(space, "v.path > ? ORDER BY v.path LIMIT ?", [after, limit]);
    const found = (await Promise.all(rows.map((row) => this.#marker(space, row)))).filter((one) => one !== undefined);
    return { found, next: rows.length < limit ? undefined : new Uint8Array(rows.at(-1)!.path) };
  }

  #sole({ id, settings }: Space, which: string, values: readonly SqlValue[]): Promise<DatedRow[]> {
    const versioning = new Versioning(settings.doors);
    // Where versions are not shown, no version has taken the place of another.
    const nulls = versioning.isShown ? versioning.nullRanges() : [];
    const ranges = nulls.flatMap(({ after, until }) => [after + 1, until]);
    return this.#db.all<DatedRow>(soleText(nulls.length, which), [id, ...ranges, ...values]);
  }

  /** Undefined: it is the tombstone of a directory, or no marker, or the "null" version below it is there. */
  async #marker(space: Space, row: DatedRow): Promise<Dated | undefined> {
    const dated = this.#dated(row);
    if (dated.name === row.seq && !leavesMarker((await this.one(space.id, row.previous))?.version)) return undefined;
    const versioning = new Versioning(space.settings.doors);
    if (!versioning.isShown) return dated;
    if (versioning.namingOf(dated.name) === "early") return undefined;
    const { path } = dated.version;
    const last = await nullVersion(this.#db, space, path);
    if (last?.isShown !== true || last.sequence === dated.name) return dated;
    const left = await this.#db.get<{ seq: number }>(IS_LEFT, [space.id, encodeName(path), last.sequence]);
    return left === undefined ? dated : undefined;
  }

  /** Paths of versions that were purged, by the number of the purge. */
  async purgesAfter(space: SpaceId, after: number, limit: number): Promise<{ number: number; path: Uint8Array }[]> {
    return this.#db.all<{ number: number; path: Uint8Array }>(PURGES, [space, after, limit]);
  }

  // ---------------------------------------------------------------- how far it is

  async places(space: SpaceId): Promise<Map<string, number>> {
    const rows = await this.#db.all<{ rule: string; place: number }>(PLACES, [space]);
    return new Map(rows.map(({ rule, place }) => [rule, place]));
  }

  async savePlace(space: SpaceId, rule: string, place: number): Promise<void> {
    await this.#db.transaction((sql) => sql.run(SAVE_PLACE, [space, rule, place]));
  }

  async dropPlaces(space: SpaceId, rules: readonly string[]): Promise<void> {
    await this.#db.transaction(async (sql) => {
      for (const rule of rules) await sql.run(DROP_PLACE, [space, rule]);
    });
  }

  /** To be looked at again, each at its time. */
  async later(space: SpaceId, wanted: ReadonlyMap<number, number>): Promise<void> {
    if (wanted.size === 0) return;
    await this.#db.transaction(async (sql) => {
      for (const [sequence, dueMs] of wanted) await sql.run(LATER, [space, sequence, dueMs]);
    });
  }

  async due(space: SpaceId, nowMs: number, limit: number): Promise<Due[]> {
    const rows = await this.#db.all<{ seq: number; due_ms: number }>(DUE, [space, nowMs, limit]);
    return rows.map(({ seq, due_ms: dueMs }) => ({ sequence: seq, dueMs }));
  }

  /** They were looked at. What was noted anew meanwhile stays. */
  async doneLater(space: SpaceId, looked: readonly Due[]): Promise<void> {
    if (looked.length === 0) return;
    await this.#db.transaction(async (sql) => {
      for (const { sequence, dueMs } of looked) await sql.run(DONE_LATER, [space, sequence, dueMs]);
    });
  }

  /** All of them are looked at again by this time. */
  async sooner(space: SpaceId, dueMs: number): Promise<void> {
    await this.#db.transaction((sql) => sql.run(SOONER, [dueMs, space, dueMs]));
  }

  async forgetLater(space: SpaceId): Promise<void> {
    await this.#db.transaction((sql) => sql.run(FORGET_LATER, [space]));
  }
}
