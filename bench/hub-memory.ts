/** What a hub of many files and many hosts needs. */
import { join } from "node:path";
import { sharedBigHub } from "./lib/big-hub.ts";
import { BenchHub } from "./lib/hub.ts";
import type { Workload } from "./lib/workload.ts";

const AGENTS = 50;
/** After the last has caught up: buffers are given back and the collector has had its turn. */
const IDLE_MS = 15_000;
const MIB = 2 ** 20;

export const hubMemory: Workload = {
  name: "hub-memory",
  title: "hub: resident memory with 1,000,000 files and 50 agents, one of all files, 49 of a hundredth each",
  runs: 1,
  needs: [],
  rows: [{
    id: "hub-memory/resident", measure: "resident", unit: "bytes", statistic: "max", peer: undefined,
    bar: { of: "figure", max: 400 * MIB },
  }],
  /** Each agent is a process of its own. The hub starts anew in each run, the agents go on from what they have. */
  async measure(context, runs) {
    const big = await sharedBigHub(context);
    const ours: number[] = [];
    let [empty, busy] = [0, 0];
    for (let run = 1; run <= runs; run++) {
      await using hub = await BenchHub.start(big.dir);
      empty = hub.residentBytes();
      hub.addAgent("filler", big.root);
      for (let at = 1; at < AGENTS; at++) {
        const top = big.tops[at % big.tops.length]!;
        hub.addAgent(`part-${at}`, join(big.dir, `part-${at}`), top);
      }
      await hub.caughtUp();
      busy = hub.residentBytes();
      await Bun.sleep(IDLE_MS);
      ours.push(hub.residentBytes());
      const parts = Object.entries({ "just started": empty, "all caught up": busy, idle: ours.at(-1)! })
        .map(([name, bytes]) => `${name} ${(bytes / MIB).toFixed(1)} MiB`);
      context.say(`  ${run}. ${parts.join(", ")}`);
    }
    const at = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
    const note = `${at(empty)} just after its start, ${at(busy)} when the last agent had caught up`;
    return [{ id: "hub-memory/resident", ours, note }];
  },
};
