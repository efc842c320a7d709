/** A held plan as it is shown at the hub: counts, and its first changes in words. */
import { printablePath } from "#model/path.ts";
import type { Plan } from "#model/plan.ts";
import { HOLD_CHANGES_MAX, HOLD_CHARS_MAX, type HeldPlan } from "#hub/agents/control.ts";

/** Longest line of one change; a longer path is cut. */
const LINE_CHARS_MAX = 9000;

export function heldPlan(link: string, hash: string, reason: string, plan: Plan): HeldPlan {
  const changes: string[] = [];
  let chars = 0;
  for (const line of linesOf(plan)) {
    chars += line.length;
    if (changes.length >= HOLD_CHANGES_MAX || chars > HOLD_CHARS_MAX) break;
    changes.push(line);
  }
  const { counts } = plan;
  const total = plan.changes.length + plan.moves.length;
  return { link, hash, reason: reason.slice(0, 2000), counts: { alpha: { ...counts.alpha }, beta: { ...counts.beta } }, changes, total };
}

function* linesOf(plan: Plan): Iterable<string> {
  const shown = (path: string): string => printablePath(path.slice(0, LINE_CHARS_MAX / 3));
  for (const { side, from, to, count } of plan.moves) {
    yield `${side} move ${shown(from)} → ${shown(to)}${count > 1 ? ` (${count} entries)` : ""}`;
  }
  for (const { side, path, action, old } of plan.changes) {
    const word = action === "content" ? (old === undefined ? "create" : "replace") : action;
    yield `${side} ${word} ${shown(path)}`;
  }
}
