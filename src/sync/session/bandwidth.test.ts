import { expect, test } from "bun:test";
import { Bandwidth } from "#sync/session/bandwidth.ts";
import { countedChannel } from "#sync/session/counted-channel.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimPair } from "#testing/scenarios/sim-pair.ts";

const never = new AbortController().signal;

async function secondsOf(clock: SimClock, work: Promise<unknown>): Promise<number> {
  const startMs = clock.monotonicMs();
  await clock.runUntilIdle(work);
  return (clock.monotonicMs() - startMs) / 1000;
}

test("[BW-1] N bytes take N / rate seconds, however they are cut", async () => {
  const clock = new SimClock();
  for (const pieces of [[1_000_000], [400_000, 0, 599_999, 1], Array.from({ length: 1000 }, () => 1000)]) {
    const bandwidth = new Bandwidth(clock, 50_000);
    const all = async () => {
      for (const bytes of pieces) await bandwidth.take(bytes, never);
    };
    expect(await secondsOf(clock, all())).toBeCloseTo(20, 3);
    const together = new Bandwidth(clock, 50_000);
    expect(await secondsOf(clock, Promise.all(pieces.map((bytes) => together.take(bytes, never))))).toBeCloseTo(20, 3);
  }
});

test("[BW-2] no more than a tenth of a second, and never above 1 MiB, is saved up while nothing moves", async () => {
  const clock = new SimClock();
  const slow = new Bandwidth(clock, 10_000);
  const fast = new Bandwidth(clock, 100 << 20);
  clock.spend(60e9);
  expect(await secondsOf(clock, slow.take(2000, never))).toBeCloseTo(0.1, 3);
  clock.spend(60e9);
  expect(await secondsOf(clock, fast.take(11 << 20, never))).toBeCloseTo(0.1, 3);
});

test("[BW-3] a limited channel keeps the order of its messages and its end, in both directions at one rate", async () => {
  const clock = new SimClock();
  const bandwidth = new Bandwidth(clock, 1000);
  const [near, far] = memoryChannelPair().map((end) => bandwidth.limit(end, never));
  const got: number[] = [];
  const drain = async () => {
    for (let one = await far!.receive(); one !== undefined; one = await far!.receive()) got.push(one.length);
  };
  // Not awaited one by one: the channel itself must keep them in line.
  void near!.send(new Uint8Array(700));
  void near!.send(new Uint8Array(0));
  void near!.send(new Uint8Array(300));
  near!.end();
  void far!.send(new Uint8Array(1000));
  expect(await secondsOf(clock, Promise.all([drain(), near!.receive()]))).toBeCloseTo(2, 3);
  expect(got).toEqual([700, 0, 300]);
});

test("[BW-3] whoever waits for bandwidth learns at once that the channel failed", async () => {
  const clock = new SimClock();
  const [near] = memoryChannelPair();
  const limited = new Bandwidth(clock, 1).limit(near, never);
  const sent = limited.send(new Uint8Array(1000)).catch((error: Error) => error.message);
  limited.fail(new Error("cut"));
  expect(await secondsOf(clock, sent)).toBe(0);
  expect(await sent).toBe("cut");
});

test("[BW-6] what was given up while it waited is no end of its channel, and nothing behind it leaves", async () => {
  const clock = new SimClock();
  const [near, far] = memoryChannelPair();
  const session = new AbortController();
  const limited = new Bandwidth(clock, 1).limit(near, session.signal);
  const fate = (sent: Promise<void>): Promise<string> => sent.then(() => "sent", (error: Error) => error.message);
  const both = [fate(limited.send(new Uint8Array(1000))), fate(limited.send(new Uint8Array(0)))];
  limited.end();
  session.abort(new Error("given up"));
  expect(await Promise.all(both)).toEqual(["given up", "given up"]);
  expect(await far.receive().then(() => "received", (error: Error) => error.message)).toBe("given up");
});

test("[BW-4] a session with a limit moves small and large files at its rate", async () => {
  const pair = new SimPair({ session: { bytesPerSecond: 10_000 } });
  pair.alpha.put({ small: "s".repeat(50_000), large: "l".repeat(200_000) });
  const startMs = pair.clock.monotonicMs();
  await pair.agree();
  const seconds = (pair.clock.monotonicMs() - startMs) / 1000;
  expect(seconds).toBeGreaterThan(25);
  // Headers, sums and the rest of the work are little beside the content.
  expect(seconds).toBeLessThan(30);
});

test("[BW-5] a rate that changes holds for who waits already, and none lets all go", async () => {
  const clock = new SimClock();
  let rate: number | undefined = 10;
  const bandwidth = new Bandwidth(clock, () => rate);
  const taking = bandwidth.take(1_000_000, never);
  const changes = (async () => {
    await clock.sleep(20_000, never);
    rate = 100_000;
  })();
  const seconds = await secondsOf(clock, Promise.all([taking, changes]));
  expect(seconds).toBeGreaterThan(20);
  expect(seconds).toBeLessThan(36);
  rate = undefined;
  expect(await secondsOf(clock, bandwidth.take(1e12, never))).toBe(0);
});

test("[CHANNEL-4] what is given goes to the receiver as it is, through a limit and a count, too", async () => {
  const [a, b] = memoryChannelPair();
  const limited = new Bandwidth(new SimClock(), () => undefined).limit(a, never);
  const outer = countedChannel(limited, () => undefined);
  const message = new Uint8Array(1000);
  await outer.send(message, true);
  expect(await b.receive()).toBe(message);
  await outer.send(message);
  expect(await b.receive()).not.toBe(message);
});
