/** Totals of a plan, for people and for the brake. */
import type { Change, Move, PlanCounts, SideCounts } from "#model/plan.ts";

function zero(): SideCounts {
  return { creates: 0, replaces: 0, metadata: 0, removes: 0, moves: 0, bytes: 0 };
}

/** Content that a change is about; a further name of a file has none of its own. */
export function bytesOf({ action, new: entry }: Change): number {
  return action === "content" && entry?.kind === "file" && entry.linkTo === undefined ? entry.size : 0;
}

/** Counts each change once; a move counts once however much it carries. Copies on the spot count as bytes too. */
export function countPlan(changes: readonly Change[], moves: readonly Move[]): PlanCounts {
  const counts: PlanCounts = { alpha: zero(), beta: zero() };
  for (const move of moves) counts[move.side].moves++;
  for (const change of changes) {
    const side = counts[change.side];
    if (change.action === "metadata") side.metadata++;
    else if (change.action === "remove") side.removes++;
    else {
      if (change.old === undefined) side.creates++;
      else side.replaces++;
      side.bytes += bytesOf(change);
    }
  }
  return counts;
}
