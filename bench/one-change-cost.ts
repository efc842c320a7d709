/** Does the cost of one change grow with the number of files around it? */
import { join } from "node:path";
import { ArrivalProbe } from "./lib/arrival.ts";
import { type SyncedPair, makeSyncedPair, sharedBigPair } from "./lib/big-pair.ts";
import { requireSameTrees } from "./lib/same-trees.ts";
import { median } from "./lib/statistics.ts";
import { SynclinePair, type Watching } from "./lib/syncline.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const FEW_FILES = 1000;
const CHANGES = 50;
const REST_MS = 100;
/** After a change has arrived, both programs still note what they did; that belongs to its cost. */
const AFTERWARDS_MS = 50;
const SEED = 8;

export const oneChangeCost: Workload = {
  name: "one-change-cost",
  title: "one change among 1,000,000 files, against one among 1,000",
  runs: 1,
  needs: [],
  rows: [
    {
      id: "one-change-cost/time", measure: "time until applied", unit: "ms", statistic: "median",
      peer: "itself, 1,000 files", bar: { of: "ratio", max: 1.5 },
    },
    {
      id: "one-change-cost/processor", measure: "processor time", unit: "ms", statistic: "median",
      peer: "itself, 1,000 files", bar: undefined,
    },
  ],
  /** Both sizes are watched at once, and a change is made in each in turn. */
  async measure(context, runs) {
    const few = await makeSyncedPair(context, join(context.dir, "one-change-cost"), scaled(context, FEW_FILES, 100));
    const many = await sharedBigPair(context);
    await using fewPair = await SynclinePair.open(few.pairDir, few.source);
    await using manyPair = await SynclinePair.open(many.pairDir, many.source);
    const fewSeries = { time: [] as number[], processor: [] as number[] };
    const manySeries = { time: [] as number[], processor: [] as number[] };
    {
      await using fewWatching = await fewPair.watch();
      await using manyWatching = await manyPair.watch();
      const sides = [
        { probe: probeOf("few", few), watching: fewWatching, destination: fewPair.destination, series: fewSeries },
        { probe: probeOf("many", many), watching: manyWatching, destination: manyPair.destination, series: manySeries },
      ];
      for (let change = 0; change < CHANGES * runs; change++) {
        for (const { probe, watching, destination, series } of sides) {
          const cost = await costOfOne(probe, watching, destination);
          series.time.push(cost.timeMs);
          series.processor.push(cost.processorMs);
        }
      }
    }
    requireSameTrees("syncline", few.source, fewPair.destination);
    for (const [name, series] of [["few", fewSeries], ["many", manySeries]] as const) {
      const { time, processor } = series;
      context.say(`  ${name}: ${median(time).toFixed(2)} ms, processor ${median(processor).toFixed(2)} ms`);
    }
    return [
      { id: "one-change-cost/time", ours: manySeries.time, peer: fewSeries.time },
      { id: "one-change-cost/processor", ours: manySeries.processor, peer: fewSeries.processor },
    ];
  },
};

function probeOf(name: string, pair: SyncedPair): ArrivalProbe {
  return new ArrivalProbe(name, pair.source, pair.folders, SEED);
}

async function costOfOne(
  probe: ArrivalProbe,
  watching: Watching,
  destination: string,
): Promise<{ timeMs: number; processorMs: number }> {
  await probe.rest(REST_MS);
  const before = watching.processorMs();
  const timeMs = probe.next(destination);
  await Bun.sleep(AFTERWARDS_MS);
  return { timeMs, processorMs: watching.processorMs() - before };
}
