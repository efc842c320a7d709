/**
 * Scrubs both sides of a watching session while nothing else is to be done: in small steps, at a bounded rate, and for a
 * small part of the time. Whoever finds a side dirty waits for one step at most.
 */
import type { Side } from "#model/plan.ts";
import type { Clock } from "#platform/host.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { SCRUB_BYTES_MAX } from "#sync/scan/scrub.ts";
import type { ScrubOptions, SessionEvent } from "#sync/session/events.ts";
import { SIDES } from "#sync/session/state.ts";

/** What is read of a side in a second, unless another rate is asked for. */
const BYTES_PER_SECOND = 16 << 20;
/** Steps in a second at the full rate; each reads at least this much. */
const STEPS_PER_SECOND = 10;
const STEP_BYTES_MIN = 64 << 10;
/** A side rests this many times as long as it worked: a slow disk has other things to do. */
const REST_FACTOR = 3;
/** Also after a step that found next to nothing to do. */
const REST_MS_MIN = 1;

export type ScrubberContext = {
  readonly endpoints: Record<Side, Endpoint>;
  readonly options: ScrubOptions;
  readonly clock: Clock;
  readonly onEvent: (event: SessionEvent) => void;
  readonly signal: AbortSignal;
};

export class Scrubber {
  readonly #context: ScrubberContext;
  /** When each side may go on, by the monotonic clock. */
  readonly #next: Record<Side, number>;

  constructor(context: ScrubberContext) {
    this.#context = context;
    const now = context.clock.monotonicMs();
    this.#next = { alpha: now, beta: now };
  }

  /** Until the next step is due. */
  waitMs(): number {
    return Math.max(0, Math.min(...SIDES.map((side) => this.#next[side])) - this.#context.clock.monotonicMs());
  }

  /** One step on each side where one is due. Returns the sides that have something to tell a dirty scan. */
  async step(): Promise<Side[]> {
    const now = this.#context.clock.monotonicMs();
    const due = SIDES.filter((side) => this.#next[side] <= now);
    const settled = await Promise.allSettled(due.map((side) => this.#stepOn(side)));
    for (const one of settled) if (one.status === "rejected") throw one.reason;
    return settled.flatMap((one, at) => (one.status === "fulfilled" && one.value ? [due[at]!] : []));
  }

  async #stepOn(side: Side): Promise<boolean> {
    const { endpoints, options, clock, onEvent, signal } = this.#context;
    const { everyMs, bytesPerSecond = BYTES_PER_SECOND } = options;
    const share = Math.floor(bytesPerSecond / STEPS_PER_SECOND);
    const bytesMax = Math.min(SCRUB_BYTES_MAX, Math.max(STEP_BYTES_MIN, share));
    const { bytes, busyMs, found, waitMs, pass } = await endpoints[side].scrub({ everyMs, bytesMax }, signal);
    const restMs = Math.max(REST_MS_MIN, (bytes / bytesPerSecond) * 1000, busyMs * REST_FACTOR);
    this.#next[side] = clock.monotonicMs() + Math.max(restMs, waitMs);
    if (pass !== undefined) onEvent({ type: "scrub", side, ...pass });
    return found;
  }
}
