/** Many small files from host to host through a hub. */
import { hubDuel } from "./lib/hub-duel.ts";
import { sharedSmallTree } from "./lib/small-tree.ts";
import type { Workload } from "./lib/workload.ts";

/** It takes minutes for each. */
const SYNCTHING_RUNS = 1;

export const hubSmall: Workload = {
  name: "hub-small",
  title: "hub: 100,000 files of 20–4,000 bytes in 1,050 directories appear on one host → all on another",
  runs: 2,
  needs: ["syncthing"],
  rows: [{
    id: "hub-small/time", measure: "time", unit: "s", statistic: "median",
    peer: "syncthing, scan asked for", bar: { of: "ratio", max: 0.12 },
  }],
  async measure(context, runs) {
    const { dir } = await sharedSmallTree(context);
    const result = await hubDuel(context, { name: this.name, source: dir, runs, peerRuns: SYNCTHING_RUNS });
    return [{ id: "hub-small/time", ...result }];
  },
};
