/** Turns the events of a session into output. Used by every command that runs one. */
import type { Problem } from "#model/observation.ts";
import { printablePath } from "#model/path.ts";
import type { Conflict, Mode, Plan, Side } from "#model/plan.ts";
import type { Phase, SessionEvent, Summary } from "#sync/session/events.ts";
import { formatBytes, formatSeconds, plural } from "#cli/format.ts";
import type { Output } from "#cli/output.ts";
import { conflictJson, conflictLines, planJson, planLines } from "#cli/plan-text.ts";

const LABELS: Record<Phase, string> = {
  connecting: "connecting",
  scanning: "scanning",
  planning: "planning",
  transferring: "transferring",
  applying: "applying",
  watching: "watching",
  waiting: "waiting",
};

/** Conflicts kept for the end of a cycle; the rest is only counted, unless --verbose. */
const CONFLICTS_SHOWN_MAX = 20;

export type ReportContext = {
  readonly labels: Record<Side, string>;
  readonly mode: Mode;
  readonly watch: boolean;
  readonly dryRun: boolean;
  /** The command that approves a held plan, ready to paste. */
  readonly approveCommand: (hash: string) => string;
  /** The command that settles conflicts. */
  readonly resolveCommand: string;
};

export class SessionReport {
  readonly #output: Output;
  readonly #context: ReportContext;
  #phase: Phase | undefined;
  readonly #noted = new Set<string>();
  #conflicts: Conflict[] = [];
  #conflictCount = 0;
  /** What was printed of the cycle before: while watching, what has not changed is not said again. */
  #told: { conflicts: string; outcome: string; problems: ReadonlySet<string> } = {
    conflicts: "",
    outcome: "",
    problems: new Set(),
  };
  /** Of the cycle at hand. */
  #problems = new Set<string>();

  constructor(output: Output, context: ReportContext) {
    this.#output = output;
    this.#context = context;
  }

  /** The line above everything else. */
  begin(): void {
    const { labels, mode } = this.#context;
    const arrow = mode.startsWith("one-way") ? "→" : "↔";
    const { bold, dim } = this.#output.screen.paint;
    this.#output.line(
      `${bold(printablePath(labels.alpha))} ${arrow} ${bold(printablePath(labels.beta))}  ${dim(mode)}`,
    );
  }

  readonly onEvent = (event: SessionEvent): void => {
    const output = this.#output;
    switch (event.type) {
      case "progress":
        output.progress.update({ ...event, label: LABELS[this.#phase ?? "connecting"] });
        return;
      case "phase":
        this.#onPhase(event.phase, event.detail);
        return;
      case "begin":
        output.event(event);
        return;
      case "change":
        output.event(event);
        if (output.form.verbose) output.line(changeLine(event));
        return;
      case "problem":
        this.#onProblem(event.problem);
        return;
      case "conflict":
        this.#onConflict(event.conflict);
        return;
      case "plan":
        if (this.#context.dryRun) this.#onPlan(event.plan, event.hash);
        return;
      case "hold":
        this.#onHold(event.plan, event.hash, event.reason);
        return;
      case "retry":
        output.event(event);
        output.warn(
          `${event.reason}; trying again in ${formatSeconds(event.delayMs / 1000)} (attempt ${event.attempt})`,
        );
        return;
      case "degraded":
        output.event(event);
        output.warn(`${event.side}: ${event.reason}; it is scanned more often instead`);
        return;
      case "note":
        this.#onNote(event);
        return;
      case "scrub":
        output.event(event);
        output.line(scrubLine(event));
        return;
      case "cycle":
        this.#onCycle(event.summary);
        return;
      case "failed":
        this.#onFailed(event.summary);
        return;
    }
  };

  /** Once, however often the side is opened. */
  #onNote(event: SessionEvent & { type: "note" }): void {
    const line = `${this.#context.labels[event.side]}: ${event.text}`;
    if (this.#noted.has(line)) return;
    this.#noted.add(line);
    this.#output.event(event);
    this.#output.line(this.#output.screen.paint.dim(line));
  }

  #onPhase(phase: Phase, detail: string | undefined): void {
    const changed = phase !== this.#phase;
    this.#phase = phase;
    if (changed) this.#output.event({ type: "phase", phase, detail });
    if (phase === "watching" || phase === "waiting" || phase === "connecting") {
      const text = detail === undefined ? LABELS[phase] : `${LABELS[phase]}: ${printablePath(detail)}`;
      this.#output.progress.status(this.#output.screen.paint.dim(text));
    }
  }

  #onProblem(problem: Problem): void {
    const key = `${problem.side} ${problem.path} ${problem.code}`;
    this.#problems.add(key);
    if (this.#output.form.json || !this.#told.problems.has(key)) this.#output.problem(problem);
  }

  #onConflict(conflict: Conflict): void {
    this.#output.event({ type: "conflict", conflict: conflictJson(conflict) });
    this.#conflictCount++;
    if (this.#conflicts.length < CONFLICTS_SHOWN_MAX || this.#output.form.verbose)
      this.#conflicts.push(conflict);
  }

  #onPlan(plan: Plan, hash: string): void {
    if (this.#output.form.json) this.#output.event({ type: "plan", hash, plan: planJson(plan) });
    this.#output.lines(
      planLines(plan, this.#context.labels, this.#output.screen.paint, this.#output.form.verbose),
    );
    // The plan has shown its conflicts already.
    this.#conflicts = [];
    this.#conflictCount = 0;
    this.#output.line(this.#output.screen.paint.dim(`plan ${hash}: nothing was changed (dry run)`));
  }

  #onHold(plan: Plan, hash: string, reason: string): void {
    const { yellow, bold } = this.#output.screen.paint;
    if (this.#output.form.json) this.#output.event({ type: "hold", hash, reason, plan: planJson(plan) });
    const { dryRun, labels } = this.#context;
    // A dry run shows its plan in any case, before this.
    if (dryRun) this.#output.line(`${yellow("would be held:")} ${reason}.`);
    else {
      this.#output.lines(planLines(plan, labels, this.#output.screen.paint, this.#output.form.verbose));
      this.#output.line(`${yellow("held:")} ${reason}. Nothing was changed.`);
    }
    this.#output.line(`If this is what you want, approve exactly this plan:`);
    this.#output.line(`  ${bold(this.#context.approveCommand(hash))}`);
  }

  #onCycle(summary: Summary): void {
    this.#showConflicts();
    if (!this.#context.watch) return;
    this.#output.event({ type: "cycle", summary: publicSummary(summary) });
    const { result, conflicts, problems } = summary;
    const outcome = `${result} ${conflicts} ${problems}`;
    if (summary.changes > 0 || outcome !== this.#told.outcome) this.#output.line(summaryLine(summary, this.#output));
    this.#told = { ...this.#told, outcome, problems: this.#problems };
    this.#problems = new Set();
  }

  /** The error that follows says why; the summary then is the last line all the same. */
  #onFailed(summary: Summary): void {
    this.#output.lastEvent = publicSummary(summary);
    if (summary.changes === 0) return;
    this.#output.line(summaryLine(summary, this.#output));
    this.#undoLine(summary);
  }

  #undoLine({ runId }: Summary): void {
    this.#output.line(this.#output.screen.paint.dim(`take it back: syncline undo ${runId}`));
  }

  #showConflicts(): void {
    const lines = conflictLines(this.#conflicts, this.#output.screen.paint, this.#conflicts.length);
    const text = lines.join("\n");
    if (lines.length > 0 && text !== this.#told.conflicts) {
      this.#output.line(text);
      const hidden = this.#conflictCount - this.#conflicts.length;
      if (hidden > 0) this.#output.line(`    … and ${plural(hidden, "more", "more")}; --verbose shows all`);
      this.#output.line(`settle them: ${this.#output.screen.paint.bold(this.#context.resolveCommand)}`);
    }
    this.#told.conflicts = text;
    this.#conflicts = [];
    this.#conflictCount = 0;
  }

  /** The last words. The NDJSON summary is always the last line. */
  end(summary: Summary): void {
    this.#output.progress.clear();
    this.#showConflicts();
    if (!this.#context.watch || summary.result === "interrupted") {
      this.#output.line(summaryLine(summary, this.#output));
    }
    if (summary.changes > 0 && !this.#context.watch) this.#undoLine(summary);
    // What changed nothing on purpose has nothing to take back.
    if (summary.runId !== "") this.#output.event({ type: "run", runId: summary.runId });
    this.#output.event(publicSummary(summary));
  }
}

/** The summary as it is promised to scripts: these fields in this order. */
export function publicSummary(summary: Summary): Omit<Summary, "runId" | "planned" | "held"> {
  const { type, result, files, healed, conflicts, problems, bytes, seconds } = summary;
  const { scanned, literal, reused, sent, received } = bytes;
  return {
    type,
    result,
    files,
    changes: changesOf(summary),
    healed,
    conflicts,
    problems,
    bytes: { scanned, literal, reused, sent, received },
    seconds,
  };
}

/** The last line of a run that could not begin. */
export const NOTHING_DONE: ReturnType<typeof publicSummary> = {
  type: "summary",
  result: "failed",
  files: 0,
  changes: 0,
  healed: 0,
  conflicts: 0,
  problems: 0,
  bytes: { scanned: 0, literal: 0, reused: 0, sent: 0, received: 0 },
  seconds: 0,
};

/** Those made; where nothing was to be made, those planned. */
export function changesOf({ result, changes, planned }: Summary): number {
  return result === "held" || result === "dry-run" ? planned : changes;
}

function changeLine(event: Extract<SessionEvent, { type: "change" }>): string {
  const arrow = event.side === "beta" ? "→ beta " : "← alpha";
  const from = event.from === undefined ? "" : `  (from ${printablePath(event.from)})`;
  const size = event.bytes > 0 ? `  (${formatBytes(event.bytes)})` : "";
  return `${arrow}  ${event.action.padEnd(8)}  ${printablePath(event.path)}${from}${size}`;
}

function scrubLine({ side, files, bytes, damaged }: Extract<SessionEvent, { type: "scrub" }>): string {
  const found = damaged === 0 ? "none was damaged" : `${damaged} ${damaged === 1 ? "was" : "were"} damaged`;
  return `scrubbed ${side}: ${plural(files, "file")}, ${formatBytes(bytes)} read again, ${found}`;
}

const RESULTS: Record<Summary["result"], string> = {
  same: "same",
  problems: "incomplete",
  conflicts: "conflicts",
  held: "held",
  interrupted: "interrupted",
  failed: "broken off",
  "dry-run": "dry run",
};

function summaryLine(summary: Summary, output: Output): string {
  const { green, yellow, red } = output.screen.paint;
  const { result, files, changes, planned } = summary;
  const isPlan = result === "held" || result === "dry-run";
  const paint =
    result === "same" || result === "dry-run"
      ? green
      : result === "problems" || result === "failed"
        ? red
        : yellow;
  const parts = [`${plural(files, "file")} the same`];
  if (isPlan) parts.push(`${plural(planned, "change")} planned`);
  if (!isPlan || changes > 0) parts.push(plural(changes, "change"));
  if (summary.healed > 0) parts.push(`${summary.healed} healed`);
  if (summary.conflicts > 0) parts.push(plural(summary.conflicts, "conflict"));
  if (summary.problems > 0) parts.push(plural(summary.problems, "problem"));
  if (summary.bytes.literal > 0) parts.push(`${formatBytes(summary.bytes.literal)} copied`);
  if (summary.bytes.reused > 0) parts.push(`${formatBytes(summary.bytes.reused)} reused`);
  const wire = summary.bytes.sent + summary.bytes.received;
  if (wire > 0)
    parts.push(`${formatBytes(summary.bytes.sent)} sent, ${formatBytes(summary.bytes.received)} received`);
  parts.push(formatSeconds(summary.seconds));
  return `${paint(RESULTS[summary.result])}: ${parts.join(" · ")}`;
}
