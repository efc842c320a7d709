/**
 * Places that anybody may take, because nothing is known yet of who comes. When all are taken whoever comes gets one: that of
 * the address that holds most, which it has held for longest. So nobody keeps all others out from one address, and none is
 * refused while there is room.
 */

type Place = { readonly giveWay: () => void };

export class FairPlaces {
  readonly #max: number;
  /** By address; in each those first that have been there for longest. */
  readonly #held = new Map<string, Set<Place>>();
  #count = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get count(): number {
    return this.#count;
  }

  /**
   * @param giveWay ends what holds the place; it has been given back by then
   * @returns gives the place back; idempotent
   */
  take(address: string, giveWay: () => void): () => void {
    if (this.#count >= this.#max) this.#makeRoom();
    const place: Place = { giveWay };
    const places = this.#held.get(address) ?? new Set();
    this.#held.set(address, places.add(place));
    this.#count++;
    return () => this.#giveBack(address, place);
  }

  #makeRoom(): void {
    let most: readonly [address: string, places: ReadonlySet<Place>] | undefined;
    for (const one of this.#held) if (most === undefined || one[1].size > most[1].size) most = one;
    const [first] = most?.[1] ?? [];
    if (most === undefined || first === undefined) return;
    this.#giveBack(most[0], first);
    first.giveWay();
  }

  #giveBack(address: string, place: Place): void {
    const places = this.#held.get(address);
    if (places?.delete(place) !== true) return;
    this.#count--;
    if (places.size === 0) this.#held.delete(address);
  }
}
