/**
 * Files that kept changing while they were read. Each is left alone for a while, longer every time, so that a writer
 * that never stops neither costs much nor holds anything else up, and one that soon ends is not kept waiting.
 */
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";

/** The first rest; it doubles with each failure in a row, up to the longest. */
export const REST_FIRST_MS = 100;
export const REST_LONGEST_MS = 5000;
/** Files remembered; of more, the oldest are simply tried again at once. */
export const RESTING_MAX = 4096;

type Rest = { readonly problem: Problem; readonly restMs: number; readonly untilMs: number };

export class Resting {
  readonly #clock: Clock;
  readonly #rests = new Map<RelPath, Rest>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Why the path is left alone now; undefined when it may be tried. */
  problemAt(path: RelPath): Problem | undefined {
    const rest = this.#rests.get(path);
    return rest !== undefined && rest.untilMs > this.#clock.monotonicMs() ? rest.problem : undefined;
  }

  /** Takes the problems of a cycle: what kept changing rests from now on, what was tried with success is forgotten. */
  learn(problems: readonly Problem[]): void {
    const now = this.#clock.monotonicMs();
    const before = new Map(this.#rests);
    for (const [path, { untilMs }] of before) if (untilMs <= now) this.#rests.delete(path);
    for (const problem of problems) {
      if (problem.code !== "CHANGED" || this.#rests.has(problem.path)) continue;
      const restMs = Math.min(REST_LONGEST_MS, (before.get(problem.path)?.restMs ?? REST_FIRST_MS / 2) * 2);
      this.#rests.set(problem.path, { problem, restMs, untilMs: now + restMs });
      if (this.#rests.size > RESTING_MAX) this.#rests.delete(this.#rests.keys().next().value!);
    }
  }

  /** Until the next of them may be tried; infinite when none rests. */
  waitMs(): number {
    let untilMs = Number.POSITIVE_INFINITY;
    for (const rest of this.#rests.values()) untilMs = Math.min(untilMs, rest.untilMs);
    return Math.max(0, untilMs - this.#clock.monotonicMs());
  }
}
