/** `npm run simulate -- --seeds N [--seed S]`: runs simulated lives and stops at the first that fails. */
import { SimFailure, simulate } from "#testing/sim-run.ts";

function option(name: string, fallback: number): number {
  const at = process.argv.indexOf(name);
  const value = at < 0 ? fallback : Number(process.argv[at + 1]);
  if (!Number.isSafeInteger(value) || value < 0) {
    console.error(`error: ${name} needs a whole number\nhint: npm run simulate -- --seeds 1000 --seed 1`);
    process.exit(3);
  }
  return value;
}

const first = option("--seed", 1);
const count = process.argv.includes("--seeds") ? option("--seeds", 1) : 1;
const startMs = performance.now();
let sessions = 0;
let deaths = 0;
let failures = 0;
const keepGoing = process.argv.includes("--all");
for (let seed = first; seed < first + count; seed++) {
  try {
    const report = await simulate(seed);
    sessions += report.sessions;
    deaths += report.deaths;
  } catch (error) {
    if (!(error instanceof SimFailure)) throw error;
    failures++;
    console.error(keepGoing ? error.message.split("\n")[0] : error.message);
    if (!keepGoing) process.exit(1);
  }
  if ((seed - first + 1) % 1000 === 0) console.log(`${seed - first + 1} seeds, ${sessions} sessions, ${deaths} cut short`);
}
const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
console.log(`${count} seeds from ${first}: ${count - failures} clean, ${failures} failed; ${sessions} sessions, ${deaths} cut short, ${seconds} s`);
process.exit(failures === 0 ? 0 : 1);
