/** Many small files that are the same on both sides already: what looking costs. */
import { duel, duelRows } from "./lib/duel.ts";
import { sharedSmallTree } from "./lib/small-tree.ts";
import type { Workload } from "./lib/workload.ts";

export const noChange: Workload = {
  name: "no-change",
  title: "the same 100,000 files again, nothing changed",
  runs: 7,
  needs: ["rsync"],
  rows: [{
    id: "no-change/time", measure: "time", unit: "s", statistic: "median",
    peer: "rsync daemon", bar: { of: "ratio", max: 0.8 },
  }],
  ifMissed:
    "both programs do little else than ask the kernel for the state of 100,000 files, twice; ours starts a runtime beside that. " +
    "Runs lie between 0.68 and 0.81 of rsync's time.",
  async measure(context, runs) {
    const { dir } = await sharedSmallTree(context);
    const result = await duel(context, { name: this.name, source: dir, runs, destination: "kept" });
    return duelRows(result, { time: "no-change/time" });
  },
};
