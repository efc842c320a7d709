/** Many small objects in and out through S3, each request signed. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RandomBytes } from "./lib/data.ts";
import { BenchNginx, BenchS3, type Wire, exchange } from "./lib/s3.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const OBJECT_BYTES = 1024;
const PUTS = 20_000;
const PUT_CONNECTIONS = 32;
const GETS = 60_000;
const GET_CONNECTIONS = 64;
const OBJECTS = 100;
/** Before the first run: connections are made and code is warm. */
const WARM_UP = 2000;
const SEED = 22;

export const s3Small: Workload = {
  name: "s3-small",
  title: "S3: objects of 1 KiB, signed: 32 connections put new ones, durable; 64 connections get them",
  runs: 3,
  needs: ["nginx"],
  rows: [
    { id: "s3-small/put", measure: "puts", unit: "/s", statistic: "median", peer: undefined, bar: { of: "figure", min: 2500 } },
    {
      id: "s3-small/get", measure: "gets for each second of processor", unit: "/s", statistic: "median",
      peer: "nginx static file", bar: { of: "ratio", min: 0.25 },
    },
    { id: "s3-small/get-rate", measure: "gets", unit: "/s", statistic: "median", peer: undefined, bar: undefined },
  ],
  async measure(context, runs) {
    const dir = join(context.dir, "s3-small");
    mkdirSync(dir);
    const bytes = new RandomBytes(SEED);
    const object = (): Wire => new Uint8Array(bytes.next(OBJECT_BYTES));
    await using hub = await BenchS3.start(dir, join(dir, "hub"));
    await using nginx = await BenchNginx.start(dir);
    writeFileSync(join(nginx.root, "object"), object());
    const put = (folder: string, count: number): Wire[] =>
      Array.from({ length: count }, (_, at) => hub.wire("PUT", `/${folder}/w${at % PUT_CONNECTIONS}/f${at}`, object()));
    await exchange(hub.port, put("warm-up", WARM_UP), PUT_CONNECTIONS);
    await exchange(hub.port, Array.from({ length: OBJECTS }, (_, at) => hub.wire("PUT", `/get/f${at}`, object())), 1);
    const results = { put: [] as number[], get: [] as number[], rate: [] as number[], peer: [] as number[] };
    const plain: Wire = new Uint8Array(Buffer.from("GET /object HTTP/1.1\r\nhost: nginx\r\n\r\n"));
    for (let run = 0; run < runs; run++) {
      const puts = put(`run-${run}`, scaled(context, PUTS));
      results.put.push(puts.length / (await exchange(hub.port, puts, PUT_CONNECTIONS)));
      const gets = Array.from({ length: scaled(context, GETS) }, (_, at) => hub.wire("GET", `/get/f${at % OBJECTS}`));
      const before = hub.processorMs;
      results.rate.push(gets.length / (await exchange(hub.port, gets, GET_CONNECTIONS)));
      results.get.push((gets.length * 1000) / (hub.processorMs - before));
      const beforePeer = nginx.processorMs;
      await exchange(nginx.port, Array.from({ length: gets.length }, () => plain), GET_CONNECTIONS);
      results.peer.push((gets.length * 1000) / Math.max(1, nginx.processorMs - beforePeer));
      context.say(`  ${run + 1}. ${results.put.at(-1)!.toFixed(0)} puts/s, ${results.rate.at(-1)!.toFixed(0)} gets/s`);
    }
    return [
      { id: "s3-small/put", ours: results.put },
      { id: "s3-small/get", ours: results.get, peer: results.peer },
      { id: "s3-small/get-rate", ours: results.rate },
    ];
  },
};
