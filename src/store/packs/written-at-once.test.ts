/** Large records that are written from where they lie, among others that wait in buffers. */
import { expect, test } from "bun:test";
import { type Chunk, expectAll, idsOf, putAll, sampleChunk } from "#store/chunk-store-contract.ts";
import { PAGE_BYTES } from "#platform/aligned-bytes.ts";
import { OFFSET_BYTES_MAX } from "#store/packs/chunk-table.ts";
import type { PackLimits } from "#store/packs/appender.ts";
import { RECORD_BYTES_MAX } from "#store/packs/pack-format.ts";
import { SimPacks } from "#store/packs/packs-fixture.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimFs } from "#testing/sim-fs.ts";

/** Room for many large records in a pack, behind each other and behind small ones. */
const LIMITS: PackLimits = { packBytes: 300 << 10, packRecords: 64, bufferBytes: RECORD_BYTES_MAX, largeBytes: 4 << 10 };
const LENGTHS = [5000, 9000, 300, 4096, 20_000, 7777, 1, 12_288, 30_000, 4200];

const chunksOf = (seed: number): Chunk[] => LENGTHS.map((length, at) => sampleChunk(seed * 100 + at, length));

/** Writes into the page cache that are begun while a chunk is put have not waited for others. */
function countAtOnce(fs: SimFs): { isPutting: boolean; taken: number } {
  const seen = { isPutting: false, taken: 0 };
  const write = fs.writeCached.bind(fs);
  fs.writeCached = (fd, bytes, position) => {
    const taken = write(fd, bytes, position);
    if (seen.isPutting && taken === bytes.length && bytes.length > 1000) seen.taken++;
    return taken;
  };
  return seen;
}

test("[CHUNK-47] a large record that is written at once is in its place, and so is all before and behind it", async () => {
  let atOnce = 0;
  for (let seed = 0; seed < 30; seed++) {
    const sim = await SimPacks.opened(seed, LIMITS);
    const seen = countAtOnce(sim.fs);
    const chunks = [chunksOf(seed), chunksOf(seed + 1000), chunksOf(seed + 2000)].flat();
    using pin = sim.store.pin();
    for (const [at, { id, bytes }] of chunks.entries()) {
      const own = bytes.slice();
      seen.isPutting = true;
      const full = pin.put(id, own);
      seen.isPutting = false;
      // The caller's again.
      if (full === undefined) own.fill(0);
      else await full;
      if ((at + seed) % 3 === 0) await pin.flush();
      await expectAll(sim.store, [chunks[at]!, chunks[at >> 1]!]);
    }
    await pin.flush();
    await expectAll(sim.store, chunks);
    await expectAll(await sim.crash(), chunks);
    atOnce += seen.taken;
  }
  expect(atOnce).toBeGreaterThan(50);
});

test("[CHUNK-47] a refusal or the end of the process at any effect of such writes loses no acknowledged chunk", async () => {
  for (const errno of ["EIO", "ENOSPC", "crash", "power"]) {
    for (let at = 1; ; at++) {
      const sim = await SimPacks.opened(at, LIMITS);
      const acknowledged: Chunk[] = [];
      const isReached = sim.failAt(at, errno);
      const life = async (): Promise<void> => {
        for (const chunk of [...chunksOf(at), ...chunksOf(at + 1000)]) {
          await putAll(sim.store, [chunk]);
          acknowledged.push(chunk);
        }
        await sim.store.close();
      };
      const isClosed = await life().then(() => true, (error: unknown) => {
        if (!(error instanceof SimCrash)) expect((error as { code?: string }).code).toBe("DISK");
        return false;
      });
      sim.fs.faults = undefined;
      if (!sim.fs.isDead && !isClosed) await expectAll(sim.store, acknowledged);
      const store = await sim.crash(errno === "power");
      await expectAll(store, acknowledged);
      // What was left behind is in nobody's way.
      await putAll(store, chunksOf(at + 2000));
      await store.prune({ live: idsOf([...acknowledged, ...chunksOf(at + 2000)]), olderThanMs: 0, fractionMax: 1 }, new AbortController().signal);
      await expectAll(await sim.crash(), [...acknowledged, ...chunksOf(at + 2000)]);
      if (!isReached()) break;
    }
  }
}, 60_000);

test("[CHUNK-53] what is not read soon has no part in the page cache, and what is put between is in its place", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const sim = await SimPacks.opened(seed, LIMITS);
    let cached = 0;
    const write = sim.fs.writeCached.bind(sim.fs);
    sim.fs.writeCached = (fd, bytes, position) => {
      cached++;
      return write(fd, bytes, position);
    };
    const [passing, soon, mixed] = [chunksOf(seed), chunksOf(seed + 1000), chunksOf(seed + 2000)];
    using pin = sim.store.pin();
    for (const { id, bytes } of passing) await pin.put(id, bytes, false);
    await pin.flush();
    expect(cached).toBe(0);
    for (const { id, bytes } of soon) await pin.put(id, bytes);
    await pin.flush();
    expect(cached).toBeGreaterThan(0);
    for (const [at, { id, bytes }] of mixed.entries()) {
      const own = bytes.slice();
      const full = pin.put(id, own, (at + seed) % 3 === 0);
      if (full === undefined) own.fill(0);
      else await full;
      if ((at + seed) % 4 === 0) await pin.flush();
    }
    await pin.flush();
    await expectAll(sim.store, [...passing, ...soon, ...mixed]);
    await expectAll(await sim.crash(), [...passing, ...soon, ...mixed]);
  }
});

test("[CHUNK-57] of what the page cache does not take at once every third buffer passes by it", async () => {
  const sim = await SimPacks.opened(1, { ...LIMITS, packBytes: OFFSET_BYTES_MAX });
  const ways: string[] = [];
  const [past, into] = [sim.fs.writeUncached.bind(sim.fs), sim.fs.writeAsync.bind(sim.fs)];
  sim.fs.writeCached = () => 0;
  sim.fs.writeUncached = (...words) => {
    ways.push("past");
    return past(...words);
  };
  sim.fs.writeAsync = (...words) => {
    // The edges of what passes by are less than a page each.
    if (words[1].length > PAGE_BYTES) ways.push("into");
    return into(...words);
  };
  const chunks = Array.from({ length: 170 }, (_, at) => sampleChunk(at, 200_000 + at));
  await putAll(sim.store, chunks);
  expect(ways.length).toBeGreaterThan(6);
  for (const [at, way] of ways.entries()) expect(way).toBe(at % 3 === 0 ? "past" : "into");
  await expectAll(await sim.crash(), chunks);
});
