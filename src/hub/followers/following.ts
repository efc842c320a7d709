/** What this hub tells those who follow its spaces: whoever may read all of a space may follow it. */
import type { Access, Principal } from "#access/access.ts";
import { attributesBytes } from "#hub/attributes.ts";
import type { FollowStore } from "#hub/followers/follow-store.ts";
import { answerOf } from "#hub/followers/compare.ts";
import {
  CHUNKS_MAX,
  type DigestAnswer,
  PAGE_RECORDS_MAX,
  type PathRange,
  SEQUENCES_MAX,
  type SourceFacts,
  type SourceMarks,
  type SourcePage,
  WAIT_MS_MAX,
  WANTED_MAX,
  type WantedContent,
} from "#hub/followers/source.ts";
import type { SpaceDigests } from "#hub/followers/space-digest.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { JournalRecord, Space } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import { type ChunkId, type ContentId, chunkIdOf } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** Followers whose place is remembered. */
const FOLLOWERS_MAX = 1000;
/** Chunks that all manifests of one page name together; a single one may name more. */
const PAGE_CHUNKS_MAX = 100_000;
/** Of the attributes of one page. */
const PAGE_ATTRIBUTES_BYTES_MAX = 8 << 20;

export type FollowingOptions = {
  readonly spaces: SpaceService;
  readonly meta: MetaStore;
  readonly store: FollowStore;
  readonly digests: SpaceDigests;
  readonly chunks: ChunkStore;
  readonly access: Access;
  readonly clock: Clock;
  /** A lost chunk was given back. */
  readonly onHealed: (id: ChunkId) => void;
};

/** Who follows a space: how far they have it, and when they last asked (monotonic milliseconds). */
export type SpaceFollower = { readonly who: string; readonly sequence: number; readonly askedMono: number };

export class Following {
  readonly #options: FollowingOptions;
  /** "space who" → how far. In memory: who does not ask does not follow. */
  readonly #followers = new Map<string, SpaceFollower & { readonly space: string }>();

  #asked = Promise.withResolvers<void>();

  constructor(options: FollowingOptions) {
    this.#options = options;
  }

  /** Chunks were lost: those who wait for news are answered now, and asked for them with it. */
  askFollowers(): void {
    this.#asked.resolve();
    this.#asked = Promise.withResolvers();
  }

  /** Those that have asked since the hub began, by space. */
  followers(): (SpaceFollower & { readonly space: string })[] {
    return [...this.#followers.values()];
  }

  async #space(who: Principal, name: string): Promise<Space> {
    const { access, spaces } = this.#options;
    access.require(who, "read", { type: "space", space: name, path: "", isTree: true });
    return spaces.space(who, name);
  }

  /** @throws {SynclineError} DENIED, SPACE_UNKNOWN; so do all others */
  async facts(who: Principal, name: string): Promise<SourceFacts> {
    const space = await this.#space(who, name);
    const { store, meta } = this.#options;
    const { lineage, sequence, seeds, settings } = space;
    const points = (await meta.restorePoints(space.id)).map(({ space: _space, ...point }) => point);
    const past = await store.pastLineages(space.id);
    return { hubId: store.hubId, lineage, sequence, past, seeds, settings, points, tag: tagOf(space, points) };
  }

  /** Waits up to `waitMs` while there is nothing after `after`. */
  async page(who: Principal, name: string, after: number, waitMs: number, signal: AbortSignal): Promise<SourcePage> {
    const { store, meta, clock } = this.#options;
    const space = await this.#spaceWithNews(who, name, after, Math.min(waitMs, WAIT_MS_MAX), signal);
    const limit = Math.min(PAGE_RECORDS_MAX, space.sequence - after);
    const read = limit <= 0 ? [] : await meta.journal(space.id, after, limit);
    const { records, manifests } = await this.#withManifests(wholeCommits(read, space.sequence));
    const points = await meta.restorePoints(space.id);
    const key = `${name} ${who.id}`;
    if (this.#followers.size >= FOLLOWERS_MAX && !this.#followers.has(key)) this.#followers.clear();
    this.#followers.set(key, { space: name, who: who.id, sequence: after, askedMono: clock.monotonicMs() });
    const wanted = await store.lostIn(space.id, WANTED_MAX);
    const { lineage, sequence } = space;
    const marks = (await store.lastMark(space.id)) || undefined;
    return { lineage, sequence, tag: tagOf(space, points), records, manifests, wanted, ...(marks === undefined ? {} : { marks }) };
  }

  async #spaceWithNews(who: Principal, name: string, after: number, waitMs: number, signal: AbortSignal): Promise<Space> {
    const { spaces, clock } = this.#options;
    if (waitMs <= 0) return this.#space(who, name);
    const ended = new AbortController();
    const until = AbortSignal.any([ended.signal, signal]);
    const told = Promise.withResolvers<void>();
    let late: Promise<unknown> | undefined;
    // Before it is looked at: what is committed meanwhile is news as well.
    spaces.watch(name, (event) => event.after > after && told.resolve(), until);
    try {
      const space = await this.#space(who, name);
      // Whoever is ahead of it is told at once: it was put back.
      if (after !== space.sequence) return space;
      late = clock.sleep(waitMs, until).catch(() => undefined);
      await Promise.race([told.promise, late, this.#asked.promise]);
      return await this.#space(who, name);
    } finally {
      ended.abort();
      await late;
    }
  }

  /** As many of the records as have manifests and attributes for which there is room. */
  async #withManifests(records: readonly JournalRecord[]) {
    const ids = [...new Set(records.flatMap(({ content }) => content?.id ?? []))];
    const all = await this.#options.store.manifests(ids);
    const manifests = new Map<ContentId, Manifest>();
    let chunks = 0;
    let texts = 0;
    for (const [at, { content, attributes }] of records.entries()) {
      texts += attributesBytes(attributes);
      if (at > 0 && texts > PAGE_ATTRIBUTES_BYTES_MAX) return { records: records.slice(0, at), manifests };
      const manifest = content === undefined ? undefined : all.get(content.id);
      if (manifest === undefined || manifests.has(content!.id)) continue;
      chunks += manifest.chunks.length;
      if (at > 0 && chunks > PAGE_CHUNKS_MAX) return { records: records.slice(0, at), manifests };
      manifests.set(content!.id, manifest);
    }
    return { records, manifests };
  }

  /**
   * Chunks of content that some version of the space has; of anything else nothing is said.
   * @throws {SynclineError} LIMIT
   */
  async *chunks(
    who: Principal,
    name: string,
    wanted: readonly WantedContent[],
  ): AsyncGenerator<{ id: ChunkId; bytes: Uint8Array | undefined }> {
    const { store, chunks } = this.#options;
    const space = await this.#space(who, name);
    if (wanted.reduce((sum, one) => sum + one.chunks.length, 0) > CHUNKS_MAX) throw tooMany(CHUNKS_MAX, "chunks");
    for (const { content, chunks: ids } of wanted) {
      const isTheirs = await store.refers(space.id, content);
      const manifest = isTheirs ? (await store.manifests([content])).get(content) : undefined;
      const its = new Set<string>(!isTheirs ? [] : (manifest?.chunks.map(({ id }) => id) ?? [content]));
      for (const id of ids) yield { id, bytes: its.has(id) ? await readOrNothing(chunks, id) : undefined };
    }
  }

  /** @returns whether it was asked for, and is here now */
  async give(who: Principal, name: string, id: ChunkId, bytes: Uint8Array): Promise<boolean> {
    const { store, chunks, onHealed } = this.#options;
    const space = await this.#space(who, name);
    const lost = await store.lostIn(space.id, Number.MAX_SAFE_INTEGER);
    if (!lost.some((one) => one.id === id)) return false;
    await putBack(chunks, id, bytes);
    await store.found([id]);
    onHealed(id);
    return true;
  }

  async dropped(who: Principal, name: string, sequences: readonly number[]): Promise<number[]> {
    if (sequences.length > SEQUENCES_MAX) throw tooMany(SEQUENCES_MAX, "sequences");
    const { id } = await this.#space(who, name);
    return this.#options.store.dropped(id, sequences);
  }

  async marks(who: Principal, name: string, after: number): Promise<SourceMarks> {
    const { id } = await this.#space(who, name);
    // Read before the sequence: what they are about is there by then.
    const marks = await this.#options.store.marks(id, after);
    return { sequence: (await this.#space(who, name)).sequence, marks };
  }

  /** @param at undefined: now */
  async digest(who: Principal, name: string, at: number | undefined, range: PathRange, detail: boolean): Promise<DigestAnswer> {
    const { id, sequence: last, lineage } = await this.#space(who, name);
    const sequence = at ?? last;
    if (sequence > last) throw notYet(sequence, last);
    const answer = await this.#options.digests.at(id, sequence, (view) => answerOf(view, range, detail));
    return { lineage, sequence, ...answer };
  }

  async history(who: Principal, name: string, path: RelPath, after: number, until: number) {
    const { id } = await this.#space(who, name);
    return this.#withManifests(await this.#options.store.historyOf(id, path, after, until, PAGE_RECORDS_MAX));
  }
}

/** Ends with a commit, unless a single one fills all of it: nobody is shown a part of one that fits. */
function wholeCommits(records: readonly JournalRecord[], sequence: number): readonly JournalRecord[] {
  const last = records.at(-1);
  if (last === undefined || last.sequence === sequence) return records;
  const end = records.findIndex(({ commit }) => commit === last.commit);
  return end <= 0 ? records : records.slice(0, end);
}

/** Over all that a follower takes over beside the journal. */
function tagOf({ settings }: Space, points: readonly { name: string; sequence: number }[]): string {
  const text = JSON.stringify([settings, points.map(({ name, sequence }) => [name, sequence])]);
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 32);
}

export async function readOrNothing(chunks: ChunkStore, id: ChunkId): Promise<Uint8Array | undefined> {
  try {
    return await chunks.get(id);
  } catch (error) {
    const isAbsent = error instanceof SynclineError && (error.code === "CHUNK_MISSING" || error.code === "CHUNK_DAMAGED");
    if (isAbsent) return undefined;
    throw error;
  }
}

/** Durable when it resolves. @throws {SynclineError} CHUNK_DAMAGED when the bytes are not those of the id; DISK */
export async function putBack(chunks: ChunkStore, id: ChunkId, bytes: Uint8Array): Promise<void> {
  if (chunkIdOf(bytes) !== id) {
    const message = `bytes that were sent for the chunk ${id} are others`;
    throw new SynclineError({ code: "CHUNK_DAMAGED", op: "repair", message });
  }
  using pin = chunks.pin();
  await pin.put(id, bytes);
  await pin.flush();
}

function tooMany(limit: number, what: string): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "follow", message: `more than ${limit} ${what} at once` });
}

function notYet(asked: number, last: number): SynclineError {
  const message = `the space has no sequence ${asked} yet; its last is ${last}`;
  return new SynclineError({ code: "NOT_FOUND", op: "digest", message });
}
