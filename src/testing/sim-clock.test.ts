import { describe, expect, test } from "bun:test";
import { SimClock, SimStuck } from "#testing/sim-clock.ts";
import { SimRandom } from "#testing/sim-random.ts";

const never = new AbortController().signal;

describe("sim-clock", () => {
  test("[SIM-2] time passes only when nothing else can go on", async () => {
    const clock = new SimClock();
    const order: string[] = [];
    const sleeper = async (name: string, ms: number): Promise<void> => {
      await clock.sleep(ms, never);
      order.push(`${name}@${clock.monotonicMs()}`);
    };
    const work = async (): Promise<void> => {
      for (let at = 0; at < 500; at++) await Promise.resolve();
      order.push(`work@${clock.monotonicMs()}`);
    };
    await clock.runUntilIdle(Promise.all([sleeper("b", 60_000), sleeper("a", 10), work()]));
    expect(order).toEqual(["work@0", "a@10", "b@60000"]);
    expect(clock.pending()).toBe(0);
  });

  test("a promise that nothing will settle is reported, not awaited", async () => {
    const clock = new SimClock();
    await expect(clock.runUntilIdle(new Promise(() => undefined))).rejects.toBeInstanceOf(SimStuck);
  });

  test("an aborted sleep rejects with the reason, at once when already aborted", async () => {
    const clock = new SimClock();
    const controller = new AbortController();
    const sleeping = clock.sleep(1000, controller.signal);
    clock.after(5, () => controller.abort(new Error("enough")));
    expect(await clock.runUntilIdle(sleeping.catch((error: Error) => error.message))).toBe("enough");
    expect(clock.monotonicMs()).toBe(5);
    expect(clock.pending()).toBe(0);
    await expect(clock.sleep(1, controller.signal)).rejects.toThrow("enough");
  });

  test("the wall clock jumps, the monotonic one does not", () => {
    const clock = new SimClock();
    const start = clock.nowMs();
    clock.jump(-86_400_000);
    clock.runFor(1500);
    expect(clock.nowMs() - start).toBe(1500 - 86_400_000);
    expect(clock.monotonicMs()).toBe(1500);
    clock.spend(7);
    expect(clock.nowNs() - BigInt(clock.nowMs()) * 1_000_000n).toBe(7n);
  });

  test("[SIM-1] timers of one moment fire in an order that the seed decides", () => {
    const orderOf = (random: SimRandom | undefined): string => {
      const clock = new SimClock(random);
      let order = "";
      for (const name of "abcdefgh") clock.after(1, () => (order += name));
      clock.after(0.5, () => (order += "-"));
      clock.runFor(2);
      return order;
    };
    expect(orderOf(undefined)).toBe("-abcdefgh");
    expect(orderOf(new SimRandom(1))).toBe(orderOf(new SimRandom(1)));
    expect(orderOf(new SimRandom(1))).not.toBe(orderOf(new SimRandom(2)));
  });
});
