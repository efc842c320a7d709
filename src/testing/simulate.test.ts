/**
 * Whole lives from seeds, a crash at every place of one morning, and the bugs that simulation found, each as the small
 * scenario that shows it. `npm run simulate` runs as many more lives as one likes.
 */
import { describe, expect, test } from "bun:test";
import { oneWriterLife } from "#testing/one-writer.ts";
import { crashEverywhere } from "#testing/sim-everywhere.ts";
import { simulate, simulateAnew, simulateLinks, simulateThree } from "#testing/sim-run.ts";

/** Lives in the test run; about 25 ms each. */
const LIVES = 240;
const SLICES = 4;
/** About 20 ms each. */
const ONE_WRITER_LIVES = 120;
/** About 30 ms each. */
const THREE_LIVES = 100;
/** About 15 ms each. */
const LINKS_LIVES = 100;
/** About 15 ms each. */
const ANEW_LIVES = 150;

describe("simulation", () => {
  for (let slice = 0; slice < SLICES; slice++) {
    const first = 1 + (slice * LIVES) / SLICES;
    const last = first + LIVES / SLICES - 1;
    test(`[SIM-30] lives ${first} to ${last} end as their modes promise, with nothing lost`, async () => {
      for (let seed = first; seed <= last; seed++) await simulate(seed);
    }, 30_000);
  }

  test("[SIM-31] the same seed lives the same life, call by call; another one another", async () => {
    const lives = [await simulate(77), await simulate(77), await simulate(78)];
    expect(lives[1]).toEqual(lives[0]!);
    expect(lives[2]!.trace).not.toBe(lives[0]!.trace);
  });
});

test("[SIM-69] three replicas in a chain or a star, both pairs watching at once, end as their modes promise", async () => {
  for (let seed = 1; seed <= THREE_LIVES; seed++) await simulateThree(seed);
}, 30_000);

test("[SIM-114] where people give files second names all the time, and these are carried, lives end as their modes promise", async () => {
  for (let seed = 1; seed <= LINKS_LIVES; seed++) await simulateLinks(seed);
}, 30_000);

test("[SIM-119] where people often make things once more as they were, lives end as their modes promise", async () => {
  for (let seed = 1; seed <= ANEW_LIVES; seed++) await simulateAnew(seed);
}, 30_000);

test("[SIM-58] what one side alone changes is never changed there, and arrives, whatever dies or fails meanwhile", async () => {
  for (let seed = 1; seed <= ONE_WRITER_LIVES; seed++) await oneWriterLife(seed);
}, 30_000);

describe("a crash at every step of both sides", () => {
  test("[SIM-32] [S-30] killed: comes to the same as without a crash", async () => {
    expect(await crashEverywhere({ how: "kill", remote: false, disk: {} })).toBeGreaterThan(80);
  }, 30_000);

  test("[SIM-32] [S-30] power loss: the same", async () => {
    expect(await crashEverywhere({ how: "power", remote: false, disk: {} })).toBeGreaterThan(80);
  }, 30_000);

  test("[SIM-32] [S-30] the far side dies behind the wire, and the session goes on", async () => {
    await crashEverywhere({ how: "kill", remote: true, disk: {}, stride: 2 });
    await crashEverywhere({ how: "power", remote: true, disk: {}, stride: 3 });
  }, 30_000);

  test("[SIM-32] [S-30] without a swap of names, with coarse times, and dying again in the recovery", async () => {
    const disk = { exchange: false, timestampNs: 1_000_000n };
    await crashEverywhere({ how: "power", remote: false, disk, stride: 2 });
    await crashEverywhere({ how: "power", remote: false, disk, stride: 5, again: 4 });
    await crashEverywhere({ how: "kill", remote: false, disk, stride: 5, again: 9 });
  }, 30_000);
});
