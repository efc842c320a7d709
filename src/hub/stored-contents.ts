/** Content that is at rest, opened: where its chunks are, and the small ones that were read lately. */
import { StoredContent } from "#hub/content.ts";
import { HOT_CHUNK_BYTES_MAX, HotChunks, KnownContent } from "#hub/hot-chunks.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import { contentGone } from "#hub/space-errors.ts";
import type { ContentSource } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

export class StoredContents {
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  readonly #hot = new HotChunks();

  constructor(meta: MetaStore, chunks: ChunkStore) {
    this.#meta = meta;
    this.#chunks = chunks;
  }

  /** @param isProved false: who reads it compares the sum of all of it @throws {SynclineError} CHUNK_MISSING */
  async open({ content, path }: Version, isProved: boolean): Promise<ContentSource> {
    const chunks = this.#chunks;
    if (content === undefined) throw contentGone(path);
    const get = (id: ChunkId): Promise<Uint8Array> => (isProved ? chunks.get(id) : chunks.getUnproved(id));
    // A chunk of that name and length is the whole of it, which needs no question to the database.
    const only = content.id as string as ChunkId;
    const isOneChunk = chunks.lengthOf(only) === content.size;
    const manifest = isOneChunk ? undefined : await this.#meta.manifest(content.id);
    if (!isOneChunk || content.size > HOT_CHUNK_BYTES_MAX) {
      const isKnown = isProved || chunks.areProved(manifest?.chunks.map(({ id }) => id) ?? [only]);
      const gather: ChunkStore["gather"] = (some, room) => chunks.gather(some, room);
      const streaming = { lend: (id: ChunkId) => chunks.lend(id), gather: isProved ? undefined : gather };
      return StoredContent.of(get, content, manifest, streaming, isKnown);
    }
    return new KnownContent(this.#hot.get(only) ?? this.#hot.add(only, await chunks.get(only)));
  }
}
