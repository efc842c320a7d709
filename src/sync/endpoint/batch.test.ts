import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Batch } from "#sync/endpoint/batch.ts";
import { BATCH_BYTES_MAX, BATCH_ITEMS_MAX } from "#sync/endpoint/endpoint.ts";

describe("a batch", () => {
  test("[READ-20] holds items in their order, as many as one message takes, and loses none", () => {
    const size = fc.oneof(fc.nat(100), fc.integer({ min: BATCH_BYTES_MAX / 3, max: BATCH_BYTES_MAX * 2 }));
    fc.assert(
      fc.property(fc.array(size, { maxLength: 40 }), fc.constantFrom(1, BATCH_ITEMS_MAX), (sizes, times) => {
        const items = sizes.flatMap((bytes, at) => Array.from({ length: at === 0 ? times : 1 }, () => bytes));
        const batch = new Batch<number>();
        const batches = items.flatMap((bytes) => {
          const full = batch.add(bytes, bytes);
          return full === undefined ? [] : [full];
        });
        const rest = batch.take();
        if (rest !== undefined) batches.push(rest);
        expect(batches.flat()).toEqual(items);
        for (const [at, one] of batches.entries()) {
          const bytes = one.reduce((sum, each) => sum + each, 0);
          expect(one.length).toBeGreaterThan(0);
          expect(one.length).toBeLessThanOrEqual(BATCH_ITEMS_MAX);
          expect(one.length === 1 || bytes <= BATCH_BYTES_MAX).toBe(true);
          // No batch ends before it must.
          const next = batches[at + 1]?.[0];
          if (next !== undefined) expect(one.length === BATCH_ITEMS_MAX || bytes + next > BATCH_BYTES_MAX).toBe(true);
        }
        expect(batch.take()).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });
});
