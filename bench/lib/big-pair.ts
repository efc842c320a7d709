/** A million files, the same on both sides already: shared by what asks how cost grows with the size of a root. */
import { join } from "node:path";
import { makeTinyTree } from "./data.ts";
import { requireSameTrees } from "./same-trees.ts";
import { SynclinePair } from "./syncline.ts";
import { type BenchContext, scaled } from "./workload.ts";

const FILES = 1_000_000;

export type SyncedPair = {
  readonly source: string;
  /** Directories of the source to write into. */
  readonly folders: readonly string[];
  readonly files: number;
  /** For SynclinePair.open. */
  readonly pairDir: string;
};

/** Makes `files` tiny files below `dir` and brings them to the other side. */
export async function makeSyncedPair(context: BenchContext, dir: string, files: number): Promise<SyncedPair> {
  const source = join(dir, "source");
  const pairDir = join(dir, "pair");
  const { folders } = makeTinyTree(source, files);
  await using pair = await SynclinePair.open(pairDir, source);
  const { seconds } = await pair.sync();
  context.say(`  first copy of ${files.toLocaleString("en")} files: ${seconds.toFixed(1)} s`);
  requireSameTrees("syncline", source, pair.destination);
  return { source, folders, files, pairDir };
}

export function sharedBigPair(context: BenchContext): Promise<SyncedPair> {
  return context.fixture("big-pair", (dir) => makeSyncedPair(context, dir, scaled(context, FILES)));
}
