/**
 * Removes what links left on the hub's disk that are none any more: each session stages its large files in a directory
 * of its own name, which is kept so that a transfer goes on where it was cut off.
 */
import { isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { removeTree } from "#sync/apply/private-area.ts";

/** What was used more recently may belong to a session that nobody has told of yet. */
export const STAGE_UNUSED_MS = 24 * 3_600_000;

/**
 * @param folder where the directories are
 * @param isUsed by the name of a session
 * @returns how many were removed
 */
export function removeUnusedStages({ fs, clock }: Host, folder: string, isUsed: (session: string) => boolean): number {
  const top = fs.openRoot(folder);
  let removed = 0;
  try {
    for (const { name } of fs.list(top)) {
      if (!/^[0-9a-f]{32}$/.test(name) || isUsed(name)) continue;
      const { kind, mtimeNs } = fs.stat(top, name);
      if (kind !== "dir" || clock.nowMs() - Number(mtimeNs / 1_000_000n) < STAGE_UNUSED_MS) continue;
      removeTree(fs, top, name);
      removed++;
    }
  } catch (error) {
    // It was begun to be used, or is gone: next time.
    if (!isCode(error, "ENOENT", "ENOTEMPTY")) throw error;
  } finally {
    fs.close(top);
  }
  return removed;
}
