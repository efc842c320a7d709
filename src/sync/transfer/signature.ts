/** The destination's part of the delta: hashes of what it has, sent while they are made. */
import { PIECE_BYTES, type SumSeeds } from "#sync/chunk/sum.ts";
import { type Anchor, findAnchor, hash48, writeHash } from "#sync/transfer/block-hash.ts";
import type { Base } from "#sync/transfer/base.ts";
import { BLOCKS_PER_MESSAGE, blocksIn } from "#sync/transfer/limits.ts";
import { BLOCKS, BLOCK_RECORD_BYTES, HASH_BYTES, type Region, SUMS, startMessage } from "#sync/transfer/messages.ts";

export type SignatureSource = { readonly base: Base; readonly blockBytes: number; readonly seeds: SumSeeds };

/** Block records collected for the next message. */
class Records {
  readonly #bytes = new Uint8Array(BLOCKS_PER_MESSAGE * BLOCK_RECORD_BYTES);
  readonly #fields = new DataView(this.#bytes.buffer);
  #first = 0;
  #count = 0;

  get full(): boolean {
    return this.#count === BLOCKS_PER_MESSAGE;
  }

  get empty(): boolean {
    return this.#count === 0;
  }

  add(hash: number, anchor: Anchor): void {
    const at = this.#count * BLOCK_RECORD_BYTES;
    writeHash(this.#fields, at, hash);
    this.#fields.setUint16(at + 6, anchor.offset, true);
    this.#fields.setInt32(at + 8, anchor.hash, true);
    this.#count++;
  }

  take(id: number, which: number): Uint8Array {
    const writer = startMessage(BLOCKS, id);
    writer.u8(which);
    writer.varint(this.#first);
    writer.varint(this.#count);
    writer.raw(this.#bytes.subarray(0, this.#count * BLOCK_RECORD_BYTES));
    this.#first += this.#count;
    this.#count = 0;
    return writer.finish();
  }
}

/**
 * Hashes the base block by block and hands the messages to `send`, in order. Reads one piece ahead. A file
 * that gets shorter meanwhile yields hashes that match nothing. `which` is one of the OF_ of messages.ts.
 * Stops when it is no longer wanted.
 */
export async function sendSignature(
  source: SignatureSource,
  id: number,
  which: number,
  send: (message: Uint8Array) => Promise<void> | void,
  isWanted: () => boolean,
): Promise<void> {
  const { base, blockBytes, seeds } = source;
  const blocks = blocksIn(base.size, blockBytes);
  const size = Math.min(base.size, blocks * blockBytes);
  const records = new Records();
  const anchor: Anchor = { offset: 0, hash: 0 };
  const buffers = [new Uint8Array(Math.min(size, PIECE_BYTES)), new Uint8Array(Math.min(size, PIECE_BYTES))] as const;
  const isHole = base.holeFinder();
  const read = (at: number): Promise<void> | undefined => {
    if (at >= size) return undefined;
    const buffer = buffers[(at / PIECE_BYTES) & 1]!.subarray(0, Math.min(PIECE_BYTES, size - at));
    if (!isHole(at, buffer.length)) return base.read(buffer, at);
    buffer.fill(0);
    return Promise.resolve();
  };
  let ahead = read(0);
  try {
    for (let at = 0; at < size; at += PIECE_BYTES) {
      await ahead;
      ahead = undefined;
      if (!isWanted()) return;
      ahead = read(at + PIECE_BYTES);
      // Should hashing or sending throw, the read that is under way must not be left without a listener.
      ahead?.catch(() => {});
      const piece = buffers[(at / PIECE_BYTES) & 1]!.subarray(0, Math.min(PIECE_BYTES, size - at));
      for (let from = 0; from < piece.length; from += blockBytes) {
        const block = piece.subarray(from, Math.min(piece.length, from + blockBytes));
        findAnchor(block, anchor);
        records.add(hash48(block, seeds), anchor);
        if (records.full) await send(records.take(id, which));
      }
    }
    if (!records.empty) await send(records.take(id, which));
  } finally {
    // The caller closes the descriptor, so no read may be under way.
    await ahead?.catch(() => {});
  }
}

/** Hashes of the slices of regions of the base, as one SUMS message. */
export async function answerRegions(
  base: Base,
  id: number,
  regions: readonly Region[],
  seeds: SumSeeds,
): Promise<Uint8Array> {
  const writer = startMessage(SUMS, id);
  writer.varint(regions.length);
  let buffer = new Uint8Array(0);
  const hash = new Uint8Array(HASH_BYTES);
  const fields = new DataView(hash.buffer);
  for (const region of regions) {
    if (buffer.length < region.length) buffer = new Uint8Array(region.length);
    const bytes = buffer.subarray(0, region.length);
    await base.read(bytes, region.base);
    writer.varint(Math.ceil(region.length / region.sliceBytes));
    for (let from = 0; from < region.length; from += region.sliceBytes) {
      const slice = bytes.subarray(from, Math.min(region.length, from + region.sliceBytes));
      writeHash(fields, 0, hash48(slice, seeds));
      writer.raw(hash);
    }
  }
  return writer.finish();
}
