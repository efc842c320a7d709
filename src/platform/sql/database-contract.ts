/** What every Database must do; sqlite.test.ts and acceptance/database.test.ts run it. */
import { afterEach, describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import type { Database } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";

export type DatabaseLab = {
  /** An empty database. */
  open(): Promise<Database>;
  /** The same one, through another opening after the first was closed. */
  reopen(): Promise<Database>;
  dispose(): Promise<void>;
};

export async function codeOf(done: Promise<unknown>): Promise<string> {
  try {
    await done;
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
  return "none";
}

const TABLE = "CREATE TABLE things (id BIGINT PRIMARY KEY, name TEXT, bytes blob, size BIGINT)";
const INSERT = "INSERT INTO things (id, name, bytes, size) VALUES (?, ?, ?, ?)";

export function databaseContract(name: string, makeLab: () => Promise<DatabaseLab>): void {
  describe(`database contract: ${name}`, () => {
    let lab: DatabaseLab | undefined;
    const fresh = async (): Promise<Database> => {
      lab = await makeLab();
      const db = await lab.open();
      await db.run(TABLE);
      return db;
    };
    afterEach(async () => {
      await lab?.dispose();
      lab = undefined;
    });

    test("values come back as they went in", async () => {
      const db = await fresh();
      const rows = [
        { id: 1, name: "", bytes: new Uint8Array(0), size: 0 },
        { id: 2, name: "ä 😀 ' ? $1", bytes: new Uint8Array([0, 255, 128, 10]), size: 2 ** 53 - 1 },
        { id: 3, name: null, bytes: null, size: null },
        { id: 4, name: "?", bytes: new Uint8Array(100_000).fill(7), size: -(2 ** 53) + 1 },
        { id: 2 ** 40, name: "x".repeat(100_000), bytes: null, size: 3_000_000_000 },
      ];
      for (const { id, name, bytes, size } of rows) expect(await db.run(INSERT, [id, name, bytes, size])).toBe(1);
      const read = await db.all("SELECT id, name, bytes, size FROM things ORDER BY id");
      expect(read.map((row) => ({ ...row, bytes: row.bytes && new Uint8Array(row.bytes as Uint8Array) }))).toEqual(rows);
      expect(await db.get("SELECT id FROM things WHERE size = ?", [3_000_000_000])).toEqual({ id: 2 ** 40 });
      expect(await db.get("SELECT id FROM things WHERE bytes = ?", [new Uint8Array(0)])).toEqual({ id: 1 });
      expect(await db.get("SELECT id FROM things WHERE name = '?' AND id = ?", [4])).toEqual({ id: 4 });
      expect(await db.get("SELECT count(*) AS n, max(size) AS top FROM things")).toEqual({ n: 5, top: 2 ** 53 - 1 });
      expect(await db.get("SELECT id FROM things WHERE id = ?", [99])).toBeUndefined();
    });

    test("one text with any mixture of values and nulls is one statement", async () => {
      const db = await fresh();
      for (let id = 0; id < 64; id++) {
        const at = (bit: number): boolean => (id & (1 << bit)) !== 0;
        await db.run(INSERT, [id, at(0) ? "n" : null, at(1) ? new Uint8Array([id]) : null, at(2) ? 2 ** (id % 50) : null]);
      }
      const count = await db.get(
        "SELECT count(*) AS n FROM things WHERE name IS NULL AND bytes IS NULL AND size IS NULL",
      );
      expect(count).toEqual({ n: 8 });
    });

    test("blobs are ordered by their bytes", async () => {
      const db = await fresh();
      const blobs = [[], [0], [0, 0], [47], [48], [97], [97, 0], [97, 47], [97, 48], [127], [128], [255], [255, 255]];
      for (const [id, bytes] of [...blobs.entries()].sort(() => -1)) {
        await db.run(INSERT, [id, null, Uint8Array.from(bytes), null]);
      }
      const read = await db.all<{ id: number }>("SELECT id FROM things ORDER BY bytes");
      expect(read.map(({ id }) => id)).toEqual(blobs.map((_, at) => at));
      const range = [Uint8Array.from([97, 47]), Uint8Array.from([97, 48])];
      expect(await db.all("SELECT id FROM things WHERE bytes >= ? AND bytes < ?", range)).toEqual([{ id: 7 }]);
    });

    test("upserts and counts of changed rows", async () => {
      const db = await fresh();
      const upsert = `${INSERT} ON CONFLICT (id) DO UPDATE SET name = excluded.name`;
      await db.run(upsert, [1, "a", null, null]);
      await db.run(upsert, [1, "b", null, null]);
      await db.run(upsert, [2, "c", null, null]);
      expect(await db.all("SELECT id, name FROM things ORDER BY id")).toEqual([
        { id: 1, name: "b" },
        { id: 2, name: "c" },
      ]);
      expect(await db.run("UPDATE things SET name = ? WHERE id > ?", ["z", 0])).toBe(2);
      expect(await db.run("DELETE FROM things WHERE id = ?", [9])).toBe(0);
    });

    test("a transaction that throws leaves nothing and passes its error on", async () => {
      const db = await fresh();
      const failure = new Error("on purpose");
      const done = db.transaction(async (sql) => {
        await sql.run(INSERT, [1, "a", null, null]);
        expect(await sql.get("SELECT count(*) AS n FROM things")).toEqual({ n: 1 });
        throw failure;
      });
      expect(await done.catch((error: unknown) => error)).toBe(failure);
      expect(await db.all("SELECT id FROM things")).toEqual([]);
      expect(await db.transaction(async (sql) => sql.run(INSERT, [1, "a", null, null]))).toBe(1);
    });

    test("a savepoint takes back only what came after it", async () => {
      const db = await fresh();
      await db.transaction(async (sql) => {
        await sql.run(INSERT, [1, null, null, null]);
        await sql.run("SAVEPOINT attempt");
        await sql.run(INSERT, [2, null, null, null]);
        await sql.run("ROLLBACK TO attempt");
        await sql.run("RELEASE attempt");
        await sql.run(INSERT, [3, null, null, null]);
      });
      expect(await db.all("SELECT id FROM things ORDER BY id")).toEqual([{ id: 1 }, { id: 3 }]);
    });

    test("reads outside do not see what a running transaction has not committed", async () => {
      const db = await fresh();
      const reached = Promise.withResolvers<void>();
      const seen = Promise.withResolvers<void>();
      const running = db.transaction(async (sql) => {
        await sql.run(INSERT, [1, null, null, null]);
        reached.resolve();
        await seen.promise;
      });
      await reached.promise;
      expect(await db.all("SELECT id FROM things")).toEqual([]);
      seen.resolve();
      await running;
      expect(await db.all("SELECT id FROM things")).toEqual([{ id: 1 }]);
    });

    test("transactions that collide all take effect, one after the other", async () => {
      const db = await fresh();
      await db.run(INSERT, [1, null, null, 0]);
      const add = () =>
        db.transaction(async (sql) => {
          const row = await sql.get<{ size: number }>("SELECT size FROM things WHERE id = 1");
          await Bun.sleep(1);
          await sql.run("UPDATE things SET size = ? WHERE id = 1", [row!.size + 1]);
        });
      await Promise.all(Array.from({ length: 6 }, add));
      expect(await db.get("SELECT size FROM things WHERE id = 1")).toEqual({ size: 6 });
    });

    test("an error that work swallows does not become a commit of half of it", async () => {
      const db = await fresh();
      await db.run(INSERT, [1, null, null, null]);
      const done = db.transaction(async (sql) => {
        await sql.run(INSERT, [2, null, null, null]);
        await sql.run(INSERT, [1, null, null, null]).catch(() => undefined);
      });
      expect(await codeOf(done)).toBe("EXISTS");
      expect(await db.all("SELECT id FROM things")).toEqual([{ id: 1 }]);
    });

    test("a taken key is EXISTS, a wrong statement is STATE; both have left the database usable", async () => {
      const db = await fresh();
      await db.run(INSERT, [1, null, null, null]);
      expect(await codeOf(db.run(INSERT, [1, null, null, null]))).toBe("EXISTS");
      expect(await codeOf(db.run("INSERT INTO nowhere (id) VALUES (?)", [1]))).toBe("STATE");
      expect(await codeOf(db.all("SELECT nothing FROM things"))).toBe("STATE");
      expect(await db.all("SELECT id FROM things")).toEqual([{ id: 1 }]);
    });

    test("a transaction's sql is of no use after it", async () => {
      const db = await fresh();
      let kept: { run(text: string): Promise<number> } | undefined;
      await db.transaction(async (sql) => void (kept = sql));
      expect(async () => kept!.run("DELETE FROM things")).toThrow("only while it runs");
    });

    test("close waits for a running transaction, and another opening finds its rows", async () => {
      const db = await fresh();
      const running = db.transaction(async (sql) => {
        await sql.run(INSERT, [1, null, null, null]);
        await Bun.sleep(5);
        await sql.run(INSERT, [2, null, null, null]);
      });
      await db.close();
      await running;
      const again = await lab!.reopen();
      expect(await again.all("SELECT id FROM things ORDER BY id")).toEqual([{ id: 1 }, { id: 2 }]);
    });

    test("migrations are applied once each, by room; a newer or another history is refused", async () => {
      const db = await fresh();
      const first = { id: 1, statements: ["CREATE TABLE parts (id BIGINT PRIMARY KEY, bytes blob)"] };
      const second = { id: 2, statements: ["ALTER TABLE parts ADD COLUMN name TEXT", "INSERT INTO parts (id) VALUES (7)"] };
      await migrate(db, "store", [first]);
      await migrate(db, "store", [first, second]);
      await migrate(db, "store", [first, second]);
      await migrate(db, "other", [{ id: 1, statements: ["CREATE TABLE others (id BIGINT PRIMARY KEY)"] }]);
      expect(await db.all("SELECT id, name FROM parts")).toEqual([{ id: 7, name: null }]);
      expect(await codeOf(migrate(db, "store", [first]))).toBe("VERSION");
      const edited = { id: 2, statements: ["ALTER TABLE parts ADD COLUMN title TEXT"] };
      expect(await codeOf(migrate(db, "store", [first, edited]))).toBe("STATE");
      const broken = { id: 3, statements: ["CREATE TABLE more (id BIGINT PRIMARY KEY)", "INSERT INTO nowhere VALUES (1)"] };
      expect(await codeOf(migrate(db, "store", [first, second, broken]))).toBe("STATE");
      expect(await codeOf(db.all("SELECT id FROM more"))).toBe("STATE");
    });

    test("two that migrate at the same time both find it done", async () => {
      const db = await fresh();
      const steps = [{ id: 1, statements: ["CREATE TABLE parts (id BIGINT PRIMARY KEY)", "INSERT INTO parts VALUES (1)"] }];
      await Promise.all([migrate(db, "store", steps), migrate(db, "store", steps), migrate(db, "store", steps)]);
      expect(await db.all("SELECT id FROM parts")).toEqual([{ id: 1 }]);
    });
  });
}
