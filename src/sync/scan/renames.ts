/** Whether what has come is what has vanished under another name: a file then keeps its sum, a directory its index. */
import type { Sum } from "#model/entry.ts";
import { type RelPath, nameOf } from "#model/path.ts";
import { type IndexRecord, matchesStat } from "#sync/index/record-codecs.ts";
import { SUSPECT, damageProblem } from "#sync/scan/damage.ts";
import { scanProblem } from "#sync/scan/problem-set.ts";
import type { VanishedDir } from "#sync/scan/rename-candidates.ts";
import type { WalkOptions } from "#sync/scan/walk.ts";
import { type Fd, type Stat, isCode } from "#platform/file-system.ts";

/** A renamed file up to here is hashed again; above it inode, size and mtime are believed. */
const REHASH_RENAMED_BYTES_MAX = 1 << 20;
/** Children of a renamed directory that are compared before its index is taken over. */
const RENAME_SAMPLE = 16;

export class Renames {
  readonly #o: WalkOptions;

  constructor(options: WalkOptions) {
    this.#o = options;
  }

  /** The record with the sum of the vanished file it was renamed from, or undefined when it is not one. */
  *fileOf(
    dir: Fd,
    name: string,
    path: RelPath,
    stat: Stat,
    record: IndexRecord,
  ): Generator<void, IndexRecord | undefined> {
    const { candidates } = this.#o.editor;
    const from = candidates.takeFile(stat);
    if (from === undefined || from.record.entry.kind !== "file") return undefined;
    let { sum } = from.record.entry;
    if (sum !== undefined && stat.size <= REHASH_RENAMED_BYTES_MAX) {
      sum = yield* this.#o.observer.hash(dir, name, stat);
      if (sum === undefined) return undefined;
      if (sum !== from.record.entry.sum) {
        if (from.record.racy) return withSum(record, sum);
        // The rename says what moved the ctime, and nothing that the file was written: damage. The right sum stays, also
        // where the rename was a moment ago.
        this.#o.problems.add(damageProblem(path, SUSPECT));
        return { ...this.#o.observer.renamed(record, from.record, from.record.entry.sum), racy: false, damaged: true };
      }
    }
    if (from.path !== path) candidates.renames.set(path, from.path);
    return this.#o.observer.renamed(record, from.record, sum);
  }

  /** Those that arrived before it was known what had vanished. */
  *settleArrived(): Generator<void> {
    const { editor, index, root, fs, problems, pacer } = this.#o;
    for (const [ino, path] of editor.candidates.takeArrived()) {
      const record = index.get(path);
      if (record?.entry.kind !== "file" || record.ino !== ino) continue;
      try {
        const dir = root.parent(path);
        const stat = fs.stat(dir, nameOf(path));
        if (!matchesStat({ ...record, racy: false }, stat)) continue;
        const next = yield* this.fileOf(dir, nameOf(path), path, stat, record);
        if (next !== undefined) editor.set(path, next, stat.nlink);
      } catch (error) {
        problems.add(scanProblem(path, error));
      }
      if (pacer.due()) yield;
    }
  }

  /** The vanished directory that one is. Inodes are used again, so some of the children must be the same too. */
  dirOf(path: RelPath, ino: bigint): VanishedDir | undefined {
    const from = this.#o.editor.candidates.takeDir(ino);
    return from !== undefined && this.#isSame(from, path, ino) ? from : undefined;
  }

  #isSame(from: VanishedDir, path: RelPath, ino: bigint): boolean {
    const { root, fs, index } = this.#o;
    if (index.get(from.aside)?.ino !== ino) return false;
    const sample = index.children(from.aside).slice(0, RENAME_SAMPLE);
    const dir = root.dir(path);
    let same = 0;
    for (const { name, record } of sample) {
      try {
        if (fs.stat(dir, name).ino === record.ino) same++;
      } catch (error) {
        if (!isCode(error, "ENOENT")) throw error;
      }
    }
    return same * 2 >= sample.length && same > 0;
  }
}

export function withSum(record: IndexRecord, sum: Sum): IndexRecord {
  return record.entry.kind === "file" ? { ...record, entry: { ...record.entry, sum } } : record;
}
