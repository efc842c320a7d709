/**
 * Content-defined chunks: FastCDC with normalised chunking. Boundaries depend on the bytes around them only,
 * so equal stretches give equal chunks wherever they lie, in whatever file.
 *
 * A boundary is after a byte whose gear hash has so many leading zero bits: before the average length two
 * more than its logarithm, behind it two fewer, which draws the lengths together. The first `minBytes` are
 * skipped without hashing.
 * Source: Xia et al., FastCDC, USENIX ATC 2016, §3.
 */
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
export function chunkLimitsFor(size: number): ChunkLimits {
  return size > LARGE_FILE_BYTES ? CHUNK_LIMITS_LARGE : CHUNK_LIMITS;
}

/** Length of the first chunk of bytes [from, to), which are all that is left of the file. There must be some. */
export function cut(bytes: Uint8Array, from: number, to: number, limits: ChunkLimits): number {
  return lengthOfNext(bytes, from, to, limits, { seen: 0, gear: 0 }) || to - from;
}

/** How far the end of a chunk was looked for, in bytes from its beginning, and the gear hash there. */
export type Looked = { seen: number; gear: number };

/**
 * Length of the chunk that begins at `from`; 0 when its end is not in [from, to). Then it is to be asked again with more
 * bytes behind the same ones, and looks at these alone: `looked` remembers.
 */
export function lengthOfNext(bytes: Uint8Array, from: number, to: number, limits: ChunkLimits, looked: Looked): number {
  const available = Math.min(to - from, limits.maxBytes);
  const bits = 31 - Math.clz32(limits.averageBytes);
  const hard = -1 << (32 - bits - NORMALISATION_BITS);
  const easy = -1 << (32 - bits + NORMALISATION_BITS);
  const middle = from + Math.min(available, limits.averageBytes);
  const end = from + available;
  const begin = from + Math.max(looked.seen, limits.minBytes);
  const found = seek(bytes, begin, middle, hard, looked) || seek(bytes, Math.max(begin, middle), end, easy, looked);
  if (found !== 0) return found - from;
  looked.seen = Math.max(begin, end) - from;
  return available === limits.maxBytes ? available : 0;
}

/** Index behind the first byte of [from, to) whose gear hash has no bit of the mask; 0: none, and the hash is kept. */
function seek(bytes: Uint8Array, from: number, to: number, mask: number, looked: Looked): number {
  let { gear } = looked;
  let at = from;
  // Four in one turn of the loop take two thirds of the time.
  for (const last = to - 3; at < last; at += 4) {
    const first = ((gear << 1) + GEAR[bytes[at]!]!) | 0;
    const second = ((first << 1) + GEAR[bytes[at + 1]!]!) | 0;
    const third = ((second << 1) + GEAR[bytes[at + 2]!]!) | 0;
    gear = ((third << 1) + GEAR[bytes[at + 3]!]!) | 0;
    if ((first & mask) === 0) return at + 1;
    if ((second & mask) === 0) return at + 2;
    if ((third & mask) === 0) return at + 3;
    if ((gear & mask) === 0) return at + 4;
  }
  for (; at < to; at++) {
    gear = ((gear << 1) + GEAR[bytes[at]!]!) | 0;
    if ((gear & mask) === 0) return at + 1;
  }
  looked.gear = gear;
  return 0;
}
