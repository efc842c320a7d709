/**
 * Chunks that were found damaged or missing, until somebody who still has them gives them back: the hub that a space
 * follows, a hub that follows it (which is asked when it asks, see following.ts), or an agent whose file is made of them.
 * What was lost is remembered over restarts; every byte that comes back is checked against its SHA-256.
 */
import type { FollowStore, LostChunk } from "#hub/followers/follow-store.ts";
import { putBack, readOrNothing } from "#hub/followers/following.ts";
import type { FollowSource } from "#hub/followers/source.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { Space, SpaceId, Version } from "#hub/space.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import { decodeName } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import { type ChunkId, type ContentId, chunkIdOf } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** What nobody could give back is asked for again. */
const ROUND_EVERY_MS = 5 * 60_000;
/** Lost chunks looked at together. */
const PAGE = 256;
/** Places of the same content that are asked about. */
const PLACES_MAX = 8;

/** Bytes of a file as some agent has it. */
export interface AgentFiles {
  /** @returns undefined when no agent that is here has that version, or none answers */
  read(
    space: Space,
    version: Version,
    part: { readonly position: number; readonly length: number; readonly id: ChunkId },
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined>;
}

export type ChunkRepairOptions = {
  readonly store: FollowStore;
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly clock: Clock;
  /** Of a space that follows another hub. */
  readonly sourceOf: (space: SpaceId) => FollowSource | undefined;
  readonly agents: AgentFiles | undefined;
  /** Something was lost: whoever follows may have it. */
  readonly onLost: () => void;
  readonly log: (level: "info" | "error", message: string, fields: Readonly<Record<string, unknown>>) => void;
};

export class ChunkRepair {
  readonly id = "chunk-repair";
  readonly #options: ChunkRepairOptions;
  #healed = 0;
  /** Known to be damaged, and written down as far as a version needs them. */
  readonly #noted = new Set<ChunkId>();
  #wake = Promise.withResolvers<void>();

  constructor(options: ChunkRepairOptions) {
    this.#options = options;
  }

  /** Since the hub began. */
  get healed(): number {
    return this.#healed;
  }

  /** One came back by itself: a follower gave it. */
  noteHealed(id: ChunkId): void {
    this.#healed++;
    this.#options.log("info", "lost chunk was given back", { chunk: id });
  }

  /** What a scrub has found damaged. Those that no version refers to are let go. Tried soon. */
  async lost(damaged: readonly ChunkId[]): Promise<void> {
    if (damaged.length === 0) return;
    await this.#note(damaged);
    this.#wake.resolve();
  }

  async #note(damaged: readonly ChunkId[]): Promise<void> {
    const { store, clock, log } = this.#options;
    const known = await store.contentsWith(damaged);
    await store.lose(known, clock.nowMs());
    for (const id of damaged) this.#noted.add(id);
    log("error", "chunks are damaged", { damaged: damaged.length, referred: known.length, first: damaged[0] });
    this.#options.onLost();
  }

  /**
   * Who reads a file and finds damage cannot say so here, and what a scrub said may have been refused by the disk, or cut off:
   * no scrub finds it again, because what is damaged counts as absent.
   */
  async #noteOthers(): Promise<void> {
    const damaged = new Set(this.#options.chunks.knownDamaged());
    for (const id of this.#noted) if (!damaged.has(id)) this.#noted.delete(id);
    const news = [...damaged].filter((id) => !this.#noted.has(id));
    if (news.length > 0) await this.#note(news);
  }

  /** Rounds until aborted: at the start, when something was lost, and every ROUND_EVERY_MS. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      // First, so that what is lost while a round runs is not slept over.
      this.#wake = Promise.withResolvers();
      try {
        const { healed, left } = await this.round(signal);
        if (healed > 0) log("info", "lost chunks were repaired", { healed, left });
        if (left > 0) log("error", "lost chunks could not be repaired", { left });
      } catch (error) {
        if (signal.aborted) return;
        log("error", "repair failed", { error: messageOf(error) });
      }
      const woken = new AbortController();
      const late = clock.sleep(ROUND_EVERY_MS, AbortSignal.any([signal, woken.signal])).catch(() => undefined);
      await Promise.race([late, this.#wake.promise]);
      woken.abort();
    }
  }

  /** Asks everybody, once. @throws {SynclineError} DISK */
  async round(signal: AbortSignal): Promise<{ healed: number; left: number }> {
    const { store } = this.#options;
    await this.#noteOthers();
    let healed = 0;
    let left = 0;
    for (let after: ChunkId | undefined; ; ) {
      const page = await store.lost(after, PAGE);
      for (const lost of page) {
        signal.throwIfAborted();
        if (await this.#isBack(lost, signal)) healed++;
        else left++;
      }
      if (page.length < PAGE) break;
      after = page.at(-1)!.id;
    }
    this.#healed += healed;
    return { healed, left };
  }

  /** Also true of one that is there again, or that nobody needs any more. */
  async #isBack(lost: LostChunk, signal: AbortSignal): Promise<boolean> {
    const { store, chunks, meta } = this.#options;
    // Read, because after a restart only that tells a damaged one.
    if ((await readOrNothing(chunks, lost.id)) !== undefined) {
      await store.found([lost.id]);
      return true;
    }
    const manifest = (await store.manifests([lost.content])).get(lost.content);
    for (const space of await meta.spaces()) {
      if (!(await store.refers(space.id, lost.content))) continue;
      const bytes = await this.#fromSource(space, lost, signal);
      if (bytes !== undefined) return this.#put(lost, bytes);
    }
    const bytes = await this.#fromAgents(lost, manifest, signal);
    return bytes !== undefined && this.#put(lost, bytes);
  }

  async #put({ id }: LostChunk, bytes: Uint8Array): Promise<boolean> {
    await putBack(this.#options.chunks, id, bytes);
    await this.#options.store.found([id]);
    return true;
  }

  async #fromSource({ id }: Space, lost: LostChunk, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const source = this.#options.sourceOf(id);
    if (source === undefined) return undefined;
    let found: Uint8Array | undefined;
    const take = async (_id: ChunkId, bytes: Uint8Array | undefined): Promise<void> => void (found = bytes);
    return this.#tried(async () => {
      await source.chunks([{ content: lost.content, chunks: [lost.id] }], take, signal);
      return rightBytes(lost.id, found);
    }, signal);
  }

  async #fromAgents(lost: LostChunk, manifest: Manifest | undefined, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const { store, meta, agents } = this.#options;
    if (agents === undefined) return undefined;
    for (const { space: id, path } of await store.placesOf(lost.content, PLACES_MAX)) {
      const space = await meta.space(id);
      const version = await meta.version(id, decodeName(path));
      if (space === undefined || version?.content?.id !== lost.content) continue;
      const part = partOf(lost, manifest, version.content);
      const bytes = await this.#tried(async () => rightBytes(lost.id, await agents.read(space, version, part, signal)), signal);
      if (bytes !== undefined) return bytes;
    }
    return undefined;
  }

  /** Whoever cannot answer stops none of the others. */
  async #tried(ask: () => Promise<Uint8Array | undefined>, signal: AbortSignal): Promise<Uint8Array | undefined> {
    try {
      return await ask();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SynclineError && error.code !== "DISK") return undefined;
      throw error;
    }
  }
}

function rightBytes(id: ChunkId, bytes: Uint8Array | undefined): Uint8Array | undefined {
  return bytes !== undefined && chunkIdOf(bytes) === id ? bytes : undefined;
}

function partOf({ id }: LostChunk, manifest: Manifest | undefined, content: { id: ContentId; size: number }) {
  let position = 0;
  for (const chunk of manifest?.chunks ?? []) {
    if (chunk.id === id) return { position, length: chunk.length, id };
    position += chunk.length;
  }
  return { position: 0, length: content.size, id };
}
