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
import type { Change, Move, Plan, Side } from "#model/plan.ts";
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
  /** Path of a file on `side` that holds these bytes and has no change in the plan, if the caller knows one. */
  readonly sumLocation?: ((side: Side, sum: Sum, size: number) => RelPath | undefined) | undefined;
};

/** The plan with moves and copies in it; other parts are as they were. */
export function detectMoves(plan: Plan, hints: MoveHints): Plan {
  const alpha = new SideMoves(plan, "alpha", hints);
  const beta = new SideMoves(plan, "beta", hints);
  if (!alpha.worthwhile && !beta.worthwhile) return plan;
  const replaced = new Map<Change, Change | undefined>();
  const moves = [...plan.moves, ...alpha.match(replaced), ...beta.match(replaced)];
  const changes: Change[] = [];
  for (const change of plan.changes) {
    const now = replaced.has(change) ? replaced.get(change) : change;
    if (now !== undefined) changes.push(now);
  }
  return { ...plan, changes, moves, counts: countPlan(changes, moves) };
}

class SideMoves {
  readonly #side: Side;
  readonly #hints: MoveHints;
  readonly #removed: ShapeItem[] = [];
  readonly #created: ShapeItem[] = [];
  readonly #replaced: Change[] = [];
  readonly #moves: Move[] = [];

  constructor(plan: Plan, side: Side, hints: MoveHints) {
    this.#side = side;
    this.#hints = hints;
    // Below the path of a loser put aside nothing was free before the run.
    const asides = new Set(plan.moves.filter((move) => move.side === side && move.aside === true).map(({ from }) => from));
    for (const change of plan.changes) {
      if (change.side !== side) continue;
      if (change.action === "remove") this.#removed.push(shapeItem(change, change.old!, hints.preserve));
      else if (change.action !== "content" || change.from !== undefined) continue;
      else if (change.old === undefined && !isWithinAny(change.path, asides)) {
        this.#created.push(shapeItem(change, change.new!, hints.preserve));
      } else this.#replaced.push(change);
    }
  }

  /** Is there anything to find? False for a first copy, which must not pay for this pass. */
  get worthwhile(): boolean {
    const wanting = this.#created.length + this.#replaced.length;
    if (this.#removed.length > 0 || this.#hints.sumLocation !== undefined) return wanting > 0;
    return this.#replaced.length > 0 && wanting > 1;
  }

  /** Finds the moves and notes in `replaced` what becomes of the changes; undefined for those that vanish. */
  match(replaced: Map<Change, Change | undefined>): Move[] {
    if (!this.worthwhile) return [];
    if (this.#removed.length > 0 && this.#created.length > 0) this.#pair(replaced);
    this.#copy(replaced);
    return this.#moves.sort((a, b) => comparePaths(a.to, b.to));
  }

  #pair(replaced: Map<Change, Change | undefined>): void {
    measureShapes(this.#removed, this.#created);
    const candidates = new Candidates(this.#removed, this.#hints.renamed?.[otherSide(this.#side)]);
    // The largest first: what is moved as a whole must not have lost a part to a smaller move before.
    const order = this.#created.map((_, at) => at).filter((at) => this.#created[at]!.shape !== 0);
    order.sort((a, b) => this.#created[b]!.size - this.#created[a]!.size || a - b);
    for (const at of order) {
      const target = this.#created[at]!;
      if (target.used) continue;
      const found = candidates.take(target);
      if (found !== undefined) this.#move(found, at, replaced);
    }
  }

  #move(removedAt: number, createdAt: number, replaced: Map<Change, Change | undefined>): void {
    const { size } = this.#created[createdAt]!;
    for (let offset = 0; offset < size; offset++) {
      const source = this.#removed[removedAt + offset]!;
      const target = this.#created[createdAt + offset]!;
      source.used = true;
      target.used = true;
      replaced.set(source.change, undefined);
      const { side, path } = target.change;
      const same = sameMetadata(source.entry, target.entry, this.#hints.preserve);
      const rest: Change = { side, path, old: source.entry, new: target.entry, action: "metadata" };
      replaced.set(target.change, same ? undefined : rest);
    }
    const from = this.#removed[removedAt]!.change.path;
    this.#moves.push({ side: this.#side, from, to: this.#created[createdAt]!.change.path, count: size });
  }

  /** Sets `from` where the side has the bytes: in what the plan removes or replaces, or in an untouched file. */
  #copy(replaced: Map<Change, Change | undefined>): void {
    const { sumLocation } = this.#hints;
    const leaving = new Map<string, RelPath>();
    for (const { change, entry, used } of this.#removed) if (!used) noteBytes(leaving, entry, change.path);
    for (const change of this.#replaced) if (change.old !== undefined) noteBytes(leaving, change.old, change.path);
    const moved = new Set(this.#moves.map((move) => move.from));
    const look = (change: Change) => {
      const file = change.new;
      if (file?.kind !== "file" || file.sum === undefined || file.size === 0 || file.linkTo !== undefined) return;
      const from = leaving.get(bytesKey(file)) ?? sumLocation?.(this.#side, file.sum, file.size);
      if (from === undefined || from === change.path || isWithinAny(from, moved)) return;
      replaced.set(change, { ...change, from });
    };
    if (leaving.size === 0 && sumLocation === undefined) return;
    for (const { change, used } of this.#created) if (!used) look(change);
    for (const change of this.#replaced) look(change);
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

  constructor(removed: readonly ShapeItem[], renamed: ReadonlyMap<RelPath, RelPath> | undefined) {
    this.#removed = removed;
    this.#renamed = renamed;
    for (let at = removed.length - 1; at >= 0; at--) {
      const { shape, change } = removed[at]!;
      if (shape === 0) continue;
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
