/** Spans and metrics in the words of OTLP 1.x as JSON (opentelemetry-proto, JSON mapping). Pure. */
import type { Span, SpanKind } from "#platform/span.ts";

/** What a metric is now; as the text format of Prometheus has it. */
export type MetricFamily = {
  readonly name: string;
  readonly help: string;
  readonly kind: "counter" | "gauge" | "histogram";
  readonly samples: readonly MetricSample[];
};
/** `labels` as in the text format: `a="b",c="d"`. */
export type MetricSample = { readonly suffix: string; readonly labels: string; readonly value: number };

type Attributes = Readonly<Record<string, string | number | undefined>>;

const KINDS: Record<SpanKind, number> = { internal: 1, server: 2, consumer: 5 };
const CUMULATIVE = 2;
const ERROR = 2;

const nanos = (ms: number): string => `${BigInt(Math.round(ms * 1000)) * 1000n}`;

function attributesOf(attributes: Attributes): object[] {
  return Object.entries(attributes).flatMap(([key, value]) => {
    if (value === undefined) return [];
    return [{ key, value: typeof value === "number" ? numberOf(value) : { stringValue: value.toWellFormed() } }];
  });
}

const numberOf = (value: number): object => (Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value });

/** The body of POST /v1/traces. */
export function tracesBody(spans: readonly Span[], resource: Attributes, version: string): object {
  const rows = spans.map(({ traceId, spanId, parentId, name, kind, beganMs, endedMs, isError, attributes }) => ({
    traceId,
    spanId,
    ...(parentId === undefined ? {} : { parentSpanId: parentId }),
    name,
    kind: KINDS[kind],
    startTimeUnixNano: nanos(beganMs),
    endTimeUnixNano: nanos(Math.max(beganMs, endedMs)),
    attributes: attributesOf(attributes),
    ...(isError ? { status: { code: ERROR } } : {}),
  }));
  const scopeSpans = [{ scope: { name: "syncline", version }, spans: rows }];
  return { resourceSpans: [{ resource: { attributes: attributesOf(resource) }, scopeSpans }] };
}

/** The body of POST /v1/metrics. @param sinceMs when counters began @param nowMs wall clock */
export function metricsBody(
  families: readonly MetricFamily[],
  resource: Attributes,
  version: string,
  sinceMs: number,
  nowMs: number,
): object {
  const times = { startTimeUnixNano: nanos(sinceMs), timeUnixNano: nanos(nowMs) };
  const metrics = families.flatMap(({ name, help, kind, samples }): object[] => {
    if (samples.length === 0) return [];
    const head = { name, description: help };
    if (kind === "histogram") {
      return [{ ...head, histogram: { aggregationTemporality: CUMULATIVE, dataPoints: histogramPoints(samples, times) } }];
    }
    const dataPoints = samples.map(({ labels, value }) => ({ ...times, attributes: attributesOf(labelsOf(labels)), asDouble: value }));
    if (kind === "gauge") return [{ ...head, gauge: { dataPoints } }];
    return [{ ...head, sum: { aggregationTemporality: CUMULATIVE, isMonotonic: true, dataPoints } }];
  });
  const scopeMetrics = [{ scope: { name: "syncline", version }, metrics }];
  return { resourceMetrics: [{ resource: { attributes: attributesOf(resource) }, scopeMetrics }] };
}

type Point = { count: number; sum: number; below: number[]; bounds: number[] };

/** Buckets of the text format hold all below them, those of OTLP only their own. */
function histogramPoints(samples: readonly MetricSample[], times: object): object[] {
  const points = new Map<string, Point>();
  for (const { suffix, labels, value } of samples) {
    const [, own, bound] = /^(.*?),?le="([^"]*)"$/.exec(labels) ?? [labels, labels, undefined];
    const point = points.get(own!) ?? { count: 0, sum: 0, below: [], bounds: [] };
    points.set(own!, point);
    if (suffix === "_count") point.count = value;
    else if (suffix === "_sum") point.sum = value;
    else {
      point.below.push(value);
      if (bound !== "+Inf") point.bounds.push(Number(bound));
    }
  }
  return [...points].map(([labels, { count, sum, below, bounds }]) => ({
    ...times,
    attributes: attributesOf(labelsOf(labels)),
    count: String(count),
    sum,
    bucketCounts: below.map((value, at) => String(value - (below[at - 1] ?? 0))),
    explicitBounds: bounds,
  }));
}

function labelsOf(text: string): Record<string, string> {
  const pairs = [...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [
    name!,
    value!.replaceAll(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char)),
  ]);
  return Object.fromEntries(pairs) as Record<string, string>;
}
