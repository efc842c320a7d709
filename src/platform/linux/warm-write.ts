/**
 * Writes of large files into the page cache, as long as it has memory at hand. In a virtual machine a page that was not
 * used for long may have to be fetched from the host first, which costs six times as much as the copy: 1 GiB takes 0.3 to
 * 0.6 s of processor time then and there, or 2.7 s. Nobody can be asked beforehand, so the time that a stretch takes
 * decides where the next ones go.
 */
import type { Fd } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";
import { CLOCK_THREAD_CPUTIME_ID, type Libc } from "#platform/linux/libc.ts";

/** Bytes of one system call: as in cached-write.ts, larger ones take memory that nobody used for long. */
const PART_BYTES = 256 << 10;
/** Bytes that are judged together. */
const STRETCH_BYTES = 1 << 20;
/** Processor time of a stretch: more says that memory had to be fetched. Others who want the processor do not count. */
const FETCHED_MS = 2;
/** Time of a stretch: more says that the kernel holds back who writes faster than the disk takes it. */
const HELD_BACK_MS = 20;
/**
 * Bytes that go another way then: few where what came before was quick, since one page may be far away among many at hand;
 * twice as many each time that one stretch after another is slow. One in vain in so many costs 0.1 s in 1 GiB.
 */
const ELSEWHERE_BYTES_MIN = 2 << 20;
const ELSEWHERE_BYTES_MAX = 32 << 20;

export type ThreadTime = {
  /** Of the calling thread. */
  readonly processorMs: () => number;
  readonly nowMs: () => number;
};

export function threadTime(libc: Libc): ThreadTime {
  /** struct timespec. */
  const time = new BigInt64Array(2);
  const address = heldAddress(time);
  const processorMs = (): number => {
    libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, address);
    return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
  };
  return { processorMs, nowMs: () => performance.now() };
}

export class WarmWrites {
  readonly #writeAll: (fd: Fd, bytes: Uint8Array, position: number) => void;
  readonly #time: ThreadTime;
  #elsewhere = 0;
  /** How many are next to go another way. */
  #next = ELSEWHERE_BYTES_MIN;

  /** @param writeAll writes all of a part at once, or throws FsError */
  constructor(writeAll: (fd: Fd, bytes: Uint8Array, position: number) => void, time: ThreadTime) {
    this.#writeAll = writeAll;
    this.#time = time;
  }

  /** See FileSystem.writeCached. */
  write(fd: Fd, bytes: Uint8Array, position: number): number {
    if (this.#elsewhere > 0) {
      this.#elsewhere -= bytes.length;
      return 0;
    }
    const { processorMs, nowMs } = this.#time;
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + STRETCH_BYTES);
      const began = [processorMs(), nowMs()] as const;
      for (; at < end; at += PART_BYTES) this.#writeAll(fd, bytes.subarray(at, Math.min(end, at + PART_BYTES)), position + at);
      const isSlow = processorMs() - began[0] > FETCHED_MS || nowMs() - began[1] > HELD_BACK_MS;
      if (!isSlow) {
        this.#next = ELSEWHERE_BYTES_MIN;
        continue;
      }
      this.#elsewhere = this.#next - (bytes.length - end);
      this.#next = Math.min(2 * this.#next, ELSEWHERE_BYTES_MAX);
      return end;
    }
    return bytes.length;
  }
}
