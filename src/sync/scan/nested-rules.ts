/**
 * The ignore rules in force in each directory: those of the session, then every ignore file on the way down.
 */
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import { sameStat } from "#sync/scan/hash-file.ts";
import { IGNORE_FILE, IGNORE_FILE_BYTES_MAX, IgnoreRules, ignoreLines } from "#sync/scan/ignore.ts";
import { changedProblem, scanProblem } from "#sync/scan/problem-set.ts";
import type { Confined } from "#platform/confined.ts";
import { type Fd, FsError, isCode } from "#platform/file-system.ts";

/** Directories whose rules are remembered; beyond it all are forgotten. */
const REMEMBERED_MAX = 10_000;

export class NestedRules {
  readonly #root: Confined;
  /** Rules of the session, for the whole root. */
  readonly base: IgnoreRules;
  readonly #known = new Map<RelPath, IgnoreRules>();

  constructor(root: Confined, base: IgnoreRules) {
    this.#root = root;
    this.base = base;
  }

  /** Forgets everything: an ignore file changed, or directories moved. */
  clear(): void {
    this.#known.clear();
  }

  /**
   * Rules for what lies in `dir`, from the disk unless remembered. A problem means that they cannot be known,
   * and then nothing in the directory is. Directories that are gone have the rules of their parent.
   */
  of(dir: RelPath): IgnoreRules | Problem {
    const known = this.#known.get(dir);
    if (known !== undefined) return known;
    const outer = dir === "" ? this.base : this.of(parentOf(dir));
    if (!(outer instanceof IgnoreRules)) return outer;
    let fd: Fd;
    try {
      fd = this.#root.dir(dir);
    } catch (error) {
      if (isCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return outer;
      return scanProblem(dir, error);
    }
    const rules = this.read(dir, fd, outer);
    if (rules instanceof IgnoreRules) {
      if (this.#known.size >= REMEMBERED_MAX) this.#known.clear();
      this.#known.set(dir, rules);
    }
    return rules;
  }

  /** Rules inside the open directory `fd`: `outer` and those of its own ignore file, if it has one. */
  read(dir: RelPath, fd: Fd, outer: IgnoreRules): IgnoreRules | Problem {
    try {
      const bytes = readIgnoreFile(this.#root, fd);
      if (bytes === "changed") return changedProblem(dir);
      return bytes === undefined ? outer : outer.child(dir, ignoreLines(bytes));
    } catch (error) {
      if (error instanceof SynclineError && error.code === "LIMIT") {
        const message = `${IGNORE_FILE}: ${error.message}`;
        return { path: dir, side: "alpha", code: "LIMIT", message, transient: false };
      }
      const found = scanProblem(dir, error);
      return { ...found, message: `${IGNORE_FILE}: ${found.message}` };
    }
  }
}

/** Bytes of the ignore file in `dir`; undefined when there is none or it is not a regular file. */
function readIgnoreFile({ fs }: Confined, dir: Fd): Uint8Array | "changed" | undefined {
  let fd: Fd;
  try {
    // The stat spares an exception in the usual case of an open that would be refused by kind.
    if (fs.stat(dir, IGNORE_FILE).kind !== "file") return undefined;
    fd = fs.openRead(dir, IGNORE_FILE);
  } catch (error) {
    if (isCode(error, "ENOENT", "EINVAL", "ELOOP")) return undefined;
    throw error;
  }
  try {
    const before = fs.fstat(fd);
    if (before.size > IGNORE_FILE_BYTES_MAX) throw new FsError("EFBIG", "read", IGNORE_FILE);
    const bytes = new Uint8Array(before.size);
    const length = fs.read(fd, bytes, 0);
    return length === before.size && sameStat(fs.fstat(fd), before) ? bytes : "changed";
  } finally {
    fs.close(fd);
  }
}

/** Is this the path of an ignore file? */
export function isIgnoreFile(path: RelPath): boolean {
  return nameOf(path) === IGNORE_FILE;
}
