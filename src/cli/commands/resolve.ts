/** `syncline resolve`: settle conflicts of a pair; with paths, only those at and below them. */
import type { Command, Context } from "#cli/context.ts";
import { type Pair, sideText } from "#cli/engine.ts";
import { exitOfSummary } from "#cli/exit-code.ts";
import { lastRuns, readRuns, runOfPair, runOptions } from "#cli/run-register.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { findConflicts } from "#cli/commands/conflicts.ts";
import type { Given } from "#cli/parse.ts";
import { parseChoice, usage } from "#cli/values.ts";
import { runReported } from "#cli/commands/sync.ts";
import { type RelPath, isWithin, pathFault, printablePath } from "#model/path.ts";

const WINNERS = ["alpha", "beta", "copy", "newer"] as const;

export const resolveCommand: Command = async (context) => {
  const { operands, given } = context.parsed;
  if (given.keep === undefined) throw usage("say which side wins", "--keep alpha, beta, newer, or copy to keep both");
  const keep = parseChoice(given.keep, WINNERS);
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
  if (paths.length > 0) await requireConflicts(context, pair, last.given, paths);
  const options = {
    ...sessionOptions(last.given),
    conflict: keep,
    conflictPaths: paths.length > 0 ? paths : undefined,
    watch: false,
    dryRun: false,
    approve: undefined,
  };
  return exitOfSummary(await runReported(context, { pair, options, given: last.given, words: last.words }));
};

/** @throws {SynclineError} USAGE when there is no conflict at or below one of the paths */
async function requireConflicts(
  context: Context,
  pair: Pair,
  given: Given,
  paths: readonly RelPath[],
): Promise<void> {
  const { conflicts } = await findConflicts(context, pair, { ...given, conflict: "leave" });
  const idle = paths.find((path) => !conflicts.some((conflict) => isWithin(conflict.path, path)));
  if (idle === undefined) return;
  throw usage(`"${printablePath(idle)}" is not in conflict`, "syncline conflicts lists what is");
}
