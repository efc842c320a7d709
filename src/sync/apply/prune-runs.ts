/** Forgets old runs with their trash, so that undo does not fill the disk for ever. */
import { isCode } from "#platform/file-system.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";
import { removeTree } from "#sync/apply/private-area.ts";

/** Runs that can be undone, at most. */
export const RUNS_KEPT_MAX = 100;
/** And for how long. */
export const RUN_KEPT_MS = 30 * 24 * 3600 * 1000;

/** Call at open, after recovery. */
export function pruneRuns(context: ApplyContext): void {
  const { journal, host, store, trash } = context;
  const runs = journal.runs().sort((a, b) => b.startedMs - a.startedMs);
  const oldestMs = host.clock.nowMs() - RUN_KEPT_MS;
  const old = runs.filter((run, at) => at >= RUNS_KEPT_MAX || run.startedMs < oldestMs);
  for (const { runId } of old) {
    for (const name of [runId, `undo-${runId}`]) {
      try {
        removeTree(host.fs, trash, name);
      } catch (error) {
        if (!isCode(error, "ENOENT")) throw error;
      }
    }
    store.transaction({ durable: false }, () => journal.forget(runId));
  }
}
