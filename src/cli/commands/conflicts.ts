/** `syncline conflicts`: what both sides changed, found anew and without changing anything. */
import type { Command, Context } from "#cli/context.ts";
import { type Pair, openHost, runPair, sideText } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { shellWord } from "#cli/format.ts";
import { conflictJson, conflictLines } from "#cli/plan-text.ts";
import { type RunLine, lastRuns, readRuns, runOfPair, runOptions } from "#cli/run-register.ts";
import type { Given } from "#cli/parse.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { usage } from "#cli/values.ts";
import { printablePath } from "#model/path.ts";
import type { Conflict } from "#model/plan.ts";

export const conflictsCommand: Command = async (context) => {
  const { operands } = context.parsed;
  const last = lastRuns(readRuns(context.stateDir()));
  if (operands.length === 1) throw usage("name both sides, or none", "syncline conflicts <alpha> <beta>");
  const [alpha, beta] = operands;
  const pairs: Pair[] =
    alpha === undefined || beta === undefined
      ? last.filter((run) => run.result === "conflicts").map((run) => ({ alpha: run.alpha, beta: run.beta }))
      : [{ alpha: sideText(alpha), beta: sideText(beta) }];
  let count = 0;
  let failed = 0;
  let problems = 0;
  for (const pair of pairs) {
    try {
      const found = await showConflicts(context, pair, last);
      count += found.conflicts.length;
      problems += found.problems;
    } catch (error) {
      // One pair whose disk is not mounted must not hide those of the others.
      if (pairs.length === 1 || context.signal.aborted) throw error;
      failed++;
      context.output.error(error, false);
    }
  }
  context.output.event({ type: "conflicts", count });
  if (count + failed + problems === 0) context.output.line("No conflicts.");
  if (failed > 0) return EXIT.failed;
  if (count > 0) return EXIT.decision;
  return problems > 0 ? EXIT.problems : EXIT.same;
};

/** What could not be looked at may be in conflict, too. */
type Found = { readonly conflicts: readonly Conflict[]; readonly problems: number };

/** The conflicts that a run with these options would find now. Changes nothing. */
export async function findConflicts(context: Context, pair: Pair, given: Given): Promise<Found> {
  const { output, signal } = context;
  const conflicts: Conflict[] = [];
  let problems = 0;
  const request = {
    pair,
    given,
    stateDir: context.stateDir(),
    host: await openHost(),
    signal,
    askTrust: undefined,
  };
  const options = { ...sessionOptions(given), dryRun: true, watch: false, approve: undefined };
  await runPair(request, options, (event) => {
    if (event.type === "plan") conflicts.push(...event.plan.conflicts);
    if (event.type !== "problem") return;
    problems++;
    output.problem(event.problem);
  });
  return { conflicts, problems };
}

async function showConflicts(context: Context, pair: Pair, runs: readonly RunLine[]): Promise<Found> {
  const { output, parsed } = context;
  const { given } = runOptions(runOfPair(runs, pair), parsed.given);
  const found = await findConflicts(context, pair, given);
  const { conflicts } = found;
  for (const conflict of conflicts)
    output.event({ type: "conflict", ...pair, conflict: conflictJson(conflict) });
  if (conflicts.length === 0) return found;
  output.answer(`${printablePath(pair.alpha)} ↔ ${printablePath(pair.beta)}`);
  output.answer(conflictLines(conflicts, output.screen.paint, conflicts.length).join("\n"));
  const resolve = ["syncline", "resolve", pair.alpha, pair.beta].map(shellWord).join(" ");
  output.line(`settle them: ${resolve} --keep alpha|beta|copy|newer [PATH...]`);
  return found;
}
