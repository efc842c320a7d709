/** A file whose lock tells other processes that somebody is at work in its directory. */
import { type Fd, type FileSystem, isCode } from "#platform/file-system.ts";

const MODE = 0o600;

/** Until `fd` is closed, or the process ends. `isLocked` is false where the system has no locks: then nobody is kept out. */
export type LockFile = { readonly fd: Fd; readonly isLocked: boolean };

/** Makes the file where there is none. Undefined: another process has its lock. @throws {FsError} */
export function takeLockFile(fs: FileSystem, dir: Fd, name: string): LockFile | undefined {
  const fd = openOrMake(fs, dir, name);
  try {
    if (fs.tryLock(fd)) return { fd, isLocked: true };
  } catch (error) {
    if (isCode(error, "ENOTSUP")) return { fd, isLocked: false };
    fs.close(fd);
    throw error;
  }
  fs.close(fd);
  return undefined;
}

function openOrMake(fs: FileSystem, dir: Fd, name: string): Fd {
  try {
    return fs.openWrite(dir, name);
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
  try {
    return fs.create(dir, name, MODE);
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
    return fs.openWrite(dir, name);
  }
}
