/**
 * Messages of a transfer. The destination drives: it asks for files (REQUEST), tells what it has of them
 * already (BLOCKS), and answers questions about stretches of its base (SUMS). The source sends BEGIN, then in
 * any order OPS, DATA and ASK, at last END or FAIL. Ops carry their own position, so that nothing waits for
 * an answer in the middle.
 *
 * First byte: the type. Numbers are varints. Files are named by the destination's id, counting from 1.
 *
 *   REQUEST  id path baseSize baseBlock partialSize partialBlock     sizes 0: none
 *            count of candidates, their sizes; if any, the size of blocks that their base will have
 *   BLOCKS   id which(0 base, 1 partial, 2 samples of the candidates) first count, then count × 12 bytes: hash48,
 *            u16 anchor offset, u32 anchor
 *   SUMS     id count, then per region: slices, slices × hash48; in the order of the ASKs
 *   CANCEL   id                                              the source answers FAIL unless END or FAIL is on its way
 *   CHOOSE   id count indexes            before BEGIN: these candidates, one behind the other, are the base
 *   BEGIN    id size attempt                                 attempt 2: forget all ops of attempt 1
 *   OPS      id, then ops until the end
 *   DATA     fixed header of 32 bytes, then the bytes
 *   ASK      id count, then count × (base offset, length, slice size)
 *   END      id entry
 *   FAIL     id code message transient
 */
import type { FileEntry } from "#model/entry.ts";
import { type RelPath, pathFault } from "#model/path.ts";
import { type ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";
import { BODY_AT } from "#sync/wire/buffer-pool.ts";
import { readEntry, writeEntry } from "#sync/wire/entry-codec.ts";
import { PIECE_BYTES } from "#sync/chunk/sum.ts";
import {
  BASE_BYTES_MIN,
  BLOCK_BYTES_MAX,
  BLOCK_BYTES_MIN,
  CANDIDATES_MAX,
  FILE_BYTES_MAX,
  SLICE_BYTES_COARSE,
  SLICE_BYTES_FINE,
  REGIONS_PER_ASK,
  REGION_BYTES_MAX,
} from "#sync/transfer/limits.ts";

export const REQUEST = 1;
export const BLOCKS = 2;
export const SUMS = 3;
export const CANCEL = 4;
export const BEGIN = 16;
export const OPS = 17;
export const DATA = 18;
export const ASK = 19;
export const END = 20;
export const FAIL = 21;
export const CHOOSE = 22;

/** What BLOCKS are of. */
export const OF_BASE = 0;
export const OF_PARTIAL = 1;
export const OF_SAMPLES = 2;

/** Bytes at `target` are the base's from `base` on. */
export const OP_COPY = 0;
/** The partial holds the right bytes there already. */
export const OP_KEEP = 1;
/** Zeros, or a hole. */
export const OP_ZERO = 2;
/** The bytes follow. */
export const OP_LITERAL = 3;

export const BLOCK_RECORD_BYTES = 12;
export const HASH_BYTES = 6;
/** Longest text of a problem that is passed on. */
const TEXT_LENGTH_MAX = 500;

export type Request = {
  readonly id: number;
  readonly path: RelPath;
  readonly base: { readonly size: number; readonly blockBytes: number } | undefined;
  readonly partial: { readonly size: number; readonly blockBytes: number } | undefined;
  /** Instead of a base: files that may be similar, from which the source chooses. */
  readonly candidates: { readonly sizes: readonly number[]; readonly blockBytes: number } | undefined;
};

/** A stretch of the base whose slices' hashes are wanted. */
export type Region = { readonly base: number; readonly length: number; readonly sliceBytes: number };

/** A peer's offset or length: an integer within the largest file. */
export function readSize(reader: ByteReader): number {
  const size = reader.varint();
  if (size > FILE_BYTES_MAX) throw malformed("a size is beyond the largest file");
  return size;
}

function writeHeld(writer: ByteWriter, held: Request["base"]): void {
  writer.varint(held?.size ?? 0);
  writer.varint(held?.blockBytes ?? 0);
}

function readHeld(reader: ByteReader): Request["base"] {
  const size = readSize(reader);
  const blockBytes = reader.varint();
  return size === 0 ? undefined : { size, blockBytes: checkBlockBytes(blockBytes) };
}

function checkBlockBytes(blockBytes: number): number {
  const powerOfTwo = (blockBytes & (blockBytes - 1)) === 0;
  if (blockBytes < BLOCK_BYTES_MIN || blockBytes > BLOCK_BYTES_MAX || !powerOfTwo) throw malformed("a block size");
  return blockBytes;
}

function readCandidates(reader: ByteReader): Request["candidates"] {
  const count = reader.varint();
  if (count > CANDIDATES_MAX) throw malformed("too many candidates");
  if (count === 0) return undefined;
  const sizes = Array.from({ length: count }, () => readSize(reader));
  if (sizes.some((size) => size < BASE_BYTES_MIN)) throw malformed("a candidate that is too small");
  if (sizes.reduce((sum, size) => sum + size) > FILE_BYTES_MAX) throw malformed("candidates beyond the largest file");
  return { sizes, blockBytes: checkBlockBytes(reader.varint()) };
}

export function encodeRequest(request: Request): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(REQUEST);
  writer.varint(request.id);
  writer.string(request.path);
  writeHeld(writer, request.base);
  writeHeld(writer, request.partial);
  const { candidates } = request;
  writer.varint(candidates?.sizes.length ?? 0);
  if (candidates !== undefined) {
    for (const size of candidates.sizes) writer.varint(size);
    writer.varint(candidates.blockBytes);
  }
  return writer.finish();
}

export function readRequest(reader: ByteReader): Request {
  const id = reader.varint();
  const path = reader.string();
  const fault = pathFault(path);
  if (fault !== undefined) throw malformed(fault);
  const request = { id, path, base: readHeld(reader), partial: readHeld(reader), candidates: readCandidates(reader) };
  if (request.base !== undefined && request.candidates !== undefined) throw malformed("candidates beside a base");
  return request;
}

export function encodeChoose(id: number, chosen: readonly number[]): Uint8Array {
  const writer = startMessage(CHOOSE, id);
  writer.varint(chosen.length);
  for (const index of chosen) writer.varint(index);
  return writer.finish();
}

/** Indexes of a CHOOSE among `count` candidates, each once, at least one. */
export function readChoose(reader: ByteReader, count: number): number[] {
  const length = reader.varint();
  if (length === 0 || length > count) throw malformed("a choice of candidates that were not offered");
  const chosen = Array.from({ length }, () => reader.varint());
  const once = new Set(chosen).size === length;
  if (!once || chosen.some((index) => index >= count)) throw malformed("a choice of candidates that were not offered");
  return chosen;
}

/** CANCEL, and the beginning of the messages that are built step by step. */
export function startMessage(type: number, id: number): ByteWriter {
  const writer = new ByteWriter();
  writer.u8(type);
  writer.varint(id);
  return writer;
}

export function encodeBegin(id: number, size: number, attempt: number): Uint8Array {
  const writer = startMessage(BEGIN, id);
  writer.varint(size);
  writer.varint(attempt);
  return writer.finish();
}

export function encodeAsk(id: number, regions: readonly Region[]): Uint8Array {
  const writer = startMessage(ASK, id);
  writer.varint(regions.length);
  for (const { base, length, sliceBytes } of regions) {
    writer.varint(base);
    writer.varint(length);
    writer.varint(sliceBytes);
  }
  return writer.finish();
}

/** Regions of an ASK, all within a base of `baseSize` bytes. */
export function readAsk(reader: ByteReader, baseSize: number): Region[] {
  const count = reader.varint();
  if (count > REGIONS_PER_ASK) throw malformed("too many regions");
  const regions: Region[] = [];
  for (let at = 0; at < count; at++) {
    const region = { base: reader.varint(), length: reader.varint(), sliceBytes: reader.varint() };
    const known = region.sliceBytes === SLICE_BYTES_COARSE || region.sliceBytes === SLICE_BYTES_FINE;
    const inside = region.length > 0 && region.length <= REGION_BYTES_MAX && region.base + region.length <= baseSize;
    if (!known || !inside) throw malformed("a region is not in the base");
    regions.push(region);
  }
  return regions;
}

export function encodeEnd(id: number, entry: FileEntry): Uint8Array {
  const writer = startMessage(END, id);
  writeEntry(writer, entry);
  return writer.finish();
}

export function readEnd(reader: ByteReader): FileEntry {
  const entry = readEntry(reader);
  if (entry?.kind !== "file" || entry.sum === undefined) throw malformed("not a finished file");
  return entry;
}

export type Failure = { readonly code: string; readonly message: string; readonly transient: boolean };

export function encodeFail(id: number, failure: Failure): Uint8Array {
  const writer = startMessage(FAIL, id);
  writer.string(failure.code);
  writer.string(failure.message.slice(0, TEXT_LENGTH_MAX));
  writer.bool(failure.transient);
  return writer.finish();
}

export function readFail(reader: ByteReader): Failure {
  const failure = { code: reader.string(), message: reader.string(), transient: reader.bool() };
  if (!/^[A-Z][A-Z0-9_]{0,31}$/.test(failure.code)) throw malformed("not a problem's code");
  return { ...failure, message: failure.message.slice(0, TEXT_LENGTH_MAX) };
}

/** Room in front of the bytes of a DATA message; puts them where the memory of a pooled message is aligned. */
export const DATA_HEADER_BYTES = BODY_AT;
export const PLAIN = 0;
export const ZSTD = 1;

export type DataHeader = {
  readonly id: number;
  readonly target: number;
  /** Bytes in the file; the message holds as many, or fewer when packed. */
  readonly length: number;
  readonly packing: typeof PLAIN | typeof ZSTD;
};

/** Writes all of it: what was in the memory before is nobody's business at the other side. */
export function writeDataHeader(message: Uint8Array, header: DataHeader): void {
  message.fill(0, 0, DATA_HEADER_BYTES);
  const fields = new DataView(message.buffer, message.byteOffset, DATA_HEADER_BYTES);
  fields.setUint8(0, DATA);
  fields.setUint8(1, header.packing);
  fields.setUint32(4, header.id, true);
  fields.setFloat64(8, header.target, true);
  fields.setUint32(16, header.length, true);
}

export function readDataHeader(message: Uint8Array): DataHeader {
  if (message.length < DATA_HEADER_BYTES) throw malformed("data without a header");
  const fields = new DataView(message.buffer, message.byteOffset, DATA_HEADER_BYTES);
  const packing = fields.getUint8(1);
  const target = fields.getFloat64(8, true);
  const length = fields.getUint32(16, true);
  if (packing !== PLAIN && packing !== ZSTD) throw malformed("an unknown packing");
  if (!Number.isSafeInteger(target) || target < 0) throw malformed("a position");
  if (length === 0 || length > PIECE_BYTES) throw malformed("a length");
  if (packing === PLAIN && message.length !== DATA_HEADER_BYTES + length) throw malformed("a length");
  return { id: fields.getUint32(4, true), target, length, packing };
}
