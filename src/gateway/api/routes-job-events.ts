/**
 * What becomes of jobs as server-sent events. Nothing is queued for a listener but the numbers of jobs that have changed:
 * one that is slow hears of each job once, as it is then.
 */
import { SynclineError } from "#model/error.ts";
import { eventStream, eventText } from "#gateway/api/event-stream.ts";
import { jobJson } from "#gateway/api/job-shapes.ts";
import { type AnyRoute, route } from "#gateway/api/route.ts";

export const JOB_EVENT_ROUTES: readonly AnyRoute[] = [
  route({
    id: "job.events",
    method: "GET",
    path: "/v1/job-events",
    summary:
      "Jobs that the caller may see, as their state changes in the hub's process (server-sent events; data is a Job). What " +
      "changed while nobody listened is not told: list the jobs after the hello",
    allowed: "known",
    answers: { 200: { description: "Events: hello, job", media: "text/event-stream" } },
    handle(call) {
      const { jobs } = call.services;
      const changed = new Set<number>();
      const stream = eventStream(call, {
        hello: eventText("hello", {}),
        endedBy: ["AUTH"],
        watch(wake, until) {
          jobs.watch((id) => {
            changed.add(id);
            wake();
          }, until);
        },
        async next(who) {
          const [id] = changed;
          if (id === undefined) return undefined;
          changed.delete(id);
          const job = await jobs.job(who, id).catch(notSeen);
          return job === undefined ? "" : eventText("job", jobJson(job));
        },
      });
      return Promise.resolve(stream);
    },
  }),
];

function notSeen(error: unknown): undefined {
  if (!(error instanceof SynclineError) || error.code !== "NOT_FOUND") throw error;
}
