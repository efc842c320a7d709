/** What was measured, kept row by row with the run it comes from, so that a row never passes for a newer one. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { RunFacts } from "./machine.ts";
import { statisticOf } from "./statistics.ts";
import type { Bar, Measured, RowSpec, Workload } from "./workload.ts";

export type RowResult = {
  /** Key in Results.runs. */
  readonly run: string;
  readonly ours: readonly number[];
  readonly peer: readonly number[] | null;
  readonly note: string | null;
  /** Why there is no result; the series are empty then. */
  readonly failure: string | null;
};

export type Results = {
  /** By the ISO time at which the run began; only those that a row still refers to. */
  readonly runs: Readonly<Record<string, RunFacts>>;
  readonly rows: Readonly<Record<string, RowResult>>;
};

export const NO_RESULTS: Results = { runs: {}, rows: {} };

export function readResults(file: string): Results {
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) as Results : NO_RESULTS;
}

export function writeResults(file: string, results: Results): void {
  writeFileSync(file, `${JSON.stringify(results, roundNumber, 1)}\n`);
}

/** Six digits are more than any clock here is good for. */
function roundNumber(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;
}

/** Adds the rows of one workload; a row that was there is replaced. */
export function withRows(results: Results, run: string, facts: RunFacts, measured: readonly Measured[]): Results {
  const rows = { ...results.rows };
  for (const { id, ours, peer = null, note = null } of measured) rows[id] = { run, ours, peer, note, failure: null };
  return prune({ runs: { ...results.runs, [run]: facts }, rows });
}

/** Marks all rows of a workload as failed. */
export function withFailure(
  results: Results,
  run: string,
  facts: RunFacts,
  workload: Workload,
  failure: string,
): Results {
  const rows = { ...results.rows };
  for (const { id } of workload.rows) rows[id] = { run, ours: [], peer: null, note: null, failure };
  return prune({ runs: { ...results.runs, [run]: facts }, rows });
}

function prune({ runs, rows }: Results): Results {
  const used = new Set(Object.values(rows).map((row) => row.run));
  return { runs: Object.fromEntries(Object.entries(runs).filter(([run]) => used.has(run))), rows };
}

export type Verdict = {
  readonly ours: number;
  readonly peer: number | undefined;
  readonly ratio: number | undefined;
  /** Undefined where there is no bar. */
  readonly met: boolean | undefined;
};

/** Holds a row against its bar. Undefined when it failed. */
export function judge(spec: RowSpec, row: RowResult): Verdict | undefined {
  if (row.failure !== null) return undefined;
  const ours = statisticOf(row.ours, spec.statistic);
  const peer = row.peer === null ? undefined : statisticOf(row.peer, spec.statistic);
  const ratio = peer === undefined ? undefined : ours / peer;
  return { ours, peer, ratio, met: spec.bar === undefined ? undefined : isMet(spec.bar, ours, ratio) };
}

function isMet(bar: Bar, ours: number, ratio: number | undefined): boolean {
  const value = bar.of === "ratio" ? ratio : ours;
  if (value === undefined) return false;
  return "max" in bar ? value <= bar.max : value >= bar.min;
}
