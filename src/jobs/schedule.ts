/** What a schedule is, and which of its times are to be run now. Pure. */
import type { CronTimes } from "#jobs/cron.ts";
import type { Priority, Submitter } from "#jobs/job.ts";

/**
 * What becomes of times that nobody was there for: none is run, one for all of them, or the latest `catchUp` of them one
 * by one.
 */
export const MISFIRES = ["skip", "run-once", "catch-up"] as const;
export type Misfire = (typeof MISFIRES)[number];

/** While a job of the schedule is still queued or running: the time is passed over, queues behind it, or ends it. */
export const OVERLAPS = ["forbid", "queue", "replace"] as const;
export type Overlap = (typeof OVERLAPS)[number];

export const SCHEDULE_NAME = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/;
/** Schedules of one hub. */
export const SCHEDULES_MAX = 1000;
/** Times that are caught up with at most, and jobs of one schedule that wait behind each other. */
export const CATCH_UP_MAX = 24;
export const SPREAD_MS_MAX = 24 * 3_600_000;
/** A time that is looked at later than this was missed. */
export const MISSED_MS = 60_000;

const HOUR_MS = 3_600_000;
/** How far back missed times are looked for, until there are enough; most schedules need the first. */
const LOOK_BACK_MS = [HOUR_MS, 24 * HOUR_MS, 32 * 24 * HOUR_MS, 400 * 24 * HOUR_MS];

export type ScheduleSettings = {
  readonly cron: string;
  readonly zone: string;
  readonly kind: string;
  readonly args: unknown;
  readonly priority: Priority;
  readonly misfire: Misfire;
  /** 1 to CATCH_UP_MAX; counts with "catch-up" alone. */
  readonly catchUp: number;
  readonly overlap: Overlap;
  readonly enabled: boolean;
  /** Each time is put off by a draw from 0 up to this, so that many hubs do not begin at once. */
  readonly spreadMs: number;
};

export type Schedule = ScheduleSettings & {
  readonly name: string;
  /** The hub's own are there always; they can be changed and switched off. */
  readonly origin: "hub" | "user";
  readonly submitter: Submitter;
  /** By the clock of the schedule, and with the draw. Undefined: never again. */
  readonly nextMs: number | undefined;
  readonly fireMs: number | undefined;
  readonly lastMs: number | undefined;
  readonly lastJob: number | undefined;
  /** Of the last time, for people: "job 12", "passed over: job 11 still runs". */
  readonly lastOutcome: string | undefined;
};

export type DueTimes = {
  /** To be run now, oldest first. */
  readonly run: readonly number[];
  /** Some were passed over. */
  readonly missed: boolean;
  readonly nextMs: number | undefined;
};

/** @param nextMs the first time that was not looked at yet; not after `nowMs` */
export function dueTimes(
  times: CronTimes,
  { misfire, catchUp, spreadMs }: Pick<ScheduleSettings, "misfire" | "catchUp" | "spreadMs">,
  nextMs: number,
  nowMs: number,
): DueTimes {
  const wanted = misfire === "catch-up" ? catchUp : 1;
  const { found, isAll } = timesUntil(times, nextMs, nowMs, wanted);
  const isMissed = (time: number): boolean => nowMs - time > MISSED_MS + spreadMs;
  const usable = misfire === "skip" ? found.filter((time) => !isMissed(time)) : found;
  const run = usable.slice(-wanted);
  return { run, missed: !isAll || run.length < found.length, nextMs: times.next(nowMs) };
}

/** Times from the first one to now, oldest first; all of them, or at least `count` of the latest. */
function timesUntil(
  times: CronTimes,
  firstMs: number,
  nowMs: number,
  count: number,
): { found: number[]; isAll: boolean } {
  for (const span of LOOK_BACK_MS) {
    const isAll = firstMs >= nowMs - span;
    const isLast = span === LOOK_BACK_MS.at(-1);
    const found = isAll ? [firstMs] : [];
    for (let at = times.next(isAll ? firstMs : nowMs - span); at !== undefined && at <= nowMs; at = times.next(at)) {
      found.push(at);
    }
    if (isAll || isLast || found.length >= count) return { found, isAll };
  }
  return { found: [], isAll: false };
}
