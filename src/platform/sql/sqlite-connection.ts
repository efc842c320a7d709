/** One connection to an SQLite file: prepared statements by their text, and errors that say what to do. */
import { Database, type SQLQueryBindings, SQLiteError, type Statement } from "bun:sqlite";
import { SynclineError, assert } from "#model/error.ts";
import type { SqlRow, SqlValue } from "#platform/sql/database.ts";

/** Texts are constants of the program; more of them means that somebody writes values into texts. */
const STATEMENTS_MAX = 1000;

export class SqliteConnection {
  readonly #file: string;
  readonly #db: Database;
  readonly #statements = new Map<string, Statement<SqlRow, SQLQueryBindings[]>>();

  /** Opens a file that exists. */
  constructor(file: string) {
    this.#file = file;
    this.#db = this.#guarded(() => new Database(file, { readwrite: true, strict: true }));
  }

  get inTransaction(): boolean {
    return this.#db.inTransaction;
  }

  /** Runs a statement that is not kept. */
  execute(text: string): void {
    this.#guarded(() => this.#db.run(text));
  }

  all(text: string, values: readonly SqlValue[]): SqlRow[] {
    return this.#guarded(() => this.#prepare(text).all(...(values as SQLQueryBindings[])));
  }

  get(text: string, values: readonly SqlValue[]): SqlRow | undefined {
    return this.#guarded(() => this.#prepare(text).get(...(values as SQLQueryBindings[])) ?? undefined);
  }

  /** @returns how many rows were changed */
  run(text: string, values: readonly SqlValue[]): number {
    return this.#guarded(() => this.#prepare(text).run(...(values as SQLQueryBindings[])).changes);
  }

  close(): void {
    // An open statement would keep the connection, and with it its locks, alive until the garbage collector comes.
    for (const statement of this.#statements.values()) statement.finalize();
    this.#statements.clear();
    this.#guarded(() => this.#db.close(true));
  }

  #prepare(text: string): Statement<SqlRow, SQLQueryBindings[]> {
    const known = this.#statements.get(text);
    if (known !== undefined) return known;
    assert(this.#statements.size < STATEMENTS_MAX, "statement texts are constants");
    const made = this.#db.prepare<SqlRow, SQLQueryBindings[]>(text);
    this.#statements.set(text, made);
    return made;
  }

  #guarded<T>(body: () => T): T {
    try {
      return body();
    } catch (error) {
      throw sqliteError(this.#file, error);
    }
  }
}

/** What SQLite or the system refused, in our own terms; other errors pass unchanged. */
export function sqliteError(file: string, error: unknown): unknown {
  const code = error instanceof SQLiteError ? (error.code ?? "SQLITE_ERROR") : systemCode(error);
  if (code === undefined) return error;
  const facts = { path: file, op: "use database", cause: error };
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB") {
    return new SynclineError({
      ...facts,
      code: "STATE",
      message: `the database is damaged (${code})`,
      hint: "stop the program, keep the file and the one that ends in -wal, and put back a backup",
    });
  }
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return new SynclineError({
      ...facts,
      code: "ROOT_BUSY",
      message: "another process is using this database",
      hint: "stop the other one, or give this one a directory of its own",
      retryable: true,
    });
  }
  if (code.startsWith("SQLITE_CONSTRAINT")) {
    return new SynclineError({ ...facts, code: "EXISTS", message: `a row like it is there already (${code})` });
  }
  if (code === "SQLITE_FULL") {
    return new SynclineError({
      ...facts,
      code: "DISK",
      message: "the disk is full: the database cannot be written (SQLITE_FULL)",
      hint: "make room on the disk that holds it",
    });
  }
  if (/^SQLITE_(IOERR|READONLY|CANTOPEN|PERM|NOLFS)|^E/.test(code)) {
    return new SynclineError({
      ...facts,
      code: "DISK",
      message: `the database cannot be read or written (${code})`,
      hint: "check free space, permissions and health of the disk that holds it",
    });
  }
  return new SynclineError({
    ...facts,
    code: "STATE",
    message: `the database refused an operation (${code}): ${(error as Error).message}`,
    hint: "this is a fault of the program: please report it with the log",
  });
}

function systemCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
