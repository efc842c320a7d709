import { afterAll } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { uploadsContract } from "#hub/uploads/uploads-contract.ts";
import type { Database } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "syncline-uploads-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
uploadsContract(
  "SQLite",
  async () => {
    const file = join(folder, `hub-${++files}.db`);
    let db: Database | undefined;
    return {
      open: async () => (db = openSqlite(file)),
      async dispose() {
        await db?.close();
      },
    };
  },
  40,
);
