/** Many small files that the destination has nothing of. */
import { duel, duelRows } from "./lib/duel.ts";
import { sharedSmallTree } from "./lib/small-tree.ts";
import type { Workload } from "./lib/workload.ts";

export const firstCopySmall: Workload = {
  name: "first-copy-small",
  title: "100,000 files of 20–4,000 bytes in 1,050 directories, first copy",
  runs: 3,
  needs: ["rsync"],
  rows: [{
    id: "first-copy-small/time", measure: "time", unit: "s", statistic: "median",
    peer: "rsync daemon", bar: { of: "ratio", max: 0.4 },
  }],
  async measure(context, runs) {
    const { dir } = await sharedSmallTree(context);
    const result = await duel(context, { name: this.name, source: dir, runs, destination: "fresh" });
    return duelRows(result, { time: "first-copy-small/time" });
  },
};
