import { describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { countReport, failuresOf } from "./count-reports.ts";
import { FILE_LINES_MAX, FUNCTION_LINES_MAX, checkFile, checkTree, roomOf } from "./tidy.ts";

const whats = (file: string, text: string): string[] =>
  checkFile(file, text).map(({ line, what }) => `${line}: ${what}`);

describe("tidy", () => {
  test("[HOUSE-1] the tree keeps its own rules", () => {
    const breaches = checkTree(resolve(import.meta.dir, ".."));
    expect(breaches.map(({ file, line, what }) => `${file}:${line}: ${what}`)).toEqual([]);
  });

  test("[HOUSE-2] a room imports only from lower ones; contracts are known further down", () => {
    expect(whats("src/sync/model/x.ts", 'import { a } from "#sync/plan/y.ts";\n')).toEqual([
      "1: model may not import from plan (#sync/plan/y.ts)",
    ]);
    expect(whats("src/sync/scan/x.ts", '\nimport type { A } from "../session/session.ts";\n')).toEqual([
      "2: scan may not import from session (../session/session.ts)",
    ]);
    expect(whats("src/sync/apply/x.ts", 'import type { E } from "#sync/endpoint/endpoint.ts";\n')).toEqual(
      [],
    );
    expect(
      whats("src/sync/apply/x.ts", 'import type { E } from "#sync/endpoint/dir-endpoint.ts";\n'),
    ).toHaveLength(1);
    expect(whats("src/sync/session/x.ts", 'import { E } from "#testing/sim-fs.ts";\n')).toEqual([
      "1: only tests import from testing",
    ]);
    expect(whats("src/sync/session/x.test.ts", 'import { E } from "#testing/sim-fs.ts";\n')).toEqual([]);
    expect(whats("src/sync/plan/x.ts", 'const { a } = await import("#sync/apply/y.ts");\n')).toHaveLength(1);
    expect(whats("src/attic/x.ts", "")).toHaveLength(1);
  });

  test("[HOUSE-3] only the platform and the command line touch the system", () => {
    expect(whats("src/sync/scan/x.ts", 'import { readFileSync } from "node:fs";\n')).toEqual([
      "1: scan uses node:fs",
    ]);
    expect(whats("src/sync/model/x.ts", 'import { join } from "node:path";\n')).toEqual([
      "1: model is pure: node:path",
    ]);
    expect(whats("src/sync/session/x.ts", "const a = 1;\nconst now = Date.now();\n")).toEqual([
      "2: session touches the wall clock; take a Clock",
    ]);
    expect(whats("src/sync/session/x.ts", "// Date.now() would jump.\n")).toEqual([]);
    expect(whats("src/platform/x.ts", 'import { readFileSync } from "node:fs";\nDate.now();\n')).toEqual([]);
    expect(whats("src/cli/x.ts", "process.exit(1);\n")).toEqual([]);
  });

  test("[HOUSE-9] an address of memory is kept only where the memory cannot move", () => {
    const kept = "an address that is kept; take heldAddress()";
    expect(whats("src/platform/x.ts", "const address = ptr(bytes);\n")).toEqual([`1: ${kept}`]);
    expect(whats("src/platform/x.ts", "  readonly #address: Pointer = ptr(this.#bytes);\n")).toEqual([`1: ${kept}`]);
    expect(whats("src/platform/x.ts", "post({ address: ptr(bytes) });\n")).toEqual([`1: ${kept}`]);
    expect(whats("src/platform/x.ts", "call(fd, ptr(bytes), ptr(length));\n")).toEqual([]);
  });

  test("[HOUSE-4] long files, long functions, unfinished work and switched-off tests are found", () => {
    const body = "    call();\n".repeat(FUNCTION_LINES_MAX);
    expect(whats("src/cli/x.ts", `export function long(\n  a: number,\n): void {\n${body}}\n`)).toEqual([
      `1: long has ${FUNCTION_LINES_MAX + 4} lines, more than ${FUNCTION_LINES_MAX}`,
    ]);
    expect(whats("src/cli/x.ts", `class A {\n  async #work(): Promise<void> {\n${body}  }\n}\n`)).toEqual([
      `2: #work has ${FUNCTION_LINES_MAX + 2} lines, more than ${FUNCTION_LINES_MAX}`,
    ]);
    expect(whats("src/cli/x.ts", "function short(): void {\n  call();\n}\n")).toEqual([]);
    expect(whats("src/cli/x.ts", "\n".repeat(FILE_LINES_MAX + 1))).toHaveLength(1);
    const word = ["TO", "DO"].join("");
    expect(whats("src/cli/x.ts", `// ${word}: later\n`)).toHaveLength(1);
    expect(whats("src/cli/x.test.ts", ["test", "only(1);\n"].join("."))).toHaveLength(1);
    expect(whats("src/sync/scan/x.ts", ["console", "log(1);\n"].join("."))).toHaveLength(1);
    expect(whats("src/sync/plan/x.ts", "// the baseline of both sides\n")).toEqual([
      '1: "baseline": the word here is ancestor',
    ]);
  });

  test("[HOUSE-5] files belong to rooms", () => {
    expect(
      [
        "src/sync/model/path.ts",
        "src/platform/linux/libc.ts",
        "src/main.ts",
        "src/testing/sim-fs.ts",
        "tools/tidy.ts",
      ].map(roomOf),
    ).toEqual(["model", "platform", "main", undefined, undefined]);
  });
});

describe("counting reports", () => {
  test("[HOUSE-6] passed and failed are read from the report, and an empty one counts as none", () => {
    const head = (text: string): string =>
      `<?xml version="1.0"?>\n<testsuites name="bun test" ${text}>\n</testsuites>`;
    expect(countReport(head('tests="10" failures="2" skipped="1"'))).toEqual({ passed: 7, failed: 2 });
    expect(countReport(head('tests="3" failures="1" errors="1" skipped="0"'))).toEqual({
      passed: 1,
      failed: 2,
    });
    expect(countReport(head('tests="0" failures="0"'))).toBeUndefined();
    expect(countReport("")).toBeUndefined();
  });

  test("[HOUSE-10] what failed is named with its file and its trouble, and nothing else is", () => {
    const report = `<testsuite name="a.test.ts" failures="2">
      <testcase name="good &amp; quick" classname="" time="0.1" file="a.test.ts" line="3" assertions="1" />
      <testcase name="is &lt; 2" classname="" time="0.1" file="a.test.ts" line="9" assertions="1">
        <failure type="AssertionError" message="no">AssertionError: no&#10;      at a.test.ts:9:3&#10;</failure>
      </testcase>
      <testcase name="late" classname="" time="60" file="b.test.ts" line="1" assertions="0">
        <failure type="TimeoutError" />
      </testcase>
    </testsuite>`;
    expect(failuresOf(report)).toEqual(["a.test.ts: is < 2\nAssertionError: no\n      at a.test.ts:9:3", "b.test.ts: late"]);
    expect(failuresOf("")).toEqual([]);
  });
});
