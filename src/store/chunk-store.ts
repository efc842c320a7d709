/**
 * Chunks at rest: bytes by their SHA-256. A chunk never changes, so copies of it can only be missing or damaged, never
 * old. Implementations: packs/ (append-only files on local disk) and memory-chunks.ts (tests and simulation);
 * chunk-store-contract.ts runs on both.
 *
 * Who may read which chunk is not asked here: knowing an id gives no access, because every door resolves a path to its
 * content first (hub/).
 */
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

/** Plain bytes of one chunk at most; the largest that a splitter makes. */
export const CHUNK_BYTES_MAX = 4 << 20;

/** Plain bytes of what fresh() gives at most. */
export const FRESH_BYTES_MAX = 16 << 10;

/** A chunk that a power loss would still take from the store. */
export type FreshChunk = { readonly id: ChunkId; readonly bytes: Uint8Array };

/**
 * Protects the chunks that somebody is about to refer to. A chunk that was put or found through a pin is not pruned
 * before the pin is released, however little refers to it yet.
 */
export interface Pin extends Disposable {
  /** Which of the ids are here. The found ones are pinned from the moment of the answer on. */
  has(ids: readonly ChunkId[]): boolean[];
  /**
   * Takes a copy of the bytes under their id (which the caller computed from them) unless it is here already; then the
   * new bytes still replace a copy that is known to be damaged. Durable only after flush(). A promise where the buffers
   * are full: wait before the next put.
   * @param isReadSoon false: who wants them soon has them from elsewhere, so large ones need no place in the page cache
   * @throws {SynclineError} DISK
   */
  put(id: ChunkId, bytes: Uint8Array, isReadSoon?: boolean): Promise<void> | void;
  /**
   * What was put or found through this pin survives a power loss when this resolves. Shares its barrier with every other
   * flush. Rejects, now and ever after, when something of it is gone: then nothing may refer to it, and a new pin has to
   * be taken and everything put again. So do has() and put().
   * @param onBegun called once at most, when the disk is at work and this thread has time for other things
   * @throws {SynclineError} DISK, or CHUNK_DAMAGED for a found chunk that turned out to be damaged
   */
  flush(onBegun?: () => void): Promise<void>;
  /**
   * What flush() would have to make durable, for who keeps it elsewhere instead until the store has made it durable.
   * Undefined where that is more than FRESH_BYTES_MAX, or not known, or something is gone: flush() then.
   */
  fresh(): readonly FreshChunk[] | undefined;
}

/** A chunk and the plain bytes that it should have: what has others is not gathered. */
export type SizedChunk = { readonly id: ChunkId; readonly length: number };

export type ChunkStoreStats = {
  readonly chunks: number;
  /** Plain bytes of all chunks; bytes of files on disk. */
  readonly plainBytes: number;
  readonly storedBytes: number;
  /** Chunks known to be damaged or missing, which wait for repair. */
  readonly damaged: number;
};

export type ScrubResult = {
  /** Where to go on; undefined when everything has been looked at. */
  readonly cursor: string | undefined;
  readonly checkedBytes: number;
  readonly damaged: readonly ChunkId[];
};

export type PruneResult = { readonly removedChunks: number; readonly freedBytes: number };

/** A chunk's bytes, to be read until it is given back; by one of the two, once. Where neither is called it is never shared again. */
export type LentChunk = {
  readonly bytes: Uint8Array;
  /** Nobody reads it any more: other bytes may be written there at once. */
  readonly release: () => void;
  /** Somebody may still read it: nothing is ever written there. */
  readonly leave: () => void;
};

export interface ChunkStore {
  /** @param onLost called where something of it has gone, in the middle of that: to look at it later */
  pin(onLost?: () => void): Pin;
  /**
   * What was put before, by anybody, survives a power loss when this resolves. Concurrent calls share one barrier.
   * Rejects as long as a pin is open that has lost something, because what was lost may be the caller's; who has a pin
   * of its own asks that.
   * @throws {SynclineError} DISK
   */
  flush(): Promise<void>;
  /**
   * The chunk's plain bytes, verified against its id. The array is the caller's to read, not to change.
   * @throws {SynclineError} CHUNK_MISSING when it is not here, CHUNK_DAMAGED when its bytes are not what they were
   */
  get(id: ChunkId): Promise<Uint8Array>;
  /**
   * As get(), for who knows a sum of the whole that the chunk is a part of, and compares it: the bytes are compared with
   * their CRC alone, which finds what happens to a disk, and saves hashing all that is handed out.
   */
  getUnproved(id: ChunkId): Promise<Uint8Array>;
  /**
   * As getUnproved(), for small chunks that were put one behind the other, in one read: the bytes of the first of them in
   * their order, as many as lie together at rest, uncompressed and sound, and fit into `room` with what lies between them.
   * For none of them where these are fewer than two or than half of all: getUnproved() tells why, and small pieces would cost
   * more than they spare.
   * @param room has other bytes afterwards, and what was read at its beginning
   * @returns how many
   */
  gather(chunks: readonly SizedChunk[], room: Uint8Array): Promise<number>;
  /** Has this process compared all of these with their ids where they lie? False also when one is not here. */
  areProved(ids: Iterable<ChunkId>): boolean;
  /**
   * As get(), for many large chunks one after the other, in memory that is used again. The bytes are compared with their
   * id the first time that this process has to do with them, written or read, and with their CRC afterwards.
   */
  lend(id: ChunkId): Promise<LentChunk>;
  /** As lend(), compared with their CRC alone; for whom getUnproved() is. */
  lendUnproved(id: ChunkId): Promise<LentChunk>;
  /** Plain bytes of a chunk; undefined when it is not here. */
  lengthOf(id: ChunkId): number | undefined;
  stats(): ChunkStoreStats;
  /** Those that were found damaged, by whoever read them or by an earlier process, as far as their names are known. */
  knownDamaged(): ChunkId[];
  /**
   * Verifies what is at rest, from `cursor` on, until about `budgetBytes` were read. Damaged chunks are remembered: they
   * count as absent for has() and are healed by the next put() of the same bytes.
   */
  scrub(cursor: string | undefined, budgetBytes: number, signal: AbortSignal): Promise<ScrubResult>;
  /**
   * Removes chunks that are not in `live`, not pinned, and were last put or found before `olderThanMs` (wall clock). `live` is read
   * once, after the set of candidates was fixed, so that what is referred to meanwhile is seen. Rewrites packs that are
   * mostly dead. Refuses (HALT) to remove more than `fractionMax` of all bytes.
   */
  prune(
    options: { readonly live: AsyncIterable<ChunkId>; readonly olderThanMs: number; readonly fractionMax: number },
    signal: AbortSignal,
  ): Promise<PruneResult>;
  close(): Promise<void>;
}
