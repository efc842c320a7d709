/** When a link may work. Local time of the host; a clock that is set is followed at the next look. */
import { parseWindow } from "#hub/agents/link.ts";

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
