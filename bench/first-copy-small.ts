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
    "rsync waits for no disk; what ours ends with is durable. A C program with a thread for each of the two processors that does " +
    "nothing but open, read, create, write and set times, locally, and then calls `syncfs`, took 2.2 and 2.4 s beside 4.2 and " +
    "4.3 s of rsync: 0.50 to 0.57, with no scan, no comparison, no line and no encryption. Tried: files made on a thread of their " +
    "own (helped), sending while the scan goes on (helped), `O_TMPFILE` and `linkat`, `io_uring`, other thresholds of the " +
    "compiler (no gain); see ARCHITECTURE, section 9.",
  async measure(context, runs) {
    const { dir } = await sharedSmallTree(context);
    const result = await duel(context, { name: this.name, source: dir, runs, destination: "fresh" });
    return duelRows(result, { time: "first-copy-small/time" });
  },
};
