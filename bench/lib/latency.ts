/** Series of arrivals with the programs that watch a root as ours does. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { ArrivalProbe, copyTree } from "./arrival.ts";
import type { SmallTree } from "./data.ts";
import { Lsyncd } from "./lsyncd.ts";
import { requireSameTrees } from "./same-trees.ts";
import { median, quantile } from "./statistics.ts";
import { Syncthing } from "./syncthing.ts";
import type { BenchContext } from "./workload.ts";

/** Peers collect for a second; a rest of up to as much meets their timers at any moment. */
const PEER_REST_MS = 1000;

/** What is timed: a new file, or one written over. */
export type Arrive = (probe: ArrivalProbe, destination: string) => number;

/** @param restMs the samples lie this far apart at most */
export async function sampleArrivals(count: number, restMs: number, probe: ArrivalProbe, arrive: () => number): Promise<number[]> {
  const series: number[] = [];
  while (series.length < count) {
    await probe.rest(restMs);
    series.push(arrive());
  }
  return series;
}

export function sayArrivals(context: BenchContext, name: string, series: readonly number[]): void {
  const p99 = quantile(series, 0.99).toFixed(2);
  context.say(`  ${name}: p50 ${median(series).toFixed(2)} ms, p99 ${p99} ms, ${series.length} samples`);
}

export type PeerSample = {
  /** In names of files and directories: two series of one source must differ. */
  readonly name: string;
  readonly tree: SmallTree;
  readonly seed: number;
  readonly count: number;
  readonly arrive: Arrive;
};

/** @param dir a copy that an earlier series left there is gone on from */
export async function sampleLsyncd(dir: string, { name, tree, seed, count, arrive }: PeerSample): Promise<number[]> {
  await using lsyncd = await Lsyncd.start(dir, tree.dir);
  const probe = new ArrivalProbe(`lsyncd-${name}`, tree.dir, tree.folders, seed);
  const series = await sampleArrivals(count, PEER_REST_MS, probe, () => arrive(probe, lsyncd.destination));
  requireSameTrees("lsyncd", tree.dir, lsyncd.destination);
  return series;
}

/**
 * Starts from a copy: its first transfer of 100,000 files takes minutes, and is not what is measured.
 *
 * @param dir new
 */
export async function sampleSyncthing(dir: string, { name, tree, seed, count, arrive }: PeerSample): Promise<number[]> {
  const destination = join(dir, "files");
  copyTree(tree.dir, destination);
  try {
    await using syncthing = await Syncthing.start(dir, tree.dir, destination, tree.files);
    const probe = new ArrivalProbe(`syncthing-${name}`, tree.dir, tree.folders, seed);
    const series = await sampleArrivals(count, PEER_REST_MS, probe, () => arrive(probe, destination));
    requireSameTrees("syncthing", tree.dir, syncthing.destination);
    return series;
  } finally {
    // Ours and lsyncd shall not carry its files over.
    for (const file of [".stfolder", ".stignore"]) rmSync(join(tree.dir, file), { recursive: true, force: true });
  }
}
