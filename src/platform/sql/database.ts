/**
 * An SQL database as the hub uses it. One dialect is written and both engines understand it: SQLite (embedded, the
 * default) and PostgreSQL (when one machine is not enough). database-contract.ts runs on both.
 *
 * - Placeholders are `?`, in order. Identifiers are lower case. Upserts are `ON CONFLICT (...) DO UPDATE`.
 * - Types used: INTEGER-like BIGINT (whole numbers within ±2^53, given and returned as numbers), TEXT, BLOB (written
 *   `blob` in the schema; the PostgreSQL driver makes it `bytea`), NULL. Blobs are compared by their bytes on both.
 * - Statements are prepared once for each text, so texts are constants and never hold values.
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
 */
export interface Database extends Sql {
  readonly engine: "sqlite" | "postgres";
  /** What was committed survives a power loss. When `work` throws nothing of it is there, and the error passes on. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /** Ends when running transactions have. */
  close(): Promise<void>;
}

/** One step of a schema's history; steps are applied once each, in order, and never edited after a release. */
export type Migration = { readonly id: number; readonly statements: readonly string[] };
