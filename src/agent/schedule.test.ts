import { expect, test } from "bun:test";
import { isOpen } from "#agent/schedule.ts";

/** Local time; 2026-11-23 is a Monday. */
const at = (day: number, time: string): Date => new Date(`2026-11-${day}T${time}:00`);

test("[AGENT-30] a window is open on its days, from its first minute to before its last, over midnight too", () => {
  expect(isOpen([], at(23, "12:00"))).toBe(true);
  const office = ["mon-fri 08:00-17:00"];
  expect([at(23, "07:59"), at(23, "08:00"), at(23, "16:59"), at(23, "17:00"), at(28, "12:00")].map((now) => isOpen(office, now))).toEqual([
    false, true, true, false, false,
  ]);
  const nights = ["fri 22:00-06:00"];
  expect([at(27, "21:59"), at(27, "22:00"), at(28, "05:59"), at(28, "06:00"), at(28, "23:00")].map((now) => isOpen(nights, now))).toEqual([
    false, true, true, false, false,
  ]);
  expect(isOpen(["mon 00:00-01:00", "12:00-13:00"], at(25, "12:30"))).toBe(true);
});
