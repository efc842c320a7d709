/** A page of keys of a large bucket. */
import { join } from "node:path";
import { sharedBigHub } from "./lib/big-hub.ts";
import { BenchS3, exchange } from "./lib/s3.ts";
import type { Workload } from "./lib/workload.ts";

const PAGES = 200;
const WARM_UP_PAGES = 20;

export const s3Listing: Workload = {
  name: "s3-listing",
  title: "S3: a page of 1,000 keys with delimiter, of 1,000,000 keys",
  runs: 1,
  needs: [],
  rows: [
    { id: "s3-listing/p50", measure: "p50", unit: "ms", statistic: "median", peer: undefined, bar: { of: "figure", max: 20 } },
    { id: "s3-listing/p99", measure: "p99", unit: "ms", statistic: "p99", peer: undefined, bar: undefined },
  ],
  /** `runs` times as many pages. */
  async measure(context, runs) {
    const big = await sharedBigHub(context);
    await using hub = await BenchS3.start(context.dir, join(big.dir, "hub"));
    const ours: number[] = [];
    for (let page = -WARM_UP_PAGES; page < PAGES * runs; page++) {
      const top = big.tops.at(page % big.tops.length)!;
      const request = hub.wire("GET", `?list-type=2&delimiter=%2F&max-keys=1000&prefix=${encodeURIComponent(`${top}/`)}`);
      const seconds = await exchange(hub.port, [request], 1);
      if (page >= 0) ours.push(seconds * 1000);
    }
    return ["p50", "p99"].map((measure) => ({ id: `s3-listing/${measure}`, ours }));
  },
};
