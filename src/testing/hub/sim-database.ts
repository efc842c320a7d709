/**
 * The hub's database in a simulation: real SQLite in memory, with what a disk does to it modelled from outside. What was
 * committed before a crash is there after it, a transaction that was not is gone, and one that dies in its commit is one
 * or the other. Readers never see a transaction that runs: they read from a second database that follows by commits.
 */
import { assert } from "#model/error.ts";
import type { Database, Sql, SqlRow, SqlValue } from "#platform/sql/database.ts";
import { SqliteConnection } from "#platform/sql/sqlite-connection.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";

/** Longest that a commit takes. */
const COMMIT_MS = 20;
/** Longest that a copy takes, of which the others hear nothing. */
const COPY_MS = 500;
/** How often a call lets others go on before it is answered. */
const TURN_CHANCE = 0.1;

type Statement = { readonly text: string; readonly values: readonly SqlValue[] };

/** What outlives the processes that open it. */
export class SimDatabaseDisk {
  #writer = new SqliteConnection(":memory:");
  #reader = new SqliteConnection(":memory:");
  /** All that was ever committed, in order. */
  #commits: (readonly Statement[])[] = [];

  get writer(): SqliteConnection {
    return this.#writer;
  }

  get reader(): SqliteConnection {
    return this.#reader;
  }

  /** What a copy of it has to name, to be made of it later. */
  get commits(): number {
    return this.#commits.length;
  }

  /** The transaction is durable from here on. */
  commit(statements: readonly Statement[]): void {
    this.#writer.execute("COMMIT");
    runIn(this.#reader, statements);
    this.#commits.push(statements);
  }

  /** It is what it was after so many commits, and no process uses it. */
  goBack(commits: number): void {
    this.close();
    this.#writer = new SqliteConnection(":memory:");
    this.#reader = new SqliteConnection(":memory:");
    this.#commits.length = commits;
    for (const connection of [this.#writer, this.#reader]) {
      for (const statements of this.#commits) runIn(connection, statements);
    }
  }

  /** The process that used it has ended. */
  crash(): void {
    if (this.#writer.inTransaction) this.#writer.execute("ROLLBACK");
  }

  close(): void {
    this.#writer.close();
    this.#reader.close();
  }
}

function runIn(connection: SqliteConnection, statements: readonly Statement[]): void {
  connection.execute("BEGIN");
  for (const { text, values } of statements) connection.run(text, values);
  connection.execute("COMMIT");
}

export type SimDatabaseOptions = {
  readonly disk: SimDatabaseDisk;
  readonly clock: SimClock;
  readonly random: SimRandom;
  /** Has the process ended? Then nothing it still does reaches the disk. */
  readonly isDead: () => boolean;
  /** Called directly before and after each commit takes effect; a SimCrash thrown here ends the process there. */
  readonly onCommit: (when: "before" | "after") => void;
  /** Makes a durable file of the host, for a copy; undefined: it is copied by nobody. */
  readonly write?: (file: string, text: string) => void;
};

export class SimDatabase implements Database {
  readonly engine = "sqlite";
  commits = 0;
  readonly #options: SimDatabaseOptions;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: SimDatabaseOptions) {
    this.#options = options;
  }

  async all<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T[]> {
    await this.#turn();
    return this.#options.disk.reader.all(text, values) as T[];
  }

  async get<T extends SqlRow>(text: string, values: readonly SqlValue[] = []): Promise<T | undefined> {
    await this.#turn();
    return this.#options.disk.reader.get(text, values) as T | undefined;
  }

  run(text: string, values: readonly SqlValue[] = []): Promise<number> {
    return this.transaction((sql) => sql.run(text, values));
  }

  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    const done = this.#tail.then(() => this.#transact(work));
    this.#tail = done.catch(() => undefined);
    return done;
  }

  async #transact<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    const { disk, clock, random, onCommit } = this.#options;
    await this.#turn();
    disk.writer.execute("BEGIN IMMEDIATE");
    const statements: Statement[] = [];
    try {
      const result = await work(this.#sql(statements));
      if (random.chance(0.5)) await clock.turn(random.real() * COMMIT_MS);
      this.#assertAlive();
      onCommit("before");
      this.commits++;
      disk.commit(statements);
      onCommit("after");
      return result;
    } catch (error) {
      // The next process may be in a transaction of its own already.
      if (!this.#options.isDead() && disk.writer.inTransaction) disk.writer.execute("ROLLBACK");
      throw error;
    }
  }

  #sql(statements: Statement[]): Sql {
    const { writer } = this.#options.disk;
    return {
      all: async <T extends SqlRow>(text: string, values: readonly SqlValue[] = []) => {
        await this.#turn();
        return writer.all(text, values) as T[];
      },
      get: async <T extends SqlRow>(text: string, values: readonly SqlValue[] = []) => {
        await this.#turn();
        return writer.get(text, values) as T | undefined;
      },
      // In the order of the calls, also where nobody waits for each.
      run: async (text, values = []) => {
        this.#assertAlive();
        const count = writer.run(text, values);
        statements.push({ text, values });
        return count;
      },
    };
  }

  async #turn(): Promise<void> {
    this.#assertAlive();
    const { clock, random } = this.#options;
    if (random.chance(TURN_CHANCE)) await clock.turn(0);
    this.#assertAlive();
  }

  #assertAlive(): void {
    if (this.#options.isDead()) throw new SimCrash("the simulated hub has ended");
  }

  /** The file says which copy it stands for. */
  async copyTo(file: string): Promise<void> {
    await this.#turn();
    const { disk, write, clock, random } = this.#options;
    assert(write !== undefined, "this simulated database is copied by nobody");
    write(file, String(disk.commits));
    await clock.turn(random.real() * COPY_MS);
    this.#assertAlive();
  }

  async close(): Promise<void> {
    await this.#tail;
    assert(!this.#options.disk.writer.inTransaction, "nothing runs when a database is closed");
  }
}
