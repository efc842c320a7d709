/**
 * Reads of what the page cache already holds, on the calling thread: preadv2(2) with RWF_NOWAIT, which never waits for
 * a disk. Handing such a read to another thread costs more than the copy: two wake-ups, and bytes that end up in the
 * cache of the wrong core, where hashing and encrypting have to fetch them back.
 */
import { type Pointer, ptr } from "bun:ffi";
import type { Fd } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";
import { type Libc, errnoName } from "#platform/linux/libc.ts";

const RWF_NOWAIT = 8;
/**
 * Bytes read like this before everything else gets its turn: a caller that only ever awaits reads would otherwise keep
 * the event loop from turning. A read that goes through the thread pool instead would not do: its end may be noticed
 * without a turn. About two milliseconds of work.
 */
const BYTES_BETWEEN_TURNS = 8 << 20;

export class CachedReads {
  readonly #libc: Libc;
  /** One struct iovec. */
  readonly #vector = new BigUint64Array(2);
  readonly #vectorAddress: Pointer = heldAddress(this.#vector);
  /** struct cachestat_range: position, length; struct cachestat begins with the pages that are cached. */
  readonly #range = new BigUint64Array(2);
  readonly #rangeAddress: Pointer = heldAddress(this.#range);
  readonly #cached = new BigUint64Array(5);
  readonly #cachedAddress: Pointer = heldAddress(this.#cached);
  readonly #pageBytes: number;
  #sinceTurn = 0;
  #isAwaited = false;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#pageBytes = libc.getpagesize();
  }

  /** Others have waited long enough; undefined when not. To be awaited before the next read. */
  turn(): Promise<void> | undefined {
    if (this.#sinceTurn < BYTES_BETWEEN_TURNS) return undefined;
    this.#sinceTurn = 0;
    return new Promise((resolve) => setImmediate(resolve));
  }

  /**
   * Reads into `into` what is cached at `position`, without waiting; returns the bytes read. Fewer than asked for say
   * nothing: the rest may lie on the disk, behind the end, or on a file system that cannot tell; an error is left to
   * the read that follows.
   */
  read(fd: Fd, into: Uint8Array, position: number): number {
    let done = 0;
    while (done < into.length) {
      this.#vector[0] = BigInt(ptr(into, done));
      this.#vector[1] = BigInt(into.length - done);
      const count = this.#libc.preadv2(fd, this.#vectorAddress, 1, position + done, RWF_NOWAIT);
      if (count <= 0) {
        this.#isAwaited = count < 0 && errnoName(this.#libc.errno()) === "EAGAIN";
        break;
      }
      done += count;
    }
    this.#sinceTurn += done;
    return done;
  }

  /** Did the last read, which gave less than it was asked for, end where a disk would have had to be waited for? */
  get isAwaited(): boolean {
    return this.#isAwaited;
  }

  /**
   * Does the page cache hold all of this stretch? False, too, where the kernel cannot be asked (before Linux 6.5). Just
   * trying will not do: a read that does not wait lets the kernel begin to read ahead into the page cache.
   */
  holds(fd: Fd, position: number, length: number): boolean {
    this.#range[0] = BigInt(position);
    this.#range[1] = BigInt(length);
    if (this.#libc.cachestat(fd, this.#rangeAddress, this.#cachedAddress) < 0) return false;
    return this.#cached[0]! >= BigInt(pagesTouched(position, length, this.#pageBytes));
  }
}

/**
 * Pages of the cache that a stretch of at least one byte lies in.
 * @param pageBytes the kernel's: 4 KiB on x64; 16 or 64 KiB, too, on arm64
 */
export function pagesTouched(position: number, length: number, pageBytes: number): number {
  return Math.floor((position + length - 1) / pageBytes) - Math.floor(position / pageBytes) + 1;
}
