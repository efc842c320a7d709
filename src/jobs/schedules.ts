/** Schedules at work: each time that has come makes a job, once, whichever process looks first. */
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import { type CronTimes, cronTimes } from "#jobs/cron.ts";
import { cancelJob, openOfSchedule } from "#jobs/job-store.ts";
import { CATCH_UP_MAX, type Schedule, type ScheduleSettings, dueTimes } from "#jobs/schedule.ts";
import { putSchedule, readDue, readSchedule, readSchedules } from "#jobs/schedule-store.ts";

/** What was due while no hub was there begins this long after a start, by a draw between the two. */
export const FIRST_MIN_MS = 60_000;
export const FIRST_MAX_MS = 6 * 60_000;
/** One whose times cannot be told is looked at again after this. */
const AGAIN_MS = 3_600_000;

export type SchedulesOptions = {
  readonly db: Database;
  readonly clock: Clock;
  readonly random: Random;
  /** Puts a job of the schedule into the queue and gives its id. @throws {SynclineError} LIMIT, USAGE */
  readonly submit: (sql: Sql, schedule: Schedule) => Promise<number>;
  /** A job was asked to end, which may run here. */
  readonly onCancelled: (id: number) => void;
  readonly log: (message: string, fields: Readonly<Record<string, unknown>>) => void;
};

/** One that is there whether anybody made it or not. */
export type HubSchedule = { readonly name: string; readonly settings: ScheduleSettings };

export class Schedules {
  readonly #options: SchedulesOptions;

  constructor(options: SchedulesOptions) {
    this.#options = options;
  }

  /** Makes those of the hub that are not there yet, and spreads what is overdue over the first minutes. */
  async begin(own: readonly HubSchedule[], owner: Schedule["submitter"]): Promise<void> {
    const { db, clock } = this.#options;
    const nowMs = clock.nowMs();
    await db.transaction(async (sql) => {
      const there = await readSchedules(sql);
      for (const { name, settings } of own) {
        if (there.some((one) => one.name === name)) continue;
        const first = { ...settings, name, origin: "hub", submitter: owner, nextMs: nowMs, fireMs: this.#firstMs(nowMs) } as const;
        await putSchedule(sql, { ...first, lastMs: undefined, lastJob: undefined, lastOutcome: undefined });
      }
      for (const one of there) {
        if (one.fireMs === undefined) continue;
        if (one.fireMs <= nowMs) await putSchedule(sql, { ...one, fireMs: this.#firstMs(nowMs) });
        else await this.#pullIn(sql, one, nowMs);
      }
    });
  }

  /** Where the clock was far ahead and is right again, the next time is not the next any more. */
  async #pullIn(sql: Sql, schedule: Schedule, nowMs: number): Promise<void> {
    const times = timesOf(schedule);
    // It is said when its time has come.
    if (typeof times === "string") return;
    const nextMs = times.next(nowMs);
    if (nextMs === undefined || schedule.nextMs === undefined || schedule.nextMs <= nextMs) return;
    await putSchedule(sql, this.at(schedule, nextMs));
  }

  /** Looks for times that a clock which was put back has made far. */
  async lookAnew(): Promise<void> {
    const { db, clock } = this.#options;
    const nowMs = clock.nowMs();
    await db.transaction(async (sql) => {
      for (const one of await readSchedules(sql)) await this.#pullIn(sql, one, nowMs);
    });
  }

  /** Makes the jobs whose time has come. */
  async fire(): Promise<void> {
    const { db, clock, onCancelled } = this.#options;
    for (const { name } of await readDue(db, clock.nowMs())) {
      const cancelled = await db.transaction((sql) => this.#fireOne(sql, name));
      for (const id of cancelled) onCancelled(id);
    }
  }

  /** The schedule with its next time, and the draw by which it is put off. */
  at(schedule: Schedule, nextMs: number | undefined): Schedule {
    const fireMs = nextMs === undefined ? undefined : nextMs + Math.floor(schedule.spreadMs * this.#draw());
    return { ...schedule, nextMs, fireMs };
  }

  /** Makes one job now, beside those of its times. Gives its id and those that it ends. */
  async runNow(sql: Sql, schedule: Schedule): Promise<{ job: number; cancelled: number[] }> {
    const open = await openOfSchedule(sql, schedule.name);
    const why = refusal(schedule, open);
    if (why !== undefined) throw stillThere(schedule.name, open);
    const cancelled = schedule.overlap === "replace" ? await this.#cancel(sql, open) : [];
    const job = await this.#options.submit(sql, schedule);
    const lastMs = this.#options.clock.nowMs();
    await putSchedule(sql, { ...schedule, lastMs, lastJob: job, lastOutcome: `job ${job}, begun by hand` });
    return { job, cancelled };
  }

  async #fireOne(sql: Sql, name: string): Promise<number[]> {
    const { clock, log } = this.#options;
    const nowMs = clock.nowMs();
    const schedule = await readSchedule(sql, name);
    const isDue = schedule?.enabled === true && schedule.fireMs !== undefined && schedule.fireMs <= nowMs;
    if (!isDue || schedule.nextMs === undefined) return [];
    const times = timesOf(schedule);
    if (typeof times === "string") return this.#passOver(sql, schedule, times, nowMs);
    const { run, missed, nextMs } = dueTimes(times, schedule, schedule.nextMs, nowMs);
    const open = await openOfSchedule(sql, name);
    const why = refusal(schedule, open);
    const cancelled: number[] = [];
    let { lastJob } = schedule;
    let lastOutcome = missed ? "passed over: the hub was not there" : undefined;
    if (run.length > 0 && why !== undefined) lastOutcome = why;
    else if (run.length > 0) {
      if (schedule.overlap === "replace") cancelled.push(...(await this.#cancel(sql, open)));
      const made = await this.#submit(sql, schedule, run.length);
      lastJob = made.jobs.at(-1) ?? lastJob;
      lastOutcome = made.outcome;
    }
    log("schedule", { name, outcome: lastOutcome });
    await putSchedule(sql, this.at({ ...schedule, lastMs: nowMs, lastJob, lastOutcome }, nextMs));
    return cancelled;
  }

  /** Of one whose times cannot be told the others, and all jobs, must not hear: it is looked at again after a while. */
  async #passOver(sql: Sql, schedule: Schedule, why: string, nowMs: number): Promise<number[]> {
    const lastOutcome = `passed over: ${why}`;
    this.#options.log("schedule", { name: schedule.name, outcome: lastOutcome });
    await putSchedule(sql, { ...schedule, lastMs: nowMs, lastOutcome, fireMs: nowMs + AGAIN_MS });
    return [];
  }

  /** What cannot be submitted is told, and the next time comes all the same. */
  async #submit(sql: Sql, schedule: Schedule, count: number): Promise<{ jobs: number[]; outcome: string }> {
    const jobs: number[] = [];
    try {
      while (jobs.length < count) jobs.push(await this.#options.submit(sql, schedule));
    } catch (error) {
      if (!(error instanceof SynclineError)) throw error;
      return { jobs, outcome: `not submitted: ${error.message}` };
    }
    return { jobs, outcome: jobs.length === 1 ? `job ${jobs[0]}` : `jobs ${jobs.join(", ")}` };
  }

  async #cancel(sql: Sql, open: readonly number[]): Promise<number[]> {
    for (const id of open) await cancelJob(sql, id, this.#options.clock.nowMs());
    return [...open];
  }

  #firstMs(nowMs: number): number {
    return nowMs + FIRST_MIN_MS + Math.floor((FIRST_MAX_MS - FIRST_MIN_MS) * this.#draw());
  }

  /** 0 to 1. */
  #draw(): number {
    const [high, low] = this.#options.random.bytes(2) as unknown as [number, number];
    return (high * 256 + low) / 65_535;
  }
}

/** Or why they cannot be told: the zone may be one that only another system has. */
function timesOf({ cron, zone }: Schedule): CronTimes | string {
  try {
    return cronTimes(cron, zone);
  } catch (error) {
    if (error instanceof SynclineError) return error.message;
    throw error;
  }
}

/** Why its time passes without a job. */
function refusal({ overlap }: Schedule, open: readonly number[]): string | undefined {
  if (overlap === "forbid" && open.length > 0) return `passed over: job ${open[0]} is not over`;
  if (overlap === "queue" && open.length >= CATCH_UP_MAX) return `passed over: ${open.length} jobs of it wait`;
  return undefined;
}

function stillThere(name: string, open: readonly number[]): SynclineError {
  return new SynclineError({
    code: "EXISTS",
    op: "run schedule",
    message: `job ${open[0]} of the schedule ${name} is not over`,
    hint: `wait for it, or end it: syncline jobs cancel ${open[0]}`,
  });
}
