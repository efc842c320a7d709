/** Collects "something changed" from both sides and lets the loop wait for it, settled as the session wishes. */
import { asError } from "#model/error.ts";
import type { Side } from "#model/plan.ts";
import type { Clock } from "#platform/host.ts";
import type { Settle } from "#sync/session/events.ts";

/** A debounce never holds a change back longer than this many of its own delays. */
const DEBOUNCE_MAX_DELAYS = 10;

export class DirtySignal {
  readonly #clock: Clock;
  readonly #settle: Settle;
  readonly #settleMs: number;
  #marked: Record<Side, boolean> = { alpha: false, beta: false };
  #failure: Error | undefined;
  #lastMarkMs = 0;
  #wake: (() => void) | undefined;

  constructor(clock: Clock, settle: Settle, settleMs: number) {
    this.#clock = clock;
    this.#settle = settle;
    this.#settleMs = settleMs;
  }

  mark(side: Side): void {
    this.#marked[side] = true;
    this.#lastMarkMs = this.#clock.monotonicMs();
    this.#wake?.();
  }

  /** Watching broke: the waiting loop gets the error. */
  fail(error: unknown): void {
    this.#failure = asError(error);
    this.#wake?.();
  }

  take(): Record<Side, boolean> {
    const taken = this.#marked;
    this.#marked = { alpha: false, beta: false };
    return taken;
  }

  /** Is there something for a cycle? */
  get isDirty(): boolean {
    return this.#marked.alpha || this.#marked.beta;
  }

  get #ready(): boolean {
    return this.isDirty || this.#failure !== undefined;
  }

  /** Returns when a side is dirty and settled, or after `timeoutMs`. Rejects when aborted or when watching failed. */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#ready && timeoutMs > 0) await this.#sleepUntilMarked(timeoutMs, signal);
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.#ready || this.#settleMs === 0) return;
    const startMs = this.#clock.monotonicMs();
    await this.#clock.sleep(this.#settleMs, signal);
    if (this.#settle !== "debounce") return;
    for (;;) {
      const now = this.#clock.monotonicMs();
      const quietMs = now - this.#lastMarkMs;
      if (quietMs >= this.#settleMs || now - startMs >= this.#settleMs * DEBOUNCE_MAX_DELAYS) return;
      await this.#clock.sleep(this.#settleMs - quietMs, signal);
    }
  }

  /** The longest delay that timers take. */
  async #sleepUntilMarked(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    try {
      await this.#clock.sleep(Math.min(timeoutMs, 2 ** 31 - 1), AbortSignal.any([signal, woken.signal]));
    } catch (error) {
      if (!woken.signal.aborted) throw error;
    } finally {
      this.#wake = undefined;
    }
  }
}
