/**
 * Which chunk lies where: an open-addressing table over typed arrays, 37 to 40 bytes a chunk at any size.
 *
 * An entry holds the first 16 bytes of an id; two chunks that agree in them would be taken for one, which nobody can
 * bring about (2^64 hashes) and chance never does. The whole id is compared when a record is read. Entries have numbers
 * that stay the same for their life and are given again afterwards.
 */
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import { UNIT_BYTES } from "#store/packs/pack-format.ts";

const WORDS = 8;
const BLOCK_SHIFT = 15;
const BLOCK_MASK = (1 << BLOCK_SHIFT) - 1;
const SLOTS_FIRST = 1024;
const LOAD_MAX = 0.85;
const GROWTH = 1.5;
const UINT32 = 2 ** 32;
/** Units of an offset have 24 bits: packs end below 256 MiB. A record's units have 19, a pack's slot 21. */
const OFFSET_BITS = 24;
const RECORD_BITS = 19;
export const OFFSET_BYTES_MAX = UNIT_BYTES * 2 ** OFFSET_BITS;
export const PACK_SLOTS_MAX = 2 ** 21;

/** In the word of a chunk's length, which has 23 bits. */
const PROVED_BIT = 0x8000_0000;

export const NONE = -1;

export type Place = {
  /** Of the pack, see Catalog. */
  readonly slot: number;
  readonly offset: number;
  /** Of the record with its header and padding. */
  readonly recordBytes: number;
};

export class ChunkTable {
  readonly #blocks: Uint32Array[] = [];
  #slots = new Uint32Array(SLOTS_FIRST);
  #count = 0;
  /** Entries ever used; those below it that are free form a list through their first word. */
  #used = 0;
  #free = NONE;
  /** The key that was looked for last: first 16 bytes of an id. */
  readonly #idBytes = new Uint8Array(32);
  readonly #key = new Uint32Array(this.#idBytes.buffer, 0, 4);

  get count(): number {
    return this.#count;
  }

  /** Numbers of entries are below this. */
  get end(): number {
    return this.#used;
  }

  /** Memory taken, for the books. */
  get memoryBytes(): number {
    return this.#blocks.length * (BLOCK_MASK + 1) * WORDS * 4 + this.#slots.byteLength;
  }

  find(id: ChunkId): number {
    this.#idBytes.setFromHex(id);
    return this.#find();
  }

  findBytes(id: Uint8Array): number {
    this.#idBytes.set(id);
    return this.#find();
  }

  /** Adds a chunk that is not here yet; `id` has its 32 bytes. Returns the entry's number. */
  add(id: Uint8Array, place: Place, plainBytes: number, seconds: number): number {
    if (this.#count + 1 > this.#slots.length * LOAD_MAX) this.#grow();
    this.#idBytes.set(id);
    const entry = this.#take();
    const block = this.#blocks[entry >>> BLOCK_SHIFT]!;
    const at = (entry & BLOCK_MASK) * WORDS;
    block.set(this.#key, at);
    block[at + 6] = plainBytes;
    block[at + 7] = seconds;
    this.move(entry, place);
    this.#insert(entry, this.#key[0]!);
    this.#count++;
    return entry;
  }

  remove(entry: number): void {
    const slots = this.#slots;
    let hole = this.#home(this.#word(entry, 0));
    while (slots[hole] !== entry + 1) hole = hole + 1 === slots.length ? 0 : hole + 1;
    // What follows moves up, unless it would get before its home: no markers of what was deleted are needed.
    for (let next = hole; ; ) {
      next = next + 1 === slots.length ? 0 : next + 1;
      const held = slots[next]!;
      if (held === 0) break;
      const home = this.#home(this.#word(held - 1, 0));
      const between = hole < next ? home > hole && home <= next : home > hole || home <= next;
      if (between) continue;
      slots[hole] = held;
      hole = next;
    }
    slots[hole] = 0;
    const block = this.#blocks[entry >>> BLOCK_SHIFT]!;
    const at = (entry & BLOCK_MASK) * WORDS;
    block.fill(0, at, at + WORDS);
    block[at] = this.#free + 1;
    this.#free = entry;
    this.#count--;
  }

  /** Is there a chunk with this number? */
  isUsed(entry: number): boolean {
    // No record is without length.
    return entry < this.#used && this.#word(entry, 5) !== 0;
  }

  move(entry: number, { slot, offset, recordBytes }: Place): void {
    const block = this.#blocks[entry >>> BLOCK_SHIFT]!;
    const at = (entry & BLOCK_MASK) * WORDS;
    block[at + 6]! &= ~PROVED_BIT;
    block[at + 4] = (slot & 0xff) * 2 ** OFFSET_BITS + offset / UNIT_BYTES;
    block[at + 5] = (slot >>> 8) * 2 ** RECORD_BITS + recordBytes / UNIT_BYTES;
  }

  place(entry: number): Place {
    const low = this.#word(entry, 4);
    const high = this.#word(entry, 5);
    return {
      slot: (low >>> OFFSET_BITS) | ((high >>> RECORD_BITS) << 8),
      offset: (low & (2 ** OFFSET_BITS - 1)) * UNIT_BYTES,
      recordBytes: (high & (2 ** RECORD_BITS - 1)) * UNIT_BYTES,
    };
  }

  isAt(entry: number, slot: number, offset: number): boolean {
    if (!this.isUsed(entry)) return false;
    const place = this.place(entry);
    return place.slot === slot && place.offset === offset;
  }

  plainBytes(entry: number): number {
    return this.#word(entry, 6) & ~PROVED_BIT;
  }

  /** Were the bytes of the record that is there compared with the chunk's id in this process? */
  isProved(entry: number): boolean {
    return this.#word(entry, 6) >= PROVED_BIT;
  }

  prove(entry: number): void {
    this.#blocks[entry >>> BLOCK_SHIFT]![(entry & BLOCK_MASK) * WORDS + 6]! |= PROVED_BIT;
  }

  /** When it was last put or asked for, in seconds since 1970. */
  seconds(entry: number): number {
    return this.#word(entry, 7);
  }

  setSeconds(entry: number, seconds: number): void {
    this.#blocks[entry >>> BLOCK_SHIFT]![(entry & BLOCK_MASK) * WORDS + 7] = seconds;
  }

  #word(entry: number, word: number): number {
    return this.#blocks[entry >>> BLOCK_SHIFT]![(entry & BLOCK_MASK) * WORDS + word]!;
  }

  #home(first: number): number {
    return Math.floor((first * this.#slots.length) / UINT32);
  }

  #find(): number {
    const slots = this.#slots;
    const [first, second, third, fourth] = this.#key as unknown as [number, number, number, number];
    for (let at = this.#home(first); ; at = at + 1 === slots.length ? 0 : at + 1) {
      const held = slots[at]!;
      if (held === 0) return NONE;
      const block = this.#blocks[(held - 1) >>> BLOCK_SHIFT]!;
      const word = ((held - 1) & BLOCK_MASK) * WORDS;
      if (block[word] !== first || block[word + 1] !== second) continue;
      if (block[word + 2] === third && block[word + 3] === fourth) return held - 1;
    }
  }

  #take(): number {
    if (this.#free !== NONE) {
      const entry = this.#free;
      this.#free = this.#word(entry, 0) - 1;
      return entry;
    }
    if (this.#used >>> BLOCK_SHIFT === this.#blocks.length) {
      this.#blocks.push(new Uint32Array((BLOCK_MASK + 1) * WORDS));
    }
    return this.#used++;
  }

  #insert(entry: number, first: number): void {
    const slots = this.#slots;
    let at = this.#home(first);
    while (slots[at] !== 0) at = at + 1 === slots.length ? 0 : at + 1;
    slots[at] = entry + 1;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(Math.ceil(old.length * GROWTH));
    for (const held of old) if (held !== 0) this.#insert(held - 1, this.#word(held - 1, 0));
  }
}
