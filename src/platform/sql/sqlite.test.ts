import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "#platform/sql/database.ts";
import { codeOf, databaseContract } from "#platform/sql/database-contract.ts";
import { translate } from "#platform/sql/postgres.ts";
import { WAITING_MAX, openSqlite } from "#platform/sql/sqlite.ts";

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "syncline-sql-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const freshFile = (): string => join(folder, `hub-${++files}.db`);

databaseContract("SQLite", async () => {
  const file = freshFile();
  let open: Database | undefined;
  const openAgain = async () => (open = openSqlite(file));
  return {
    open: openAgain,
    reopen: openAgain,
    async dispose() {
      await open?.close();
    },
  };
});

const INSERT = "INSERT INTO things (id, bytes) VALUES (?, ?)";

async function withThings(file: string, rows: number): Promise<void> {
  const db = openSqlite(file);
  await db.run("CREATE TABLE things (id BIGINT PRIMARY KEY, bytes blob)");
  await db.transaction(async (sql) => {
    for (let id = 0; id < rows; id++) await sql.run(INSERT, [id, new Uint8Array(100).fill(id)]);
  });
  await db.close();
}

describe("the file of a SQLite database", () => {
  test("is its owner's only, and its log too", async () => {
    const file = freshFile();
    const db = openSqlite(file);
    await db.run("CREATE TABLE things (id BIGINT)");
    for (const name of [file, `${file}-wal`, `${file}-shm`, `${file}-lock`]) {
      expect([name, statSync(name).mode & 0o777]).toEqual([name, 0o600]);
    }
    await db.close();
  });

  test("is held by one: a second opening is refused, in this process and in another", async () => {
    const file = freshFile();
    const db = openSqlite(file);
    const open = async () => openSqlite(file);
    expect(await codeOf(open())).toBe("ROOT_BUSY");
    const script = `import { openSqlite } from ${JSON.stringify(join(import.meta.dir, "sqlite.ts"))};
      try { openSqlite(${JSON.stringify(file)}); } catch (error) { process.stdout.write(error.code); }`;
    const other = Bun.spawnSync([process.execPath, "-e", script]);
    expect(other.stdout.toString()).toBe("ROOT_BUSY");
    await db.close();
    const again = openSqlite(file);
    await again.close();
  });

  test("that is damaged or no database says so, at the opening or at the first use of what is damaged", async () => {
    const text = freshFile();
    writeFileSync(text, "this is no database, and never was one ".repeat(1000));
    expect(await codeOf((async () => openSqlite(text))())).toBe("STATE");

    const file = freshFile();
    await withThings(file, 5000);
    const bytes = readFileSync(file);
    // All pages but the first two, which hold the schema.
    bytes.fill(0xa5, 8192);
    writeFileSync(file, bytes);
    const use = async () => {
      const db = openSqlite(file);
      try {
        await db.all("SELECT id, bytes FROM things ORDER BY id");
      } finally {
        await db.close();
      }
    };
    expect(await codeOf(use())).toBe("STATE");
  });

  test("that cannot be made says DISK", async () => {
    expect(await codeOf((async () => openSqlite(join(folder, "nowhere/hub.db")))())).toBe("DISK");
  });
});

test("a full disk fails the transaction alone, and what was committed stays", async () => {
  const file = freshFile();
  await withThings(file, 10);
  const db = openSqlite(file);
  await db.transaction(async (sql) => {
    // SQLite's own limit answers exactly as a disk without room does.
    const pages = await sql.get<{ page_count: number }>("PRAGMA page_count");
    await sql.get(`PRAGMA max_page_count = ${pages!.page_count + 2}`);
  });
  const fill = db.transaction(async (sql) => {
    for (let id = 100; id < 1000; id++) await sql.run(INSERT, [id, new Uint8Array(1000)]);
  });
  expect(await codeOf(fill)).toBe("DISK");
  expect(await db.get("SELECT count(*) AS n FROM things")).toEqual({ n: 10 });
  expect(await db.run(INSERT, [10, null])).toBe(1);
  await db.close();
});

test("transactions that wait have a named maximum", async () => {
  const db = openSqlite(freshFile());
  await db.run("CREATE TABLE things (id BIGINT PRIMARY KEY, bytes blob)");
  const gate = Promise.withResolvers<void>();
  const waiting = [db.transaction(() => gate.promise)];
  for (let count = 1; count < WAITING_MAX; count++) waiting.push(db.transaction(async () => {}));
  expect(await codeOf(db.transaction(async () => {}))).toBe("LIMIT");
  gate.resolve();
  await Promise.all(waiting);
  expect(await db.run(INSERT, [1, null])).toBe(1);
  await db.close();
});

test("a long transaction lets timers and readers in between", async () => {
  const db = openSqlite(freshFile());
  await db.run("CREATE TABLE things (id BIGINT PRIMARY KEY, bytes blob)");
  let isOver = false;
  let readers = 0;
  const long = db.transaction(async (sql) => {
    for (let id = 0; !isOver && id < 2_000_000; id++) {
      await sql.run(INSERT, [id, null]);
      if (readers > 2) return;
    }
  });
  const done = long.finally(() => (isOver = true));
  while (!isOver) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (isOver) break;
    expect(await db.get("SELECT count(*) AS n FROM things")).toEqual({ n: 0 });
    readers++;
  }
  await done;
  expect(readers).toBeGreaterThan(2);
  await db.close();
});

test("what PostgreSQL is asked: numbered placeholders outside of texts, its own type of blobs", () => {
  expect(translate("SELECT '?''?', a FROM blobs WHERE b = ? AND c IN (?, ?)")).toBe(
    "SELECT '?''?', a FROM blobs WHERE b = $1 AND c IN ($2, $3)",
  );
  expect(translate("CREATE TABLE t (a BIGINT, b blob NOT NULL) WITHOUT ROWID")).toBe(
    "CREATE TABLE t (a BIGINT, b bytea NOT NULL)",
  );
  expect(translate("SELECT a FROM t AS x INDEXED BY t_a WHERE b = ?")).toBe("SELECT a FROM t AS x WHERE b = $1");
});
