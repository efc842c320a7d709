/**
 * One line of an ignore file, compiled. The language is that of gitignore(5) as git's wildmatch performs it, byte for
 * byte: `?` and a class match one byte of UTF-8, and text after a literal prefix counts as the start of the pattern.
 *
 * Matching is a simulation of all positions at once (Thompson): its cost is at most pattern length × text length,
 * whatever the pattern, so that an ignore file from elsewhere cannot stall a scan.
 */
import { encodeName } from "#model/path.ts";

/** Longest pattern in bytes; more is refused by IgnoreRules. */
export const PATTERN_BYTES_MAX = 1024;

const SLASH = 47;
const STAR = 42;
const BACKSLASH = 92;

/** A text whose UTF-16 units are the bytes of `text`; the same string when it is ASCII. */
export function byteText(text: string): string {
  if (/^[\x00-\x7f]*$/.test(text)) return text;
  let bytes = "";
  for (const byte of encodeName(text)) bytes += String.fromCharCode(byte);
  return bytes;
}

/**
 * `literal`: the whole text is compared · `suffix`: `*` and a literal · `glob`: everything else. A basename pattern
 * looks at the last name only, a path pattern at the whole path below the ignore file's directory.
 */
export type IgnorePattern = {
  readonly negated: boolean;
  readonly dirOnly: boolean;
  readonly scope: "name" | "path";
  readonly form: "literal" | "suffix" | "glob";
  /** Bytes that the text must equal, end with or begin with, by form. */
  readonly literal: string;
  readonly glob: Glob | undefined;
};

/** Index of the first character that is special in a glob, or the length. */
function plainLength(pattern: string): number {
  const at = pattern.search(/[*?[\\]/);
  return at < 0 ? pattern.length : at;
}

/** Removes the spaces at the end of a line, except an escaped one. */
function trimSpaces(line: string): string {
  let end = 0;
  for (let at = 0; at < line.length; at++) {
    if (line.charCodeAt(at) === BACKSLASH) {
      // A lone backslash at the end keeps the line as it is, spaces before it included.
      at++;
      if (at >= line.length) return line;
      end = at + 1;
    } else if (line[at] !== " ") end = at + 1;
  }
  return line.slice(0, end);
}

/** Compiles one line; undefined for a comment, a blank line, or a pattern that can never match. */
export function parsePattern(line: string): IgnorePattern | undefined {
  if (line.startsWith("#")) return undefined;
  let pattern = byteText(trimSpaces(line.endsWith("\r") ? line.slice(0, -1) : line));
  const negated = pattern.startsWith("!");
  if (negated) pattern = pattern.slice(1);
  const dirOnly = pattern.endsWith("/");
  if (dirOnly) pattern = pattern.slice(0, -1);
  const scope = pattern.includes("/") ? "path" : "name";
  if (pattern.startsWith("/")) pattern = pattern.slice(1);
  if (pattern === "") return undefined;

  const plain = plainLength(pattern);
  const shared = { negated, dirOnly, scope } as const;
  if (plain === pattern.length) return { ...shared, form: "literal", literal: pattern, glob: undefined };
  if (scope === "name" && pattern.startsWith("*") && plainLength(pattern.slice(1)) === pattern.length - 1) {
    return { ...shared, form: "suffix", literal: pattern.slice(1), glob: undefined };
  }
  // In a path pattern git cuts the plain prefix off first, and what follows is the start of the pattern to it.
  const prefix = scope === "path" ? plain : 0;
  const glob = compileGlob(pattern.slice(prefix), scope === "path");
  if (glob === undefined) return undefined;
  return { ...shared, form: "glob", literal: pattern.slice(0, prefix), glob };
}

/** Does the pattern match `text` (bytes: a name, or a path relative to the ignore file's directory)? */
export function matchesPattern(pattern: IgnorePattern, text: string): boolean {
  if (pattern.form === "literal") return text === pattern.literal;
  if (pattern.form === "suffix") return text.endsWith(pattern.literal);
  return text.startsWith(pattern.literal) && pattern.glob!.matches(text, pattern.literal.length);
}

/** `dirs` stands before the star and slash of a leading star pair and reads nothing: it may leave both out. */
type Token =
  | { readonly type: "dirs" }
  | { readonly type: "byte"; readonly byte: number }
  | { readonly type: "any" }
  | { readonly type: "class"; readonly members: Uint8Array }
  | { readonly type: "star"; readonly slash: boolean };

function compileGlob(pattern: string, pathname: boolean): Glob | undefined {
  const tokens: Token[] = [];
  for (let at = 0; at < pattern.length; ) {
    const char = pattern.charCodeAt(at);
    if (char === STAR) {
      let end = at;
      while (pattern.charCodeAt(end) === STAR) end++;
      const slash = !pathname || crossesSlash(pattern, at, end);
      if (pathname && slash && pattern.charCodeAt(end) === SLASH) tokens.push({ type: "dirs" });
      tokens.push({ type: "star", slash });
      at = end;
    } else if (char === BACKSLASH) {
      // A backslash at the end escapes nothing: such a pattern matches nothing.
      if (at + 1 === pattern.length) return undefined;
      tokens.push({ type: "byte", byte: pattern.charCodeAt(at + 1) });
      at += 2;
    } else if (char === 91) {
      const parsed = parseClass(pattern, at);
      if (parsed === undefined) return undefined;
      tokens.push({ type: "class", members: parsed.members });
      at = parsed.end;
    } else {
      tokens.push(char === 63 ? { type: "any" } : { type: "byte", byte: char });
      at++;
    }
  }
  return new Glob(tokens);
}

/** Do the stars from `start` to `end` form a pair that stands alone between slashes? */
function crossesSlash(pattern: string, start: number, end: number): boolean {
  if (end - start === 1) return false;
  if (start > 0 && pattern.charCodeAt(start - 1) !== SLASH) return false;
  const escapedSlash = pattern.charCodeAt(end) === BACKSLASH && pattern.charCodeAt(end + 1) === SLASH;
  return end === pattern.length || pattern.charCodeAt(end) === SLASH || escapedSlash;
}

const POSIX = new Map<string, RegExp>([
  ["alnum", /[A-Za-z0-9]/], ["alpha", /[A-Za-z]/], ["blank", /[ \t]/], ["cntrl", /[\x00-\x1f\x7f]/],
  ["digit", /[0-9]/], ["graph", /[!-~]/], ["lower", /[a-z]/], ["print", /[ -~]/],
  ["punct", /[!-/:-@[-`{-~]/], ["space", /[ \t\n\v\f\r]/], ["upper", /[A-Z]/], ["xdigit", /[A-Fa-f0-9]/],
]);

/** A bracket expression from its "[" on; undefined when it is not closed or names an unknown class. */
function parseClass(pattern: string, start: number): { members: Uint8Array; end: number } | undefined {
  const members = new Uint8Array(256);
  let at = start + 1;
  const negated = pattern[at] === "!" || pattern[at] === "^";
  if (negated) at++;
  let previous = 0;
  for (let first = true; first || pattern[at] !== "]"; first = false) {
    if (at >= pattern.length) return undefined;
    const named = pattern.startsWith("[:", at) ? posixClass(pattern, at) : undefined;
    if (named === "unknown") return undefined;
    if (named !== undefined) {
      for (let byte = 0; byte < 128; byte++) if (named.test.test(String.fromCharCode(byte))) members[byte] = 1;
      previous = 0;
      at = named.end;
      continue;
    }
    const ranged = pattern[at] === "-" && previous !== 0 && at + 1 < pattern.length && pattern[at + 1] !== "]";
    if (ranged) at++;
    if (pattern.charCodeAt(at) === BACKSLASH && ++at >= pattern.length) return undefined;
    const byte = pattern.charCodeAt(at++);
    if (ranged) for (let member = previous; member <= byte; member++) members[member] = 1;
    else members[byte] = 1;
    previous = ranged ? 0 : byte;
  }
  if (negated) for (let byte = 0; byte < 256; byte++) members[byte] = members[byte]! ^ 1;
  members[SLASH] = 0;
  return { members, end: at + 1 };
}

/** "[:name:]" at `at`; undefined where the text is only a "[" among the members. */
function posixClass(pattern: string, at: number): { test: RegExp; end: number } | "unknown" | undefined {
  const close = pattern.indexOf("]", at + 2);
  if (close < 0) return "unknown";
  if (close - at < 3 || pattern[close - 1] !== ":") return undefined;
  const test = POSIX.get(pattern.slice(at + 2, close - 1));
  return test === undefined ? "unknown" : { test, end: close + 1 };
}

/**
 * A compiled wildcard pattern. What stands before the first star and behind the last has fixed places and is compared
 * directly; that decides most texts, and all of them for patterns with one star. Not reentrant (scratch memory).
 */
class Glob {
  readonly #head: readonly Token[];
  /** From the first star to the last one; empty when there is none. */
  readonly #middle: readonly Token[];
  readonly #tail: readonly Token[];
  #now: Uint8Array;
  #next: Uint8Array;

  constructor(tokens: readonly Token[]) {
    const first = tokens.findIndex(isOpen);
    const last = tokens.findLastIndex(isOpen);
    this.#head = first < 0 ? tokens : tokens.slice(0, first);
    // The slash behind a star pair belongs to it: the pair may leave it out.
    const end = last > 0 && tokens[last - 1]!.type === "dirs" ? last + 2 : last + 1;
    this.#middle = first < 0 ? [] : tokens.slice(first, end);
    this.#tail = first < 0 ? [] : tokens.slice(end);
    this.#now = new Uint8Array(this.#middle.length + 1);
    this.#next = new Uint8Array(this.#middle.length + 1);
  }

  /** Does `text` from `start` to its end match? */
  matches(text: string, start: number): boolean {
    const head = this.#head;
    const tail = this.#tail;
    const from = start + head.length;
    const to = text.length - tail.length;
    if (from > to) return false;
    for (let at = 0; at < tail.length; at++) if (!reads(tail[at]!, text.charCodeAt(to + at))) return false;
    for (let at = 0; at < head.length; at++) if (!reads(head[at]!, text.charCodeAt(start + at))) return false;
    if (this.#middle.length === 0) return from === to;
    if (this.#middle.length > 1) return this.#simulate(text, from, to);
    for (let at = from; at < to; at++) if (!reads(this.#middle[0]!, text.charCodeAt(at))) return false;
    return true;
  }

  #simulate(text: string, from: number, to: number): boolean {
    const tokens = this.#middle;
    this.#now.fill(0);
    this.#now[0] = 1;
    this.#spread(this.#now);
    for (let at = from; at < to; at++) {
      const byte = text.charCodeAt(at);
      const next = this.#next.fill(0);
      let alive = false;
      for (let position = 0; position < tokens.length; position++) {
        if (this.#now[position] === 0) continue;
        const token = tokens[position]!;
        if (!reads(token, byte)) continue;
        next[token.type === "star" ? position : position + 1] = 1;
        alive = true;
      }
      if (!alive) return false;
      this.#spread(next);
      this.#next = this.#now;
      this.#now = next;
    }
    return this.#now[tokens.length] === 1;
  }

  /** Adds the positions reached without reading: behind a star, and behind the slash of a leading star pair. */
  #spread(positions: Uint8Array): void {
    for (let position = 0; position < this.#middle.length; position++) {
      const token = this.#middle[position]!;
      if (positions[position] === 0) continue;
      if (token.type === "dirs") positions[position + 3] = 1;
      if (token.type === "dirs" || token.type === "star") positions[position + 1] = 1;
    }
  }
}

/** Does the token read a number of bytes that is not fixed? */
function isOpen(token: Token): boolean {
  return token.type === "star" || token.type === "dirs";
}

function reads(token: Token, byte: number): boolean {
  if (token.type === "byte") return token.byte === byte;
  if (token.type === "class") return token.members[byte] === 1;
  if (token.type === "star") return token.slash || byte !== SLASH;
  return token.type === "any" && byte !== SLASH;
}
