/** Series of numbers -> the one that is compared. */
import type { Statistic } from "./workload.ts";

/** The value below or at which `share` (0..1) of the series lies, by nearest rank. The series must not be empty. */
export function quantile(series: readonly number[], share: number): number {
  const sorted = series.toSorted((a, b) => a - b);
  const rank = Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1));
  const value = sorted[rank];
  if (value === undefined) throw new RangeError("no values");
  return value;
}

/** Mean of the two middle values where their number is even. */
export function median(series: readonly number[]): number {
  const sorted = series.toSorted((a, b) => a - b);
  const high = sorted[sorted.length >> 1];
  const low = sorted[(sorted.length - 1) >> 1];
  if (high === undefined || low === undefined) throw new RangeError("no values");
  return (low + high) / 2;
}

const BY_NAME: Record<Statistic, (series: readonly number[]) => number> = {
  median,
  p99: (series) => quantile(series, 0.99),
  max: (series) => quantile(series, 1),
};

export function statisticOf(series: readonly number[], statistic: Statistic): number {
  return BY_NAME[statistic](series);
}
