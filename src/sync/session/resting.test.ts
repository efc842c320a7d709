import { expect, test } from "bun:test";
import type { Problem } from "#model/observation.ts";
import { REST_FIRST_MS, REST_LONGEST_MS, RESTING_MAX, Resting } from "#sync/session/resting.ts";
import { SimClock } from "#testing/sim-clock.ts";

const ROUND: Problem = { path: "", side: "alpha", code: "CHANGED", message: "it moves", transient: true };
const changed = (path: string): Problem => ({ ...ROUND, path });

/** A clock that only we move. */
function start(): { resting: Resting; pass: (ms: number) => void } {
  const clock = new SimClock();
  let now = 0;
  const sleep = (ms: number, signal: AbortSignal): Promise<void> => clock.sleep(ms, signal);
  const resting = new Resting({ monotonicMs: () => now, nowMs: () => now, sleep });
  return { resting, pass: (ms) => (now += ms) };
}

test("[SESSION-21] a file that keeps changing rests, longer each time up to a limit, and nothing else does", () => {
  const { resting, pass } = start();
  let restMs = REST_FIRST_MS;
  for (let turn = 0; turn < 10; turn++) {
    resting.learn([changed("busy"), { ...changed("other"), code: "EBUSY" }]);
    expect(resting.problemAt("busy")).toEqual(changed("busy"));
    expect(resting.problemAt("other")).toBeUndefined();
    expect(resting.waitMs()).toBe(restMs);
    // A cycle in between reports it again; that is no new failure.
    resting.learn([changed("busy")]);
    expect(resting.waitMs()).toBe(restMs);
    pass(restMs - 1);
    expect(resting.problemAt("busy")).toBeDefined();
    pass(1);
    expect(resting.problemAt("busy")).toBeUndefined();
    restMs = Math.min(REST_LONGEST_MS, restMs * 2);
  }
  expect(restMs).toBe(REST_LONGEST_MS);
  resting.learn([]);
  expect(resting.waitMs()).toBe(Number.POSITIVE_INFINITY);
  resting.learn([changed("busy")]);
  expect(resting.waitMs()).toBe(REST_FIRST_MS);
});

test("[SESSION-22] the number of resting files is bounded", () => {
  const { resting } = start();
  resting.learn(Array.from({ length: RESTING_MAX + 10 }, (_, at) => changed(`f${at}`)));
  expect(resting.problemAt("f9")).toBeUndefined();
  expect(resting.problemAt("f10")).toBeDefined();
});
