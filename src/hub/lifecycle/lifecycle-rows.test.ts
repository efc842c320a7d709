import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lifecycleRowsContract } from "#hub/lifecycle/lifecycle-rows-contract.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

lifecycleRowsContract("SQLite", async () => {
  const folder = mkdtempSync(join(tmpdir(), "syncline-lifecycle-"));
  return {
    open: () => Promise.resolve(openSqlite(join(folder, "hub.db"))),
    dispose: () => Promise.resolve(rmSync(folder, { recursive: true })),
  };
});
