/**
 * What the first scan of a root finds, kept until it is told: in path order and while the scan still looks on, as far as
 * all that comes before is known. Reading it from the index again, a moment after it was written there, would cost
 * nearly as much as the scan.
 */
import type { Entry } from "#model/entry.ts";
import type { Observation } from "#model/observation.ts";
import { type RelPath, comparePaths, parentOf } from "#model/path.ts";
import { BATCH_ITEMS_MAX } from "#sync/endpoint/endpoint.ts";

/** Entries that are kept untold; about 50 MB. What comes then is read from the index. */
export const LISTED_MAX = 200_000;

type Present = Extract<Observation, { state: "present" }>;

/** What was found in a directory, and whether that is all. */
type Found = { readonly list: Present[]; isWhole: boolean };

export class FirstListing {
  readonly #found = new Map<RelPath, Found>();
  #dir: RelPath = "";
  #list: Present[];
  #count = 0;
  #kept = 0;
  /** More was found than is kept. */
  #isLost = false;
  /** The directories on the way to what is told next; undefined until the root has been listed. */
  #open: { readonly list: readonly Present[]; next: number }[] | undefined;
  #last: RelPath = "";

  constructor() {
    this.#list = this.#at("").list;
  }

  /** A path that the index holds now, and did not hold before. */
  add(path: RelPath, entry: Entry): void {
    this.#count++;
    if (this.#isLost) return;
    if (++this.#kept > LISTED_MAX) return this.#lose();
    const cut = path.lastIndexOf("/");
    const isSameDir = cut < 0 ? this.#dir === "" : cut === this.#dir.length && path.startsWith(this.#dir);
    if (!isSameDir) {
      this.#dir = parentOf(path);
      this.#list = this.#at(this.#dir).list;
    }
    this.#list.push({ state: "present", path, entry });
  }

  /** Everything in the directory has been added; of what is below them, its directories tell by themselves. */
  whole(dir: RelPath): void {
    if (!this.#isLost) this.#at(dir).isWhole = true;
  }

  #at(dir: RelPath): Found {
    let found = this.#found.get(dir);
    if (found === undefined) this.#found.set(dir, (found = { list: [], isWhole: false }));
    return found;
  }

  #lose(): void {
    this.#isLost = true;
    this.#found.clear();
    this.#list = [];
    this.#open = undefined;
  }

  /** The path that was told last; "" before the first. */
  get last(): RelPath {
    return this.#last;
  }

  /** What can be told by now and was not yet, in path order: a directory comes when it has been listed itself. */
  ready(): Iterable<Observation[]> {
    return this.#next(false);
  }

  /**
   * The rest, when the scan has ended; undefined when that is not known to be all that the index holds: more was found
   * than is kept, or something was found twice. To be asked once.
   * @param entries in the index
   */
  rest(entries: number): Iterable<Observation[]> | undefined {
    return this.#count === entries && !this.#isLost ? this.#next(true) : undefined;
  }

  *#next(isOver: boolean): Generator<Observation[]> {
    let batch: Observation[] = [];
    for (let one = this.#take(isOver); one !== undefined; one = this.#take(isOver)) {
      batch.push(one);
      if (batch.length < BATCH_ITEMS_MAX) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  }

  #take(isOver: boolean): Present | undefined {
    if (this.#open === undefined) {
      if (this.#isLost || (!isOver && !this.#at("").isWhole)) return undefined;
      this.#open = [this.#level("")];
    }
    for (let level = this.#open.at(-1); level !== undefined; level = this.#open.at(-1)) {
      const one = level.list[level.next];
      if (one !== undefined) {
        if (one.entry.kind === "dir") {
          if (!isOver && this.#found.get(one.path)?.isWhole !== true) return undefined;
          this.#open.push(this.#level(one.path));
        }
        level.next++;
        this.#kept--;
        this.#last = one.path;
        return one;
      }
      this.#open.pop();
    }
    return undefined;
  }

  #level(dir: RelPath): { readonly list: readonly Present[]; next: number } {
    const list = this.#found.get(dir)?.list ?? [];
    this.#found.delete(dir);
    const order = (a: Present, b: Present): number => comparePaths(a.path, b.path);
    return { list: list.every((one, at) => at === 0 || order(list[at - 1]!, one) < 0) ? list : list.sort(order), next: 0 };
  }
}
