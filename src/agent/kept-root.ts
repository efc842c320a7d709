/**
 * A root of this host that stays open, and watched, over the connections of one session: when the hub was away for a
 * while, everything that happened meanwhile is known, and the first scan looks at that alone. A root that failed is
 * opened anew, and a full scan is due every so often whatever the connection does.
 */
import type { Sum } from "#model/entry.ts";
import { asError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type {
  Application,
  EarlyFiles,
  Endpoint,
  OnObserved,
  OpenReply,
  OpenRequest,
  ReadItem,
  RunChange,
  RunRecord,
  ScanRequest,
  ScanSummary,
  TransferItem,
  TransferResult,
} from "#sync/endpoint/endpoint.ts";
import type { Channel } from "#sync/wire/channel.ts";

type Opened = {
  readonly endpoint: Endpoint;
  readonly request: OpenRequest;
  readonly reply: OpenReply;
  /** Ends the watching; `done` settles then. */
  readonly stop: AbortController;
  watching: Promise<void> | undefined;
  /** Why the watching has ended before its time. */
  lost: Error | undefined;
  /** Last sequence that was told of, and up to which the log may have been forgotten. */
  lastSeq: number;
  acknowledged: number;
  /** Monotonic: when a full scan ended that began while it was watched; undefined: none that can be built on. */
  fullMs: number | undefined;
  hasFailed: boolean;
  /** Changes that were pushed and not committed: what is staged for them only who opens the root anew takes away. */
  pushed: number;
  /** Calls under way: one that outlives its connection must not meet those of the next. */
  calls: number;
};

/** Who is told of the root: the one connection that there is. */
type Listener = { readonly onDirty: () => void; readonly onLost: (error: Error) => void };

export class KeptRoot {
  readonly #open: () => Endpoint;
  readonly #clock: Clock;
  readonly #fullEveryMs: number;
  #opened: Opened | undefined;
  #listener: Listener | undefined;
  #wasDirty = false;

  /** @param fullEveryMs a full scan that is as old is done again, whatever is known */
  constructor(open: () => Endpoint, clock: Clock, fullEveryMs: number) {
    this.#open = open;
    this.#clock = clock;
    this.#fullEveryMs = fullEveryMs;
  }

  /** The endpoint for one connection; one at a time. */
  connect(): Endpoint {
    return new KeptEndpoint(this, this.#opened?.endpoint.label ?? "");
  }

  /** After the last connection. */
  async end(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    if (opened === undefined) return;
    opened.stop.abort();
    await opened.watching;
    await opened.endpoint.close();
  }

  get now(): Opened {
    if (this.#opened === undefined) throw new Error("root is not open");
    return this.#opened;
  }

  async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    const kept = this.#opened;
    if (kept !== undefined && !kept.hasFailed && isSame(kept, request)) {
      const { reply, lastSeq, acknowledged } = kept;
      return { ...reply, lastSeq: Math.max(reply.lastSeq, lastSeq), keptAfter: Math.max(reply.keptAfter, acknowledged) };
    }
    await this.end();
    const endpoint = this.#open();
    const reply = await endpoint.open(request, signal).catch(async (error: unknown) => {
      await endpoint.close();
      throw error;
    });
    this.#opened = {
      endpoint, request, reply, stop: new AbortController(), watching: undefined, lost: undefined,
      lastSeq: reply.lastSeq, acknowledged: 0, fullMs: undefined, hasFailed: false, pushed: 0, calls: 0,
    };
    return reply;
  }

  /** Is everything that a full scan would find known by what was watched since the last one? */
  isKnown({ fullMs, watching, reply }: Opened): boolean {
    // Where nothing can be watched nothing is heard of, and the session looks at everything every few seconds.
    return reply.canWatch && watching !== undefined && fullMs !== undefined && this.#clock.monotonicMs() - fullMs < this.#fullEveryMs;
  }

  scanned(opened: Opened, wasWatched: boolean, { seq, degraded }: ScanSummary): void {
    opened.lastSeq = Math.max(opened.lastSeq, seq);
    opened.fullMs = wasWatched && degraded === undefined ? this.#clock.monotonicMs() : undefined;
  }

  watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    const opened = this.now;
    return new Promise((resolve, reject) => {
      const listener: Listener = { onDirty, onLost: reject };
      this.#listener = listener;
      opened.watching ??= this.#watched(opened);
      if (opened.lost !== undefined) reject(opened.lost);
      if (this.#wasDirty) this.#dirty();
      const end = (): void => {
        if (this.#listener === listener) this.#listener = undefined;
        resolve();
      };
      if (signal.aborted) end();
      signal.addEventListener("abort", end, { once: true });
    });
  }

  /** Waited for once: whoever waits for it is held by it as long as the root is watched, over all connections to come. */
  async #watched(opened: Opened): Promise<void> {
    try {
      await opened.endpoint.watch(() => this.#dirty(), opened.stop.signal);
    } catch (error) {
      opened.hasFailed = true;
      opened.lost = asError(error);
      this.#listener?.onLost(opened.lost);
    }
  }

  #dirty(): void {
    this.#wasDirty = this.#listener === undefined;
    this.#listener?.onDirty();
  }

  /** The connection has ended. */
  async release(): Promise<void> {
    this.#listener = undefined;
    const opened = this.#opened;
    if (opened !== undefined && (opened.hasFailed || opened.pushed > 0 || opened.calls > 0)) await this.end();
  }
}

/** The root must not be made, and is known, at each connection but the first. */
function isSame({ request: { createRoot: _, expectRootId: _id, ...before }, reply }: Opened, request: OpenRequest): boolean {
  const { createRoot: _create, expectRootId, ...now } = request;
  const text = (value: object): string => JSON.stringify(value, (_key, one: unknown) => (typeof one === "bigint" ? String(one) : one));
  return text(before) === text(now) && (expectRootId === undefined || expectRootId === reply.rootId);
}

class KeptEndpoint implements Endpoint {
  readonly label: string;
  readonly #root: KeptRoot;
  /** The first look of a connection has been asked for: from then on a full scan is due in case something was missed. */
  #hasLooked = false;

  constructor(root: KeptRoot, label: string) {
    this.#root = root;
    this.label = label;
  }

  /** A call that is rejected leaves an endpoint that must be opened anew. */
  async #call<T>(call: (endpoint: Endpoint, opened: Opened) => Promise<T>): Promise<T> {
    const opened = this.#root.now;
    opened.calls++;
    try {
      return await call(opened.endpoint, opened);
    } catch (error) {
      opened.hasFailed = true;
      throw error;
    } finally {
      opened.calls--;
    }
  }

  open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    return this.#root.open(request, signal);
  }

  scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    return this.#call(async (endpoint, opened) => {
      const isFirst = request.extent === "full" && !request.deep && request.since > 0 && !this.#hasLooked;
      this.#hasLooked = true;
      const mayBeShort = isFirst && this.#root.isKnown(opened);
      const wasWatched = opened.watching !== undefined;
      const asked = mayBeShort ? ({ ...request, extent: "dirty" } as const) : request;
      const summary = await endpoint.scan(asked, onBatch, signal);
      opened.acknowledged = Math.max(opened.acknowledged, request.acknowledged);
      if (asked.extent === "full" || summary.degraded !== undefined) this.#root.scanned(opened, wasWatched, summary);
      else opened.lastSeq = Math.max(opened.lastSeq, summary.seq);
      return summary;
    });
  }

  watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    return this.#root.watch(onDirty, signal);
  }

  sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    return this.#call((endpoint) => endpoint.sums(paths, signal));
  }

  vouch(paths: readonly RelPath[], signal: AbortSignal): Promise<Problem[]> {
    return this.#call((endpoint) => endpoint.vouch(paths, signal));
  }

  scrub(...asked: Parameters<Endpoint["scrub"]>): ReturnType<Endpoint["scrub"]> {
    return this.#call((endpoint) => endpoint.scrub(...asked));
  }

  async *read(paths: readonly RelPath[], signal: AbortSignal): AsyncGenerator<ReadItem[]> {
    const opened = this.#root.now;
    opened.calls++;
    try {
      yield* opened.endpoint.read(paths, signal);
    } catch (error) {
      opened.hasFailed = true;
      throw error;
    } finally {
      opened.calls--;
    }
  }

  supply(channel: Channel, signal: AbortSignal): Promise<void> {
    return this.#call((endpoint) => endpoint.supply(channel, signal));
  }

  /** What of it fails is no failure of the root. */
  get early(): EarlyFiles | undefined {
    return this.#root.now.endpoint.early;
  }

  receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#call((endpoint) => endpoint.receive(channel, items, onResult, signal));
  }

  apply(runId: string, signal: AbortSignal): Application {
    const inner = this.#root.now.endpoint.apply(runId, signal);
    let pushed = 0;
    return {
      push: (ops) =>
        this.#call((_endpoint, opened) => {
          pushed += ops.length;
          opened.pushed += ops.length;
          return inner.push(ops);
        }),
      commit: (onResults) =>
        this.#call(async (_endpoint, opened) => {
          // At once, for what is pushed from here on belongs to the next.
          opened.pushed -= pushed;
          pushed = 0;
          const reply = await inner.commit(onResults);
          opened.lastSeq = Math.max(opened.lastSeq, reply.seqAfter);
          return reply;
        }),
    };
  }

  runs(): Promise<RunRecord[]> {
    return this.#call((endpoint) => endpoint.runs());
  }

  runChanges(runId: string): Promise<RunChange[]> {
    return this.#call((endpoint) => endpoint.runChanges(runId));
  }

  undo(runId: string, signal: AbortSignal): Promise<{ restored: number; problems: Problem[] }> {
    return this.#call((endpoint) => endpoint.undo(runId, signal));
  }

  wireBytes(): { sent: number; received: number } {
    return { sent: 0, received: 0 };
  }

  close(): Promise<void> {
    return this.#root.release();
  }
}
