/** How long a failed try is waited for: exponential, with full jitter, so that those who failed together part. Pure. */

/** The wait after the first failure is drawn from 0 up to this, and doubles. */
const FIRST_MS = 10_000;
export const BACKOFF_LONGEST_MS = 10 * 60_000;

/**
 * @param failures so far, from 1 on
 * @param draw 0 to 1
 */
export function backoffMs(failures: number, draw: number): number {
  const most = Math.min(BACKOFF_LONGEST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 30));
  return Math.floor(most * draw);
}

/** Whether what was put off until then is due. A clock that was put back makes nobody wait longer than the longest. */
export function isDue(untilMs: number, nowMs: number, longestMs: number): boolean {
  return untilMs <= nowMs || untilMs - nowMs > longestMs;
}
