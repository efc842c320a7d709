/** Small durable writes through the hub's API. */
import { join } from "node:path";
import { RandomBytes } from "./lib/data.ts";
import { BenchHub } from "./lib/hub.ts";
import { type Workload, WrongResult, scaled } from "./lib/workload.ts";

const WRITERS = 16;
const COMMITS = 30_000;
const FILE_BYTES = 1024;
/** Before the first run: connections are made and the hub's code is warm. */
const WARM_UP_COMMITS = 2000;
const SEED = 14;

export const hubCommits: Workload = {
  name: "hub-commits",
  title: "hub: 16 writers PUT files of 1 KiB over HTTPS, each answered when it is durable",
  runs: 3,
  needs: [],
  rows: [{
    id: "hub-commits/rate", measure: "commits", unit: "/s", statistic: "median", peer: undefined,
    bar: { of: "figure", min: 3000 },
  }],
  async measure(context, runs) {
    const bytes = new RandomBytes(SEED);
    const dir = join(context.dir, "hub-commits");
    await using hub = await BenchHub.start(dir);
    await putAll(hub, "warm-up", bytes, WARM_UP_COMMITS);
    const ours: number[] = [];
    const count = scaled(context, COMMITS);
    for (let run = 1; run <= runs; run++) {
      const seconds = await putAll(hub, `run-${run}`, bytes, count);
      context.say(`  ${run}. ${count.toLocaleString("en")} commits in ${seconds.toFixed(2)} s`);
      ours.push(count / seconds);
    }
    const entries = await hub.entries();
    const expected = WARM_UP_COMMITS + runs * count + (runs + 1) * (WRITERS + 1);
    if (entries !== expected) throw new WrongResult(`the space has ${entries} entries instead of ${expected}`);
    return [{ id: "hub-commits/rate", ours }];
  },
};

/** Seconds for `count` files of each its own content, in a directory of each writer. */
async function putAll(hub: BenchHub, folder: string, bytes: RandomBytes, count: number): Promise<number> {
  const bodies = Array.from({ length: count }, () => new Uint8Array(bytes.next(FILE_BYTES)));
  let next = 0;
  const writer = async (_: unknown, at: number): Promise<void> => {
    while (next < count) {
      const file = next++;
      await hub.ask(`content/${folder}/writer-${at}/file-${file}.bin`, { method: "PUT", body: bodies[file]! });
    }
  };
  const began = Bun.nanoseconds();
  await Promise.all(Array.from({ length: WRITERS }, writer));
  return (Bun.nanoseconds() - began) / 1e9;
}
