/** Jobs and schedules. Who may do what with a job hangs on its kind, which the service knows by its number. */
import * as z from "zod";
import { JOB_KINDS, type JobKindName, kindNamed } from "#hub/jobs/kinds.ts";
import { type Job, JOB_STATES, PRIORITY_NAMES, TRIES_MAX } from "#jobs/job.ts";
import type { Right } from "#jobs/kind.ts";
import { SCHEDULE_NAME } from "#jobs/schedule.ts";
import {
  EXPLANATION_JSON, JOB_JSON, SCHEDULE_JSON, SCHEDULE_SETTINGS, breakerJson, jobJson, scheduleJson,
} from "#gateway/api/job-shapes.ts";
import { JOB_EVENT_ROUTES } from "#gateway/api/routes-job-events.ts";
import { type AnyRoute, type Call, type Method, actorOf, json, nothing, route } from "#gateway/api/route.ts";
import { SEQUENCE, whole } from "#gateway/api/shapes.ts";

/** Jobs of one page. */
const JOBS_MAX = 500;
const NEWEST = Number.MAX_SAFE_INTEGER;
const TIME = z.iso.datetime();
const NAME = z.string().min(1).max(100);

/** One object schema for each kind, with its own arguments. */
function byKind<S extends z.ZodRawShape>(shape: S) {
  const options = Object.values(JOB_KINDS).map(({ name, args, summary }) =>
    z.strictObject({ kind: z.literal(name), args: (args as z.ZodType).prefault({}), ...shape }).describe(summary),
  );
  type Option = z.ZodObject<{ kind: z.ZodLiteral<string>; args: z.ZodType } & S>;
  return z.discriminatedUnion("kind", options as unknown as [Option, ...Option[]]);
}

const NEW_JOB = byKind({
  priority: z.enum(PRIORITY_NAMES).optional().describe("Otherwise that of the kind"),
  tries: z.int().min(1).max(TRIES_MAX).optional(),
  deadline: TIME.optional().describe("Of equals the earlier one goes first"),
});
const NEW_SCHEDULE = byKind(SCHEDULE_SETTINGS);
const BY_ID = z.object({ id: whole(1, NEWEST) });
const BY_NAME = z.object({ name: z.string().regex(SCHEDULE_NAME, "no name of a schedule") });

type JobCall = Call<z.infer<typeof BY_ID>, Record<string, never>, undefined>;

/** A call about one job, of which the service decides who may. Its answer is the job as it is then. */
function aboutJob(id: string, method: Method, path: string, summary: string, work: (call: JobCall) => Promise<Job>): AnyRoute {
  return route({
    id,
    method,
    path,
    summary,
    allowed: "known",
    params: BY_ID,
    answers: { 200: { description: "The job", schema: JOB_JSON } },
    handle: async (call) => json(200, jobJson(await work(call))),
  });
}

export const JOB_ROUTES: readonly AnyRoute[] = [
  route({
    id: "job.list",
    method: "GET",
    path: "/v1/jobs",
    summary: "Jobs that the caller may see, newest first",
    allowed: "known",
    query: z.strictObject({
      state: z.enum(JOB_STATES).optional(),
      kind: NAME.optional(),
      host: NAME.optional(),
      space: NAME.optional(),
      schedule: NAME.optional(),
      before: whole(1, NEWEST).optional(),
      limit: whole(1, JOBS_MAX).default(100),
    }),
    answers: {
      200: {
        description: "A page",
        schema: z.object({ jobs: z.array(JOB_JSON), nextBefore: SEQUENCE.optional().describe("Absent: there are no older ones") }),
      },
    },
    async handle({ services, who, query }) {
      const { before, limit, ...filter } = query;
      const found = await services.jobs.list(who, filter, before, limit + 1);
      const shown = found.slice(0, limit);
      return json(200, {
        jobs: shown.map(jobJson),
        ...(found.length > limit ? { nextBefore: shown.at(-1)!.id } : {}),
      });
    },
  }),
  route({
    id: "job.submit",
    method: "POST",
    path: "/v1/jobs",
    summary: "Put a job into the queue; it acts for the caller, whose rights are looked at again when it begins",
    allowed: ({ body }) => rightsOf(body.kind, body.args),
    body: NEW_JOB,
    answers: { 201: { description: "The job", schema: JOB_JSON } },
    async handle(call) {
      const { services, who, body } = call;
      const { kind, args, priority, tries, deadline } = body;
      const deadlineMs = deadline === undefined ? undefined : Date.parse(deadline);
      return json(201, jobJson(await services.jobs.submit(who, actorOf(call), { kind, args, priority, tries, deadlineMs })));
    },
  }),
  aboutJob("job.get", "GET", "/v1/jobs/{id}", "One job, with how far it is", ({ services, who, params }) =>
    services.jobs.job(who, params.id),
  ),
  aboutJob("job.cancel", "POST", "/v1/jobs/{id}/cancel", "End a job: at once when it waits, where it is when it runs", (call) =>
    call.services.jobs.cancel(call.who, actorOf(call), call.params.id),
  ),
  aboutJob(
    "job.retry", "POST", "/v1/jobs/{id}/retry",
    "Begin a job again that failed or was cancelled, from its checkpoint; or one that waits, now",
    (call) => call.services.jobs.retry(call.who, actorOf(call), call.params.id),
  ),
  route({
    id: "job.explain",
    method: "GET",
    path: "/v1/jobs/{id}/explain",
    summary: "Why a job is where it is, and how long it can stay there",
    allowed: "known",
    params: BY_ID,
    answers: { 200: { description: "The explanation", schema: EXPLANATION_JSON } },
    async handle({ services, who, params }) {
      const { job, explanation } = await services.jobs.explain(who, params.id);
      const { waitedMs, agingStepMs, starvationBoundMs, breaker, ...plain } = explanation;
      return json(200, {
        job: jobJson(job),
        ...plain,
        waitedSeconds: Math.round(waitedMs / 1000),
        agingStepSeconds: agingStepMs / 1000,
        starvationBoundSeconds: starvationBoundMs / 1000,
        ...(breaker === undefined ? {} : { breaker: breakerJson(breaker) }),
      });
    },
  }),
  route({
    id: "schedule.list",
    method: "GET",
    path: "/v1/schedules",
    summary: "Schedules of the kinds of jobs that the caller may read, by name",
    allowed: "known",
    answers: { 200: { description: "All", schema: z.object({ schedules: z.array(SCHEDULE_JSON) }) } },
    async handle({ services, who }) {
      return json(200, { schedules: (await services.jobs.schedules(who)).map(scheduleJson) });
    },
  }),
  route({
    id: "schedule.put",
    method: "PUT",
    path: "/v1/schedules/{name}",
    summary: "Make a schedule, or replace it; its jobs act for who did so last",
    allowed: ({ body }) => [
      { action: "manage", resource: { type: "job", name: body.kind } },
      ...rightsOf(body.kind, body.args),
    ],
    params: BY_NAME,
    body: NEW_SCHEDULE,
    answers: { 200: { description: "The schedule", schema: SCHEDULE_JSON } },
    async handle(call) {
      const { spreadSeconds, ...settings } = call.body;
      const whole = { ...settings, args: settings.args as unknown, spreadMs: spreadSeconds * 1000 };
      return json(200, scheduleJson(await call.services.jobs.putSchedule(call.who, actorOf(call), call.params.name, whole)));
    },
  }),
  route({
    id: "schedule.remove",
    method: "DELETE",
    path: "/v1/schedules/{name}",
    summary: "Remove a schedule; jobs that it made stay",
    allowed: "known",
    params: BY_NAME,
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.jobs.removeSchedule(call.who, actorOf(call), call.params.name);
      return nothing();
    },
  }),
  route({
    id: "schedule.run",
    method: "POST",
    path: "/v1/schedules/{name}/run",
    summary: "A job of it now, beside those of its times",
    allowed: "known",
    params: BY_NAME,
    answers: { 201: { description: "The job", schema: JOB_JSON } },
    async handle(call) {
      return json(201, jobJson(await call.services.jobs.runSchedule(call.who, actorOf(call), call.params.name)));
    },
  }),
  ...JOB_EVENT_ROUTES,
];

function rightsOf(kind: string, args: unknown): readonly Right[] {
  return kindNamed(kind as JobKindName)!.rights(args as never);
}
