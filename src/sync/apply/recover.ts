/**
 * After a crash: looks at every change that was intended but not recorded as done, and at what lies in the stage.
 * Displaced content goes to the run's trash and into the run's record, so that undo still works; what was staged but
 * never placed is dropped. What was displaced but is not what the change was to displace (somebody saved over the path
 * in the last moment) goes back to its path, or beside it. The ancestor is not touched here, nor
 * the index, but for the ctime of a damaged file whose heal came to nothing: the next full scan sees what is on the disk,
 * and the controller recognises its own writes by their sums. Safe to interrupt and repeat.
 */
import { type Fd, FsError, type Stat, isCode } from "#platform/file-system.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import { type ApplyContext, rescueName } from "#sync/apply/apply-context.ts";
import { cameAlong } from "#sync/apply/came-along.ts";
import { recoverLentModes } from "#sync/apply/lent-mode.ts";
import { modeFor } from "#sync/apply/metadata.ts";
import { openOrMakeDir, removeTree } from "#sync/apply/private-area.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";
import { keepDamaged, keepOtherNames } from "#sync/apply/still-damaged.ts";

/** Prefix of names in the stage that belong to a transfer and are kept for resuming (transfer/). */
export const PARTIAL_PREFIX = "p-";
/** Ending of a partial's name while it is copied to be continued. */
export const SET_ASIDE = ".old";
/** How long a transfer that was broken off can be continued: then its source has probably gone. */
export const PARTIAL_KEPT_MS = 7 * 24 * 3600 * 1000;
const NS_PER_MS = 1e6;

type Run = { readonly id: string; readonly trash: Fd };

function statAt(context: ApplyContext, dir: Fd, name: string): Stat | undefined {
  try {
    return context.host.fs.stat(dir, name);
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function statInRoot(context: ApplyContext, path: RelPath): Stat | undefined {
  try {
    return context.root.statIfThere(path);
  } catch (error) {
    if (isCode(error, "EACCES", "EIO", "ESTALE")) return undefined;
    throw error;
  }
}

/** Is it what the change was meant to displace? An edit in place that kept the size is found in the trash. */
function isMeant(item: RunItem, found: Stat): boolean {
  if (found.ino !== item.oldIno) return false;
  return found.kind !== "file" || item.old?.kind !== "file" || found.size === item.old.size;
}

/** What happened to one intended change; undefined when it did not happen. */
function settle(context: ApplyContext, run: Run, item: RunItem): RunItem | undefined {
  if (item.action === "remove") return settleRemoval(context, run, item);
  if (item.stage !== "") settleStage(context, run, item);
  const placed = statInRoot(context, item.path);
  return placed !== undefined && placed.ino === item.newIno ? item : undefined;
}

/** Under the name in the stage lies what was staged, or what was swapped for it and must not be dropped with it. */
function settleStage(context: ApplyContext, run: Run, item: RunItem): void {
  const { root, stage, host } = context;
  const left = statAt(context, stage.root, item.stage);
  if (left === undefined) return;
  if (left.ino === item.newIno) return putBack(context, run, item);
  const meant = isMeant(item, left);
  if (meant && left.kind === "dir" && isGone(() => host.fs.rmdir(stage.root, item.stage))) return;
  if (meant && left.kind !== "dir" && item.trash !== "") {
    // A power loss may have kept both names.
    if (statAt(context, run.trash, item.trash)?.ino === left.ino) host.fs.unlink(stage.root, item.stage);
    else host.fs.rename(stage.root, item.stage, run.trash, item.trash, { replace: false });
    return;
  }
  if (statInRoot(context, item.path)?.ino === item.newIno) {
    host.fs.exchange(stage.root, item.stage, root.parent(item.path), nameOf(item.path));
  } else putBeside(context, stage.root, item.stage, run, item);
}

/** What is still in the stage was not placed: where there is no swap, the old entry may have made room for it. */
function putBack({ host, root, preserve }: ApplyContext, run: Run, item: RunItem): void {
  if (item.trash === "") return;
  try {
    if (item.old?.kind === "dir") {
      host.fs.mkdir(root.parent(item.path), nameOf(item.path), modeFor(item.old, preserve));
      return;
    }
    host.fs.rename(run.trash, item.trash, root.parent(item.path), nameOf(item.path), { replace: false });
  } catch (error) {
    if (!isCode(error, "EEXIST", "ENOENT", "ENOTDIR", "ELOOP", "EACCES")) throw error;
  }
}

function isGone(rmdir: () => void): boolean {
  try {
    rmdir();
    return true;
  } catch (error) {
    if (isCode(error, "ENOTEMPTY", "EEXIST")) return false;
    throw error;
  }
}

function settleRemoval(context: ApplyContext, run: Run, item: RunItem): RunItem | undefined {
  if (item.trash === "") return undefined;
  // Directories are removed when they are empty; nothing of them goes to the trash.
  if (item.old?.kind === "dir") return statInRoot(context, item.path) === undefined ? { ...item, trash: "" } : undefined;
  const out = statAt(context, run.trash, item.trash);
  if (out === undefined) return undefined;
  if (isMeant(item, out)) return item;
  putBeside(context, run.trash, item.trash, run, item);
  return undefined;
}

/** Back to its path when that is free, else to a name beside it; where neither is possible it stays in the trash. */
function putBeside(context: ApplyContext, from: Fd, name: string, run: Run, item: RunItem): void {
  const { fs } = context.host;
  const { path } = item;
  const tag = `${run.id.slice(0, 8)}-${item.trash === "" ? item.stage : item.trash}`;
  for (const to of [path, rescueName(parentOf(path), nameOf(path), tag)]) {
    try {
      return fs.rename(from, name, context.root.parent(to), nameOf(to), { replace: false });
    } catch (error) {
      if (!isCode(error, "EEXIST", "ENOTEMPTY", "ENOENT", "ENOTDIR", "ELOOP", "EACCES")) throw error;
    }
  }
  if (from !== run.trash) fs.rename(from, name, run.trash, `late-${item.stage}`, { replace: false });
}

/** Did a heal come so far that the damaged file has its name in the trash, and perhaps no further? */
function gotItsLink(context: ApplyContext, trash: Fd, { trash: name, oldIno }: RunItem): boolean {
  return name !== "" && statAt(context, trash, name)?.ino === oldIno;
}

/** Call once after open, before anything else uses stage or trash. */
export async function recover(context: ApplyContext): Promise<void> {
  const { journal, store, host } = context;
  await recoverLentModes(context);
  for (const [runId, items] of journal.openIntents()) {
    const trash = openOrMakeDir(host.fs, context.trash, runId);
    try {
      const intentMs = journal.intentMs(runId);
      const done = items.flatMap((item) => {
        const settled = settle(context, { id: runId, trash }, item);
        return settled === undefined ? [] : [settled, ...cameAlong(context, settled, intentMs)];
      });
      // Also what was placed: the scan tells of it, and a power loss that took it back then would look like an edit.
      await context.names.everything();
      store.transaction({ durable: true }, () => {
        for (const item of items) {
          // A power loss may take the names back and leave the ctime: without the link it may be somebody's, too.
          if (item.action === "heal") keepDamaged(context, item.path, item.oldIno, gotItsLink(context, trash, item));
        }
        keepOtherNames(context, linkedInos(context, items));
        journal.addItems(runId, Math.max(0, Math.floor(host.clock.nowMs())), done);
        journal.clearIntentsOf(runId);
      });
    } finally {
      host.fs.close(trash);
    }
  }
  dropLeftovers(context);
}

/** Inodes with several names of which the changes may have moved the ctime. */
function linkedInos({ links }: ApplyContext, items: readonly RunItem[]): Set<bigint> {
  const inos = new Set<bigint>();
  for (const { oldIno, newIno, new: entry } of items) {
    const isLink = entry?.kind === "file" && entry.linkTo !== undefined;
    for (const ino of [oldIno, newIno]) if (ino !== 0n && (isLink || links.members(ino).length > 1)) inos.add(ino);
  }
  return inos;
}

/** A partial that nobody continued for long. */
function isForgotten({ host, stage }: ApplyContext, name: string): boolean {
  const oldestMs = host.clock.nowMs() - PARTIAL_KEPT_MS;
  return Number(host.fs.stat(stage.root, name).ctimeNs) / NS_PER_MS < oldestMs;
}

/**
 * For a root that stays open. What is under way is written to all the time, and what cannot be removed now is met again.
 */
export function forgetPartials(context: ApplyContext): void {
  const { host, stage, received } = context;
  const waiting = new Set([...received.values()].map(({ name }) => name));
  try {
    for (const { name } of host.fs.list(stage.root)) {
      const mayGo = name.startsWith(PARTIAL_PREFIX) && !waiting.has(name);
      if (mayGo && isForgotten(context, name)) host.fs.unlink(stage.root, name);
    }
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
  }
}

function dropLeftovers(context: ApplyContext): void {
  const { fs } = context.host;
  const { stage, store } = context;
  /** What has another name, which may be one in the root. */
  const linked = new Set<bigint>();
  const unlink = (dir: Fd, name: string): void => {
    const { nlink, ino } = fs.stat(dir, name);
    if (nlink > 1) linked.add(ino);
    fs.unlink(dir, name);
  };
  for (const item of fs.list(stage.root)) {
    // One that is set aside is what a crash left of taking it up again.
    const isPartial = item.name.startsWith(PARTIAL_PREFIX) && !item.name.endsWith(SET_ASIDE);
    if (isPartial && !isForgotten(context, item.name)) continue;
    if (item.kind === "dir") removeTree(fs, stage.root, item.name, unlink);
    else unlink(stage.root, item.name);
  }
  if (linked.size > 0) store.transaction({ durable: false }, () => keepOtherNames(context, linked));
}
