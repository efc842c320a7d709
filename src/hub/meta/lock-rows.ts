/** Locks of versions at rest. What a row says is checked before anyone relies on it: a damaged one counts as a hold. */
import { LOCK_MODES, type LockMode, type VersionLock, isLocked } from "#hub/locks.ts";
import { ListText, RowsText } from "#hub/meta/texts.ts";
import type { SpaceId } from "#hub/space.ts";
import type { Sql, SqlRow } from "#platform/sql/database.ts";

type LockRow = SqlRow & {
  readonly seq: number;
  readonly mode: string | null;
  readonly until_ms: number | null;
  readonly held: number;
  readonly number: number;
};

const COLUMNS = "seq, mode, until_ms, held, number";
const SAVE = new RowsText(
  "INSERT INTO locks (space_id, seq, mode, until_ms, held, number) VALUES",
  6,
  `ON CONFLICT (space_id, seq) DO UPDATE SET mode = excluded.mode, until_ms = excluded.until_ms, held = excluded.held,
    number = excluded.number`,
);
const SOME = new ListText(`SELECT ${COLUMNS} FROM locks WHERE space_id = ? AND seq IN (%)`);
const AFTER = `SELECT ${COLUMNS} FROM locks INDEXED BY locks_number WHERE space_id = ? AND number > ? ORDER BY number LIMIT ?`;
const ACTIVE = `SELECT seq FROM locks INDEXED BY locks_until WHERE space_id = ? AND until_ms > ? LIMIT 1`;
const HELD = "SELECT seq FROM locks INDEXED BY locks_held WHERE space_id = ? AND held = 1 LIMIT 1";
const LAST_LOCK = "SELECT max(number) AS number FROM locks WHERE space_id = ?";
const LAST_PURGE = "SELECT max(number) AS number FROM purges WHERE space_id = ?";
const LAST_LATER = "SELECT max(number) AS number FROM later_attributes WHERE space_id = ?";

function lockOf({ mode, until_ms: untilMs, held }: LockRow): VersionLock {
  if (mode === null || untilMs === null) return { term: undefined, hold: held === 1 || (mode === null) !== (untilMs === null) };
  const isKnown = (LOCK_MODES as readonly string[]).includes(mode);
  return { term: isKnown ? { mode: mode as LockMode, untilMs } : undefined, hold: held === 1 || !isKnown };
}

/** Of the versions that have one, also one that has ended. */
export async function locksOf(sql: Sql, space: SpaceId, sequences: readonly number[]): Promise<Map<number, VersionLock>> {
  const found = new Map<number, VersionLock>();
  for (const { text, values } of SOME.pieces([space], sequences)) {
    for (const row of await sql.all<LockRow>(text, values)) found.set(row.seq, lockOf(row));
  }
  return found;
}

/** The last number that a lock, a purge or attributes of an old version of the space have; 0 for none. */
export async function lastMark(sql: Sql, space: SpaceId): Promise<number> {
  const lock = await sql.get<{ number: number | null }>(LAST_LOCK, [space]);
  const purge = await sql.get<{ number: number | null }>(LAST_PURGE, [space]);
  const later = await sql.get<{ number: number | null }>(LAST_LATER, [space]);
  return Math.max(lock?.number ?? 0, purge?.number ?? 0, later?.number ?? 0);
}

/** With the next numbers of the space, whose row must be locked. */
export async function insertLocks(sql: Sql, space: SpaceId, locks: ReadonlyMap<number, VersionLock>): Promise<void> {
  let number = await lastMark(sql, space);
  await saveLocks(sql, space, [...locks].map(([sequence, lock]) => ({ sequence, lock, number: ++number })));
}

export type NumberedLock = { readonly number: number; readonly sequence: number; readonly lock: VersionLock };

export async function saveLocks(sql: Sql, space: SpaceId, locks: readonly NumberedLock[]): Promise<void> {
  const rows = locks.map(({ number, sequence, lock: { term, hold } }) =>
    [space, sequence, term?.mode ?? null, term?.untilMs ?? null, hold ? 1 : 0, number]);
  for (const { text, values } of SAVE.pieces(rows)) await sql.run(text, values);
}

/** Those that have changed since, by number. */
export async function locksAfter(sql: Sql, space: SpaceId, after: number, limit: number): Promise<NumberedLock[]> {
  const rows = await sql.all<LockRow>(AFTER, [space, after, limit]);
  return rows.map((row) => ({ number: row.number, sequence: row.seq, lock: lockOf(row) }));
}

/** A version of the space that nobody may take away now. */
export async function anyLocked(sql: Sql, space: SpaceId, nowMs: number): Promise<number | undefined> {
  const held = await sql.get<{ seq: number }>(HELD, [space]);
  return held?.seq ?? (await sql.get<{ seq: number }>(ACTIVE, [space, nowMs]))?.seq;
}

/** Which of these sequences are locked now. */
export async function lockedOf(sql: Sql, space: SpaceId, sequences: readonly number[], nowMs: number): Promise<Set<number>> {
  const locks = await locksOf(sql, space, sequences);
  return new Set([...locks].filter(([, lock]) => isLocked(lock, nowMs)).map(([sequence]) => sequence));
}
