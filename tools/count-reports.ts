/**
 * Adds up JUnit reports and the steps of a CI run, names what failed, and prints "N passed, N failed" as its last line.
 *
 *     bun tools/count-reports.ts <steps passed> <steps failed> <report.xml>...
 *
 * A report that is missing or empty is a failure: a run that never happened must not look green.
 */
import { existsSync, readFileSync } from "node:fs";

export type Counts = { passed: number; failed: number };

/** Counts of one report; undefined when it is none or holds no test. Skipped tests count neither way. */
export function countReport(text: string): Counts | undefined {
  const head = /<testsuites\b[^>]*>/.exec(text)?.[0];
  if (head === undefined) return undefined;
  const number = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? "0");
  const failed = number("failures") + number("errors");
  const tests = number("tests");
  return tests === 0 ? undefined : { passed: tests - failed - number("skipped"), failed };
}

/** What failed, a paragraph each, as the report has it: who sees only the end of a run's output learns what to look at. */
export function failuresOf(text: string): string[] {
  const failed = /<testcase name="([^"]*)"[^>]*? file="([^"]*)"[^>]*>\s*<(?:failure|error)\b[^>]*?(?:\/>|>([^<]*)<)/g;
  return [...text.matchAll(failed)].map(([, name = "", file = "", trouble = ""]) => plain(`${file}: ${name}\n${trouble}`).trimEnd());
}

function plain(escaped: string): string {
  const signs: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return escaped.replaceAll(/&(?:#(\d+)|(\w+));/g, (whole, code: string | undefined, name: string | undefined) =>
    code === undefined ? (signs[name ?? ""] ?? whole) : String.fromCodePoint(Number(code)));
}

if (import.meta.main) {
  const [stepsPassed, stepsFailed, ...files] = process.argv.slice(2);
  const total: Counts = { passed: Number(stepsPassed), failed: Number(stepsFailed) };
  for (const file of files) {
    const text = existsSync(file) ? readFileSync(file, "utf8") : "";
    const counts = countReport(text);
    if (counts === undefined) console.log(`${file}: no report`);
    for (const failure of failuresOf(text)) console.log(`failed: ${failure}`);
    total.passed += counts?.passed ?? 0;
    total.failed += counts?.failed ?? 1;
  }
  console.log(`${total.passed} passed, ${total.failed} failed`);
  process.exitCode = total.failed === 0 ? 0 : 1;
}
