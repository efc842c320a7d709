/** Cuts long work into slices so that a process that also serves others stays responsive. */
import type { Clock } from "#platform/host.ts";

/**
 * Work between two safe points, in milliseconds. One system call may exceed it: a listing is not divisible.
 */
const SLICE_MS = 12;
/** Small items (a stat, a comparison) between two looks at the clock. */
const ITEMS_PER_LOOK = 64;
/** Small items in one slice at most, also when the clock stands still, which bounds one index transaction. */
const SLICE_ITEMS_MAX = 32_768;

export class Pacer {
  readonly #clock: Clock;
  #endMs = 0;
  #items = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Begins a slice. */
  restart(): void {
    this.#endMs = this.#clock.monotonicMs() + SLICE_MS;
    this.#items = 0;
  }

  /** Counts one small item; true when the slice is used up. */
  due(): boolean {
    this.#items++;
    return this.#items % ITEMS_PER_LOOK === 0 && this.dueNow();
  }

  /** As due, after something that took long by itself. */
  dueNow(): boolean {
    return this.#items >= SLICE_ITEMS_MAX || this.#clock.monotonicMs() >= this.#endMs;
  }
}
