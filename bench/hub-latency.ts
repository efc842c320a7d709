/** Time from an edit on one host until another host reads it, through a hub. */
import { join } from "node:path";
import { ArrivalProbe, copyTree } from "./lib/arrival.ts";
import type { SmallTree } from "./lib/data.ts";
import { BenchHub } from "./lib/hub.ts";
import { sampleArrivals, sampleLsyncd, sampleSyncthing, sayArrivals } from "./lib/latency.ts";
import { requireSameTrees } from "./lib/same-trees.ts";
import { sharedSmallTree } from "./lib/small-tree.ts";
import { type Bar, type BenchContext, type RowSpec, type Statistic, type Workload, scaled } from "./lib/workload.ts";

const OUR_SAMPLES = 200;
const PEER_SAMPLES = 30;
const OUR_REST_MS = 200;
/** Files that are made first, untimed, and then edited. */
const EDITED_FILES = 5;
const SEED = 11;

const figure = (measure: string, statistic: Statistic, bar: Bar | undefined): RowSpec => ({
  id: `hub-latency/${measure}`, measure, unit: "ms", statistic, peer: undefined, bar,
});

const beside = (peer: string): RowSpec => ({
  id: `hub-latency/${peer}`, measure: "p50", unit: "ms", statistic: "median", peer: `${peer}, delay 1 s`, bar: undefined,
});

export const hubLatency: Workload = {
  name: "hub-latency",
  title: "hub, settle immediate: 100-byte file edited on one host → readable on another, space of 100,000 files",
  runs: 1,
  needs: ["rsync", "lsyncd", "syncthing"],
  rows: [
    figure("p50", "median", { of: "figure", max: 25 }),
    figure("p99", "p99", { of: "figure", max: 100 }),
    figure("longest", "max", undefined),
    beside("lsyncd"),
    beside("syncthing"),
  ],
  /** `runs` times as many samples of each. */
  async measure(context, runs) {
    const shared = await sharedSmallTree(context);
    const dir = join(context.dir, "hub-latency");
    const tree = { ...shared, dir: join(dir, "source") };
    copyTree(shared.dir, tree.dir);
    const ours = await sampleOurs(context, tree, dir, OUR_SAMPLES * runs);
    sayArrivals(context, "hub", ours);
    const count = scaled(context, PEER_SAMPLES, 3) * runs;
    const sample = { name: "hub", tree, seed: SEED, count, arrive: editOf };
    const lsyncd = await sampleLsyncd(join(dir, "lsyncd"), sample);
    sayArrivals(context, "lsyncd", lsyncd);
    const syncthing = await sampleSyncthing(join(dir, "syncthing"), sample);
    sayArrivals(context, "syncthing", syncthing);
    return [
      ...["p50", "p99", "longest"].map((measure) => ({ id: `hub-latency/${measure}`, ours })),
      { id: "hub-latency/lsyncd", ours, peer: lsyncd },
      { id: "hub-latency/syncthing", ours, peer: syncthing },
    ];
  },
};

/** The first look at a probe makes its files. */
function editOf(probe: ArrivalProbe, destination: string): number {
  while (probe.files < EDITED_FILES) probe.next(destination);
  return probe.edit([destination]);
}

async function sampleOurs(context: BenchContext, tree: SmallTree, dir: string, count: number): Promise<number[]> {
  await using hub = await BenchHub.start(join(dir, "ours"));
  const destination = join(dir, "ours", "files");
  const began = Date.now();
  hub.addAgent("a", tree.dir);
  await hub.caughtUp();
  hub.addAgent("b", destination);
  await hub.caughtUp();
  context.say(`  first copy into the hub, and out of it: ${((Date.now() - began) / 1000).toFixed(1)} s`);
  const probe = new ArrivalProbe("ours", tree.dir, tree.folders, SEED);
  const series = await sampleArrivals(count, OUR_REST_MS, probe, () => editOf(probe, destination));
  await hub.caughtUp();
  requireSameTrees("hub", tree.dir, destination);
  return series;
}
