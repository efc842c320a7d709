/** The first page of a directory in a large space. */
import { sharedBigHub } from "./lib/big-hub.ts";
import { BenchHub } from "./lib/hub.ts";
import { type Workload, WrongResult, scaled } from "./lib/workload.ts";

const PAGE = 1000;
const PAGES = 200;
const WARM_UP_PAGES = 20;

export const hubListing: Workload = {
  name: "hub-listing",
  title: "hub: first page of 1,000 entries below a directory, of 1,000,000 files, over HTTPS",
  runs: 1,
  needs: [],
  rows: [
    {
      id: "hub-listing/p50", measure: "p50", unit: "ms", statistic: "median", peer: undefined,
      bar: { of: "figure", max: 15 },
    },
    { id: "hub-listing/p99", measure: "p99", unit: "ms", statistic: "p99", peer: undefined, bar: undefined },
  ],
  /** `runs` times as many pages. */
  async measure(context, runs) {
    const big = await sharedBigHub(context);
    await using hub = await BenchHub.start(big.dir);
    const expected = Math.min(scaled(context, PAGE), Math.floor(big.files / big.tops.length));
    const ours: number[] = [];
    for (let page = -WARM_UP_PAGES; page < PAGES * runs; page++) {
      const top = big.tops.at(page % big.tops.length)!;
      const began = Bun.nanoseconds();
      const body = await hub.ask(`entries?below=${top}&limit=${expected}`);
      const elapsedMs = (Bun.nanoseconds() - began) / 1e6;
      const { entries } = JSON.parse(body) as { entries: { path: string }[] };
      if (entries.length !== expected || !entries.every(({ path }) => path.startsWith(`${top}/`))) {
        throw new WrongResult(`the page of ${top} has ${entries.length} entries, or others`);
      }
      if (page >= 0) ours.push(elapsedMs);
    }
    return ["p50", "p99"].map((measure) => ({ id: `hub-listing/${measure}`, ours }));
  },
};
