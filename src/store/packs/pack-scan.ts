/**
 * What is in a pack, found by reading it: after a crash from where the sidecar ends, without a sidecar from the
 * beginning. A record whose payload is damaged costs only itself, because its header says where the next one begins;
 * where a header is damaged, the next record is searched for by the pack's mark.
 */
import { isCode } from "#platform/file-system.ts";
import type { PackFiles } from "#store/packs/pack-files.ts";
import {
  MARK_BYTES, type PackHeader, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, type RecordHeader, type Rows, UNIT_BYTES,
  decodeRecordHeader, payloadOf, recordBytesOf,
} from "#store/packs/pack-format.ts";

const WINDOW_BYTES = 2 * RECORD_BYTES_MAX;
/** What a disk loses at once. */
const SECTOR_BYTES = 4096;

export type Scan = {
  /** After the last whole record. */
  readonly end: number;
  /** Records with a damaged payload before `end`, and places before it where no record could be made out. */
  readonly damaged: number;
  /** Some sectors could not be read: what was not found may be there. */
  readonly isPartial: boolean;
};

/** A stretch of a pack in memory. */
class Window {
  readonly #files: PackFiles;
  readonly #number: number;
  readonly #size: number;
  readonly #buffer: Uint8Array;
  #start = 0;
  #length = 0;
  isPartial = false;

  constructor(files: PackFiles, number: number, from: number, size: number) {
    this.#files = files;
    this.#number = number;
    this.#size = size;
    this.#buffer = new Uint8Array(Math.min(WINDOW_BYTES, Math.max(0, size - from)));
  }

  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Where `position` is in `bytes`, once `count` bytes from there are in it. The file must have them. */
  at(position: number): number {
    return position - this.#start;
  }

  has(position: number, count: number): boolean {
    return position >= this.#start && position + count <= this.#start + this.#length;
  }

  async fill(position: number): Promise<void> {
    const want = Math.min(this.#buffer.length, this.#size - position);
    this.#start = position;
    const into = this.#buffer.subarray(0, want);
    try {
      this.#length = await this.#files.read(this.#number, into, position);
    } catch (error) {
      if (!isCode(error, "EIO")) throw error;
      await this.#fillAround(into, position);
      this.#length = want;
    }
  }

  /** Reads what can be read; the rest is zeros, which are no record. */
  async #fillAround(into: Uint8Array, position: number): Promise<void> {
    into.fill(0);
    for (let at = 0; at < into.length; at += SECTOR_BYTES) {
      try {
        await this.#files.read(this.#number, into.subarray(at, at + SECTOR_BYTES), position + at);
      } catch (error) {
        if (!isCode(error, "EIO")) throw error;
        this.isPartial = true;
      }
    }
  }
}

/**
 * Appends a row for each record in [from, size), in order.
 *
 * @param isLast what follows the last whole record was being written when the process ended: it is no damage
 */
export async function scanPack(
  files: PackFiles,
  { number, mark }: PackHeader,
  { from, size, isLast }: { from: number; size: number; isLast: boolean },
  rows: Rows,
): Promise<Scan> {
  const window = new Window(files, number, from, size);
  const suspects: { header: RecordHeader; offset: number }[] = [];
  let end = from;
  let damaged = 0;
  let isLost = false;
  const settle = (): void => {
    damaged += suspects.length + (isLost ? 1 : 0);
    isLost = false;
    for (const { header, offset } of suspects.splice(0)) rows.push({ ...header, offset, damaged: true });
  };
  for (let position = from; position + RECORD_HEADER_BYTES <= size; ) {
    if (!window.has(position, RECORD_HEADER_BYTES)) await window.fill(position);
    const header = decodeRecordHeader(window.bytes, window.at(position), mark);
    const length = header === undefined ? 0 : recordBytesOf(header.storedBytes);
    if (header === undefined || position + length > size) {
      isLost = true;
      position = searchMark(window, position + UNIT_BYTES, mark);
      continue;
    }
    const copy = { ...header, id: header.id.slice() };
    if (!window.has(position, length)) await window.fill(position);
    if (payloadOf(window.bytes, window.at(position), copy) === undefined) {
      suspects.push({ header: copy, offset: position });
    } else {
      settle();
      rows.push({ ...copy, offset: position, damaged: false });
      end = position + length;
    }
    position += length;
  }
  if (!isLast) settle();
  return { end, damaged, isPartial: window.isPartial };
}

/** The next place from `position` on that may be a record, or where the window must move on. */
function searchMark(window: Window, position: number, mark: Uint8Array): number {
  const { bytes } = window;
  for (let at = position; ; at += UNIT_BYTES) {
    if (!window.has(at, RECORD_HEADER_BYTES)) return at;
    const start = window.at(at);
    let index = 0;
    while (index < MARK_BYTES && bytes[start + index] === mark[index]) index++;
    if (index === MARK_BYTES) return at;
  }
}
