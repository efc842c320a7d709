/** One large file that the destination has nothing of. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { GIB, writeRandomFile } from "./lib/data.ts";
import { duel, duelRows } from "./lib/duel.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const SEED = 1;

export const firstCopyLarge: Workload = {
  name: "first-copy-large",
  title: "1 GiB random file, first copy",
  runs: 5,
  needs: ["rsync"],
  rows: [{
    id: "first-copy-large/time", measure: "time", unit: "s", statistic: "median",
    peer: "rsync daemon", bar: { of: "ratio", max: 0.75 },
  }],
  ifMissed:
    "rsync writes into the page cache and waits for no disk. Its time differs by six with what the host of this virtual machine " +
    "has done with that memory: 0.55 to 0.8 s where it was used a moment ago, 2.5 to 3.4 s where the host had taken it back. Ours " +
    "is encrypted, durable at its end and passes by the page cache: 0.9 to 1.1 s in both.",
  async measure(context, runs) {
    const source = join(context.dir, "first-copy-large-source");
    mkdirSync(source);
    writeRandomFile(join(source, "large.bin"), scaled(context, GIB), SEED);
    const result = await duel(context, { name: this.name, source, runs, destination: "fresh" });
    return duelRows(result, { time: "first-copy-large/time" });
  },
};
