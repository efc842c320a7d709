/**
 * The file system through node:fs, for macOS and Windows and as the last resort on Linux.
 *
 * node:fs has no openat: a held directory is a path plus the identity (device and inode) it had when it was
 * opened, compared before every operation. A directory that was moved or swapped is refused with ESTALE,
 * except that this instance's own renames are followed. Between the comparison and the operation another
 * process may still swap a parent for a symlink, so `abilities().confined` is false.
 *
 * Modification times have microseconds (milliseconds before 1970), both as set and as reported, because the
 * runtime takes them as floating-point seconds. There are no xattrs and no exchange: ENOTSUP.
 */
import * as fs from "node:fs";
import { decodeName, encodeName } from "#model/path.ts";
import {
  type DirItem,
  type Fd,
  type FileKind,
  type FileSystem,
  type FileSystemAbilities,
  FsError,
  type MadeFile,
  type NewFile,
  type Stat,
  isCode,
} from "#platform/file-system.ts";
import { Accounts } from "#platform/portable/accounts.ts";
import {
  IO_BYTES_MAX,
  asFsError,
  readOffThread,
  syncOffThread,
  writeOffThread,
} from "#platform/portable/fd-io.ts";
import { probeAbilities } from "#platform/portable/probe-abilities.ts";
import { createFilesInTurn } from "#platform/portable/create-files.ts";
import { readWhole } from "#platform/portable/read-whole.ts";

type HeldDir = { path: string; readonly dev: bigint; readonly ino: bigint };

/** Directories are not open in the system's sense; their numbers lie above every descriptor's. */
const DIR_FD_FIRST = 2 ** 30;
const COPY_BYTES = 256 * 1024;
const NS_PER_US = 1_000n;
const NS_PER_MS = 1_000_000n;
// Windows has neither flag; there the kind is checked before opening.
const NO_FOLLOW = fs.constants.O_NOFOLLOW ?? 0;
const NON_BLOCK = fs.constants.O_NONBLOCK ?? 0;
const IS_WINDOWS = process.platform === "win32";
const SEPARATORS = IS_WINDOWS ? /[/\\:\0]/ : /[/\0]/;
/** What a link is refused with where there are no hard links. */
const LINK_UNABLE = ["EPERM", "ENOTSUP", "EMLINK", "ENOSYS"];

export class PortableFileSystem implements FileSystem {
  readonly platform = process.platform;
  readonly #dirs = new Map<number, HeldDir>();
  readonly #accounts = new Accounts();
  #nextDir = DIR_FD_FIRST;

  openRoot(absolutePath: string): Fd {
    if (absolutePath.includes("\0")) throw new FsError("EINVAL", "open root", absolutePath);
    return attempt("open root", absolutePath, () => this.#hold(fs.realpathSync(absolutePath)));
  }

  abilities(dir: Fd, probe: boolean): FileSystemAbilities {
    if (probe) return probeAbilities(this, dir, false);
    this.#dirPath(dir, "abilities");
    return {
      timestampNs: NS_PER_US,
      symlinks: !IS_WINDOWS,
      hardlinks: true,
      xattrs: false,
      owners: process.geteuid?.() === 0,
      modes: !IS_WINDOWS,
      caseSensitive: process.platform !== "darwin" && !IS_WINDOWS,
      confined: false,
    };
  }

  openDir(dir: Fd, name: string): Fd {
    const path = this.#path(dir, name, "open directory");
    return attempt("open directory", name, () => this.#hold(path));
  }

  close(fd: Fd): void {
    if (this.#dirs.delete(fd)) return;
    attempt("close", "", () => fs.closeSync(fd));
  }

  list(dir: Fd): DirItem[] {
    const path = this.#dirPath(dir, "list");
    return attempt("list", "", () => {
      const items = fs.readdirSync(pathArgument(path), { withFileTypes: true });
      // U+FFFD may stand for bytes that are not UTF-8; the names must be taken as bytes then.
      if (items.some((item) => item.name.includes("\ufffd"))) {
        const names = fs.readdirSync(pathArgument(path), { encoding: "buffer" });
        return names.map((name): DirItem => ({ name: decodeName(name), kind: "unknown" }));
      }
      return items.map((item): DirItem => ({ name: item.name, kind: kindOf(item) ?? "unknown" }));
    });
  }

  stat(dir: Fd, name: string): Stat {
    const path = this.#path(dir, name, "stat");
    return attempt("stat", name, () => asStat(fs.lstatSync(pathArgument(path), { bigint: true })));
  }

  fstat(fd: Fd): Stat {
    const held = this.#dirs.get(fd);
    if (held === undefined) return attempt("stat", "", () => asStat(fs.fstatSync(fd, { bigint: true })));
    const path = this.#dirPath(fd, "stat");
    return attempt("stat", "", () => asStat(fs.lstatSync(pathArgument(path), { bigint: true })));
  }

  openRead(dir: Fd, name: string): Fd {
    return this.#openFile(dir, name, fs.constants.O_RDONLY);
  }

  readWhole(dir: Fd, name: string, into: Uint8Array): { count: number; stat: Stat; waited: boolean } {
    return readWhole(this, dir, name, into);
  }

  readAhead(): void {
    // Nothing here tells a disk what comes.
  }

  openWrite(dir: Fd, name: string): Fd {
    return this.#openFile(dir, name, fs.constants.O_RDWR);
  }

  #openFile(dir: Fd, name: string, access: number): Fd {
    const path = pathArgument(this.#path(dir, name, "open"));
    // Before opening too: where the flags below are missing, opening could follow a symlink or wait for a
    // FIFO.
    const before = attempt("open", name, () => fs.lstatSync(path));
    if (!before.isFile()) throw new FsError(before.isSymbolicLink() ? "ELOOP" : "EINVAL", "open", name);
    const fd = attempt("open", name, () => fs.openSync(path, access | NO_FOLLOW | NON_BLOCK));
    if (fs.fstatSync(fd).isFile()) return fd as Fd;
    fs.closeSync(fd);
    throw new FsError("EINVAL", "open", name);
  }

  create(dir: Fd, name: string, mode: number): Fd {
    const path = this.#path(dir, name, "create");
    const { O_CREAT, O_EXCL, O_RDWR } = fs.constants;
    const fd = attempt("create", name, () =>
      fs.openSync(pathArgument(path), O_RDWR | O_CREAT | O_EXCL | NO_FOLLOW, mode),
    ) as Fd;
    this.chmod(fd, mode);
    return fd;
  }

  createFiles(files: readonly NewFile[]): Promise<(MadeFile | FsError)[]> {
    return createFilesInTurn(this, files);
  }

  read(fd: Fd, into: Uint8Array, position: number): number {
    return attempt("read", "", () => {
      let done = 0;
      while (done < into.length) {
        const want = Math.min(into.length - done, IO_BYTES_MAX);
        const count = fs.readSync(fd, into, done, want, position + done);
        if (count === 0) break;
        done += count;
      }
      return done;
    });
  }

  write(fd: Fd, bytes: Uint8Array, position: number): void {
    attempt("write", "", () => {
      for (let done = 0; done < bytes.length; ) {
        const want = Math.min(bytes.length - done, IO_BYTES_MAX);
        const count = fs.writeSync(fd, bytes, done, want, position + done);
        if (count === 0) throw new FsError("EIO", "write");
        done += count;
      }
    });
  }

  readAsync(fd: Fd, into: Uint8Array, position: number): Promise<number> {
    return readOffThread(fd, into, position);
  }

  writeAsync(fd: Fd, bytes: Uint8Array, position: number): Promise<void> {
    return writeOffThread(fd, bytes, position);
  }

  async readCached(): Promise<number> {
    return 0;
  }

  writeCached(): number {
    return 0;
  }

  openUncached(): undefined {}

  async writeUncached(): Promise<number> {
    return 0;
  }

  async readUncached(): Promise<number> {
    return 0;
  }

  truncate(fd: Fd, size: number): void {
    attempt("truncate", "", () => fs.ftruncateSync(fd, size));
  }

  /** Node has no call for it. */
  tryLock(_fd: Fd): boolean {
    throw new FsError("ENOTSUP", "lock");
  }

  copyRange(source: Fd, sourcePosition: number, target: Fd, targetPosition: number, length: number): number {
    const buffer = new Uint8Array(Math.min(COPY_BYTES, length));
    let done = 0;
    while (done < length) {
      const want = Math.min(length - done, buffer.length);
      const count = this.read(source, buffer.subarray(0, want), sourcePosition + done);
      this.write(target, buffer.subarray(0, count), targetPosition + done);
      done += count;
      if (count < want) break;
    }
    return done;
  }

  dataRange(_fd: Fd, position: number, size: number): { start: number; end: number } | undefined {
    return position < size ? { start: position, end: size } : undefined;
  }

  chmod(fd: Fd, mode: number): void {
    this.#onOpen(fd, "set mode", () => fs.fchmodSync(fd, mode), (path) => fs.chmodSync(path, mode));
  }

  chown(fd: Fd, uid: number, gid: number): void {
    this.#onOpen(fd, "set owner", () => fs.fchownSync(fd, uid, gid), (path) => fs.lchownSync(path, uid, gid));
  }

  setMtime(fd: Fd, mtimeNs: bigint): void {
    const atime = this.#onOpen(
      fd,
      "set time",
      () => fs.fstatSync(fd).atime,
      (path) => fs.lstatSync(path).atime,
    );
    const mtime = asTime(mtimeNs);
    this.#onOpen(
      fd,
      "set time",
      () => fs.futimesSync(fd, atime, mtime),
      (path) => fs.lutimesSync(path, atime, mtime),
    );
  }

  chownAt(dir: Fd, name: string, uid: number, gid: number): void {
    const path = this.#path(dir, name, "set owner");
    attempt("set owner", name, () => fs.lchownSync(pathArgument(path), uid, gid));
  }

  getXattrs(_fd: Fd): [name: string, value: Uint8Array][] {
    throw new FsError("ENOTSUP", "list attributes");
  }

  setXattr(_fd: Fd, name: string, _value: Uint8Array): void {
    throw new FsError("ENOTSUP", "set attribute", name);
  }

  removeXattr(_fd: Fd, name: string): void {
    throw new FsError("ENOTSUP", "remove attribute", name);
  }

  readlink(dir: Fd, name: string): string {
    const path = this.#path(dir, name, "read link");
    return attempt("read link", name, () =>
      decodeName(fs.readlinkSync(pathArgument(path), { encoding: "buffer" })),
    );
  }

  symlink(target: string, dir: Fd, name: string): void {
    const path = this.#path(dir, name, "make symlink");
    if (target.includes("\0")) throw new FsError("EINVAL", "make symlink", name);
    attempt("make symlink", name, () => fs.symlinkSync(pathArgument(target), pathArgument(path)));
  }

  mkdir(dir: Fd, name: string, mode: number): void {
    const path = this.#path(dir, name, "make directory");
    attempt("make directory", name, () => {
      fs.mkdirSync(pathArgument(path), { mode });
      if (!IS_WINDOWS) fs.chmodSync(pathArgument(path), mode);
    });
  }

  rename(fromDir: Fd, fromName: string, toDir: Fd, toName: string, options: { replace: boolean }): void {
    const from = this.#path(fromDir, fromName, "rename");
    const to = this.#path(toDir, toName, "rename");
    attempt("rename", fromName, () => {
      if (!options.replace && this.#linkedInstead(from, to)) return;
      fs.renameSync(pathArgument(from), pathArgument(to));
      this.#moveHeld(from, to);
    });
  }

  exchange(_aDir: Fd, aName: string, _bDir: Fd, _bName: string): void {
    throw new FsError("ENOSYS", "exchange", aName);
  }

  link(fromDir: Fd, fromName: string, toDir: Fd, toName: string): void {
    const from = this.#path(fromDir, fromName, "link");
    const to = this.#path(toDir, toName, "link");
    attempt("link", fromName, () => fs.linkSync(pathArgument(from), pathArgument(to)));
  }

  unlink(dir: Fd, name: string): void {
    const path = this.#path(dir, name, "remove");
    attempt("remove", name, () => fs.unlinkSync(pathArgument(path)));
  }

  rmdir(dir: Fd, name: string): void {
    const path = this.#path(dir, name, "remove directory");
    attempt("remove directory", name, () => fs.rmdirSync(pathArgument(path)));
  }

  async sync(fd: Fd): Promise<void> {
    if (!this.#dirs.has(fd)) return syncOffThread(fd);
    // Windows cannot sync a directory; its file systems journal names themselves.
    const path = pathArgument(this.#dirPath(fd, "sync"));
    if (IS_WINDOWS) return;
    const opened = attempt("sync", "", () => fs.openSync(path, fs.constants.O_RDONLY | NO_FOLLOW)) as Fd;
    try {
      await syncOffThread(opened);
    } finally {
      fs.closeSync(opened);
    }
  }

  /** There is no barrier for a whole file system here, so only `fd` itself becomes durable. */
  syncAll(fd: Fd): Promise<void> {
    return this.sync(fd);
  }

  startWriteback(): void {}

  space(fd: Fd): { freeBytes: number; totalBytes: number; freeInodes: number; type: string } {
    const path = this.#dirs.has(fd) ? this.#dirPath(fd, "space") : `/dev/fd/${fd}`;
    const found = attempt("space", "", () => fs.statfsSync(pathArgument(path)));
    return {
      freeBytes: found.bavail * found.bsize,
      totalBytes: found.blocks * found.bsize,
      freeInodes: found.files === 0 ? Number.MAX_SAFE_INTEGER : found.ffree,
      type: `0x${found.type.toString(16)}`,
    };
  }

  userName(uid: number): string | undefined {
    return this.#accounts.userName(uid);
  }

  groupName(gid: number): string | undefined {
    return this.#accounts.groupName(gid);
  }

  userId(name: string): number | undefined {
    return this.#accounts.userId(name);
  }

  groupId(name: string): number | undefined {
    return this.#accounts.groupId(name);
  }

  #hold(path: string): Fd {
    const stat = fs.lstatSync(pathArgument(path), { bigint: true });
    if (!stat.isDirectory()) throw new FsError("ENOTDIR", "open directory", path);
    const fd = this.#nextDir++;
    this.#dirs.set(fd, { path, dev: stat.dev, ino: stat.ino });
    return fd as Fd;
  }

  /** The path of a held directory, after checking that it still leads to the same one. */
  #dirPath(dir: Fd, call: string): string {
    const held = this.#dirs.get(dir);
    if (held === undefined) throw new FsError("EBADF", call);
    const path = pathArgument(held.path);
    const stat = attempt(call, "", () => fs.statSync(path, { bigint: true, throwIfNoEntry: false }));
    if (stat === undefined) throw new FsError("ENOENT", call);
    if (stat.ino !== held.ino || stat.dev !== held.dev) throw new FsError("ESTALE", call);
    return held.path;
  }

  #path(dir: Fd, name: string, call: string): string {
    if (name === "" || name === "." || name === ".." || SEPARATORS.test(name)) {
      throw new FsError("EINVAL", call, name);
    }
    const parent = this.#dirPath(dir, call);
    return parent.endsWith("/") ? parent + name : `${parent}/${name}`;
  }

  /** Runs what suits the descriptor: a file's system call, or a path call on a held directory. */
  #onOpen<T>(fd: Fd, call: string, onFile: () => T, onDir: (path: string | Buffer) => T): T {
    if (!this.#dirs.has(fd)) return attempt(call, "", onFile);
    const path = pathArgument(this.#dirPath(fd, call));
    return attempt(call, "", () => onDir(path));
  }

  /**
   * Moves a file without replacing: a link fails when the name is taken. Answers false when a plain rename is
   * to be made, for what cannot be linked; the name was then free a moment ago.
   */
  #linkedInstead(from: string, to: string): boolean {
    const source = pathArgument(from);
    const target = pathArgument(to);
    if (fs.lstatSync(source).isFile()) {
      try {
        fs.linkSync(source, target);
        fs.unlinkSync(source);
        return true;
      } catch (error) {
        const refusal = asFsError(error, "rename");
        if (!isCode(refusal, ...LINK_UNABLE)) throw error;
      }
    }
    const taken = fs.lstatSync(target, { throwIfNoEntry: false }) !== undefined;
    if (taken) throw new FsError("EEXIST", "rename", to);
    return false;
  }

  #moveHeld(from: string, to: string): void {
    for (const held of this.#dirs.values()) {
      const moved = held.path === from || held.path.startsWith(`${from}/`);
      if (moved) held.path = to + held.path.slice(from.length);
    }
  }
}

function attempt<T>(call: string, what: string, make: () => T): T {
  for (;;) {
    try {
      return make();
    } catch (error) {
      if (error instanceof FsError) throw error;
      const ours = asFsError(error, call, what);
      if (!(ours instanceof FsError) || ours.code !== "EINTR") throw ours;
    }
  }
}

/** Names that are not UTF-8 must be passed as bytes. */
function pathArgument(path: string): string | Buffer {
  return path.isWellFormed() ? path : Buffer.from(encodeName(path));
}

function kindOf(item: fs.Dirent | fs.BigIntStats): FileKind | undefined {
  if (item.isFile()) return "file";
  if (item.isDirectory()) return "dir";
  if (item.isSymbolicLink()) return "symlink";
  if (item.isFIFO()) return "fifo";
  if (item.isSocket()) return "socket";
  if (item.isCharacterDevice()) return "char";
  return item.isBlockDevice() ? "block" : undefined;
}

function asStat(stat: fs.BigIntStats): Stat {
  const size = Number(stat.size);
  return {
    kind: kindOf(stat) ?? "file",
    mode: Number(stat.mode) & 0o7777,
    nlink: Number(stat.nlink),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    size,
    allocatedBytes: stat.blocks === undefined ? size : Number(stat.blocks) * 512,
    mtimeNs: floorTime(stat.mtimeNs),
    ctimeNs: stat.ctimeNs,
    ino: stat.ino,
    dev: Number(stat.dev),
  };
}

/** The time as asTime can set it. */
function floorTime(timeNs: bigint): bigint {
  const unitNs = timeNs < 0n ? NS_PER_MS : NS_PER_US;
  const rest = timeNs % unitNs;
  return timeNs - (rest < 0n ? rest + unitNs : rest);
}

/**
 * A time for utimes. Seconds carry microseconds; the half more keeps rounding from falling into the one
 * before. The runtime takes negative seconds for "now", but not a Date.
 */
function asTime(timeNs: bigint): number | Date {
  const floored = floorTime(timeNs);
  return floored < 0n ? new Date(Number(floored / NS_PER_MS)) : (Number(floored / NS_PER_US) + 0.5) / 1e6;
}
