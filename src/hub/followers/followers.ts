/**
 * The spaces of this hub that follow other hubs: begin, stop, promote, compare, and how they are. One Follower runs for
 * each; rights are asked here.
 */
import type { Access, Principal } from "#access/access.ts";
import type { Comparison } from "#hub/followers/compare.ts";
import type { Follow } from "#hub/followers/follow-store.ts";
import {
  FOLLOW_BEHIND_MS,
  Follower,
  type FollowerOptions,
  type FollowPhase,
  type FollowTrouble,
  sharedSequence,
} from "#hub/followers/follower.ts";
import type { FollowSource, SourceFacts } from "#hub/followers/source.ts";
import type { SpaceAudit } from "#hub/space-audit.ts";
import { spaceResource } from "#hub/space-audit.ts";
import { unknownSpace } from "#hub/space-errors.ts";
import type { Space, SpaceId } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";

/** Spaces that follow another hub. Each waits for news with a request of its own, and a source serves 1,024 at once. */
const FOLLOWS_MAX = 200;
/** How long the source may take to say what it is. */
const ASK_MS = 30_000;

export type Target = {
  readonly url: string;
  /** The space's name there. */
  readonly source: string;
  readonly token: string;
  readonly ca: string | undefined;
  /** Bytes that the copy may have; undefined: as many as the source. */
  readonly quotaBytes?: number | undefined;
};

export type FollowersOptions = Omit<FollowerOptions, "space" | "source" | "shares" | "quotaBytes"> & {
  readonly access: Access;
  readonly audit: SpaceAudit;
  readonly connect: (target: Target) => FollowSource;
  /** Tokens are kept sealed. */
  readonly seal: { seal(text: string): Uint8Array; open(sealed: Uint8Array): string };
};

export type FollowView = {
  readonly space: string;
  readonly url: string;
  readonly source: string;
  readonly phase: FollowPhase;
  /** Nothing is lacking, nothing differs, and the source was heard: all else is not green. */
  readonly isWell: boolean;
  readonly sequence: number;
  readonly sourceSequence: number | undefined;
  readonly heardAgoMs: number | undefined;
  /** For how long something has been lacking, or the source not been heard. */
  readonly lagMs: number | undefined;
  readonly sameAt: number | undefined;
  readonly differed: number;
  readonly fetchedBytes: number;
  readonly trouble: FollowTrouble | undefined;
};

/** What was here alone, when a space began to follow one that had gone another way. */
export type KeptAside = { readonly space: string; readonly sharedSequence: number; readonly changes: number };
export type Followed = { readonly space: Space; readonly aside: KeptAside | undefined };
export type Promoted = {
  readonly space: Space;
  /** Changes that the source had, as far as it said last, and that are not here. Undefined: it was not heard. */
  readonly missing: number | undefined;
  readonly heardAgoMs: number | undefined;
};

type Running = { readonly follow: Follow; readonly follower: Follower; readonly stop: AbortController; readonly done: Promise<void> };

export class Followers {
  readonly #options: FollowersOptions;
  readonly #running = new Map<SpaceId, Running>();
  readonly #stopped = new Map<SpaceId, Follow>();
  #isClosed = false;
  #changing: Promise<unknown> = Promise.resolve();

  private constructor(options: FollowersOptions) {
    this.#options = options;
  }

  /** Goes on with what was followed before. */
  static async open(options: FollowersOptions): Promise<Followers> {
    const followers = new Followers(options);
    for (const follow of await options.store.follows()) {
      options.spaces.followed.set(follow.space, follow);
      followers.#start(follow);
    }
    return followers;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { stop } of this.#running.values()) stop.abort();
    await this.#changing;
    for (const { done } of this.#running.values()) await done;
  }

  /** Sources of the spaces that follow somebody; for repair. */
  source(space: SpaceId): FollowSource | undefined {
    const follow = this.#running.get(space)?.follow;
    return follow === undefined ? undefined : this.#connect(follow);
  }

  #connect({ url, source, token, ca }: Follow): FollowSource {
    return this.#options.connect({ url, source, token: this.#options.seal.open(token), ca });
  }

  /**
   * Who follows whom changes one after the other: each begins with what the one before has left. Two that begin at once
   * would each start a follower of the same space, and only one of them could be ended again.
   */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#changing.then(work);
    this.#changing = turn.catch(() => undefined);
    return turn;
  }

  #start(follow: Follow): void {
    if (this.#isClosed) return;
    if (follow.stopped) {
      this.#stopped.set(follow.space, follow);
      return;
    }
    this.#stopped.delete(follow.space);
    const { space, shares, quotaBytes, tag } = follow;
    this.#go(follow, new Follower({ ...this.#options, space, shares, quotaBytes, source: this.#connect(follow) }, tag));
  }

  #go(follow: Follow, follower: Follower): void {
    if (this.#isClosed) return;
    const stop = new AbortController();
    this.#running.set(follow.space, { follow, follower, stop, done: follower.run(stop.signal) });
  }

  async #end(space: SpaceId): Promise<Running | undefined> {
    const running = this.#running.get(space);
    running?.stop.abort();
    await running?.done;
    this.#running.delete(space);
    return running;
  }

  /**
   * Changes what is followed while nobody follows it. Where that is refused it is followed on, by who knows how far the
   * source is: that is to be told to whoever promotes it in the end, and the source may never be heard again.
   */
  async #withoutFollower(space: SpaceId, change: () => Promise<unknown>): Promise<Running | undefined> {
    const running = await this.#end(space);
    try {
      await change();
    } catch (error) {
      if (running !== undefined) this.#go(running.follow, running.follower);
      throw error;
    }
    return running;
  }

  /**
   * A space here follows one there. One of that name that has lived the same life goes on from where it is; what it has
   * beyond that life is kept in a space of another name.
   * @throws {SynclineError} what the source answers; EXISTS when a space of the name is another one, DENIED, LIMIT
   */
  async follow(who: Principal, name: string, target: Target, signal: AbortSignal): Promise<Followed> {
    this.#options.access.require(who, "manage", { type: "space", space: name, path: "" });
    // Not in turn: a source that does not answer holds up nobody else.
    const facts = await this.#options.connect(target).facts(AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]));
    return this.#inTurn(() => this.#follow(who, name, target, facts));
  }

  async #follow(who: Principal, name: string, target: Target, facts: SourceFacts): Promise<Followed> {
    const { access, spaces, store, clock, seal, audit } = this.#options;
    const known = await this.#find(who, name);
    const isFollowed = known !== undefined && (this.#running.has(known.id) || this.#stopped.has(known.id));
    if (!isFollowed && this.#running.size + this.#stopped.size >= FOLLOWS_MAX) throw tooMany();
    const { url, source, ca, quotaBytes } = target;
    const token = seal.seal(target.token);
    const follow = { url, source, token, ca, sinceMs: clock.nowMs(), quotaBytes, shares: undefined };
    const event = {
      action: "space.follow", resource: spaceResource(name), outcome: "done", details: { url, source },
    } as const;
    const note = (sql: Parameters<SpaceAudit["appendIn"]>[0]): Promise<void> => audit.appendIn(sql, { id: who.id }, event);
    if (known !== undefined) {
      if (facts.hubId === store.hubId && known.lineage === facts.lineage) throw itself(name);
      if ((await this.#shared(known, facts)) === undefined) throw anotherSpace(name, target);
      // No change of its own is made from here on, so what is compared with the source stays true.
      await this.#withoutFollower(known.id, () => store.begin(known.id, follow, note));
      this.#stopped.delete(known.id);
      spaces.followed.set(known.id, target);
    }
    let id = known?.id;
    try {
      // It took a while: the name may be another's by now.
      if (known !== undefined) spaces.requireIs(name, known.id);
      // Who may read all of it is who may have it here again.
      const mayShare = access.decide(who, "read", { type: "space", space: name, path: "", isTree: true }).allowed;
      const aside = known === undefined ? undefined : await this.#setAside(who, name, facts);
      if (known === undefined || aside !== undefined) {
        const shares = mayShare && aside !== undefined ? known!.id : undefined;
        const adopted = await spaces.adoptSpace(who, name, facts, async (sql) => {
          await store.beginIn(sql, name, { ...follow, shares }, facts.past);
          await note(sql);
        });
        ({ id } = adopted);
      }
      spaces.followed.set(id!, target);
      await this.#startRow(id!);
      return { space: await this.#byId(id!), aside };
    } catch (error) {
      if (known !== undefined) await this.#startRow(known.id).catch(() => undefined);
      throw error;
    }
  }

  /** Whatever its name is by now. */
  async #byId(id: SpaceId): Promise<Space> {
    const { meta, spaces } = this.#options;
    const space = await meta.space(id);
    if (space === undefined) throw unknownSpace("");
    return spaces.followed.shown(space);
  }

  /** As the next start of the hub does. */
  async #startRow(space: SpaceId): Promise<void> {
    const row = (await this.#options.store.follows()).find((one) => one.space === space);
    if (row !== undefined && !this.#running.has(space)) this.#start(row);
  }

  async #shared(space: Space, facts: SourceFacts): Promise<number | undefined> {
    return sharedSequence({ ...space, past: await this.#options.store.pastLineages(space.id) }, facts);
  }

  async #find(who: Principal, name: string): Promise<Space | undefined> {
    return (await this.#options.spaces.spaces(who)).find((space) => space.name === name);
  }

  /** A space that has gone another way than its source gives its name to the copy that follows, and stays whole. */
  async #setAside(who: Principal, name: string, facts: SourceFacts): Promise<KeptAside | undefined> {
    const { spaces, store, log } = this.#options;
    const own = await spaces.space(who, name);
    const shared = await this.#shared(own, facts);
    if (shared === undefined || shared >= own.sequence) return undefined;
    const aside = `${name.slice(0, 40)}.diverged-${own.sequence}`;
    // While it has its name: cut off behind this, whoever asks once more finds it, and sets it aside then.
    spaces.requireIs(name, own.id);
    await store.promote(own.id, spaces.newLineage());
    spaces.followed.set(own.id, undefined);
    spaces.requireIs(name, own.id);
    await spaces.updateSpace(who, name, { name: aside });
    const changes = own.sequence - shared;
    log("error", "space had gone another way than its source", { space: name, sharedSequence: shared, changes, keptIn: aside });
    return { space: aside, sharedSequence: shared, changes };
  }

  /** Nobody asks the source any more; the copy stays, takes no changes, and can be promoted, or follow again. */
  unfollow(who: Principal, name: string): Promise<void> {
    return this.#inTurn(() => this.#unfollow(who, name));
  }

  async #unfollow(who: Principal, name: string): Promise<void> {
    const { store, audit } = this.#options;
    const { id } = await this.#followed(who, name);
    const event = { action: "space.unfollow", resource: spaceResource(name), outcome: "done" } as const;
    const running = await this.#withoutFollower(id, () => store.stop(id, (sql) => audit.appendIn(sql, { id: who.id }, event)));
    if (running !== undefined) this.#stopped.set(id, { ...running.follow, stopped: true });
  }

  /** The copy is written to from now on, in a lineage of its own: the old source is not taken for the same space any more. */
  promote(who: Principal, name: string): Promise<Promoted> {
    return this.#inTurn(() => this.#promote(who, name));
  }

  async #promote(who: Principal, name: string): Promise<Promoted> {
    const { spaces, store, clock, audit, log } = this.#options;
    const { id } = await this.#followed(who, name);
    const heard = this.#running.get(id)?.follower;
    let missing: number | undefined;
    let sequence = 0;
    await this.#withoutFollower(id, async () => {
      const sourceSequence = heard?.state.sourceSequence;
      ({ sequence } = await this.#byId(id));
      missing = sourceSequence === undefined ? undefined : Math.max(0, sourceSequence - sequence);
      const details = promotedAt(sequence, missing);
      const event = { action: "space.promote", resource: spaceResource(name), outcome: "done", details } as const;
      await store.promote(id, spaces.newLineage(), (sql) => audit.appendIn(sql, { id: who.id }, event));
    });
    this.#stopped.delete(id);
    spaces.followed.set(id, undefined);
    await spaces.changedOutside(id);
    log("info", "space was promoted", { space: name, ...promotedAt(sequence, missing) });
    const heardMono = heard?.state.heardMono;
    const heardAgoMs = heardMono === undefined ? undefined : clock.monotonicMs() - heardMono;
    return { space: await this.#byId(id), missing, heardAgoMs };
  }

  /** Compares with the source now; repairs nothing. */
  async compare(who: Principal, name: string, signal: AbortSignal): Promise<Comparison & { readonly sequence: number }> {
    const { spaces, access } = this.#options;
    access.require(who, "read", { type: "space", space: name, path: "", isTree: true });
    const space = await spaces.space(who, name);
    const running = this.#running.get(space.id);
    if (running === undefined) throw followsNobody(name);
    return { ...(await running.follower.compareNow(signal)), sequence: space.sequence };
  }

  /** Lets go of old content as the source has, now. Returns of how many versions. */
  async forget(space: SpaceId, signal: AbortSignal): Promise<number> {
    return (await this.#running.get(space)?.follower.forget(signal)) ?? 0;
  }

  async #followed(who: Principal, name: string): Promise<Space> {
    const { access, spaces } = this.#options;
    access.require(who, "manage", { type: "space", space: name, path: "" });
    const space = await spaces.space(who, name);
    if (space.follows === undefined) throw followsNobody(name);
    return space;
  }

  /** Of the spaces that the caller may see, by name. */
  async list(who: Principal): Promise<FollowView[]> {
    const views: FollowView[] = [];
    for (const { id, name, sequence } of await this.#options.spaces.spaces(who)) {
      const running = this.#running.get(id);
      const follow = running?.follow ?? this.#stopped.get(id);
      if (follow !== undefined) views.push(this.#view(name, sequence, follow, running?.follower));
    }
    return views;
  }

  #view(space: string, sequence: number, { url, source }: Follow, follower: Follower | undefined): FollowView {
    const now = this.#options.clock.monotonicMs();
    const ago = (mono: number | undefined): number | undefined => (mono === undefined ? undefined : now - mono);
    if (follower === undefined) {
      return {
        space, url, source, sequence, phase: "stopped", isWell: false, sourceSequence: undefined, heardAgoMs: undefined,
        lagMs: undefined, sameAt: undefined, differed: 0, fetchedBytes: 0, trouble: undefined,
      };
    }
    const { phase, sourceSequence, heardMono, wholeMono, sameAt, differed, fetchedBytes, trouble } = follower.state;
    const lagMs = ago(wholeMono);
    const isHeard = lagMs !== undefined && lagMs <= FOLLOW_BEHIND_MS;
    return {
      space, url, source, sequence, phase, isWell: phase === "following" && isHeard && sameAt !== undefined,
      sourceSequence, heardAgoMs: ago(heardMono), lagMs, sameAt, differed, fetchedBytes, trouble,
    };
  }
}

const promotedAt = (sequence: number, missing: number | undefined) => ({ sequence, ...(missing === undefined ? {} : { missing }) });

function followsNobody(name: string): SynclineError {
  return new SynclineError({
    code: "NOT_FOUND",
    op: "follow",
    message: `the space "${name}" follows no other hub now`,
    hint: `syncline space follow ${name} --from URL`,
  });
}

function anotherSpace(name: string, { url, source }: Target): SynclineError {
  return new SynclineError({
    code: "EXISTS",
    op: "follow",
    message: `there is a space "${name}" here that has nothing to do with "${source}" of ${url}`,
    hint: `choose another name for the copy: syncline space follow NAME --from ${url} --source-space ${source}`,
  });
}

function itself(name: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "follow", message: `the space "${name}" cannot follow itself` });
}

function tooMany(): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "follow", message: `${FOLLOWS_MAX} spaces follow other hubs already` });
}
