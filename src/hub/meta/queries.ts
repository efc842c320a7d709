/** What can be asked of spaces. Each function is one statement, or several of which each is right by itself. */
import { LATEST_ORDER } from "#hub/meta/commit.ts";
import { KNOWN_ROW_BYTES_MAX, KnownVersions } from "#hub/meta/known-versions.ts";
import { decodeManifest } from "#hub/meta/manifests.ts";
import { type ListRequest, PAGE_ROWS_MAX } from "#hub/meta/meta-store.ts";
import { type Range, afterPath, behind, childOf, isCanonical, next, rangeBelow } from "#hub/meta/ranges.ts";
import {
  JOURNAL_COLUMNS,
  type JournalRow,
  VERSION_COLUMNS,
  type VersionRow,
  contentIdOfRow,
  plainText,
  recordOf,
  versionOf,
} from "#hub/meta/rows.ts";
import type { JournalRecord, Point, SpaceId, Version } from "#hub/space.ts";
import { type RelPath, compareBytes, encodeName } from "#model/path.ts";
import type { Database } from "#platform/sql/database.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** Sequences that one statement looks through for what lies below a path. */
const WINDOW = 10_000;
/** A shallow listing that skips a directory's inside goes on with few rows, and with more while it skips nothing. */
const SKIP_ROWS_MIN = 2;
const SKIP_ROWS_GROWTH = 4;
/** Manifests of one page of live content. */
const MANIFEST_BYTES_MAX = 16 << 20;
const LIVE_ROWS_MAX = 512;

/** Without the index SQLite, which knows no numbers of rows, often walks through the whole space. */
const by = (index: string): string =>
  `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY ${index} WHERE space_id = ?`;
const CURRENT = `${by("versions_current")} AND replaced IS NULL AND present IN (0, 1) AND path = ?`;
const LIST = `${by("versions_current")} AND replaced IS NULL AND present = 1 AND path >= ? AND path < ? ORDER BY path LIMIT ?`;
const LIST_REMOVED = LIST.replace("present = 1", "present = 0");
const COUNT = `SELECT count(*) AS entries FROM (SELECT 1 AS one FROM versions INDEXED BY versions_current
  WHERE space_id = ? AND replaced IS NULL AND present = 1 AND path >= ? AND path < ? LIMIT ?) counted`;
const LIST_AT = `${by("versions_history")} AND path >= ? AND path < ? AND seq <= ? AND (replaced IS NULL OR replaced > ?)
  AND present = 1 ORDER BY path LIMIT ?`;
const VERSION_AT = `${by("versions_history")} AND path = ? AND seq <= ? ORDER BY seq DESC LIMIT 1`;
const SINCE = `${by("versions_since")} AND replaced IS NULL AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?`;
const SINCE_BELOW = `${by("versions_since")} AND replaced IS NULL AND seq > ? AND seq <= ?
  AND (path = ? OR (path >= ? AND path < ?)) ORDER BY seq LIMIT ?`;
const SEQUENCE = "SELECT sequence FROM spaces WHERE id = ?";
const SEQUENCE_AT = `SELECT last_seq FROM commits INDEXED BY commits_order WHERE space_id = ? AND order_ms <= ?
  ORDER BY order_ms DESC, seq DESC LIMIT 1`;
/** Commits whose time is later than that of one behind them: a clock went back in between. */
const AHEAD = "FROM commits INDEXED BY commits_ahead WHERE space_id = ? AND order_ms < time_ms AND seq <= ? AND time_ms <= ?";
type CommitTime = { readonly seq: number; readonly last_seq: number; readonly time_ms: number };
const FIRST_YOUNG = `SELECT seq, last_seq, time_ms ${AHEAD} AND time_ms > ? ORDER BY seq LIMIT 1`;
const LATEST_AHEAD = `SELECT max(time_ms) AS time_ms ${AHEAD}`;
const LAST_AS_LATE = `SELECT seq, last_seq, time_ms ${AHEAD} AND time_ms >= ? ORDER BY seq DESC LIMIT 1`;
const LAST_COMMIT = "SELECT seq, last_seq, time_ms FROM commits WHERE space_id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1";
const JOIN = "JOIN commits c ON c.space_id = v.space_id AND c.seq = v.commit_seq WHERE v.space_id = ?";
const RECORDS = `SELECT ${JOURNAL_COLUMNS} FROM versions AS v ${JOIN}`;
const HISTORY = `SELECT ${JOURNAL_COLUMNS} FROM versions AS v INDEXED BY versions_history ${JOIN}
  AND v.path = ? AND v.seq < ? ORDER BY v.seq DESC LIMIT ?`;
const JOURNAL = `${RECORDS} AND v.seq > ? ORDER BY v.seq LIMIT ?`;
const COMMITS_OF_RUN = "SELECT seq, last_seq FROM commits INDEXED BY commits_run WHERE space_id = ? AND run_id = ? ORDER BY seq";
const COMMIT_RECORDS = `${RECORDS} AND v.seq >= ? AND v.seq <= ? ORDER BY v.seq`;
const LIVE = `SELECT live.content, m.manifest FROM (SELECT DISTINCT content FROM versions INDEXED BY versions_content
    WHERE content IS NOT NULL AND content > ? ORDER BY content LIMIT ?) live
  LEFT JOIN manifests m ON m.id = live.content ORDER BY live.content`;
const MANIFEST = "SELECT manifest FROM manifests WHERE id = ?";

const page = (limit: number): number => Math.max(1, Math.min(Math.floor(limit), PAGE_ROWS_MAX));
/** Sequences and times are whole and fit a column; what somebody asks for may be anything. */
const whole = (asked: number): number =>
  Math.floor(Math.max(-Number.MAX_SAFE_INTEGER, Math.min(asked, Number.MAX_SAFE_INTEGER)));

export class Queries {
  readonly #sql: Database;
  readonly #hubId: string;
  readonly #known: KnownVersions;

  constructor(db: Database, hubId: string) {
    this.#sql = db;
    this.#hubId = hubId;
    this.#known = new KnownVersions(db);
  }

  /** As KnownVersions.get(). */
  known(space: SpaceId, path: RelPath): Version | null | undefined {
    return this.#known.get(space, path);
  }

  async version(space: SpaceId, path: RelPath): Promise<Version | undefined> {
    const known = this.#known.get(space, path);
    if (known !== undefined) return known ?? undefined;
    if (!isCanonical(path)) return undefined;
    const { commits } = this.#sql;
    const row = await this.#sql.get<VersionRow>(CURRENT, [space, encodeName(path)]);
    const version = this.#one(row);
    const bytes = path.length + (row?.entry.length ?? 0) + (row?.attributes?.length ?? 0);
    if (bytes <= KNOWN_ROW_BYTES_MAX) this.#known.add(space, path, version ?? null, commits);
    return version;
  }

  async versionAt(space: SpaceId, path: RelPath, at: Point): Promise<Version | undefined> {
    if (!isCanonical(path)) return undefined;
    const sequence = await this.#sequenceOf(space, at);
    return this.#one(await this.#sql.get<VersionRow>(VERSION_AT, [space, encodeName(path), sequence]));
  }

  #one(row: VersionRow | undefined): Version | undefined {
    return row === undefined ? undefined : versionOf(row, this.#hubId);
  }

  async list(space: SpaceId, request: ListRequest): Promise<Version[]> {
    if (!isCanonical(request.below)) return [];
    const limit = page(request.limit);
    const all = rangeBelow(request.below);
    const range = request.after === undefined ? all : afterPath(all, request.after);
    const sequence = request.at === undefined ? undefined : await this.#sequenceOf(space, request.at);
    const rows = (part: Range, count: number): Promise<VersionRow[]> =>
      sequence === undefined
        ? this.#sql.all(request.removed === true ? LIST_REMOVED : LIST, [space, part.from, part.to, count])
        : this.#sql.all(LIST_AT, [space, part.from, part.to, sequence, sequence, count]);
    const found = request.shallow
      ? await children(rows, range, all.from.length, limit)
      : await rows(range, limit);
    return found.map((row) => versionOf(row, this.#hubId));
  }

  async count(space: SpaceId, below: RelPath, max: number): Promise<number> {
    const { from, to } = rangeBelow(below);
    return (await this.#sql.get<{ entries: number }>(COUNT, [space, from, to, max]))!.entries;
  }

  async changedSince(space: SpaceId, below: RelPath, sequence: number, limit: number): Promise<Version[]> {
    if (!isCanonical(below)) return [];
    if (below === "") {
      const rows = await this.#sql.all<VersionRow>(SINCE, [space, whole(sequence), Number.MAX_SAFE_INTEGER, page(limit)]);
      return rows.map((row) => versionOf(row, this.#hubId));
    }
    const { from, to } = rangeBelow(below);
    const last = (await this.#sql.get<{ sequence: number }>(SEQUENCE, [space]))?.sequence ?? 0;
    const found: VersionRow[] = [];
    for (let after = Math.max(0, whole(sequence)); after < last && found.length < page(limit); after += WINDOW) {
      const values = [space, after, after + WINDOW, encodeName(below), from, to, page(limit) - found.length];
      found.push(...(await this.#sql.all<VersionRow>(SINCE_BELOW, values)));
    }
    return found.map((row) => versionOf(row, this.#hubId));
  }

  async history(space: SpaceId, path: RelPath, before: number | undefined, limit: number): Promise<JournalRecord[]> {
    if (!isCanonical(path)) return [];
    const end = whole(before ?? Number.MAX_SAFE_INTEGER);
    return this.#records(await this.#sql.all<JournalRow>(HISTORY, [space, encodeName(path), end, page(limit)]));
  }

  async journal(space: SpaceId, after: number, limit: number): Promise<JournalRecord[]> {
    return this.#records(await this.#sql.all<JournalRow>(JOURNAL, [space, whole(after), page(limit)]));
  }

  async journalOfRun(space: SpaceId, runId: string): Promise<JournalRecord[]> {
    const commits = await this.#sql.all<{ seq: number; last_seq: number }>(COMMITS_OF_RUN, [space, plainText(runId)]);
    const records: JournalRecord[] = [];
    for (const { seq, last_seq } of commits) {
      for (let from = seq; from <= last_seq; from += PAGE_ROWS_MAX) {
        const to = Math.min(last_seq, from + PAGE_ROWS_MAX - 1);
        const rows = await this.#sql.all<JournalRow>(COMMIT_RECORDS, [space, from, to]);
        for (const record of this.#records(rows)) records.push(record);
      }
    }
    return records;
  }

  #records(rows: readonly JournalRow[]): JournalRecord[] {
    return rows.map((row) => recordOf(row, this.#hubId));
  }

  async lastCommitMs(space: SpaceId): Promise<number> {
    return (await this.#sql.get<{ latest: number | null }>(LATEST_ORDER, [space]))?.latest ?? 0;
  }

  /** 0 before the first commit. */
  async sequenceAt(space: SpaceId, timeMs: number): Promise<number> {
    return (await this.#sql.get<{ last_seq: number }>(SEQUENCE_AT, [space, whole(timeMs)]))?.last_seq ?? 0;
  }

  /**
   * Up to which sequence everything is certainly as old as `cutoffMs`, as retention needs it. sequenceAt() takes the time
   * of a commit for no later than that of those behind it, or a clock that was ahead once would hide all that came after
   * it. But a clock that was far behind once, a host without one that runs on for instance, would make all before it old:
   * so what a commit says of its own time counts, too, unless that has not come yet. What was committed while a clock was
   * behind is as old as the first commit after that is as late as those before.
   */
  async certainlyOld(space: SpaceId, cutoffMs: number, nowMs: number): Promise<number> {
    const sequence = await this.sequenceAt(space, cutoffMs);
    const ask = (text: string, ...values: number[]) => this.#sql.get<CommitTime>(text, [space, ...values.map(whole)]);
    const young = await ask(FIRST_YOUNG, sequence, nowMs, cutoffMs);
    const until = young === undefined ? sequence : young.seq - 1;
    const latest = (await this.#sql.get<{ time_ms: number | null }>(LATEST_AHEAD, [space, until, nowMs]))?.time_ms;
    if (typeof latest !== "number") return until;
    const last = await ask(LAST_COMMIT, until);
    if (last !== undefined && last.time_ms >= latest && last.time_ms <= nowMs) return until;
    return (await ask(LAST_AS_LATE, until, nowMs, latest))!.last_seq;
  }

  async #sequenceOf(space: SpaceId, at: Point): Promise<number> {
    return "sequence" in at ? whole(at.sequence) : this.sequenceAt(space, at.timeMs);
  }

  async manifest(id: ContentId): Promise<Manifest | undefined> {
    const row = await this.#sql.get<{ manifest: Uint8Array }>(MANIFEST, [Uint8Array.fromHex(id)]);
    return row === undefined ? undefined : decodeManifest(id, row.manifest);
  }

  async liveContent(
    after: ContentId | undefined,
    limit: number,
  ): Promise<{ id: ContentId; manifest: Manifest | undefined }[]> {
    const found: { id: ContentId; manifest: Manifest | undefined }[] = [];
    let from: Uint8Array = after === undefined ? new Uint8Array(0) : Uint8Array.fromHex(after);
    let bytes = 0;
    while (found.length < limit && bytes < MANIFEST_BYTES_MAX) {
      const count = Math.min(limit - found.length, LIVE_ROWS_MAX);
      const rows = await this.#sql.all<{ content: Uint8Array; manifest: Uint8Array | null }>(LIVE, [from, count]);
      for (const { content, manifest } of rows) {
        const id = contentIdOfRow(content);
        found.push({ id, manifest: manifest === null ? undefined : decodeManifest(id, manifest) });
        bytes += manifest?.length ?? 0;
      }
      if (rows.length < count) break;
      from = rows.at(-1)!.content;
    }
    return found;
  }
}

/**
 * Direct children among the rows of a range. The inside of a directory is skipped as soon as it is met, so a page costs
 * its own entries and not what is below them. `prefix` is the length of what all paths of the range begin with.
 */
async function children(
  rows: (part: Range, count: number) => Promise<VersionRow[]>,
  range: Range,
  prefix: number,
  limit: number,
): Promise<VersionRow[]> {
  const found: VersionRow[] = [];
  let { from } = range;
  let count = limit;
  for (;;) {
    const some = await rows({ from, to: range.to }, count);
    let hasSkipped = false;
    for (const row of some) {
      if (compareBytes(row.path, from) < 0) continue;
      const child = childOf(row.path, prefix);
      if (child.length < row.path.length) {
        from = behind(child);
        hasSkipped = true;
        continue;
      }
      found.push(row);
      if (found.length === limit) return found;
    }
    if (some.length < count) return found;
    const last = some.at(-1)!.path;
    if (compareBytes(last, from) >= 0) from = next(last);
    count = hasSkipped ? SKIP_ROWS_MIN : Math.min(count * SKIP_ROWS_GROWTH, limit);
  }
}
