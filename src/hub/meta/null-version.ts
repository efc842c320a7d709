/** The version of a path that is "null" over S3 (hub/versioning.ts). */
import { type VersionRow, VERSION_COLUMNS, decodeEntry } from "#hub/meta/rows.ts";
import type { Space } from "#hub/space.ts";
import { Versioning, leavesMarker } from "#hub/versioning.ts";
import { type RelPath, encodeName } from "#model/path.ts";
import type { Sql } from "#platform/sql/database.ts";

/** `isShown`: it is a file, or the tombstone of one that counts as a delete marker. Those before it are not there. */
export type NullVersion = { readonly sequence: number; readonly isShown: boolean };

const LAST_MADE = `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_history
  WHERE space_id = ? AND path = ? AND seq > ? AND seq <= ? AND again IS NULL ORDER BY seq DESC LIMIT 1`;
const ENTRY = "SELECT entry FROM versions WHERE space_id = ? AND seq = ?";

/** Undefined: none was ever made. It may have been purged, or have lost its content, since. */
export async function nullVersion(sql: Sql, { id, settings }: Space, path: RelPath): Promise<NullVersion | undefined> {
  const versioning = new Versioning(settings.doors);
  for (const { after, until } of versioning.nullRanges()) {
    const row = await sql.get<VersionRow>(LAST_MADE, [id, encodeName(path), after, until]);
    if (row === undefined) continue;
    const entry = decodeEntry(row.entry);
    if (entry !== undefined) return { sequence: row.seq, isShown: entry.kind === "file" };
    if (versioning.namingOf(row.seq) === "early") return { sequence: row.seq, isShown: false };
    const before = await sql.get<{ entry: Uint8Array }>(ENTRY, [id, row.previous]);
    return { sequence: row.seq, isShown: leavesMarker(before && { entry: decodeEntry(before.entry) }) };
  }
  return undefined;
}
