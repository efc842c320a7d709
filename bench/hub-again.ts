/** A large file that the space has already, given to it once more. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CountingRelay } from "./lib/counting-relay.ts";
import { GIB, writeRandomFile } from "./lib/data.ts";
import { BenchHub } from "./lib/hub.ts";
import { timed } from "./lib/processes.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const SEED = 21;

export const hubAgain: Workload = {
  name: "hub-again",
  title: "hub: 1 GiB random file by `syncline put`, first and once more under another name, over HTTPS",
  runs: 3,
  needs: [],
  rows: [
    { id: "hub-again/time", measure: "time", unit: "s", statistic: "median", peer: "itself, first", bar: { of: "ratio", max: 0.25 } },
    { id: "hub-again/bytes", measure: "bytes", unit: "bytes", statistic: "max", peer: "itself, first", bar: { of: "ratio", max: 0.01 } },
  ],
  async measure(context, runs) {
    const dir = join(context.dir, "hub-again");
    mkdirSync(dir);
    const size = scaled(context, GIB);
    await using hub = await BenchHub.start(join(dir, "hub"));
    const put = async (file: string, name: string, url?: string): Promise<number> => {
      const { seconds } = await timed(hub.command(["put", file, hub.place(name)], url), { dir, name: "put" });
      return seconds;
    };
    const times: { first: number[]; again: number[] } = { first: [], again: [] };
    for (let run = 1; run <= runs; run++) {
      const file = join(dir, `${run}.bin`);
      writeRandomFile(file, size, SEED + run);
      times.first.push(await put(file, `${run}/first.bin`));
      times.again.push(await put(file, `${run}/again.bin`));
      context.say(`  ${run}. ${times.first.at(-1)!.toFixed(2)} s, again ${times.again.at(-1)!.toFixed(2)} s`);
    }
    // Apart from the times, because counting takes some.
    const file = join(dir, "counted.bin");
    writeRandomFile(file, size, SEED);
    using relay = new CountingRelay(hub.port);
    const through = `https://127.0.0.1:${relay.port}`;
    await put(file, "counted/first.bin", through);
    const first = relay.bytes;
    await put(file, "counted/again.bin", through);
    return [
      { id: "hub-again/time", ours: times.again, peer: times.first },
      { id: "hub-again/bytes", ours: [relay.bytes - first], peer: [first] },
    ];
  },
};
