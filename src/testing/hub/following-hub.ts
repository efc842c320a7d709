/**
 * A hub that follows the space of the simulated one: with a disk, a database and crashes of its own, over a way that can
 * be cut. What it runs is the product: Followers, Following, FollowStore, ChunkRepair.
 */
import { FollowStore } from "#hub/followers/follow-store.ts";
import { Followers, type Promoted, type Target } from "#hub/followers/followers.ts";
import { Following } from "#hub/followers/following.ts";
import { ChunkRepair } from "#hub/followers/repair.ts";
import type { FollowSource } from "#hub/followers/source.ts";
import { SpaceDigests } from "#hub/followers/space-digest.ts";
import { SynclineError } from "#model/error.ts";
import { troubleHub } from "#testing/hub/hub-trouble.ts";
import { EVERYTHING, type HubProcess, SPACE, SimHub, UNRECORDED, principal } from "#testing/hub/sim-hub.ts";
import { stateOf, unreadable } from "#testing/hub/space-oracle.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";

const WHO = principal("user", "follower");
const TARGET: Target = { url: "http://hub", source: SPACE, token: "token", ca: undefined };
/** Longest that a question or an answer is on its way. */
const WAY_MS = 40;
/** Virtual time in which a copy that nobody disturbs must be whole and compared. */
const PATIENCE_MS = 1_200_000;
const LOOK_MS = 2000;
/** Virtual time in which a copy that is asked gives what it has. */
const HEAL_MS = 60_000;
/** What nothing that happens in a simulation may lead to. */
const BREACHES = ["INTERNAL", "PROTOCOL", "STATE", "HALT", "EXISTS"];

const never = new AbortController().signal;

/** What a process of a hub has for others. */
type Between = { readonly store: FollowStore; readonly digests: SpaceDigests; readonly following: Following };
const BETWEEN = new WeakMap<HubProcess, Between>();

function betweenOf(process: HubProcess): Between {
  const known = BETWEEN.get(process);
  if (known !== undefined) return known;
  const { spaces, meta, chunks, boot, database } = process;
  const store = new FollowStore(database, meta.hubId);
  const digests = new SpaceDigests(store);
  const parts = { spaces, meta, chunks, store, digests, access: EVERYTHING, clock: boot.clock };
  const made = { store, digests, following: new Following({ ...parts, onHealed: () => undefined }) };
  BETWEEN.set(process, made);
  return made;
}

export class FollowingHub {
  readonly hub: SimHub;
  /** Nothing gets through. */
  isCut = false;
  readonly breaches: unknown[] = [];
  /** The source came back from a backup: a copy that has more than that does not go on by itself. */
  mayHalt = false;
  readonly #source: SimHub;
  readonly #clock: SimClock;
  readonly #random: SimRandom;
  readonly #say: (line: string) => void;
  #followers: Followers | undefined;
  #isFollowing = false;
  /** The copy was promoted: it follows nobody any more. */
  isPromoted = false;

  constructor(source: SimHub, clock: SimClock, random: SimRandom, say: (line: string) => void) {
    this.#source = source;
    this.#clock = clock;
    this.#random = random;
    this.#say = (line) => say(`copy ${line}`);
    this.hub = new SimHub(clock, random.fork("hub"), this.#say);
    this.hub.onStarted = (process) => this.#open(process);
  }

  start(): void {
    this.hub.start();
  }

  /** As an operator who tries until it is done. */
  async follow(): Promise<void> {
    while (!this.#isFollowing) {
      await this.hub.living();
      try {
        await this.#followers?.follow(WHO, SPACE, TARGET, never);
        this.#isFollowing = true;
      } catch (error) {
        if (this.hub.process !== undefined && !isTrouble(error)) throw error;
        await this.#clock.turn(LOOK_MS);
        // It may have been done, and only the answer been lost.
        const { store } = betweenOf(await this.hub.living());
        this.#isFollowing = (await store.follows()).length > 0;
      }
    }
  }

  async #open(process: HubProcess): Promise<void> {
    const { spaces, meta, chunks, boot } = process;
    const { store, digests } = betweenOf(process);
    const options = {
      spaces, meta, chunks, store, digests, clock: boot.clock, access: EVERYTHING, audit: UNRECORDED,
      connect: () => this.#way(process),
      seal: { seal: (text: string) => Buffer.from(text), open: (sealed: Uint8Array) => Buffer.from(sealed).toString() },
      log: (_level: string, message: string, fields: Readonly<Record<string, unknown>>) => this.#note(process, message, fields),
    };
    let followers: Followers;
    try {
      followers = await Followers.open(options);
    } catch (error) {
      if (boot.fs.isDead) return;
      throw error;
    }
    this.#followers = followers;
    // What it still waits for is never answered: its host has ended.
    void process.ended.then(() => followers.close().catch(() => undefined));
  }

  #note(process: HubProcess, message: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.hub.process !== process) return;
    this.#say(`${message} ${JSON.stringify(fields)}`);
    const code = String(fields["code"]);
    const isBreach = message === "space differs from its source" || BREACHES.includes(code);
    if (isBreach && !(code === "HALT" && this.mayHalt)) this.breaches.push(new Error(`copy: ${message} ${JSON.stringify(fields)}`));
  }

  /** The source as the copy reaches it: slow, cut at times, and gone when its process is. */
  #way(copy: HubProcess): FollowSource {
    const ask = async <T>(work: (following: Following) => Promise<T>): Promise<T> => {
      await this.#travel();
      const process = this.#source.process;
      if (process === undefined) throw lost("it is down");
      const gone = process.ended.then(() => Promise.reject(lost("it has ended")));
      try {
        const answer = await Promise.race([work(betweenOf(process).following), gone]);
        await this.#travel();
        return answer;
      } catch (error) {
        if (this.#source.process !== process || error instanceof SimCrash) throw lost("it has ended");
        throw error;
      }
    };
    return {
      facts: () => ask((following) => following.facts(WHO, SPACE)),
      page: (after, waitMs, signal) => ask((following) => following.page(WHO, SPACE, after, waitMs, signal)),
      chunks: (wanted, onChunk) =>
        ask(async (following) => {
          for await (const { id, bytes } of following.chunks(WHO, SPACE, wanted)) {
            await this.#travel();
            if (copy.boot.fs.isDead) throw lost("nobody asks any more");
            await onChunk(id, bytes);
          }
        }),
      give: (id, bytes) => ask(async (following) => void (await following.give(WHO, SPACE, id, bytes))),
      dropped: (sequences) => ask((following) => following.dropped(WHO, SPACE, sequences)),
      marks: (after) => ask((following) => following.marks(WHO, SPACE, after)),
      digest: (at, range, detail) => ask((following) => following.digest(WHO, SPACE, at, range, detail)),
      history: (path, after, until) => ask((following) => following.history(WHO, SPACE, path, after, until)),
    };
  }

  async #travel(): Promise<void> {
    if (this.isCut) throw lost("the way is cut");
    await this.#clock.turn(this.#random.real() * WAY_MS);
    if (this.isCut) throw lost("the way is cut");
  }

  async restart(): Promise<void> {
    await this.hub.living();
    await this.#followers?.close();
    await this.hub.restart();
  }

  /** Nothing goes wrong any more. */
  calm(): void {
    this.isCut = false;
    this.hub.calm();
  }

  /** The source has lost chunks and says so: what the copy has of them comes back. */
  async healSource(): Promise<void> {
    await this.#whole();
    const process = await this.#source.living();
    const { meta, chunks, boot } = process;
    const { store, following } = betweenOf(process);
    const { damaged } = await chunks.scrub(undefined, Number.MAX_SAFE_INTEGER, never);
    const nobody = { sourceOf: () => undefined, agents: undefined, log: () => undefined };
    const onLost = (): void => following.askFollowers();
    await new ChunkRepair({ store, meta, chunks, clock: boot.clock, onLost, ...nobody }).lost(damaged);
    const before = await store.lostCount();
    if (before === 0) return;
    await this.#clock.turn(HEAL_MS);
    const left = await store.lost(undefined, 10_000);
    this.#say(`gave back ${before - left.length} of ${before}`);
    const copy = await this.hub.living();
    for (const { id } of left) {
      const bytes = await copy.chunks.get(id).catch(() => undefined);
      if (bytes !== undefined) throw new Error(`the copy has the chunk ${id} that its source lacks`);
    }
  }

  // ---------------------------------------------------------------- what must be true

  /** The copy is written to from now on; what it has is how the source began. */
  async promote(): Promise<Promoted> {
    const source = await stateOf(await this.#source.living());
    await this.hub.living();
    const promoted = await this.#followers!.promote(WHO, SPACE);
    this.isPromoted = true;
    const { records } = await stateOf(await this.hub.living());
    this.#say(`promoted at ${records.length} of ${source.records.length}`);
    if (this.mayHalt) return promoted;
    const began = source.records.slice(0, records.length);
    // The source may have forgotten old content since.
    const shown = records.map((one, at) => (began[at]?.content === undefined ? { ...one, content: undefined } : one));
    same(shown, began, "the promoted copy is not how its source began");
    // Acknowledged at the source and not here is only what was not followed yet; and that is told.
    const { missing } = promoted;
    if (missing !== undefined && records.length + missing > source.records.length) throw new Error("more is missing than there was");
    return promoted;
  }

  /** After its promotion: it takes changes, and is no copy of what the source has become. */
  async livesOn(): Promise<void> {
    const { spaces } = await this.hub.living();
    const before = await stateOf(await this.hub.living());
    const entry = { kind: "dir", mode: 0o755 } as const;
    const change = { type: "put", path: "promoted", expect: { kind: "any" }, entry, content: undefined, makeParents: true } as const;
    const request = { changes: [change], intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;
    const { after, results } = await spaces.commit(WHO, SPACE, request);
    if (results[0]!.status !== "refused" && after !== before.records.length + 1) throw new Error("the promoted copy takes no change");
    const { records } = await stateOf(await this.hub.living());
    same(records.slice(0, before.records.length), before.records, "the promoted copy has another history");
  }

  /** Left alone, the copy becomes what its source is, in every record and restore point, and can be read. */
  async judge(seeds: SumSeeds): Promise<void> {
    await this.#whole();
    const [copy, source] = [await this.hub.living(), await this.#source.living()];
    await this.#repair(copy);
    const [here, there] = [await stateOf(copy), await stateOf(source)];
    same(here, there, "the copy is not what its source is");
    const points = async ({ spaces }: HubProcess): Promise<unknown> =>
      (await spaces.restorePoints(WHO, SPACE)).map(({ name, sequence }) => [name, sequence]);
    same(await points(copy), await points(source), "restore points differ");
    const bad = await unreadable(copy, seeds);
    if (bad.length > 0) throw new Error(`the copy cannot be read: ${bad.join("; ")}`);
  }

  async #whole(): Promise<void> {
    const endMs = this.#clock.monotonicMs() + PATIENCE_MS;
    for (;;) {
      await this.#clock.turn(LOOK_MS);
      if (this.breaches.length > 0) throw this.breaches[0];
      const { sequence } = await (await this.#source.living()).spaces.space(WHO, SPACE);
      await this.hub.living();
      const [view] = (await this.#followers?.list(WHO)) ?? [];
      if (view?.isWell === true && view.sequence === sequence && view.sameAt === sequence) return;
      if (view?.phase === "halted" && this.mayHalt) await this.#followAgain();
      if (this.#clock.monotonicMs() > endMs) throw new Error(`the copy is ${JSON.stringify(view)}, its source at ${sequence}`);
    }
  }

  /** An operator decides that the source, older than it was, is followed again: what the copy alone has stays whole. */
  async #followAgain(): Promise<void> {
    const before = await stateOf(await this.hub.living());
    const { aside } = await this.#followers!.follow(WHO, SPACE, TARGET, never);
    if (aside === undefined) throw new Error("halted, and nothing was kept");
    this.#say(`follows again; ${aside.changes} changes are kept in ${aside.space}`);
    same(await stateOf(await this.hub.living(), aside.space), before, "what was kept is not what the copy had");
  }

  /** What the source had lost while it was followed, and has again; and what it has forgotten. */
  async #repair({ meta, chunks, boot, spaces }: HubProcess): Promise<void> {
    const { store } = betweenOf(this.hub.process!);
    const space = await spaces.space(WHO, SPACE);
    const sourceOf = (id: number): FollowSource | undefined => (id === space.id ? this.#way(this.hub.process!) : undefined);
    const parts = { store, meta, chunks, clock: boot.clock, sourceOf, agents: undefined, onLost: () => undefined, log: () => undefined };
    const { healed, left } = await new ChunkRepair(parts).round(never);
    if (healed + left > 0) this.#say(`repaired ${healed}, left ${left}`);
    const forgotten = await this.#followers!.forget(space.id, never);
    if (forgotten > 0) this.#say(`forgot the content of ${forgotten} versions`);
  }

  close(): void {
    this.hub.close();
  }
}

/** Crashes and a refusing disk of the copy, and a way that is cut for a while. */
export function troubleCopy(copy: FollowingHub, random: SimRandom, spanMs: number): void {
  troubleHub(copy.hub, random.fork("hub"), spanMs, false);
  if (!random.chance(0.5)) return;
  const fromMs = random.real() * spanMs;
  copy.hub.clock.after(fromMs, () => (copy.isCut = true));
  copy.hub.clock.after(fromMs + random.real() * (spanMs - fromMs), () => (copy.isCut = false));
}

function isTrouble(error: unknown): boolean {
  return error instanceof SimCrash || (error instanceof SynclineError && ["LINK_LOST", "DISK", "SPACE_UNKNOWN"].includes(error.code));
}

function lost(why: string): SynclineError {
  return new SynclineError({ code: "LINK_LOST", op: "follow", message: `the source cannot be reached: ${why}`, retryable: true });
}

function same(a: unknown, b: unknown, what: string): void {
  if (Bun.deepEquals(a, b, true)) return;
  const text = (value: unknown): string => JSON.stringify(value, (_, one) => (typeof one === "bigint" ? String(one) : one)) ?? "";
  const [x, y] = [text(a), text(b)];
  let at = 0;
  while (at < x.length && x[at] === y[at]) at++;
  throw new Error(`${what}: …${x.slice(Math.max(0, at - 100), at + 150)} | …${y.slice(Math.max(0, at - 100), at + 150)}`);
}
