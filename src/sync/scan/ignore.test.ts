import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { filterText, IgnoreRules, ignoreLines, PATTERNS_MAX } from "#sync/scan/ignore.ts";

/** Lines separated by " | "; paths that are ignored, then paths that are seen. A slash at the end: a directory. */
const table: [rule: string, lines: string, ignored: string[], seen: string[]][] = [
  ["a name matches at every depth", "foo", ["foo", "a/foo", "a/b/foo/", "foo/x"], ["foox", "xfoo", "a/foob"]],
  ["a leading slash anchors", "/foo", ["foo", "foo/x"], ["a/foo"]],
  ["a middle slash anchors", "doc/frotz", ["doc/frotz"], ["a/doc/frotz"]],
  ["a trailing slash means directories", "foo/", ["foo/", "a/foo/", "foo/x"], ["foo", "a/foo"]],
  ["a star stops at a slash", "foo/*", ["foo/a", "foo/a/b"], ["foo/", "a/foo/b"]],
  ["a star in a name", "*.o", ["a.o", "x/y.o", ".o"], ["a.oo", "a.o.c"]],
  ["a question mark is one byte", "a?c", ["abc"], ["ac", "abbc", "a/c", "aéc"]],
  ["leading star pair", "**/foo/bar", ["foo/bar", "a/b/foo/bar"], ["foo/x/bar", "xfoo/bar"]],
  ["trailing star pair", "abc/**", ["abc/x", "abc/x/y"], ["abc/", "x/abc/y"]],
  ["middle star pair", "a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb", "x/a/b"]],
  ["stars that are no pair", "a**b", ["ab", "axb", "d/axb"], ["a/b"]],
  ["classes", "[a-c]x[!0-9]", ["axy", "cx-"], ["dxy", "ax1", "ax"]],
  ["named classes", "v[[:digit:][:upper:]]", ["v1", "vX"], ["vx", "v"]],
  ["a bracket first in a class is a member", "[]-]", ["]", "-"], ["[", "a"]],
  ["a class is never a slash", "/a[!x]b", ["a-b"], ["a/b"]],
  ["an open class matches nothing", "a[b", [], ["a[b", "ab"]],
  ["escapes", "\\#a | \\!b | c\\*d | e\\ ", ["#a", "!b", "c*d", "e "], ["a", "b", "cxd", "e"]],
  ["a backslash at the end matches nothing", "a\\", [], ["a", "a\\"]],
  ["comments and blanks", "# foo |  | foo # no comment", ["foo # no comment"], ["# foo", "foo", " "]],
  ["spaces at the end go", "foo   ", ["foo"], ["foo   "]],
  ["the last match wins", "*.log | !keep.log | /keep.log", ["a.log", "keep.log"], ["d/keep.log"]],
  ["no way back below an excluded directory", "build | !build/keep", ["build/keep"], ["keep"]],
  ["a way back through the children", "build/* | !build/keep", ["build/x"], ["build/keep", "build/"]],
  ["case matters", "Foo", ["Foo"], ["foo"]],
  ["names that are not ASCII", "é* | [é]", ["état", "a/é!"], ["etat", "xé"]],
];

function ask(rules: IgnoreRules, path: string): boolean {
  return path.endsWith("/") ? rules.ignores(path.slice(0, -1), true) : rules.ignores(path, false);
}

for (const [rule, lines, ignored, seen] of table) {
  test(`[FILTER-1] ${rule}`, () => {
    const rules = new IgnoreRules(lines.split(" | "));
    expect(ignored.filter((path) => !ask(rules, path))).toEqual([]);
    expect(seen.filter((path) => ask(rules, path))).toEqual([]);
  });
}

test("[FILTER-2] a nested ignore file is scoped to its directory and wins over those above", () => {
  const rules = new IgnoreRules(["*.log"]).child("a/b", ["!x.log", "/c", "d/e"]);
  expect(rules.ignores("a/b/x.log", false)).toBe(false);
  expect(rules.ignores("a/b/q/x.log", false)).toBe(false);
  expect(rules.ignores("a/x.log", false)).toBe(true);
  expect(rules.ignores("a/b/c", false)).toBe(true);
  expect(rules.ignores("a/b/q/c", false)).toBe(false);
  expect(rules.ignores("a/b/d/e", false)).toBe(true);
  expect(rules.ignores("a/bb/d/e", false)).toBe(false);
  expect(new IgnoreRules(["b/"]).child("a/b", ["!x"]).ignores("a/b/x", false)).toBe(true);
});

test("[FILTER-3] with an include list only matching files are seen, and directories are walked", () => {
  const rules = new IgnoreRules(["*.tmp.ts"], ["# sources", "*.ts", "docs/"]);
  expect(rules.ignores("a/b.ts", false)).toBe(false);
  expect(rules.ignores("a/docs/b.png", false)).toBe(false);
  expect(rules.ignores("a/b.js", false)).toBe(true);
  expect(rules.ignores("a/b.tmp.ts", false)).toBe(true);
  expect(rules.ignores("a", true)).toBe(false);
  expect(rules.child("a", ["b.ts"]).ignores("a/c.js", false)).toBe(true);
  expect(new IgnoreRules([], ["# nothing"]).ignores("a.js", false)).toBe(false);
});

test("[FILTER-4] limits are enforced, and a hostile pattern costs no more than its length times the name's", () => {
  expect(() => new IgnoreRules(["x".repeat(1025)])).toThrow(SynclineError);
  expect(() => new IgnoreRules(new Array<string>(PATTERNS_MAX + 1).fill("x"))).toThrow(SynclineError);
  const hostile = new IgnoreRules([`/${"a*".repeat(500)}b`, `${"*a".repeat(500)}b`]);
  expect(hostile.ignores("a".repeat(255), false)).toBe(false);
});

test("[FILTER-5] the filter text changes with what is seen, not with comments", () => {
  const text = filterText(["a", "!b"], [], PRESERVE_DEFAULT);
  expect(filterText(["# x", "a", "", "!b"], ["# y"], { ...PRESERVE_DEFAULT })).toBe(text);
  expect(filterText(["!b", "a"], [], PRESERVE_DEFAULT)).not.toBe(text);
  expect(filterText(["a"], ["!b"], PRESERVE_DEFAULT)).not.toBe(text);
  expect(filterText(["a", "!b"], [], { ...PRESERVE_DEFAULT, mode: false })).not.toBe(text);
});

test("[FILTER-6] ignore files may start with a byte order mark and end lines with CR LF", () => {
  const rules = new IgnoreRules(ignoreLines(new TextEncoder().encode("\ufefffoo\r\n*.o\r\n")));
  expect(rules.ignores("foo", false)).toBe(true);
  expect(rules.ignores("a.o", false)).toBe(true);
});

let repository = "";
beforeAll(() => {
  repository = mkdtempSync(join(tmpdir(), "ignore-test-"));
  Bun.spawnSync(["git", "init", "-q", repository]);
});
afterAll(() => rmSync(repository, { recursive: true, force: true }));

const piece = fc.constantFrom(
  ...["a", "b", "ab", "*", "**", "?", "/", "/", "/", "[ab]", "[!a]", "[a-b", "[[:alpha:]]"],
  ...["\\a", "\\*", ".o", " ", "é", "\\"],
);
const line = fc
  .tuple(fc.constantFrom("", "", "", "!", "/", "**/", "#"), fc.array(piece, { minLength: 1, maxLength: 5 }))
  .map(([head, pieces]) => head + pieces.join(""));
const name = fc.array(fc.constantFrom("a", "b", "ab", "*", ".o", "é", "["), { minLength: 1, maxLength: 2 });
const somePath = fc.array(name.map((parts) => parts.join("")), { minLength: 1, maxLength: 4 });

test("[FILTER-7] git answers the same for random rules, nested files and paths", () => {
  // Each case gets its own directory in one repository, so that one git process answers all of them.
  const cases = fc.sample(
    fc.record({
      outer: fc.array(line, { maxLength: 4 }),
      inner: fc.array(line, { maxLength: 3 }),
      paths: fc.array(somePath, { minLength: 1, maxLength: 6 }),
    }),
    { numRuns: 300, seed: 7 },
  );
  const questions: { path: string; ours: boolean; why: string }[] = [];
  for (const [at, { outer, inner, paths }] of cases.entries()) {
    const dir = `case${at}`;
    // "in" is the directory with the nested file; git reads one only where the directory exists.
    mkdirSync(join(repository, dir, "in"), { recursive: true });
    writeFileSync(join(repository, dir, ".gitignore"), outer.join("\n") + "\n");
    writeFileSync(join(repository, dir, "in", ".gitignore"), inner.join("\n") + "\n");
    const rules = new IgnoreRules(outer).child("in", inner);
    for (const parts of paths.flatMap((path) => [path, ["in", ...path]])) {
      const path = parts.join("/");
      mkdirSync(join(repository, dir, dirname(path)), { recursive: true });
      const why = JSON.stringify([outer, inner]);
      questions.push({ path: `${dir}/${path}`, ours: rules.ignores(path, false), why });
    }
  }
  // git looks at the disk for whether a path is a directory, as paths of one case may be parents of others.
  const stat = new Set(questions.map((question) => dirname(question.path)));
  const asked = questions.filter(({ path }) => ![...stat].some((dir) => dir === path || dir.startsWith(`${path}/`)));
  const git = Bun.spawnSync(["git", "-C", repository, "check-ignore", "--no-index", "--stdin", "-z"], {
    stdin: new TextEncoder().encode(asked.map(({ path }) => path).join("\0") + "\0"),
  });
  const ignored = new Set(git.stdout.toString().split("\0"));
  expect(asked.length).toBeGreaterThan(1000);
  expect(ignored.size).toBeGreaterThan(200);
  const wrong = asked.filter(({ path, ours }) => ignored.has(path) !== ours);
  expect(wrong).toEqual([]);
});
