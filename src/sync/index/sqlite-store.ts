/**
 * The store at rest: one SQLite file in write-ahead mode, held by one process.
 *
 * After a crash or power loss the file holds what some prefix of the transactions wrote: at least all up to
 * the last durable one. Damage on the disk is found by sums on every page and block and by SQLite itself; it
 * surfaces as SynclineError STATE (isDamaged), and the owner then starts over with openOrReplace.
 */
import { existsSync, renameSync } from "node:fs";
import { SynclineError, assert } from "#model/error.ts";
import { Sql } from "#sync/index/sql.ts";
import { LOG_SCHEMA, SqliteLogs, SqliteTables } from "#sync/index/sqlite-log.ts";
import { SqliteTrees } from "#sync/index/sqlite-tree.ts";
import type { Codec, Log, Store, Table, Tree } from "#sync/index/store.ts";
import { damaged, isDamaged } from "#sync/index/tree-pages.ts";
import { TREE_SCHEMA } from "#sync/index/tree-queries.ts";

/** Raised whenever the tables or what lies in them change. */
const SCHEMA_VERSION = 1;
/** Damaged files kept aside; who has that many has a disk to replace. */
const CORRUPT_FILES_MAX = 100;

/**
 * Opens the state file, or creates it in a directory that must exist.
 *
 * @throws {SynclineError} ROOT_BUSY when another process holds it; STATE when it is damaged (isDamaged), of a
 * newer version or not ours; DISK when the system refuses
 */
export function openSqliteStore(file: string): Store {
  return openChecked(file, false);
}

/**
 * As openSqliteStore, but a damaged file is set aside as `<file>.corrupt-<n>` and replaced by an empty one.
 *
 * @param options.check read and check the whole file first; for the start after a damage was reported
 * @returns the store, and the name of the file that was set aside
 */
export function openOrReplace(
  file: string,
  options: { check: boolean },
): { store: Store; replaced: string | undefined } {
  try {
    return { store: openChecked(file, options.check), replaced: undefined };
  } catch (error) {
    if (!isDamaged(error)) throw error;
    const replaced = setAside(file);
    return { store: openChecked(file, false), replaced };
  }
}

function openChecked(file: string, check: boolean): SqliteStore {
  const sql = new Sql(file);
  try {
    prepareSchema(sql);
    const store = new SqliteStore(sql);
    if (check) store.check();
    return store;
  } catch (error) {
    sql.close();
    throw error;
  }
}

function prepareSchema(sql: Sql): void {
  const version = sql.single<{ user_version: number }>("PRAGMA user_version").user_version;
  if (version === SCHEMA_VERSION) return;
  const tables = sql.single<{ tables: number }>("SELECT count(*) AS tables FROM sqlite_master").tables;
  if (version !== 0 || tables !== 0) {
    throw new SynclineError({
      code: "STATE",
      op: "open state",
      path: sql.file,
      message:
        version > SCHEMA_VERSION
          ? `the state database has version ${version}; this program knows ${SCHEMA_VERSION}`
          : "the file is a database, but not one of Syncline",
      hint:
        version > SCHEMA_VERSION
          ? "update Syncline on this host to the version that was last used here"
          : "give another state directory, or move the file away",
    });
  }
  sql.setDurability("FULL");
  sql.run("BEGIN");
  sql.run(TREE_SCHEMA);
  sql.run(LOG_SCHEMA);
  sql.run("CREATE TABLE barrier (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)");
  sql.run("INSERT INTO barrier VALUES (1, 0)");
  sql.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  sql.run("COMMIT");
}

/** Renames the file and its log, which belongs to it, to the first free name. */
function setAside(file: string): string {
  for (let number = 1; number <= CORRUPT_FILES_MAX; number++) {
    const aside = `${file}.corrupt-${number}`;
    if (existsSync(aside)) continue;
    renameSync(file, aside);
    if (existsSync(`${file}-wal`)) renameSync(`${file}-wal`, `${aside}-wal`);
    return aside;
  }
  throw new SynclineError({
    code: "STATE",
    op: "open state",
    path: file,
    message: `the state database is damaged, and ${CORRUPT_FILES_MAX} damaged ones lie beside it already`,
    hint: `check the disk, then remove ${file}.corrupt-*`,
  });
}

class SqliteStore implements Store {
  readonly #sql: Sql;
  readonly #trees: SqliteTrees;
  readonly #logs: SqliteLogs;
  readonly #tables: SqliteTables;
  readonly #write = <T>(body: () => T): T => this.#change(body);
  #open = true;
  #active: { failure: { error: unknown } | undefined; durable: boolean } | undefined;
  /** Have transactions been committed that the disk need not have yet? */
  #unsynced = false;

  constructor(sql: Sql) {
    this.#sql = sql;
    this.#trees = new SqliteTrees(sql);
    this.#logs = new SqliteLogs(sql);
    this.#tables = new SqliteTables(sql);
  }

  tree<R>(name: string, codec: Codec<R>): Tree<R> {
    return this.#trees.tree(name, codec, this.#write);
  }

  table(name: string): Table {
    return this.#tables.table(name, this.#write);
  }

  log(name: string): Log {
    return this.#logs.log(name, this.#write);
  }

  transaction<T>(options: { durable: boolean }, body: () => T): T {
    assert(this.#open, "the store is open");
    const { durable } = options;
    return this.#active === undefined ? this.#outer(durable, body) : this.#nested(durable, body);
  }

  close(): void {
    if (!this.#open) return;
    assert(this.#active === undefined, "a store is not closed inside a transaction");
    this.#open = false;
    this.#sql.close();
  }

  /** Reads everything. @throws {SynclineError} STATE when anything is damaged */
  check(): void {
    const { quick_check: result } = this.#sql.single<{ quick_check: string }>("PRAGMA quick_check(1)");
    if (result !== "ok") throw damaged(new Error(result));
    this.#trees.check();
    this.#logs.check();
  }

  /** One change; when it fails midway, what is in memory cannot be trusted and the transaction must not commit. */
  #change<T>(body: () => T): T {
    return this.transaction({ durable: false }, body);
  }

  /**
   * Joins the open transaction. When it fails the whole fails, even if someone catches the error on the way.
   */
  #nested<T>(durable: boolean, body: () => T): T {
    const active = this.#active!;
    active.durable ||= durable;
    try {
      return body();
    } catch (error) {
      active.failure ??= { error };
      throw error;
    }
  }

  #outer<T>(durable: boolean, body: () => T): T {
    this.#sql.setDurability(durable ? "FULL" : "NORMAL");
    this.#sql.run("BEGIN IMMEDIATE");
    const active = { failure: undefined as { error: unknown } | undefined, durable };
    this.#active = active;
    let result: T;
    try {
      result = body();
      if (active.failure !== undefined) throw active.failure.error;
      this.#trees.flush();
      this.#logs.flush();
      // A commit without changes does not wait for the disk, but it promises that what came before is there.
      if (durable && this.#unsynced) this.#sql.run("UPDATE barrier SET number = number + 1");
      this.#sql.run("COMMIT");
    } catch (error) {
      this.#undo();
      throw error;
    } finally {
      this.#active = undefined;
    }
    this.#unsynced = !durable;
    // A nested call asked for durability after this one had begun without: an empty durable one makes up for
    // it.
    if (active.durable && !durable) this.transaction({ durable: true }, () => undefined);
    return result;
  }

  #undo(): void {
    this.#trees.drop();
    this.#logs.drop();
    // SQLite itself rolls back after some failures, such as a full disk.
    if (this.#sql.inTransaction) this.#sql.run("ROLLBACK");
  }
}
