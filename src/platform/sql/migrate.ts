/**
 * Brings the tables of one room to what the program knows. Each room has a list of its own, so that rooms share a
 * database without knowing each other. What was applied is recorded with a checksum of its statements.
 */
import { SynclineError, assert } from "#model/error.ts";
import { encodeName } from "#model/path.ts";
import type { Database, Migration, Sql } from "#platform/sql/database.ts";

const TABLE =
  "CREATE TABLE IF NOT EXISTS schema_steps (room TEXT NOT NULL, id BIGINT NOT NULL, checksum TEXT NOT NULL, " +
  "PRIMARY KEY (room, id))";
/** Two processes that begin on one server at the same time: the second finds everything done. */
const TRIES_MAX = 3;

/**
 * Applies the steps that are missing, all in one transaction: a schema is old or new, never between.
 * @throws {SynclineError} VERSION when a newer program has been here, STATE when a step is not the one that was applied
 */
export async function migrate(db: Database, room: string, steps: readonly Migration[]): Promise<void> {
  assert(
    steps.every(({ id }, at) => id === at + 1),
    "steps are numbered 1, 2, 3 …",
  );
  for (let attempt = 1; ; attempt++) {
    try {
      await db.transaction((sql) => applyMissing(sql, room, steps));
      return;
    } catch (error) {
      const isTaken = error instanceof SynclineError && error.code === "EXISTS";
      if (!isTaken || attempt === TRIES_MAX) throw error;
    }
  }
}

async function applyMissing(sql: Sql, room: string, steps: readonly Migration[]): Promise<void> {
  await sql.run(TABLE);
  const done = await sql.all<{ id: number; checksum: string }>(
    "SELECT id, checksum FROM schema_steps WHERE room = ? ORDER BY id",
    [room],
  );
  if (done.length > steps.length) throw tooNew(room, done.length, steps.length);
  for (const [at, step] of steps.entries()) {
    const checksum = checksumOf(step);
    const before = done[at];
    if (before !== undefined && before.checksum !== checksum) throw otherStep(room, step.id);
    if (before !== undefined) continue;
    for (const statement of step.statements) await sql.run(statement);
    await sql.run("INSERT INTO schema_steps (room, id, checksum) VALUES (?, ?, ?)", [room, step.id, checksum]);
  }
}

function checksumOf(step: Migration): string {
  return Bun.SHA256.hash(encodeName(step.statements.join(";\n")), "hex").slice(0, 32);
}

function tooNew(room: string, there: number, known: number): SynclineError {
  return new SynclineError({
    code: "VERSION",
    op: "open database",
    message: `the database (${room}) is at step ${there}, and this program knows ${known}`,
    hint: "use the newer program that wrote it, or put back a backup from before the upgrade",
  });
}

function otherStep(room: string, id: number): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "open database",
    message: `step ${id} of the database (${room}) is not the one that this program knows`,
    hint: "it was made by another build: use that one, or put back a backup",
  });
}
