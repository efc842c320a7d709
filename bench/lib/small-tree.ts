/** The tree of 100,000 small files that three workloads share. */
import { type SmallTree, makeSmallTree } from "./data.ts";
import { type BenchContext, scaled } from "./workload.ts";

const SEED = 2;
const FILES = 100_000;

export function sharedSmallTree(context: BenchContext): Promise<SmallTree> {
  return context.fixture("small-tree", (dir) => makeSmallTree(dir, scaled(context, FILES), SEED));
}
