/**
 * The grammars of option values. Every parser takes the text as given and throws USAGE with the grammar in its hint.
 *
 * - bytes and durations: config/quantities.ts
 * - rate: bytes, optionally followed by `/s`
 * - brake: `N`, `P%` or `none`
 * - preserve: names separated by commas; with `+NAME` and `-NAME` the default is altered, otherwise replaced
 */
import { PRESERVE_ALL, PRESERVE_DEFAULT, type Preserve } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { readBytes, readDurationMs } from "#config/quantities.ts";
import type { Brake } from "#sync/session/events.ts";

/** The largest rescan interval or delay that timers take; about 24 days. */
export const DURATION_MS_MAX = 2 ** 31 - 1;

export function usage(message: string, hint?: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "read command line", message, hint });
}

/** A whole number of bytes, 0..2^53-1. */
export function parseBytes(text: string): number {
  const bytes = readBytes(text);
  if (bytes === undefined) throw usage(`"${text}" is no size`, "write it like 4096, 10K, 10MiB or 1.5GB");
  return bytes;
}

/** Bytes a second, at least 1. */
export function parseRate(text: string): number {
  try {
    const rate = parseBytes(text.trim().replace(/\/s$/i, ""));
    if (rate >= 1) return rate;
  } catch {
    // The message below names the rate's own grammar instead of the size's.
  }
  throw usage(`"${text}" is no rate`, "write it like 500K, 5M/s or 10MiB/s");
}

/** Milliseconds, 1..maxMs. */
export function parseDuration(text: string, maxMs = DURATION_MS_MAX): number {
  const ms = readDurationMs(text) ?? 0;
  if (ms >= 1 && ms <= maxMs) return ms;
  throw usage(`"${text}" is no duration`, "write it like 500ms, 90s, 5m or 1h30m");
}

/** The brake of a session, or undefined for `none`. */
export function parseBrake(text: string): Brake | undefined {
  const clean = text.trim().toLowerCase();
  if (clean === "none") return undefined;
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(clean);
  if (match !== null) {
    const amount = Number(match[1]);
    if (match[2] === "%" && amount <= 100) return { count: undefined, percent: amount };
    if (match[2] === "" && Number.isSafeInteger(amount)) return { count: amount, percent: undefined };
  }
  throw usage(`"${text}" is no limit for removals`, "write a count (500), a percentage (20%) or none");
}

const PRESERVE_WORDS: Record<string, Partial<Preserve>> = {
  mode: { mode: true },
  mtime: { mtime: true },
  owner: { owner: "name" },
  "owner-name": { owner: "name" },
  "owner-number": { owner: "number" },
  xattrs: { xattrs: true },
  hardlinks: { hardlinks: true },
  symlinks: { symlinks: true },
  sparse: { sparse: true },
};

const PRESERVE_NONE: Preserve = {
  mode: false,
  mtime: false,
  owner: "none",
  xattrs: false,
  hardlinks: false,
  symlinks: false,
  sparse: false,
};

/** For completion and help. */
export const PRESERVE_NAMES: readonly string[] = [...Object.keys(PRESERVE_WORDS), "all", "none"];

export function parsePreserve(text: string): Preserve {
  const words = text
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
  const relative = words.length > 0 && words.every((word) => /^[+-]/.test(word));
  const result = { ...(relative ? PRESERVE_DEFAULT : PRESERVE_NONE) };
  for (const word of words) {
    const name = word.replace(/^[+-]/, "").toLowerCase();
    if (!relative && name !== word.toLowerCase()) throw badPreserve(text);
    Object.assign(result, preserveWord(name, text, word.startsWith("-")));
  }
  return result;
}

function preserveWord(name: string, text: string, remove: boolean): Partial<Preserve> {
  if (name === "none" && !remove) return PRESERVE_NONE;
  if (name === "all" && !remove) return PRESERVE_ALL;
  const set = Object.hasOwn(PRESERVE_WORDS, name) ? PRESERVE_WORDS[name]! : undefined;
  if (set === undefined) throw badPreserve(text);
  if (!remove) return set;
  return name.startsWith("owner") ? { owner: "none" } : { [name]: false };
}

function badPreserve(text: string): SynclineError {
  return usage(
    `"${text}" is no list of metadata`,
    `use ${PRESERVE_NAMES.join(", ")}, separated by commas; or only +NAME and -NAME to alter the default`,
  );
}

/** One of `choices`; the hint lists them. */
export function parseChoice<T extends string>(text: string, choices: readonly T[]): T {
  const found = choices.find((one) => one === text);
  if (found !== undefined) return found;
  const near = nearest(text, choices);
  throw usage(`"${text}" is not one of its values`, `${near === undefined ? "" : `did you mean ${near}? `}use ${choices.join(", ")}`);
}

/** Of a short word one letter may be wrong: two would make it any other, unless it begins as it should ("snyc"). */
function mistakesMax(word: string, meant: string): number {
  if (word.length <= 3 || (word.length === 4 && word[0] !== meant[0])) return 1;
  return Math.max(2, Math.floor(word.length / 3));
}

/** Number of single-character edits that turn one word into the other (Wagner and Fischer, 1974). */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The candidate that was probably meant, or undefined when none is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = word.length >= 3 && candidate.startsWith(word) ? 1 : editDistance(word, candidate);
    if (distance >= bestDistance || distance > mistakesMax(word, candidate)) continue;
    bestDistance = distance;
    best = candidate;
  }
  return best;
}
