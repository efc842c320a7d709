/**
 * Profiles of this process, for those who run it: where its time goes, and what fills its memory. One at a time, because
 * each of them slows everything else down.
 */
import { Session } from "node:inspector";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";

export const PROFILE_SECONDS_MAX = 120;
/** Between two looks at the stack. */
const SAMPLE_US = 1000;
/** A snapshot is a text several times as large as the heap, and nothing else runs while it is made. */
export const SNAPSHOT_HEAP_BYTES_MAX = 1 << 30;

export class Profiler {
  readonly #clock: Clock;
  #isBusy = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Samples the stack for some seconds.
   * @returns a .cpuprofile, for the tools of browsers and editors
   * @throws {SynclineError} LIMIT while another is made
   */
  async cpu(seconds: number, signal: AbortSignal): Promise<string> {
    using _turn = this.#turn();
    const session = new Session();
    session.connect();
    try {
      const ask = (method: string, parameters: object = {}): Promise<object> =>
        new Promise((done, failed) => {
          session.post(method, parameters, (error, answer) => (error === null ? done(answer as object) : failed(error)));
        });
      await ask("Profiler.enable");
      await ask("Profiler.setSamplingInterval", { interval: SAMPLE_US });
      await ask("Profiler.start");
      // Whoever goes away needs no profile, but the sampling has to end.
      await this.#clock.sleep(seconds * 1000, signal).catch(() => undefined);
      const { profile } = (await ask("Profiler.stop")) as { profile: object };
      signal.throwIfAborted();
      return JSON.stringify(profile);
    } finally {
      session.disconnect();
    }
  }

  /**
   * Everything that lives, and what keeps it alive. The process does nothing else meanwhile.
   * @returns a .heapsnapshot, for the tools of browsers
   * @throws {SynclineError} LIMIT while another is made, or where the heap is too large
   */
  heap(): string {
    using _turn = this.#turn();
    const { heapUsed } = process.memoryUsage();
    if (heapUsed > SNAPSHOT_HEAP_BYTES_MAX) {
      throw limit(`the heap has ${heapUsed} bytes, and a snapshot is made of up to ${SNAPSHOT_HEAP_BYTES_MAX}`, "take a CPU profile");
    }
    return Bun.generateHeapSnapshot("v8");
  }

  #turn(): Disposable {
    if (this.#isBusy) throw limit("another profile is being made", "try again when it is done");
    this.#isBusy = true;
    return { [Symbol.dispose]: () => (this.#isBusy = false) };
  }
}

function limit(message: string, hint: string): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "make profile", message, hint, retryable: true });
}
