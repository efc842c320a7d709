/**
 * Finds renames and copies in a plan, so that no bytes travel for them: a removed file or directory and a created one
 * with the same content become one Move, and a created or replaced file whose bytes the side has elsewhere gets `from`.
 *
 * Only a plain removal and a plain creation are joined: the target of a move is a path that was free, its source one
 * that nothing else uses. Swaps, chains and cycles of names (A to B while B to C) therefore stay content changes with
 * `from`, which are safe in any order. A directory is moved as a whole only when everything removed with it appears
 * again below the created one, by name, kind and content; otherwise its parts are tried. O(n log n) in the changes.
 */
import { sameMetadata } from "#model/entry.ts";
import type { Entry, FileEntry, Preserve, Sum } from "#model/entry.ts";
import { comparePaths, nameOf, parentOf } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import type { Change, Move, Plan, Side, SideCounts } from "#model/plan.ts";
import { countPlan } from "#sync/plan/counts.ts";
import { otherSide } from "#sync/plan/rows.ts";
import { measureShapes, shapeItem } from "#sync/plan/shapes.ts";
import type { ShapeItem } from "#sync/plan/shapes.ts";

export type MoveHints = {
  readonly preserve: Preserve;
  /**
   * Renames that a scan of a side saw by inode, new path to old path. They choose among equal candidates and allow
   * moves of what has no bytes; equal content is required all the same.
   */
  readonly renamed?: { readonly [side in Side]?: ReadonlyMap<RelPath, RelPath> | undefined } | undefined;
  /** Path of a file that holds these bytes on `side` now, before the plan, if the caller knows one. */
  readonly sumLocation?: ((side: Side, sum: Sum, size: number) => RelPath | undefined) | undefined;
  /**
   * New paths of moves that a side refused because it ignores something of them there: nothing is moved to these paths,
   * and no directory below them as a whole.
   */
  readonly apart?: { readonly [side in Side]?: ReadonlySet<RelPath> } | undefined;
};

/** The plan with moves and copies in it; other parts are as they were. */
export function detectMoves(plan: Plan, hints: MoveHints): Plan {
  const sides = (["alpha", "beta"] as const).filter((side) => isWorthwhile(plan.counts[side], hints));
  if (sides.length === 0) return plan;
  const edited: (Change | undefined)[] = [...plan.changes];
  const found = sides.map((side) => new SideMoves(plan, side, hints).match(edited));
  const moves = [...plan.moves, ...found.flat()];
  const changes = edited.filter((change) => change !== undefined);
  return { ...plan, changes, moves, counts: countPlan(changes, moves) };
}

/** Can there be anything to find? Not in a first copy, which must not pay for this pass. */
function isWorthwhile(counts: SideCounts, hints: MoveHints): boolean {
  const wanting = counts.creates + counts.replaces;
  if (counts.removes > 0 || hints.sumLocation !== undefined) return wanting > 0;
  return counts.replaces > 0 && wanting > 1;
}

class SideMoves {
  readonly #side: Side;
  readonly #hints: MoveHints;
  readonly #removed: ShapeItem[] = [];
  readonly #created: ShapeItem[] = [];
  readonly #replaced: { readonly change: Change; readonly position: number }[] = [];
  readonly #moves: Move[] = [];

  constructor(plan: Plan, side: Side, hints: MoveHints) {
    this.#side = side;
    this.#hints = hints;
    // Below the path of a loser put aside nothing was free before the run.
    const asides = new Set(plan.moves.filter((move) => move.side === side && move.aside === true).map(({ from }) => from));
    for (const [position, change] of plan.changes.entries()) {
      if (change.side !== side) continue;
      if (change.action === "remove") this.#removed.push(shapeItem(change, position, change.old!, hints.preserve));
      else if (change.action !== "content" || change.from !== undefined) continue;
      else if (change.old === undefined && !isWithinAny(change.path, asides)) {
        this.#created.push(shapeItem(change, position, change.new!, hints.preserve));
      } else this.#replaced.push({ change, position });
    }
  }

  /** Finds the moves and edits the plan's changes by position; undefined for those that vanish. */
  match(changes: (Change | undefined)[]): Move[] {
    if (this.#removed.length > 0 && this.#created.length > 0) this.#pair(changes);
    this.#copy(changes);
    return this.#moves.sort((a, b) => comparePaths(a.to, b.to));
  }

  #pair(changes: (Change | undefined)[]): void {
    measureShapes(this.#removed, this.#created);
    const apart = this.#hints.apart?.[this.#side] ?? new Set();
    const isApart = ({ change: { path }, entry }: ShapeItem): boolean =>
      entry.kind === "dir" ? isWithinAny(path, apart) : apart.has(path);
    // Directories before files and the largest first: what moves as a whole must not have lost a part before.
    for (const wanted of ["directories", "others"] as const) {
      const fits = ({ entry, shape, used }: ShapeItem) =>
        shape !== 0 && !used && (entry.kind === "dir") === (wanted === "directories");
      const targets: number[] = [];
      for (const [at, item] of this.#created.entries()) if (fits(item) && !isApart(item)) targets.push(at);
      if (targets.length === 0) continue;
      const candidates = new Candidates(this.#removed, fits, this.#hints.renamed?.[otherSide(this.#side)]);
      targets.sort((a, b) => this.#created[b]!.size - this.#created[a]!.size || a - b);
      for (const at of targets) {
        const target = this.#created[at]!;
        const found = target.used ? undefined : candidates.take(target);
        if (found !== undefined) this.#move(found, at, changes);
      }
    }
  }

  #move(removedAt: number, createdAt: number, changes: (Change | undefined)[]): void {
    const { size } = this.#created[createdAt]!;
    for (let offset = 0; offset < size; offset++) {
      const source = this.#removed[removedAt + offset]!;
      const target = this.#created[createdAt + offset]!;
      source.used = true;
      target.used = true;
      changes[source.position] = undefined;
      changes[target.position] = this.#metadataAfter(source, target);
    }
    const from = this.#removed[removedAt]!.change.path;
    this.#moves.push({ side: this.#side, from, to: this.#created[createdAt]!.change.path, count: size });
  }

  /** What is left to do at the new place of a moved entry. */
  #metadataAfter(source: ShapeItem, target: ShapeItem): Change | undefined {
    if (sameMetadata(source.entry, target.entry, this.#hints.preserve)) return undefined;
    const { side, path } = target.change;
    return { side, path, old: source.entry, new: target.entry, action: "metadata" };
  }

  /** Sets `from` where the side has the bytes: in what the plan removes or replaces, or in an untouched file. */
  #copy(changes: (Change | undefined)[]): void {
    const { sumLocation } = this.#hints;
    const leaving = new Map<string, RelPath>();
    for (const { change, entry, used } of this.#removed) if (!used) noteBytes(leaving, entry, change.path);
    for (const { change } of this.#replaced) if (change.old !== undefined) noteBytes(leaving, change.old, change.path);
    const moved = new Set(this.#moves.map((move) => move.from));
    const look = (change: Change, position: number) => {
      const file = change.new;
      if (file?.kind !== "file" || file.sum === undefined || file.size === 0 || file.linkTo !== undefined) return;
      const from = leaving.get(bytesKey(file)) ?? sumLocation?.(this.#side, file.sum, file.size);
      if (from === undefined || from === change.path || isWithinAny(from, moved)) return;
      changes[position] = { ...change, from };
    };
    if (leaving.size === 0 && sumLocation === undefined) return;
    for (const { change, position, used } of this.#created) if (!used) look(change, position);
    for (const { change, position } of this.#replaced) look(change, position);
  }
}

function bytesKey(file: FileEntry): string {
  return `${file.size}:${file.sum}`;
}

function noteBytes(map: Map<string, RelPath>, entry: Entry, path: RelPath): void {
  if (entry.kind === "file" && entry.sum !== undefined && entry.size > 0) map.set(bytesKey(entry), path);
}

function isWithinAny(path: RelPath, dirs: ReadonlySet<RelPath>): boolean {
  if (dirs.size === 0) return false;
  for (let at: RelPath = path; at !== ""; at = parentOf(at)) if (dirs.has(at)) return true;
  return false;
}

/** Removed items that wait for a created one of their shape. Every item is looked at a bounded number of times. */
class Candidates {
  readonly #removed: readonly ShapeItem[];
  readonly #renamed: ReadonlyMap<RelPath, RelPath> | undefined;
  readonly #byPath = new Map<RelPath, number>();
  /** Positions in reverse path order, so that pop() gives the first. */
  readonly #byName = new Map<string, number[]>();
  readonly #byShape = new Map<number, number[]>();

  constructor(
    removed: readonly ShapeItem[],
    fits: (item: ShapeItem) => boolean,
    renamed: ReadonlyMap<RelPath, RelPath> | undefined,
  ) {
    this.#removed = removed;
    this.#renamed = renamed;
    for (let at = removed.length - 1; at >= 0; at--) {
      const { shape, change } = removed[at]!;
      if (!fits(removed[at]!)) continue;
      if (renamed !== undefined) this.#byPath.set(change.path, at);
      append(this.#byName, `${shape}/${nameOf(change.path)}`, at);
      append(this.#byShape, shape, at);
    }
  }

  /** The removed item to move to `target`: by the hint, then of the same name, then the first in path order. */
  take(target: ShapeItem): number | undefined {
    const { path } = target.change;
    const hinted = this.#byPath.get(this.#renamed?.get(path) ?? "");
    if (hinted !== undefined && this.#isFree(hinted) && this.#removed[hinted]!.shape === target.shape) return hinted;
    if (!target.bytes) return undefined;
    return this.#pop(this.#byName.get(`${target.shape}/${nameOf(path)}`)) ?? this.#pop(this.#byShape.get(target.shape));
  }

  #isFree(at: number): boolean {
    return !this.#removed[at]!.used;
  }

  #pop(list: number[] | undefined): number | undefined {
    while (list !== undefined && list.length > 0) {
      const at = list.pop()!;
      if (this.#isFree(at)) return at;
    }
    return undefined;
  }
}

function append<K>(map: Map<K, number[]>, key: K, at: number): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [at]);
  else list.push(at);
}
