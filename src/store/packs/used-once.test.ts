/** Which reads bring large records into the page cache, and which look there. */
import { expect, test } from "bun:test";
import { expectAll, putAll, sampleChunk } from "#store/chunk-store-contract.ts";
import type { PackLimits } from "#store/packs/appender.ts";
import { RECORD_BYTES_MAX } from "#store/packs/pack-format.ts";
import { SimPacks } from "#store/packs/packs-fixture.ts";
import { UsedOnce } from "#store/packs/used-once.ts";
import type { SimFs } from "#testing/sim-fs.ts";

const LIMITS: PackLimits = { packBytes: 300 << 10, packRecords: 64, bufferBytes: RECORD_BYTES_MAX, largeBytes: 4 << 10 };
const never = new AbortController().signal;

type Ways = { looks: number; past: number; into: number };

/** Counts the reads of packs from now on; the page cache holds nothing. */
function countReads(fs: SimFs): Ways {
  const ways = { looks: 0, past: 0, into: 0 };
  const [past, into] = [fs.readUncached.bind(fs), fs.readAsync.bind(fs)];
  let isPast = false;
  fs.readCached = () => {
    ways.looks++;
    return Promise.resolve(0);
  };
  fs.readUncached = (...words) => {
    ways.past++;
    isPast = true;
    const read = past(...words);
    isPast = false;
    return read;
  };
  fs.readAsync = (...words) => {
    if (!isPast) ways.into++;
    return into(...words);
  };
  return ways;
}

test("[CHUNK-56] a large chunk is read past the page cache once, and into it when it is used again", async () => {
  const sim = await SimPacks.opened(1, LIMITS);
  const [first, second] = [sampleChunk(1, 9000), sampleChunk(2, 20_000)];
  await putAll(sim.store, [first, second]);
  const store = await sim.crash();
  const ways = countReads(sim.fs);
  await expectAll(store, [first, second]);
  expect(ways).toMatchObject({ past: 2, into: 0 });
  expect(Buffer.compare(await store.get(first.id), first.bytes)).toBe(0);
  expect(ways).toMatchObject({ past: 2, into: 1 });
});

test("[CHUNK-56] a scrub reads what is on the disk, not what is cached, and is no use of it", async () => {
  const sim = await SimPacks.opened(2, LIMITS);
  const chunk = sampleChunk(1, 9000);
  await putAll(sim.store, [chunk]);
  const store = await sim.crash();
  const ways = countReads(sim.fs);
  for (let times = 1; times <= 2; times++) {
    expect((await store.scrub(undefined, 2 ** 40, never)).damaged).toEqual([]);
    expect(ways).toEqual({ looks: 0, past: times, into: 0 });
  }
  await store.get(chunk.id);
  expect(ways).toEqual({ looks: 1, past: 3, into: 0 });
});

test("[CHUNK-56] places are remembered until so many others were used", () => {
  const used = new UsedOnce();
  expect([used.isAgain(1, 0), used.isAgain(2, 0), used.isAgain(1, 64), used.isAgain(1, 0)]).toEqual([false, false, false, true]);
  // It is not known any more: whoever read it again has brought it in.
  expect(used.isAgain(1, 0)).toBe(false);
  for (let at = 0; at < 8_191; at++) expect(used.isAgain(3, at)).toBe(false);
  expect([used.isAgain(1, 0), used.isAgain(2, 0)]).toEqual([true, false]);
});
