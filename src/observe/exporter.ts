/**
 * Sends spans and metrics to a collector over HTTP. What cannot be sent waits in a bounded queue; what does not fit is
 * dropped and counted: the hub never waits for its collector.
 */
import { messageOf } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { type MetricFamily, metricsBody, tracesBody } from "#observe/otlp.ts";
import type { Span } from "#platform/span.ts";

/** Spans that wait; and of one request. */
export const SPANS_WAITING_MAX = 8192;
export const SPANS_PER_REQUEST_MAX = 512;
/** Between two looks at what waits, and between two exports of metrics. */
const LOOK_MS = 1000;
const METRICS_MS = 15_000;
/** One request, and what is tried at the very end. */
const REQUEST_MS_MAX = 10_000;
const LAST_MS_MAX = 2000;
/** After a failure nothing is tried for this long, doubling up to the longest. */
const PAUSE_MS_FIRST = 1000;
const PAUSE_MS_MAX = 60_000;

export type OtlpSettings = {
  /** Without "/v1/...". */
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
};

export type ExporterOptions = {
  /** Those of now; undefined: nothing is exported. */
  readonly settings: () => OtlpSettings | undefined;
  /** Undefined: there are no metrics to send. */
  readonly collect: (() => Promise<readonly MetricFamily[]>) | undefined;
  readonly resource: Readonly<Record<string, string>>;
  readonly version: string;
  readonly clock: Clock;
  /** Said once when it fails, and once when it works again. */
  readonly onState: (isWorking: boolean, error: string | undefined) => void;
};

export class Exporter {
  readonly #options: ExporterOptions;
  readonly #waiting: Span[] = [];
  readonly #sinceMs: number;
  #failures = 0;
  #restUntilMs = 0;
  #metricsMs = Number.NEGATIVE_INFINITY;
  readonly counts = { exported: 0, dropped: 0, requestsFailed: 0 };

  constructor(options: ExporterOptions) {
    this.#options = options;
    this.#sinceMs = options.clock.nowMs();
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  add(span: Span): void {
    if (this.#options.settings() === undefined) return;
    if (this.#waiting.length >= SPANS_WAITING_MAX) this.counts.dropped++;
    else this.#waiting.push(span);
  }

  /** Until the signal; then what waits is tried once more. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) break;
      if (clock.monotonicMs() < this.#restUntilMs) continue;
      await this.#exportSpans(AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS_MAX)]));
      await this.#exportMetrics(AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS_MAX)]));
    }
    await this.#exportSpans(AbortSignal.timeout(LAST_MS_MAX));
  }

  async #exportSpans(signal: AbortSignal): Promise<void> {
    const { resource, version } = this.#options;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, SPANS_PER_REQUEST_MAX);
      const outcome = await this.#send("traces", tracesBody(batch, resource, version), signal);
      if (outcome === "later") return;
      this.#waiting.splice(0, batch.length);
      if (outcome === "taken") this.counts.exported += batch.length;
      else this.counts.dropped += batch.length;
    }
  }

  async #exportMetrics(signal: AbortSignal): Promise<void> {
    const { clock, settings, collect, resource, version } = this.#options;
    const now = clock.monotonicMs();
    if (collect === undefined || settings() === undefined || now - this.#metricsMs < METRICS_MS || now < this.#restUntilMs) return;
    this.#metricsMs = now;
    // Each time they are whole: what could not be sent is not missed.
    await this.#send("metrics", metricsBody(await collect(), resource, version, this.#sinceMs, clock.nowMs()), signal);
  }

  /** "refused": the collector will never take it. Never rejects. */
  async #send(what: "traces" | "metrics", body: object, signal: AbortSignal): Promise<"taken" | "later" | "refused"> {
    const settings = this.#options.settings();
    // Switched off while it waited.
    if (settings === undefined) return "refused";
    let error: string;
    try {
      const response = await fetch(`${settings.endpoint.replace(/\/$/, "")}/v1/${what}`, {
        method: "POST",
        headers: { ...settings.headers, "content-type": "application/json" },
        body: JSON.stringify(body),
        redirect: "manual",
        signal,
      });
      await response.body?.cancel();
      const { status } = response;
      if (status >= 200 && status < 300) {
        if (this.#failures > 0) this.#options.onState(true, undefined);
        this.#failures = 0;
        return "taken";
      }
      error = `HTTP status ${status}`;
      this.#failed(error);
      return status === 429 || status === 408 || status >= 500 ? "later" : "refused";
    } catch (cause) {
      error = messageOf(cause);
      this.#failed(error);
      return "later";
    }
  }

  #failed(error: string): void {
    const { clock, onState } = this.#options;
    this.counts.requestsFailed++;
    if (this.#failures === 0) onState(false, error);
    const pauseMs = Math.min(PAUSE_MS_MAX, PAUSE_MS_FIRST * 2 ** Math.min(20, this.#failures++));
    this.#restUntilMs = clock.monotonicMs() + pauseMs;
  }
}
