import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { GIVE_WAY_MS, TurnEndpoint, Turns } from "#sync/endpoint/turns.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { type Channel, MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";
import { MemoryEndpoint } from "#testing/memory-endpoint.ts";
import { SimClock } from "#testing/sim-clock.ts";

const never = new AbortController().signal;

describe("turns", () => {
  test("[TURN-1] a lower priority comes forward once every GIVE_WAY_MS while a higher one is at work, and at once when it is not", async () => {
    const clock = new SimClock();
    const turns = new Turns(clock);
    const steps: number[] = [];
    const low = async (): Promise<void> => {
      for (let at = 0; at < 20; at++) {
        await turns.giveWay(-1);
        steps.push(clock.monotonicMs());
      }
    };
    const startMs = clock.monotonicMs();
    const high = async (): Promise<void> => {
      const end = turns.begin(0);
      await clock.sleep(10 * GIVE_WAY_MS - 1, never);
      end();
    };
    await clock.runUntilIdle(Promise.all([high(), low()]));
    const waited = steps.filter((ms) => ms - startMs < 10 * GIVE_WAY_MS - 1);
    expect(waited.map((ms) => Math.round(ms - startMs))).toEqual(Array.from({ length: 9 }, (_, at) => (at + 1) * GIVE_WAY_MS));
    expect(steps.at(-1)! - startMs).toBeLessThan(10 * GIVE_WAY_MS + 1);
  });

  test("[TURN-2] nobody waits for an equal or a lower one, and whoever is at work with the highest never does", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 8 }), fc.integer({ min: -3, max: 3 }), (busy, mine) => {
        const turns = new Turns(new SimClock());
        const ends = busy.map((priority) => turns.begin(priority));
        expect(turns.giveWay(mine) !== undefined).toBe(busy.some((priority) => priority > mine));
        for (const end of ends) end();
        expect(turns.giveWay(mine)).toBeUndefined();
      }),
    );
  });

  test("[TURN-3] messages of a transfer that gives way keep their order, and its end comes last", async () => {
    const clock = new SimClock();
    const turns = new Turns(clock);
    const [near, far] = memoryChannelPair();
    class Supplier extends PassingEndpoint {
      override async supply(channel: Channel): Promise<void> {
        for (let at = 0; at < 10; at++) {
          if (at === 3) ends.push(turns.begin(5));
          if (at === 6) for (const end of ends.splice(0)) end();
          void channel.send(Buffer.from(String(at)));
        }
        channel.end();
      }
    }
    const ends: (() => void)[] = [];
    const inner: Endpoint = new Supplier(new MemoryEndpoint());
    const got: string[] = [];
    const taking = async (): Promise<void> => {
      for (let one = await far.receive(); one !== undefined; one = await far.receive()) got.push(Buffer.from(one).toString());
    };
    await clock.runUntilIdle(Promise.all([new TurnEndpoint(inner, turns, 0).supply(near, never), taking()]));
    expect(got).toEqual(Array.from({ length: 10 }, (_, at) => String(at)));
  });

  test("[TURN-4] a message that cannot be sent is no end of its transfer, and nothing behind it leaves", async () => {
    const clock = new SimClock();
    const turns = new Turns(clock);
    const [near, far] = memoryChannelPair();
    const fates: string[] = [];
    class Supplier extends PassingEndpoint {
      override async supply(channel: Channel): Promise<void> {
        const end = turns.begin(5);
        const tell = (sent: ReturnType<Channel["send"]>): Promise<void> =>
          Promise.resolve(sent).then(() => void fates.push("sent"), (error: Error) => void fates.push(error.message.slice(0, 8)));
        const both = [tell(channel.send(new Uint8Array(MESSAGE_BYTES_MAX + 1))), tell(channel.send(new Uint8Array(1)))];
        channel.end();
        end();
        await Promise.all(both);
      }
    }
    const got = far.receive().then(() => "received", (error: Error) => error.message.slice(0, 8));
    await clock.runUntilIdle(new TurnEndpoint(new Supplier(new MemoryEndpoint()), turns, 0).supply(near, never));
    expect([...fates, await got]).toEqual(["too much", "too much", "too much"]);
  });
});
