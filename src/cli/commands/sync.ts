/** `syncline sync`: make two directories the same, once or for as long as it runs. */
import type { Command, Context } from "#cli/context.ts";
import { type Pair, type PairRequest, openHost, runPair, sideText } from "#cli/engine.ts";
import { exitOfSummary } from "#cli/exit-code.ts";
import { shellWord } from "#cli/format.ts";
import type { Given } from "#cli/parse.ts";
import { askYesNo } from "#cli/question.ts";
import { registerRun } from "#cli/run-register.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { NOTHING_DONE, SessionReport, changesOf } from "#cli/session-report.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";

/** Options that belong to one run and are not repeated by `conflicts`, `resolve` and the command that approves. */
const ONE_RUN = /^--(no-)?(approve|dry-run|watch|json|quiet|verbose|state-dir|rescan|scrub-every|scrub-rate)(=|$)/;

export const syncCommand: Command = async (context) => {
  const [alpha, beta] = context.parsed.operands as readonly [string, string];
  const pair = { alpha: sideText(alpha), beta: sideText(beta) };
  const options = sessionOptions(context.parsed.given);
  const words = context.parsed.words.filter((word) => !ONE_RUN.test(word));
  return exitOfSummary(await runReported(context, { pair, options, words, given: context.parsed.given }));
};

export type ReportedRun = {
  readonly pair: Pair;
  readonly options: SessionOptions;
  readonly given: Given;
  /** Option words that describe the pair; kept in the register. */
  readonly words: readonly string[];
  /** Sees every event before it is printed. */
  readonly onEvent?: (event: SessionEvent) => void;
};

/** Runs a session with all the output of one, and enters it in the register. Shared with `resolve`. */
export async function runReported(context: Context, run: ReportedRun): Promise<Summary> {
  const { output, signal } = context;
  const { pair, options, words } = run;
  output.lastEvent = NOTHING_DONE;
  const host = await openHost();
  const command = ["syncline", "sync", pair.alpha, pair.beta, ...words];
  const report = new SessionReport(output, {
    labels: pair,
    mode: options.mode,
    watch: options.watch,
    dryRun: options.dryRun,
    approveCommand: (hash) => [...command, `--approve=${hash}`].map(shellWord).join(" "),
    resolveCommand:
      ["syncline", "resolve", pair.alpha, pair.beta, "--keep"].map(shellWord).join(" ") +
      " alpha|beta|copy|newer",
  });
  const request: PairRequest = {
    pair,
    signal,
    host,
    given: run.given,
    stateDir: context.stateDir(),
    askTrust: askYesNo(output),
  };
  const register = (summary: Summary): void => {
    const { runId, result, conflicts, problems, seconds } = summary;
    if (result === "dry-run") return;
    registerRun(request.stateDir, {
      runId,
      startedMs: host.clock.nowMs() - Math.round(seconds * 1000),
      alpha: pair.alpha,
      beta: pair.beta,
      options: words,
      result,
      changes: changesOf(summary),
      healed: summary.healed,
      conflicts,
      problems,
      seconds,
    });
  };
  report.begin();
  const summary = await runPair(request, options, (event) => {
    run.onEvent?.(event);
    report.onEvent(event);
    // Each cycle is a run of its own, which can be taken back; while watching, idle ones are not worth a line.
    if (event.type === "cycle" && (!options.watch || event.summary.changes > 0)) register(event.summary);
  });
  report.end(summary);
  return summary;
}
