/**
 * Places that nothing can take as long as something is there that this side ignores: it is never touched, and only a
 * person moves it away. Trying again changes nothing, so the problems here are lasting ones, and name what it is.
 */
import type { Entry } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, joinPath, parentOf, printablePath } from "#model/path.ts";
import { type DirItem, FsError } from "#platform/file-system.ts";
import type { Move } from "#model/plan.ts";
import { type ApplyContext, problem } from "#sync/apply/apply-context.ts";
import type { Tree } from "#sync/index/store.ts";

/** Entries of a directory that are looked at; where all of them are ignored, what comes after them is taken for that, too. */
const LOOKED_AT_MAX = 10_000;
/** Ignored entries that a problem names. */
const NAMED_MAX = 3;

/** What a side ignores in a directory: some of it, and whether there is more. */
export type IgnoredIn = { readonly named: readonly RelPath[]; readonly isMore: boolean };

/** Collects it, in whatever order it is met. */
export class IgnoredEntries implements IgnoredIn {
  readonly named: RelPath[] = [];
  isMore = false;

  add(path: RelPath): void {
    if (this.named.length < NAMED_MAX) this.named.push(path);
    else this.isMore = true;
  }

  addAll({ named, isMore }: IgnoredIn): void {
    for (const path of named) this.add(path);
    this.isMore ||= isMore;
  }
}

/** The side filters it out. */
export function ignoredHere(path: RelPath): Problem {
  return problem(path, "IGNORED", "it is ignored on this side", false);
}

/**
 * Would something that is shared go out of sight here, by the rules above the place that a move leads to? Those in it go
 * along. What is renamed to an ignored name goes from here, and does not come again. A conflict's loser is only put
 * aside, wherever that is.
 */
export function hidesMoved(
  { from, to, aside }: Move,
  index: Pick<Tree<{ readonly entry: Entry }>, "walk">,
  ignores: (path: RelPath, isDir: boolean) => boolean,
): boolean {
  if (aside === true) return false;
  for (const [path, { entry }] of index.walk(from)) {
    if (ignores(to + path.slice(from.length), entry.kind === "dir")) return true;
  }
  return false;
}

/** A directory that is to go, or to become something else, and cannot. */
export function heldDirectory(path: RelPath, { named, isMore }: IgnoredIn): Problem {
  const what = `${named.map(printablePath).join(", ")}${isMore ? " and more" : ""}`;
  const message = `the directory stays, because this side ignores what is in it: ${what}; remove that or move it away, or end the rule`;
  return problem(path, "ENOTEMPTY", message, false);
}

/** @param at where something ignored stands: at the path, or at a directory above it */
export function takenPlace(path: RelPath, at: RelPath): Problem {
  const where = at === path ? "" : `: ${printablePath(at)}`;
  const message = `something that is ignored on this side stands in its place${where}; remove it or move it away, or end the rule`;
  return problem(path, "EEXIST", message, false);
}

/** Something the session does not know of, or could not remove: another scan sees it. */
export function filledDirectory(path: RelPath): Problem {
  return problem(path, "ENOTEMPTY", "the directory still holds new entries", true);
}

/** Directories that a run could not remove, children before their parents. */
export type HeldDirectories = Map<RelPath, IgnoredIn>;

type Place = Pick<ApplyContext, "root" | "index" | "ignores" | "hasRules" | "awaitLeaving">;

/**
 * Looks through a directory that is on the disk and in the index.
 *
 * @param held directories in it of which it is known that they hold nothing but what is ignored
 * @returns what is ignored in it, and whether that, with the directories it lies in, is all that it holds
 */
function look(context: Place, dir: RelPath, held: HeldDirectories): { readonly ignored: IgnoredIn; readonly isAll: boolean } {
  const { root, index, ignores } = context;
  const ignored = new IgnoredEntries();
  const open: RelPath[] = [dir];
  let left = LOOKED_AT_MAX;
  let isAll = true;
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const items = root.list(at);
    // A directory that holds nothing stays for another reason.
    if (items.length === 0) isAll = false;
    for (const { name, kind } of items) {
      if (--left < 0) {
        ignored.isMore = true;
        return { ignored, isAll };
      }
      const path = joinPath(at, name);
      const isDir = isDirectory(context, path, kind);
      const known = held.get(path);
      if (known !== undefined) ignored.addAll(known);
      else if (ignores(path, isDir)) ignored.add(path);
      else if (isDir && index.get(path)?.entry.kind === "dir") open.push(path);
      else isAll = false;
    }
  }
  return { ignored, isAll };
}

function isDirectory({ root }: Place, path: RelPath, kind: DirItem["kind"]): boolean {
  return (kind === "unknown" ? root.statIfThere(path)?.kind : kind) === "dir";
}

/**
 * Why the directory cannot go: for good, where only ignored entries are left in it.
 *
 * @param held those of which that is known; gets this one, too
 */
export function whyNotEmpty(context: Place, dir: RelPath, held: HeldDirectories): Problem {
  try {
    const { ignored, isAll } = look(context, dir, held);
    if (!isAll || ignored.named.length === 0) return filledDirectory(dir);
    held.set(dir, ignored);
    context.awaitLeaving(dir);
    return heldDirectory(dir, ignored);
  } catch (error) {
    if (error instanceof FsError) return filledDirectory(dir);
    throw error;
  }
}

/** Why no file can come to the path, as far as that is known beforehand, and lasting; undefined otherwise. */
export function whyNoFile(context: Place, path: RelPath): Problem | undefined {
  const { index, ignores } = context;
  if (ignores(path, false)) return ignoredHere(path);
  const known = index.get(path)?.entry.kind;
  if (known !== undefined && known !== "dir") return undefined;
  try {
    if (known === undefined) return whyTaken(context, path);
    const { ignored } = look(context, path, new Map());
    if (ignored.named.length === 0) return undefined;
    context.awaitLeaving(path);
    return heldDirectory(path, ignored);
  } catch (error) {
    // Whoever is to place it meets the same, and tells.
    if (error instanceof FsError) return undefined;
    throw error;
  }
}

/** Does something ignored stand at the path, or where a directory above it is to be? */
function whyTaken(context: Place, path: RelPath): Problem | undefined {
  const { root, index, ignores, hasRules } = context;
  for (let at = path; at !== "" && index.get(at) === undefined && hasRules(parentOf(at)); at = parentOf(at)) {
    const there = root.statIfThere(at);
    if (there === undefined) continue;
    return ignores(at, there.kind === "dir") ? placeTaken(context, path, at) : undefined;
  }
  return undefined;
}

/** As takenPlace, and when it has gone the place is looked at again. */
export function placeTaken({ awaitLeaving }: Place, path: RelPath, at: RelPath): Problem {
  awaitLeaving(at);
  return takenPlace(path, at);
}
