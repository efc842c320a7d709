/** `syncline undo RUN`: take a whole run back on both sides. */
import type { Command } from "#cli/context.ts";
import { openHost, undoRun } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { plural } from "#cli/format.ts";
import { readRuns, runOptions } from "#cli/run-register.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { requireRun } from "#cli/commands/log.ts";

export const undoCommand: Command = async (context) => {
  const { output, parsed, signal } = context;
  const run = requireRun(readRuns(context.stateDir()), parsed.operands[0]!);
  const { given } = runOptions(run, parsed.given);
  const options = sessionOptions(given);
  const request = {
    pair: { alpha: run.alpha, beta: run.beta },
    given,
    stateDir: context.stateDir(),
    host: await openHost(),
    signal,
    askTrust: undefined,
  };
  let restored = 0;
  let problems = 0;
  const undone = await undoRun(request, options, run.runId);
  for (const side of ["alpha", "beta"] as const) {
    restored += undone[side].restored;
    problems += undone[side].problems.length;
    for (const problem of undone[side].problems) output.problem({ ...problem, side });
  }
  output.line(`${plural(restored, "path")} restored to what was there before run ${run.runId}`);
  if (problems > 0) output.line(`${plural(problems, "path")} left alone, because of changes since then`);
  output.event({ type: "undo", runId: run.runId, restored, problems });
  return problems > 0 ? EXIT.problems : EXIT.same;
};
