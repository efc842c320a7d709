/**
 * Chunks in memory, for tests and simulation: the same promises as on a disk, with a disk that can be told to lose
 * what was not flushed, to damage a chunk, and to refuse.
 */
import { SynclineError, assert } from "#model/error.ts";
import { FreshList } from "#store/fresh-list.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import {
  CHUNK_BYTES_MAX, type ChunkStore, type ChunkStoreStats, type LentChunk, type Pin, type PruneResult, type ScrubResult,
  type SizedChunk,
} from "#store/chunk-store.ts";

type Held = { readonly bytes: Uint8Array; touchedMs: number; isDurable: boolean; isSound: boolean };

/** What is left when the process ends. */
export class MemoryChunkDisk {
  readonly chunks = new Map<ChunkId, Held>();
  /** Thrown by the next flush that has something to do; what was not durable is lost then. */
  refusal: SynclineError | undefined;
  /** It refuses until further notice, and not once. */
  isRefusing = false;

  /** The power goes. */
  crash(): void {
    for (const [id, held] of this.chunks) if (!held.isDurable) this.chunks.delete(id);
  }

  /** Rot: nobody is told before the chunk is read. */
  damage(id: ChunkId): void {
    const held = this.chunks.get(id);
    assert(held !== undefined, "a chunk that is here is damaged");
    held.isSound = false;
  }
}

type OpenPin = {
  readonly ids: Set<ChunkId>;
  readonly fresh: FreshList;
  readonly onLost: (() => void) | undefined;
  lost: SynclineError | undefined;
};

export class MemoryChunks implements ChunkStore {
  readonly #disk: MemoryChunkDisk;
  readonly #nowMs: () => number;
  readonly #pins = new Set<OpenPin>();
  readonly #damaged = new Set<ChunkId>();
  /** While a prune runs. */
  #candidates: Set<ChunkId> | undefined;
  #untold: SynclineError | undefined;

  constructor(nowMs: () => number, disk: MemoryChunkDisk = new MemoryChunkDisk()) {
    this.#disk = disk;
    this.#nowMs = nowMs;
  }

  pin(onLost?: () => void): Pin {
    const pin: OpenPin = { ids: new Set(), fresh: new FreshList(), onLost, lost: undefined };
    this.#pins.add(pin);
    return {
      has: (ids) => {
        throwIfLost(pin);
        for (const id of ids) if (this.#disk.chunks.get(id)?.isDurable === false) pin.fresh.giveUp();
        return ids.map((id) => this.#touch(pin, id));
      },
      put: (id, bytes) => this.#put(pin, id, bytes),
      flush: async (onBegun) => {
        throwIfLost(pin);
        const durable = this.#barrier();
        onBegun?.();
        await durable;
        throwIfLost(pin);
      },
      fresh: () => (pin.lost === undefined ? pin.fresh.chunks : undefined),
      [Symbol.dispose]: () => {
        this.#pins.delete(pin);
      },
    };
  }

  async flush(): Promise<void> {
    await this.#barrier();
    for (const pin of this.#pins) throwIfLost(pin);
    const untold = this.#untold;
    this.#untold = undefined;
    if (untold !== undefined) throw untold;
  }

  async get(id: ChunkId): Promise<Uint8Array> {
    const held = this.#disk.chunks.get(id);
    if (held?.isSound === true) return held.bytes;
    if (held !== undefined) this.#drop(id);
    const isDamaged = this.#damaged.has(id);
    throw new SynclineError({
      code: isDamaged ? "CHUNK_DAMAGED" : "CHUNK_MISSING",
      op: "read a chunk",
      message: `chunk ${id} is ${isDamaged ? "damaged" : "not in the store"}`,
    });
  }

  getUnproved(id: ChunkId): Promise<Uint8Array> {
    return this.get(id);
  }

  async gather(chunks: readonly SizedChunk[], room: Uint8Array): Promise<number> {
    let count = 0;
    let used = 0;
    for (const { id, length } of chunks) {
      const held = this.#disk.chunks.get(id);
      if (held?.isSound !== true || held.bytes.length !== length || used + length > room.length) break;
      room.set(held.bytes, used);
      used += length;
      count++;
    }
    return count < Math.max(2, chunks.length / 2) ? 0 : count;
  }

  areProved(ids: Iterable<ChunkId>): boolean {
    for (const id of ids) if (!this.#disk.chunks.has(id)) return false;
    return true;
  }

  async lend(id: ChunkId): Promise<LentChunk> {
    return { bytes: await this.get(id), release: () => undefined, leave: () => undefined };
  }

  lendUnproved(id: ChunkId): Promise<LentChunk> {
    return this.lend(id);
  }

  lengthOf(id: ChunkId): number | undefined {
    return this.#disk.chunks.get(id)?.bytes.length;
  }

  stats(): ChunkStoreStats {
    let plainBytes = 0;
    for (const { bytes } of this.#disk.chunks.values()) plainBytes += bytes.length;
    const chunks = this.#disk.chunks.size;
    return { chunks, plainBytes, storedBytes: plainBytes, damaged: this.#damaged.size };
  }

  knownDamaged(): ChunkId[] {
    return [...this.#damaged];
  }

  async scrub(cursor: string | undefined, budgetBytes: number, signal: AbortSignal): Promise<ScrubResult> {
    signal.throwIfAborted();
    const damaged: ChunkId[] = [];
    let checkedBytes = 0;
    for (const id of [...this.#disk.chunks.keys()].sort()) {
      if (cursor !== undefined && id < cursor) continue;
      if (checkedBytes >= budgetBytes) return { cursor: id, checkedBytes, damaged };
      const held = this.#disk.chunks.get(id)!;
      checkedBytes += Math.max(1, held.bytes.length);
      if (held.isSound) continue;
      this.#drop(id);
      damaged.push(id);
    }
    return { cursor: undefined, checkedBytes, damaged };
  }

  async prune(
    options: { readonly live: AsyncIterable<ChunkId>; readonly olderThanMs: number; readonly fractionMax: number },
    signal: AbortSignal,
  ): Promise<PruneResult> {
    signal.throwIfAborted();
    const candidates = new Set<ChunkId>();
    for (const [id, held] of this.#disk.chunks) if (held.touchedMs < options.olderThanMs) candidates.add(id);
    for (const pin of this.#pins) for (const id of pin.ids) candidates.delete(id);
    this.#candidates = candidates;
    try {
      const unwanted = new Set(this.#damaged);
      for await (const id of options.live) {
        signal.throwIfAborted();
        candidates.delete(id);
        unwanted.delete(id);
      }
      for (const id of unwanted) this.#damaged.delete(id);
      let freedBytes = 0;
      for (const id of candidates) freedBytes += this.#disk.chunks.get(id)?.bytes.length ?? 0;
      const { plainBytes } = this.stats();
      if (freedBytes > options.fractionMax * plainBytes) {
        const message = `pruning would remove ${freedBytes} of ${plainBytes} bytes`;
        throw new SynclineError({ code: "HALT", op: "prune chunks", message });
      }
      for (const id of candidates) this.#disk.chunks.delete(id);
      return { removedChunks: candidates.size, freedBytes };
    } finally {
      this.#candidates = undefined;
    }
  }

  close(): Promise<void> {
    return this.#barrier();
  }

  #put(pin: OpenPin, id: ChunkId, bytes: Uint8Array): void {
    throwIfLost(pin);
    assert(bytes.length <= CHUNK_BYTES_MAX, "a chunk has at most CHUNK_BYTES_MAX");
    if (this.#disk.chunks.get(id)?.isDurable !== true) pin.fresh.add(id, bytes);
    if (this.#touch(pin, id)) return;
    const held = { bytes: bytes.slice(), touchedMs: this.#nowMs(), isDurable: false, isSound: true };
    this.#disk.chunks.set(id, held);
    this.#damaged.delete(id);
    pin.ids.add(id);
  }

  #touch(pin: OpenPin, id: ChunkId): boolean {
    const held = this.#disk.chunks.get(id);
    if (held === undefined) return false;
    held.touchedMs = Math.max(held.touchedMs, this.#nowMs());
    this.#candidates?.delete(id);
    pin.ids.add(id);
    return true;
  }

  async #barrier(): Promise<void> {
    await undefined;
    const { refusal } = this.#disk;
    if (!this.#disk.isRefusing) this.#disk.refusal = undefined;
    for (const [id, held] of this.#disk.chunks) {
      if (held.isDurable) continue;
      if (refusal === undefined) held.isDurable = true;
      else if (!this.#lose(id, refusal)) this.#untold ??= refusal;
    }
    if (refusal !== undefined) throw refusal;
  }

  #drop(id: ChunkId): void {
    const error = new SynclineError({ code: "CHUNK_DAMAGED", op: "keep chunks", message: `chunk ${id} is damaged` });
    this.#lose(id, error);
    this.#damaged.add(id);
  }

  /** True when somebody held it, and so is told. */
  #lose(id: ChunkId, error: SynclineError): boolean {
    let isHeld = false;
    for (const pin of this.#pins) {
      if (!pin.ids.has(id)) continue;
      isHeld = true;
      pin.lost ??= error;
      pin.onLost?.();
    }
    this.#candidates?.delete(id);
    this.#disk.chunks.delete(id);
    return isHeld;
  }
}

function throwIfLost(pin: OpenPin): void {
  if (pin.lost !== undefined) throw pin.lost;
}
