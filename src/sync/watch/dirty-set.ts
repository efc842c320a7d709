/** Where a root may have changed: hints, bounded in number, never the truth. */
import { type RelPath, parentOf } from "#model/path.ts";

/** Paths remembered one by one at most; beyond it whole directories are looked at, and then everything. */
export const DIRTY_PATHS_MAX = 10_000;

/** `entry`: the node itself · `children`: also the nodes directly in it · `subtree`: everything below. */
export type DirtyExtent = "entry" | "children" | "subtree";

/** `all`: the whole root must be scanned, whatever `paths` says. */
export type DirtyPaths = { readonly paths: ReadonlyMap<RelPath, DirtyExtent>; readonly all: boolean };

const WIDTH: Readonly<Record<DirtyExtent, number>> = { entry: 0, children: 1, subtree: 2 };

export function widerExtent(a: DirtyExtent | undefined, b: DirtyExtent): DirtyExtent {
  return a !== undefined && WIDTH[a] > WIDTH[b] ? a : b;
}

export class DirtySet {
  #paths = new Map<RelPath, DirtyExtent>();
  #all = false;

  get isEmpty(): boolean {
    return !this.#all && this.#paths.size === 0;
  }

  mark(path: RelPath, extent: DirtyExtent): void {
    if (this.#all) return;
    const known = this.#paths.get(path);
    if (known === extent) return;
    this.#paths.set(path, widerExtent(known, extent));
    if (this.#paths.size > DIRTY_PATHS_MAX) this.#fold();
  }

  markAll(): void {
    this.#all = true;
    this.#paths.clear();
  }

  /** Hands over what has gathered and begins anew. */
  take(): DirtyPaths {
    const taken: DirtyPaths = { paths: this.#paths, all: this.#all };
    this.#paths = new Map();
    this.#all = false;
    return taken;
  }

  /** Puts back what could not be looked at. */
  restore({ paths, all }: DirtyPaths): void {
    if (all) this.markAll();
    for (const [path, extent] of paths) this.mark(path, extent);
  }

  #fold(): void {
    const folded = new Map<RelPath, DirtyExtent>();
    for (const [path, extent] of this.#paths) {
      if (extent !== "entry") folded.set(path, widerExtent(folded.get(path), extent));
      else if (path !== "") folded.set(parentOf(path), widerExtent(folded.get(parentOf(path)), "children"));
    }
    this.#paths = folded;
    // Half, so that folding is not done again for each path that follows.
    if (folded.size > DIRTY_PATHS_MAX / 2) this.markAll();
  }
}
