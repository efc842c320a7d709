/**
 * Removes chunks that nothing refers to, while others go on putting and asking.
 *
 * 1. The candidates are fixed: everything old that nobody protects. Whoever asks for one or puts it again from then on
 *    takes it out of them, in the same turn of the event loop; so a put always wins.
 * 2. `live` is read. What is referred to after the candidates were fixed is in it, or was touched.
 * 3. What is left leaves the catalog, and nothing of it is on the disk any longer as far as anybody can tell.
 * 4. Packs that are mostly dead are emptied: what lives is appended anew, made durable, and only then the catalog points
 *    there and the old pack goes. A crash before leaves two copies; the later one counts.
 */
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import type { PruneResult } from "#store/chunk-store.ts";
import type { Appender, NewRecord, OpenPack } from "#store/packs/appender.ts";
import type { Catalog, Pack } from "#store/packs/catalog.ts";
import { NONE, type Place } from "#store/packs/chunk-table.ts";
import { freshenSidecar } from "#store/packs/open-packs.ts";
import { type PackFiles, chunkDiskError } from "#store/packs/pack-files.ts";
import { HEADER_BYTES } from "#store/packs/pack-format.ts";
import type { PackReader } from "#store/packs/pack-reader.ts";

/** A pack is emptied when less than this share of it lives. */
const LIVE_SHARE_MIN = 0.5;
/** Entries that are looked at in one turn of the event loop. */
const ENTRIES_PER_TURN = 1 << 16;
/** Bytes that are copied in one. */
const BYTES_PER_TURN = 8 << 20;

export type PruneOptions = {
  readonly live: AsyncIterable<ChunkId>;
  readonly olderThanMs: number;
  readonly fractionMax: number;
};

/** A record that was copied out of a pack. */
type Moved = { readonly entry: number; readonly from: Place; readonly to: Place; readonly open: OpenPack };

export class Pruner {
  readonly #files: PackFiles;
  readonly #catalog: Catalog;
  readonly #appender: Appender;
  readonly #reader: PackReader;
  readonly #clock: Clock;
  #last: Promise<unknown> = Promise.resolve();

  constructor(files: PackFiles, catalog: Catalog, appender: Appender, reader: PackReader, clock: Clock) {
    this.#files = files;
    this.#catalog = catalog;
    this.#appender = appender;
    this.#reader = reader;
    this.#clock = clock;
  }

  /** One after the other. */
  run(options: PruneOptions, signal: AbortSignal): Promise<PruneResult> {
    const run = this.#last.then(() => this.#run(options, signal));
    this.#last = run.catch(() => {});
    return run;
  }

  /** Resolves when none runs; the next one waits until what it gives is disposed. */
  async hold(): Promise<Disposable> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#last;
    this.#last = before.then(() => promise);
    await before;
    return { [Symbol.dispose]: resolve };
  }

  async #run(options: PruneOptions, signal: AbortSignal): Promise<PruneResult> {
    signal.throwIfAborted();
    let removedChunks: number;
    try {
      await this.#mark(options, signal);
      this.#brake(options.fractionMax);
      removedChunks = await this.#sweep(signal);
    } finally {
      this.#catalog.candidates = undefined;
    }
    try {
      return { removedChunks, freedBytes: await this.#compact(signal) };
    } catch (error) {
      throw chunkDiskError("prune chunks", error);
    }
  }

  async #mark({ live, olderThanMs }: PruneOptions, signal: AbortSignal): Promise<void> {
    const { table, pins, damaged } = this.#catalog;
    const candidates = new Uint8Array(table.end);
    for (let entry = 0; entry < candidates.length; entry++) {
      if (table.isUsed(entry) && table.seconds(entry) * 1000 < olderThanMs) candidates[entry] = 1;
    }
    for (const pin of pins) for (const entry of pin.all()) candidates[entry] = 0;
    this.#catalog.candidates = candidates;
    // Damaged chunks that nothing refers to need no repair.
    const unwanted = new Set(damaged);
    for await (const id of live) {
      signal.throwIfAborted();
      const entry = table.find(id);
      if (entry !== NONE) candidates[entry] = 0;
      else unwanted.delete(id);
    }
    for (const id of unwanted) damaged.delete(id);
  }

  #brake(fractionMax: number): void {
    const { table, plainBytes, candidates } = this.#catalog;
    let bytes = 0;
    for (const [entry, isDead] of candidates!.entries()) if (isDead === 1) bytes += table.plainBytes(entry);
    if (bytes <= fractionMax * plainBytes) return;
    throw new SynclineError({
      code: "HALT",
      op: "prune chunks",
      message: `pruning would remove ${bytes} of ${plainBytes} bytes, more than the share of ${fractionMax}`,
      hint: "check that no space is missing; if this is right, prune once with a larger share",
    });
  }

  async #sweep(signal: AbortSignal): Promise<number> {
    const candidates = this.#catalog.candidates!;
    let removed = 0;
    for (let entry = 0; entry < candidates.length; entry++) {
      if (entry % ENTRIES_PER_TURN === ENTRIES_PER_TURN - 1) {
        await this.#clock.sleep(0, signal);
      }
      if (candidates[entry] !== 1) continue;
      this.#catalog.drop(entry);
      removed++;
    }
    return removed;
  }

  /** Empties packs that are mostly dead, and writes the sidecars of those that only lost some. Returns the bytes freed. */
  async #compact(signal: AbortSignal): Promise<number> {
    const sealed = this.#catalog.packs().filter((pack) => pack.isSealed && !pack.isPartlyRead);
    const isMostlyDead = (pack: Pack): boolean => pack.liveBytes < (pack.bytes - HEADER_BYTES) * LIVE_SHARE_MIN;
    const dead = new Map<number, Pack>();
    for (const pack of sealed) if (isMostlyDead(pack) || pack.liveBytes === 0) dead.set(pack.slot, pack);
    const entries = this.#entriesOf(dead);
    let freedBytes = 0;
    for (const pack of dead.values()) {
      signal.throwIfAborted();
      freedBytes += await this.#empty(pack, entries.get(pack.slot)!, signal);
    }
    if (dead.size > 0) await this.#files.syncNames();
    for (const pack of this.#catalog.packs()) await freshenSidecar(this.#files, this.#catalog, pack);
    await this.#appender.checkpoint();
    return freedBytes;
  }

  #entriesOf(packs: ReadonlyMap<number, Pack>): Map<number, number[]> {
    const { table } = this.#catalog;
    const found = new Map<number, number[]>();
    for (const slot of packs.keys()) found.set(slot, []);
    if (packs.size === 0) return found;
    for (let entry = 0; entry < table.end; entry++) {
      if (table.isUsed(entry)) found.get(table.place(entry).slot)?.push(entry);
    }
    return found;
  }

  async #empty(pack: Pack, entries: number[], signal: AbortSignal): Promise<number> {
    const { arriving } = this.#catalog;
    try {
      return await this.#moveOut(pack, entries, signal);
    } finally {
      arriving.clear();
    }
  }

  async #moveOut(pack: Pack, entries: number[], signal: AbortSignal): Promise<number> {
    const { table } = this.#catalog;
    const moved: Moved[] = [];
    const lengthBefore = pack.bytes;
    let copiedBytes = 0;
    let sinceTurn = 0;
    const sorted = entries.map((entry) => ({ entry, from: table.place(entry) }));
    sorted.sort((a, b) => a.from.offset - b.from.offset);
    for (const { entry, from } of sorted) {
      signal.throwIfAborted();
      if (!this.#reader.isStillAt(entry, pack, from)) continue;
      const copy = await this.#copy(entry, pack, from);
      if (copy === undefined) continue;
      moved.push(copy);
      copiedBytes += from.recordBytes;
      sinceTurn += from.recordBytes;
      if (sinceTurn < BYTES_PER_TURN) continue;
      sinceTurn = 0;
      await this.#clock.sleep(0, signal);
    }
    if (moved.length > 0) await this.#appender.barrier();
    for (const { entry, from, to, open } of moved) {
      // Not durable after all: the pack it went into was given up, before the barrier that we waited for.
      if (to.offset + to.recordBytes > open.durable.bytes) return 0;
      if (this.#reader.isStillAt(entry, pack, from)) this.#catalog.move(entry, to);
    }
    if (pack.liveBytes > 0) return 0;
    this.#files.remove(pack.header.number);
    this.#catalog.dropPack(pack);
    return lengthBefore - copiedBytes;
  }

  async #copy(entry: number, pack: Pack, from: Place): Promise<Moved | undefined> {
    // A read that fails ends the round, and the pack stays: only a scrub may say that a chunk is beyond reading.
    const record = await this.#reader.record(pack, from, "move");
    const plain = record === undefined ? undefined : await this.#reader.plain(record);
    if (!this.#reader.isStillAt(entry, pack, from)) return undefined;
    if (record?.payload === undefined || plain === undefined) {
      this.#catalog.damage(entry, record?.header.id.toHex() as ChunkId | undefined);
      return undefined;
    }
    const copy: NewRecord = { ...record.header, payload: record.payload, isReadSoon: false };
    for (;;) {
      const appended = this.#appender.tryAppend(copy);
      if (appended === undefined) {
        await this.#appender.room();
        continue;
      }
      const { open, offset } = appended;
      const to = { slot: open.pack.slot, offset, recordBytes: from.recordBytes };
      // A sidecar that is written before the catalog points there must have it.
      this.#catalog.arriving.set(entry, to);
      return { entry, from, to, open };
    }
  }
}
