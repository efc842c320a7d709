/** One change of a commit: may it be made, and what does it make? Nothing is recorded before that is certain. */
import { againOf, attributesFault, NO_ATTRIBUTES, withoutContent, type Attributes } from "#hub/attributes.ts";
import { isEncrypted, sizeFault, storedBytes } from "#hub/encrypted-content.ts";
import { isCanonical } from "#hub/meta/ranges.ts";
import { decodeEntry, encodeEntry } from "#hub/meta/rows.ts";
import type { WorkingSet } from "#hub/meta/working-set.ts";
import type {
  ChangeResult,
  Expect,
  JournalAction,
  RefusalCode,
  SpaceChange,
  Version,
} from "#hub/space.ts";
import { DIR_MODE, type Entry, PRESERVE_DEFAULT, type Preserve, compareContent, keptMode, sameEntry } from "#model/entry.ts";
import {
  PATH_BYTES_MAX,
  type RelPath,
  encodeName,
  isWithin,
  joinPath,
  parentOf,
  pathFault,
} from "#model/path.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

/** Entries of a directory that are removed or moved at once. */
const PAGE = 1000;

type Put = Extract<SpaceChange, { type: "put" }>;
type Remove = Extract<SpaceChange, { type: "remove" }>;
type Move = Extract<SpaceChange, { type: "move" }>;
/** Directories that are missing on the way to a path, the uppermost first, or why there is no way. */
type Way = { readonly missing: readonly RelPath[] } | { readonly code: RefusalCode; readonly message: string };

/** `dropped`: content whose manifest is gone. */
export function applyChange(
  set: WorkingSet,
  change: SpaceChange,
  dropped: ReadonlySet<ContentId>,
): Promise<ChangeResult> {
  if (change.type === "put") return applyPut(set, change, dropped);
  return change.type === "remove" ? applyRemove(set, change) : applyMove(set, change);
}

/** Paths that a change looks at, as far as its text says. */
export function pathsOf(change: SpaceChange): RelPath[] {
  if (change.type === "move") return [change.from, change.to, parentOf(change.to)];
  return change.type === "put" ? [change.path, parentOf(change.path)] : [change.path];
}

/** Why a path cannot be used. Two spellings of the same bytes would be two paths here and one in the table. */
function nameFault(path: RelPath): string | undefined {
  return pathFault(path) ?? (isCanonical(path) ? undefined : "characters that no bytes decode to");
}

const refused = (path: RelPath, code: RefusalCode, message: string): ChangeResult => ({
  status: "refused",
  path,
  code,
  message,
});

/** @param again the version that shows itself again so */
export async function applyPut(
  set: WorkingSet,
  change: Put,
  dropped: ReadonlySet<ContentId>,
  again?: number,
): Promise<ChangeResult> {
  const { path, content } = change;
  const fault = nameFault(path);
  if (fault !== undefined) return refused(path, "NAME", fault);
  const before = await set.current(path);
  const entry = entryOver(before, change);
  const attributes = change.attributes ?? attributesOver(before, change);
  const wrong = attributesFault(attributes) ?? contentFault(change, attributes, dropped);
  if (wrong !== undefined) return refused(path, "CONTENT", wrong);
  if (!(await isMet(set, path, before, change.expect))) return { status: "stale", path, version: before };
  const way = await wayTo(set, path, change.makeParents);
  if ("code" in way) return refused(path, way.code, way.message);
  const old = before?.entry;
  if (old?.kind === "dir" && entry.kind !== "dir" && (await set.hasBelow(path))) {
    return refused(path, "IS_A_DIRECTORY", "a directory that is not empty is there");
  }
  if (change.keepsKind === true && old !== undefined && (old.kind === "dir") !== (entry.kind === "dir")) {
    if (old.kind === "dir") return refused(path, "IS_A_DIRECTORY", "a directory is there");
    return refused(path, "NOT_A_DIRECTORY", `"${path}" is no directory`);
  }
  const more = way.missing.length + (old === undefined ? 1 : 0);
  const bytes = storedBytes(entry, attributes) - storedBytes(old, before?.attributes ?? NO_ATTRIBUTES);
  const over = quotaFault(set, bytes, more);
  if (over !== undefined) return refused(path, "QUOTA", over);
  await makeDirs(set, way.missing);
  const action = actionOf(before, entry, content?.id);
  const { lock } = change;
  const shown = again ?? (change.isSameVersion === true ? sameVersion(before, change) : undefined);
  const version = await set.record({ path, entry, content, attributes, action, from: undefined, again: shown, lock });
  return { status: "done", path, version };
}

/** What the version that is there is known by, when a change has its bytes; undefined when it is another. */
function sameVersion(before: Version | undefined, { content }: Put): number | undefined {
  if (before?.entry?.kind !== "file" || before.content?.id !== content?.id) return undefined;
  return againOf(before.attributes) ?? before.sequence;
}

/** With what stays of the entry that is there when a change says nothing of that. */
function entryOver(before: Version | undefined, { entry, content, keepsMode }: Put): Entry {
  const old = before?.entry;
  if (keepsMode !== true) return entry;
  if (old?.kind === "dir" && entry.kind === "dir") return old;
  if (old?.kind !== "file" || entry.kind !== "file") return entry;
  return { ...entry, mode: before?.content?.id === content?.id ? old.mode : keptMode(old.mode) };
}

/** What stays of the attributes that are there when a change says nothing of them. */
function attributesOver(before: Version | undefined, { entry, content }: Put): Attributes {
  if (before === undefined || before.entry?.kind !== entry.kind) return NO_ATTRIBUTES;
  return before.content?.id === content?.id ? before.attributes : withoutContent(before.attributes);
}

/** Why a space cannot keep this entry. What is written must be readable again, so it is tried. */
function contentFault(change: Put, attributes: Attributes, dropped: ReadonlySet<ContentId>): string | undefined {
  const { entry, content } = change;
  if (entry.kind === "other") return "special files are not kept";
  if ((entry.kind === "file") !== (content !== undefined)) return "files and only files have content";
  const wrongSize = entry.kind === "file" ? sizeFault(entry, attributes, content!.size) : undefined;
  if (wrongSize !== undefined) return wrongSize;
  if (entry.kind !== "file" && isEncrypted({ attributes })) return "files and only files are encrypted";
  if (content !== undefined && !/^[0-9a-f]{64}$/.test(content.id)) return "the content has no proper id";
  if (content !== undefined && dropped.has(content.id)) return "the content is gone: send it again";
  try {
    decodeEntry(encodeEntry(entry));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : "the entry breaks a limit";
  }
}

function actionOf(before: Version | undefined, entry: Entry, content: ContentId | undefined): JournalAction {
  const old = before?.entry;
  if (old === undefined) return "create";
  if (entry.kind === "file" || old.kind === "file") {
    return old.kind === entry.kind && before?.content?.id === content ? "metadata" : "replace";
  }
  return compareContent(old, entry) === "same" ? "metadata" : "replace";
}

async function applyRemove(set: WorkingSet, change: Remove): Promise<ChangeResult> {
  const { path } = change;
  const fault = nameFault(path);
  if (fault !== undefined) return refused(path, "NAME", fault);
  const before = await set.current(path);
  const isAsExpected = await isMet(set, path, before, change.expect);
  const isThere = before?.entry !== undefined || (before !== undefined && change.marksAgain === true);
  if (!isThere || !isAsExpected) return { status: "stale", path, version: before };
  if (before.entry?.kind === "dir") {
    if (!change.recursive && (await set.hasBelow(path))) {
      return refused(path, "NOT_EMPTY", "the directory is not empty");
    }
    if (change.recursive) await removeBelow(set, path);
  }
  return { status: "done", path, version: await removeOne(set, path) };
}

/** From the last path to the first: no entry ever lacks its directory. */
async function removeBelow(set: WorkingSet, dir: RelPath): Promise<void> {
  for (;;) {
    const page = await set.lastBelow(dir, PAGE);
    for (const { path } of page) await removeOne(set, path);
    if (page.length < PAGE) return;
  }
}

/** @param again the tombstone that shows itself again so, or 0 */
export function removeOne(set: WorkingSet, path: RelPath, again?: number): Promise<Version> {
  const nothing = { entry: undefined, content: undefined, attributes: NO_ATTRIBUTES };
  return set.record({ path, ...nothing, action: "remove", from: undefined, again });
}

async function applyMove(set: WorkingSet, change: Move): Promise<ChangeResult> {
  const { from, to } = change;
  const fault = nameFault(from) ?? nameFault(to);
  if (fault !== undefined) return refused(to, "NAME", fault);
  const before = await set.current(from);
  const isAsExpected = await isMet(set, from, before, change.expect);
  if (before?.entry === undefined || !isAsExpected) {
    return { status: "stale", path: from, version: before };
  }
  if (isWithin(to, from)) return refused(to, "NAME", "that is inside of what is moved");
  const there = await set.current(to);
  if (there?.entry !== undefined) return { status: "stale", path: to, version: there };
  const way = await wayTo(set, to, false);
  if ("code" in way) return refused(to, way.code, way.message);
  const isDir = before.entry.kind === "dir";
  const longest = isDir ? await set.longestBelow(from) : 0;
  if (longest - encodeName(from).length + encodeName(to).length > PATH_BYTES_MAX) {
    return refused(to, "NAME", "paths below it would be too long");
  }
  const version = await moveOne(set, before, to);
  if (isDir) await moveBelow(set, from, to);
  return { status: "done", path: to, version };
}

async function moveBelow(set: WorkingSet, from: RelPath, to: RelPath): Promise<void> {
  for (let after: RelPath | undefined; ; ) {
    const page = await set.firstBelow(from, after, PAGE);
    const targets = page.map(({ path }) => joinPath(to, path.slice(from.length + 1)));
    await set.load([...page.map(({ path }) => path), ...targets]);
    for (const [at, version] of page.entries()) await moveOne(set, version, targets[at]!);
    if (page.length < PAGE) return;
    after = page.at(-1)!.path;
  }
}

/** The removal comes directly before the record of the move. */
async function moveOne(set: WorkingSet, before: Version, to: RelPath): Promise<Version> {
  const { path, entry, content, attributes } = before;
  await removeOne(set, path);
  return set.record({ path: to, entry, content, attributes, action: "move", from: path });
}

async function wayTo(set: WorkingSet, path: RelPath, makeParents: boolean): Promise<Way> {
  const missing: RelPath[] = [];
  for (let dir = parentOf(path); dir !== ""; dir = parentOf(dir)) {
    const there = (await set.current(dir))?.entry;
    if (there?.kind === "dir") break;
    if (there !== undefined) return { code: "NOT_A_DIRECTORY", message: `"${dir}" is no directory` };
    missing.unshift(dir);
  }
  if (missing.length === 0 || makeParents) return { missing };
  return { code: "NO_PARENT", message: `the directory "${missing.at(-1)}" is missing` };
}

async function makeDirs(set: WorkingSet, paths: readonly RelPath[]): Promise<void> {
  for (const path of paths) {
    const entry: Entry = { kind: "dir", mode: DIR_MODE };
    await set.record({ path, entry, content: undefined, attributes: NO_ATTRIBUTES, action: "create", from: undefined });
  }
}

/** What makes the space smaller is always allowed, also where a quota was lowered below what is there. */
function quotaFault(set: WorkingSet, bytes: number, entries: number): string | undefined {
  const { name, settings } = set.space;
  const { quotaBytes, quotaEntries } = settings;
  const count = (number: number): string => number.toLocaleString("en-US");
  if (quotaBytes !== undefined && bytes > 0 && set.bytes + bytes > quotaBytes) {
    return `${name} would hold ${count(set.bytes + bytes)} bytes, and its quota is ${count(quotaBytes)}`;
  }
  if (quotaEntries !== undefined && entries > 0 && set.entries + entries > quotaEntries) {
    return `${name} would hold ${count(set.entries + entries)} entries, and its quota is ${count(quotaEntries)}`;
  }
  return undefined;
}

async function isMet(
  set: WorkingSet,
  path: RelPath,
  current: Version | undefined,
  expect: Expect,
): Promise<boolean> {
  if (!meets(current, expect)) return false;
  return expect.kind !== "unchangedSince" || !(await set.changedSince(path, expect.sequence));
}

/** As far as the current version of the path itself can say. */
export function meets(current: Version | undefined, expect: Expect): boolean {
  switch (expect.kind) {
    case "any":
      return true;
    case "absent":
      return current?.entry === undefined;
    case "present":
    case "unchangedSince":
      return current?.entry !== undefined;
    case "sequence":
      return (current?.sequence ?? 0) === expect.sequence;
    case "entry":
      return sameEntry(current?.entry, expect.entry, preserveOf(current?.entry, expect.entry));
  }
}

/** What one of two endpoints does not carry says nothing about the other. */
function preserveOf(a: Entry | undefined, b: Entry | undefined): Preserve {
  const hasXattrs = (entry: Entry | undefined): boolean =>
    entry !== undefined && "xattrs" in entry && entry.xattrs !== undefined;
  const hasLink = (entry: Entry | undefined): boolean =>
    entry !== undefined && "linkTo" in entry && entry.linkTo !== undefined;
  return {
    ...PRESERVE_DEFAULT,
    owner: "name",
    xattrs: hasXattrs(a) && hasXattrs(b),
    hardlinks: hasLink(a) && hasLink(b),
  };
}
