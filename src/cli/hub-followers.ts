/** What goes on between this hub and others, put together: spaces that follow, spaces that are followed, lost chunks. */
import { join } from "node:path";
import { systemPrincipal } from "#access/access.ts";
import { type HubAccess, SEAL_FILE } from "#access/hub-access.ts";
import { SealKey } from "#access/seal-key.ts";
import type { Bootstrap } from "#config/bootstrap.ts";
import type { Metrics, Reading } from "#gateway/api/metrics.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import { FollowClient } from "#gateway/client/follow-client.ts";
import { FollowStore } from "#hub/followers/follow-store.ts";
import { type FollowView, Followers } from "#hub/followers/followers.ts";
import { Following, type FollowingOptions, type SpaceFollower } from "#hub/followers/following.ts";
import { type AgentFiles, ChunkRepair } from "#hub/followers/repair.ts";
import { SpaceDigests } from "#hub/followers/space-digest.ts";
import type { HubSpaces } from "#hub/hub-spaces.ts";
import type { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Reach } from "#platform/net/guarded-address.ts";
import type { Database } from "#platform/sql/database.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import { readSmallFile, readTokens } from "#cli/local-files.ts";

const WHO = systemPrincipal("bootstrap");
/** Binds a sealed token to its use. */
const PURPOSE = "follow-token";
/** How often a source of the bootstrap file that does not answer is asked again. */
const AGAIN_MS = 30_000;
const MS = 1000;

export type FollowParts = {
  readonly database: Database;
  readonly meta: SqlMetaStore;
  readonly chunks: ChunkStore;
  readonly access: HubAccess;
  readonly spaces: HubSpaces;
  readonly clock: Clock;
  readonly random: Random;
  readonly dataDir: string;
  readonly log: ApiLog;
  /** Where sources may be. */
  readonly reach: () => Reach;
};

export type RunningFollowers = {
  readonly followers: Followers;
  readonly following: Following;
  readonly digests: SpaceDigests;
  readonly store: FollowStore;
  readonly repair: ChunkRepair;
};

/** @param agents asked for lost chunks */
export async function openFollowers(parts: FollowParts, agents: AgentFiles): Promise<RunningFollowers> {
  const { database, meta, chunks, access, spaces, clock, random, dataDir } = parts;
  const store = new FollowStore(database, meta.hubId);
  const digests = new SpaceDigests(store);
  const key = SealKey.open(join(dataDir, "keys", SEAL_FILE), random);
  const log = (level: "info" | "error", message: string, fields: Readonly<Record<string, unknown>>): void =>
    parts.log[level](message, fields);
  const followers = await Followers.open({
    spaces, meta, store, digests, chunks, clock, access, audit: access.audit, log,
    connect: (target) => new FollowClient(target, parts.reach),
    seal: { seal: (text) => key.seal(text, PURPOSE), open: (sealed) => key.open(sealed, PURPOSE) },
  });
  const sourceOf = followers.source.bind(followers);
  const onHealed: FollowingOptions["onHealed"] = (id) => repair.noteHealed(id);
  const following = new Following({ spaces, meta, store, digests, chunks, access, clock, onHealed });
  const onLost = (): void => following.askFollowers();
  const repair = new ChunkRepair({ store, meta, chunks, clock, sourceOf, agents, onLost, log });
  return { followers, following, digests, store, repair };
}

type FollowItem = Bootstrap["follow"][number];

/** What bootstrap files say of following, each item once; a source that does not answer holds nothing up and is asked again. */
export class FollowedFile {
  readonly #known = new Set<string>();
  readonly #waiting = new Set<FollowItem>();
  #isWanted = Promise.withResolvers<void>();

  /** What the file says now. What it says no more goes on: nothing is ever removed by it. */
  wants({ follow }: Pick<Bootstrap, "follow">): void {
    for (const item of follow) {
      const text = JSON.stringify(item);
      if (this.#known.has(text)) continue;
      this.#known.add(text);
      this.#waiting.add(item);
    }
    this.#isWanted.resolve();
  }

  /** Begins what is wanted, until the signal. */
  async run(
    { followers }: Pick<RunningFollowers, "followers">,
    parts: Pick<FollowParts, "clock" | "log">,
    closing: AbortSignal,
  ): Promise<void> {
    const { clock } = parts;
    closing.addEventListener("abort", () => this.#isWanted.resolve(), { once: true });
    while (!closing.aborted) {
      this.#isWanted = Promise.withResolvers<void>();
      for (const item of this.#waiting) {
        if (!(await this.#isDone(item, followers, parts, closing))) continue;
        this.#waiting.delete(item);
      }
      if (closing.aborted) return;
      const over = new AbortController();
      const again = this.#waiting.size === 0 ? [] : [clock.sleep(AGAIN_MS, AbortSignal.any([closing, over.signal])).catch(() => undefined)];
      await Promise.race([this.#isWanted.promise, ...again]);
      over.abort();
    }
  }

  /** False: later. */
  async #isDone(item: FollowItem, followers: Followers, { log }: Pick<FollowParts, "log">, closing: AbortSignal): Promise<boolean> {
    try {
      const done = await followItem(item, followers, closing);
      if (done !== "same") log.info("bootstrap", { done, kind: "follow", label: item.as ?? item.space });
      return true;
    } catch (error) {
      if (closing.aborted) return false;
      const isLater = error instanceof SynclineError && ["LINK_LOST", "AUTH", "SPACE_UNKNOWN", "LIMIT"].includes(error.code);
      log.error("bootstrap: space cannot follow", { space: item.as ?? item.space, error: messageOf(error), again: isLater });
      return !isLater;
    }
  }
}

async function followItem(
  { space, from, as, token, tokenFile, ca, caFile }: FollowItem,
  followers: Followers,
  signal: AbortSignal,
): Promise<"made" | "same"> {
  const name = as ?? space;
  const known = (await followers.list(WHO)).find((one) => one.space === name);
  const url = from.replace(/\/$/, "");
  if (known?.url === url && known.source === space) return "same";
  const secret = token ?? readTokens("tokenFile", tokenFile ?? "")[0]!;
  const authority = ca ?? (caFile === undefined ? undefined : readSmallFile("caFile", caFile));
  await followers.follow(WHO, name, { url, source: space, token: secret, ca: authority }, signal);
  return "made";
}


/** How the copies are, and how far those are that copy this hub. */
export function followMetrics(metrics: Metrics, { followers, following, store, repair }: RunningFollowers, clock: Clock): void {
  const who = systemPrincipal("metrics");
  const ofCopies = (read: (view: FollowView) => number | undefined) => async (): Promise<Reading[]> =>
    (await followers.list(who)).flatMap((view) => {
      const value = read(view);
      return value === undefined ? [] : [{ labels: { space: view.space }, value }];
    });
  const gauge = (name: string, help: string, read: (view: FollowView) => number | undefined): void =>
    metrics.ask(`syncline_follow_${name}`, "gauge", help, ofCopies(read));
  const isWrong = ({ phase }: FollowView): boolean => phase === "diverged" || phase === "halted";
  gauge("well", "1: the copy is whole, the same, and its source was heard", ({ isWell }) => (isWell ? 1 : 0));
  gauge("diverged", "1: the copy differs from its source, or a person must decide", (view) => (isWrong(view) ? 1 : 0));
  gauge("lag_seconds", "Since when the copy lacks something", ({ lagMs }) => (lagMs === undefined ? undefined : lagMs / MS));
  gauge("behind", "Changes that the copy lacks", ({ sequence, sourceSequence: there }) =>
    there === undefined ? undefined : Math.max(0, there - sequence),
  );
  const counter = (name: string, help: string, read: (view: FollowView) => number): void =>
    metrics.ask(`syncline_follow_${name}`, "counter", help, ofCopies(read));
  counter("differed", "Paths that were found to differ", ({ differed }) => differed);
  counter("fetched_bytes", "Bytes of chunks that came from the source", ({ fetchedBytes }) => fetchedBytes);
  const labels = ({ space, who: follower }: SpaceFollower & { space: string }) => ({ space, follower });
  metrics.ask("syncline_follower_sequence", "gauge", "How far a hub has a space of this one", () =>
    following.followers().map((one) => ({ labels: labels(one), value: one.sequence })),
  );
  metrics.ask("syncline_follower_asked_seconds", "gauge", "Since a hub asked last", () =>
    following.followers().map((one) => ({ labels: labels(one), value: (clock.monotonicMs() - one.askedMono) / MS })),
  );
  metrics.ask("syncline_store_lost_chunks", "gauge", "Chunks that versions need and nobody gave back yet", async () => [
    { value: await store.lostCount() },
  ]);
  metrics.ask("syncline_store_repaired_chunks", "counter", "Lost chunks that were given back", () => [{ value: repair.healed }]);
}
