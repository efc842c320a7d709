/**
 * Retention: old versions lose their content, and stay as records. One walk over the old versions that still have some,
 * path by path from the newest to the oldest, in a transaction for each page.
 */
import { dropUnreferred } from "#hub/meta/manifests.ts";
import { VERSION_COLUMNS, type VersionRow, contentIdOfRow, sumOf, versionOf } from "#hub/meta/rows.ts";
import { Queries } from "#hub/meta/queries.ts";
import type { Space } from "#hub/space.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

const PAGE = 1000;

const FIRST = `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_old
  WHERE space_id = ? AND replaced IS NOT NULL AND content IS NOT NULL ORDER BY path DESC, seq DESC LIMIT ?`;
const NEXT = `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_old
  WHERE space_id = ? AND replaced IS NOT NULL AND content IS NOT NULL AND (path, seq) < (?, ?)
  ORDER BY path DESC, seq DESC LIMIT ?`;
const DROP = "UPDATE versions SET content = NULL, sum = ? WHERE space_id = ? AND seq = ?";
const POINTS = "SELECT seq FROM restore_points WHERE space_id = ? ORDER BY seq";

/** Where the walk is: the version looked at last, and how many old versions of its path came before. */
type Cursor = { readonly path: Uint8Array; readonly seq: number; readonly rank: number };

/** Drops the content of `limit` versions at most; returns of how many. */
export async function expire(db: Database, hubId: string, space: Space, nowMs: number, limit: number): Promise<number> {
  const { versions, ageMs } = space.settings.retention;
  if (versions === undefined && ageMs === undefined) return 0;
  // What was replaced up to here has been old for long enough.
  const oldUntil = ageMs === undefined ? 0 : await new Queries(db, hubId).sequenceAt(space.id, nowMs - ageMs);
  const keep = versions ?? Infinity;
  let cursor: Cursor | undefined;
  let total = 0;
  do {
    const left = limit - total;
    const from: Cursor | undefined = cursor;
    const done = await db.transaction((sql) => expirePage(sql, hubId, space, { keep, oldUntil }, from, left));
    total += done.dropped;
    cursor = done.cursor;
  } while (cursor !== undefined && total < limit);
  return total;
}

async function expirePage(
  sql: Sql,
  hubId: string,
  space: Space,
  rule: { readonly keep: number; readonly oldUntil: number },
  from: Cursor | undefined,
  limit: number,
): Promise<{ dropped: number; cursor: Cursor | undefined }> {
  const rows =
    from === undefined
      ? await sql.all<VersionRow>(FIRST, [space.id, PAGE])
      : await sql.all<VersionRow>(NEXT, [space.id, from.path, from.seq, PAGE]);
  // Read here and not once for all pages: a restore point made meanwhile counts.
  const points = (await sql.all<{ seq: number }>(POINTS, [space.id])).map(({ seq }) => seq);
  const dropped = new Set<ContentId>();
  let count = 0;
  let cursor = from;
  for (const row of rows) {
    if (count === limit) return { dropped: count, cursor };
    const isSamePath = cursor !== undefined && Buffer.compare(cursor.path, row.path) === 0;
    const rank: number = isSamePath ? cursor!.rank + 1 : 1;
    cursor = { path: row.path, seq: row.seq, rank };
    const replaced = row.replaced!;
    if ((rank <= rule.keep && replaced > rule.oldUntil) || isShown(points, row.seq, replaced)) continue;
    // A damaged row must not get a sum that makes it good.
    versionOf(row, hubId);
    dropped.add(contentIdOfRow(row.content!));
    await sql.run(DROP, [sumOf({ ...row, content: null }), space.id, row.seq]);
    count++;
  }
  await dropUnreferred(sql, dropped);
  return { dropped: count, cursor: rows.length < PAGE ? undefined : cursor };
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
