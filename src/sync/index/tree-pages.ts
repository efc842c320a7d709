/**
 * A page: a sorted run of named records of one directory, kept as the bytes that lie on disk. Finding,
 * setting and removing work on the bytes themselves, so that a page costs no object per record.
 *
 * Layout: for every record, in the order of the bytes of the names: varint length, name, varint length,
 * record.
 */
import { SynclineError } from "#model/error.ts";
import { encodeName } from "#model/path.ts";
import { ByteWriter } from "#sync/wire/bytes.ts";

/** A page above this is split. Larger pages scan faster, smaller ones cost less per single change. */
export const PAGE_BYTES_MAX = 32 << 10;
/** A page below this is merged into a neighbour when both together stay below PAGE_BYTES_MERGED_MAX. */
export const PAGE_BYTES_MIN = 8 << 10;
/** Well below the maximum, so that a merged page is not split again by the next few records. */
export const PAGE_BYTES_MERGED_MAX = 24 << 10;

/** What is stored of one page. `count` is the number of records in `data`. */
export type PageData = { readonly first: Uint8Array; readonly count: number; readonly data: Uint8Array };

export type PageItem = { readonly name: Uint8Array; readonly record: Uint8Array };

export class Page {
  #bytes: Uint8Array;
  #length: number;
  /** Where each record begins. */
  #starts: number[];
  #own = false;

  /**
   * Takes `data` over for reading; the first change copies it. @throws STATE when it is no page of `count`
   * records
   */
  constructor(data: Uint8Array, count: number) {
    this.#bytes = data;
    this.#length = data.length;
    this.#starts = findStarts(data);
    if (this.#starts.length !== count) throw damaged();
  }

  get count(): number {
    return this.#starts.length;
  }

  get length(): number {
    return this.#length;
  }

  /** The page's bytes, valid until the next change. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Position of a name, or the complement (~position) of where it would be inserted. */
  find(name: Uint8Array): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = this.#compare(middle, name);
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return ~low;
  }

  /** A view of the record at a position, valid until the next change. */
  record(position: number): Uint8Array {
    const start = this.#starts[position]!;
    const nameLength = readLength(this.#bytes, start);
    const field = start + lengthSize(nameLength) + nameLength;
    const recordLength = readLength(this.#bytes, field);
    const at = field + lengthSize(recordLength);
    return this.#bytes.subarray(at, at + recordLength);
  }

  /** A copy of the name at a position. */
  name(position: number): Uint8Array {
    const start = this.#starts[position]!;
    const length = readLength(this.#bytes, start);
    const at = start + lengthSize(length);
    return this.#bytes.slice(at, at + length);
  }

  /** Inserts or replaces; returns whether the name is new. */
  set(name: Uint8Array, record: Uint8Array): boolean {
    const found = this.find(name);
    const position = found < 0 ? ~found : found;
    const size = itemSize({ name, record });
    const start = this.#starts[position] ?? this.#length;
    this.#resize(position, found < 0 ? start : this.#end(position), start + size, found < 0 ? 0 : 1);
    if (found < 0) this.#starts.splice(position, 0, start);
    writeField(this.#bytes, writeField(this.#bytes, start, name), record);
    return found < 0;
  }

  /** As set(), for items [from, to), which come in the order of their names. Returns how many names are new. */
  merge(items: readonly PageItem[], from: number, to: number): number {
    let room = this.#length;
    for (let at = from; at < to; at++) room += itemSize(items[at]!);
    // Room to grow, as in #resize().
    const bytes = new Uint8Array(Math.max(PAGE_BYTES_MAX + (PAGE_BYTES_MAX >> 2), room));
    const starts: number[] = [];
    let length = 0;
    let position = 0;
    let added = 0;
    const keep = (until: number): void => {
      if (position === until) return;
      const start = this.#starts[position]!;
      const end = this.#starts[until] ?? this.#length;
      for (; position < until; position++) starts.push(this.#starts[position]! - start + length);
      bytes.set(this.#bytes.subarray(start, end), length);
      length += end - start;
    };
    for (let at = from; at < to; at++) {
      const { name, record } = items[at]!;
      const found = this.find(name);
      keep(found < 0 ? ~found : found);
      if (found < 0) added++;
      else position++;
      starts.push(length);
      length = writeField(bytes, writeField(bytes, length, name), record);
    }
    keep(this.#starts.length);
    this.#bytes = bytes;
    this.#length = length;
    this.#starts = starts;
    this.#own = true;
    return added;
  }

  /** Removes the record at a position. */
  removeAt(position: number): void {
    const start = this.#starts[position]!;
    this.#resize(position, this.#end(position), start, 1);
    this.#starts.splice(position, 1);
  }

  /** Appends all records of a page whose names all come after this one's. */
  append(other: Page): void {
    const offset = this.#length;
    this.#resize(this.#starts.length, offset, offset + other.#length, 0);
    this.#bytes.set(other.view(), offset);
    for (const start of other.#starts) this.#starts.push(start + offset);
  }

  /**
   * The pieces that this page should become: itself when it is small enough, else pieces of at most
   * PAGE_BYTES_MAX (a single larger record stays alone). The first piece keeps `first`; the others begin with
   * their first name.
   */
  pieces(first: Uint8Array): PageData[] {
    if (this.#length <= PAGE_BYTES_MAX || this.count < 2) {
      return [{ first, count: this.count, data: this.view() }];
    }
    // Even pieces, about two thirds full: the next single changes then do not split again.
    const wanted = this.#length / Math.ceil(this.#length / ((PAGE_BYTES_MAX * 2) / 3));
    const out: PageData[] = [];
    let from = 0;
    for (let position = 1; position <= this.count; position++) {
      const start = this.#starts[from]!;
      const end = this.#starts[position] ?? this.#length;
      const last = position === this.count;
      if (!last && end - start < wanted && this.#end(position) - start <= PAGE_BYTES_MAX) continue;
      const data = this.#bytes.subarray(start, end);
      out.push({ first: from === 0 ? first : this.name(from), count: position - from, data });
      from = position;
    }
    return out;
  }

  #end(position: number): number {
    return this.#starts[position + 1] ?? this.#length;
  }

  #compare(position: number, name: Uint8Array): number {
    const bytes = this.#bytes;
    const start = this.#starts[position]!;
    const length = readLength(bytes, start);
    const at = start + lengthSize(length);
    const common = Math.min(length, name.length);
    for (let index = 0; index < common; index++) {
      const difference = bytes[at + index]! - name[index]!;
      if (difference !== 0) return difference;
    }
    return length - name.length;
  }

  /** Makes [start of `position`, oldEnd) end at newEnd instead; moves what follows after `kept` records. */
  #resize(position: number, oldEnd: number, newEnd: number, kept: number): void {
    const shift = newEnd - oldEnd;
    const length = this.#length + shift;
    if (!this.#own || length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(PAGE_BYTES_MAX + (PAGE_BYTES_MAX >> 2), length, this.#length));
      larger.set(this.view());
      this.#bytes = larger;
      this.#own = true;
    }
    if (shift === 0) return;
    this.#bytes.copyWithin(newEnd, oldEnd, this.#length);
    this.#length = length;
    for (let at = position + kept; at < this.#starts.length; at++) this.#starts[at]! += shift;
  }
}

/** Writes pages one after another from records that come in order. */
export class PageWriter {
  readonly #out = new ByteWriter(PAGE_BYTES_MAX + (PAGE_BYTES_MAX >> 1));
  readonly #emit: (page: PageData) => void;
  #first: Uint8Array = NO_NAME;
  #count = 0;

  /**
   * `emit` gets each finished page; its data is valid during the call only. The first page begins with "".
   */
  constructor(emit: (page: PageData) => void) {
    this.#emit = emit;
  }

  add(name: string, record: Uint8Array): void {
    // Two thirds full, as in pieces(): room for single changes later.
    if (this.#count > 0 && this.#out.length + record.length > (PAGE_BYTES_MAX * 2) / 3) {
      this.finish();
      this.#first = encodeName(name);
    }
    this.#out.string(name);
    this.#out.bytes(record);
    this.#count++;
  }

  /** Emits what is left and starts over. */
  finish(): void {
    if (this.#count > 0) this.#emit({ first: this.#first, count: this.#count, data: this.#out.view() });
    this.reset();
  }

  /** Starts over without emitting what is left. */
  reset(): void {
    this.#out.reset();
    this.#first = NO_NAME;
    this.#count = 0;
  }
}

/** The lower bound of a directory's first page. */
export const NO_NAME: Uint8Array = new Uint8Array(0);

const READ_STATE = "read state";

/** Does the error say that the database is damaged, so that only a new one helps (openOrReplace)? */
export function isDamaged(error: unknown): boolean {
  return error instanceof SynclineError && error.code === "STATE" && error.op === READ_STATE;
}

/** The error for bytes that are not what was written: the database is damaged. */
export function damaged(cause?: unknown): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: READ_STATE,
    message: "the state database is damaged",
    hint: "stop the session and start it again: the damaged file is set aside and everything is scanned anew",
    cause,
  });
}

function findStarts(data: Uint8Array): number[] {
  const starts: number[] = [];
  let at = 0;
  while (at < data.length) {
    starts.push(at);
    for (let field = 0; field < 2; field++) {
      const length = readLength(data, at);
      at += lengthSize(length) + length;
    }
  }
  if (at !== data.length) throw damaged();
  return starts;
}

/** Lengths stay far below 2^28, so four groups of seven bits are enough. */
function readLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return first;
  let length = first & 0x7f;
  for (let shift = 7; shift <= 21; shift += 7) {
    const next = bytes[at + shift / 7];
    if (next === undefined) throw damaged();
    length |= (next & 0x7f) << shift;
    if (next < 0x80) return length;
  }
  throw damaged();
}

function lengthSize(length: number): number {
  return length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : 4;
}

function itemSize({ name, record }: PageItem): number {
  return lengthSize(name.length) + name.length + lengthSize(record.length) + record.length;
}

/** Writes length and bytes and returns where the next field begins. */
function writeField(bytes: Uint8Array, start: number, field: Uint8Array): number {
  const at = writeLength(bytes, start, field.length);
  bytes.set(field, at);
  return at + field.length;
}

/** Writes a length and returns where the next field begins. */
function writeLength(bytes: Uint8Array, at: number, length: number): number {
  let rest = length;
  let to = at;
  while (rest >= 0x80) {
    bytes[to++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[to++] = rest;
  return to;
}
