/**
 * Content-defined chunks: FastCDC with normalised chunking. Boundaries depend on the bytes around them only,
 * so equal stretches give equal chunks wherever they lie, in whatever file.
 *
 * A boundary is after a byte whose gear hash has so many leading zero bits: before the average length two
 * more than its logarithm, behind it two fewer, which draws the lengths together. The first `minBytes` are
 * skipped without hashing.
 * Source: Xia et al., FastCDC, USENIX ATC 2016, §3.
 */
import { assert } from "#model/error.ts";
import { GEAR } from "#sync/chunk/gear.ts";

/** Chunk lengths in bytes; the average is a power of two, minBytes < averageBytes < maxBytes. */
export type ChunkLimits = { readonly minBytes: number; readonly averageBytes: number; readonly maxBytes: number };

export const CHUNK_LIMITS: ChunkLimits = { minBytes: 16 << 10, averageBytes: 64 << 10, maxBytes: 256 << 10 };
/** For files above LARGE_FILE_BYTES: a sixteenth of the chunks to name and to look up. */
export const CHUNK_LIMITS_LARGE: ChunkLimits = { minBytes: 512 << 10, averageBytes: 1 << 20, maxBytes: 4 << 20 };
/** Of files that were put together from stretches: each begins and ends a chunk. */
export const CHUNK_LIMITS_JOINED: ChunkLimits = { minBytes: 1, averageBytes: 1 << 20, maxBytes: 4 << 20 };
export const LARGE_FILE_BYTES = 256 << 20;

/**
 * By how many bits the condition is harder before the average and easier behind it ("normalisation level 2").
 */
const NORMALISATION_BITS = 2;
/** Bytes that a splitter takes at once. */
export const SPLIT_BYTES_MAX = 1 << 20;

export function chunkLimitsFor(size: number): ChunkLimits {
  return size > LARGE_FILE_BYTES ? CHUNK_LIMITS_LARGE : CHUNK_LIMITS;
}

/** Length of the first chunk of bytes [from, to), which are all that is left of the file. There must be some. */
export function cut(bytes: Uint8Array, from: number, to: number, limits: ChunkLimits): number {
  return look(bytes, from, to, limits, { seen: 0, gear: 0 }) || to - from;
}

/** How far the end of a chunk was looked for, in bytes from its beginning, and the gear hash there. */
type Looked = { seen: number; gear: number };

/**
 * Length of the chunk that begins at `from`; 0 when its end is not in [from, to). Then it is to be asked again with more
 * bytes behind the same ones, and looks at these alone.
 */
function look(bytes: Uint8Array, from: number, to: number, limits: ChunkLimits, looked: Looked): number {
  const available = Math.min(to - from, limits.maxBytes);
  const bits = 31 - Math.clz32(limits.averageBytes);
  const hard = -1 << (32 - bits - NORMALISATION_BITS);
  const easy = -1 << (32 - bits + NORMALISATION_BITS);
  const middle = from + Math.min(available, limits.averageBytes);
  const end = from + available;
  let { gear } = looked;
  let at = from + Math.max(looked.seen, limits.minBytes);
  for (; at < middle; at++) {
    gear = ((gear << 1) + GEAR[bytes[at]!]!) | 0;
    if ((gear & hard) === 0) return at + 1 - from;
  }
  for (; at < end; at++) {
    gear = ((gear << 1) + GEAR[bytes[at]!]!) | 0;
    if ((gear & easy) === 0) return at + 1 - from;
  }
  looked.seen = at - from;
  looked.gear = gear;
  return available === limits.maxBytes ? available : 0;
}

/**
 * Cuts a stream into chunks, in order; together they are the stream. The buffer sizes handed in do not
 * matter. For one owner and one stream. An empty stream has no chunk.
 */
export class Splitter {
  /** Bytes of a room that is given to push(). */
  readonly roomBytes: number;
  readonly #limits: ChunkLimits;
  /** What is kept of the stream for the next chunk, in the room of the last call. */
  #kept: Uint8Array = new Uint8Array(0);
  #looked: Looked = { seen: 0, gear: 0 };
  #isEnded = false;

  constructor(limits: ChunkLimits) {
    const { minBytes, averageBytes, maxBytes } = limits;
    const isPower = (averageBytes & (averageBytes - 1)) === 0;
    assert(isPower && minBytes < averageBytes && averageBytes < maxBytes, "chunk limits are in order");
    this.#limits = limits;
    this.roomBytes = maxBytes + SPLIT_BYTES_MAX;
  }

  /**
   * The chunks that are complete now; they lie in `room`. What is behind them stays there until the next call, which may
   * be given the same room.
   * @param bytes at most SPLIT_BYTES_MAX; they are copied
   */
  push(bytes: Uint8Array, room: Uint8Array): Uint8Array[] {
    assert(!this.#isEnded && bytes.length <= SPLIT_BYTES_MAX, "what is split comes in bounded parts, before the end");
    const before = this.#kept.length;
    room.set(this.#kept);
    room.set(bytes, before);
    this.#kept = room.subarray(0, before + bytes.length);
    const chunks: Uint8Array[] = [];
    for (;;) {
      const length = look(this.#kept, 0, this.#kept.length, this.#limits, this.#looked);
      if (length === 0) return chunks;
      chunks.push(this.#kept.subarray(0, length));
      this.#kept = this.#kept.subarray(length);
      this.#looked = { seen: 0, gear: 0 };
    }
  }

  /** The last chunk, where push() has put it; undefined when nothing is left. */
  end(): Uint8Array | undefined {
    this.#isEnded = true;
    return this.#kept.length === 0 ? undefined : this.#kept;
  }
}
