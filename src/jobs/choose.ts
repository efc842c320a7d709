/** Which job begins next, and why the others do not. Pure; the queue asks it for every start, and people by `explain`. */
import { type Aged, byTurn } from "#jobs/aging.ts";
import { BACKOFF_LONGEST_MS, isDue } from "#jobs/backoff.ts";
import { type Breaker, mayTry } from "#jobs/breaker.ts";
import { PRIORITIES, type Priority, type Subject } from "#jobs/job.ts";
import type { KindLimits } from "#jobs/kind.ts";

export type Candidate = Aged & Subject & { readonly kind: string; readonly notBeforeMs: number | undefined };

export type Occupant = Subject & {
  readonly id: number;
  readonly kind: string;
  readonly priority: Priority;
  readonly owner: string | undefined;
};

export type Circumstances = {
  readonly nowMs: number;
  /** The process that asks, and how many jobs it runs at once. */
  readonly owner: string;
  readonly slots: number;
  readonly running: readonly Occupant[];
  /** Undefined: this program does not know the kind. */
  readonly limitsOf: (kind: string) => KindLimits | undefined;
  readonly breakerOf: (dependency: string) => Breaker | undefined;
};

/** Why a job does not begin now. */
export type Block =
  | { readonly reason: "unknown-kind" }
  | { readonly reason: "retry"; readonly untilMs: number }
  | { readonly reason: "breaker"; readonly dependency: string; readonly breaker: Breaker }
  | { readonly reason: "kind" | "host" | "space"; readonly limit: number; readonly by: readonly number[] }
  | { readonly reason: "slots"; readonly limit: number; readonly by: readonly number[] };

export function blockOf(job: Candidate, at: Circumstances): Block | undefined {
  const limits = at.limitsOf(job.kind);
  if (limits === undefined) return { reason: "unknown-kind" };
  const { notBeforeMs, dependency } = job;
  if (notBeforeMs !== undefined && !isDue(notBeforeMs, at.nowMs, BACKOFF_LONGEST_MS)) {
    return { reason: "retry", untilMs: notBeforeMs };
  }
  const breaker = dependency === undefined ? undefined : at.breakerOf(dependency);
  // A probe that does not run any more, however it went, keeps nobody out.
  const isProbeGone = breaker?.state === "half-open" && !at.running.some(({ id }) => id === breaker.probe);
  if (breaker !== undefined && !isProbeGone && !mayTry(breaker, at.nowMs)) {
    return { reason: "breaker", dependency: dependency!, breaker };
  }
  const same = at.running.filter(({ kind }) => kind === job.kind);
  const full = (reason: "kind" | "host" | "space", limit: number | undefined, rows: readonly Occupant[]): Block | undefined =>
    limit !== undefined && rows.length >= limit ? { reason, limit, by: rows.map(({ id }) => id) } : undefined;
  const ofHost = same.filter(({ host }) => job.host !== undefined && host === job.host);
  const ofSpace = same.filter(({ space }) => job.space !== undefined && space === job.space);
  const mine = at.running.filter(({ owner }) => owner === at.owner);
  return (
    full("kind", limits.all, same) ??
    full("host", limits.host, ofHost) ??
    full("space", limits.space, ofSpace) ??
    (mine.length >= at.slots ? { reason: "slots", limit: at.slots, by: mine.map(({ id }) => id) } : undefined)
  );
}

/** The one whose turn it is, of those that can begin. */
export function choose<C extends Candidate>(waiting: readonly C[], at: Circumstances): C | undefined {
  return waiting.toSorted(byTurn(at.nowMs)).find((job) => blockOf(job, at) === undefined);
}

export type Preemptible = Occupant & { readonly startedMs: number };

/**
 * A job that has to give way so that a more urgent one can begin, by base priority: age brings a job its turn, and does
 * not throw out others. The least urgent of those that are enough, and of these the one that began last.
 * @param mayYield those that can give way and have run for their time
 */
export function preemption(
  waiting: readonly Candidate[],
  mayYield: readonly Preemptible[],
  at: Circumstances,
): { readonly victim: number; readonly by: number } | undefined {
  const victims = mayYield.toSorted((a, b) => PRIORITIES[a.priority] - PRIORITIES[b.priority] || b.startedMs - a.startedMs);
  for (const job of waiting.toSorted(byTurn(at.nowMs))) {
    for (const { id, priority } of victims) {
      if (PRIORITIES[priority] >= PRIORITIES[job.priority]) break;
      const running = at.running.filter((one) => one.id !== id);
      if (blockOf(job, { ...at, running }) === undefined) return { victim: id, by: job.id };
    }
  }
  return undefined;
}
