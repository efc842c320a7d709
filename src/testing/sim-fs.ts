/**
 * FileSystem over a SimDisk, for one simulated process. Behaves as Linux does, errno by errno, so that it passes the
 * same contract; how it can be made to fail is in sim-process.ts, what survives a power loss in sim-disk.ts.
 */
import {
  type DirItem,
  type Fd,
  type FileSystem,
  type FileSystemAbilities,
  FsError,
  type MadeFile,
  type NewFile,
  type Stat,
} from "#platform/file-system.ts";
import { PAGE_BYTES } from "#platform/aligned-bytes.ts";
import { createFilesInTurn } from "#platform/portable/create-files.ts";
import { readWhole } from "#platform/portable/read-whole.ts";
import { BLOCK_BYTES } from "#testing/sim-content.ts";
import { type SimDisk, checkName, uncovered } from "#testing/sim-disk.ts";
import type { Dirent, Inode } from "#testing/sim-inode.ts";
import { type Handle, SimProcess } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";

export type SimFsOptions = {
  /** Who the process runs as; default 0, who may do everything. */
  readonly uid?: number;
  /** Shuffles listings, and draws the delays of asynchronous calls. */
  readonly random?: SimRandom;
  /** Asynchronous calls take up to this long and finish in any order. 0: at once. */
  readonly asyncDelayMs?: number;
};

const READ = 4;
const WRITE = 2;
const EXECUTE = 1;
/** What chown takes for "as it is". */
const KEEP_ID = 0xffffffff;
const SYMLINKS_FOLLOWED_MAX = 40;
const USERS: readonly (readonly [number, string])[] = [
  [0, "root"],
  [1000, "user"],
];

export class SimFs extends SimProcess implements FileSystem {
  readonly platform = "sim";
  readonly #random: SimRandom | undefined;
  readonly #asyncDelayMs: number;

  constructor(disk: SimDisk, options: SimFsOptions = {}) {
    super(disk, options.uid ?? 0);
    this.#random = options.random;
    this.#asyncDelayMs = options.random === undefined ? 0 : options.asyncDelayMs ?? 0;
  }

  openRoot(absolutePath: string): Fd {
    this.enter("openRoot", undefined, absolutePath, false);
    const found = this.#resolve(absolutePath);
    if (found.inode.entries === undefined) throw new FsError("ENOTDIR", "openRoot", absolutePath);
    this.#permit(found.inode, READ | EXECUTE, "openRoot", absolutePath);
    return this.open(found.inode, false, found.link, "openRoot");
  }

  abilities(dir: Fd, _probe: boolean): FileSystemAbilities {
    this.enter("abilities", dir, undefined, false);
    this.handle(dir, "abilities");
    const { options } = this.disk;
    return {
      timestampNs: this.disk.timestampNs,
      symlinks: options.symlinks ?? true,
      hardlinks: options.hardlinks ?? true,
      xattrs: options.xattrs ?? true,
      owners: this.uid === 0 && options.owners !== false,
      modes: true,
      caseSensitive: options.caseInsensitive !== true,
      confined: true,
    };
  }

  openDir(dir: Fd, name: string): Fd {
    this.enter("openDir", dir, name, false);
    const link = this.#lookup(dir, name, "openDir");
    const inode = uncovered(link.inode);
    if (inode.entries === undefined) throw new FsError("ENOTDIR", "openDir", name);
    this.#permit(inode, READ, "openDir", name);
    return this.open(inode, false, link, "openDir");
  }

  close(fd: Fd): void {
    this.enter("close", fd, undefined, false);
    this.dropHandle(fd);
  }

  list(dir: Fd): DirItem[] {
    this.enter("list", dir, undefined, false);
    const inode = this.#dir(dir, "list");
    const items: DirItem[] = [];
    for (const { name, inode: child } of inode.entries!.values()) items.push({ name, kind: child.kind });
    return this.#random === undefined ? items : this.#random.shuffle(items);
  }

  stat(dir: Fd, name: string): Stat {
    this.enter("stat", dir, name, false);
    const inode = uncovered(this.#lookup(dir, name, "stat").inode);
    refuse(inode, "stat", name, true);
    return inode.stat();
  }

  fstat(fd: Fd): Stat {
    this.enter("fstat", fd, undefined, false);
    const { inode } = this.handle(fd, "fstat");
    refuse(inode, "fstat", undefined, true);
    return inode.stat();
  }

  openRead(dir: Fd, name: string): Fd {
    return this.#openFile(dir, name, "openRead", READ);
  }

  readWhole(dir: Fd, name: string, into: Uint8Array): { count: number; stat: Stat; waited: boolean } {
    return readWhole(this, dir, name, into);
  }

  readAhead(): void {
    // No disk here takes time.
  }

  openWrite(dir: Fd, name: string): Fd {
    return this.#openFile(dir, name, "openWrite", READ | WRITE);
  }

  create(dir: Fd, name: string, mode: number): Fd {
    this.enter("create", dir, name, true);
    this.assertFdFree("create", name);
    const link = this.#add(dir, name, "create", (parent) => this.disk.makeInode("file", parent.dev, mode & 0o7777));
    return this.open(link.inode, true, link, "create");
  }

  /** As another thread would: what is done meanwhile comes before, between or after them. */
  async createFiles(files: readonly NewFile[]): Promise<(MadeFile | FsError)[]> {
    const delayMs = this.#asyncDelayMs;
    if (delayMs === 0) return createFilesInTurn(this, files);
    const taken = files.map((file) => ({ ...file, bytes: file.bytes.slice() }));
    const made: (MadeFile | FsError)[] = [];
    for (const file of taken) {
      await this.disk.clock.turn(this.#random!.real() * delayMs);
      made.push(...(await createFilesInTurn(this, [file])));
    }
    return made;
  }

  read(fd: Fd, into: Uint8Array, position: number): number {
    this.enter("read", fd, undefined, false);
    return this.#file(fd, "read").inode.content!.read(into, position);
  }

  write(fd: Fd, bytes: Uint8Array, position: number): void {
    this.enter("write", fd, undefined, true);
    this.#writeTo(this.#file(fd, "write", true), bytes, position, "write");
  }

  readAsync(fd: Fd, into: Uint8Array, position: number): Promise<number> {
    return this.#later(() => this.read(fd, into, position));
  }

  writeAsync(fd: Fd, bytes: Uint8Array, position: number): Promise<void> {
    return this.#later(() => this.write(fd, bytes, position));
  }

  /** Whether something is cached hangs on where it lies, so that a life is the same each time. */
  readCached(fd: Fd, into: Uint8Array, position: number): Promise<number> {
    return (position / PAGE_BYTES) % 2 === 0 ? Promise.resolve(0) : this.readAsync(fd, into, position);
  }

  /** Nothing, half of it, or all, by the page in which it begins. */
  writeCached(fd: Fd, bytes: Uint8Array, position: number): number {
    const taken = Math.ceil((bytes.length * Math.min(2, Math.floor(position / PAGE_BYTES) % 4)) / 2);
    if (taken > 0) this.write(fd, bytes.subarray(0, taken), position);
    return taken;
  }

  openUncached(fd: Fd): Fd | undefined {
    this.enter("openUncached", fd, undefined, false);
    const { inode, link } = this.#file(fd, "openUncached");
    if (this.disk.options.uncached === false) return undefined;
    return this.open(inode, true, link, "openUncached");
  }

  writeUncached(fd: Fd, parts: readonly Uint8Array[], position: number): Promise<number> {
    if ([position, ...parts.map((part) => part.length)].some((one) => one % PAGE_BYTES !== 0)) return Promise.resolve(0);
    return this.#later(() => {
      let done = 0;
      for (const part of parts) {
        this.write(fd, part, position + done);
        done += part.length;
      }
      return done;
    });
  }

  readUncached(fd: Fd, into: Uint8Array, position: number): Promise<number> {
    if (position % PAGE_BYTES !== 0 || into.length % PAGE_BYTES !== 0) return Promise.resolve(0);
    return this.readAsync(fd, into, position).then((count) => {
      // Of what it refused to write the disk has what it had before, whatever the cache holds.
      const { inode } = this.#file(fd, "readUncached");
      if (inode.poisoned) inode.durable?.content?.read(into.subarray(0, count).fill(0), position);
      return count;
    });
  }

  truncate(fd: Fd, size: number): void {
    this.enter("truncate", fd, undefined, true);
    const handle = this.#file(fd, "truncate", true);
    const content = handle.inode.mutable();
    this.disk.usedBytes -= content.allocatedBytes();
    content.truncate(size);
    this.disk.usedBytes += content.allocatedBytes();
    this.disk.touch(handle.inode, true);
    this.tellFile(handle, "modify");
  }

  tryLock(fd: Fd): boolean {
    this.enter("tryLock", fd, undefined, false);
    const handle = this.#file(fd, "tryLock");
    const { inode } = handle;
    if (inode.lock !== undefined && inode.lock !== handle) return false;
    inode.lock = handle;
    return true;
  }

  copyRange(source: Fd, sourcePosition: number, target: Fd, targetPosition: number, length: number): number {
    this.enter("copyRange", target, undefined, true);
    const from = this.#file(source, "copyRange").inode.content!;
    const to = this.#file(target, "copyRange", true);
    const bytes = new Uint8Array(Math.max(0, Math.min(length, from.size - sourcePosition)));
    from.read(bytes, sourcePosition);
    this.#writeTo(to, bytes, targetPosition, "copyRange");
    return bytes.length;
  }

  dataRange(fd: Fd, position: number, size: number): { start: number; end: number } | undefined {
    this.enter("dataRange", fd, undefined, false);
    return this.#file(fd, "dataRange").inode.content!.dataRange(position, size);
  }

  chmod(fd: Fd, mode: number): void {
    const handle = this.#own(fd, "chmod");
    handle.inode.mode = mode & 0o7777;
    this.#attributes(handle);
  }

  chown(fd: Fd, uid: number, gid: number): void {
    const handle = this.#own(fd, "chown");
    this.#setOwner(handle.inode, uid, gid, "chown");
    this.#attributes(handle);
  }

  setMtime(fd: Fd, mtimeNs: bigint): void {
    const handle = this.#own(fd, "setMtime");
    handle.inode.mtimeNs = this.disk.floorTime(mtimeNs);
    this.#attributes(handle);
  }

  chownAt(dir: Fd, name: string, uid: number, gid: number): void {
    this.enter("chownAt", dir, name, true);
    const link = this.#lookup(dir, name, "chownAt");
    this.#setOwner(link.inode, uid, gid, "chownAt");
    this.#attributes({ inode: link.inode, writable: false, link });
  }

  getXattrs(fd: Fd): [name: string, value: Uint8Array][] {
    this.enter("getXattrs", fd, undefined, false);
    const { inode } = this.handle(fd, "getXattrs");
    return Array.from(inode.xattrs, ([name, value]) => [name, value.slice()]);
  }

  setXattr(fd: Fd, name: string, value: Uint8Array): void {
    const handle = this.#own(fd, "setXattr");
    if (this.disk.options.xattrs === false) throw new FsError("ENOTSUP", "setXattr", name);
    handle.inode.xattrs = new Map(handle.inode.xattrs).set(name, value.slice());
    this.#attributes(handle);
  }

  removeXattr(fd: Fd, name: string): void {
    const handle = this.#own(fd, "removeXattr");
    const xattrs = new Map(handle.inode.xattrs);
    if (!xattrs.delete(name)) throw new FsError("ENODATA", "removeXattr", name);
    handle.inode.xattrs = xattrs;
    this.#attributes(handle);
  }

  readlink(dir: Fd, name: string): string {
    this.enter("readlink", dir, name, false);
    const { inode } = this.#lookup(dir, name, "readlink");
    if (inode.kind !== "symlink") throw new FsError("EINVAL", "readlink", name);
    return inode.target;
  }

  symlink(target: string, dir: Fd, name: string): void {
    this.enter("symlink", dir, name, true);
    if (this.disk.options.symlinks === false) throw new FsError("EPERM", "symlink", name);
    if (target === "") throw new FsError("ENOENT", "symlink", name);
    if (target.includes("\0")) throw new FsError("EINVAL", "symlink", name);
    this.#add(dir, name, "symlink", (parent) => this.disk.makeInode("symlink", parent.dev, 0o777, target));
  }

  mkdir(dir: Fd, name: string, mode: number): void {
    this.enter("mkdir", dir, name, true);
    this.#add(dir, name, "mkdir", (parent) => this.disk.makeInode("dir", parent.dev, mode & 0o7777));
  }

  rename(fromDir: Fd, fromName: string, toDir: Fd, toName: string, options: { replace: boolean }): void {
    this.enter("rename", fromDir, fromName, true);
    const { from, to, target } = this.#pair(fromDir, fromName, toDir, toName, "rename");
    if (target !== undefined && !options.replace) throw new FsError("EEXIST", "rename", toName);
    const { inode } = from;
    const isDir = inode.entries !== undefined;
    if (target !== undefined && target !== from) {
      if (target.inode === inode) return;
      if (isDir && target.inode.entries === undefined) throw new FsError("ENOTDIR", "rename", toName);
      if (!isDir && target.inode.entries !== undefined) throw new FsError("EISDIR", "rename", toName);
      if (isDir && target.inode.entries!.size > 0) throw new FsError("ENOTEMPTY", "rename", toName);
    }
    if (isDir && isInside(to, inode)) throw new FsError("EINVAL", "rename", toName);
    // Its ".." changes, which is a write to the directory itself.
    if (isDir && to !== from.dir) this.#permit(inode, WRITE, "rename", fromName);
    const moved = { dir: to, name: toName, inode };
    const toKey = this.disk.keyOf(toName);
    const put = { dir: to, key: toKey, before: target, after: moved };
    const take = { dir: from.dir, key: this.disk.keyOf(fromName), before: from, after: undefined };
    this.disk.rename(target === from ? [put] : [take, put]);
    this.#tellMove(from, moved);
  }

  exchange(aDir: Fd, aName: string, bDir: Fd, bName: string): void {
    this.enter("exchange", aDir, aName, true);
    if (this.disk.options.exchange === false) throw new FsError("EINVAL", "exchange", aName);
    const { from: a, to, target: b } = this.#pair(aDir, aName, bDir, bName, "exchange");
    if (b === undefined) throw new FsError("ENOENT", "exchange", bName);
    if (a.inode === b.inode) return;
    if (isInside(to, a.inode) || isInside(a.dir, b.inode)) throw new FsError("EINVAL", "exchange", aName);
    for (const { inode } of [a, b]) {
      if (inode.entries !== undefined && to !== a.dir) this.#permit(inode, WRITE, "exchange", aName);
    }
    const aNow = { dir: to, name: b.name, inode: a.inode };
    const bNow = { dir: a.dir, name: a.name, inode: b.inode };
    this.disk.rename([
      { dir: a.dir, key: this.disk.keyOf(aName), before: a, after: bNow },
      { dir: to, key: this.disk.keyOf(bName), before: b, after: aNow },
    ]);
    this.#tellMove(a, aNow);
    this.#tellMove(b, bNow);
  }

  link(fromDir: Fd, fromName: string, toDir: Fd, toName: string): void {
    this.enter("link", toDir, toName, true);
    const from = this.#lookup(fromDir, fromName, "link");
    if (from.inode.kind === "dir" || this.disk.options.hardlinks === false) throw new FsError("EPERM", "link", fromName);
    if (from.inode.dev !== this.#dir(toDir, "link").dev) throw new FsError("EXDEV", "link", toName);
    this.#add(toDir, toName, "link", () => from.inode);
  }

  unlink(dir: Fd, name: string): void {
    this.enter("unlink", dir, name, true);
    const link = this.#lookup(dir, name, "unlink");
    if (link.inode.entries !== undefined) throw new FsError("EISDIR", "unlink", name);
    this.#remove(link, "unlink");
  }

  rmdir(dir: Fd, name: string): void {
    this.enter("rmdir", dir, name, true);
    const link = this.#lookup(dir, name, "rmdir");
    if (link.inode.entries === undefined) throw new FsError("ENOTDIR", "rmdir", name);
    if (link.inode.cover !== undefined) throw new FsError("EBUSY", "rmdir", name);
    if (link.inode.entries.size > 0) throw new FsError("ENOTEMPTY", "rmdir", name);
    this.#remove(link, "rmdir");
  }

  /** What is durable is what was written before the call, however long the call takes. */
  sync(fd: Fd): Promise<void> {
    return this.#thenWait(() => {
      this.enter("sync", fd, undefined, true);
      this.disk.sync(this.handle(fd, "sync").inode);
    });
  }

  syncAll(fd: Fd): Promise<void> {
    return this.#thenWait(() => {
      this.enter("syncAll", fd, undefined, true);
      this.handle(fd, "syncAll");
      this.disk.settle();
    });
  }

  startWriteback(fd: Fd, _position: number, _length: number): void {
    this.enter("startWriteback", fd, undefined, false);
    this.#file(fd, "startWriteback");
  }

  space(fd: Fd): { freeBytes: number; totalBytes: number; freeInodes: number; type: string } {
    this.enter("space", fd, undefined, false);
    this.handle(fd, "space");
    const { capacityBytes, usedBytes, capacityInodes, usedInodes } = this.disk;
    return {
      freeBytes: Math.max(0, capacityBytes - usedBytes),
      totalBytes: capacityBytes,
      freeInodes: Math.max(0, capacityInodes - usedInodes),
      type: "sim",
    };
  }

  userName(uid: number): string | undefined {
    return USERS.find(([id]) => id === uid)?.[1];
  }

  groupName(gid: number): string | undefined {
    return this.userName(gid);
  }

  userId(name: string): number | undefined {
    return USERS.find(([, user]) => user === name)?.[0];
  }

  groupId(name: string): number | undefined {
    return this.userId(name);
  }

  #resolve(absolutePath: string): { inode: Inode; link: Dirent | undefined } {
    let at: { inode: Inode; link: Dirent | undefined } = { inode: uncovered(this.disk.root), link: undefined };
    const names = absolutePath.split("/").reverse();
    for (let followed = 0; names.length > 0; ) {
      const name = names.pop()!;
      if (name === "" || name === ".") continue;
      if (at.inode.entries === undefined) throw new FsError("ENOTDIR", "openRoot", absolutePath);
      refuse(at.inode, "openRoot", absolutePath, false);
      const link = at.inode.entries.get(this.disk.keyOf(name));
      if (link === undefined) throw new FsError("ENOENT", "openRoot", absolutePath);
      if (link.inode.kind !== "symlink") {
        at = { inode: uncovered(link.inode), link };
        continue;
      }
      if (++followed > SYMLINKS_FOLLOWED_MAX) throw new FsError("ELOOP", "openRoot", absolutePath);
      if (link.inode.target.startsWith("/")) at = { inode: uncovered(this.disk.root), link: undefined };
      names.push(...link.inode.target.split("/").reverse());
    }
    return at;
  }

  /** The directory behind a descriptor, usable. */
  #dir(fd: Fd, call: string): Inode {
    const { inode } = this.handle(fd, call);
    if (inode.entries === undefined) throw new FsError("ENOTDIR", call);
    refuse(inode, call, undefined, false);
    return inode;
  }

  #lookup(dir: Fd, name: string, call: string): Dirent {
    checkName(call, name);
    const inode = this.#dir(dir, call);
    this.#permit(inode, EXECUTE, call, name);
    const link = inode.entries!.get(this.disk.keyOf(name));
    if (link === undefined) throw new FsError("ENOENT", call, name);
    return link;
  }

  #openFile(dir: Fd, name: string, call: string, wanted: number): Fd {
    this.enter(call, dir, name, false);
    const link = this.#lookup(dir, name, call);
    if (link.inode.kind === "symlink") throw new FsError("ELOOP", call, name);
    if (link.inode.kind !== "file") throw new FsError("EINVAL", call, name);
    this.#permit(link.inode, wanted, call, name);
    return this.open(link.inode, (wanted & WRITE) !== 0, link, call);
  }

  #file(fd: Fd, call: string, forWriting = false): Handle {
    const handle = this.handle(fd, call);
    if (handle.inode.content === undefined) throw new FsError(handle.inode.kind === "dir" ? "EISDIR" : "EINVAL", call);
    if (forWriting && !handle.writable) throw new FsError(call === "truncate" ? "EINVAL" : "EBADF", call);
    refuse(handle.inode, call, undefined, false);
    return handle;
  }

  /** For calls that only the owner may make on a descriptor. */
  #own(fd: Fd, call: string): Handle {
    this.enter(call, fd, undefined, true);
    const handle = this.handle(fd, call);
    refuse(handle.inode, call, undefined, false);
    if (this.uid !== 0 && this.uid !== handle.inode.uid) throw new FsError("EPERM", call);
    return handle;
  }

  #permit(inode: Inode, wanted: number, call: string, name: string | undefined): void {
    refuse(inode, call, name, false);
    if (this.uid === 0) return;
    const bits = this.uid === inode.uid ? inode.mode >> 6 : inode.mode;
    if ((bits & wanted) !== wanted) throw new FsError("EACCES", call, name);
  }

  #setOwner(inode: Inode, toUid: number, toGid: number, call: string): void {
    if (this.disk.options.owners === false) throw new FsError("EPERM", call);
    const uid = toUid >>> 0;
    const gid = toGid >>> 0;
    if (this.uid !== 0 && (uid !== this.uid || gid !== this.uid)) throw new FsError("EPERM", call);
    if (uid !== KEEP_ID) inode.uid = uid;
    if (gid !== KEEP_ID) inode.gid = gid;
  }

  #attributes(handle: Handle): void {
    this.disk.touch(handle.inode, false);
    this.tellFile(handle, "attrib");
  }

  /** Writes as much as there is space for; a full disk leaves the beginning behind, as a real one does. */
  #writeTo(handle: Handle, bytes: Uint8Array, position: number, call: string): void {
    if (bytes.length === 0) return;
    const content = handle.inode.mutable();
    const freeBytes = this.disk.capacityBytes - this.disk.usedBytes;
    const isFull = content.growth(position, bytes.length) > freeBytes;
    const fitting = Math.max(0, Math.floor(freeBytes / BLOCK_BYTES) - 1) * BLOCK_BYTES;
    const part = isFull ? bytes.subarray(0, fitting) : bytes;
    if (part.length > 0) {
      this.disk.usedBytes += content.growth(position, part.length);
      content.write(part, position);
      this.disk.touch(handle.inode, true);
      this.tellFile(handle, "modify");
    }
    if (isFull) throw new FsError("ENOSPC", call);
  }

  /** Gives `name` in `dir` to the inode that `make` brings. */
  #add(dir: Fd, name: string, call: string, make: (parent: Inode) => Inode): Dirent {
    checkName(call, name);
    const parent = this.#dir(dir, call);
    const key = this.disk.keyOf(name);
    if (parent.entries!.has(key)) throw new FsError("EEXIST", call, name);
    this.#permit(parent, WRITE | EXECUTE, call, name);
    if (parent.isRemoved()) throw new FsError("ENOENT", call, name);
    const inode = make(parent);
    const isNew = inode.links.length === 0;
    const link = { dir: parent, name, inode };
    if (isNew && this.uid !== 0) inode.uid = inode.gid = this.uid;
    this.disk.rename([{ dir: parent, key, before: undefined, after: link }]);
    this.disk.tell(parent, "create", name, inode.kind === "dir");
    return link;
  }

  #remove(link: Dirent, call: string): void {
    this.#permit(link.dir, WRITE | EXECUTE, call, link.name);
    this.disk.rename([{ dir: link.dir, key: this.disk.keyOf(link.name), before: link, after: undefined }]);
    this.disk.tell(link.dir, "delete", link.name, link.inode.kind === "dir");
  }

  /** The two ends of a rename or exchange, with the checks that both need. */
  #pair(
    fromDir: Fd,
    fromName: string,
    toDir: Fd,
    toName: string,
    call: string,
  ): { from: Dirent; to: Inode; target: Dirent | undefined } {
    checkName(call, toName);
    const to = this.#dir(toDir, call);
    if (this.#dir(fromDir, call).dev !== to.dev) throw new FsError("EXDEV", call, toName);
    const from = this.#lookup(fromDir, fromName, call);
    const target = to.entries!.get(this.disk.keyOf(toName));
    this.#permit(from.dir, WRITE | EXECUTE, call, fromName);
    this.#permit(to, WRITE | EXECUTE, call, toName);
    if (to.isRemoved()) throw new FsError("ENOENT", call, toName);
    if (from.inode.cover !== undefined || target?.inode.cover !== undefined) throw new FsError("EBUSY", call, fromName);
    return { from, to, target };
  }

  #tellMove(from: Dirent, to: Dirent): void {
    const cookie = this.disk.nextCookie();
    const isDir = to.inode.kind === "dir";
    this.disk.tell(from.dir, "moved-from", from.name, isDir, cookie);
    this.disk.tell(to.dir, "moved-to", to.name, isDir, cookie);
    if (isDir) this.disk.tell(to.inode, "move-self", "", true);
  }

  #later<T>(effect: () => T): Promise<T> {
    const delayMs = this.#asyncDelayMs;
    if (delayMs > 0) return this.disk.clock.turn(this.#random!.real() * delayMs).then(effect);
    try {
      return Promise.resolve(effect());
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #thenWait(effect: () => void): Promise<void> {
    try {
      effect();
    } catch (error) {
      return Promise.reject(error);
    }
    const delayMs = this.#asyncDelayMs;
    return delayMs > 0 ? this.disk.clock.turn(this.#random!.real() * delayMs) : Promise.resolve();
  }
}

/** A refused inode fails every use; of a merely unreadable one the stat is still to be had. */
function refuse(inode: Inode, call: string, name: string | undefined, isStat: boolean): void {
  if (inode.refusal === undefined || (isStat && inode.refusal === "EACCES")) return;
  throw new FsError(inode.refusal, call, name);
}

/** Is `inode` the directory `top` or below it? */
function isInside(inode: Inode, top: Inode): boolean {
  for (let at: Inode | undefined = inode; at !== undefined; at = at.links[0]?.dir) if (at === top) return true;
  return false;
}
