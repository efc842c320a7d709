/** Times of files as FTP writes them (RFC 3659 §2.3): YYYYMMDDHHMMSS with a fraction, always UTC. */

const TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:\.(\d{1,9})\d*)?$/;
const NS_PER_SECOND = 1_000_000_000n;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** `ls` shows the time of day of what is younger, the year of what is older. */
const RECENT_MS = 183 * 86_400_000;
/** The last moment of the year 9999, and the first of the year 1. */
const NS_MAX = 253_402_300_799n * NS_PER_SECOND;
const NS_MIN = -62_135_596_800n * NS_PER_SECOND;

/** Nanoseconds since 1970; seconds may be missing. Undefined: it is no time, or a day that there is not. */
export function parseFtpTime(text: string): bigint | undefined {
  const match = TIME.exec(text);
  if (match === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map((part) => Number(part ?? 0));
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  // A leap second counts as the first of the next minute.
  date.setUTCHours(hour, minute, second);
  const isDay = date.getUTCMonth() === month - 1 || (month === 12 && date.getUTCMonth() === 0);
  const isReal = year > 0 && month >= 1 && month <= 12 && day >= 1 && isDay && hour < 24 && minute < 60 && second <= 60;
  if (!isReal || (date.getUTCDate() !== day && second < 60)) return undefined;
  const ns = BigInt(date.getTime()) * 1_000_000n + BigInt((match[7] ?? "0").padEnd(9, "0"));
  return ns > NS_MAX + NS_PER_SECOND - 1n ? undefined : ns;
}

/** With a fraction of milliseconds where there is one. */
export function ftpTimeText(mtimeNs: bigint): string {
  const date = dateOf(mtimeNs);
  const seconds = date.toISOString().slice(0, 19).replaceAll(/[-:T]/g, "");
  const ms = date.getUTCMilliseconds();
  return ms === 0 ? seconds : `${seconds}.${String(ms).padStart(3, "0")}`;
}

/** "Nov 26 06:48" or "Nov 26  2024", as `ls -l` writes it. */
export function listTimeText(mtimeNs: bigint, nowMs: number): string {
  const date = dateOf(mtimeNs);
  const age = nowMs - date.getTime();
  const day = `${MONTHS[date.getUTCMonth()]} ${String(date.getUTCDate()).padStart(2)}`;
  const isRecent = age < RECENT_MS && age > -86_400_000;
  const two = (value: number): string => String(value).padStart(2, "0");
  const time = isRecent
    ? `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`
    : String(date.getUTCFullYear()).padStart(5);
  return `${day} ${time}`;
}

/** Disks hold times that no calendar of four digits has; the nearest that has one stands for them. */
function dateOf(ns: bigint): Date {
  const within = ns > NS_MAX ? NS_MAX : ns < NS_MIN ? NS_MIN : ns;
  // Down, also before 1970.
  const ms = within / 1_000_000n - (within < 0n && within % 1_000_000n !== 0n ? 1n : 0n);
  return new Date(Number(ms));
}
