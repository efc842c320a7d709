/**
 * What the destination has of a file, as the source knows it: the hashes of its blocks, arriving in order.
 */
import type { ByteReader } from "#sync/wire/bytes.ts";
import { malformed } from "#sync/wire/bytes.ts";
import { ANCHOR_MIN, ANCHOR_SPAN_BYTES, NO_ANCHOR, readHash } from "#sync/transfer/block-hash.ts";
import { BLOCKS_PER_MESSAGE, blocksIn } from "#sync/transfer/limits.ts";
import { BLOCK_RECORD_BYTES } from "#sync/transfer/messages.ts";

/** Blocks with the same anchor that are tried at one place. */
const SAME_ANCHOR_MAX = 4;
/** After so many false finds a block is no longer looked for: its anchor is a common pattern of the file. */
const MISLEADING_MAX = 16;

/** Slots of the anchor filter, a power of two: an eighth is taken with 8,192 blocks (1 GiB). */
const FILTER_SLOTS = 1 << 16;

export class BlockTable {
  readonly size: number;
  readonly blockBytes: number;
  readonly count: number;
  readonly #hashes: Float64Array;
  readonly #anchors: Int32Array;
  readonly #offsets: Uint16Array;
  #received = 0;
  #wake: (() => void) | undefined;
  #failure: Error | undefined;
  #byAnchor: Map<number, number[]> | undefined;
  #threshold = 0x7fffffff;
  /** One byte for each value of an anchor's low bits: rejects most places without asking the map. */
  readonly #filter = new Uint8Array(FILTER_SLOTS);
  readonly #misled: Uint8Array;

  constructor(size: number, blockBytes: number) {
    this.size = size;
    this.blockBytes = blockBytes;
    this.count = blocksIn(size, blockBytes);
    this.#hashes = new Float64Array(this.count);
    this.#anchors = new Int32Array(this.count);
    this.#offsets = new Uint16Array(this.count);
    this.#misled = new Uint8Array(this.count);
  }

  lengthOf(block: number): number {
    return Math.min(this.blockBytes, this.size - block * this.blockBytes);
  }

  hashOf(block: number): number {
    return this.#hashes[block]!;
  }

  anchorOffsetOf(block: number): number {
    return this.#offsets[block]!;
  }

  /** Takes over the records of one BLOCKS message. */
  receive(reader: ByteReader): void {
    const first = reader.varint();
    const count = reader.varint();
    if (first !== this.#received || count > BLOCKS_PER_MESSAGE || first + count > this.count) {
      throw malformed("blocks that the file does not have");
    }
    const bytes = reader.raw(count * BLOCK_RECORD_BYTES);
    const fields = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0, block = first; block < first + count; block++, at += BLOCK_RECORD_BYTES) {
      const anchor = fields.getInt32(at + 8, true);
      const offset = fields.getUint16(at + 6, true);
      if (offset >= ANCHOR_SPAN_BYTES) throw malformed("an anchor outside its block");
      if (anchor !== NO_ANCHOR && anchor < ANCHOR_MIN) throw malformed("an anchor that cannot be one");
      this.#hashes[block] = readHash(fields, at);
      this.#anchors[block] = anchor;
      this.#offsets[block] = offset;
    }
    this.#received = first + count;
    this.#wake?.();
  }

  /** Ends all waiting: the file was cancelled or the line is lost. */
  fail(error: Error): void {
    this.#failure = error;
    this.#wake?.();
  }

  /** Is the block's hash here? Otherwise await arrival(block). */
  has(block: number): boolean {
    return block < this.#received;
  }

  /** One caller at a time. */
  async arrival(block: number): Promise<void> {
    while (!this.has(block)) {
      if (this.#failure !== undefined) throw this.#failure;
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      await woken.promise;
    }
  }

  /** Makes the anchors searchable; needs all blocks. */
  async prepareSearch(): Promise<void> {
    if (this.#byAnchor !== undefined) return;
    if (this.count > 0) await this.arrival(this.count - 1);
    const byAnchor = new Map<number, number[]>();
    for (let block = 0; block < this.count; block++) {
      const anchor = this.#anchors[block]!;
      if (anchor === NO_ANCHOR) continue;
      const same = byAnchor.get(anchor);
      if (same === undefined) byAnchor.set(anchor, [block]);
      else if (same.length < SAME_ANCHOR_MAX) same.push(block);
      this.#filter[anchor & (FILTER_SLOTS - 1)] = 1;
      if (anchor < this.#threshold) this.#threshold = anchor;
    }
    this.#byAnchor = byAnchor;
  }

  /** No anchor is below it. Valid after prepareSearch(), as are the two that follow. */
  get threshold(): number {
    return this.#threshold;
  }

  /** Blocks that may lie where the gear hash is `hash`. */
  candidates(hash: number): readonly number[] | undefined {
    return this.#filter[hash & (FILTER_SLOTS - 1)] === 0 ? undefined : this.#byAnchor?.get(hash);
  }

  /** May the block still be looked for? Counts the look. */
  worthTrying(block: number): boolean {
    return this.#misled[block]! < MISLEADING_MAX && ++this.#misled[block]! > 0;
  }

  /** The block was where it was looked for. */
  found(block: number): void {
    this.#misled[block] = 0;
  }
}
