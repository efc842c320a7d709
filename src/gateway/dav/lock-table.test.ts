import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LOCK_MIGRATIONS, LockTable, type WantedLock } from "#gateway/dav/lock-table.ts";
import type { SpaceId } from "#hub/space.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const SPACE = 1 as SpaceId;
const wanted = (path: string): WantedLock => ({ path, isDeep: false, isExclusive: true, user: "user:ann", owner: "", timeoutSeconds: 60 });

describe("locks at rest", () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-locks-"));
  let db: Database;
  let locks: LockTable;
  beforeEach(async () => {
    db = openSqlite(join(dir, "hub.db"));
    await migrate(db, "locks", LOCK_MIGRATIONS);
    const { clock, random } = openHost();
    locks = new LockTable(db, clock, random);
  });
  afterEach(async () => {
    await db.close();
    rmSync(dir, { recursive: true, force: true });
  });

  test("[DAV-28] who takes a lock on what is being removed has it when that has gone", async () => {
    const before = await locks.take(SPACE, wanted("dir/old"));
    const committed = Promise.withResolvers<void>();
    const removing = locks.changing(SPACE, async () => {
      const seen = await locks.ofSpace(SPACE);
      await committed.promise;
      await locks.removeWithin(SPACE, "dir", seen);
    });
    const taking = locks.take(SPACE, wanted("dir/new"));
    while ((await locks.ofSpace(SPACE)).length < 2) await Bun.sleep(1);
    committed.resolve();
    await removing;
    const taken = await taking;
    expect(["lock" in before, "lock" in taken]).toEqual([true, true]);
    expect((await locks.ofSpace(SPACE)).map(({ path }) => path)).toEqual(["dir/new"]);
  });
});
