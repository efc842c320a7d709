/**
 * The order in which the changes of one side are safe to perform one after the other:
 *
 * 1. losers of conflicts are put aside, so that their paths are free;
 * 2. directories are made, parents first, also where a file or link gives way to one;
 * 3. moves, in the order of where they go: their sources are still there, their targets' directories exist;
 * 4. removals below directories that give way to a file or link: what is no directory, then directories, children first;
 * 5. files and links are created and replaced, in path order (the leader of a hard-link group before its members);
 * 6. all other removals, in the same order;
 * 7. metadata, in path order.
 *
 * Directories go last, so that one sync makes what was taken out of all of them safe before the first is gone.
 *
 * It holds because no move's target was occupied and no move's source is touched by anything but its move (see
 * moves.ts), and because a plan has one change at most for each side and path. `from` of a change names the path as it
 * was before the run; whoever copies from it must check what it read, and bring the bytes over when it is gone.
 */
import { isWithin } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import type { Change, Move, Plan, Side } from "#model/plan.ts";

export type Step = { readonly type: "move"; readonly move: Move } | { readonly type: "change"; readonly change: Change };

/** All moves and changes of `side`, in executing order. */
export function executionOrder(plan: Plan, side: Side): Step[] {
  const asides: Step[] = [];
  const directories: Step[] = [];
  const moves: Step[] = [];
  const clearing: Step[] = [];
  const contents: Step[] = [];
  const removals: Step[] = [];
  const metadata: Step[] = [];
  for (const move of plan.moves) {
    if (move.side === side) (move.aside === true ? asides : moves).push({ type: "move", move });
  }
  // The directory that gives way and was met last: what is removed below it comes directly after it in path order.
  let yielding: RelPath | undefined;
  for (const change of plan.changes) {
    if (change.side !== side) continue;
    const step: Step = { type: "change", change };
    if (change.action === "metadata") metadata.push(step);
    else if (change.action === "remove") {
      const inTheWay = yielding !== undefined && isWithin(change.path, yielding);
      (inTheWay ? clearing : removals).push(step);
    } else {
      if (change.new?.kind === "dir") directories.push(step);
      else contents.push(step);
      if (change.old?.kind === "dir") yielding = change.path;
    }
  }
  return [
    ...asides,
    ...directories,
    ...moves,
    ...directoriesLast(clearing),
    ...contents,
    ...directoriesLast(removals),
    ...metadata,
  ];
}

/** @param removals in path order */
function directoriesLast(removals: Step[]): Step[] {
  const isDir = (step: Step): boolean => step.type === "change" && step.change.old?.kind === "dir";
  removals.reverse();
  return [...removals.filter((step) => !isDir(step)), ...removals.filter(isDir)];
}
