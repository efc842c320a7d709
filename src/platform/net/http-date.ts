/** Dates as HTTP has them (RFC 9110 §5.6.7), and what of a file's time they can say. Pure. */

/** "Sun, 06 Nov 1994 08:49:37 GMT" and, of old clients, "Sunday, 06-Nov-94 08:49:37 GMT". */
const WITH_ZONE = /^[A-Za-z]{3,9}, \d\d[ -][A-Za-z]{3}[ -]\d\d(?:\d\d)? \d\d:\d\d:\d\d GMT$/;
/** "Sun Nov  6 08:49:37 1994" has no zone: it is UTC, wherever the hub stands. */
const ASCTIME = /^[A-Za-z]{3} ([A-Za-z]{3}) ([ \d]\d) (\d\d:\d\d:\d\d) (\d{4})$/;

/** Milliseconds since 1970; NaN for what is no such date, which is then no condition. */
export function httpDateMs(text: string): number {
  const date = text.trim();
  const match = ASCTIME.exec(date);
  if (match !== null) return Date.parse(`${match[2]!.trim()} ${match[1]} ${match[4]} ${match[3]} GMT`);
  return WITH_ZONE.test(date) ? Date.parse(date) : Number.NaN;
}

/** Whole milliseconds, and seconds, that have passed at a time. Division alone goes up before 1970. */
export const passedMs = (ns: bigint): number => Number(floored(ns, 1_000_000n));
export const passedSeconds = (ns: bigint): number => Number(floored(ns, 1_000_000_000n));

const floored = (ns: bigint, unit: bigint): bigint => ns / unit - (ns % unit < 0n ? 1n : 0n);

/** How long a Retry-After asks to wait, in seconds or until a date (§10.2.3); undefined: it is none, or says nothing. */
export function retryAfterMs(text: string | null | undefined, nowMs: number): number | undefined {
  if (text === null || text === undefined) return undefined;
  if (/^\s*\d{1,10}\s*$/.test(text)) return Number(text) * 1000;
  const ms = httpDateMs(text);
  return Number.isNaN(ms) ? undefined : Math.max(0, ms - nowMs);
}
