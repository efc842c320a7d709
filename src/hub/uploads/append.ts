/**
 * Bytes that are added to a stream. The end of what was there is read again and cut together with what comes, so that the
 * chunks are those that the whole file would have had in one go, however often it broke off.
 */
import type { StoreIntake, StoreSink } from "#hub/content.ts";
import { type Sums, SumsHasher } from "#hub/sums/sums.ts";
import { type AppendOptions, type AppendSink, STREAM_COMMIT_BYTES } from "#hub/uploads/upload.ts";
import { lostStream, overSize, replaced } from "#hub/uploads/upload-errors.ts";
import type { PartRow } from "#hub/uploads/upload-rows.ts";
import type { ChunkLimits } from "#sync/chunk/fastcdc.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import { assert } from "#model/error.ts";
import { LEAF_BYTES, PIECE_BYTES } from "#sync/chunk/sum.ts";

/** When a stretch is as large, what comes after it begins another: each commit writes its row again. */
const STRETCH_BYTES = 64 << 20;

export type AppendParts = {
  readonly intake: StoreIntake;
  readonly limits: ChunkLimits;
  /** Those that are there, in order. */
  readonly stretches: readonly PartRow[];
  /** Bytes that may come in all. */
  readonly sizeMax: number;
  readonly save: (stretch: PartRow) => Promise<void>;
  readonly nowMs: () => number;
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

export class Append implements AppendSink {
  readonly #parts: AppendParts;
  readonly #options: AppendOptions;
  readonly #sink: StoreSink;
  readonly #hasher: SumsHasher | undefined;
  /** Where the sink's first chunk begins, and the piece that it sums first. */
  #base = 0;
  #piece = 0;
  #growing: Growing;
  /** Bytes of the stream with what came, and those that are durable. */
  #offset: number;
  #durable: number;
  #sinceCommit = 0;
  /** What came before is being made durable while more is taken; one at a time. */
  #saving: Promise<void> | undefined;
  /** Calls go one after the other, also those of who takes its place. */
  #turn: Promise<unknown> = Promise.resolve();
  #isCut = false;
  #isReplaced = false;
  #ending: Promise<void> | undefined;

  private constructor(parts: AppendParts, options: AppendOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#sink = parts.intake.stretchSink(parts.limits, []);
    const names = options.sums ?? [];
    this.#hasher = names.length === 0 ? undefined : new SumsHasher(names);
    this.#offset = parts.stretches.reduce((sum, { size }) => sum + size, 0);
    this.#durable = this.#offset;
    const last = parts.stretches.at(-1);
    const { number, size, chunks, leaves } = last ?? { number: 1, size: 0, chunks: [], leaves: NONE };
    this.#growing = { number, start: this.#offset - size, chunks, leaves, from: 0 };
  }

  /** @throws {SynclineError} CHUNK_MISSING when the end of what is there cannot be read */
  static async open(parts: AppendParts, options: AppendOptions): Promise<Append> {
    const append = new Append(parts, options);
    await append.#takeUp();
    return append;
  }

  /** The last chunk may end where a connection broke off: it is cut again. */
  async #takeUp(): Promise<void> {
    const { start, chunks } = this.#growing;
    const kept = chunks.slice(0, -1);
    this.#base = start + sizeOf(kept);
    this.#piece = Math.floor(this.#base / PIECE_BYTES);
    const leaves = this.#growing.leaves.slice(0, (this.#piece - Math.floor(start / PIECE_BYTES)) * LEAF_BYTES);
    this.#growing = { ...this.#growing, chunks: kept, leaves };
    const bytes = await this.#read(this.#piece * PIECE_BYTES, this.#offset);
    const lead = this.#base - this.#piece * PIECE_BYTES;
    this.#sink.lead(bytes.subarray(0, lead));
    await this.#sink.write(bytes.subarray(lead));
  }

  /** From the end of what is there. */
  async #read(from: number, to: number): Promise<Uint8Array> {
    const chunks: ManifestChunk[] = [];
    let at = to;
    for (const stretch of this.#parts.stretches.toReversed()) {
      for (const chunk of stretch.chunks.toReversed()) {
        if (at <= from) break;
        chunks.unshift(chunk);
        at -= chunk.length;
      }
    }
    const reader = this.#parts.intake.part(chunks);
    if (reader.size !== to - at) throw lostStream();
    const bytes = new Uint8Array(to - from);
    await reader.read(bytes, from - at);
    return bytes;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#inTurn(() => this.#write(bytes));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#isReplaced) throw replaced();
    if (this.#offset + bytes.length > this.#parts.sizeMax) throw overSize(this.#parts.sizeMax);
    this.#hasher?.update(bytes);
    await this.#sink.write(bytes);
    this.#offset += bytes.length;
    this.#sinceCommit += bytes.length;
    if (this.#sinceCommit < STREAM_COMMIT_BYTES || this.#options.whole === true) return;
    this.#sinceCommit = 0;
    await this.#saved();
    this.#saving = this.#save();
    // Whoever writes so much more, or commits, meets the error.
    this.#saving.catch(() => undefined);
  }

  end(): Promise<Sums> {
    return this.#inTurn(async () => {
      if (this.#isReplaced) throw replaced();
      await this.#cut();
      return this.#hasher?.digest() ?? {};
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
    const { intake, nowMs, save } = this.#parts;
    const { number, start, from } = this.#growing;
    const count = this.#sink.stored.length;
    const more = this.#sink.stored.slice(from, count);
    const chunks = [...this.#growing.chunks, ...more];
    const size = sizeOf(chunks);
    const end = start + size;
    if (end <= this.#durable) return;
    await intake.flush();
    const leaves = this.#leavesUntil(end);
    await save({ number, size, chunks, leaves, sums: {}, timeMs: nowMs() });
    this.#durable = end;
    if (size >= STRETCH_BYTES) this.#growing = { number: number + 1, start: end, chunks: [], leaves: NONE, from: count };
  }

  /** Of the pieces that end in the growing stretch. */
  #leavesUntil(end: number): Uint8Array {
    const first = Math.floor(this.#growing.start / PIECE_BYTES);
    const known = this.#growing.leaves;
    const skip = first + known.length / LEAF_BYTES - this.#piece;
    const all = this.#sink.leaves(Math.floor(end / PIECE_BYTES) - this.#piece);
    return new Uint8Array(Buffer.concat([known, all.subarray(skip * LEAF_BYTES)]));
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
