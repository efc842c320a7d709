/**
 * Names files that a side has and that may be similar to a large one it is to get: what the run removes there, other
 * versions of the name, the same name elsewhere, neighbours of about that size. These are guesses from names and sizes;
 * whether one is of use the transfer finds out (transfer/probe.ts). Costs by the number of changes and, for each large
 * file, a bounded look around its name; nothing where the side is empty.
 */
import { type RelPath, joinPath, nameOf, parentOf } from "#model/path.ts";
import type { Change, Side } from "#model/plan.ts";
import type { Step } from "#sync/plan/order.ts";
import type { SessionState } from "#sync/session/state.ts";
import { CANDIDATES_MAX, SIMILAR_BYTES_MIN } from "#sync/transfer/limits.ts";

/** Names looked at before and behind the name in its directory. */
const NEIGHBOURS_MAX = 100;
/** The same in the directory above. */
const ABOVE_MAX = 8;
/** Directories that are asked for the same name: below, and before and behind the directory and its parent. */
const DIRS_MAX = 4;
/** Of what the run removes or the ancestor does not know: files looked at for one name, one family, one size. */
const SAME_MAX = 8;
/** A candidate is at most so many times as large, or as small: powers of two. */
const LARGER_MAX = 3;
const SMALLER_MAX = 5;

/** What speaks for a candidate, against a difference of size in powers of two. */
const WEIGHT = { name: 4, family: 3, leaving: 2, place: 1 };

type Known = { readonly path: RelPath; readonly size: number };

/** Names that differ in digits, or only behind their first dot, are of one family: "log.1" and "log.2.old". */
function familyOf(path: RelPath): string {
  const name = nameOf(path);
  const dot = name.indexOf(".", 1);
  return name.slice(0, dot < 0 ? undefined : dot).replace(/\d+/g, "0");
}

/** The family within one directory. */
function lineOf(path: RelPath): string {
  return joinPath(parentOf(path), familyOf(path));
}

export class SimilarFiles {
  readonly #state: SessionState;
  readonly #side: Side;
  readonly #steps: readonly Step[];
  /** Made at the first need. */
  #loose: LooseFiles | undefined;
  /** What #dirs found. */
  readonly #dirsAround = new Map<RelPath, readonly RelPath[]>();

  /** `steps` are all that the run does on `side`. */
  constructor(state: SessionState, side: Side, steps: readonly Step[]) {
    this.#state = state;
    this.#side = side;
    this.#steps = steps;
  }

  /**
   * Paths that `side` holds now, the most promising first; undefined when there are none. A file that replaces another
   * has a base already, and gets others only where its family was rotated: one of it came or went in this run.
   */
  of({ path, old, new: entry }: Change): RelPath[] | undefined {
    if (entry?.kind !== "file" || entry.size < SIMILAR_BYTES_MIN || this.#isEmpty) return undefined;
    this.#loose ??= new LooseFiles(this.#state, this.#side, this.#steps);
    if (old?.kind === "file" && !this.#loose.rotated.has(lineOf(path))) return undefined;
    const scores = new Map<RelPath, number>();
    const note = ({ path: from, size }: Known, leaving = 0): void => {
      const octaves = Math.log2(size / entry.size);
      if (from === path || size < SIMILAR_BYTES_MIN || octaves > LARGER_MAX || octaves < -SMALLER_MAX) return;
      const score = this.#likeness(path, from) + leaving - Math.abs(octaves);
      scores.set(from, Math.max(score, scores.get(from) ?? -Infinity));
    };
    for (const one of this.#loose.near(path, entry.size)) note(one, this.#loose.leaving.has(one.path) ? WEIGHT.leaving : 0);
    for (const one of this.#neighbours(path)) note(one);
    const best = [...scores].sort((a, b) => b[1] - a[1]).map(([from]) => from);
    const held = best.filter((from) => this.#sizeAt(from) > 0).slice(0, CANDIDATES_MAX);
    return held.length === 0 ? undefined : held;
  }

  get #isEmpty(): boolean {
    return this.#state.entries[this.#side] === 0;
  }

  #likeness(path: RelPath, from: RelPath): number {
    const name = nameOf(path) === nameOf(from) ? WEIGHT.name : 0;
    const family = familyOf(path) === familyOf(from) ? WEIGHT.family : 0;
    return name + family + (parentOf(path) === parentOf(from) ? WEIGHT.place : 0);
  }

  /** Size of the file that the side holds at a path; 0 when it is none. */
  #sizeAt(path: RelPath): number {
    const held = this.#state.held(this.#side, path);
    return held.state === "present" && held.entry.kind === "file" ? held.entry.size : 0;
  }

  /** The files around the name in its directory and the one above, and those of the same name in directories around. */
  *#neighbours(path: RelPath): Generator<Known> {
    const dir = parentOf(path);
    const name = nameOf(path);
    let below = DIRS_MAX;
    for (const near of this.#state.ancestor.childrenAround(dir, name, NEIGHBOURS_MAX)) {
      const at = joinPath(dir, near.name);
      if (near.record.kind === "file") yield { path: at, size: near.record.size };
      else if (near.record.kind === "dir" && below-- > 0) yield this.#known(joinPath(at, name));
    }
    if (dir === "") return;
    for (const near of this.#state.ancestor.childrenAround(parentOf(dir), name, ABOVE_MAX)) {
      if (near.record.kind === "file") yield { path: joinPath(parentOf(dir), near.name), size: near.record.size };
    }
    for (const from of this.#sameName(dir, name)) yield this.#known(from);
  }

  #known(path: RelPath): Known {
    return { path, size: this.#sizeAt(path) };
  }

  /** The same name in the directories beside `dir` and beside its parent. */
  *#sameName(dir: RelPath, name: string): Generator<RelPath> {
    const above = parentOf(dir);
    for (const beside of this.#dirs(dir)) yield joinPath(beside, name);
    if (above === "") return;
    for (const beside of this.#dirs(above)) yield joinPath(joinPath(beside, nameOf(dir)), name);
  }

  /** Directories whose names are around the path's in its directory. */
  #dirs(path: RelPath): readonly RelPath[] {
    const parent = parentOf(path);
    let found = this.#dirsAround.get(path);
    if (found === undefined) {
      const near = this.#state.ancestor.childrenAround(parent, nameOf(path), DIRS_MAX);
      found = near.flatMap(({ name, record }) => (record.kind === "dir" ? [joinPath(parent, name)] : []));
      this.#dirsAround.set(path, found);
    }
    return found;
  }
}

/** Large files that the run removes or replaces, and those that only this side has; both follow the changes. */
class LooseFiles {
  readonly leaving = new Set<RelPath>();
  /** Families of which a file came or went. */
  readonly rotated = new Set<string>();
  readonly #byName = new Map<string, Known[]>();
  readonly #byFamily = new Map<string, Known[]>();
  readonly #bySize: Known[] = [];

  constructor(state: SessionState, side: Side, steps: readonly Step[]) {
    for (const step of steps) {
      if (step.type === "move") continue;
      const { path, old, new: entry, action } = step.change;
      if (action === "metadata") continue;
      if (isLarge(old)) {
        this.leaving.add(path);
        this.#add({ path, size: old.size });
      }
      if (isLarge(old) !== isLarge(entry)) this.rotated.add(lineOf(path));
    }
    for (const [path, held] of state.pending[side]) {
      if (held.state === "present" && isLarge(held.entry) && !this.leaving.has(path)) {
        this.#add({ path, size: held.entry.size });
      }
    }
    this.#bySize.sort((a, b) => a.size - b.size);
  }

  #add(file: Known): void {
    append(this.#byName, nameOf(file.path), file);
    append(this.#byFamily, lineOf(file.path), file);
    this.#bySize.push(file);
  }

  /** Those of the same name, of the same family, and of about that size. */
  *near(path: RelPath, size: number): Generator<Known> {
    yield* this.#byName.get(nameOf(path)) ?? [];
    yield* this.#byFamily.get(lineOf(path)) ?? [];
    let low = 0;
    let high = this.#bySize.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#bySize[middle]!.size < size) low = middle + 1;
      else high = middle;
    }
    yield* this.#bySize.slice(Math.max(0, low - SAME_MAX / 2), low + SAME_MAX / 2);
  }
}

function isLarge(entry: Change["old"]): entry is Extract<Change["old"], { kind: "file" }> {
  return entry?.kind === "file" && entry.size >= SIMILAR_BYTES_MIN;
}

function append(map: Map<string, Known[]>, key: string, file: Known): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [file]);
  else if (list.length < SAME_MAX) list.push(file);
}
