/** Doing something again while a hub cannot be reached, is too busy, or starts anew. */
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";

const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 4000;
/** A hub that cannot be used for longer is told to the person who waits. */
const GIVE_UP_MS = 60_000;

/** Of several things that are done at a time: while any of them gets on, none gives up. */
export class Persistence {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #onTrouble: (error: SynclineError) => void;
  #wellMs: number;

  /** @param onTrouble before each wait */
  constructor(clock: Clock, signal: AbortSignal, onTrouble: (error: SynclineError) => void) {
    this.#clock = clock;
    this.#signal = signal;
    this.#onTrouble = onTrouble;
    this.#wellMs = clock.monotonicMs();
  }

  /** @throws what `work` throws, when it is not worth trying again or has been tried for GIVE_UP_MS */
  async of<T>(work: () => Promise<T>): Promise<T> {
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
      try {
        const done = await work();
        this.well();
        return done;
      } catch (error) {
        this.#signal.throwIfAborted();
        if (!(error instanceof SynclineError) || !error.retryable) throw error;
        if (this.#clock.monotonicMs() - this.#wellMs > GIVE_UP_MS) throw error;
        this.#onTrouble(error);
        await this.#clock.sleep(waitMs, this.#signal);
      }
    }
  }

  /** Something came through. */
  well(): void {
    this.#wellMs = this.#clock.monotonicMs();
  }
}
