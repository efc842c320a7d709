/**
 * Which large records were read past the page cache lately. What is read once may never be read again, as in a backup, and
 * would drive out of memory what is; what is read a second time will be read a third. (The idea is that of 2Q: Johnson and
 * Shasha, VLDB 1994.)
 */
import { OFFSET_BYTES_MAX } from "#store/packs/chunk-table.ts";

/** Of which nothing but the place is kept: chunks of large files, so many GiB. */
const PLACES_MAX = 8_192;

export class UsedOnce {
  /** In the order of their use. */
  readonly #places = new Set<number>();

  /** Whether the record is known, and forgets it; notes it otherwise. */
  isAgain(pack: number, position: number): boolean {
    const place = pack * OFFSET_BYTES_MAX + position;
    if (this.#places.delete(place)) return true;
    if (this.#places.size >= PLACES_MAX) this.#places.delete(this.#places.values().next().value!);
    this.#places.add(place);
    return false;
  }
}
