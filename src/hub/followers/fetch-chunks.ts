/** Brings the chunks that records refer to from another hub into the store: those alone that are not here. */
import type { LostChunk } from "#hub/followers/follow-store.ts";
import { CHUNKS_MAX, CHUNK_REQUEST_BYTES, type FollowSource, type WantedContent } from "#hub/followers/source.ts";
import type { JournalRecord } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import type { ChunkStore, Pin } from "#store/chunk-store.ts";
import { type ChunkId, type ContentId, chunkIdOf } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** Chunks looked for in the store in one turn of the event loop. */
const LOOK_MAX = 4096;

type Needed = LostChunk & { readonly length: number };

/**
 * Durable are they after the pin's flush. Memory: the ids of one page, and one chunk.
 * @returns what the source does not have either
 */
export async function fetchChunks(
  source: FollowSource,
  pin: Pin,
  records: readonly JournalRecord[],
  manifests: ReadonlyMap<ContentId, Manifest>,
  onBytes: (count: number) => void,
  signal: AbortSignal,
): Promise<LostChunk[]> {
  const absent: LostChunk[] = [];
  let batch: Needed[] = [];
  let bytes = 0;
  for (const needed of missing(pin, neededBy(records, manifests))) {
    if (batch.length > 0 && (batch.length >= CHUNKS_MAX || bytes + needed.length > CHUNK_REQUEST_BYTES)) {
      absent.push(...(await fetchBatch(source, pin, batch, onBytes, signal)));
      batch = [];
      bytes = 0;
    }
    batch.push(needed);
    bytes += needed.length;
  }
  if (batch.length > 0) absent.push(...(await fetchBatch(source, pin, batch, onBytes, signal)));
  return absent;
}

/**
 * Lengths in a manifest are not part of the content's id, and the manifest is everybody's who has that content: a source
 * that tells wrong ones would spoil it in spaces that have nothing to do with it.
 * @throws {SynclineError} PROTOCOL when a chunk that is here has another length than the records say
 */
export function requireLengths(
  chunks: Pick<ChunkStore, "lengthOf">,
  records: readonly JournalRecord[],
  manifests: ReadonlyMap<ContentId, Manifest>,
): void {
  const requireLength = (id: ChunkId, told: number): void => {
    const found = chunks.lengthOf(id);
    if (found !== undefined && found !== told) throw wrong(`the length ${told} of a chunk that has ${found} bytes`);
  };
  for (const { chunks: all } of manifests.values()) for (const { id, length } of all) requireLength(id, length);
  for (const { content } of records) {
    if (content === undefined || content.size === 0) continue;
    const manifest = manifests.get(content.id);
    if (manifest === undefined) requireLength(content.id as string as ChunkId, content.size);
    else if (manifest.size !== content.size) throw wrong(`a file of ${content.size} bytes whose chunks have ${manifest.size}`);
  }
}

/** Each chunk once. */
function* neededBy(records: readonly JournalRecord[], manifests: ReadonlyMap<ContentId, Manifest>): Generator<Needed> {
  const seen = new Set<string>();
  for (const { content } of records) {
    if (content === undefined || content.size === 0) continue;
    const only = [{ id: content.id as string as ChunkId, length: content.size }];
    for (const { id, length } of manifests.get(content.id)?.chunks ?? only) {
      if (seen.has(id)) continue;
      seen.add(id);
      yield { id, length, content: content.id };
    }
  }
}

function* missing(pin: Pin, needed: Iterable<Needed>): Generator<Needed> {
  let some: Needed[] = [];
  const look = function* (): Generator<Needed> {
    const found = pin.has(some.map(({ id }) => id));
    yield* some.filter((_, at) => !found[at]);
    some = [];
  };
  for (const one of needed) {
    some.push(one);
    if (some.length >= LOOK_MAX) yield* look();
  }
  yield* look();
}

async function fetchBatch(
  source: FollowSource,
  pin: Pin,
  batch: readonly Needed[],
  onBytes: (count: number) => void,
  signal: AbortSignal,
): Promise<LostChunk[]> {
  const waiting = new Map(batch.map((one) => [one.id, one]));
  const absent: LostChunk[] = [];
  const wanted: WantedContent[] = [...Map.groupBy(batch, ({ content }) => content)].map(([content, chunks]) => ({
    content,
    chunks: chunks.map(({ id }) => id),
  }));
  const take = async (id: ChunkId, bytes: Uint8Array | undefined): Promise<void> => {
    const needed = waiting.get(id);
    waiting.delete(id);
    if (needed === undefined) throw wrong(`the chunk ${id}, which nobody asked for`);
    if (bytes === undefined) {
      absent.push({ id, content: needed.content });
      return;
    }
    if (chunkIdOf(bytes) !== id) throw wrong(`other bytes than those of the chunk ${id}`);
    onBytes(bytes.length);
    await pin.put(id, bytes);
  };
  await source.chunks(wanted, take, signal);
  if (waiting.size > 0) throw wrong(`${waiting.size} chunks less than it was asked for`);
  return absent;
}

function wrong(what: string): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "follow", message: `the source sent ${what}`, retryable: true });
}
