/**
 * `npm run simulate -- [--seed S] [--seeds N] [--jobs J] [--all] [--three | --links | --anew | --one-writer | --hub]`: runs
 * simulated lives, N from seed S on, in J processes; with --three of three replicas each, with --links of people who give
 * files further names all the time, with --anew of people who make things once more as they were, with --one-writer those of
 * one-writer.ts, with --hub those of hub/hub-life.ts. Stops at the first life that fails and tells its story; with --all it
 * goes on and tells only what failed.
 */
import { availableParallelism } from "node:os";
import { stackOf } from "#model/error.ts";
import { hubLife } from "#testing/hub/hub-life.ts";
import { oneWriterLife } from "#testing/one-writer.ts";
import { SimFailure, simulate, simulateAnew, simulateLinks, simulateThree } from "#testing/sim-run.ts";

/** Lives that one process is given at most: it lives through some hundred before most of its code is compiled. */
const SLICE = 2000;
/** So many need no process of their own. */
const FEW = 500;

/** Lives of another kind than usual, by the flag that asks for them. */
const KINDS = { "--one-writer": oneWriterLife, "--three": simulateThree, "--links": simulateLinks, "--anew": simulateAnew, "--hub": (seed: number) => hubLife(seed) } as const;
const kind = (Object.keys(KINDS) as (keyof typeof KINDS)[]).find((flag) => process.argv.includes(flag));
const live = kind === undefined ? simulate : KINDS[kind];

/** What was thrown where nobody listened; it would end a real process. */
const unheard: unknown[] = [];
process.on("unhandledRejection", (reason) => unheard.push(reason));

type Slice = { seeds: number; sessions: number; deaths: number; failures: string[] };

function option(name: string, fallback: number): number {
  const at = process.argv.indexOf(name);
  const value = at < 0 ? fallback : Number(process.argv[at + 1]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`error: ${name} needs a whole number\nhint: npm run simulate -- --seeds 1000 --seed 1`);
  process.exit(3);
}

async function runSlice(first: number, count: number, keepGoing: boolean): Promise<Slice> {
  const slice: Slice = { seeds: 0, sessions: 0, deaths: 0, failures: [] };
  for (let seed = first; seed < first + count; seed++) {
    slice.seeds++;
    try {
      const report = await live(seed);
      // Rejections are found unhandled only when the real event loop turns.
      await new Promise((resolve) => setImmediate(resolve));
      if (unheard.length > 0) throw new SimFailure(`seed ${seed}: rejected and not handled: ${stackOf(unheard.splice(0)[0])}`);
      slice.sessions += report.sessions;
      slice.deaths += report.deaths;
    } catch (error) {
      if (!(error instanceof SimFailure)) throw error;
      slice.failures.push(error.message);
      if (!keepGoing) break;
    }
  }
  return slice;
}

/** A slice in a process of its own, so that all cores work and no life can disturb another. */
async function runApart(first: number, count: number, keepGoing: boolean): Promise<Slice> {
  const flags = ["--slice", "--seed", String(first), "--seeds", String(count), ...(keepGoing ? ["--all"] : [])];
  if (kind !== undefined) flags.push(kind);
  // A collector with several threads takes the cores that the other slices work on.
  const env = { ...process.env, BUN_JSC_numberOfGCMarkers: "1" };
  const child = Bun.spawn([process.execPath, import.meta.path, ...flags], { stdout: "pipe", stderr: "inherit", env });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`the process for seeds from ${first} failed`);
  return JSON.parse(text) as Slice;
}

async function main(): Promise<number> {
  const first = option("--seed", 1);
  const count = option("--seeds", 1);
  const jobs = Math.max(1, option("--jobs", availableParallelism()));
  const keepGoing = process.argv.includes("--all");
  const slices = Math.min(SLICE, Math.ceil(count / jobs));
  const startMs = performance.now();
  const sum: Slice = { seeds: 0, sessions: 0, deaths: 0, failures: [] };
  let next = first;
  const work = async (): Promise<void> => {
    while (next < first + count && (keepGoing || sum.failures.length === 0)) {
      const from = next;
      next += Math.min(slices, first + count - from);
      const slice = await (count <= FEW ? runSlice : runApart)(from, next - from, keepGoing);
      sum.seeds += slice.seeds;
      sum.sessions += slice.sessions;
      sum.deaths += slice.deaths;
      sum.failures.push(...slice.failures);
      for (const story of slice.failures) console.error(keepGoing ? story.split("\n")[0] : story);
      if (count > FEW) console.log(`${sum.seeds} seeds, ${sum.sessions} sessions`);
    }
  };
  await Promise.all(Array.from({ length: count <= FEW ? 1 : jobs }, work));
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  const { seeds, sessions, deaths, failures } = sum;
  const verdict = `${seeds - failures.length} clean, ${failures.length} failed`;
  console.log(`${seeds} seeds from ${first}: ${verdict}; ${sessions} sessions, ${deaths} cut short, ${seconds} s`);
  return failures.length === 0 ? 0 : 1;
}

if (process.argv.includes("--slice")) {
  const slice = await runSlice(option("--seed", 1), option("--seeds", 1), process.argv.includes("--all"));
  process.stdout.write(JSON.stringify(slice));
} else process.exit(await main());
