/** Time from writing a small file until it can be read on the other side, in a root of many files that is watched. */
import { join } from "node:path";
import { ArrivalProbe, copyTree } from "./lib/arrival.ts";
import type { SmallTree } from "./lib/data.ts";
import { type Arrive, sampleArrivals, sampleLsyncd, sampleSyncthing, sayArrivals } from "./lib/latency.ts";
import { requireSameTrees } from "./lib/same-trees.ts";
import { sharedSmallTree } from "./lib/small-tree.ts";
import { SynclinePair } from "./lib/syncline.ts";
import { type Bar, type BenchContext, type RowSpec, type Statistic, type Workload, scaled } from "./lib/workload.ts";

const OUR_SAMPLES = 200;
const PEER_SAMPLES = 30;
/** Ours: samples lie this far apart at most, so that most find the programs idle. */
const OUR_REST_MS = 200;
const SEED = 7;

const against = (peer: string): RowSpec => ({
  id: `watch-latency/${peer}`, measure: "p50", unit: "ms", statistic: "median",
  peer: `${peer}, delay 1 s`, bar: { of: "ratio", max: 0.05 },
});

const figure = (measure: string, statistic: Statistic, bar: Bar | undefined): RowSpec => ({
  id: `watch-latency/${measure}`, measure, unit: "ms", statistic, peer: undefined, bar,
});

export const watchLatency: Workload = {
  name: "watch-latency",
  title: "--watch --settle immediate: 100-byte file written → readable on the other side, root of 100,000 files",
  runs: 2,
  needs: ["rsync", "lsyncd", "syncthing"],
  rows: [
    figure("p50", "median", { of: "figure", max: 15 }),
    figure("p99", "p99", { of: "figure", max: 60 }),
    figure("longest", "max", undefined),
    against("lsyncd"),
    against("syncthing"),
  ],
  /** Each of `runs` blocks has all three in turn, one at a time; the samples of the blocks are put together. */
  async measure(context, runs) {
    const shared = await sharedSmallTree(context);
    const tree = { ...shared, dir: join(context.dir, "watch-latency-source") };
    copyTree(shared.dir, tree.dir);
    const samples = { ours: [] as number[], lsyncd: [] as number[], syncthing: [] as number[] };
    for (let block = 1; block <= runs; block++) {
      const ours = await sampleOurs(context, tree, block, Math.ceil(OUR_SAMPLES / runs));
      const peers = scaled(context, PEER_SAMPLES, 3);
      const sample = {
        name: String(block), tree, seed: SEED + block, count: Math.ceil(peers / runs), arrive: newFile,
      };
      const lsyncd = await sampleLsyncd(join(context.dir, "watch-latency-lsyncd"), sample);
      const syncthing = await sampleSyncthing(join(context.dir, `watch-latency-syncthing-${block}`), sample);
      for (const [name, series] of Object.entries({ ours, lsyncd, syncthing })) {
        sayArrivals(context, `${block}. ${name}`, series);
      }
      samples.ours.push(...ours);
      samples.lsyncd.push(...lsyncd);
      samples.syncthing.push(...syncthing);
    }
    const { ours, lsyncd, syncthing } = samples;
    return [
      ...["p50", "p99", "longest"].map((measure) => ({ id: `watch-latency/${measure}`, ours })),
      { id: "watch-latency/lsyncd", ours, peer: lsyncd },
      { id: "watch-latency/syncthing", ours, peer: syncthing },
    ];
  },
};

const newFile: Arrive = (probe, destination) => probe.next(destination);

async function sampleOurs(context: BenchContext, tree: SmallTree, block: number, count: number): Promise<number[]> {
  await using pair = await SynclinePair.open(join(context.dir, "watch-latency-ours"), tree.dir);
  await pair.sync();
  const probe = new ArrivalProbe(`ours-${block}`, tree.dir, tree.folders, SEED + block);
  let series: number[];
  {
    await using _watching = await pair.watch();
    series = await sampleArrivals(count, OUR_REST_MS, probe, () => probe.next(pair.destination));
  }
  requireSameTrees("syncline", tree.dir, pair.destination);
  return series;
}
