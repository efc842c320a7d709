/**
 * Database on a PostgreSQL server, over Bun's client. Transactions are serializable on a connection of their own and
 * are begun again when they collide or when the connection is lost before the commit was sent. When it is lost after
 * that nobody knows whether it was committed, and the caller is told so.
 */
import { type ReservedSQL, SQL } from "bun";
import { SynclineError, assert } from "#model/error.ts";
import type { Database, Migration, Sql, SqlRow, SqlValue } from "#platform/sql/database.ts";
import { isCollision, isLost, lostAtCommit, postgresError } from "#platform/sql/postgres-error.ts";

/** Connections to the server; more calls wait for one. */
const CONNECTIONS_MAX = 8;
/** Calls that wait for a connection or an answer. */
export const CALLS_MAX = 10_000;
const CONNECT_SECONDS_MAX = 10;
const STATEMENT_MS_MAX = 120_000;
const LOCK_MS_MAX = 60_000;
const IDLE_TRANSACTION_MS_MAX = 120_000;
/** How often a transaction is begun anew when it collides with others. */
const TRIES_MAX = 20;
/** Waits between tries grow up to this, by chance, so that those who collided do not meet again. */
const WAIT_MS_MAX = 250;
/** Constant texts; see database.ts. */
const TEXTS_MAX = 1000;
const BEGIN = "BEGIN ISOLATION LEVEL SERIALIZABLE";
/** It holds no locks that others wait for, so it may rest while something else is looked at. */
const BEGIN_SNAPSHOT = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0;
  SELECT 1`;

/** What the fence needs. */
export const FENCE_MIGRATIONS: readonly Migration[] = [
  { id: 1, statements: ["CREATE TABLE fence (id BIGINT PRIMARY KEY, generation BIGINT NOT NULL)"] },
];

/** A database that many can use: it can keep out those who used it before, and show one state while others go on. */
export interface ServerDatabase extends Database {
  /**
   * What was committed before, and nothing of what is committed meanwhile. What `work` is given only reads, until `work`
   * has ended; it runs once, however long it takes. Rows that are removed meanwhile stay on the server's disk until then.
   * @throws {SynclineError} LINK_LOST (retryable) when the connection is lost
   */
  snapshot<T>(work: (database: Database) => Promise<T>): Promise<T>;
  /**
   * From now on transactions are made here only while nobody has put up a fence of a later generation, and elsewhere
   * those of earlier generations no more; resolves when the last of them has ended.
   * @throws {SynclineError} HALT behind a later fence, LIMIT (retryable) when an earlier transaction does not end
   */
  fence(generation: number): Promise<void>;
}

/**
 * Connects and asks the server whether it can be used.
 * @throws {SynclineError} AUTH, LINK_LOST, STATE
 */
export async function openPostgres(url: string): Promise<ServerDatabase> {
  const client = new SQL({
    url,
    max: CONNECTIONS_MAX,
    connectionTimeout: CONNECT_SECONDS_MAX,
    bigint: true,
    connection: {
      application_name: "syncline",
      // What was committed survives a power loss, whatever the server's default is.
      synchronous_commit: "on",
      statement_timeout: STATEMENT_MS_MAX,
      lock_timeout: LOCK_MS_MAX,
      // A plan that was kept from when a table was small walks through all of it when it is large.
      plan_cache_mode: "force_custom_plan",
      idle_in_transaction_session_timeout: IDLE_TRANSACTION_MS_MAX,
    },
  });
  const database = new PostgresDatabase(client);
  try {
    await database.get("SELECT 1 AS answer");
    return database;
  } catch (error) {
    await client.close({ timeout: 0 });
    throw error;
  }
}

class PostgresDatabase implements ServerDatabase {
  readonly engine = "postgres";
  readonly commits = undefined;
  readonly #client: SQL;
  #calls = 0;
  #isClosed = false;
  #idle: (() => void) | undefined;
  /** Undefined: there is none. */
  #generation: number | undefined;

  constructor(client: SQL) {
    this.#client = client;
  }

  async fence(generation: number): Promise<void> {
    await this.transaction(async (sql) => {
      // Every transaction behind a fence has read the table, and is over when nobody reads it any more.
      await sql.run("LOCK TABLE fence IN ACCESS EXCLUSIVE MODE");
      const last = await sql.get<{ generation: number }>("SELECT generation FROM fence");
      if (last !== undefined && last.generation > generation) throw fencedOff();
      await sql.run(
        "INSERT INTO fence (id, generation) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET generation = excluded.generation",
        [generation],
      );
    });
    this.#generation = generation;
  }

  /** In one message, for each costs its way to the server and back. @throws {SynclineError} HALT */
  async #begin(connection: ReservedSQL): Promise<void> {
    if (this.#generation === undefined) return void (await connection.unsafe(BEGIN));
    const [, fence] = (await connection.unsafe(`${BEGIN}; SELECT generation FROM fence`)) as [unknown, Answer];
    if (Number(fence[0]?.["generation"]) !== this.#generation) throw fencedOff();
  }

  all<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T[]> {
    return this.#retried(async () => rowsOf<T>(await query(this.#client, text, values)));
  }

  async get<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T | undefined> {
    return (await this.all<T>(text, values))[0];
  }

  run(text: string, values: readonly SqlValue[] = []): Promise<number> {
    return this.transaction((sql) => sql.run(text, values));
  }

  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    return this.#retried(() => this.#transact(work));
  }

  async #transact<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    const connection = await this.#client.reserve();
    const sql = new PostgresTransaction(connection);
    let committing = false;
    try {
      await this.#begin(connection);
      const result = await work(sql);
      sql.end();
      // `work` may have swallowed it; the server would answer the COMMIT with a ROLLBACK.
      if (sql.failure !== undefined) throw sql.failure;
      committing = true;
      const { command } = (await connection.unsafe("COMMIT")) as { command?: string };
      assert(command === "COMMIT", "the transaction is still there when it is committed");
      return result;
    } catch (error) {
      sql.end();
      if (committing && isLost(error)) throw lostAtCommit(error);
      // On a lost connection there is nothing left to take back.
      await connection.unsafe("ROLLBACK").catch(() => undefined);
      throw error;
    } finally {
      // One that was lost is none of the pool's any more.
      await connection.release().catch(() => undefined);
    }
  }

  async #retried<T>(body: () => Promise<T>): Promise<T> {
    assert(!this.#isClosed, "the database is open");
    if (this.#calls >= CALLS_MAX) throw tooMany();
    this.#calls++;
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          return await body();
        } catch (error) {
          const mayRepeat = isCollision(error) || isLost(error);
          if (!mayRepeat || attempt === TRIES_MAX) throw postgresError(error);
          const waitMs = Math.min(2 ** attempt, WAIT_MS_MAX) * (0.5 + Math.random());
          await Bun.sleep(waitMs);
        }
      }
    } finally {
      if (--this.#calls === 0) this.#idle?.();
    }
  }

  async snapshot<T>(work: (database: Database) => Promise<T>): Promise<T> {
    assert(!this.#isClosed, "the database is open");
    if (this.#calls >= CALLS_MAX) throw tooMany();
    this.#calls++;
    try {
      const connection = await this.#client.reserve();
      const sql = new PostgresTransaction(connection);
      try {
        // The state is that of the first statement.
        await connection.unsafe(BEGIN_SNAPSHOT);
        return await work(new PostgresSnapshot(sql));
      } finally {
        sql.end();
        await connection.unsafe("ROLLBACK").catch(() => undefined);
        await connection.release().catch(() => undefined);
      }
    } catch (error) {
      throw postgresError(error);
    } finally {
      if (--this.#calls === 0) this.#idle?.();
    }
  }

  copyTo(): Promise<void> {
    return Promise.reject(ownTools());
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#calls > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    await this.#client.close({ timeout: 0 });
  }
}

class PostgresTransaction implements Sql {
  /** Of the first statement that failed. */
  failure: unknown;
  readonly #connection: ReservedSQL;
  #isOver = false;

  constructor(connection: ReservedSQL) {
    this.#connection = connection;
  }

  end(): void {
    this.#isOver = true;
  }

  async all<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T[]> {
    return rowsOf<T>(await this.#query(text, values));
  }

  async get<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T | undefined> {
    return rowsOf<T>(await this.#query(text, values))[0];
  }

  async run(text: string, values: readonly SqlValue[] = []): Promise<number> {
    return (await this.#query(text, values)).count;
  }

  async #query(text: string, values: readonly SqlValue[]): Promise<Answer> {
    assert(!this.#isOver, "a transaction is used only while it runs");
    try {
      return await query(this.#connection, text, values);
    } catch (error) {
      this.failure ??= error;
      throw error;
    }
  }
}

/** One state of a database, to read. */
class PostgresSnapshot implements Database {
  readonly engine = "postgres";
  readonly commits = undefined;
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  all<T extends SqlRow>(text: string, values?: readonly SqlValue[]): Promise<T[]> {
    return this.#sql.all<T>(text, values);
  }

  get<T extends SqlRow>(text: string, values?: readonly SqlValue[]): Promise<T | undefined> {
    return this.#sql.get<T>(text, values);
  }

  /** The server refuses all that writes. */
  run(text: string, values?: readonly SqlValue[]): Promise<number> {
    return this.#sql.run(text, values);
  }

  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    return work(this.#sql);
  }

  copyTo(): Promise<void> {
    return Promise.reject(ownTools());
  }

  async close(): Promise<void> {}
}

type Answer = Record<string, SqlValue | bigint>[] & { count: number };

/** Numbers go as 64-bit integers: by themselves they would be 32-bit or floating, and each kind a statement of its own. */
async function query(client: SQL | ReservedSQL, text: string, values: readonly SqlValue[]): Promise<Answer> {
  const bound = values.map((value) => (typeof value === "number" ? BigInt(value) : value));
  return (await client.unsafe(translate(text), bound)) as Answer;
}

function rowsOf<T extends SqlRow>(answer: Answer): T[] {
  for (const row of answer) {
    for (const column in row) {
      const value = row[column];
      if (typeof value === "bigint") row[column] = Number(value);
    }
  }
  // A plain array, without what the client hangs on to it.
  return Array.from(answer) as SqlRow[] as T[];
}

const translated = new Map<string, string>();

/** Our dialect in PostgreSQL's: numbered placeholders, bytea, and no word about layouts and indexes. */
export function translate(text: string): string {
  const known = translated.get(text);
  if (known !== undefined) return known;
  assert(translated.size < TEXTS_MAX, "statement texts are constants");
  let count = 0;
  const made = text
    .split(/('(?:[^']|'')*')/)
    .map((part, at) => {
      if (at % 2 === 1) return part;
      return part
        .replace(/ (WITHOUT ROWID|INDEXED BY \w+)\b/g, "")
        .replace(/\bblob\b/gi, "bytea")
        .replace(/\?/g, () => `$${++count}`);
    })
    .join("");
  translated.set(text, made);
  return made;
}

function fencedOff(): SynclineError {
  return new SynclineError({
    code: "HALT",
    op: "use database",
    message: "another process has taken this database over",
    hint: "this one changes nothing in it any more, and has to be ended",
  });
}

function ownTools(): SynclineError {
  return new SynclineError({
    code: "UNSUPPORTED",
    op: "copy database",
    message: "a PostgreSQL database is copied by its own tools",
    hint: "first pg_dump, then copy the directories chunks and keys, within 24 hours (nothing younger is pruned)",
  });
}

function tooMany(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "use database",
    message: `more than ${CALLS_MAX} calls wait for the database server`,
    hint: "the server is slower than the load: wait and try again",
    retryable: true,
  });
}
