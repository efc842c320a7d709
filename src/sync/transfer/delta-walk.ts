/**
 * The source's walk through a file of which the destination has something: a base (its old file) and perhaps
 * a partial (left in place by an interrupted transfer).
 *
 * Nearly all of a changed file is where one expects it, so the walk predicts: after block k comes block k+1.
 * That is one hash at memory speed. After a miss it looks a few blocks ahead on the same line (an edit in
 * place), and only then searches byte by byte for the anchor of any block (something was inserted, removed or
 * moved). What lies between two matches is handed to Regions to be narrowed.
 */
import { PIECE_BYTES } from "#sync/chunk/sum.ts";
import { GEAR, GEAR_WINDOW_BYTES } from "#sync/chunk/gear.ts";
import { ANCHOR_SPAN_BYTES, hash48 } from "#sync/transfer/block-hash.ts";
import type { BlockTable } from "#sync/transfer/block-table.ts";
import type { FileOutput } from "#sync/transfer/file-output.ts";
import type { Line } from "#sync/transfer/line.ts";
import { Regions } from "#sync/transfer/regions.ts";
import { REGION_BYTES_MAX } from "#sync/transfer/limits.ts";
import { type SourceWindow, WINDOW_SPAN_MAX } from "#sync/transfer/source-window.ts";

/** Blocks looked ahead after a miss. */
const AHEAD_BLOCKS_MAX = 8;
/** Bytes searched in one go: the search is synchronous, and others must get their turn. */
const SEARCH_BYTES = 256 << 10;

export type WalkParts = {
  readonly window: SourceWindow;
  readonly base: BlockTable | undefined;
  readonly partial: BlockTable | undefined;
  readonly regions: Regions;
  readonly output: FileOutput;
  readonly line: Line;
  /** Throws when the file was cancelled. */
  readonly check: () => void;
};

export class DeltaWalk {
  readonly #parts: WalkParts;
  readonly #base: BlockTable | undefined;
  readonly #partial: BlockTable | undefined;
  readonly #window: SourceWindow;
  readonly #zeroHash: number;
  /** Position in the file; where what is not settled yet begins; end of the segment. */
  #at = 0;
  #open = 0;
  #end = 0;
  /** Predicted base position of file position p: p + shift. */
  #shift = 0;
  /** End of the last match in the base: where the counterpart of an open gap begins. */
  #baseOpen = 0;
  /** Gear hash of the search, and the position it stands at; the bytes since #searchFrom are in it. */
  #gear = 0;
  #searchFrom = 0;

  constructor(parts: WalkParts) {
    this.#parts = parts;
    this.#base = parts.base;
    this.#partial = parts.partial;
    this.#window = parts.window;
    const blockBytes = (parts.base ?? parts.partial)!.blockBytes;
    this.#zeroHash = hash48(new Uint8Array(blockBytes), parts.line.seeds);
  }

  /**
   * Walks one stretch of data [start, end); stretches come in rising order, holes between them are the
   * caller's.
   */
  async segment(start: number, end: number): Promise<void> {
    await this.#window.skipTo(start);
    this.#at = start;
    this.#open = start;
    this.#end = end;
    this.#baseOpen = Math.max(0, start + this.#shift);
    while (this.#at < end) {
      this.#parts.check();
      if (!(await this.#predicted())) await this.#search();
    }
    await this.#closeGap(end, this.#base?.size ?? 0);
    await this.#window.close();
  }

  /** Follows the prediction; false when it fails for good and the rest of the gap must be searched. */
  async #predicted(): Promise<boolean> {
    const base = this.#base;
    if (base === undefined) return false;
    const aheadMax = Math.min(AHEAD_BLOCKS_MAX, Math.floor(WINDOW_SPAN_MAX / base.blockBytes) - 1);
    for (let missed = 0; missed <= aheadMax; missed++) {
      const block = (this.#at + this.#shift) / base.blockBytes;
      if (!Number.isInteger(block) || block < 0 || block >= base.count) return false;
      const length = base.lengthOf(block);
      if (this.#at + length > this.#end) return false;
      if (!base.has(block)) await base.arrival(block);
      if (!this.#window.has(this.#at + length)) await this.#window.ensure(this.#open, this.#at + length);
      if (await this.#matchHere(block, length)) return true;
      this.#at += length;
    }
    return false;
  }

  /** Compares the bytes at the position with base block `block` and with the partial at the same place. */
  async #matchHere(block: number, length: number): Promise<boolean> {
    const at = this.#at;
    const base = this.#base!;
    const hash = hash48(this.#window.view(at, at + length), this.#parts.line.seeds);
    if (hash === this.#zeroHash && length === base.blockBytes) {
      await this.#closeGap(at, block * base.blockBytes);
      await this.#parts.output.zero(at, length);
    } else if (hash === base.hashOf(block)) {
      await this.#closeGap(at, block * base.blockBytes);
      await this.#parts.output.copy(at, block * base.blockBytes, length);
    } else if (await this.#keepsPartial(at, length, hash)) {
      await this.#closeGap(at, block * base.blockBytes);
      await this.#parts.output.keep(at, length);
    } else {
      return false;
    }
    this.#settle(at + length, block * base.blockBytes + length);
    return true;
  }

  async #keepsPartial(at: number, length: number, hash: number): Promise<boolean> {
    const partial = this.#partial;
    if (partial === undefined || at % partial.blockBytes !== 0) return false;
    const block = at / partial.blockBytes;
    if (block >= partial.count || partial.lengthOf(block) !== length) return false;
    if (!partial.has(block)) await partial.arrival(block);
    return partial.hashOf(block) === hash;
  }

  #settle(at: number, baseAt: number): void {
    this.#at = at;
    this.#open = at;
    this.#shift = baseAt - at;
    this.#baseOpen = Math.max(0, baseAt);
  }

  /**
   * Searches from the beginning of the open gap for any block of the base, and at block boundaries for what
   * is predicted or lies in the partial. Returns after a match or at the end of the segment.
   */
  async #search(): Promise<void> {
    await this.#base?.prepareSearch();
    let at = this.#open;
    this.#gear = 0;
    this.#searchFrom = at;
    while (at < this.#end) {
      this.#parts.check();
      await this.#sendPassed(at);
      if (await this.#boundary(at)) return;
      const limit = Math.min(this.#end, this.#nextBoundary(at), at + SEARCH_BYTES);
      if (!this.#window.has(limit)) await this.#window.ensure(this.#open, limit);
      while (at < limit) {
        const hit = this.#base === undefined ? limit : this.#roll(at, limit);
        if (hit < limit && (await this.#candidate(hit, limit))) return;
        at = Math.min(hit + 1, limit);
      }
    }
    this.#at = this.#end;
  }

  /** At a boundary: does the predicted block, or the partial's, lie here? */
  async #boundary(at: number): Promise<boolean> {
    const base = this.#base;
    const block = base === undefined ? -1 : (at + this.#shift) / base.blockBytes;
    if (base !== undefined && Number.isInteger(block) && block >= 0 && block < base.count) {
      const length = base.lengthOf(block);
      if (at + length <= this.#end) {
        await this.#window.ensure(this.#open, at + length);
        this.#at = at;
        if (await this.#matchHere(block, length)) return true;
      }
    }
    const partial = this.#partial;
    if (partial === undefined || at % partial.blockBytes !== 0) return false;
    const length = partial.lengthOf(at / partial.blockBytes);
    if (at / partial.blockBytes >= partial.count || at + length > this.#end) return false;
    await this.#window.ensure(this.#open, at + length);
    const hash = hash48(this.#window.view(at, at + length), this.#parts.line.seeds);
    if (!(await this.#keepsPartial(at, length, hash))) return false;
    await this.#closeGap(at, Math.max(0, at + this.#shift));
    await this.#parts.output.keep(at, length);
    this.#settle(at + length, at + this.#shift + length);
    return true;
  }

  #nextBoundary(at: number): number {
    let next = Infinity;
    const base = this.#base;
    if (base !== undefined) {
      const inBlock = (((at + this.#shift) % base.blockBytes) + base.blockBytes) % base.blockBytes;
      next = at + base.blockBytes - inBlock;
    }
    const partial = this.#partial;
    if (partial === undefined || at >= partial.size) return next;
    return Math.min(next, at + partial.blockBytes - (at % partial.blockBytes));
  }

  /** The next place in [at, limit) where the window of some block's anchor may end, or `limit`. */
  #roll(at: number, limit: number): number {
    const bytes = this.#window.view(at, limit);
    const base = this.#base!;
    const threshold = base.threshold;
    const length = bytes.length;
    let gear = this.#gear;
    let index = 0;
    // Before the window is full the hash means nothing.
    const warm = Math.min(length, this.#searchFrom + GEAR_WINDOW_BYTES - 1 - at);
    for (; index < warm; index++) gear = ((gear << 1) + GEAR[bytes[index]!]!) | 0;
    for (; index < length; index++) {
      gear = ((gear << 1) + GEAR[bytes[index]!]!) | 0;
      if (gear >= threshold && base.candidates(gear) !== undefined) break;
    }
    this.#gear = gear;
    return at + index;
  }

  /** The anchor of some block may end at `hit`: compares the blocks it may belong to. */
  async #candidate(hit: number, searched: number): Promise<boolean> {
    const base = this.#base!;
    for (const block of base.candidates(this.#gear) ?? []) {
      const start = hit - base.anchorOffsetOf(block);
      const length = base.lengthOf(block);
      if (start < this.#open || start + length > this.#end || !base.worthTrying(block)) continue;
      // Never forget what the search still has to look at.
      await this.#window.ensure(this.#open, Math.max(start + length, searched));
      if (hash48(this.#window.view(start, start + length), this.#parts.line.seeds) !== base.hashOf(block)) continue;
      base.found(block);
      await this.#closeGap(start, block * base.blockBytes);
      await this.#parts.output.copy(start, block * base.blockBytes, length);
      this.#settle(start + length, block * base.blockBytes + length);
      return true;
    }
    return false;
  }

  /** Sends whole pieces of a long gap that no block can reach back into any more. */
  async #sendPassed(at: number): Promise<void> {
    const safe = Math.floor((at - 2 * ANCHOR_SPAN_BYTES) / PIECE_BYTES) * PIECE_BYTES;
    if (safe <= this.#open) return;
    await this.#parts.output.literal(this.#open, this.#window.view(this.#open, safe));
    this.#open = safe;
  }

  /** Settles [open, to), whose counterpart in the base ends at `baseEnd`. */
  async #closeGap(to: number, baseEnd: number): Promise<void> {
    const from = this.#open;
    if (from >= to) return;
    this.#open = to;
    const length = to - from;
    const { output, regions } = this.#parts;
    // Of a long stretch that was removed, or of the rest of the base, only the beginning can matter.
    const baseBytesMax = Math.min(length + PIECE_BYTES, REGION_BYTES_MAX);
    const baseTo = Math.min(baseEnd, this.#baseOpen + baseBytesMax, this.#base?.size ?? 0);
    if (Regions.suits(length, baseTo - this.#baseOpen)) {
      await regions.add(from, length, this.#baseOpen, baseTo - this.#baseOpen, output);
    } else {
      await output.literal(from, this.#window.view(from, to));
    }
  }
}
