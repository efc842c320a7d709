/**
 * What the first scan of a root found, kept until it is told: reading it from the index again, a moment after it was
 * written there, would cost nearly as much as the scan.
 */
import type { Entry } from "#model/entry.ts";
import type { Observation } from "#model/observation.ts";
import { type RelPath, compareNames, nameOf, parentOf } from "#model/path.ts";
import { BATCH_ITEMS_MAX } from "#sync/endpoint/endpoint.ts";

/** Entries that are kept; about 50 MB. Larger roots are read from the index. */
export const LISTED_MAX = 200_000;

type Present = Extract<Observation, { state: "present" }>;

export class FirstListing {
  /** What was found in each directory. */
  readonly #found = new Map<RelPath, Present[]>();
  #dir: RelPath = "";
  #list: Present[] = [];
  #count = 0;

  constructor() {
    this.#found.set(this.#dir, this.#list);
  }

  /** A path that the index holds now, and did not hold before. */
  add(path: RelPath, entry: Entry): void {
    if (++this.#count > LISTED_MAX) return this.#found.clear();
    const cut = path.lastIndexOf("/");
    const isSameDir = cut < 0 ? this.#dir === "" : cut === this.#dir.length && path.startsWith(this.#dir);
    if (!isSameDir) this.#enter(parentOf(path));
    this.#list.push({ state: "present", path, entry });
  }

  #enter(dir: RelPath): void {
    this.#dir = dir;
    let list = this.#found.get(dir);
    if (list === undefined) this.#found.set(dir, (list = []));
    this.#list = list;
  }

  /**
   * All of it in path order; undefined when it is not known to be all that the index holds: more than is kept, or
   * something was told twice. To be asked once.
   * @param entries in the index
   */
  batches(entries: number): Iterable<Observation[]> | undefined {
    return this.#count === entries && entries <= LISTED_MAX ? this.#inOrder() : undefined;
  }

  *#inOrder(): Generator<Observation[]> {
    const open = [this.#take("")];
    let batch: Observation[] = [];
    for (let level = open.at(-1); level !== undefined; level = open.at(-1)) {
      const one = level.list[level.next++];
      if (one === undefined) {
        open.pop();
        continue;
      }
      batch.push(one);
      if (one.entry.kind === "dir") open.push(this.#take(one.path));
      if (batch.length < BATCH_ITEMS_MAX) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  }

  #take(dir: RelPath): { readonly list: readonly Present[]; next: number } {
    const list = this.#found.get(dir) ?? [];
    this.#found.delete(dir);
    const order = (a: Present, b: Present): number => compareNames(nameOf(a.path), nameOf(b.path));
    return { list: list.every((one, at) => at === 0 || order(list[at - 1]!, one) < 0) ? list : list.sort(order), next: 0 };
  }
}
