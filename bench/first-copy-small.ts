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
  ifMissed:
    "rsync waits for no disk; what ours ends with is durable. A C program that only creates these files takes 2.1 s of one " +
    "processor here, `syncfs` 0.8 to 1.3 s, reading the source 0.7 s: 4 s on two processors, which is 0.4 to 0.5 of rsync's time " +
    "with nothing of ours in it. Tried: files made on a thread of their own (helped), sending while the scan goes on (helped), " +
    "`O_TMPFILE` and `linkat`, `io_uring`, other thresholds of the compiler (no gain); see ARCHITECTURE, section 9.",
  async measure(context, runs) {
    const { dir } = await sharedSmallTree(context);
    const result = await duel(context, { name: this.name, source: dir, runs, destination: "fresh" });
    return duelRows(result, { time: "first-copy-small/time" });
  },
};
