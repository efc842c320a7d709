/** Export to a collector that is there, away, full or unwilling; sampling; profiles. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Metrics } from "#gateway/api/metrics.ts";
import type { SynclineError } from "#model/error.ts";
import { Collector } from "#observe/collector-fixture.ts";
import { Exporter, SPANS_PER_REQUEST_MAX, SPANS_WAITING_MAX } from "#observe/exporter.ts";
import { metricsBody } from "#observe/otlp.ts";
import { Profiler } from "#observe/profiler.ts";
import { Tracer, WANTED_MAX } from "#observe/trace.ts";
import type { Span } from "#platform/span.ts";
import { openHost } from "#platform/host-bun.ts";
import { SimRandom } from "#testing/sim-random.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const span = (at: number, more: Partial<Span> = {}): Span => ({
  traceId: TRACE,
  spanId: at.toString(16).padStart(16, "0"),
  parentId: undefined,
  name: `span ${at}`,
  kind: "internal",
  beganMs: 1_700_000_000_000,
  endedMs: 1_700_000_000_001.5,
  isError: false,
  attributes: { at },
  ...more,
});

/** A clock that does not wait, and whose time flies. */
class Hasty {
  #passedMs = 0;
  readonly nowMs = (): number => Date.now();
  readonly monotonicMs = (): number => performance.now() + this.#passedMs;
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    await Bun.sleep(1);
    signal.throwIfAborted();
    this.#passedMs += ms;
  }
}

describe("the exporter", () => {
  let collector: Collector;
  let end: AbortController;
  let running: Promise<void>;
  let exporter: Exporter;
  const states: (string | undefined)[] = [];
  let endpoint: string | undefined;

  beforeEach(() => {
    collector = new Collector();
    endpoint = collector.url;
    states.length = 0;
    const metrics = new Metrics();
    metrics.counter("c_total", "c").add(3, { a: 'x"\\\n', b: "y" });
    for (const seconds of [0.0001, 0.3, 99]) metrics.histogram(`h${seconds}`.replace(".", "_"), "h").observe(seconds, { route: "r" });
    exporter = new Exporter({
      settings: () => (endpoint === undefined ? undefined : { endpoint, headers: { "x-key": "secret" } }),
      collect: () => metrics.collect(),
      resource: { "service.name": "test" },
      version: "1",
      clock: new Hasty(),
      onState: (isWorking, error) => void states.push(isWorking ? undefined : error),
    });
    end = new AbortController();
    running = exporter.run(end.signal);
  });
  afterEach(async () => {
    end.abort();
    await running;
    await collector[Symbol.asyncDispose]();
  });
  const until = async (isSo: () => boolean): Promise<void> => {
    while (!isSo()) await Bun.sleep(2);
  };

  test("[OBSERVE-10] spans and metrics arrive as the protocol has them, in order, with the headers", async () => {
    for (let at = 0; at < 2 * SPANS_PER_REQUEST_MAX + 5; at++) exporter.add(span(at));
    await until(() => collector.spans.length === 2 * SPANS_PER_REQUEST_MAX + 5 && collector.metrics.size === 4);
    expect(collector.spans.map(({ name }) => name)).toEqual(Array.from({ length: collector.spans.length }, (_, at) => `span ${at}`));
    expect(collector.spans[7]).toMatchObject({ startTimeUnixNano: "1700000000000000000", endTimeUnixNano: "1700000000001500000" });
    expect(JSON.stringify(collector.metrics.get("c_total"))).toContain(JSON.stringify({ stringValue: 'x"\\\n' }));
    expect(collector.headers.every((headers) => headers.get("x-key") === "secret")).toBe(true);
    expect(exporter.counts).toEqual({ exported: collector.spans.length, dropped: 0, requestsFailed: 0 });
  });

  test("[OBSERVE-11] while the collector is away spans wait, up to a limit; what is too much is dropped and counted", async () => {
    collector.status = 503;
    for (let at = 0; at < SPANS_WAITING_MAX + 100; at++) exporter.add(span(at));
    await until(() => exporter.counts.requestsFailed > 2);
    expect([exporter.waiting, exporter.counts.dropped]).toEqual([SPANS_WAITING_MAX, 100]);
    collector.status = 200;
    await until(() => exporter.waiting === 0);
    expect(collector.spans.length).toBe(SPANS_WAITING_MAX);
    expect(states).toEqual(["HTTP status 503", undefined]);
  });

  test("[OBSERVE-12] what a collector refuses for good is given up, and what comes after it arrives", async () => {
    collector.status = 400;
    exporter.add(span(1));
    await until(() => exporter.counts.dropped === 1);
    collector.status = 200;
    exporter.add(span(2));
    await until(() => collector.spans.length === 1);
    expect(collector.spans[0]!.name).toBe("span 2");
  });

  test("[OBSERVE-13] without a collector nothing is kept; what waits at the end is sent", async () => {
    endpoint = undefined;
    exporter.add(span(1));
    expect(exporter.waiting).toBe(0);
    endpoint = collector.url;
    exporter.add(span(2));
    end.abort();
    await running;
    expect(collector.spans.map(({ name }) => name)).toEqual(["span 2"]);
  });

  test("[OBSERVE-14] all parts of a trace are recorded or none, about as many as the ratio says, and every one that is asked for", () => {
    const random = new SimRandom(5);
    let ratio: number | undefined = 0.25;
    const one = new Tracer(random.asRandom(), () => undefined, () => ratio);
    const other = new Tracer(random.asRandom(), () => undefined, () => ratio);
    let recorded = 0;
    for (let at = 0; at < 4000; at++) {
      const trace = Buffer.from(random.bytes(16)).toString("hex");
      expect(one.isRecorded(trace)).toBe(other.isRecorded(trace));
      if (one.isRecorded(trace)) recorded++;
    }
    expect(recorded / 4000).toBeGreaterThan(0.2);
    expect(recorded / 4000).toBeLessThan(0.3);
    const wanted = "f".repeat(32);
    expect(one.isRecorded(wanted)).toBe(false);
    one.want(wanted);
    expect(one.isRecorded(wanted)).toBe(true);
    for (let at = 0; at < WANTED_MAX; at++) one.want(`${at}`.padStart(24, "0") + "ffffffff");
    expect(one.isRecorded(wanted)).toBe(false);
    ratio = undefined;
    expect(one.isRecorded("0".repeat(32))).toBe(false);
  });

  test("[OBSERVE-15] an empty hub makes a body that is valid, too", () => {
    expect(JSON.stringify(metricsBody([], {}, "1", 0, 0))).toContain('"metrics":[]');
  });
});

describe("profiles", () => {
  test("[OBSERVE-16] are what tools read, one at a time, and end with who asked", async () => {
    const profiler = new Profiler(openHost().clock);
    const never = new AbortController();
    const running = profiler.cpu(0.2, never.signal);
    const refused = await profiler.cpu(1, never.signal).then(() => "made", (error: SynclineError) => error.code);
    expect(refused).toBe("LIMIT");
    expect(() => profiler.heap()).toThrow("another profile");
    const { nodes, samples } = JSON.parse(await running) as { nodes: unknown[]; samples: unknown[] };
    expect([nodes.length > 0, Array.isArray(samples)]).toEqual([true, true]);
    const snapshot = JSON.parse(profiler.heap()) as { snapshot: { meta: object }; nodes: number[] };
    expect([typeof snapshot.snapshot.meta, snapshot.nodes.length > 0]).toEqual(["object", true]);
    const gone = new AbortController();
    const early = profiler.cpu(60, gone.signal).then(() => "made", () => "given up");
    gone.abort();
    expect(await early).toBe("given up");
    expect(typeof profiler.heap()).toBe("string");
  });
});
