/**
 * What keeps a hub small and sound without anybody asking: deleted spaces are erased when their grace has ended, old
 * versions lose their content by the retention of their space, chunks that nothing refers to are pruned, and what is at
 * rest is read again, a little at a time.
 *
 * The order is that of references: what refers goes before what it refers to. Between the two, an interruption leaves
 * garbage, which the next round takes.
 */
import type { MetaStore } from "#hub/meta/meta-store.ts";
import { type SpaceAudit, spaceResource } from "#hub/space-audit.ts";
import type { Clock } from "#platform/host.ts";
import type { ChunkStore, ScrubResult } from "#store/chunk-store.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";

const HOUR_MS = 3_600_000;

/** How long a deleted space can be brought back. */
export const SPACE_GRACE_MS = 7 * 24 * HOUR_MS;
/** Chunks younger than this are never pruned: whoever put them may be about to refer to them. */
export const CHUNK_GRACE_MS = 24 * HOUR_MS;
/** A round that would free more than this part of the store is refused until a person asks for it. */
const PRUNE_FRACTION_MAX = 0.5;
const ROUND_EVERY_MS = HOUR_MS;
/** Bytes read again in one round: a store of 1 TiB is looked at about once in a month. */
const SCRUB_BYTES_PER_ROUND = 1536 << 20;
const ROWS = 5000;

export type UpkeepRound = {
  readonly erasedSpaces: number;
  readonly expiredVersions: number;
  readonly removedChunks: number;
  readonly freedBytes: number;
  readonly scrubbedBytes: number;
  readonly damaged: readonly ChunkId[];
};

export type UpkeepOptions = {
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly audit: SpaceAudit;
  readonly clock: Clock;
  /** Where the last round's scrub ended, kept over restarts. */
  readonly cursor: { read(): Promise<string | undefined>; write(cursor: string | undefined): Promise<void> };
  readonly onRound: (round: UpkeepRound) => void;
  /** A round that could not be finished; the next one tries again. */
  readonly onError: (error: unknown) => void;
};

export class Upkeep {
  readonly id = "upkeep";
  readonly #options: UpkeepOptions;

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Rounds until aborted; the first comes after one interval, so that a hub that starts again and again does not scan. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, onRound, onError } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(ROUND_EVERY_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        onRound(await this.round(PRUNE_FRACTION_MAX, signal));
      } catch (error) {
        if (!signal.aborted) onError(error);
      }
    }
  }

  /**
   * One round now.
   * @param fractionMax part of the store that may be freed at once, 0 to 1
   * @throws {SynclineError} HALT when more would be freed, DISK
   */
  async round(fractionMax: number, signal: AbortSignal): Promise<UpkeepRound> {
    const { chunks, clock } = this.#options;
    const nowMs = clock.nowMs();
    const failures: unknown[] = [];
    const { erasedSpaces, expiredVersions } = await this.#forget(nowMs, signal, failures);
    let pruned = { removedChunks: 0, freedBytes: 0 };
    try {
      const options = { live: this.#live(signal), olderThanMs: nowMs - CHUNK_GRACE_MS, fractionMax };
      pruned = await chunks.prune(options, signal);
    } catch (error) {
      // Scrubbing what is there must not end because nothing may be removed.
      failures.push(error);
    }
    signal.throwIfAborted();
    const { checkedBytes: scrubbedBytes, damaged } = await this.#scrub(signal);
    if (failures.length > 0) throw failures[0];
    return { erasedSpaces, expiredVersions, ...pruned, scrubbedBytes, damaged };
  }

  async #scrub(signal: AbortSignal): Promise<ScrubResult> {
    const { chunks, cursor } = this.#options;
    const scrub = await chunks.scrub(await cursor.read(), SCRUB_BYTES_PER_ROUND, signal);
    await cursor.write(scrub.cursor);
    return scrub;
  }

  /** What cannot be done in one space stops none of the others. */
  async #forget(
    nowMs: number,
    signal: AbortSignal,
    failures: unknown[],
  ): Promise<{ erasedSpaces: number; expiredVersions: number }> {
    const { meta, audit } = this.#options;
    let erasedSpaces = 0;
    let expiredVersions = 0;
    for (const space of await meta.spaces()) {
      signal.throwIfAborted();
      try {
        if (space.deletedMs !== undefined && space.deletedMs + SPACE_GRACE_MS < nowMs) {
          const event = { action: "space.erase", resource: spaceResource(space.name), outcome: "done" } as const;
          await meta.eraseSpace(space.id, (sql) => audit.appendIn(sql, { id: "system:upkeep" }, event));
          erasedSpaces++;
          continue;
        }
        for (let expired = ROWS; expired === ROWS; expiredVersions += expired) {
          signal.throwIfAborted();
          expired = await meta.expire(space.id, nowMs, ROWS);
        }
      } catch (error) {
        signal.throwIfAborted();
        failures.push(error);
      }
    }
    return { erasedSpaces, expiredVersions };
  }

  /** Every chunk that any version refers to. */
  async *#live(signal: AbortSignal): AsyncGenerator<ChunkId> {
    for (let after: ContentId | undefined; ; ) {
      signal.throwIfAborted();
      const page = await this.#options.meta.liveContent(after, ROWS);
      for (const { id, manifest } of page) {
        if (manifest === undefined) yield id as string as ChunkId;
        else for (const chunk of manifest.chunks) yield chunk.id;
      }
      // A page may be shorter than what was asked for; only an empty one is the end.
      if (page.length === 0) return;
      after = page.at(-1)!.id;
    }
  }
}
