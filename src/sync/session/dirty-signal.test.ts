import { describe, expect, test } from "bun:test";
import { DirtySignal } from "#sync/session/dirty-signal.ts";
import type { Settle } from "#sync/session/events.ts";
import { SimClock } from "#testing/sim-clock.ts";

/** When, in virtual milliseconds, wait() returns if a side is marked at the given times; undefined: not within 10 s. */
function returnedAt(settle: Settle, settleMs: number, marks: readonly number[], timeoutMs = 10_000): number | undefined {
  const clock = new SimClock();
  const signal = new DirtySignal(clock, settle, settleMs);
  for (const at of marks) clock.after(at, () => signal.mark("alpha"));
  let returned: number | undefined;
  void signal.wait(timeoutMs, new AbortController().signal).then(() => {
    returned = clock.monotonicMs();
  });
  clock.runFor(10_001);
  return returned;
}

describe("waiting for changes", () => {
  test("[SESSION-1] immediate returns with the first mark, throttle a delay later, debounce when it has been quiet", () => {
    expect(returnedAt("immediate", 0, [50, 60])).toBe(50);
    expect(returnedAt("throttle", 100, [50, 60, 140])).toBe(150);
    expect(returnedAt("debounce", 300, [50, 200, 400])).toBe(700);
  });

  test("[SESSION-2] a debounce ends although changes never do", () => {
    const marks = Array.from({ length: 100 }, (_, at) => at * 100);
    const returned = returnedAt("debounce", 300, marks);
    expect(returned).toBeGreaterThanOrEqual(3000);
    expect(returned).toBeLessThan(3700);
  });

  test("[SESSION-3] without a mark the wait ends with its time, and a mark from before it ends it at once", async () => {
    expect(returnedAt("throttle", 100, [], 700)).toBe(700);
    const clock = new SimClock();
    const signal = new DirtySignal(clock, "immediate", 0);
    signal.mark("beta");
    await clock.runUntilIdle(signal.wait(1000, new AbortController().signal));
    expect(clock.monotonicMs()).toBe(0);
    expect(signal.take()).toEqual({ alpha: false, beta: true });
    expect(signal.take()).toEqual({ alpha: false, beta: false });
  });

  test("[SESSION-4] an abort and a watch that broke end the wait with their reasons", async () => {
    const clock = new SimClock();
    const stop = new AbortController();
    const stopped = new DirtySignal(clock, "immediate", 0).wait(1000, stop.signal);
    clock.after(5, () => stop.abort(new Error("stopped")));
    expect(clock.runUntilIdle(stopped)).rejects.toThrow("stopped");
    const broken = new DirtySignal(clock, "debounce", 300);
    clock.after(5, () => broken.fail(new Error("watching broke")));
    expect(clock.runUntilIdle(broken.wait(1000, new AbortController().signal))).rejects.toThrow("watching broke");
  });
});
