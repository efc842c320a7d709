/**
 * Reading many small files in order, from a disk that has to be waited for: each wait is as long as the disk takes for one
 * request, although it could have many at a time. So as soon as one file had to be waited for, the disk is told of the
 * next ones, too. Where all is in memory, as what was written a moment ago, this costs nothing.
 *
 * 100,000 files of 2 KiB on a virtual disk: 6.1 s one by one, 1.7 s like this; 0.4 s from memory.
 */
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import { FsError } from "#platform/file-system.ts";
import { INLINE_BYTES_MAX } from "#sync/endpoint/endpoint.ts";

/** Files that the disk has been told of, at most; more than any disk works at in the time of one. */
const FILES_MAX = 64;

export class ReadAhead {
  readonly #root: Confined;
  readonly #paths: readonly RelPath[];
  /** Of the first file that the disk has not been told of. */
  #next = 0;

  /** @param paths of small files, in the order in which they are read */
  constructor(root: Confined, paths: readonly RelPath[]) {
    this.#root = root;
    this.#paths = paths;
  }

  /** The file at this place of `paths` had to be waited for. */
  waitedFor(at: number): void {
    const end = Math.min(at + 1 + FILES_MAX, this.#paths.length);
    for (this.#next = Math.max(this.#next, at + 1); this.#next < end; this.#next++) this.#tell(this.#paths[this.#next]!);
  }

  #tell(path: RelPath): void {
    try {
      this.#root.fs.readAhead(this.#root.dir(parentOf(path)), nameOf(path), INLINE_BYTES_MAX);
    } catch (error) {
      // Whoever reads it hears of it.
      if (!(error instanceof FsError)) throw error;
    }
  }
}
