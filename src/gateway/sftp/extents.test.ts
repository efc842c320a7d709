import { expect, test } from "bun:test";
import fc from "fast-check";
import { Extents } from "#gateway/sftp/extents.ts";

const SIZE = 40;
const range = fc.tuple(fc.nat(SIZE), fc.nat(SIZE)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
const step = fc.oneof(
  range.map(([start, end]) => ({ type: "add", start, end }) as const),
  fc.nat(SIZE).map((size) => ({ type: "cut", size }) as const),
);

test("[SFTP-6] written ranges are those that were written last, whatever the order", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), range, (steps, [from, to]) => {
      const extents = new Extents();
      const model = Array<boolean>(SIZE).fill(false);
      for (const one of steps) {
        if (one.type === "cut") extents.cut(one.size);
        else extents.add(one.start, one.end);
        if (one.type === "cut") model.fill(false, one.size);
        else model.fill(true, one.start, one.end);
      }
      const found = Array<boolean>(SIZE).fill(false);
      for (const { start, end } of extents.within(from, to)) found.fill(true, start, end);
      expect(found).toEqual(model.map((isWritten, at) => isWritten && at >= from && at < to));
      expect(extents.bytes).toBe(model.filter(Boolean).length);
      const runs = model.filter((isWritten, at) => isWritten && !(model[at - 1] ?? false)).length;
      expect(extents.count).toBe(runs);
    }),
    { numRuns: 1_000 },
  );
});
