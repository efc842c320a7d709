/**
 * Whose turn it is: base priority plus age. Pure.
 *
 * A job rises by one for each step it waits, up to the highest base priority. Among equals the earlier deadline goes
 * first; a job without one counts as due at the end of its own starvation bound, and no deadline is set in the past. So
 * from then on nobody who comes later goes before it, however urgent and however many they are.
 */
import { PRIORITIES, PRIORITY_NAMES, type Priority } from "#jobs/job.ts";

/** Waiting for so long raises a job by one. */
export const AGING_STEP_MS = 60_000;

const BASE_MAX = Math.max(...PRIORITY_NAMES.map((name) => PRIORITIES[name]));

export type Aged = {
  readonly id: number;
  readonly priority: Priority;
  readonly sinceMs: number;
  readonly deadlineMs: number | undefined;
};

/** Where the wall clock was put back nobody has waited yet. */
export const waitedMs = (sinceMs: number, nowMs: number): number => Math.max(0, nowMs - sinceMs);

export function effectivePriority({ priority, sinceMs }: Pick<Aged, "priority" | "sinceMs">, nowMs: number): number {
  const base = PRIORITIES[priority];
  return base + Math.min(BASE_MAX - base, Math.floor(waitedMs(sinceMs, nowMs) / AGING_STEP_MS));
}

/** Milliseconds of waiting after which no job that comes later goes first, as long as both could run. */
export function starvationBoundMs(priority: Priority): number {
  return (BASE_MAX - PRIORITIES[priority]) * AGING_STEP_MS;
}

function dueMs({ priority, sinceMs, deadlineMs }: Aged): number {
  return deadlineMs ?? sinceMs + starvationBoundMs(priority);
}

/** For sorting: whose turn is first comes first. */
export function byTurn(nowMs: number): (a: Aged, b: Aged) => number {
  return (a, b) =>
    effectivePriority(b, nowMs) - effectivePriority(a, nowMs) ||
    dueMs(a) - dueMs(b) ||
    a.sinceMs - b.sinceMs ||
    a.id - b.id;
}
