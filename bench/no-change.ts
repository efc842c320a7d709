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
  async measure(context, runs) {
    const { dir } = await sharedSmallTree(context);
    const result = await duel(context, { name: this.name, source: dir, runs, destination: "kept" });
    return duelRows(result, { time: "no-change/time" });
  },
};
