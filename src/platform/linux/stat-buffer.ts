/** Decodes struct statx, which has one layout on every architecture. */
import type { Pointer } from "bun:ffi";
import type { Stat } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";
import { KIND_BITS, KIND_MASK, PERMISSION_MASK, kindOfMode } from "#platform/kind-bits.ts";

/** STATX_BASIC_STATS. */
export const STATX_MASK = 0x7ff;

const TWO_POW_32 = 2 ** 32;
/** Minor device numbers have 20 bits in the kernel. */
const MINOR_COUNT = 2 ** 20;
const NS_PER_SECOND = 1_000_000_000n;

/**
 * Reads one struct statx_timestamp as nanoseconds. BigInt arithmetic is the dearest part of a decoded stat,
 * and neighbours in a tree mostly share the second, so its nanoseconds are kept: 0.15 µs less a stat.
 */
class TimeField {
  readonly #words: Uint32Array;
  readonly #longs: BigInt64Array;
  readonly #at: number;
  #low = 0;
  #high = 0;
  #secondNs = 0n;

  constructor(words: Uint32Array, longs: BigInt64Array, byteOffset: number) {
    this.#words = words;
    this.#longs = longs;
    this.#at = byteOffset / 4;
  }

  read(): bigint {
    const low = this.#words[this.#at]!;
    const high = this.#words[this.#at + 1]!;
    if (low !== this.#low || high !== this.#high) {
      this.#low = low;
      this.#high = high;
      this.#secondNs = this.#longs[this.#at / 2]! * NS_PER_SECOND;
    }
    return this.#secondNs + BigInt(this.#words[this.#at + 2]!);
  }
}

export class StatBuffer {
  readonly #words = new Uint32Array(64);
  readonly #longs = new BigInt64Array(this.#words.buffer);
  readonly #inodes = new BigUint64Array(this.#words.buffer);
  readonly #ctime = new TimeField(this.#words, this.#longs, 96);
  readonly #mtime = new TimeField(this.#words, this.#longs, 112);
  readonly address: Pointer = heldAddress(this.#words);

  isRegularFile(): boolean {
    return (this.#words[7]! & KIND_MASK) === KIND_BITS.file;
  }

  decode(): Stat {
    const words = this.#words;
    const mode = words[7]! & 0xffff;
    return {
      kind: (mode & KIND_MASK) === KIND_BITS.file ? "file" : kindOfMode(mode)!,
      mode: mode & PERMISSION_MASK,
      nlink: words[4]!,
      uid: words[5]!,
      gid: words[6]!,
      size: words[10]! + words[11]! * TWO_POW_32,
      allocatedBytes: (words[12]! + words[13]! * TWO_POW_32) * 512,
      mtimeNs: this.#mtime.read(),
      ctimeNs: this.#ctime.read(),
      ino: this.#inodes[4]!,
      dev: words[34]! * MINOR_COUNT + words[35]!,
    };
  }
}
