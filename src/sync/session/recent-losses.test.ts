/** The brake against deletions that come in many small plans. */
import { expect, test } from "bun:test";
import { SimPair } from "#testing/scenarios/sim-pair.ts";
import { LOSSES_WINDOW_MS, RecentLosses } from "#sync/session/recent-losses.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimRandom } from "#testing/sim-random.ts";

test("[BRAKE-9] a directory that is emptied bit by bit while it is watched is held before half of it is gone", async () => {
  const pair = new SimPair();
  for (let at = 0; at < 100; at++) pair.alpha.put({ [`d/f${at}`]: `content ${at}` });
  const boots = pair.boot();
  const stop = new AbortController();
  const { outcome, events } = pair.start(boots, { watch: true }, stop);
  pair.clock.runFor(3000);
  for (let at = 0; at < 100; at++) {
    pair.alpha.remove(`d/f${at}`);
    pair.clock.runFor(200);
  }
  pair.clock.runFor(2 * LOSSES_WINDOW_MS);
  stop.abort();
  await pair.clock.runUntilIdle(outcome);
  pair.alpha.kill(boots.alpha);
  pair.beta.kill(boots.beta);
  expect(events.some((event) => event.type === "hold")).toBe(true);
  expect(pair.beta.contents().visible.size).toBeGreaterThanOrEqual(50);
});

test("[BRAKE-9] what comes back does not count, and what is long ago does not either", () => {
  const clock = new SimClock(new SimRandom(1));
  const losses = new RecentLosses(clock);
  losses.note("beta", -500);
  losses.note("beta", 30);
  losses.note("beta", -20);
  expect(losses.recent()).toEqual({ alpha: 0, beta: 10 });
  clock.spend(LOSSES_WINDOW_MS * 1e6 + 1e6);
  expect(losses.recent()).toEqual({ alpha: 0, beta: 0 });
});
