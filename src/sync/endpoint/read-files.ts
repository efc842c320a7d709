/** Reads small files for the other side, each one provably unchanged while it was read (sync.md §8.1). */
import type { FileEntry, Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import type { Fd, FileSystem, Stat } from "#platform/file-system.ts";
import { problem, problemOf } from "#sync/apply/apply-context.ts";
import { Summer, sumOf } from "#sync/chunk/sum.ts";
import { Batch } from "#sync/endpoint/batch.ts";
import { BATCH_BYTES_MAX, INLINE_BYTES_MAX, type ReadItem, type SumSeeds } from "#sync/endpoint/endpoint.ts";
import { PackedRecords } from "#sync/index/packed-records.ts";
import {
  type IndexRecord,
  matchesStat,
  packedHasSum,
  packedMatchesStat,
  packedPlainSize,
} from "#sync/index/record-codecs.ts";
import type { Tree } from "#sync/index/store.ts";
import { ReadAhead } from "#sync/endpoint/read-ahead.ts";
import { damageOf, damageProblem } from "#sync/scan/damage.ts";

/** A file that changes while it is read is tried again this often before it is left to the next cycle. */
const READ_TRIES = 3;

export type ReadContext = {
  readonly root: Confined;
  readonly index: Tree<IndexRecord>;
  readonly seeds: SumSeeds;
  /** The wall clock. */
  readonly nowMs: () => number;
  /** Notes the sum of a file under the stat it was read with, so that nobody needs to hash it again. */
  readonly learn: (path: RelPath, entry: FileEntry, stat: Stat, record: IndexRecord) => void;
  /** As learn, where the record says the same as the stat and is as plain as a record can be, but has no sum. */
  readonly learnPlain: (path: RelPath, entry: FileEntry, stat: Stat) => void;
};

/** Paths of one directory asked for in a row before its records are read all at once. */
const ROW_MIN = 3;

/** Records of paths that mostly come directory by directory. Valid while the index is not changed by others. */
class RecordsInOrder {
  readonly #index: Tree<IndexRecord>;
  #dir: RelPath | undefined;
  #asked = 0;
  #records: PackedRecords<IndexRecord> | undefined;

  constructor(index: Tree<IndexRecord>) {
    this.#index = index;
  }

  get(dir: RelPath, name: string, path: RelPath): PackedRecords<IndexRecord> | IndexRecord | undefined {
    if (dir !== this.#dir) {
      this.#dir = dir;
      this.#asked = 0;
      this.#records = undefined;
    }
    if (this.#records === undefined && ++this.#asked < ROW_MIN) return this.#index.get(path);
    this.#records ??= this.#index.packed(dir);
    return this.#records.seek(name);
  }
}

/** Room for the bytes of many small files in few allocations. What was handed out is never used again. */
class Arena {
  readonly #bytes: number;
  #free = new Uint8Array(0);

  /** @param bytes of one allocation */
  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  take(length: number): Uint8Array {
    if (length > this.#free.length) {
      this.#free = new Uint8Array(Buffer.allocUnsafeSlow(Math.max(length, this.#bytes)).buffer);
    }
    const taken = this.#free.subarray(0, length);
    this.#free = this.#free.subarray(length);
    return taken;
  }
}

function unchanged(before: Stat, after: Stat): boolean {
  return (
    before.ino === after.ino &&
    before.size === after.size &&
    before.mtimeNs === after.mtimeNs &&
    before.ctimeNs === after.ctimeNs
  );
}

/**
 * What the session takes for the file's mtime. A disk with coarse times stores less than was set, and reporting that
 * would look like a change.
 */
export function logicalMtimeNs(record: IndexRecord, stat: Stat): bigint {
  const onDisk = record.diskMtimeNs ?? (record.entry.kind === "file" ? record.entry.mtimeNs : undefined);
  return record.entry.kind === "file" && onDisk === stat.mtimeNs ? record.entry.mtimeNs : stat.mtimeNs;
}

/** @param isDoubted the record did not fit before, so the file is compared with itself */
function readOnce(
  context: ReadContext,
  path: RelPath,
  record: IndexRecord | undefined,
  isDoubted: boolean,
  arena: Arena,
): ReadItem | undefined {
  const { root, seeds } = context;
  const { fs } = root;
  const known = record?.entry;
  if (record === undefined || known?.kind !== "file") return { path, problem: changedProblem(path) };
  const fd = root.openRead(path);
  try {
    // Where the scan's record is beyond doubt, it is the stat from before the reading.
    const before = record.racy || isDoubted ? fs.fstat(fd) : undefined;
    const size = before?.size ?? known.size;
    if (size > INLINE_BYTES_MAX) return { path, problem: changedProblem(path) };
    const buffer = arena.take(size);
    const count = fs.read(fd, buffer, 0);
    // By its path: a rename over it while we read would leave us with the old inode's bytes.
    const after = fs.stat(root.parent(path), nameOf(path));
    const same = before === undefined ? matchesStat(record, after) : unchanged(before, after);
    if (count !== size || !same) return undefined;
    const sum = sumOf(buffer, seeds);
    const damage = damageOf(record, after, sum, context.nowMs());
    if (damage !== undefined) return { path, problem: damageProblem(path, damage) };
    const entry: FileEntry = { ...known, size: after.size, mode: after.mode, mtimeNs: logicalMtimeNs(record, after), sum };
    context.learn(path, entry, after, record);
    return { path, entry, bytes: buffer };
  } finally {
    fs.close(fd);
  }
}

function changedProblem(path: RelPath): Problem {
  return problem(path, "CHANGED", "it keeps changing while it is read", true);
}

function readFile(context: ReadContext, path: RelPath, record: IndexRecord | undefined, arena: Arena): ReadItem {
  try {
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const item = readOnce(context, path, record, tries > 0, arena);
      if (item !== undefined) return item;
    }
    return { path, problem: changedProblem(path) };
  } catch (error) {
    return { path, problem: problemOf(path, error) };
  }
}

/**
 * As readFile, for what most files are: plain, and recorded beyond doubt. No object is made of the record, and the stat
 * after the reading says all: it is that of the file that was read, and the record's, so the file is the one that was
 * scanned and has not changed since. What is renamed over it meanwhile moves its ctime. Undefined where it takes more
 * than that to tell.
 */
function readPlain(
  context: ReadContext,
  dir: RelPath,
  name: string,
  path: RelPath,
  known: PackedRecords<IndexRecord>,
  arena: Arena,
  onWait: () => void,
): ReadItem | undefined {
  const { page, start } = known;
  const size = packedPlainSize(page, start);
  if (size < 0 || size > INLINE_BYTES_MAX) return undefined;
  const bytes = arena.take(size);
  const { count, stat, waited } = context.root.fs.readWhole(context.root.dir(dir), name, bytes);
  if (waited) onWait();
  if (count !== size || !packedMatchesStat(page, start, stat)) return undefined;
  const sum = sumOf(bytes, context.seeds);
  const entry: FileEntry = { kind: "file", size, mode: stat.mode, mtimeNs: stat.mtimeNs, sum };
  if (!packedHasSum(page, start)) context.learnPlain(path, entry, stat);
  else {
    const record = known.record();
    const damage = damageOf(record, stat, sum, context.nowMs());
    if (damage !== undefined) return { path, problem: damageProblem(path, damage) };
    context.learn(path, entry, stat, record);
  }
  return { path, entry, bytes };
}

function readOne(
  context: ReadContext,
  dir: RelPath,
  name: string,
  path: RelPath,
  known: PackedRecords<IndexRecord> | IndexRecord | undefined,
  arena: Arena,
  onWait: () => void,
): ReadItem {
  if (!(known instanceof PackedRecords)) return readFile(context, path, known, arena);
  try {
    const item = readPlain(context, dir, name, path, known, arena, onWait);
    if (item !== undefined) return item;
  } catch (error) {
    return { path, problem: problemOf(path, error) };
  }
  return readFile(context, path, known.record(), arena);
}

/** Batches within the limits of one message, in the order of `paths`. */
export function* readBatches(context: ReadContext, paths: readonly RelPath[]): Generator<ReadItem[]> {
  // Descriptors that the scan left open may lead to directories that were renamed since.
  context.root.clear();
  const records = new RecordsInOrder(context.index);
  const arena = new Arena(paths.length < ROW_MIN ? 0 : BATCH_BYTES_MAX);
  const batch = new Batch<ReadItem>();
  const ahead = new ReadAhead(context.root, paths);
  let dir: RelPath = "";
  let at = 0;
  const onWait = (): void => ahead.waitedFor(at);
  for (; at < paths.length; at++) {
    const path = paths[at]!;
    const cut = path.lastIndexOf("/");
    // One string for all that are in it: who compares it, or looks it up, has done so before.
    if (cut !== dir.length || !path.startsWith(dir)) dir = parentOf(path);
    const name = path.slice(cut + 1);
    const item = readOne(context, dir, name, path, records.get(dir, name, path), arena, onWait);
    const full = batch.add(item, "bytes" in item ? item.bytes.length : 0);
    if (full !== undefined) yield full;
  }
  const rest = batch.take();
  if (rest !== undefined) yield rest;
}

/** Bytes read at once while a file is hashed. */
const HASH_READ_BYTES = 1 << 20;

/** A buffer of HASH_READ_BYTES for each small file would cost a hundred times what its bytes do. */
function smallSum(fs: FileSystem, fd: Fd, size: number, seeds: SumSeeds): Sum {
  const bytes = new Uint8Array(size);
  return sumOf(bytes.subarray(0, fs.read(fd, bytes, 0)), seeds);
}

async function largeSum(fs: FileSystem, fd: Fd, seeds: SumSeeds): Promise<Sum> {
  const summer = new Summer(seeds);
  const buffer = new Uint8Array(HASH_READ_BYTES);
  for (let at = 0; ; ) {
    const count = await fs.readAsync(fd, buffer, at);
    if (count === 0) return summer.digest();
    summer.update(buffer.subarray(0, count));
    at += count;
  }
}

/** The file has this sum, provably: rot, or what is learned. */
function learnSum(context: ReadContext, path: RelPath, record: IndexRecord, stat: Stat, sum: Sum): Sum | Problem {
  const damage = damageOf(record, stat, sum, context.nowMs());
  if (damage !== undefined) return damageProblem(path, damage);
  const { size, mode } = stat;
  const known = record.entry as FileEntry;
  context.learn(path, { ...known, size, mode, mtimeNs: logicalMtimeNs(record, stat), sum }, stat, record);
  return sum;
}

/** Sum of a small file that is what its record says, by the proof of readPlain; undefined where it takes more than that. */
function hashPlain(context: ReadContext, path: RelPath, onWait: () => void): Sum | Problem | undefined {
  const { root, index, seeds } = context;
  const record = index.get(path);
  if (record?.entry.kind !== "file" || record.entry.size > INLINE_BYTES_MAX) return undefined;
  const bytes = new Uint8Array(record.entry.size);
  const { count, stat, waited } = root.fs.readWhole(root.parent(path), nameOf(path), bytes);
  if (waited) onWait();
  if (count !== bytes.length || !matchesStat(record, stat)) return undefined;
  return learnSum(context, path, record, stat, sumOf(bytes, seeds));
}

async function hashOnce(context: ReadContext, path: RelPath): Promise<Sum | Problem | undefined> {
  const { root, index, seeds } = context;
  const { fs } = root;
  const record = index.get(path);
  if (record?.entry.kind !== "file") return changedProblem(path);
  const fd = root.openRead(path);
  try {
    const before = fs.fstat(fd);
    // Small files are read at once; a large one must not hold up everything else in the process.
    const sum = before.size <= INLINE_BYTES_MAX ? smallSum(fs, fd, before.size, seeds) : await largeSum(fs, fd, seeds);
    const after = fs.fstat(fd);
    if (!unchanged(before, after)) return undefined;
    if (fs.stat(root.parent(path), nameOf(path)).ino !== after.ino) return undefined;
    return learnSum(context, path, record, after, sum);
  } finally {
    fs.close(fd);
  }
}

/**
 * Sum of one file of the index, of any size, provably unchanged while it was read.
 * @param onWait a disk had to be waited for
 */
export async function hashPath(context: ReadContext, path: RelPath, onWait: () => void): Promise<Sum | Problem> {
  try {
    const plain = hashPlain(context, path, onWait);
    if (plain !== undefined) return plain;
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const answer = await hashOnce(context, path);
      if (answer !== undefined) return answer;
    }
    return changedProblem(path);
  } catch (error) {
    return problemOf(path, error);
  }
}
