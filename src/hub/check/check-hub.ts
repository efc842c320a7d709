/** Is everything that a hub keeps what was written? Database first, then whether the chunks that it refers to are there. */
import type { AuditVerdict } from "#access/audit.ts";
import { MetadataCheck } from "#hub/check/check-metadata.ts";
import { checkUploads } from "#hub/check/check-uploads.ts";
import { UploadRows } from "#hub/uploads/upload-rows.ts";
import { type Finding, Findings } from "#hub/check/findings.ts";
import { FollowStore } from "#hub/followers/follow-store.ts";
import { readOrNothing } from "#hub/followers/following.ts";
import type { Database } from "#platform/sql/database.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import { type ChunkId, contentIdOf } from "#sync/chunk/chunk-id.ts";

export type CheckOptions = {
  /** Of which nobody changes anything meanwhile: a copy, where the hub runs. */
  readonly database: Database;
  /** What its engine finds wrong with its file; undefined for a server, which looks after its own. */
  readonly databaseFaults: (() => Promise<readonly string[]>) | undefined;
  readonly hubId: string;
  /** At least as new as the database, and not pruned meanwhile. */
  readonly chunks: ChunkStore;
  /** Undefined where the audit log cannot be looked at without its key. */
  readonly verifyAudit: (() => Promise<AuditVerdict>) | undefined;
  /** Read every chunk too. */
  readonly deep: boolean;
  /** What was found damaged when it was read. */
  readonly onDamaged?: ((chunks: readonly ChunkId[]) => Promise<void>) | undefined;
  readonly onFinding: (finding: Finding) => void;
};

export type CheckResult = {
  readonly spaces: number;
  readonly versions: number;
  readonly contents: number;
  /** That are not complete. */
  readonly uploads: number;
  /** Of packs that were read. */
  readonly readBytes: number;
  readonly findings: number;
  readonly findingsByKind: Readonly<Record<string, number>>;
};

/** Lost chunks asked for at once. */
const LOST_PAGE = 256;
/** Of files without bytes, for which the store holds nothing. */
const EMPTY = contentIdOf([]);

export async function checkHub(options: CheckOptions, signal: AbortSignal): Promise<CheckResult> {
  const { database, hubId, chunks, verifyAudit, deep, onFinding } = options;
  const findings = new Findings(onFinding);
  for (const fault of (await options.databaseFaults?.()) ?? []) findings.add("database", "hub.db", fault);
  signal.throwIfAborted();
  const metadata = new MetadataCheck(database, hubId, findings, signal);
  const { spaces, versions } = await metadata.run();
  const verdict = await verifyAudit?.();
  if (verdict === undefined) findings.add("audit", "keys/seal.key", "it is missing: nothing says whether the audit log is whole");
  else if (!verdict.sound) findings.add("audit", `record ${verdict.seq}`, verdict.why);
  // What is found damaged counts as absent from then on.
  const readBytes = deep ? await readAll(chunks, options.onDamaged, signal) : 0;
  await lookForLost(new FollowStore(database, hubId), chunks);
  let contents = 0;
  for await (const { id, manifest, where } of metadata.contents()) {
    contents++;
    if (id === EMPTY) continue;
    const ids = manifest?.chunks.map((chunk) => chunk.id) ?? [id as string as ChunkId];
    using pin = chunks.pin();
    const there = pin.has(ids);
    const lacking = ids.filter((_, at) => !there[at]);
    if (lacking.length > 0) {
      findings.add("chunk", await where(), `${lacking.length} of ${ids.length} chunks missing or damaged: ${lacking[0]}`);
    }
  }
  const uploads = await checkUploads(new UploadRows(database), chunks, findings, signal);
  return { spaces, versions, contents, uploads, readBytes, findings: findings.total, findingsByKind: findings.counts };
}

async function readAll(chunks: ChunkStore, onDamaged: CheckOptions["onDamaged"], signal: AbortSignal): Promise<number> {
  const { checkedBytes, damaged } = await chunks.scrub(undefined, Number.MAX_SAFE_INTEGER, signal);
  await onDamaged?.(damaged);
  return checkedBytes;
}

/** What is known to be lost and nobody gave back counts as absent, also where it was not read since a start. */
async function lookForLost(store: FollowStore, chunks: ChunkStore): Promise<void> {
  for (let after: ChunkId | undefined; ; ) {
    const page = await store.lost(after, LOST_PAGE);
    for (const { id } of page) await readOrNothing(chunks, id);
    if (page.length < LOST_PAGE) return;
    after = page.at(-1)!.id;
  }
}
