/**
 * ZIP as a stream, with zip64 where it needs it. What is archived is read once and never held: sizes and sums come behind
 * each file, and the directory at the end is made by going over the entries again, so that a sum and an offset is all
 * that is remembered of each. Files are deflate streams of stored blocks: who reads a ZIP from a pipe needs their end to
 * be recognisable, and compressing them would cost what sending them does not.
 */
import { crc32 } from "node:zlib";
import { KIND_BITS, PERMISSION_MASK } from "#platform/kind-bits.ts";
import { encodeName } from "#model/path.ts";
import type { ArchiveItem } from "#gateway/archive/archive.ts";

/** Bytes of one stored block of deflate. */
const BLOCK_BYTES = 0xffff;
const MAX_32 = 0xffff_ffff;
const MAX_16 = 0xffff;
/** Sizes and sums are behind the file; names are UTF-8. */
const FLAGS = (1 << 3) | (1 << 11);
const DEFLATE = 8;
const STORED = 0;
const VERSION_ZIP64 = 45;
const MADE_BY_UNIX = 3;
/** Where files have no time, and where it lies before what ZIP knows: 1980-01-01. */
const DOS_EPOCH = (1 << 21) | (1 << 16);

/** Entries by number: what the directory has to know beside the entry itself. */
class Written {
  #crcs = new Uint32Array(1024);
  #offsets = new Float64Array(1024);
  count = 0;

  add(crc: number, offset: number): void {
    if (this.count === this.#crcs.length) {
      const crcs = new Uint32Array(this.count * 2);
      crcs.set(this.#crcs);
      const offsets = new Float64Array(this.count * 2);
      offsets.set(this.#offsets);
      this.#crcs = crcs;
      this.#offsets = offsets;
    }
    this.#crcs[this.count] = crc;
    this.#offsets[this.count++] = offset;
  }

  at(index: number): { crc: number; offset: number } {
    return { crc: this.#crcs[index]!, offset: this.#offsets[index]! };
  }
}

/**
 * @param items gives the same entries whenever it is called
 * @param content the bytes of a file, in pieces
 */
export async function* zipOf(
  items: () => AsyncIterable<ArchiveItem>,
  content: (item: ArchiveItem) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const written = new Written();
  let offset = 0;
  for await (const item of items()) {
    const start = offset;
    const head = localHeader(item);
    offset += head.length;
    yield head;
    let crc = 0;
    if (item.kind === "file") {
      let left = item.size;
      for await (const piece of content(item)) {
        crc = crc32(piece, crc);
        left -= piece.length;
        const blocks = storedBlocks(piece, left === 0);
        offset += blocks.length;
        yield blocks;
      }
      if (left !== 0) throw new Error("the content is not as long as it was");
      if (item.size === 0) {
        const end = storedBlocks(new Uint8Array(0), true);
        offset += end.length;
        yield end;
      }
    } else if (item.kind === "symlink") {
      const target = encodeName(item.target);
      crc = crc32(target);
      offset += target.length;
      yield target;
    }
    written.add(crc, start);
    if (item.kind === "file") {
      const tail = descriptor(item, crc);
      offset += tail.length;
      yield tail;
    }
  }
  yield* directory(items, written, offset);
}

/** The directory, and what tells where it begins. */
async function* directory(
  items: () => AsyncIterable<ArchiveItem>,
  written: Written,
  offset: number,
): AsyncGenerator<Uint8Array> {
  let length = 0;
  let at = 0;
  for await (const item of items()) {
    const record = centralHeader(item, written.at(at++));
    length += record.length;
    yield record;
  }
  yield ending(written.count, length, offset);
}

/** Little-endian fields: [bytes, value], one after the other. */
function fields(...parts: readonly (readonly [bytes: 2 | 4 | 8, value: number])[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, [bytes]) => sum + bytes, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [bytes, value] of parts) {
    if (bytes === 2) view.setUint16(at, value, true);
    else if (bytes === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += bytes;
  }
  return out;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** A piece of a file as deflate blocks that hold it as it is. */
function storedBlocks(piece: Uint8Array, isLast: boolean): Uint8Array {
  const count = Math.max(1, Math.ceil(piece.length / BLOCK_BYTES));
  const out = new Uint8Array(piece.length + 5 * count);
  let at = 0;
  for (let block = 0; block < count; block++) {
    const part = piece.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    out[at] = isLast && block === count - 1 ? 1 : 0;
    out.set(fields([2, part.length], [2, ~part.length & MAX_16]), at + 1);
    out.set(part, at + 5);
    at += part.length + 5;
  }
  return out;
}

/** Bytes that a file takes; the pieces that it is read in are whole blocks but for the last. */
export function deflatedSize(size: number, pieceBytes: number): number {
  const whole = Math.floor(size / pieceBytes);
  const rest = size % pieceBytes;
  const blocks = whole * Math.ceil(pieceBytes / BLOCK_BYTES) + (rest > 0 || size === 0 ? Math.max(1, Math.ceil(rest / BLOCK_BYTES)) : 0);
  return size + 5 * blocks;
}

type Sizes = { readonly packed: number; readonly plain: number };

function sizesOf(item: ArchiveItem): Sizes {
  if (item.kind === "file") return { packed: deflatedSize(item.size, item.pieceBytes), plain: item.size };
  const plain = item.kind === "symlink" ? encodeName(item.target).length : 0;
  return { packed: plain, plain };
}

const isLarge = ({ packed, plain }: Sizes): boolean => packed >= MAX_32 || plain >= MAX_32;

/** Windows takes a backslash for a slash, and a control character for nothing good. */
function nameBytes(item: ArchiveItem): Uint8Array {
  const safe = item.name.toWellFormed().replaceAll(/[\\\p{Cc}]/gu, "_");
  return encodeName(item.kind === "dir" ? `${safe}/` : safe);
}

/** Seconds since 1970 in an extra field, beside the two seconds that DOS knows. */
function timeExtra(item: ArchiveItem): Uint8Array {
  const seconds = item.mtimeMs === undefined ? undefined : Math.floor(item.mtimeMs / 1000);
  if (seconds === undefined || seconds < -0x8000_0000 || seconds > 0x7fff_ffff) return new Uint8Array(0);
  return joined(fields([2, 0x5455], [2, 5]), Uint8Array.of(1), fields([4, seconds >>> 0]));
}

function dosTime(mtimeMs: number | undefined): number {
  const date = new Date(mtimeMs ?? 0);
  const year = date.getUTCFullYear();
  if (Number.isNaN(year) || year < 1980 || year > 2107) return DOS_EPOCH;
  const day = ((year - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate();
  const time = (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1);
  return ((day << 16) | time) >>> 0;
}

const methodOf = ({ kind }: ArchiveItem): number => (kind === "file" ? DEFLATE : STORED);
const flagsOf = ({ kind }: ArchiveItem): number => (kind === "file" ? FLAGS : 1 << 11);

function localHeader(item: ArchiveItem): Uint8Array {
  const name = nameBytes(item);
  const sizes = sizesOf(item);
  const large = isLarge(sizes);
  // Present it says that the sizes behind the file have eight bytes each.
  const zip64 = large ? fields([2, 1], [2, 16], [8, 0], [8, 0]) : new Uint8Array(0);
  const extra = joined(zip64, timeExtra(item));
  const isBehind = item.kind === "file";
  const crc = item.kind === "symlink" ? crc32(encodeName(item.target)) : 0;
  const size = (of: number): number => (large ? MAX_32 : isBehind ? 0 : of);
  const head = fields(
    [4, 0x0403_4b50],
    [2, large ? VERSION_ZIP64 : 20],
    [2, flagsOf(item)],
    [2, methodOf(item)],
    [4, dosTime(item.mtimeMs)],
    [4, crc],
    [4, size(sizes.packed)],
    [4, size(sizes.plain)],
    [2, name.length],
    [2, extra.length],
  );
  return joined(head, name, extra);
}

function descriptor(item: ArchiveItem, crc: number): Uint8Array {
  const sizes = sizesOf(item);
  const bytes = isLarge(sizes) ? 8 : 4;
  return fields([4, 0x0807_4b50], [4, crc], [bytes, sizes.packed], [bytes, sizes.plain]);
}

function centralHeader(item: ArchiveItem, { crc, offset }: { crc: number; offset: number }): Uint8Array {
  const name = nameBytes(item);
  const sizes = sizesOf(item);
  const large = isLarge(sizes);
  const isFar = offset >= MAX_32;
  const wide: (readonly [8, number])[] = [];
  if (large) wide.push([8, sizes.plain], [8, sizes.packed]);
  if (isFar) wide.push([8, offset]);
  const zip64 = wide.length === 0 ? new Uint8Array(0) : joined(fields([2, 1], [2, wide.length * 8]), fields(...wide));
  const extra = joined(zip64, timeExtra(item));
  const head = fields(
    [4, 0x0201_4b50],
    [2, (MADE_BY_UNIX << 8) | VERSION_ZIP64],
    [2, wide.length > 0 ? VERSION_ZIP64 : 20],
    [2, flagsOf(item)],
    [2, methodOf(item)],
    [4, dosTime(item.mtimeMs)],
    [4, crc],
    [4, large ? MAX_32 : sizes.packed],
    [4, large ? MAX_32 : sizes.plain],
    [2, name.length],
    [2, extra.length],
    [2, 0],
    [2, 0],
    [2, 0],
    [4, (((KIND_BITS[item.kind] | (item.mode & PERMISSION_MASK)) << 16) | (item.kind === "dir" ? 0x10 : 0)) >>> 0],
    [4, isFar ? MAX_32 : offset],
  );
  return joined(head, name, extra);
}

function ending(count: number, length: number, offset: number): Uint8Array {
  const end = fields(
    [4, 0x0605_4b50],
    [2, 0],
    [2, 0],
    [2, Math.min(count, MAX_16)],
    [2, Math.min(count, MAX_16)],
    [4, Math.min(length, MAX_32)],
    [4, Math.min(offset, MAX_32)],
    [2, 0],
  );
  if (count < MAX_16 && length < MAX_32 && offset < MAX_32) return end;
  const record = fields(
    [4, 0x0606_4b50],
    [8, 44],
    [2, (MADE_BY_UNIX << 8) | VERSION_ZIP64],
    [2, VERSION_ZIP64],
    [4, 0],
    [4, 0],
    [8, count],
    [8, count],
    [8, length],
    [8, offset],
  );
  const locator = fields([4, 0x0706_4b50], [4, 0], [8, offset + length], [4, 1]);
  return joined(record, locator, end);
}
