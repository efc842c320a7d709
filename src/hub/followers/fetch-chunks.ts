/**
 * Brings the chunks that records refer to from another hub into the store: those that are not here, and those that are
 * here by other spaces alone (own-chunks.ts), so that nobody has bytes of which he knows only the id.
 */
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

export type Fetching = {
  readonly source: FollowSource;
  readonly pin: Pin;
  /** Chunks that the copy has a right to. */
  readonly own: ReadonlySet<ChunkId>;
  readonly onBytes: (count: number) => void;
  /** Told after each request of what came; the next one waits for it. */
  readonly onReceived: (chunks: readonly ChunkId[]) => Promise<void>;
};

/**
 * Durable are they after the pin's flush. Memory: the ids of one page, and one chunk.
 * @returns what the source does not have either, and is not here
 * @throws {SynclineError} CHUNK_MISSING (retryable) when the source cannot show a chunk that other spaces have here
 */
export async function fetchChunks(
  fetching: Fetching,
  records: readonly JournalRecord[],
  manifests: ReadonlyMap<ContentId, Manifest>,
  signal: AbortSignal,
): Promise<LostChunk[]> {
  const { pin, own } = fetching;
  const absent: LostChunk[] = [];
  let batch: Needed[] = [];
  let bytes = 0;
  for (const needed of missing(pin, own, neededBy(records, manifests))) {
    if (batch.length > 0 && (batch.length >= CHUNKS_MAX || bytes + needed.length > CHUNK_REQUEST_BYTES)) {
      absent.push(...(await fetchBatch(fetching, batch, signal)));
      batch = [];
      bytes = 0;
    }
    batch.push(needed);
    bytes += needed.length;
  }
  if (batch.length > 0) absent.push(...(await fetchBatch(fetching, batch, signal)));
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

function* missing(pin: Pin, own: ReadonlySet<ChunkId>, needed: Iterable<Needed>): Generator<Needed> {
  let some: Needed[] = [];
  const look = function* (): Generator<Needed> {
    const found = pin.has(some.map(({ id }) => id));
    yield* some.filter(({ id }, at) => !found[at] || !own.has(id));
    some = [];
  };
  for (const one of needed) {
    some.push(one);
    if (some.length >= LOOK_MAX) yield* look();
  }
  yield* look();
}

async function fetchBatch(
  { source, pin, own, onBytes, onReceived }: Fetching,
  batch: readonly Needed[],
  signal: AbortSignal,
): Promise<LostChunk[]> {
  const waiting = new Map(batch.map((one) => [one.id, one]));
  const absent: LostChunk[] = [];
  const received: ChunkId[] = [];
  const wanted: WantedContent[] = [...Map.groupBy(batch, ({ content }) => content)].map(([content, chunks]) => ({
    content,
    chunks: chunks.map(({ id }) => id),
  }));
  const take = async (id: ChunkId, bytes: Uint8Array | undefined): Promise<void> => {
    const needed = waiting.get(id);
    waiting.delete(id);
    if (needed === undefined) throw wrong(`the chunk ${id}, which nobody asked for`);
    if (bytes === undefined) {
      if (!own.has(id) && pin.has([id])[0] === true) throw notShown();
      absent.push({ id, content: needed.content });
      return;
    }
    if (chunkIdOf(bytes) !== id) throw wrong(`other bytes than those of the chunk ${id}`);
    onBytes(bytes.length);
    await pin.put(id, bytes);
    received.push(id);
  };
  try {
    await source.chunks(wanted, take, signal);
  } finally {
    await onReceived(received);
  }
  if (waiting.size > 0) throw wrong(`${waiting.size} chunks less than it was asked for`);
  return absent;
}

function notShown(): SynclineError {
  const message = "the source does not have some content that its journal names, and what other spaces have here is not taken for it";
  const hint = "syncline hub check --deep there finds it; the copy goes on when the source has it again";
  return new SynclineError({ code: "CHUNK_MISSING", op: "follow", message, hint, retryable: true });
}

function wrong(what: string): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "follow", message: `the source sent ${what}`, retryable: true });
}
