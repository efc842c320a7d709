/**
 * What every request on the main listener goes through, whichever door answers it: a place among those at work, its
 * trace, its time in the metrics, and the headers that every answer carries.
 */
import { ApiProblem } from "#gateway/api/problem.ts";
import type { Metrics } from "#gateway/api/metrics.ts";
import { type Trace, traceOf } from "#gateway/api/trace.ts";
import { traceparentOf } from "#platform/trace-id.ts";
import { inTrace } from "#observe/trace-context.ts";
import type { Tracer } from "#observe/trace.ts";
import type { Clock, Random } from "#platform/host.ts";

/** Sent with every answer that does not say otherwise: content of the hub is never run as a page of it. */
export const FIXED_HEADERS: readonly (readonly [string, string])[] = [
  ["x-content-type-options", "nosniff"],
  ["content-security-policy", "sandbox; default-src 'none'"],
];

export type HttpWorkParts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly tracer: Tracer;
  /** Requests at work at once, of all doors together. */
  readonly requestsMax: () => number;
};

/** What a request is, in metrics and spans: a name and an address of few different values, whatever clients send. */
export type WorkName = { readonly id: string; readonly method: string; readonly path: string };

export class HttpWork {
  readonly #parts: HttpWorkParts;
  readonly #latency: ReturnType<Metrics["histogram"]>;
  #atWork = 0;

  constructor(parts: HttpWorkParts) {
    this.#parts = parts;
    this.#latency = parts.metrics.histogram(
      "syncline_http_request_seconds",
      "Time until the head of the answer, by route and outcome",
    );
    parts.metrics.ask("syncline_http_requests_active", "gauge", "Requests at work", () => [{ value: this.#atWork }]);
  }

  /** Gives a request its trace and a place; what `work` throws, and that there is no place, is for `refuse`. */
  async answer(
    request: Request,
    work: (trace: Trace) => Response | Promise<Response>,
    refuse: (error: unknown, trace: Trace) => Response,
  ): Promise<Response> {
    const trace = traceOf(request.headers.get("traceparent"), this.#parts.random);
    const most = this.#parts.requestsMax();
    // Whoever comes then is told to come again.
    if (this.#atWork >= most) return refuse(new ApiProblem("BUSY", `${most} requests are at work`), trace);
    this.#atWork++;
    try {
      return await inTrace(trace.traceId, () => Promise.resolve(work(trace)));
    } catch (error) {
      return refuse(error, trace);
    } finally {
      this.#atWork--;
    }
  }

  /** The work of a request that is known by name: its time is measured and its span recorded. */
  async measured(
    request: Request,
    trace: Trace,
    name: WorkName,
    work: () => Promise<Response>,
    refuse: (error: unknown) => Response,
  ): Promise<Response> {
    const { clock, tracer } = this.#parts;
    const beganMs = clock.monotonicMs();
    if (trace.sampled) tracer.want(trace.traceId);
    tracer.enter(trace.traceId, trace.spanId);
    let response: Response;
    try {
      response = await work();
      // Only the head is sent: what would have made the body must not wait for a reader.
      if (request.method === "HEAD") await response.body?.cancel();
      for (const [header, value] of FIXED_HEADERS) if (!response.headers.has(header)) response.headers.set(header, value);
      response.headers.set("traceparent", traceparentOf(trace));
    } catch (error) {
      response = refuse(error);
    }
    const seconds = (clock.monotonicMs() - beganMs) / 1000;
    this.#latency.observe(seconds, { route: name.id, outcome: outcomeOf(response.status) });
    tracer.leave(trace.traceId);
    this.#record(trace, name, response.status, seconds * 1000);
    return response;
  }

  #record({ traceId, spanId, parentId }: Trace, { id, method, path }: WorkName, status: number, tookMs: number): void {
    const { clock, tracer } = this.#parts;
    if (!tracer.isRecorded(traceId)) return;
    const endedMs = clock.nowMs();
    const attributes = { "http.request.method": method, "http.route": path, "http.response.status_code": status };
    const span = { traceId, spanId, parentId, name: id, kind: "server", isError: status >= 500, attributes } as const;
    tracer.record({ ...span, beganMs: endedMs - tookMs, endedMs });
  }
}

function outcomeOf(status: number): string {
  if (status < 400) return "ok";
  return status < 500 ? "refused" : "failed";
}
