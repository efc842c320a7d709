/**
 * What a complete listing leaves out is gone, or it is ignored by now: a listing tells only what is seen. Here the rules
 * of the side are read to tell those apart, because the one is to be removed on the other side and the other never is.
 */
import { SynclineError } from "#model/error.ts";
import { type RelPath, isWithin, joinPath, nameOf, parentOf } from "#model/path.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { IGNORE_FILE, type IgnoreRules, ignoreLines } from "#sync/scan/ignore.ts";

/** A path that was agreed, or is on its way, and that a listing does not show. */
export type Unlisted = { readonly path: RelPath; readonly isDir: boolean };

/** The rules of a directory; "unknown" where its ignore file could not be read, or says more than it may. */
type Rules = IgnoreRules | "unknown";

/** The ignore files that one listing shows, and what they hide of what it does not show. */
export class ListedRules {
  readonly #base: IgnoreRules;
  readonly #files = new Set<RelPath>();
  readonly #lines = new Map<RelPath, readonly string[]>();
  readonly #known = new Map<RelPath, Rules>();

  /** @param base the rules of the session, for the whole root */
  constructor(base: IgnoreRules) {
    this.#base = base;
  }

  /** The listing shows a file. */
  listed(path: RelPath): void {
    if (path.endsWith(IGNORE_FILE) && nameOf(path) === IGNORE_FILE) this.#files.add(path);
  }

  /**
   * Those of `missing` that the side ignores, without what is below another of them. What an ignore file hides that
   * cannot be read now counts as ignored. Rejects with what the endpoint's read rejects with.
   *
   * @param missing in path order
   */
  async ignored(missing: readonly Unlisted[], endpoint: Endpoint, signal: AbortSignal): Promise<RelPath[]> {
    if (this.#files.size === 0 || missing.length === 0) return [];
    await this.#read(missing, endpoint, signal);
    const ignored: RelPath[] = [];
    for (const { path, isDir } of missing) {
      const above = ignored.at(-1);
      if (above !== undefined && isWithin(path, above)) continue;
      const rules = this.#rulesOf(parentOf(path));
      if (rules === "unknown" || rules.ignores(path, isDir)) ignored.push(path);
    }
    return ignored;
  }

  /** Reads the ignore files of all directories above what is missing. */
  async #read(missing: readonly Unlisted[], endpoint: Endpoint, signal: AbortSignal): Promise<void> {
    const seen = new Set<RelPath>();
    const wanted: RelPath[] = [];
    for (const { path } of missing) {
      for (let dir = parentOf(path); !seen.has(dir); dir = parentOf(dir)) {
        seen.add(dir);
        const file = joinPath(dir, IGNORE_FILE);
        if (this.#files.has(file)) wanted.push(file);
      }
    }
    if (wanted.length === 0) return;
    for await (const batch of endpoint.read(wanted, signal)) {
      for (const item of batch) if ("bytes" in item) this.#lines.set(item.path, ignoreLines(item.bytes));
    }
  }

  #rulesOf(dir: RelPath): Rules {
    const known = this.#known.get(dir);
    if (known !== undefined) return known;
    const rules = this.#made(dir, dir === "" ? this.#base : this.#rulesOf(parentOf(dir)));
    this.#known.set(dir, rules);
    return rules;
  }

  #made(dir: RelPath, outer: Rules): Rules {
    const file = joinPath(dir, IGNORE_FILE);
    if (outer === "unknown" || !this.#files.has(file)) return outer;
    const lines = this.#lines.get(file);
    if (lines === undefined) return "unknown";
    try {
      return outer.child(dir, lines);
    } catch (error) {
      if (error instanceof SynclineError && error.code === "LIMIT") return "unknown";
      throw error;
    }
  }
}
