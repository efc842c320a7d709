import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { PIECE_BYTES, PieceSums, Summer, piecesIn, sumOf } from "#sync/chunk/sum.ts";

const SEEDS = { a: 11n, b: 22n };

function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >>> 8) * 7 + (at >>> 16)) & 255;
  return bytes;
}

describe("sum", () => {
  const bytes = pattern(3 * PIECE_BYTES + 777);

  test("[SUM-1] a file has one sum, however its bytes are handed over", () => {
    const step = fc.integer({ min: 1, max: 2 * PIECE_BYTES });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6 }), fc.integer({ min: 0, max: bytes.length }), (steps, length) => {
        const summer = new Summer(SEEDS);
        let at = 0;
        for (const count of steps) {
          summer.update(bytes.subarray(at, Math.min(length, at + count)));
          at = Math.min(length, at + count);
        }
        summer.update(bytes.subarray(at, length));
        expect(summer.digest()).toBe(sumOf(bytes.subarray(0, length), SEEDS));
      }),
      { numRuns: 30 },
    );
  });

  test("[SUM-2] pieces may be hashed in any order", () => {
    for (const length of [0, 1, PIECE_BYTES, PIECE_BYTES + 1, bytes.length]) {
      const sums = new PieceSums(SEEDS, length);
      for (let piece = piecesIn(length) - 1; piece >= 0; piece--) {
        sums.add(piece, bytes.subarray(piece * PIECE_BYTES, Math.min(length, (piece + 1) * PIECE_BYTES)));
      }
      expect(sums.missing).toBe(0);
      expect(sums.digest()).toBe(sumOf(bytes.subarray(0, length), SEEDS));
    }
  });

  test("[SUM-3] zeros need not be made to be summed", () => {
    const lengths = [0, 1, 5000, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 5];
    for (const before of [0, 1, PIECE_BYTES, PIECE_BYTES + 9]) {
      for (const zeros of lengths) {
        const whole = new Uint8Array(before + zeros + 10);
        whole.set(bytes.subarray(0, before));
        whole.fill(9, before + zeros);
        const summer = new Summer(SEEDS);
        summer.update(whole.subarray(0, before));
        summer.zeros(zeros);
        summer.update(whole.subarray(before + zeros));
        expect(summer.digest()).toBe(sumOf(whole, SEEDS));
      }
    }
  });

  test("[SUM-4] length, content and seeds each change the sum", () => {
    const sums = new Set<string>();
    for (const length of [0, 1, 2, PIECE_BYTES, PIECE_BYTES + 1]) sums.add(sumOf(new Uint8Array(length), SEEDS));
    const flipped = bytes.slice();
    flipped[2 * PIECE_BYTES] = flipped[2 * PIECE_BYTES]! ^ 1;
    sums.add(sumOf(bytes, SEEDS)).add(sumOf(flipped, SEEDS)).add(sumOf(bytes, { a: 11n, b: 23n }));
    expect(sums.size).toBe(8);
    for (const sum of sums) expect(sum).toMatch(/^[0-9a-f]{32}$/);
  });

  test("[SUM-5] a file that looks like the node of another has another sum", () => {
    const file = bytes.subarray(0, 2 * PIECE_BYTES);
    const node = new Uint8Array(8 + 2 * 16);
    new DataView(node.buffer).setBigUint64(0, BigInt(file.length), true);
    for (const piece of [0, 1]) {
      const leaf = sumOf(file.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES), SEEDS);
      node.set(Buffer.from(leaf, "hex"), 8 + piece * 16);
    }
    expect(sumOf(node, SEEDS)).not.toBe(sumOf(file, SEEDS));
  });

  test("[SUM-6] the construction is fixed: known values", () => {
    expect(sumOf(new Uint8Array(0), SEEDS)).toMatchInlineSnapshot(`"5141ca7099228416e4e69127ff5b2fe0"`);
    expect(sumOf(bytes, SEEDS)).toMatchInlineSnapshot(`"44ffb196ef0c846c0f1e391ca1c4d0e1"`);
  });
});
