/**
 * What a job is: plain values that the queue, the kinds of jobs and the doors speak.
 *
 * queued → running → done | failed | cancelled; waiting is a job whose last try failed and that is tried again. A job
 * that gives way to a more urgent one, or whose hub ends, is queued again and keeps its checkpoint and its age.
 */
import type { Rule } from "#access/access.ts";

/** Base priorities by name. The distance of two is counted in steps of aging. */
export const PRIORITIES = { bulk: 0, normal: 10, high: 20, urgent: 30 } as const;
export type Priority = keyof typeof PRIORITIES;
export const PRIORITY_NAMES = Object.keys(PRIORITIES) as Priority[];

export const JOB_STATES = ["queued", "running", "waiting", "done", "failed", "cancelled"] as const;
export type JobState = (typeof JOB_STATES)[number];
export const isOver = (state: JobState): boolean => state === "done" || state === "failed" || state === "cancelled";

/** Jobs that are queued, running or waiting, at most. */
export const OPEN_JOBS_MAX = 5000;
/** Characters of arguments, of a checkpoint and of a result, as JSON. */
export const ARGS_CHARS_MAX = 16 << 10;
export const CHECKPOINT_CHARS_MAX = 64 << 10;
export const RESULT_CHARS_MAX = 256 << 10;
/** Tries of a job unless its kind says otherwise. */
export const TRIES_DEFAULT = 3;
export const TRIES_MAX = 20;
/** How often a job may lose its hub without a checkpoint in between: the job itself may be what ends it. */
export const LOST_MAX = 5;

export type Progress = {
  readonly done: number;
  /** Where it is known. */
  readonly total?: number | undefined;
  /** Of what: "bytes", "entries". */
  readonly unit: string;
  /** What it is at now. */
  readonly phase?: string | undefined;
};

export type JobError = { readonly code: string; readonly message: string; readonly hint: string | undefined };

/** Whom a job acts for. Its rights are looked up anew when it begins: it may have waited for hours. */
export type Submitter = {
  /** A principal's id. */
  readonly id: string;
  /** Of the token it came with. */
  readonly scopes: readonly Rule[] | undefined;
  /** Of a user: since when there is this one; another of the name is somebody else. Undefined: an earlier program did not ask. */
  readonly sinceMs?: number | undefined;
};

/** What a job of its kind and arguments is about. */
export type Subject = {
  readonly host?: string | undefined;
  readonly space?: string | undefined;
  /** What it cannot be done without, and what a breaker is kept for: "host:web1". */
  readonly dependency?: string | undefined;
};

export type Job = Subject & {
  /** 1, 2, 3 …; never used again. */
  readonly id: number;
  readonly kind: string;
  readonly args: unknown;
  /** What the names in them stood for when it was made. */
  readonly bound: unknown;
  readonly priority: Priority;
  readonly submitter: Submitter;
  readonly traceId: string;
  /** That made it. */
  readonly schedule: string | undefined;
  readonly state: JobState;
  /** That failed so far. */
  readonly tries: number;
  readonly triesMax: number;
  /** How often it gave way, and how often it lost its hub since the last checkpoint. */
  readonly preempted: number;
  readonly lost: number;
  readonly deadlineMs: number | undefined;
  readonly submittedMs: number;
  /** Its age counts from here: later than `submittedMs` by the time that it ran. */
  readonly sinceMs: number;
  /** While waiting: not tried before. */
  readonly notBeforeMs: number | undefined;
  readonly startedMs: number | undefined;
  readonly endedMs: number | undefined;
  /** The process that runs it. */
  readonly owner: string | undefined;
  /** Grows with every start; fences whoever ran it before. */
  readonly claim: number;
  readonly cancelAsked: boolean;
  readonly progress: Progress | undefined;
  readonly checkpoint: unknown;
  readonly result: unknown;
  readonly error: JobError | undefined;
};
