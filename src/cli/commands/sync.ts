/** `syncline sync`: make two directories the same, once or for as long as it runs. */
import type { Command, Context } from "#cli/context.ts";
import { type Pair, type PairRequest, openHost, runPair, sideText } from "#cli/engine.ts";
import { exitOfSummary } from "#cli/exit-code.ts";
import { shellWord } from "#cli/format.ts";
import type { Given } from "#cli/parse.ts";
import { askYesNo } from "#cli/question.ts";
import { type RunLine, registerRun } from "#cli/run-register.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { NOTHING_DONE, SessionReport, changesOf } from "#cli/session-report.ts";
import { messageOf } from "#model/error.ts";
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
  const common = { alpha: pair.alpha, beta: pair.beta, options: words };
  /** The run that has begun to change something and has not ended. */
  let begun = "";
  const enter = (line: RunLine): void => {
    try {
      registerRun(request.stateDir, line);
    } catch (error) {
      // The run is worth more than its line.
      output.warn(`run ${line.runId} cannot be noted: ${messageOf(error)}; log and undo will not know it`);
    }
  };
  const registerBegun = (runId: string): void => {
    begun = runId;
    const nothing = { changes: 0, conflicts: 0, problems: 0, seconds: 0, isOpen: true };
    enter({ runId, startedMs: host.clock.nowMs(), ...common, result: "interrupted", ...nothing });
  };
  const register = (summary: Summary): void => {
    const { result, healed, conflicts, problems, seconds } = summary;
    if (result === "dry-run") return;
    const runId = summary.runId || begun;
    const startedMs = host.clock.nowMs() - Math.round(seconds * 1000);
    const changes = changesOf(summary);
    enter({ runId, startedMs, ...common, result, changes, healed, conflicts, problems, seconds });
    begun = "";
  };
  report.begin();
  const summary = await runPair(request, options, (event) => {
    run.onEvent?.(event);
    report.onEvent(event);
    // Each cycle is a run of its own, which can be taken back; while watching, idle ones are not worth a line.
    if (event.type === "begin") registerBegun(event.runId);
    else if (event.type === "cycle" && (!options.watch || event.summary.changes > 0 || begun !== "")) register(event.summary);
  });
  report.end(summary);
  return summary;
}
