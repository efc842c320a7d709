/**
 * Imports and exports: a space, or the part of one below a prefix, made like a place on another system, or the other way
 * round. How two places are made the same is not known here: the session is run by who puts the hub together. What it
 * remembers of the pair is its checkpoint, so that a job that is begun again goes on with what still differs.
 */
import type { Principal } from "#access/access.ts";
import type { TransferArgs, TransferDirection, TransferMode } from "#hub/jobs/kinds.ts";
import { LeftPaths } from "#hub/jobs/left-paths.ts";
import { type SpaceAudit, spaceResource } from "#hub/space-audit.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Space, SpaceId } from "#hub/space.ts";
import type { Progress } from "#jobs/job.ts";
import type { JobContext, JobWork } from "#jobs/kind.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";

/** What is remembered of one is nothing to another. */
export type TransferPair = {
  readonly direction: TransferDirection;
  readonly space: Space;
  readonly prefix: RelPath;
  readonly url: string;
};

export type TransferRequest = TransferPair & {
  readonly who: Principal;
  readonly mode: TransferMode;
  /** Hash of the plan that may pass the brake. */
  readonly approve: string | undefined;
  readonly onProgress: (progress: Progress) => void;
  /** What is left as it is, and why; in the order in which it is found. */
  readonly onLeft: (kind: "conflict" | "problem", path: RelPath, why: string) => void;
  readonly signal: AbortSignal;
};

export type Transferred = {
  /** Names the changes in the journal of the space, for an import; undefined where there were none. */
  readonly runId: string | undefined;
  readonly changed: number;
  /** Files that are now known to be the same on both sides. */
  readonly files: number;
  /** What the brake held: nothing was changed then. */
  readonly held: { readonly reason: string; readonly hash: string } | undefined;
};

export interface Transfers {
  /** Is it an address of another system, path, query and all? @throws {SynclineError} USAGE that says what is wrong */
  check(url: string): void;
  /** @throws {SynclineError} what the other system or the space refuses; `retryable` where it may be tried again */
  run(request: TransferRequest): Promise<Transferred>;
  /** Forgets what is remembered of the pair. */
  forget(pair: TransferPair): void;
  /** Forgets what is remembered of spaces that are not known any more. `known` is asked when it was seen what there is. */
  sweep(known: () => Promise<ReadonlySet<SpaceId>>): Promise<void>;
}

export type TransferParts = {
  readonly spaces: SpaceService;
  readonly audit: SpaceAudit;
  readonly transfers: Pick<Transfers, "run" | "forget">;
};

export function transferWork(direction: TransferDirection, parts: TransferParts): JobWork<TransferArgs> {
  return async (args, context) => {
    const event = { action: `space.${direction}`, resource: spaceResource(args.space, args.prefix) };
    const details = { job: context.id, url: args.url, mode: args.mode };
    const by = { id: context.who.id, traceId: context.traceId };
    try {
      const result = await transfer(direction, parts, args, context);
      const { left: _, ...counts } = result;
      await parts.audit.append(by, { ...event, outcome: "done", details: { ...details, ...counts } });
      return result;
    } catch (error) {
      // Interruptions are no outcome: the job goes on later.
      const code = error instanceof SynclineError && !context.signal.aborted ? error.code : undefined;
      if (code !== undefined) await parts.audit.append(by, { ...event, outcome: "failed", details: { ...details, code } });
      throw error;
    }
  };
}

async function transfer(direction: TransferDirection, parts: TransferParts, args: TransferArgs, context: JobContext) {
  const { who, signal, tell, id, bound } = context;
  const { prefix, url, mode, approve, anew } = args;
  if (bound !== undefined) parts.spaces.requireIs(args.space, bound as SpaceId);
  const space = await parts.spaces.space(who, args.space);
  // Once: what a later beginning finds there is this job's own, and what it needs to mend a change that was cut off.
  if (anew && context.checkpoint === undefined) {
    parts.transfers.forget({ direction, space, prefix, url });
    await context.save({ isAnew: true }, { done: 0, unit: "entries" });
  }
  const counts = { conflict: 0, problem: 0 };
  const left = new LeftPaths();
  let first = "";
  const done = await parts.transfers.run({
    direction, who, space, prefix, url, mode, approve, signal,
    onProgress: tell,
    onLeft: (kind, path, why) => {
      counts[kind]++;
      const one = left.add(path, why);
      if (kind === "problem" && first === "") first = `${one.path}: ${one.why}`;
    },
  });
  signal.throwIfAborted();
  if (done.held !== undefined) throw braked(direction, args, done.held);
  const { runId, changed, files } = done;
  const result = { runId, changed, files, conflicts: counts.conflict, problems: counts.problem, left: left.named };
  if (counts.problem === 0) return result;
  // Nobody looks at what is done.
  await context.save({ findings: left.named.map(({ path, why }) => `${path}: ${why}`) }, { done: files, unit: "files" });
  throw new SynclineError({
    code: "STATE",
    op: direction,
    message: `${counts.problem} paths could not be brought over, all others were; the first: ${first}`,
    hint: `syncline jobs show ${id} names more of them; syncline jobs retry ${id} when that is mended`,
  });
}

function braked(direction: TransferDirection, args: TransferArgs, held: { reason: string; hash: string }): SynclineError {
  const { space, prefix, url, mode } = args;
  const words = [`space=${space}`, ...(prefix === "" ? [] : [`prefix=${prefix}`]), `url=${url}`, `mode=${mode}`];
  const quoted = [...words, `approve=${held.hash}`].map(shellWord);
  return new SynclineError({
    code: "HALT",
    op: direction,
    message: `the brake has held it: ${held.reason}`,
    hint: `see whether the source is whole; if it is right: syncline jobs run ${direction} ${quoted.join(" ")}`,
  });
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
