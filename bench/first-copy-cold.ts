/** Many small files that the destination has nothing of, and that are on the disk only, as most are that are copied first. */
import { duel, duelRows } from "./lib/duel.ts";
import { sharedSmallTree } from "./lib/small-tree.ts";
import type { Workload } from "./lib/workload.ts";

export const firstCopyCold: Workload = {
  name: "first-copy-cold",
  title: "100,000 files of 20–4,000 bytes in 1,050 directories, first copy, nothing of it in memory",
  runs: 3,
  needs: ["rsync"],
  rows: [{
    id: "first-copy-cold/time", measure: "time", unit: "s", statistic: "median",
    peer: "rsync daemon", bar: { of: "ratio", max: 0.8 },
  }],
  async measure(context, runs) {
    const { dir } = await sharedSmallTree(context);
    const result = await duel(context, { name: this.name, source: dir, runs, destination: "fresh", isCold: true });
    return duelRows(result, { time: "first-copy-cold/time" });
  },
};
