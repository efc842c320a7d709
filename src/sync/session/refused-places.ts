/**
 * Where a side refused something for good, because of what it ignores there. Every plan asks for it again, since only the
 * side can tell when a person has cleared the place; but what is to come there is offered from then on, whatever its
 * size, and sent when the side asks for it. What is to come below the place waits until that has come.
 */
import type { Problem } from "#model/observation.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Step } from "#sync/plan/order.ts";
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

  /** Places below which that plan leaves something out. */
  readonly #waiting: Record<Side, Set<RelPath>> = { alpha: new Set(), beta: new Set() };

  constructor(store: Store) {
    this.#meta = store.table("meta");
    this.#places = { alpha: this.#load("alpha"), beta: this.#load("beta") };
  }

  /** Was the path, or a directory above it, refused by the side in the last plan? */
  has(side: Side, path: RelPath): boolean {
    return isAtOrBelow(path, this.#places[side]);
  }

  /** The steps on a side without what would come below a place that is to be taken first, and was refused. */
  worthTrying(side: Side, steps: readonly Step[]): readonly Step[] {
    const places = this.#places[side];
    const waiting = (this.#waiting[side] = new Set());
    if (places.size === 0) return steps;
    const asked = new Set<RelPath>();
    for (const step of steps) {
      if (isCreation(step) && step.change.action === "content" && places.has(step.change.path)) asked.add(step.change.path);
    }
    return steps.filter((step) => {
      const place = isCreation(step) ? lowestOf(parentOf(step.change.path), asked) : undefined;
      if (place !== undefined) waiting.add(place);
      return place === undefined;
    });
  }

  /** Has something been left out that may come now that this is there? */
  isAwaited(side: Side, path: RelPath): boolean {
    return this.#waiting[side].has(path);
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
  return lowestOf(path, places) !== undefined;
}

/** The lowest of the places at the path or above it. */
function lowestOf(path: RelPath, places: ReadonlySet<RelPath>): RelPath | undefined {
  if (places.size === 0) return undefined;
  for (let at = path; at !== ""; at = parentOf(at)) if (places.has(at)) return at;
  return undefined;
}

function isCreation(step: Step): step is Extract<Step, { type: "change" }> {
  return step.type === "change" && step.change.new !== undefined;
}
