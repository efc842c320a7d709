/**
 * One simulated disk: inodes, names, mounts, free space, and what of it survives a power loss.
 *
 * Crash model, after ALICE (OSDI 2014), with the freedoms of ext4 and worse:
 * - Bytes and metadata of an inode are durable after its sync. What was written later survives wholly, partly, as
 *   zeros or not at all (see survive()).
 * - Names: changes of names form one list. Unless synced, each directory keeps a random prefix of its own changes. One
 *   change that touches two directories survives in both or in neither; nothing survives in a directory whose making
 *   did not, and so nothing is moved into nowhere.
 * - A sync of a file says nothing of its name, a sync of a directory nothing of its own name, unless `syncCoversName`.
 * - What nobody changes for WRITTEN_BACK_MS the kernel has written by itself, and the engine counts on it.
 *
 * Processes use it through SimFs. The methods here are for tests: they are the operator, the cable and the meteorite.
 */
import { encodeName } from "#model/path.ts";
import { type FileKind, FsError } from "#platform/file-system.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import { SimContent, survive } from "#testing/sim-content.ts";
import { type Dirent, type Image, Inode, type SimEventType } from "#testing/sim-inode.ts";
import type { SimRandom } from "#testing/sim-random.ts";

export type SimDiskOptions = {
  /** Virtual time that a call takes, so that no two changes in a row have one timestamp on a disk with fine ones. */
  readonly callNs?: number;
  /** Stored timestamps are multiples of this; 1n for ext4, 2_000_000_000n for FAT. */
  readonly timestampNs?: bigint;
  readonly capacityBytes?: number;
  readonly capacityInodes?: number;
  /** Names differing in case are the same name; the one first given is kept. */
  readonly caseInsensitive?: boolean;
  /** Names with the same NFC form are the same name; the one first given is kept. */
  readonly normalise?: boolean;
  readonly symlinks?: boolean;
  readonly hardlinks?: boolean;
  readonly xattrs?: boolean;
  readonly owners?: boolean;
  /** renameat2 with EXCHANGE. */
  readonly exchange?: boolean;
  /** Writes past the page cache, here the same as others. */
  readonly uncached?: boolean;
  /** A removed inode's number goes to the next one made, as on ext4. Default true. */
  readonly reuseInodes?: boolean;
  /** A sync of a file or directory makes its own name durable too, as on ext4. Default false. */
  readonly syncCoversName?: boolean;
  /** One history for all directories, as with a journal (ext4, XFS): a prefix of all changes survives. Default false. */
  readonly orderedNames?: boolean;
  /**
   * After a power loss a file may hold other bytes than the stat says it was written with: mtime and ctime of the new
   * content over the old, or the reverse. No stat can tell. Default false: surviving content has a ctime of its own.
   */
  readonly statMayLie?: boolean;
};

/** One change of names: what each (directory, key) showed before and shows now. */
type NameEdit = {
  readonly dir: Inode;
  readonly key: string;
  readonly before: Dirent | undefined;
  readonly after: Dirent | undefined;
};
type NameChange = readonly NameEdit[];

const DEVICE_FIRST = 64;
/** Linux writes what has been dirty for 30 s, and looks for it every 5 s. */
const WRITTEN_BACK_MS = 40_000;

export class SimDisk {
  readonly clock: SimClock;
  readonly options: SimDiskOptions;
  readonly timestampNs: bigint;
  readonly root: Inode;
  capacityBytes: number;
  capacityInodes: number;
  /** Remounted read-only: every change fails with EROFS. */
  readOnly = false;
  usedBytes = 0;
  usedInodes = 0;
  /** Calls of all processes so far. */
  calls = 0;
  /** What must end when the power goes: see SimFs. */
  readonly processes = new Set<{ kill(): void }>();
  /** Told of every call of every process, for the trace of a run. */
  trace: ((call: string, name: string | undefined) => void) | undefined;
  #nextIno = 2n;
  readonly #freeInos: bigint[] = [];
  #nextDev = DEVICE_FIRST;
  #cookie = 0;
  #changes: NameChange[] = [];
  readonly #changedAtMs = new WeakMap<NameChange, number>();
  readonly #dirty = new Set<Inode>();
  /** Nothing that is not durable is older. */
  #oldestMs = Infinity;

  constructor(clock: SimClock, options: SimDiskOptions = {}) {
    this.clock = clock;
    this.options = options;
    this.timestampNs = options.timestampNs ?? 1n;
    this.capacityBytes = options.capacityBytes ?? 2 ** 40;
    this.capacityInodes = options.capacityInodes ?? 2 ** 32;
    this.root = this.#makeTop();
    this.settle();
  }

  // --- Primitives for SimFs ---

  now(): bigint {
    return this.floorTime(this.clock.nowNs());
  }

  floorTime(ns: bigint): bigint {
    if (this.timestampNs === 1n) return ns;
    const rest = ns % this.timestampNs;
    return ns - (rest < 0n ? rest + this.timestampNs : rest);
  }

  /** Under which a name is looked up. */
  keyOf(name: string): string {
    const normal = this.options.normalise === true ? name.normalize("NFC") : name;
    return this.options.caseInsensitive === true ? normal.toLowerCase() : normal;
  }

  makeInode(kind: FileKind, dev: number, mode: number, target = ""): Inode {
    if (this.usedInodes >= this.capacityInodes) throw new FsError("ENOSPC", "create");
    const freed = this.#freeInos.pop();
    const inode = new Inode(kind, freed ?? this.#nextIno++, dev, mode, this.now(), target);
    inode.numberReused = freed !== undefined;
    this.usedInodes++;
    this.#isDirty(inode);
    return inode;
  }

  /** Metadata or content changed: moves ctime, and mtime when `content`. */
  touch(inode: Inode, content: boolean, now = this.now()): void {
    if (content) inode.mtimeNs = now;
    inode.ctimeNs = now;
    inode.touchedAt = this.calls;
    inode.seen = undefined;
    inode.dirty = true;
    this.#isDirty(inode);
  }

  /** Changes names, all edits at once. Directories get new times, and so do the inodes that gained or lost a name. */
  rename(edits: NameChange): void {
    for (const edit of edits) this.#setEntry(edit.dir, edit.key, edit.after);
    const now = this.now();
    for (const { dir, before, after } of edits) {
      this.touch(dir, true, now);
      if (before !== undefined) this.touch(before.inode, false, now);
      if (after !== undefined && after.inode !== before?.inode) this.touch(after.inode, false, now);
    }
    this.#changes.push(edits);
    this.#changedAtMs.set(edits, this.clock.monotonicMs());
    for (const { before } of edits) if (before !== undefined) this.release(before.inode);
  }

  /** Frees the inode once nothing names it and nobody has it open. */
  release(inode: Inode): void {
    if (inode.links.length > 0 || inode.opens > 0 || inode.isTop) return;
    // A power loss may still bring it back: its space is free, its number not before the change is durable.
    if (inode.content !== undefined) this.usedBytes -= inode.content.allocatedBytes();
    this.usedInodes--;
    if (inode.entries !== undefined) this.tell(inode, "delete-self", "", true);
  }

  tell(dir: Inode, type: SimEventType, name: string, isDir: boolean, cookie = 0): void {
    if (dir.watches !== undefined) for (const watch of dir.watches.slice()) watch.tell(type, name, isDir, cookie);
  }

  nextCookie(): number {
    return ++this.#cookie;
  }

  // --- Durability ---

  /** What the kernel has written by itself by now. To be called before anything changes. */
  writeBack(): void {
    const since = this.clock.monotonicMs() - WRITTEN_BACK_MS;
    if (this.#oldestMs > since) return;
    for (const inode of this.#dirty) if (inode.changedAtMs <= since && !inode.poisoned) this.#syncInode(inode);
    this.#forget((change) => this.#changedAtMs.get(change)! > since);
    this.#oldestMs = Infinity;
    for (const { poisoned, changedAtMs } of this.#dirty) if (!poisoned) this.#oldestMs = Math.min(this.#oldestMs, changedAtMs);
    // In the order in which they were made.
    const [first] = this.#changes;
    if (first !== undefined) this.#oldestMs = Math.min(this.#oldestMs, this.#changedAtMs.get(first)!);
  }

  /** Makes one inode durable: its bytes and metadata, and for a directory the names in it. */
  sync(inode: Inode): void {
    this.#syncInode(inode);
    if (inode.poisoned) return;
    if (inode.entries !== undefined || this.options.syncCoversName === true) this.#syncNames(inode);
  }

  /** Makes everything durable. */
  settle(): void {
    for (const inode of this.#dirty) this.#syncInode(inode);
    this.#forget(() => false);
  }

  /** A sync of everything failed: what is not durable now never will be, whatever later syncs say. */
  poison(): void {
    for (const inode of this.#dirty) if (inode.content !== undefined) inode.poisoned = true;
  }

  /** Is everything durable? */
  isSettled(): boolean {
    return this.#dirty.size === 0 && this.#changes.length === 0;
  }

  /**
   * The power goes: every process ends, what was not durable survives as chance has it, and what is left then is
   * durable.
   */
  crash(random: SimRandom): void {
    for (const process of this.processes) process.kill();
    this.writeBack();
    this.#loseNames(random);
    for (const inode of this.#dirty) this.#loseContent(inode, random);
    this.#dirty.clear();
    this.usedBytes = 0;
    this.usedInodes = 0;
    this.#recount(this.root, new Set());
  }

  // --- The operator's hands ---

  /** The inode at an absolute path, through mounts; symlinks on the way are not followed. */
  inodeAt(path: string): Inode {
    let inode = uncovered(this.root);
    for (const name of path.split("/")) {
      if (name === "") continue;
      const found = inode.entries?.get(this.keyOf(name));
      if (found === undefined) throw new FsError("ENOENT", "lookup", path);
      inode = uncovered(found.inode);
    }
    return inode;
  }

  /** Mounts an empty file system of another device over a directory, as when a disk is lost: the old root hides. */
  mount(path: string): void {
    const point = this.inodeAt(path);
    const top = this.#makeTop();
    point.cover = top;
    top.covers = point;
    this.#syncInode(top);
  }

  /** Takes away what was mounted last over a directory; what lay beneath is seen again. */
  unmount(path: string): void {
    const top = this.inodeAt(path);
    const point = top.covers;
    if (point === undefined) throw new FsError("EINVAL", "unmount", path);
    this.#tellBelow(top);
    point.cover = undefined;
    top.covers = undefined;
  }

  /** From now on every use of the inode at `path` fails with `errno` (EACCES, EIO, ESTALE); undefined heals it. */
  refuse(path: string, errno: string | undefined): void {
    this.inodeAt(path).refusal = errno;
  }

  /** Rot: one bit of a file changes and no stat tells. */
  flipBit(path: string, position: number): void {
    const inode = this.inodeAt(path);
    inode.mutable().flipBit(position);
    if (!inode.dirty) inode.durable = inode.image();
    else if (inode.durable?.content !== undefined && position < inode.durable.content.size) {
      // What is not synced yet is something else: the place itself has rotted.
      const content = inode.durable.content.clone();
      content.flipBit(position);
      inode.durable = { ...inode.durable, content };
    }
  }

  /** Puts a fifo, socket or device at a path. */
  makeSpecial(path: string, kind: "fifo" | "socket" | "char" | "block"): void {
    const slash = path.lastIndexOf("/");
    const dir = this.inodeAt(path.slice(0, slash));
    const name = path.slice(slash + 1);
    const inode = this.makeInode(kind, dir.dev, 0o644);
    this.rename([{ dir, key: this.keyOf(name), before: undefined, after: { dir, name, inode } }]);
    this.tell(dir, "create", name, false);
  }

  #makeTop(): Inode {
    const top = this.makeInode("dir", this.#nextDev++, 0o755);
    top.isTop = true;
    return top;
  }

  #isDirty(inode: Inode): void {
    inode.changedAtMs = this.clock.monotonicMs();
    this.#dirty.add(inode);
    this.#oldestMs = Math.min(this.#oldestMs, inode.changedAtMs);
  }

  #syncInode(inode: Inode): void {
    if (inode.poisoned) {
      inode.feigned = inode.content?.clone();
      return;
    }
    inode.durable = inode.image();
    inode.dirty = false;
    this.#dirty.delete(inode);
  }

  /**
   * Makes the names in `start` durable, with everything they rest on: earlier changes in the directories they touch,
   * and the making of a directory into which something was moved.
   */
  #syncNames(start: Inode): void {
    const covers = this.options.syncCoversName === true;
    const needed = new Set<Inode>();
    const mustExist = new Set<Inode>();
    if (start.entries !== undefined) needed.add(start);
    if (covers) mustExist.add(start);
    const taken = new Set<NameChange>();
    for (let at = this.#changes.length - 1; at >= 0; at--) {
      const change = this.#changes[at]!;
      const makesNeeded = change.some(({ after }) => after !== undefined && mustExist.has(after.inode));
      if (!makesNeeded && !change.some(({ dir }) => needed.has(dir))) continue;
      taken.add(change);
      for (const { dir, after } of change) {
        needed.add(dir);
        if (makesNeeded || covers || (after !== undefined && isCrossing(change))) mustExist.add(dir);
      }
    }
    this.#forget((change) => !taken.has(change));
  }

  /** Drops the changes that are durable now; numbers of inodes that only they could bring back are free. */
  #forget(keep: (change: NameChange) => boolean): void {
    const kept = this.#changes.filter(keep);
    if (this.options.reuseInodes !== false && kept.length < this.#changes.length) {
      const revivable = new Set<Inode>();
      for (const change of kept) for (const { before } of change) if (before !== undefined) revivable.add(before.inode);
      for (const change of this.#changes) {
        for (const { before } of change) {
          if (before === undefined || revivable.has(before.inode)) continue;
          const { inode } = before;
          if (inode.links.length > 0 || inode.opens > 0 || inode.numberFreed) continue;
          inode.numberFreed = true;
          this.#freeInos.push(inode.ino);
        }
      }
    }
    this.#changes = kept;
  }

  #loseNames(random: SimRandom): void {
    const budget = new Map<Inode | undefined, number>();
    const closed = new Set<Inode>();
    const ordered = this.options.orderedNames === true;
    // How many of its changes each directory keeps: drawn once, from none to all of them.
    for (const change of this.#changes) {
      for (const { dir } of change) {
        const owner = ordered ? undefined : dir;
        budget.set(owner, (budget.get(owner) ?? 0) + 1);
      }
    }
    for (const [dir, count] of budget) budget.set(dir, random.int(count + 1));
    const lost: NameChange[] = [];
    for (const change of this.#changes) {
      let kept = true;
      for (const { dir } of change) {
        const owner = ordered ? undefined : dir;
        const left = budget.get(owner)!;
        budget.set(owner, left - 1);
        if (left <= 0 || closed.has(dir)) kept = false;
      }
      if (kept) continue;
      lost.push(change);
      for (const { dir, before, after } of change) {
        closed.add(dir);
        if (before === undefined && after?.inode.entries !== undefined && change.length === 1) closed.add(after.inode);
      }
    }
    for (const change of lost.reverse()) {
      for (const { dir, key, before } of change.toReversed()) {
        this.#setEntry(dir, key, before);
        this.touch(dir, true);
      }
    }
    this.#changes = [];
    for (const change of lost) for (const { after } of change) if (after !== undefined) this.#cutOff(after.inode);
  }

  /** Names in a directory that is itself nowhere are nowhere too. */
  #cutOff(inode: Inode): void {
    if (inode.entries === undefined || inode.links.length > 0 || inode.isTop) return;
    for (const [key, { inode: child }] of inode.entries) {
      this.#setEntry(inode, key, undefined);
      this.#cutOff(child);
    }
  }

  #loseContent(inode: Inode, random: SimRandom): void {
    inode.dirty = false;
    inode.poisoned = false;
    inode.feigned = undefined;
    const written = inode.image();
    const durable: Image = inode.durable ?? { ...written, content: undefined };
    if (inode.content !== undefined && inode.content !== durable.content) {
      const { how, content } = survive(durable.content ?? new SimContent(), inode.content, random);
      inode.content = content;
      inode.seen = undefined;
      if (this.options.statMayLie === true) {
        const isOld = random.chance(0.5);
        if (isOld) inode.restoreMetadata(durable);
        if (how !== (isOld ? "none" : "all")) inode.misstated = content;
      } else if (how === "none" && inode.durable !== undefined) {
        inode.restoreMetadata(durable);
      } else if (how !== "all") {
        inode.ctimeNs = this.now();
      }
    } else if (random.chance(0.5)) {
      inode.restoreMetadata(durable);
    }
    inode.durable = inode.image();
  }

  /** Counts what the crash left. */
  #recount(inode: Inode, counted: Set<Inode>): void {
    if (counted.has(inode)) return;
    if (inode.links.length > 1) counted.add(inode);
    this.usedInodes++;
    this.usedBytes += inode.content?.allocatedBytes() ?? 0;
    if (inode.cover !== undefined) this.#recount(inode.cover, counted);
    for (const link of inode.entries?.values() ?? []) this.#recount(link.inode, counted);
  }

  #setEntry(dir: Inode, key: string, next: Dirent | undefined): void {
    const entries = dir.entries!;
    const old = entries.get(key);
    if (old !== undefined) {
      old.inode.links.splice(old.inode.links.indexOf(old), 1);
      old.inode.seen = undefined;
      if (old.inode.entries !== undefined) dir.subdirs--;
    }
    if (next === undefined) {
      entries.delete(key);
      return;
    }
    entries.set(key, next);
    next.inode.links.push(next);
    next.inode.seen = undefined;
    if (next.inode.entries !== undefined) dir.subdirs++;
  }

  #tellBelow(dir: Inode): void {
    this.tell(dir, "unmount", "", true);
    for (const { inode } of dir.entries!.values()) if (inode.entries !== undefined) this.#tellBelow(inode);
  }
}

/** Does it take a name from one directory to another? */
function isCrossing(change: NameChange): boolean {
  return change.length === 2 && change[0]!.dir !== change[1]!.dir;
}

/** The directory that is seen at a mount point. */
export function uncovered(inode: Inode): Inode {
  let seen = inode;
  while (seen.cover !== undefined) seen = seen.cover;
  return seen;
}

/** Throws what a real file system would for a name that is none. */
export function checkName(call: string, name: string): void {
  if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
    throw new FsError("EINVAL", call, name);
  }
  if (name.length > 63 && encodeName(name).length > 255) throw new FsError("ENAMETOOLONG", call, name);
}
