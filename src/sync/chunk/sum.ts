/**
 * The Sum of a file's bytes (model/entry.ts): 128 bits from two XXH3-64 with the session's two secret seeds.
 *
 * Bun hashes only whole buffers, so a long file is hashed as a tree of two levels:
 *
 * - The file is cut into pieces of PIECE_BYTES; only the last may be shorter. An empty file has one empty piece.
 * - leaf(piece) = XXH3(piece, a) then XXH3(piece, b), each eight bytes little-endian.
 * - One piece: the sum is its leaf (XXH3 takes the length into the hash by itself).
 * - Several: the sum is XXH3(node, a ^ NODE) then XXH3(node, b ^ NODE), where node = size as u64 little-endian and all
 *   leaves in order. The other seeds keep a file whose bytes look like a node from having a node's sum.
 *
 * Pieces can be hashed in any order, which transfers use: bytes arrive out of order and holes are never read.
 */
import { assert } from "#model/error.ts";
import type { Sum } from "#model/entry.ts";

/** The two secret seeds of a session. XXH3 as Bun has it takes the low 32 bits of each. */
export type SumSeeds = { readonly a: bigint; readonly b: bigint };

/** Large enough that hashing the leaves costs nothing, small enough to stay in the processor's cache. */
export const PIECE_BYTES = 1 << 20;
export const LEAF_BYTES = 16;
const SIZE_BYTES = 8;
/** Distinguishes inner nodes from pieces; the golden ratio in 64 bits; its low half counts. */
const NODE = 0x9e3779b97f4a7c15n;

const xxHash3 = Bun.hash.xxHash3;
const ZERO_PIECE = new Uint8Array(PIECE_BYTES);

/** The leaf that is being made, as two numbers and as bytes; used within one synchronous call only. */
const scratch = new BigUint64Array(2);
const scratchBytes = new Uint8Array(scratch.buffer);

function hashInto(bytes: Uint8Array, a: bigint, b: bigint): void {
  scratch[0] = xxHash3(bytes, a);
  scratch[1] = xxHash3(bytes, b);
}

/** Puts the leaf of a piece at `at` of `into`. */
export function leafInto(into: Uint8Array, at: number, piece: Uint8Array, { a, b }: SumSeeds): void {
  hashInto(piece, a, b);
  into.set(scratchBytes, at);
}

/** Pieces in a file of `size` bytes; an empty file has one. */
export function piecesIn(size: number): number {
  return size <= PIECE_BYTES ? 1 : Math.ceil(size / PIECE_BYTES);
}

/** Sum of bytes that are all in memory. */
export function sumOf(bytes: Uint8Array, seeds: SumSeeds): Sum {
  if (bytes.length <= PIECE_BYTES) {
    hashInto(bytes, seeds.a, seeds.b);
    return scratchBytes.toHex();
  }
  const summer = new Summer(seeds);
  summer.update(bytes);
  return summer.digest();
}

/** The leaves of one file, growing as they come: a claimed size alone takes no memory. */
class Leaves {
  readonly #seeds: SumSeeds;
  /** Room for the size in front, so that the node is one buffer. */
  #node = new Uint8Array(SIZE_BYTES + 64 * LEAF_BYTES);

  constructor(seeds: SumSeeds) {
    this.#seeds = seeds;
  }

  set(index: number, piece: Uint8Array): void {
    const at = SIZE_BYTES + index * LEAF_BYTES;
    if (at + LEAF_BYTES > this.#node.length) this.#grow(at + LEAF_BYTES);
    leafInto(this.#node, at, piece, this.#seeds);
  }

  /** Does this leaf belong to a whole piece of zeros? */
  isZero(index: number): boolean {
    const { a, b } = this.#seeds;
    hashInto(ZERO_PIECE, a, b);
    const at = SIZE_BYTES + index * LEAF_BYTES;
    return scratchBytes.every((byte, place) => this.#node[at + place] === byte);
  }

  /** As bytes, one behind the other. */
  first(count: number): Uint8Array {
    return this.#node.slice(SIZE_BYTES, SIZE_BYTES + count * LEAF_BYTES);
  }

  /** Those that are known already. */
  load(leaves: Uint8Array): void {
    if (SIZE_BYTES + leaves.length > this.#node.length) this.#grow(SIZE_BYTES + leaves.length);
    this.#node.set(leaves, SIZE_BYTES);
  }

  /** Fills leaves [from, to) as whole pieces of zeros. */
  setZero(from: number, to: number): void {
    if (from >= to) return;
    this.set(to - 1, ZERO_PIECE);
    const leaf = scratchBytes.slice();
    for (let index = from; index < to; index++) this.#node.set(leaf, SIZE_BYTES + index * LEAF_BYTES);
  }

  sum(size: number): Sum {
    const pieces = piecesIn(size);
    if (pieces === 1) return this.#node.subarray(SIZE_BYTES, SIZE_BYTES + LEAF_BYTES).toHex();
    const node = this.#node.subarray(0, SIZE_BYTES + pieces * LEAF_BYTES);
    new DataView(node.buffer).setBigUint64(0, BigInt(size), true);
    hashInto(node, this.#seeds.a ^ NODE, this.#seeds.b ^ NODE);
    return scratchBytes.toHex();
  }

  #grow(needed: number): void {
    const larger = new Uint8Array(Math.max(needed, this.#node.length * 2));
    larger.set(this.#node);
    this.#node = larger;
  }
}

/**
 * Sums bytes in file order. Give it whole pieces (PIECE_BYTES, aligned) where you can: then nothing is
 * copied. For one owner; digest() once, at the end.
 */
export class Summer {
  readonly #leaves: Leaves;
  #size = 0;
  /** The unfinished piece, and how much of it there is. */
  #piece: Uint8Array | undefined;
  #filled = 0;

  constructor(seeds: SumSeeds) {
    this.#leaves = new Leaves(seeds);
  }

  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const rest = bytes.length - at;
      if (this.#filled === 0 && rest >= PIECE_BYTES) {
        this.#leaves.set(this.#size / PIECE_BYTES, bytes.subarray(at, at + PIECE_BYTES));
        this.#size += PIECE_BYTES;
        at += PIECE_BYTES;
        continue;
      }
      const take = Math.min(rest, PIECE_BYTES - this.#filled);
      this.#pieceFor(this.#filled + take).set(bytes.subarray(at, at + take), this.#filled);
      this.#advance(take);
      at += take;
    }
  }

  /** As update() with `length` bytes of zero, without making them: for holes of sparse files. */
  zeros(length: number): void {
    let rest = length;
    if (this.#filled > 0 || rest < PIECE_BYTES) rest -= this.#zerosInPiece(rest);
    const whole = Math.floor(rest / PIECE_BYTES);
    const first = this.#size / PIECE_BYTES;
    if (whole > 0) this.#leaves.setZero(first, first + whole);
    this.#size += whole * PIECE_BYTES;
    this.#zerosInPiece(rest - whole * PIECE_BYTES);
  }

  digest(): Sum {
    if (this.#filled > 0 || this.#size === 0) this.#closePiece();
    return this.#leaves.sum(this.#size);
  }

  /** Leaves of the first pieces, LEAF_BYTES each; they must be whole, or digest() has been called. */
  leaves(count: number): Uint8Array {
    return this.#leaves.first(count);
  }

  #zerosInPiece(length: number): number {
    const take = Math.min(length, PIECE_BYTES - this.#filled);
    if (take === 0) return 0;
    this.#pieceFor(this.#filled + take).fill(0, this.#filled, this.#filled + take);
    this.#advance(take);
    return take;
  }

  /** The unfinished piece, with room for `bytes`: most files are small, and a whole piece each would cost more than its hash. */
  #pieceFor(bytes: number): Uint8Array {
    const piece = this.#piece;
    if (piece !== undefined && piece.length >= bytes) return piece;
    const larger = new Uint8Array(Math.min(PIECE_BYTES, Math.max(bytes, 2 * (piece?.length ?? 0))));
    if (piece !== undefined) larger.set(piece.subarray(0, this.#filled));
    this.#piece = larger;
    return larger;
  }

  #advance(count: number): void {
    this.#filled += count;
    this.#size += count;
    if (this.#filled === PIECE_BYTES) this.#closePiece();
  }

  #closePiece(): void {
    const piece = this.#piece ?? ZERO_PIECE;
    this.#leaves.set(Math.floor((this.#size - this.#filled) / PIECE_BYTES), piece.subarray(0, this.#filled));
    this.#filled = 0;
  }
}

/** The sum of a file of `size` bytes whose leaves are known, LEAF_BYTES for each piece. */
export function sumOfLeaves(leaves: Uint8Array, size: number, seeds: SumSeeds): Sum {
  assert(leaves.length === piecesIn(size) * LEAF_BYTES, "every piece has a leaf");
  const all = new Leaves(seeds);
  all.load(leaves);
  return all.sum(size);
}

/** Hears of each piece of a file, in any order. */
export interface PieceNotes {
  /** A piece that was read; tells whether it is a whole piece of zeros. */
  add(index: number, piece: Uint8Array): boolean;
  /** Whole pieces [from, to) are zeros. */
  addZeros(from: number, to: number): void;
}

/** For a file whose sum is known. */
export class ZeroPieces implements PieceNotes {
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  add(index: number, piece: Uint8Array): boolean {
    assert(piece.length === Math.min(PIECE_BYTES, this.#size - index * PIECE_BYTES), "a piece has its own length");
    return piece[0] === 0 && piece.length === PIECE_BYTES && Buffer.compare(piece, ZERO_PIECE) === 0;
  }

  addZeros(): void {
    // Nobody asks for them later.
  }
}

/** Sums a file of known size whose pieces are hashed in any order, each once. */
export class PieceSums implements PieceNotes {
  readonly size: number;
  readonly #leaves: Leaves;
  #missing: number;

  constructor(seeds: SumSeeds, size: number) {
    this.size = size;
    this.#leaves = new Leaves(seeds);
    this.#missing = piecesIn(size);
  }

  /** Pieces that have not been given yet. */
  get missing(): number {
    return this.#missing;
  }

  lengthOf(index: number): number {
    return Math.min(PIECE_BYTES, this.size - index * PIECE_BYTES);
  }

  /** Hashes piece `index`; tells whether it is a whole piece of zeros. */
  add(index: number, piece: Uint8Array): boolean {
    assert(piece.length === this.lengthOf(index), "a piece has its own length");
    this.#leaves.set(index, piece);
    this.#missing--;
    return piece[0] === 0 && piece.length === PIECE_BYTES && this.#leaves.isZero(index);
  }

  /** Whole pieces [from, to) are zeros. */
  addZeros(from: number, to: number): void {
    assert(to * PIECE_BYTES <= this.size, "only whole pieces are filled with zeros");
    this.#leaves.setZero(from, to);
    this.#missing -= to - from;
  }

  digest(): Sum {
    assert(this.#missing === 0, "every piece is hashed before the sum is taken");
    return this.#leaves.sum(this.size);
  }
}
