/** What is done with the bytes of a large file: its chunks are found and named, and its pieces are summed. */
import type { Room } from "#hub/cuts/rooms.ts";
import { ID_BYTES } from "#sync/chunk/chunk-id.ts";
import { CHUNK_LIMITS_LARGE, type ChunkLimits, type Looked, lengthOfNext } from "#sync/chunk/fastcdc.ts";
import { LEAF_BYTES, PIECE_BYTES, type SumSeeds, leafInto } from "#sync/chunk/sum.ts";

/** Bytes [from, to) of a room are what comes next of a file, from the beginning of a chunk on. */
export type CutOrder = {
  readonly room: Room;
  readonly from: number;
  readonly to: number;
  readonly limits: ChunkLimits;
  /** Chunks that begin here or behind are large ones, whatever the limits. */
  readonly largeFrom: number;
  /** How far the first chunk was looked at before. */
  readonly looked: Looked;
  /** Nothing comes after them. */
  readonly isEnd: boolean;
  /** Pieces are summed from `from` on, where one begins; all of them are whole, but for the last one at the end. */
  readonly pieces: { readonly seeds: SumSeeds; readonly from: number } | undefined;
};

/** The chunks, one behind the other, and their ids; what is behind them was looked at as it says. */
export type CutAnswer = {
  readonly lengths: readonly number[];
  readonly ids: Uint8Array;
  readonly looked: Looked;
  /** Of the pieces, LEAF_BYTES each. */
  readonly leaves: Uint8Array;
};

export function carryOut({ room, from, to, limits, largeFrom, looked, isEnd, pieces }: CutOrder): CutAnswer {
  const lengths: number[] = [];
  // Kept by who asks: it is written into.
  let state = { ...looked };
  let at = from;
  while (at < to) {
    const length = lengthOfNext(room, at, to, at < largeFrom ? limits : CHUNK_LIMITS_LARGE, state) || (isEnd ? to - at : 0);
    if (length === 0) break;
    lengths.push(length);
    at += length;
    state = { seen: 0, gear: 0 };
  }
  return { lengths, ids: idsOf(room, from, lengths), looked: state, leaves: leavesOf(room, to, pieces) };
}

function idsOf(room: Room, from: number, lengths: readonly number[]): Uint8Array {
  const ids = new Uint8Array(lengths.length * ID_BYTES);
  let start = from;
  for (const [index, length] of lengths.entries()) {
    Bun.SHA256.hash(room.subarray(start, start + length), ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES));
    start += length;
  }
  return ids;
}

function leavesOf(room: Uint8Array, to: number, pieces: CutOrder["pieces"]): Uint8Array {
  if (pieces === undefined) return new Uint8Array(0);
  const { seeds, from } = pieces;
  const leaves = new Uint8Array(Math.ceil((to - from) / PIECE_BYTES) * LEAF_BYTES);
  for (let at = from, index = 0; at < to; at += PIECE_BYTES, index++) {
    leafInto(leaves, index * LEAF_BYTES, room.subarray(at, Math.min(to, at + PIECE_BYTES)), seeds);
  }
  return leaves;
}
