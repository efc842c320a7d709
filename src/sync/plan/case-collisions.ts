/**
 * Names that a side cannot tell apart. On a file system that folds case (or Unicode normalisation) "Readme" and
 * "README" are one file: creating the second would overwrite the first, and its removal would then come back.
 */
import type { Problem } from "#model/observation.ts";
import { foldName, isWithin, nameOf, parentOf } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import type { Change, Move, Plan, Side } from "#model/plan.ts";
import { countPlan } from "#sync/plan/counts.ts";

/**
 * Takes out of the plan what `side` could not keep apart from another name in the same directory: with each creation
 * goes everything below it, and a NAME problem is added for it. Of two creations the first in path order stays.
 * `names` gives the names that `side` has in a directory now. To be called after detectMoves, for sides that are not
 * case-sensitive; a move that only changes the case of its own name passes.
 */
export function withoutCaseCollisions(plan: Plan, side: Side, names: (dir: RelPath) => Iterable<string>): Plan {
  const taken = new Taken(names);
  const problems: Problem[] = [];
  const refuse = (path: RelPath, other: string) => {
    const message = `differs from "${other}" only in case or Unicode form; ${side} cannot hold both`;
    problems.push({ path, side, code: "NAME", message, transient: false });
  };
  const moves: Move[] = [];
  for (const move of plan.moves) {
    const other = move.side === side ? taken.claim(move.to, move.from) : undefined;
    if (other === undefined) moves.push(move);
    else refuse(move.to, other);
  }
  let refused: RelPath | undefined = undefined;
  const changes: Change[] = [];
  for (const change of plan.changes) {
    const creates = change.side === side && change.action === "content" && change.old === undefined;
    const below = change.side === side && refused !== undefined && isWithin(change.path, refused);
    const other: string | undefined = creates && !below ? taken.claim(change.path) : undefined;
    if (other !== undefined) {
      refuse(change.path, other);
      refused = change.path;
    } else if (!below) changes.push(change);
  }
  if (problems.length === 0) return plan;
  const kept = changes.filter((change) => !isLeftover(change, plan.moves, moves));
  return { ...plan, changes: kept, moves, blocked: [...plan.blocked, ...problems], counts: countPlan(kept, moves) };
}

/** Metadata at the new place of a move that was taken out has nothing to be set on. */
function isLeftover(change: Change, before: readonly Move[], after: readonly Move[]): boolean {
  if (before.length === after.length || change.action !== "metadata") return false;
  const dropped = before.filter((move) => !after.includes(move));
  return dropped.some((move) => move.side === change.side && isWithin(change.path, move.to));
}

/** Folded names per directory, with the real ones. */
class Taken {
  readonly #names: (dir: RelPath) => Iterable<string>;
  readonly #dirs = new Map<RelPath, Map<string, string>>();

  constructor(names: (dir: RelPath) => Iterable<string>) {
    this.#names = names;
  }

  /** Takes the name of `path`; returns the other name when it is taken by one that is not `from`'s. */
  claim(path: RelPath, from?: RelPath): string | undefined {
    const dir = parentOf(path);
    let known = this.#dirs.get(dir);
    if (known === undefined) {
      known = new Map();
      for (const name of this.#names(dir)) known.set(foldName(name), name);
      this.#dirs.set(dir, known);
    }
    const name = nameOf(path);
    const folded = foldName(name);
    const other = known.get(folded);
    if (other === undefined || (from !== undefined && parentOf(from) === dir && nameOf(from) === other)) {
      known.set(folded, name);
      return undefined;
    }
    return other === name ? undefined : other;
  }
}
