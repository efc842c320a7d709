/**
 * Where a side refused something for good, because of what it ignores there. Every plan asks for it again, since only the
 * side can tell when a person has cleared the place; but what is to come there is offered from then on, whatever its
 * size, and sent when the side asks for it.
 */
import type { Problem } from "#model/observation.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Store, Table } from "#sync/index/store.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";

/** Places that are remembered of a side; what is to come to others is sent, and refused, each time. */
const PLACES_MAX = 1000;
/** Something ignored is in a directory that was to go, or in the place of what was to come. */
const HELD_CODES: ReadonlySet<string> = new Set(["ENOTEMPTY", "EEXIST"]);

/** Does the problem last until a person clears its place? */
export function isHeldPlace({ code, transient }: Problem): boolean {
  return !transient && HELD_CODES.has(code);
}

/** One problem tells of a place: not also each that it makes below. */
export function toldOnce(problems: Problem[]): Problem[] {
  const held = problems.filter(isHeldPlace);
  if (held.length < 2) return problems;
  const places = { alpha: new Set<RelPath>(), beta: new Set<RelPath>() };
  for (const { side, path } of held) places[side].add(path);
  return problems.filter((one) => !isHeldPlace(one) || !isAtOrBelow(parentOf(one.path), places[one.side]));
}

export class RefusedPlaces {
  readonly #meta: Table;
  readonly #places: Record<Side, ReadonlySet<RelPath>>;
  /** Of the plan that is being carried out. */
  #noted: Record<Side, Set<RelPath>> = { alpha: new Set(), beta: new Set() };

  constructor(store: Store) {
    this.#meta = store.table("meta");
    this.#places = { alpha: this.#load("alpha"), beta: this.#load("beta") };
  }

  /** Was the path, or a directory above it, refused by the side in the last plan? */
  has(side: Side, path: RelPath): boolean {
    return isAtOrBelow(path, this.#places[side]);
  }

  note(side: Side, path: RelPath): void {
    this.#noted[side].add(path);
  }

  /** The plan was carried out: what it noted is all there is. Inside a transaction when `isChanged`. */
  settle(): void {
    for (const side of ["alpha", "beta"] as const) {
      if (!this.#isOther(side)) continue;
      this.#places[side] = this.#topmost(side);
      this.#save(side);
    }
    this.#noted = { alpha: new Set(), beta: new Set() };
  }

  get isChanged(): boolean {
    return this.#isOther("alpha") || this.#isOther("beta");
  }

  #isOther(side: Side): boolean {
    const now = this.#topmost(side);
    const before = this.#places[side];
    return now.size !== before.size || [...now].some((path) => !before.has(path));
  }

  #topmost(side: Side): ReadonlySet<RelPath> {
    const noted = this.#noted[side];
    const places = [...noted].filter((path) => !isAtOrBelow(parentOf(path), noted));
    return new Set(places.slice(0, PLACES_MAX));
  }

  #load(side: Side): ReadonlySet<RelPath> {
    const bytes = this.#meta.get(`refused-${side}`);
    const places = new Set<RelPath>();
    if (bytes === undefined) return places;
    const r = new ByteReader(bytes);
    while (!r.atEnd) places.add(r.string());
    return places;
  }

  #save(side: Side): void {
    const w = new ByteWriter();
    for (const path of this.#places[side]) w.string(path);
    if (this.#places[side].size === 0) this.#meta.delete(`refused-${side}`);
    else this.#meta.set(`refused-${side}`, w.finish());
  }
}

function isAtOrBelow(path: RelPath, places: ReadonlySet<RelPath>): boolean {
  if (places.size === 0) return false;
  for (let at = path; at !== ""; at = parentOf(at)) if (places.has(at)) return true;
  return false;
}
