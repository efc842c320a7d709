/** One agent at a time uses a data directory: two would take each other's connections, and write each other's state. */
import { SynclineError } from "#model/error.ts";
import { type Fd, type FileSystem, isCode } from "#platform/file-system.ts";

const LOCK = "agent.lock";
const MODE = 0o600;

/**
 * Holds a directory that is there until the returned function is called, or the process ends.
 * @throws {SynclineError} ROOT_BUSY
 */
export function holdDataDir(fs: FileSystem, dataDir: string): () => void {
  const dir = fs.openRoot(dataDir);
  let lock: Fd | undefined;
  try {
    lock = openLock(fs, dir);
    if (!tryLock(fs, lock)) throw busy(dataDir);
    const held = lock;
    return () => fs.close(held);
  } catch (error) {
    if (lock !== undefined) fs.close(lock);
    throw error;
  } finally {
    fs.close(dir);
  }
}

function openLock(fs: FileSystem, dir: Fd): Fd {
  try {
    return fs.create(dir, LOCK, MODE);
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
    return fs.openWrite(dir, LOCK);
  }
}

/** Where the system has no locks, nobody can be told. */
function tryLock(fs: FileSystem, fd: Fd): boolean {
  try {
    return fs.tryLock(fd);
  } catch (error) {
    if (isCode(error, "ENOTSUP")) return true;
    throw error;
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
