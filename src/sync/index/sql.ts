/**
 * SQLite as the store uses it: one connection that holds its file alone, prepared queries, and errors that
 * say what to do. Apart from platform/ this is the one place that touches the disk, because SQLite does its
 * own I/O; it only ever touches the state file, never anything in a root.
 */
import { closeSync, openSync } from "node:fs";
import { Database, type SQLQueryBindings, SQLiteError, type Statement } from "bun:sqlite";
import { SynclineError, assert } from "#model/error.ts";
import { damaged } from "#sync/index/tree-pages.ts";

/** Memory for SQLite's page cache. */
const CACHE_KIB = 8 << 10;
/**
 * Part of the file that is read through a mapping, which halves the time of reading; these pages are the
 * kernel's.
 */
const MAPPED_BYTES = 32 << 20;
/**
 * The write-ahead log is cut back to this after a checkpoint; a first scan of a million files leaves a larger
 * one.
 */
const LOG_BYTES_MAX = 16 << 20;

/**
 * What a blob's row keeps to find damage: SQLite has no sums of its own. 48 bits, which a number holds
 * exactly.
 */
export function blobSum(data: Uint8Array): number {
  return Number(BigInt.asUintN(48, BigInt(Bun.hash.xxHash3(data))));
}

/** @throws {SynclineError} STATE (isDamaged) when the blob is not what was written */
export function checkBlob(row: { readonly data: Uint8Array; readonly sum: number }): void {
  if (blobSum(row.data) !== row.sum) throw damaged();
}

/**
 * Opens the file only when that makes it: to close any descriptor of a file gives up every lock that this process has
 * on it (POSIX), those of a store that is open beside this one too.
 */
function createMissing(file: string): void {
  try {
    closeSync(openSync(file, "ax", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

export type Durability = "FULL" | "NORMAL";

export class Sql {
  readonly file: string;
  readonly #db: Database;
  readonly #queries: { finalize(): void }[] = [];
  #durability: Durability | undefined;

  /**
   * Opens or creates the file and takes the only lock on it.
   * @throws {SynclineError} ROOT_BUSY when another process holds it, STATE when it is no database, DISK
   */
  constructor(file: string) {
    this.file = file;
    this.#db = guarded(file, () => {
      // The state holds the session's secret seeds: a new file, and the log that inherits its mode, is the
      // owner's only.
      createMissing(file);
      return new Database(file, { readwrite: true, strict: true });
    });
    try {
      this.run("PRAGMA busy_timeout = 0");
      // Must come before the first access: the lock is then never given back, and no shared memory file is
      // needed.
      this.run("PRAGMA locking_mode = EXCLUSIVE");
      this.run("PRAGMA journal_mode = WAL");
      this.run("PRAGMA temp_store = MEMORY");
      this.run(`PRAGMA cache_size = -${CACHE_KIB}`);
      this.run(`PRAGMA mmap_size = ${MAPPED_BYTES}`);
      this.run(`PRAGMA journal_size_limit = ${LOG_BYTES_MAX}`);
      this.run("BEGIN IMMEDIATE");
      this.run("COMMIT");
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  /** Runs statements that give no rows. */
  run(text: string): void {
    guarded(this.file, () => this.#db.run(text));
  }

  get inTransaction(): boolean {
    return this.#db.inTransaction;
  }

  /** Whether the next commits wait for the disk. Only outside a transaction; costs a microsecond. */
  setDurability(durability: Durability): void {
    if (this.#durability === durability) return;
    this.run(`PRAGMA synchronous = ${durability}`);
    this.#durability = durability;
  }

  /** The row of a query that is asked once and gives exactly one. */
  single<Row>(text: string): Row {
    const statement = guarded(this.file, () => this.#db.prepare<Row, []>(text));
    try {
      const row = guarded(this.file, () => statement.get());
      assert(row !== null, "the query gives a row");
      return row;
    } finally {
      statement.finalize();
    }
  }

  /** Prepares a query; it lives until close(). */
  query<Row, Params extends SQLQueryBindings[]>(text: string): Query<Row, Params> {
    const statement = guarded(this.file, () => this.#db.prepare<Row, SQLQueryBindings[]>(text));
    this.#queries.push(statement);
    return new Query<Row, Params>(this.file, statement);
  }

  /** Closes the file and gives the lock back. */
  close(): void {
    // An open statement would keep the connection, and with it the lock, alive until the garbage collector
    // comes.
    for (const query of this.#queries) query.finalize();
    this.#queries.length = 0;
    guarded(this.file, () => this.#db.close(true));
  }
}

export class Query<Row, Params extends SQLQueryBindings[]> {
  readonly #file: string;
  readonly #statement: Statement<Row, SQLQueryBindings[]>;

  constructor(file: string, statement: Statement<Row, SQLQueryBindings[]>) {
    this.#file = file;
    this.#statement = statement;
  }

  get(...params: Params): Row | undefined {
    try {
      return this.#statement.get(...params) ?? undefined;
    } catch (error) {
      throw sqlError(this.#file, error);
    }
  }

  all(...params: Params): Row[] {
    try {
      return this.#statement.all(...params);
    } catch (error) {
      throw sqlError(this.#file, error);
    }
  }

  /** @returns the id of the row that was inserted last */
  run(...params: Params): number {
    try {
      return Number(this.#statement.run(...params).lastInsertRowid);
    } catch (error) {
      throw sqlError(this.#file, error);
    }
  }
}

function guarded<T>(file: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw sqlError(file, error);
  }
}

/** What SQLite or the system refused, in our own terms; other errors pass unchanged. */
function sqlError(file: string, error: unknown): unknown {
  const code = error instanceof SQLiteError ? (error.code ?? "SQLITE_ERROR") : systemCode(error);
  if (code === undefined) return error;
  const facts = { path: file, cause: error };
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB") return damaged(error);
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return new SynclineError({
      ...facts,
      code: "ROOT_BUSY",
      op: "open state",
      message: "another Syncline process is using this state database",
      hint: "stop the other session, or wait until it has ended",
      retryable: true,
    });
  }
  if (code === "SQLITE_FULL") {
    return new SynclineError({
      ...facts,
      code: "DISK",
      op: "write state",
      message: "the disk is full: the state database cannot be written (SQLITE_FULL)",
      hint: "make room on the disk that holds it",
    });
  }
  if (/^SQLITE_(IOERR|READONLY|CANTOPEN|PERM|NOLFS)|^E/.test(code)) {
    return new SynclineError({
      ...facts,
      code: "DISK",
      op: "write state",
      message: `the state database cannot be read or written (${code})`,
      hint: "check free space, permissions and health of the disk that holds it",
    });
  }
  return new SynclineError({
    ...facts,
    code: "STATE",
    op: "use state",
    message: `the state database refused an operation (${code})`,
    hint: "this is a fault of the program: please report it with the log",
  });
}

function systemCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
