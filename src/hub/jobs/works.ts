/** How the jobs of a hub are done. */
import type { Principal } from "#access/access.ts";
import type { AgentListener } from "#hub/agents/listener.ts";
import type { AgentRegistry } from "#hub/agents/registry.ts";
import { BelievedTime } from "#hub/believed-time.ts";
import type { Finding } from "#hub/check/findings.ts";
import type { HubCare } from "#hub/hub-care.ts";
import {
  BACKUP, type BACKUP_ARGS, CHECK, type CHECK_ARGS, EXPIRE, type EXPIRE_ARGS, EXPORT, IMPORT, LIFECYCLE, type LIFECYCLE_ARGS, PRUNE,
  type PRUNE_ARGS, RESTORE, SCRUB, type SCRUB_ARGS, type TransferArgs, UPLOAD, rescanOf,
} from "#hub/jobs/kinds.ts";
import { rescanWork } from "#hub/jobs/rescan-work.ts";
import { restoreWork } from "#hub/jobs/restore-work.ts";
import { type Transfers, transferWork } from "#hub/jobs/transfer-work.ts";
import { uploadWork } from "#hub/jobs/upload-work.ts";
import type { LifecycleRows } from "#hub/lifecycle/lifecycle-rows.ts";
import { LIFECYCLE_NOTHING, type LifecycleDone, runLifecycle } from "#hub/lifecycle/run-lifecycle.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { SpaceAudit } from "#hub/space-audit.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { HubUploads } from "#hub/uploads/hub-uploads.ts";
import type { Versions } from "#hub/versions/versions.ts";
import {
  type Expired, type ScrubCursor, type ScrubParts, type ScrubPlace, expireOld, pruneChunks, scrubBegin, scrubChunks,
} from "#hub/upkeep.ts";
import type { AnyJobKind, JobWork } from "#jobs/kind.ts";
import type { Registered } from "#jobs/runner.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import type * as z from "zod";

/** Findings of a check that its job keeps; the log has the others. */
const FINDINGS_KEPT_MAX = 50;
const FINDING_CHARS_MAX = 500;

export type HubJobParts = {
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly spaces: SpaceService;
  readonly audit: SpaceAudit;
  readonly care: HubCare;
  readonly uploads: Pick<HubUploads, "liveChunks" | "sweep" | "complete" | "abortBegunBefore">;
  readonly versions: Versions;
  readonly lifecycle: LifecycleRows;
  readonly registry: AgentRegistry;
  readonly listener: Pick<AgentListener, "rescan" | "presence">;
  readonly cursor: ScrubCursor;
  readonly onDamaged: ScrubParts["onDamaged"];
  readonly transfers: Transfers;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: (message: string, fields: Readonly<Record<string, unknown>>) => void;
};

export function hubJobs(parts: HubJobParts): Registered[] {
  const time = new BelievedTime(parts.clock);
  return [
    registered(SCRUB, scrubWork(parts)),
    registered(PRUNE, pruneWork(parts)),
    registered(EXPIRE, expireWork(parts, time)),
    registered(LIFECYCLE, lifecycleWork(parts, time)),
    registered(boundToSpace(RESTORE, parts), restoreWork(parts)),
    registered(CHECK, checkWork(parts)),
    registered(BACKUP, backupWork(parts)),
    registered(UPLOAD, uploadWork(parts.uploads)),
    registered(checkedTransfer(IMPORT, parts), transferWork("import", parts)),
    registered(checkedTransfer(EXPORT, parts), transferWork("export", parts)),
    registered(rescanOf((host) => parts.registry.host(host)?.labels ?? []), rescanWork(parts)),
  ];
}

/** Who reads addresses is not of this room. */
function checkedTransfer(kind: AnyJobKind, parts: HubJobParts): AnyJobKind {
  const { transfers } = parts;
  const check = ({ url }: TransferArgs): void => transfers.check(url);
  return { ...boundToSpace(kind, parts), check: check as NonNullable<AnyJobKind["check"]> };
}

/** Such a job is of the space that has the name when it is made. */
function boundToSpace(kind: AnyJobKind, { spaces }: Pick<HubJobParts, "spaces">): AnyJobKind {
  const bind = ({ space }: { readonly space: string }): unknown => spaces.idOf(space);
  return { ...kind, bind: bind as NonNullable<AnyJobKind["bind"]> };
}

function registered<A>(kind: AnyJobKind, work: JobWork<A>): Registered {
  return { kind, work: work as JobWork };
}

function scrubWork({ chunks, cursor, onDamaged }: HubJobParts): JobWork<z.infer<typeof SCRUB_ARGS>> {
  return async ({ bytes, fromStart }, { checkpoint, save, signal }) => {
    const from = (checkpoint as ScrubPlace | undefined) ?? (await scrubBegin(cursor, fromStart));
    const total = bytes ?? chunks.stats().storedBytes;
    const saved = (place: ScrubPlace) => save(place, { done: place.checkedBytes, total, unit: "bytes" });
    await saved(from);
    return scrubChunks({ chunks, cursor, onDamaged }, bytes ?? Number.MAX_SAFE_INTEGER, from, saved, signal);
  };
}

function pruneWork({ meta, chunks, clock, uploads }: HubJobParts): JobWork<z.infer<typeof PRUNE_ARGS>> {
  return async ({ share }, { tell, signal }) => {
    tell({ done: 0, unit: "chunks", phase: "looking at what is referred to" });
    try {
      return await pruneChunks({ meta, chunks, clock, unfinished: () => uploads.liveChunks() }, share, signal);
    } catch (error) {
      if (!(error instanceof SynclineError) || error.code !== "HALT") throw error;
      const hint = "check that no space is missing; if it is right: syncline jobs run prune share=100%";
      throw new SynclineError({ code: "HALT", op: error.op, message: error.message, hint, cause: error });
    }
  };
}

function expireWork({ meta, audit, uploads, transfers }: HubJobParts, clock: BelievedTime): JobWork<z.infer<typeof EXPIRE_ARGS>> {
  return async (_, { checkpoint, save, signal }) => {
    const from = (checkpoint as Expired | undefined) ?? { erasedSpaces: 0, expiredVersions: 0 };
    const onPage = (expired: Expired) => save(expired, { done: expired.expiredVersions, unit: "versions" });
    const droppedUploads = await uploads.sweep(signal);
    const expired = await expireOld({ meta, audit, clock }, from, onPage, signal);
    await transfers.sweep(async () => new Set((await meta.spaces()).map(({ id }) => id)));
    return { ...expired, droppedUploads };
  };
}

function lifecycleWork({ lifecycle: rows, ...parts }: HubJobParts, time: BelievedTime): JobWork<z.infer<typeof LIFECYCLE_ARGS>> {
  return async (_, { id, traceId, checkpoint, save, signal }) => {
    const from = (checkpoint as LifecycleDone | undefined) ?? LIFECYCLE_NOTHING;
    const onBatch = (done: LifecycleDone) => save(done, { done: done.removed + done.purged, unit: "versions" });
    const run = { nowMs: time.nowMs(), traceId, runId: `lifecycle-${id}`, signal, onBatch };
    return runLifecycle({ ...parts, rows }, run, from);
  };
}

/** What it finds is a failure: nobody looks at what is done. */
function checkWork({ care, log }: HubJobParts): JobWork<z.infer<typeof CHECK_ARGS>> {
  return async ({ deep }, { id, save, signal }) => {
    const kept: string[] = [];
    let first: string | undefined;
    const onFinding = ({ kind, where, what }: Finding): void => {
      const line = `${kind} ${where}: ${what}`.slice(0, FINDING_CHARS_MAX);
      first ??= line;
      if (kept.length < FINDINGS_KEPT_MAX) kept.push(line);
      log("check: finding", { job: id, kind, where, what });
    };
    const result = await care.check(deep, onFinding, signal);
    if (first === undefined) return result;
    await save({ findings: kept }, { done: result.versions, unit: "versions" });
    throw new SynclineError({
      code: "STATE",
      op: "check hub",
      message: `${result.findings} things are not what was written; the first: ${first}`,
      hint: `syncline jobs show ${id} has more of them, the hub's log all`,
    });
  };
}

/** Begun again it copies only what is not in the directory yet. */
function backupWork({ care }: HubJobParts): JobWork<z.infer<typeof BACKUP_ARGS>> {
  return ({ directory }, { who, traceId, tell, signal }) =>
    care.backup(
      actorOf(who, traceId),
      directory,
      ({ phase, doneBytes, totalBytes }) => tell({ done: doneBytes, total: totalBytes, unit: "bytes", phase }),
      signal,
    );
}

const actorOf = ({ id }: Principal, traceId: string) => ({ id, traceId });
