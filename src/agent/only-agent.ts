/** One agent at a time uses a data directory: two would take each other's connections, and write each other's state. */
import { SynclineError } from "#model/error.ts";
import type { FileSystem } from "#platform/file-system.ts";
import { makePrivateFolder } from "#platform/folders.ts";
import { takeLockFile } from "#platform/lock-file.ts";

const LOCK = "agent.lock";

/**
 * Holds a directory, which is made where it is missing, until the returned function is called, or the process ends.
 * @throws {SynclineError} ROOT_BUSY
 */
export function holdDataDir(fs: FileSystem, dataDir: string): () => void {
  const dir = fs.openRoot(makePrivateFolder(dataDir));
  try {
    const lock = takeLockFile(fs, dir, LOCK);
    if (lock === undefined) throw busy(dataDir);
    return () => fs.close(lock.fd);
  } finally {
    fs.close(dir);
  }
}

function busy(dataDir: string): SynclineError {
  return new SynclineError({
    code: "ROOT_BUSY",
    op: "begin agent",
    path: dataDir,
    message: "another agent runs with this data directory",
    hint: "end the other one, or give this one a directory and a name of its own (--data, --name)",
  });
}
