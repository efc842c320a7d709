/** What taking a run back has to change: each path from what the run made of it to what was there before. */
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { Difference } from "#hub/restore.ts";
import type { ChangeResult, JournalRecord, SpaceId } from "#hub/space.ts";
import { type RelPath, compareBytes, encodeName } from "#model/path.ts";

/**
 * @param records the run's, by sequence
 * @returns what to change, in byte order; and the paths that were changed since, which are left alone
 */
export async function runDifferences(
  meta: MetaStore,
  space: SpaceId,
  records: readonly JournalRecord[],
): Promise<{ found: Difference[]; stale: ChangeResult[] }> {
  const spans = new Map<RelPath, { readonly previous: number; last: number }>();
  for (const { path, previous, sequence } of records) {
    const span = spans.get(path);
    if (span === undefined) spans.set(path, { previous, last: sequence });
    else span.last = sequence;
  }
  const found: Difference[] = [];
  const stale: ChangeResult[] = [];
  for (const [path, { previous, last }] of spans) {
    const now = await meta.version(space, path);
    if (now?.sequence !== last) {
      stale.push({ status: "stale", path, version: now });
      continue;
    }
    const wanted = previous === 0 ? undefined : await meta.versionAt(space, path, { sequence: previous });
    found.push({ path, now, wanted });
  }
  found.sort((a, b) => compareBytes(encodeName(a.path), encodeName(b.path)));
  return { found, stale };
}
