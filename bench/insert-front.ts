/** A large file in which everything moved by a few bytes. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { GIB, insertInFront, writeRandomFile } from "./lib/data.ts";
import { duel, duelRows } from "./lib/duel.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const SEED = 4;
const INSERTED_BYTES = 100;

export const insertFront: Workload = {
  name: "insert-front",
  title: "1 GiB file with 100 bytes inserted in front",
  runs: 5,
  needs: ["rsync"],
  rows: [
    {
      id: "insert-front/bytes", measure: "bytes on the wire", unit: "bytes", statistic: "median",
      peer: "rsync daemon", bar: { of: "ratio", max: 0.5 },
    },
    {
      id: "insert-front/time", measure: "time", unit: "s", statistic: "median",
      peer: "rsync daemon", bar: undefined,
    },
  ],
  async measure(context, runs) {
    const source = join(context.dir, "insert-front-source");
    mkdirSync(source);
    const file = join(source, "large.bin");
    writeRandomFile(file, scaled(context, GIB), SEED);
    const result = await duel(context, {
      name: this.name, source, runs, destination: "kept",
      change: (round) => insertInFront(file, join(context.dir, "insert-front-scratch"), INSERTED_BYTES, SEED + round),
    });
    return duelRows(result, { bytes: "insert-front/bytes", time: "insert-front/time" });
  },
};
