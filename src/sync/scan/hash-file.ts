/**
 * Hashes one file as a run of small steps, and tells whether the sum belongs to the file that was looked at.
 */
import type { Sum } from "#model/entry.ts";
import { type SumSeeds, Summer, sumOf } from "#sync/chunk/sum.ts";
import type { Pacer } from "#sync/scan/pacer.ts";
import type { Fd, FileSystem, Stat } from "#platform/file-system.ts";

/** One read; also the largest file that is hashed in one call. */
export const READ_BYTES = 1 << 20;

/** Same content as far as a stat can tell: the inode, its size and both times. */
export function sameStat(a: Stat, b: Stat): boolean {
  if (a.kind !== b.kind || a.ino !== b.ino || a.size !== b.size) return false;
  return a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs;
}

export type HashJob = {
  readonly fs: FileSystem;
  readonly seeds: SumSeeds;
  /** READ_BYTES long; used up to the end of the run. */
  readonly buffer: Uint8Array;
  readonly pacer: Pacer;
};

/**
 * Yields where the caller may pause. Returns the sum, or undefined when the file is no longer what `expect`
 * says: the open file before and after, and the path after, must all have that stat (a change in place and a
 * rename over the path are both caught).
 *
 * @param dir stays open over the pauses
 * @throws {FsError} when the file cannot be opened or read
 */
export function* hashFile(job: HashJob, dir: Fd, name: string, expect: Stat): Generator<void, Sum | undefined> {
  const { fs, seeds, buffer, pacer } = job;
  const fd = fs.openRead(dir, name);
  try {
    if (!sameStat(fs.fstat(fd), expect)) return undefined;
    let sum: Sum;
    if (expect.size <= buffer.length) {
      const length = fs.read(fd, buffer, 0);
      if (length !== expect.size) return undefined;
      sum = sumOf(buffer.subarray(0, length), seeds);
    } else {
      const summer = new Summer(seeds);
      for (let position = 0; position < expect.size; ) {
        const length = fs.read(fd, buffer, position);
        if (length === 0) return undefined;
        summer.update(buffer.subarray(0, length));
        position += length;
        if (pacer.dueNow()) yield;
      }
      sum = summer.digest();
    }
    return sameStat(fs.fstat(fd), expect) && sameStat(fs.stat(dir, name), expect) ? sum : undefined;
  } finally {
    fs.close(fd);
  }
}
