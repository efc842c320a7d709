import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sqliteFault, sqliteFaults } from "#platform/sql/sqlite-check.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const ROWS = 20_000;
const TEXT_CHARS = 200;
const PAGE_BYTES = 4096;

describe("a database file is looked at", () => {
  let dir: string;
  let file: string;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "sqlite-check-"));
    file = join(dir, "hub.db");
    const database = openSqlite(file);
    await database.run("CREATE TABLE t (id BIGINT PRIMARY KEY, text TEXT NOT NULL)");
    await database.run("CREATE INDEX t_text ON t (text)");
    await database.run(
      `WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ${ROWS})
        INSERT INTO t SELECT id, printf('%0${TEXT_CHARS}d', id) FROM n`,
    );
    await database.close();
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  test("[CHECK-5] one in order has no faults, also while this process has it open and goes on with other things", async () => {
    const database = openSqlite(file);
    let turns = 0;
    let isOver = false;
    const turning = (async () => {
      for (; !isOver; turns++) await new Promise((resolve) => void setImmediate(resolve));
    })();
    expect(await sqliteFaults(file)).toEqual([]);
    isOver = true;
    await turning;
    // On this thread there would be none.
    expect(turns).toBeGreaterThan(0);
    expect(await sqliteFault(file)).toBeUndefined();
    expect(await database.get("SELECT count(*) AS n FROM t")).toEqual({ n: ROWS });
    await database.run("DELETE FROM t WHERE id = 1");
    await database.close();
  });

  test("[CHECK-6] damaged pages are told by both, an index without a row of its table by the thorough look", async () => {
    // In the table or in its index, which do not agree from then on.
    const bytes = readFileSync(file);
    bytes.write("x", bytes.indexOf("12345".padStart(TEXT_CHARS, "0")), "latin1");
    writeFileSync(file, bytes);
    expect(await sqliteFault(file)).toBeUndefined();
    const [first, ...more] = await sqliteFaults(file);
    expect(first).toContain("t_text");
    expect(more.length).toBeLessThan(100);
    const fd = openSync(file, "r+");
    writeSync(fd, new Uint8Array(PAGE_BYTES).fill(0xaa), 0, PAGE_BYTES, 100 * PAGE_BYTES);
    closeSync(fd);
    expect(await sqliteFault(file)).toBeString();
    writeFileSync(file, "no database at all".repeat(1000));
    expect(await sqliteFault(file)).toContain("not a database");
  });
});
