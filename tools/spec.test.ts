import { expect, test } from "bun:test";
import { resolve } from "node:path";
import { checkSpec, compareSpec, readSpec, testNames } from "./spec.ts";

test("[HOUSE-7] SPEC.md and the tests name the same rules, and every scenario has its row", () => {
  expect(checkSpec(resolve(import.meta.dir, ".."))).toEqual([]);
});

test("[HOUSE-8] a rule without a test, a test without a rule and a row without a test are found", () => {
  const rows = Array.from({ length: 50 }, (_, at) => `| ${at + 1} | what | hub: not here |`);
  const text = ["- **A-1** one.", "- **A-2** two.", "- **A-2** twice.", ...rows, "| 3 | what | `x.test.ts` [S-3] [A-9] |"];
  text.push("| 4 | what | nothing |");
  const spec = readSpec(text.join("\n"));
  // Put together here, so that this file does not seem to hold such tests itself.
  const calls = ['("[A-1] one", () => {});', '.each([1])(`[A-7] [S-60] "other" ${how}`, () => {});'];
  const source = `describe("[B-1] group");${calls.map((call) => ` test${call}`).join("")}`;
  const tests = testNames("x.test.ts", source);
  expect(tests.map(({ ids, name }) => `${ids.join("+")} ${name}`)).toEqual(["A-1 one", 'A-7+S-60 "other" ${how}']);
  expect(compareSpec(spec, tests)).toEqual([
    "A-2 is in SPEC.md twice",
    'x.test.ts: not in SPEC.md: - **A-7** "other" ${how}',
    "x.test.ts: there is no scenario 60 in SPEC.md",
    "no test shows A-2 of SPEC.md",
    "SPEC.md: no test [S-3] in x.test.ts",
    "SPEC.md: no test [A-9] in x.test.ts",
    "SPEC.md: scenario 4 names no test and does not say why",
  ]);
});
