/** Times of a schedule: five fields or a nickname, in a time zone. */
import { Cron } from "croner";
import { SynclineError, messageOf } from "#model/error.ts";

const CRON_CHARS_MAX = 100;
const NICKNAMES = /^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/;

export type CronTimes = {
  /** The first time after one; undefined: never again. Both in milliseconds since 1970. */
  next(afterMs: number): number | undefined;
};

/** @throws {SynclineError} USAGE for what is no schedule, no time zone, or never comes */
export function cronTimes(text: string, zone: string): CronTimes {
  const known = text.length <= CRON_CHARS_MAX && (NICKNAMES.test(text) || text.trim().split(/\s+/).length === 5);
  if (!known) throw wrongCron(text, "it is not five fields");
  try {
    const cron = new Cron(text, { timezone: zone, mode: text.startsWith("@") ? "auto" : "5-part", paused: true });
    const times: CronTimes = {
      next: (afterMs) => cron.nextRun(new Date(afterMs))?.getTime(),
    };
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
