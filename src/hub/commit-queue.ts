/**
 * Group commit: what arrives while one commit is on its way to the disk goes with the next, so that many small commits
 * share two syncs (chunks first, then rows) instead of paying them each. Of one that comes alone the rows are made while
 * the disk syncs the chunks: only COMMIT waits for them. Where its caller knows of nobody else who writes, and it brings
 * little, that goes with the rows, and there is one sync (fresh-chunks.ts). With several who write it would be slower: this
 * thread does nothing else during a COMMIT, but while the chunks are synced it takes in what makes the next group larger.
 */
import { SynclineError } from "#model/error.ts";
import type { FreshChunks } from "#hub/fresh-chunks.ts";
import type { Commit, CommitOutcome, MetaStore, NumberedChunk } from "#hub/meta/meta-store.ts";
import type { Sums } from "#hub/sums/sums.ts";
import type { FreshChunk } from "#store/chunk-store.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** Commits and changes that go together at most; one commit may have more. */
const GROUP_COMMITS_MAX = 256;
const GROUP_CHANGES_MAX = 20_000;
/** Commits that wait; whoever comes then is told to come again. */
const WAITING_MAX = 4096;

/** Of its files. With more, the disk may be at work for so long that others should not wait for the database meanwhile. */
const PREPARED_BYTES_MAX = 4 << 20;


/** What a commit's content is known by, beside its id. */
export type NewContent = {
  readonly manifests: ReadonlyMap<ContentId, Manifest>;
  readonly sums: ReadonlyMap<ContentId, Sums>;
  /** What a flush would have to make durable, where it is little. */
  readonly fresh?: (() => readonly FreshChunk[] | undefined) | undefined;
};

/** Calls `onBegun` when the disk is at work, if it has anything to do. */
type Flush = (onBegun: () => void) => Promise<void>;

type Waiting = {
  readonly commit: Commit;
  readonly content: NewContent;
  readonly flush: Flush;
  readonly done: (outcome: CommitOutcome) => void;
  readonly failed: (error: unknown) => void;
};

/** Its content survives a power loss when `durable` resolves, but for what goes with its rows. */
type Going = Waiting & {
  readonly durable: Promise<void>;
  readonly begun: Promise<void>;
  readonly kept: readonly NumberedChunk[];
};

export class CommitQueue {
  readonly #meta: MetaStore;
  readonly #fresh: FreshChunks | undefined;
  readonly #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #isRunning = false;

  /** @param fresh undefined: the store of chunks makes all contents durable */
  constructor(meta: MetaStore, fresh?: FreshChunks) {
    this.#meta = meta;
    this.#fresh = fresh;
  }

  /**
   * Resolves when the commit survives a power loss. Commits are made in the order of the calls.
   * @param flush makes durable what the commit refers to; when it fails the commit is not made
   * @throws {SynclineError} LIMIT (retryable) when too many wait; what the stores throw
   */
  add(commit: Commit, content: NewContent, flush: Flush): Promise<CommitOutcome> {
    if (this.#waiting.length >= WAITING_MAX) return Promise.reject(tooBusy());
    return new Promise((done, failed) => {
      this.#waiting.push({ commit, content, flush, done, failed });
      if (!this.#isRunning) this.#running = this.#run();
    });
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    while (this.#isRunning) await this.#running;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    // What is asked for in this turn of the event loop goes together.
    await undefined;
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup();
      try {
        await this.#settle(this.#going(group));
      } catch (error) {
        // A fault of ours. Whoever waited would wait for ever, and so would all who come later.
        for (const one of group) one.failed(error);
      }
    }
    // In the same turn in which nothing was found waiting, or somebody could add to a queue that nobody empties.
    this.#isRunning = false;
  }

  /** Until everybody was told. */
  async #settle(group: readonly Going[]): Promise<void> {
    try {
      const bytes = bytesOf(group);
      // Where several came, more come meanwhile, and the next group is larger for it.
      if (group.length > 1 || bytes > PREPARED_BYTES_MAX) await Promise.all(group.map((one) => one.durable));
      // The disk begins first: rows that are made before would hold up what the chunks still need of this thread.
      else await Promise.all(group.map(({ begun }) => begun));
      const outcomes = await this.#commit(group);
      for (const [at, one] of group.entries()) one.done(outcomes[at]!);
    } catch (error) {
      const whole = await thoseWithContent(group);
      // Nothing was committed while some content was not durable.
      if (whole.length < group.length) return whole.length > 0 ? this.#settle(whole) : undefined;
      if (group.length === 1 || concernsAll(error)) for (const one of group) one.failed(error);
      // One of them cannot be done at all (its space has gone, say): the others must not fail with it.
      else for (const one of group) await this.#settle([one]);
    }
  }

  async #commit(group: readonly Going[]): Promise<CommitOutcome[]> {
    const manifests = new Map<ContentId, Manifest>();
    const sums = new Map<ContentId, Sums>();
    for (const { content } of group) {
      for (const [id, manifest] of content.manifests) manifests.set(id, manifest);
      for (const [id, some] of content.sums) sums.set(id, { ...sums.get(id), ...some });
    }
    const durable = async (): Promise<void> => {
      for (const one of group) await one.durable;
    };
    const kept = group.flatMap((one) => one.kept);
    const outcomes = await this.#meta.commit(group.map((one) => one.commit), manifests, sums, durable, kept);
    this.#fresh?.keep(kept);
    return outcomes;
  }

  /** The flushes of those that are begun together share one barrier. */
  #going(group: readonly Waiting[]): Going[] {
    const durable = Promise.resolve();
    return group.map((one) => {
      const fresh = group.length === 1 ? one.content.fresh?.() : undefined;
      const kept = fresh && this.#fresh?.take(fresh);
      return kept === undefined ? flushing(one) : { ...one, durable, begun: durable, kept };
    });
  }

  #takeGroup(): Waiting[] {
    let count = 0;
    let changes = 0;
    for (const { commit } of this.#waiting) {
      if (count > 0 && (count >= GROUP_COMMITS_MAX || changes + commit.changes.length > GROUP_CHANGES_MAX)) break;
      count++;
      changes += commit.changes.length;
    }
    return this.#waiting.splice(0, count);
  }
}

function flushing(one: Waiting): Going {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const durable = one.flush(resolve);
  // Heard of when the rows are ready.
  durable.then(resolve, () => resolve());
  return { ...one, durable, begun, kept: [] };
}

function bytesOf(group: readonly Going[]): number {
  let bytes = 0;
  for (const { commit } of group) {
    for (const change of commit.changes) if (change.type === "put") bytes += change.content?.size ?? 0;
  }
  return bytes;
}

/** Those whose content survives a power loss; the others are told why theirs does not. */
async function thoseWithContent(group: readonly Going[]): Promise<Going[]> {
  const flushed = await Promise.allSettled(group.map((one) => one.durable));
  return group.filter((one, at) => {
    const outcome = flushed[at]!;
    if (outcome.status === "rejected") one.failed(outcome.reason);
    return outcome.status === "fulfilled";
  });
}

/**
 * The disk or the server refused: it would refuse each of them, or has made the commit and could not say so. To make it
 * again could make it twice.
 */
function concernsAll(error: unknown): boolean {
  return error instanceof SynclineError && ["DISK", "LINK_LOST"].includes(error.code);
}

function tooBusy(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "commit",
    message: "the hub has more commits waiting than it accepts",
    hint: "try again; if it stays so, look at the disk of the hub: syncline doctor DIR",
    retryable: true,
  });
}
