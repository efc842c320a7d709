/** The program of the thread that finds the chunks of large files and names them. It remembers nothing of any file. */
import { ID_BYTES } from "#sync/chunk/chunk-id.ts";
import { type ChunkLimits, type Looked, lengthOfNext } from "#sync/chunk/fastcdc.ts";

/** Bytes [from, to) of a buffer are what comes next of a file, from the beginning of a chunk on. */
export type CutOrder = {
  readonly ticket: number;
  readonly buffer: ArrayBuffer;
  readonly from: number;
  readonly to: number;
  readonly limits: ChunkLimits;
  /** How far the first chunk was looked at before. */
  readonly looked: Looked;
  /** Nothing comes after them. */
  readonly isEnd: boolean;
};

/** The chunks, one behind the other, and their ids; what is behind them was looked at as it says. The buffer comes back. */
export type CutAnswer = {
  readonly ticket: number;
  readonly buffer: ArrayBuffer;
  readonly lengths: readonly number[];
  readonly ids: Uint8Array;
  readonly looked: Looked;
};

declare const self: {
  onmessage: (event: { data: CutOrder }) => void;
  postMessage: (answer: CutAnswer, transfer: readonly ArrayBuffer[]) => void;
};

self.onmessage = ({ data: { ticket, buffer, from, to, limits, looked, isEnd } }) => {
  const bytes = new Uint8Array(buffer);
  const lengths: number[] = [];
  let state = looked;
  let at = from;
  while (at < to) {
    const length = lengthOfNext(bytes, at, to, limits, state) || (isEnd ? to - at : 0);
    if (length === 0) break;
    lengths.push(length);
    at += length;
    state = { seen: 0, gear: 0 };
  }
  const ids = new Uint8Array(lengths.length * ID_BYTES);
  let start = from;
  for (const [index, length] of lengths.entries()) {
    Bun.SHA256.hash(bytes.subarray(start, start + length), ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES));
    start += length;
  }
  self.postMessage({ ticket, buffer, lengths, ids, looked: state }, [buffer]);
};
