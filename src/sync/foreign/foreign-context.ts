/** What the parts of an open foreign endpoint share. */
import type { Preserve } from "#model/entry.ts";
import { type ErrorCode, SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Host } from "#platform/host.ts";
import type { RunJournal } from "#sync/apply/run-journal.ts";
import type { SumSeeds } from "#sync/endpoint/endpoint.ts";
import type { ObservationLog } from "#sync/endpoint/observation-log.ts";
import type { Abilities, ForeignFiles } from "#sync/foreign/foreign-files.ts";
import type { ForeignRecord } from "#sync/foreign/foreign-record.ts";
import type { Store, Tree } from "#sync/index/store.ts";

export type ForeignContext = {
  readonly host: Host;
  readonly files: ForeignFiles;
  readonly abilities: Abilities;
  readonly store: Store;
  readonly index: Tree<ForeignRecord>;
  readonly log: ObservationLog;
  readonly journal: RunJournal;
  readonly seeds: SumSeeds;
  readonly preserve: Preserve;
  /** Names our partials; see partialName(). */
  readonly owner: string;
  /** Rejects with ROOT_IDENTITY when the root is no longer the one that was opened. */
  readonly assertRoot: (signal: AbortSignal) => Promise<void>;
  /** The path turned out different from the index: look at it in the next scan. */
  readonly mark: (path: RelPath) => void;
};

/** The clock of the system and ours are taken to agree within this much where nothing but times tells an edit. */
export const CLOCK_SKEW_MS = 2000;

/** How long another content may hide behind a size and a time that were seen. */
export function doubtSpanMs({ timeResolutionNs }: Abilities): number {
  return Number(timeResolutionNs / 1_000_000n) + CLOCK_SKEW_MS;
}

/** What an error says of one path, for those that concern nothing else. */
const OF_ONE_PATH: Partial<Record<ErrorCode, readonly [code: string, transient: boolean]>> = {
  NOT_FOUND: ["CHANGED", true],
  STALE: ["CHANGED", true],
  EXISTS: ["EEXIST", true],
  DENIED: ["EACCES", false],
  DISK: ["ENOSPC", true],
  UNSUPPORTED: ["UNSUPPORTED", false],
};

/** The problem of one path; what concerns the connection, or is no operating error, is thrown on. */
export function problemFrom(path: RelPath, error: unknown): Problem {
  const of = error instanceof SynclineError ? OF_ONE_PATH[error.code] : undefined;
  if (of === undefined) throw error;
  return foreignProblem(path, of[0], (error as Error).message, of[1]);
}

/** The controller puts the right side in. */
export function foreignProblem(path: RelPath, code: string, message: string, transient: boolean): Problem {
  return { path, side: "alpha", code, message, transient };
}

export function isError(error: unknown, ...codes: ErrorCode[]): error is SynclineError {
  return error instanceof SynclineError && codes.includes(error.code);
}

/** Does `work` for each item, `parallel` at a time; the first rejection stops the rest and is thrown when all have ended. */
export async function eachParallel<T>(
  items: Iterable<T>,
  parallel: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (let next = rest.next(); next.done !== true && !failed; next = rest.next()) {
      try {
        await work(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: parallel }, worker));
  for (const one of settled) if (one.status === "rejected") throw one.reason;
}
