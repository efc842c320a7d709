/**
 * The paths of a root whose state is unknown. A problem covers everything below its path. The number is
 * bounded: when there are too many, problems are folded into one of their parent directory, which makes more
 * unknown, never less.
 */
import type { Problem } from "#model/observation.ts";
import { type RelPath, isWithin, parentOf } from "#model/path.ts";
import { FsError, describeErrno } from "#platform/file-system.ts";
import { isDamageCode } from "#sync/scan/damage.ts";

/** Problems kept at most. */
export const PROBLEMS_MAX = 1000;

/** Refusals that may pass by themselves, so that a later scan tries again without being told. */
const TRANSIENT = new Set([
  "EAGAIN", "EBUSY", "EINTR", "EIO", "EMFILE", "ENFILE", "ENOENT", "ENOMEM", "ESTALE", "ETIMEDOUT", "ETXTBSY",
]);

/**
 * The problem behind a refusal of the operating system; anything else that was thrown passes on. The endpoint
 * cannot know its side: the controller puts it in.
 */
export function scanProblem(path: RelPath, error: unknown): Problem {
  if (!(error instanceof FsError)) throw error;
  const message = `cannot ${error.call}: ${describeErrno(error.code)}`;
  return { path, side: "alpha", code: error.code, message, transient: TRANSIENT.has(error.code) };
}

/** It was modified, moved or replaced while it was looked at. */
export function changedProblem(path: RelPath): Problem {
  return { path, side: "alpha", code: "CHANGED", message: "changed while it was read", transient: true };
}

export class ProblemSet {
  #byPath = new Map<RelPath, Problem>();

  get size(): number {
    return this.#byPath.size;
  }

  get(path: RelPath): Problem | undefined {
    return this.#byPath.get(path);
  }

  add(problem: Problem): void {
    this.#byPath.delete(problem.path);
    this.#byPath.set(problem.path, problem);
    while (this.#byPath.size > PROBLEMS_MAX) this.#fold();
  }

  /** The path itself was looked at without trouble. */
  delete(path: RelPath): void {
    this.#byPath.delete(path);
  }

  /** The path was looked at without trouble and nothing differed; only reading it again clears damage. */
  settle(path: RelPath): void {
    const problem = this.#byPath.get(path);
    if (problem !== undefined && !isDamageCode(problem.code)) this.#byPath.delete(path);
  }

  /** The path and everything below is looked at again; only reading it again clears damage, or that it is gone. */
  lookAgain(path: RelPath): void {
    for (const [known, { code }] of this.#byPath) if (!isDamageCode(code) && isWithin(known, path)) this.#byPath.delete(known);
  }

  /** Nothing is at the path or below it any more, or nobody may see it. */
  deleteWithin(path: RelPath): void {
    for (const known of this.#byPath.keys()) if (isWithin(known, path)) this.#byPath.delete(known);
  }

  /** The highest problem that makes the path unknown; damage of one file's content is not one. */
  covering(path: RelPath): RelPath | undefined {
    if (this.#byPath.size === 0) return undefined;
    if (this.#byPath.has("")) return "";
    for (let at = path.indexOf("/"); ; at = path.indexOf("/", at + 1)) {
      const prefix = at < 0 ? path : path.slice(0, at);
      const problem = this.#byPath.get(prefix);
      if (problem !== undefined && !isDamageCode(problem.code)) return prefix;
      if (at < 0) return undefined;
    }
  }

  /** In the order in which they were found last. */
  list(): Problem[] {
    return [...this.#byPath.values()];
  }

  #fold(): void {
    const folded = new Map<RelPath, Problem>();
    const counts = new Map<RelPath, number>();
    for (const problem of this.#byPath.values()) {
      const path = problem.path === "" ? "" : parentOf(problem.path);
      const count = (counts.get(path) ?? 0) + 1;
      counts.set(path, count);
      const transient = problem.transient || (folded.get(path)?.transient ?? false);
      const message = `${count} or more paths below failed, the last with ${problem.code}: ${problem.message}`;
      folded.set(path, { path, side: problem.side, code: problem.code, message, transient });
    }
    this.#byPath = folded;
  }
}
