/**
 * The queue in the database: what begins, what becomes of it, and what is taken from a process that has gone. Each step
 * is one transaction, so that two processes of one hub never begin the same job, and a job is never nowhere.
 */
import { assert } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import { backoffMs } from "#jobs/backoff.ts";
import { type Breaker, CLOSED, abandoned, begun, failed } from "#jobs/breaker.ts";
import { changeBreaker, readBreakers } from "#jobs/breaker-store.ts";
import { type Candidate, type Circumstances, choose, preemption } from "#jobs/choose.ts";
import { type Job, type JobError, LOST_MAX, type Progress, type Subject } from "#jobs/job.ts";
import {
  type Claim,
  type RunningJob,
  beginJob,
  endJob,
  readJob,
  readRunning,
  readWaiting,
  requeueJob,
  retryLater,
} from "#jobs/job-store.ts";
import type { KindLimits } from "#jobs/kind.ts";

const DRAW_BYTES = 4;

/** How a start of a job ended. */
export type Outcome =
  | { readonly type: "done"; readonly result: unknown; readonly progress: Progress | undefined }
  | { readonly type: "failed"; readonly error: JobError; readonly retryable: boolean }
  | { readonly type: "cancelled" }
  /** It gave way at a safe point. */
  | { readonly type: "yielded" }
  | { readonly type: "hub-ends" };

export type QueueOptions = {
  readonly db: Database;
  readonly clock: Clock;
  readonly random: Random;
  /** Of this process; never used by another. */
  readonly owner: string;
  readonly slots: number;
  readonly limitsOf: (kind: string) => KindLimits | undefined;
};

export type Settled = {
  /** False: the job was taken over meanwhile, and nothing was changed. */
  readonly isMine: boolean;
  /** Of the job, now. */
  readonly state: Job["state"];
  /** What begins in the place of a job that gave way. */
  readonly next: Job | undefined;
};

export class JobQueue {
  readonly #options: QueueOptions;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** The job whose turn it is; it is this process's when this resolves. Undefined: none can begin. */
  async claim(): Promise<Job | undefined> {
    const { db } = this.#options;
    // Looking costs no transaction, and mostly there is nothing.
    if ((await this.#pick(db, undefined)) === undefined) return undefined;
    return db.transaction((sql) => this.#begin(sql, undefined));
  }

  async settle(job: Job, outcome: Outcome): Promise<Settled> {
    return this.#options.db.transaction((sql) => this.#settle(sql, job, outcome));
  }

  /** Which of these should give way to a job that waits. */
  async preemption(mayYield: readonly Claim[]): Promise<number | undefined> {
    const { db } = this.#options;
    const [waiting, at] = [await readWaiting(db), await this.circumstances(db)];
    const ids = new Set(mayYield.map(({ id }) => id));
    const victims = (at.running as readonly RunningJob[]).filter(({ id }) => ids.has(id));
    return preemption(waiting, victims, at)?.victim;
  }

  async circumstances(sql: Sql): Promise<Circumstances> {
    const { clock, owner, slots, limitsOf } = this.#options;
    const running = await readRunning(sql);
    const breakers = await readBreakers(sql);
    return { nowMs: clock.nowMs(), owner, slots, running, limitsOf, breakerOf: (name) => breakers.get(name) };
  }

  /** A job whose process has gone goes back into the queue; one that loses its hub again and again has failed. */
  async takeOver(lost: RunningJob): Promise<boolean> {
    const { db, clock } = this.#options;
    const nowMs = clock.nowMs();
    return db.transaction(async (sql) => {
      const job = await readJob(sql, lost.id);
      const beat = await sql.get<{ beat: number }>("SELECT beat FROM jobs WHERE id = ?", [lost.id]);
      if (job?.state !== "running" || job.claim !== lost.claim || beat!.beat !== lost.beat) return false;
      await this.#breaker(sql, job, (breaker) => abandoned(breaker, job.id, nowMs));
      if (job.cancelAsked) return endJob(sql, job, { state: "cancelled" }, nowMs);
      if (job.lost + 1 >= LOST_MAX) return endJob(sql, job, { state: "failed", error: lostTooOften() }, nowMs);
      return requeueJob(sql, job, "lost", nowMs);
    });
  }

  async #pick(sql: Sql, except: number | undefined): Promise<Candidate | undefined> {
    const waiting = await readWaiting(sql);
    if (waiting.length === 0) return undefined;
    return choose(
      waiting.filter(({ id }) => id !== except),
      await this.circumstances(sql),
    );
  }

  async #begin(sql: Sql, except: number | undefined): Promise<Job | undefined> {
    const picked = await this.#pick(sql, except);
    if (picked === undefined) return undefined;
    const { clock, owner } = this.#options;
    await beginJob(sql, picked.id, owner, clock.nowMs());
    await this.#breaker(sql, picked, (breaker) => begun(breaker, picked.id));
    const job = await readJob(sql, picked.id);
    assert(job !== undefined, "a job that was chosen is there");
    return job;
  }

  async #settle(sql: Sql, job: Job, ended: Outcome): Promise<Settled> {
    const nowMs = this.#options.clock.nowMs();
    const asked = await sql.get("SELECT id FROM jobs WHERE id = ? AND claim = ? AND cancel_asked = 1", [job.id, job.claim]);
    // Asked by another process, or too late for the work to hear of it: it is not begun again.
    const outcome: Outcome = asked !== undefined && ended.type !== "done" ? { type: "cancelled" } : ended;
    const isMine = await this.#record(sql, job, outcome, nowMs);
    if (!isMine) return { isMine, state: job.state, next: undefined };
    await this.#breaker(sql, job, (breaker) => breakerAfter(breaker, job.id, outcome, nowMs));
    // Whoever gave way, old as it may be, does not take the place again that it has just made.
    const next = outcome.type === "yielded" ? await this.#begin(sql, job.id) : undefined;
    const { state } = (await readJob(sql, job.id))!;
    return { isMine, state, next };
  }

  #record(sql: Sql, job: Job, outcome: Outcome, nowMs: number): Promise<boolean> {
    switch (outcome.type) {
      case "done":
        return endJob(sql, job, { state: "done", result: outcome.result, progress: outcome.progress }, nowMs);
      case "cancelled":
        return endJob(sql, job, { state: "cancelled" }, nowMs);
      case "yielded":
        return requeueJob(sql, job, "preempted", nowMs);
      case "hub-ends":
        return requeueJob(sql, job, "hub-ends", nowMs);
      case "failed": {
        const { error } = outcome;
        const failures = job.tries + 1;
        if (!outcome.retryable || failures >= job.triesMax) return endJob(sql, job, { state: "failed", error }, nowMs);
        return retryLater(sql, job, error, nowMs + backoffMs(failures, this.#draw()), nowMs);
      }
    }
  }

  async #breaker(sql: Sql, { dependency }: Subject, change: (breaker: Breaker) => Breaker): Promise<void> {
    if (dependency !== undefined) await changeBreaker(sql, dependency, change, this.#options.clock.nowMs());
  }

  /** 0 to 1. */
  #draw(): number {
    const bytes = this.#options.random.bytes(DRAW_BYTES);
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) / 0xffff_ffff;
  }
}

/** What cannot be tried again was answered by something that is there. */
function breakerAfter(breaker: Breaker, job: number, outcome: Outcome, nowMs: number): Breaker {
  if (outcome.type === "failed" && outcome.retryable) return failed(breaker, nowMs);
  if (outcome.type === "done" || outcome.type === "failed") {
    return breaker.state === "closed" && breaker.failures === 0 ? breaker : CLOSED;
  }
  return abandoned(breaker, job, nowMs);
}

function lostTooOften(): JobError {
  return {
    code: "INTERRUPTED",
    message: `the hub ended ${LOST_MAX} times while this job ran, before it had done a part of it`,
    hint: "look into the hub's log for why it ended; then: syncline jobs retry ID",
  };
}
