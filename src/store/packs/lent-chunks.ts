/**
 * Large chunks on their way out: what is read goes into memory that is used again and again, and whoever wants the same
 * chunk meanwhile, as clients do that get one large file at the same time, shares it.
 */
import { PAGE_BYTES, alignedBytes } from "#platform/aligned-bytes.ts";
import type { LentChunk } from "#store/chunk-store.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

/** Of chunks that nobody uses now and somebody may ask for again. What is lent comes on top. */
const IDLE_BYTES_MAX = 64 << 20;
/**
 * From so much on rooms are used again. The distance is what a stream has on its way: with none, what is given back
 * meanwhile goes over the limit, and every second room would be new memory, with a page fault for each 4 KiB.
 */
const IDLE_BYTES_KEPT = 48 << 20;
/** Rooms are as large as the smallest of these that fits, and pages around it: one serves many. */
const ROOM_BYTES = [1 << 20, 2 << 20, 4 << 20];
const PAGES_AROUND = 4;

/** Gives aligned memory of at least so many bytes. */
export type MakeRoom = (bytes: number) => Uint8Array;

/** What was read of a chunk. */
export type LentBytes = {
  readonly bytes: Uint8Array;
  /** Compares them with the chunk's id. @throws {SynclineError} when they are others */
  readonly prove: () => Promise<void>;
};

type Held = {
  readonly read: Promise<LentBytes>;
  /** By the first who wants it, for all. */
  proof: Promise<void> | undefined;
  /** What the bytes lie in; undefined: in memory of their own. */
  readonly place: { room: Uint8Array | undefined; size: number };
  users: number;
  /** Somebody who has gone may still read it: nothing else may be written there. */
  isLeft: boolean;
};

export class LentChunks {
  readonly #read: (id: ChunkId, room: MakeRoom) => Promise<LentBytes>;
  /** The one that was used last is at the end. */
  readonly #held = new Map<ChunkId, Held>();
  #idleBytes = 0;

  constructor(read: (id: ChunkId, room: MakeRoom) => Promise<LentBytes>) {
    this.#read = read;
  }

  /** @throws {SynclineError} what reading throws, and proving where that is wanted */
  async lend(id: ChunkId, isProved: boolean): Promise<LentChunk> {
    const known = this.#held.get(id);
    if (known?.users === 0) this.#idleBytes -= known.place.size;
    const held = known ?? this.#begin(id);
    this.#held.delete(id);
    this.#held.set(id, held);
    held.users++;
    try {
      const { bytes, prove } = await held.read;
      if (isProved) await (held.proof ??= prove());
      let isLent = true;
      const end = (isLeft: boolean): void => {
        if (!isLent) return;
        isLent = false;
        held.isLeft ||= isLeft;
        this.#release(id, held);
      };
      return { bytes, release: () => end(false), leave: () => end(true) };
    } catch (error) {
      held.users--;
      if (this.#held.get(id) === held) this.#held.delete(id);
      throw error;
    }
  }

  /** Whoever wants it from now on gets what is read from now on. */
  drop(id: ChunkId): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#held.delete(id);
    if (held.users === 0) this.#idleBytes -= held.place.size;
  }

  #begin(id: ChunkId): Held {
    const place: Held["place"] = { room: undefined, size: 0 };
    const makeRoom: MakeRoom = (length) => (place.room = this.#room(length));
    const read = this.#read(id, makeRoom).then((lent) => {
      // What was compressed, or is not written yet.
      if (place.room?.buffer !== lent.bytes.buffer) place.room = undefined;
      place.size = place.room?.length ?? lent.bytes.length;
      return lent;
    });
    return { read, proof: undefined, place, users: 0, isLeft: false };
  }

  #release(id: ChunkId, held: Held): void {
    if (--held.users > 0) return;
    if (held.isLeft || this.#held.get(id) !== held) {
      if (this.#held.get(id) === held) this.#held.delete(id);
      return;
    }
    this.#idleBytes += held.place.size;
    for (const [first, one] of this.#held) {
      if (this.#idleBytes <= IDLE_BYTES_MAX) return;
      if (one.users === 0) this.#forget(first, one);
    }
  }

  #forget(id: ChunkId, held: Held): void {
    this.#held.delete(id);
    this.#idleBytes -= held.place.size;
  }

  /** The one that was used longest ago, where there is enough to choose from; new memory otherwise. */
  #room(bytes: number): Uint8Array {
    const around = PAGES_AROUND * PAGE_BYTES;
    const size = (ROOM_BYTES.find((one) => bytes <= one + around) ?? bytes) + around;
    if (this.#idleBytes + size > IDLE_BYTES_KEPT) {
      for (const [id, held] of this.#held) {
        if (held.users > 0 || held.place.room?.length !== size) continue;
        this.#forget(id, held);
        return held.place.room;
      }
    }
    return alignedBytes(size, 0);
  }
}
