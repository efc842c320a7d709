/**
 * Adaptive compression of what travels: zstd, where both the bytes and the line make it pay.
 *
 * Bytes: a piece is sampled first, so that media, archives and encrypted files cost a few microseconds only; of a small
 * one, for which the setting up of the compressor is most of its price, the bytes are counted instead.
 * Line: compressing at a few hundred MB/s would slow a fast line down, so `auto` compresses only while the
 * line is what everything waits for.
 */
import { SynclineError } from "#model/error.ts";

export type CompressMode = "auto" | "zstd" | "none";

/** Level 1: on source code and logs within a few per cent of level 3, at twice the speed. */
const LEVEL = 1;
/** Shorter bytes are left alone: the frame's own header eats the gain. */
const BYTES_MIN = 256;
/**
 * Bytes tried before a large piece is compressed, from its middle because heads are often unlike the rest.
 */
const SAMPLE_BYTES = 8 << 10;
const SAMPLED_BYTES_MIN = 64 << 10;
/** Compressed must be below this share of plain to be worth unpacking. */
const GAIN = 0.9;
/**
 * Of bytes drawn at random the sum below is 255, give or take 23. Between these bounds no code for single bytes gains
 * anything; half of a piece that is there twice makes it 510, and numbers that are counted up make it 0.
 */
const NOISE_MIN = 150;
const NOISE_MAX = 400;
/** After these it is known of nearly all that is no noise that it is none. */
const NOISE_FIRST_BYTES = 1 << 10;
/** The line is judged anew after so many milliseconds and bytes. */
const JUDGE_MS = 50;
const JUDGE_BYTES = 4 << 20;
/** A line faster than this (bytes per millisecond, 200 MB/s) is faster than compressing. */
const FAST_LINE = 200_000;
/** The line is the bottleneck when sending waits for it this share of the time. */
const WAITING_SHARE = 0.5;

export class Compressor {
  readonly #mode: CompressMode;
  readonly #nowMs: () => number;
  #on: boolean;
  #since: number;
  #bytes = 0;
  #waitedMs = 0;
  /** Senders waiting for the line, and since when at least one is. */
  #blocked = 0;
  #blockedSince = 0;

  /**
   * `nowMs`: a monotonic clock. `auto` starts out compressing: on a slow line the first pieces count most.
   */
  constructor(mode: CompressMode, nowMs: () => number) {
    this.#mode = mode;
    this.#nowMs = nowMs;
    this.#on = mode !== "none";
    this.#since = nowMs();
  }

  /** Bytes compressed, or undefined when they should travel as they are. */
  pack(bytes: Uint8Array): Uint8Array | undefined {
    if (this.#mode === "auto") this.#judge(bytes.length);
    if (!this.#on || bytes.length < BYTES_MIN) return undefined;
    if (bytes.length < SAMPLED_BYTES_MIN) {
      if (isNoise(bytes)) return undefined;
    } else {
      const from = (bytes.length - SAMPLE_BYTES) >>> 1;
      const sample = bytes.subarray(from, from + SAMPLE_BYTES);
      if (Bun.zstdCompressSync(sample, { level: LEVEL }).length > SAMPLE_BYTES * GAIN) return undefined;
    }
    const packed = Bun.zstdCompressSync(bytes, { level: LEVEL });
    return packed.length < bytes.length * GAIN ? packed : undefined;
  }

  /** A sender begins to wait for the line. */
  blocked(): void {
    if (this.#blocked++ === 0) this.#blockedSince = this.#nowMs();
  }

  unblocked(): void {
    if (--this.#blocked === 0) this.#waitedMs += this.#nowMs() - this.#blockedSince;
  }

  #judge(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < JUDGE_BYTES) return;
    const elapsedMs = this.#nowMs() - this.#since;
    if (elapsedMs < JUDGE_MS) return;
    const waiting = this.#waitedMs > elapsedMs * WAITING_SHARE;
    this.#on = waiting && this.#bytes < elapsedMs * FAST_LINE;
    this.#since += elapsedMs;
    this.#bytes = 0;
    this.#waitedMs = 0;
  }
}

const counts = new Uint32Array(256);

/** Whether bytes are spread over all values as those of compressed and encrypted files are. */
function isNoise(bytes: Uint8Array): boolean {
  counts.fill(0);
  const first = Math.min(NOISE_FIRST_BYTES, bytes.length);
  for (let at = 0; at < first; at++) counts[bytes[at]!]!++;
  if (spread(first) > NOISE_MAX) return false;
  for (let at = first; at < bytes.length; at++) counts[bytes[at]!]!++;
  const all = spread(bytes.length);
  return all >= NOISE_MIN && all <= NOISE_MAX;
}

/** How far the counts of so many bytes are from being all the same: Pearson's chi-squared. */
function spread(length: number): number {
  let squares = 0;
  for (let value = 0; value < 256; value++) squares += counts[value]! * counts[value]!;
  return (squares * 256) / length - length;
}

/**
 * Unpacks a zstd frame that must hold exactly `length` bytes. The size is read from the frame's header before
 * any memory is taken, so that a small message cannot unfold into a large one.
 *
 * @throws SynclineError PROTOCOL when the frame is damaged or of another size
 */
export function unpack(packed: Uint8Array, length: number): Uint8Array {
  let plain: Uint8Array | undefined;
  try {
    if (frameContentBytes(packed) === length) plain = Bun.zstdDecompressSync(packed);
  } catch {
    plain = undefined;
  }
  if (plain?.length === length) return plain;
  throw new SynclineError({ code: "PROTOCOL", op: "unpack", message: "compressed bytes are damaged" });
}

const ZSTD_MAGIC = 0xfd2fb528;

/** Content size from the frame header (RFC 8878 §3.1.1.1); undefined when it does not say. */
function frameContentBytes(frame: Uint8Array): number | undefined {
  if (frame.length < 6) return undefined;
  const fields = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (fields.getUint32(0, true) !== ZSTD_MAGIC) return undefined;
  const descriptor = fields.getUint8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const at = 5 + (singleSegment ? 0 : 1) + dictionaryBytes;
  switch (descriptor >>> 6) {
    case 0:
      return singleSegment ? fields.getUint8(at) : undefined;
    case 1:
      return fields.getUint16(at, true) + 256;
    case 2:
      return fields.getUint32(at, true);
    default:
      return undefined;
  }
}
