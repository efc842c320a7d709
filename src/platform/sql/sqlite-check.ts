/** Is a database file in order? The engine reads all of it for that, so it does on a thread of its own. */
import { SynclineError } from "#model/error.ts";
import type { Checked } from "#platform/sql/sqlite-check-worker.ts";
import { startWorker } from "#platform/worker-thread.ts";

/** What is wrong with a file that nobody else has open; undefined: nothing. @throws {SynclineError} INTERNAL when the thread has failed */
export async function sqliteFault(file: string): Promise<string | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Checked>();
  const worker = startWorker<Checked>("platform/sql/sqlite-check-worker.ts", resolve, () => reject(threadEnded()));
  // Somebody waits for it, and perhaps for nothing else.
  worker.ref();
  worker.postMessage(file);
  try {
    return (await promise).fault;
  } finally {
    worker.terminate();
  }
}

function threadEnded(): SynclineError {
  const message = "the thread that looks at the database has ended";
  return new SynclineError({ code: "INTERNAL", op: "check database", message, hint: "try again", retryable: true });
}
