/**
 * What is in a pack, found by reading it: after a crash from where the sidecar ends, without a sidecar from the
 * beginning. A record whose payload is damaged costs only itself, because its header says where the next one begins;
 * where a header is damaged, the next record is searched for by the pack's mark.
 */
import { PAGE_BYTES, alignedBytes } from "#platform/aligned-bytes.ts";
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

/**
 * A stretch of a pack in memory. It is read past the page cache where that can be: of what a disk has refused to write the
 * cache may still hold the bytes, which an earlier process had to give up, and a sync says of them that all is well.
 */
class Window {
  readonly #files: PackFiles;
  readonly #number: number;
  readonly #size: number;
  readonly #room: Uint8Array;
  bytes: Uint8Array = new Uint8Array(0);
  #start = 0;
  isPartial = false;

  constructor(files: PackFiles, number: number, from: number, size: number) {
    this.#files = files;
    this.#number = number;
    this.#size = size;
    this.#room = alignedBytes(Math.min(WINDOW_BYTES, Math.max(0, size - from)) + 2 * PAGE_BYTES, 0);
  }

  /** Once `count` bytes from `position` are in `bytes`: where they are. The file must have them. */
  at(position: number): number {
    return position - this.#start;
  }

  has(position: number, count: number): boolean {
    return position >= this.#start && position + count <= this.#start + this.bytes.length;
  }

  async fill(position: number): Promise<void> {
    const want = Math.min(WINDOW_BYTES, this.#size - position);
    this.#start = position;
    try {
      this.bytes = await this.#read(position, want, this.#room);
    } catch (error) {
      if (!isCode(error, "EIO")) throw error;
      this.bytes = await this.#readAround(position, want);
    }
  }

  #read(position: number, length: number, room: Uint8Array): Promise<Uint8Array> {
    return this.#files.readLarge(this.#number, position, length, "scrub", (bytes) => room.subarray(0, bytes));
  }

  /** Reads what can be read; the rest is zeros, which are no record. */
  async #readAround(position: number, length: number): Promise<Uint8Array> {
    const found = this.#room.subarray(0, length).fill(0);
    const room = alignedBytes(2 * SECTOR_BYTES, 0);
    for (let at = 0; at < length; at += SECTOR_BYTES) {
      try {
        found.set(await this.#read(position + at, Math.min(SECTOR_BYTES, length - at), room), at);
      } catch (error) {
        if (!isCode(error, "EIO")) throw error;
        this.isPartial = true;
      }
    }
    return found;
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
