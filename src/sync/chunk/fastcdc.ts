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
export const CHUNK_LIMITS_LARGE: ChunkLimits = { minBytes: 256 << 10, averageBytes: 1 << 20, maxBytes: 4 << 20 };
export const LARGE_FILE_BYTES = 1 << 30;

/**
 * By how many bits the condition is harder before the average and easier behind it ("normalisation level 2").
 */
const NORMALISATION_BITS = 2;
/** Chunks of the largest size that fit the splitter's buffer: fewer and longer moves of the rest. */
const BUFFERED_CHUNKS = 4;

export function chunkLimitsFor(size: number): ChunkLimits {
  return size > LARGE_FILE_BYTES ? CHUNK_LIMITS_LARGE : CHUNK_LIMITS;
}

/**
 * Length of the first chunk of bytes [from, to). There must be maxBytes of them unless they are the file's
 * last. Returns at most maxBytes, and less than minBytes only when there are no more.
 */
export function cut(bytes: Uint8Array, from: number, to: number, limits: ChunkLimits): number {
  const available = Math.min(to - from, limits.maxBytes);
  if (available <= limits.minBytes) return available;
  const bits = 31 - Math.clz32(limits.averageBytes);
  const hard = -1 << (32 - bits - NORMALISATION_BITS);
  const easy = -1 << (32 - bits + NORMALISATION_BITS);
  const middle = from + Math.min(available, limits.averageBytes);
  const end = from + available;
  let gear = 0;
  let at = from + limits.minBytes;
  for (; at < middle; at++) {
    gear = ((gear << 1) + GEAR[bytes[at]!]!) | 0;
    if ((gear & hard) === 0) return at + 1 - from;
  }
  for (; at < end; at++) {
    gear = ((gear << 1) + GEAR[bytes[at]!]!) | 0;
    if ((gear & easy) === 0) return at + 1 - from;
  }
  return available;
}

/** Takes one chunk; the bytes are valid during the call only. */
export type OnChunk = (chunk: Uint8Array) => void;

/**
 * Cuts a stream into chunks, in order; together they are the stream. The buffer sizes handed in do not
 * matter. For one owner and one stream. An empty stream has no chunk.
 */
export class Splitter {
  readonly #limits: ChunkLimits;
  readonly #onChunk: OnChunk;
  readonly #buffer: Uint8Array;
  #length = 0;
  #isEnded = false;

  constructor(limits: ChunkLimits, onChunk: OnChunk) {
    const { minBytes, averageBytes, maxBytes } = limits;
    const isPower = (averageBytes & (averageBytes - 1)) === 0;
    assert(isPower && minBytes < averageBytes && averageBytes < maxBytes, "chunk limits are in order");
    this.#limits = limits;
    this.#onChunk = onChunk;
    this.#buffer = new Uint8Array(BUFFERED_CHUNKS * maxBytes);
  }

  update(bytes: Uint8Array): void {
    assert(!this.#isEnded, "nothing comes after the end");
    for (let at = 0; at < bytes.length; ) {
      const take = Math.min(bytes.length - at, this.#buffer.length - this.#length);
      this.#buffer.set(bytes.subarray(at, at + take), this.#length);
      this.#length += take;
      at += take;
      if (this.#length === this.#buffer.length) this.#cutWhile(this.#limits.maxBytes);
    }
  }

  /** Hands over what is left. */
  end(): void {
    this.#isEnded = true;
    this.#cutWhile(1);
  }

  /** Cuts as long as so many bytes are there. */
  #cutWhile(bytesMin: number): void {
    let from = 0;
    while (this.#length - from >= bytesMin) {
      const length = cut(this.#buffer, from, this.#length, this.#limits);
      this.#onChunk(this.#buffer.subarray(from, from + length));
      from += length;
    }
    this.#buffer.copyWithin(0, from, this.#length);
    this.#length -= from;
  }
}
