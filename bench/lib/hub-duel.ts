/** A directory that appears on one host, until another host has it: through a hub, and through a pair of Syncthing. */
import { lstatSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { copyTree } from "./arrival.ts";
import { BenchHub } from "./hub.ts";
import { syncDisks } from "./processes.ts";
import { requireSameTrees } from "./same-trees.ts";
import { Syncthing } from "./syncthing.ts";
import { type BenchContext, WrongResult } from "./workload.ts";

/** What is moved in, and where it arrives: a name in the root. */
const FOLDER = "arriving";
const LOOK_EVERY_MS = 5;
const ARRIVAL_MS_MAX = 1_200_000;

export type HubDuelOptions = {
  readonly name: string;
  /** A directory, which is copied for each run. */
  readonly source: string;
  readonly runs: number;
  /** Runs of Syncthing; the first of ours have it in turn. */
  readonly peerRuns: number;
};

export type HubDuelResult = { readonly ours: number[]; readonly peer: number[] };

/**
 * Both watch empty directories when the data is moved in, and Syncthing is asked to scan at once, so that neither
 * starting a program nor its watcher's delay is in the times. What was copied stays until the end of the run: ext4 passes
 * over the inodes of files that were deleted in the last minutes, one by one.
 *
 * @throws {WrongResult} when the other side is not like the source in the end
 */
export async function hubDuel(context: BenchContext, options: HubDuelOptions): Promise<HubDuelResult> {
  const { name, source, runs, peerRuns } = options;
  const result: HubDuelResult = { ours: [], peer: [] };
  const files = filesOf(source);
  for (let round = 1; round <= runs; round++) {
    const dir = join(context.dir, name, String(round));
    const ours = await throughHub(join(dir, "hub"), source, files);
    context.say(`  ${round}. hub: ${ours.toFixed(3)} s`);
    result.ours.push(ours);
    if (round > peerRuns) continue;
    const peer = await throughSyncthing(join(dir, "syncthing"), source, files);
    context.say(`  ${round}. syncthing: ${peer.toFixed(3)} s`);
    result.peer.push(peer);
  }
  return result;
}

type Sides = { readonly from: string; readonly to: string; readonly aside: string };

function makeSides(dir: string, source: string): Sides {
  const sides = { from: join(dir, "a"), to: join(dir, "b"), aside: join(dir, "aside") };
  for (const side of [sides.from, sides.to]) mkdirSync(side, { recursive: true });
  copyTree(source, sides.aside);
  return sides;
}

async function throughHub(dir: string, source: string, files: readonly FileSize[]): Promise<number> {
  const sides = makeSides(dir, source);
  await using hub = await BenchHub.start(join(dir, "state"));
  hub.addAgent("a", sides.from);
  hub.addAgent("b", sides.to);
  await hub.caughtUp();
  const seconds = await moveIn(sides, files);
  await hub.caughtUp();
  requireSameTrees("hub", source, join(sides.to, FOLDER));
  return seconds;
}

async function throughSyncthing(dir: string, source: string, files: readonly FileSize[]): Promise<number> {
  const sides = makeSides(dir, source);
  await using syncthing = await Syncthing.start(join(dir, "state"), sides.from, sides.to, 0);
  let scanned: Promise<void> | undefined;
  const seconds = await moveIn(sides, files, () => (scanned = syncthing.scanSource()));
  await scanned;
  requireSameTrees("syncthing", source, join(sides.to, FOLDER));
  return seconds;
}

/** Seconds until all files are there. @throws {WrongResult} when they do not come */
async function moveIn({ from, to, aside }: Sides, files: readonly FileSize[], moved = (): unknown => undefined): Promise<number> {
  syncDisks();
  const arriving = join(to, FOLDER);
  const began = Bun.nanoseconds();
  renameSync(aside, join(from, FOLDER));
  moved();
  const seconds = (): number => (Bun.nanoseconds() - began) / 1e9;
  // Both put a file in its place when it is whole. Each is looked at until it is there, in turn: that all are there is
  // known a moment after the last has come, and the looking costs the programs little.
  for (const { path, size } of files) {
    while (statSync(join(arriving, path), { throwIfNoEntry: false })?.size !== size) {
      if (seconds() * 1000 > ARRIVAL_MS_MAX) throw new WrongResult(`${path} did not arrive in ${ARRIVAL_MS_MAX / 1000} s`);
      await Bun.sleep(LOOK_EVERY_MS);
    }
  }
  return seconds();
}

type FileSize = { readonly path: string; readonly size: number };

function filesOf(source: string): FileSize[] {
  return readdirSync(source, { recursive: true, encoding: "utf8" }).flatMap((path) => {
    const stat = lstatSync(join(source, path));
    return stat.isFile() ? [{ path, size: stat.size }] : [];
  });
}
