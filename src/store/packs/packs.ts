/**
 * Chunks in append-only packs on local disk. The door of this folder: openPacks() recovers what the last process left,
 * and gives the store.
 *
 * - pack-format.ts: bytes. pack-files.ts: the directory. pack-scan.ts, open-packs.ts: recovery.
 * - chunk-table.ts, catalog.ts: what is known in memory. appender.ts: writing and barriers. pack-reader.ts: reading.
 * - prune.ts, scrub.ts: the long work beside it. pack-source.ts: the packs as files, for copies.
 */
import { SynclineError, assert } from "#model/error.ts";
import type { Host } from "#platform/host.ts";
import { type ChunkId, ID_BYTES } from "#sync/chunk/chunk-id.ts";
import { Compressor } from "#sync/chunk/compress.ts";
import {
  CHUNK_BYTES_MAX, type ChunkStore, type ChunkStoreStats, type LentChunk, type Pin, type PruneResult, type ScrubResult,
  type SizedChunk,
} from "#store/chunk-store.ts";
import { Appender, PACK_LIMITS, type PackLimits } from "#store/packs/appender.ts";
import { type Catalog, type Pack, PinnedEntries } from "#store/packs/catalog.ts";
import { NONE, type Place } from "#store/packs/chunk-table.ts";
import { type LentBytes, LentChunks, type MakeRoom } from "#store/packs/lent-chunks.ts";
import { type Recovery, freshenSidecar, loadCatalog } from "#store/packs/open-packs.ts";
import { PackFiles, chunkDiskError } from "#store/packs/pack-files.ts";
import { RAW, ZSTD, recordBytesOf } from "#store/packs/pack-format.ts";
import { PackSource } from "#store/packs/pack-source.ts";
import { PackReader, type PlacedChunk, type StoredRecord } from "#store/packs/pack-reader.ts";
import { Pruner, type PruneOptions } from "#store/packs/prune.ts";
import { scrubPacks } from "#store/packs/scrub.ts";

/**
 * @param directory an absolute path; must exist, and be for nothing else
 * @throws {SynclineError} ROOT_BUSY when another process holds it, VERSION when it is of a newer one, DISK
 */
export async function openPacks(
  host: Pick<Host, "fs" | "clock" | "random" | "sha256">,
  directory: string,
  limits: PackLimits = PACK_LIMITS,
): Promise<{ store: ChunkStore; source: PackSource; recovery: Recovery }> {
  let files: PackFiles;
  try {
    files = new PackFiles(host.fs, directory);
  } catch (error) {
    throw chunkDiskError("open the directory of the packs", error);
  }
  try {
    const { catalog, last, nextNumber, recovery } = await loadCatalog(files);
    const appender = new Appender(files, catalog, host.random, limits, nextNumber);
    if (last !== undefined) appender.resume(last.pack, last.fd, last.rows);
    const store = new Packs(host, files, catalog, appender, limits.largeBytes);
    return { store, source: store.source, recovery };
  } catch (error) {
    files.close();
    throw error;
  }
}

/** What Pin.put() takes. */
type NewChunk = { readonly id: ChunkId; readonly bytes: Uint8Array; readonly isReadSoon: boolean };

/** Where a chunk was when its record was asked for. */
type Found = { readonly entry: number; readonly pack: Pack; readonly place: Place };

class Packs implements ChunkStore {
  readonly #host: Pick<Host, "clock" | "sha256">;
  readonly #files: PackFiles;
  readonly #catalog: Catalog;
  readonly #appender: Appender;
  readonly #reader: PackReader;
  readonly source: PackSource;
  readonly #pruner: Pruner;
  readonly #lent = new LentChunks((id, makeRoom) => this.#read(id, makeRoom));
  readonly #compressor = new Compressor("zstd", () => 0);
  readonly #idBytes = new Uint8Array(ID_BYTES);
  #isClosed = false;

  constructor(host: Pick<Host, "clock" | "sha256">, files: PackFiles, catalog: Catalog, appender: Appender, largeBytes: number) {
    this.#host = host;
    this.#files = files;
    this.#catalog = catalog;
    catalog.onDamaged = (id) => this.#lent.drop(id);
    this.#appender = appender;
    this.#reader = new PackReader(files, catalog, appender, host.sha256, largeBytes);
    this.#pruner = new Pruner(files, catalog, appender, this.#reader, host.clock);
    this.source = new PackSource(files, catalog, appender, this.#pruner);
  }

  pin(onLost?: () => void): Pin {
    const entries = new PinnedEntries(onLost);
    this.#catalog.pins.add(entries);
    return {
      has: (ids) => this.#has(entries, ids),
      put: (id, bytes, isReadSoon = true) => this.#put(entries, { id, bytes, isReadSoon }),
      flush: async (onBegun) => {
        throwIfLost(entries);
        await this.#appender.barrier(onBegun);
        throwIfLost(entries);
      },
      fresh: () => (entries.lost === undefined ? entries.fresh.chunks : undefined),
      [Symbol.dispose]: () => {
        this.#catalog.pins.delete(entries);
      },
    };
  }

  async flush(): Promise<void> {
    await this.#appender.barrier();
    for (const pin of this.#catalog.pins) throwIfLost(pin);
    const { untold } = this.#catalog;
    this.#catalog.untold = undefined;
    if (untold !== undefined) throw untold;
  }

  get(id: ChunkId): Promise<Uint8Array> {
    return this.#get(id, (record) => this.#reader.plain(record));
  }

  getUnproved(id: ChunkId): Promise<Uint8Array> {
    return this.#get(id, async (record) => this.#reader.unproved(record));
  }

  async gather(chunks: readonly SizedChunk[], room: Uint8Array): Promise<number> {
    const { table } = this.#catalog;
    const places: PlacedChunk[] = [];
    let bytes = 0;
    for (const { id, length } of chunks) {
      const entry = table.find(id);
      if (entry === NONE || table.plainBytes(entry) !== length) break;
      const place = table.place(entry);
      const before = places.at(-1)?.place;
      const isNext = before === undefined || (before.slot === place.slot && before.offset + before.recordBytes === place.offset);
      bytes += place.recordBytes;
      // What is compressed is shorter than a record of its plain bytes.
      if (!isNext || bytes > room.length || place.recordBytes !== recordBytesOf(length)) break;
      places.push({ id, place });
    }
    const last = places.at(-1)?.place;
    if (last === undefined || places.length < Math.max(2, chunks.length / 2)) return 0;
    const pack = this.#catalog.pack(last.slot);
    const isWritten = last.offset + last.recordBytes <= this.#appender.readableBytes(pack);
    return isWritten ? this.#reader.payloads(pack, places, room) : 0;
  }

  areProved(ids: Iterable<ChunkId>): boolean {
    const { table } = this.#catalog;
    for (const id of ids) {
      const entry = table.find(id);
      if (entry === NONE || !table.isProved(entry)) return false;
    }
    return true;
  }

  lend(id: ChunkId): Promise<LentChunk> {
    return this.#lend(id, true);
  }

  lendUnproved(id: ChunkId): Promise<LentChunk> {
    return this.#lend(id, false);
  }

  async #lend(id: ChunkId, isProved: boolean): Promise<LentChunk> {
    // What is still in memory may have left the store.
    if (this.#catalog.table.find(id) === NONE) throw absent(id, this.#catalog.damaged.has(id));
    return this.#lent.lend(id, isProved);
  }

  async #read(id: ChunkId, makeRoom: MakeRoom): Promise<LentBytes> {
    let found: Found | undefined;
    const unwrap = async (record: StoredRecord, at: Found): Promise<Uint8Array | undefined> => {
      found = at;
      return this.#reader.unproved(record);
    };
    const bytes = await this.#get(id, unwrap, makeRoom);
    return { bytes, prove: () => this.#prove(id, bytes, found!) };
  }

  /** Compares bytes that were read somewhere with the id, unless that was done before while they lay there. */
  async #prove(id: ChunkId, bytes: Uint8Array, { entry, pack, place }: Found): Promise<void> {
    const { table } = this.#catalog;
    const isThere = (): boolean => this.#reader.isStillAt(entry, pack, place);
    if (isThere() && table.isProved(entry)) return;
    const isSound = (await this.#host.sha256(bytes)).toHex() === id;
    if (isSound && isThere()) table.prove(entry);
    if (isSound) return;
    if (isThere()) this.#catalog.damage(entry, id);
    throw absent(id, true);
  }

  async #get(
    id: ChunkId,
    unwrap: (record: StoredRecord, at: Found) => Promise<Uint8Array | undefined>,
    makeRoom?: MakeRoom,
  ): Promise<Uint8Array> {
    const { table } = this.#catalog;
    for (;;) {
      const entry = table.find(id);
      if (entry === NONE) throw absent(id, this.#catalog.damaged.has(id));
      const place = table.place(entry);
      const pack = this.#catalog.pack(place.slot);
      const record = await this.#reader.record(pack, place, "use", makeRoom);
      // A prune may have moved it meanwhile, and then the pack that was read may have gone.
      if (record === undefined && !this.#reader.isStillAt(entry, pack, place)) continue;
      const plain = record === undefined ? undefined : await unwrap(record, { entry, pack, place });
      if (record !== undefined && plain !== undefined) {
        if (record.header.id.toHex() === id) return plain;
        throw absent(id, false);
      }
      if (this.#reader.isStillAt(entry, pack, place)) this.#catalog.damage(entry, id);
      throw absent(id, true);
    }
  }

  lengthOf(id: ChunkId): number | undefined {
    const { table } = this.#catalog;
    const entry = table.find(id);
    return entry === NONE ? undefined : table.plainBytes(entry);
  }

  stats(): ChunkStoreStats {
    const { table, plainBytes, packBytes, damaged } = this.#catalog;
    return { chunks: table.count, plainBytes, storedBytes: packBytes, damaged: damaged.size };
  }

  knownDamaged(): ChunkId[] {
    return [...this.#catalog.damaged];
  }

  scrub(cursor: string | undefined, budgetBytes: number, signal: AbortSignal): Promise<ScrubResult> {
    const parts = { files: this.#files, catalog: this.#catalog, appender: this.#appender, reader: this.#reader };
    return scrubPacks({ ...parts, clock: this.#host.clock }, cursor, budgetBytes, signal);
  }

  prune(options: PruneOptions, signal: AbortSignal): Promise<PruneResult> {
    return this.#pruner.run(options, signal);
  }

  /** Everything else must have ended. Makes durable what was put; rejects when that fails, closed in any case. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      await this.#appender.barrier();
    } finally {
      await this.#appender.close();
      for (const pack of this.#catalog.packs()) await freshenSidecar(this.#files, this.#catalog, pack);
      this.#files.close();
    }
  }

  #has(pin: PinnedEntries, ids: readonly ChunkId[]): boolean[] {
    throwIfLost(pin);
    const seconds = this.#seconds();
    return ids.map((id) => {
      const entry = this.#catalog.table.find(id);
      if (entry === NONE) return false;
      if (pin.fresh.chunks !== undefined && !this.#isDurable(entry)) pin.fresh.giveUp();
      this.#protect(pin, entry, seconds);
      return true;
    });
  }

  #isDurable(entry: number): boolean {
    const { slot, offset, recordBytes } = this.#catalog.table.place(entry);
    const pack = this.#catalog.pack(slot);
    return pack.isSealed || this.#appender.durableBytes(pack) >= offset + recordBytes;
  }

  #put(pin: PinnedEntries, chunk: NewChunk): Promise<void> | void {
    if (this.#tryPut(pin, chunk)) return undefined;
    // The bytes are the caller's again when put returns: a splitter uses its buffer for the next chunk.
    return this.#putLater(pin, { ...chunk, bytes: chunk.bytes.slice() });
  }

  async #putLater(pin: PinnedEntries, chunk: NewChunk): Promise<void> {
    do await this.#appender.room();
    while (!this.#tryPut(pin, chunk));
  }

  /** False when there is no room now. */
  #tryPut(pin: PinnedEntries, { id, bytes, isReadSoon }: NewChunk): boolean {
    assert(!this.#isClosed && bytes.length <= CHUNK_BYTES_MAX, "chunks of at most CHUNK_BYTES_MAX go into an open store");
    throwIfLost(pin);
    const seconds = this.#seconds();
    const known = this.#catalog.table.find(id);
    if (known !== NONE) {
      if (pin.fresh.chunks !== undefined && !this.#isDurable(known)) pin.fresh.add(id, bytes);
      this.#protect(pin, known, seconds);
      return true;
    }
    const packed = this.#compressor.pack(bytes);
    this.#idBytes.setFromHex(id);
    const record = {
      id: this.#idBytes,
      plainBytes: bytes.length,
      packing: packed === undefined ? RAW : ZSTD,
      payload: packed ?? bytes,
      seconds,
      isReadSoon,
    };
    const appended = this.#appender.tryAppend(record);
    if (appended === undefined) return false;
    const { open, offset } = appended;
    const row = { ...record, offset, storedBytes: record.payload.length };
    const entry = this.#catalog.place(open.pack, row);
    this.#catalog.table.prove(entry);
    pin.fresh.add(id, bytes);
    this.#protect(pin, entry, seconds);
    return true;
  }

  #protect(pin: PinnedEntries, entry: number, seconds: number): void {
    this.#catalog.touch(entry, seconds);
    pin.add(entry);
  }

  /** Rounded up, so that nothing is taken for older than it is. */
  #seconds(): number {
    return Math.ceil(this.#host.clock.nowMs() / 1000);
  }
}

function throwIfLost(pin: PinnedEntries): void {
  if (pin.lost !== undefined) throw pin.lost;
}

function absent(id: ChunkId, isDamaged: boolean): SynclineError {
  return new SynclineError({
    code: isDamaged ? "CHUNK_DAMAGED" : "CHUNK_MISSING",
    op: "read a chunk",
    message: isDamaged ? `the bytes of chunk ${id} at rest are damaged` : `chunk ${id} is not in the store`,
    hint: "a copy of the file that some agent or follower still has repairs it; check the disk too",
  });
}
