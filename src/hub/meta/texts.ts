/** Statement texts with a varying number of placeholders, of a few lengths only: each text is prepared once. */
import type { SqlValue } from "#platform/sql/database.ts";

/** Lengths of IN lists. A list is filled up with its last value, which changes nothing. */
const LIST_LENGTHS = [1, 2, 8, 64, 512] as const;
/** Rows of one INSERT. */
const ROW_COUNTS = [256, 64, 16, 4, 1] as const;

export const LIST_MAX = 512;

/** A text in which `%` stands where the list of placeholders goes. */
export class ListText {
  readonly #texts: ReadonlyMap<number, string>;

  constructor(text: string) {
    this.#texts = new Map(LIST_LENGTHS.map((length) => [length, text.replace("%", marks(length))]));
  }

  /** Texts and values for all of a list, in pieces of LIST_MAX; `first` are the values before the list. */
  *pieces(first: readonly SqlValue[], list: readonly SqlValue[]): Generator<{ text: string; values: SqlValue[] }> {
    for (let at = 0; at < list.length; at += LIST_MAX) {
      const piece = list.slice(at, at + LIST_MAX);
      const length = LIST_LENGTHS.find((length) => length >= piece.length)!;
      const values = [...first, ...piece];
      while (values.length < first.length + length) values.push(piece.at(-1)!);
      yield { text: this.#texts.get(length)!, values };
    }
  }
}

/** An INSERT of several rows at once. */
export class RowsText {
  readonly #texts: ReadonlyMap<number, string>;

  /** `before` ends with VALUES; `after` may say what happens on a conflict. */
  constructor(before: string, width: number, after = "") {
    const row = `(${marks(width)})`;
    this.#texts = new Map(
      ROW_COUNTS.map((count) => [count, `${before} ${Array.from({ length: count }, () => row).join(", ")} ${after}`]),
    );
  }

  *pieces(rows: readonly (readonly SqlValue[])[]): Generator<{ text: string; values: SqlValue[] }> {
    let at = 0;
    while (at < rows.length) {
      const count = ROW_COUNTS.find((count) => count <= rows.length - at)!;
      yield { text: this.#texts.get(count)!, values: rows.slice(at, at + count).flat() };
      at += count;
    }
  }
}

function marks(count: number): string {
  return Array.from({ length: count }, () => "?").join(", ");
}
