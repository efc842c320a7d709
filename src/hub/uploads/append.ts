/**
 * Bytes that are added to a stream. The end of what was there is read again and cut together with what comes, so that the
 * chunks are those that the whole file would have had in one go, however often it broke off.
 */
import type { StoreIntake, StoreSink } from "#hub/content.ts";
import type { ReadInto } from "#hub/cuts/file-cutter.ts";
import { NO_SUMS, type Sums } from "#hub/sums/sums.ts";
import { type SumsStream, openSums } from "#hub/sums/sums-thread.ts";
import {
  type AppendOptions, type AppendSink, STREAM_COMMIT_BYTES, STREAM_COMMIT_BYTES_MAX, STREAM_COMMIT_MS,
} from "#hub/uploads/upload.ts";
import { lostStream, overSize, replaced } from "#hub/uploads/upload-errors.ts";
import type { PartRow } from "#hub/uploads/upload-rows.ts";
import type { ChunkLimits } from "#sync/chunk/fastcdc.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import { assert } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { LEAF_BYTES, PIECE_BYTES } from "#sync/chunk/sum.ts";

/** When a stretch is as large, what comes after it begins another: each commit writes its row again. */
const STRETCH_BYTES = 64 << 20;

export type AppendParts = {
  readonly intake: StoreIntake;
  readonly limits: ChunkLimits;
  /** Chunks of the stream that begin here or behind are large ones, whatever the limits. */
  readonly largeFrom: number | undefined;
  /** Those that are there, in order. */
  readonly stretches: readonly PartRow[];
  /** Bytes that may come in all. */
  readonly sizeMax: number;
  readonly save: (stretch: PartRow) => Promise<void>;
  readonly clock: Clock;
  /** Lets go of everything. */
  readonly onEnd: () => Promise<void>;
};

/** The stretch that grows. */
type Growing = {
  readonly number: number;
  readonly start: number;
  /** Before the chunks of the sink from `from` on. */
  readonly chunks: readonly ManifestChunk[];
  readonly leaves: Uint8Array;
  readonly from: number;
};

const sizeOf = (chunks: readonly ManifestChunk[]): number => chunks.reduce((sum, { length }) => sum + length, 0);
const sizeOfAll = (stretches: readonly PartRow[]): number => stretches.reduce((sum, { size }) => sum + size, 0);

/** Of what is there, from a position on. */
async function endOf({ stretches, intake }: AppendParts, from: number, to: number): Promise<Uint8Array> {
  const chunks: ManifestChunk[] = [];
  let at = to;
  for (const stretch of stretches.toReversed()) {
    for (const chunk of stretch.chunks.toReversed()) {
      if (at <= from) break;
      chunks.unshift(chunk);
      at -= chunk.length;
    }
  }
  const reader = intake.part(chunks);
  if (reader.size !== to - at) throw lostStream();
  const bytes = new Uint8Array(to - from);
  await reader.read(bytes, from - at);
  return bytes;
}

export class Append implements AppendSink {
  readonly #parts: AppendParts;
  readonly #options: AppendOptions;
  readonly #sink: StoreSink;
  readonly #sums: SumsStream | undefined;
  /** The piece of the stream in which the sink begins. */
  readonly #piece: number;
  #growing: Growing;
  /** Bytes of the stream with what came, and those that are durable. */
  #offset: number;
  #durable: number;
  #sinceCommit = 0;
  #committedMs: number;
  /** What came before is being made durable while more is taken; one at a time. */
  #saving: Promise<void> | undefined;
  /** Calls go one after the other, also those of who takes its place. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Those that have not had their turn, or are in it. */
  #turns = 0;
  #isCut = false;
  #isReplaced = false;
  #ending: Promise<void> | undefined;

  private constructor(parts: AppendParts, options: AppendOptions, growing: Growing, sink: StoreSink, piece: number) {
    this.#parts = parts;
    this.#options = options;
    this.#sink = sink;
    this.#piece = piece;
    this.#growing = growing;
    const names = options.sums ?? [];
    this.#sums = names.length === 0 ? undefined : openSums(names);
    this.#offset = this.#durable = sizeOfAll(parts.stretches);
    this.#committedMs = parts.clock.monotonicMs();
  }

  /**
   * The last chunk that is there may end where a connection broke off: it is cut again.
   * @throws {SynclineError} CHUNK_MISSING when the end of what is there cannot be read
   */
  static async open(parts: AppendParts, options: AppendOptions): Promise<Append> {
    const { stretches, intake, limits, largeFrom } = parts;
    const offset = sizeOfAll(stretches);
    const last = stretches.at(-1) ?? { number: 1, size: 0, chunks: [], leaves: NONE };
    const start = offset - last.size;
    const kept = last.chunks.slice(0, -1);
    const base = start + sizeOf(kept);
    const piece = Math.floor(base / PIECE_BYTES);
    const leaves = last.leaves.slice(0, (piece - Math.floor(start / PIECE_BYTES)) * LEAF_BYTES);
    const bytes = await endOf(parts, piece * PIECE_BYTES, offset);
    const lead = bytes.subarray(0, base - piece * PIECE_BYTES);
    const sink = intake.stretchSink({ limits, lead, largeFrom: largeFrom === undefined ? undefined : largeFrom - base });
    await sink.write(bytes.subarray(lead.length));
    return new Append(parts, options, { number: last.number, start, chunks: kept, leaves, from: 0 }, sink, piece);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.#turns++;
    const done = this.#turn.then(work).finally(() => this.#turns--);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  write(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#turns > 0) return this.#inTurn(async () => this.#write(bytes));
    try {
      const full = this.#write(bytes);
      return full === undefined ? undefined : this.#inTurn(() => full);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #write(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#isReplaced) throw replaced();
    if (this.#offset + bytes.length > this.#parts.sizeMax) throw overSize(this.#parts.sizeMax);
    const behind = this.#sums?.update(bytes);
    const full = this.#sink.write(bytes);
    this.#offset += bytes.length;
    this.#sinceCommit += bytes.length;
    const isDue = this.#isDue();
    if (!isDue && behind === undefined && full === undefined) return undefined;
    return this.#written(behind, full, isDue);
  }

  fill(read: ReadInto): number {
    // They would pass by what waits for its turn, and by who sums them.
    if (this.#turns > 0 || this.#isReplaced || this.#sums !== undefined) return 0;
    const left = this.#parts.sizeMax - this.#offset;
    const count = this.#sink.fill((into) => read(into.subarray(0, left)));
    this.#offset += count;
    this.#sinceCommit += count;
    return count;
  }

  #isDue(): boolean {
    if (this.#options.whole === true || this.#sinceCommit < STREAM_COMMIT_BYTES) return false;
    const waitedMs = this.#parts.clock.monotonicMs() - this.#committedMs;
    return waitedMs >= STREAM_COMMIT_MS || this.#sinceCommit >= STREAM_COMMIT_BYTES_MAX;
  }

  async #written(behind: Promise<void> | void, full: Promise<void> | void, isDue: boolean): Promise<void> {
    await Promise.all([behind, full]);
    if (!isDue) return;
    this.#sinceCommit = 0;
    this.#committedMs = this.#parts.clock.monotonicMs();
    await this.#saved();
    this.#saving = this.#save();
    // Whoever writes so much more, or commits, meets the error.
    this.#saving.catch(() => undefined);
  }

  end(): Promise<Sums> {
    return this.#inTurn(async () => {
      if (this.#isReplaced) throw replaced();
      await this.#cut();
      return (await this.#sums?.digest()) ?? NO_SUMS;
    });
  }

  commit(): Promise<number> {
    return this.#inTurn(async () => {
      if (this.#isReplaced) throw replaced();
      await this.#keep();
      return this.#durable;
    });
  }

  async #cut(): Promise<void> {
    if (this.#isCut) return;
    this.#isCut = true;
    await this.#sink.cut();
  }

  async #keep(): Promise<void> {
    await this.#cut();
    await this.#saved();
    if (this.#durable < this.#offset) await this.#save();
    assert(this.#durable === this.#offset, "the chunks of a stream are all of it");
  }

  /** Until nothing is being made durable; its error is met once. */
  async #saved(): Promise<void> {
    const saving = this.#saving;
    this.#saving = undefined;
    await saving;
  }

  /** Makes durable what consists of whole chunks. */
  async #save(): Promise<void> {
    const { intake, clock, save } = this.#parts;
    const { number, start, from } = this.#growing;
    const count = this.#sink.stored.length;
    const more = this.#sink.stored.slice(from, count);
    const chunks = [...this.#growing.chunks, ...more];
    const size = sizeOf(chunks);
    const end = start + size;
    if (end <= this.#durable) return;
    await intake.flush();
    const leaves = this.#leavesUntil(end);
    await save({ number, size, chunks, leaves, sums: {}, timeMs: clock.nowMs() });
    this.#durable = end;
    if (size >= STRETCH_BYTES) this.#growing = { number: number + 1, start: end, chunks: [], leaves: NONE, from: count };
  }

  /** Of the pieces that end in the growing stretch. */
  #leavesUntil(end: number): Uint8Array {
    const first = Math.floor(this.#growing.start / PIECE_BYTES);
    const known = this.#growing.leaves;
    const from = first + known.length / LEAF_BYTES - this.#piece;
    return new Uint8Array(Buffer.concat([known, this.#sink.leaves(from, Math.floor(end / PIECE_BYTES) - this.#piece)]));
  }

  /** Another append takes its place: what has come counts, unless all of it had to. */
  stop(): Promise<void> {
    this.#isReplaced = true;
    return this[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ending ??= this.#inTurn(() => this.#end());
    return this.#ending;
  }

  async #end(): Promise<void> {
    try {
      await this.#saved().catch(() => undefined);
      if (this.#options.whole !== true) await this.#keep();
    } catch {
      // What could not be kept is sent again: the rows say from where.
    } finally {
      await this.#parts.onEnd();
    }
  }
}

const NONE = new Uint8Array(0);
