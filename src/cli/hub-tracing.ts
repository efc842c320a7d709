/**
 * Traces of a hub: a request, the commit that it brings about, and the arrival of that commit on each host, all under the
 * trace id that the caller began and the journal keeps. When a host has a change is known from what its agent says, so the
 * end of an arrival is as exact as that.
 */
import { systemPrincipal } from "#access/access.ts";
import type { HubConfig } from "#config/hub-config.ts";
import type { Metrics } from "#gateway/api/metrics.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import type { SpaceTraces } from "#hub/endpoint/space-endpoint.ts";
import type { HubAgents } from "#hub/agents/hub-agents.ts";
import type { CommitDone } from "#hub/hub-spaces.ts";
import { Exporter, type OtlpSettings } from "#observe/exporter.ts";
import { Tracer } from "#observe/trace.ts";
import { type TraceContext, traceparentOf } from "#platform/trace-id.ts";
import type { Host } from "#platform/host.ts";
import { VERSION } from "#cli/version.ts";

const WHO = systemPrincipal("traces");
/** How often it is looked where hosts are. */
const LOOK_MS = 500;
/** Commits whose arrivals are waited for, and for how long. */
const COMMITS_MAX = 1000;
const ARRIVAL_MS_MAX = 10 * 60_000;

type Waiting = CommitDone & { readonly spanId: string };

export type HubTracingOptions = {
  readonly host: Host;
  readonly config: () => HubConfig;
  /** Of the collector. */
  readonly settings: () => OtlpSettings | undefined;
  readonly hubId: string;
  readonly log: ApiLog;
};

export class HubTracing implements SpaceTraces {
  readonly tracer: Tracer;
  readonly #exporter: Exporter;
  readonly #options: HubTracingOptions;
  #commits: Waiting[] = [];
  /** Up to which sequence each link was seen to be, and when. */
  #reached = new Map<string, number>();
  #lookedMs = 0;

  constructor(options: HubTracingOptions, metrics: Metrics) {
    const { host, config, settings, hubId, log } = options;
    this.#options = options;
    this.#exporter = new Exporter({
      settings,
      collect: () => metrics.collect(),
      resource: { "service.name": "syncline-hub", "service.version": VERSION, "service.instance.id": hubId, "host.name": host.hostName },
      version: VERSION,
      clock: host.clock,
      onState: (isWorking, error) =>
        isWorking ? log.info("collector takes traces again", {}) : log.error("collector takes no traces", { error }),
    });
    const ratio = (): number | undefined => (config().otlpEndpoint === undefined ? undefined : Number(config().traceRatio ?? "1"));
    this.tracer = new Tracer(host.random, (span) => this.#exporter.add(span), ratio);
    const one = (read: () => number) => () => [{ value: read() }];
    metrics.ask("syncline_traces_waiting_spans", "gauge", "Spans that wait for the collector", one(() => this.#exporter.waiting));
    metrics.ask("syncline_traces_exported_total", "counter", "Spans that the collector took", one(() => this.#exporter.counts.exported));
    metrics.ask("syncline_traces_dropped_total", "counter", "Spans that were given up", one(() => this.#exporter.counts.dropped));
  }

  /** A commit that has just been made. */
  committed(commit: CommitDone): void {
    const { traceId } = commit.origin;
    if (!this.tracer.isRecorded(traceId)) return;
    const { space, origin, before, after, beganMs, endedMs } = commit;
    const spanId = this.tracer.newSpanId();
    this.tracer.record({
      traceId,
      spanId,
      parentId: this.tracer.current(traceId),
      name: "commit",
      kind: "internal",
      beganMs,
      endedMs,
      isError: false,
      attributes: { "syncline.space": space, "syncline.sequence": after, "syncline.changes": after - before, "enduser.id": origin.actor },
    });
    this.#commits.push({ ...commit, spanId });
    if (this.#commits.length > COMMITS_MAX) this.#commits.shift();
  }

  async within<T>({ traceId, spanId, sampled }: TraceContext, work: () => Promise<T>): Promise<T> {
    if (sampled) this.tracer.want(traceId);
    this.tracer.enter(traceId, spanId);
    try {
      return await work();
    } finally {
      this.tracer.leave(traceId);
    }
  }

  since(space: string, actor: string, after: number, until: number, limit: number): string[] {
    const isAsked = (one: Waiting): boolean => one.space === space && one.after > after && one.before < until;
    const others = this.#commits.filter((one) => isAsked(one) && one.origin.actor !== actor);
    return others.slice(-limit).map(({ origin, spanId }) => traceparentOf({ traceId: origin.traceId, spanId, sampled: true }));
  }

  /** Exports, and looks for arrivals, until the signal. */
  async run(agents: HubAgents, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.host;
    const exporting = this.#exporter.run(signal);
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (!signal.aborted && this.#options.settings() !== undefined) this.#look(agents);
    }
    await exporting;
  }

  #look(agents: HubAgents): void {
    const now = this.#options.host.clock.nowMs();
    this.#commits = this.#commits.filter(({ endedMs }) => now - endedMs < ARRIVAL_MS_MAX);
    const [before, lookedMs] = [this.#reached, this.#lookedMs];
    this.#reached = new Map();
    this.#lookedMs = now;
    for (const { link, host, state, heardAgoMs = 0 } of agents.links(WHO)) {
      if (state === undefined) continue;
      const key = `${link.id} ${host}`;
      const last = before.get(key);
      this.#reached.set(key, state.sequence);
      if (last !== undefined && state.sequence <= last) continue;
      for (const commit of this.#commits) {
        const at = Math.max(commit.endedMs, now - heardAgoMs);
        // Where it came from it is already. A link that is new since the last look may have got what is newer still.
        const isOwn = commit.origin.actor === `agent:${host}`;
        const wasThere = last === undefined ? commit.endedMs < lookedMs : commit.after <= last;
        if (commit.space !== link.space || isOwn || wasThere || commit.after > state.sequence) continue;
        this.tracer.record({
          traceId: commit.origin.traceId,
          spanId: this.tracer.newSpanId(),
          parentId: commit.spanId,
          name: "apply",
          kind: "consumer",
          beganMs: commit.endedMs,
          endedMs: at,
          isError: false,
          attributes: { "host.name": host, "syncline.link": link.id, "syncline.space": link.space, "syncline.sequence": commit.after },
        });
      }
    }
  }
}
