import { describe, expect, test } from "bun:test";
import { CutsThread } from "#hub/cuts/cuts-thread.ts";
import { ThreadCutter } from "#hub/cuts/thread-cutter.ts";
import { chunkIdOf } from "#sync/chunk/chunk-id.ts";
import { CHUNK_LIMITS, CHUNK_LIMITS_LARGE, type ChunkLimits, cut } from "#sync/chunk/fastcdc.ts";

const MIB = 1 << 20;

/** Of a few different kinds of stretches, so that chunks are short, long, and as long as they may be. */
function content(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)));
  bytes.fill(7, Math.floor(length / 3), Math.floor(length / 2));
  return bytes;
}

function cutWhole(bytes: Uint8Array, limits: ChunkLimits): string[] {
  const ids: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = cut(bytes, at, bytes.length, limits);
    ids.push(chunkIdOf(bytes.slice(at, at + length)));
    at += length;
  }
  return ids;
}

describe("chunks that are found on another thread", () => {
  test("[CUTS-1] they are those of the whole file, whole and in order, whatever the parts and however slow the store", async () => {
    const thread = CutsThread.make()!;
    for (const [limits, length, step] of [
      [CHUNK_LIMITS_LARGE, 41 * MIB + 17, MIB], [CHUNK_LIMITS_LARGE, 9 * MIB, 300_001], [CHUNK_LIMITS, 18 * MIB + 1, MIB],
      [CHUNK_LIMITS, 5000, 4999], [CHUNK_LIMITS_LARGE, 4 * MIB, MIB], [CHUNK_LIMITS, 0, 1],
    ] as const) {
      const bytes = content(length);
      const found: string[] = [];
      let isTaking = false;
      const cutter = new ThreadCutter(thread, limits, async (chunks) => {
        expect(isTaking).toBe(false);
        isTaking = true;
        for (const { id, bytes: chunk } of chunks) {
          expect(chunkIdOf(chunk.slice())).toBe(id);
          found.push(id);
        }
        await Bun.sleep(found.length % 3);
        isTaking = false;
      });
      for (let at = 0; at < length; at += step) {
        const part = bytes.slice(at, at + step);
        await cutter.push(part);
        // It is somebody else's again.
        part.fill(0);
      }
      await cutter.end();
      expect(found).toEqual(cutWhole(bytes, limits));
    }
  }, 60_000);

  test("[CUTS-2] two files at a time do not meet, and what the store refuses is told to who writes and who ends", async () => {
    const thread = CutsThread.make()!;
    const refusing = new ThreadCutter(thread, CHUNK_LIMITS_LARGE, () => Promise.reject(new Error("full")));
    const bytes = content(24 * MIB);
    const found: string[] = [];
    const other = new ThreadCutter(thread, CHUNK_LIMITS_LARGE, async (chunks) => {
      for (const { id } of chunks) found.push(id);
    });
    let refused: unknown;
    for (let at = 0; at < bytes.length; at += MIB) {
      const part = bytes.subarray(at, at + MIB);
      if (refused === undefined) await refusing.push(part).catch((error: unknown) => (refused = error));
      await other.push(part);
    }
    expect(refused).toEqual(new Error("full"));
    expect(await refusing.end().catch((error: unknown) => error)).toEqual(new Error("full"));
    await other.end();
    expect(found).toEqual(cutWhole(bytes, CHUNK_LIMITS_LARGE));
  }, 60_000);
});
