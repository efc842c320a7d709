import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UPLOAD_MIGRATIONS } from "#hub/uploads/upload-rows.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const folder = mkdtempSync(join(tmpdir(), "syncline-upload-rows-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (seed: number): Uint8Array => new Uint8Array(40).fill(seed);

describe("uploads at rest", () => {
  test("[UPLOAD-16] parts and prints of a database from before are all there when they lie by a number", async () => {
    const db = openSqlite(join(folder, "hub.db"));
    try {
      await migrate(db, "uploads", UPLOAD_MIGRATIONS.filter(({ id }) => id < 3));
      for (const number of [1, 2, 3]) {
        await db.run(
          "INSERT INTO upload_parts (upload_id, number, size, time_ms, chunks, leaves, sums, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
          ["u", number, number * 7, number, bytes(number), bytes(9), bytes(8), number],
        );
        await db.run("INSERT INTO part_prints (space_id, sha256, size, content, start, count, leaves) VALUES (?, ?, ?, ?, ?, ?, ?)", [
          1, bytes(number), 5, bytes(6), 0, number, bytes(9),
        ]);
      }
      const all = async (): Promise<unknown[]> => [
        await db.all("SELECT * FROM upload_parts ORDER BY number"), await db.all("SELECT * FROM part_prints ORDER BY count"),
      ];
      const before = await all();
      await migrate(db, "uploads", UPLOAD_MIGRATIONS);
      expect(await all()).toEqual(before);
      const tables = await db.all<{ sql: string }>("SELECT sql FROM sqlite_master WHERE name IN ('upload_parts', 'part_prints')");
      expect(tables.map(({ sql }) => /WITHOUT ROWID/i.test(sql))).toEqual([false, false]);
    } finally {
      await db.close();
    }
  });
});
