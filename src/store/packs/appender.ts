/**
 * The end of the store where everything is added: records are gathered in a few large buffers, written one behind the
 * other, and made durable by barriers that all who wait share.
 *
 * What the disk refuses is lost for sure: the pack is cut back to what was durable and closed, the chunks behind that
 * leave the catalog, and whoever protects one of them is told at the next flush. Nothing is tried again on the same
 * descriptor, because after a failed sync nobody knows what is on the disk. Later chunks go into a new pack.
 */
import { type SynclineError, assert } from "#model/error.ts";
import { PAGE_BYTES, alignedBytes } from "#platform/aligned-bytes.ts";
import { type Fd, FsError } from "#platform/file-system.ts";
import type { Random } from "#platform/host.ts";
import type { Catalog, Pack } from "#store/packs/catalog.ts";
import { OFFSET_BYTES_MAX } from "#store/packs/chunk-table.ts";
import { type PackFiles, chunkDiskError } from "#store/packs/pack-files.ts";
import {
  HEADER_BYTES, MARK_BYTES, PACK_ID_BYTES, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, Rows, UNIT_BYTES, encodePackHeader,
  encodeRecord, encodeRecordHeader, recordBytesOf,
} from "#store/packs/pack-format.ts";

export type PackLimits = {
  /** A pack is complete when the next record would go beyond this. */
  readonly packBytes: number;
  /** Or when it has so many records: what is kept in memory of a pack that is open. */
  readonly packRecords: number;
  /** Of one buffer; at least RECORD_BYTES_MAX. */
  readonly bufferBytes: number;
  /**
   * Records of this size, which are those of large files, go into the page cache only if they will be read soon, and while
   * it takes them for little more than the price of a copy. While it does not, every third buffer passes by it, where that can
   * be: then the disk reads the one while the others are sent.
   */
  readonly largeBytes: number;
};

export const PACK_LIMITS: PackLimits = {
  packBytes: OFFSET_BYTES_MAX,
  packRecords: 1 << 18,
  bufferBytes: 8 << 20,
  largeBytes: 256 << 10,
};

/** One is filled while the others are written. */
const BUFFERS = 3;
/** Of so many batches that the page cache does not take at once, one passes by it. */
const SLOW_THAT_PASSES = 3;
/** Complete packs that may wait for their barrier before put() waits too. */
const CLOSING_MAX = 2;

export type NewRecord = {
  readonly id: Uint8Array;
  readonly plainBytes: number;
  readonly packing: number;
  readonly payload: Uint8Array;
  readonly seconds: number;
  /** As Pin.put() has it. */
  readonly isReadSoon: boolean;
};

/** A pack that is being written. */
export type OpenPack = {
  readonly pack: Pack;
  /** Undefined until the file has been made. */
  fd: Fd | undefined;
  /** The file once more, to write past the page cache; undefined before the first time, and where that cannot be. */
  uncached: Fd | undefined;
  readonly rows: Rows;
  /** What is in the file, and of that what is durable. */
  written: Reach;
  durable: Reach;
  /** Bytes that the disk has begun with, or need not. */
  begun: number;
  /** What the disk is doing with the file now: a write and a sync may go side by side. */
  readonly steps: Set<Promise<void>>;
  isGivenUp: boolean;
};

/** How far something has come in a pack. */
type Reach = { readonly bytes: number; readonly records: number };

type Batch = {
  readonly open: OpenPack;
  /** In which place of a page a byte lies is the same here as in the file. */
  readonly bytes: Uint8Array;
  readonly slot: Uint8Array;
  readonly at: number;
  /** Records of the pack before it. */
  readonly before: number;
  used: number;
  records: number;
  /** Some of it. */
  isReadSoon: boolean;
};

function openPack(pack: Pack, fd: Fd | undefined, rows: Rows, reach: Reach): OpenPack {
  const { bytes } = reach;
  const steps = new Set<Promise<void>>();
  return { pack, fd, uncached: undefined, rows, written: reach, durable: reach, begun: bytes, steps, isGivenUp: false };
}

export class Appender {
  readonly #files: PackFiles;
  readonly #catalog: Catalog;
  readonly #random: Random;
  readonly #limits: PackLimits;
  #nextNumber: number;
  #current: OpenPack | undefined;
  /** Complete packs that are not durable yet. */
  readonly #closing: OpenPack[] = [];
  #filling: Batch | undefined;
  readonly #queue: Batch[] = [];
  readonly #free: Uint8Array[] = [];
  #buffers = 0;
  #queued = 0;
  #done = 0;
  #draining: Promise<void> | undefined;
  #isSyncing = false;
  /** Who wants to hear that the disk is at work. */
  readonly #begun: (() => void)[] = [];
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #room = Promise.withResolvers<void>();
  /** The page cache has taken all of the last large batch, or record, at once. */
  #isWarm = false;
  /** Batches, one after the other, that it had not taken at once. */
  #slow = 0;
  readonly #header = new Uint8Array(RECORD_HEADER_BYTES);
  readonly #zeros = new Uint8Array(UNIT_BYTES);
  #failures = 0;
  #failure: SynclineError | undefined;
  /** Something that must not happen in this process, the end of a simulated one included. */
  #broken: { readonly error: unknown } | undefined;

  constructor(files: PackFiles, catalog: Catalog, random: Random, limits: PackLimits, nextNumber: number) {
    assert(limits.bufferBytes >= RECORD_BYTES_MAX && limits.packBytes <= OFFSET_BYTES_MAX, "limits that fit the format");
    this.#files = files;
    this.#catalog = catalog;
    this.#random = random;
    this.#limits = limits;
    this.#nextNumber = nextNumber;
  }

  /** Goes on with a pack of an earlier process, which is durable up to its end. */
  resume(pack: Pack, fd: Fd, rows: Rows): void {
    const reach = { bytes: pack.bytes, records: rows.count };
    this.#current = openPack(pack, fd, rows, reach);
  }

  /** Where the record is now; undefined when there is no room: await room(), then try again. */
  tryAppend(record: NewRecord): { readonly open: OpenPack; readonly offset: number } | undefined {
    if (this.#broken !== undefined) throw this.#broken.error;
    const bytes = recordBytesOf(record.payload.length);
    const open = this.#packFor(bytes);
    if (open === undefined) return undefined;
    const { pack, rows } = open;
    const offset = pack.bytes;
    const isWritten = this.#writeNow(open, record);
    if (!isWritten) {
      const batch = this.#batchFor(open, bytes, record.isReadSoon);
      if (batch === undefined) return undefined;
      batch.used += encodeRecord(batch.bytes, batch.used, pack.header.mark, record);
      batch.records++;
    }
    rows.push({ ...record, offset, storedBytes: record.payload.length, damaged: false });
    this.#catalog.resize(pack, offset + bytes);
    if (isWritten) {
      open.written = { bytes: offset + bytes, records: rows.count };
      if (offset + bytes - open.begun > this.#limits.bufferBytes / 2) this.#beginWriting(open, open.begun, offset + bytes);
    }
    return { open, offset };
  }

  /**
   * Writes a large record from where it is, where nothing waits to be written before it and the page cache takes it at once:
   * it is not copied together with others first. False: none of it counts. What the disk refuses is met by the batch in
   * which it is tried again.
   */
  #writeNow({ fd, pack }: OpenPack, record: NewRecord): boolean {
    const { payload, isReadSoon } = record;
    const isIdle = this.#filling === undefined && this.#queue.length === 0 && this.#draining === undefined;
    const isCached = isReadSoon && this.#isWarm;
    if (!isCached || !isIdle || fd === undefined || payload.length < this.#limits.largeBytes) return false;
    encodeRecordHeader(this.#header, 0, pack.header.mark, record);
    const zeros = this.#zeros.subarray(0, recordBytesOf(payload.length) - RECORD_HEADER_BYTES - payload.length);
    let at = pack.bytes;
    for (const part of [this.#header, payload, zeros]) {
      this.#isWarm = this.#tryCached(fd, part, at) === part.length;
      if (!this.#isWarm) return false;
      at += part.length;
    }
    return true;
  }

  #tryCached(fd: Fd, bytes: Uint8Array, position: number): number {
    try {
      return this.#files.fs.writeCached(fd, bytes, position);
    } catch (error) {
      if (error instanceof FsError) return 0;
      this.#break(error);
      throw error;
    }
  }

  /** Nothing is written any more, and who waits for room is told. */
  #break(error: unknown): void {
    this.#broken ??= { error };
    this.#wake();
  }

  /** Resolves when there may be room again. */
  room(): Promise<void> {
    return this.#room.promise;
  }

  /** A copy of bytes that may not be in their file yet; undefined when they are. */
  peek(pack: Pack, offset: number, length: number): Uint8Array | undefined {
    for (const batch of [...this.#queue, this.#filling]) {
      // Not by the slot: what was given up has lost its own, and its batches may wait still.
      if (batch?.open.pack !== pack) continue;
      const start = offset - batch.at;
      if (start >= 0 && start + length <= batch.used) return batch.bytes.slice(start, start + length);
    }
    return undefined;
  }

  isOpen(pack: Pack): boolean {
    return [this.#current, ...this.#closing].some((open) => open?.pack === pack);
  }

  /** Of the file of a pack, what can be read from it. */
  readableBytes(pack: Pack): number {
    const open = [this.#current, ...this.#closing].find((open) => open?.pack === pack);
    return open?.written.bytes ?? pack.bytes;
  }

  /** Of a pack, what survives a power loss. */
  durableBytes(pack: Pack): number {
    const open = [this.#current, ...this.#closing].find((open) => open?.pack === pack);
    return open?.durable.bytes ?? pack.bytes;
  }

  /**
   * Everything appended before is durable when it resolves. Whoever calls while one runs shares the next.
   * @param onBegun called when the disk is at work, or when it has ended
   * @throws {SynclineError} DISK: of some pack, what was not durable is lost
   */
  barrier(onBegun?: () => void): Promise<void> {
    if (onBegun !== undefined) {
      if (this.#isSyncing) onBegun();
      else this.#begun.push(onBegun);
    }
    return (this.#next ??= this.#afterRunning());
  }

  /** Leaves what is durable in order for the next open. To be called after a last barrier; nothing may be added then. */
  async close(): Promise<void> {
    const open = this.#current;
    if (open?.fd === undefined) return;
    await this.#writeSidecar(open, false);
    this.#closeFile(open);
  }

  /** Writes the sidecar of the pack that is open, as far as it is durable. */
  async checkpoint(): Promise<void> {
    const open = this.#current;
    if (open?.fd !== undefined && open.durable.records > 0) await this.#writeSidecar(open, false);
  }

  #packFor(bytes: number): OpenPack | undefined {
    const open = this.#current;
    if (open === undefined) return this.#begin();
    const { packBytes, packRecords } = this.#limits;
    if (open.pack.bytes + bytes <= packBytes && open.rows.count < packRecords) return open;
    // One that was left by another process may be full without a row, where nothing of it lives any more.
    if (open.pack.bytes === HEADER_BYTES) return open;
    if (this.#closing.length >= CLOSING_MAX) return undefined;
    this.#enqueue();
    this.#closing.push(open);
    this.#current = undefined;
    // Whoever lost something by it is told at the flush that they have to call.
    this.barrier().catch(() => {});
    return this.#begin();
  }

  #begin(): OpenPack {
    const header = {
      number: this.#nextNumber++,
      id: this.#random.bytes(PACK_ID_BYTES),
      mark: this.#random.bytes(MARK_BYTES),
    };
    const pack = this.#catalog.addPack(header, HEADER_BYTES);
    const reach = { bytes: HEADER_BYTES, records: 0 };
    return (this.#current = openPack(pack, undefined, new Rows(), reach));
  }

  #batchFor(open: OpenPack, bytes: number, isReadSoon: boolean): Batch | undefined {
    const filling = this.#filling;
    if (filling !== undefined && filling.used + bytes <= filling.bytes.length) {
      filling.isReadSoon ||= isReadSoon;
      return filling;
    }
    this.#enqueue();
    // Behind what waits now it can be written without a copy.
    if (isReadSoon && this.#isWarm && bytes > this.#limits.largeBytes && this.#queue.length > 0) return undefined;
    const slot = this.#free.pop() ?? this.#newBuffer();
    if (slot === undefined) return undefined;
    const at = open.pack.bytes;
    const before = open.rows.count;
    const bounds = { bytes: slot.subarray(at % PAGE_BYTES), slot, at, before };
    return (this.#filling = { open, ...bounds, used: 0, records: before, isReadSoon });
  }

  #newBuffer(): Uint8Array | undefined {
    if (this.#buffers >= BUFFERS) return undefined;
    this.#buffers++;
    return alignedBytes(this.#limits.bufferBytes + PAGE_BYTES, 0);
  }

  /** What is being filled goes to be written. */
  #enqueue(): void {
    if (this.#filling === undefined) return;
    this.#queue.push(this.#filling);
    this.#filling = undefined;
    this.#queued++;
    this.#drain().catch(() => {});
  }

  #drain(): Promise<void> {
    return (this.#draining ??= this.#writeOut());
  }

  async #writeOut(): Promise<void> {
    // Who sees that it has ended sees that nothing waits: it must not end before it is known to run.
    await undefined;
    try {
      for (let batch = this.#queue[0]; batch !== undefined; batch = this.#queue[0]) {
        const { open, at, used, records } = batch;
        if (!open.isGivenUp) await this.#attempt(open, "write chunks", () => this.#write(batch!));
        if (!open.isGivenUp) open.written = { bytes: at + used, records };
        this.#queue.shift();
        this.#free.push(batch.slot);
        this.#done++;
        this.#wake();
      }
    } finally {
      this.#draining = undefined;
    }
  }

  async #write(batch: Batch): Promise<void> {
    const { fs } = this.#files;
    const { open, bytes, at, used, before, records, isReadSoon } = batch;
    if (open.fd === undefined) await this.#make(open);
    const end = at + used;
    const isLarge = used >= this.#limits.largeBytes * (records - before);
    const isCached = isLarge && isReadSoon;
    const cached = isCached ? at + fs.writeCached(open.fd!, bytes.subarray(0, used), at) : at;
    if (isCached) {
      this.#isWarm = cached === end;
      this.#slow = this.#isWarm ? 0 : this.#slow + 1;
    }
    const passes = isCached ? this.#slow % SLOW_THAT_PASSES === 1 : isLarge;
    const [from, to] = passes ? await this.#writeUncached(batch, cached) : [end, end];
    // A page gets its bytes one way only, and the first and the last may have those of other batches too.
    for (const [start, stop] of [[cached, from], [to, end]] as const) {
      if (start < stop) await fs.writeAsync(open.fd!, bytes.subarray(start - at, stop - at), start);
    }
    for (const [start, stop] of [[at, from], [to, end]] as const) {
      if (stop - start > this.#limits.bufferBytes / 2) this.#beginWriting(open, start, stop);
    }
    open.begun = end;
  }

  /** The disk begins now, so that the barrier has less to wait for. */
  #beginWriting(open: OpenPack, start: number, stop: number): void {
    this.#files.fs.startWriteback(open.fd!, start, stop - start);
    open.begun = stop;
  }

  /**
   * Writes whole pages of a batch, from `start` on, past the page cache.
   * @returns what it wrote, [from, to), or an empty stretch at its end
   */
  async #writeUncached({ open, bytes, at, used }: Batch, start: number): Promise<[number, number]> {
    const { fs } = this.#files;
    const from = Math.ceil(start / PAGE_BYTES) * PAGE_BYTES;
    const to = Math.floor((at + used) / PAGE_BYTES) * PAGE_BYTES;
    if (from >= to) return [at + used, at + used];
    open.uncached ??= fs.openUncached(open.fd!);
    if (open.uncached === undefined) return [at + used, at + used];
    const written = await fs.writeUncached(open.uncached, [bytes.subarray(from - at, to - at)], from);
    return [from, from + written];
  }

  /** Its header and its name are durable before anything in it counts. */
  async #make(open: OpenPack): Promise<void> {
    const { fs } = this.#files;
    open.fd = this.#files.create(open.pack.header.number);
    fs.write(open.fd, encodePackHeader(open.pack.header), 0);
    await fs.sync(open.fd);
    await this.#files.syncNames();
  }

  /** Runs a step on a pack; where the disk refuses, the pack is given up. */
  async #attempt(open: OpenPack, op: string, step: () => Promise<void>): Promise<void> {
    const running = step();
    open.steps.add(running);
    try {
      await running;
    } catch (error) {
      if (!(error instanceof FsError)) {
        this.#break(error);
        throw error;
      }
      await this.#giveUp(open, chunkDiskError(op, error) as SynclineError);
    } finally {
      open.steps.delete(running);
    }
  }

  async #giveUp(open: OpenPack, error: SynclineError): Promise<void> {
    // Its write and its sync may both be refused: by then another pack may have its slot.
    if (open.isGivenUp) return;
    open.isGivenUp = true;
    this.#failures++;
    this.#failure = error;
    this.#lose(open, error);
    if (this.#current === open) this.#current = undefined;
    if (this.#closing.includes(open)) this.#closing.splice(this.#closing.indexOf(open), 1);
    if (this.#filling?.open === open) {
      this.#free.push(this.#filling.slot);
      this.#filling = undefined;
    }
    // What is still written would come behind the cut, and into another file once the descriptor's number is that one's.
    await Promise.allSettled(open.steps);
    const { fs } = this.#files;
    const { pack, durable } = open;
    // One of before would say of what is cut that it may go on, if the process ended before the next one is written.
    this.#try(() => this.#files.removeIndex(pack.header.number));
    // Where that is refused, too, the sidecar says where it ends.
    const isCut = this.#try(() => open.fd !== undefined && fs.truncate(open.fd, durable.bytes));
    await this.#finish(open);
    // An older sidecar that is there still would say the same.
    if (pack.isStale) this.#try(() => this.#files.removeIndex(pack.header.number));
    const isEmpty = durable.records === 0;
    if (isEmpty) this.#catalog.dropPack(pack);
    // It holds nothing; the next open removes it.
    const isGone = isEmpty && this.#try(() => this.#files.remove(pack.header.number));
    // Not left at that: the next process would find in the page cache what was refused here, and believe its own sync of it,
    // though a disk tells of a failed write once.
    if (!isCut && !isGone && (isEmpty || pack.isStale)) await this.#writeSidecar(open, true);
    this.#wake();
  }

  #lose(open: OpenPack, error: SynclineError): void {
    const { pack, rows, durable } = open;
    const { table } = this.#catalog;
    const lost: number[] = [];
    for (let index = durable.records; index < rows.count; index++) {
      const row = rows.at(index);
      const entry = table.findBytes(row.id);
      if (entry >= 0 && table.isAt(entry, pack.slot, row.offset)) lost.push(entry);
    }
    this.#catalog.lose(lost, error);
    rows.truncate(durable.records);
    this.#catalog.resize(pack, durable.bytes);
  }

  /** Did the disk do it? */
  #try(steps: () => unknown): boolean {
    try {
      steps();
      return true;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      return false;
    }
  }

  /** A pack takes nothing more. */
  async #finish(open: OpenPack): Promise<void> {
    open.pack.isSealed = true;
    if (open.durable.records > 0) await this.#writeSidecar(open, true);
    this.#closeFile(open);
  }

  #closeFile(open: OpenPack): void {
    if (open.uncached !== undefined) this.#files.fs.close(open.uncached);
    if (open.fd !== undefined) this.#files.fs.close(open.fd);
    open.uncached = undefined;
    open.fd = undefined;
  }

  async #writeSidecar(open: OpenPack, isSealed: boolean): Promise<void> {
    const { pack, rows, durable } = open;
    const kept = this.#catalog.rowsToKeep(pack, rows, durable.records);
    pack.isStale = false;
    const sidecar = { header: pack.header, coveredBytes: durable.bytes, isSealed, rows: kept };
    if (!(await this.#files.writeSidecar(sidecar))) pack.isStale = true;
  }

  async #afterRunning(): Promise<void> {
    // Also without one running: what is asked for in this turn of the event loop goes together.
    await this.#running?.catch(() => {});
    this.#next = undefined;
    const run = this.#run().finally(() => this.#tellBegun());
    this.#running = run;
    await run;
  }

  async #sync(fd: Fd): Promise<void> {
    const synced = this.#files.fs.sync(fd);
    this.#isSyncing = true;
    this.#tellBegun();
    try {
      await synced;
    } finally {
      this.#isSyncing = false;
    }
  }

  #tellBegun(): void {
    for (const onBegun of this.#begun.splice(0)) onBegun();
  }

  async #run(): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken.error;
    const failuresBefore = this.#failures;
    this.#enqueue();
    for (const upTo = this.#queued; this.#done < upTo; ) await this.#drain();
    for (const open of [...this.#closing, this.#current]) {
      if (open === undefined || open.isGivenUp) continue;
      const reach = open.written;
      if (reach.records > open.durable.records) {
        await this.#attempt(open, "make chunks durable", () => this.#sync(open.fd!));
        if (open.isGivenUp) continue;
        open.durable = reach;
      }
      const at = this.#closing.indexOf(open);
      if (at === -1 || open.durable.records < open.rows.count) continue;
      await this.#finish(open);
      this.#closing.splice(this.#closing.indexOf(open), 1);
      this.#wake();
    }
    if (this.#failures > failuresBefore) throw this.#failure!;
  }

  #wake(): void {
    this.#room.resolve();
    this.#room = Promise.withResolvers<void>();
  }
}
