import { expect, test } from "bun:test";
import { HOT_CHUNK_BYTES_MAX, HotChunks, KnownContent } from "#hub/hot-chunks.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

const idOf = (number: number): ChunkId => number.toString(16).padStart(64, "0") as ChunkId;

test("[HOT-1] what is kept of small chunks is bounded; those that are asked for stay", () => {
  const hot = new HotChunks();
  const bytes = new Uint8Array(32 << 10);
  for (let at = 0; at < 3000; at++) {
    hot.add(idOf(at), bytes);
    expect(hot.get(idOf(0))).toBe(bytes);
  }
  const kept = Array.from({ length: 3000 }, (_, at) => hot.get(idOf(at))).filter((one) => one !== undefined);
  expect(kept.length).toBeGreaterThan(500);
  expect(kept.length).toBeLessThanOrEqual(1024);
  hot.add(idOf(5000), new Uint8Array(HOT_CHUNK_BYTES_MAX + 1));
  expect(hot.get(idOf(5000))).toBeUndefined();
});

test("[HOT-2] content in memory is read as any other", async () => {
  const content = new KnownContent(Uint8Array.of(1, 2, 3, 4));
  const into = new Uint8Array(3);
  expect([await content.read(into, 2), ...into]).toEqual([2, 3, 4, 0]);
  expect([await content.read(into, 0), ...into]).toEqual([3, 1, 2, 3]);
  expect(await content.read(into, 4)).toBe(0);
});
