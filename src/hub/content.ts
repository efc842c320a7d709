/**
 * The bytes of one file on their way into the store and out of it: split into chunks, named, put; or found again by
 * position.
 */
import { CUTS_HERE, type CutsThread } from "#hub/cuts/cuts-thread.ts";
import { FileCutter, type NamedChunk, type ReadInto } from "#hub/cuts/file-cutter.ts";
import type { FreshOf } from "#hub/fresh-chunks.ts";
import type { Sum } from "#model/entry.ts";
import { SynclineError, assert } from "#model/error.ts";
import type { ContentOptions, ContentReader, ContentSink, ContentSource, Intake, NamedContent } from "#hub/space-service.ts";
import type { ContentRef } from "#hub/space.ts";
import { NO_SUMS, type SumName, type Sums, SumsHasher } from "#hub/sums/sums.ts";
import { type SumsStream, openSums } from "#hub/sums/sums-thread.ts";
import type { ChunkStore, FreshChunk, LentChunk, Pin, SizedChunk } from "#store/chunk-store.ts";
import { type ChunkId, type ContentId, chunkIdOf, contentIdOf } from "#sync/chunk/chunk-id.ts";
import { CHUNK_LIMITS, type ChunkLimits, chunkLimitsFor, cut } from "#sync/chunk/fastcdc.ts";
import type { Manifest, ManifestChunk } from "#sync/chunk/manifest.ts";
import { LEAF_BYTES, PIECE_BYTES, type SumSeeds, piecesIn, sumOf, sumOfLeaves } from "#sync/chunk/sum.ts";

/** What naming content takes: the seeds of its space's sums, and what cuts large files. */
export type ContentTools = {
  readonly seeds: SumSeeds;
  /** Undefined: it is done on this thread. */
  readonly cuts?: CutsThread | undefined;
};

/** A stretch of a file that was stored: its chunks, and the leaves of its own sum (chunk/sum.ts). */
export type Stretch = {
  readonly size: number;
  readonly chunks: readonly ManifestChunk[];
  readonly leaves: Uint8Array;
  readonly sums: Sums;
};

/** Content that was stored; the manifest is there when it has more than one chunk. */
export type Stored = {
  readonly content: ContentRef;
  readonly sum: string;
  readonly manifest: Manifest | undefined;
  readonly sums: Sums;
};

function describe(chunks: readonly ManifestChunk[], size: number, limits: ChunkLimits, sum: string, sums: Sums): Stored {
  const id = contentIdOf(chunks.map((chunk) => chunk.id));
  const manifest: Manifest | undefined =
    chunks.length < 2 ? undefined : { algorithm: "sha256", limits, size, chunks };
  return { content: { id, size }, sum, manifest, sums };
}

const hasherOf = (names: readonly SumName[] = []): SumsHasher | undefined =>
  names.length === 0 ? undefined : new SumsHasher(names);

/** Stores bytes that are all in memory. */
export async function storeBytes(pin: Pin, bytes: Uint8Array, seeds: SumSeeds, names?: readonly SumName[]): Promise<Stored> {
  const limits = chunkLimitsFor(bytes.length);
  const chunks: ManifestChunk[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = cut(bytes, at, bytes.length, limits);
    const chunk = bytes.subarray(at, at + length);
    const id = chunkIdOf(chunk);
    const full = pin.put(id, chunk);
    if (full !== undefined) await full;
    chunks.push({ id, length });
    at += length;
  }
  const hasher = hasherOf(names);
  hasher?.update(bytes);
  return describe(chunks, bytes.length, limits, sumOf(bytes, seeds), hasher?.digest() ?? NO_SUMS);
}

/** What comes in this much or less is stored at once, without a cutter's buffers. */
const SMALL_BYTES = 128 << 10;

/** A file that is known to be smaller is cut here: it is there before the other thread has its first buffer. */
const CUT_ELSEWHERE_BYTES_MIN = 1 << 20;

/** What begins in the middle of a file. */
export type StretchOptions = {
  readonly limits: ChunkLimits;
  /** Of what comes, as far as it is known. */
  readonly size?: number | undefined;
  readonly sums?: readonly SumName[] | undefined;
  /**
   * Of what goes on with a file: the bytes of the piece before it, which are summed and belong to chunks before. Its
   * chunks are those that cutting the whole file at once would make, if it begins where one of them does.
   */
  readonly lead?: Uint8Array | undefined;
  /** Chunks that begin behind so many bytes of it are large ones, whatever the limits. */
  readonly largeFrom?: number | undefined;
};

type SinkOptions = StretchOptions & { readonly isSummed: boolean; readonly isReadSoon: boolean };

/** `cutters`: has those that are at work. */
type SinkTools = ContentTools & { readonly cutters: Set<FileCutter> };

type Cutting = { readonly cutter: FileCutter; readonly sums: SumsStream | undefined };

export class StoreSink implements ContentSink {
  readonly #pin: Pin;
  readonly #tools: SinkTools;
  readonly #options: SinkOptions;
  readonly #onBytes: (bytes: number) => void;
  readonly #onEnd: (stored: Stored) => void;
  readonly stored: ManifestChunk[] = [];
  /** Until it is known to be more than a few bytes. */
  #small: Uint8Array[] = [];
  #large: Cutting | undefined;
  #leaves = new Uint8Array(64 * LEAF_BYTES);
  #leavesEnd = 0;
  #size = 0;

  constructor(
    pin: Pin,
    tools: SinkTools,
    options: SinkOptions,
    onBytes: (bytes: number) => void,
    onEnd: (stored: Stored) => void,
  ) {
    this.#onBytes = onBytes;
    this.#pin = pin;
    this.#tools = tools;
    this.#options = options;
    this.#onEnd = onEnd;
  }

  write(bytes: Uint8Array): Promise<void> | void {
    this.#onBytes(bytes.length);
    this.#size += bytes.length;
    if (this.#large !== undefined) return this.#large.cutter.push(bytes);
    if (this.#options.lead === undefined && this.#size <= SMALL_BYTES) {
      // Not slice(): of a Buffer that is no copy.
      this.#small.push(new Uint8Array(bytes));
      return;
    }
    return this.#writeLarge(bytes);
  }

  /** As write(), of what `read` puts where it belongs; 0 where it cannot be put there now: write() then. */
  fill(read: ReadInto): number {
    const count = this.#large?.cutter.fill(read) ?? 0;
    if (count > 0) this.#onBytes(count);
    this.#size += count;
    return count;
  }

  async #writeLarge(bytes: Uint8Array): Promise<void> {
    const { cutter } = this.#cutting();
    for (const earlier of this.#small.splice(0)) await cutter.push(earlier);
    await cutter.push(bytes);
  }

  #cutting(): Cutting {
    if (this.#large !== undefined) return this.#large;
    const { limits, size, largeFrom, lead, sums = [], isSummed } = this.#options;
    const { seeds, cuts } = this.#tools;
    const isHere = cuts === undefined || cuts.isBroken || (size ?? CUT_ELSEWHERE_BYTES_MIN) < CUT_ELSEWHERE_BYTES_MIN;
    const stream = sums.length === 0 ? undefined : openSums(sums);
    const onFilled = stream === undefined ? undefined : (bytes: Uint8Array): Promise<void> | void => stream.update(bytes);
    const options = { limits, size, largeFrom, lead, seeds: isSummed ? seeds : undefined, onFilled };
    const cutter = new FileCutter(isHere ? CUTS_HERE : cuts, options, (chunks, leaves) => {
      this.#addLeaves(leaves);
      return this.#putAll(chunks);
    });
    this.#tools.cutters.add(cutter);
    return (this.#large = { cutter, sums: stream });
  }

  #addLeaves(leaves: Uint8Array): void {
    const end = this.#leavesEnd + leaves.length;
    if (end > this.#leaves.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#leaves.length));
      larger.set(this.#leaves);
      this.#leaves = larger;
    }
    this.#leaves.set(leaves, this.#leavesEnd);
    this.#leavesEnd = end;
  }

  async #putAll(chunks: readonly NamedChunk[]): Promise<void> {
    const full: Promise<void>[] = [];
    for (const { id, bytes } of chunks) {
      // The chunks of one room are there together; the store bears that many over its limit.
      const waits = this.#pin.put(id, bytes, this.#options.isReadSoon);
      if (waits !== undefined) full.push(waits);
      this.stored.push({ id, length: bytes.length });
    }
    if (full.length > 0) await Promise.all(full);
  }

  async end(sum?: Sum): Promise<NamedContent> {
    const stored = await this.#finish(sum);
    this.#onEnd(stored);
    return { content: stored.content, sum: stored.sum, sums: stored.sums };
  }

  /** Instead of end(), for a stretch of a file that begins with a piece: nothing comes after it. */
  async stretch(): Promise<Stretch> {
    const { content, sum, sums, manifest } = await this.#finish();
    const { size } = content;
    const only = size === 0 ? [] : [{ id: content.id as string as ChunkId, length: size }];
    const few = size === 0 ? new Uint8Array(0) : Uint8Array.fromHex(sum);
    const leaves = size <= PIECE_BYTES ? few : this.leaves(0, piecesIn(size));
    return { size, chunks: manifest?.chunks ?? only, leaves, sums };
  }

  /** Makes a last chunk of what is left, where much has come or may have. Nothing comes after it. */
  async cut(): Promise<Sums> {
    const { cutter, sums } = this.#cutting();
    await cutter.end();
    this.#tools.cutters.delete(cutter);
    return (await sums?.digest()) ?? NO_SUMS;
  }

  /** Of pieces [from, to), which must have been cut whole, or are all; counted from the one in which it begins. */
  leaves(from: number, to: number): Uint8Array {
    return this.#leaves.slice(from * LEAF_BYTES, to * LEAF_BYTES);
  }

  async #finish(sum?: Sum): Promise<Stored> {
    const { limits, isSummed, sums: names } = this.#options;
    if (this.#large === undefined) {
      const [first, ...more] = this.#small;
      const bytes = more.length === 0 ? (first ?? new Uint8Array(0)) : new Uint8Array(Buffer.concat(this.#small));
      return storeBytes(this.#pin, bytes, this.#tools.seeds, names);
    }
    const sums = await this.cut();
    const size = this.#size;
    assert(this.stored.reduce((bytes, { length }) => bytes + length, 0) === size, "the chunks of a content are all of it");
    const made = isSummed ? sumOfLeaves(this.leaves(0, piecesIn(size)), size, this.#tools.seeds) : sum!;
    return describe(this.stored, size, limits, made, sums);
  }
}

type Held = { manifest: Manifest | undefined; sums: Sums; holders: number };

/** Manifests and sums of content that was stored and is not committed yet, with how many hold them. */
export class HeldContent {
  readonly #held = new Map<ContentId, Held>();

  manifest(id: ContentId): Manifest | undefined {
    return this.#held.get(id)?.manifest;
  }

  sums(id: ContentId): Sums {
    return this.#held.get(id)?.sums ?? NO_SUMS;
  }

  hold(id: ContentId, manifest: Manifest | undefined, sums: Sums): void {
    const known = this.#held.get(id);
    if (known === undefined) this.#held.set(id, { manifest, sums, holders: 1 });
    else {
      known.manifest ??= manifest;
      known.sums = { ...known.sums, ...sums };
      known.holders++;
    }
  }

  release(id: ContentId): void {
    const known = this.#held.get(id);
    if (known !== undefined && --known.holders === 0) this.#held.delete(id);
  }
}

export type ContentAtRest = {
  /** Undefined for content of one chunk. */
  readonly manifestOf: (id: ContentId) => Promise<Manifest | undefined>;
  readonly freshOf: FreshOf;
};

export class StoreIntake implements Intake {
  readonly #chunks: ChunkStore;
  readonly #pin: Pin;
  readonly #tools: ContentTools;
  readonly #held: HeldContent;
  readonly #holds: ContentId[] = [];
  /** Of sinks that have not come to their end. */
  readonly #cutters = new Set<FileCutter>();

  readonly #rest: ContentAtRest;

  readonly #onBytes: (bytes: number) => void;

  /**
   * @param onBytes called with how many bytes come in
   */
  constructor(
    chunks: ChunkStore,
    tools: ContentTools,
    held: HeldContent,
    rest: ContentAtRest,
    onBytes: (bytes: number) => void,
  ) {
    this.#onBytes = onBytes;
    this.#chunks = chunks;
    this.#pin = chunks.pin();
    this.#tools = tools;
    this.#held = held;
    this.#rest = rest;
  }

  async store(bytes: Uint8Array, options: ContentOptions = {}): Promise<NamedContent> {
    this.#onBytes(bytes.length);
    const stored = await storeBytes(this.#pin, bytes, this.#tools.seeds, options.sums);
    this.#note(stored);
    return { content: stored.content, sum: stored.sum, sums: stored.sums };
  }

  sink(size?: number, { sums, isSummed = true, isReadSoon = true }: ContentOptions = {}): ContentSink {
    const limits = size === undefined ? CHUNK_LIMITS : chunkLimitsFor(size);
    return this.#sink({ limits, size, sums, isSummed, isReadSoon }, (stored) => this.#note(stored));
  }

  async hold(content: ContentRef): Promise<boolean> {
    if (content.size === 0) return true;
    const manifest = this.#held.manifest(content.id) ?? (await this.#rest.manifestOf(content.id));
    const ids = manifest?.chunks.map((chunk) => chunk.id) ?? [content.id as string as ChunkId];
    for (const [at, isThere] of this.#pin.has(ids).entries()) {
      const fresh = isThere ? undefined : this.#rest.freshOf(ids[at]!);
      if (fresh !== undefined) await this.#pin.put(ids[at]!, fresh);
      else if (!isThere) return false;
    }
    this.#note({ content, manifest, sums: NO_SUMS });
    return true;
  }

  part(chunks: readonly ManifestChunk[], isProved = true): ContentReader {
    const gap = this.#pin.has(chunks.map((chunk) => chunk.id)).indexOf(false);
    const get = (id: ChunkId): Promise<Uint8Array> => (isProved ? this.#chunks.get(id) : this.#chunks.getUnproved(id));
    return new StoredContent(get, gap === -1 ? chunks : chunks.slice(0, gap));
  }

  /** For a stretch of a file that is put together later by join(). */
  stretchSink(options: StretchOptions): StoreSink {
    return this.#sink({ ...options, isSummed: true, isReadSoon: true }, () => undefined);
  }

  #sink(options: SinkOptions, onEnd: (stored: Stored) => void): StoreSink {
    return new StoreSink(this.#pin, { ...this.#tools, cutters: this.#cutters }, options, this.#onBytes, onEnd);
  }

  /** Which of the chunks are there; protected from now on. For who kept them himself, as part(). */
  has(chunks: readonly ManifestChunk[]): boolean[] {
    return this.#pin.has(chunks.map(({ id }) => id));
  }

  /** Names the content that chunks make together, which are there and protected. */
  join(chunks: readonly ManifestChunk[], limits: ChunkLimits, sums: Sums): ContentRef {
    const size = chunks.reduce((sum, { length }) => sum + length, 0);
    const { content, manifest } = describe(chunks, size, limits, "", sums);
    this.#note({ content, manifest, sums });
    return content;
  }

  flush(onBegun?: () => void): Promise<void> {
    return this.#pin.flush(onBegun);
  }

  fresh(): readonly FreshChunk[] | undefined {
    return this.#pin.fresh();
  }

  #note({ content, manifest, sums }: Pick<Stored, "content" | "manifest" | "sums">): void {
    if (manifest === undefined && Object.keys(sums).length === 0) return;
    this.#held.hold(content.id, manifest, sums);
    this.#holds.push(content.id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#cutters].map((cutter) => cutter.giveUp()));
    for (const id of this.#holds.splice(0)) this.#held.release(id);
    this.#pin[Symbol.dispose]();
  }
}

/** Chunks fetched at once for one read. */
const FETCHES_MAX = 8;

type GetChunk = (id: ChunkId) => Promise<Uint8Array>;

/** Read ahead of the chunk that is on its way out: of one stream, of all of them together, and of each in any case. */
const AHEAD_BYTES_MAX = 8 << 20;
const AHEAD_BYTES_ALL = 32 << 20;
const AHEAD_BYTES_MIN = 2 << 20;
/** Streams of large chunks that are at work. */
let streams = 0;
/** Of a piece that is made of small chunks. */
const GATHERED_BYTES = 1 << 20;
/** With what lies between chunks at rest. */
const GATHERED_ROOM_BYTES = GATHERED_BYTES + (32 << 10);
/** Chunks of this average are lent one by one, smaller ones gathered. */
const LENT_BYTES_MIN = 256 << 10;

/** The chunk from which on they are large: a file that came as a stream of unknown size begins with small ones. */
function firstLarge(starts: Float64Array): number {
  const count = starts.length - 1;
  const isLarge = (from: number): boolean => starts[count]! - starts[from]! >= LENT_BYTES_MIN * (count - from);
  if (isLarge(0)) return 0;
  for (let at = 0; at < count; at++) if (starts[at + 1]! - starts[at]! > LENT_BYTES_MIN && isLarge(at)) return at;
  return count;
}

type LendChunk = (id: ChunkId) => Promise<LentChunk>;
type GatherChunks = ChunkStore["gather"];
/** How stream() gets its chunks: large ones, and where nobody has to prove them, small ones that lie together. */
export type Streaming = { readonly lend: LendChunk; readonly gather: GatherChunks | undefined };

export class StoredContent implements ContentSource {
  readonly size: number;
  readonly isProved: boolean;
  readonly #get: GetChunk;
  readonly #lend: LendChunk | undefined;
  readonly #gather: GatherChunks | undefined;
  /** From this position on chunks are lent. */
  readonly #lentFrom: number;
  readonly #ids: readonly ChunkId[];
  /** Where each chunk begins, and the end of the last. */
  readonly #starts: Float64Array;
  /** The chunk that was used last: neighbours are asked for one after the other. */
  #last: { readonly index: number; readonly bytes: Promise<Uint8Array> } | undefined;

  /**
   * @param streaming undefined: stream() gives what read() does
   * @param isProved what `get` and `streaming` give was compared with its id, now or before by this process
   */
  constructor(get: GetChunk, chunks: readonly ManifestChunk[], streaming?: Streaming, isProved = true) {
    this.#get = get;
    this.#ids = chunks.map((chunk) => chunk.id);
    this.#starts = new Float64Array(chunks.length + 1);
    for (const [index, { length }] of chunks.entries()) this.#starts[index + 1] = this.#starts[index]! + length;
    this.size = this.#starts.at(-1)!;
    this.#lend = streaming?.lend;
    this.#gather = streaming?.gather;
    this.#lentFrom = streaming === undefined ? this.size : this.#starts[firstLarge(this.#starts)]!;
    this.isProved = isProved;
  }

  /** @param manifest undefined: the content is one chunk, or empty */
  static of(
    get: GetChunk,
    content: ContentRef,
    manifest: Manifest | undefined,
    streaming: Streaming,
    isProved: boolean,
  ): StoredContent {
    const only = [{ id: content.id as string as ChunkId, length: content.size }];
    const stored = new StoredContent(get, manifest?.chunks ?? (content.size === 0 ? [] : only), streaming, isProved);
    if (stored.size !== content.size) throw misfit(content.id);
    return stored;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    const end = Math.min(this.size, position + into.length);
    if (position >= end) return 0;
    for (let index = this.#at(position); index < this.#ids.length && this.#starts[index]! < end; ) {
      const wanted: { start: number; length: number; bytes: Promise<Uint8Array> }[] = [];
      while (wanted.length < FETCHES_MAX && index < this.#ids.length && this.#starts[index]! < end) {
        const start = this.#starts[index]!;
        wanted.push({ start, length: this.#starts[index + 1]! - start, bytes: this.#chunk(index) });
        index++;
      }
      const chunks = await Promise.all(wanted.map((one) => one.bytes));
      for (const [at, { start, length }] of wanted.entries()) {
        const chunk = chunks[at]!;
        // A content's id is made of its chunks' ids: lengths are what somebody wrote beside them.
        if (chunk.length !== length) throw wrongLength(length, chunk.length);
        const from = Math.max(0, position - start);
        const to = Math.min(chunk.length, end - start);
        into.set(chunk.subarray(from, to), start + from - position);
      }
    }
    return end - position;
  }

  async *stream(start: number, end: number): AsyncGenerator<Uint8Array, void> {
    const border = this.#lentFrom;
    if (start < border) yield* this.#gathered(start, Math.min(end, border));
    if (end > border) yield* this.#lent(Math.max(start, border), end, this.#lend!);
  }

  async *#lent(start: number, end: number, lend: LendChunk): AsyncGenerator<Uint8Array, void> {
    const starts = this.#starts;
    const coming: Promise<LentChunk>[] = [];
    /** Given out, and the one before it. */
    const out: LentChunk[] = [];
    let next = this.#at(start);
    streams++;
    try {
      for (let index = next; index < this.#ids.length && starts[index]! < end; index++) {
        const aheadBytes = Math.min(AHEAD_BYTES_MAX, Math.max(AHEAD_BYTES_MIN, AHEAD_BYTES_ALL / streams));
        for (; next < this.#ids.length && starts[next]! < end; next++) {
          if (next > index + 1 && starts[next + 1]! - starts[index + 1]! > aheadBytes) break;
          const chunk = lend(this.#ids[next]!);
          chunk.catch(() => undefined);
          coming.push(chunk);
        }
        const chunk = await coming.shift()!;
        out.push(chunk);
        const length = starts[index + 1]! - starts[index]!;
        if (chunk.bytes.length !== length) throw wrongLength(length, chunk.bytes.length);
        yield chunk.bytes.subarray(Math.max(0, start - starts[index]!), Math.min(length, end - starts[index]!));
        if (out.length > 1) out.shift()!.release();
      }
    } finally {
      streams--;
      // The last ones may be on their way still.
      for (const chunk of out) chunk.leave();
      for (const chunk of coming) chunk.then((one) => one.release(), () => undefined);
    }
  }

  async *#gathered(start: number, end: number): AsyncGenerator<Uint8Array, void> {
    const rooms = [new Uint8Array(GATHERED_ROOM_BYTES), new Uint8Array(GATHERED_ROOM_BYTES)] as const;
    for (let at = start, turn = 0; at < end; turn ^= 1) {
      const room = rooms[turn as 0 | 1];
      const together = await this.#together(at, Math.min(end, at + GATHERED_BYTES), room);
      const piece = room.subarray(0, together === 0 ? Math.min(GATHERED_BYTES, end - at) : together);
      if (together === 0) await this.read(piece, at);
      yield piece;
      at += piece.length;
    }
  }

  /** Reads the whole chunks from `start` on, as many as lie together at rest. @returns their bytes, 0 for none */
  async #together(start: number, end: number, room: Uint8Array): Promise<number> {
    const first = this.#at(start);
    if (this.#gather === undefined || this.#starts[first] !== start) return 0;
    const chunks: SizedChunk[] = [];
    for (let index = first; index < this.#ids.length && this.#starts[index + 1]! <= end; index++) {
      chunks.push({ id: this.#ids[index]!, length: this.#starts[index + 1]! - this.#starts[index]! });
    }
    const count = chunks.length < 2 ? 0 : await this.#gather(chunks, room);
    return this.#starts[first + count]! - start;
  }

  #chunk(index: number): Promise<Uint8Array> {
    if (this.#last?.index === index) return this.#last.bytes;
    const bytes = this.#get(this.#ids[index]!);
    const last = { index, bytes };
    this.#last = last;
    // A chunk that is healed meanwhile must be asked for again.
    bytes.catch(() => {
      if (this.#last === last) this.#last = undefined;
    });
    return bytes;
  }

  /** The chunk that holds a position. */
  #at(position: number): number {
    let low = 0;
    let high = this.#ids.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= position) low = middle;
      else high = middle;
    }
    return low;
  }
}

function misfit(id: ContentId): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "open content",
    message: `the manifest of ${id} does not have the size that was recorded`,
    hint: "syncline hub check --data DIR",
  });
}

function wrongLength(told: number, found: number): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "read content",
    message: `a manifest says that a chunk has ${told} bytes, and it has ${found}`,
    hint: "syncline hub check --data DIR",
  });
}
