/**
 * A breaker for each thing that jobs cannot do without, a host say: after some failures in a row nobody tries any more,
 * then one job tries whether it is back. Pure: states in, states out; the queue keeps them.
 */
import { isDue } from "#jobs/backoff.ts";

/** Failures in a row that open it. */
export const BREAKER_FAILURES = 3;
/** Time until it is tried again: doubles with every try that fails. */
export const OPEN_FIRST_MS = 15_000;
export const OPEN_LONGEST_MS = 2 * 60_000;

export type Breaker = {
  readonly state: "closed" | "open" | "half-open";
  /** In a row. */
  readonly failures: number;
  /** How often it opened without closing in between. */
  readonly opens: number;
  /** Open: not tried before. */
  readonly untilMs: number;
  /** Half-open: the job that tries. */
  readonly probe: number | undefined;
};

export const CLOSED: Breaker = { state: "closed", failures: 0, opens: 0, untilMs: 0, probe: undefined };

/** Whether a job may begin now. */
export function mayTry({ state, untilMs }: Breaker, nowMs: number): boolean {
  return state === "closed" || (state === "open" && isDue(untilMs, nowMs, OPEN_LONGEST_MS));
}

/** A job begins that mayTry() let through. */
export function begun(breaker: Breaker, job: number): Breaker {
  return breaker.state === "closed" ? breaker : { ...breaker, state: "half-open", probe: job };
}

export function failed(breaker: Breaker, nowMs: number): Breaker {
  const failures = breaker.failures + 1;
  // Jobs that began before it opened fail late; they say nothing new.
  if (breaker.state === "open") return { ...breaker, failures };
  if (breaker.state === "closed" && failures < BREAKER_FAILURES) return { ...breaker, failures };
  const openMs = Math.min(OPEN_LONGEST_MS, OPEN_FIRST_MS * 2 ** Math.min(breaker.opens, 30));
  return { state: "open", failures, opens: breaker.opens + 1, untilMs: nowMs + openMs, probe: undefined };
}

/** The job that tried ended without an answer (it was cancelled, or its hub ended): the next one may try at once. */
export function abandoned(breaker: Breaker, job: number, nowMs: number): Breaker {
  if (breaker.probe !== job) return breaker;
  return { ...breaker, state: "open", untilMs: nowMs, probe: undefined };
}
