/** Metadata of two entries that may both have changed: decided field by field, without a conflict. */
import { compareContent } from "#model/entry.ts";
import type { DirEntry, Entry, FileEntry, SymlinkEntry } from "#model/entry.ts";

/**
 * The entry both sides shall have. `alpha` and `beta` are of one kind and at most one of them changed the content
 * since the ancestor (or both hold the same). A field that one side changed is that side's; one that both changed is
 * the side's with the newer file time, and alpha's when the times are equal. A file's time goes with its content.
 */
export function mergeEntries(ancestor: Entry | undefined, alpha: Entry, beta: Entry): Entry {
  if (alpha.kind === "other" || beta.kind === "other" || alpha.kind !== beta.kind) return alpha;
  const base = ancestor?.kind === alpha.kind ? ancestor : undefined;
  if (alpha.kind === "file" && beta.kind === "file") {
    return mergeFiles(base?.kind === "file" ? base : undefined, alpha, beta);
  }
  const owner = pick(ownerText, base, alpha, beta, alpha).owner;
  if (alpha.kind === "dir" && beta.kind === "dir") {
    const baseDir = base?.kind === "dir" ? base : undefined;
    const mode = pick((dir) => dir.mode, baseDir, alpha, beta, alpha).mode;
    return { ...alpha, mode, owner, xattrs: pick(xattrText, baseDir, alpha, beta, alpha).xattrs };
  }
  return { ...contentSide(base, alpha, beta), owner };
}

function mergeFiles(base: FileEntry | undefined, alpha: FileEntry, beta: FileEntry): FileEntry {
  const newer = beta.mtimeNs > alpha.mtimeNs ? beta : alpha;
  const same = compareContent(alpha, beta) === "same";
  const source = contentSide(base, alpha, beta);
  const { linkTo } = pick((file) => file.linkTo, base, alpha, beta, newer);
  return {
    ...source,
    sum: source.sum ?? (same ? (alpha.sum ?? beta.sum) : undefined),
    mtimeNs: same ? pick((file) => file.mtimeNs, base, alpha, beta, newer).mtimeNs : source.mtimeNs,
    mode: pick((file) => file.mode, base, alpha, beta, newer).mode,
    owner: pick(ownerText, base, alpha, beta, newer).owner,
    xattrs: pick(xattrText, base, alpha, beta, newer).xattrs,
    // A link has its leader's content, and only on the side whose content stays does the leader have that too.
    linkTo: same || linkTo === undefined ? linkTo : source.linkTo,
  };
}

/** The side whose content is to stay: the one that changed it. */
function contentSide<E extends Entry>(base: Entry | undefined, alpha: E, beta: E): E {
  if (base === undefined || compareContent(base, alpha) !== "same") return alpha;
  return compareContent(base, beta) === "same" ? alpha : beta;
}

/** The entry whose field `key` is to be taken: the side that changed it, `winner` when both did. */
function pick<E>(key: (entry: E) => unknown, base: E | undefined, alpha: E, beta: E, winner: E): E {
  if (base === undefined) return winner;
  const before = key(base);
  const alphaChanged = key(alpha) !== before;
  const betaChanged = key(beta) !== before;
  if (alphaChanged === betaChanged) return winner;
  return alphaChanged ? alpha : beta;
}

function ownerText(entry: FileEntry | DirEntry | SymlinkEntry): string {
  return JSON.stringify(entry.owner ?? "");
}

function xattrText(entry: FileEntry | DirEntry): string {
  return JSON.stringify(entry.xattrs ?? []);
}
