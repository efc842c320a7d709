/**
 * Reads all files of the index again, a little at a time, and compares them with the sums that the index has. A pass goes
 * in path order; where it stands is kept, so that it goes on there after a restart. Only files whose stat is as recorded
 * are read: of the others a scan must say what they are now.
 */
import { PRIVATE_DIR, type RelPath, compareNames, joinPath } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import { type Fd, FsError, type Stat } from "#platform/file-system.ts";
import type { Clock } from "#platform/host.ts";
import { type SumSeeds, Summer } from "#sync/chunk/sum.ts";
import { type IndexRecord, matchesStat } from "#sync/index/record-codecs.ts";
import type { Store, Table, Tree } from "#sync/index/store.ts";
import { CORRUPT, damageOf } from "#sync/scan/damage.ts";
import { sameStat } from "#sync/scan/hash-file.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";

/** What one step may be asked to read. */
export const SCRUB_BYTES_MAX = 8 << 20;
/** A step ends after this time, or after so many looks into the index, whatever it has read by then. */
const STEP_MS_MAX = 12;
const STEP_LOOKS_MAX = 1024;
/** One read. */
const READ_BYTES = 256 << 10;
/** What opening a file costs, in bytes of its budget. */
const FILE_BYTES_MIN = 4096;
/** Children of a directory that are asked for at once. */
const CHILDREN_PER_LOOK = 64;
/** How much of a pass a kill may have done once more. */
const SAVE_EVERY_MS = 10_000;
/** Name in the endpoint's table of facts. */
const KEY = "scrub";

export type ScrubRequest = {
  /** A pass is due when the last one began this long ago, by the wall clock of the side. */
  readonly everyMs: number;
  /** About how much the step may read. */
  readonly bytesMax: number;
};

/** What a pass has read. `damaged` counts the files whose damage is certain. */
export type ScrubPass = {
  readonly startedMs: number;
  readonly files: number;
  readonly bytes: number;
  readonly damaged: number;
};

export type ScrubReply = {
  /** What the step cost of its budget; a small file more than its bytes. */
  readonly bytes: number;
  /** How long it took. */
  readonly busyMs: number;
  /** It has found damage, or a file that cannot be read: the next dirty scan tells. */
  readonly found: boolean;
  /** Until the next pass is due; 0 while one is under way. */
  readonly waitMs: number;
  /** The pass that ended with this step. */
  readonly pass?: ScrubPass | undefined;
};

export type ScrubOptions = {
  readonly root: Confined;
  readonly clock: Clock;
  readonly index: Tree<IndexRecord>;
  readonly seeds: SumSeeds;
  readonly store: Store;
  readonly meta: Table;
  /** Throws ROOT_IDENTITY when the root is no longer the one that was opened. */
  readonly assertRoot: () => void;
  /** The file is what it was, or its damage is certain. */
  readonly onRead: (path: RelPath, isDamaged: boolean) => void;
  readonly onRefused: (path: RelPath, error: FsError) => void;
};

type Standing = {
  isUnderWay: boolean;
  /** All files up to this path are done. */
  after: RelPath;
  startedMs: number;
  files: number;
  bytes: number;
  damaged: number;
};

/** A file that is being read, step by step. */
type Reading = { readonly path: RelPath; readonly record: IndexRecord; stat: Stat | undefined; readonly summer: Summer; at: number };

export class Scrub {
  readonly #o: ScrubOptions;
  #standing: Standing | undefined;
  #paths: Iterator<RelPath> | undefined;
  #reading: Reading | undefined;
  #buffer: Uint8Array | undefined;
  #found = false;
  #savedMs = Number.NEGATIVE_INFINITY;

  constructor(options: ScrubOptions) {
    this.#o = options;
  }

  /** @throws {SynclineError} ROOT_IDENTITY */
  async step({ everyMs, bytesMax }: ScrubRequest): Promise<ScrubReply> {
    const { clock, assertRoot, root } = this.#o;
    const startMs = clock.monotonicMs();
    const standing = (this.#standing ??= this.#load());
    const waitMs = standing.isUnderWay ? 0 : this.#untilDue(standing, everyMs);
    if (waitMs > 0) return { bytes: 0, busyMs: 0, found: false, waitMs };
    if (!standing.isUnderWay) this.#begin(standing);
    assertRoot();
    // Descriptors that others left open may lead to directories that were renamed since.
    root.clear();
    this.#found = false;
    let spent = 0;
    for (let looks = 0; spent < bytesMax && looks < STEP_LOOKS_MAX && standing.isUnderWay; looks++) {
      spent += await this.#advance(standing, bytesMax - spent);
      if (clock.monotonicMs() - startMs >= STEP_MS_MAX) break;
    }
    assertRoot();
    const isOver = !standing.isUnderWay;
    if (isOver || clock.monotonicMs() - this.#savedMs >= SAVE_EVERY_MS) this.save();
    const { startedMs, files, bytes, damaged } = standing;
    return {
      bytes: spent,
      busyMs: Math.ceil(clock.monotonicMs() - startMs),
      found: this.#found,
      waitMs: isOver ? this.#untilDue(standing, everyMs) : 0,
      pass: isOver ? { startedMs, files, bytes, damaged } : undefined,
    };
  }

  /** Keeps where the pass stands; call it before the store is closed. */
  save(): void {
    const { store, meta, clock } = this.#o;
    const standing = this.#standing;
    if (standing === undefined) return;
    this.#savedMs = clock.monotonicMs();
    const w = new ByteWriter();
    w.bool(standing.isUnderWay);
    w.string(standing.after);
    w.f64(standing.startedMs);
    for (const count of [standing.files, standing.bytes, standing.damaged]) w.varint(count);
    store.transaction({ durable: false }, () => meta.set(KEY, w.finish()));
  }

  #load(): Standing {
    const bytes = this.#o.meta.get(KEY);
    if (bytes === undefined) {
      return { isUnderWay: false, after: "", startedMs: Number.NEGATIVE_INFINITY, files: 0, bytes: 0, damaged: 0 };
    }
    const r = new ByteReader(bytes);
    const place = { isUnderWay: r.bool(), after: r.string(), startedMs: r.f64() };
    return { ...place, files: r.varint(), bytes: r.varint(), damaged: r.varint() };
  }

  /** A clock that was set back makes a pass due; it must not put it off for as long as it was set back. */
  #untilDue({ startedMs }: Standing, everyMs: number): number {
    const sinceMs = this.#o.clock.nowMs() - startedMs;
    return sinceMs < 0 ? 0 : Math.max(0, everyMs - sinceMs);
  }

  #begin(standing: Standing): void {
    this.#paths = undefined;
    this.#reading = undefined;
    const startedMs = this.#o.clock.nowMs();
    Object.assign(standing, { isUnderWay: true, after: "", startedMs, files: 0, bytes: 0, damaged: 0 });
  }

  /** Begins the next file or reads on in the one at hand; returns what that cost. */
  async #advance(standing: Standing, bytesMax: number): Promise<number> {
    if (this.#reading === undefined) {
      this.#paths ??= pathsAfter(this.#o.index, standing.after);
      const next = this.#paths.next();
      if (next.done === true) {
        standing.isUnderWay = false;
        return 0;
      }
      const record = this.#o.index.get(next.value);
      if (record?.entry.kind !== "file" || record.entry.sum === undefined) {
        standing.after = next.value;
        return 0;
      }
      this.#reading = { path: next.value, record, stat: undefined, summer: new Summer(this.#o.seeds), at: 0 };
    }
    const reading = this.#reading;
    const before = reading.at;
    const isEnded = await this.#readOn(reading, bytesMax, standing);
    const read = reading.at - before;
    standing.bytes += read;
    if (!isEnded) return read;
    this.#reading = undefined;
    standing.after = reading.path;
    return read + FILE_BYTES_MIN;
  }

  /** True when the file is done with: read to its end, changed meanwhile, or refused. */
  async #readOn(reading: Reading, bytesMax: number, standing: Standing): Promise<boolean> {
    const { root, onRefused } = this.#o;
    let fd: Fd | undefined;
    try {
      fd = root.openRead(reading.path);
      return await this.#readFrom(fd, reading, bytesMax, standing);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      // What has gone, or may not be read, is a scan's to tell; a place on the disk that cannot be read shows only here.
      if (error.code === "EIO") {
        this.#found = true;
        onRefused(reading.path, error);
      }
      return true;
    } finally {
      if (fd !== undefined) root.fs.close(fd);
    }
  }

  async #readFrom(fd: Fd, reading: Reading, bytesMax: number, standing: Standing): Promise<boolean> {
    const { root, clock, onRead } = this.#o;
    const { fs } = root;
    const { path, record, summer } = reading;
    const stat = fs.fstat(fd);
    const isSame = reading.stat === undefined ? matchesStat(record, stat) : sameStat(stat, reading.stat);
    if (!isSame) return true;
    reading.stat = stat;
    const buffer = (this.#buffer ??= new Uint8Array(READ_BYTES));
    for (const endAt = Math.min(stat.size, reading.at + Math.max(bytesMax, READ_BYTES)); reading.at < endAt; ) {
      const count = await fs.readAsync(fd, buffer, reading.at);
      if (count === 0) return true;
      summer.update(buffer.subarray(0, count));
      reading.at += count;
    }
    if (reading.at < stat.size) return false;
    // A change while it was read, also one by a rename over its path.
    if (!sameStat(fs.fstat(fd), stat) || !sameStat(root.stat(path), stat)) return true;
    standing.files++;
    const sum = summer.digest();
    const isDamaged = damageOf(record, stat, sum, clock.nowMs()) === CORRUPT;
    if (isDamaged) {
      standing.damaged++;
      this.#found = true;
    }
    // What was written a moment ago is read again in the next pass.
    if (isDamaged || sum === (record.entry.kind === "file" ? record.entry.sum : undefined)) onRead(path, isDamaged);
    return true;
  }
}

/** Everything in the index after `cursor`, in path order. The index may change meanwhile. */
function* pathsAfter(index: Tree<IndexRecord>, cursor: RelPath): Generator<RelPath> {
  /** The directories on the way, each with the name up to which it is done. */
  const levels: { readonly dir: RelPath; after: string; near: { name: string; isDir: boolean }[] }[] = [];
  const enter = (dir: RelPath, after: string): number => levels.push({ dir, after, near: [] });
  const names = cursor === "" ? [] : cursor.split("/");
  for (const [depth, name] of names.entries()) enter(names.slice(0, depth).join("/"), name);
  enter(cursor, "");
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const { dir, after } = level;
    if (level.near.length === 0) {
      const near = index.childrenAround(dir, after, CHILDREN_PER_LOOK);
      level.near = near.map(({ name, record }) => ({ name, isDir: record.entry.kind === "dir" }));
      level.near = level.near.filter(({ name }) => compareNames(name, after) > 0);
    }
    const next = level.near.shift();
    if (next === undefined) {
      levels.pop();
      continue;
    }
    level.after = next.name;
    const path = joinPath(dir, next.name);
    // The index keeps notes of its own there.
    if (path === PRIVATE_DIR) continue;
    yield path;
    if (next.isDir) enter(path, "");
  }
}
