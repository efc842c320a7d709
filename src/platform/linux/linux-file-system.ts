/**
 * The file system through Linux system calls. Every operation is relative to a held descriptor and refuses to
 * follow a symlink, so nothing another process does to a parent directory can lead it outside. One instance
 * belongs to one thread: names, stats and listings pass through buffers it reuses.
 */
import type { Pointer } from "bun:ffi";
import { decodeName } from "#model/path.ts";
import type { DirItem, Fd, FileSystem, FileSystemAbilities, MadeFile, NewFile, Stat } from "#platform/file-system.ts";
import { FsError, isCode } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";
import { CachedReads } from "#platform/linux/cached-read.ts";
import { CachedWrites } from "#platform/linux/cached-write.ts";
import { CreateThread } from "#platform/linux/create-thread.ts";
import { DirLister } from "#platform/linux/dirents.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_NO_AUTOMOUNT,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  type Libc,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  POSIX_FADV_WILLNEED,
  SEEK_DATA,
  SEEK_HOLE,
  errnoName,
  throwErrno,
} from "#platform/linux/libc.ts";
import { NameBuffer } from "#platform/linux/name-buffer.ts";
import { STATX_MASK, StatBuffer } from "#platform/linux/stat-buffer.ts";
import { SyncfsThread } from "#platform/linux/syncfs-thread.ts";
import { WarmWrites, threadTime } from "#platform/linux/warm-write.ts";
import { openUncached, readUncached, writeUncached } from "#platform/linux/uncached.ts";
import { Xattrs } from "#platform/linux/xattrs.ts";
import { assumeAbilities, spaceOf } from "#platform/linux/statfs.ts";
import { Accounts } from "#platform/portable/accounts.ts";
import { IO_BYTES_MAX, readOffThread, syncOffThread, writeOffThread } from "#platform/portable/fd-io.ts";
import { createFilesInTurn } from "#platform/portable/create-files.ts";
import { probeAbilities } from "#platform/portable/probe-abilities.ts";

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const LOCK_EX = 2;
const LOCK_NB = 4;
/** tv_nsec that leaves a time as it is. */
const UTIME_OMIT = BigInt(2 ** 30 - 2);
const NS_PER_SECOND = 1_000_000_000n;
const SYNC_FILE_RANGE_WRITE = 2;
/** A symlink's target never exceeds PATH_MAX. */
const LINK_BYTES_MAX = 4096;
/** Buffer for copies that the kernel cannot do inside. */
const COPY_BYTES = 256 * 1024;
/** copy_file_range's ways to say "not between these two": copy by hand then. */
const COPY_UNABLE = new Set(["EXDEV", "EINVAL", "ENOSYS", "ENOTSUP", "EPERM"]);

export class LinuxFileSystem implements FileSystem {
  readonly platform = "linux";
  readonly #libc: Libc;
  readonly #name = new NameBuffer();
  readonly #otherName = new NameBuffer();
  /** The empty path that makes statx take the descriptor itself. */
  readonly #empty = new Uint8Array(1);
  readonly #emptyAddress: Pointer = heldAddress(this.#empty);
  readonly #stat = new StatBuffer();
  readonly #cachedReads: CachedReads;
  readonly #cachedWrites: CachedWrites;
  readonly #warmWrites: WarmWrites;
  readonly #lister: DirLister;
  readonly #xattrs: Xattrs;
  readonly #syncfs: SyncfsThread;
  readonly #creating: CreateThread;
  readonly #accounts = new Accounts();
  readonly #link = new Uint8Array(LINK_BYTES_MAX);
  readonly #linkAddress: Pointer = heldAddress(this.#link);
  /** Two struct timespec; the first, the access time, is never changed. */
  readonly #times = BigInt64Array.of(0n, UTIME_OMIT, 0n, 0n);
  readonly #timesAddress: Pointer = heldAddress(this.#times);
  /** The two offsets of copy_file_range. */
  readonly #offsets = new BigInt64Array(2);
  readonly #sourceOffset: Pointer = heldAddress(this.#offsets);
  readonly #targetOffset: Pointer = heldAddress(this.#offsets, 8);
  #copyBuffer: Uint8Array | undefined;
  readonly #openDirFlags: number;
  readonly #openReadFlags: number;
  readonly #createFlags: number;
  readonly #umask: number;

  /** @param umask of the process, which another thread must not ask for: that would set it for a moment */
  constructor(libc: Libc, umask: number = process.umask()) {
    this.#libc = libc;
    this.#cachedReads = new CachedReads(libc);
    this.#cachedWrites = new CachedWrites((fd, bytes, position) => this.write(fd, bytes, position));
    this.#warmWrites = new WarmWrites((fd, bytes, position) => this.write(fd, bytes, position), threadTime(libc));
    this.#lister = new DirLister(libc);
    this.#xattrs = new Xattrs(libc, this.#name);
    this.#syncfs = new SyncfsThread(libc);
    this.#creating = new CreateThread(umask);
    this.#openDirFlags = O_RDONLY | libc.O_DIRECTORY | libc.O_NOFOLLOW | O_CLOEXEC;
    this.#openReadFlags = O_RDONLY | libc.O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    this.#createFlags = O_RDWR | O_CREAT | O_EXCL | libc.O_NOFOLLOW | O_CLOEXEC;
    // Nothing in this program changes it, so once is enough.
    this.#umask = umask;
  }

  openRoot(absolutePath: string): Fd {
    this.#name.putText(absolutePath, "open root");
    return this.#open(AT_FDCWD, O_RDONLY | this.#libc.O_DIRECTORY | O_CLOEXEC, 0, "open root", absolutePath);
  }

  abilities(dir: Fd, probe: boolean): FileSystemAbilities {
    return probe ? probeAbilities(this, dir, true) : assumeAbilities(this.space(dir).type);
  }

  openDir(dir: Fd, name: string): Fd {
    this.#name.putName(name, "open directory");
    return this.#open(dir, this.#openDirFlags, 0, "open directory", name);
  }

  close(fd: Fd): void {
    // Never made again after EINTR: Linux has closed it, and the number may already be somebody else's.
    this.#libc.close(fd);
  }

  list(dir: Fd): DirItem[] {
    return this.#lister.list(dir);
  }

  stat(dir: Fd, name: string): Stat {
    this.#name.putName(name, "stat");
    this.#statInto(dir, this.#name.address, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, name);
    return this.#stat.decode();
  }

  fstat(fd: Fd): Stat {
    this.#statInto(fd, this.#emptyAddress, AT_EMPTY_PATH, "");
    return this.#stat.decode();
  }

  openRead(dir: Fd, name: string): Fd {
    return this.#openFile(dir, name, this.#openReadFlags);
  }

  openWrite(dir: Fd, name: string): Fd {
    return this.#openFile(dir, name, this.#openReadFlags | O_RDWR);
  }

  readWhole(dir: Fd, name: string, into: Uint8Array): { count: number; stat: Stat; waited: boolean } {
    const fd = this.#openAny(dir, name, this.#openReadFlags);
    try {
      let count = this.#cachedReads.read(fd, into, 0);
      let waited = false;
      if (count < into.length) {
        waited = this.#cachedReads.isAwaited;
        count += this.#readOpened(fd, name, into.subarray(count), count);
      }
      // One stat serves both questions: what kind it is, and what it was like when it had been read.
      this.#statFile(fd, name);
      return { count, stat: this.#stat.decode(), waited };
    } finally {
      this.close(fd);
    }
  }

  readAhead(dir: Fd, name: string, length: number): void {
    this.#name.putName(name, "read ahead");
    const fd = this.#libc.openat(dir, this.#name.address, this.#openReadFlags, 0);
    if (fd < 0) return;
    // What it has begun goes on when the file is closed.
    this.#libc.posix_fadvise(fd, 0, length, POSIX_FADV_WILLNEED);
    this.#libc.close(fd);
  }

  /** A directory or a FIFO refuses to be read before anybody has asked what it is. */
  #readOpened(fd: Fd, name: string, into: Uint8Array, position: number): number {
    try {
      return this.read(fd, into, position);
    } catch (error) {
      this.#statFile(fd, name);
      throw error;
    }
  }

  #openFile(dir: Fd, name: string, flags: number): Fd {
    const fd = this.#openAny(dir, name, flags);
    try {
      this.#statFile(fd, name);
    } catch (error) {
      this.close(fd);
      throw error;
    }
    return fd;
  }

  #openAny(dir: Fd, name: string, flags: number): Fd {
    this.#name.putName(name, "open");
    try {
      return this.#open(dir, flags, 0, "open", name);
    } catch (error) {
      // What open(2) says of a socket, and of a device that is not there.
      if (isCode(error, "ENXIO", "ENODEV")) throw new FsError("EINVAL", "open", name);
      throw error;
    }
  }

  /** Into #stat, for a regular file; other kinds throw EINVAL. */
  #statFile(fd: Fd, name: string): void {
    this.#statInto(fd, this.#emptyAddress, AT_EMPTY_PATH, name);
    if (!this.#stat.isRegularFile()) throw new FsError("EINVAL", "open", name);
  }

  create(dir: Fd, name: string, mode: number): Fd {
    this.#name.putName(name, "create");
    const fd = this.#open(dir, this.#createFlags, mode, "create", name);
    if (this.#needsChmod(mode)) this.#chmodNew(fd, mode);
    return fd;
  }

  createFiles(files: readonly NewFile[]): Promise<(MadeFile | FsError)[]> {
    return this.#creating.create(files) ?? createFilesInTurn(this, files);
  }

  read(fd: Fd, into: Uint8Array, position: number): number {
    const libc = this.#libc;
    let done = 0;
    while (done < into.length) {
      const rest = done === 0 ? into : into.subarray(done);
      const count = libc.pread(fd, rest, Math.min(rest.length, IO_BYTES_MAX), position + done);
      if (libc.interrupted(count)) continue;
      if (count < 0) throwErrno(libc, "read");
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  write(fd: Fd, bytes: Uint8Array, position: number): void {
    const libc = this.#libc;
    let done = 0;
    while (done < bytes.length) {
      const rest = done === 0 ? bytes : bytes.subarray(done);
      const count = libc.pwrite(fd, rest, Math.min(rest.length, IO_BYTES_MAX), position + done);
      if (libc.interrupted(count)) continue;
      if (count < 0) throwErrno(libc, "write");
      // Not an error of the call, but going on could loop for ever.
      if (count === 0) throw new FsError("EIO", "write");
      done += count;
    }
  }

  async readAsync(fd: Fd, into: Uint8Array, position: number): Promise<number> {
    const turn = this.#cachedReads.turn();
    if (turn !== undefined) await turn;
    const cached = this.#cachedReads.read(fd, into, position);
    if (cached === into.length) return cached;
    return cached + (await readOffThread(fd, into.subarray(cached), position + cached));
  }

  async writeAsync(fd: Fd, bytes: Uint8Array, position: number): Promise<void> {
    const written = this.#cachedWrites.write(fd, bytes, position);
    if (written < bytes.length) await writeOffThread(fd, bytes.subarray(written), position + written);
  }

  async readCached(fd: Fd, into: Uint8Array, position: number): Promise<number> {
    const turn = this.#cachedReads.turn();
    if (turn !== undefined) await turn;
    return this.#cachedReads.holds(fd, position, into.length) ? this.#cachedReads.read(fd, into, position) : 0;
  }

  writeCached(fd: Fd, bytes: Uint8Array, position: number): number {
    return this.#warmWrites.write(fd, bytes, position);
  }

  openUncached(fd: Fd): Fd | undefined {
    return openUncached(this.#libc, fd);
  }

  writeUncached(fd: Fd, parts: readonly Uint8Array[], position: number): Promise<number> {
    return writeUncached(fd, parts, position);
  }

  readUncached(fd: Fd, into: Uint8Array, position: number): Promise<number> {
    return readUncached(fd, into, position);
  }

  truncate(fd: Fd, size: number): void {
    let result: number;
    do result = this.#libc.ftruncate(fd, size);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, "truncate");
  }

  tryLock(fd: Fd): boolean {
    let result: number;
    do result = this.#libc.flock(fd, LOCK_EX | LOCK_NB);
    while (this.#libc.interrupted(result));
    if (result === 0) return true;
    // EWOULDBLOCK has the number of EAGAIN.
    if (errnoName(this.#libc.errno()) === "EAGAIN") return false;
    return throwErrno(this.#libc, "lock");
  }

  copyRange(source: Fd, sourcePosition: number, target: Fd, targetPosition: number, length: number): number {
    const libc = this.#libc;
    let done = 0;
    while (done < length) {
      this.#offsets[0] = BigInt(sourcePosition + done);
      this.#offsets[1] = BigInt(targetPosition + done);
      const want = Math.min(length - done, IO_BYTES_MAX);
      const count = libc.copyFileRange(source, this.#sourceOffset, target, this.#targetOffset, want);
      if (libc.interrupted(count)) continue;
      if (count > 0) {
        done += count;
        continue;
      }
      if (count < 0 && !COPY_UNABLE.has(errnoName(libc.errno()))) throwErrno(libc, "copy");
      // Some file systems answer 0 where they should refuse, so the end of the source is confirmed by
      // reading.
      const rest = length - done;
      return done + this.#copyByHand(source, sourcePosition + done, target, targetPosition + done, rest);
    }
    return done;
  }

  dataRange(fd: Fd, position: number, size: number): { start: number; end: number } | undefined {
    if (position >= size) return undefined;
    const libc = this.#libc;
    const start = Number(libc.lseek(fd, position, SEEK_DATA));
    if (start < 0) {
      const code = errnoName(libc.errno());
      if (code === "ENXIO") return undefined;
      if (code === "EINVAL" || code === "ENOTSUP") return { start: position, end: size };
      throw new FsError(code, "seek data");
    }
    // The file may have grown since `size` was taken; what is beyond it was not asked for.
    if (start >= size) return undefined;
    const end = Number(libc.lseek(fd, start, SEEK_HOLE));
    return { start, end: end < 0 ? size : Math.min(end, size) };
  }

  chmod(fd: Fd, mode: number): void {
    let result: number;
    do result = this.#libc.fchmod(fd, mode);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, "set mode");
  }

  chown(fd: Fd, uid: number, gid: number): void {
    let result: number;
    do result = this.#libc.fchown(fd, uid >>> 0, gid >>> 0);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, "set owner");
  }

  setMtime(fd: Fd, mtimeNs: bigint): void {
    // Floor division: the kernel wants nanoseconds in 0..999,999,999 also before 1970.
    let seconds = mtimeNs / NS_PER_SECOND;
    let nanoseconds = mtimeNs - seconds * NS_PER_SECOND;
    if (nanoseconds < 0n) {
      seconds -= 1n;
      nanoseconds += NS_PER_SECOND;
    }
    this.#times[2] = seconds;
    this.#times[3] = nanoseconds;
    let result: number;
    do result = this.#libc.futimens(fd, this.#timesAddress);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, "set time");
  }

  chownAt(dir: Fd, name: string, uid: number, gid: number): void {
    this.#name.putName(name, "set owner");
    let result: number;
    do result = this.#libc.fchownat(dir, this.#name.address, uid >>> 0, gid >>> 0, AT_SYMLINK_NOFOLLOW);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, "set owner", name);
  }

  getXattrs(fd: Fd): [name: string, value: Uint8Array][] {
    return this.#xattrs.get(fd);
  }

  setXattr(fd: Fd, name: string, value: Uint8Array): void {
    this.#xattrs.set(fd, name, value);
  }

  removeXattr(fd: Fd, name: string): void {
    this.#xattrs.remove(fd, name);
  }

  readlink(dir: Fd, name: string): string {
    this.#name.putName(name, "read link");
    let count: number;
    do count = this.#libc.readlinkat(dir, this.#name.address, this.#linkAddress, LINK_BYTES_MAX);
    while (this.#libc.interrupted(count));
    if (count < 0) throwErrno(this.#libc, "read link", name);
    return decodeName(this.#link.subarray(0, count));
  }

  symlink(target: string, dir: Fd, name: string): void {
    this.#name.putName(name, "make symlink");
    this.#otherName.putText(target, "make symlink");
    let result: number;
    do result = this.#libc.symlinkat(this.#otherName.address, dir, this.#name.address);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, "make symlink", name);
  }

  mkdir(dir: Fd, name: string, mode: number): void {
    this.#name.putName(name, "make directory");
    const exact = !this.#needsChmod(mode);
    // The owner's bits stay until the mode is set, because a directory can only be opened by who may read it.
    const firstMode = exact ? mode : mode | 0o700;
    let result: number;
    do result = this.#libc.mkdirat(dir, this.#name.address, firstMode);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, "make directory", name);
    if (exact) return;
    const made = this.#open(dir, this.#openDirFlags, 0, "make directory", name);
    this.#chmodNew(made, mode);
    this.close(made);
  }

  rename(fromDir: Fd, fromName: string, toDir: Fd, toName: string, options: { replace: boolean }): void {
    this.#putPair(fromName, toName, "rename");
    const libc = this.#libc;
    let result: number;
    do {
      result = options.replace
        ? libc.renameat(fromDir, this.#name.address, toDir, this.#otherName.address)
        : libc.renameat2(fromDir, this.#name.address, toDir, this.#otherName.address, RENAME_NOREPLACE);
    } while (libc.interrupted(result));
    if (result === 0) return;
    const code = errnoName(libc.errno());
    // Some file systems, NFS and old FUSE ones among them, know no flags. EINVAL also means "a directory into
    // itself".
    if (!options.replace && (code === "EINVAL" || code === "ENOSYS")) {
      return this.#renameUnflagged(fromDir, fromName, toDir, toName);
    }
    throw new FsError(code, "rename", fromName);
  }

  exchange(aDir: Fd, aName: string, bDir: Fd, bName: string): void {
    this.#putPair(aName, bName, "exchange");
    const libc = this.#libc;
    let result: number;
    do result = libc.renameat2(aDir, this.#name.address, bDir, this.#otherName.address, RENAME_EXCHANGE);
    while (libc.interrupted(result));
    if (result < 0) throwErrno(libc, "exchange", aName);
  }

  link(fromDir: Fd, fromName: string, toDir: Fd, toName: string): void {
    this.#putPair(fromName, toName, "link");
    let result: number;
    do result = this.#libc.linkat(fromDir, this.#name.address, toDir, this.#otherName.address, 0);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, "link", fromName);
  }

  unlink(dir: Fd, name: string): void {
    this.#remove(dir, name, 0, "remove");
  }

  rmdir(dir: Fd, name: string): void {
    this.#remove(dir, name, AT_REMOVEDIR, "remove directory");
  }

  sync(fd: Fd): Promise<void> {
    return syncOffThread(fd);
  }

  syncAll(fd: Fd): Promise<void> {
    return this.#syncfs.run(fd);
  }

  startWriteback(fd: Fd, position: number, length: number): void {
    this.#libc.sync_file_range(fd, position, length, SYNC_FILE_RANGE_WRITE);
  }

  space(fd: Fd): { freeBytes: number; totalBytes: number; freeInodes: number; type: string } {
    return spaceOf(this.#libc, fd);
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

  /** Opens what #name holds. */
  #open(dir: number, flags: number, mode: number, call: string, what: string): Fd {
    const libc = this.#libc;
    let fd: number;
    do fd = libc.openat(dir, this.#name.address, flags, mode);
    while (libc.interrupted(fd));
    if (fd < 0) throwErrno(libc, call, what);
    return fd as Fd;
  }

  #statInto(dir: number, name: Pointer, flags: number, what: string): void {
    const libc = this.#libc;
    let result: number;
    do result = libc.statx(dir, name, flags, STATX_MASK, this.#stat.address);
    while (libc.interrupted(result));
    if (result < 0) throwErrno(libc, "stat", what);
  }

  /** Would the umask cut this mode, or the kernel drop its set-id bits? */
  #needsChmod(mode: number): boolean {
    return (mode & this.#umask) !== 0 || (mode & 0o7000) !== 0;
  }

  #chmodNew(fd: Fd, mode: number): void {
    try {
      this.chmod(fd, mode);
    } catch (error) {
      this.close(fd);
      throw error;
    }
  }

  #putPair(name: string, otherName: string, call: string): void {
    this.#name.putName(name, call);
    this.#otherName.putName(otherName, call);
  }

  /**
   * rename without replacing where the kernel cannot do it in one step. A link fails when the name is taken,
   * so nothing is ever lost; a crash between the two steps leaves both names. A directory cannot be linked,
   * but its rename only ever replaces an empty directory.
   */
  #renameUnflagged(fromDir: Fd, fromName: string, toDir: Fd, toName: string): void {
    if (this.stat(fromDir, fromName).kind !== "dir") {
      this.link(fromDir, fromName, toDir, toName);
      return this.unlink(fromDir, fromName);
    }
    if (this.#exists(toDir, toName)) throw new FsError("EEXIST", "rename", fromName);
    this.rename(fromDir, fromName, toDir, toName, { replace: true });
  }

  #exists(dir: Fd, name: string): boolean {
    try {
      this.stat(dir, name);
      return true;
    } catch (error) {
      if (isCode(error, "ENOENT")) return false;
      throw error;
    }
  }

  #remove(dir: Fd, name: string, flags: number, call: string): void {
    this.#name.putName(name, call);
    let result: number;
    do result = this.#libc.unlinkat(dir, this.#name.address, flags);
    while (this.#libc.interrupted(result));
    if (result < 0) throwErrno(this.#libc, call, name);
  }

  #copyByHand(source: Fd, sourceAt: number, target: Fd, targetAt: number, length: number): number {
    const buffer = (this.#copyBuffer ??= new Uint8Array(COPY_BYTES));
    let done = 0;
    while (done < length) {
      const want = Math.min(length - done, buffer.length);
      const count = this.read(source, buffer.subarray(0, want), sourceAt + done);
      this.write(target, buffer.subarray(0, count), targetAt + done);
      done += count;
      if (count < want) break;
    }
    return done;
  }
}
