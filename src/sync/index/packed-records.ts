/**
 * The records of one directory as the bytes in which they are kept: a scan looks at every one of them, finds nearly
 * all unchanged, and makes objects of the others alone.
 */
import { ByteReader } from "#sync/wire/bytes.ts";

/** Records that may lie between two names asked for in order, before a look-up is cheaper. */
const SKIPPED_MAX = 4;

/** Names and records of a directory at one time; later changes of the tree do not show. One user at a time. */
export class PackedRecords<R> {
  readonly #decode: (bytes: Uint8Array) => R;
  readonly #pages: Uint8Array[] = [];
  /** The record that seek() found. */
  #page: Uint8Array = NOTHING;
  #start = 0;
  #end = 0;
  /** Where the next record begins, for who asks in order; undefined once somebody did not. */
  #next: { page: number; at: number } | undefined = { page: 0, at: 0 };
  #lookup: Lookup | undefined;

  constructor(decode: (bytes: Uint8Array) => R) {
    this.#decode = decode;
  }

  /** Appends pairs of name and record, each behind its length, whose names come after all before; keeps `page`. */
  append(page: Uint8Array): void {
    if (page.length > 0) this.#pages.push(page);
    this.#lookup = undefined;
  }

  get count(): number {
    return this.#all.starts.length;
  }

  /** Goes to the record of a name. Returns this, which speaks of that record until the next seek; else undefined. */
  seek(name: string): this | undefined {
    if (this.#next !== undefined && this.#seekNext(this.#next, name)) return this;
    this.#next = undefined;
    const { places, pages, starts, ends } = this.#all;
    const place = places.get(name);
    if (place === undefined) return undefined;
    this.#page = pages[place]!;
    this.#start = starts[place]!;
    this.#end = ends[place]!;
    return this;
  }

  record(): R {
    return this.#decode(this.#page.subarray(this.#start, this.#end));
  }

  /** The bytes that hold the record, from `start` on. */
  get page(): Uint8Array {
    return this.#page;
  }

  get start(): number {
    return this.#start;
  }

  /** All of them, decoded, in compareNames order. */
  all(): { name: string; record: R }[] {
    const { places, pages, starts, ends } = this.#all;
    const decode = (place: number): R => this.#decode(pages[place]!.subarray(starts[place], ends[place]));
    return Array.from(places, ([name, place]) => ({ name, record: decode(place) }));
  }

  get #all(): Lookup {
    return (this.#lookup ??= new Lookup(this.#pages));
  }

  /** Is it one of the next few? Then what comes after it is next. */
  #seekNext(next: { page: number; at: number }, name: string): boolean {
    let { page: number, at } = next;
    for (let skipped = 0; skipped <= SKIPPED_MAX; skipped++) {
      if (at >= (this.#pages[number]?.length ?? 0)) {
        number++;
        at = 0;
      }
      const page = this.#pages[number];
      if (page === undefined) return false;
      const nameLength = lengthAt(page, at);
      const nameAt = at + lengthSize(nameLength);
      const recordLength = lengthAt(page, nameAt + nameLength);
      const start = nameAt + nameLength + lengthSize(recordLength);
      at = start + recordLength;
      if (!isName(page, nameAt, nameLength, name)) continue;
      this.#page = page;
      this.#start = start;
      this.#end = at;
      next.page = number;
      next.at = at;
      return true;
    }
    return false;
  }
}

/** Every record by its name, in compareNames order, and its place in the lists. */
class Lookup {
  readonly places = new Map<string, number>();
  readonly pages: Uint8Array[] = [];
  readonly starts: number[] = [];
  readonly ends: number[] = [];

  constructor(pages: readonly Uint8Array[]) {
    for (const page of pages) {
      const reader = new ByteReader(page);
      while (!reader.atEnd) {
        this.places.set(reader.string(), this.starts.length);
        const length = reader.varint();
        this.pages.push(page);
        this.starts.push(reader.position);
        reader.skip(length);
        this.ends.push(reader.position);
      }
    }
  }
}

const NOTHING = new Uint8Array(0);

/** The varint at `at` of a page whose sum was checked. */
function lengthAt(bytes: Uint8Array, at: number): number {
  let length = bytes[at]! & 0x7f;
  for (let next = at, scale = 128; bytes[next]! >= 0x80; scale *= 128) length += (bytes[++next]! & 0x7f) * scale;
  return length;
}

function lengthSize(length: number): number {
  return length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : 4;
}

/** Is this the plain name at `at`? Names beyond ASCII are left to the look-up. */
function isName(bytes: Uint8Array, at: number, length: number, name: string): boolean {
  if (length !== name.length) return false;
  for (let index = length - 1; index >= 0; index--) {
    const code = name.charCodeAt(index);
    if (code >= 0x80 || bytes[at + index] !== code) return false;
  }
  return true;
}
