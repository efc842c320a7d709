/**
 * What time it is, for what goes for good because it is old. A wall clock that is suddenly far ahead is not believed for an
 * hour, in which whoever corrects clocks would have put it right, as one that is behind is not (commit-times.ts): until then
 * it is as late as the monotonic clock says. What a process begins with is believed: it has nothing to compare it with.
 */
import { HELD_MS_MAX } from "#hub/commit-times.ts";
import type { Clock } from "#platform/host.ts";

/** What is less is what clocks are corrected by, or go wrong by, all the time. */
const AHEAD_MS_MAX = 5 * 60_000;

export class BelievedTime {
  readonly #clock: Pick<Clock, "nowMs" | "monotonicMs">;
  /** When the wall clock was believed last, by both clocks. */
  #wallMs: number;
  #mono: number;
  /** Since when it is known to be ahead. */
  #aheadMono: number | undefined;

  constructor(clock: Pick<Clock, "nowMs" | "monotonicMs">) {
    this.#clock = clock;
    this.#wallMs = clock.nowMs();
    this.#mono = clock.monotonicMs();
  }

  nowMs(): number {
    const [wallMs, mono] = [this.#clock.nowMs(), this.#clock.monotonicMs()];
    const expectedMs = this.#wallMs + mono - this.#mono;
    if (wallMs - expectedMs > AHEAD_MS_MAX) {
      this.#aheadMono ??= mono;
      if (mono - this.#aheadMono < HELD_MS_MAX) return expectedMs;
    }
    [this.#wallMs, this.#mono, this.#aheadMono] = [wallMs, mono, undefined];
    return wallMs;
  }
}
