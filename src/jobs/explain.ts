/** Why a job is where it is, for people. Pure. */
import { AGING_STEP_MS, byTurn, effectivePriority, starvationBoundMs, waitedMs } from "#jobs/aging.ts";
import type { Breaker } from "#jobs/breaker.ts";
import { type Block, type Candidate, type Circumstances, blockOf } from "#jobs/choose.ts";
import { type Job, PRIORITIES } from "#jobs/job.ts";

/** Jobs before it that are named. */
const AHEAD_SHOWN_MAX = 10;

export type Explanation = {
  /** One sentence. */
  readonly reason: string;
  readonly base: number;
  /** With its age. */
  readonly effective: number;
  readonly waitedMs: number;
  readonly agingStepMs: number;
  /** After so much waiting no job that comes later goes before it. */
  readonly starvationBoundMs: number;
  /** Of the jobs that wait, how many have their turn before it, and the first of them. */
  readonly ahead: number;
  readonly aheadJobs: readonly number[];
  readonly breaker: (Pick<Breaker, "state" | "failures" | "untilMs"> & { readonly dependency: string }) | undefined;
};

export function explain(job: Job, waiting: readonly Candidate[], at: Circumstances): Explanation {
  const { nowMs } = at;
  const isWaiting = job.state === "queued" || job.state === "waiting";
  const order = waiting.toSorted(byTurn(nowMs));
  const place = order.findIndex(({ id }) => id === job.id);
  const before = place < 0 ? [] : order.slice(0, place);
  const breaker = job.dependency === undefined ? undefined : at.breakerOf(job.dependency);
  const block = isWaiting ? blockOf(job, at) : undefined;
  return {
    reason: isWaiting ? waitingReason(job, block, before.length, nowMs) : otherReason(job),
    base: PRIORITIES[job.priority],
    effective: isWaiting ? effectivePriority(job, nowMs) : PRIORITIES[job.priority],
    waitedMs: isWaiting ? waitedMs(job.sinceMs, nowMs) : 0,
    agingStepMs: AGING_STEP_MS,
    starvationBoundMs: starvationBoundMs(job.priority),
    ahead: before.length,
    aheadJobs: before.slice(0, AHEAD_SHOWN_MAX).map(({ id }) => id),
    breaker:
      breaker === undefined
        ? undefined
        : { dependency: job.dependency!, state: breaker.state, failures: breaker.failures, untilMs: breaker.untilMs },
  };
}

const seconds = (ms: number): string => `${Math.max(0, Math.ceil(ms / 1000))} s`;
const named = (ids: readonly number[]): string => `${ids.length === 1 ? "job" : "jobs"} ${ids.slice(0, 5).join(", ")}`;

function waitingReason(job: Job, block: Block | undefined, before: number, nowMs: number): string {
  if (block === undefined) return before === 0 ? "it begins now" : `it can begin; ${before} more urgent or older ones go first`;
  switch (block.reason) {
    case "unknown-kind":
      return `no hub that runs knows jobs of the kind "${job.kind}"`;
    case "retry":
      return `try ${job.tries} of ${job.triesMax} failed (${job.error?.message ?? "?"}); again in ${seconds(block.untilMs - nowMs)}`;
    case "breaker": {
      const { state, failures, untilMs, probe } = block.breaker;
      const what = `${block.dependency} failed ${failures} times in a row`;
      if (state === "half-open") return `${what}; job ${probe} tries whether it is back`;
      return `${what}; it is tried again in ${seconds(untilMs - nowMs)}`;
    }
    case "kind":
      return `${block.limit} of the kind "${job.kind}" may run at once: ${named(block.by)}`;
    case "host":
      return `${block.limit} of the kind "${job.kind}" may run at once for the host ${job.host}: ${named(block.by)}`;
    case "space":
      return `${block.limit} of the kind "${job.kind}" may run at once for the space ${job.space}: ${named(block.by)}`;
    case "slots":
      return `the hub runs ${block.limit} jobs at once: ${named(block.by)}`;
  }
}

function otherReason({ state, cancelAsked, error, tries, triesMax, owner }: Job): string {
  switch (state) {
    case "running":
      return cancelAsked ? "it was asked to end, and will at its next safe point" : `it runs (in process ${owner})`;
    case "done":
      return "it is done";
    case "cancelled":
      return "it was cancelled";
    default:
      return `it failed${tries > 1 || triesMax === tries ? ` in ${tries} of ${triesMax} tries` : ""}: ${error?.message ?? "?"}`;
  }
}
