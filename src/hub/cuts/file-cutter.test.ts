import { describe, expect, test } from "bun:test";
import { CUTS_HERE, type Cuts, CutsThread } from "#hub/cuts/cuts-thread.ts";
import { type CutterOptions, FileCutter, type OnCut } from "#hub/cuts/file-cutter.ts";
import { SynclineError } from "#model/error.ts";
import { chunkIdOf } from "#sync/chunk/chunk-id.ts";
import { CHUNK_LIMITS, CHUNK_LIMITS_LARGE, type ChunkLimits, cut } from "#sync/chunk/fastcdc.ts";
import { PIECE_BYTES, Summer, piecesIn } from "#sync/chunk/sum.ts";

const MIB = 1 << 20;
const SEEDS = { a: 5n, b: 6n };

/** Of a few different kinds of stretches, so that chunks are short, long, and as long as they may be. */
function content(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)));
  bytes.fill(7, Math.floor(length / 3), Math.floor(length / 2));
  return bytes;
}

function cutWhole(bytes: Uint8Array, limits: ChunkLimits, largeFrom = Infinity): string[] {
  const ids: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = cut(bytes, at, bytes.length, at < largeFrom ? limits : CHUNK_LIMITS_LARGE);
    ids.push(chunkIdOf(bytes.slice(at, at + length)));
    at += length;
  }
  return ids;
}

/** Of all pieces, as bytes in hex. */
function leavesOf(bytes: Uint8Array): string {
  const summer = new Summer(SEEDS);
  summer.update(bytes);
  summer.digest();
  return summer.leaves(piecesIn(bytes.length)).toHex();
}

type Case = Omit<CutterOptions, "seeds"> & { readonly length: number; readonly step: number };

const CASES: readonly Case[] = [
  { limits: CHUNK_LIMITS_LARGE, length: 41 * MIB + 17, step: MIB },
  { limits: CHUNK_LIMITS_LARGE, length: 9 * MIB, step: 300_001 },
  { limits: CHUNK_LIMITS, length: 18 * MIB + 1, step: MIB },
  { limits: CHUNK_LIMITS, length: 12 * MIB, step: 12 * MIB },
  { limits: CHUNK_LIMITS, length: 5000, step: 4999 },
  { limits: CHUNK_LIMITS_LARGE, length: 4 * MIB, step: MIB },
  { limits: CHUNK_LIMITS, length: 0, step: 1 },
  // Of what comes less is known, or something wrong.
  { limits: CHUNK_LIMITS, length: 7 * MIB, step: 65_536, size: 7 * MIB },
  { limits: CHUNK_LIMITS, length: 9 * MIB + 3, step: MIB, size: 5 },
  // From here on chunks are large, wherever batches end.
  { limits: CHUNK_LIMITS, length: 30 * MIB, step: MIB, largeFrom: 9 * MIB + 1 },
  { limits: CHUNK_LIMITS, length: 15 * MIB, step: MIB, largeFrom: 4 * MIB },
  { limits: CHUNK_LIMITS, length: 15 * MIB, step: MIB, largeFrom: -1 },
];

describe("chunks that are found on another thread", () => {
  test("[CUTS-1] they are those of the whole file, whole and in order, whatever the parts and however slow the store", async () => {
    const thread = CutsThread.make()!;
    for (const { length, step, ...options } of CASES) {
      const bytes = content(length);
      const found: string[] = [];
      const leaves: Uint8Array[] = [];
      let isTaking = false;
      const onCut: OnCut = async (chunks, more) => {
        expect(isTaking).toBe(false);
        isTaking = true;
        leaves.push(more);
        for (const { id, bytes: chunk } of chunks) {
          expect(chunkIdOf(chunk.slice())).toBe(id);
          found.push(id);
        }
        await Bun.sleep(found.length % 3);
        isTaking = false;
      };
      const cutter = new FileCutter(length % 2 === 0 ? thread : CUTS_HERE, { ...options, seeds: SEEDS }, onCut);
      for (let at = 0; at < length; at += step) {
        const part = bytes.slice(at, at + step);
        await cutter.push(part);
        // It is somebody else's again.
        part.fill(0);
      }
      await cutter.end();
      expect(found).toEqual(cutWhole(bytes, options.limits, options.largeFrom));
      if (length > 0) expect(Buffer.concat(leaves).toHex()).toBe(leavesOf(bytes));
    }
  }, 60_000);

  test("[CUTS-4] what begins in the middle of a piece is cut by itself and summed with the beginning of the piece", async () => {
    const thread = CutsThread.make()!;
    for (const length of [5 * MIB, 9 * MIB + 77, 3]) {
      for (const lead of [0, 1, 70_000, PIECE_BYTES - 1]) {
        const bytes = content(lead + length);
        const found: string[] = [];
        const leaves: Uint8Array[] = [];
        const options = { limits: CHUNK_LIMITS, seeds: SEEDS, lead: bytes.subarray(0, lead), largeFrom: 6 * MIB };
        const cutter = new FileCutter(thread, options, async (chunks, more) => {
          found.push(...chunks.map(({ id }) => id));
          leaves.push(more);
        });
        for (let at = lead; at < bytes.length; at += 400_000) await cutter.push(bytes.subarray(at, at + 400_000));
        await cutter.end();
        expect(found).toEqual(cutWhole(bytes.slice(lead), CHUNK_LIMITS, 6 * MIB));
        expect(Buffer.concat(leaves).toHex()).toBe(leavesOf(bytes));
      }
    }
  }, 60_000);

  test("[CUTS-9] the next batch is cut while the chunks of one are taken", async () => {
    const steps: string[] = [];
    const cuts: Cuts = {
      cut: (order) => {
        steps.push("cut");
        return CUTS_HERE.cut(order);
      },
    };
    const cutter = new FileCutter(cuts, { limits: CHUNK_LIMITS, seeds: SEEDS }, async () => void steps.push("take"));
    expect(cutter.push(content(12 * MIB))).toBeUndefined();
    await cutter.end();
    expect(steps).toEqual(["cut", "cut", "take", "cut", "take", "take"]);
  }, 60_000);

  test("[CUTS-5] the memory of what is given up is used again when nothing reads it, and nothing more is taken of it", async () => {
    const thread = CutsThread.make()!;
    const bytes = content(24 * MIB);
    const options = { limits: CHUNK_LIMITS, seeds: SEEDS };
    let taken = 0;
    const given = new FileCutter(thread, options, async (chunks) => void (taken += chunks.length));
    for (let at = 0; at < 11 * MIB; at += MIB) await given.push(bytes.subarray(at, at + MIB));
    await given.giveUp();
    const before = taken;
    const refused = await given.push(bytes)?.catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(SynclineError);
    const found: string[] = [];
    // In the same rooms.
    const next = new FileCutter(thread, options, async (chunks) => void found.push(...chunks.map(({ id }) => id)));
    for (let at = 0; at < bytes.length; at += MIB) await next.push(bytes.subarray(at, at + MIB));
    await next.end();
    await next.giveUp();
    expect(found).toEqual(cutWhole(bytes, CHUNK_LIMITS));
    expect(taken).toBe(before);
  }, 60_000);

  test("[CUTS-8] bytes that are put into the rooms are cut as those that are copied there, and there are none where all are taken", async () => {
    const thread = CutsThread.make()!;
    const bytes = content(33 * MIB + 5);
    const found: string[] = [];
    const { promise: goOn, resolve } = Promise.withResolvers<void>();
    const cutter = new FileCutter(thread, { limits: CHUNK_LIMITS, seeds: SEEDS }, async (chunks) => {
      found.push(...chunks.map(({ id }) => id));
      await goOn;
    });
    let at = 0;
    const put = (into: Uint8Array): number => {
      const some = bytes.subarray(at, at + Math.min(into.length, 333_333));
      into.set(some);
      at += some.length;
      return some.length;
    };
    while (cutter.fill(put) > 0);
    // Nobody takes the chunks, and there are three rooms.
    expect(at).toBe(12 * MIB);
    resolve();
    while (at < bytes.length) {
      const some = bytes.subarray(at, at + 100_000);
      at += some.length;
      await cutter.push(some);
      while (cutter.fill(put) > 0);
    }
    await cutter.end();
    expect(found).toEqual(cutWhole(bytes, CHUNK_LIMITS));
  }, 60_000);

  test("[CUTS-7] who reads the bytes where they lie gets all of them in order, and they stay until they were read", async () => {
    const thread = CutsThread.make()!;
    for (const length of [23 * MIB + 5, 8 * MIB, 70_000]) {
      const lead = content(10_000);
      const bytes = content(length);
      const read = new Bun.CryptoHasher("md5");
      let reading: Promise<void> = Promise.resolve();
      const onFilled = (part: Uint8Array): Promise<void> => {
        reading = reading.then(async () => {
          // Later than all else that is done with them.
          await Bun.sleep(30);
          read.update(part);
        });
        return reading;
      };
      const cutter = new FileCutter(thread, { limits: CHUNK_LIMITS, seeds: SEEDS, lead, onFilled }, async () => undefined);
      for (let at = 0; at < length; at += MIB) await cutter.push(bytes.subarray(at, at + MIB));
      await cutter.end();
      expect(read.digest("hex")).toBe(Bun.MD5.hash(bytes, "hex"));
    }
  }, 60_000);

  test("[CUTS-7] where they cannot be read, who writes and who ends is told", async () => {
    const thread = CutsThread.make()!;
    const onFilled = (): Promise<void> => Promise.reject(new Error("not read"));
    const cutter = new FileCutter(thread, { limits: CHUNK_LIMITS, seeds: SEEDS, onFilled }, async () => undefined);
    const bytes = content(24 * MIB);
    let refused: unknown;
    for (let at = 0; at < bytes.length && refused === undefined; at += MIB) {
      await cutter.push(bytes.subarray(at, at + MIB))?.catch((error: unknown) => (refused = error));
    }
    expect(refused).toEqual(new Error("not read"));
    expect(await cutter.end().catch((error: unknown) => error)).toEqual(new Error("not read"));
  }, 60_000);

  test("[CUTS-2] two files at a time do not meet, and what the store refuses is told to who writes and who ends", async () => {
    const thread = CutsThread.make()!;
    const options = { limits: CHUNK_LIMITS_LARGE, seeds: undefined };
    const refusing = new FileCutter(thread, options, () => Promise.reject(new Error("full")));
    const bytes = content(24 * MIB);
    const found: string[] = [];
    const other = new FileCutter(thread, options, async (chunks) => {
      for (const { id } of chunks) found.push(id);
    });
    let refused: unknown;
    for (let at = 0; at < bytes.length; at += MIB) {
      const part = bytes.subarray(at, at + MIB);
      if (refused === undefined) await refusing.push(part)?.catch((error: unknown) => (refused = error));
      await other.push(part);
    }
    expect(refused).toEqual(new Error("full"));
    expect(await refusing.end().catch((error: unknown) => error)).toEqual(new Error("full"));
    await other.end();
    expect(found).toEqual(cutWhole(bytes, CHUNK_LIMITS_LARGE));
  }, 60_000);
});
