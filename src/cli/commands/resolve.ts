/** `syncline resolve`: settle conflicts of a pair; with paths, only those at and below them. */
import type { Command } from "#cli/context.ts";
import { sideText } from "#cli/engine.ts";
import { exitOfSummary } from "#cli/exit-code.ts";
import { lastRuns, readRuns, runOfPair, runOptions } from "#cli/run-register.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { usage } from "#cli/values.ts";
import { runReported } from "#cli/commands/sync.ts";
import { pathFault } from "#model/path.ts";

export const resolveCommand: Command = async (context) => {
  const { operands, given } = context.parsed;
  if (given.keep === undefined)
    throw usage("say which side wins", "--keep alpha, beta, newer, or copy to keep both");
  const pair = { alpha: sideText(operands[0]!), beta: sideText(operands[1]!) };
  const paths = operands.slice(2).map((path) => path.replace(/^\.\//, "").replace(/\/+$/, ""));
  for (const path of paths) {
    const fault = pathFault(path);
    if (fault !== undefined)
      throw usage(
        `"${path}": ${fault}`,
        "paths are relative to the sides, as `syncline conflicts` lists them",
      );
  }
  const last = runOptions(runOfPair(lastRuns(readRuns(context.stateDir())), pair), given);
  const options = {
    ...sessionOptions(last.given),
    conflict: given.keep,
    watch: false,
    dryRun: false,
    approve: undefined,
    ...(paths.length > 0 ? { conflictPaths: paths } : {}),
  };
  return exitOfSummary(await runReported(context, { pair, options, given: last.given, words: last.words }));
};
