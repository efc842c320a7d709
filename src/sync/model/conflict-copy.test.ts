import { expect, test } from "bun:test";
import fc from "fast-check";
import { COPY_MARK, conflictCopyOf, copyPath } from "#model/conflict-copy.ts";
import { NAME_BYTES_MAX, encodeName, nameOf, pathFault } from "#model/path.ts";

const word = fc.string({ unit: fc.constantFrom("a", ".", "-", " ", "é", "\udcff", "\n", "0", "conflict", ".conflict-beta-01234567", "🙂"), minLength: 1, maxLength: 90 });
const name = fc
  .oneof(word, fc.tuple(word, word).map(([stem, ending]) => `${stem}.${ending}`), word.map((text) => `${text}.txt`))
  .filter((text) => pathFault(text) === undefined && encodeName(text).length <= NAME_BYTES_MAX);

test("[PLAN-20] the name of a conflict copy says of which path it is, or says nothing, and never another", () => {
  const print = fc.stringMatching(/^[0-9a-f]{8,16}$/);
  fc.assert(
    fc.property(name, fc.constantFrom("", "d", "d/e.f"), fc.constantFrom("alpha", "beta"), print, fc.integer({ min: 1, max: 32 }),
      (text, dir, side, digits, attempt) => {
        const path = dir === "" ? text : `${dir}/${text}`;
        const copy = copyPath(path, side, digits, attempt);
        expect(nameOf(copy)).toContain(COPY_MARK);
        expect(encodeName(nameOf(copy)).length).toBeLessThanOrEqual(NAME_BYTES_MAX);
        const found = conflictCopyOf(copy);
        expect(found?.side).toBe(side);
        expect([path, undefined]).toContain(found?.of);
        if (encodeName(text).length < 200) expect(found?.of).toBe(path);
      },
    ),
    { numRuns: 2000 },
  );
});

test("[PLAN-20] other names are no conflict copies", () => {
  const others = ["a", "a.txt", ".conflict-beta-01234567", "a.conflict-beta-x", "a.conflict-gamma-01234567.txt", "a.conflict-beta-0123456"];
  for (const path of others) expect(conflictCopyOf(path)).toBeUndefined();
  // What lies in a directory that is one.
  expect(conflictCopyOf("d.conflict-beta-01234567/a")).toBeUndefined();
  // A copy of a copy.
  const twice = copyPath("a.conflict-beta-01234567.txt", "alpha", "89abcdef", 2);
  const plain = copyPath("a.conflict-beta-01234567", "alpha", "89abcdef", 1);
  expect(conflictCopyOf(plain)).toEqual({ of: "a.conflict-beta-01234567", side: "alpha" });
  expect(conflictCopyOf(twice)).toEqual({ of: "a.conflict-beta-01234567.txt", side: "alpha" });
});
