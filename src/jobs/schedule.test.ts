/** Times of schedules, and what becomes of those that were missed. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { cronTimes } from "#jobs/cron.ts";
import { CATCH_UP_MAX, type Misfire, dueTimes } from "#jobs/schedule.ts";

const at = (text: string): number => Date.parse(text);
const HOUR = 3_600_000;

/** The text of a field with what it means. */
type Field = readonly [string, readonly number[]];
const upTo = (end: number, step = 1): number[] => Array.from({ length: end / step }, (_, at) => at * step);
const MINUTES: readonly Field[] = [["0", [0]], ["30", [30]], ["20,40", [20, 40]], ["*/15", upTo(60, 15)], ["*", upTo(60)]];
const HOURS: readonly Field[] = [["*", upTo(24)], ["*/2", upTo(24, 2)], ["1", [1]], ["2", [2]], ["0-3", upTo(4)], ["23", [23]]];

/** The first time after one, by a clock that is looked at each minute from before a change of it. */
function firstByClock([minute, hour]: readonly [Field, Field], zone: string, changeMs: number, afterMs: number): number {
  const clock = new Intl.DateTimeFormat("sv", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
  const shown = (ms: number): number => at(`${clock.format(ms).replace(" ", "T")}Z`);
  const fits = (ms: number): boolean =>
    minute[1].includes(new Date(ms).getUTCMinutes()) && hour[1].includes(new Date(ms).getUTCHours());
  const isContinual = minute[0].startsWith("*") || hour[0].startsWith("*");
  const seen = new Set<number>();
  const found: number[] = [];
  let ms = changeMs - 6 * HOUR;
  for (let last = shown(ms) - 60_000; !found.some((one) => one > afterMs && one < ms); ms += 60_000) {
    const now = shown(ms);
    // What the clock left out comes by the clock as it was.
    for (let left = last + 60_000; left < now; left += 60_000) if (fits(left)) found.push(ms + left - last - 60_000);
    if (fits(now) && (isContinual || !seen.has(now))) found.push(ms);
    seen.add(now);
    last = now;
  }
  return Math.min(...found.filter((one) => one > afterMs));
}

describe("cron", () => {
  test("[JOB-7] five fields and nicknames give times in their zone, also where the clocks change", () => {
    for (const [cron, zone, after, times] of [
      ["@hourly", "UTC", "2026-03-01T00:10:00Z", ["2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z"]],
      ["@daily", "Asia/Tokyo", "2026-03-01T00:10:00Z", ["2026-03-01T15:00:00Z", "2026-03-02T15:00:00Z"]],
      ["*/20 8-9 * * mon-fri", "UTC", "2026-03-06T09:39:00Z", ["2026-03-06T09:40:00Z", "2026-03-09T08:00:00Z"]],
      ["0 0 29 2 *", "UTC", "2026-03-01T00:00:00Z", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]],
      ["0 0 1 * 0", "UTC", "2026-03-01T12:00:00Z", ["2026-03-08T00:00:00Z", "2026-03-15T00:00:00Z"]],
      // 02:30 does not exist on the first day and comes twice on the last.
      ["30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]],
      ["30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]],
    ] as const) {
      const { next } = cronTimes(cron, zone);
      const first = next(at(after))!;
      const got = [first, next(first)!].map((ms) => new Date(ms).toISOString().replace(".000", ""));
      expect([cron, zone, got]).toEqual([cron, zone, [...times]]);
    }
  });

  test("[JOB-32] where clocks are put back and forward, no time comes again, and no hour goes without its runs", () => {
    // Berlin and Santiago by an hour, Lord Howe by half of one, Apia over a whole day, Kolkata never.
    const changes = [
      ["Europe/Berlin", "2026-10-25T01:00:00Z"], ["Europe/Berlin", "2026-03-29T01:00:00Z"], ["America/Santiago", "2026-04-05T03:00:00Z"],
      ["Australia/Lord_Howe", "2026-04-04T15:00:00Z"], ["Australia/Lord_Howe", "2026-10-03T15:30:00Z"],
      ["Pacific/Apia", "2011-12-30T10:00:00Z"], ["Asia/Kolkata", "2026-10-25T01:00:00Z"],
    ] as const;
    const fields = fc.tuple(fc.constantFrom(...MINUTES), fc.constantFrom(...HOURS));
    const around = fc.integer({ min: -5 * 60, max: 5 * 60 });
    fc.assert(
      fc.property(fc.constantFrom(...changes), fields, around, ([zone, change], [minute, hour], minutesAfter) => {
        const cron = `${minute[0]} ${hour[0]} * * *`;
        const afterMs = at(change) + minutesAfter * 60_000;
        const next = cronTimes(cron, zone).next(afterMs)!;
        const first = firstByClock([minute, hour], zone, at(change), afterMs);
        expect([cron, zone, new Date(next).toISOString()]).toEqual([cron, zone, new Date(first).toISOString()]);
      }),
      { numRuns: 300 },
    );
  });

  test("[JOB-7] what is no schedule, or never comes, is refused in words", () => {
    const codes = [
      ["", "UTC"], ["* * * * * *", "UTC"], ["60 * * * *", "UTC"], ["@reboot", "UTC"], ["a b c d e", "UTC"],
      ["0 0 30 2 *", "UTC"], ["0 0 31 4 *", "UTC"], ["* * * * *", "Nowhere/Land"], [`${"1,".repeat(99)}1 * * * *`, "UTC"],
    ].map(([cron, zone]) => {
      try {
        cronTimes(cron!, zone!);
        return `${cron} was taken`;
      } catch (error) {
        return error instanceof SynclineError ? error.code : String(error);
      }
    });
    expect(new Set(codes)).toEqual(new Set(["USAGE"]));
  });

  test("[JOB-7] the next time is the first minute that fits, by every minute looked at one by one", () => {
    const some = (min: number, max: number) => fc.uniqueArray(fc.integer({ min, max }), { minLength: 1, maxLength: 4 });
    const field = (min: number, max: number) => fc.option(some(min, max), { nil: undefined });
    const fields = fc.tuple(field(0, 59), field(0, 23), field(1, 31), field(1, 12));
    const start = fc.integer({ min: at("2026-01-01T00:00:00Z"), max: at("2027-12-31T00:00:00Z") });
    fc.assert(
      fc.property(fields, start, ([minutes, hours, days, months], afterMs) => {
        const text = [minutes, hours, days, months, undefined].map((values) => values?.join(",") ?? "*").join(" ");
        let next: number | undefined;
        try {
          next = cronTimes(text, "UTC").next(afterMs);
        } catch {
          return;
        }
        const fits = (ms: number): boolean => {
          const date = new Date(ms);
          const is = (values: readonly number[] | undefined, value: number) => values?.includes(value) ?? true;
          const isDay = is(days, date.getUTCDate()) && is(months, date.getUTCMonth() + 1);
          return is(minutes, date.getUTCMinutes()) && is(hours, date.getUTCHours()) && isDay;
        };
        const DAYS = 40;
        const until = afterMs + DAYS * 24 * HOUR;
        let first = Math.floor(afterMs / 60_000) * 60_000 + 60_000;
        while (first <= until && !fits(first)) first += 60_000;
        if (first > until) expect(next).toBeGreaterThan(until);
        else expect(new Date(next!).toISOString()).toBe(new Date(first).toISOString());
      }),
      { numRuns: 150 },
    );
  });
});

describe("missed times", () => {
  const hourly = cronTimes("0 * * * *", "UTC");
  const minutely = cronTimes("* * * * *", "UTC");
  const noon = at("2026-03-01T12:00:00Z");
  const due = (misfire: Misfire, nextMs: number, nowMs: number, catchUp = 3, times = hourly) =>
    dueTimes(times, { misfire, catchUp, spreadMs: 0 }, nextMs, nowMs);

  test("[JOB-8] a time that has just come is run once, whatever the policy", () => {
    for (const misfire of ["skip", "run-once", "catch-up"] as const) {
      expect(due(misfire, noon, noon + 30_000)).toEqual({ run: [noon], missed: false, nextMs: noon + HOUR });
    }
  });

  test("[JOB-8] of missed ones none, one, or the latest so many are run", () => {
    const late = noon + 5 * HOUR + 10 * 60_000;
    expect(due("skip", noon, late)).toEqual({ run: [], missed: true, nextMs: noon + 6 * HOUR });
    expect(due("run-once", noon, late)).toEqual({ run: [noon + 5 * HOUR], missed: true, nextMs: noon + 6 * HOUR });
    const three = [3, 4, 5].map((hours) => noon + hours * HOUR);
    expect(due("catch-up", noon, late)).toEqual({ run: three, missed: true, nextMs: noon + 6 * HOUR });
    expect(due("catch-up", noon, late, 24).run).toHaveLength(6);
    // One that comes in time after others that did not.
    expect(due("skip", noon, noon + 5 * HOUR + 1000).run).toEqual([noon + 5 * HOUR]);
    // A draw puts it off; it is not missed for that.
    expect(dueTimes(hourly, { misfire: "skip", catchUp: 1, spreadMs: HOUR / 2 }, noon, noon + HOUR / 4).run).toEqual([noon]);
  });

  test("[JOB-8] a schedule that nobody looked at for years is looked at quickly, and goes on from now", () => {
    const years = at("2030-01-01T00:00:30Z");
    const { run, missed, nextMs } = due("catch-up", noon, years, CATCH_UP_MAX, minutely);
    expect([run.length, run.at(-1), missed, nextMs]).toEqual([CATCH_UP_MAX, years - 30_000, true, years + 30_000]);
  });
});
