/**
 * Spans of a link's cycles, for a collector. A cycle that carries something into the space begins a trace, which the hub goes
 * on with in its commit; one that brings something from there goes on with the traces of the commits that it brings. So one
 * edit is one trace, from the host where it was made over the hub to every other host. Cycles that carry nothing are no spans.
 *
 * What is asked of the hub for it costs one short call in a cycle; what goes wrong with that is nobody's trouble.
 */
import type { Clock, Random } from "#platform/host.ts";
import type { Span } from "#platform/span.ts";
import { newTraceId, traceContextOf, traceparentOf } from "#platform/trace-id.ts";
import type {
  Application,
  ApplyOp,
  CommitReply,
  Endpoint,
  OnObserved,
  OpResult,
  ScanRequest,
  ScanSummary,
  TransferItem,
  TransferResult,
} from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { SessionEvent, Summary } from "#sync/session/events.ts";
import type { Channel } from "#sync/wire/channel.ts";

/** Steps of one cycle that become spans; a cycle of more groups than that is told by its first ones. */
const STEPS_MAX = 64;

/** Where spans go, and which are wanted. Never waits. */
export interface SpanSink {
  isRecorded(traceId: string): boolean;
  want(traceId: string): void;
  newSpanId(): string;
  record(span: Span): void;
}

type Place = "host" | "space";
/** Into the space, out of it, or both. */
type Way = "in" | "out" | "both";
type Step = { readonly name: string; readonly way: Way; readonly beganMs: number; readonly endedMs: number; readonly isError: boolean };

type Cycle = {
  readonly traceId: string;
  readonly spanId: string;
  readonly beganMs: number;
  readonly steps: Step[];
  planningMs: number | undefined;
  /** Traces of what the space has told. */
  told: readonly string[];
  /** Something was committed there. */
  readonly carried: Record<Place, boolean>;
};

export type LinkTracesOptions = {
  readonly sink: SpanSink;
  readonly clock: Clock;
  readonly random: Random;
  readonly attributes: Readonly<Record<string, string>>;
};

export class LinkTraces {
  readonly #options: LinkTracesOptions;
  #cycle: Cycle | undefined;

  constructor(options: LinkTracesOptions) {
    this.#options = options;
  }

  event(event: SessionEvent): void {
    if (event.type === "cycle" || event.type === "failed") return this.#end(event.summary);
    if (event.type !== "phase") return;
    if (event.phase === "scanning") this.#begin();
    else if (event.phase === "planning" && this.#cycle !== undefined) this.#cycle.planningMs = this.#now;
    else if (event.phase === "transferring") this.#planned();
    // Nothing was found.
    else if (event.phase === "watching" || event.phase === "waiting") this.#cycle = undefined;
  }

  /** The side as the session is to see it. */
  traced(inner: Endpoint, place: Place): Endpoint {
    return new TracedEndpoint(inner, place, this);
  }

  get #now(): number {
    return this.#options.clock.nowMs();
  }

  #begin(): void {
    const { random, sink } = this.#options;
    this.#cycle = {
      traceId: newTraceId(random), spanId: sink.newSpanId(), beganMs: this.#now, steps: [], planningMs: undefined, told: [],
      carried: { host: false, space: false },
    };
  }

  #planned(): void {
    const began = this.#cycle?.planningMs;
    if (began === undefined) return;
    this.#cycle!.planningMs = undefined;
    this.#add({ name: "plan", way: "both", beganMs: began, endedMs: this.#now, isError: false });
  }

  #add(step: Step): void {
    const steps = this.#cycle?.steps;
    if (steps !== undefined && steps.length < STEPS_MAX) steps.push(step);
  }

  /** A step of the cycle at hand. */
  async step<T>(name: string, way: Way, work: () => Promise<T>): Promise<T> {
    const beganMs = this.#now;
    let isError = true;
    try {
      const result = await work();
      isError = false;
      return result;
    } finally {
      this.#add({ name, way, beganMs, endedMs: this.#now, isError });
    }
  }

  /** The space has told of changes. */
  told(traces: readonly string[]): void {
    if (this.#cycle !== undefined) this.#cycle.told = [...this.#cycle.told, ...traces];
  }

  carried(to: Place): void {
    if (this.#cycle !== undefined) this.#cycle.carried[to] = true;
  }

  /** What is committed in the space in this cycle belongs to it. */
  get parent(): string | undefined {
    const cycle = this.#cycle;
    if (cycle === undefined) return undefined;
    return traceparentOf({ ...cycle, sampled: this.#options.sink.isRecorded(cycle.traceId) });
  }

  #end({ runId, changes, problems, result }: Summary): void {
    const cycle = this.#cycle;
    this.#cycle = undefined;
    if (cycle === undefined || (!cycle.carried.host && !cycle.carried.space)) return;
    const { sink, attributes } = this.#options;
    const facts = { ...attributes, "syncline.run": runId, "syncline.changes": changes, "syncline.problems": problems };
    const isError = result === "failed" || result === "interrupted";
    const root = { name: "cycle", beganMs: cycle.beganMs, isError, attributes: facts };
    const told = cycle.carried.host ? cycle.told : [];
    if (cycle.carried.space || told.length === 0) {
      const { traceId, spanId } = cycle;
      const isOurs = (way: Way): boolean => way !== "in" || told.length === 0;
      this.#record({ ...root, traceId, spanId, parentId: undefined }, cycle.steps.filter(({ way }) => isOurs(way)));
    }
    for (const [at, one] of told.entries()) {
      const { traceId, spanId: parentId } = traceContextOf(one);
      // Whoever has told of it records it.
      sink.want(traceId);
      const steps = at === 0 ? cycle.steps.filter(({ way }) => way !== "out") : [];
      this.#record({ ...root, traceId, spanId: sink.newSpanId(), parentId }, steps);
    }
  }

  #record(root: Omit<Span, "kind" | "endedMs">, steps: readonly Step[]): void {
    const { sink } = this.#options;
    const { traceId, spanId: parentId, attributes } = root;
    for (const { name, beganMs, endedMs, isError } of steps) {
      sink.record({ traceId, spanId: sink.newSpanId(), parentId, name, kind: "internal", beganMs, endedMs, isError, attributes });
    }
    sink.record({ ...root, kind: "internal", endedMs: this.#now });
  }
}

class TracedEndpoint extends PassingEndpoint {
  readonly #place: Place;
  readonly #traces: LinkTraces;

  constructor(inner: Endpoint, place: Place, traces: LinkTraces) {
    super(inner);
    this.#place = place;
    this.#traces = traces;
  }

  override async scan(request: ScanRequest, onBatch: OnObserved, signal: AbortSignal): Promise<ScanSummary> {
    const way = this.#place === "space" ? "in" : "out";
    const summary = await this.#traces.step(`scan ${this.#place}`, way, () => this.inner.scan(request, onBatch, signal));
    if (this.#place === "space" && summary.seq > request.since) {
      this.#traces.told(await this.exchange({ parent: undefined, after: request.since, until: summary.seq }, signal));
    }
    return summary;
  }

  override receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const way = this.#place === "host" ? "in" : "out";
    return this.#traces.step("transfer", way, () => this.inner.receive(channel, items, onResult, signal));
  }

  override apply(runId: string, signal: AbortSignal): Application {
    return new TracedApplication(this.inner.apply(runId, signal), this.#place, this.#traces, async () => {
      const { parent } = this.#traces;
      if (this.#place === "space" && parent !== undefined) await this.exchange({ parent, after: 0, until: 0 }, signal);
    });
  }

  async exchange(...asked: Parameters<NonNullable<Endpoint["traces"]>["exchange"]>): Promise<readonly string[]> {
    try {
      return (await this.inner.traces?.exchange(...asked)) ?? [];
    } catch {
      // Where the connection has gone the session finds that out by itself.
      return [];
    }
  }
}

class TracedApplication implements Application {
  readonly #inner: Application;
  readonly #place: Place;
  readonly #traces: LinkTraces;
  #begin: (() => Promise<void>) | undefined;

  /** @param begin before the first change is pushed */
  constructor(inner: Application, place: Place, traces: LinkTraces, begin: () => Promise<void>) {
    this.#inner = inner;
    this.#place = place;
    this.#traces = traces;
    this.#begin = begin;
  }

  async push(ops: readonly ApplyOp[]): Promise<void> {
    const begin = this.#begin;
    this.#begin = undefined;
    await begin?.();
    return this.#inner.push(ops);
  }

  commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const [name, way] = this.#place === "space" ? (["commit", "out"] as const) : (["apply", "in"] as const);
    return this.#traces.step(name, way, () =>
      this.#inner.commit((results) => {
        if (results.some(({ status }) => status === "done")) this.#traces.carried(this.#place);
        onResults(results);
      }),
    );
  }
}
