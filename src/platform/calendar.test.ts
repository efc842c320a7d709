import { expect, test } from "bun:test";
import fc from "fast-check";
import { isCalendarDay } from "#platform/calendar.ts";

test("[TIME-10] a day is one of the calendar, whatever follows it", () => {
  for (const text of ["2024-02-29", "2000-02-29T00:00:00+14:00", "1969-12-31T23:59:60Z", "9999-12-31"]) expect([text, isCalendarDay(text)]).toEqual([text, true]);
  for (const text of ["2026-02-29", "2100-02-29T00:00:00Z", "2026-04-31", "2026-13-01", "2026-00-10", "2026-01-00", "", "20260101"]) {
    expect([text, isCalendarDay(text)]).toEqual([text, false]);
  }
  const days = fc.record({ year: fc.integer({ min: 1, max: 9999 }), month: fc.integer({ min: 1, max: 12 }), day: fc.integer({ min: 1, max: 31 }) });
  fc.assert(
    fc.property(days, ({ year, month, day }) => {
      const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
      const last = month === 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;
      const text = [`${year}`.padStart(4, "0"), ...[month, day].map((one) => `${one}`.padStart(2, "0"))].join("-");
      expect([text, isCalendarDay(text)]).toEqual([text, day <= last]);
    }),
  );
});
