/** `syncline log`: past runs, or what one run changed. */
import type { Command, Context } from "#cli/context.ts";
import { openHost, runChanges } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatMoment, formatSeconds, plural, tableLines } from "#cli/format.ts";
import { type RunLine, findRun, readRuns, runOptions } from "#cli/run-register.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { usage } from "#cli/values.ts";
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";

export const logCommand: Command = async (context) => {
  const { operands, given } = context.parsed;
  const runs = readRuns(context.stateDir());
  if (operands[0] !== undefined) return showRun(context, requireRun(runs, operands[0]));
  const limit = Number(given.limit ?? 20);
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw usage(`--limit: "${given.limit}" is no count`, "write a number from 1");
  const shown = runs.slice(-limit).reverse();
  for (const run of shown) context.output.event({ type: "run", ...run });
  if (shown.length === 0) {
    context.output.answer("No run is on record here.");
    return EXIT.same;
  }
  const { bold, dim } = context.output.screen.paint;
  for (const line of tableLines(shown.map((run) => runRow(run, bold, dim)))) context.output.answer(line);
  return EXIT.same;
};

function runRow(run: RunLine, bold: (text: string) => string, dim: (text: string) => string): string[] {
  const healed = run.healed ?? 0;
  const more = [
    healed > 0 ? `${healed} healed` : "",
    run.conflicts > 0 ? plural(run.conflicts, "conflict") : "",
    run.problems > 0 ? plural(run.problems, "problem") : "",
  ].filter((text) => text !== "");
  return [
    bold(run.runId),
    dim(formatMoment(run.startedMs)),
    ...(run.isOpen === true ? ["running, or killed", "", ""] : outcome(run)),
    `${printablePath(run.alpha)} ${printablePath(run.beta)}${more.length > 0 ? `  (${more.join(", ")})` : ""}`,
  ];
}

function outcome({ result, changes, seconds }: RunLine): string[] {
  return [result, `${plural(changes, "change")}${result === "held" ? " planned" : ""}`, formatSeconds(seconds)];
}

/** @throws {SynclineError} USAGE when no run, or more than one, has that id */
export function requireRun(runs: readonly RunLine[], id: string): RunLine {
  const run = findRun(runs, id);
  if (run !== undefined && run !== "ambiguous") return run;
  throw new SynclineError({
    code: "USAGE",
    op: "find run",
    message: run === undefined ? `no run "${id}" is on record here` : `more than one run begins with "${id}"`,
    hint: "syncline log lists the runs",
  });
}

async function showRun(context: Context, run: RunLine): Promise<number> {
  const { output, parsed, signal } = context;
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
  const changes = await runChanges(request, options, run.runId);
  let count = 0;
  for (const side of ["alpha", "beta"] as const) {
    for (const change of changes[side]) {
      count++;
      output.event({ type: "change", side, ...change });
      const from = change.from === undefined ? "" : `  (from ${printablePath(change.from)})`;
      output.answer(
        `${side === "beta" ? "→ beta " : "← alpha"}  ${change.action.padEnd(8)}  ${printablePath(change.path)}${from}`,
      );
    }
  }
  output.line(`${plural(count, "change")} of run ${run.runId}, ${formatMoment(run.startedMs)}`);
  return EXIT.same;
}
