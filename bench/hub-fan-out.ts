/** What it costs that an edit goes to many hosts instead of one. */
import { join } from "node:path";
import { ArrivalProbe } from "./lib/arrival.ts";
import { makeSmallTree } from "./lib/data.ts";
import { BenchHub } from "./lib/hub.ts";
import { sampleArrivals, sayArrivals } from "./lib/latency.ts";
import { requireSameTrees } from "./lib/same-trees.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const HOSTS = 20;
const FILES = 1000;
const SAMPLES = 200;
const EDITED_FILES = 5;
const REST_MS = 300;
const SEED = 13;

export const hubFanOut: Workload = {
  name: "hub-fan-out",
  title: "hub, settle immediate: 100-byte file edited on one host → readable on all of 20 others, each an agent's process",
  runs: 1,
  needs: [],
  rows: [
    { id: "hub-fan-out/p99", measure: "p99", unit: "ms", statistic: "p99", peer: "itself, 1 other", bar: { of: "ratio", max: 6 } },
    { id: "hub-fan-out/p50", measure: "p50", unit: "ms", statistic: "median", peer: "itself, 1 other", bar: undefined },
  ],
  /** `runs` times as many samples of each. */
  async measure(context, runs) {
    const dir = join(context.dir, "hub-fan-out");
    const { dir: source, folders } = makeSmallTree(join(dir, "source"), FILES, SEED);
    await using hub = await BenchHub.start(join(dir, "hub"));
    hub.addAgent("writer", source);
    await hub.caughtUp();
    const roots = Array.from({ length: HOSTS }, (_, at) => join(dir, `root-${at}`));
    const [first, ...others] = roots as [string, ...string[]];
    hub.addAgent("reader-0", first);
    await hub.caughtUp();
    const probe = new ArrivalProbe("edit", source, folders, SEED);
    while (probe.files < EDITED_FILES) probe.next(first);
    const count = scaled(context, SAMPLES, 20) * runs;
    const one = await sampleArrivals(count, REST_MS, probe, () => probe.edit([first]));
    sayArrivals(context, "1 other", one);
    for (const [at, root] of others.entries()) hub.addAgent(`reader-${at + 1}`, root);
    await hub.caughtUp();
    const all = await sampleArrivals(count, REST_MS, probe, () => probe.edit(roots));
    sayArrivals(context, `${HOSTS} others`, all);
    await hub.caughtUp();
    for (const root of roots) requireSameTrees("hub", source, root);
    return ["p99", "p50"].map((measure) => ({ id: `hub-fan-out/${measure}`, ours: all, peer: one }));
  },
};
