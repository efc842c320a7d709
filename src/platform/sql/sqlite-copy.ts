/**
 * Copies of an SQLite file while others write to it.
 *
 * In write-ahead mode the file changes only when the log is copied into it. A reader that began while the log was empty
 * reads the file alone, and as long as it reads, SQLite copies nothing into the file: it can be copied like any other,
 * without blocking anybody. What is committed meanwhile waits in the log, which grows by as much.
 */
import { closeSync, openSync, read } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { promisify } from "node:util";
import { SynclineError } from "#model/error.ts";
import { SqliteConnection, sqliteError } from "#platform/sql/sqlite-connection.ts";

const PIECE_BYTES = 4 << 20;

const readAt = promisify(read);

export class CopySource {
  readonly #file: string;
  /**
   * Closed with the database and not before: POSIX gives up all locks that the process has on a file when it closes any
   * descriptor of it.
   */
  #source: number | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  /**
   * To be called while no transaction runs: from now on until the connection is closed the file does not change.
   * @throws {SynclineError} DISK, ROOT_BUSY while another copy is being made
   */
  hold(writer: SqliteConnection): SqliteConnection {
    const emptied = writer.get("PRAGMA wal_checkpoint(TRUNCATE)", []);
    if (emptied?.["busy"] !== 0) throw busy(this.#file);
    const reader = new SqliteConnection(this.#file);
    try {
      reader.execute("PRAGMA query_only = ON");
      reader.execute("BEGIN");
      // The transaction begins with the first thing that is read.
      reader.get("SELECT count(*) AS tables FROM sqlite_master", []);
      return reader;
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  /** Copies the file, which somebody holds. */
  async write(file: string, signal: AbortSignal): Promise<void> {
    let target: FileHandle | undefined;
    try {
      this.#source ??= openSync(this.#file, "r");
      target = await open(file, "wx", 0o600);
      const piece = new Uint8Array(PIECE_BYTES);
      for (let at = 0; ; ) {
        signal.throwIfAborted();
        const { bytesRead } = await readAt(this.#source, piece, 0, piece.length, at);
        if (bytesRead === 0) break;
        for (let done = 0; done < bytesRead; ) {
          done += (await target.write(piece, done, bytesRead - done, at + done)).bytesWritten;
        }
        at += bytesRead;
      }
      await target.sync();
    } catch (error) {
      throw sqliteError(file, error);
    } finally {
      await target?.close();
    }
  }

  close(): void {
    if (this.#source !== undefined) closeSync(this.#source);
    this.#source = undefined;
  }
}

function busy(file: string): SynclineError {
  return new SynclineError({
    code: "ROOT_BUSY",
    op: "copy database",
    path: file,
    message: "another copy of the database is being made",
    hint: "wait until it has ended",
    retryable: true,
  });
}
