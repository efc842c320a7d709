/**
 * The room's door: jobs and schedules as people and other rooms use them. Rights are asked here, at submission; the
 * runner asks them again when a job begins. What somebody changes and its record in the audit log are one transaction.
 */
import { newTraceId } from "#platform/trace-id.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { type Access, type Principal, systemPrincipal } from "#access/access.ts";
import type { Actor, AuditEvent } from "#access/audit.ts";
import type { Breaker } from "#jobs/breaker.ts";
import { dropBreakers, readBreakers } from "#jobs/breaker-store.ts";
import { cronTimes } from "#jobs/cron.ts";
import { type Explanation, explain } from "#jobs/explain.ts";
import {
  ARGS_CHARS_MAX,
  type Job,
  type JobState,
  type Priority,
  type Submitter,
  TRIES_DEFAULT,
  TRIES_MAX,
  isOver,
} from "#jobs/job.ts";
import {
  type JobFilter,
  cancelJob,
  dropEnded,
  endOpenJobs,
  insertJob,
  readJob,
  readJobs,
  readWaiting,
  reopenJob,
} from "#jobs/job-store.ts";
import { type AnyJobKind, checkedArgs } from "#jobs/kind.ts";
import { JobQueue } from "#jobs/queue.ts";
import { JobRunner, type Registered, SLOTS } from "#jobs/runner.ts";
import { SCHEDULES_MAX, SCHEDULE_NAME, type Schedule, type ScheduleSettings } from "#jobs/schedule.ts";
import { putSchedule, readSchedule, readSchedules, removeSchedule } from "#jobs/schedule-store.ts";
import { type HubSchedule, Schedules } from "#jobs/schedules.ts";
import { JOB_MIGRATIONS } from "#jobs/schema.ts";

/** Jobs that are over are kept for so long, and so many of them at most. */
export const ENDED_KEPT_MS = 14 * 24 * 3_600_000;
export const ENDED_KEPT_MAX = 10_000;
/** Breakers that nothing had to do with for so long are forgotten. */
const BREAKERS_KEPT_MS = 24 * 3_600_000;
const TIDY_EVERY_MS = 10 * 60_000;
const PAGE_ROWS = 500;
const OWNER_BYTES = 8;

export type JobUser = { readonly principal: Principal; readonly createdMs: number };

const SYSTEM: Submitter = { id: "system:jobs", scopes: undefined };

export type JobsOptions = {
  readonly db: Database;
  readonly clock: Clock;
  readonly random: Random;
  readonly access: Access;
  readonly audit: { appendIn(sql: Sql, by: Actor, event: AuditEvent): Promise<void> };
  /** A user by name with the roles that it has now, and since when there is this one; undefined: it is gone, or may not sign in. */
  readonly userByName: (name: string) => Promise<JobUser | undefined>;
  readonly kinds: readonly Registered[];
  /** Schedules that are always there. */
  readonly schedules: readonly HubSchedule[];
  /** No other process runs jobs of this database. */
  readonly isAlone: boolean;
  readonly slots?: number;
  readonly onState?: (job: Job, state: JobState) => void;
  readonly log: (message: string, fields: Readonly<Record<string, unknown>>) => void;
};

export type Submission = {
  readonly kind: string;
  readonly args: unknown;
  readonly priority?: Priority | undefined;
  readonly tries?: number | undefined;
  readonly deadlineMs?: number | undefined;
};

/** What a person sees of the queue as a whole. */
export type QueueState = {
  readonly counts: Readonly<Record<"queued" | "running" | "waiting", number>>;
  /** By kind: how long the one that waits longest has waited, in milliseconds. */
  readonly oldestMs: ReadonlyMap<string, number>;
  readonly breakers: ReadonlyMap<string, Breaker>;
};

export class Jobs {
  readonly #options: JobsOptions;
  readonly #kinds: ReadonlyMap<string, Registered>;
  readonly #queue: JobQueue;
  readonly #runner: JobRunner;
  readonly #schedules: Schedules;
  readonly #watchers = new Set<(id: number) => void>();
  #tidiedMono = Number.NEGATIVE_INFINITY;

  private constructor(options: JobsOptions) {
    this.#options = options;
    const { db, clock, random, access, isAlone, log } = options;
    const kinds = new Map(options.kinds.map((one) => [one.kind.name, one]));
    this.#kinds = kinds;
    const owner = Buffer.from(random.bytes(OWNER_BYTES)).toString("hex");
    const slots = options.slots ?? SLOTS;
    this.#queue = new JobQueue({ db, clock, random, owner, slots, limitsOf: (name) => kinds.get(name)?.kind.limits });
    this.#schedules = new Schedules({
      db,
      clock,
      random,
      log,
      submit: (sql, schedule) => this.#submitScheduled(sql, schedule),
      onCancelled: (id) => this.#runner.cancel(id),
    });
    this.#runner = new JobRunner({
      db,
      clock,
      owner,
      slots,
      kinds,
      isAlone,
      log,
      queue: this.#queue,
      principalOf: (submitter) => this.#principalOf(submitter),
      require: (who, { action, resource }) => access.require(who, action, resource),
      beside: () => this.#beside(),
      onState: (job, state) => {
        options.onState?.(job, state);
        this.#tell(job.id);
      },
    });
  }

  /** @throws {SynclineError} VERSION, STATE as migrate() */
  static async open(options: JobsOptions): Promise<Jobs> {
    await migrate(options.db, "jobs", JOB_MIGRATIONS);
    const jobs = new Jobs(options);
    await jobs.#schedules.begin(options.schedules, SYSTEM);
    return jobs;
  }

  /** Runs jobs until the signal; resolves when none runs any more. */
  run(signal: AbortSignal): Promise<void> {
    return this.#runner.run(signal);
  }

  // ---------------------------------------------------------------- jobs

  /** @throws {SynclineError} USAGE, DENIED, LIMIT */
  async submit(who: Principal, by: Actor, { kind: name, args, ...more }: Submission): Promise<Job> {
    const { db, audit, clock } = this.#options;
    const kind = this.#kind(name);
    const checked = this.#checked(kind, who, args);
    const { priority = kind.priority, tries = kind.tries ?? TRIES_DEFAULT, deadlineMs } = more;
    if (tries < 1 || tries > TRIES_MAX) throw usage(`a job has 1 to ${TRIES_MAX} tries`);
    const nowMs = clock.nowMs();
    if (deadlineMs !== undefined && deadlineMs < nowMs) throw usage("the deadline has passed already");
    const job = {
      ...kind.subject?.(checked),
      kind: name,
      args: checked,
      bound: kind.bind?.(checked),
      priority,
      submitter: await this.#submitterOf(who),
      traceId: by.traceId ?? this.#traceId(),
      schedule: undefined,
      triesMax: tries,
      deadlineMs,
    };
    const made = await db.transaction(async (sql) => {
      const id = await insertJob(sql, job, nowMs);
      await audit.appendIn(sql, by, jobEvent("job.submit", id, { kind: name, args, priority }));
      return (await readJob(sql, id))!;
    });
    this.#changed(made.id);
    return made;
  }

  /** Newest first, of those that the caller may see. */
  async list(who: Principal, filter: Omit<JobFilter, "submittedBy">, before: number | undefined, limit: number): Promise<Job[]> {
    const shown: Job[] = [];
    // Who may read no kind has only its own, and need not be looked for among all the others.
    const isNarrow = ![...this.#kinds.keys()].some((kind) => this.#mayRead(who, kind));
    const wanted = isNarrow ? { ...filter, submittedBy: who.id } : filter;
    const since = await this.#sinceMs(who);
    for (let from = before ?? Number.MAX_SAFE_INTEGER; ; ) {
      const page = await readJobs(this.#options.db, wanted, from, PAGE_ROWS);
      for (const job of page) if (this.#sees(who, since, job)) shown.push(this.#live(job));
      if (page.length < PAGE_ROWS || shown.length >= limit) return shown.slice(0, limit);
      from = page.at(-1)!.id;
    }
  }

  /** @throws {SynclineError} NOT_FOUND, also for one that the caller may not see */
  async job(who: Principal, id: number): Promise<Job> {
    return this.#live(await this.#visible(this.#options.db, who, await this.#sinceMs(who), id));
  }

  /** @throws {SynclineError} NOT_FOUND, DENIED, STALE when it is over */
  async cancel(who: Principal, by: Actor, id: number): Promise<Job> {
    const { db, audit, clock } = this.#options;
    const since = await this.#sinceMs(who);
    const job = await db.transaction(async (sql) => {
      const before = await this.#visible(sql, who, since, id);
      this.#mayChange(who, since, before);
      if (isOver(before.state)) throw over(before);
      await cancelJob(sql, id, clock.nowMs());
      await audit.appendIn(sql, by, jobEvent("job.cancel", id, { kind: before.kind, state: before.state }));
      return (await readJob(sql, id))!;
    });
    this.#runner.cancel(id);
    this.#changed(id);
    return job;
  }

  /**
   * A job that failed or was cancelled begins again, with all its tries and from its checkpoint; one that waits for a
   * retry does so at once.
   * @throws {SynclineError} NOT_FOUND, DENIED, STALE when it is done, queued or running
   */
  async retry(who: Principal, by: Actor, id: number): Promise<Job> {
    const { db, audit, clock } = this.#options;
    const since = await this.#sinceMs(who);
    const job = await db.transaction(async (sql) => {
      const before = await this.#visible(sql, who, since, id);
      this.#mayChange(who, since, before);
      if (["done", "queued", "running"].includes(before.state)) throw notAgain(before);
      await reopenJob(sql, id, clock.nowMs());
      await audit.appendIn(sql, by, jobEvent("job.retry", id, { kind: before.kind, state: before.state }));
      return (await readJob(sql, id))!;
    });
    this.#changed(id);
    return job;
  }

  /** @throws {SynclineError} NOT_FOUND */
  async explain(who: Principal, id: number): Promise<{ job: Job; explanation: Explanation }> {
    const { db } = this.#options;
    const job = await this.job(who, id);
    const [waiting, at] = [await readWaiting(db), await this.#queue.circumstances(db)];
    return { job, explanation: explain(job, waiting, at) };
  }

  /** For metrics. */
  async state(): Promise<QueueState> {
    const { db, clock } = this.#options;
    const counts = { queued: 0, running: 0, waiting: 0 };
    const rows = await db.all<{ state: string; kind: string; n: number; since: number }>(
      `SELECT state, kind, count(*) AS n, min(since_ms) AS since FROM jobs
       WHERE state IN ('queued', 'waiting', 'running') GROUP BY state, kind`,
    );
    const oldestMs = new Map<string, number>();
    for (const { state, kind, n, since } of rows) {
      counts[state as keyof typeof counts] += n;
      if (state === "running") continue;
      oldestMs.set(kind, Math.max(oldestMs.get(kind) ?? 0, clock.nowMs() - since));
    }
    return { counts, oldestMs, breakers: await readBreakers(db) };
  }

  /** Calls back with the number of each job whose state has changed in this process, until the signal. */
  watch(listener: (id: number) => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#watchers.add(listener);
    signal.addEventListener("abort", () => this.#watchers.delete(listener), { once: true });
  }

  // ---------------------------------------------------------------- schedules

  /** By name, of the kinds that the caller may see. */
  async schedules(who: Principal): Promise<Schedule[]> {
    return (await readSchedules(this.#options.db)).filter(({ kind }) => this.#mayRead(who, kind));
  }

  /** @throws {SynclineError} NOT_FOUND */
  schedule(who: Principal, name: string): Promise<Schedule> {
    return this.#schedule(this.#options.db, who, name);
  }

  /**
   * Makes or replaces one. Of the hub's own the kind stays. Its jobs act for who put it last.
   * @throws {SynclineError} USAGE, DENIED, LIMIT
   */
  async putSchedule(who: Principal, by: Actor, name: string, settings: ScheduleSettings): Promise<Schedule> {
    const { db, audit, clock, access } = this.#options;
    if (!SCHEDULE_NAME.test(name)) throw usage("a schedule's name has 1 to 63 of a–z, 0–9, dots, dashes and underscores");
    const kind = this.#kind(settings.kind);
    access.require(who, "manage", { type: "job", name: kind.name });
    const args = this.#checked(kind, who, settings.args);
    const nextMs = cronTimes(settings.cron, settings.zone).next(clock.nowMs());
    const own = await this.#submitterOf(who);
    const made = await db.transaction(async (sql) => {
      const before = await readSchedule(sql, name);
      if (before === undefined && (await readSchedules(sql)).length >= SCHEDULES_MAX) throw tooManySchedules();
      if (before !== undefined) access.require(who, "manage", { type: "job", name: before.kind });
      if (before?.origin === "hub" && before.kind !== kind.name) throw ofTheHub(name);
      const submitter = before?.origin === "hub" ? before.submitter : own;
      const { lastMs, lastJob, lastOutcome } = before ?? {};
      const origin = before?.origin ?? "user";
      const facts = { ...settings, args, name, origin, submitter, lastMs, lastJob, lastOutcome };
      const schedule = this.#schedules.at({ ...facts, nextMs, fireMs: nextMs }, nextMs);
      await putSchedule(sql, schedule);
      await audit.appendIn(sql, by, scheduleEvent("schedule.put", name, settings));
      return schedule;
    });
    this.#runner.wake();
    return made;
  }

  /** @throws {SynclineError} NOT_FOUND, DENIED, USAGE for one of the hub's own */
  async removeSchedule(who: Principal, by: Actor, name: string): Promise<void> {
    const { db, audit, access } = this.#options;
    await db.transaction(async (sql) => {
      const { kind, origin } = await this.#schedule(sql, who, name);
      access.require(who, "manage", { type: "job", name: kind });
      if (origin === "hub") throw ofTheHub(name);
      await removeSchedule(sql, name);
      await audit.appendIn(sql, by, scheduleEvent("schedule.remove", name, undefined));
    });
  }

  /** A job of it now, beside those of its times. @throws {SynclineError} NOT_FOUND, DENIED, EXISTS, LIMIT */
  async runSchedule(who: Principal, by: Actor, name: string): Promise<Job> {
    const { db, audit, access } = this.#options;
    const { job, cancelled } = await db.transaction(async (sql) => {
      const schedule = await this.#schedule(sql, who, name);
      access.require(who, "manage", { type: "job", name: schedule.kind });
      const made = await this.#schedules.runNow(sql, schedule);
      await audit.appendIn(sql, by, scheduleEvent("schedule.run", name, { job: made.job }));
      return { job: (await readJob(sql, made.job))!, cancelled: made.cancelled };
    });
    for (const id of cancelled) this.#runner.cancel(id);
    this.#changed(job.id);
    return job;
  }

  // ----------------------------------------------------------------

  async #beside(): Promise<void> {
    const { db, clock } = this.#options;
    await this.#schedules.fire();
    if (clock.monotonicMs() - this.#tidiedMono < TIDY_EVERY_MS) return;
    this.#tidiedMono = clock.monotonicMs();
    const nowMs = clock.nowMs();
    await this.#schedules.lookAnew();
    await db.transaction(async (sql) => {
      await dropEnded(sql, nowMs - ENDED_KEPT_MS, ENDED_KEPT_MAX);
      await dropBreakers(sql, nowMs - BREAKERS_KEPT_MS);
    });
  }

  #submitScheduled(sql: Sql, { kind: name, args, priority, submitter, name: schedule }: Schedule): Promise<number> {
    const kind = this.#kind(name);
    const checked = checkedArgs(kind, args);
    const facts = { kind: name, args: checked, bound: kind.bind?.(checked), priority, submitter, schedule, deadlineMs: undefined };
    const job = { ...kind.subject?.(checked), ...facts, traceId: this.#traceId(), triesMax: kind.tries ?? TRIES_DEFAULT };
    return insertJob(sql, job, this.#options.clock.nowMs());
  }

  async #submitterOf(who: Principal): Promise<Submitter> {
    const sinceMs = await this.#sinceMs(who);
    return { id: who.id, scopes: who.scopes, ...(sinceMs === undefined ? {} : { sinceMs }) };
  }

  /** Since when there is this user; undefined for whoever is none. */
  async #sinceMs({ kind, name }: Principal): Promise<number | undefined> {
    return kind === "user" ? (await this.#options.userByName(name))?.createdMs : undefined;
  }

  async #principalOf({ id, scopes, sinceMs }: Submitter): Promise<Principal | undefined> {
    if (id.startsWith("system:")) return systemPrincipal(id.slice("system:".length));
    if (!id.startsWith("user:")) return undefined;
    const user = await this.#options.userByName(id.slice("user:".length));
    // Another one may have got the name of one that is gone.
    if (user === undefined || (sinceMs ?? user.createdMs) !== user.createdMs) return undefined;
    return { ...user.principal, scopes };
  }

  #kind(name: string): AnyJobKind {
    const found = this.#kinds.get(name)?.kind;
    if (found !== undefined) return found;
    throw usage(`there is no kind of job "${name.slice(0, 100)}"; there are ${[...this.#kinds.keys()].join(", ")}`);
  }

  #checked(kind: AnyJobKind, who: Principal, args: unknown): never {
    const checked = checkedArgs(kind, args);
    for (const { action, resource } of kind.rights(checked)) this.#options.access.require(who, action, resource);
    if (JSON.stringify(checked).length > ARGS_CHARS_MAX) throw usage(`arguments have at most ${ARGS_CHARS_MAX} characters`);
    // Whoever may not ask for the job is told nothing of what it takes.
    kind.check?.(checked);
    return checked;
  }

  #mayRead(who: Principal, kind: string): boolean {
    return this.#options.access.decide(who, "read", { type: "job", name: kind }).allowed;
  }

  #sees(who: Principal, sinceMs: number | undefined, job: Job): boolean {
    return this.#isOwn(who, sinceMs, job) || this.#mayRead(who, job.kind);
  }

  /** A narrow token of the submitter is not the submitter, except for what it might have asked for itself. */
  #isOwn(who: Principal, sinceMs: number | undefined, { submitter, kind, args }: Job): boolean {
    if (submitter.id !== who.id || (submitter.sinceMs ?? sinceMs) !== sinceMs) return false;
    if (who.scopes === undefined) return true;
    const rights = this.#kinds.get(kind)?.kind.rights(args as never) ?? [];
    return rights.length > 0 && rights.every(({ action, resource }) => this.#options.access.decide(who, action, resource).allowed);
  }

  async #visible(sql: Sql, who: Principal, sinceMs: number | undefined, id: number): Promise<Job> {
    const job = await readJob(sql, id);
    if (job !== undefined && this.#sees(who, sinceMs, job)) return job;
    throw notFound("job", String(id));
  }

  async #schedule(sql: Sql, who: Principal, name: string): Promise<Schedule> {
    const schedule = await readSchedule(sql, name);
    if (schedule !== undefined && this.#mayRead(who, schedule.kind)) return schedule;
    throw notFound("schedule", name);
  }

  /** One's own, or as who manages the kind. */
  #mayChange(who: Principal, sinceMs: number | undefined, job: Job): void {
    if (this.#isOwn(who, sinceMs, job)) return;
    this.#options.access.require(who, "manage", { type: "job", name: job.kind });
  }

  #live(job: Job): Job {
    if (job.state !== "running") return job;
    return { ...job, progress: this.#runner.progressOf(job.id) ?? job.progress };
  }

  #changed(id: number): void {
    this.#runner.wake();
    this.#tell(id);
  }

  #tell(id: number): void {
    for (const listener of this.#watchers) listener(id);
  }

  #traceId(): string {
    return newTraceId(this.#options.random);
  }
}

/** After a database was put back from a backup: what had begun before it is not gone on with. Gives how many it was. */
export async function endJobsOfBackup(db: Database, nowMs: number): Promise<number> {
  await migrate(db, "jobs", JOB_MIGRATIONS);
  const message = "the hub was restored from a backup that was made before this job was over";
  const error = { code: "INTERRUPTED", message, hint: "if it is still wanted: syncline jobs retry ID" };
  return db.transaction(async (sql) => {
    await sql.run("DELETE FROM job_breakers");
    return endOpenJobs(sql, error, nowMs);
  });
}

function jobEvent(action: string, id: number, details: unknown): AuditEvent {
  return { action, resource: `job:${id}`, outcome: "done", details };
}

function scheduleEvent(action: string, name: string, details: unknown): AuditEvent {
  return { action, resource: `schedule:${name}`, outcome: "done", ...(details === undefined ? {} : { details }) };
}

function usage(message: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "submit job", message, hint: "syncline help jobs, syncline help schedules" });
}

function notFound(what: "job" | "schedule", name: string): SynclineError {
  return new SynclineError({
    code: "NOT_FOUND",
    op: `find ${what}`,
    message: `there is no ${what} ${name.slice(0, 100)}, or you may not see it`,
    hint: `syncline ${what}s list shows those you may see`,
  });
}

function over({ id, state }: Job): SynclineError {
  return new SynclineError({ code: "STALE", op: "cancel job", message: `job ${id} is ${state} already` });
}

function notAgain({ id, state }: Job): SynclineError {
  const hint = state === "done" ? "submit it anew" : `syncline jobs explain ${id} says what it waits for`;
  return new SynclineError({ code: "STALE", op: "retry job", message: `job ${id} is ${state}`, hint });
}

function ofTheHub(name: string): SynclineError {
  return new SynclineError({
    code: "USAGE",
    op: "change schedule",
    message: `the schedule ${name} is the hub's own: it cannot be removed, nor be of another kind`,
    hint: `switch it off: syncline schedules disable ${name}`,
  });
}

function tooManySchedules(): SynclineError {
  const message = `the hub has ${SCHEDULES_MAX} schedules already`;
  return new SynclineError({ code: "LIMIT", op: "make schedule", message, hint: "remove one that nobody needs" });
}
