/**
 * One side of a session, as the controller sees it: a local directory (dir-endpoint.ts) or a directory across a
 * transport (remote-endpoint.ts). The order of the calls is the order of the data flow:
 * open, then per cycle scan → (sums) → read/supply and receive → apply; watch beside them; close.
 *
 * Calls other than watch, supply and close must not overlap, except that one supply or read may run on the side that
 * does not receive, and a vouch there beside it, also of what that side's scan has told of, before it has ended; and those
 * of `coming` and `early`, which may run beside all others until close. A rejected call means that the
 * endpoint has failed and must be closed and opened again; trouble with single paths is returned as problems and never
 * rejects.
 */
import type { Entry, FileEntry, Preserve, Sum } from "#model/entry.ts";
import type { Observation, Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Change, ChangeName, Move } from "#model/plan.ts";
import type { CompressMode } from "#sync/chunk/compress.ts";
import type { ScrubReply, ScrubRequest } from "#sync/scan/scrub.ts";
import type { Channel } from "#sync/wire/channel.ts";

/** A file up to this size travels inside the apply batch; above it goes through supply/receive. */
export const INLINE_BYTES_MAX = 128 << 10;
/** Paths in one scan batch, read batch or apply batch at most. */
export const BATCH_ITEMS_MAX = 1024;
/** Content bytes in one read or apply batch, at most (one item may fill it). Fits a message with its headers. */
export const BATCH_BYTES_MAX = 768 << 10;

export type Durable = "batch" | "always" | "none";

/** How content is hashed in this session: two secret XXH3 seeds, made once and kept with the session's state. */
export type SumSeeds = { readonly a: bigint; readonly b: bigint };

export type OpenRequest = {
  /** Stable id of the pair (hex, 32 digits); the endpoint keeps one index per root and session. */
  readonly sessionId: string;
  readonly seeds: SumSeeds;
  /** May this session change the side? A read-only side needs no marker and is never written. */
  readonly writable: boolean;
  /** gitignore-style lines, lowest priority first; `.synclineignore` files in the root come after them. */
  readonly ignore: readonly string[];
  /** When not empty only files matching one of these lines are seen. */
  readonly include: readonly string[];
  readonly preserve: Preserve;
  readonly durable: Durable;
  readonly verifyReadBack: boolean;
  /** How this side compresses the content it supplies. */
  readonly compress: CompressMode;
  /**
   * Create the root directory when it does not exist (never its parent). With `writable` false nothing is created: a
   * root that could be created counts as empty.
   */
  readonly createRoot: boolean;
  /** rootId recorded for this session and side; undefined at first. A different root is ROOT_IDENTITY. */
  readonly expectRootId: string | undefined;
  /** Remember nothing of this session: its index and stage are gone after close(). What it displaced stays in the trash. */
  readonly ephemeral?: boolean | undefined;
};

export type OpenReply = {
  /** UUID of the marker; for read-only roots derived from device and inode. */
  readonly rootId: string;
  /** Made anew when the endpoint's index was lost; with another epoch every `since` starts from 0. */
  readonly epoch: string;
  /** Last sequence of the endpoint's observation log. Lower than one seen before means: restored from a backup. */
  readonly lastSeq: number;
  /** The log is complete after this sequence; a controller that knows less must compare everything. */
  readonly keptAfter: number;
  readonly hostName: string;
  readonly platform: string;
  readonly canWatch: boolean;
  readonly caseSensitive: boolean;
  readonly timestampNs: bigint;
  /** Hash of everything that decides which paths are seen: ignore, include, preserve. */
  readonly filterHash: string;
  /** Device and inode of the root, to refuse the same or nested roots on one host. */
  readonly device: string;
  readonly absolutePath: string;
  /** What this side cannot do, for people, each a sentence without an end. */
  readonly notes?: readonly string[] | undefined;
};

export type ScanRequest = {
  /** Return observations recorded after this sequence (0: all that is there). */
  readonly since: number;
  /** What the controller has stored durably of `since`: the log may forget up to here. */
  readonly acknowledged: number;
  /** `full` walks the whole root; `dirty` looks only at what the watcher reported since the last scan. */
  readonly extent: "full" | "dirty";
  /** Read and hash every file again, whatever its stat says. */
  readonly deep: boolean;
};

/**
 * Takes what a scan tells. `problems` are those known by now, in the first call that has any all of the scan: nothing of
 * what is told is unknown but what they cover.
 */
export type OnObserved = (batch: Observation[], problems: readonly Problem[]) => void | Promise<void>;

export type ScanSummary = {
  /** Sequence up to which the observations returned are complete. */
  readonly seq: number;
  readonly epoch: string;
  /** Paths (with everything below) whose state is unknown now. */
  readonly problems: readonly Problem[];
  /** Everything in the root right now, itself not counted. */
  readonly entries: number;
  readonly hashedBytes: number;
  /** Set while watching cannot be trusted (limit reached, overflow); the session rescans more often. */
  readonly degraded: string | undefined;
};

export type ReadItem =
  | { readonly path: RelPath; readonly entry: FileEntry; readonly bytes: Uint8Array }
  | { readonly path: RelPath; readonly problem: Problem };

/** One file to bring over through a transfer channel. */
export type TransferItem = {
  readonly path: RelPath;
  /** As observed on the source; its sum may be unknown. */
  readonly entry: FileEntry;
  /**
   * Paths on the destination of files that may be similar; one that is gone or no file is passed over. At most
   * CANDIDATES_MAX.
   */
  readonly candidates?: readonly RelPath[] | undefined;
};

export type TransferResult = {
  readonly path: RelPath;
  /** What was staged, with its sum: size and mtime as the source had them when it finished reading. */
  readonly entry?: FileEntry | undefined;
  readonly problem?: Problem | undefined;
  /** Bytes that crossed the channel as content, and bytes taken from local data instead. */
  readonly literalBytes: number;
  readonly reusedBytes: number;
};

export type ApplyOp =
  | {
      readonly type: "change";
      readonly change: Change;
      /** Content of a small file; a large one was staged by receive() under the same path. */
      readonly bytes?: Uint8Array | undefined;
    }
  | { readonly type: "move"; readonly move: Move };

export type OpResult = {
  readonly path: RelPath;
  /**
   * `done`: `entry` is there now (undefined: absence) · `stale`: the disk holds something else than expected, given in
   * `entry` as far as known; the next cycle plans anew · `failed`: nothing changed, see problem.
   */
  readonly status: "done" | "stale" | "failed";
  readonly entry: Entry | undefined;
  readonly problem?: Problem | undefined;
};

export type CommitReply = {
  /** Last sequence before and after: when `before` is what the controller knew, it may skip to `after`. */
  readonly seqBefore: number;
  readonly seqAfter: number;
};

/**
 * One run of changes on one side. push() stages at once; nothing visible happens before commit(), which makes the
 * staged bytes durable, journals the intent, performs the changes in order and reports every op exactly once,
 * in order. push and commit may be repeated; each commit covers what was pushed since the last. The content of ops is
 * the caller's again when push() resolves.
 *
 * While a commit is under way push() may go on, with creations whose content comes along and which depend on nothing
 * that the commit changes: no leader of a link, no file to copy from, no directory, no ignore rules. A second commit
 * waits for the end of the first.
 */
export interface Application {
  push(ops: readonly ApplyOp[]): Promise<void>;
  commit(onResults: (results: OpResult[]) => void): Promise<CommitReply>;
}

export type RunRecord = {
  readonly runId: string;
  readonly startedMs: number;
  readonly changes: number;
  readonly undone: boolean;
};

export type RunChange = {
  readonly path: RelPath;
  readonly action: ChangeName | "move";
  readonly from?: RelPath | undefined;
};

/**
 * What becomes of a large file that is on its way into a side and not there yet. `whole`: all of it has come, with that
 * sum · `over`: it is there, or will never be.
 */
export type ComingNews =
  | { readonly type: "begun"; readonly path: RelPath; readonly size: number }
  | { readonly type: "whole"; readonly path: RelPath; readonly sum: Sum }
  | { readonly type: "over"; readonly path: RelPath; readonly isThere: boolean };

/** Large files on their way into a side: they can be had before they are there, and may never be there. */
export interface ComingFiles {
  /** Tells of each, "begun" first and "over" last, until aborted. A rejection is no failure of the endpoint. */
  watch(onNews: (news: ComingNews) => void, signal: AbortSignal): Promise<void>;
  /** As Endpoint.supply(), of one file that is coming: as it comes, and its end when it is whole. */
  supply(channel: Channel, signal: AbortSignal): Promise<void>;
}

/** Files that are brought into the stage of a side before the other side has them. */
export interface EarlyFiles {
  /**
   * As receive(), of one file that is new; what it brought counts as received for the next commit. A rejection is no
   * failure of the endpoint, and leaves what a later receive() of the path may go on from.
   */
  bring(channel: Channel, path: RelPath, size: number, signal: AbortSignal): Promise<TransferResult>;
  /** Removes what bring() has left of the path. */
  drop(path: RelPath): void;
}

/** As W3C Trace Context writes it: "00-", 32 hex digits, "-", 16 hex digits, "-", 2 hex digits. */
export const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
/** Traces that one exchange tells. */
export const TRACES_TOLD_MAX = 8;

export type TracesAsked = {
  /** What is committed from now on belongs to it; undefined: it says nothing about that. */
  readonly parent: string | undefined;
  /** Sequences of the side: what has brought about the changes after the one and up to the other? */
  readonly after: number;
  readonly until: number;
};

/** Which trace changes belong to. */
export interface Traces {
  /** @returns the latest that are known, TRACES_TOLD_MAX at most; none where nobody traced them */
  exchange(asked: TracesAsked, signal: AbortSignal): Promise<readonly string[]>;
}

export interface Endpoint {
  /** For people: "/srv/www", "ssh://host/srv/www". */
  readonly label: string;
  /**
   * Where a side cannot carry all metadata: what of `preserve` it can, asked before open. What one side cannot carry is
   * left out on both.
   */
  carries?(preserve: Preserve, writable: boolean, signal: AbortSignal): Promise<Preserve>;
  open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply>;
  /**
   * Where it tells everything (since 0), what it has found may be told, and read or supplied, while it still looks on. Its
   * last sequence is 1 at least before it tells of anything, durably.
   */
  scan(request: ScanRequest, onBatch: OnObserved, signal: AbortSignal): Promise<ScanSummary>;
  /** Calls `onDirty` (coalesced) whenever there is something for a `dirty` scan. Settles when aborted. */
  watch(onDirty: () => void, signal: AbortSignal): Promise<void>;
  /**
   * Hashes files that have no sum yet. One answer a path, in order; a problem where it could not be read, with the code
   * IGNORED where it is out of sight.
   */
  sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]>;
  /**
   * Makes what is at these paths durable, each under its name, where a power loss may still take it, and what is at none
   * any more as gone as it is. Returns the paths of which it is not certain, with the reason. Whoever was given a sum, or
   * the bytes, of a file need not ask.
   */
  vouch(paths: readonly RelPath[], signal: AbortSignal): Promise<Problem[]>;
  /** Reads a little more of all files again and compares; for the times when nothing else is to be done. */
  scrub(request: ScrubRequest, signal: AbortSignal): Promise<ScrubReply>;
  /** Reads small files, batches in the order of `paths`. */
  read(paths: readonly RelPath[], signal: AbortSignal): AsyncIterable<ReadItem[]>;
  /** Serves one transfer as the source until the other side ends the channel. */
  supply(channel: Channel, signal: AbortSignal): Promise<void>;
  /** While it is open. Undefined: it never tells of any. */
  readonly coming?: ComingFiles | undefined;
  /** Undefined where nobody knows of traces. */
  readonly traces?: Traces | undefined;
  /** While it is open. Undefined: nothing can be brought early. */
  readonly early?: EarlyFiles | undefined;
  /** Drives one transfer as the destination: stages every item, results in any order. */
  receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void>;
  apply(runId: string, signal: AbortSignal): Application;
  runs(): Promise<RunRecord[]>;
  runChanges(runId: string): Promise<RunChange[]>;
  /** Takes a run back: contents and metadata. Paths changed since are left alone and reported. */
  undo(runId: string, signal: AbortSignal): Promise<{ restored: number; problems: Problem[] }>;
  /** Content wire bytes so far, before encryption; zero for a local endpoint. */
  wireBytes(): { sent: number; received: number };
  close(): Promise<void>;
}
