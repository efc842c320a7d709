/** Scenario 38, while watching: scrubs find damage by themselves, and hold nothing else up. */
import { describe, expect, test } from "bun:test";
import type { SessionEvent, SessionOptions } from "#sync/session/events.ts";
import { SETTLED_MS } from "#sync/scan/damage.ts";
import { SimPair, type SimPairOptions, changesOf } from "#testing/scenarios/sim-pair.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const RATE = 1 << 20;
/** One pass a second. */
const OFTEN = { everyMs: 1000, bytesPerSecond: 1 << 30 };
const LARGE = "precious ".repeat(1_000_000);

type Watch = { readonly pair: SimPair; readonly events: readonly SessionEvent[]; readonly wait: (ms: number) => void };

/** A watching session that scrubs; `prepare` comes before it, `act` while it runs. */
async function scrubbing(
  options: SimPairOptions & { readonly watch?: Partial<SessionOptions> },
  prepare: (pair: SimPair) => Promise<void>,
  act: (watch: Watch) => void,
): Promise<Watch> {
  const pair = new SimPair(options);
  await prepare(pair);
  const boots = pair.boot();
  const stop = new AbortController();
  const scrub = { everyMs: DAY_MS, bytesPerSecond: RATE };
  const { outcome, events } = pair.start(boots, { watch: true, rescanMs: 30 * DAY_MS, scrub, ...options.watch }, stop);
  const watch: Watch = { pair, events, wait: (ms) => pair.clock.runFor(ms) };
  act(watch);
  stop.abort();
  const { summary, error } = await pair.clock.runUntilIdle(outcome);
  expect([error, summary?.result]).toEqual([undefined, "interrupted"]);
  expect([boots.alpha.fs.openFds(), boots.beta.fs.openFds()]).toEqual([0, 0]);
  pair.alpha.kill(boots.alpha);
  pair.beta.kill(boots.beta);
  return watch;
}

const passesOf = (events: readonly SessionEvent[]): string[] =>
  events.flatMap((event) => (event.type === "scrub" ? [`${event.side} ${event.files} ${event.damaged}`] : []));
const changed = (events: readonly SessionEvent[]): string[] => changesOf({ events, summary: undefined, error: undefined });

async function agreed(pair: SimPair): Promise<void> {
  pair.alpha.put({ f: "precious", "d/g": "other", large: LARGE });
  await pair.agree();
  pair.rest();
}

describe("scrubs while watching", () => {
  test("[SCRUB-9] [S-38] rot on either side is found and healed within a pass, and goes nowhere", async () => {
    for (const side of ["alpha", "beta"] as const) {
      let rotten = "";
      const { pair, events } = await scrubbing({}, agreed, ({ pair: { [side]: one }, wait }) => {
        wait(60_000);
        one.disk.flipBit("/root/f", 3);
        rotten = one.read("f");
        wait(DAY_MS + 60_000);
      });
      expect(changed(events)).toEqual([`${side} heal f`]);
      expect(passesOf(events).sort()).toEqual(["alpha 3 0", "beta 3 0", ...["alpha", "beta"].map((one) => `${one} 3 ${one === side ? 1 : 0}`)].sort());
      expect(events.some((event) => event.type === "cycle" && event.summary.healed === 1)).toBe(true);
      expect(events.some((event) => event.type === "problem")).toBe(false);
      expect(pair.alpha.show()).toBe(pair.beta.show());
      expect(pair[side].read("f")).toBe("precious");
      expect(pair[side === "alpha" ? "beta" : "alpha"].contents().all.has(rotten)).toBe(false);
    }
  });

  test("[SCRUB-10] where the mode forbids to heal, the problem says so once the pass is there, and stays", async () => {
    const { pair, events } = await scrubbing({ session: { mode: "one-way-safe" } }, agreed, ({ pair: { alpha }, wait }) => {
      wait(60_000);
      alpha.disk.flipBit("/root/f", 3);
      wait(DAY_MS + 60_000);
      alpha.put({ n: "new" });
      wait(1000);
    });
    const problems = events.filter((event) => event.type === "problem");
    expect(problems.length).toBeGreaterThanOrEqual(2);
    for (const { problem } of problems) {
      expect(problem).toMatchObject({ path: "f", side: "alpha", code: "CORRUPT" });
      expect(problem.message).toContain("never writes to alpha");
    }
    expect(changed(events)).toEqual(["beta create n"]);
    expect(pair.beta.read("f")).toBe("precious");
  });

  test("[SCRUB-11] reads no more in a second than it may", async () => {
    await scrubbing({}, agreed, ({ events, wait }) => {
      wait((LARGE.length / RATE) * 1000 * 0.9);
      expect(passesOf(events)).toEqual([]);
      wait((LARGE.length / RATE) * 1000 * 0.2 + 2000);
      expect(passesOf(events).sort()).toEqual(["alpha 3 0", "beta 3 0"]);
    });
  });

  test("[SCRUB-12] a change goes through while a pass is under way", async () => {
    const { events } = await scrubbing({}, agreed, ({ pair: { alpha, beta }, events: soFar, wait }) => {
      wait(2000);
      alpha.put({ n: "new" });
      wait(50);
      expect(beta.read("n")).toBe("new");
      beta.put({ "d/g": "edited" });
      wait(50);
      expect(alpha.read("d/g")).toBe("edited");
      expect(passesOf(soFar)).toEqual([]);
      wait(60_000);
    });
    expect(passesOf(events)).toHaveLength(2);
  });

  test("[SCRUB-13] a session that is killed goes on with the pass in the next one, and not before a day has passed", async () => {
    const pair = new SimPair();
    await agreed(pair);
    const scrub = { everyMs: DAY_MS, bytesPerSecond: RATE };
    const bytes = { opened: 0 };
    const session = (ms: number): string[] => {
      const boots = pair.boot();
      boots.beta.fs.interleave = (call) => void (call === "readAsync" && bytes.opened++);
      const stop = new AbortController();
      const { outcome, events } = pair.start(boots, { watch: true, rescanMs: 30 * DAY_MS, scrub }, stop);
      outcome.catch(() => undefined);
      pair.clock.runFor(ms);
      pair.alpha.kill(boots.alpha);
      pair.beta.kill(boots.beta);
      return passesOf(events);
    };
    // "large" takes 9 s, and what is kept of it is that the files before it are done.
    expect(session(5000)).toEqual([]);
    expect(session(20_000).sort()).toEqual(["alpha 3 0", "beta 3 0"]);
    const before = bytes.opened;
    expect(session(HOUR_MS)).toEqual([]);
    expect(bytes.opened).toBe(before);
    pair.clock.spend(DAY_MS * 1e6);
    expect(session(20_000).sort()).toEqual(["alpha 3 0", "beta 3 0"]);
  });

  test("[SCRUB-14] what was written a moment ago is not taken for damaged, whatever a mapping did to it", async () => {
    const { pair, events } = await scrubbing({ watch: { settle: "throttle", scrub: OFTEN } }, agreed, ({ pair: { alpha }, wait }) => {
      wait(2000);
      alpha.put({ f: "counter1" });
      wait(2000);
      // A write through a mapping, to a page that has not been written back since: no time moves, nobody is told.
      alpha.disk.flipBit("/root/f", 7);
      wait(SETTLED_MS / 2);
    });
    expect(changed(events)).toEqual(["beta replace f"]);
    expect(events.some((event) => event.type === "problem")).toBe(false);
    expect(pair.alpha.read("f")).not.toBe("counter1");
  });
});
