import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import type { Channel } from "#sync/wire/channel.ts";
import { simChannelPair } from "#testing/sim-channel.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimRandom } from "#testing/sim-random.ts";

async function readAll(channel: Channel): Promise<number[]> {
  const out: number[] = [];
  for (let message = await channel.receive(); message !== undefined; message = await channel.receive()) {
    out.push(message[0]!);
  }
  return out;
}

async function sendAll(channel: Channel, count: number): Promise<void> {
  for (let at = 0; at < count; at++) await channel.send(new Uint8Array(50).fill(at));
  channel.end();
}

describe("sim-channel", () => {
  test("[SIM-3] messages are delayed at random and keep their order in each direction", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = new SimRandom(seed);
      const clock = new SimClock(random.fork("clock"));
      const { ends, messages } = simChannelPair(clock, random, { delayMs: 20, windowBytes: 200 });
      const [a, b] = ends;
      const all = Promise.all([sendAll(a, 40), sendAll(b, 40), readAll(a), readAll(b)]);
      const [, , fromB, fromA] = await clock.runUntilIdle(all);
      const expected = Array.from({ length: 40 }, (_, at) => at);
      expect(fromA).toEqual(expected);
      expect(fromB).toEqual(expected);
      expect(messages()).toBe(82);
      expect(clock.monotonicMs()).toBeGreaterThan(10);
    }
  });

  test("[SIM-3] a cut loses what is under way, and both sides get LINK_LOST", async () => {
    let cuts = 0;
    for (let seed = 0; seed < 20; seed++) {
      const random = new SimRandom(seed);
      const clock = new SimClock(random.fork("clock"));
      const { ends } = simChannelPair(clock, random, { delayMs: 5, cutChance: 0.05, windowBytes: 200 });
      const outcome = (work: Promise<unknown>): Promise<unknown> => work.then(() => "fine", (error: unknown) => error);
      const both = Promise.all([outcome(sendAll(ends[0], 40)), outcome(readAll(ends[1])), outcome(readAll(ends[0]))]);
      const clean = sendAll(ends[1], 1).catch(() => undefined);
      const [sent, read, back] = await clock.runUntilIdle(both);
      await clean;
      if (read === "fine") continue;
      cuts++;
      for (const error of [read, sent]) if (error !== "fine") expect((error as SynclineError).code).toBe("LINK_LOST");
      expect(read).toBeInstanceOf(SynclineError);
      expect(back === "fine" || back instanceof SynclineError).toBe(true);
    }
    expect(cuts).toBeGreaterThan(10);
  });

  test("cut() ends waiting receives at once", async () => {
    const pair = simChannelPair(new SimClock(), new SimRandom(1));
    const waiting = pair.ends[0].receive();
    pair.cut();
    await expect(waiting).rejects.toMatchObject({ code: "LINK_LOST", retryable: true });
  });
});
