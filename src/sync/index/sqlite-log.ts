/**
 * Logs and small tables in SQLite. Records of a log are collected into blocks, because a row for each of the
 * many thousand changes of a first scan would cost more than everything else in the transaction.
 */
import { decodeName, encodeName } from "#model/path.ts";
import { type Sql, blobSum, checkBlob } from "#sync/index/sql.ts";
import type { Log, Table } from "#sync/index/store.ts";
import { damaged } from "#sync/index/tree-pages.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";

/** A block is written at the latest when it reaches this size. */
const BLOCK_BYTES = 32 << 10;
const BLOCKS_PER_QUERY = 32;
const ROWS_PER_QUERY = 256;

export const LOG_SCHEMA = `
  CREATE TABLE log (name TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE block (
    id INTEGER PRIMARY KEY, log TEXT NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    sum INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (log, first)
  );
  CREATE TABLE item (
    name TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, key)
  ) WITHOUT ROWID;`;

type BlockRow = { first: number; count: number; sum: number; data: Uint8Array };
type Write = <T>(body: () => T) => T;

function logQueries(sql: Sql) {
  return {
    log: sql.query<{ first: number; last: number }, [string]>("SELECT first, last FROM log WHERE name = ?"),
    names: sql.query<{ name: string }, []>("SELECT name FROM log"),
    putLog: sql.query<null, [string, number, number]>(
      "INSERT OR REPLACE INTO log (name, first, last) VALUES (?, ?, ?)",
    ),
    /** From the block that holds a number onwards. */
    blocks: sql.query<BlockRow, [string, string, number, number]>(
      `SELECT first, count, sum, data FROM block WHERE log = ?
       AND first >= (SELECT coalesce(max(first), 0) FROM block WHERE log = ? AND first <= ?)
       ORDER BY first LIMIT ?`,
    ),
    putBlock: sql.query<null, [string, number, number, number, Uint8Array]>(
      "INSERT INTO block (log, first, count, sum, data) VALUES (?, ?, ?, ?, ?)",
    ),
    dropBlocks: sql.query<null, [string, number, number]>(
      "DELETE FROM block WHERE log = ? AND first <= ? AND first + count - 1 <= ?",
    ),
  };
}

/** All logs of one store. Changes must happen inside a transaction of the store. */
export class SqliteLogs {
  readonly #sql: ReturnType<typeof logQueries>;
  readonly #logs = new Map<string, SqliteLog>();

  constructor(sql: Sql) {
    this.#sql = logQueries(sql);
  }

  log(name: string, write: Write): Log {
    let log = this.#logs.get(name);
    if (log === undefined) {
      log = new SqliteLog(this.#sql, name, write);
      this.#logs.set(name, log);
    }
    return log;
  }

  /** Writes back what was appended; must be called before a commit. */
  flush(): void {
    for (const log of this.#logs.values()) log.flush();
  }

  /** Reads every block and checks its sum. @throws {SynclineError} STATE at the first that is damaged */
  check(): void {
    for (const { name } of this.#sql.names.all()) {
      let after = 0;
      for (;;) {
        const rows = this.#sql.blocks.all(name, name, after, BLOCKS_PER_QUERY);
        for (const row of rows) checkBlob(row);
        if (rows.length < BLOCKS_PER_QUERY) break;
        after = rows.at(-1)!.first + 1;
      }
    }
  }

  /** Forgets everything in memory; must be called after a rollback. */
  drop(): void {
    for (const log of this.#logs.values()) log.drop();
  }
}

class SqliteLog implements Log {
  readonly #sql: ReturnType<typeof logQueries>;
  readonly #name: string;
  readonly #write: Write;
  readonly #pending = new ByteWriter();
  #pendingCount = 0;
  #bounds: { first: number; last: number } | undefined;
  #changed = false;

  constructor(sql: ReturnType<typeof logQueries>, name: string, write: Write) {
    this.#sql = sql;
    this.#name = name;
    this.#write = write;
  }

  append(record: Uint8Array): number {
    return this.#write(() => {
      const bounds = this.#load();
      this.#pending.bytes(record);
      this.#pendingCount++;
      this.#changed = true;
      bounds.last++;
      if (this.#pending.length >= BLOCK_BYTES) this.#writeBlock();
      return bounds.last;
    });
  }

  last(): number {
    return this.#load().last;
  }

  first(): number {
    return this.#load().first;
  }

  *since(after: number): Generator<[number, Uint8Array]> {
    this.#writeBlock();
    const { first, last } = this.#load();
    const reader = new ByteReader(new Uint8Array(0));
    let next = Math.max(after + 1, first);
    while (next <= last) {
      const rows = this.#sql.blocks.all(this.#name, this.#name, next, BLOCKS_PER_QUERY);
      const before = next;
      for (const row of rows) {
        checkBlob(row);
        reader.reset(row.data);
        for (let number = row.first; number < row.first + row.count; number++) {
          const record = reader.bytes();
          if (number < next || number > last) continue;
          yield [number, record];
          next = number + 1;
        }
      }
      if (next === before) throw damaged();
    }
  }

  trim(upTo: number): void {
    this.#write(() => {
      this.#writeBlock();
      const bounds = this.#load();
      const kept = Math.min(upTo + 1, bounds.last + 1);
      if (kept <= bounds.first) return;
      bounds.first = kept;
      this.#changed = true;
      this.#sql.dropBlocks.run(this.#name, kept - 1, kept - 1);
    });
  }

  flush(): void {
    this.#writeBlock();
    if (!this.#changed) return;
    const { first, last } = this.#load();
    this.#sql.putLog.run(this.#name, first, last);
    this.#changed = false;
  }

  drop(): void {
    this.#pending.reset();
    this.#pendingCount = 0;
    this.#bounds = undefined;
    this.#changed = false;
  }

  #load(): { first: number; last: number } {
    return (this.#bounds ??= this.#sql.log.get(this.#name) ?? { first: 1, last: 0 });
  }

  #writeBlock(): void {
    const count = this.#pendingCount;
    if (count === 0) return;
    const data = this.#pending.view();
    this.#sql.putBlock.run(this.#name, this.#load().last - count + 1, count, blobSum(data), data);
    this.#pending.reset();
    this.#pendingCount = 0;
  }
}

function tableQueries(sql: Sql) {
  return {
    get: sql.query<{ value: Uint8Array }, [string, Uint8Array]>(
      "SELECT value FROM item WHERE name = ? AND key = ?",
    ),
    set: sql.query<null, [string, Uint8Array, Uint8Array]>(
      "INSERT OR REPLACE INTO item (name, key, value) VALUES (?, ?, ?)",
    ),
    delete: sql.query<null, [string, Uint8Array]>("DELETE FROM item WHERE name = ? AND key = ?"),
    from: sql.query<{ key: Uint8Array; value: Uint8Array }, [string, Uint8Array, number]>(
      "SELECT key, value FROM item WHERE name = ? AND key >= ? ORDER BY key LIMIT ?",
    ),
    after: sql.query<{ key: Uint8Array; value: Uint8Array }, [string, Uint8Array, number]>(
      "SELECT key, value FROM item WHERE name = ? AND key > ? ORDER BY key LIMIT ?",
    ),
  };
}

/** All tables of one store. */
export class SqliteTables {
  readonly #sql: ReturnType<typeof tableQueries>;

  constructor(sql: Sql) {
    this.#sql = tableQueries(sql);
  }

  table(name: string, write: Write): Table {
    const sql = this.#sql;
    return {
      get: (key) => sql.get.get(name, encodeName(key))?.value,
      set: (key, value) => void write(() => sql.set.run(name, encodeName(key), value)),
      delete: (key) => void write(() => sql.delete.run(name, encodeName(key))),
      *entries(prefix = "") {
        let rows = sql.from.all(name, encodeName(prefix), ROWS_PER_QUERY);
        for (;;) {
          for (const row of rows) {
            const key = decodeName(row.key);
            if (!key.startsWith(prefix)) return;
            yield [key, row.value];
          }
          if (rows.length < ROWS_PER_QUERY) return;
          rows = sql.after.all(name, rows.at(-1)!.key, ROWS_PER_QUERY);
        }
      },
    };
  }
}
