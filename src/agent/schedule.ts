/**
 * When a link may work, and how fast. Local time of the host, as its clocks show it: on the days when they are put
 * forward or back a window is as long as it looks on them. A clock that is set is followed at the next look.
 */
import { type LinkSettings, parseWindow } from "#hub/agents/link.ts";

const DAY_MINUTES = 1440;

/** Is one of the windows open? Without any it always is. What cannot be read was refused before and opens nothing. */
export function isOpen(windows: readonly string[], now: Date): boolean {
  if (windows.length === 0) return true;
  const minute = now.getHours() * 60 + now.getMinutes();
  const day = now.getDay();
  return windows.some((text) => {
    const window = parseWindow(text);
    if (window === undefined) return false;
    const { days, fromMinute, minutes } = window;
    const isToday = days.includes(day) && minute >= fromMinute && minute < fromMinute + minutes;
    // One that began yesterday and goes on over midnight.
    const yesterday = (day + 6) % 7;
    return isToday || (days.includes(yesterday) && minute + DAY_MINUTES < fromMinute + minutes);
  });
}

/** Content bytes a second that a link may move now; undefined: no limit. Of the windows that are open the first counts. */
export function rateAt({ rates, bytesPerSecond }: Pick<LinkSettings, "rates" | "bytesPerSecond">, now: Date): number | undefined {
  const open = rates.find(({ window }) => isOpen([window], now));
  return (open === undefined ? bytesPerSecond : open.bytesPerSecond) ?? undefined;
}
