/** The chunks of one file, found and named elsewhere, in the order of the file, and the leaves of its sum. */
import type { CutAnswer } from "#hub/cuts/cut-order.ts";
import type { Cuts } from "#hub/cuts/cuts-thread.ts";
import { type Room, giveRoom, takeRoom } from "#hub/cuts/rooms.ts";
import { type ChunkId, ID_BYTES, chunkIdFrom } from "#sync/chunk/chunk-id.ts";
import { SynclineError } from "#model/error.ts";
import { CHUNK_LIMITS_LARGE, type ChunkLimits, type Looked } from "#sync/chunk/fastcdc.ts";
import { PIECE_BYTES, type SumSeeds, piecesIn } from "#sync/chunk/sum.ts";

/** Bytes that are cut at a time, behind what is kept of those before: whole pieces. */
const BATCH_BYTES = 4 * PIECE_BYTES;
/** One is filled, one is being cut, and the chunks of one are being taken. */
const ROOMS_MAX = 3;

export type NamedChunk = { readonly id: ChunkId; readonly bytes: Uint8Array };

export type CutterOptions = {
  readonly limits: ChunkLimits;
  /** Bytes that will come, as far as that is known: less room is taken for few. */
  readonly size?: number | undefined;
  /** Chunks that begin behind so many bytes are large ones, whatever the limits. */
  readonly largeFrom?: number | undefined;
  /** Of the sum; undefined: its leaves are not wanted. */
  readonly seeds: SumSeeds | undefined;
  /** What the piece of the file in which the first byte lies has before it, to be summed with it. */
  readonly lead?: Uint8Array | undefined;
  /** Gets the bytes as they lie in the rooms, in order, and has read them when it resolves. */
  readonly onFilled?: ((bytes: Room) => Promise<void> | void) | undefined;
};

/** The bytes are the cutter's again when `onCut` has resolved. Leaves are of the pieces that have come whole since, or of the last. */
export type OnCut = (chunks: readonly NamedChunk[], leaves: Uint8Array) => Promise<void>;

/** Puts bytes at the beginning of `into` and tells how many; 0 where there are none now. */
export type ReadInto = (into: Uint8Array) => number;

/** What is left of the bytes before; `copied` is to be called when it is elsewhere. */
type Kept = { readonly bytes: Uint8Array; readonly looked: Looked; readonly copied: () => void };

type Cut = Kept & { readonly chunks: readonly NamedChunk[]; readonly leaves: Uint8Array; readonly isCopied: Promise<void> };

const NONE = new Uint8Array(0);
const NOTHING: Kept = { bytes: NONE, looked: { seen: 0, gear: 0 }, copied: () => undefined };

export class FileCutter {
  readonly #cuts: Cuts;
  readonly #options: CutterOptions;
  readonly #onCut: OnCut;
  readonly #largeFrom: number;
  readonly #rooms = new Set<Room>();
  readonly #free: Room[] = [];
  #roomFree = Promise.withResolvers<void>();
  #filling: Room | undefined;
  /** Where the batch begins in it, behind the longest chunk; where the bytes end that are there; where it is full. */
  #front = 0;
  #end = 0;
  #stop = 0;
  /** Bytes of the rooms before. */
  #before = 0;
  /** Batches are cut one after the other; the chunks of one are taken while the next one is cut. */
  #cutting: Promise<Kept> = Promise.resolve(NOTHING);
  #taking: Promise<void> = Promise.resolve();
  #reading: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  /** @param onCut called with the chunks in their order, one call at a time */
  constructor(cuts: Cuts, options: CutterOptions, onCut: OnCut) {
    this.#cuts = cuts;
    this.#options = options;
    this.#onCut = onCut;
    this.#largeFrom = options.largeFrom ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Takes the next bytes; they are copied. A promise where all rooms are taken: wait before the next, and leave the bytes
   * alone until then. It rejects with what went wrong.
   */
  push(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#failure !== undefined) return Promise.reject(this.#failure.error);
    const copied = this.#copy(bytes);
    return copied === bytes.length ? undefined : this.#copyRest(bytes.subarray(copied));
  }

  /**
   * As push(), of bytes that `read` puts to where they belong, at most as many as there is room for now.
   * @returns how many; 0 where there is no room, or it has failed, which the next push() tells
   */
  fill(read: ReadInto): number {
    if (this.#failure !== undefined) return 0;
    const room = this.#roomNow();
    const count = room === undefined ? 0 : read(room.subarray(this.#end, this.#stop));
    this.#end += count;
    return count;
  }

  async #copyRest(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += this.#copy(bytes.subarray(at))) await this.#anyRoom();
  }

  async #anyRoom(): Promise<void> {
    if (this.#failure === undefined && this.#free.length === 0 && this.#rooms.size === ROOMS_MAX) await this.#roomFree.promise;
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** As many as there is room for now. */
  #copy(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length) {
      const room = this.#roomNow();
      if (room === undefined) break;
      const some = bytes.subarray(at, at + this.#stop - this.#end);
      room.set(some, this.#end);
      this.#end += some.length;
      at += some.length;
    }
    return at;
  }

  /** In which there is room behind #end; undefined: all are taken. */
  #roomNow(): Room | undefined {
    // Not before: what ends with a room ends in it.
    if (this.#filling !== undefined && this.#end === this.#stop) this.#give(false);
    return (this.#filling ??= this.#begin());
  }

  /** Resolves when all chunks have been taken. Nothing comes after it. */
  async end(): Promise<void> {
    try {
      while ((this.#filling ??= this.#begin()) === undefined) await this.#anyRoom();
      this.#give(true);
      await this.#cutting;
      await this.#taking;
      await this.#reading;
    } finally {
      await this.#letGo();
    }
  }

  /** Nobody wants the rest: what was not cut yet is forgotten. Also after its end. */
  async giveUp(): Promise<void> {
    const message = "nobody waits for the file any more";
    this.#fail(new SynclineError({ code: "INTERRUPTED", op: "cut content", message }));
    await this.#letGo();
  }

  async #letGo(): Promise<void> {
    // Until then one of them may be read. No batch follows, but the last one to be cut has its chunks taken.
    await this.#cutting.catch(() => undefined);
    await Promise.allSettled([this.#taking, this.#reading]);
    this.#free.length = 0;
    for (const room of this.#rooms) giveRoom(room);
    this.#rooms.clear();
  }

  /** Undefined: all are taken. */
  #begin(): Room | undefined {
    const known = this.#free.pop();
    if (known === undefined && this.#rooms.size === ROOMS_MAX) return undefined;
    const { limits, size = BATCH_BYTES, lead = NONE } = this.#options;
    const isFirst = this.#before === 0;
    const longest = this.#before > this.#largeFrom ? CHUNK_LIMITS_LARGE.maxBytes : limits.maxBytes;
    const front = isFirst ? Math.max(longest, lead.length) : longest;
    const bytes = front + Math.min(BATCH_BYTES, piecesIn(size) * PIECE_BYTES);
    const room = known !== undefined && known.length >= bytes ? known : takeRoom(bytes);
    this.#rooms.add(room);
    if (known !== undefined && known !== room) {
      this.#rooms.delete(known);
      giveRoom(known);
    }
    if (isFirst) room.set(lead, front - lead.length);
    this.#front = this.#end = front;
    // A batch ends with a piece, in whatever room.
    this.#stop = bytes - (isFirst ? lead.length : 0);
    return room;
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake();
  }

  #wake(): void {
    this.#roomFree.resolve();
    this.#roomFree = Promise.withResolvers();
  }

  #give(isEnd: boolean): void {
    const [room, front, to, before] = [this.#filling!, this.#front, this.#end, this.#before];
    this.#filling = undefined;
    this.#before += to - front;
    const read = to === front ? undefined : this.#options.onFilled?.(room.subarray(front, to));
    const reading = Promise.all([this.#reading, read]).then(() => undefined);
    const cutting = this.#cutting.then((kept) => this.#cut({ room, front, to, before }, kept, isEnd));
    const taking = this.#take(cutting, this.#taking);
    [this.#reading, this.#cutting, this.#taking] = [reading, cutting, taking];
    Promise.all([reading, taking, cutting.then(({ isCopied }) => isCopied)]).then(
      () => {
        this.#free.push(room);
        this.#wake();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  async #cut({ room, front, to, before }: Batch, kept: Kept, isEnd: boolean): Promise<Cut> {
    if (this.#failure !== undefined) throw this.#failure.error;
    const { limits, seeds, lead = NONE } = this.#options;
    const from = front - kept.bytes.length;
    room.set(kept.bytes, from);
    kept.copied();
    const pieces = seeds === undefined ? undefined : { seeds, from: before === 0 ? front - lead.length : front };
    const largeFrom = this.#largeFrom - before + front;
    const { looked } = kept;
    const answer = await this.#cuts.cut({ room, from, to, limits, largeFrom, looked, isEnd, pieces });
    const { chunks, end } = chunksOf(room, from, answer);
    const { promise: isCopied, resolve: copied } = Promise.withResolvers<void>();
    return { chunks, leaves: answer.leaves, bytes: room.subarray(end, to), looked: answer.looked, copied, isCopied };
  }

  async #take(cutting: Promise<Cut>, earlier: Promise<void>): Promise<void> {
    const { chunks, leaves } = await cutting;
    // Not before the thread that cuts has the next batch, which also waits for this one: taking takes as long as cutting.
    await earlier;
    if (this.#failure !== undefined) throw this.#failure.error;
    await this.#onCut(chunks, leaves);
  }
}

/** Bytes [front, to) of the room are those of the file that came behind the first `before`. */
type Batch = {
  readonly room: Room;
  readonly front: number;
  readonly to: number;
  readonly before: number;
};

function chunksOf(room: Room, from: number, { lengths, ids }: CutAnswer): { chunks: NamedChunk[]; end: number } {
  let end = from;
  const chunks = lengths.map((length, index) => {
    const id = chunkIdFrom(ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES));
    const bytes = room.subarray(end, end + length);
    end += length;
    return { id, bytes };
  });
  return { chunks, end };
}
