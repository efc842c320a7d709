/**
 * Two trees at one sequence, compared from the top down: equal digests end it, a range that differs is cut and its parts
 * are compared, and of a small one the entries themselves. What is the same costs one number, so a single difference among
 * n entries is found in log n rounds.
 */
import type { DigestView } from "#hub/followers/space-digest.ts";
import { END } from "#hub/followers/space-digest.ts";
import { type DigestAnswer, LEAVES_MAX, type LeafDigest, PARTS, type PathRange, type RangeDigest } from "#hub/followers/source.ts";
import { type RelPath, decodeName, encodeName } from "#model/path.ts";

/** Paths that one comparison names. */
export const DIFFERENCES_MAX = 10_000;
/** Questions of one comparison: whoever cuts on and on without an end is not listened to for ever. */
const ROUNDS_MAX = 20_000;

export type PathDifference = {
  readonly path: RelPath;
  readonly here: LeafDigest | undefined;
  readonly there: LeafDigest | undefined;
};

export type Comparison = {
  readonly differences: readonly PathDifference[];
  /** False: there are more than DIFFERENCES_MAX. */
  readonly isWhole: boolean;
  /** Questions that it took. */
  readonly rounds: number;
};

export const EVERYTHING: PathRange = { from: "", to: undefined };

export const bytesOf = ({ from, to }: PathRange) => ({
  from: encodeName(from),
  to: to === undefined ? END : encodeName(to),
});

export const digestText = (hash: bigint): string => hash.toString(16).padStart(16, "0");

/** What a hub answers of one of its own trees. */
export async function answerOf(view: DigestView, range: PathRange, detail: boolean): Promise<Omit<DigestAnswer, "lineage" | "sequence">> {
  const bytes = bytesOf(range);
  const whole = await view.digest(bytes);
  if (!detail) return whole;
  if (whole.count <= LEAVES_MAX) return { ...whole, leaves: await leavesOf(view, range) };
  const cuts = await view.cuts(bytes, PARTS);
  const parts: RangeDigest[] = [];
  for (const [at, cut] of cuts.entries()) {
    const to = cuts[at + 1] === undefined ? range.to : decodeName(cuts[at + 1]!);
    const part = { from: decodeName(cut), to };
    parts.push({ ...part, ...(await view.digest(bytesOf(part))) });
  }
  return { ...whole, parts };
}

async function leavesOf(view: DigestView, range: PathRange): Promise<LeafDigest[]> {
  const leaves: LeafDigest[] = [];
  for await (const { path, sequence, hash } of view.leaves(bytesOf(range))) {
    leaves.push({ path: decodeName(path), sequence, digest: digestText(hash) });
  }
  return leaves;
}

/**
 * @param here at the same sequence as what `ask` answers of
 * @throws what `ask` throws
 */
export async function compareTrees(
  here: DigestView,
  ask: (range: PathRange, detail: boolean) => Promise<Pick<DigestAnswer, "count" | "digest" | "leaves" | "parts">>,
): Promise<Comparison> {
  const differences: PathDifference[] = [];
  let rounds = 1;
  const isSame = async (one: PathRange & { count: number; digest: string }): Promise<boolean> => {
    const own = await here.digest(bytesOf(one));
    return own.count === one.count && own.digest === one.digest;
  };
  if (await isSame({ ...EVERYTHING, ...(await ask(EVERYTHING, false)) })) return { differences, isWhole: true, rounds };
  const waiting: PathRange[] = [EVERYTHING];
  for (let range = waiting.pop(); range !== undefined; range = waiting.pop()) {
    if (differences.length >= DIFFERENCES_MAX || rounds >= ROUNDS_MAX) return { differences, isWhole: false, rounds };
    rounds++;
    const { leaves, parts } = await ask(range, true);
    if (leaves !== undefined && !(await mergeLeaves(here, range, leaves, differences))) return { differences, isWhole: false, rounds };
    for (const part of parts ?? []) if (!(await isSame(part))) waiting.push(part);
  }
  return { differences, isWhole: true, rounds };
}

/** False: there are more than DIFFERENCES_MAX. */
async function mergeLeaves(
  here: DigestView,
  range: PathRange,
  there: readonly LeafDigest[],
  into: PathDifference[],
): Promise<boolean> {
  const theirs = new Map(there.map((leaf) => [leaf.path, leaf]));
  for await (const { path, sequence, hash } of here.leaves(bytesOf(range))) {
    const own = { path: decodeName(path), sequence, digest: digestText(hash) };
    const other = theirs.get(own.path);
    theirs.delete(own.path);
    if (other?.digest === own.digest) continue;
    if (into.length >= DIFFERENCES_MAX) return false;
    into.push({ path: own.path, here: own, there: other });
  }
  for (const [path, leaf] of theirs) {
    if (into.length >= DIFFERENCES_MAX) return false;
    into.push({ path, here: undefined, there: leaf });
  }
  return true;
}
