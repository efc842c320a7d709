/**
 * Hashes of blocks for the delta: a keyed strong one that decides, and an anchor that finds blocks at any
 * offset.
 *
 * rsync rolls a checksum over whole blocks, which costs a pass at 1 GB/s on the side that has the old file.
 * Here only a window of 32 bytes rolls: each block is found by its anchor, the place in its first bytes where
 * the gear hash is largest. Both sides find the same place in the same bytes, whatever is in front of them,
 * and because a maximum of thousands is a large number, one comparison with a threshold rejects nearly every
 * other place.
 */
import { GEAR, GEAR_WINDOW_BYTES } from "#sync/chunk/gear.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";

/** The anchor lies within so many first bytes of the block. */
export const ANCHOR_SPAN_BYTES = 4096;
/**
 * Anchors below it (one place in 256 is above) are of monotonous blocks, which are found by prediction only.
 */
export const ANCHOR_MIN = 0x7f000000;
/** "This block has no anchor." */
export const NO_ANCHOR = 0;

const xxHash3 = Bun.hash.xxHash3;

/**
 * 48 bits of keyed XXH3: a number that a double holds exactly. One false match in 2^48 comparisons is caught
 * by the sum of the whole file.
 */
export function hash48(bytes: Uint8Array, seeds: SumSeeds): number {
  return Number(BigInt.asUintN(48, xxHash3(bytes, seeds.a)));
}

export function writeHash(fields: DataView, at: number, hash: number): void {
  fields.setUint32(at, hash >>> 0, true);
  fields.setUint16(at + 4, Math.floor(hash / 2 ** 32), true);
}

export function readHash(fields: DataView, at: number): number {
  return fields.getUint32(at, true) + fields.getUint16(at + 4, true) * 2 ** 32;
}

/**
 * Position of the last byte of the anchor's window, and the gear hash there; hash NO_ANCHOR when it has none.
 */
export type Anchor = { offset: number; hash: number };

/** Finds the anchor of the block at the beginning of `bytes` into `anchor`. */
export function findAnchor(bytes: Uint8Array, anchor: Anchor): void {
  const end = Math.min(bytes.length, ANCHOR_SPAN_BYTES);
  let hash = 0;
  let best = ANCHOR_MIN - 1;
  let offset = -1;
  const warm = Math.min(end, GEAR_WINDOW_BYTES - 1);
  for (let at = 0; at < warm; at++) hash = ((hash << 1) + GEAR[bytes[at]!]!) | 0;
  for (let at = warm; at < end; at++) {
    hash = ((hash << 1) + GEAR[bytes[at]!]!) | 0;
    if (hash > best) {
      best = hash;
      offset = at;
    }
  }
  anchor.offset = offset < 0 ? 0 : offset;
  anchor.hash = offset < 0 ? NO_ANCHOR : best;
}
