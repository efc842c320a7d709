import { afterAll } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { metaStoreContract } from "#hub/meta/meta-store-contract.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { systemRandom } from "#platform/host-bun.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "syncline-meta-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const freshFile = (): string => join(folder, `hub-${++files}.db`);

metaStoreContract(
  "SQLite",
  async () => {
    const file = freshFile();
    let store: SqlMetaStore | undefined;
    const open = async () => (store = await SqlMetaStore.open(openSqlite(file), systemRandom));
    return {
      open,
      reopen: open,
      async dispose() {
        await store?.close();
      },
    };
  },
  300,
);
