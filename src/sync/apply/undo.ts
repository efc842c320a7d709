/**
 * Takes a run back on this side: contents and metadata, in reverse order. Each step checks that the path still is as
 * the run left it; a path that someone changed since is left alone and reported. Repeating an undo that was cut off
 * continues it, because steps already taken find their work done. What the undo takes away lies in the trash, too.
 *
 * A directory that the run made goes only when what was taken out of it is safe where it is now: a disk may keep the
 * removal through a power loss without the renames before it. So these directories wait, until the end or until a step
 * needs their place, and one sync does for all of them.
 */
import type { Problem } from "#model/observation.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import { type Fd, type Stat, isCode } from "#platform/file-system.ts";
import { type ApplyContext, problem, problemOf } from "#sync/apply/apply-context.ts";
import { changeMetadata, creationMode, setCreatedMetadata } from "#sync/apply/metadata.ts";
import { type Changed, withLentModes } from "#sync/apply/lent-mode.ts";
import { OwnTimes } from "#sync/apply/own-times.ts";
import { openOrMakeDir } from "#sync/apply/private-area.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";

type Undo = {
  readonly context: ApplyContext;
  /** Trash of the run that is taken back, and of this undo. */
  readonly source: Fd;
  readonly target: Fd;
  /** Name in the undo's trash for what the step at hand takes away: the same when a broken-off undo is repeated. */
  name: string;
  /**
   * Where the system cannot swap: what the step at hand replaces has its second name, which must be durable before the
   * first one goes; or it has become that, and the step is to be taken again.
   */
  kept: "no" | "not yet durable" | "yes";
  /** Directories in which something was renamed since everything was durable. */
  readonly changed: Set<RelPath>;
  /** Made by the run and to be removed, in this order; true: that is repeated. */
  readonly waiting: Map<RelPath, readonly [RunItem, boolean]>;
  /** Names of a file that the undo does not touch keep what they know of it. */
  readonly times: OwnTimes;
  restored: number;
  readonly problems: Problem[];
};

const changed = (item: RunItem): Problem =>
  problem(item.path, "CHANGED", "it was changed after the run; left as it is", false);

/** Does the path still hold what the run put there? */
function untouched(undo: Undo, item: RunItem, stat: Stat | undefined): stat is Stat {
  if (stat === undefined || item.new === undefined || stat.ino !== item.newIno) return false;
  if (item.new.kind !== "file") return true;
  if (stat.size !== item.new.size) return false;
  return item.action === "metadata" || isTime(undo, item, stat, item.new.mtimeNs);
}

/**
 * Is it the time that the run had set? A disk with coarse times stores less than that. The index knows what it made of the
 * last one; where the run had set another before, or another file was in that place by the end, it was most likely rounded.
 */
function isTime(undo: Undo, item: RunItem, { ino, mtimeNs }: Stat, setNs: bigint): boolean {
  const { index, timestampNs } = undo.context;
  const rest = setNs % timestampNs;
  if (mtimeNs === setNs || mtimeNs === setNs - (rest < 0n ? rest + timestampNs : rest)) return true;
  const record = index.get(item.path);
  const isRounded = record?.ino === ino && record.diskMtimeNs === mtimeNs;
  return isRounded && record.entry.kind === "file" && record.entry.mtimeNs === setNs;
}

function toTrash(undo: Undo, item: RunItem): void {
  const { host, root } = undo.context;
  host.fs.rename(root.parent(item.path), nameOf(item.path), undo.target, undo.name, { replace: false });
}

function undoCreate(undo: Undo, item: RunItem): Problem | undefined {
  const { host, root } = undo.context;
  const stat = root.statIfThere(item.path);
  if (stat === undefined) return undefined;
  if (!untouched(undo, item, stat)) return changed(item);
  if (stat.kind !== "dir") {
    toTrash(undo, item);
    return undefined;
  }
  root.forget(item.path);
  try {
    host.fs.rmdir(root.parent(item.path), nameOf(item.path));
    return undefined;
  } catch (error) {
    if (isCode(error, "ENOTEMPTY", "EEXIST")) return changed(item);
    throw error;
  }
}

/** The displaced entry back to its path; a directory is made anew, its children come back by their own items. */
function restore(undo: Undo, item: RunItem): Problem | undefined {
  const { host, root, preserve } = undo.context;
  const { old } = item;
  if (old === undefined) return undefined;
  const parent = root.parent(item.path);
  const name = nameOf(item.path);
  if (old.kind !== "dir") {
    host.fs.rename(undo.source, item.trash, parent, name, { replace: false });
    return undefined;
  }
  host.fs.mkdir(parent, name, creationMode(old, preserve));
  const fd = host.fs.openDir(parent, name);
  try {
    setCreatedMetadata(host.fs, fd, old, preserve);
  } finally {
    host.fs.close(fd);
  }
  return undefined;
}

/** One atomic step where the system can swap: no moment without an entry. The new content stays in the run's trash. */
function swapBack(undo: Undo, item: RunItem): boolean {
  if (item.trash === "") return false;
  const { host, root } = undo.context;
  try {
    host.fs.exchange(undo.source, item.trash, root.parent(item.path), nameOf(item.path));
    return true;
  } catch (error) {
    if (isCode(error, "ENOSYS", "EINVAL", "ENOTSUP", "EOPNOTSUPP")) return false;
    throw error;
  }
}

/** Where the system cannot swap: the new content gets its second name first, and the old one is renamed over it. */
function linkAndReplace(undo: Undo, item: RunItem): void {
  const { host, root } = undo.context;
  const parent = root.parent(item.path);
  const name = nameOf(item.path);
  if (undo.kept === "yes") return host.fs.rename(undo.source, item.trash, parent, name, { replace: true });
  try {
    host.fs.link(parent, name, undo.target, undo.name);
  } catch (error) {
    // An undo that was broken off has come so far.
    if (!isCode(error, "EEXIST")) throw error;
  }
  undo.kept = "not yet durable";
}

function undoReplace(undo: Undo, item: RunItem): Problem | undefined {
  const { root, host } = undo.context;
  const stat = root.statIfThere(item.path);
  if (stat !== undefined && stat.ino === item.oldIno) return undefined;
  const wasDir = item.old?.kind === "dir";
  // An undo that was broken off may have taken the new entry away already: only between kinds there is such a gap.
  const isGap = stat === undefined && wasDir !== (item.new?.kind === "dir");
  if (isGap) return restore(undo, item);
  if (wasDir && stat?.kind === "dir") return undefined;
  if (!untouched(undo, item, stat)) return changed(item);
  if (stat.kind === "dir") {
    root.forget(item.path);
    host.fs.rmdir(root.parent(item.path), nameOf(item.path));
    return restore(undo, item);
  }
  if (wasDir) {
    toTrash(undo, item);
    return restore(undo, item);
  }
  if (!swapBack(undo, item)) linkAndReplace(undo, item);
  return undefined;
}

function undoRemove(undo: Undo, item: RunItem): Problem | undefined {
  const stat = undo.context.root.statIfThere(item.path);
  if (stat !== undefined) return stat.ino === item.oldIno || stat.kind === "dir" ? undefined : changed(item);
  return restore(undo, item);
}

function undoMetadata(undo: Undo, item: RunItem): Problem | undefined {
  const { host, root, preserve } = undo.context;
  const stat = root.statIfThere(item.path);
  if (!untouched(undo, item, stat) || item.old === undefined) return changed(item);
  const parent = root.parent(item.path);
  const fd = stat.kind === "dir" ? host.fs.openDir(parent, nameOf(item.path)) : root.openRead(item.path);
  try {
    changeMetadata(host.fs, fd, stat, item.old, preserve);
  } finally {
    host.fs.close(fd);
  }
  return undefined;
}

function undoMove(undo: Undo, item: RunItem): Problem | undefined {
  const { host, root } = undo.context;
  const stat = root.statIfThere(item.path);
  if (stat === undefined && root.statIfThere(item.from)?.ino === item.newIno) return undefined;
  if (stat === undefined || stat.ino !== item.newIno) return changed(item);
  root.forget(item.path);
  const fromParent = root.parent(item.path);
  const toParent = root.parent(item.from);
  host.fs.rename(fromParent, nameOf(item.path), toParent, nameOf(item.from), { replace: false });
  return undefined;
}

const STEPS: Record<RunItem["action"], (undo: Undo, item: RunItem) => Problem | undefined> = {
  create: undoCreate,
  replace: undoReplace,
  remove: undoRemove,
  metadata: undoMetadata,
  move: undoMove,
  // As little as the heal did: what was damaged comes back, and counts as an edit from then on.
  heal: undoReplace,
};

/** The directories in which taking it back changes something. */
function dirsOf({ action, path, from, new: entry }: RunItem): Changed[] {
  if (action !== "move") return [{ dir: parentOf(path) }];
  const changed: Changed[] = [{ dir: parentOf(path) }, { dir: parentOf(from) }];
  return entry?.kind === "dir" ? [...changed, { dir: path, movesTo: from }] : changed;
}

/** As takeOnce; in two halves where that is safer. @throws {FsError} */
async function take(undo: Undo, item: RunItem, isRepeated: boolean): Promise<void> {
  const { names, trash } = undo.context;
  undo.kept = "no";
  if (takeOnce(undo, item, isRepeated)) return;
  await names.one(undo.target);
  await names.one(trash);
  undo.kept = "yes";
  takeOnce(undo, item, isRepeated);
}

/**
 * Takes one step; false when it has to be taken again.
 *
 * @param isRepeated it was taken already, and leaves a path that later steps may have filled again
 */
function takeOnce(undo: Undo, item: RunItem, isRepeated: boolean): boolean {
  const { context, times } = undo;
  const step = (): Problem | undefined => STEPS[item.action](undo, item);
  let found: Problem | undefined;
  try {
    found = withLentModes(context, dirsOf(item), () => times.through(context, [item.oldIno, item.newIno], step, item.path));
  } catch (error) {
    found = problemOf(item.path, error);
  }
  for (const { dir } of dirsOf(item)) undo.changed.add(dir);
  if (undo.kept === "not yet durable" && found === undefined) return false;
  if (found === undefined || (isRepeated && found.code === "CHANGED")) undo.restored++;
  else undo.problems.push(found);
  context.markDirty(item.path);
  return true;
}

/** @throws {FsError} */
async function makeSafe(undo: Undo): Promise<void> {
  await undo.context.names.everything();
  undo.changed.clear();
}

/** @throws {FsError} */
async function removeWaiting(undo: Undo): Promise<void> {
  if ([...undo.waiting.keys()].some((dir) => undo.changed.has(dir))) await makeSafe(undo);
  for (const [item, isRepeated] of undo.waiting.values()) await take(undo, item, isRepeated);
  undo.waiting.clear();
}

const makesDir = ({ action, new: entry }: RunItem): boolean => action === "create" && entry?.kind === "dir";

/** Does the step need the place of a directory that waits, or take one along? */
function needsRemovals({ waiting }: Undo, item: RunItem): boolean {
  if (waiting.size === 0) return false;
  const replacesDir = item.action === "replace" && item.new?.kind === "dir";
  if (item.action === "move" || replacesDir) return true;
  // A directory that comes again may hold one that is to come again, too.
  for (let dir = item.path; dir !== ""; dir = parentOf(dir)) if (waiting.has(dir)) return true;
  return false;
}

/** @throws {FsError} when the disk refuses to make durable what was done */
export async function undoRun(
  context: ApplyContext,
  runId: string,
  undoId: string,
): Promise<{ restored: number; problems: Problem[] }> {
  const { host, root, journal, store } = context;
  // A directory that is open since the last scan may have been moved by now.
  root.clear();
  const source = openOrMakeDir(host.fs, context.trash, runId);
  const target = openOrMakeDir(host.fs, context.trash, undoId);
  const times = new OwnTimes();
  const now = { name: "", kept: "no", changed: new Set<RelPath>(), waiting: new Map(), restored: 0 } as const;
  const undo: Undo = { context, source, target, times, ...now, problems: [] };
  const steps = store.table("undo-step");
  const before = Number(Buffer.from(steps.get(runId) ?? "0").toString());
  const noteStep = (step: number, durable: boolean): void => {
    if (step > before) store.transaction({ durable }, () => steps.set(runId, Buffer.from(String(step))));
  };
  /** Paths from which something was taken away. */
  const left = new Set<RelPath>();
  try {
    for (const [step, item] of journal.items(runId).reverse().entries()) {
      undo.name = step.toString(36);
      const isRepeated = step < before;
      // Where it puts something to a path that an earlier step has left, that one's repetition would find it changed.
      if (left.has(item.action === "move" ? item.from : item.path)) noteStep(step, true);
      if (item.action === "create" || item.action === "move") left.add(item.path);
      if (needsRemovals(undo, item)) await removeWaiting(undo);
      if (makesDir(item)) undo.waiting.set(item.path, [item, isRepeated]);
      else {
        if (item.new?.kind === "dir" && undo.changed.has(item.path)) await makeSafe(undo);
        await take(undo, item, isRepeated);
      }
      noteStep(step + 1, false);
    }
    await removeWaiting(undo);
    await context.names.everything();
    store.transaction({ durable: true }, () => {
      times.settle(context);
      journal.setUndone(runId);
      journal.clearLentModes();
      steps.delete(runId);
    });
  } finally {
    host.fs.close(source);
    host.fs.close(target);
  }
  return { restored: undo.restored, problems: undo.problems };
}
