/** Where a destination collects the bytes of files that are on their way. Implemented by apply/. */
import type { FileEntry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { Fd } from "#platform/file-system.ts";

/** A file being staged, open for reading and writing. */
export type PartialFile = {
  readonly fd: Fd;
  /** Bytes that an interrupted run has left in it; 0 for a fresh file. Nothing is known about them. */
  readonly size: number;
};

/**
 * One path has at most one partial. After openPartial exactly one of done, keep and drop follows; each closes
 * the descriptor and none throws for a file that is gone. Only this module's callers hold the descriptor in
 * between.
 */
export interface StageArea {
  /**
   * The partial of an interrupted run, or a fresh empty file (O_EXCL, in our private directory). Throws
   * FsError.
   *
   * @param turn lets everything else in the process have its turn; what it rejects with is thrown, and the partial stays
   */
  openPartial(path: RelPath, turn: () => Promise<void>): PartialFile | Promise<PartialFile>;
  /** The file is complete, has exactly `entry.size` bytes, and its sum was verified. May throw FsError. */
  done(path: RelPath, entry: FileEntry): void;
  /** Interrupted: what was written stays for a later run. */
  keep(path: RelPath): void;
  /** Not usable: removes it. */
  drop(path: RelPath): void;
}
