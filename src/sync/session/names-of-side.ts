/** The names that one side has in a directory and that a plan leaves there: what a new name must not collide with. */
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import type { Plan, Side } from "#model/plan.ts";
import type { SessionState } from "#sync/session/state.ts";

export class NamesOfSide {
  readonly #state: SessionState;
  readonly #side: Side;
  readonly #removed: ReadonlySet<RelPath>;
  /** Pending paths by directory; made at the first question, which most plans never ask. */
  #pending: Map<RelPath, RelPath[]> | undefined;

  /**
   * What the plan removes counts as gone: the new name may still be refused by the disk while the old one is there,
   * but then the next cycle brings it.
   */
  constructor(state: SessionState, side: Side, plan: Plan) {
    this.#state = state;
    this.#side = side;
    const removed = plan.changes.filter((change) => change.side === side && change.action === "remove");
    this.#removed = new Set(removed.map(({ path }) => path));
  }

  in(dir: RelPath): Set<string> {
    const prefix = dir === "" ? "" : `${dir}/`;
    const names = new Set<string>();
    const held = this.#state.pending[this.#side];
    for (const { name } of this.#state.ancestor.children(dir)) if (!held.has(prefix + name)) names.add(name);
    this.#pending ??= Map.groupBy(held.keys(), parentOf);
    for (const path of this.#pending.get(dir) ?? []) if (held.get(path)?.state !== "absent") names.add(nameOf(path));
    for (const name of names) if (this.#removed.has(prefix + name)) names.delete(name);
    return names;
  }
}
