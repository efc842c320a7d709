/**
 * Small contents of commits that come alone, durable with one sync instead of two: their bytes are written into the
 * database with the rows that refer to them, and the sync of that transaction makes both durable. The store of chunks has
 * them in its buffers by then, and serves them; it makes many of them durable at once a moment later. Only then their rows
 * are free: the next chunks are written over them, which costs the database fewer pages than new rows do, and they go when
 * nothing has come for a while. What a process leaves behind that ended in between is put into the store by the next one,
 * before anything is served.
 *
 * Here is also a copy in memory: what a refusing disk takes from the store is put there again at once, and read from here
 * for as long as the disk takes that away, too.
 */
import type { MetaStore, NumberedChunk } from "#hub/meta/meta-store.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { ChunkStore, FreshChunk, Pin } from "#store/chunk-store.ts";
import { type ChunkId, chunkIdOf } from "#sync/chunk/chunk-id.ts";

/** Of chunks whose rows are there; beyond it contents are made durable by the store of chunks, before their commit. */
const HELD_BYTES_MAX = 4 << 20;
/** So many go into the store together, or so much, or what has come in so much time. */
const SETTLED_CHUNKS = 128;
const SETTLED_BYTES = 1 << 20;
const SETTLED_MS = 1_000;

/** Bytes of a chunk that are in memory and in the database, whatever the store of chunks has of it. */
export type FreshOf = (id: ChunkId) => Uint8Array | undefined;

export type FreshParts = {
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly clock: Clock;
  /** What went on by itself has ended, by a fault of ours; must not throw. */
  readonly onFault?: ((what: string, error: unknown) => void) | undefined;
};

export class FreshChunks {
  readonly #parts: FreshParts;
  readonly #held: NumberedChunk[] = [];
  /** The same by their ids; one that was committed twice is held twice. */
  readonly #byId = new Map<ChunkId, NumberedChunk>();
  #bytes = 0;
  #next = 1;
  /** Rows whose chunks the store has. */
  readonly #free: number[] = [];
  /** The store did not take them: what comes now has to hear of that, and is not kept here. */
  #isRefused = false;
  #isClosed = false;
  #pause = new AbortController();
  #running: Promise<void> | undefined;
  /** Tells where something of what is held has gone. */
  #pin: Pin;
  #isMending = false;
  /** Such a pin can say nothing any more, and whoever asks it is refused. */
  #hasLost = false;

  private constructor(parts: FreshParts) {
    this.#parts = parts;
    this.#pin = this.#newPin();
  }

  /** Puts into the store what the last process has left. Where the disk refuses that now, it is tried again. */
  static async open(parts: FreshParts): Promise<FreshChunks> {
    const fresh = new FreshChunks(parts);
    const left = await parts.meta.freshChunks();
    fresh.#next = (left.at(-1)?.number ?? 0) + 1;
    for (const chunk of left) {
      // Of a damaged row nothing can be saved; the content is missing then, which its readers and the check are told.
      if (chunkIdOf(chunk.bytes) === chunk.id) fresh.#hold(chunk);
      else fresh.#free.push(chunk.number);
    }
    if (fresh.#held.length > 0) await fresh.#settle();
    await fresh.#drop();
    if (fresh.#isAtWork) fresh.#run();
    return fresh;
  }

  /** Undefined: they have to be made durable by the store. */
  take(chunks: readonly FreshChunk[]): NumberedChunk[] | undefined {
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0);
    if (this.#isRefused || this.#isClosed || this.#bytes + bytes > HELD_BYTES_MAX) return undefined;
    return chunks.map((chunk) => ({ ...chunk, number: this.#free.pop() ?? this.#next++ }));
  }

  /** They were taken, and their rows are as they were before: nothing was committed. */
  giveBack(chunks: readonly NumberedChunk[]): void {
    for (const { number } of chunks) this.#free.push(number);
  }

  /** Their rows are there. */
  keep(chunks: readonly NumberedChunk[]): void {
    if (chunks.length === 0) return;
    for (const chunk of chunks) this.#hold(chunk);
    this.#watch(chunks);
    this.#run();
    if (this.#isFull) this.#pause.abort();
  }

  /** Of what was acknowledged a moment ago, whatever the store has of it; nobody changes them. */
  bytesOf(id: ChunkId): Uint8Array | undefined {
    return this.#byId.get(id)?.bytes;
  }

  #newPin(): Pin {
    this.#hasLost = false;
    return this.#parts.chunks.pin(() => {
      this.#hasLost = true;
      this.#mend();
    });
  }

  #renew(): void {
    this.#pin[Symbol.dispose]();
    this.#pin = this.#newPin();
  }

  #watch(chunks: readonly NumberedChunk[]): void {
    if (!this.#isMending && !this.#pin.has(chunks.map(({ id }) => id)).every(Boolean)) this.#mend();
  }

  #mend(): void {
    if (this.#isMending || this.#isClosed) return;
    this.#isMending = true;
    const putAgain = async (): Promise<void> => {
      // Not in the middle of what takes them away.
      await undefined;
      this.#renew();
      for (const { id, bytes } of this.#held.slice()) await this.#pin.put(id, bytes);
    };
    putAgain()
      // Gone once more: they are put again when they are settled.
      .catch(() => undefined)
      .finally(() => {
        this.#isMending = false;
        if (this.#hasLost) this.#renew();
      });
  }

  #hold(chunk: NumberedChunk): void {
    this.#held.push(chunk);
    this.#byId.set(chunk.id, chunk);
    this.#bytes += chunk.bytes.length;
  }

  get #isFull(): boolean {
    return this.#held.length >= SETTLED_CHUNKS || this.#bytes >= SETTLED_BYTES;
  }

  #run(): void {
    this.#running ??= this.#settleAll()
      // No fault of the disk: what is held stays in the database, and contents go another way from here on.
      .catch((error: unknown) => {
        this.#isClosed = true;
        this.#parts.onFault?.("small contents stay in the database until the hub is started again", error);
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  get #isAtWork(): boolean {
    return this.#held.length > 0 || this.#free.length > 0;
  }

  async #settleAll(): Promise<void> {
    while (this.#isAtWork && !this.#isClosed) {
      if (this.#isRefused || !this.#isFull) {
        this.#pause = new AbortController();
        await this.#parts.clock.sleep(SETTLED_MS, this.#pause.signal).catch(() => undefined);
      }
      if (this.#isClosed) return;
      // Nothing has come in that time.
      if (this.#held.length === 0) await this.#drop();
      else await this.#settle();
    }
  }

  /** Free rows go. */
  async #drop(): Promise<void> {
    // Nobody is given one of them from here on.
    const numbers = this.#free.splice(0);
    if (numbers.length === 0) return;
    try {
      await this.#parts.meta.dropFresh(numbers);
    } catch (error) {
      if (!(error instanceof SynclineError)) throw error;
      this.#free.push(...numbers);
    }
  }

  async #settle(): Promise<void> {
    const { chunks } = this.#parts;
    const some = this.#held.slice();
    try {
      using pin = chunks.pin();
      // They are there already, but for those that a disk has taken, or the end of the process.
      for (const { id, bytes } of some) await pin.put(id, bytes);
      await pin.flush();
    } catch (error) {
      this.#isRefused = true;
      if (!(error instanceof SynclineError)) throw error;
      return;
    }
    this.#isRefused = false;
    this.#held.splice(0, some.length);
    for (const chunk of some) {
      this.#bytes -= chunk.bytes.length;
      this.#free.push(chunk.number);
      if (this.#byId.get(chunk.id) === chunk) this.#byId.delete(chunk.id);
    }
    if (this.#isMending) return;
    this.#renew();
    this.#watch(this.#held);
  }

  /** To be called when nothing is committed any more. What the disk refuses now stays for the next process. */
  async close(): Promise<void> {
    const wasClosed = this.#isClosed;
    this.#isClosed = true;
    this.#pause.abort();
    await this.#running;
    if (!wasClosed && this.#held.length > 0) await this.#settle();
    if (!wasClosed) await this.#drop();
    this.#pin[Symbol.dispose]();
  }
}
