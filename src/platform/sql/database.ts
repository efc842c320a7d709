/**
 * An SQL database as the hub uses it. One dialect is written and both engines understand it: SQLite (embedded, the
 * default) and PostgreSQL (when one machine is not enough). database-contract.ts runs on both.
 *
 * - Placeholders are `?`, in order. Identifiers are lower case. Upserts are `ON CONFLICT (...) DO UPDATE`.
 * - Types used: INTEGER-like BIGINT (whole numbers within ±2^53, given and returned as numbers), TEXT, BLOB (written
 *   `blob` in the schema; the PostgreSQL driver makes it `bytea`), NULL. Blobs are compared by their bytes on both.
 *   A sum() has no such type on PostgreSQL: CAST it to BIGINT.
 * - `WITHOUT ROWID` after a table lays it out by its key in SQLite, and `INDEXED BY index` after its name in a query says
 *   how to look; the PostgreSQL driver leaves both out, that server plans by its own numbers.
 * - Statements are prepared once for each text, so texts are constants and never hold values.
 * - Errors are SynclineError with a hint; EXISTS is a key that is taken.
 */
export type SqlValue = string | number | Uint8Array | null;

export type SqlRow = { readonly [column: string]: SqlValue };

export interface Sql {
  /** All rows, as plain objects by column name. */
  all<T extends SqlRow>(text: string, values?: readonly SqlValue[]): Promise<T[]>;
  /** The first row. */
  get<T extends SqlRow>(text: string, values?: readonly SqlValue[]): Promise<T | undefined>;
  /** Runs a statement that gives no rows; returns how many rows it changed. */
  run(text: string, values?: readonly SqlValue[]): Promise<number>;
}

/**
 * Reads outside of a transaction see what was committed before them. Calls may overlap; transactions of SQLite run one
 * after the other, those of PostgreSQL are serializable and begun again when they collide (`work` may run more than
 * once, so it has no effects but those on `sql`).
 *
 * After an error of a statement a transaction is over: `work` lets it pass on. A savepoint is `run("SAVEPOINT x")`.
 */
export interface Database extends Sql {
  readonly engine: "sqlite" | "postgres";
  /** Grows with each commit, in the moment from which it is seen; undefined where other processes may commit, too. */
  readonly commits: number | undefined;
  /** What was committed survives a power loss. When `work` throws nothing of it is there, and the error passes on. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /**
   * Writes all that was committed before, and nothing of what is committed meanwhile, into a new file that openSqlite()
   * opens. Others go on reading and writing; it is durable, and only then complete, when this resolves.
   * @throws {SynclineError} UNSUPPORTED where the database has tools of its own for it, DISK, EXISTS when the file is there
   */
  copyTo(file: string, signal: AbortSignal): Promise<void>;
  /** Ends when running transactions have. */
  close(): Promise<void>;
}

/** One step of a schema's history; steps are applied once each, in order, and never edited after a release. */
export type Migration = { readonly id: number; readonly statements: readonly string[] };
