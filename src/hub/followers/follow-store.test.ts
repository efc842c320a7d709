import { afterAll } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { followStoreContract } from "#hub/followers/follow-store-contract.ts";
import type { Database } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "syncline-follow-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
followStoreContract(
  "SQLite",
  async () => {
    let db: Database | undefined;
    return {
      open: async () => (db = openSqlite(join(folder, `hub-${++files}.db`))),
      async dispose() {
        await db?.close();
      },
    };
  },
  60,
);
