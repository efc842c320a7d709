/**
 * What keeps a hub small and sound without anybody asking: deleted spaces are erased when their grace has ended, old
 * versions lose their content by the retention of their space, chunks that nothing refers to are pruned, and what is at
 * rest is read again, a little at a time. Jobs do it, by schedule or because somebody asks (hub/jobs).
 *
 * The order is that of references: what refers goes before what it refers to. Between the two there is only garbage,
 * which the next prune takes.
 */
import type { MetaStore, WithIt } from "#hub/meta/meta-store.ts";
import { type SpaceAudit, spaceResource } from "#hub/space-audit.ts";
import type { Clock } from "#platform/host.ts";
import type { ChunkStore, PruneResult } from "#store/chunk-store.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";

const HOUR_MS = 3_600_000;

/** How long a deleted space can be brought back. */
export const SPACE_GRACE_MS = 7 * 24 * HOUR_MS;
/** Chunks younger than this are never pruned: whoever put them may be about to refer to them. */
export const CHUNK_GRACE_MS = 24 * HOUR_MS;
const ROWS = 5000;
/** Read between two places where a scrub can be interrupted. */
const SCRUB_SLICE_BYTES = 64 << 20;

export type Expired = { readonly erasedSpaces: number; readonly expiredVersions: number };

export type ExpireParts = { readonly meta: MetaStore; readonly audit: SpaceAudit; readonly clock: Pick<Clock, "nowMs"> };

/**
 * Erases spaces whose grace has ended and drops old content by retention. What cannot be done in one space stops none of
 * the others: it is thrown when they are done.
 * @param from counted on from here
 * @param onPage between two steps; what it throws ends the work there
 */
export async function expireOld(
  { meta, audit, clock }: ExpireParts,
  from: Expired,
  onPage: (expired: Expired) => Promise<void>,
  signal: AbortSignal,
): Promise<Expired> {
  const nowMs = clock.nowMs();
  let { erasedSpaces, expiredVersions } = from;
  const failures: unknown[] = [];
  const tried = async (step: () => Promise<number>): Promise<number> => {
    try {
      return await step();
    } catch (error) {
      signal.throwIfAborted();
      failures.push(error);
      return 0;
    }
  };
  // No space tells of them any more.
  erasedSpaces += await tried(() => meta.eraseLeftOver());
  for (const space of await meta.spaces()) {
    signal.throwIfAborted();
    if (space.deletedMs !== undefined && space.deletedMs + SPACE_GRACE_MS < nowMs) {
      const event = { action: "space.erase", resource: spaceResource(space.name), outcome: "done" } as const;
      erasedSpaces += await tried(async () => {
        // The other spaces took a while: this one may have been brought back, and deleted again a moment ago.
        const note: WithIt = (sql) => audit.appendIn(sql, { id: "system:upkeep" }, event);
        await meta.eraseSpace(space.id, nowMs, note, nowMs - SPACE_GRACE_MS);
        return 1;
      });
      await onPage({ erasedSpaces, expiredVersions });
      continue;
    }
    for (let expired = ROWS; expired === ROWS; ) {
      expired = await tried(() => meta.expire(space.id, nowMs, ROWS));
      expiredVersions += expired;
      if (expired > 0) await onPage({ erasedSpaces, expiredVersions });
    }
  }
  if (failures.length > 0) throw failures[0];
  return { erasedSpaces, expiredVersions };
}

export type PruneParts = {
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly clock: Clock;
  /** Chunks that no version refers to yet: those of unfinished uploads. */
  readonly unfinished: () => AsyncIterable<ChunkId>;
};

/**
 * Removes chunks that neither a version nor an unfinished upload refers to.
 * @param shareMax part of the store that may go at once, 0 to 1
 * @throws {SynclineError} HALT when more would go, DISK
 */
export function pruneChunks(parts: PruneParts, shareMax: number, signal: AbortSignal): Promise<PruneResult> {
  const { chunks, clock } = parts;
  const olderThanMs = clock.nowMs() - CHUNK_GRACE_MS;
  return chunks.prune({ live: liveChunks(parts, signal), olderThanMs, fractionMax: shareMax }, signal);
}

/** Every chunk that is referred to. One that goes over from an upload to a version meanwhile is pinned by its commit. */
async function* liveChunks({ meta, unfinished }: PruneParts, signal: AbortSignal): AsyncGenerator<ChunkId> {
  for await (const id of unfinished()) {
    signal.throwIfAborted();
    yield id;
  }
  for (let after: ContentId | undefined; ; ) {
    signal.throwIfAborted();
    const page = await meta.liveContent(after, ROWS);
    for (const { id, manifest } of page) {
      if (manifest === undefined) yield id as string as ChunkId;
      else for (const chunk of manifest.chunks) yield chunk.id;
    }
    // A page may be shorter than what was asked for; only an empty one is the end.
    if (page.length === 0) return;
    after = page.at(-1)!.id;
  }
}

/** Where the last scrub ended, kept over restarts. */
export type ScrubCursor = { read(): Promise<string | undefined>; write(cursor: string | undefined): Promise<void> };

export type Scrubbed = { readonly checkedBytes: number; readonly damagedChunks: number };

/** How far one scrub is, and where it goes on; another one may have gone elsewhere meanwhile. */
export type ScrubPlace = Scrubbed & { readonly at: string | undefined; readonly isEnd: boolean };

export type ScrubParts = {
  readonly chunks: ChunkStore;
  readonly cursor: ScrubCursor;
  /** What a slice found damaged, to be repaired. */
  readonly onDamaged: (ids: readonly ChunkId[]) => Promise<void>;
};

/** Where a scrub begins: where the last one ended, or with the first chunk. */
export async function scrubBegin(cursor: ScrubCursor, fromStart: boolean): Promise<ScrubPlace> {
  const at = fromStart ? undefined : await cursor.read();
  return { at, checkedBytes: 0, damagedChunks: 0, isEnd: false };
}

/**
 * Reads on from a place until so many bytes were read or the end of the store is reached.
 * @param bytesMax of this scrub, with what `from` counts already
 * @param onSlice between two slices; what it throws ends the work there
 */
export async function scrubChunks(
  { chunks, cursor, onDamaged }: ScrubParts,
  bytesMax: number,
  from: ScrubPlace,
  onSlice: (place: ScrubPlace) => Promise<void>,
  signal: AbortSignal,
): Promise<Scrubbed> {
  let place = from;
  while (!place.isEnd && place.checkedBytes < bytesMax) {
    const slice = Math.min(SCRUB_SLICE_BYTES, bytesMax - place.checkedBytes);
    const { cursor: at, checkedBytes, damaged } = await chunks.scrub(place.at, slice, signal);
    if (damaged.length > 0) await onDamaged(damaged);
    await cursor.write(at);
    place = {
      at,
      isEnd: at === undefined,
      checkedBytes: place.checkedBytes + checkedBytes,
      damagedChunks: place.damagedChunks + damaged.length,
    };
    await onSlice(place);
  }
  return { checkedBytes: place.checkedBytes, damagedChunks: place.damagedChunks };
}
