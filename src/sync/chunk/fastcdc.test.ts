import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { GEAR } from "#sync/chunk/gear.ts";
import { CHUNK_LIMITS, type ChunkLimits, type Looked, lengthOfNext } from "#sync/chunk/fastcdc.ts";
import { chunkIdOf } from "#sync/chunk/chunk-id.ts";

/** Bytes that look random and are always the same. */
function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed * 2654435761;
  for (let at = 0; at < length; at++) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + at;
    bytes[at] = state >>> 11;
  }
  return bytes;
}

/** As somebody sees it to whom the bytes come `step` by `step`. */
function split(bytes: Uint8Array, limits: ChunkLimits, step = bytes.length): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let at = 0;
  let looked: Looked = { seen: 0, gear: 0 };
  for (let to = step; at < bytes.length; to = Math.min(bytes.length, to + step)) {
    const isEnd = to >= bytes.length;
    for (let length = 1; length !== 0 && at < to; ) {
      length = lengthOfNext(bytes, at, to, limits, looked) || (isEnd ? to - at : 0);
      if (length === 0) break;
      chunks.push(bytes.slice(at, at + length));
      at += length;
      looked = { seen: 0, gear: 0 };
    }
  }
  return chunks;
}

const SMALL: ChunkLimits = { minBytes: 256, averageBytes: 1024, maxBytes: 4096 };

describe("fastcdc", () => {
  test("[CDC-1] chunks in order are the bytes, each within its limits", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 60_000 }), fc.nat(50), fc.boolean(), (length, seed, flat) => {
        const bytes = flat ? new Uint8Array(length) : noise(length, seed);
        const chunks = split(bytes, SMALL);
        expect(Buffer.compare(Buffer.concat(chunks), bytes)).toBe(0);
        for (const [index, chunk] of chunks.entries()) {
          expect(chunk.length).toBeLessThanOrEqual(SMALL.maxBytes);
          if (index < chunks.length - 1) expect(chunk.length).toBeGreaterThan(SMALL.minBytes);
        }
      }),
    );
  });

  test("[CDC-2] boundaries do not depend on how the bytes come in", () => {
    const bytes = noise(200_000, 3);
    const whole = split(bytes, SMALL).map(chunkIdOf);
    for (const step of [1, 777, 4096, 65_536]) expect(split(bytes, SMALL, step).map(chunkIdOf)).toEqual(whole);
  });

  test("[CDC-3] an insertion changes the chunks around it only", () => {
    const bytes = noise(400_000, 4);
    const edited = Buffer.concat([bytes.subarray(0, 200_000), noise(33, 9), bytes.subarray(200_000)]);
    const before = new Set(split(bytes, SMALL).map(chunkIdOf));
    const fresh = split(edited, SMALL).filter((chunk) => !before.has(chunkIdOf(chunk)));
    expect(fresh.length).toBeLessThanOrEqual(4);
  });

  test("[CDC-4] lengths gather around the average", () => {
    const chunks = split(noise(8 << 20, 5), CHUNK_LIMITS);
    const average = (8 << 20) / chunks.length;
    expect(average).toBeGreaterThan(48 << 10);
    expect(average).toBeLessThan(96 << 10);
  });

  test("[CDC-5] the gear table and the boundaries are fixed for good", () => {
    expect([...GEAR.subarray(0, 4)]).toMatchInlineSnapshot(`
      [
        -595072849,
        -534816621,
        -1283303921,
        -523653575,
      ]
    `);
    expect(split(noise(20_000, 1), SMALL).map((chunk) => chunk.length)).toMatchInlineSnapshot(`
      [
        1046,
        803,
        1055,
        1138,
        1134,
        1138,
        1087,
        1378,
        1131,
        1160,
        1445,
        1039,
        1152,
        625,
        1260,
        1331,
        1743,
        335,
      ]
    `);
  });
});
