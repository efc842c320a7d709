/**
 * Narrowing at the source: a stretch of the file that lies where a stretch of the base was, but differs, is
 * compared slice by slice — coarse, then fine — so that an edit of a few bytes costs a few hundred. The
 * base's slice hashes are asked for in batches; nothing waits for an answer until the walk is over or too
 * many are open.
 */
import { type ByteReader, malformed } from "#sync/wire/bytes.ts";
import type { Fd, FileSystem } from "#platform/file-system.ts";
import { hash48, readHash } from "#sync/transfer/block-hash.ts";
import type { FileOutput } from "#sync/transfer/file-output.ts";
import type { Line } from "#sync/transfer/line.ts";
import {
  REGIONS_PER_ASK,
  REGIONS_WAITING_MAX,
  REGION_BYTES_MAX,
  SLICES_PER_ASK,
  SLICE_BYTES_COARSE,
  SLICE_BYTES_FINE,
} from "#sync/transfer/limits.ts";
import { HASH_BYTES, type Region, encodeAsk } from "#sync/transfer/messages.ts";
import { SourceChanged } from "#sync/transfer/source-window.ts";

/** A gap of the file between matches, and the stretch of the base between the same matches. */
type Job = Region & { readonly target: number; readonly targetLength: number };

/** A gap shorter than this is sent whole: asking costs as much. */
const GAP_BYTES_MIN = 2 * SLICE_BYTES_FINE;

function slicesOf({ length, sliceBytes }: Region): number {
  return Math.ceil(length / sliceBytes);
}

export class Regions {
  readonly #fs: FileSystem;
  #fd: Fd | undefined;
  readonly #line: Line;
  readonly #id: number;
  #collected: Job[] = [];
  /** Asked, oldest first: answers come in this order. `job` is undefined when its attempt was given up. */
  #asked: { slices: number; job: Job | undefined }[] = [];
  #answers: Uint8Array[] = [];
  #wake: (() => void) | undefined;
  #failure: Error | undefined;
  #buffer = new Uint8Array(0);

  constructor(fs: FileSystem, line: Line, id: number) {
    this.#fs = fs;
    this.#line = line;
    this.#id = id;
  }

  /** Is narrowing possible for a gap of this length against so many bytes of the base? */
  static suits(gapBytes: number, baseBytes: number): boolean {
    const fits = gapBytes <= REGION_BYTES_MAX && baseBytes <= REGION_BYTES_MAX;
    return fits && gapBytes >= GAP_BYTES_MIN && baseBytes >= SLICE_BYTES_FINE;
  }

  /**
   * Takes over a gap for which suits() holds; its ops go to `output` sooner or later, at the latest in
   * drain().
   */
  async add(target: number, targetLength: number, base: number, length: number, output: FileOutput): Promise<void> {
    const sliceBytes = Math.min(targetLength, length) > 2 * SLICE_BYTES_COARSE ? SLICE_BYTES_COARSE : SLICE_BYTES_FINE;
    this.#collected.push({ target, targetLength, base, length, sliceBytes });
    if (this.#collected.length >= REGIONS_PER_ASK) await this.#ask();
    while (this.#asked.length > REGIONS_WAITING_MAX) await this.#resolveNext(output);
  }

  /** Handles every gap that is still open. */
  async drain(output: FileOutput): Promise<void> {
    while (this.#collected.length > 0 || this.#asked.length > 0) {
      if (this.#collected.length > 0) await this.#ask();
      else await this.#resolveNext(output);
    }
  }

  /**
   * Begins an attempt on an open file. Answers still on their way to an earlier one are dropped as they come.
   */
  begin(fd: Fd): void {
    this.#fd = fd;
    this.#collected = [];
    for (const asked of this.#asked) asked.job = undefined;
  }

  /** Takes over a SUMS message. */
  receive(reader: ByteReader): void {
    const count = reader.varint();
    for (let at = 0; at < count; at++) {
      const expected = this.#asked[this.#answers.length]?.slices;
      if (expected === undefined || reader.varint() !== expected) throw malformed("hashes that were not asked for");
      this.#answers.push(reader.raw(expected * HASH_BYTES));
    }
    this.#wake?.();
  }

  /** Ends all waiting. */
  fail(error: Error): void {
    this.#failure = error;
    this.#wake?.();
  }

  /** Asks about the oldest that are collected, as many as one answer has room for. */
  async #ask(): Promise<void> {
    let count = 0;
    for (let slices = 0; count < Math.min(this.#collected.length, REGIONS_PER_ASK); count++) {
      slices += slicesOf(this.#collected[count]!);
      if (slices > SLICES_PER_ASK) break;
    }
    const jobs = this.#collected.splice(0, count);
    for (const job of jobs) this.#asked.push({ slices: slicesOf(job), job });
    await this.#line.send(encodeAsk(this.#id, jobs));
  }

  async #resolveNext(output: FileOutput): Promise<void> {
    while (this.#answers.length === 0) {
      if (this.#failure !== undefined) throw this.#failure;
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      await woken.promise;
    }
    // Both lists are short (REGIONS_WAITING_MAX and a batch), so shifting them is cheap.
    const hashes = this.#answers.shift()!;
    const asked = this.#asked.shift()!;
    if (asked.job !== undefined) await this.#resolve(asked.job, hashes, output);
  }

  /**
   * Finds the slices of the base in the gap, as far from its beginning as they were or as far from its end:
   * before the first and after the last edit one of the two holds, whatever was inserted or removed between.
   */
  async #resolve(job: Job, hashes: Uint8Array, output: FileOutput): Promise<void> {
    const { target, targetLength, base, length, sliceBytes } = job;
    if (this.#buffer.length < targetLength) this.#buffer = new Uint8Array(targetLength);
    const bytes = this.#buffer.subarray(0, targetLength);
    if ((await this.#fs.readAsync(this.#fd!, bytes, target)) !== targetLength) throw new SourceChanged();
    const fields = new DataView(hashes.buffer, hashes.byteOffset, hashes.byteLength);
    const shifts = targetLength === length ? [0] : [0, targetLength - length];
    /** Ends of what is settled, in the gap and in the region. */
    let done = 0;
    let baseDone = 0;
    for (let from = 0, slice = 0; from < length; from += sliceBytes, slice++) {
      const sliceLength = Math.min(sliceBytes, length - from);
      const wanted = readHash(fields, slice * HASH_BYTES);
      for (const shift of shifts) {
        const at = from + shift;
        if (at < done || at + sliceLength > targetLength) continue;
        if (hash48(bytes.subarray(at, at + sliceLength), this.#line.seeds) !== wanted) continue;
        await this.#gap(job, bytes, done, at, baseDone, from, output);
        await output.copy(target + at, base + from, sliceLength);
        done = at + sliceLength;
        baseDone = from + sliceLength;
        break;
      }
    }
    await this.#gap(job, bytes, done, targetLength, baseDone, length, output);
  }

  /** What lies between two found slices: narrowed once more, or sent. */
  async #gap(
    job: Job,
    bytes: Uint8Array,
    from: number,
    to: number,
    baseFrom: number,
    baseTo: number,
    output: FileOutput,
  ): Promise<void> {
    if (from === to) return;
    if (job.sliceBytes > SLICE_BYTES_FINE && Regions.suits(to - from, baseTo - baseFrom)) {
      const region = { base: job.base + baseFrom, length: baseTo - baseFrom, sliceBytes: SLICE_BYTES_FINE };
      this.#collected.push({ ...region, target: job.target + from, targetLength: to - from });
      if (this.#collected.length >= REGIONS_PER_ASK) await this.#ask();
      return;
    }
    await output.literal(job.target + from, bytes.subarray(from, to));
  }
}

