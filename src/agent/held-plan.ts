/**
 * A held plan as it is shown at the hub: counts, and its first changes in words. Who reads it does not know which side is
 * alpha, so in words the sides are "host" and "space".
 */
import { printablePath } from "#model/path.ts";
import { type Plan, type Side, nameOfChange } from "#model/plan.ts";
import { HOLD_CHANGES_MAX, HOLD_CHARS_MAX, type HeldPlan } from "#hub/agents/control.ts";
import { NAMED_PATHS_MAX, PathSet } from "#hub/agents/path-set.ts";

/** Longest line of one change; a longer path is cut. */
const LINE_CHARS_MAX = 9000;

export function heldPlan(link: string, hash: string, reason: string, plan: Plan, spaceSide: Side): HeldPlan {
  const nameOf = (side: Side): string => (side === spaceSide ? "space" : "host");
  const changes: string[] = [];
  let chars = 0;
  for (const line of linesOf(plan, nameOf)) {
    chars += line.length;
    if (changes.length >= HOLD_CHANGES_MAX || chars > HOLD_CHARS_MAX) break;
    changes.push(line);
  }
  const { counts } = plan;
  const total = plan.changes.length + plan.moves.length;
  const words = reason.replace(/\b(?:alpha|beta)\b/g, (side) => `the ${nameOf(side as Side)}`);
  const shown = { alpha: { ...counts.alpha }, beta: { ...counts.beta } };
  return { link, hash, reason: words.slice(0, 2000), counts: shown, changes, total, removals: removalsOf(plan, spaceSide) };
}

function removalsOf(plan: Plan, spaceSide: Side): HeldPlan["removals"] {
  if (plan.counts.alpha.removes + plan.counts.beta.removes > NAMED_PATHS_MAX) return null;
  const sets = { host: new PathSet(), space: new PathSet() };
  for (const { side, path, action } of plan.changes) {
    if (action === "remove") sets[side === spaceSide ? "space" : "host"].add(path);
  }
  return { host: sets.host.name, space: sets.space.name };
}

function* linesOf(plan: Plan, nameOf: (side: Side) => string): Iterable<string> {
  const shown = (path: string): string => printablePath(path.slice(0, LINE_CHARS_MAX / 3));
  for (const { side, from, to, count } of plan.moves) {
    yield `${nameOf(side)} move ${shown(from)} → ${shown(to)}${count > 1 ? ` (${count} entries)` : ""}`;
  }
  for (const change of plan.changes) yield `${nameOf(change.side)} ${nameOfChange(change)} ${shown(change.path)}`;
}
