/** A stretch of the source file in memory, moving forward only, with its pieces hashed as they are read. */
import type { Fd, FileSystem } from "#platform/file-system.ts";
import { PIECE_BYTES, type PieceNotes } from "#sync/chunk/sum.ts";

/** Room of a window. Users may ask for WINDOW_SPAN_MAX at once; the rest is for reading ahead. */
const WINDOW_BYTES = 4 * PIECE_BYTES;
export const WINDOW_SPAN_MAX = WINDOW_BYTES - PIECE_BYTES;

/** The file changed while it was read: what was sent may be a mix of old and new. */
export class SourceChanged extends Error {
  constructor() {
    super("the source file changed while it was read");
    this.name = "SourceChanged";
  }
}

export class SourceWindow {
  readonly #fs: FileSystem;
  readonly #fd: Fd;
  readonly #size: number;
  readonly #sums: PieceNotes;
  readonly #room: Uint8Array;
  /** File positions of the first byte in the room and of the end of what was read. */
  #start = 0;
  #end = 0;
  #reading: Promise<number> | undefined;
  #readingBytes = 0;

  constructor(fs: FileSystem, fd: Fd, size: number, sums: PieceNotes) {
    this.#fs = fs;
    this.#fd = fd;
    this.#size = size;
    this.#sums = sums;
    this.#room = new Uint8Array(Math.min(WINDOW_BYTES, size));
  }

  has(to: number): boolean {
    return to <= this.#end;
  }

  /**
   * Makes [from, to) available and forgets what is before `from`. `to - from` is at most WINDOW_SPAN_MAX;
   * `from` never goes back. Throws SourceChanged when the file has become shorter, FsError when it cannot be
   * read.
   */
  async ensure(from: number, to: number): Promise<void> {
    while (this.#end < to) {
      if (this.#reading === undefined) this.#startReading(from);
      await this.#settle();
    }
    const ahead = Math.min(PIECE_BYTES, this.#size - this.#end);
    const fits = this.#end - this.#start + ahead <= this.#room.length;
    if (this.#reading === undefined && ahead > 0 && fits) this.#startReading(from);
  }

  /** The bytes [from, to), valid until the next ensure(). They must be available. */
  view(from: number, to: number): Uint8Array {
    return this.#room.subarray(from - this.#start, to - this.#start);
  }

  /** Goes on at `position`, a piece boundary; what lies between is not read (a hole). */
  async skipTo(position: number): Promise<void> {
    await this.close();
    this.#start = position;
    this.#end = position;
  }

  /** Waits for the read that is under way; the descriptor may be closed then. */
  async close(): Promise<void> {
    await this.#reading?.catch(() => {});
    this.#reading = undefined;
  }

  #startReading(keepFrom: number): void {
    const bytes = Math.min(PIECE_BYTES, this.#size - this.#end);
    if (this.#end - this.#start + bytes > this.#room.length) {
      this.#room.copyWithin(0, keepFrom - this.#start, this.#end - this.#start);
      this.#start = keepFrom;
    }
    const at = this.#end - this.#start;
    this.#readingBytes = bytes;
    this.#reading = this.#fs.readAsync(this.#fd, this.#room.subarray(at, at + bytes), this.#end);
    // The read may fail while nobody waits for it; ensure() or close() looks at it later.
    this.#reading.catch(() => {});
  }

  async #settle(): Promise<void> {
    const reading = this.#reading;
    const count = await reading;
    this.#reading = undefined;
    if (count !== this.#readingBytes) throw new SourceChanged();
    this.#sums.add(this.#end / PIECE_BYTES, this.view(this.#end, this.#end + this.#readingBytes));
    this.#end += this.#readingBytes;
  }
}
