import { afterEach, expect, test } from "bun:test";
import { isOpen, rateAt } from "#agent/schedule.ts";

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

const zone = process.env["TZ"];
afterEach(() => {
  process.env["TZ"] = zone ?? "UTC";
});

test("[AGENT-31] windows go by what clocks show, also when they are put forward or back", () => {
  process.env["TZ"] = "Europe/Berlin";
  const utc = (text: string): Date => new Date(`${text}:00Z`);
  // 2026-03-29: after 01:59 comes 03:00. 2026-10-25: 02:00 to 02:59 comes twice.
  const night = ["01:30-03:30"];
  expect([utc("2026-03-29T00:29"), utc("2026-03-29T00:30"), utc("2026-03-29T01:29"), utc("2026-03-29T01:30")].map((now) => isOpen(night, now))).toEqual([
    false, true, true, false,
  ]);
  const twice = ["02:15-02:45"];
  expect(["00:14", "00:15", "00:44", "00:45", "01:15", "01:44", "01:45"].map((time) => isOpen(twice, utc(`2026-10-25T${time}`)))).toEqual([
    false, true, true, false, true, true, false,
  ]);
});

test("[AGENT-32] of the limits for some hours the first that is open counts, otherwise the usual one", () => {
  const settings = {
    bytesPerSecond: 5_000,
    rates: [{ window: "mon-fri 08:00-18:00", bytesPerSecond: 1_000 }, { window: "07:00-20:00", bytesPerSecond: null }],
  };
  expect(rateAt(settings, at(23, "12:00"))).toBe(1_000);
  expect(rateAt(settings, at(23, "19:00"))).toBeUndefined();
  expect(rateAt(settings, at(23, "21:00"))).toBe(5_000);
  expect(rateAt({ ...settings, bytesPerSecond: null }, at(28, "03:00"))).toBeUndefined();
});
