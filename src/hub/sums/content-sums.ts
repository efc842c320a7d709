/** Sums of content that is at rest: those that are kept, and those that have to be computed by reading it. */
import type { MetaStore } from "#hub/meta/meta-store.ts";
import { Places } from "#hub/places.ts";
import type { ContentReader } from "#hub/space-service.ts";
import { type SumName, type Sums, SumsHasher } from "#hub/sums/sums.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

/** Contents read at a time; others wait. */
const READS_MAX = 2;
const PIECE_BYTES = 1 << 20;

export class ContentSums {
  readonly #meta: MetaStore;
  /** By content and what is computed of it. */
  readonly #running = new Map<string, Promise<Sums>>();
  readonly #places = new Places(READS_MAX);

  constructor(meta: MetaStore) {
    this.#meta = meta;
  }

  async of(id: ContentId, reader: ContentReader, wanted: readonly SumName[]): Promise<Sums> {
    const known = await this.#meta.sums(id);
    const lacking = wanted.filter((name) => known[name] === undefined).sort();
    if (lacking.length === 0) return known;
    const key = `${id} ${lacking.join()}`;
    let running = this.#running.get(key);
    if (running === undefined) {
      running = this.#compute(id, reader, lacking).finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    return { ...known, ...(await running) };
  }

  async #compute(id: ContentId, reader: ContentReader, names: readonly SumName[]): Promise<Sums> {
    using _place = await this.#places.take();
    const hasher = new SumsHasher(names);
    const piece = new Uint8Array(Math.min(PIECE_BYTES, reader.size));
    for (let at = 0; at < reader.size; ) {
      const count = await reader.read(piece, at);
      hasher.update(piece.subarray(0, count));
      at += count;
    }
    const sums = hasher.digest();
    await this.#meta.addSums(id, sums);
    return sums;
  }
}
