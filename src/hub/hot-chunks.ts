/**
 * The bytes of small files that were read lately: a chunk never changes, so what was proved once needs no look at the
 * disk and no hash again. Whoever asks has made sure that the store still has the chunk.
 */
import type { ContentSource } from "#hub/space-service.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

/** Of one chunk, and of all that are kept. */
export const HOT_CHUNK_BYTES_MAX = 64 << 10;
const BYTES_MAX = 32 << 20;
/** What keeping one takes besides its bytes: a short one is no bargain. */
const OVERHEAD_BYTES = 512;

export class HotChunks {
  /** The one that was asked for last is at the end. */
  readonly #kept = new Map<ChunkId, Uint8Array>();
  #bytes = 0;

  get(id: ChunkId): Uint8Array | undefined {
    const bytes = this.#kept.get(id);
    if (bytes === undefined) return undefined;
    this.#kept.delete(id);
    this.#kept.set(id, bytes);
    return bytes;
  }

  /** @param bytes proved to be those of the id; nobody changes them @returns them */
  add(id: ChunkId, bytes: Uint8Array): Uint8Array {
    if (bytes.length > HOT_CHUNK_BYTES_MAX || this.#kept.has(id)) return bytes;
    this.#kept.set(id, bytes);
    this.#bytes += bytes.length + OVERHEAD_BYTES;
    for (const [first, { length }] of this.#kept) {
      if (this.#bytes <= BYTES_MAX) break;
      this.#kept.delete(first);
      this.#bytes -= length + OVERHEAD_BYTES;
    }
    return bytes;
  }
}

/** Content that is all in memory. */
export class KnownContent implements ContentSource {
  readonly isProved = true;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get size(): number {
    return this.#bytes.length;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    const part = this.#bytes.subarray(position, position + into.length);
    into.set(part);
    return part.length;
  }

  async *stream(start: number, end: number): AsyncGenerator<Uint8Array, void> {
    if (start < end) yield this.#bytes.subarray(start, end);
  }
}
