/**
 * Metrics in the text format of Prometheus (exposition format 0.0.4): counters, gauges and histograms with labels, and
 * values that are asked for when somebody looks.
 */
import type { MetricFamily } from "#observe/otlp.ts";

/** Label values of one metric at most; more of them are counted together under "other". */
const SERIES_MAX = 500;
/** Readings of one metric that is asked for: as many as a hub has links, because what is left out wakes nobody. */
const READINGS_MAX = 20_000;
/** Upper bounds of latency in seconds: from a durable small commit to a large upload. */
const SECONDS_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];

export type Labels = Readonly<Record<string, string>>;
type Kind = "counter" | "gauge" | "histogram";
type Sample = { readonly suffix: string; readonly labels: string; readonly value: number };
interface Family {
  readonly help: string;
  readonly kind: Kind;
  samples(): Iterable<Sample> | Promise<Iterable<Sample>>;
}

export type Reading = { readonly labels?: Labels; readonly value: number };

/** Of labels that are used again: their text is made once. */
const texts = new WeakMap<Labels, string>();

function labelText(labels: Labels): string {
  const known = texts.get(labels);
  if (known !== undefined) return known;
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  const text = parts.join(",");
  texts.set(labels, text);
  return text;
}

const escapeLabel = (value: string): string =>
  value.toWellFormed().replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');

class Counter implements Family {
  readonly kind = "counter";
  readonly help: string;
  readonly #values = new Map<string, number>();

  constructor(help: string) {
    this.help = help;
  }

  add(amount: number, labels: Labels = {}): void {
    const key = seriesOf(this.#values, labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + amount);
  }

  samples(): Sample[] {
    return [...this.#values].map(([labels, value]) => ({ suffix: "", labels, value }));
  }
}

/** The key of a series; a series too many is counted under "other". */
function seriesOf(known: ReadonlyMap<string, unknown>, labels: Labels): string {
  const key = labelText(labels);
  if (known.has(key) || known.size < SERIES_MAX) return key;
  return labelText(Object.fromEntries(Object.keys(labels).map((name) => [name, "other"])));
}

class Histogram implements Family {
  readonly kind = "histogram";
  readonly help: string;
  readonly #series = new Map<string, { counts: Float64Array; sum: number; count: number }>();

  constructor(help: string) {
    this.help = help;
  }

  observe(seconds: number, labels: Labels = {}): void {
    const key = seriesOf(this.#series, labels);
    let series = this.#series.get(key);
    if (series === undefined) {
      series = { counts: new Float64Array(SECONDS_BUCKETS.length), sum: 0, count: 0 };
      this.#series.set(key, series);
    }
    const at = SECONDS_BUCKETS.findIndex((bound) => seconds <= bound);
    if (at >= 0) series.counts[at]!++;
    series.sum += seconds;
    series.count++;
  }

  *samples(): Generator<Sample> {
    for (const [labels, { counts, sum, count }] of this.#series) {
      const comma = labels === "" ? "" : ",";
      let below = 0;
      for (const [at, bound] of SECONDS_BUCKETS.entries()) {
        below += counts[at]!;
        yield { suffix: "_bucket", labels: `${labels}${comma}le="${bound}"`, value: below };
      }
      yield { suffix: "_bucket", labels: `${labels}${comma}le="+Inf"`, value: count };
      yield { suffix: "_sum", labels, value: sum };
      yield { suffix: "_count", labels, value: count };
    }
  }
}

export class Metrics {
  readonly #families = new Map<string, Family>();

  counter(name: string, help: string): Counter {
    return this.#add(name, new Counter(help));
  }

  /** Of seconds. */
  histogram(name: string, help: string): Histogram {
    return this.#add(name, new Histogram(help));
  }

  /** Values that `read` gives whenever somebody looks; what it throws leaves the metric out of that answer. */
  ask(name: string, kind: "counter" | "gauge", help: string, read: () => Reading[] | Promise<Reading[]>): void {
    this.#add(name, {
      kind,
      help,
      async samples() {
        const readings = await read();
        return readings
          .slice(0, READINGS_MAX)
          .map(({ labels, value }) => ({ suffix: "", labels: labelText(labels ?? {}), value }));
      },
    });
  }

  #add<F extends Family>(name: string, family: F): F {
    if (this.#families.has(name)) throw new Error(`invariant broken: two metrics are called ${name}`);
    this.#families.set(name, family);
    return family;
  }

  /** Everything as it is now; what cannot be told is left out. */
  async collect(): Promise<MetricFamily[]> {
    const families: MetricFamily[] = [];
    for (const [name, family] of this.#families) {
      try {
        families.push({ name, help: family.help, kind: family.kind, samples: [...(await family.samples())] });
      } catch {
        continue;
      }
    }
    return families;
  }

  async text(): Promise<string> {
    const lines: string[] = [];
    for (const { name, help, kind, samples } of await this.collect()) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`);
      for (const { suffix, labels, value } of samples) {
        lines.push(`${name}${suffix}${labels === "" ? "" : `{${labels}}`} ${value}`);
      }
    }
    return `${lines.join("\n")}\n`;
  }
}
