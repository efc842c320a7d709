/**
 * Is a database file in order? The engine reads all of it for that, many seconds where it has gigabytes, so it does on a
 * thread of its own. This process may have the file open, as long as nobody changes it.
 */
import { SynclineError } from "#model/error.ts";
import type { Check, Checked } from "#platform/sql/sqlite-check-worker.ts";
import { startWorker } from "#platform/worker-thread.ts";

/** Faults that are told of one file. */
const FAULTS_MAX = 100;

/** What is wrong with its pages first; undefined: nothing. @throws {SynclineError} INTERNAL when the thread has failed */
export async function sqliteFault(file: string): Promise<string | undefined> {
  return (await ask({ file, isWhole: false, max: 1 }))[0];
}

/** All that is wrong with it, also with its indexes, up to FAULTS_MAX. @throws {SynclineError} INTERNAL when the thread has failed */
export function sqliteFaults(file: string): Promise<readonly string[]> {
  return ask({ file, isWhole: true, max: FAULTS_MAX });
}

async function ask(check: Check): Promise<readonly string[]> {
  const { promise, resolve, reject } = Promise.withResolvers<Checked>();
  const worker = startWorker<Checked>("platform/sql/sqlite-check-worker.ts", resolve, () => reject(threadEnded()));
  // Somebody waits for it, and perhaps for nothing else.
  worker.ref();
  worker.postMessage(check);
  try {
    return (await promise).faults;
  } finally {
    worker.terminate();
  }
}

function threadEnded(): SynclineError {
  const message = "the thread that looks at the database has ended";
  return new SynclineError({ code: "INTERNAL", op: "check database", message, hint: "try again", retryable: true });
}
