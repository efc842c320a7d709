/** A directory of many files that got another name. */
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { makeSmallTree } from "./lib/data.ts";
import { duel, duelRows } from "./lib/duel.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const SEED = 6;
const FILES = 10_000;

export const renameDirectory: Workload = {
  name: "rename-directory",
  title: "directory of 10,000 files renamed",
  runs: 7,
  needs: ["rsync"],
  rows: [
    {
      id: "rename-directory/bytes", measure: "bytes on the wire", unit: "bytes", statistic: "median",
      peer: "rsync daemon --delete", bar: { of: "ratio", max: 0.01 },
    },
    {
      id: "rename-directory/time", measure: "time", unit: "s", statistic: "median",
      peer: "rsync daemon --delete", bar: { of: "ratio", max: 0.1 },
    },
  ],
  async measure(context, runs) {
    const source = join(context.dir, "rename-directory-source");
    mkdirSync(source);
    const name = (round: number): string => join(source, `folder-${round}`);
    makeSmallTree(name(0), scaled(context, FILES), SEED);
    const result = await duel(context, {
      name: this.name, source, runs, destination: "kept", rsyncOptions: ["--delete"],
      change: (round) => renameSync(name(round - 1), name(round)),
    });
    return duelRows(result, { bytes: "rename-directory/bytes", time: "rename-directory/time" });
  },
};
