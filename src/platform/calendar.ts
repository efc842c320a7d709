/** Days as people and protocols write them. Pure. */

/**
 * Is it a day of the calendar? Date.parse takes 30 February for 2 March, which nobody has meant.
 * @param text begins with YYYY-MM-DD; what comes after it is not looked at
 */
export function isCalendarDay(text: string): boolean {
  const day = text.slice(0, 10);
  const ms = Date.parse(`${day}T00:00:00Z`);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(day);
}
