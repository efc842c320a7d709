/**
 * The times of commits. In one space they do not run back: while the clock is behind the last commit, those that follow
 * have its time. So what was at a time in the past stays what it was: a host that starts with a clock years behind would
 * otherwise seem to have made its whole history then, and rules by age would take what is new for old.
 *
 * A clock that has been behind for an hour is believed, since whoever corrects clocks would have done so by then, and a
 * person was told: it was earlier commits whose time was wrong, and they count as made when the first one behind them was.
 */
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { SpaceId } from "#hub/space.ts";
import type { Clock } from "#platform/host.ts";

/** What is less is what clocks are corrected by all the time. */
const TOLD_MS_MIN = 5_000;
/** By the monotonic clock, from the first commit that finds the clock behind. */
export const HELD_MS_MAX = 3_600_000;

/** "behind": commits have the time of the last one; "believed": no more, it is taken for right; "caught-up": it was wrong. */
export type ClockNotice = {
  readonly space: SpaceId;
  readonly what: "behind" | "believed" | "caught-up";
  /** How far it is behind the last commit. */
  readonly behindMs: number;
};

export type CommitTimesOptions = {
  readonly meta: Pick<MetaStore, "lastCommitMs">;
  readonly clock: Clock;
  /** Each once for a space whose clock was far behind. */
  readonly onNotice?: ((notice: ClockNotice) => void) | undefined;
};

export class CommitTimes {
  readonly #options: CommitTimesOptions;
  /** By space: of its last commit, as far as this process knows. */
  readonly #last = new Map<SpaceId, number>();
  /** Spaces whose last commit is ahead of the clock: since when that is known, and whether it was told. */
  readonly #behind = new Map<SpaceId, { readonly sinceMono: number; isTold: boolean }>();

  constructor(options: CommitTimesOptions) {
    this.#options = options;
  }

  /** For a commit that is made now. */
  async next(space: SpaceId): Promise<number> {
    const { meta, clock, onNotice } = this.#options;
    if (!this.#last.has(space)) {
      const found = await meta.lastCommitMs(space);
      this.#last.set(space, Math.max(this.#last.get(space) ?? 0, found));
    }
    const [nowMs, nowMono, lastMs] = [clock.nowMs(), clock.monotonicMs(), this.#last.get(space)!];
    const behindMs = lastMs - nowMs;
    const known = this.#behind.get(space);
    const isBelieved = known !== undefined && nowMono - known.sinceMono >= HELD_MS_MAX;
    if (behindMs <= 0 || isBelieved) {
      this.#behind.delete(space);
      this.#last.set(space, nowMs);
      if (known?.isTold === true) onNotice?.({ space, what: behindMs > 0 ? "believed" : "caught-up", behindMs: Math.max(0, behindMs) });
      return nowMs;
    }
    const state = known ?? { sinceMono: nowMono, isTold: false };
    this.#behind.set(space, state);
    if (behindMs > TOLD_MS_MIN && !state.isTold) {
      state.isTold = true;
      onNotice?.({ space, what: "behind", behindMs });
    }
    return lastMs;
  }

  /** Another process may have made commits since. */
  forget(space: SpaceId): void {
    this.#last.delete(space);
  }
}
