/**
 * After a crash: looks at every change that was intended but not recorded as done, and at what lies in the stage.
 * Displaced content goes to the run's trash and into the run's record, so that undo still works; what was staged but
 * never placed is dropped. Index and ancestor are not touched here: the next full scan sees what is on the disk, and
 * the controller recognises its own writes by their sums. Safe to interrupt and repeat.
 */
import { type Fd, type Stat, isCode } from "#platform/file-system.ts";
import { type RelPath } from "#model/path.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";
import { openOrMakeDir, removeTree } from "#sync/apply/private-area.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";

/** Prefix of names in the stage that belong to a transfer and are kept for resuming (transfer/). */
export const PARTIAL_PREFIX = "p-";

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

/** What happened to one intended change; undefined when it did not happen. */
function settle(context: ApplyContext, trash: Fd, item: RunItem): RunItem | undefined {
  const { fs } = context.host;
  if (item.action === "remove") {
    return item.trash !== "" && statAt(context, trash, item.trash) !== undefined ? item : undefined;
  }
  const placed = statInRoot(context, item.path);
  if (item.stage !== "" && item.trash !== "") {
    const left = statAt(context, context.stage.root, item.stage);
    // The swap was done but what came out did not reach the trash any more.
    if (left !== undefined && left.ino === item.oldIno && left.kind !== "dir") {
      fs.rename(context.stage.root, item.stage, trash, item.trash, { replace: false });
    }
  }
  return placed !== undefined && placed.ino === item.newIno ? item : undefined;
}

/** Call once after open, before anything else uses stage or trash. */
export async function recover(context: ApplyContext): Promise<void> {
  const { journal, store, host } = context;
  for (const [runId, items] of journal.openIntents()) {
    const trash = openOrMakeDir(host.fs, context.trash, runId);
    try {
      const done = items.flatMap((item) => settle(context, trash, item) ?? []);
      await host.fs.sync(trash);
      store.transaction({ durable: true }, () => {
        journal.addItems(runId, Math.max(0, Math.floor(host.clock.nowMs())), done);
        journal.clearIntentsOf(runId);
      });
    } finally {
      host.fs.close(trash);
    }
  }
  dropLeftovers(context);
}

function dropLeftovers(context: ApplyContext): void {
  const { fs } = context.host;
  const { stage } = context;
  for (const item of fs.list(stage.root)) {
    if (item.name.startsWith(PARTIAL_PREFIX)) continue;
    if (item.kind === "dir") removeTree(fs, stage.root, item.name);
    else fs.unlink(stage.root, item.name);
  }
}
