/**
 * The file system as the engine needs it: every operation goes through a held directory descriptor and one name, so
 * a symlink swapped into a parent cannot lead it elsewhere. Calls are synchronous because on local disks a system
 * call costs less than a promise; bulk bytes and durability barriers, which block for long, are asynchronous.
 *
 * Implementations: linux/ (libc through FFI), portable/ (node:fs, paths instead of descriptors) and the simulator's
 * (testing/sim-fs). One contract suite runs on all of them.
 *
 * Names are single components decoded by model/path.ts. No call follows a symlink in the last component, and there
 * is no other component. Failures throw FsError.
 */
export type Fd = number & { readonly __fd: unique symbol };

export type FileKind = "file" | "dir" | "symlink" | "fifo" | "socket" | "char" | "block";

export type Stat = {
  readonly kind: FileKind;
  /** Permission bits, 0..0o7777. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Bytes really allocated; below `size` for sparse files. */
  readonly allocatedBytes: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly ino: bigint;
  readonly dev: number;
};

export type DirItem = { readonly name: string; readonly kind: FileKind | "unknown" };

/** An operating system's refusal. `code` is the errno name. */
export class FsError extends Error {
  readonly code: string;
  readonly call: string;
  constructor(code: string, call: string, what = "") {
    super(`${call}${what === "" ? "" : ` "${what}"`}: ${describeErrno(code)} (${code})`);
    this.name = "FsError";
    this.code = code;
    this.call = call;
  }
}

const ERRNO_TEXT: Record<string, string> = {
  EACCES: "permission denied",
  EDQUOT: "disk quota exceeded",
  EEXIST: "already exists",
  EFBIG: "file too large",
  EIO: "input/output error",
  EISDIR: "is a directory",
  ELOOP: "is a symbolic link",
  EMFILE: "too many open files",
  EMLINK: "too many links",
  ENAMETOOLONG: "name too long",
  ENOENT: "no such file or directory",
  ENOSPC: "no space left on device",
  ENOTDIR: "not a directory",
  ENOTEMPTY: "directory not empty",
  EPERM: "operation not permitted",
  EROFS: "read-only file system",
  ESTALE: "stale file handle",
  ETXTBSY: "text file busy",
  EXDEV: "on another file system",
};

export function describeErrno(code: string): string {
  return ERRNO_TEXT[code] ?? "failed";
}

/** Whether it is an answer of file systems that describeErrno() has words for. */
export function isErrno(code: string): boolean {
  return Object.hasOwn(ERRNO_TEXT, code);
}

export function isCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof FsError && codes.includes(error.code);
}

/** Nothing is at the path: a name of it is missing, or something on the way is no directory; a symlink is none. */
export function isNotThere(error: unknown): boolean {
  return isCode(error, "ENOENT", "ENOTDIR", "ELOOP");
}

export type FileSystemAbilities = {
  /** mtimes are stored with this granularity, e.g. 1n, 1000n, 2_000_000_000n. */
  readonly timestampNs: bigint;
  readonly symlinks: boolean;
  readonly hardlinks: boolean;
  readonly xattrs: boolean;
  readonly owners: boolean;
  readonly modes: boolean;
  readonly caseSensitive: boolean;
  /** Every operation is confined to held descriptors. False on the portable implementation: it can only check. */
  readonly confined: boolean;
};

/** A file to be made as a whole: for createFiles. */
export type NewFile = {
  readonly dir: Fd;
  readonly name: string;
  readonly mode: number;
  readonly bytes: Uint8Array;
  /** Undefined: whatever it gets by being written. */
  readonly mtimeNs: bigint | undefined;
};
export type MadeFile = Pick<Stat, "ino" | "ctimeNs" | "mtimeNs">;

/** Of one call of createFiles: files, and bytes of all of them. More is made all the same, but by the thread that asks. */
export const NEW_FILES_MAX = 1024;
export const NEW_FILES_BYTES_MAX = 1 << 20;

export interface FileSystem {
  readonly platform: string;
  /** Opens a directory by an operator's path; symlinks on the way are followed. */
  openRoot(absolutePath: string): Fd;
  /** Abilities of the file system that holds `dir`; may create and remove probe files in it when `probe`. */
  abilities(dir: Fd, probe: boolean): FileSystemAbilities;
  openDir(dir: Fd, name: string): Fd;
  close(fd: Fd): void;
  /** All items but "." and "..", in no order. A listing that breaks off throws. */
  list(dir: Fd): DirItem[];
  stat(dir: Fd, name: string): Stat;
  fstat(fd: Fd): Stat;
  /** Opens a regular file for reading without blocking on FIFOs or devices; other kinds throw EINVAL. */
  openRead(dir: Fd, name: string): Fd;
  /**
   * Reads a regular file from its beginning until the buffer is full or the file ends, with the stat of the file that was
   * read, taken after the reading, and whether a disk had to be waited for as far as the system tells. Other kinds throw
   * EINVAL.
   */
  readWhole(dir: Fd, name: string, into: Uint8Array): { count: number; stat: Stat; waited: boolean };
  /**
   * Has the disk begin with the first `length` bytes of a file that is read soon, and does not wait for them. A hint: what
   * is in its way is left to the reading.
   */
  readAhead(dir: Fd, name: string, length: number): void;
  /** As openRead, for reading and writing in place. For files that belong to us alone. */
  openWrite(dir: Fd, name: string): Fd;
  /** Creates with O_EXCL for reading and writing; the mode is exact, whatever the umask. */
  create(dir: Fd, name: string, mode: number): Fd;
  /**
   * Makes each as create, write, setMtime and close do, perhaps while this thread does something else; resolves with what
   * became of each, in their order. What fails after it was created is left there. The bytes are taken along before the
   * call returns, the directories' descriptors must stay open until it settles.
   */
  createFiles(files: readonly NewFile[]): Promise<(MadeFile | FsError)[]>;
  /** Reads at `position` until the buffer is full or the file ends; returns the bytes read. */
  read(fd: Fd, into: Uint8Array, position: number): number;
  /** Writes everything or throws. */
  write(fd: Fd, bytes: Uint8Array, position: number): void;
  /** As read and write, but without waiting for a disk on this thread. The buffer belongs to the call until it settles. */
  readAsync(fd: Fd, into: Uint8Array, position: number): Promise<number>;
  writeAsync(fd: Fd, bytes: Uint8Array, position: number): Promise<void>;
  /**
   * Reads what the page cache holds, without bringing anything into it. Resolves with the bytes read: all of `into`, or
   * fewer, mostly none, where something of it is not there or nobody can tell. As readAsync otherwise.
   */
  readCached(fd: Fd, into: Uint8Array, position: number): Promise<number>;
  /**
   * Writes the beginning of `bytes` into the page cache, on this thread, as long as that costs little more than a copy: the
   * memory for it is at hand, and nobody is held back. Returns the bytes written; the rest is to go another way. Throws
   * as write does.
   */
  writeCached(fd: Fd, bytes: Uint8Array, position: number): number;
  /**
   * Opens the file behind `fd`, which is one of ours, once more: for readUncached and writeUncached alone. Undefined
   * where the system, or the file system, does not say that it can. It is closed as every descriptor is.
   */
  openUncached(fd: Fd): Fd | undefined;
  /**
   * Writes `parts`, one behind the other, from memory to the disk without a copy in the page cache. Resolves with the
   * bytes written, from the beginning on; the rest has to go through writeAsync, which also tells why. All of it does
   * unless position, lengths and addresses are multiples of PAGE_BYTES (aligned-bytes.ts). As writeAsync otherwise.
   *
   * No other write may be under way in the same pages. What is written may be read through `fd` afterwards.
   */
  writeUncached(fd: Fd, parts: readonly Uint8Array[], position: number): Promise<number>;
  /**
   * Reads from the disk into memory without a copy in the page cache, what was written through the cache included.
   * Resolves with the bytes read: all of `into`, or fewer where the file ends, or where the rest has to be read through
   * readAsync. Nothing unless position, length and address are multiples of PAGE_BYTES. As readAsync otherwise.
   */
  readUncached(fd: Fd, into: Uint8Array, position: number): Promise<number>;
  truncate(fd: Fd, size: number): void;
  /**
   * Takes the exclusive lock on an open file, until the descriptor is closed or the process ends. False when another
   * descriptor holds it, in this process or another. Throws ENOTSUP where the system has no such locks.
   */
  tryLock(fd: Fd): boolean;
  /** Copies inside the kernel, sharing blocks where the disk can. Returns bytes copied, short at end of source. */
  copyRange(source: Fd, sourcePosition: number, target: Fd, targetPosition: number, length: number): number;
  /** The next range holding data at or after `position`, or undefined at the end. Whole rest where unsupported. */
  dataRange(fd: Fd, position: number, size: number): { start: number; end: number } | undefined;
  chmod(fd: Fd, mode: number): void;
  chown(fd: Fd, uid: number, gid: number): void;
  setMtime(fd: Fd, mtimeNs: bigint): void;
  /** chown for what cannot be opened: symlinks. */
  chownAt(dir: Fd, name: string, uid: number, gid: number): void;
  getXattrs(fd: Fd): [name: string, value: Uint8Array][];
  setXattr(fd: Fd, name: string, value: Uint8Array): void;
  removeXattr(fd: Fd, name: string): void;
  readlink(dir: Fd, name: string): string;
  symlink(target: string, dir: Fd, name: string): void;
  mkdir(dir: Fd, name: string, mode: number): void;
  /** Atomic rename. `replace: false` fails with EEXIST instead of replacing. */
  rename(fromDir: Fd, fromName: string, toDir: Fd, toName: string, options: { replace: boolean }): void;
  /** Atomically swaps two names. Throws ENOSYS or EINVAL where the system cannot. */
  exchange(aDir: Fd, aName: string, bDir: Fd, bName: string): void;
  link(fromDir: Fd, fromName: string, toDir: Fd, toName: string): void;
  unlink(dir: Fd, name: string): void;
  rmdir(dir: Fd, name: string): void;
  /** Makes the file or directory durable. */
  sync(fd: Fd): Promise<void>;
  /** Makes everything written to the file system that holds `fd` durable. Falls back to sync() per call. */
  syncAll(fd: Fd): Promise<void>;
  /** Starts writing dirty pages back without waiting; a hint that may do nothing. */
  startWriteback(fd: Fd, position: number, length: number): void;
  space(fd: Fd): { freeBytes: number; totalBytes: number; freeInodes: number; type: string };
  /** Maps owners between names and numbers; undefined where unknown. Cached. */
  userName(uid: number): string | undefined;
  groupName(gid: number): string | undefined;
  userId(name: string): number | undefined;
  groupId(name: string): number | undefined;
}

/** Removes a file or a symlink, whether it is there or not. @throws {FsError} */
export function unlinkIfThere(fs: FileSystem, dir: Fd, name: string): void {
  try {
    fs.unlink(dir, name);
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
}
