/**
 * What is said of versions after they were made: locks, that one was purged, attributes that it got when it was old. Each
 * has a number of its space, so that a hub that follows asks for what came after the last that it has. A copy takes them
 * over as its source tells them, but for one thing: what is locked for compliance, or held, in the copy too, stays there
 * whatever the source says.
 */
import { type VersionLock, lockFault } from "#hub/locks.ts";
import { type LockedSpaceRow, SPACE_LOCKED, unknownSpace } from "#hub/meta/commit.ts";
import { type LaterAttributes, laterAfter, saveLater } from "#hub/meta/later-attributes.ts";
import { locksAfter, locksOf, saveLocks } from "#hub/meta/lock-rows.ts";
import { dropRows, rowsOfVersion } from "#hub/meta/purge.ts";
import type { SpaceId } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { decodeName } from "#model/path.ts";
import type { Database, Sql } from "#platform/sql/database.ts";

/** Marks of one page. */
export const MARKS_MAX = 2000;
/** Of them, those with attributes, which have up to 16 KiB each. */
const LATER_MAX = 200;

export type PurgeNote = { readonly timeMs: number; readonly actor: string; readonly traceId: string; readonly cause: string };
/** Of the version that is known by the sequence: one of the three. */
export type Mark = {
  readonly number: number;
  readonly sequence: number;
  readonly lock?: VersionLock | undefined;
  readonly purge?: PurgeNote | undefined;
  readonly later?: Pick<LaterAttributes, "attributes" | "at"> | undefined;
};

type PurgeRow = { number: number; seq: number; time_ms: number; actor: string; trace_id: string; cause: string };
const PURGES = "SELECT number, seq, time_ms, actor, trace_id, cause FROM purges WHERE space_id = ? AND number > ? ORDER BY number LIMIT ?";
const KNOWN = "SELECT seq FROM purges WHERE space_id = ? AND number = ?";
const PATH = "SELECT path FROM versions WHERE space_id = ? AND seq = ?";

/** By number, up to MARKS_MAX. */
export async function marksAfter(sql: Sql, space: SpaceId, after: number): Promise<Mark[]> {
  const locks: Mark[] = await locksAfter(sql, space, after, MARKS_MAX);
  const rows = await sql.all<PurgeRow>(PURGES, [space, after, MARKS_MAX]);
  const purges = rows.map(({ number, seq, time_ms: timeMs, actor, trace_id: traceId, cause }): Mark => {
    return { number, sequence: seq, purge: { timeMs, actor, traceId, cause } };
  });
  const later = (await laterAfter(sql, space, after, LATER_MAX)).map(({ number, sequence, attributes, at }): Mark => {
    return { number, sequence, later: { attributes, at } };
  });
  const last = later.length < LATER_MAX ? Infinity : later.at(-1)!.number;
  const found = [...locks, ...purges, ...later].filter(({ number }) => number <= last);
  return found.sort((a, b) => a.number - b.number).slice(0, MARKS_MAX);
}

/**
 * Takes over what a source says of versions that are here. @param nowMs by this hub's clock
 * @throws {SynclineError} SPACE_UNKNOWN; STALE when the space follows nobody any more
 */
export function applyMarks(db: Database, hubId: string, space: SpaceId, marks: readonly Mark[], nowMs: number): Promise<void> {
  return db.transaction(async (sql) => {
    const row = await sql.get<LockedSpaceRow>(SPACE_LOCKED[db.engine], [space]);
    if (row === undefined) throw unknownSpace(space);
    if (row.follows_url === null) {
      throw new SynclineError({ code: "STALE", op: "follow", message: `the space "${row.name}" follows nobody any more` });
    }
    for (const { number, sequence, lock, purge, later } of marks) {
      if (lock !== undefined) await takeLock(sql, space, { number, sequence, lock }, nowMs);
      if (purge !== undefined) await takePurge(sql, hubId, space, { number, sequence, purge }, nowMs);
      if (later !== undefined) await saveLater(sql, space, { number, sequence, ...later });
    }
  });
}

async function takeLock(
  sql: Sql,
  space: SpaceId,
  { number, sequence, lock }: { number: number; sequence: number; lock: VersionLock },
  nowMs: number,
): Promise<void> {
  const own = (await locksOf(sql, space, [sequence])).get(sequence);
  const ownTerm = own?.term?.mode === "compliance" && own.term.untilMs > nowMs ? own.term : undefined;
  const isShorter = ownTerm !== undefined && (lock.term?.mode !== "compliance" || lock.term.untilMs < ownTerm.untilMs);
  await saveLocks(sql, space, [{ number, sequence, lock: isShorter ? { ...lock, term: ownTerm } : lock }]);
}

async function takePurge(
  sql: Sql,
  hubId: string,
  space: SpaceId,
  { number, sequence, purge }: { number: number; sequence: number; purge: PurgeNote },
  nowMs: number,
): Promise<void> {
  if ((await sql.get(KNOWN, [space, number])) !== undefined) return;
  const row = await sql.get<{ path: Uint8Array }>(PATH, [space, sequence]);
  if (row === undefined) return;
  const lock = (await locksOf(sql, space, [sequence])).get(sequence);
  if (lock !== undefined && lockFault(lock, nowMs, true) !== undefined) return;
  const rows = await rowsOfVersion(sql, space, decodeName(row.path), sequence);
  // What is current is never without its bytes; a source that is in order has put another in its place before.
  const gone = rows.filter(({ replaced, content }) => replaced !== null || content === null);
  await dropRows(sql, hubId, space, gone, { number, sequence, ...purge });
}
