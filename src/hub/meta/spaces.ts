/** Rows of spaces and restore points, and the end of a space. */
import { unknownSpace } from "#hub/meta/commit.ts";
import { anyLocked } from "#hub/meta/lock-rows.ts";
import { dropUnreferred } from "#hub/meta/manifests.ts";
import type { NewPoint, SpaceUpdate, WithIt } from "#hub/meta/meta-store.ts";
import {
  SPACE_COLUMNS, type SpaceRow, VERSION_COLUMNS, type VersionRow, contentIdOfRow, encodeSettings, plainText, spaceOf,
} from "#hub/meta/rows.ts";
import { withSwitch } from "#hub/versioning.ts";
import type { RestorePoint, Space, SpaceId, SpaceSettings } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { decodeName, printablePath } from "#model/path.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

/** Versions of an erased space that one transaction removes. */
const ERASE_ROWS = 5000;

const FACT = "SELECT value FROM facts WHERE name = ?";
const SAVE_FACT =
  "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const SPACES = `SELECT ${SPACE_COLUMNS} FROM spaces ORDER BY id`;
const SPACE = `SELECT ${SPACE_COLUMNS} FROM spaces WHERE id = ?`;
const VERSION = `SELECT ${VERSION_COLUMNS} FROM versions WHERE space_id = ? AND seq = ?`;
const NAMED = "SELECT id FROM spaces WHERE name = ?";
const INSERT_SPACE = `INSERT INTO spaces (${SPACE_COLUMNS}) VALUES (?, ?, ?, NULL, ?, ?, ?, 0, 0, 0)`;
const UPDATE_SPACE = "UPDATE spaces SET name = ?, settings = ?, deleted_ms = ? WHERE id = ?";
const RENEW_LINEAGE = "UPDATE spaces SET lineage = ? WHERE id = ?";
const FOLLOWED = "SELECT 1 AS one FROM follows WHERE space_id = ?";
const SAVE_LINEAGE =
  "INSERT INTO lineages (space_id, lineage, seq) VALUES (?, ?, ?) ON CONFLICT (space_id, lineage) DO UPDATE SET seq = excluded.seq";
const ERASE_BEGIN = ["DELETE FROM spaces WHERE id = ?", "INSERT INTO erasing (space_id) VALUES (?)"];
const ERASING = "SELECT space_id FROM erasing";
const ERASE_PIECE = "SELECT seq, content FROM versions WHERE space_id = ? ORDER BY seq LIMIT ?";
const ERASE_UP_TO = [
  "DELETE FROM versions WHERE space_id = ? AND seq <= ?",
  "DELETE FROM commits WHERE space_id = ? AND seq <= ?",
];
const ERASE_END = [
  "DELETE FROM restore_points WHERE space_id = ?",
  "DELETE FROM follows WHERE space_id = ?",
  "DELETE FROM follow_received WHERE space_id = ?",
  "DELETE FROM lineages WHERE space_id = ?",
  "DELETE FROM locks WHERE space_id = ?",
  "DELETE FROM purges WHERE space_id = ?",
  "DELETE FROM later_attributes WHERE space_id = ?",
  "DELETE FROM lifecycle_places WHERE space_id = ?",
  "DELETE FROM lifecycle_later WHERE space_id = ?",
  "DELETE FROM erasing WHERE space_id = ?",
];
const INSERT_POINT = "INSERT INTO restore_points (space_id, name, seq, time_ms, actor) VALUES (?, ?, ?, ?, ?)";
const POINTS = "SELECT name, seq, time_ms, actor FROM restore_points WHERE space_id = ? ORDER BY seq, name";
const DELETE_POINT = "DELETE FROM restore_points WHERE space_id = ? AND name = ?";

/** A fact that is made once. */
export function factOf(db: Database, name: string, make: () => string): Promise<string> {
  return db.transaction(async (sql) => {
    const known = await sql.get<{ value: string }>(FACT, [name]);
    if (known !== undefined) return known.value;
    const value = make();
    await sql.run(SAVE_FACT, [name, value]);
    return value;
  });
}

export function createSpace(
  db: Database,
  given: { name: string; settings: SpaceSettings; seeds: Uint8Array; lineage: string; timeMs: number },
  withIt?: WithIt,
): Promise<Space> {
  return db.transaction(async (sql) => {
    const name = plainText(given.name);
    await requireFree(sql, name);
    const id = Number((await sql.get<{ value: string }>(FACT, ["next_space"]))?.value ?? "1");
    await sql.run(SAVE_FACT, ["next_space", String(id + 1)]);
    const { settings, seeds, lineage, timeMs } = given;
    await sql.run(INSERT_SPACE, [id, name, timeMs, encodeSettings(settings), plainText(lineage), seeds]);
    await withIt?.(sql);
    return requireSpace(sql, id as SpaceId);
  });
}

export async function allSpaces(sql: Sql): Promise<Space[]> {
  return (await sql.all<SpaceRow>(SPACES)).map(spaceOf);
}

export async function spaceById(sql: Sql, id: SpaceId): Promise<Space | undefined> {
  const row = await sql.get<SpaceRow>(SPACE, [id]);
  return row === undefined ? undefined : spaceOf(row);
}

export async function requireSpace(sql: Sql, id: SpaceId): Promise<Space> {
  const space = await spaceById(sql, id);
  if (space === undefined) throw unknownSpace(id);
  return space;
}

export function updateSpace(
  db: Database,
  id: SpaceId,
  change: SpaceUpdate,
  withIt?: WithIt,
): Promise<Space> {
  return db.transaction(async (sql) => {
    const space = await requireSpace(sql, id);
    const name = plainText(change.name ?? space.name);
    if (change.onlyEmpty === true && space.usage.entries > 0) throw notEmpty(space);
    if (typeof change.deletedMs === "number") await requireUnlocked(sql, space, change.deletedMs);
    if (space.settings.lock !== undefined && change.settings !== undefined && change.settings.lock === undefined) throw keepsLocks(space);
    if (name !== space.name) await requireFree(sql, name);
    const wanted = change.settings === undefined ? space.settings : withSwitch(space.settings, change.settings, space.sequence);
    const settings = encodeSettings(wanted);
    const deletedMs = change.deletedMs === undefined ? (space.deletedMs ?? null) : change.deletedMs;
    await sql.run(UPDATE_SPACE, [name, settings, deletedMs, id]);
    await withIt?.(sql);
    return requireSpace(sql, id);
  });
}

/** After the database was put back to an earlier day: sequences mean other changes than whoever knows them thinks. */
export function renewLineages(db: Database, makeLineage: () => string): Promise<number> {
  return db.transaction(async (sql) => {
    const spaces = await allSpaces(sql);
    for (const space of spaces) {
      // A copy is only shorter than it was: it goes on from there.
      if ((await sql.get(FOLLOWED, [space.id])) === undefined) await beginLineage(sql, space, makeLineage());
    }
    return spaces.length;
  });
}

/** From here on the space lives another life; what it shares with the one before ends at its sequence. */
export async function beginLineage(sql: Sql, { id, lineage, sequence }: Space, next: string): Promise<void> {
  await sql.run(SAVE_LINEAGE, [id, lineage, sequence]);
  await sql.run(RENEW_LINEAGE, [next, id]);
}

async function requireFree(sql: Sql, name: string): Promise<void> {
  if ((await sql.get(NAMED, [name])) === undefined) return;
  throw new SynclineError({
    code: "EXISTS",
    op: "name space",
    message: `there is a space "${name}" already`,
    hint: "choose another name; a deleted space keeps its name until it is erased",
  });
}

/** What is locked would go with the space. @throws {SynclineError} DENIED */
async function requireUnlocked(sql: Sql, { id, name }: Space, nowMs: number): Promise<void> {
  const sequence = await anyLocked(sql, id, nowMs);
  if (sequence === undefined) return;
  const row = await sql.get<VersionRow>(VERSION, [id, sequence]);
  const path = row === undefined ? "" : printablePath(decodeName(row.path));
  throw new SynclineError({
    code: "DENIED",
    op: "delete space",
    message: `the space "${name}" holds versions that are locked; one of them is version ${sequence} of ${path}`,
    hint: "wait until their locks end, or end them first: locks for governance with the right to bypass, holds with the right to lock",
  });
}

function notEmpty({ name }: Space): SynclineError {
  const message = `there is something in the space "${name}"`;
  return new SynclineError({ code: "DENIED", op: "delete space", message, hint: "remove what is in it first" });
}

function keepsLocks({ name }: Space): SynclineError {
  return new SynclineError({
    code: "DENIED",
    op: "update space",
    message: `the space "${name}" keeps locks of versions, which cannot be taken back`,
    hint: "a space without locks is another space: make one, and copy what is to be there",
  });
}

/**
 * From the first transaction on the space is gone; a crash later leaves rows that the next start removes.
 * @param deletedUntilMs one that was brought back, and deleted again since, has all of its grace
 * @throws {SynclineError} DENIED while it is not deleted since then, or holds what is locked
 */
export async function eraseSpace(
  db: Database,
  id: SpaceId,
  nowMs: number,
  withIt?: WithIt,
  deletedUntilMs = nowMs,
): Promise<void> {
  await db.transaction(async (sql) => {
    const space = await requireSpace(sql, id);
    const { deletedMs, name } = space;
    await requireUnlocked(sql, space, nowMs);
    if (deletedMs === undefined || deletedMs > deletedUntilMs) {
      const message = `the space "${name}" is not deleted, or not for long enough`;
      throw new SynclineError({ code: "DENIED", op: "erase space", message, hint: "delete it first" });
    }
    for (const text of ERASE_BEGIN) await sql.run(text, [id]);
    await withIt?.(sql);
  });
  await eraseRows(db, id);
}

/** Goes on with what a crash, or a database that refused, cut off; returns of how many spaces. */
export async function eraseLeftOver(db: Database): Promise<number> {
  const left = await db.all<{ space_id: number }>(ERASING);
  for (const { space_id } of left) await eraseRows(db, space_id as SpaceId);
  return left.length;
}

async function eraseRows(db: Database, id: SpaceId): Promise<void> {
  for (;;) {
    const count = await db.transaction(async (sql) => {
      const rows = await sql.all<{ seq: number; content: Uint8Array | null }>(ERASE_PIECE, [id, ERASE_ROWS]);
      if (rows.length === 0) return 0;
      for (const text of ERASE_UP_TO) await sql.run(text, [id, rows.at(-1)!.seq]);
      const contents = new Set<ContentId>();
      for (const { content } of rows) if (content !== null) contents.add(contentIdOfRow(content));
      await dropUnreferred(sql, contents);
      return rows.length;
    });
    if (count === 0) break;
  }
  await db.transaction(async (sql) => {
    for (const text of ERASE_END) await sql.run(text, [id]);
  });
}

export function createRestorePoint(
  db: Database,
  point: NewPoint,
  withIt?: (sql: Sql, made: RestorePoint) => Promise<void>,
): Promise<RestorePoint> {
  return db.transaction(async (sql) => {
    const space = await requireSpace(sql, point.space);
    const made: RestorePoint = { ...point, sequence: point.sequence ?? space.sequence };
    const named = plainText(point.name);
    const same = (await restorePoints(sql, point.space)).some(({ name }) => name === named);
    if (same) {
      throw new SynclineError({
        code: "EXISTS",
        op: "create restore point",
        message: `there is a restore point "${point.name}" already`,
        hint: "choose another name, or delete that one first",
      });
    }
    await sql.run(INSERT_POINT, [made.space, named, made.sequence, made.timeMs, plainText(made.actor)]);
    await withIt?.(sql, made);
    return made;
  });
}

/** By sequence. */
export async function restorePoints(sql: Sql, space: SpaceId): Promise<RestorePoint[]> {
  const rows = await sql.all<{ name: string; seq: number; time_ms: number; actor: string }>(POINTS, [space]);
  return rows.map(({ name, seq, time_ms, actor }) => ({ space, name, sequence: seq, timeMs: time_ms, actor }));
}

export function deleteRestorePoint(db: Database, space: SpaceId, name: string, withIt?: WithIt): Promise<boolean> {
  return db.transaction(async (sql) => {
    const isGone = (await sql.run(DELETE_POINT, [space, plainText(name)])) > 0;
    if (isGone) await withIt?.(sql);
    return isGone;
  });
}
