/** Content that is at rest, opened: where its chunks are, and the small ones that were read lately. */
import { StoredContent } from "#hub/content.ts";
import type { FreshOf } from "#hub/fresh-chunks.ts";
import { HOT_CHUNK_BYTES_MAX, HotChunks, KnownContent } from "#hub/hot-chunks.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import { contentGone } from "#hub/space-errors.ts";
import type { ContentSource } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import type { ChunkStore, LentChunk } from "#store/chunk-store.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

export class StoredContents {
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  readonly #freshOf: FreshOf;
  readonly #hot = new HotChunks();

  /** @param freshOf asked first: a disk that refuses may take from the store what it has acknowledged a moment ago */
  constructor(meta: MetaStore, chunks: ChunkStore, freshOf: FreshOf) {
    this.#meta = meta;
    this.#chunks = chunks;
    this.#freshOf = freshOf;
  }

  /** @param isProved false: who reads it compares the sum of all of it @throws {SynclineError} CHUNK_MISSING */
  async open({ content, path }: Version, isProved: boolean): Promise<ContentSource> {
    const chunks = this.#chunks;
    if (content === undefined) throw contentGone(path);
    const freshOf = this.#freshOf;
    const get = async (id: ChunkId): Promise<Uint8Array> =>
      freshOf(id) ?? (await (isProved ? chunks.get(id) : chunks.getUnproved(id)));
    const lend = async (id: ChunkId): Promise<LentChunk> => {
      const bytes = freshOf(id);
      if (bytes !== undefined) return { bytes, release: () => undefined, leave: () => undefined };
      return isProved ? chunks.lend(id) : chunks.lendUnproved(id);
    };
    // A chunk of that name and length is the whole of it, which needs no question to the database.
    const only = content.id as string as ChunkId;
    const fresh = freshOf(only);
    const isOneChunk = (fresh?.length ?? chunks.lengthOf(only)) === content.size;
    const manifest = isOneChunk ? undefined : await this.#meta.manifest(content.id);
    if (!isOneChunk || content.size > HOT_CHUNK_BYTES_MAX) {
      const isKnown = isProved || chunks.areProved(manifest?.chunks.map(({ id }) => id) ?? [only]);
      const gather: ChunkStore["gather"] = (some, room) => chunks.gather(some, room);
      return StoredContent.of(get, content, manifest, { lend, gather: isProved ? undefined : gather }, isKnown);
    }
    return new KnownContent(this.#hot.get(only) ?? this.#hot.add(only, fresh ?? (await chunks.get(only))));
  }
}
