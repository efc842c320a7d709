/** Memory that an idle watch of a large root needs above one of an empty root. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { sharedBigPair } from "./lib/big-pair.ts";
import { median } from "./lib/statistics.ts";
import { SynclinePair } from "./lib/syncline.ts";
import type { RowSpec, Workload } from "./lib/workload.ts";

/** After the first cycle: buffers are given back and the collector has had its turn. */
const IDLE_MS = 10_000;
const MIB = 2 ** 20;
const PROCESSES = ["client", "server"] as const;

const row = (name: string): RowSpec => ({
  id: `memory-million/${name}`, measure: `resident, ${name}`, unit: "bytes/file", statistic: "median", peer: undefined,
  bar: { of: "figure", max: 250 },
});

export const memoryMillion: Workload = {
  name: "memory-million",
  title: "memory of an idle --watch of 1,000,000 files, above an empty root",
  runs: 3,
  needs: [],
  rows: PROCESSES.map(row),
  async measure(context, runs) {
    const big = await sharedBigPair(context);
    const emptySource = join(context.dir, "memory-million-empty");
    mkdirSync(emptySource);
    const noSeries = (): Record<(typeof PROCESSES)[number], number[]> => ({ client: [], server: [] });
    const series = { empty: noSeries(), full: noSeries() };
    for (let round = 1; round <= runs; round++) {
      for (const [kind, source, pairDir] of [
        ["empty", emptySource, join(context.dir, "memory-million-empty-pair")],
        ["full", big.source, big.pairDir],
      ] as const) {
        // Client and server start anew: what an earlier cycle needed for a moment is not counted.
        await using pair = await SynclinePair.open(pairDir, source);
        await using watching = await pair.watch();
        await Bun.sleep(IDLE_MS);
        const bytes = watching.residentBytes();
        for (const name of PROCESSES) series[kind][name].push(bytes[name]);
        const parts = PROCESSES.map((name) => `${name} ${(bytes[name] / MIB).toFixed(1)} MiB`);
        const files = kind === "full" ? big.files.toLocaleString("en") : "no";
        context.say(`  ${round}. ${files} files: ${parts.join(", ")}`);
      }
    }
    return PROCESSES.map((name) => {
      const empty = median(series.empty[name]);
      const full = median(series.full[name]);
      return {
        id: `memory-million/${name}`,
        ours: series.full[name].map((bytes) => (bytes - empty) / big.files),
        note: `${(full / MIB).toFixed(1)} MiB, of which ${(empty / MIB).toFixed(1)} MiB with an empty root`,
      };
    });
  },
};
