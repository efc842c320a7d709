/** Totals of a plan, for people and for the brake. */
import type { Change, Move, PlanCounts, SideCounts } from "#model/plan.ts";

function zero(): SideCounts {
  return { creates: 0, replaces: 0, metadata: 0, removes: 0, moves: 0, bytes: 0 };
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
      if (change.new?.kind === "file" && change.new.linkTo === undefined) side.bytes += change.new.size;
    }
  }
  return counts;
}
