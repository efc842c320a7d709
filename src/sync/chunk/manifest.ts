/**
 * The ordered list of the chunks of one file, with how they were made, and its bytes on disk and on the wire.
 */
import { type ByteReader, type ByteWriter, malformed } from "#sync/wire/bytes.ts";
import { type ChunkId, ID_BYTES } from "#sync/chunk/chunk-id.ts";
import type { ChunkLimits } from "#sync/chunk/fastcdc.ts";

export type ManifestChunk = { readonly id: ChunkId; readonly length: number };

export type Manifest = {
  /** How chunks are named. */
  readonly algorithm: "sha256";
  /** How the file was split: FastCDC with the gear table of chunk/gear.ts and these limits. */
  readonly limits: ChunkLimits;
  /** Bytes of the file: the lengths of all chunks together. */
  readonly size: number;
  readonly chunks: readonly ManifestChunk[];
};

/** Format, algorithm and splitter by number; others are refused, so that each may change later. */
const VERSION = 1;
const SHA256 = 1;
const FASTCDC_GEAR_1 = 1;
/** Chunks of one file at most: 4 TiB of the large kind, and 160 MiB of manifest. */
const CHUNKS_MAX = 1 << 22;
const LIMIT_BYTES_MAX = 64 << 20;

export function writeManifest(writer: ByteWriter, manifest: Manifest): void {
  writer.u8(VERSION);
  writer.u8(SHA256);
  writer.u8(FASTCDC_GEAR_1);
  writer.varint(manifest.limits.minBytes);
  writer.varint(manifest.limits.averageBytes);
  writer.varint(manifest.limits.maxBytes);
  writer.varint(manifest.size);
  writer.varint(manifest.chunks.length);
  for (const { id, length } of manifest.chunks) {
    writer.raw(Uint8Array.fromHex(id));
    writer.varint(length);
  }
}

/** Trusts nothing: numbers, lengths and their total are checked. Throws SynclineError PROTOCOL. */
export function readManifest(reader: ByteReader): Manifest {
  if (reader.u8() !== VERSION || reader.u8() !== SHA256 || reader.u8() !== FASTCDC_GEAR_1) {
    throw malformed("a manifest of another kind");
  }
  const limits = readLimits(reader);
  const size = reader.varint();
  const count = reader.varint();
  // Checked against the bytes that are there before any memory is taken for them.
  if (count > CHUNKS_MAX || count * (ID_BYTES + 1) > reader.remaining) throw malformed("too many chunks");
  const chunks: ManifestChunk[] = [];
  let total = 0;
  for (let index = 0; index < count; index++) {
    const id = reader.raw(ID_BYTES).toHex() as ChunkId;
    const length = reader.varint();
    const isLast = index === count - 1;
    if (length === 0 || length > limits.maxBytes || (length < limits.minBytes && !isLast)) {
      throw malformed("a chunk outside its limits");
    }
    total += length;
    chunks.push({ id, length });
  }
  if (total !== size) throw malformed("a manifest that does not add up");
  return { algorithm: "sha256", limits, size, chunks };
}

function readLimits(reader: ByteReader): ChunkLimits {
  const limits = { minBytes: reader.varint(), averageBytes: reader.varint(), maxBytes: reader.varint() };
  const isPower = (limits.averageBytes & (limits.averageBytes - 1)) === 0;
  const inOrder = limits.minBytes < limits.averageBytes && limits.averageBytes < limits.maxBytes;
  if (!isPower || !inOrder || limits.maxBytes > LIMIT_BYTES_MAX) throw malformed("chunk limits");
  return limits;
}
