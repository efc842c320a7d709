/** One large file from host to host through a hub. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { GIB, writeRandomFile } from "./lib/data.ts";
import { hubDuel } from "./lib/hub-duel.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const SEED = 12;

export const hubLarge: Workload = {
  name: "hub-large",
  title: "hub: 1 GiB random file appears on one host → whole on another",
  runs: 3,
  needs: ["syncthing"],
  rows: [{
    id: "hub-large/time", measure: "time", unit: "s", statistic: "median",
    peer: "syncthing, scan asked for", bar: { of: "ratio", max: 0.8 },
  }],
  async measure(context, runs) {
    const source = join(context.dir, "hub-large-source");
    mkdirSync(source);
    writeRandomFile(join(source, "large.bin"), scaled(context, GIB), SEED);
    const result = await hubDuel(context, { name: this.name, source, runs, peerRuns: runs });
    return [{ id: "hub-large/time", ...result }];
  },
};
