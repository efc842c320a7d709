/** A large file that got another name: nothing has to travel. */
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { GIB, writeRandomFile } from "./lib/data.ts";
import { duel, duelRows } from "./lib/duel.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const SEED = 5;

export const renameLarge: Workload = {
  name: "rename-large",
  title: "1 GiB file renamed",
  runs: 5,
  needs: ["rsync"],
  rows: [
    {
      id: "rename-large/bytes", measure: "bytes on the wire", unit: "bytes", statistic: "median",
      peer: "rsync daemon --delete", bar: { of: "ratio", max: 0.01 },
    },
    {
      id: "rename-large/time", measure: "time", unit: "s", statistic: "median",
      peer: "rsync daemon --delete", bar: { of: "ratio", max: 0.1 },
    },
  ],
  async measure(context, runs) {
    const source = join(context.dir, "rename-large-source");
    mkdirSync(source);
    const name = (round: number): string => join(source, `large-${round}.bin`);
    writeRandomFile(name(0), scaled(context, GIB), SEED);
    const result = await duel(context, {
      name: this.name, source, runs, destination: "kept", rsyncOptions: ["--delete"],
      change: (round) => renameSync(name(round - 1), name(round)),
    });
    return duelRows(result, { bytes: "rename-large/bytes", time: "rename-large/time" });
  },
};
