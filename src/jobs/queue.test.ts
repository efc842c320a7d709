import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { queueContract } from "#jobs/queue-contract.ts";

queueContract("SQLite", async () => {
  const directory = mkdtempSync(join(tmpdir(), "syncline-jobs-"));
  const db = openSqlite(join(directory, "jobs.db"));
  return {
    db,
    async dispose() {
      await db.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
});
