/**
 * Is what another hub's journal makes of a space a tree? Every entry lies in a directory, and nothing lies below what is
 * no directory. Asked of the paths that a page has changed, when its rows are written and before that is committed.
 */
import { rangeBelow } from "#hub/meta/ranges.ts";
import { decodeEntry } from "#hub/meta/rows.ts";
import { ListText } from "#hub/meta/texts.ts";
import type { JournalRecord, SpaceId } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, decodeName, encodeName, parentOf, printablePath } from "#model/path.ts";
import type { Sql } from "#platform/sql/database.ts";

const PRESENT = new ListText(
  `SELECT path, entry FROM versions INDEXED BY versions_current
    WHERE space_id = ? AND replaced IS NULL AND present = 1 AND path IN (%)`,
);
const ANY_BELOW = `SELECT path FROM versions INDEXED BY versions_current
  WHERE space_id = ? AND replaced IS NULL AND present = 1 AND path >= ? AND path < ? LIMIT 1`;
/** What a commit has taken away, and is gone still. */
const REMOVED_BY = "SELECT path FROM versions WHERE space_id = ? AND seq >= ? AND seq <= ? AND present = 0 AND replaced IS NULL";
const GONE = `SELECT commit_seq FROM versions INDEXED BY versions_current
  WHERE space_id = ? AND replaced IS NULL AND present = 0 AND path = ?`;
const COMMIT_OF = "SELECT commit_seq FROM versions WHERE space_id = ? AND seq = ?";

type Page = { readonly after: number; readonly records: readonly JournalRecord[]; readonly isWhole?: boolean };

/** @throws {SynclineError} PROTOCOL */
export async function requireTree(sql: Sql, { id, name }: { id: number; name: string }, page: Page): Promise<void> {
  const space = id as SpaceId;
  const { records, after } = page;
  const last = records.at(-1);
  if (last === undefined) return;
  const madeBy = new Map(records.map(({ path, commit }) => [path, commit]));
  // A directory that is moved goes before what is in it. Of the last commit that may come with the next page, which looks.
  const open = page.isWhole === true ? undefined : last.commit;
  const known = await presentOf(sql, space, [...madeBy.keys()]);
  await requireParents(sql, space, name, [...known.keys()], open);
  for (const [path, commit] of madeBy) {
    if (known.get(path) !== true && commit !== open) await requireNothingBelow(sql, space, name, path);
  }
  const before = after === 0 ? undefined : await sql.get<{ commit_seq: number }>(COMMIT_OF, [space, after]);
  if (before === undefined || before.commit_seq === open) return;
  for (const { path } of await sql.all<{ path: Uint8Array }>(REMOVED_BY, [space, before.commit_seq, after])) {
    await requireNothingBelow(sql, space, name, decodeName(path));
  }
}

/** Of a repair, when all of it is written: `paths` are those whose versions are others now. @throws {SynclineError} PROTOCOL */
export async function requireTreeAt(sql: Sql, { id, name }: { id: number; name: string }, paths: readonly RelPath[]): Promise<void> {
  const space = id as SpaceId;
  const known = await presentOf(sql, space, paths);
  await requireParents(sql, space, name, [...known.keys()], undefined);
  for (const path of paths) if (known.get(path) !== true) await requireNothingBelow(sql, space, name, path);
}

/** @param open the commit that may still be on its way */
async function requireParents(sql: Sql, space: SpaceId, name: string, paths: readonly RelPath[], open: number | undefined) {
  const parents = new Map<RelPath, RelPath>();
  for (const path of paths) if (parentOf(path) !== "") parents.set(parentOf(path), path);
  const found = await presentOf(sql, space, [...parents.keys()]);
  for (const [dir, path] of parents) {
    if (found.get(dir) === true) continue;
    const gone = found.has(dir) ? undefined : await sql.get<{ commit_seq: number }>(GONE, [space, encodeName(dir)]);
    if (gone === undefined || gone.commit_seq !== open) throw noTree(name, path);
  }
}

/** Those that are there, and whether they are directories. */
async function presentOf(sql: Sql, space: SpaceId, paths: readonly RelPath[]): Promise<Map<RelPath, boolean>> {
  const found = new Map<RelPath, boolean>();
  for (const { text, values } of PRESENT.pieces([space], paths.map(encodeName))) {
    for (const row of await sql.all<{ path: Uint8Array; entry: Uint8Array }>(text, values)) {
      found.set(decodeName(row.path), decodeEntry(row.entry)?.kind === "dir");
    }
  }
  return found;
}

async function requireNothingBelow(sql: Sql, space: SpaceId, name: string, path: RelPath): Promise<void> {
  const { from, to } = rangeBelow(path);
  const row = await sql.get<{ path: Uint8Array }>(ANY_BELOW, [space, from, to]);
  if (row !== undefined) throw noTree(name, decodeName(row.path));
}

function noTree(name: string, path: RelPath): SynclineError {
  return new SynclineError({
    code: "PROTOCOL",
    op: "follow",
    message: `the source of "${name}" has "${printablePath(path)}" in no directory; nothing of that was taken over`,
    hint: "syncline hub check at the source says what is wrong there",
    retryable: true,
  });
}
