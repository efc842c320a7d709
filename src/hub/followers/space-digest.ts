/**
 * Digests of the tree of a space at a sequence, for any range of paths: how many entries it has, and the sum of their
 * numbers (meta/leaves.ts) modulo 2^64. A sum can be kept up to date: the tree is cut into segments of some thousand
 * entries, each with its own, and a change of a path is taken out of one and put into one. What a segment covers only in
 * part is read.
 *
 * Made once by reading the whole tree; after that a digest costs the changes since the one before, forwards or back.
 */
import type { Leaf, LeafChange } from "#hub/meta/leaves.ts";
import type { SpaceId } from "#hub/space.ts";
import { compareBytes } from "#model/path.ts";

/** Entries of a segment when it is made; it is cut in two when it has twice as many. */
const SEGMENT_LEAVES = 1024;
/** Rows read at once. */
const PAGE_ROWS = 1000;
/** Further than this many changes away a tree is read anew. */
const CHANGES_MAX = 500_000;
/** Trees kept in memory; some 60 bytes and a path for 1,024 entries each. */
const TREES_MAX = 64;
const WORD = (1n << 64n) - 1n;

/** From `from` on, before `to`, by bytes. */
export type ByteRange = { readonly from: Uint8Array; readonly to: Uint8Array };
export type Digest = { readonly count: number; readonly digest: string };

export interface LeafSource {
  leaves(space: SpaceId, range: ByteRange, sequence: number, limit: number): Promise<Leaf[]>;
  leafChanges(space: SpaceId, after: number, until: number, limit: number): Promise<LeafChange[]>;
}

type Segment = { readonly from: Uint8Array; count: number; sum: bigint };

const START = new Uint8Array(0);
/** Behind every path. */
export const END: Uint8Array = new Uint8Array(256).fill(255);
const EMPTY: Digest = { count: 0, digest: "0".repeat(16) };

class Tree {
  readonly #source: LeafSource;
  readonly #space: SpaceId;
  #segments: Segment[] = [];
  /** Undefined: not read yet. */
  #sequence: number | undefined;
  /** One at a time: what is asked of it is true of one sequence. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(source: LeafSource, space: SpaceId) {
    this.#source = source;
    this.#space = space;
  }

  inTurn<T>(sequence: number, work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(async () => {
      await this.#moveTo(sequence);
      return work();
    });
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #moveTo(sequence: number): Promise<void> {
    const at = this.#sequence;
    if (at === sequence) return;
    // Whatever breaks off in the middle leaves nothing that could be taken for a digest.
    this.#sequence = undefined;
    if (at === undefined || Math.abs(at - sequence) > CHANGES_MAX) await this.#read(sequence);
    else await this.#step(at, sequence);
    this.#sequence = sequence;
  }

  async #read(sequence: number): Promise<void> {
    this.#segments = await this.#segmentsOf({ from: START, to: END }, sequence);
  }

  async #segmentsOf(range: ByteRange, sequence: number): Promise<Segment[]> {
    const segments: Segment[] = [{ from: range.from, count: 0, sum: 0n }];
    for await (const leaf of this.walk(range, sequence)) {
      let last = segments.at(-1)!;
      if (last.count === SEGMENT_LEAVES) segments.push((last = { from: leaf.path, count: 0, sum: 0n }));
      last.count++;
      last.sum = (last.sum + leaf.hash) & WORD;
    }
    return segments;
  }

  async *walk({ from, to }: ByteRange, sequence: number): AsyncGenerator<Leaf> {
    for (let next = from; ; ) {
      const page = await this.#source.leaves(this.#space, { from: next, to }, sequence, PAGE_ROWS);
      yield* page;
      if (page.length < PAGE_ROWS) return;
      next = behindPath(page.at(-1)!.path);
    }
  }

  async #step(at: number, sequence: number): Promise<void> {
    const isBack = sequence < at;
    const until = Math.max(at, sequence);
    for (let after = Math.min(at, sequence); after < until; ) {
      const page = await this.#source.leafChanges(this.#space, after, until, PAGE_ROWS);
      for (const { path, was, now } of page) {
        const segment = this.#segments[this.#find(path)]!;
        const [out, into] = isBack ? [now, was] : [was, now];
        segment.sum = (segment.sum - (out ?? 0n) + (into ?? 0n)) & WORD;
        segment.count += (into === undefined ? 0 : 1) - (out === undefined ? 0 : 1);
      }
      if (page.length < PAGE_ROWS) break;
      after = page.at(-1)!.sequence;
    }
    for (let index = this.#segments.length - 1; index >= 0; index--) {
      if (this.#segments[index]!.count < 2 * SEGMENT_LEAVES) continue;
      const { from, to } = this.#rangeOf(index);
      this.#segments.splice(index, 1, ...(await this.#segmentsOf({ from, to }, sequence)));
    }
  }

  #rangeOf(index: number): ByteRange {
    return { from: this.#segments[index]!.from, to: this.#segments[index + 1]?.from ?? END };
  }

  /** The segment in which a path lies. */
  #find(path: Uint8Array): number {
    let low = 0;
    let high = this.#segments.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (compareBytes(this.#segments[middle]!.from, path) <= 0) low = middle;
      else high = middle;
    }
    return low;
  }

  async digest(range: ByteRange): Promise<Digest> {
    if (compareBytes(range.from, range.to) >= 0) return EMPTY;
    let count = 0;
    let sum = 0n;
    const first = this.#find(range.from);
    for (let index = first; index < this.#segments.length; index++) {
      const whole = this.#rangeOf(index);
      if (compareBytes(whole.from, range.to) >= 0) break;
      const from = later(whole.from, range.from);
      const to = compareBytes(whole.to, range.to) <= 0 ? whole.to : range.to;
      if (from === whole.from && to === whole.to) {
        count += this.#segments[index]!.count;
        sum += this.#segments[index]!.sum;
        continue;
      }
      for await (const leaf of this.walk({ from, to }, this.#sequence!)) {
        count++;
        sum += leaf.hash;
      }
    }
    return { count, digest: (sum & WORD).toString(16).padStart(16, "0") };
  }

  /** Cuts a range into about `parts` of about the same number of entries; the first begins where the range does. */
  async cuts(range: ByteRange, parts: number): Promise<Uint8Array[]> {
    const inside: Uint8Array[] = [];
    for (const { from } of this.#segments) {
      if (compareBytes(from, range.from) > 0 && compareBytes(from, range.to) < 0) inside.push(from);
    }
    if (inside.length < parts) return this.#finerCuts(range, parts);
    const step = (inside.length + 1) / parts;
    return [range.from, ...Array.from({ length: parts - 1 }, (_, at) => inside[Math.floor((at + 1) * step) - 1]!)];
  }

  async #finerCuts(range: ByteRange, parts: number): Promise<Uint8Array[]> {
    const { count } = await this.digest(range);
    const size = Math.ceil(count / parts);
    const cuts = [range.from];
    let at = 0;
    for await (const { path } of this.walk(range, this.#sequence!)) if (at++ > 0 && (at - 1) % size === 0) cuts.push(path);
    return cuts;
  }
}

/** What is asked of ranges; true of the sequence that was asked for. */
export interface DigestView {
  digest(range: ByteRange): Promise<Digest>;
  /** Where to cut a range into about so many parts of about the same size; the first begins where the range does. */
  cuts(range: ByteRange, parts: number): Promise<Uint8Array[]>;
  leaves(range: ByteRange): AsyncGenerator<Leaf>;
}

export class SpaceDigests {
  readonly #source: LeafSource;
  /** The one used last comes last. */
  readonly #trees = new Map<SpaceId, Tree>();

  constructor(source: LeafSource) {
    this.#source = source;
  }

  /** Calls for one space come one after the other. */
  at<T>(space: SpaceId, sequence: number, work: (view: DigestView) => Promise<T>): Promise<T> {
    const tree = this.#trees.get(space) ?? new Tree(this.#source, space);
    this.#trees.delete(space);
    this.#trees.set(space, tree);
    if (this.#trees.size > TREES_MAX) this.#trees.delete(this.#trees.keys().next().value!);
    return tree.inTurn(sequence, () =>
      work({
        digest: (range) => tree.digest(range),
        cuts: (range, parts) => tree.cuts(range, parts),
        leaves: (range) => tree.walk(range, sequence),
      }),
    );
  }

  /** Rows were changed otherwise than by commits. */
  forget(space: SpaceId): void {
    this.#trees.delete(space);
  }
}

/** The first bytes that are behind a path. */
function behindPath(path: Uint8Array): Uint8Array {
  const made = new Uint8Array(path.length + 1);
  made.set(path);
  return made;
}

function later(a: Uint8Array, b: Uint8Array): Uint8Array {
  return compareBytes(a, b) >= 0 ? a : b;
}
