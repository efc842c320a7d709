/**
 * How chunks lie in a pack, and what is kept beside it.
 *
 * A pack is a header of HEADER_BYTES (the same 44 bytes twice, so that one bad sector does not take the pack) and
 * records one behind the other, each beginning at a multiple of UNIT_BYTES:
 *
 *     mark 8 | id 32 | plain bytes u32 | stored bytes u32 | packing u32 | put at, seconds since 1970 u32
 *     | CRC-32 of the payload u32 | CRC-32 of the 60 bytes before u32 | payload | zeros up to the next unit
 *
 * The mark is drawn at random for each pack. Whoever stores a chunk does not know it, so no payload can look like a
 * record when a damaged place is searched for the next one. Integers are little-endian.
 *
 * The sidecar (`.index`) says what is in the first `coveredBytes` of its pack. It is a cache: a missing, damaged or old
 * one is made anew from the pack.
 */
import { CHUNK_BYTES_MAX } from "#store/chunk-store.ts";
import { ID_BYTES } from "#sync/chunk/chunk-id.ts";

export const HEADER_BYTES = 4096;
export const RECORD_HEADER_BYTES = 64;
export const UNIT_BYTES = 16;
export const MARK_BYTES = 8;
export const PACK_ID_BYTES = 16;
/** A record and its padding, at most. */
export const RECORD_BYTES_MAX = RECORD_HEADER_BYTES + CHUNK_BYTES_MAX;

export const RAW = 0;
export const ZSTD = 1;

const FORMAT_VERSION = 1;
const PACK_MAGIC = 0x4b434150_4e4c5953n; // "SYLNPACK"
const INDEX_MAGIC = 0x58444950_4e4c5953n; // "SYLNPIDX"
const HEADER_COPY_BYTES = 44;
const HEADER_SECOND = 2048;
const ROW_BYTES = 48;
const INDEX_HEADER_BYTES = 64;
const DAMAGED_BIT = 0x8000_0000;

const crc32 = Bun.hash.crc32;

export type PackHeader = { readonly number: number; readonly id: Uint8Array; readonly mark: Uint8Array };

export type RecordHeader = {
  readonly id: Uint8Array;
  readonly plainBytes: number;
  readonly storedBytes: number;
  readonly packing: number;
  readonly seconds: number;
  readonly payloadSum: number;
};

/** Bytes that a record with such a payload takes in its pack. */
export function recordBytesOf(storedBytes: number): number {
  return Math.ceil((RECORD_HEADER_BYTES + storedBytes) / UNIT_BYTES) * UNIT_BYTES;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function encodePackHeader({ number, id, mark }: PackHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  view.setBigUint64(0, PACK_MAGIC, true);
  view.setUint32(8, FORMAT_VERSION, true);
  view.setUint32(12, number, true);
  bytes.set(id, 16);
  bytes.set(mark, 32);
  view.setUint32(40, crc32(bytes.subarray(0, 40)), true);
  bytes.copyWithin(HEADER_SECOND, 0, HEADER_COPY_BYTES);
  return bytes;
}

/** What the first HEADER_BYTES of a pack say; undefined when neither copy is whole, "newer" for a later version. */
export function decodePackHeader(bytes: Uint8Array): PackHeader | "newer" | undefined {
  for (const at of [0, HEADER_SECOND]) {
    if (bytes.length < at + HEADER_COPY_BYTES) break;
    const copy = bytes.subarray(at, at + HEADER_COPY_BYTES);
    const view = viewOf(copy);
    if (view.getBigUint64(0, true) !== PACK_MAGIC || view.getUint32(40, true) !== crc32(copy.subarray(0, 40))) continue;
    if (view.getUint32(8, true) !== FORMAT_VERSION) return "newer";
    return { number: view.getUint32(12, true), id: copy.slice(16, 32), mark: copy.slice(32, 40) };
  }
  return undefined;
}

type EncodedRecord = Omit<RecordHeader, "payloadSum" | "storedBytes"> & { readonly payload: Uint8Array };

/** Writes what stands before the payload of a record at `at` of `into`: RECORD_HEADER_BYTES. */
export function encodeRecordHeader(into: Uint8Array, at: number, mark: Uint8Array, record: EncodedRecord): void {
  const { payload } = record;
  const view = new DataView(into.buffer, into.byteOffset + at, RECORD_HEADER_BYTES);
  into.set(mark, at);
  into.set(record.id, at + 8);
  view.setUint32(40, record.plainBytes, true);
  view.setUint32(44, payload.length, true);
  view.setUint32(48, record.packing, true);
  view.setUint32(52, record.seconds, true);
  view.setUint32(56, crc32(payload), true);
  view.setUint32(60, crc32(into.subarray(at, at + 60)), true);
}

/** Writes a record at `at` of `into`, which has room for it, and returns its bytes. */
export function encodeRecord(into: Uint8Array, at: number, mark: Uint8Array, record: EncodedRecord): number {
  const { payload } = record;
  const bytes = recordBytesOf(payload.length);
  encodeRecordHeader(into, at, mark, record);
  into.set(payload, at + RECORD_HEADER_BYTES);
  into.fill(0, at + RECORD_HEADER_BYTES + payload.length, at + bytes);
  return bytes;
}

/** The header of a record at `at`; undefined when there is no whole one. */
export function decodeRecordHeader(bytes: Uint8Array, at: number, mark: Uint8Array): RecordHeader | undefined {
  if (at + RECORD_HEADER_BYTES > bytes.length) return undefined;
  for (let index = 0; index < MARK_BYTES; index++) if (bytes[at + index] !== mark[index]) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, RECORD_HEADER_BYTES);
  if (view.getUint32(60, true) !== crc32(bytes.subarray(at, at + 60))) return undefined;
  const plainBytes = view.getUint32(40, true);
  const storedBytes = view.getUint32(44, true);
  const packing = view.getUint32(48, true);
  if (plainBytes > CHUNK_BYTES_MAX || storedBytes > plainBytes || packing > ZSTD) return undefined;
  return {
    id: bytes.subarray(at + 8, at + 8 + ID_BYTES),
    plainBytes,
    storedBytes,
    packing,
    seconds: view.getUint32(52, true),
    payloadSum: view.getUint32(56, true),
  };
}

/** The payload of the record at `at`; undefined when its sum is wrong or it is not all there. */
export function payloadOf(bytes: Uint8Array, at: number, header: RecordHeader): Uint8Array | undefined {
  const start = at + RECORD_HEADER_BYTES;
  if (start + header.storedBytes > bytes.length) return undefined;
  const payload = bytes.subarray(start, start + header.storedBytes);
  return crc32(payload) === header.payloadSum ? payload : undefined;
}

export type Row = {
  readonly id: Uint8Array;
  readonly offset: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
  readonly seconds: number;
  /** Known to be damaged: remembered so that the next open does not take it for sound. */
  readonly damaged: boolean;
};

/** The rows of a sidecar, in the order of their offsets. */
export class Rows {
  #bytes: Uint8Array;
  #view: DataView;
  #count: number;

  constructor(bytes: Uint8Array = new Uint8Array(64 * ROW_BYTES), count = 0) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#count = count;
  }

  get count(): number {
    return this.#count;
  }

  push(row: Row): void {
    const at = this.#count * ROW_BYTES;
    if (at + ROW_BYTES > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(64 * ROW_BYTES, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = viewOf(larger);
    }
    this.#bytes.set(row.id, at);
    this.#view.setUint32(at + 32, row.offset, true);
    this.#view.setUint32(at + 36, (row.storedBytes | (row.damaged ? DAMAGED_BIT : 0)) >>> 0, true);
    this.#view.setUint32(at + 40, row.plainBytes, true);
    this.#view.setUint32(at + 44, row.seconds, true);
    this.#count++;
  }

  /** The id is a view, valid until the next push. */
  at(index: number): Row {
    const at = index * ROW_BYTES;
    const stored = this.#view.getUint32(at + 36, true);
    return {
      id: this.#bytes.subarray(at, at + ID_BYTES),
      offset: this.#view.getUint32(at + 32, true),
      storedBytes: stored & ~DAMAGED_BIT,
      plainBytes: this.#view.getUint32(at + 40, true),
      seconds: this.#view.getUint32(at + 44, true),
      damaged: stored >= DAMAGED_BIT,
    };
  }

  truncate(count: number): void {
    this.#count = count;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#count * ROW_BYTES);
  }
}

export type Sidecar = {
  readonly header: PackHeader;
  /** Of the pack, from its beginning; what follows has to be looked at. */
  readonly coveredBytes: number;
  /** Nothing after coveredBytes counts, whatever is there: the pack was given up after the disk refused. */
  readonly isSealed: boolean;
  readonly rows: Rows;
};

export function encodeSidecar({ header, coveredBytes, isSealed, rows }: Sidecar): Uint8Array {
  const body = rows.bytes();
  const bytes = new Uint8Array(INDEX_HEADER_BYTES + body.length);
  const view = viewOf(bytes);
  view.setBigUint64(0, INDEX_MAGIC, true);
  view.setUint32(8, FORMAT_VERSION, true);
  view.setUint32(12, header.number, true);
  bytes.set(header.id, 16);
  bytes.set(header.mark, 32);
  view.setUint32(40, coveredBytes, true);
  view.setUint32(44, isSealed ? 1 : 0, true);
  view.setUint32(48, rows.count, true);
  view.setUint32(52, crc32(body), true);
  view.setUint32(60, crc32(bytes.subarray(0, 60)), true);
  bytes.set(body, INDEX_HEADER_BYTES);
  return bytes;
}

/** Undefined when it is not whole or of another version. */
export function decodeSidecar(bytes: Uint8Array): Sidecar | undefined {
  if (bytes.length < INDEX_HEADER_BYTES) return undefined;
  const view = viewOf(bytes);
  if (view.getBigUint64(0, true) !== INDEX_MAGIC || view.getUint32(8, true) !== FORMAT_VERSION) return undefined;
  if (view.getUint32(60, true) !== crc32(bytes.subarray(0, 60))) return undefined;
  const count = view.getUint32(48, true);
  const body = bytes.subarray(INDEX_HEADER_BYTES);
  if (body.length !== count * ROW_BYTES || crc32(body) !== view.getUint32(52, true)) return undefined;
  return {
    header: { number: view.getUint32(12, true), id: bytes.slice(16, 32), mark: bytes.slice(32, 40) },
    coveredBytes: view.getUint32(40, true),
    isSealed: view.getUint32(44, true) !== 0,
    rows: new Rows(body, count),
  };
}
