/** Two whole hubs in one process; the second one's sources are the first one's, over a way that can be cut. */
import type { FollowSource } from "#hub/followers/source.ts";
import { FollowStore } from "#hub/followers/follow-store.ts";
import { Follower } from "#hub/followers/follower.ts";
import { Followers, type Target } from "#hub/followers/followers.ts";
import { Following } from "#hub/followers/following.ts";
import { SpaceDigests } from "#hub/followers/space-digest.ts";
import { EVERYTHING, TestHub } from "#hub/hub-fixture.ts";
import { SynclineError } from "#model/error.ts";
import { systemPrincipal } from "#access/access.ts";

export const WHO = systemPrincipal("test");
export const never: AbortSignal = new AbortController().signal;
export const TARGET: Target = { url: "http://source", source: "demo", token: "secret", ca: undefined };

/** A hub with its dealings with others. */
export class FollowHub implements AsyncDisposable {
  readonly hub: TestHub;
  readonly access = EVERYTHING;
  readonly store: FollowStore;
  readonly digests: SpaceDigests;
  readonly following: Following;
  readonly healed: string[] = [];
  readonly log: { message: string; fields: Readonly<Record<string, unknown>> }[] = [];

  private constructor(hub: TestHub) {
    this.hub = hub;
    this.store = new FollowStore(hub.database, hub.meta.hubId);
    this.digests = new SpaceDigests(this.store);
    this.following = new Following({ ...this.parts, onHealed: (id) => this.healed.push(id) });
  }

  static async open(): Promise<FollowHub> {
    return new FollowHub(await TestHub.open());
  }

  get parts() {
    const { spaces, meta, chunks } = this.hub;
    return { spaces, meta, chunks, store: this.store, digests: this.digests, access: this.access, clock: this.hub.host.clock };
  }

  /** As another hub sees a space of this one. */
  source(name: string): FollowSource {
    const { following } = this;
    return {
      facts: () => following.facts(WHO, name),
      page: (after, waitMs, signal) => following.page(WHO, name, after, waitMs, signal),
      chunks: async (wanted, onChunk) => {
        for await (const { id, bytes } of following.chunks(WHO, name, wanted)) await onChunk(id, bytes);
      },
      give: async (id, bytes) => void (await following.give(WHO, name, id, bytes)),
      dropped: (sequences) => following.dropped(WHO, name, sequences),
      marks: (after) => following.marks(WHO, name, after),
      digest: (at, range, detail) => following.digest(WHO, name, at, range, detail),
      history: (path, after, until) => following.history(WHO, name, path, after, until),
    };
  }

  /** One that never waits for news. */
  eager(name: string): FollowSource {
    const source = this.source(name);
    return { ...source, page: (after, _waitMs, signal) => source.page(after, 0, signal) };
  }

  note = (_level: string, message: string, fields: Readonly<Record<string, unknown>>): void => {
    this.log.push({ message, fields });
  };

  /** What follows spaces of another hub. Loops begin with follow(). */
  followers(source: FollowHub): Promise<Followers> {
    return Followers.open({
      ...this.parts,
      audit: this.hub.audit,
      connect: (target) => source.source(target.source),
      seal: { seal: (text) => Buffer.from(text), open: (sealed) => Buffer.from(sealed).toString() },
      log: this.note,
    });
  }

  /** A copy of the source's "demo", with a follower that runs only when it is told to. */
  async copyOf(source: FollowHub, change: (from: FollowSource) => FollowSource = (from) => from): Promise<Follower> {
    const from = change(source.eager("demo"));
    const facts = await from.facts(never);
    const token = new Uint8Array(1);
    const space = await this.hub.spaces.adoptSpace(WHO, "demo", facts, (sql) =>
      this.store.beginIn(sql, "demo", { ...TARGET, token, sinceMs: 1 }, facts.past),
    );
    this.hub.spaces.followed.set(space.id, TARGET);
    return new Follower({ ...this.parts, space: space.id, source: from, log: this.note }, "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub[Symbol.asyncDispose]();
  }
}

/** Rounds until nothing is lacking and both were compared. */
export async function catchUp(follower: Follower, rounds = 50): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await follower.round(never);
    const { phase, sameAt, sourceSequence } = follower.state;
    if (phase === "following" && sameAt === sourceSequence) return;
  }
  throw new Error(`still ${JSON.stringify(follower.state)}`);
}

/** The whole journal, as far as it is the same on every hub. */
export async function journalOf({ hub }: FollowHub, name = "demo"): Promise<unknown[]> {
  const { id } = await hub.spaces.space(WHO, name);
  return hub.meta.journal(id, 0, 10_000);
}

export function lost(): SynclineError {
  return new SynclineError({ code: "LINK_LOST", op: "test", message: "cut" });
}
