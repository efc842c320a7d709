/** The table must not flatter: failures, old rows and missing rows show as what they are. */
import { expect, test } from "bun:test";
import type { RunFacts } from "./machine.ts";
import { resultsPage, textTable } from "./report.ts";
import { NO_RESULTS, judge, withFailure, withRows } from "./results.ts";
import { median, quantile } from "./statistics.ts";
import type { RowSpec, Workload } from "./workload.ts";

const OLD = "2026-11-20T08:00:00.000Z";
const NEW = "2026-11-21T09:30:00.000Z";
const FACTS: RunFacts = {
  processor: "a processor", cores: 2, memoryGib: 24, kernel: "Linux", fileSystem: "ext4", load: 0.1,
  program: "bin/syncline", commit: "abc", versions: { rsync: "rsync 3" },
};

function workload(name: string, bar: RowSpec["bar"], peer: string | undefined): Workload {
  const rows: RowSpec[] = [{ id: `${name}/time`, measure: "time", unit: "s", statistic: "median", peer, bar }];
  return { name, title: `the ${name}`, runs: 3, needs: [], rows, measure: () => Promise.resolve([]) };
}

const fast = workload("fast", { of: "ratio", max: 0.5 }, "rsync");
const slow = workload("slow", { of: "ratio", max: 0.5 }, "rsync");
const alone = workload("alone", { of: "figure", max: 2 }, undefined);
const rate: Workload = {
  ...workload("rate", undefined, undefined),
  rows: [{
    id: "rate/commits", measure: "commits", unit: "/s", statistic: "median", peer: undefined, bar: { of: "figure", min: 3000 },
  }],
};

test("[BENCH-1] a ratio and a figure are held against their bars, the bar itself included", () => {
  const row = (ours: number[], peer: number[] | null) => ({ run: NEW, ours, peer, note: null, failure: null });
  expect(judge(fast.rows[0]!, row([1, 1, 9], [2, 2, 2]))).toEqual({ ours: 1, peer: 2, ratio: 0.5, met: true });
  expect(judge(fast.rows[0]!, row([1.01], [2]))?.met).toBe(false);
  expect(judge(alone.rows[0]!, row([2], null))?.met).toBe(true);
  expect(judge(alone.rows[0]!, row([2.01], null))?.met).toBe(false);
  expect(judge(fast.rows[0]!, { ...row([1], [9]), failure: "wrong" })).toBeUndefined();
});

test("[BENCH-1] a bar may be the least that is good enough", () => {
  const row = (ours: number) => ({ run: NEW, ours: [ours], peer: null, note: null, failure: null });
  expect(judge(rate.rows[0]!, row(3000))?.met).toBe(true);
  expect(judge(rate.rows[0]!, row(2999))?.met).toBe(false);
  const page = resultsPage([rate], withRows(NO_RESULTS, NEW, FACTS, [{ id: "rate/commits", ours: [8123.4] }]), NEW);
  expect(page).toContain("| the rate | commits | – | – | 8,123/s | – | ≥ 3,000/s | met | this run |");
});

test("[BENCH-2] a row of an earlier run shows its date, a row without a run says so, a failed row has no number", () => {
  let results = withRows(NO_RESULTS, OLD, FACTS, [{ id: "fast/time", ours: [1.5, 1, 2], peer: [4, 4, 4] }]);
  results = withFailure(results, NEW, FACTS, slow, "differences:\na and b");
  const page = resultsPage([fast, slow, alone], results, NEW);
  expect(page).toContain("| the fast | time | rsync | 4.00 s | 1.50 s | 0.375 | ≤ 0.5 | met | earlier: 2026-11-20 08:00 |");
  expect(page).toContain("| the slow | time | rsync |  |  |  | ≤ 0.5 | FAILED | this run |");
  expect(page).toContain("| the alone | time | – |  |  |  | ≤ 2.00 s | not run yet | never |");
  expect(page).toContain("FAILED: differences:; a and b");
  expect(textTable([fast], results, OLD).join("\n")).toContain("0.375");
});

test("[BENCH-5] a bar that is missed is told with its reason, or that none is known; others are not", () => {
  const told: Workload = { ...slow, ifMissed: "the disk is slow." };
  const ids = ["fast/time", "slow/time", "alone/time"];
  const results = withRows(NO_RESULTS, NEW, FACTS, ids.map((id) => ({ id, ours: [3], peer: id === "fast/time" ? [9] : [4] })));
  const page = resultsPage([fast, told, alone], results, NEW);
  expect(page).toContain("## Bars that are missed\n\n- the slow (time): the disk is slow.\n- the alone (time): nobody knows yet why.\n");
  expect(resultsPage([fast], results, NEW)).not.toContain("missed");
});

test("[BENCH-3] a run is kept as long as a row refers to it", () => {
  const first = withRows(NO_RESULTS, OLD, FACTS, [{ id: "fast/time", ours: [1] }, { id: "slow/time", ours: [1] }]);
  const second = withRows(first, NEW, FACTS, [{ id: "fast/time", ours: [2] }]);
  expect(Object.keys(second.runs)).toEqual([OLD, NEW]);
  const third = withRows(second, NEW, FACTS, [{ id: "slow/time", ours: [2] }]);
  expect(Object.keys(third.runs)).toEqual([NEW]);
});

test("[BENCH-4] quantiles are values of the series by nearest rank; a median may lie between two", () => {
  const series = Array.from({ length: 200 }, (_, at) => 200 - at);
  expect(quantile(series, 0)).toBe(1);
  expect(quantile(series, 0.99)).toBe(198);
  expect(quantile(series, 1)).toBe(200);
  expect(median(series)).toBe(100.5);
  expect(() => median([])).toThrow(RangeError);
});
