/** What came through a pin and is not durable yet, as far as it is little: copies for who keeps them elsewhere. */
import { FRESH_BYTES_MAX, type FreshChunk } from "#store/chunk-store.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

export class FreshList {
  #chunks: FreshChunk[] | undefined = [];
  #bytes = 0;

  /** Undefined: it was more, or not all of it is known. */
  get chunks(): readonly FreshChunk[] | undefined {
    return this.#chunks;
  }

  /** @param bytes copied */
  add(id: ChunkId, bytes: Uint8Array): void {
    if (this.#chunks === undefined) return;
    this.#bytes += bytes.length;
    if (this.#bytes > FRESH_BYTES_MAX) this.#chunks = undefined;
    else this.#chunks.push({ id, bytes: bytes.slice() });
  }

  /** Something of it is not durable, and its bytes are not at hand. */
  giveUp(): void {
    this.#chunks = undefined;
  }
}
