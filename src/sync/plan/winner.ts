/** Who keeps the path in a conflict. Both sides compute the same. */
import type { Entry } from "#model/entry.ts";
import type { ConflictPolicy, Mode, Side } from "#model/plan.ts";

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
