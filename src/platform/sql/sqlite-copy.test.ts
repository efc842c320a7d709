import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { codeOf } from "#platform/sql/database-contract.ts";
import { SqliteConnection } from "#platform/sql/sqlite-connection.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const folder = mkdtempSync(join(tmpdir(), "syncline-copy-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const never = new AbortController().signal;
const SUM = "SELECT count(*) AS rows, CAST(sum(size) AS BIGINT) AS total FROM things";

test("[BACKUP-1] a copy of the database is one moment of it, and nobody waits for it", async () => {
  const db = openSqlite(join(folder, "hub.db"));
  await db.run("CREATE TABLE things (id BIGINT PRIMARY KEY, size BIGINT, bytes blob)");
  await db.run("CREATE TABLE totals (id BIGINT PRIMARY KEY, total BIGINT)");
  await db.run("INSERT INTO totals (id, total) VALUES (1, 0)");
  let next = 0;
  // Rows and their total are changed together; more than a page of each.
  const add = (): Promise<unknown> =>
    db.transaction(async (sql) => {
      for (let at = 0; at < 20; at++) {
        await sql.run("INSERT INTO things (id, size, bytes) VALUES (?, ?, ?)", [next, next, new Uint8Array(20_000)]);
        await sql.run("UPDATE totals SET total = total + ? WHERE id = 1", [next++]);
      }
    });
  for (let round = 0; round < 80; round++) await add();
  const rowsBefore = next;
  let isCopying = true;
  let during = 0;
  const copies = (async () => {
    for (let at = 0; at < 3; at++) await db.copyTo(join(folder, `copy-${at}.db`), never);
    isCopying = false;
  })();
  // What would bring the log into the file at any moment.
  const checkpointer = new SqliteConnection(join(folder, "hub.db"));
  while (isCopying) {
    await add();
    checkpointer.get("PRAGMA wal_checkpoint(TRUNCATE)", []);
    if (isCopying) during++;
    await Bun.sleep(1);
  }
  checkpointer.close();
  await copies;
  expect(during).toBeGreaterThan(0);
  await db.close();
  let last = rowsBefore;
  for (let at = 0; at < 3; at++) {
    const copy = openSqlite(join(folder, `copy-${at}.db`));
    const { rows, total } = (await copy.get<{ rows: number; total: number }>(SUM))!;
    const counted = await copy.get<{ total: number }>("SELECT total FROM totals WHERE id = 1");
    expect(total).toBe(counted!.total);
    expect(rows).toBeGreaterThanOrEqual(last);
    last = rows;
    expect(await copy.all("PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }]);
    await copy.close();
  }
  expect(statSync(join(folder, "copy-0.db")).mode & 0o777).toBe(0o600);
  // What was committed meanwhile is in the database.
  const again = openSqlite(join(folder, "hub.db"));
  expect((await again.get<{ rows: number }>(SUM))!.rows).toBe(next);
  await again.close();
});

test("[BACKUP-1] what cannot be held still while another copy is made is told to wait; nothing is written over", async () => {
  const db = openSqlite(join(folder, "two.db"));
  await db.run("CREATE TABLE things (id BIGINT PRIMARY KEY, bytes blob)");
  await db.run("INSERT INTO things (id, bytes) VALUES (0, ?)", [new Uint8Array(64 << 20)]);
  const first = db.copyTo(join(folder, "two-a.db"), never);
  await db.run("INSERT INTO things (id) VALUES (7)");
  expect(await codeOf(db.copyTo(join(folder, "two-b.db"), never))).toBe("ROOT_BUSY");
  await first;
  expect(await codeOf(db.copyTo(join(folder, "two-a.db"), never))).toBe("DISK");
  await db.copyTo(join(folder, "two-b.db"), never);
  await db.run("INSERT INTO things (id) VALUES (1)");
  await db.close();
});
