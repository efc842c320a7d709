/**
 * Which chunks a file that is on its way into the store has so far, on the hub's disk: what a transfer that was cut off
 * goes on from. It is an aid. One that is lost, damaged or ahead of the store costs sending again, and nothing else.
 *
 * A row for each chunk, in order: id 32 | length u32, little-endian.
 */
import { type Fd, type FileSystem, FsError } from "#platform/file-system.ts";
import { CHUNK_BYTES_MAX } from "#store/chunk-store.ts";
import { ID_BYTES, chunkIdFrom } from "#sync/chunk/chunk-id.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";

const ROW_BYTES = ID_BYTES + 4;
/** Chunks that are gone on from at most: as much of a file as a transfer offers blocks of. */
const ROWS_MAX = 1 << 18;

/** Writes one; nothing of an earlier one stays. */
export class ChunkRecord implements Disposable {
  readonly #fs: FileSystem;
  /** Undefined when the disk refused: then there is none. */
  #fd: Fd | undefined;
  #rows = 0;

  constructor(fs: FileSystem, dir: Fd, name: string) {
    this.#fs = fs;
    this.#fd = unlessRefused(() => {
      removeRecord(fs, dir, name);
      return fs.create(dir, name, 0o600);
    });
  }

  /** @param chunks all so far; those that were written before are passed over */
  update(chunks: readonly ManifestChunk[]): void {
    const fd = this.#fd;
    const count = Math.min(chunks.length, ROWS_MAX) - this.#rows;
    if (fd === undefined || count <= 0) return;
    const bytes = new Uint8Array(count * ROW_BYTES);
    const view = new DataView(bytes.buffer);
    for (let row = 0; row < count; row++) {
      const { id, length } = chunks[this.#rows + row]!;
      bytes.subarray(row * ROW_BYTES).setFromHex(id);
      view.setUint32(row * ROW_BYTES + ID_BYTES, length, true);
    }
    const isWritten = unlessRefused(() => {
      this.#fs.write(fd, bytes, this.#rows * ROW_BYTES);
      return true;
    });
    if (isWritten === true) this.#rows += count;
    else this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) this.#fs.close(this.#fd);
    this.#fd = undefined;
  }
}

/** Empty when there is none that can be read. */
export function readRecord(fs: FileSystem, dir: Fd, name: string): ManifestChunk[] {
  const bytes = unlessRefused(() => {
    const fd = fs.openRead(dir, name);
    try {
      const room = new Uint8Array(Math.min(fs.fstat(fd).size, ROWS_MAX * ROW_BYTES));
      return room.subarray(0, fs.read(fd, room, 0));
    } finally {
      fs.close(fd);
    }
  });
  if (bytes === undefined) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: ManifestChunk[] = [];
  for (let at = 0; at + ROW_BYTES <= bytes.length; at += ROW_BYTES) {
    const length = view.getUint32(at + ID_BYTES, true);
    if (length === 0 || length > CHUNK_BYTES_MAX) break;
    chunks.push({ id: chunkIdFrom(bytes.subarray(at, at + ID_BYTES)), length });
  }
  return chunks;
}

export function removeRecord(fs: FileSystem, dir: Fd, name: string): void {
  unlessRefused(() => fs.unlink(dir, name));
}

function unlessRefused<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof FsError) return undefined;
    throw error;
  }
}
