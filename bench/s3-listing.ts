/** A page of keys of a large bucket. */
import { join } from "node:path";
import { bulkKeys } from "./lib/bulk-keys.ts";
import { BUCKET, BenchS3, exchange } from "./lib/s3.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const KEYS = 1_000_000;
const PAGES = 200;
const WARM_UP_PAGES = 20;
/** From one folder to the next that is listed: all over the database. */
const STRIDE = 37;

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
    const dir = join(context.dir, "s3-listing");
    const data = join(dir, "hub");
    {
      await using first = await BenchS3.start(dir, data);
      await exchange(first.port, [first.wire("PUT", "/like", new Uint8Array(1024))], 1);
    }
    const began = Date.now();
    const keys = scaled(context, KEYS, 1000);
    const folders = await bulkKeys(data, BUCKET, "like", keys);
    context.say(`  ${keys.toLocaleString("en")} keys: ${((Date.now() - began) / 1000).toFixed(1)} s`);
    await using hub = await BenchS3.start(dir, data);
    const ours: number[] = [];
    for (let page = -WARM_UP_PAGES; page < PAGES * runs; page++) {
      const folder = folders.at((page * STRIDE) % folders.length)!;
      const request = hub.wire("GET", `?list-type=2&delimiter=%2F&max-keys=1000&prefix=${encodeURIComponent(`${folder}/`)}`);
      const seconds = await exchange(hub.port, [request], 1);
      if (page >= 0) ours.push(seconds * 1000);
    }
    return ["p50", "p99"].map((measure) => ({ id: `s3-listing/${measure}`, ours }));
  },
};
