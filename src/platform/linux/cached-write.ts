/**
 * Writes into the page cache on the calling thread, as long as that is only a copy. Handing them to another thread
 * costs two wake-ups and moves the bytes between the caches of two cores; but a write that has to wait (the kernel
 * holds back whoever makes dirty pages faster than the disk takes them) must not stop the event loop. Linux cannot be
 * asked beforehand on all file systems, so the time that writes take decides where the next ones go.
 */
import type { Fd } from "#platform/file-system.ts";

/**
 * Bytes of one system call. The page cache takes folios as large as the write; with a megabyte those come from blocks
 * of memory that nobody used for long, which in a virtual machine may have to be fetched from the host again: measured
 * eight times slower than this.
 */
const PART_BYTES = 256 << 10;
/** A part that takes longer has waited; the copy alone takes a tenth of a millisecond. */
const WAITED_MS = 5;
/** Bytes that go another way after one has waited, before the next try: one wait in this many bytes is bearable. */
const BYTES_AFTER_WAIT = 128 << 20;
/** A write counts as so many at least: few bytes cost nothing here, and two wake-ups there. */
const WRITE_BYTES_MIN = 1 << 20;

export class CachedWrites {
  readonly #writeAll: (fd: Fd, bytes: Uint8Array, position: number) => void;
  #avoid = 0;

  /** @param writeAll writes all of a part at once, or throws FsError */
  constructor(writeAll: (fd: Fd, bytes: Uint8Array, position: number) => void) {
    this.#writeAll = writeAll;
  }

  /**
   * Writes the beginning of `bytes` at `position`: all of it, or less when the rest should be written elsewhere.
   * Returns the bytes written. Throws FsError.
   */
  write(fd: Fd, bytes: Uint8Array, position: number): number {
    if (this.#avoid > 0) {
      this.#avoid -= Math.max(bytes.length, WRITE_BYTES_MIN);
      return 0;
    }
    let done = 0;
    let before = performance.now();
    while (done < bytes.length) {
      const part = bytes.subarray(done, done + PART_BYTES);
      this.#writeAll(fd, part, position + done);
      done += part.length;
      const after = performance.now();
      if (after - before > WAITED_MS) {
        this.#avoid = BYTES_AFTER_WAIT;
        break;
      }
      before = after;
    }
    return done;
  }
}
