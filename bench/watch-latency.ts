/** Time from writing a small file until it can be read on the other side, in a root of many files that is watched. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { ArrivalProbe, copyTree } from "./lib/arrival.ts";
import type { SmallTree } from "./lib/data.ts";
import { Lsyncd } from "./lib/lsyncd.ts";
import { requireSameTrees } from "./lib/same-trees.ts";
import { sharedSmallTree } from "./lib/small-tree.ts";
import { median, quantile } from "./lib/statistics.ts";
import { SynclinePair } from "./lib/syncline.ts";
import { Syncthing } from "./lib/syncthing.ts";
import { type Bar, type BenchContext, type RowSpec, type Statistic, type Workload, scaled } from "./lib/workload.ts";

const OUR_SAMPLES = 200;
const PEER_SAMPLES = 30;
/** Ours: samples lie this far apart at most, so that most find the programs idle. */
const OUR_REST_MS = 200;
/** Peers collect for a second; a rest of up to as much meets their timers at any moment. */
const PEER_REST_MS = 1000;
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
      const lsyncd = await sampleLsyncd(context, tree, block, Math.ceil(peers / runs));
      const syncthing = await sampleSyncthing(context, tree, block, Math.ceil(peers / runs));
      for (const [name, series] of Object.entries({ ours, lsyncd, syncthing })) {
        const p99 = quantile(series, 0.99).toFixed(2);
        context.say(`  ${block}. ${name}: p50 ${median(series).toFixed(2)} ms, p99 ${p99} ms, ${series.length} samples`);
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

async function sample(probe: ArrivalProbe, destination: string, count: number, restMs: number): Promise<number[]> {
  const series: number[] = [];
  while (series.length < count) {
    await probe.rest(restMs);
    series.push(probe.next(destination));
  }
  return series;
}

async function sampleOurs(context: BenchContext, tree: SmallTree, block: number, count: number): Promise<number[]> {
  await using pair = await SynclinePair.open(join(context.dir, "watch-latency-ours"), tree.dir);
  await pair.sync();
  const probe = new ArrivalProbe(`ours-${block}`, tree.dir, tree.folders, SEED + block);
  let series: number[];
  {
    await using _watching = await pair.watch();
    series = await sample(probe, pair.destination, count, OUR_REST_MS);
  }
  requireSameTrees("syncline", tree.dir, pair.destination);
  return series;
}

async function sampleLsyncd(context: BenchContext, tree: SmallTree, block: number, count: number): Promise<number[]> {
  await using lsyncd = await Lsyncd.start(join(context.dir, "watch-latency-lsyncd"), tree.dir);
  const probe = new ArrivalProbe(`lsyncd-${block}`, tree.dir, tree.folders, SEED + block);
  const series = await sample(probe, lsyncd.destination, count, PEER_REST_MS);
  requireSameTrees("lsyncd", tree.dir, lsyncd.destination);
  return series;
}

/** Each block starts from a copy: its first transfer of 100,000 files takes minutes, and is not what is measured. */
async function sampleSyncthing(context: BenchContext, tree: SmallTree, block: number, count: number): Promise<number[]> {
  const dir = join(context.dir, `watch-latency-syncthing-${block}`);
  const destination = join(dir, "files");
  copyTree(tree.dir, destination);
  try {
    await using syncthing = await Syncthing.start(dir, tree.dir, destination, tree.files);
    const probe = new ArrivalProbe(`syncthing-${block}`, tree.dir, tree.folders, SEED + block);
    const series = await sample(probe, destination, count, PEER_REST_MS);
    requireSameTrees("syncthing", tree.dir, syncthing.destination);
    return series;
  } finally {
    // Ours and lsyncd shall not carry its files over.
    for (const name of [".stfolder", ".stignore"]) rmSync(join(tree.dir, name), { recursive: true, force: true });
  }
}
