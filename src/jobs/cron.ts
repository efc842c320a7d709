/** Times of a schedule: five fields or a nickname, in a time zone. */
import { Cron } from "croner";
import { SynclineError, messageOf } from "#model/error.ts";

const CRON_CHARS_MAX = 100;
const NICKNAMES = /^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/;
/** Clocks are put back by less, and no two such changes are nearer to each other. */
const CHANGE_MS_MAX = 4 * 3_600_000;

export type CronTimes = {
  /** The first time after one; undefined: never again. Both in milliseconds since 1970. */
  next(afterMs: number): number | undefined;
};

/** @throws {SynclineError} USAGE for what is no schedule, no time zone, or never comes */
export function cronTimes(text: string, zone: string): CronTimes {
  const known = text.length <= CRON_CHARS_MAX && (NICKNAMES.test(text) || text.trim().split(/\s+/).length === 5);
  if (!known) throw wrongCron(text, "it is not five fields");
  try {
    const zoned = new ZonedTimes(text, zone);
    const times: CronTimes = { next: (afterMs) => zoned.next(afterMs) };
    // 30 February is told by an error when it is looked for.
    if (times.next(0) === undefined) throw wrongCron(text, "such a day never comes");
    return times;
  } catch (error) {
    if (error instanceof SynclineError) throw error;
    const reason = messageOf(error);
    if (/time ?zone/i.test(reason)) throw wrongZone(zone);
    throw wrongCron(text, error instanceof TypeError && /object/.test(reason) ? "such a day never comes" : reason);
  }
}

/**
 * What the library tells of a clock that is never changed, in a zone where clocks are. (What it tells of such a zone leaves
 * an hour out where the clocks are put back, and lies before the time that was asked about while that hour is there for
 * the second time.) What is shown twice counts twice for what comes every hour or every minute, else the first time;
 * what is not shown at all comes when it would have, had the clock not been put forward.
 */
class ZonedTimes {
  readonly #cron: Cron;
  readonly #isContinual: boolean;
  readonly #shown: Intl.DateTimeFormat;

  constructor(text: string, zone: string) {
    this.#cron = new Cron(text, { timezone: "UTC", mode: text.startsWith("@") ? "auto" : "5-part", paused: true });
    const [minute = "", hour = ""] = text.trim().split(/\s+/);
    this.#isContinual = text === "@hourly" || minute.startsWith("*") || hour.startsWith("*");
    const digits = "2-digit";
    const time = { hour: digits, minute: digits, second: digits, hourCycle: "h23" } as const;
    this.#shown = new Intl.DateTimeFormat("en", { timeZone: zone, year: "numeric", month: digits, day: digits, ...time });
  }

  next(afterMs: number): number | undefined {
    const near = this.#offsetsAround(afterMs);
    let best: number | undefined;
    let most = Math.max(...near);
    for (let shown = this.#nextShown(afterMs + Math.min(...near)); shown !== undefined; shown = this.#nextShown(shown)) {
      // Whatever is shown from here on is later.
      if (best !== undefined && shown - most >= best) break;
      for (const ms of this.#momentsOf(shown)) {
        if (ms <= afterMs || (best !== undefined && ms >= best)) continue;
        best = ms;
        most = Math.max(...near, ...this.#offsetsAround(ms));
      }
    }
    return best;
  }

  #nextShown(shownMs: number): number | undefined {
    return this.#cron.nextRun(new Date(shownMs))?.getTime();
  }

  /** When a schedule counts what the clocks of the zone show. Times that are shown are those of UTC that look the same. */
  #momentsOf(shownMs: number): readonly number[] {
    const offsets = new Set(this.#offsetsAround(shownMs - this.#offsetAt(shownMs)));
    const moments = [...offsets].map((offset) => shownMs - offset).toSorted((a, b) => a - b);
    const real = moments.filter((ms) => ms + this.#offsetAt(ms) === shownMs);
    if (real.length === 0) return [moments.at(-1)!];
    return this.#isContinual ? real : real.slice(0, 1);
  }

  #offsetsAround(ms: number): [number, number, number] {
    return [this.#offsetAt(ms - CHANGE_MS_MAX), this.#offsetAt(ms), this.#offsetAt(ms + CHANGE_MS_MAX)];
  }

  /** By how much the clocks of the zone are ahead of UTC. */
  #offsetAt(ms: number): number {
    const wholeMs = Math.floor(ms / 1000) * 1000;
    const parts = Object.fromEntries(this.#shown.formatToParts(wholeMs).map(({ type, value }) => [type, Number(value)]));
    const { year, month, day, hour, minute, second } = parts as Record<string, number>;
    return Date.UTC(year!, month! - 1, day, hour, minute, second) - wholeMs;
  }
}

function wrongCron(text: string, why: string): SynclineError {
  return new SynclineError({
    code: "USAGE",
    op: "read schedule",
    message: `"${text.slice(0, CRON_CHARS_MAX)}" is no schedule: ${why}`,
    hint: 'write minute, hour, day, month and weekday, like "30 2 * * mon-fri", or @hourly, @daily, @weekly, @monthly',
  });
}

function wrongZone(zone: string): SynclineError {
  return new SynclineError({
    code: "USAGE",
    op: "read schedule",
    message: `"${zone.slice(0, 100)}" is no time zone`,
    hint: "write it like UTC or Europe/Berlin",
  });
}
