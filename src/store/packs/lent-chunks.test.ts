import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { LentChunk } from "#store/chunk-store.ts";
import { LentChunks } from "#store/packs/lent-chunks.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

const idOf = (number: number): ChunkId => number.toString(16).padStart(64, "0") as ChunkId;
const BYTES = 1 << 20;
const prove = async (): Promise<void> => undefined;

describe("lent chunks", () => {
  test("[CHUNK-42] whoever holds a chunk sees its bytes until it is given back, whatever others are lent meanwhile", async () => {
    const step = fc.record({ chunk: fc.nat(150), end: fc.constantFrom("release", "leave"), holds: fc.nat(6) });
    const lives = fc.array(step, { minLength: 60, maxLength: 120 });
    await fc.assert(fc.asyncProperty(lives, async (steps) => {
      let reads = 0;
      const lent = new LentChunks(async (id, makeRoom) => {
        reads++;
        // Some come in memory of their own.
        const number = Number(`0x${id.slice(-4)}`);
        const room = number % 7 === 0 ? new Uint8Array(BYTES) : makeRoom(BYTES).subarray(0, BYTES);
        await undefined;
        room[0] = room[BYTES - 1] = number;
        return { bytes: room, prove };
      });
      const held: { number: number; chunk: LentChunk }[] = [];
      const look = (): void => {
        for (const { number, chunk } of held) expect([chunk.bytes[0], chunk.bytes[BYTES - 1]]).toEqual([number, number]);
      };
      for (const { chunk: number, end, holds } of steps) {
        held.push({ number, chunk: await lent.lend(idOf(number), number % 2 === 0) });
        while (held.length > holds) held.shift()!.chunk[end as "release" | "leave"]();
        look();
      }
      expect(reads).toBeLessThanOrEqual(steps.length);
    }), { numRuns: 20 });
  });

  test("[CHUNK-42] one read serves all who ask while it runs, and one that failed is tried again", async () => {
    let reads = 0;
    const lent = new LentChunks(async () => {
      if (++reads === 1) throw new Error("the disk");
      return { bytes: new Uint8Array(5), prove };
    });
    const both = await Promise.allSettled([lent.lend(idOf(1), false), lent.lend(idOf(1), false)]);
    expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    const [one, two] = await Promise.all([lent.lend(idOf(1), false), lent.lend(idOf(1), true)]);
    expect(one.bytes).toBe(two.bytes);
    expect(reads).toBe(2);
  });

  test("[CHUNK-42] one proof serves all who want it, and what it refuses is read again for the next", async () => {
    let [reads, proofs] = [0, 0];
    const refuse = async (): Promise<void> => {
      if (++proofs === 1) throw new Error("other bytes");
    };
    const lent = new LentChunks(async () => {
      reads++;
      return { bytes: new Uint8Array(5), prove: refuse };
    });
    const all = await Promise.allSettled([true, false, true].map((isProved) => lent.lend(idOf(1), isProved)));
    expect(all.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    await Promise.all([lent.lend(idOf(1), true), lent.lend(idOf(1), true), lent.lend(idOf(1), false)]);
    expect([reads, proofs]).toEqual([2, 2]);
  });
});
