/**
 * The simulator's only source of chance: xoshiro128** (Blackman and Vigna 2018), seeded through splitmix32.
 * The same seed gives the same numbers on every machine. Not for secrets.
 */
import type { Random } from "#platform/host.ts";

const UINT32 = 2 ** 32;

export class SimRandom {
  readonly seed: number;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed any integer; only its low 32 bits count */
  constructor(seed: number) {
    this.seed = seed >>> 0;
    let state = this.seed;
    const next = (): number => {
      state = (state + 0x9e3779b9) | 0;
      let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return z ^ (z >>> 15);
    };
    this.#a = next();
    this.#b = next();
    this.#c = next();
    // The all-zero state is the one that xoshiro never leaves.
    this.#d = next() | 1;
  }

  /** 0 .. 2^32-1. */
  uint32(): number {
    const scrambled = Math.imul(this.#b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9);
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result >>> 0;
  }

  /** A whole number 0 <= x < n; n from 1 to 2^32. */
  int(n: number): number {
    return Math.floor((this.uint32() / UINT32) * n);
  }

  /** A real number 0 <= x < 1. */
  real(): number {
    return this.uint32() / UINT32;
  }

  /** True with probability p. Draws nothing when p is 0, so an unused fault does not move the sequence. */
  chance(p: number): boolean {
    return p > 0 && this.uint32() < p * UINT32;
  }

  /** One of the items, which must not be empty. */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error("pick from nothing");
    return items[this.int(items.length)]!;
  }

  bytes(count: number): Uint8Array {
    const out = new Uint8Array(count);
    let at = 0;
    for (; at + 4 <= count; at += 4) {
      const word = this.uint32();
      out[at] = word;
      out[at + 1] = word >>> 8;
      out[at + 2] = word >>> 16;
      out[at + 3] = word >>> 24;
    }
    for (; at < count; at++) out[at] = this.uint32();
    return out;
  }

  /** Reorders `items` in place (Fisher-Yates) and returns it. */
  shuffle<T>(items: T[]): T[] {
    for (let at = items.length - 1; at > 0; at--) {
      const other = this.int(at + 1);
      const kept = items[at]!;
      items[at] = items[other]!;
      items[other] = kept;
    }
    return items;
  }

  /**
   * An independent generator that depends on this seed and the name alone, not on how much was drawn: a new use of
   * chance somewhere does not change what others get. The same name gives the same sequence again.
   */
  fork(name: string): SimRandom {
    let hash = 0x811c9dc5 ^ this.seed;
    for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
    return new SimRandom(Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) ^ Math.imul(this.seed, 0x297a2d39));
  }

  asRandom(): Random {
    return { bytes: (count) => this.bytes(count) };
  }
}
