/** Which conflict copies a space has: the losers of conflicts that lie beside the winners. */
import type { CopiesPage, CopiesRequest } from "#hub/meta/meta-store.ts";
import { afterPath, behind, next, rangeBelow } from "#hub/meta/ranges.ts";
import { VERSION_COLUMNS, type VersionRow, versionOf } from "#hub/meta/rows.ts";
import type { SpaceId, Version } from "#hub/space.ts";
import { COPY_MARK, conflictCopyOf } from "#model/conflict-copy.ts";
import { type RelPath, decodeName, encodeName, isWithin, parentOf } from "#model/path.ts";
import type { Sql } from "#platform/sql/database.ts";

/** Rows read at once; most spaces have fewer. */
const ROWS = 200;
/** Rows looked at for one page: people may give any number of files names that only look so. */
const LOOKED_MAX = 10_000;

/** The condition is the index's own, word for word: only then PostgreSQL uses it. */
const COPIES = `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_copies
  WHERE space_id = ? AND replaced IS NULL AND present = 1 AND path LIKE '%${COPY_MARK}%' AND path >= ? AND path < ?
  ORDER BY path LIMIT ?`;

export async function conflictCopies(sql: Sql, hubId: string, space: SpaceId, request: CopiesRequest): Promise<CopiesPage> {
  const { below, limit } = request;
  const all = rangeBelow(below);
  let { from } = request.after === undefined ? all : afterPath(all, request.after);
  const copies: Version[] = [];
  let looked = 0;
  for (;;) {
    const rows = await sql.all<VersionRow>(COPIES, [space, from, all.to, ROWS]);
    let isSkipping = false;
    for (const row of rows) {
      const path = decodeName(row.path);
      looked++;
      // What lies in a directory that is a copy belongs to it.
      const dir = copyAbove(path, below);
      from = dir === undefined ? next(row.path) : behind(encodeName(dir));
      isSkipping = dir !== undefined;
      if (!isSkipping && conflictCopyOf(path) !== undefined) copies.push(versionOf(row, hubId));
      if (copies.length === limit || looked === LOOKED_MAX) return { copies, next: path };
      if (isSkipping) break;
    }
    if (!isSkipping && rows.length < ROWS) return { copies, next: undefined };
  }
}

function copyAbove(path: RelPath, below: RelPath): RelPath | undefined {
  let found: RelPath | undefined;
  for (let dir = parentOf(path); dir !== "" && dir !== below && isWithin(dir, below); dir = parentOf(dir)) {
    if (conflictCopyOf(dir) !== undefined) found = dir;
  }
  return found;
}
