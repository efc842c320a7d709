/**
 * The space's endpoint as one link sees it: passes every call on, and looks at what goes by. It remembers how far the
 * agent has stored what came, by its own acknowledgements. An agent that comes back knowing less was restored from a
 * backup: its files are then old, not new, and it is told to compare everything instead of sending them as edits.
 */
import type {
  Application,
  Endpoint,
  OnObserved,
  OpenReply,
  OpenRequest,
  ScanRequest,
  ScanSummary,
} from "#sync/endpoint/endpoint.ts";
import type { RelPath } from "#model/path.ts";
import type { SequenceRange } from "#hub/agents/carried-approvals.ts";
import { type PathSetName, PathSet } from "#hub/agents/path-set.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { LinkMark } from "#hub/agents/link-marks.ts";

export type LinkEndpointOptions = {
  readonly inner: Endpoint;
  readonly mark: () => LinkMark | undefined;
  readonly setMark: (mark: LinkMark) => void;
  /** The space has something new for the link. */
  readonly onTold: () => void;
  /** The link asks for it. */
  readonly onAsked: () => void;
  /** The agent was found to know less than it did. */
  readonly onRestored: (known: number, acknowledged: number) => void;
  /** Is anybody interested in what the link removes? Asked when a run begins. */
  readonly wantsRemoved: () => boolean;
  /** What the link has removed in one run up to now, after each commit that removed something, and in which sequences. */
  readonly onRemoved: (removals: PathSetName, ranges: readonly SequenceRange[]) => Promise<void>;
};

/** Commits of one run whose sequences are remembered; what a longer one removes is told of no more. */
const RANGES_MAX = 1000;

type RunRemovals = { readonly runId: string; readonly paths: PathSet; readonly ranges: SequenceRange[] };

export class LinkEndpoint extends PassingEndpoint {
  readonly #options: LinkEndpointOptions;
  #session: Pick<LinkMark, "session" | "epoch"> | undefined;
  #isFirstScan = true;
  #removals: RunRemovals | undefined;

  constructor(options: LinkEndpointOptions) {
    super(options.inner);
    this.#options = options;
  }

  override async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    const reply = await this.inner.open(request, signal);
    const known = this.#options.mark();
    this.#session = { session: request.sessionId, epoch: reply.epoch };
    const isSame = known?.session === request.sessionId && known.epoch === reply.epoch;
    if (!isSame) this.#options.setMark({ ...this.#session, acknowledged: 0 });
    this.#isFirstScan = true;
    // A controller that has seen less than was acknowledged finds that it cannot go on from there.
    const acknowledged = isSame ? Math.min(known.acknowledged, reply.lastSeq) : 0;
    return { ...reply, keptAfter: Math.max(reply.keptAfter, acknowledged) };
  }

  override async scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    this.#options.onAsked();
    const known = this.#options.mark()?.acknowledged ?? 0;
    if (this.#isFirstScan && request.since < known) this.#options.onRestored(request.since, known);
    this.#isFirstScan = false;
    this.#options.setMark({ ...this.#session!, acknowledged: request.acknowledged });
    return this.inner.scan(request, onBatch, signal);
  }

  override apply(runId: string, signal: AbortSignal): Application {
    if (!this.#options.wantsRemoved()) return this.inner.apply(runId, signal);
    if (this.#removals?.runId !== runId) this.#removals = { runId, paths: new PathSet(), ranges: [] };
    return new RemovalCounter(this.inner.apply(runId, signal), this.#removals, this.#options.onRemoved);
  }

  override watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    return this.inner.watch(() => {
      this.#options.onTold();
      onDirty();
    }, signal);
  }

  override async close(): Promise<void> {
    this.#options.onAsked();
    await this.inner.close();
  }
}

class RemovalCounter implements Application {
  readonly #inner: Application;
  readonly #run: RunRemovals;
  readonly #onRemoved: LinkEndpointOptions["onRemoved"];
  /** Of what was pushed and not committed, in order: the path that is removed. */
  #pushed: (RelPath | undefined)[] = [];

  constructor(inner: Application, run: RunRemovals, onRemoved: LinkEndpointOptions["onRemoved"]) {
    this.#inner = inner;
    this.#run = run;
    this.#onRemoved = onRemoved;
  }

  async push(ops: Parameters<Application["push"]>[0]): Promise<void> {
    for (const op of ops) this.#pushed.push(op.type === "change" && op.change.action === "remove" ? op.change.path : undefined);
    await this.#inner.push(ops);
  }

  async commit(onResults: Parameters<Application["commit"]>[0]): ReturnType<Application["commit"]> {
    const pushed = this.#pushed;
    this.#pushed = [];
    const { paths, ranges } = this.#run;
    const before = paths.name.count;
    let at = 0;
    const reply = await this.#inner.commit((results) => {
      for (const { status } of results) {
        const path = pushed[at++];
        if (status === "done" && path !== undefined) paths.add(path);
      }
      onResults(results);
    });
    if (paths.name.count > before && ranges.length < RANGES_MAX) {
      ranges.push([reply.seqBefore, reply.seqAfter]);
      await this.#onRemoved(paths.name, ranges);
    }
    return reply;
  }
}
