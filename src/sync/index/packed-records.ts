/**
 * The records of one directory as the bytes in which they are kept: a scan looks at every one of them, finds nearly
 * all unchanged, and makes objects of the others alone.
 */
import { ByteReader } from "#sync/wire/bytes.ts";

const NOTHING = new Uint8Array(0);

/** Names and records of a directory at one time; later changes of the tree do not show. One user at a time. */
export class PackedRecords<R> {
  readonly #decode: (bytes: Uint8Array) => R;
  readonly #pages: Uint8Array[] = [];
  /** The record that seek() found. */
  #page: Uint8Array = NOTHING;
  #start = 0;
  #end = 0;
  /** For who asks in order: the name asked for last, and where the first record begins that may be of the next one. */
  #last = "";
  #next: { page: number; at: number } = { page: 0, at: 0 };
  /** For who does not. */
  #lookup: Lookup | undefined;
  #count = 0;

  constructor(decode: (bytes: Uint8Array) => R) {
    this.#decode = decode;
  }

  /** Appends `count` pairs of name and record, each behind its length, whose names come after all before; keeps `page`. */
  append(page: Uint8Array, count: number): void {
    if (count === 0) return;
    this.#pages.push(page);
    this.#count += count;
    this.#lookup = undefined;
  }

  get count(): number {
    return this.#count;
  }

  /**
   * Goes to the record of a name. Returns this, which speaks of that record until the next seek; else undefined. Names in
   * rising order cost least, by far.
   */
  seek(name: string): this | undefined {
    if (this.#lookup === undefined && name > this.#last && isPlain(name)) {
      this.#last = name;
      return this.#seekNext(name) ? this : undefined;
    }
    const { places, pages, starts, ends } = (this.#lookup ??= new Lookup(this.#pages));
    const place = places.get(name);
    if (place === undefined) return undefined;
    this.#page = pages[place]!;
    this.#start = starts[place]!;
    this.#end = ends[place]!;
    return this;
  }

  /** The record of a name that comes early, beside what seek() is asked for. */
  early(name: string): R | undefined {
    for (const page of this.#pages) {
      for (let at = 0; at < page.length; ) {
        const nameLength = lengthAt(page, at);
        const nameAt = at + lengthSize(nameLength);
        const recordLength = lengthAt(page, nameAt + nameLength);
        const start = nameAt + nameLength + lengthSize(recordLength);
        at = start + recordLength;
        const order = compareAt(page, nameAt, nameLength, name);
        if (order === 0) return this.#decode(page.subarray(start, at));
        if (order > 0) return undefined;
      }
    }
    return undefined;
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
    const out: { name: string; record: R }[] = [];
    for (const page of this.#pages) {
      const reader = new ByteReader(page);
      while (!reader.atEnd) out.push({ name: reader.string(), record: this.#decode(reader.bytes()) });
    }
    return out;
  }

  /** Passes by what comes before the name. */
  #seekNext(name: string): boolean {
    const next = this.#next;
    for (; next.page < this.#pages.length; next.page++, next.at = 0) {
      const page = this.#pages[next.page]!;
      while (next.at < page.length) {
        const nameLength = lengthAt(page, next.at);
        const nameAt = next.at + lengthSize(nameLength);
        const order = compareAt(page, nameAt, nameLength, name);
        if (order > 0) return false;
        const recordLength = lengthAt(page, nameAt + nameLength);
        const start = nameAt + nameLength + lengthSize(recordLength);
        next.at = start + recordLength;
        if (order < 0) continue;
        this.#page = page;
        this.#start = start;
        this.#end = next.at;
        return true;
      }
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

/** The varint at `at` of a page whose sum was checked. */
function lengthAt(bytes: Uint8Array, at: number): number {
  let length = bytes[at]! & 0x7f;
  for (let next = at, scale = 128; bytes[next]! >= 0x80; scale *= 128) length += (bytes[++next]! & 0x7f) * scale;
  return length;
}

function lengthSize(length: number): number {
  return length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : 4;
}

/** Only of names that are ASCII is the order of texts that of their bytes. */
function isPlain(name: string): boolean {
  for (let index = 0; index < name.length; index++) if (name.charCodeAt(index) >= 0x80) return false;
  return true;
}

/** Comes the name at `at` before the plain one (below 0), is it that, or does it come after? */
function compareAt(bytes: Uint8Array, at: number, length: number, name: string): number {
  const shared = length < name.length ? length : name.length;
  for (let index = 0; index < shared; index++) {
    const apart = bytes[at + index]! - name.charCodeAt(index);
    if (apart !== 0) return apart;
  }
  return length - name.length;
}
