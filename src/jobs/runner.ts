/**
 * Runs the jobs of one process: begins those whose turn it is, asks bulk work to give way, says that it lives, and takes
 * over what a process that has gone left behind.
 */
import { SynclineError, messageOf } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { Database } from "#platform/sql/database.ts";
import type { Principal } from "#access/access.ts";
import {
  CHECKPOINT_CHARS_MAX,
  type Job,
  type JobError,
  type JobState,
  type Progress,
  RESULT_CHARS_MAX,
  type Submitter,
} from "#jobs/job.ts";
import { beatJob, readRunning, saveCheckpoint } from "#jobs/job-store.ts";
import { type AnyJobKind, type JobContext, type JobWork, type Right, checkedArgs } from "#jobs/kind.ts";
import type { JobQueue, Outcome } from "#jobs/queue.ts";

/** Jobs that one process runs at once. */
export const SLOTS = 4;
/** What runs is not asked to give way before it has run for so long. */
export const RUN_QUANTUM_MS = 10_000;
/** How often it is looked for work that nobody announced. */
const TICK_MS = 1000;
const BEAT_MS = 5000;
/** A job whose process was not heard for so long is taken over. */
export const LEASE_MS = 30_000;
/** A process that could not say for so long that it lives gives its jobs up, before others take them. */
const GIVE_UP_MS = 20_000;
/** An outcome that cannot be written is tried again so often; then the job is taken over like one that was left behind. */
const SETTLE_TRIES_MAX = 10;
const SETTLE_AGAIN_MS = 1000;

export type Registered = { readonly kind: AnyJobKind; readonly work: JobWork };

export type RunnerOptions = {
  readonly db: Database;
  readonly clock: Clock;
  readonly queue: JobQueue;
  readonly owner: string;
  readonly slots: number;
  readonly kinds: ReadonlyMap<string, Registered>;
  /** Nobody else runs jobs of this database: what runs when this begins was left behind. */
  readonly isAlone: boolean;
  /** With the rights that it has now; undefined: it is gone, or may not sign in. */
  readonly principalOf: (submitter: Submitter) => Promise<Principal | undefined>;
  /** @throws {SynclineError} DENIED */
  readonly require: (who: Principal, right: Right) => void;
  /** Looked after with every turn. */
  readonly beside: () => Promise<void>;
  readonly onState: (job: Job, state: JobState) => void;
  readonly log: (message: string, fields: Readonly<Record<string, unknown>>) => void;
};

/** Thrown by save() to a job that is to give way; it must pass through the job's own work. */
class Yielded extends Error {
  override readonly name = "Yielded";
}

type Active = {
  readonly job: Job;
  readonly abort: AbortController;
  readonly beganMono: number;
  progress: Progress | undefined;
  isYielding: boolean;
  /** Resolves when its work has come to an end. */
  working: Promise<void>;
  end: "cancelled" | "lost" | "hub-ends" | undefined;
};

export class JobRunner {
  readonly #options: RunnerOptions;
  readonly #active = new Map<number, Active>();
  readonly #working = new Set<Promise<void>>();
  /** Jobs of others: since when their beat stands still, by our clock. */
  readonly #still = new Map<number, { readonly claim: number; readonly beat: number; readonly sinceMono: number }>();
  #wake = Promise.withResolvers<void>();
  #beatMono = Number.NEGATIVE_INFINITY;
  #heardMono = 0;
  #hasBegun = false;
  #isEnding = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** There may be something to begin. */
  wake(): void {
    this.#wake.resolve();
  }

  /** How far a job is that runs here. */
  progressOf(id: number): Progress | undefined {
    return this.#active.get(id)?.progress;
  }

  /** Ends a job that runs here. */
  cancel(id: number): void {
    const active = this.#active.get(id);
    if (active !== undefined) this.#end(active, "cancelled", "the job was cancelled");
  }

  /** Until the signal; resolves when every job has come to an end or back into the queue. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    signal.addEventListener("abort", () => this.#hubEnds(), { once: true });
    this.#heardMono = clock.monotonicMs();
    let told = "";
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers();
      try {
        await this.#turn(signal);
        told = "";
      } catch (error) {
        // A database that is away for a night is one line, not thousands.
        if (String(error) !== told) log("jobs could not be looked after", { error: String(error) });
        told = String(error);
      }
      const over = new AbortController();
      const tick = clock.sleep(TICK_MS, AbortSignal.any([signal, over.signal])).catch(() => undefined);
      await Promise.race([this.#wake.promise, tick]);
      over.abort();
    }
    await Promise.all(this.#working);
  }

  /** In the turn of the signal: what fails from now on fails because everything ends. */
  #hubEnds(): void {
    this.#isEnding = true;
    for (const active of this.#active.values()) this.#end(active, "hub-ends", "the hub ends");
    this.wake();
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const { clock, queue, slots, beside } = this.#options;
    if (!this.#hasBegun) await this.#takeWhatWasLeft();
    this.#hasBegun = true;
    if (clock.monotonicMs() - this.#beatMono >= BEAT_MS) await this.#beat();
    await beside();
    while (!signal.aborted && this.#active.size < slots) {
      const job = await queue.claim();
      if (job === undefined) break;
      if (this.#isEnding) await queue.settle(job, { type: "hub-ends" });
      else this.#start(job);
    }
    await this.#askToYield();
  }

  async #takeWhatWasLeft(): Promise<void> {
    const { db, queue, isAlone } = this.#options;
    if (isAlone) for (const left of await readRunning(db)) await queue.takeOver(left);
  }

  /** One at a time: what it makes room for begins in its place. */
  async #askToYield(): Promise<void> {
    const { clock, queue, kinds } = this.#options;
    const all = [...this.#active.values()];
    if (all.some(({ isYielding }) => isYielding)) return;
    const nowMono = clock.monotonicMs();
    const mayYield = all.filter(
      ({ job, beganMono }) => kinds.get(job.kind)?.kind.preemptible === true && nowMono - beganMono >= RUN_QUANTUM_MS,
    );
    if (mayYield.length === 0) return;
    const victim = await queue.preemption(mayYield.map(({ job }) => job));
    const active = victim === undefined ? undefined : this.#active.get(victim);
    if (active !== undefined) active.isYielding = true;
  }

  #end(active: Active, why: NonNullable<Active["end"]>, message: string): void {
    active.end ??= why;
    active.abort.abort(new SynclineError({ code: "INTERRUPTED", op: "run job", message }));
  }

  // ---------------------------------------------------------------- life signs

  async #beat(): Promise<void> {
    const { db, clock } = this.#options;
    this.#beatMono = clock.monotonicMs();
    try {
      const actives = [...this.#active.values()];
      if (actives.length > 0) {
        const isMine = await db.transaction(async (sql) => {
          const answers: boolean[] = [];
          for (const { job, progress } of actives) answers.push(await beatJob(sql, job, progress));
          return answers;
        });
        for (const [at, active] of actives.entries()) if (!isMine[at]) this.#lose(active);
      }
      await this.#lookAtOthers();
      this.#heardMono = clock.monotonicMs();
    } catch (error) {
      // Others will take these jobs for left behind.
      const isLate = clock.monotonicMs() - this.#heardMono > GIVE_UP_MS;
      if (isLate) for (const active of this.#active.values()) this.#lose(active);
      throw error;
    }
  }

  /** Its outcome was written a moment ago, or another process has it. */
  #lose(active: Active): void {
    if (this.#active.get(active.job.id) !== active) return;
    this.#end(active, "lost", "the job was taken over");
  }

  async #lookAtOthers(): Promise<void> {
    const { db, clock, queue, log } = this.#options;
    const nowMono = clock.monotonicMs();
    const running = await readRunning(db);
    const ids = new Set(running.map(({ id }) => id));
    for (const id of this.#still.keys()) if (!ids.has(id)) this.#still.delete(id);
    for (const one of running) {
      const { id, claim, beat, cancelAsked } = one;
      if (this.#active.get(id)?.job.claim === claim) {
        if (cancelAsked) this.cancel(id);
        continue;
      }
      const known = this.#still.get(id);
      if (known === undefined || known.claim !== claim || known.beat !== beat) {
        this.#still.set(id, { claim, beat, sinceMono: nowMono });
      } else if (nowMono - known.sinceMono >= LEASE_MS && (await queue.takeOver(one))) {
        this.#still.delete(id);
        log("job taken over: its hub was not heard any more", { job: id, owner: one.owner });
      }
    }
  }

  // ---------------------------------------------------------------- one job

  #start(job: Job): void {
    const { clock, onState, log } = this.#options;
    // It was lost here, and comes back before the work has heard of it.
    const before = this.#active.get(job.id)?.working;
    const active: Active = {
      job,
      working: Promise.resolve(),
      abort: new AbortController(),
      beganMono: clock.monotonicMs(),
      progress: job.progress,
      isYielding: false,
      end: undefined,
    };
    this.#active.set(job.id, active);
    onState(job, "running");
    active.working = Promise.resolve(before)
      .then(() => this.#work(active))
      .catch((error: unknown) => log("a job could not be ended", { job: job.id, error: String(error) }))
      .finally(() => {
        this.#working.delete(active.working);
        this.wake();
      });
    this.#working.add(active.working);
  }

  async #work(active: Active): Promise<void> {
    const { job } = active;
    let outcome: Outcome;
    try {
      const result = bounded(await this.#do(active), RESULT_CHARS_MAX, "result");
      outcome = { type: "done", result, progress: active.progress };
    } catch (error) {
      outcome = this.#outcomeOf(active, error);
    }
    const next = active.end === "lost" ? undefined : await this.#settle(active, outcome);
    if (this.#active.get(job.id) === active) this.#active.delete(job.id);
    if (next === undefined) return;
    if (!this.#isEnding) return this.#start(next);
    await this.#options.queue.settle(next, { type: "hub-ends" });
  }

  async #do(active: Active): Promise<unknown> {
    const { kinds, principalOf, require } = this.#options;
    const { job, abort } = active;
    const { kind, work } = kinds.get(job.kind)!;
    const args = checkedArgs(kind, job.args);
    const who = await principalOf(job.submitter);
    if (who === undefined) throw nobody(job.submitter.id);
    for (const right of kind.rights(args)) require(who, right);
    const context: JobContext = {
      id: job.id,
      traceId: job.traceId,
      who,
      signal: abort.signal,
      bound: job.bound,
      checkpoint: job.checkpoint,
      save: (checkpoint, progress) => this.#save(active, checkpoint, progress),
      tell: (progress) => {
        active.progress = progress;
      },
    };
    return work(args, context);
  }

  async #save(active: Active, checkpoint: unknown, progress: Progress): Promise<void> {
    const { db } = this.#options;
    const { job, abort } = active;
    abort.signal.throwIfAborted();
    active.progress = progress;
    const kept = bounded(checkpoint, CHECKPOINT_CHARS_MAX, "checkpoint");
    const isMine = await db.transaction((sql) => saveCheckpoint(sql, job, kept, progress));
    if (!isMine) this.#lose(active);
    abort.signal.throwIfAborted();
    if (active.isYielding) throw new Yielded();
  }

  #outcomeOf({ end, isYielding }: Active, error: unknown): Outcome {
    if (end === "cancelled" || end === "hub-ends") return { type: end };
    if (isYielding && error instanceof Yielded) return { type: "yielded" };
    const isKnown = error instanceof SynclineError;
    return { type: "failed", error: errorOf(error), retryable: isKnown && error.retryable };
  }

  /** Gives what begins in its place. */
  async #settle({ job }: Active, outcome: Outcome): Promise<Job | undefined> {
    const { queue, clock, onState, log } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        const { isMine, state, next } = await queue.settle(job, outcome);
        if (isMine) onState({ ...job, error: outcome.type === "failed" ? outcome.error : undefined }, state);
        return next;
      } catch (error) {
        log("a job's outcome could not be written", { job: job.id, outcome: outcome.type, error: String(error) });
        if (attempt >= SETTLE_TRIES_MAX || this.#isEnding) return undefined;
        await clock.sleep(SETTLE_AGAIN_MS, new AbortController().signal);
      }
    }
  }
}

/** @throws {SynclineError} LIMIT */
function bounded(value: unknown, charsMax: number, what: string): unknown {
  const chars = JSON.stringify(value)?.length ?? 0;
  if (chars <= charsMax) return value;
  throw new SynclineError({ code: "LIMIT", op: "run job", message: `its ${what} has ${chars} characters` });
}

function errorOf(error: unknown): JobError {
  if (error instanceof SynclineError) return { code: error.code, message: error.message, hint: error.hint };
  // The words of a fault of the program are for the log; who may see the job may see that there was one.
  const message = messageOf(error);
  return { code: "INTERNAL", message: message.slice(0, 1000), hint: "this is a fault of the program: please report it" };
}

function nobody(id: string): SynclineError {
  return new SynclineError({
    code: "DENIED",
    op: "run job",
    message: `${id}, for whom it was to run, does not exist any more or may not sign in`,
    hint: "submit it again as somebody who may",
  });
}
