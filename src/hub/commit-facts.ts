/** What a commit is made of, and what came of it, beside its changes. Pure. */
import type { Principal } from "#access/access.ts";
import type { NewContent } from "#hub/commit-queue.ts";
import type { HeldContent } from "#hub/content.ts";
import type { CommitOutcome } from "#hub/meta/meta-store.ts";
import type { CommitRequest } from "#hub/space-service.ts";
import type { ChangeResult, Origin, SpaceChange } from "#hub/space.ts";
import type { Sums } from "#hub/sums/sums.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** What of the contents of a commit is new to the metadata: held from when they came in. */
export function newContent(changes: readonly SpaceChange[], held: HeldContent): NewContent {
  const manifests = new Map<ContentId, Manifest>();
  const sums = new Map<ContentId, Sums>();
  for (const change of changes) {
    const id = change.type === "put" ? change.content?.id : undefined;
    if (id === undefined) continue;
    const manifest = held.manifest(id);
    if (manifest !== undefined) manifests.set(id, manifest);
    const known = held.sums(id);
    if (Object.keys(known).length > 0) sums.set(id, known);
  }
  return { manifests, sums };
}

export function sequences({ before, after }: CommitOutcome): { before: number; after: number } {
  return { before, after };
}

export function countsOf(results: readonly ChangeResult[]): { done: number; notDone: number } {
  const done = results.filter(({ status }) => status === "done").length;
  return { done, notDone: results.length - done };
}

export function originOf(who: Principal, request: CommitRequest): Origin {
  const { host, traceId, cause, runId, message } = request;
  return { actor: who.id, host, traceId, cause, runId, message };
}
