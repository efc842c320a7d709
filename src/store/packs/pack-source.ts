/**
 * The packs as files, for whoever copies them while the store is in use. Packs only grow, and what is durable of one
 * never changes, so a pack of the same id and length is the same; prune alone removes some, and can be held off.
 */
import type { Appender } from "#store/packs/appender.ts";
import type { Catalog } from "#store/packs/catalog.ts";
import { type PackFiles, chunkDiskError } from "#store/packs/pack-files.ts";
import { HEADER_BYTES } from "#store/packs/pack-format.ts";
import type { Pruner } from "#store/packs/prune.ts";

export type PackPart = {
  readonly number: number;
  /** Hex; drawn at random when it was made. */
  readonly id: string;
  /** From its beginning, what is durable. */
  readonly bytes: number;
};

export class PackSource {
  readonly #files: PackFiles;
  readonly #catalog: Catalog;
  readonly #appender: Appender;
  readonly #pruner: Pruner;

  constructor(files: PackFiles, catalog: Catalog, appender: Appender, pruner: Pruner) {
    this.#files = files;
    this.#catalog = catalog;
    this.#appender = appender;
    this.#pruner = pruner;
  }

  /** From when it resolves until what it gives is disposed, no chunk and no pack is removed. */
  hold(): Promise<Disposable> {
    return this.#pruner.hold();
  }

  /** All that is durable now, by number; what was flushed before is in it. */
  parts(): PackPart[] {
    const found: PackPart[] = [];
    for (const pack of this.#catalog.packs()) {
      const { number, id } = pack.header;
      const bytes = this.#appender.durableBytes(pack);
      // One that was begun and holds nothing durable may not have a file yet.
      if (bytes > HEADER_BYTES) found.push({ number, id: id.toHex(), bytes });
    }
    return found;
  }

  /** @throws {SynclineError} DISK */
  async read(part: PackPart, into: Uint8Array, position: number): Promise<number> {
    try {
      return await this.#files.read(part.number, into, position);
    } catch (error) {
      throw chunkDiskError("copy a pack", error);
    }
  }
}
