/**
 * Which paths a session sees: gitignore rules, nested ignore files, and the include list.
 *
 * The semantics are git's: the last matching line wins, a deeper ignore file wins over a shallower one, a line with a
 * slash is anchored to the directory of its file, and nothing below an excluded directory can be included again.
 * Lines that match a fixed name or ending are looked up by it, so hundreds of such lines cost as much as one.
 */
import { decodeName, isWithin, nameOf, parentOf } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import type { Preserve } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { byteText, matchesPattern, parsePattern, PATTERN_BYTES_MAX } from "#sync/scan/ignore-pattern.ts";
import type { IgnorePattern } from "#sync/scan/ignore-pattern.ts";

/** Name of an ignore file inside a root, in any directory. */
export const IGNORE_FILE = ".synclineignore";
/** Lines in one ignore file or list, at most. */
export const PATTERNS_MAX = 10_000;
/** Bytes of an ignore file, at most; larger ones are to be refused before they are read. */
export const IGNORE_FILE_BYTES_MAX = 1 << 20;

/** The lines of an ignore file as IgnoreRules wants them; a byte order mark at its head is dropped. */
export function ignoreLines(bytes: Uint8Array): string[] {
  const text = decodeName(bytes);
  return (text.startsWith("\ufeff") ? text.slice(1) : text).split("\n");
}

/** The patterns of one file, with what makes finding the last match fast. */
class PatternList {
  /** Directory the patterns belong to: only paths below it are looked at. */
  readonly dir: RelPath;
  readonly #patterns: IgnorePattern[] = [];
  /** Positions of fixed names, of endings by their last dot on, and of all else; ascending. */
  readonly #names = new Map<string, number[]>();
  readonly #endings = new Map<string, number[]>();
  readonly #others: number[] = [];

  constructor(dir: RelPath, lines: readonly string[]) {
    if (lines.length > PATTERNS_MAX) throw limit(dir, `more than ${PATTERNS_MAX} ignore lines`);
    this.dir = dir;
    for (const line of lines) {
      if (line.length > PATTERN_BYTES_MAX || byteText(line).length > PATTERN_BYTES_MAX) {
        throw limit(dir, `an ignore line is longer than ${PATTERN_BYTES_MAX} bytes`);
      }
      const pattern = parsePattern(line);
      if (pattern === undefined) continue;
      this.#file(pattern, this.#patterns.length);
      this.#patterns.push(pattern);
    }
  }

  get empty(): boolean {
    return this.#patterns.length === 0;
  }

  #file(pattern: IgnorePattern, position: number): void {
    const dot = pattern.literal.lastIndexOf(".");
    if (pattern.scope === "name" && pattern.form === "literal") append(this.#names, pattern.literal, position);
    else if (pattern.form === "suffix" && dot >= 0) append(this.#endings, pattern.literal.slice(dot), position);
    else this.#others.push(position);
  }

  /** The last line that matches: true excludes, false includes again, undefined when none does. */
  verdict(path: RelPath, isDir: boolean): boolean | undefined {
    const text = byteText(this.dir === "" ? path : path.slice(this.dir.length + 1));
    const name = nameOf(text);
    const dot = name.lastIndexOf(".");
    let best = this.#last(this.#names.get(name), text, name, isDir, -1);
    if (dot >= 0) best = this.#last(this.#endings.get(name.slice(dot)), text, name, isDir, best);
    best = this.#last(this.#others, text, name, isDir, best);
    return best < 0 ? undefined : !this.#patterns[best]!.negated;
  }

  /** Highest matching position among `positions` above `floor`, or `floor`. */
  #last(positions: readonly number[] | undefined, text: string, name: string, isDir: boolean, floor: number): number {
    if (positions === undefined) return floor;
    for (let at = positions.length - 1; at >= 0 && positions[at]! > floor; at--) {
      const pattern = this.#patterns[positions[at]!]!;
      if (pattern.dirOnly && !isDir) continue;
      if (matchesPattern(pattern, pattern.scope === "name" ? name : text)) return positions[at]!;
    }
    return floor;
  }
}

function append(map: Map<string, number[]>, key: string, position: number): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [position]);
  else list.push(position);
}

function limit(dir: RelPath, message: string): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "read ignore rules", message, path: dir });
}

/**
 * Immutable rules; `child` adds an ignore file found in a directory. One instance belongs to one caller at a time
 * (matching reuses scratch memory). Paths are relative to the root.
 */
export class IgnoreRules {
  readonly #list: PatternList;
  readonly #outer: IgnoreRules | undefined;
  readonly #include: IgnoreRules | undefined;
  /** There is no pattern at all: nothing is ever out of sight, and nobody needs to ask. */
  readonly none: boolean;
  /** The answer for the directory asked about last: a walk asks for all children of one directory in a row. */
  #memoDir: RelPath | undefined;
  #memoExcluded = false;

  /**
   * `lines`: gitignore lines for the whole root, lowest priority first. `include`: when one of its lines is a pattern,
   * only files that match (or lie below a directory that matches) are seen; directories are always walked.
   * Throws LIMIT for too many or too long lines.
   */
  constructor(lines: readonly string[], include: readonly string[] = [], scope?: { dir: RelPath; outer: IgnoreRules }) {
    this.#list = new PatternList(scope?.dir ?? "", lines);
    this.#outer = scope?.outer;
    const wanted = include.some((line) => parsePattern(line) !== undefined);
    if (scope !== undefined) this.#include = scope.outer.#include;
    else this.#include = wanted ? new IgnoreRules(include) : undefined;
    this.none = this.#list.empty && this.#include === undefined && (scope?.outer.none ?? true);
  }

  /** These rules and those of the ignore file in `dir`, which apply below `dir` only. Throws LIMIT. */
  child(dir: RelPath, lines: readonly string[]): IgnoreRules {
    return new IgnoreRules(lines, [], { dir, outer: this });
  }

  /** Is the path out of sight: excluded itself, below an excluded directory, or a file that is not included? */
  ignores(path: RelPath, isDir: boolean): boolean {
    if (this.none || path === "") return false;
    if (this.#excludes(path, isDir)) return true;
    return !isDir && this.#include !== undefined && !this.#include.#excludes(path, false);
  }

  #excludes(path: RelPath, isDir: boolean): boolean {
    const dir = parentOf(path);
    return (dir !== "" && this.#excludesDir(dir)) || this.#verdict(path, isDir);
  }

  #excludesDir(dir: RelPath): boolean {
    if (this.#memoDir === dir) return this.#memoExcluded;
    let excluded = false;
    for (let slash = dir.indexOf("/"); !excluded && slash >= 0; slash = dir.indexOf("/", slash + 1)) {
      excluded = this.#verdict(dir.slice(0, slash), true);
    }
    this.#memoExcluded = excluded || this.#verdict(dir, true);
    this.#memoDir = dir;
    return this.#memoExcluded;
  }

  /** What the lines say about this very path; the deepest file with a matching line decides. */
  #verdict(path: RelPath, isDir: boolean): boolean {
    for (let rules: IgnoreRules | undefined = this; rules !== undefined; rules = rules.#outer) {
      const list = rules.#list;
      if (list.empty || path === list.dir || !isWithin(path, list.dir)) continue;
      const verdict = list.verdict(path, isDir);
      if (verdict !== undefined) return verdict;
    }
    return false;
  }
}

/**
 * Everything that decides which paths are seen and what of them, as one text to be hashed: equal texts mean that
 * ancestors stay valid. Comments and blank lines do not count; the order of the others does.
 */
export function filterText(ignore: readonly string[], include: readonly string[], preserve: Preserve): string {
  const meaning = (lines: readonly string[]) => lines.filter((line) => parsePattern(line) !== undefined);
  const kept = Object.entries(preserve).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify({ version: 1, ignore: meaning(ignore), include: meaning(include), preserve: kept });
}
