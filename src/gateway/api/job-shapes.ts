/** The JSON of jobs and schedules. */
import * as z from "zod";
import type { Explanation } from "#jobs/explain.ts";
import { type Job, JOB_STATES, PRIORITY_NAMES } from "#jobs/job.ts";
import { CATCH_UP_MAX, MISFIRES, OVERLAPS, SPREAD_MS_MAX, type Schedule } from "#jobs/schedule.ts";
import { SEQUENCE } from "#gateway/api/shapes.ts";

const TIME = z.iso.datetime();
const iso = (ms: number): string => new Date(ms).toISOString();

const PROGRESS = z.object({
  done: z.number(),
  total: z.number().optional(),
  unit: z.string(),
  phase: z.string().optional(),
});

export const JOB_JSON = z
  .object({
    id: SEQUENCE,
    kind: z.string(),
    args: z.unknown().describe("As its kind takes them"),
    state: z.enum(JOB_STATES),
    priority: z.enum(PRIORITY_NAMES),
    host: z.string().optional(),
    space: z.string().optional(),
    schedule: z.string().optional().describe("That made it"),
    submittedBy: z.string(),
    traceId: z.string(),
    submitted: TIME,
    deadline: TIME.optional(),
    started: TIME.optional(),
    ended: TIME.optional(),
    notBefore: TIME.optional().describe("While it waits for its next try"),
    tries: SEQUENCE.describe("That failed so far"),
    triesMax: SEQUENCE,
    preempted: SEQUENCE.describe("How often it gave way"),
    cancelAsked: z.boolean(),
    progress: PROGRESS.optional(),
    checkpoint: z.unknown().optional().describe("From where it goes on"),
    result: z.unknown().optional(),
    error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }).optional(),
  })
  .meta({ id: "Job" });

/** Of a schedule, as it is put. */
export const SCHEDULE_SETTINGS = {
  cron: z.string().max(100).describe("Five fields, or @hourly, @daily, @weekly, @monthly"),
  zone: z.string().max(100).default("UTC"),
  priority: z.enum(PRIORITY_NAMES).default("bulk"),
  misfire: z.enum(MISFIRES).default("run-once").describe("What becomes of times when no hub was there"),
  catchUp: z.int().min(1).max(CATCH_UP_MAX).default(1).describe("With catch-up: the latest so many"),
  overlap: z.enum(OVERLAPS).default("forbid").describe("While a job of it is not over"),
  enabled: z.boolean().default(true),
  spreadSeconds: z.int().min(0).max(SPREAD_MS_MAX / 1000).default(0).describe("Each time is put off by a draw up to this"),
};

export const SCHEDULE_JSON = z
  .object({
    name: z.string(),
    origin: z.enum(["hub", "user"]).describe("The hub's own can be changed and switched off, not removed"),
    submittedBy: z.string().describe("Whom its jobs act for"),
    kind: z.string(),
    args: z.unknown(),
    ...z.object(SCHEDULE_SETTINGS).shape,
    next: TIME.optional(),
    last: TIME.optional(),
    lastJob: SEQUENCE.optional(),
    lastOutcome: z.string().optional(),
  })
  .meta({ id: "Schedule" });

export const EXPLANATION_JSON = z.object({
  job: JOB_JSON,
  reason: z.string().describe("Why it is where it is"),
  base: z.number().describe("Priority without age"),
  effective: z.number().describe("With it"),
  waitedSeconds: z.number(),
  agingStepSeconds: z.number().describe("So much waiting raises it by one"),
  starvationBoundSeconds: z.number().describe("After so much waiting no job that comes later goes before it"),
  ahead: SEQUENCE.describe("Waiting jobs whose turn is before it"),
  aheadJobs: z.array(SEQUENCE),
  breaker: z.object({ dependency: z.string(), state: z.string(), failures: SEQUENCE, until: TIME }).optional(),
});

export type JobJson = z.infer<typeof JOB_JSON>;
export type ScheduleJson = z.infer<typeof SCHEDULE_JSON>;
export type ExplanationJson = z.infer<typeof EXPLANATION_JSON>;

export function breakerJson({ dependency, state, failures, untilMs }: NonNullable<Explanation["breaker"]>) {
  return { dependency, state, failures, until: iso(untilMs) };
}

export function jobJson(job: Job): JobJson {
  const { id, kind, args, state, priority, host, space, schedule, submitter, traceId, error } = job;
  const { tries, triesMax, preempted, cancelAsked, progress, checkpoint, result } = job;
  const at = (name: string, ms: number | undefined) => (ms === undefined ? {} : { [name]: iso(ms) });
  const hint = error?.hint === undefined ? {} : { hint: error.hint };
  return {
    id, kind, args, state, priority, host, space, schedule, traceId, tries, triesMax, preempted, cancelAsked,
    progress, checkpoint, result,
    submittedBy: submitter.id,
    submitted: iso(job.submittedMs),
    ...at("deadline", job.deadlineMs),
    ...at("started", job.startedMs),
    ...at("ended", job.endedMs),
    ...at("notBefore", job.notBeforeMs),
    ...(error === undefined ? {} : { error: { code: error.code, message: error.message, ...hint } }),
  };
}

export function scheduleJson(schedule: Schedule): ScheduleJson {
  const { name, origin, submitter, kind, args, cron, zone, priority, misfire, catchUp, overlap, enabled } = schedule;
  const { spreadMs, nextMs, fireMs, lastMs, lastJob, lastOutcome } = schedule;
  const next = fireMs ?? nextMs;
  return {
    name, origin, kind, args, cron, zone, priority, misfire, catchUp, overlap, enabled, lastJob, lastOutcome,
    submittedBy: submitter.id,
    spreadSeconds: Math.floor(spreadMs / 1000),
    ...(next === undefined || !enabled ? {} : { next: iso(next) }),
    ...(lastMs === undefined ? {} : { last: iso(lastMs) }),
  };
}
