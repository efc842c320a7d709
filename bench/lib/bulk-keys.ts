/** A space with very many keys, committed in bulk into the database of a hub that does not run. */
import { join } from "node:path";
import { SqlMetaStore } from "../../src/hub/meta/sql-meta-store.ts";
import type { Commit } from "../../src/hub/meta/meta-store.ts";
import type { SpaceChange } from "../../src/hub/space.ts";
import { systemRandom } from "../../src/platform/host-bun.ts";
import { openSqlite } from "../../src/platform/sql/sqlite.ts";

const CHANGES_OF_COMMIT = 20_000;
const FOLDER_KEYS = 1000;
const NOBODY = { host: undefined, runId: undefined, message: undefined };
const ORIGIN = { actor: "user:admin", traceId: "0".repeat(32), cause: "upload", ...NOBODY } as const;

/**
 * Makes keys "d0000/k0000" … of the object `like`, a thousand in each folder.
 * @param data directory of the hub
 * @returns the folders, which are full but for the last
 */
export async function bulkKeys(data: string, space: string, like: string, count: number): Promise<string[]> {
  const store = await SqlMetaStore.open(openSqlite(join(data, "hub.db")), systemRandom);
  try {
    const { id } = (await store.spaces()).find(({ name }) => name === space)!;
    const { entry, content, attributes } = (await store.version(id, like))!;
    const put = (at: number): SpaceChange => {
      const path = `${folderOf(at)}/k${String(at % FOLDER_KEYS).padStart(4, "0")}`;
      return { type: "put", path, expect: { kind: "any" }, entry: entry!, content, attributes, makeParents: true };
    };
    for (let done = 0; done < count; done += CHANGES_OF_COMMIT) {
      const changes = Array.from({ length: Math.min(CHANGES_OF_COMMIT, count - done) }, (_, at) => put(done + at));
      const commit: Commit = { space: id, origin: ORIGIN, timeMs: Date.now(), changes, atomic: false };
      await store.commit([commit], new Map());
    }
  } finally {
    await store.close();
  }
  return Array.from({ length: Math.ceil(count / FOLDER_KEYS) }, (_, at) => folderOf(at * FOLDER_KEYS));
}

const folderOf = (at: number): string => `d${String(Math.floor(at / FOLDER_KEYS)).padStart(4, "0")}`;
