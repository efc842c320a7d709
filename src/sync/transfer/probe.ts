/**
 * Does a file of the destination, perhaps of another name, hold much of this one? The destination hashes samples of its
 * candidates, the source looks for them in stretches all over its file, and only candidates that were met serve as
 * base. A candidate that is of no use thus costs a few percent of sending the file, however large both are.
 */
import { GEAR, GEAR_WINDOW_BYTES } from "#sync/chunk/gear.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import type { Fd, FileSystem } from "#platform/file-system.ts";
import { hash48 } from "#sync/transfer/block-hash.ts";
import { BlockTable } from "#sync/transfer/block-table.ts";
import {
  PROBED_BYTES_MAX,
  PROBED_BYTES_MIN,
  PROBED_SHARE,
  SAMPLE_BYTES,
  samplesIn,
  sampleStride,
} from "#sync/transfer/limits.ts";
import type { ByteReader } from "#sync/wire/bytes.ts";

/** Length of a stretch that is searched. */
const STRETCH_BYTES = 256 << 10;
/** Samples of a candidate that must be met: one alone may be a header that all files of a format share. */
const MET_MIN = 2;
/** More candidates are not used when those chosen seem to hold this share of the file. */
const COVERED = 0.9;

export class Probe {
  /** Sizes of the candidates. */
  readonly #sizes: readonly number[];
  /** The samples of all candidates as blocks, one behind the other. */
  readonly #table: BlockTable;
  readonly #seeds: SumSeeds;
  /** By sample: where in the file it was met first, or -1. */
  readonly #metAt: Float64Array;

  constructor(sizes: readonly number[], seeds: SumSeeds) {
    const samples = sizes.reduce((sum, size) => sum + samplesIn(size), 0);
    this.#sizes = sizes;
    this.#seeds = seeds;
    this.#table = new BlockTable(samples * SAMPLE_BYTES, SAMPLE_BYTES);
    this.#metAt = new Float64Array(samples).fill(-1);
  }

  receive(reader: ByteReader): void {
    this.#table.receive(reader);
  }

  /** Ends all waiting. */
  fail(error: Error): void {
    this.#table.fail(error);
  }

  /**
   * Indexes of the candidates that hold stretches of the file, in the order in which these were met. Throws FsError; a
   * file that becomes shorter is searched as far as it goes. `check` throws when the file was cancelled.
   */
  async choose(fs: FileSystem, fd: Fd, size: number, check: () => void): Promise<number[]> {
    await this.#table.prepareSearch();
    const budget = Math.min(PROBED_BYTES_MAX, Math.max(PROBED_BYTES_MIN, size / PROBED_SHARE));
    const wanted = Math.ceil(Math.min(size, budget) / STRETCH_BYTES);
    const buffer = new Uint8Array(Math.min(size, STRETCH_BYTES));
    let probed = 0;
    for (let stretch = 0; stretch < wanted; stretch++) {
      check();
      const at = Math.floor(((size - buffer.length) * stretch) / Math.max(1, wanted - 1));
      const bytes = buffer.subarray(0, await fs.readAsync(fd, buffer, at));
      this.#search(bytes, at);
      probed += bytes.length;
    }
    return this.#chosen(probed);
  }

  #search(bytes: Uint8Array, at: number): void {
    const table = this.#table;
    const { threshold } = table;
    let gear = 0;
    for (let index = 0; index < bytes.length; index++) {
      gear = ((gear << 1) + GEAR[bytes[index]!]!) | 0;
      // Before the window is full the hash means nothing.
      if (gear < threshold || index < GEAR_WINDOW_BYTES - 1) continue;
      for (const sample of table.candidates(gear) ?? []) {
        const start = index - table.anchorOffsetOf(sample);
        if (this.#metAt[sample]! >= 0 || start < 0 || start + SAMPLE_BYTES > bytes.length) continue;
        if (!table.worthTrying(sample)) continue;
        if (hash48(bytes.subarray(start, start + SAMPLE_BYTES), this.#seeds) !== table.hashOf(sample)) continue;
        this.#metAt[sample] = at + start;
      }
    }
  }

  /** A sample that was met stands for a stride of its candidate. */
  #chosen(probed: number): number[] {
    const met: { candidate: number; share: number; first: number }[] = [];
    let sample = 0;
    for (const [candidate, size] of this.#sizes.entries()) {
      const places = this.#metAt.subarray(sample, sample + samplesIn(size)).filter((place) => place >= 0);
      sample += samplesIn(size);
      if (places.length < MET_MIN) continue;
      const share = (places.length * sampleStride(size)) / probed;
      met.push({ candidate, share, first: places.reduce((least, place) => Math.min(least, place)) });
    }
    met.sort((a, b) => b.share - a.share);
    let covered = 0;
    const used = met.filter(({ share }) => {
      const wanted = covered < COVERED;
      covered += share;
      return wanted;
    });
    return used.sort((a, b) => a.first - b.first).map(({ candidate }) => candidate);
  }
}
