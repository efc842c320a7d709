/** Forgets old runs with their trash, so that undo does not fill the disk for ever. */
import { isCode } from "#platform/file-system.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";
import { OwnTimes } from "#sync/apply/own-times.ts";
import { type Unlink, removeTree } from "#sync/apply/private-area.ts";

/** Runs that can be undone, at most. */
export const RUNS_KEPT_MAX = 100;
/** And for how long. */
export const RUN_KEPT_MS = 30 * 24 * 3600 * 1000;

/** Call at open, after recovery. */
export function pruneRuns(context: ApplyContext): void {
  const { journal, host, store, trash } = context;
  const times = new OwnTimes();
  const unlink: Unlink = (dir, name) => {
    const { nlink, ino } = host.fs.stat(dir, name);
    const act = (): void => host.fs.unlink(dir, name);
    if (nlink > 1) times.through(context, [ino], act);
    else act();
  };
  const runs = journal.runs().sort((a, b) => b.startedMs - a.startedMs);
  const oldestMs = host.clock.nowMs() - RUN_KEPT_MS;
  dropUnknown(context, new Set(runs.map((run) => run.runId)), oldestMs, unlink);
  const old = runs.filter((run, at) => at >= RUNS_KEPT_MAX || run.startedMs < oldestMs);
  for (const { runId } of old) {
    for (const name of [runId, `undo-${runId}`]) {
      try {
        removeTree(host.fs, trash, name, unlink);
      } catch (error) {
        if (!isCode(error, "ENOENT")) throw error;
      }
    }
    store.transaction({ durable: false }, () => journal.forget(runId));
  }
  if (times.any) store.transaction({ durable: false }, () => times.settle(context));
}

/**
 * Other sessions of this root keep their trash beside ours, and those that are forgotten leave it behind. As a run is
 * kept no longer than RUN_KEPT_MS anywhere, what has lain untouched for longer belongs to nobody any more.
 */
function dropUnknown({ host, trash }: ApplyContext, known: ReadonlySet<string>, oldestMs: number, unlink: Unlink): void {
  const { fs } = host;
  for (const { name } of fs.list(trash)) {
    if (known.has(name) || known.has(name.replace(/^undo-/, ""))) continue;
    const stat = fs.stat(trash, name);
    if (stat.kind === "dir" && Number(stat.mtimeNs / 1_000_000n) < oldestMs) removeTree(fs, trash, name, unlink);
  }
}
