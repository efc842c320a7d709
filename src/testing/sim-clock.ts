/**
 * Virtual time. Nothing ever waits: when no promise can go on, time jumps to the next timer. A run of simulated hours
 * costs only the work done in it, and the same seed gives the same order of events.
 *
 * All that is asynchronous in a simulation must come from this clock; a promise that hangs on the real event loop
 * looks like a deadlock here, and is reported as one.
 */
import { drainMicrotasks } from "bun:jsc";
import type { Clock } from "#platform/host.ts";
import type { SimRandom } from "#testing/sim-random.ts";

/** Timers that may fire in one runUntilIdle before it is taken for a loop without end. */
const TURNS_MAX = 300_000;
const NS_PER_MS = 1_000_000;
/** 2026-01-01T00:00:00Z, where the wall clock of every simulation starts. */
const WALL_START_MS = 1_767_225_600_000;

type Timer = { readonly atNs: number; readonly order: number; readonly run: () => void; cancelled: boolean };

/** Nothing is left that could settle the awaited promise, or time runs on without end. */
export class SimStuck extends Error {
  override readonly name = "SimStuck";
}

export class SimClock implements Clock {
  /** Nanoseconds since the start; exact up to 104 days. */
  #nowNs = 0;
  #wallShiftMs = 0;
  #wallBaseNs = BigInt(WALL_START_MS) * 1_000_000n;
  #sequence = 0;
  readonly #timers: Timer[] = [];
  readonly #random: SimRandom | undefined;

  /** @param random when given, timers due at the same moment fire in random order; otherwise in order of creation */
  constructor(random?: SimRandom) {
    this.#random = random;
  }

  nowMs(): number {
    return WALL_START_MS + this.#wallShiftMs + Math.floor(this.#nowNs / NS_PER_MS);
  }

  /** The wall clock in nanoseconds since 1970. */
  nowNs(): bigint {
    return this.#wallBaseNs + BigInt(this.#nowNs);
  }

  monotonicMs(): number {
    return this.#nowNs / NS_PER_MS;
  }

  /** Moves the wall clock alone, forward or back. */
  jump(ms: number): void {
    this.#wallShiftMs += Math.round(ms);
    this.#wallBaseNs = BigInt(WALL_START_MS + this.#wallShiftMs) * 1_000_000n;
  }

  /** Time passes because of work; timers that became due fire at the next turn. */
  spend(ns: number): void {
    this.#nowNs += ns;
  }

  /** Calls `run` after `delayMs` of virtual time. Returns what cancels it. */
  after(delayMs: number, run: () => void): () => void {
    const order = this.#random === undefined ? this.#sequence++ : this.#random.uint32();
    const timer: Timer = {
      // Rounded up, so that who waits for the rest of a time never waits for nothing at all, again and again.
      atNs: this.#nowNs + Math.max(0, Math.ceil(delayMs * NS_PER_MS)),
      order,
      run,
      cancelled: false,
    };
    this.#push(timer);
    return () => {
      timer.cancelled = true;
    };
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        cancel();
        reject(signal.reason);
      };
      const cancel = this.after(ms, () => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      });
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Resolves `delayMs` from now, never at once. With 0 it is how simulated work lets others go on. */
  turn(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Jumps to the next timer and fires it. False when there is none. */
  advance(): boolean {
    for (;;) {
      const timer = this.#pop();
      if (timer === undefined) return false;
      if (timer.cancelled) continue;
      this.#nowNs = Math.max(this.#nowNs, timer.atNs);
      timer.run();
      return true;
    }
  }

  /**
   * Lets everything run, advancing time whenever no promise can go on, until `promise` settles; gives its outcome.
   * @throws {SimStuck} when no timer is left and the promise is pending
   */
  async runUntilIdle<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    this.#loop(() => settled, "a promise will never settle: no timer is left");
    return await promise;
  }

  /** Lets everything run for `ms` of virtual time. */
  runFor(ms: number): void {
    let over = false;
    this.after(ms, () => {
      over = true;
    });
    this.#loop(() => over, "");
  }

  /** Timers waiting to fire. */
  pending(): number {
    return this.#timers.reduce((count, timer) => count + (timer.cancelled ? 0 : 1), 0);
  }

  #loop(over: () => boolean, stuck: string): void {
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      drainMicrotasks();
      if (over()) return;
      if (!this.advance()) throw new SimStuck(stuck);
    }
    throw new SimStuck(`more than ${TURNS_MAX} timers fired`);
  }

  // A binary heap: sessions keep few timers, but a storm of messages may keep thousands.
  #push(timer: Timer): void {
    const heap = this.#timers;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!earlier(timer, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): Timer | undefined {
    const heap = this.#timers;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && earlier(heap[child + 1]!, heap[child]!)) child++;
      if (!earlier(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function earlier(a: Timer, b: Timer): boolean {
  return a.atNs !== b.atNs ? a.atNs < b.atNs : a.order < b.order;
}
