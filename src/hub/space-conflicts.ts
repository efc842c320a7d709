/**
 * Conflicts of a space: a loser lies beside its winner under a name that says so (model/conflict-copy.ts), and stays
 * there until somebody decides. A decision is an ordinary commit, which can be taken back like any other.
 */
import type { Keep } from "#hub/agents/left-conflicts.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import { noConflictCopy, nameUnknown, staleConflict } from "#hub/space-errors.ts";
import type { Expect, JournalRecord, Origin, SpaceChange, SpaceId, Version } from "#hub/space.ts";
import { conflictCopyOf } from "#model/conflict-copy.ts";
import { NAME_BYTES_MAX, type RelPath, encodeName, joinPath, nameOf, parentOf } from "#model/path.ts";

/** Conflicts of one page. */
export const CONFLICTS_MAX = 500;
/** Versions of a copy that are looked through for the one that made it. */
const HISTORY_MAX = 20;
/** How often a copy may have been moved along with a directory above it, until that is not followed any more. */
const MOVES_MAX = 8;
/** Changes since somebody looked, after which they have to look again. */
const SEEN_AGO_MAX = 100_000;
/** Names that are tried for a copy that is to be a file of its own. */
const NAMES_MAX = 32;

export type SpaceConflict = {
  /** Where the winner is, or was; undefined: the copy's name is too long to say. */
  readonly path: RelPath | undefined;
  readonly copy: Version;
  /** Undefined: nothing is there, or it may not be read. */
  readonly current: Version | undefined;
  /** The change that made what the copy holds: who lost, where, and when. */
  readonly lost: { readonly sequence: number; readonly timeMs: number; readonly origin: Origin };
};

export type ConflictsPage = {
  readonly conflicts: readonly SpaceConflict[];
  /** The copy that the next page comes after; undefined: this is the last one. */
  readonly next: RelPath | undefined;
  /** Of the space when it was looked at. */
  readonly sequence: number;
};

export type Decision = {
  readonly copy: RelPath;
  readonly keep: Keep;
  /** With `both`: the copy's new name; undefined: one that tells whose it was. */
  readonly as: RelPath | undefined;
  /** The space's sequence when the caller looked; what was changed since is not touched. Undefined: it is looked at now. */
  readonly seen: number | undefined;
};

/** The journal knows who made what a copy holds, also where a session has moved it aside, or a person its directory. */
export async function lostBy(meta: MetaStore, space: SpaceId, copy: Version): Promise<SpaceConflict["lost"] | undefined> {
  let path = copy.path;
  let before: number | undefined;
  for (let moves = 0; moves < MOVES_MAX; moves++) {
    const records = await meta.history(space, path, before, HISTORY_MAX);
    // Where it was only edited since, as far as is looked back, the oldest of it has to do.
    const made = records.find(({ action }) => action === "create" || action === "move") ?? records.at(-1);
    if (made === undefined) return undefined;
    if (made.action !== "move" || made.from === undefined) return toldOf(made);
    // The removal of the source is the record before.
    const [removal] = await meta.journal(space, made.sequence - 2, 1);
    const source = removal === undefined ? [] : await meta.journal(space, removal.previous - 1, 1);
    if (source[0] === undefined) return toldOf(made);
    if (conflictCopyOf(made.from) === undefined) return toldOf(source[0]);
    path = made.from;
    before = removal!.sequence;
  }
  return undefined;
}

function toldOf({ sequence, timeMs, origin }: JournalRecord): SpaceConflict["lost"] {
  return { sequence, timeMs, origin };
}

/**
 * The changes that carry a decision out, all or none. Each expects what was seen.
 * @param now the space's sequence
 * @throws {SynclineError} NOT_FOUND, STALE when one of the two was changed after `seen`, USAGE
 */
export async function decisionChanges(
  meta: MetaStore,
  space: SpaceId,
  { copy: copyPath, keep, as, seen = Number.MAX_SAFE_INTEGER }: Decision,
  now: number,
): Promise<SpaceChange[]> {
  const copy = await meta.version(space, copyPath);
  const marked = conflictCopyOf(copyPath);
  if (copy?.entry === undefined || marked === undefined) throw noConflictCopy(copyPath);
  const since = Math.min(seen, now);
  if (since < now - SEEN_AGO_MAX || copy.sequence > since) throw staleConflict(copyPath);
  const copyExpect = expectOf(copy, since);
  if (keep === "both") {
    const to = as ?? (await ownName(meta, space, copy));
    return [{ type: "move", from: copyPath, to, expect: copyExpect }];
  }
  if (marked.of === undefined && keep === "copy") throw nameUnknown(copyPath);
  const current = marked.of === undefined ? undefined : await meta.version(space, marked.of);
  if (current !== undefined && current.sequence > since) throw staleConflict(current.path);
  const removal: SpaceChange = { type: "remove", path: copyPath, expect: copyExpect, recursive: true };
  return keep === "current" ? [removal] : takeOver(copy, copyExpect, marked.of!, current, since);
}

/** The copy's content at the winner's path. A file replaces a file in its history; all else makes room first. */
function takeOver(
  copy: Version,
  expect: Expect,
  path: RelPath,
  current: Version | undefined,
  since: number,
): SpaceChange[] {
  const move: SpaceChange = { type: "move", from: copy.path, to: path, expect };
  if (current?.entry === undefined) return [move];
  const currentExpect = expectOf(current, since);
  if (copy.entry!.kind === "dir" || current.entry.kind === "dir") {
    return [{ type: "remove", path, expect: currentExpect, recursive: true }, move];
  }
  const { entry, content, attributes } = copy;
  return [
    { type: "put", path, expect: currentExpect, entry: entry!, content, attributes, makeParents: false },
    { type: "remove", path: copy.path, expect, recursive: false },
  ];
}

function expectOf({ sequence, entry }: Version, since: number): Expect {
  return entry?.kind === "dir" ? { kind: "unchangedSince", sequence: since } : { kind: "sequence", sequence };
}

/** "a.web2.txt" for a copy of "a.txt" that is web2's: a name that is free, and no conflict copy's. */
async function ownName(meta: MetaStore, space: SpaceId, copy: Version): Promise<RelPath> {
  const of = conflictCopyOf(copy.path)?.of;
  if (of === undefined) throw nameUnknown(copy.path);
  const origin = (await lostBy(meta, space, copy))?.origin;
  const whose = (origin?.host ?? origin?.actor ?? "copy").replace(/^\w+:/, "").replaceAll(/[^\w-]+/g, "-");
  const name = nameOf(of);
  const dot = name.lastIndexOf(".");
  const [stem, ending] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  for (let attempt = 1; attempt <= NAMES_MAX; attempt++) {
    const mine = `${stem}.${whose}${attempt === 1 ? "" : `-${attempt}`}${ending}`;
    const path = joinPath(parentOf(of), mine);
    const isFree = encodeName(mine).length <= NAME_BYTES_MAX && (await meta.version(space, path))?.entry === undefined;
    if (isFree) return path;
  }
  throw nameUnknown(copy.path);
}
