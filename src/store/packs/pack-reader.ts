/** Chunks out of their records, verified. */
import { unpack } from "#sync/chunk/compress.ts";
import { SynclineError } from "#model/error.ts";
import { alignedBytes } from "#platform/aligned-bytes.ts";
import { FsError, isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import type { Appender } from "#store/packs/appender.ts";
import type { Catalog, Pack } from "#store/packs/catalog.ts";
import type { Place } from "#store/packs/chunk-table.ts";
import type { MakeRoom } from "#store/packs/lent-chunks.ts";
import { type PackFiles, type ReadPurpose, chunkDiskError } from "#store/packs/pack-files.ts";
import { RAW, RECORD_HEADER_BYTES, type RecordHeader, ZSTD, decodeRecordHeader, payloadOf } from "#store/packs/pack-format.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

/** The payload is undefined when its sum is wrong. */
export type StoredRecord = { readonly header: RecordHeader; readonly payload: Uint8Array | undefined };

/** A chunk and where its record is. */
export type PlacedChunk = { readonly id: ChunkId; readonly place: Place };

const newRoom: MakeRoom = (bytes) => alignedBytes(bytes, 0);

export class PackReader {
  readonly #files: PackFiles;
  readonly #catalog: Catalog;
  readonly #appender: Appender;

  readonly #sha256: Host["sha256"];
  readonly #largeBytes: number;

  /** @param largeBytes records of this size are not brought into the page cache when they are read once */
  constructor(files: PackFiles, catalog: Catalog, appender: Appender, sha256: Host["sha256"], largeBytes: number) {
    this.#files = files;
    this.#catalog = catalog;
    this.#appender = appender;
    this.#sha256 = sha256;
    this.#largeBytes = largeBytes;
  }

  /**
   * The record at a place; undefined when there is none that could be told. A pack that has gone counts as damaged, and
   * so does a sector that cannot be read when a scrub asks, which looks after the disk.
   *
   * @param makeRoom for the memory of a large one
   * @throws {SynclineError} DISK
   */
  async record(pack: Pack, place: Place, purpose: ReadPurpose, makeRoom = newRoom): Promise<StoredRecord | undefined> {
    const { number, mark } = pack.header;
    let bytes = this.#appender.peek(pack, place.offset, place.recordBytes);
    if (bytes === undefined) {
      try {
        bytes = await this.#read(number, place, purpose, makeRoom);
      } catch (error) {
        if (isCode(error, "ENOENT") || (purpose === "scrub" && isCode(error, "EIO"))) return undefined;
        throw chunkDiskError("read a chunk", error);
      }
    }
    const header = decodeRecordHeader(bytes, 0, mark);
    return header === undefined ? undefined : { header, payload: payloadOf(bytes, 0, header) };
  }

  /**
   * Reads records that lie one behind the other in one piece, and leaves their payloads one behind the other at the
   * beginning of `room`, which has room for all of the records.
   *
   * @param places of uncompressed records, without gaps
   * @returns how many of the first are whole, and those of their ids
   */
  async payloads(pack: Pack, places: readonly PlacedChunk[], room: Uint8Array): Promise<number> {
    const { number, mark } = pack.header;
    const start = places[0]!.place.offset;
    const last = places.at(-1)!.place;
    const bytes = room.subarray(0, last.offset + last.recordBytes - start);
    let read = 0;
    try {
      read = await this.#files.read(number, bytes, start);
    } catch (error) {
      // Whoever reads them one by one is told.
      if (!(error instanceof FsError)) throw error;
    }
    let used = 0;
    for (const [index, { id, place }] of places.entries()) {
      const at = place.offset - start;
      const header = at + place.recordBytes > read ? undefined : decodeRecordHeader(bytes, at, mark);
      const payload = header?.packing === RAW && header.id.toHex() === id ? payloadOf(bytes, at, header) : undefined;
      if (payload === undefined) return index;
      const from = at + RECORD_HEADER_BYTES;
      bytes.copyWithin(used, from, from + payload.length);
      used += payload.length;
    }
    return places.length;
  }

  async #read(number: number, { offset, recordBytes }: Place, purpose: ReadPurpose, makeRoom: MakeRoom): Promise<Uint8Array> {
    if (recordBytes >= this.#largeBytes) return this.#files.readLarge(number, offset, recordBytes, purpose, makeRoom);
    // Not filled with zeros first: it is read over.
    const bytes = new Uint8Array(Buffer.allocUnsafeSlow(recordBytes).buffer);
    return bytes.subarray(0, await this.#files.read(number, bytes, offset));
  }

  /** Is the entry still where it was, so that what was found there says something about it? */
  isStillAt(entry: number, pack: Pack, { slot, offset }: Place): boolean {
    return this.#catalog.table.isAt(entry, slot, offset) && this.#catalog.pack(slot) === pack;
  }

  /** The plain bytes of a record; undefined when they are not those of its id. */
  async plain(record: StoredRecord): Promise<Uint8Array | undefined> {
    const plain = this.unproved(record);
    if (plain === undefined) return undefined;
    return (await this.#sha256(plain)).toHex() === record.header.id.toHex() ? plain : undefined;
  }

  /** As plain(), by the sum of the record alone. */
  unproved({ header, payload }: StoredRecord): Uint8Array | undefined {
    let plain = payload;
    if (plain === undefined) return undefined;
    if (header.packing === ZSTD) {
      try {
        plain = unpack(plain, header.plainBytes);
      } catch (error) {
        if (error instanceof SynclineError) return undefined;
        throw error;
      }
    }
    return plain.length === header.plainBytes ? plain : undefined;
  }
}
