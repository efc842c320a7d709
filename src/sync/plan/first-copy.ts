/**
 * The plan of a first copy: nothing was ever agreed, one side holds nothing, and all that the other holds comes over. It
 * is what reconcile makes of it, without a row and a survey for each path, which nobody needs who has nothing to compare.
 */
import type { Entry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { Change, Mode, Plan, Side } from "#model/plan.ts";
import { countPlan } from "#sync/plan/counts.ts";
import { otherSide } from "#sync/plan/rows.ts";

/**
 * @param from the side that holds something
 * @param held all of it, in comparePaths order
 * @returns undefined where there is something to decide: the mode brings nothing to the other side, or an entry cannot
 * be synchronised
 */
export function planFirstCopy(from: Side, mode: Mode, held: Iterable<readonly [RelPath, Entry]>): Plan | undefined {
  const isTwoWay = mode === "two-way-safe" || mode === "two-way-resolved";
  if (from === "beta" && !isTwoWay) return undefined;
  const side = otherSide(from);
  const changes: Change[] = [];
  for (const [path, entry] of held) {
    if (entry.kind === "other") return undefined;
    changes.push({ side, path, old: undefined, new: entry, action: "content" });
  }
  return { changes, moves: [], conflicts: [], agreements: [], blocked: [], counts: countPlan(changes, []) };
}
