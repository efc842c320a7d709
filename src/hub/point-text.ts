/** A moment in the life of a space as people write it. */
import type { Point } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { isCalendarDay } from "#platform/calendar.ts";

export const POINT_PATTERN = /^(\d{1,16}|\d{4}-.*Z|@.+)$/;
export const POINT_FORMS = "a sequence (41), a time (2026-11-20T23:59:07Z) or a restore point (@NAME)";

/** What the text says by itself; a restore point has to be looked up. @throws {SynclineError} USAGE */
export function parsePoint(text: string): Point | { readonly restorePoint: string } {
  if (text.startsWith("@")) return { restorePoint: text.slice(1) };
  if (/^\d+$/.test(text)) return { sequence: Number(text) };
  const timeMs = Date.parse(text);
  // On another day something else would come back than was there.
  if (!Number.isNaN(timeMs) && isCalendarDay(text)) return { timeMs };
  throw new SynclineError({
    code: "USAGE",
    op: "read request",
    message: `"${text}" is no point in time`,
    hint: `write ${POINT_FORMS}`,
  });
}
