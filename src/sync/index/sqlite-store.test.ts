import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Database } from "bun:sqlite";
import { SynclineError } from "#model/error.ts";
import { entryCodec } from "#sync/index/record-codecs.ts";
import { openOrReplace, openSqliteStore } from "#sync/index/sqlite-store.ts";
import type { Store } from "#sync/index/store.ts";
import { storeContract } from "#sync/index/store-contract.ts";
import { isDamaged } from "#sync/index/tree-pages.ts";

// Memory where the system has it: hundreds of stores are opened here, and waiting for a busy disk proves
// nothing.
const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "syncline-store-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const freshFile = (): string => join(folder, `state-${++files}.db`);

storeContract("SQLite", () => {
  const file = freshFile();
  let store = openSqliteStore(file);
  return {
    store,
    reopen() {
      store.close();
      return (store = openSqliteStore(file));
    },
    crash() {
      // What is on the disk at this moment, taken before the old store can tidy up.
      const copy = freshFile();
      copyFileSync(file, copy);
      if (existsSync(`${file}-wal`)) copyFileSync(`${file}-wal`, `${copy}-wal`);
      store.close();
      return (store = openSqliteStore(copy));
    },
    dispose: () => rmSync(file),
  };
});

function errorOf(body: () => unknown): SynclineError {
  try {
    body();
  } catch (error) {
    if (error instanceof SynclineError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

function fill(store: Store): void {
  const children = Array.from({ length: 2000 }, (_, index) => ({
    name: `file-${String(index).padStart(6, "0")}`,
    record: { kind: "file", size: index, mode: 0o644, mtimeNs: BigInt(index), sum: undefined } as const,
  }));
  store.transaction({ durable: true }, () => store.tree("t", entryCodec).setChildren("dir", children));
}

/** Changes bytes in the middle of a page's blob, where no structure of SQLite's own notices. */
function damageBlob(file: string): void {
  const bytes = readFileSync(file);
  const at = bytes.indexOf("file-001000");
  expect(at).toBeGreaterThan(0);
  bytes[at + 5] = bytes[at + 5]! ^ 1;
  writeFileSync(file, bytes);
}

describe("the state file", () => {
  test("[STATE-8] a second opener is told that the file is in use", () => {
    const file = freshFile();
    const store = openSqliteStore(file);
    const error = errorOf(() => openSqliteStore(file));
    expect(error.code).toBe("ROOT_BUSY");
    expect(error.hint).toContain("stop the other session");
    store.tree("t", entryCodec).set("still", { kind: "dir", mode: 0o755 });
    store.close();
    openSqliteStore(file).close();
  });

  test("[STATE-8] a second process is told so too, also after a second opener here was", async () => {
    const file = freshFile();
    const store = openSqliteStore(file);
    expect(errorOf(() => openSqliteStore(file)).code).toBe("ROOT_BUSY");
    const script = `import { openSqliteStore } from ${JSON.stringify(join(import.meta.dir, "sqlite-store.ts"))};
      try { openSqliteStore(${JSON.stringify(file)}); process.exit(0); }
      catch (error) { process.exit(error.code === "ROOT_BUSY" ? 7 : 1); }`;
    const other = Bun.spawn([process.execPath, "-e", script], { cwd: import.meta.dir, stderr: "inherit" });
    expect(await other.exited).toBe(7);
    store.close();
  });

  test("[STATE-9] only the owner may read the state: it holds the session's seeds", () => {
    const file = freshFile();
    const store = openSqliteStore(file);
    fill(store);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(`${file}-wal`).mode & 0o777).toBe(0o600);
    store.close();
  });

  test("[STATE-10] a newer version and a foreign database are left alone, with a hint", () => {
    const newer = freshFile();
    openSqliteStore(newer).close();
    const database = new Database(newer);
    database.run("PRAGMA user_version = 99");
    database.close();
    const error = errorOf(() => openOrReplace(newer, { check: true }));
    expect([error.code, isDamaged(error)]).toEqual(["STATE", false]);
    expect(error.hint).toContain("update Syncline");
    const foreign = freshFile();
    const other = new Database(foreign);
    other.run("CREATE TABLE x (y)");
    other.close();
    expect(errorOf(() => openOrReplace(foreign, { check: true })).message).toContain("not one of Syncline");
  });

  test("[STATE-10] a directory that is not there is the disk's refusal, not an empty state", () => {
    expect(errorOf(() => openSqliteStore(join(folder, "missing", "state.db"))).code).toBe("DISK");
  });

  test("[STATE-11] what is no database is set aside and replaced", () => {
    const file = freshFile();
    writeFileSync(file, "this is no database, it only lies where one should be ".repeat(100));
    expect(isDamaged(errorOf(() => openSqliteStore(file)))).toBe(true);
    const first = openOrReplace(file, { check: false });
    expect(first.replaced).toBe(`${file}.corrupt-1`);
    expect(readFileSync(`${file}.corrupt-1`, "utf8")).toStartWith("this is no database");
    expect(first.store.tree("t", entryCodec).count()).toBe(0);
    first.store.close();
    writeFileSync(file, "garbage again, and long enough to be looked at as a header of a database ".repeat(100));
    const second = openOrReplace(file, { check: false });
    expect(second.replaced).toBe(`${file}.corrupt-2`);
    second.store.close();
    expect(openOrReplace(file, { check: true }).replaced).toBeUndefined();
  });

  test("[STATE-11] silent damage inside a page is noticed when it is read, and by the check", () => {
    const file = freshFile();
    const store = openSqliteStore(file);
    fill(store);
    store.close();
    damageBlob(file);
    const reopened = openSqliteStore(file);
    const tree = reopened.tree("t", entryCodec);
    expect(isDamaged(errorOf(() => tree.children("dir")))).toBe(true);
    expect(isDamaged(errorOf(() => tree.get("dir/file-001000")))).toBe(true);
    expect(isDamaged(errorOf(() => [...tree.walk("")]))).toBe(true);
    reopened.close();
    const { store: replaced, replaced: aside } = openOrReplace(file, { check: true });
    expect(aside).toBe(`${file}.corrupt-1`);
    expect(replaced.tree("t", entryCodec).count()).toBe(0);
    replaced.close();
  });

  test("[STATE-12] an emptied tree leaves no rows behind", () => {
    const file = freshFile();
    const store = openSqliteStore(file);
    const tree = store.tree("t", entryCodec);
    store.transaction({ durable: false }, () => {
      for (let index = 0; index < 300; index++) tree.set(`a/${index % 50}/${index % 7}/${index}`, { kind: "dir", mode: 0 });
      tree.moveSubtree("a/3", "b/c/d");
    });
    store.transaction({ durable: false }, () => {
      for (const [path] of [...tree.walk("")]) tree.delete(path);
    });
    expect(tree.count()).toBe(0);
    store.close();
    const database = new Database(file);
    expect(database.query("SELECT count(*) AS n FROM page").get()).toEqual({ n: 0 });
    expect(database.query("SELECT count(*) AS n FROM dir").get()).toEqual({ n: 2 });
    database.close();
  });

  test("[STATE-12] pages of a thinned-out directory are merged again", () => {
    const file = freshFile();
    const store = openSqliteStore(file);
    fill(store);
    const tree = store.tree("t", entryCodec);
    store.transaction({ durable: false }, () => {
      for (let index = 0; index < 2000; index++) {
        if (index % 40 !== 0) tree.delete(`dir/file-${String(index).padStart(6, "0")}`);
      }
    });
    expect(tree.children("dir").map((child) => child.name).length).toBe(50);
    store.close();
    const database = new Database(file);
    expect(database.query("SELECT count(*) AS n FROM page").get()).toEqual({ n: 1 });
    database.close();
  });
});
