/** When something ends, as people write it and read it. */
import { readDurationMs } from "#config/quantities.ts";
import type { Context } from "#cli/context.ts";
import { formatAgo, formatMoment } from "#cli/format.ts";
import { usage } from "#cli/values.ts";
import { isCalendarDay } from "#platform/calendar.ts";

/** A span from now, or a moment. RFC 3339. */
export function expiresOf({ parsed }: Context): string | undefined {
  const { expires } = parsed.given;
  if (expires === undefined) return undefined;
  const span = /^\d{4}-/.test(expires) ? undefined : readDurationMs(expires);
  const isDay = span !== undefined || isCalendarDay(expires);
  const date = new Date(span === undefined ? Date.parse(expires) : Date.now() + span);
  if (!isDay || Number.isNaN(date.getTime())) throw usage(`--expires: "${expires}" is no time`, "write 90d, or 2026-12-31T00:00:00Z");
  if (date.getTime() <= Date.now()) throw usage(`--expires: ${formatMoment(date.getTime())} is over`);
  return date.toISOString();
}

/** "expires in 3 d". */
export function expiry(expires: string | undefined): string {
  if (expires === undefined) return "never expires";
  const leftMs = Date.parse(expires) - Date.now();
  return leftMs <= 0 ? `expired ${formatAgo(-leftMs)}` : `expires ${formatAgo(-leftMs)}`;
}
