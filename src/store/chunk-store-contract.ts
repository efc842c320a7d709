/**
 * What every ChunkStore must do, as a suite: `chunkStoreContract("packs", open)` inside a test file. Every test opens a
 * store of its own.
 */
import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import { CHUNK_BYTES_MAX, type ChunkStore, FRESH_BYTES_MAX, type SizedChunk } from "#store/chunk-store.ts";
import { type ChunkId, chunkIdOf } from "#sync/chunk/chunk-id.ts";
import { SimRandom } from "#testing/sim-random.ts";

export type ChunkStoreUnderTest = {
  readonly store: ChunkStore;
  /** The wall clock of the store, in ms. */
  readonly clock: { nowMs: number };
  /** Closes the store and opens the same state again. */
  reopen(): Promise<ChunkStore>;
  /** Opens what a power loss leaves; the old store is given up. Nothing may be running. */
  crash(): Promise<ChunkStore>;
  /** Changes bytes of a durable chunk at rest. */
  damage(id: ChunkId): Promise<void>;
  dispose?: (() => Promise<void> | void) | undefined;
};

const MINUTE = 60_000;
const never = new AbortController().signal;

export type Chunk = { readonly id: ChunkId; readonly bytes: Uint8Array };

export const chunkOf = (bytes: Uint8Array): Chunk => ({ id: chunkIdOf(bytes), bytes });

/** Random bytes, or some that compress well. */
export function sampleChunk(seed: number, length: number, compressible = false): Chunk {
  const random = new SimRandom(seed);
  if (!compressible) return chunkOf(random.bytes(length));
  const unit = random.bytes(16);
  return chunkOf(Uint8Array.from({ length }, (_, at) => unit[at % 16]! ^ (at >> 12)));
}

/** Several, each another one than those of other numbers. */
export const samples = (count: number, length = 1500, from = 0): Chunk[] =>
  Array.from({ length: count }, (_, at) => sampleChunk(from + at, length));

export async function* idsOf(chunks: Iterable<Chunk>): AsyncGenerator<ChunkId> {
  for (const { id } of chunks) yield id;
}

export async function codeOf(attempt: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof attempt === "function" ? attempt() : attempt);
    return "ok";
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
}

/** Puts chunks under a pin that is released at once. */
export async function putAll(store: ChunkStore, chunks: Iterable<Chunk>): Promise<void> {
  using pin = store.pin();
  for (const { id, bytes } of chunks) await pin.put(id, bytes);
  await pin.flush();
}

export async function expectAll(store: ChunkStore, chunks: Iterable<Chunk>): Promise<void> {
  for (const { id, bytes } of chunks) expect(Buffer.compare(await store.get(id), bytes)).toBe(0);
}

function has(store: ChunkStore, chunks: readonly Chunk[]): boolean[] {
  using pin = store.pin();
  return pin.has(chunks.map(({ id }) => id));
}

export function chunkStoreContract(name: string, open: () => Promise<ChunkStoreUnderTest>): void {
  const using = async (body: (under: ChunkStoreUnderTest) => Promise<ChunkStore | void>): Promise<void> => {
    const under = await open();
    const last = (await body(under)) ?? under.store;
    await last.close();
    await under.dispose?.();
  };
  describe(`${name}: the chunk store contract`, () => {
    basics(using);
    durability(using);
    damage(using);
    pruning(using);
  });
}

type Using = (body: (under: ChunkStoreUnderTest) => Promise<ChunkStore | void>) => Promise<void>;

function basics(using: Using): void {
  test("[CHUNK-1] what was put is given back, of every length, packed or not, before and after the flush", () =>
    using(async ({ store }) => {
      const chunks = [
        sampleChunk(1, 0), sampleChunk(2, 1), sampleChunk(3, 300), sampleChunk(4, 300, true), sampleChunk(5, 70_000),
        sampleChunk(6, 70_000, true), sampleChunk(7, CHUNK_BYTES_MAX), sampleChunk(8, CHUNK_BYTES_MAX, true),
      ];
      using pin = store.pin();
      for (const { id, bytes } of chunks) await pin.put(id, bytes);
      for (const { id, bytes } of chunks) expect(Buffer.compare(await store.get(id), bytes)).toBe(0);
      await pin.flush();
      for (const { id, bytes } of chunks) expect(Buffer.compare(await store.get(id), bytes)).toBe(0);
      for (const { id, bytes } of chunks) expect(store.lengthOf(id)).toBe(bytes.length);
      expect(store.stats().chunks).toBe(chunks.length);
      expect(store.stats().plainBytes).toBe(chunks.reduce((sum, { bytes }) => sum + bytes.length, 0));
    }));

  test("[CHUNK-2] what is not here is told, and nothing is kept twice", () =>
    using(async ({ store }) => {
      const [here, missing] = [sampleChunk(1, 500), sampleChunk(2, 500)];
      await putAll(store, [here, here]);
      await putAll(store, [here]);
      const { storedBytes } = store.stats();
      await putAll(store, [here]);
      expect(store.stats()).toEqual({ chunks: 1, plainBytes: 500, storedBytes, damaged: 0 });
      expect(has(store, [missing, here, missing])).toEqual([false, true, false]);
      expect(await codeOf(store.get(missing.id))).toBe("CHUNK_MISSING");
      expect([store.lengthOf(here.id), store.lengthOf(missing.id)]).toEqual([500, undefined]);
    }));

  test("[CHUNK-3] the store keeps a copy: the caller's buffer may change after the put", () =>
    using(async ({ store }) => {
      const chunk = sampleChunk(1, 5000);
      const buffer = chunk.bytes.slice();
      using pin = store.pin();
      await pin.put(chunk.id, buffer);
      buffer.fill(0);
      expect(Buffer.compare(await store.get(chunk.id), chunk.bytes)).toBe(0);
    }));
}

function durability(using: Using): void {
  test("[CHUNK-48] what is not durable yet is told with its bytes, where it is little and all of it is known", () =>
    using(async ({ store }) => {
      const [one, two, large] = [sampleChunk(1, 3000), sampleChunk(2, 3000, true), sampleChunk(3, FRESH_BYTES_MAX)];
      using first = store.pin();
      expect(first.fresh()).toEqual([]);
      for (const { id, bytes } of [one, two]) await first.put(id, bytes);
      expect(first.fresh()).toEqual([one, two]);
      // Somebody else's: with its bytes it is told as well, and without them it is not known.
      using second = store.pin();
      await second.put(one.id, one.bytes);
      expect(second.fresh()).toEqual([one]);
      second.has([two.id]);
      expect(second.fresh()).toBeUndefined();
      using third = store.pin();
      await third.put(large.id, large.bytes);
      expect(third.fresh()).toEqual([large]);
      await third.put(one.id, one.bytes);
      expect(third.fresh()).toBeUndefined();
      await store.flush();
      using last = store.pin();
      await last.put(one.id, one.bytes);
      last.has([two.id, large.id]);
      expect(last.fresh()).toEqual([]);
    }));

  test("[CHUNK-4] what was flushed survives a power loss; what was not may be gone but is never wrong", () =>
    using(async (under) => {
      const flushed = Array.from({ length: 50 }, (_, seed) => sampleChunk(seed, seed * 40, seed % 2 === 0));
      const loose = Array.from({ length: 20 }, (_, seed) => sampleChunk(1000 + seed, 900));
      await putAll(under.store, flushed);
      const pin = under.store.pin();
      for (const { id, bytes } of loose) await pin.put(id, bytes);
      const store = await under.crash();
      expect(has(store, flushed)).not.toContain(false);
      for (const { id, bytes } of flushed) expect(Buffer.compare(await store.get(id), bytes)).toBe(0);
      for (const { id, bytes } of loose) {
        const found = await store.get(id).catch(() => undefined);
        if (found !== undefined) expect(Buffer.compare(found, bytes)).toBe(0);
      }
      return store;
    }));

  test("[CHUNK-5] everything is there after a close, without a flush", () =>
    using(async (under) => {
      const chunks = [sampleChunk(1, 100), sampleChunk(2, 30_000)];
      using pin = under.store.pin();
      for (const { id, bytes } of chunks) await pin.put(id, bytes);
      const before = under.store.stats();
      const store = await under.reopen();
      expect(store.stats()).toEqual({ ...before, storedBytes: store.stats().storedBytes });
      for (const { id, bytes } of chunks) expect(Buffer.compare(await store.get(id), bytes)).toBe(0);
      return store;
    }));

  test("[CHUNK-6] many flushes at once each cover what was put before them", () =>
    using(async (under) => {
      const chunks = Array.from({ length: 200 }, (_, seed) => sampleChunk(seed, 700));
      await Promise.all(
        chunks.map(async (chunk, at) => {
          for (let turn = 0; turn < at % 7; turn++) await undefined;
          await putAll(under.store, [chunk]);
        }),
      );
      const store = await under.crash();
      expect(has(store, chunks)).not.toContain(false);
      return store;
    }));
}

function damage(using: Using): void {
  test("[CHUNK-7] a damaged chunk is never given out: it is told once read, counts as absent, and a put heals it", () =>
    using(async (under) => {
      const chunks = [sampleChunk(1, 400), sampleChunk(2, 5000, true), sampleChunk(3, 400)];
      const [, hurt] = chunks as [Chunk, Chunk, Chunk];
      await putAll(under.store, chunks);
      await under.damage(hurt.id);
      expect(await codeOf(under.store.get(hurt.id))).toBe("CHUNK_DAMAGED");
      expect(await codeOf(under.store.get(hurt.id))).toBe("CHUNK_DAMAGED");
      expect(under.store.stats()).toMatchObject({ chunks: 2, damaged: 1 });
      expect(under.store.knownDamaged()).toEqual([hurt.id]);
      expect(has(under.store, chunks)).toEqual([true, false, true]);
      await putAll(under.store, [hurt]);
      expect(under.store.stats()).toMatchObject({ chunks: 3, damaged: 0 });
      expect(under.store.knownDamaged()).toEqual([]);
      const store = await under.crash();
      for (const { id, bytes } of chunks) expect(Buffer.compare(await store.get(id), bytes)).toBe(0);
      return store;
    }));

  test("[CHUNK-8] a pin that found a chunk which turns out to be damaged says so", () =>
    using(async (under) => {
      const chunk = sampleChunk(1, 400);
      await putAll(under.store, [chunk]);
      using pin = under.store.pin();
      expect(pin.has([chunk.id])).toEqual([true]);
      await under.damage(chunk.id);
      expect(await codeOf(under.store.get(chunk.id))).toBe("CHUNK_DAMAGED");
      expect(await codeOf(pin.flush())).toBe("CHUNK_DAMAGED");
      expect(await codeOf(() => pin.has([chunk.id]))).toBe("CHUNK_DAMAGED");
    }));

  test("[CHUNK-40] what is asked for unproved is the same bytes, and damage is told as by any other read", () =>
    using(async (under) => {
      const chunks = [sampleChunk(1, 400), sampleChunk(2, 90_000)];
      await putAll(under.store, chunks);
      for (const { id, bytes } of chunks) expect(Buffer.compare(await under.store.getUnproved(id), bytes)).toBe(0);
      await under.damage(chunks[1]!.id);
      expect(await codeOf(under.store.getUnproved(chunks[1]!.id))).toBe("CHUNK_DAMAGED");
      expect(has(under.store, chunks)).toEqual([true, false]);
      expect(await codeOf(under.store.getUnproved(sampleChunk(3, 10).id))).toBe("CHUNK_MISSING");
    }));

  test("[CHUNK-46] what was put is proved for the process that put it, and what is not here is not", () =>
    using(async ({ store }) => {
      const chunks = [sampleChunk(1, 400), sampleChunk(2, 90_000)];
      await putAll(store, chunks);
      const ids = chunks.map(({ id }) => id);
      expect([store.areProved([]), store.areProved(ids)]).toEqual([true, true]);
      expect(store.areProved([...ids, sampleChunk(3, 10).id])).toBe(false);
    }));

  test.each(["lend", "lendUnproved"] as const)("[CHUNK-43] what is lent is the same bytes, and damage is told as by any other read: %s", (call) =>
    using(async (under) => {
      const chunks = [sampleChunk(1, 400), sampleChunk(2, 90_000), sampleChunk(3, 90_000)];
      await putAll(under.store, chunks);
      await under.damage(chunks[1]!.id);
      expect(await codeOf(under.store[call](chunks[1]!.id))).toBe("CHUNK_DAMAGED");
      expect(has(under.store, chunks)).toEqual([true, false, true]);
      expect(await codeOf(under.store[call](chunks[1]!.id))).toBe("CHUNK_DAMAGED");
      expect(await codeOf(under.store[call](sampleChunk(4, 10).id))).toBe("CHUNK_MISSING");
      const lent = await Promise.all([0, 2, 0, 2].map((at) => under.store[call](chunks[at]!.id)));
      for (const [at, { bytes }] of lent.entries()) expect(Buffer.compare(bytes, chunks[at % 2 === 0 ? 0 : 2]!.bytes)).toBe(0);
      for (const { release } of lent) release();
    }));

  test("[CHUNK-50] chunks that are gathered are the same bytes in their order, and end before what is not as it should be", () =>
    using(async (under) => {
      const { store } = under;
      const chunks = Array.from({ length: 8 }, (_, seed) => sampleChunk(seed, 2_000 + 37 * seed));
      await putAll(store, chunks);
      const room = new Uint8Array(64 << 10);
      const sized = (some: readonly Chunk[]): SizedChunk[] => some.map(({ id, bytes }) => ({ id, length: bytes.length }));
      const gathered = async (some: readonly SizedChunk[], into = room): Promise<number> => {
        into.fill(255);
        const count = await store.gather(some, into);
        const wanted = Buffer.concat(some.slice(0, count).map(({ id }) => chunks.find((chunk) => chunk.id === id)!.bytes));
        expect(Buffer.compare(into.subarray(0, wanted.length), wanted)).toBe(0);
        return count;
      };
      expect([await gathered(sized(chunks)), await gathered(sized(chunks.slice(5, 7)))]).toEqual([8, 2]);
      expect(await gathered(sized(chunks), new Uint8Array(10_000))).toBeLessThan(5);
      expect(await gathered([...sized(chunks.slice(0, 3)), { id: chunks[3]!.id, length: 1_999 }])).toBe(3);
      expect(await gathered(sized([...chunks.slice(0, 3), sampleChunk(99, 2_000)]))).toBe(3);
      expect(await gathered(sized([sampleChunk(99, 2_000), ...chunks]))).toBe(0);
      expect(await gathered(sized([...chunks.slice(0, 3), sampleChunk(99, 2_000), ...chunks.slice(4)]))).toBe(0);
      await under.damage(chunks[4]!.id);
      expect([await gathered(sized(chunks)), await gathered(sized(chunks.slice(5)))]).toEqual([4, 3]);
      expect(await gathered(sized(chunks.slice(4)))).toBe(0);
      expect(await codeOf(store.getUnproved(chunks[4]!.id))).toBe("CHUNK_DAMAGED");
    }));

  test("[CHUNK-9] a scrub looks at everything in steps of its budget and finds every damaged chunk", () =>
    using(async ({ store, damage }) => {
      const chunks = Array.from({ length: 60 }, (_, seed) => sampleChunk(seed, 1000));
      await putAll(store, chunks);
      const hurt = [chunks[0]!, chunks[17]!, chunks[59]!];
      for (const { id } of hurt) await damage(id);
      const found: ChunkId[] = [];
      let cursor: string | undefined;
      let steps = 0;
      let checkedBytes = 0;
      do {
        const step = await store.scrub(cursor, 10_000, never);
        expect(step.checkedBytes).toBeLessThan(12_000);
        found.push(...step.damaged);
        checkedBytes += step.checkedBytes;
        cursor = step.cursor;
        steps++;
      } while (cursor !== undefined);
      expect(found.sort()).toEqual(hurt.map(({ id }) => id).sort());
      expect(steps).toBeGreaterThan(5);
      expect(checkedBytes).toBeGreaterThanOrEqual(60_000);
      expect(has(store, hurt)).toEqual([false, false, false]);
      expect(store.stats().damaged).toBe(3);
      expect((await store.scrub(undefined, 2 ** 40, never)).damaged).toEqual([]);
      const aborted = AbortSignal.abort(new Error("enough"));
      expect(await store.scrub(undefined, 2 ** 40, aborted).catch((error: Error) => error.message)).toBe("enough");
    }));
}

const prune = (store: ChunkStore, live: readonly Chunk[], olderThanMs: number, fractionMax = 1) =>
  store.prune({ live: idsOf(live), olderThanMs, fractionMax }, never);

function pruning(using: Using): void {
  test("[CHUNK-10] prune removes what is old, not live and not pinned, and that alone", () =>
    using(async (under) => {
      const { store, clock } = under;
      const chunks = Array.from({ length: 40 }, (_, seed) => sampleChunk(seed, 2000));
      const [live, dead, pinned] = [chunks.slice(0, 10), chunks.slice(10, 30), chunks.slice(30)];
      await putAll(store, chunks);
      clock.nowMs += 10 * MINUTE;
      const young = sampleChunk(99, 2000);
      await putAll(store, [young]);
      using pin = store.pin();
      expect(pin.has(pinned.map(({ id }) => id))).not.toContain(false);
      const result = await prune(store, live, clock.nowMs - 5 * MINUTE);
      expect(result.removedChunks).toBe(20);
      expect(has(store, dead)).not.toContain(true);
      expect(await codeOf(store.get(dead[0]!.id))).toBe("CHUNK_MISSING");
      const after = await under.reopen();
      for (const { id, bytes } of [...live, ...pinned, young]) {
        expect(Buffer.compare(await after.get(id), bytes)).toBe(0);
      }
      expect(after.stats().chunks).toBe(21);
      return after;
    }));

  test("[CHUNK-11] prune refuses to remove more than its share, and then nothing is removed", () =>
    using(async ({ store, clock }) => {
      const chunks = Array.from({ length: 10 }, (_, seed) => sampleChunk(seed, 1000));
      await putAll(store, chunks);
      clock.nowMs += MINUTE;
      expect(await codeOf(prune(store, chunks.slice(0, 4), clock.nowMs, 0.5))).toBe("HALT");
      expect(store.stats().chunks).toBe(10);
      expect((await prune(store, chunks.slice(0, 5), clock.nowMs, 0.5)).removedChunks).toBe(5);
    }));

  test("[CHUNK-12] what is put or found while prune reads what is live stays", () =>
    using(async (under) => {
      const { store, clock } = under;
      const [put, found, dead] = [sampleChunk(1, 800), sampleChunk(2, 800), sampleChunk(3, 800)];
      await putAll(store, [put, found, dead]);
      clock.nowMs += MINUTE;
      async function* live(): AsyncGenerator<ChunkId> {
        // Both pins have gone when prune comes to remove.
        await putAll(store, [put]);
        expect(has(store, [found])).toEqual([true]);
        yield* [];
      }
      const result = await store.prune({ live: live(), olderThanMs: clock.nowMs - 1, fractionMax: 1 }, never);
      expect(result.removedChunks).toBe(1);
      expect(has(store, [put, found, dead])).toEqual([true, true, false]);
      const after = await under.crash();
      for (const { id, bytes } of [put, found]) expect(Buffer.compare(await after.get(id), bytes)).toBe(0);
      return after;
    }));

  test("[CHUNK-13] an aborted prune, or one whose list breaks off, removes nothing", () =>
    using(async ({ store, clock }) => {
      const chunk = sampleChunk(1, 800);
      await putAll(store, [chunk]);
      clock.nowMs += MINUTE;
      async function* broken(): AsyncGenerator<ChunkId> {
        yield* [];
        throw new Error("the list broke off");
      }
      const options = { olderThanMs: clock.nowMs, fractionMax: 1 };
      expect(await store.prune({ ...options, live: broken() }, never).catch((error: Error) => error.message)).toBe(
        "the list broke off",
      );
      const aborted = AbortSignal.abort(new Error("enough"));
      expect(
        await store.prune({ ...options, live: idsOf([]) }, aborted).catch((error: Error) => error.message),
      ).toBe("enough");
      expect(has(store, [chunk])).toEqual([true]);
    }));

  test("[CHUNK-14] a damaged chunk that nothing refers to is forgotten; a referred one waits for its repair", () =>
    using(async ({ store, clock, damage }) => {
      const [wanted, unwanted] = [sampleChunk(1, 800), sampleChunk(2, 800)];
      await putAll(store, [wanted, unwanted]);
      for (const { id } of [wanted, unwanted]) {
        await damage(id);
        expect(await codeOf(store.get(id))).toBe("CHUNK_DAMAGED");
      }
      await prune(store, [wanted], clock.nowMs);
      expect(store.stats().damaged).toBe(1);
      expect(await codeOf(store.get(wanted.id))).toBe("CHUNK_DAMAGED");
      expect(await codeOf(store.get(unwanted.id))).toBe("CHUNK_MISSING");
    }));
}
