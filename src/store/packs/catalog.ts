/** What the store knows in memory: its packs, where each chunk lies, which are damaged, and who protects what. */
import { SynclineError, assert } from "#model/error.ts";
import { FreshList } from "#store/fresh-list.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import { ChunkTable, NONE, PACK_SLOTS_MAX, type Place } from "#store/packs/chunk-table.ts";
import { type PackHeader, type Row, Rows, recordBytesOf } from "#store/packs/pack-format.ts";

/** Damaged ids that are remembered by name; beyond it they are only absent. Some 100 bytes each. */
const DAMAGED_MAX = 1 << 18;

export type Pack = {
  readonly header: PackHeader;
  /** Its place in the catalog; given again after it has gone. */
  readonly slot: number;
  /** Of the file, as far as it counts. */
  bytes: number;
  /** Of the records that are some chunk's place. */
  liveBytes: number;
  /** Complete: nothing is appended any more. */
  isSealed: boolean;
  /** The sidecar says something else than the catalog does. */
  isStale: boolean;
  /** Sectors of it could not be read at the open: it may hold records that nobody knows of, until a later open can. */
  isPartlyRead: boolean;
};

/** The chunks that one holder protects from prune(): numbers of entries, some of them several times. */
export class PinnedEntries {
  #entries = new Uint32Array(16);
  #count = 0;
  /** Why something of it is no longer here. */
  lost: SynclineError | undefined;
  readonly fresh = new FreshList();
  readonly #onLost: (() => void) | undefined;

  constructor(onLost?: () => void) {
    this.#onLost = onLost;
  }

  add(entry: number): void {
    if (this.#count === this.#entries.length) {
      const larger = new Uint32Array(this.#count * 2);
      larger.set(this.#entries);
      this.#entries = larger;
    }
    this.#entries[this.#count++] = entry;
  }

  all(): Uint32Array {
    return this.#entries.subarray(0, this.#count);
  }

  /** Something of it has gone, and so the numbers mean nothing any more. */
  lose(error: SynclineError): void {
    this.lost ??= error;
    this.#count = 0;
    this.#onLost?.();
  }
}

export class Catalog {
  readonly table = new ChunkTable();
  readonly pins = new Set<PinnedEntries>();
  readonly damaged = new Set<ChunkId>();
  plainBytes = 0;
  packBytes = 0;
  /** While a prune runs: 1 for each entry, by number, that it may remove. Whoever is touched is 0 from then on. */
  candidates: Uint8Array | undefined;
  /** Copies of chunks that will be their places as soon as they are durable, by entry. */
  readonly arriving = new Map<number, Place>();
  /** What is in memory of a chunk that was found damaged may not be its bytes either. */
  onDamaged: (id: ChunkId) => void = () => undefined;
  /** Loss of chunks that nobody protected, until a flush has told it. */
  untold: SynclineError | undefined;
  readonly #packs: (Pack | undefined)[] = [];

  packs(): Pack[] {
    return this.#packs.filter((pack) => pack !== undefined).sort((a, b) => a.header.number - b.header.number);
  }

  pack(slot: number): Pack {
    const pack = this.#packs[slot];
    assert(pack !== undefined, "a chunk lies in a pack that is there");
    return pack;
  }

  addPack(header: PackHeader, bytes: number): Pack {
    const free = this.#packs.indexOf(undefined);
    const slot = free === -1 ? this.#packs.length : free;
    assert(slot < PACK_SLOTS_MAX, "fewer packs than slots");
    const pack: Pack = { header, slot, bytes: 0, liveBytes: 0, isSealed: false, isStale: false, isPartlyRead: false };
    this.#packs[slot] = pack;
    this.resize(pack, bytes);
    return pack;
  }

  resize(pack: Pack, bytes: number): void {
    this.packBytes += bytes - pack.bytes;
    pack.bytes = bytes;
  }

  dropPack(pack: Pack): void {
    this.resize(pack, 0);
    this.#packs[pack.slot] = undefined;
  }

  /** Takes a record for its chunk's place; what was there before is dead. Returns the entry. */
  place(pack: Pack, row: Omit<Row, "damaged">): number {
    const place = { slot: pack.slot, offset: row.offset, recordBytes: recordBytesOf(row.storedBytes) };
    let entry = this.table.findBytes(row.id);
    if (entry === NONE) {
      entry = this.table.add(row.id, place, row.plainBytes, row.seconds);
      this.plainBytes += row.plainBytes;
      pack.liveBytes += place.recordBytes;
    } else {
      this.move(entry, place);
      this.table.setSeconds(entry, row.seconds);
    }
    if (this.damaged.size > 0) this.damaged.delete(row.id.toHex() as ChunkId);
    return entry;
  }

  move(entry: number, place: Place): void {
    const old = this.table.place(entry);
    const from = this.pack(old.slot);
    from.liveBytes -= old.recordBytes;
    from.isStale = true;
    this.pack(place.slot).liveBytes += place.recordBytes;
    this.table.move(entry, place);
  }

  drop(entry: number): void {
    const { slot, recordBytes } = this.table.place(entry);
    const pack = this.pack(slot);
    pack.liveBytes -= recordBytes;
    pack.isStale = true;
    this.plainBytes -= this.table.plainBytes(entry);
    this.spare(entry);
    this.table.remove(entry);
  }

  /**
   * Of the rows of a pack, what its sidecar has to say: where chunks lie or are about to lie, and what is known to be
   * damaged. A record that is left out is not found by the next open, so all that somebody may rely on must be in.
   */
  rowsToKeep(pack: Pack, rows: Rows, count: number): Rows {
    const kept = new Rows();
    for (let index = 0; index < count; index++) {
      const row = rows.at(index);
      const entry = this.table.findBytes(row.id);
      if (entry !== NONE) {
        const coming = this.arriving.get(entry);
        const isComing = coming?.slot === pack.slot && coming.offset === row.offset;
        if (isComing || this.table.isAt(entry, pack.slot, row.offset)) kept.push({ ...row, damaged: false });
      } else if (this.damaged.size > 0 && this.damaged.has(row.id.toHex() as ChunkId)) {
        kept.push({ ...row, damaged: true });
      }
    }
    return kept;
  }

  noteDamaged(id: ChunkId): void {
    if (this.damaged.size < DAMAGED_MAX) this.damaged.add(id);
  }

  /** A chunk's bytes are not what they were. `id` is undefined when not even that can be read any more. */
  damage(entry: number, id: ChunkId | undefined): void {
    const error = new SynclineError({
      code: "CHUNK_DAMAGED",
      op: "keep chunks",
      message: `a chunk that was to be referred to turned out to be damaged${id === undefined ? "" : `: ${id}`}`,
      hint: "send it again: the new bytes replace the damaged ones",
      retryable: true,
    });
    for (const pin of this.pins) if (pin.all().includes(entry)) pin.lose(error);
    this.drop(entry);
    if (id === undefined) return;
    this.noteDamaged(id);
    this.onDamaged(id);
  }

  /** Chunks that were put are gone, because the disk refused them before they were durable. */
  lose(entries: readonly number[], error: SynclineError): void {
    const gone = new Set(entries);
    const held = new Set<number>();
    for (const pin of this.pins) {
      const own = pin.all().filter((entry) => gone.has(entry));
      if (own.length === 0) continue;
      for (const entry of own) held.add(entry);
      pin.lose(error);
    }
    if (held.size < gone.size) this.untold ??= error;
    for (const entry of gone) this.drop(entry);
  }

  /** Somebody is about to refer to it. */
  touch(entry: number, seconds: number): void {
    this.table.setSeconds(entry, Math.max(seconds, this.table.seconds(entry)));
    this.spare(entry);
  }

  /** A prune that runs leaves it alone. */
  spare(entry: number): void {
    // Entries that came after the candidates were fixed are beyond the end, where nothing is stored.
    if (this.candidates !== undefined) this.candidates[entry] = 0;
  }
}
