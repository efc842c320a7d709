/** What a kind of job is: what it takes, who may ask for it, how many run at once, and how it is done. */
import type * as z from "zod";
import type { Action, Principal, Resource } from "#access/access.ts";
import { SynclineError } from "#model/error.ts";
import type { Priority, Progress, Subject } from "#jobs/job.ts";

export type Right = { readonly action: Action; readonly resource: Resource };

/** Jobs of a kind that run at once: over all, and for one host and for one space. */
export type KindLimits = { readonly all: number; readonly host?: number; readonly space?: number };

export type JobKind<A = never> = {
  readonly name: string;
  /** One line, for people. */
  readonly summary: string;
  readonly args: z.ZodType<A>;
  /** Unless the submitter names another. */
  readonly priority: Priority;
  /** Gives way to more urgent jobs at its safe points. */
  readonly preemptible: boolean;
  readonly limits: KindLimits;
  /** Unless the submitter says otherwise; undefined: as all jobs. */
  readonly tries?: number;
  /** All of them are asked for when it is submitted, and again when it begins. */
  readonly rights: (args: A) => readonly Right[];
  readonly subject?: (args: A) => Subject;
  /**
   * What the names in the arguments stand for when the job is made: kept with it, and told to its work, because it may wait
   * for hours, and a name may be another's by then. As JSON; undefined: nothing.
   */
  readonly bind?: (args: A) => unknown;
  /**
   * What the schema cannot say of the arguments; asked when a job or a schedule is made, so that nobody waits for a job
   * that can only fail. @throws {SynclineError} USAGE
   */
  readonly check?: (args: A) => void;
};

/** A kind whose type of arguments is known to itself alone; they are validated before they reach it. */
export type AnyJobKind = JobKind;

/** Binds the type of a kind's schema to its functions. */
export function jobKind<A>(kind: JobKind<A>): AnyJobKind {
  return kind as unknown as AnyJobKind;
}

/** @throws {SynclineError} USAGE that names what is wrong */
export function checkedArgs(kind: AnyJobKind, args: unknown): never {
  const parsed = kind.args.safeParse(args);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue!.path.length === 0 ? "" : `${issue!.path.map(String).join(".")}: `;
  throw new SynclineError({
    code: "USAGE",
    op: "submit job",
    message: `these are no arguments of a job "${kind.name}": ${where}${issue!.message}`,
    hint: "syncline help jobs says what each kind takes",
  });
}

/** What a job that runs may use. */
export type JobContext = {
  readonly id: number;
  readonly traceId: string;
  /** For whom it acts, with the rights that it has now. */
  readonly who: Principal;
  /** Aborted when the job is cancelled, the hub ends, or another hub has taken the job over. */
  readonly signal: AbortSignal;
  /** What its kind's bind() gave when it was made; undefined for one that was made by an older hub. */
  readonly bound: unknown;
  /** Saved last; undefined at the first beginning. */
  readonly checkpoint: unknown;
  /**
   * A safe point: what was done so far is durable together with the checkpoint when this resolves, and the job can be
   * begun again from there. Rejects where the job is to give way or to end; whatever it throws must pass on.
   */
  save(checkpoint: unknown, progress: Progress): Promise<void>;
  /** How far it is, for people; no safe point, costs nothing. */
  tell(progress: Progress): void;
};

/** @returns what it did, as JSON @throws {SynclineError} `retryable`: it is tried again from its checkpoint */
export type JobWork<A = never> = (args: A, context: JobContext) => Promise<unknown>;
