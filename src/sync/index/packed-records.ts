/**
 * The records of one directory as the bytes in which they are kept: a scan looks at every one of them, finds nearly
 * all unchanged, and makes objects of the others alone.
 */
import { ByteReader } from "#sync/wire/bytes.ts";

/** Names and records of a directory at one time; later changes of the tree do not show. One user at a time. */
export class PackedRecords<R> {
  readonly #decode: (bytes: Uint8Array) => R;
  /** In compareNames order, each with its place in the lists below. */
  readonly #places = new Map<string, number>();
  readonly #pages: Uint8Array[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #place = 0;

  constructor(decode: (bytes: Uint8Array) => R) {
    this.#decode = decode;
  }

  /** Appends pairs of name and record, each behind its length, whose names come after all before; keeps `page`. */
  append(page: Uint8Array): void {
    const reader = new ByteReader(page);
    while (!reader.atEnd) {
      this.#places.set(reader.string(), this.#starts.length);
      const length = reader.varint();
      this.#pages.push(page);
      this.#starts.push(reader.position);
      reader.skip(length);
      this.#ends.push(reader.position);
    }
  }

  get count(): number {
    return this.#starts.length;
  }

  /** Goes to the record of a name. Returns this, which speaks of that record until the next seek; else undefined. */
  seek(name: string): this | undefined {
    const place = this.#places.get(name);
    if (place === undefined) return undefined;
    this.#place = place;
    return this;
  }

  record(): R {
    return this.#decode(this.#pages[this.#place]!.subarray(this.start, this.#ends[this.#place]));
  }

  /** The bytes that hold the record, from `start` on. */
  get page(): Uint8Array {
    return this.#pages[this.#place]!;
  }

  get start(): number {
    return this.#starts[this.#place]!;
  }

  /** All of them, decoded, in compareNames order. */
  all(): { name: string; record: R }[] {
    return [...this.#places.keys()].map((name) => ({ name, record: this.seek(name)!.record() }));
  }
}
