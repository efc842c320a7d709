/** Who keeps the path in a conflict, and under which name the loser is kept. Both sides compute the same. */
import type { Entry } from "#model/entry.ts";
import { encodeName, joinPath, NAME_BYTES_MAX, nameOf, parentOf } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import type { ConflictPolicy, Mode, Side } from "#model/plan.ts";

/** Names tried for one conflict copy before the conflict is left alone. */
export const COPY_NAMES_MAX = 32;

/**
 * The side that wins, or undefined when the conflict is to be left. Where the mode itself resolves conflicts
 * (two-way-resolved) alpha wins unless the policy says otherwise; in one-way-safe a policy can only let alpha in.
 *
 * @param restored the side whose files may be old, because it was put back from a backup: the other one's stand
 */
export function conflictWinner(
  mode: Mode,
  policy: ConflictPolicy,
  alpha: Entry,
  beta: Entry,
  restored?: Side,
): Side | undefined {
  const resolved: Side | undefined = mode === "two-way-resolved" ? "alpha" : undefined;
  if (policy === "alpha" || policy === "beta") return policy;
  if (policy === "leave") return resolved;
  if (policy === "newer") {
    const later = newerSide(alpha, beta) ?? resolved;
    return mode === "one-way-safe" && later === "beta" ? undefined : later;
  }
  if (fingerprint(alpha) === undefined || fingerprint(beta) === undefined) return undefined;
  if (resolved !== undefined || mode === "one-way-safe") return "alpha";
  if (restored !== undefined) return restored === "alpha" ? "beta" : "alpha";
  return rankAbove(alpha, beta) ? "alpha" : "beta";
}

function newerSide(alpha: Entry, beta: Entry): Side | undefined {
  if (alpha.kind !== "file" || beta.kind !== "file" || alpha.mtimeNs === beta.mtimeNs) return undefined;
  return alpha.mtimeNs > beta.mtimeNs ? "alpha" : "beta";
}

const KIND_RANK = { dir: 3, file: 2, symlink: 1, other: 0 } as const;

/** A total order of different contents that does not look at clocks or at which side asks. */
function rankAbove(a: Entry, b: Entry): boolean {
  if (a.kind !== b.kind) return KIND_RANK[a.kind] > KIND_RANK[b.kind];
  const x = fingerprint(a)!;
  const y = fingerprint(b)!;
  if (x !== y) return x > y;
  if (a.kind === "file" && b.kind === "file") return a.size > b.size;
  return a.kind === "symlink" && b.kind === "symlink" && a.target > b.target;
}

/** At least 8 hex digits that name the content; undefined for a file without a sum. */
export function fingerprint(entry: Entry): string | undefined {
  if (entry.kind === "file") return entry.sum ?? (entry.size === 0 ? "00000000" : undefined);
  return shortHash(entry.kind === "symlink" ? entry.target : entry.kind);
}

/** FNV-1a, 32 bits: enough to keep the names of different things apart, and pure. */
export function shortHash(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

/**
 * "dir/name.conflict-beta-1a2b3c4d.ext" for the loser of a conflict at "dir/name.ext". `attempt` above 1 adds a number
 * behind the digits. The stem is shortened where the name would be longer than a disk takes.
 */
export function copyPath(path: RelPath, side: Side, print: string, attempt: number): RelPath {
  const name = nameOf(path);
  const dot = name.lastIndexOf(".");
  const number = attempt > 1 ? `-${attempt}` : "";
  const mark = `.conflict-${side}-${print.slice(0, 8)}${number}`;
  let stem = dot > 0 ? name.slice(0, dot) : name;
  let ending = dot > 0 ? name.slice(dot) : "";
  const room = NAME_BYTES_MAX - mark.length;
  // An ending so long that it leaves no room for the stem is no file type that anyone depends on.
  if (encodeName(ending).length > room / 2) ending = "";
  const stemRoom = room - encodeName(ending).length;
  if (encodeName(stem).length > stemRoom) stem = shorten(stem, stemRoom);
  return joinPath(parentOf(path), stem + mark + ending);
}

function shorten(text: string, bytesMax: number): string {
  let out = "";
  let bytes = 0;
  for (const char of text) {
    bytes += encodeName(char).length;
    if (bytes > bytesMax) break;
    out += char;
  }
  return out;
}
