import { expect, test } from "bun:test";
import { parsePoint } from "#hub/point-text.ts";

test("[RESTORE-4] a point in time is on a day that there is", () => {
  expect(parsePoint("2024-02-29T23:59:59.999Z")).toEqual({ timeMs: 1_709_251_199_999 });
  expect(parsePoint("2026-11-20T23:59:07Z")).toEqual({ timeMs: 1_795_219_147_000 });
  for (const text of ["2026-02-29T00:00:00Z", "2026-02-30T10:00:00Z", "2026-11-31T00:00:00Z", "2026-13-01T00:00:00Z"]) {
    expect(() => parsePoint(text)).toThrow("is no point in time");
  }
});
