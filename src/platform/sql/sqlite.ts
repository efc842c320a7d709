/**
 * Database in one SQLite file beside the program.
 *
 * Two connections: one writes, its transactions queue; one only reads, and as the log is in write-ahead mode it sees
 * what was committed before and never what a running transaction has done so far. So a long commit stops no reader:
 * calls are synchronous inside, but every 12 ms the transaction lets other events in. Both connections need the
 * shared lock mode of SQLite, which any process could join; the file beside it (`-lock`) is what one process holds
 * alone.
 */
import { closeSync, existsSync, openSync } from "node:fs";
import { SynclineError, assert } from "#model/error.ts";
import type { Database, Sql, SqlRow, SqlValue } from "#platform/sql/database.ts";
import { CopySource } from "#platform/sql/sqlite-copy.ts";
import { GiveWay } from "#platform/sql/give-way.ts";
import { SqliteConnection, sqliteError } from "#platform/sql/sqlite-connection.ts";

/** Memory for pages of each connection. No mapping: a failing disk would end the process instead of giving an error. */
const CACHE_KIB = 32 << 10;
/** Pages of 4 KiB in the log before they are copied into the file. */
const CHECKPOINT_PAGES = 8192;
/** The log is cut back to this after a checkpoint. */
const LOG_BYTES_MAX = 64 << 20;
/** Transactions that wait for their turn. */
export const WAITING_MAX = 10_000;

/**
 * Opens or creates the file and takes the only lock on it.
 * @throws {SynclineError} ROOT_BUSY when another process holds it, STATE when it is damaged or no database, DISK
 */
export function openSqlite(file: string): Database {
  const lock = takeLock(file);
  const open: SqliteConnection[] = [lock];
  try {
    make(file);
    const writer = connect(file, open);
    // A commit that was acknowledged is on the disk.
    writer.execute("PRAGMA synchronous = FULL");
    writer.execute(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    writer.execute(`PRAGMA journal_size_limit = ${LOG_BYTES_MAX}`);
    writer.execute("BEGIN IMMEDIATE");
    writer.execute("COMMIT");
    const reader = connect(file, open);
    reader.execute("PRAGMA query_only = ON");
    reader.get("SELECT count(*) AS tables FROM sqlite_master", []);
    return new SqliteDatabase(file, lock, writer, reader);
  } catch (error) {
    for (const connection of open.reverse()) connection.close();
    throw error;
  }
}

/**
 * Makes a file that is its owner's only; its log inherits the mode. One that exists is not touched: POSIX gives up all
 * locks that the process has on a file when it closes any descriptor of it.
 */
function make(file: string): void {
  if (existsSync(file)) return;
  try {
    closeSync(openSync(file, "a", 0o600));
  } catch (error) {
    throw sqliteError(file, error);
  }
}

function takeLock(file: string): SqliteConnection {
  const lockFile = `${file}-lock`;
  make(lockFile);
  const lock = new SqliteConnection(lockFile);
  try {
    lock.execute("PRAGMA busy_timeout = 0");
    // Never ended: the lock goes with the connection, also when the process is killed. Nothing is written.
    lock.execute("BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    throw error;
  }
  return lock;
}

function connect(file: string, open: SqliteConnection[]): SqliteConnection {
  const connection = new SqliteConnection(file);
  open.push(connection);
  connection.execute("PRAGMA busy_timeout = 0");
  connection.execute("PRAGMA journal_mode = WAL");
  connection.execute("PRAGMA temp_store = MEMORY");
  connection.execute(`PRAGMA cache_size = -${CACHE_KIB}`);
  // Damage inside of a page is found when the page is used, not when its cells make no sense any more.
  connection.execute("PRAGMA cell_size_check = ON");
  return connection;
}

class SqliteDatabase implements Database {
  readonly engine = "sqlite";
  commits = 0;
  readonly #file: string;
  readonly #lock: SqliteConnection;
  readonly #writer: SqliteConnection;
  readonly #reader: SqliteConnection;
  readonly #way = new GiveWay();
  readonly #copies: CopySource;
  #copying: Promise<unknown> = Promise.resolve();
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #isClosed = false;
  /** What the disk did to a commit. Nothing is believed afterwards: what is really there shows at the next start. */
  #broken: unknown;

  constructor(file: string, lock: SqliteConnection, writer: SqliteConnection, reader: SqliteConnection) {
    this.#file = file;
    this.#lock = lock;
    this.#writer = writer;
    this.#reader = reader;
    this.#copies = new CopySource(file);
  }

  async all<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T[]> {
    await this.#way.due();
    this.#requireUsable();
    return this.#reader.all(text, values) as T[];
  }

  async get<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T | undefined> {
    await this.#way.due();
    this.#requireUsable();
    // A commit makes the reader forget every page that it has; the writer knows them, and what it sees is committed.
    const connection = this.#writer.inTransaction ? this.#reader : this.#writer;
    return connection.get(text, values) as T | undefined;
  }

  run(text: string, values: readonly SqlValue[] = []): Promise<number> {
    return this.transaction((sql) => sql.run(text, values));
  }

  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    if (this.#waiting >= WAITING_MAX) return Promise.reject(tooMany(this.#file));
    assert(!this.#isClosed, "the database is open");
    this.#waiting++;
    const turn = this.#tail.then(() => this.#transact(work)).finally(() => this.#waiting--);
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  async #transact<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    this.#requireUsable();
    const writer = this.#writer;
    writer.run("BEGIN IMMEDIATE", []);
    const sql = new SqliteTransaction(writer, this.#way);
    try {
      const result = await work(sql);
      sql.end();
      // `work` may have swallowed it; what came after it is not what was meant.
      if (sql.failure !== undefined) throw sql.failure;
      this.#commit();
      return result;
    } catch (error) {
      sql.end();
      // A full disk ends the transaction by itself.
      if (writer.inTransaction && this.#broken === undefined) writer.execute("ROLLBACK");
      throw error;
    }
  }

  /** Between two transactions all goes into the file, and stays as it is there until the copy is made. */
  async copyTo(file: string, signal: AbortSignal): Promise<void> {
    if (this.#waiting >= WAITING_MAX) throw tooMany(this.#file);
    assert(!this.#isClosed, "the database is open");
    this.#waiting++;
    const turn = this.#tail
      .then(() => {
        this.#requireUsable();
        return this.#copies.hold(this.#writer);
      })
      .finally(() => this.#waiting--);
    this.#tail = turn.catch(() => undefined);
    const held = await turn;
    const copying = this.#copies.write(file, signal).finally(() => held.close());
    this.#copying = copying.catch(() => undefined);
    await copying;
  }

  #commit(): void {
    // Also where it fails: then nobody knows what is there.
    this.commits++;
    try {
      this.#writer.run("COMMIT", []);
    } catch (error) {
      const isFull = error instanceof SynclineError && /SQLITE_FULL/.test(error.message);
      if (!isFull) this.#broken = error;
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#tail;
    await this.#copying;
    this.#reader.close();
    this.#writer.close();
    this.#copies.close();
    this.#lock.close();
  }

  #requireUsable(): void {
    if (this.#broken === undefined) return;
    throw new SynclineError({
      code: "DISK",
      op: "use database",
      path: this.#file,
      message: "the disk failed in the middle of a commit; nothing is read or written any more",
      hint: "check the disk, then start the program again: it finds out what was committed",
      cause: this.#broken,
    });
  }
}

class SqliteTransaction implements Sql {
  /** Of the first statement that failed. */
  failure: unknown;
  readonly #connection: SqliteConnection;
  readonly #way: GiveWay;
  #isOver = false;

  constructor(connection: SqliteConnection, way: GiveWay) {
    this.#connection = connection;
    this.#way = way;
  }

  end(): void {
    this.#isOver = true;
  }

  all<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T[]> {
    return this.#use((connection) => connection.all(text, values) as T[]);
  }

  get<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T | undefined> {
    return this.#use((connection) => connection.get(text, values) as T | undefined);
  }

  run(text: string, values: readonly SqlValue[] = []): Promise<number> {
    return this.#use((connection) => connection.run(text, values));
  }

  async #use<T>(body: (connection: SqliteConnection) => T): Promise<T> {
    await this.#way.due();
    assert(!this.#isOver, "a transaction is used only while it runs");
    try {
      return body(this.#connection);
    } catch (error) {
      this.failure ??= error;
      throw error;
    }
  }
}

function tooMany(file: string): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "use database",
    path: file,
    message: `more than ${WAITING_MAX} transactions wait for the database`,
    hint: "the disk is slower than the load: wait and try again",
    retryable: true,
  });
}
