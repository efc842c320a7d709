/** The chunks of one file, found and named on another thread, in the order of the file. */
import type { CutsThread } from "#hub/cuts/cuts-thread.ts";
import { type ChunkId, ID_BYTES, chunkIdFrom } from "#sync/chunk/chunk-id.ts";
import { type ChunkLimits, type Looked, SPLIT_BYTES_MAX } from "#sync/chunk/fastcdc.ts";

/** Bytes that go to the thread at a time, behind what is kept of those before. */
const BATCH_BYTES = 4 * SPLIT_BYTES_MAX;
/** One is filled, one is at the thread, and one has what the next one begins with. */
const ROOMS_MAX = 3;

export type NamedChunk = { readonly id: ChunkId; readonly bytes: Uint8Array };

/** What is left of the bytes before, and where it lies. */
type Kept = { readonly room: ArrayBuffer | undefined; readonly bytes: Uint8Array; readonly looked: Looked };

const NOTHING: Kept = { room: undefined, bytes: new Uint8Array(0), looked: { seen: 0, gear: 0 } };

export class ThreadCutter {
  readonly #thread: CutsThread;
  readonly #limits: ChunkLimits;
  readonly #onChunks: (chunks: readonly NamedChunk[]) => Promise<void>;
  readonly #free: ArrayBuffer[] = [];
  #made = 0;
  #roomFree: PromiseWithResolvers<void> | undefined;
  #filling: Uint8Array<ArrayBuffer> | undefined;
  /** Where the bytes in it end; those of the file begin behind the longest chunk. */
  #end = 0;
  #last: Promise<Kept> = Promise.resolve(NOTHING);
  #failure: { readonly error: unknown } | undefined;

  /** @param onChunks called with the chunks in their order, one call at a time; the bytes are the cutter's again afterwards */
  constructor(thread: CutsThread, limits: ChunkLimits, onChunks: (chunks: readonly NamedChunk[]) => Promise<void>) {
    this.#thread = thread;
    this.#limits = limits;
    this.#onChunks = onChunks;
  }

  /** @param bytes at most SPLIT_BYTES_MAX; they are copied. Waits while all rooms are taken; rejects with what went wrong. */
  async push(bytes: Uint8Array): Promise<void> {
    if (this.#filling !== undefined && this.#end + bytes.length > this.#filling.length) this.#give(false);
    const room = (this.#filling ??= await this.#room());
    if (this.#failure !== undefined) throw this.#failure.error;
    room.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** Resolves when all chunks have been taken. */
  async end(): Promise<void> {
    this.#filling ??= await this.#room();
    this.#give(true);
    await this.#last;
  }

  async #room(): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#free.length === 0) {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#made < ROOMS_MAX) {
        this.#made++;
        this.#free.push(new ArrayBuffer(this.#limits.maxBytes + BATCH_BYTES));
      } else await (this.#roomFree ??= Promise.withResolvers()).promise;
    }
    this.#end = this.#limits.maxBytes;
    return new Uint8Array(this.#free.pop()!);
  }

  #release(room: ArrayBuffer | undefined): void {
    if (room !== undefined) this.#free.push(room);
    this.#roomFree?.resolve();
    this.#roomFree = undefined;
  }

  #give(isEnd: boolean): void {
    const [room, end] = [this.#filling!, this.#end];
    this.#filling = undefined;
    this.#last = this.#last.then((kept) => this.#cut(room, end, kept, isEnd));
    this.#last.catch((error: unknown) => {
      this.#failure ??= { error };
      this.#release(undefined);
    });
  }

  async #cut(room: Uint8Array<ArrayBuffer>, to: number, kept: Kept, isEnd: boolean): Promise<Kept> {
    const from = this.#limits.maxBytes - kept.bytes.length;
    room.set(kept.bytes, from);
    this.#release(kept.room);
    const order = { buffer: room.buffer, from, to, limits: this.#limits, looked: kept.looked, isEnd };
    const { buffer, lengths, ids, looked } = await this.#thread.cut(order);
    let at = from;
    const chunks = lengths.map((length, index) => {
      const id = chunkIdFrom(ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES));
      const bytes = new Uint8Array(buffer, at, length);
      at += length;
      return { id, bytes };
    });
    await this.#onChunks(chunks);
    return { room: buffer, bytes: new Uint8Array(buffer, at, to - at), looked };
  }
}
