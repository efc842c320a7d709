/**
 * Reads what a failing disk still gives of a pack: one sector that cannot be read must not keep all else out of the backup.
 * What is lost is taken from the copy that an earlier backup made, or else is a hole of zeros: each chunk has sums of its
 * own, so nobody takes it for what was there.
 */
import type { Source } from "#hub/backup/pipe.ts";
import { SynclineError } from "#model/error.ts";
import { isCode } from "#platform/file-system.ts";

/** Read by themselves where a whole piece cannot be: as much as a sector of a disk has. */
const BLOCK_BYTES = 4096;
/** A disk that gives still less is dead. */
const HOLES_MAX = 1000;

/** Bytes from a position on, and before another one. */
export type Hole = readonly [from: number, to: number];
/** What an earlier backup has of the same pack, from its beginning. */
export type EarlierCopy = Source & { readonly sum: string; readonly holes: readonly Hole[] };

export class ReadAround implements Source {
  readonly bytes: number;
  readonly holes: Hole[] = [];
  readonly #source: Source;
  readonly #earlier: EarlierCopy | undefined;
  readonly #signal: AbortSignal;

  constructor(source: Source, earlier: EarlierCopy | undefined, signal: AbortSignal) {
    this.bytes = source.bytes;
    this.#source = source;
    this.#earlier = earlier;
    this.#signal = signal;
  }

  /** @throws what the source throws, but for bytes that cannot be read; for those, too, when there are too many */
  async read(into: Uint8Array, position: number): Promise<number> {
    try {
      return await this.#source.read(into, position);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
    }
    for (let at = 0; at < into.length; ) {
      this.#signal.throwIfAborted();
      const from = position + at;
      const block = into.subarray(at, at + BLOCK_BYTES - (from % BLOCK_BYTES));
      const count = await this.#block(block, from);
      at += count;
      if (count < block.length) return at;
    }
    return into.length;
  }

  async #block(block: Uint8Array, position: number): Promise<number> {
    try {
      return await this.#source.read(block, position);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      if (await this.#hadEarlier(block, position)) return block.length;
      block.fill(0);
      const last = this.holes.at(-1);
      if (last?.[1] === position) this.holes.pop();
      this.holes.push([last?.[1] === position ? last[0] : position, position + block.length]);
      if (this.holes.length > HOLES_MAX) throw error;
      return block.length;
    }
  }

  async #hadEarlier(block: Uint8Array, position: number): Promise<boolean> {
    const earlier = this.#earlier;
    const end = position + block.length;
    if (earlier === undefined || end > earlier.bytes || earlier.holes.some(([from, to]) => from < end && to > position)) return false;
    try {
      return (await earlier.read(block, position)) === block.length;
    } catch (error) {
      if (isUnreadable(error)) return false;
      throw error;
    }
  }
}

function isUnreadable(error: unknown): boolean {
  return isCode(error, "EIO") || (error instanceof SynclineError && isCode(error.cause, "EIO"));
}
