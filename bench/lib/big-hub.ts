/** A hub whose space holds a million files: shared by what asks how cost grows with their number. */
import { join } from "node:path";
import { makeTinyTree } from "./data.ts";
import { BenchHub } from "./hub.ts";
import { type BenchContext, scaled } from "./workload.ts";

const FILES = 1_000_000;
/** Directories at the top of the tree of makeTinyTree(). */
const TOPS_MAX = 100;

export type BigHub = {
  /** For BenchHub.start: it goes on from what the hub has. */
  readonly dir: string;
  /** What agent "filler" keeps the same as the whole space. */
  readonly root: string;
  readonly files: number;
  /** Directories at the top of the space, each with as many files. */
  readonly tops: readonly string[];
};

export function sharedBigHub(context: BenchContext): Promise<BigHub> {
  return context.fixture("big-hub", async (dir) => {
    const root = join(dir, "root");
    const { files, folders } = makeTinyTree(root, scaled(context, FILES));
    await using hub = await BenchHub.start(dir);
    const began = Date.now();
    hub.addAgent("filler", root);
    await hub.caughtUp();
    context.say(`  ${files.toLocaleString("en")} files into the hub: ${((Date.now() - began) / 1000).toFixed(1)} s`);
    const tops = [...new Set(folders.map((folder) => folder.split("/")[0]!))].slice(0, TOPS_MAX);
    return { dir, root, files, tops };
  });
}
