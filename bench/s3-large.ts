/** One large object in and out through S3, beside a file of nginx. */
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { GIB, writeRandomFile } from "./lib/data.ts";
import { syncDisks, timed } from "./lib/processes.ts";
import { BenchNginx, BenchS3 } from "./lib/s3.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const SEED = 21;
const STREAMS = 8;

export const s3Large: Workload = {
  name: "s3-large",
  title: "S3: an object of 1 GiB put (durable, MD5 and chunks computed), got by one client, and by 8 at once; curl over HTTP",
  runs: 3,
  needs: ["nginx"],
  rows: [
    { id: "s3-large/put", measure: "put", unit: "s", statistic: "median", peer: "nginx dav PUT", bar: { of: "ratio", max: 2 } },
    { id: "s3-large/get", measure: "get", unit: "s", statistic: "median", peer: "nginx static file", bar: { of: "ratio", max: 1.25 } },
    { id: "s3-large/get-8", measure: "8 gets", unit: "s", statistic: "median", peer: "nginx static file", bar: { of: "ratio", max: 1.25 } },
  ],
  async measure(context, runs) {
    const dir = join(context.dir, "s3-large");
    mkdirSync(dir);
    const file = join(dir, "large.bin");
    const sizeBytes = scaled(context, GIB);
    await using nginx = await BenchNginx.start(dir);
    const series = (): { ours: number[]; peer: number[] } => ({ ours: [], peer: [] });
    const rows = { put: series(), get: series(), get8: series() };
    const curl = async (name: string, ...args: string[]): Promise<number> =>
      (await timed(["curl", "-sS", "--fail", "-H", "Expect:", ...args], { dir, name })).seconds;
    // Neither writes out what the other has left.
    const alone = (...words: [string, ...string[]]): Promise<number> => {
      syncDisks();
      return curl(...words);
    };
    const many = async (name: string, url: string): Promise<number> =>
      Math.max(...(await Promise.all(Array.from({ length: STREAMS }, (_, at) => curl(`${name}-${at}`, "-o", "/dev/null", url)))));
    await using hub = await BenchS3.start(dir, join(dir, "hub"));
    for (let run = 0; run < runs; run++) {
      // Other bytes each time, or nothing of them would be new.
      writeRandomFile(file, sizeBytes, SEED + run);
      rmSync(join(nginx.root, "large.bin"), { force: true });
      symlinkSync(file, join(nginx.root, "large.bin"));
      const peer = `http://127.0.0.1:${nginx.port}`;
      rows.put.ours.push(await alone("put", "-T", file, "-o", "/dev/null", hub.presigned("PUT", `/large-${run}`)));
      rows.put.peer.push(await alone("nginx-put", "-T", file, "-o", "/dev/null", `${peer}/put/large-${run}`));
      const get = hub.presigned("GET", `/large-${run}`);
      rows.get.ours.push(await alone("get", "-o", "/dev/null", get));
      rows.get.peer.push(await alone("nginx-get", "-o", "/dev/null", `${peer}/large.bin`));
      rows.get8.ours.push(await many("get", get));
      rows.get8.peer.push(await many("nginx-get", `${peer}/large.bin`));
      context.say(`  ${run + 1}. put ${rows.put.ours.at(-1)!.toFixed(2)} s, get ${rows.get.ours.at(-1)!.toFixed(2)} s`);
    }
    return [
      { id: "s3-large/put", ...rows.put },
      { id: "s3-large/get", ...rows.get },
      { id: "s3-large/get-8", ...rows.get8 },
    ];
  },
};
