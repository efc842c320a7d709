/**
 * `npm run bench -- [--only NAME[,NAME]] [--scale 0.1] [--runs N]`: measures us beside others and writes RESULTS.md.
 *
 * Runs at another scale than 1 print their table and leave the recorded results alone. Exit: 0 everything ran and
 * every destination was right, 1 otherwise; a missed bar is no failure of the run.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { firstCopyLarge } from "./first-copy-large.ts";
import { firstCopyCold } from "./first-copy-cold.ts";
import { firstCopySmall } from "./first-copy-small.ts";
import { ftp } from "./ftp.ts";
import { hubAgain } from "./hub-again.ts";
import { hubCommits } from "./hub-commits.ts";
import { hubComplete } from "./hub-complete.ts";
import { hubFanOut } from "./hub-fan-out.ts";
import { hubSlowLines } from "./hub-slow-lines.ts";
import { hubLarge } from "./hub-large.ts";
import { hubLatency } from "./hub-latency.ts";
import { hubListing } from "./hub-listing.ts";
import { hubMemory } from "./hub-memory.ts";
import { hubSmall } from "./hub-small.ts";
import { insertFront } from "./insert-front.ts";
import { runFacts } from "./lib/machine.ts";
import { requirePeers } from "./lib/peers.ts";
import { killAll } from "./lib/processes.ts";
import { resultsPage, textTable } from "./lib/report.ts";
import { NO_RESULTS, type Results, readResults, withFailure, withRows, writeResults } from "./lib/results.ts";
import type { BenchContext, Workload } from "./lib/workload.ts";
import { memoryMillion } from "./memory-million.ts";
import { noChange } from "./no-change.ts";
import { oneChangeCost } from "./one-change-cost.ts";
import { renameDirectory } from "./rename-directory.ts";
import { renameLarge } from "./rename-large.ts";
import { s3Large } from "./s3-large.ts";
import { s3Listing } from "./s3-listing.ts";
import { s3Small } from "./s3-small.ts";
import { scatteredEdits } from "./scattered-edits.ts";
import { sftp } from "./sftp.ts";
import { watchLatency } from "./watch-latency.ts";
import { messageOf } from "#model/error.ts";

const WORKLOADS: readonly Workload[] = [
  firstCopyLarge, firstCopySmall, firstCopyCold, noChange, scatteredEdits, insertFront, renameLarge, renameDirectory, watchLatency,
  memoryMillion, oneChangeCost, hubLatency, hubLarge, hubSmall, hubFanOut, hubSlowLines, hubCommits, hubListing, hubMemory,
  hubComplete, hubAgain, ftp, sftp, s3Large, s3Small, s3Listing,
];

const RESULTS_FILE = resolve(import.meta.dir, "results.json");
const RESULTS_PAGE = resolve(import.meta.dir, "RESULTS.md");

type Options = { readonly chosen: readonly Workload[]; readonly scale: number; readonly runs: number | undefined };

function parseOptions(argv: string[]): Options {
  const { values } = parseArgs({
    args: argv,
    options: { only: { type: "string" }, scale: { type: "string", default: "1" }, runs: { type: "string" } },
  });
  const names = values.only?.split(",");
  const unknown = names?.find((name) => WORKLOADS.every((one) => one.name !== name));
  if (unknown !== undefined) {
    throw new Error(`no workload "${unknown}"; there are ${WORKLOADS.map((one) => one.name).join(", ")}`);
  }
  const scale = Number(values.scale);
  if (!(scale > 0 && scale <= 1)) throw new Error(`--scale ${values.scale}: a number above 0, at most 1`);
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (runs !== undefined && !(Number.isInteger(runs) && runs >= 1)) {
    throw new Error(`--runs ${values.runs}: a whole number from 1`);
  }
  return { scale, runs, chosen: WORKLOADS.filter((one) => names?.includes(one.name) ?? true) };
}

function makeContext(dir: string, scale: number): BenchContext {
  const fixtures = new Map<string, Promise<unknown>>();
  return {
    dir,
    scale,
    say: (text) => console.log(text),
    async fixture<T>(name: string, make: (fixtureDir: string) => T | Promise<T>): Promise<T> {
      const made = fixtures.get(name) ?? (async () => {
        const fixtureDir = join(dir, "fixtures", name);
        mkdirSync(fixtureDir, { recursive: true });
        return make(fixtureDir);
      })();
      fixtures.set(name, made);
      // One name is always asked for with one maker, so the value has its type.
      return await (made as Promise<T>);
    },
  };
}

/** Runs the chosen workloads one after another. Returns false when one failed. */
async function runAll(options: Options, dir: string): Promise<boolean> {
  const { chosen, scale } = options;
  const context = makeContext(dir, scale);
  const run = new Date().toISOString();
  const facts = runFacts(dir);
  const recorded = scale === 1;
  let results: Results = recorded ? readResults(RESULTS_FILE) : NO_RESULTS;
  let good = true;
  console.log(`syncline: ${facts.program} at ${facts.commit}; load ${facts.load}; scale ${scale}`);
  for (const workload of chosen) {
    const runs = options.runs ?? workload.runs;
    console.log(`${workload.name}: ${workload.title}`);
    try {
      results = withRows(results, run, facts, await workload.measure(context, runs));
    } catch (error) {
      good = false;
      const failure = messageOf(error);
      console.error(`  FAILED: ${failure}`);
      results = withFailure(results, run, facts, workload, failure);
    }
    // After each workload: what took half an hour shall not be lost with what comes after it.
    if (recorded) writeResults(RESULTS_FILE, results);
  }
  console.log(["", ...textTable(chosen, results, run)].join("\n"));
  if (recorded) writeFileSync(RESULTS_PAGE, resultsPage(WORKLOADS, results, run));
  else console.log(`\nscale ${scale}: not recorded`);
  return good;
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  requirePeers(options.chosen.flatMap((one) => one.needs));
  const dir = mkdtempSync(join(tmpdir(), "syncline-bench-"));
  const clean = (): void => {
    killAll();
    // What was just killed may still be writing.
    rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      clean();
      process.exit(130);
    });
  }
  try {
    return (await runAll(options, dir)) ? 0 : 1;
  } finally {
    clean();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`error: ${messageOf(error)}`);
  process.exitCode = 1;
}
