/**
 * Keeps one space the same as its source on another hub. Everything it has done is at rest: a round begins with the
 * sequence that the space has, so that it goes on after any crash where the last durable page ended.
 *
 * A page: chunks that are missing come first and are made durable, then the rows that refer to them. Settings and restore
 * points are taken over whenever they are others. When it has caught up, and from time to time, both trees are compared by
 * digests; what differs is located, what is here alone is kept aside, and the source's versions take its place.
 */
import type { FollowStore, LostChunk, PastLineage } from "#hub/followers/follow-store.ts";
import { type Comparison, type PathDifference, compareTrees } from "#hub/followers/compare.ts";
import { fetchChunks, requireLengths } from "#hub/followers/fetch-chunks.ts";
import { readOrNothing } from "#hub/followers/following.ts";
import { keepAside } from "#hub/followers/keep-aside.ts";
import { isOwnChunk, ownChunks } from "#hub/followers/own-chunks.ts";
import { type FollowSource, SEQUENCES_MAX, type SourcePage, WAIT_MS_MAX, WANTED_MAX } from "#hub/followers/source.ts";
import type { SpaceDigests } from "#hub/followers/space-digest.ts";
import type { HubSpaces } from "#hub/hub-spaces.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { JournalRecord, Space, SpaceId } from "#hub/space.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type { ChunkStore, Pin } from "#store/chunk-store.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** After a failure: doubles from the first to the longest. */
const RETRY_FIRST_MS = 1000;
const RETRY_LONGEST_MS = 60_000;
/** How often the trees are compared while nothing is wrong. */
export const COMPARE_EVERY_MS = 10 * 60_000;
/** How often old content is let go of as the source has. */
const FORGET_EVERY_MS = 3_600_000;
/** Versions that one repair takes over: all in one transaction, so that they are taken over as a whole or not at all. */
const REPAIR_RECORDS_MAX = 100_000;
/** Comparisons in a row that may find something; then a person has to look. */
const REPAIRS_MAX = 3;
/** Codes with which a repair is refused: the same would come of it at once. */
const REFUSALS: ReadonlySet<string> = new Set(["HALT", "LIMIT", "PROTOCOL"]);
/** Between two questions to a source that is to wait for news and does not. */
const ASK_AGAIN_MS = 1000;
/** A space that is behind for longer is not shown as well. */
export const FOLLOW_BEHIND_MS = 30_000;

/**
 * `starting`: the source has not answered yet · `catching-up` · `following`: all of it is here, as far as the source said
 * last · `retrying`: the source does not answer · `diverged`: it differs and could not be repaired · `halted`: the source
 * is no longer what was followed, a person decides · `stopped`: by hand.
 */
export type FollowPhase = "starting" | "catching-up" | "following" | "retrying" | "diverged" | "halted" | "stopped";

export type FollowTrouble = { readonly code: string; readonly message: string; readonly hint: string | undefined };

export type FollowState = {
  readonly phase: FollowPhase;
  /** What the source said last; undefined: nothing since the hub began. */
  readonly sourceSequence: number | undefined;
  /** Monotonic milliseconds of its last answer, and of the last moment in which nothing was lacking. */
  readonly heardMono: number | undefined;
  readonly wholeMono: number | undefined;
  /** The sequence of the last comparison that found both the same. */
  readonly sameAt: number | undefined;
  /** Paths that were found to differ since the hub began; repaired ones too. */
  readonly differed: number;
  readonly fetchedBytes: number;
  readonly trouble: FollowTrouble | undefined;
};

export type FollowerOptions = {
  readonly space: SpaceId;
  /** Whose content counts as the copy's own, too. */
  readonly shares?: SpaceId | undefined;
  readonly quotaBytes?: number | undefined;
  readonly source: FollowSource;
  readonly spaces: HubSpaces;
  readonly meta: MetaStore;
  readonly store: FollowStore;
  readonly digests: SpaceDigests;
  readonly chunks: ChunkStore;
  readonly clock: Clock;
  readonly log: (level: "info" | "error", message: string, fields: Readonly<Record<string, unknown>>) => void;
};

export class Follower {
  readonly #options: FollowerOptions;
  #tag: string;
  #state: FollowState = {
    phase: "starting", sourceSequence: undefined, heardMono: undefined, wholeMono: undefined, sameAt: undefined,
    differed: 0, fetchedBytes: 0, trouble: undefined,
  };
  #comparedMono = Number.NEGATIVE_INFINITY;
  #forgotMono: number;
  #repairs = 0;
  /** A repair that was refused, and when. */
  #refused: { readonly error: SynclineError; readonly atMono: number } | undefined;
  /** Of a source that has come to fewer marks than there are here: to how many, when all of them were taken over. */
  #allMarksOf: number | undefined;

  /** @param tag of the settings that are here */
  constructor(options: FollowerOptions, tag: string) {
    this.#options = options;
    this.#tag = tag;
    this.#forgotMono = options.clock.monotonicMs();
  }

  get state(): FollowState {
    return this.#state;
  }

  #say(change: Partial<FollowState>): void {
    this.#state = { ...this.#state, ...change };
  }

  /** Until aborted, whatever happens to the source. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    let failures = 0;
    let told = "";
    while (!signal.aborted) {
      const askedMono = clock.monotonicMs();
      const before = this.#state;
      try {
        await this.round(signal);
        failures = 0;
        told = "";
        // Nothing new, and no time has passed: whoever answers so would be asked as fast as both can.
        const { phase, sourceSequence } = this.#state;
        const isIdle = before.phase === "following" && phase === "following" && before.sourceSequence === sourceSequence;
        const restMs = askedMono + ASK_AGAIN_MS - clock.monotonicMs();
        if (isIdle && restMs > 0) await clock.sleep(restMs, signal).catch(() => undefined);
      } catch (error) {
        if (signal.aborted) return;
        const trouble = troubleOf(error);
        // One line for one trouble, however long it lasts.
        if (trouble.message !== told) log("error", "space cannot be followed", { ...this.#named(), ...trouble });
        told = trouble.message;
        this.#say({ phase: trouble.code === "HALT" ? "halted" : "retrying", trouble });
        const delayMs = Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** Math.min(failures++, 16));
        await clock.sleep(delayMs, signal).catch(() => undefined);
      }
    }
  }

  #named(): { space: SpaceId } {
    return { space: this.#options.space };
  }

  async #space(): Promise<Space> {
    const space = await this.#options.meta.space(this.#options.space);
    if (space !== undefined && space.deletedMs === undefined) return space;
    throw new SynclineError({ code: "SPACE_UNKNOWN", op: "follow", message: "the space that follows has been removed" });
  }

  /** One question to the source and all that follows from its answer. @throws what went wrong; nothing is lost by it */
  async round(signal: AbortSignal): Promise<void> {
    const { source, clock } = this.#options;
    const space = await this.#space();
    const isCaughtUp = this.#state.phase === "following" || this.#state.phase === "diverged";
    const page = await source.page(space.sequence, isCaughtUp ? WAIT_MS_MAX : 0, signal);
    const now = clock.monotonicMs();
    this.#say({ sourceSequence: page.sequence, heardMono: now });
    if (page.lineage !== space.lineage) return this.#otherLineage(space, signal);
    if (page.sequence < space.sequence) throw wentBack(space, page.sequence);
    if (page.tag !== this.#tag) await this.#takeFacts(signal);
    for (const lost of page.wanted.slice(0, WANTED_MAX)) {
      // Whoever could have any chunk for its id would read what other spaces have.
      const isTheirs = await isOwnChunk(this.#options.store, this.#options, lost);
      const bytes = isTheirs ? await readOrNothing(this.#options.chunks, lost.id) : undefined;
      if (bytes !== undefined) await source.give(lost.id, bytes, signal);
    }
    if (page.records.length > 0) return this.#takePage(space, page, signal);
    if (page.marks !== undefined && page.sequence === space.sequence) await this.#takeMarks(space, page.marks, signal);
    if (page.sequence > space.sequence) throw noRecords(space, page.sequence);
    this.#say({ wholeMono: now, trouble: undefined, ...(isCaughtUp ? {} : { phase: "following" }) });
    if (!isCaughtUp || now - this.#comparedMono >= COMPARE_EVERY_MS) await this.#compare(space, signal);
    if (now - this.#forgotMono >= FORGET_EVERY_MS) await this.forget(signal);
  }

  /** The source lives another life: the same one that this space has lived, or one that has lost some of it. */
  async #otherLineage(space: Space, signal: AbortSignal): Promise<void> {
    const { source, store, spaces, log } = this.#options;
    const facts = await source.facts(signal);
    const shared = sharedSequence({ ...space, past: await store.pastLineages(space.id) }, facts);
    if (shared === undefined || shared < space.sequence) throw otherLife(space, shared);
    await store.adopt(space.id, facts.lineage, facts.past);
    await spaces.changedOutside(space.id);
    log("info", "source lives another lineage, which has all that is here", { ...this.#named(), lineage: facts.lineage });
  }

  async #takeFacts(signal: AbortSignal): Promise<void> {
    const { source, store, spaces, space } = this.#options;
    const { settings, points, tag } = await source.facts(signal);
    await store.saveFacts(space, settings, points, tag);
    await spaces.changedOutside(space);
    this.#tag = tag;
  }

  /** Locks, and which versions were purged; with nothing else lacking. */
  async #takeMarks(space: Space, last: number, signal: AbortSignal): Promise<void> {
    const { source, store, clock } = this.#options;
    let after = await store.lastMark(space.id);
    // The source was put back to a time before the last: all of them once more, and what is here already changes nothing.
    const areAll = after > last;
    if (after === last || (areAll && this.#allMarksOf === last)) return;
    if (areAll) after = 0;
    for (;;) {
      signal.throwIfAborted();
      const page = await source.marks(after, signal);
      if (page.marks.length === 0) {
        // Not before: who is cut off in between begins again.
        if (areAll) this.#allMarksOf = last;
        return;
      }
      // They are about changes that are not here yet: the next round brings those.
      if (page.sequence > space.sequence) return;
      await store.applyMarks(space.id, page.marks, clock.nowMs());
      const next = page.marks.at(-1)!.number;
      if (next <= after) throw noMarks(space, next);
      after = next;
    }
  }

  async #takePage(space: Space, first: SourcePage, signal: AbortSignal): Promise<void> {
    const { chunks, store, spaces, source, clock } = this.#options;
    if (first.sequence > space.sequence + first.records.length) this.#say({ phase: "catching-up" });
    using pin = chunks.pin();
    let page = first;
    let absent = await this.#fetch(page, pin, signal);
    if (absent.length > 0) {
      // Retention may have dropped them at the source since it read the page; then the records say so now.
      page = await source.page(space.sequence, 0, signal);
      absent = await this.#fetch(page, pin, signal);
    }
    await pin.flush();
    if (absent.length > 0) await this.#noteAbsent(absent);
    const { lineage, records, manifests } = page;
    try {
      const isWhole = records.at(-1)?.sequence === page.sequence;
      const { quotaBytes } = this.#options;
      await store.importJournal(space.id, { lineage, after: space.sequence, records, manifests, isWhole, quotaBytes });
    } catch (error) {
      const isMisfit = error instanceof SynclineError && error.code === "HALT" && error.path !== undefined;
      if (!isMisfit) throw error;
      return this.#misfits(space, error.path!, signal);
    }
    await spaces.changedOutside(space.id, space.sequence);
    if (records.at(-1)?.sequence === page.sequence) this.#say({ wholeMono: clock.monotonicMs() });
  }

  async #fetch({ records, manifests }: Pick<SourcePage, "records" | "manifests">, pin: Pin, signal: AbortSignal) {
    const { source, chunks, store } = this.#options;
    const onBytes = (count: number): void => this.#say({ fetchedBytes: this.#state.fetchedBytes + count });
    const onReceived = (ids: readonly ChunkId[]): Promise<void> => store.receive(this.#options.space, ids);
    const own = await ownChunks(store, this.#options, records, manifests);
    const absent = await fetchChunks({ source, pin, own, onBytes, onReceived }, records, manifests, signal);
    requireLengths(chunks, records, manifests);
    return absent;
  }

  /** The source has lost them itself. The journal goes on; whoever finds them again gives them back. */
  async #noteAbsent(absent: readonly LostChunk[]): Promise<void> {
    const { store, clock, log } = this.#options;
    await store.lose(absent, clock.nowMs());
    log("error", "chunks are missing at the source", { ...this.#named(), chunks: absent.length, first: absent[0]!.id });
  }

  // ---------------------------------------------------------------- comparison

  /** Compares now. Resolves with what was found before the repair. */
  async compareNow(signal: AbortSignal): Promise<Comparison> {
    return this.#look(await this.#space(), signal);
  }

  #look(space: Space, signal: AbortSignal): Promise<Comparison> {
    const { source, digests } = this.#options;
    const at = space.sequence;
    return digests.at(space.id, at, (view) =>
      compareTrees(view, async (range, detail) => {
        signal.throwIfAborted();
        const answer = await source.digest(at, range, detail, signal);
        if (answer.lineage !== space.lineage) throw otherLife(space, undefined);
        return answer;
      }),
    );
  }

  async #compare(space: Space, signal: AbortSignal): Promise<void> {
    const found = await this.#look(space, signal);
    this.#comparedMono = this.#options.clock.monotonicMs();
    if (found.differences.length > 0) return this.#differs(space, found, signal);
    this.#repairs = 0;
    this.#refused = undefined;
    this.#say({ sameAt: space.sequence, phase: "following" });
  }

  /** A record does not fit what is here at its path: there, and perhaps elsewhere. Only all of it together is a tree. */
  async #misfits(space: Space, path: string, signal: AbortSignal): Promise<void> {
    this.#options.digests.forget(space.id);
    const found = await this.#look(space, signal);
    const misfit = { path, here: { path, sequence: space.sequence, digest: "" }, there: undefined };
    const isAmong = found.differences.some((one) => one.path === path);
    await this.#differs(space, isAmong ? found : { ...found, differences: [...found.differences, misfit] }, signal);
  }

  /** Told, and taken over from the source. */
  async #differs(space: Space, { differences, isWhole }: Comparison, signal: AbortSignal): Promise<void> {
    const { log, clock } = this.#options;
    const first = differences.slice(0, 10).map(({ path }) => path);
    const told = { ...this.#named(), sequence: space.sequence, paths: differences.length, first };
    const now = clock.monotonicMs();
    // What a person has to see to is tried again as seldom as both are compared.
    if (this.#refused !== undefined && now - this.#refused.atMono < COMPARE_EVERY_MS) throw this.#refused.error;
    log("error", "space differs from its source", told);
    this.#say({ phase: "diverged", differed: this.#state.differed + differences.length });
    if (this.#repairs >= REPAIRS_MAX) throw cannotRepair(space, differences);
    if (!isWhole) throw this.#refusal(tooDifferent(space, `more than ${differences.length} paths`));
    await this.#repair(space, differences, signal);
    this.#repairs++;
    this.#refused = undefined;
    // Looked at again at once: only what is the same is well.
    this.#comparedMono = Number.NEGATIVE_INFINITY;
  }

  #refusal(error: unknown): unknown {
    if (error instanceof SynclineError && REFUSALS.has(error.code)) {
      this.#refused = { error, atMono: this.#options.clock.monotonicMs() };
    }
    return error;
  }

  /** As a whole, or not at all. */
  async #repair(space: Space, differences: readonly PathDifference[], signal: AbortSignal): Promise<void> {
    const { chunks, store, spaces, digests, clock, log } = this.#options;
    const records: JournalRecord[] = [];
    const manifests = new Map<ContentId, Manifest>();
    for (const { path } of differences) {
      await this.#history(space, path, records, manifests, signal);
      if (records.length > REPAIR_RECORDS_MAX) throw this.#refusal(tooDifferent(space, `more than ${REPAIR_RECORDS_MAX} versions`));
    }
    const given = { lineage: space.lineage, paths: differences.map(({ path }) => path), records };
    // Before anything is brought for it, or kept aside.
    await store.replaceHistory(space.id, given, manifests, clock.nowMs(), true).catch((error: unknown) => {
      throw this.#refusal(error);
    });
    const kept = await keepAside(this.#options, space, differences, records);
    using pin = chunks.pin();
    const absent = await this.#fetch({ records, manifests }, pin, signal);
    await pin.flush();
    if (absent.length > 0) await this.#noteAbsent(absent);
    await store.replaceHistory(space.id, given, manifests, clock.nowMs(), false);
    log("info", "paths were taken over from the source", { ...this.#named(), paths: differences.length, kept });
    digests.forget(space.id);
    await spaces.changedOutside(space.id);
  }

  async #history(
    space: Space,
    path: string,
    records: JournalRecord[],
    manifests: Map<ContentId, Manifest>,
    signal: AbortSignal,
  ): Promise<void> {
    for (let after = 0; ; ) {
      const page = await this.#options.source.history(path, after, space.sequence, signal);
      if (page.records.length === 0) return;
      for (const record of page.records) {
        // Whoever answers the same again and again would be asked for ever.
        const isNext = record.path === path && record.sequence > after && record.sequence <= space.sequence;
        if (!isNext) throw notAskedFor(record, path);
        records.push(record);
        after = record.sequence;
      }
      for (const [id, manifest] of page.manifests) manifests.set(id, manifest);
    }
  }

  /** Old versions lose their content here when they have lost it there. */
  async forget(signal: AbortSignal): Promise<number> {
    const { source, store, clock, space } = this.#options;
    this.#forgotMono = clock.monotonicMs();
    return store.expireAsSource(space, clock.nowMs(), async (sequences) => {
      const gone = new Set<number>();
      for (let at = 0; at < sequences.length; at += SEQUENCES_MAX) {
        for (const one of await source.dropped(sequences.slice(at, at + SEQUENCES_MAX), signal)) gone.add(one);
      }
      return gone;
    });
  }
}

/** A space with the lives it has had. */
export type Lived = { readonly lineage: string; readonly sequence: number; readonly past: readonly PastLineage[] };

/** Up to which sequence two spaces have lived the same life; undefined: never. */
export function sharedSequence(one: Lived, other: Lived): number | undefined {
  const lives = ({ lineage, sequence, past }: Lived): PastLineage[] => [...past, { lineage, sequence }];
  const there = new Map(lives(other).map(({ lineage, sequence }) => [lineage, sequence]));
  let shared: number | undefined;
  for (const { lineage, sequence } of lives(one)) {
    const also = there.get(lineage);
    if (also !== undefined) shared = Math.max(shared ?? 0, Math.min(sequence, also));
  }
  return shared;
}

function troubleOf(error: unknown): FollowTrouble {
  if (error instanceof SynclineError) return { code: error.code, message: error.message, hint: error.hint };
  return { code: "INTERNAL", message: messageOf(error), hint: undefined };
}

function otherLife({ name, sequence }: Space, shared: number | undefined): SynclineError {
  const message =
    shared === undefined
      ? `the source of "${name}" is another space than the one that was followed`
      : `the source of "${name}" was put back to ${shared}; this copy is at ${sequence} and has changes that the source has lost`;
  const hint =
    `make this copy the one that is written to: syncline space promote ${name}; or take the source as it is now, ` +
    `with this copy kept aside: syncline space follow ${name} --from URL`;
  return new SynclineError({ code: "HALT", op: "follow", message, hint });
}

function wentBack({ name, sequence }: Space, there: number): SynclineError {
  return new SynclineError({
    code: "HALT",
    op: "follow",
    message: `the source of "${name}" is at ${there}, before the ${sequence} that it gave earlier: its database was put back`,
    hint: `restore it with syncline hub restore, or make this copy the one that is written to: syncline space promote ${name}`,
  });
}

function noRecords({ name }: Space, sequence: number): SynclineError {
  const message = `the source of "${name}" says that it is at ${sequence} and gives no records`;
  return new SynclineError({ code: "PROTOCOL", op: "follow", message, retryable: true });
}

function noMarks({ name }: Space, number: number): SynclineError {
  const message = `the source of "${name}" gives the mark ${number} again`;
  return new SynclineError({ code: "PROTOCOL", op: "follow", message, retryable: true });
}

function notAskedFor({ path, sequence }: JournalRecord, asked: string): SynclineError {
  const message = `asked for the history of "${printablePath(asked)}", the source gave ${sequence} of "${printablePath(path)}"`;
  return new SynclineError({ code: "PROTOCOL", op: "follow", message, retryable: true });
}

function tooDifferent({ name }: Space, what: string): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "follow",
    message: `"${name}" differs from its source by ${what}, which is no repair any more; nothing was changed`,
    hint: `take the source as it is now, with this copy kept aside: syncline space follow ${name} --from URL`,
  });
}

function cannotRepair({ name }: Space, differences: readonly PathDifference[]): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "follow",
    path: differences[0]!.path,
    message: `"${name}" differs from its source at ${differences.length} paths, and taking them over did not change that`,
    hint: "syncline hub check on both hubs shows whose database is damaged",
  });
}
