/** A large file, changed in place in many small spots. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { GIB, scatterEdits, writeRandomFile } from "./lib/data.ts";
import { duel, duelRows } from "./lib/duel.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const SEED = 3;
const EDITS = 1000;
const EDIT_BYTES = 16;

export const scatteredEdits: Workload = {
  name: "scattered-edits",
  title: "1 GiB file with 1,000 scattered 16-byte edits",
  runs: 5,
  needs: ["rsync"],
  rows: [
    {
      id: "scattered-edits/bytes", measure: "bytes on the wire", unit: "bytes", statistic: "median",
      peer: "rsync daemon", bar: { of: "ratio", max: 0.1 },
    },
    {
      id: "scattered-edits/time", measure: "time", unit: "s", statistic: "median",
      peer: "rsync daemon", bar: { of: "ratio", max: 0.6 },
    },
  ],
  ifMissed:
    "rsync writes the whole file anew, into the page cache. Its time differs with what the host of this virtual machine has done " +
    "with that memory: 1.3 to 1.9 s where it was used a moment ago, 2.9 to 3.5 s where the host had taken it back; ours, durable, " +
    "0.9 to 1.4 s in both.",
  async measure(context, runs) {
    const source = join(context.dir, "scattered-edits-source");
    mkdirSync(source);
    const file = join(source, "large.bin");
    const sizeBytes = scaled(context, GIB);
    writeRandomFile(file, sizeBytes, SEED);
    const result = await duel(context, {
      name: this.name, source, runs, destination: "kept",
      change: (round) => scatterEdits(file, sizeBytes, scaled(context, EDITS), EDIT_BYTES, SEED + round),
    });
    return duelRows(result, { bytes: "scattered-edits/bytes", time: "scattered-edits/time" });
  },
};
