/** A collector that takes OTLP over HTTP as JSON, checks what it is sent, and answers as it is told to. */
type Attribute = { key: string; value: { stringValue?: string; intValue?: string; doubleValue?: number } };
export type TakenSpan = {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: Attribute[];
  status?: { code: number };
};
type Metric = { name: string; gauge?: object; sum?: object; histogram?: { dataPoints: { bucketCounts: string[]; explicitBounds: number[]; count: string }[] } };

export class Collector implements AsyncDisposable {
  readonly spans: TakenSpan[] = [];
  readonly metrics = new Map<string, Metric>();
  readonly headers: Headers[] = [];
  requests = 0;
  status = 200;
  readonly #server: Bun.Server<undefined>;

  constructor(port = 0) {
    this.#server = Bun.serve({ hostname: "127.0.0.1", port, fetch: (request) => this.#take(request) });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  async #take(request: Request): Promise<Response> {
    this.requests++;
    this.headers.push(request.headers);
    if (this.status !== 200) return new Response("no", { status: this.status });
    const body = (await request.json()) as Record<string, unknown>;
    const { pathname } = new URL(request.url);
    if (pathname === "/v1/traces") {
      const [resource] = body["resourceSpans"] as { scopeSpans: { spans: TakenSpan[] }[] }[];
      for (const span of resource!.scopeSpans[0]!.spans) this.spans.push(checked(span));
    } else if (pathname === "/v1/metrics") {
      const [resource] = body["resourceMetrics"] as { scopeMetrics: { metrics: Metric[] }[] }[];
      for (const metric of resource!.scopeMetrics[0]!.metrics) this.metrics.set(metric.name, checkedMetric(metric));
    } else return new Response(null, { status: 404 });
    return Response.json({});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
  }
}

export const attributeOf = (span: TakenSpan, key: string): string | undefined => {
  const value = span.attributes.find((one) => one.key === key)?.value;
  return value?.stringValue ?? value?.intValue ?? (value?.doubleValue === undefined ? undefined : String(value.doubleValue));
};

/** What the protocol asks of a span. */
function checked(span: TakenSpan): TakenSpan {
  const isRight =
    /^[0-9a-f]{32}$/.test(span.traceId) &&
    /^[0-9a-f]{16}$/.test(span.spanId) &&
    (span.parentSpanId === undefined || /^[0-9a-f]{16}$/.test(span.parentSpanId)) &&
    span.name !== "" &&
    BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano) &&
    BigInt(span.startTimeUnixNano) > 1_600_000_000_000_000_000n;
  if (!isRight) throw new Error(`this is no span: ${JSON.stringify(span)}`);
  return span;
}

function checkedMetric(metric: Metric): Metric {
  for (const { bucketCounts, explicitBounds, count } of metric.histogram?.dataPoints ?? []) {
    const sum = bucketCounts.reduce((total, one) => total + Number(one), 0);
    const isRight = bucketCounts.length === explicitBounds.length + 1 && sum === Number(count) && bucketCounts.every((one) => Number(one) >= 0);
    if (!isRight) throw new Error(`this is no histogram: ${JSON.stringify(metric)}`);
  }
  return metric;
}
