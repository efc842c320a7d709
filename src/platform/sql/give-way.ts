/** Synchronous work in small pieces would keep everything else waiting: now and then it lets other events in. */

/** As long as anything else waits for work of ours, in milliseconds. */
const SLICE_MS = 12;

export class GiveWay {
  #endMs = performance.now() + SLICE_MS;

  /** Undefined: go on. Otherwise wait for it first. */
  due(): Promise<void> | undefined {
    if (performance.now() < this.#endMs) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.#endMs = performance.now() + SLICE_MS;
        resolve();
      });
    });
  }
}
