/**
 * What an endpoint saw at a path. Only ENOENT under a verified root is absence; everything doubtful is
 * `unknown`, enters no plan and moves no ancestor.
 */
import type { Entry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";

export type Observation =
  | { readonly state: "present"; readonly path: RelPath; readonly entry: Entry }
  | { readonly state: "absent"; readonly path: RelPath }
  /** Filtered out on that side: not ours, neither present nor absent. Covers everything below. */
  | { readonly state: "ignored"; readonly path: RelPath };

/**
 * One path failed; the cycle goes on. A problem found by a scan also means `unknown` for the path and everything
 * below it: no plan touches them until a later scan clears it.
 */
export type Problem = {
  readonly path: RelPath;
  readonly side: "alpha" | "beta";
  /** errno name ("EACCES") or one of our own: "CHANGED", "CORRUPT", "SUSPECT", "RULES", "NAME", "UNSUPPORTED", "STALE". */
  readonly code: string;
  /** A sentence for a person, without the path. */
  readonly message: string;
  /** A later cycle may well succeed without anyone doing anything. */
  readonly transient: boolean;
};
