import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { leaseContract } from "#platform/sql/lease-contract.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

leaseContract("SQLite", async () => {
  const directory = mkdtempSync(join(tmpdir(), "syncline-leases-"));
  const db = openSqlite(join(directory, "hub.db"));
  return {
    db,
    async dispose() {
      await db.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
});
