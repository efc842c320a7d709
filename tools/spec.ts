/**
 * Keeps SPEC.md and the tests together. A test's name begins with the ids of what it shows: "[PLAN-3] names fit the
 * disk" for a rule, "[S-13] one side emptied …" for a scenario of the table. `bun tools/spec.ts` prints what is missing
 * on either side; spec.test.ts runs it with the tests.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** Where tests are; suites that several implementations share are contracts. */
const TEST_FILES = ["src/**/*.test.ts", "src/**/*-contract.ts", "tools/**/*.test.ts", "bench/**/*.test.ts", "acceptance/**/*.test.ts"];
/** The scenarios of the table, all of which need a row. */
export const SCENARIOS_MAX = 50;

export type TestName = { readonly file: string; readonly ids: readonly string[]; readonly name: string };

const TEST_CALL = /\b(?:test|it)(?:\.\w+\([^)]*\))?\(\s*(["'`])((?:\[[A-Z]+-\d+\] )+)((?:\\.|(?!\1)[^\\])*)\1/g;

/** The tests of one file that carry ids. */
export function testNames(file: string, text: string): TestName[] {
  return [...text.matchAll(TEST_CALL)].map(([, , tags = "", name = ""]) => ({
    file,
    ids: [...tags.matchAll(/[A-Z]+-\d+/g)].map(([id]) => id),
    name: name.trim(),
  }));
}

export type Spec = {
  /** Rule id to its sentence. */
  readonly rules: ReadonlyMap<string, string>;
  /** Ids that are given twice. */
  readonly repeated: readonly string[];
  /** Scenario number to what its row says: references to tests, or why there is none. */
  readonly scenarios: ReadonlyMap<number, string>;
  /** Every `file` with the id behind it, anywhere in the document: "`src/a.test.ts` [S-1]". */
  readonly references: readonly { readonly file: string; readonly id: string }[];
};

/** Rules are list items "- **PLAN-3** sentence", scenarios table rows "| 13 | … | … |". */
export function readSpec(text: string): Spec {
  const rules = new Map<string, string>();
  const repeated: string[] = [];
  const scenarios = new Map<number, string>();
  for (const line of text.split("\n")) {
    const rule = /^- \*\*([A-Z]+-\d+)\*\* (.+)$/.exec(line);
    if (rule !== null) {
      if (rules.has(rule[1]!)) repeated.push(rule[1]!);
      rules.set(rule[1]!, rule[2]!);
    }
    const row = /^\| (\d+) \| .* \| (.+) \|$/.exec(line);
    if (row !== null) scenarios.set(Number(row[1]), row[2]!);
  }
  const references = [...text.matchAll(/`([\w./-]+\.ts)`((?: \[[A-Z]+-\d+\])+)/g)].flatMap(([, file = "", ids = ""]) =>
    [...ids.matchAll(/[A-Z]+-\d+/g)].map(([id]) => ({ file, id })),
  );
  return { rules, repeated, scenarios, references };
}

/** One sentence for each thing that does not fit together; empty when all is well. */
export function compareSpec(spec: Spec, tests: readonly TestName[]): string[] {
  const complaints: string[] = [];
  const byId = Map.groupBy(tests.flatMap((one) => one.ids.map((id) => ({ id, ...one }))), ({ id }) => id);
  for (const id of spec.repeated) complaints.push(`${id} is in SPEC.md twice`);
  for (const [id, [first]] of byId) {
    if (id.startsWith("S-")) {
      if (spec.scenarios.has(Number(id.slice(2)))) continue;
      complaints.push(`${first!.file}: there is no scenario ${id.slice(2)} in SPEC.md`);
    } else if (!spec.rules.has(id)) complaints.push(`${first!.file}: not in SPEC.md: - **${id}** ${first!.name}`);
  }
  for (const id of spec.rules.keys()) if (!byId.has(id)) complaints.push(`no test shows ${id} of SPEC.md`);
  for (const { file, id } of spec.references) {
    if (!byId.get(id)?.some((one) => one.file === file)) complaints.push(`SPEC.md: no test [${id}] in ${file}`);
  }
  for (let scenario = 1; scenario <= SCENARIOS_MAX; scenario++) {
    const row = spec.scenarios.get(scenario);
    if (row === undefined) complaints.push(`SPEC.md has no row for scenario ${scenario}`);
    else if (!/`[\w./-]+\.ts` \[/.test(row) && !row.startsWith("hub: ")) {
      complaints.push(`SPEC.md: scenario ${scenario} names no test and does not say why`);
    }
  }
  return complaints;
}

/** Compares SPEC.md of a checkout with its tests. */
export function checkSpec(root: string): string[] {
  const files = new Set(TEST_FILES.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(root)]));
  const tests = [...files].sort().flatMap((file) => {
    return testNames(file.replaceAll("\\", "/"), readFileSync(join(root, file), "utf8"));
  });
  return compareSpec(readSpec(readFileSync(join(root, "SPEC.md"), "utf8")), tests);
}

if (import.meta.main) {
  const complaints = checkSpec(resolve(import.meta.dir, ".."));
  for (const complaint of complaints) console.error(complaint);
  process.exitCode = complaints.length === 0 ? 0 : 1;
}
