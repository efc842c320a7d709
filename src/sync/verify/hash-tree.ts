/**
 * SHA-256 of the files of a directory tree, for manifests. Every path is walked through held descriptors, so a symlink
 * swapped in on the way is refused and never followed.
 */
import type { Problem } from "#model/observation.ts";
import { type RelPath, PRIVATE_DIR, compareNames, isWithin, joinPath } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import { type Fd, FsError, type Stat } from "#platform/file-system.ts";

/** Bytes of one read; two buffers are in use, so that the disk works while the processor hashes. */
const READ_BYTES = 1 << 20;

export type Hashed = { readonly sha256: string; readonly size: number };

/** Hashes one file after the other; it owns two buffers, so its calls must not overlap. */
export class FileHasher {
  readonly #root: Confined;
  #filling: Uint8Array = new Uint8Array(READ_BYTES);
  #spare: Uint8Array = new Uint8Array(READ_BYTES);

  constructor(root: Confined) {
    this.#root = root;
  }

  /**
   * The sum of a regular file, or why there is none. A file that changed while it was read is a problem: its sum would
   * be that of a content that never existed.
   */
  async hash(path: RelPath, signal: AbortSignal): Promise<Hashed | Problem> {
    const fs = this.#root.fs;
    let fd: Fd | undefined;
    try {
      fd = this.#root.openRead(path);
      const before = fs.fstat(fd);
      const hashed = await this.#read(fd, signal);
      if (!sameState(before, fs.fstat(fd)) || hashed.size !== before.size) {
        return problemAt(path, "CHANGED", "the file changed while it was read", true);
      }
      return hashed;
    } catch (error) {
      if (error instanceof FsError) return problemAt(path, error.code, error.message, false);
      throw error;
    } finally {
      if (fd !== undefined) fs.close(fd);
    }
  }

  async #read(fd: Fd, signal: AbortSignal): Promise<Hashed> {
    const fs = this.#root.fs;
    const hasher = new Bun.CryptoHasher("sha256");
    let size = 0;
    // Small files are most files: they are read without a promise.
    const first = fs.read(fd, this.#filling, 0);
    hasher.update(this.#filling.subarray(0, first));
    size += first;
    if (first < READ_BYTES) return { sha256: hasher.digest("hex"), size };
    let reading = fs.readAsync(fd, this.#filling, size);
    try {
      for (;;) {
        const count = await reading;
        const filled = this.#filling;
        this.#filling = this.#spare;
        this.#spare = filled;
        size += count;
        const more = count === READ_BYTES && !signal.aborted;
        if (more) reading = fs.readAsync(fd, this.#filling, size);
        hasher.update(filled.subarray(0, count));
        signal.throwIfAborted();
        if (!more) return { sha256: hasher.digest("hex"), size };
      }
    } finally {
      // The descriptor is closed by the caller; a read still under way would hit whatever gets its number next.
      await reading.catch(() => 0);
    }
  }
}

function sameState(a: Stat, b: Stat): boolean {
  return a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs;
}

export function problemAt(path: RelPath, code: string, message: string, transient: boolean): Problem {
  return { path, side: "alpha", code, message, transient };
}

/** Directory levels walked at most; a deeper tree cannot be named within PATH_MAX anyway. */
const DEPTH_MAX = 2048;

/**
 * Paths of all regular files in `root`, depth-first in path order, one directory's names in memory for each level.
 * Symlinks and special files are left out, as are our own files at the top. Directories that cannot be read are
 * reported and passed over.
 */
export function* walkFiles(root: Confined, onProblem: (problem: Problem) => void): Generator<RelPath> {
  const levels: { dir: RelPath; items: { name: string; isDir: boolean }[]; at: number }[] = [];
  const enter = (dir: RelPath): void => {
    const items = listDir(root, dir, onProblem);
    if (levels.length >= DEPTH_MAX) onProblem(problemAt(dir, "NAME", "the directory lies too deep", false));
    else levels.push({ dir, items, at: 0 });
  };
  enter("");
  while (levels.length > 0) {
    const level = levels.at(-1)!;
    const item = level.items[level.at++];
    if (item === undefined) {
      levels.pop();
      continue;
    }
    const path = joinPath(level.dir, item.name);
    if (isWithin(path, PRIVATE_DIR)) continue;
    if (item.isDir) enter(path);
    else yield path;
  }
}

function listDir(
  root: Confined,
  dir: RelPath,
  onProblem: (problem: Problem) => void,
): { name: string; isDir: boolean }[] {
  try {
    const items: { name: string; isDir: boolean }[] = [];
    for (const { name, kind } of root.list(dir)) {
      const known = kind === "unknown" ? root.statIfThere(joinPath(dir, name))?.kind : kind;
      if (known === "dir" || known === "file") items.push({ name, isDir: known === "dir" });
    }
    return items.sort((a, b) => compareNames(a.name, b.name));
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    onProblem(problemAt(dir, error.code, error.message, false));
    return [];
  }
}
