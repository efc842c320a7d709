/**
 * A plan as a person reads it: what would happen on which side, how much of it, examples of each, what is in conflict
 * and why, what is blocked. And the same as one JSON value. Pure.
 */
import type { Entry } from "#model/entry.ts";
import { printablePath } from "#model/path.ts";
import {
  type Change,
  type ChangeName,
  type Conflict,
  type Move,
  type Plan,
  type Side,
  type SideCounts,
  nameOfChange,
} from "#model/plan.ts";
import { formatBytes, formatFileTime, plural } from "#cli/format.ts";
import type { Paint } from "#cli/screen.ts";

/** Paths shown for each action of a side; the rest is counted. --verbose shows all. */
const EXAMPLES_MAX = 8;

const ACTIONS: readonly ChangeName[] = ["heal", "create", "replace", "metadata", "remove"];

const TITLES: Record<ChangeName, string> = {
  heal: "heal from the other side",
  create: "create",
  replace: "replace",
  metadata: "set metadata",
  remove: "remove",
};

export function isEmptyPlan(plan: Plan): boolean {
  return plan.changes.length + plan.moves.length + plan.conflicts.length + plan.blocked.length === 0;
}

/** @param all every path instead of the first few of each group */
export function planLines(plan: Plan, labels: Record<Side, string>, paint: Paint, all = false): string[] {
  if (isEmptyPlan(plan)) return ["Both sides are the same: nothing to do."];
  const limit = all ? Number.POSITIVE_INFINITY : EXAMPLES_MAX;
  const lines: string[] = [];
  for (const side of ["alpha", "beta"] as const)
    lines.push(...sideLines(plan, side, labels[side], paint, limit));
  lines.push(...conflictLines(plan.conflicts, paint, limit));
  if (plan.blocked.length > 0) {
    lines.push(
      paint.yellow(`left alone, because a side could not be read: ${plural(plan.blocked.length, "path")}`),
    );
    for (const problem of plan.blocked.slice(0, limit)) {
      lines.push(
        `    ${printablePath(problem.path) || "."}: ${problem.message} (${problem.side}, ${problem.code})`,
      );
    }
    lines.push(...more(plan.blocked.length, limit));
  }
  return lines;
}

function sideLines(plan: Plan, side: Side, label: string, paint: Paint, limit: number): string[] {
  const changes = plan.changes.filter((change) => change.side === side);
  const moves = plan.moves.filter((move) => move.side === side);
  if (changes.length + moves.length === 0) return [];
  const bytes = plan.counts[side].bytes;
  const lines = [`${paint.bold(`on ${side}`)}  ${paint.dim(printablePath(label))}`];
  if (moves.length > 0) {
    const entries = moves.reduce((sum, move) => sum + move.count, 0);
    lines.push(
      `  ${paint.blue("move")} ${plural(moves.length, "path")}${entries > moves.length ? ` (${plural(entries, "entry", "entries")})` : ""}`,
    );
    for (const move of moves.slice(0, limit)) lines.push(`    ${moveText(move)}`);
    lines.push(...more(moves.length, limit));
  }
  for (const action of ACTIONS) {
    const group = changes.filter((change) => nameOfChange(change) === action);
    if (group.length === 0) continue;
    const size = group.reduce((sum, change) => sum + contentBytes(change), 0);
    const title = action === "remove" ? paint.red(TITLES[action]) : paint.green(TITLES[action]);
    lines.push(
      `  ${title} ${plural(group.length, "entry", "entries")}${size > 0 ? `, ${formatBytes(size)}` : ""}`,
    );
    for (const change of group.slice(0, limit)) lines.push(`    ${changeText(change)}`);
    lines.push(...more(group.length, limit));
  }
  if (bytes > 0) lines.push(paint.dim(`  to bring over: ${formatBytes(bytes)} before reuse and compression`));
  return lines;
}

function more(count: number, limit: number): string[] {
  return count > limit ? [`    … and ${plural(count - limit, "more", "more")}`] : [];
}

/** File bytes that a change brings or takes away; 0 for metadata. */
function contentBytes(change: Change): number {
  if (change.action === "metadata") return 0;
  const entry = change.new ?? change.old;
  return entry?.kind === "file" ? entry.size : 0;
}

function moveText(move: Move): string {
  const count = move.count > 1 ? `  (${plural(move.count, "entry", "entries")})` : "";
  return `${printablePath(move.from)} → ${printablePath(move.to)}${count}`;
}

function changeText(change: Change): string {
  const from = change.from === undefined ? "" : `  (from ${printablePath(change.from)})`;
  const entry = change.new ?? change.old;
  const was =
    change.old !== undefined && change.new !== undefined && change.old.kind !== change.new.kind
      ? ` instead of a ${kindName(change.old)}`
      : "";
  return `${printablePath(change.path)}${entry === undefined ? "" : `  (${describeEntry(entry)}${was})`}${from}`;
}

function kindName(entry: Entry): string {
  return entry.kind === "dir" ? "directory" : entry.kind === "other" ? entry.what : entry.kind;
}

/** "12.3 KiB", "directory", "symlink to x". */
export function describeEntry(entry: Entry): string {
  if (entry.kind === "file") return formatBytes(entry.size);
  return entry.kind === "symlink" ? `symlink to ${printablePath(entry.target)}` : kindName(entry);
}

/** One side of a conflict: "file, 12 B, 2026-11-20 …", "absent". */
export function conflictSide(entry: Entry | undefined): string {
  if (entry === undefined) return "absent";
  if (entry.kind !== "file") return describeEntry(entry);
  return `file, ${formatBytes(entry.size)}, changed ${formatFileTime(entry.mtimeNs)}`;
}

const REASONS: Record<Conflict["reason"], string> = {
  "both-changed": "both sides changed it",
  kind: "it is of another kind on the other side",
  "delete-against-change": "one side removed it, the other changed it",
  untracked: "something that is not synchronised stands in the way",
};

export function conflictLines(conflicts: readonly Conflict[], paint: Paint, limit = EXAMPLES_MAX): string[] {
  if (conflicts.length === 0) return [];
  const lines = [paint.yellow(plural(conflicts.length, "conflict"))];
  for (const conflict of conflicts.slice(0, limit)) {
    lines.push(`    ${printablePath(conflict.path)}: ${REASONS[conflict.reason]}`);
    lines.push(`      alpha: ${conflictSide(conflict.alpha)}`);
    lines.push(`      beta:  ${conflictSide(conflict.beta)}`);
  }
  lines.push(...more(conflicts.length, limit));
  return lines;
}

/** A plan as JSON-ready values: paths as they are (escaped bytes as lone surrogates), times as strings. */
export function planJson(plan: Plan): unknown {
  return {
    counts: plan.counts satisfies Record<Side, SideCounts>,
    moves: plan.moves,
    changes: plan.changes.map((change) => ({
      side: change.side,
      path: change.path,
      action: nameOfChange(change),
      old: entryJson(change.old),
      new: entryJson(change.new),
      ...(change.from === undefined ? {} : { from: change.from }),
    })),
    conflicts: plan.conflicts.map(conflictJson),
    blocked: plan.blocked,
  };
}

export function conflictJson(conflict: Conflict): unknown {
  return {
    path: conflict.path,
    reason: conflict.reason,
    alpha: entryJson(conflict.alpha),
    beta: entryJson(conflict.beta),
  };
}

function entryJson(entry: Entry | undefined): unknown {
  if (entry === undefined) return null;
  if (entry.kind === "file")
    return { kind: "file", size: entry.size, mode: entry.mode, mtimeNs: String(entry.mtimeNs) };
  if (entry.kind === "symlink") return { kind: "symlink", target: entry.target };
  return entry.kind === "dir" ? { kind: "dir", mode: entry.mode } : { kind: "other", what: entry.what };
}
