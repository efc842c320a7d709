/**
 * The bytes of one simulated file. Small files only: one array for all that was ever written, growing by doubling;
 * what lies beyond it reads as zeros, so a sparse file of a terabyte costs nothing.
 */
import type { SimRandom } from "#testing/sim-random.ts";

/** What a disk writes or loses as a whole. */
export const SECTOR_BYTES = 512;
/** What a file system allocates. */
export const BLOCK_BYTES = 4096;
/** Bytes beyond this offset cannot be written; a test that needs more is not a simulation. */
const WRITTEN_BYTES_MAX = 1 << 28;

/** As SimContent.digest(), of bytes that are not on a disk. The first word of a text is kept for people to read. */
export function contentDigest(bytes: Uint8Array): string {
  let label = "";
  for (let at = 0; at < 8 && at < bytes.length && bytes[at] !== 58; at++) {
    const code = bytes[at]!;
    label += code > 32 && code < 127 ? String.fromCharCode(code) : "";
  }
  return `${label}#${Bun.hash.xxHash3(bytes).toString(36)}`;
}

type Range = { start: number; end: number };

/** Shared by the many files that are empty for a moment; never written to. */
const NO_BYTES = new Uint8Array(0);
const NO_RANGES: Range[] = [];

export class SimContent {
  size = 0;
  #bytes: Uint8Array = NO_BYTES;
  /** Allocated ranges in whole blocks, ascending, never touching each other. */
  #ranges: readonly Range[] = NO_RANGES;

  static of(bytes: Uint8Array): SimContent {
    const content = new SimContent();
    content.write(bytes, 0);
    return content;
  }

  clone(): SimContent {
    const copy = new SimContent();
    copy.size = this.size;
    if (this.#bytes.length > 0) copy.#bytes = this.#bytes.slice();
    if (this.#ranges.length > 0) copy.#ranges = this.#ranges.map((range) => ({ ...range }));
    return copy;
  }

  /** A copy of everything; `size` must be small. */
  toBytes(): Uint8Array {
    const out = new Uint8Array(this.size);
    this.read(out, 0);
    return out;
  }

  /** A short name of the bytes: equal for equal contents. */
  digest(): string {
    const stored = this.#bytes.length >= this.size ? this.#bytes.subarray(0, this.size) : this.toBytes();
    return contentDigest(stored);
  }

  read(into: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(into.length, this.size - position));
    const stored = Math.max(0, Math.min(count, this.#bytes.length - position));
    if (stored > 0) into.set(this.#bytes.subarray(position, position + stored));
    if (stored < count) into.fill(0, stored, count);
    return count;
  }

  write(bytes: Uint8Array, position: number): void {
    if (bytes.length === 0) return;
    const end = position + bytes.length;
    if (end > WRITTEN_BYTES_MAX) throw new Error("simulated files are small");
    if (end > this.#bytes.length) {
      // Most files are written once and whole.
      const isFirst = position === 0 && this.size === 0;
      const grown = new Uint8Array(isFirst ? end : Math.max(end, this.#bytes.length * 2, 64));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, position);
    if (end > this.size) this.size = end;
    this.#allocate(position - (position % BLOCK_BYTES), Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES);
  }

  truncate(size: number): void {
    if (size < this.size) {
      this.#bytes.fill(0, size);
      const end = Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
      this.#ranges = this.#ranges.filter((range) => range.start < end);
      for (const range of this.#ranges) range.end = Math.min(range.end, end);
    }
    this.size = size;
  }

  allocatedBytes(): number {
    let sum = 0;
    for (const range of this.#ranges) sum += range.end - range.start;
    return sum;
  }

  /** Bytes that a write there would newly allocate. */
  growth(position: number, length: number): number {
    if (length === 0) return 0;
    const start = position - (position % BLOCK_BYTES);
    const end = Math.ceil((position + length) / BLOCK_BYTES) * BLOCK_BYTES;
    let missing = end - start;
    if (this.#ranges.length === 0) return missing;
    for (const range of this.#ranges) {
      missing -= Math.max(0, Math.min(end, range.end) - Math.max(start, range.start));
    }
    return missing;
  }

  dataRange(position: number, size: number): Range | undefined {
    const limit = Math.min(size, this.size);
    for (const range of this.#ranges) {
      const start = Math.max(position, range.start);
      const end = Math.min(limit, range.end);
      if (start < end) return { start, end };
    }
    return undefined;
  }

  flipBit(position: number): void {
    const byte = new Uint8Array(1);
    this.read(byte, position);
    this.write(Uint8Array.of(byte[0]! ^ 1), position);
  }

  #allocate(start: number, end: number): void {
    const last = this.#ranges.at(-1);
    if (last !== undefined && start >= last.start && start <= last.end) {
      last.end = Math.max(last.end, end);
      return;
    }
    const merged = { start, end };
    if (last === undefined) {
      this.#ranges = [merged];
      return;
    }
    const kept = this.#ranges.filter((range) => {
      if (range.end < start || range.start > end) return true;
      merged.start = Math.min(merged.start, range.start);
      merged.end = Math.max(merged.end, range.end);
      return false;
    });
    kept.push(merged);
    this.#ranges = kept.sort((a, b) => a.start - b.start);
  }
}

/** How the bytes written since the last sync came through a power loss. */
export type Survival = "all" | "none" | "prefix" | "zeros" | "sectors";
const SURVIVALS: readonly Survival[] = ["all", "none", "prefix", "zeros", "sectors"];

/**
 * The content found after a power loss, when `durable` was certainly on the disk and `written` is what processes last
 * saw. All of it, none of it, its beginning up to a sector, a file of the right length that holds zeros, or a mixture
 * by sector: every one of these was seen on real file systems (ALICE, OSDI 2014; delayed allocation on ext4 and XFS).
 */
export function survive(
  durable: SimContent,
  written: SimContent,
  random: SimRandom,
): { how: Survival; content: SimContent } {
  const how = random.pick(SURVIVALS);
  if (how === "all") return { how, content: written };
  if (how === "none") return { how, content: durable };
  const content = durable.clone();
  const sectors = Math.ceil(written.size / SECTOR_BYTES);
  if (how === "zeros") {
    content.truncate(written.size);
    return { how, content };
  }
  const sector = new Uint8Array(SECTOR_BYTES);
  const copySector = (at: number): void => {
    const count = written.read(sector, at * SECTOR_BYTES);
    content.write(sector.subarray(0, count), at * SECTOR_BYTES);
  };
  if (how === "prefix") {
    const kept = random.int(sectors + 1);
    for (let at = 0; at < kept; at++) copySector(at);
    return { how, content };
  }
  content.truncate(written.size);
  for (let at = 0; at < sectors; at++) {
    const choice = random.int(3);
    const start = at * SECTOR_BYTES;
    if (choice === 0) copySector(at);
    if (choice === 1 && !isAppended(durable, written, start)) content.write(new Uint8Array(Math.min(SECTOR_BYTES, written.size - start)), start);
  }
  return { how, content };
}

/**
 * Does the sector hold durable bytes, all of which are still the same? It was only written behind them, if at all, and
 * has the old bytes or the new ones after the power loss: both begin alike (SQLite calls that powersafe overwrite).
 */
function isAppended(durable: SimContent, written: SimContent, start: number): boolean {
  const [before, after] = [new Uint8Array(SECTOR_BYTES), new Uint8Array(SECTOR_BYTES)];
  const count = durable.read(before, start);
  if (count === 0 || written.read(after, start) < count) return false;
  return Buffer.compare(before.subarray(0, count), after.subarray(0, count)) === 0;
}
