/**
 * Turns what the disk says about one node into an index record; hashes where a stat leaves doubt about
 * content.
 */
import type { FileEntry, Owner, Preserve, Sum, Xattrs } from "#model/entry.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import { type Damage, damageOf } from "#sync/scan/damage.ts";
import { READ_BYTES, hashFile } from "#sync/scan/hash-file.ts";
import type { Pacer } from "#sync/scan/pacer.ts";
import { type Fd, type FileSystem, FsError, type Stat, isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";

/** A rewritten file of the same size is hashed at once up to here; a larger one when it is transferred. */
export const HASH_NOW_BYTES_MAX = 4 << 20;
/** A file written this recently may be written again without its times moving (git calls it racily clean). */
const RACY_MS = 20;
/** Times further in the future than this come from a clock that was set, not from a write a moment ago. */
const FUTURE_MS = 1000;
const NS_PER_MS = 1e6;

export type ObserverOptions = {
  readonly host: Host;
  readonly preserve: Preserve;
  readonly seeds: SumSeeds;
  /** Granularity of the file system's times. */
  readonly timestampNs: bigint;
  readonly pacer: Pacer;
};

/** `changed`: it is being written right now. */
export type FileVerdict = IndexRecord | Damage | "changed";

export class Observer {
  readonly #fs: FileSystem;
  readonly #options: ObserverOptions;
  readonly #racyMs: number;
  /** Made at the first need: most sessions of a quiet root hash nothing. */
  #buffer: Uint8Array | undefined;
  hashedBytes = 0;

  constructor(options: ObserverOptions) {
    this.#fs = options.host.fs;
    this.#options = options;
    this.#racyMs = Math.max(RACY_MS, Number(options.timestampNs) / NS_PER_MS);
  }

  /** The wall clock; take it before the stat whose record it will date. */
  nowMs(): number {
    return this.#options.host.clock.nowMs();
  }

  /**
   * Record of a directory, symlink or other node, or of a file without its sum.
   * @throws {FsError} when more than the stat was needed and could not be had
   */
  observe(dir: Fd, name: string, stat: Stat, nowMs: number): IndexRecord {
    const { ino, ctimeNs } = stat;
    if (stat.kind === "file") {
      return this.#fileRecord(dir, name, stat, undefined, stat.mtimeNs, this.#isRacy(stat, nowMs));
    }
    if (stat.kind === "symlink" && this.#options.preserve.symlinks) {
      const target = this.#fs.readlink(dir, name);
      const racy = this.#isRacy(stat, nowMs);
      const owner = this.#owner(stat);
      return { entry: owner ? { kind: "symlink", target, owner } : { kind: "symlink", target }, ino, ctimeNs, racy };
    }
    if (stat.kind === "dir") {
      const entry = { kind: "dir", mode: stat.mode } as const;
      const owner = this.#owner(stat);
      const xattrs = this.#options.preserve.xattrs ? this.#xattrs(dir, name, stat) : undefined;
      const bare = owner === undefined && xattrs === undefined;
      return { entry: bare ? entry : { ...entry, owner, xattrs }, ino, ctimeNs, racy: false };
    }
    return { entry: { kind: "other", what: stat.kind }, ino, ctimeNs, racy: false };
  }

  /**
   * The record of a file that is `from` under a new name: its sum, and its time where the disk keeps a
   * rounded one.
   */
  renamed(record: IndexRecord, from: IndexRecord, sum: Sum | undefined): IndexRecord {
    if (record.entry.kind !== "file" || from.entry.kind !== "file") return record;
    const entry: FileEntry = { ...record.entry, sum, mtimeNs: from.entry.mtimeNs };
    const { diskMtimeNs } = from;
    return diskMtimeNs === undefined ? { ...record, entry } : { ...record, entry, diskMtimeNs };
  }

  /** May the content differ although nothing that the record says does? So it is when it was never hashed. */
  inDoubt(old: IndexRecord, stat: Stat): boolean {
    if (old.entry.kind !== "file" || old.entry.sum !== undefined) return false;
    const diskMtimeNs = old.diskMtimeNs ?? old.entry.mtimeNs;
    return old.ino !== stat.ino || old.ctimeNs !== stat.ctimeNs || diskMtimeNs !== stat.mtimeNs;
  }

  /** A file that the index knows as a file but whose stat differs, or that must be read again. */
  *file(dir: Fd, name: string, stat: Stat, old: IndexRecord, deep: boolean): Generator<void, FileVerdict> {
    const known = old.entry as FileEntry;
    const nowMs = this.nowMs();
    const mtimeNs = old.diskMtimeNs === stat.mtimeNs ? known.mtimeNs : stat.mtimeNs;
    const sameTimes = (old.diskMtimeNs ?? known.mtimeNs) === stat.mtimeNs && old.ino === stat.ino;
    const sameContent = sameTimes && old.ctimeNs === stat.ctimeNs && known.size === stat.size;
    let sum = sameContent ? known.sum : undefined;
    if (deep || old.damaged === true || this.#mustHash(known, stat, sameTimes, sameContent, old.racy)) {
      const hashed = yield* this.hash(dir, name, stat);
      if (hashed === undefined) return "changed";
      const damage = damageOf(old, stat, hashed, nowMs);
      if (damage !== undefined) return damage;
      sum = hashed;
    }
    const record = this.#fileRecord(dir, name, stat, sum, mtimeNs, this.#isRacy(stat, nowMs));
    if (known.linkTo === undefined || stat.nlink < 2 || !this.#options.preserve.hardlinks) return record;
    return { ...record, entry: { ...(record.entry as FileEntry), linkTo: known.linkTo } };
  }

  #mustHash(known: FileEntry, stat: Stat, sameTimes: boolean, sameContent: boolean, racy: boolean): boolean {
    if (known.sum === undefined || known.size !== stat.size) return false;
    if (sameContent) return racy;
    return stat.size <= HASH_NOW_BYTES_MAX || sameTimes;
  }

  /** Sum of the file while it is what `stat` says, else undefined. */
  *hash(dir: Fd, name: string, stat: Stat): Generator<void, Sum | undefined> {
    const { seeds, pacer } = this.#options;
    this.hashedBytes += stat.size;
    return yield* hashFile({ fs: this.#fs, seeds, buffer: (this.#buffer ??= new Uint8Array(READ_BYTES)), pacer }, dir, name, stat);
  }

  #fileRecord(
    dir: Fd,
    name: string,
    stat: Stat,
    sum: Sum | undefined,
    mtimeNs: bigint,
    racy: boolean,
  ): IndexRecord {
    const { size, mode, ino, ctimeNs } = stat;
    const entry: FileEntry = { kind: "file", size, mode, mtimeNs, sum };
    const owner = this.#owner(stat);
    const xattrs = this.#options.preserve.xattrs ? this.#xattrs(dir, name, stat) : undefined;
    const full = owner === undefined && xattrs === undefined ? entry : { ...entry, owner, xattrs };
    if (mtimeNs === stat.mtimeNs) return { entry: full, ino, ctimeNs, racy };
    return { entry: full, ino, ctimeNs, racy, diskMtimeNs: stat.mtimeNs };
  }

  #isRacy(stat: Stat, nowMs: number): boolean {
    // A double holds today's nanoseconds to some hundred of them, which is far finer than the window.
    const ctimeMs = Number(stat.ctimeNs) / NS_PER_MS;
    const mtimeMs = Number(stat.mtimeNs) / NS_PER_MS;
    const fromMs = nowMs - this.#racyMs;
    const toMs = nowMs + FUTURE_MS;
    return (ctimeMs >= fromMs && ctimeMs <= toMs) || (mtimeMs >= fromMs && mtimeMs <= toMs);
  }

  #owner(stat: Stat): Owner | undefined {
    const how = this.#options.preserve.owner;
    if (how === "none") return undefined;
    const { uid, gid } = stat;
    if (how === "number") return { uid, gid };
    return { uid, gid, user: this.#fs.userName(uid), group: this.#fs.groupName(gid) };
  }

  #xattrs(dir: Fd, name: string, stat: Stat): Xattrs | undefined {
    const fd = stat.kind === "dir" ? this.#fs.openDir(dir, name) : this.#fs.openRead(dir, name);
    try {
      if (this.#fs.fstat(fd).ino !== stat.ino) throw new FsError("ESTALE", "open", name);
      const carried = this.#fs.getXattrs(fd).filter(([attribute]) => isCarried(attribute));
      if (carried.length === 0) return undefined;
      const text = carried.map(([attribute, value]): [string, string] => [attribute, latin1(value)]);
      return text.sort(([a], [b]) => (a < b ? -1 : 1));
    } catch (error) {
      if (isCode(error, "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) return undefined;
      throw error;
    } finally {
      this.#fs.close(fd);
    }
  }
}

/** Attributes that belong to the user's data; the rest belongs to the system that wrote it. */
export function isCarried(attribute: string): boolean {
  return (
    attribute.startsWith("user.") ||
    attribute === "security.capability" ||
    attribute === "system.posix_acl_access" ||
    attribute === "system.posix_acl_default"
  );
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Is everything that an entry says the same? Stricter than sameEntry: what a session ignores counts too. */
export function identicalRecords(a: IndexRecord, b: IndexRecord): boolean {
  return a.entry.kind === b.entry.kind && Bun.deepEquals(a.entry, b.entry);
}
