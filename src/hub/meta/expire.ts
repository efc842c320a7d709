/**
 * Retention: old versions lose their content, and stay as records. One walk over the old versions that still have some,
 * path by path from the newest to the oldest, in a transaction for each page.
 */
import { lockedOf } from "#hub/meta/lock-rows.ts";
import { dropUnreferred } from "#hub/meta/manifests.ts";
import { VERSION_COLUMNS, type VersionRow, contentIdOfRow, knownBy, sumOf, versionOf } from "#hub/meta/rows.ts";
import { Queries } from "#hub/meta/queries.ts";
import { ListText } from "#hub/meta/texts.ts";
import type { Space, SpaceId } from "#hub/space.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

const PAGE = 1000;

const OLD = `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_old
  WHERE space_id = ? AND replaced IS NOT NULL AND content IS NOT NULL`;
const OWN = "AND NOT EXISTS (SELECT 1 FROM follows AS f WHERE f.space_id = versions.space_id)";
const ORDER = "ORDER BY path DESC, seq DESC LIMIT ?";
/** Of a space of this hub's own, and of a copy. */
const TEXTS = {
  own: { first: `${OLD} ${OWN} ${ORDER}`, next: `${OLD} ${OWN} AND (path, seq) < (?, ?) ${ORDER}` },
  copy: { first: `${OLD} ${ORDER}`, next: `${OLD} AND (path, seq) < (?, ?) ${ORDER}` },
} as const;
const DROP = "UPDATE versions SET content = NULL, sum = ? WHERE space_id = ? AND seq = ?";
const SHOWN_AGAIN = new ListText(
  "SELECT again, max(seq) AS last FROM versions INDEXED BY versions_again WHERE space_id = ? AND again IN (%) GROUP BY again",
);
const POINTS = "SELECT seq FROM restore_points WHERE space_id = ? ORDER BY seq";

/** Where the walk is: the version looked at last, and how many old versions of its path came before. */
type Cursor = { readonly path: Uint8Array; readonly seq: number; readonly rank: number };

type Rule = { readonly keep: number; readonly oldUntil: number; readonly nowMs: number };

/** Undefined: everything is kept. */
async function ruleOf(db: Database, hubId: string, { id, settings }: Space, nowMs: number): Promise<Rule | undefined> {
  const { versions, ageMs } = settings.retention;
  if (versions === undefined && ageMs === undefined) return undefined;
  // What was replaced up to here has been old for long enough.
  const oldUntil = ageMs === undefined ? 0 : await new Queries(db, hubId).certainlyOld(id, nowMs - ageMs, nowMs);
  return { keep: versions ?? Infinity, oldUntil, nowMs };
}

/**
 * Drops the content of `limit` versions at most; returns of how many. A space that follows another hub forgets what its
 * source has forgotten, and nothing by itself.
 */
export async function expire(db: Database, hubId: string, space: Space, nowMs: number, limit: number): Promise<number> {
  const rule = await ruleOf(db, hubId, space, nowMs);
  if (rule === undefined) return 0;
  let cursor: Cursor | undefined;
  let total = 0;
  do {
    const left = limit - total;
    const from: Cursor | undefined = cursor;
    const done = await db.transaction(async (sql) => {
      const { rows, cursor: next } = await expirable(sql, space, rule, TEXTS.own, from, left);
      await dropContent(sql, hubId, space, rows);
      return { dropped: rows.length, cursor: next };
    });
    total += done.dropped;
    cursor = done.cursor;
  } while (cursor !== undefined && total < limit);
  return total;
}

/**
 * As expire, of a space that follows: asks the source, page by page, what of it has lost its content there too.
 * @param isDropped which of these sequences have no content at the source
 */
export async function expireAsSource(
  db: Database,
  hubId: string,
  space: Space,
  nowMs: number,
  isDropped: (sequences: readonly number[]) => Promise<ReadonlySet<number>>,
): Promise<number> {
  const rule = await ruleOf(db, hubId, space, nowMs);
  if (rule === undefined) return 0;
  let cursor: Cursor | undefined;
  let total = 0;
  do {
    const found = await expirable(db, space, rule, TEXTS.copy, cursor, PAGE);
    cursor = found.cursor;
    if (found.rows.length === 0) continue;
    const gone = await isDropped(found.rows.map(({ seq }) => seq));
    const rows = found.rows.filter(({ seq }) => gone.has(seq));
    await db.transaction((sql) => dropContent(sql, hubId, space, rows));
    total += rows.length;
  } while (cursor !== undefined);
  return total;
}

/** The next versions that lose their content. Rows of old versions never change but for that. */
async function expirable(
  sql: Sql,
  space: Space,
  rule: Rule,
  texts: { readonly first: string; readonly next: string },
  from: Cursor | undefined,
  limit: number,
): Promise<{ rows: VersionRow[]; cursor: Cursor | undefined }> {
  const rows =
    from === undefined
      ? await sql.all<VersionRow>(texts.first, [space.id, PAGE])
      : await sql.all<VersionRow>(texts.next, [space.id, from.path, from.seq, PAGE]);
  // Read here and not once for all pages: a restore point made meanwhile counts.
  const points = (await sql.all<{ seq: number }>(POINTS, [space.id])).map(({ seq }) => seq);
  const found: VersionRow[] = [];
  let cursor = from;
  const names = rows.map(knownBy);
  const locked = await lockedOf(sql, space.id, names, rule.nowMs);
  const shown = rule.keep === Infinity ? new Map<number, number>() : await lastShown(sql, space.id, names);
  for (const row of rows) {
    if (found.length === limit) return { rows: found, cursor };
    const isSamePath = cursor !== undefined && Buffer.compare(cursor.path, row.path) === 0;
    // Who got other tags is the same version still, and takes nobody's place among those that are kept.
    const counts = (shown.get(knownBy(row)) ?? 0) <= row.seq ? 1 : 0;
    const rank: number = (isSamePath ? cursor!.rank : 0) + counts;
    cursor = { path: row.path, seq: row.seq, rank };
    const replaced = row.replaced!;
    if ((rank <= rule.keep && replaced > rule.oldUntil) || isShown(points, row.seq, replaced)) continue;
    if (locked.has(knownBy(row))) continue;
    found.push(row);
  }
  return { rows: found, cursor: rows.length < PAGE ? undefined : cursor };
}

/** Which of these versions later rows show again, and the last row that does. */
async function lastShown(sql: Sql, space: SpaceId, names: readonly number[]): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for (const { text, values } of SHOWN_AGAIN.pieces([space], names)) {
    for (const { again, last } of await sql.all<{ again: number; last: number }>(text, values)) found.set(again, last);
  }
  return found;
}

async function dropContent(sql: Sql, hubId: string, space: Space, rows: readonly VersionRow[]): Promise<void> {
  const dropped = new Set<ContentId>();
  for (const row of rows) {
    // A damaged row must not get a sum that makes it good.
    versionOf(row, hubId);
    dropped.add(contentIdOfRow(row.content!));
    await sql.run(DROP, [sumOf({ ...row, content: null }), space.id, row.seq]);
  }
  await dropUnreferred(sql, dropped);
}

/** Does one of these restore points (in order) show what was current from `from` on and until before `to`? */
function isShown(points: readonly number[], from: number, to: number): boolean {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle]! < from) low = middle + 1;
    else high = middle;
  }
  return low < points.length && points[low]! < to;
}
