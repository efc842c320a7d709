/** Which ranges of a file were written: sorted, apart from each other. */

/** Ranges of one file; who writes one byte here and one there has to stop. */
export const EXTENTS_MAX = 65_536;

export type Extent = { readonly start: number; readonly end: number };

export class Extents {
  readonly #all: Extent[] = [];
  #bytes = 0;

  get count(): number {
    return this.#all.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  #replace(first: number, count: number, more: readonly Extent[]): void {
    const gone = this.#all.splice(first, count, ...more);
    for (const { start, end } of gone) this.#bytes -= end - start;
    for (const { start, end } of more) this.#bytes += end - start;
  }

  /** Index of the first that ends at or behind a position. */
  #from(position: number): number {
    let low = 0;
    let high = this.#all.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#all[middle]!.end < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  add(start: number, end: number): void {
    if (start >= end) return;
    const first = this.#from(start);
    let last = first;
    let from = start;
    let to = end;
    while (last < this.#all.length && this.#all[last]!.start <= end) {
      from = Math.min(from, this.#all[last]!.start);
      to = Math.max(to, this.#all[last]!.end);
      last++;
    }
    this.#replace(first, last - first, [{ start: from, end: to }]);
  }

  /** Forgets what lies at and behind a position. */
  cut(size: number): void {
    const first = this.#from(size);
    const kept = this.#all[first];
    const rest = kept !== undefined && kept.start < size ? [{ start: kept.start, end: Math.min(kept.end, size) }] : [];
    this.#replace(first, this.#all.length - first, rest);
  }

  /** The parts of a range that were written, in order. */
  within(start: number, end: number): Extent[] {
    const parts: Extent[] = [];
    for (let at = this.#from(start); at < this.#all.length && this.#all[at]!.start < end; at++) {
      const one = this.#all[at]!;
      const part = { start: Math.max(start, one.start), end: Math.min(end, one.end) };
      if (part.start < part.end) parts.push(part);
    }
    return parts;
  }
}
