/**
 * The register of runs: JSON lines of the runs of `sync` on this host, in `<state>/runs.ndjson`, one when a run begins to
 * change something, as an interrupted one, and one when it ends, which replaces that. It lets `log`, `undo`, `conflicts` and
 * `resolve` find the pair that a run belongs to; what a run changed is known to the endpoints. Losing it loses no data. Lines
 * that cannot be read are skipped.
 */
import { join } from "node:path";
import { appendLine, readIfThere } from "#cli/local-files.ts";
import { type Given, parse } from "#cli/parse.ts";
import { toJson } from "#cli/output.ts";
import { writePrivateFile } from "#platform/net/private-file.ts";
import type { Result } from "#sync/session/events.ts";

/** Lines kept; the oldest go when there are twice as many. */
const LINES_MAX = 10_000;

export type RunLine = {
  readonly runId: string;
  readonly startedMs: number;
  readonly alpha: string;
  readonly beta: string;
  /** The words of the command line, without operands: the same options apply to `conflicts` and `resolve`. */
  readonly options: readonly string[];
  readonly result: Result;
  readonly changes: number;
  /** Damaged files that got their bytes back; lines of earlier versions do not tell. */
  readonly healed?: number | undefined;
  readonly conflicts: number;
  readonly problems: number;
  readonly seconds: number;
  /** It had not ended when this was written, and its numbers say nothing; absent: it has. */
  readonly isOpen?: boolean | undefined;
};

export function registerRun(stateDir: string, run: RunLine): void {
  appendLine(fileOf(stateDir), toJson(run));
}

/** Oldest first. */
export function readRuns(stateDir: string): RunLine[] {
  const text = readIfThere(fileOf(stateDir)) ?? "";
  const lines = text.split("\n").filter((line) => line !== "");
  if (lines.length > 2 * LINES_MAX) {
    lines.splice(0, lines.length - LINES_MAX);
    shorten(fileOf(stateDir), lines);
  }
  const runs = lines.map(readLine).filter((run) => run !== undefined);
  const lastOf = new Map(runs.map(({ runId }, at) => [runId, at]));
  return runs.filter(({ runId }, at) => runId === "" || lastOf.get(runId) === at);
}

/** Replaced whole, because it is all that finds a run again; and where that is refused, it is no reason to find none. */
function shorten(file: string, lines: readonly string[]): void {
  try {
    writePrivateFile(file, `${lines.join("\n")}\n`);
  } catch {
    // A full disk: the next time.
  }
}

/** Fewer digits of a run's id are not taken for it. */
const ID_DIGITS_MIN = 4;

/** The run whose id is, or begins with, `id`, if there is just one. Runs that changed nothing have no id. */
export function findRun(runs: readonly RunLine[], id: string): RunLine | "ambiguous" | undefined {
  if (id.length < ID_DIGITS_MIN) return undefined;
  const exact = runs.find((run) => run.runId === id);
  if (exact !== undefined) return exact;
  const found = runs.filter((run) => run.runId.startsWith(id));
  return found.length > 1 ? "ambiguous" : found[0];
}

/** The last run of each pair, oldest first. */
export function lastRuns(runs: readonly RunLine[]): RunLine[] {
  const last = new Map<string, RunLine>();
  for (const run of runs) {
    const pair = `${run.alpha}\0${run.beta}`;
    last.delete(pair);
    last.set(pair, run);
  }
  return [...last.values()];
}

export function runOfPair(
  runs: readonly RunLine[],
  pair: { alpha: string; beta: string },
): RunLine | undefined {
  return runs.findLast((run) => run.alpha === pair.alpha && run.beta === pair.beta);
}

/** The options a run had, and over them those given now. */
export function runOptions(
  run: RunLine | undefined,
  given: Given,
): { given: Given; words: readonly string[] } {
  const words = run?.options ?? [];
  return { given: { ...parse(["sync", "alpha", "beta", ...words], {}).given, ...given }, words };
}

function fileOf(stateDir: string): string {
  return join(stateDir, "runs.ndjson");
}

function readLine(line: string): RunLine | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isRunLine(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isRunLine(value: unknown): value is RunLine {
  if (typeof value !== "object" || value === null) return false;
  const run = value as Partial<Record<keyof RunLine, unknown>>;
  return (
    typeof run.runId === "string" &&
    typeof run.startedMs === "number" &&
    typeof run.alpha === "string" &&
    typeof run.beta === "string" &&
    typeof run.result === "string" &&
    typeof run.changes === "number" &&
    (run.healed === undefined || typeof run.healed === "number") &&
    (run.isOpen === undefined || typeof run.isOpen === "boolean") &&
    typeof run.conflicts === "number" &&
    typeof run.problems === "number" &&
    typeof run.seconds === "number" &&
    Array.isArray(run.options) &&
    run.options.every((word) => typeof word === "string")
  );
}
