/**
 * How many entries a session has taken from each side lately. Someone who empties a directory while it is watched does
 * it in many small plans, none of which would trip the mass-change brake: they are judged together.
 */
import type { Side } from "#model/plan.ts";
import type { Clock } from "#platform/host.ts";

/** Removals this close together count as one. */
export const LOSSES_WINDOW_MS = 10 * 60_000;
/** Plans remembered for each side; of more, neighbours are added up. */
const LOSSES_MAX = 1000;

type Loss = { ms: number; count: number };

export class RecentLosses {
  readonly #clock: Clock;
  readonly #losses: Record<Side, Loss[]> = { alpha: [], beta: [] };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A plan was carried out: entries of the side fell by `count`, or rose when it is negative. */
  note(side: Side, count: number): void {
    if (count === 0) return;
    const losses = this.#losses[side];
    const last = losses.at(-1);
    if (last !== undefined && losses.length >= LOSSES_MAX) last.count += count;
    else losses.push({ ms: this.#clock.monotonicMs(), count });
  }

  /** Entries by which each side is smaller now than it was at its largest lately. */
  recent(): Record<Side, number> {
    const sinceMs = this.#clock.monotonicMs() - LOSSES_WINDOW_MS;
    const sum = (side: Side): number => {
      const losses = this.#losses[side];
      while (losses.length > 0 && losses[0]!.ms < sinceMs) losses.shift();
      // What was made before something was lost makes up for nothing.
      return losses.reduce((all, { count }) => Math.max(0, all + count), 0);
    };
    return { alpha: sum("alpha"), beta: sum("beta") };
  }

  /** A held plan waits for a person: until then nothing that led to it is forgotten. */
  hold(): void {
    for (const losses of Object.values(this.#losses)) for (const loss of losses) loss.ms = this.#clock.monotonicMs();
  }

  /** A person has approved of it. */
  clear(): void {
    for (const losses of Object.values(this.#losses)) losses.length = 0;
  }
}
