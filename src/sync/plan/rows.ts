/**
 * What reconcile works on: one row for each path where a side differs from the ancestor, and a survey over the rows
 * that tells each directory what lies below it. Cost follows the number of rows, never the size of the tree.
 */
import { compareContent, sameMetadata } from "#model/entry.ts";
import type { Entry, Preserve } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { comparePaths, isWithin } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import type { ConflictPolicy, Mode, Side } from "#model/plan.ts";
import { assert } from "#model/error.ts";

export type SideState =
  | { readonly state: "present"; readonly entry: Entry }
  | { readonly state: "absent" }
  /** Filtered out on that side, with everything below; rows below it are not looked at. */
  | { readonly state: "ignored" }
  /** Could not be observed, nor anything below; rows below it are not looked at. */
  | { readonly state: "unknown"; readonly problem: Problem };

export type Row = {
  readonly path: RelPath;
  readonly ancestor: Entry | undefined;
  readonly alpha: SideState;
  readonly beta: SideState;
};

/** The little that reconcile must know of paths without a row. */
export type ReconcileLookup = {
  /**
   * Does `side` hold something in `dir` or below it that rows do not show (ignored names)? Asked only for
   * directories that may be about to go; "no" when in doubt is safe, because applying never removes what it does not know.
   */
  hides(side: Side, dir: RelPath): boolean;
  /** Did `side` refuse what was to come to `path`, or above it, for good? Asked only for leaders of files with several names. */
  refuses(side: Side, path: RelPath): boolean;
  /** Is there an entry of any sort at `path` on `side`? Asked only for the names of conflict copies. */
  has(side: Side, path: RelPath): boolean;
};

export type ReconcileInput = {
  readonly mode: Mode;
  readonly conflict: ConflictPolicy;
  /** What this side holds may be old; undefined: nothing is known of it. */
  readonly restored?: Side | undefined;
  /** The policy is meant for conflicts at and below these paths; others are left. Undefined: for all. */
  readonly conflictPaths?: readonly RelPath[] | undefined;
  /** One-way modes: may entries of beta be removed? */
  readonly delete: boolean;
  readonly preserve: Preserve;
  /**
   * In comparePaths order without duplicates: every path where a side is not as the ancestor says, is unknown, or is
   * ignored although the ancestor knows it. A path without a row is equal on both sides and the ancestor.
   */
  readonly rows: Iterable<Row>;
  readonly lookup: ReconcileLookup;
};

/** How a side compares to the ancestor. Absent in both is SAME; an entry the ancestor does not know is CONTENT. */
export const SAME = 0;
export const GONE = 1;
export const METADATA = 2;
export const CONTENT = 3;

/** What is below a row, per side: something to keep and bring over; something that cannot be removed; anything. */
export const NEWS = { alpha: 1, beta: 2 } as const;
export const HOLD = { alpha: 4, beta: 8 } as const;
export const HAS = { alpha: 16, beta: 32 } as const;
const HOLD_BOTH = HOLD.alpha | HOLD.beta;

export function otherSide(side: Side): Side {
  return side === "alpha" ? "beta" : "alpha";
}

export function entryOf(state: SideState): Entry | undefined {
  return state.state === "present" ? state.entry : undefined;
}

/** Rows where a side cannot be judged or synchronised: nothing at or below them is planned. */
export function isGated(row: Row): boolean {
  return gates(row.alpha) || gates(row.beta);
}

function gates(state: SideState): boolean {
  if (state.state === "present") return state.entry.kind === "other";
  return state.state !== "absent";
}

/**
 * Must both files be hashed before this row can be judged? True for two files of equal size of which a sum is missing,
 * be the second one that which was agreed and is gone from the other side: only an edit outlives a deletion. And true
 * where conflicts are copied for any two entries of which one is a file without a sum, because the sum decides the
 * winner and names the copy. The caller hashes what has none, on both sides, and builds the row anew (or makes it
 * unknown).
 */
export function needsSums(row: Row, conflict: ConflictPolicy): boolean {
  const alpha = entryOf(row.alpha);
  const beta = entryOf(row.beta);
  const { ancestor } = row;
  if (row.alpha.state === "absent" && beta !== undefined) return isUnprovenCopy(ancestor, beta);
  if (row.beta.state === "absent" && alpha !== undefined) return isUnprovenCopy(ancestor, alpha);
  if (alpha === undefined || beta === undefined || (!lacksSum(alpha) && !lacksSum(beta))) return false;
  const sameSize = alpha.kind === "file" && beta.kind === "file" && alpha.size === beta.size;
  return sameSize || conflict === "copy";
}

function isUnprovenCopy(agreed: Entry | undefined, left: Entry): boolean {
  return lacksSum(left) && agreed?.kind === "file" && agreed.sum !== undefined && compareContent(agreed, left) === "unknown";
}

function lacksSum(entry: Entry): boolean {
  return entry.kind === "file" && entry.sum === undefined && entry.size > 0;
}

function compareToAncestor(ancestor: Entry | undefined, entry: Entry | undefined, preserve: Preserve): number {
  if (ancestor === entry) return SAME;
  if (entry === undefined) return GONE;
  if (ancestor === undefined || compareContent(ancestor, entry) !== "same") return CONTENT;
  return sameMetadata(ancestor, entry, preserve) ? SAME : METADATA;
}

/** Metadata of a directory is nothing that a deletion must yield to; that of a file goes with its content. */
function isNews(entry: Entry, compared: number): boolean {
  return compared === CONTENT || (compared === METADATA && entry.kind !== "dir");
}

export class Survey {
  readonly rows: readonly Row[];
  /** SAME … CONTENT by row. */
  readonly alpha: Uint8Array;
  readonly beta: Uint8Array;
  /** NEWS, HOLD and HAS bits of what is below each row. */
  readonly below: Uint8Array;

  constructor(input: ReconcileInput) {
    this.rows = Array.isArray(input.rows) ? input.rows : [...input.rows];
    this.alpha = new Uint8Array(this.rows.length);
    this.beta = new Uint8Array(this.rows.length);
    this.below = new Uint8Array(this.rows.length);
    const parents = parentRows(this.rows);
    for (let at = this.rows.length - 1; at >= 0; at--) {
      const row = this.rows[at]!;
      const bits = isGated(row) ? HOLD_BOTH | HAS.alpha | HAS.beta : this.#look(at, row, input);
      const parent = parents[at]!;
      if (parent >= 0) this.below[parent] = this.below[parent]! | bits;
    }
  }

  /** Compares one row and returns what its directory must know of it; everything below it was seen before. */
  #look(at: number, row: Row, input: ReconcileInput): number {
    const alpha = entryOf(row.alpha);
    const beta = entryOf(row.beta);
    const comparedAlpha = compareToAncestor(row.ancestor, alpha, input.preserve);
    const comparedBeta = compareToAncestor(row.ancestor, beta, input.preserve);
    this.alpha[at] = comparedAlpha;
    this.beta[at] = comparedBeta;
    // A new directory that is opposed by nothing is not to be removed, unless a mirror removes what is only on beta.
    const opposed = alpha !== undefined && beta !== undefined;
    if (opposed || row.ancestor?.kind === "dir" || input.mode === "one-way-replica") this.#askHidden(at, row, input);
    let bits = this.below[at]!;
    if (alpha !== undefined) bits |= HAS.alpha | (isNews(alpha, comparedAlpha) ? NEWS.alpha : 0);
    if (beta !== undefined) bits |= HAS.beta | (isNews(beta, comparedBeta) ? NEWS.beta : 0);
    return bits;
  }

  /**
   * Row `at` with other leaders of its names, which nobody has changed: a side that is as agreed on in one of the two ways is
   * that, so that a removal on the other side passes.
   */
  led(at: number, row: Row, preserve: Preserve): void {
    this.alpha[at] = Math.min(this.alpha[at]!, compareToAncestor(row.ancestor, entryOf(row.alpha), preserve));
    this.beta[at] = Math.min(this.beta[at]!, compareToAncestor(row.ancestor, entryOf(row.beta), preserve));
  }

  #askHidden(at: number, row: Row, input: ReconcileInput): void {
    const alphaDir = entryOf(row.alpha)?.kind === "dir";
    const betaDir = entryOf(row.beta)?.kind === "dir";
    if (alphaDir === betaDir) return;
    const side = alphaDir ? "alpha" : "beta";
    if (input.lookup.hides(side, row.path)) this.below[at] = this.below[at]! | HOLD[side];
  }

  /** The row of a path; undefined when the path has none. O(log rows). */
  rowAt(path: RelPath): Row | undefined {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (comparePaths(this.rows[middle]!.path, path) < 0) low = middle + 1;
      else high = middle;
    }
    const row = this.rows[low];
    return row?.path === path ? row : undefined;
  }

  /** Number of entries that `side` has at row `at` and below. */
  countWithin(at: number, side: Side): number {
    const path = this.rows[at]!.path;
    let count = 0;
    for (let next = at; next < this.rows.length && isWithin(this.rows[next]!.path, path); next++) {
      if (this.rows[next]![side].state === "present") count++;
    }
    return count;
  }
}

/** For each row the nearest row above it in the tree, or -1. */
function parentRows(rows: readonly Row[]): Int32Array {
  const parents = new Int32Array(rows.length);
  const open: number[] = [];
  for (let at = 0; at < rows.length; at++) {
    const path = rows[at]!.path;
    if (at > 0) assert(comparePaths(rows[at - 1]!.path, path) < 0, `rows out of order at ${JSON.stringify(path)}`);
    while (open.length > 0 && !isWithin(path, rows[open.at(-1)!]!.path)) open.pop();
    parents[at] = open.at(-1) ?? -1;
    // A row without a directory on any side has nothing below it to answer for.
    if (!isLeaf(rows[at]!)) open.push(at);
  }
  return parents;
}

function isLeaf(row: Row): boolean {
  return leaf(row.alpha) && leaf(row.beta) && (row.ancestor === undefined || row.ancestor.kind !== "dir");
}

function leaf(state: SideState): boolean {
  return state.state === "absent" || (state.state === "present" && state.entry.kind !== "dir");
}
