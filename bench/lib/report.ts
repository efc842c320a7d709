/** Results as a table: for the terminal, and as the page bench/RESULTS.md. */
import { type Results, type RowResult, judge } from "./results.ts";
import { median, quantile } from "./statistics.ts";
import type { RowSpec, Unit, Workload } from "./workload.ts";

/** Longer series are shown by their quantiles. */
const VALUES_LISTED_MAX = 10;

const HEADINGS = ["workload", "measure", "peer", "peer's", "ours", "ours ÷ peer", "bar", "result", "measured"];

export function formatValue(value: number, unit: Unit): string {
  if (unit === "bytes") return formatBytes(value);
  if (unit === "bytes/file") return `${Math.round(value)} B a file`;
  if (unit === "/s") return `${Math.round(value).toLocaleString("en")}/s`;
  return `${digits(value)} ${unit}`;
}

function formatBytes(value: number): string {
  if (value < 1024) return `${value} B`;
  if (value < 2 ** 20) return `${digits(value / 1024)} KiB`;
  return value < 2 ** 30 ? `${digits(value / 2 ** 20)} MiB` : `${digits(value / 2 ** 30)} GiB`;
}

/** Three digits that mean something, without an exponent. */
function digits(value: number): string {
  if (value === 0) return "0";
  const decimals = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toFixed(decimals);
}

function barText({ bar, unit }: RowSpec): string {
  if (bar === undefined) return "–";
  const [sign, value] = "max" in bar ? ["≤", bar.max] : ["≥", bar.min];
  return `${sign} ${bar.of === "ratio" ? value : formatValue(value, unit)}`;
}

/** One line of the table, as HEADINGS. `run` is the present one; rows of others show their date. */
function cells(workload: Workload, spec: RowSpec, row: RowResult | undefined, run: string): string[] {
  const start = [workload.title, spec.measure, spec.peer ?? "–"];
  if (row === undefined) return [...start, "", "", "", barText(spec), "not run yet", "never"];
  const measured = row.run === run ? "this run" : `earlier: ${row.run.slice(0, 16).replace("T", " ")}`;
  const verdict = judge(spec, row);
  if (verdict === undefined) return [...start, "", "", "", barText(spec), "FAILED", measured];
  const { ours, peer, ratio, met } = verdict;
  return [
    ...start,
    peer === undefined ? "–" : formatValue(peer, spec.unit),
    formatValue(ours, spec.unit),
    ratio === undefined ? "–" : digits(ratio),
    barText(spec),
    met === undefined ? "–" : met ? "met" : "MISSED",
    measured,
  ];
}

function table(workloads: readonly Workload[], results: Results, run: string): string[][] {
  return workloads.flatMap((workload) => workload.rows.map((spec) => cells(workload, spec, results.rows[spec.id], run)));
}

/** Lines for a terminal: one heading for each workload, its rows below it in columns. */
export function textTable(workloads: readonly Workload[], results: Results, run: string): string[] {
  const rows = table(workloads, results, run).map(([title = "", ...rest]) => ({ title, rest: rest.slice(0, -1) }));
  const head = HEADINGS.slice(1, -1);
  const widths = head.map((name, at) => Math.max(name.length, ...rows.map(({ rest }) => rest[at]?.length ?? 0)));
  const line = (parts: readonly string[]): string =>
    `  ${parts.map((part, at) => part.padEnd(widths[at] ?? 0)).join("  ")}`.trimEnd();
  const lines = [line(head)];
  let title = "";
  for (const row of rows) {
    if (row.title !== title) lines.push(row.title);
    title = row.title;
    lines.push(line(row.rest));
  }
  return lines;
}

const ABOUT = [
  "Written by `npm run bench`; the numbers are in `results.json`. Both programs run on this machine and speak over a",
  "loopback socket, ours over TLS, one at a time and in turn, with the same data; `sync` before every timed run.",
  "A time runs from the start of the client's process to its exit. Bytes on the wire are what the client says it sent",
  "and received. After every run the destination was compared with the source by `diff -r`; where it differed, the row",
  "says FAILED. A row that the last run did not measure keeps the date of its own.",
];

/** The whole page. `run` is the run that has just ended. */
export function resultsPage(workloads: readonly Workload[], results: Results, run: string): string {
  const lines = ["# Benchmarks", "", ...ABOUT, ""];
  const facts = results.runs[run];
  if (facts !== undefined) {
    lines.push(
      `- Date: ${run.slice(0, 16).replace("T", " ")} UTC; load before it: ${facts.load}`,
      `- Machine: ${facts.cores} cores of ${facts.processor}, ${facts.memoryGib} GiB, ${facts.kernel}`,
      `- File system: ${facts.fileSystem}`,
      `- Program: \`${facts.program}\` at ${facts.commit}`,
      ...Object.entries(facts.versions).map(([name, version]) => `- ${name}: ${version}`),
      "",
    );
  }
  lines.push(`| ${HEADINGS.join(" | ")} |`, `|${HEADINGS.map(() => "---").join("|")}|`);
  for (const row of table(workloads, results, run)) lines.push(`| ${row.join(" | ")} |`);
  lines.push(...missedLines(workloads, results), "", "## Runs", "");
  for (const workload of workloads) {
    const specs = workload.rows.filter(({ id }) => results.rows[id] !== undefined);
    if (specs.length === 0) continue;
    lines.push(`### ${workload.title}`, "");
    for (const spec of specs) lines.push(...runLines(spec, results.rows[spec.id]!, run));
    lines.push("");
  }
  return `${lines.join("\n").trimEnd()}\n`;
}

/** A section of what is below its bar, and why. */
function missedLines(workloads: readonly Workload[], results: Results): string[] {
  const isMissed = (spec: RowSpec): boolean => {
    const row = results.rows[spec.id];
    return row !== undefined && judge(spec, row)?.met === false;
  };
  const lines = workloads
    .filter(({ rows }) => rows.some(isMissed))
    .map(({ title, rows, ifMissed }) => {
      const measures = rows.filter(isMissed).map(({ measure }) => measure);
      return `- ${title} (${measures.join(", ")}): ${ifMissed ?? "nobody knows yet why."}`;
    });
  return lines.length === 0 ? [] : ["", "## Bars that are missed", "", ...lines];
}

function runLines(spec: RowSpec, row: RowResult, run: string): string[] {
  const date = row.run === run ? "" : `, ${row.run.slice(0, 16).replace("T", " ")}`;
  if (row.failure !== null) return [`- ${spec.measure}${date}: FAILED: ${row.failure.replaceAll("\n", "; ")}`];
  const note = row.note === null ? "" : ` (${row.note})`;
  const lines = [`- ${spec.measure}${date}, ours: ${seriesText(row.ours, spec.unit)}${note}`];
  if (row.peer !== null) lines.push(`- ${spec.measure}${date}, ${spec.peer}: ${seriesText(row.peer, spec.unit)}`);
  return lines;
}

function seriesText(series: readonly number[], unit: Unit): string {
  if (series.length <= VALUES_LISTED_MAX) return series.map((value) => formatValue(value, unit)).join(", ");
  const marks = {
    least: quantile(series, 0), p50: median(series), p90: quantile(series, 0.9),
    p99: quantile(series, 0.99), longest: quantile(series, 1),
  };
  const parts = Object.entries(marks).map(([name, value]) => `${name} ${formatValue(value, unit)}`);
  return `${parts.join(", ")} (${series.length} samples)`;
}
