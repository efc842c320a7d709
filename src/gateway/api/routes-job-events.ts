/**
 * What becomes of jobs as server-sent events. Nothing is queued for a listener but the numbers of jobs that have changed:
 * one that is slow hears of each job once, as it is then.
 */
import { SynclineError } from "#model/error.ts";
import { holding, streamOf } from "#gateway/api/bytes-body.ts";
import { jobJson } from "#gateway/api/job-shapes.ts";
import { type AnyRoute, type Call, route } from "#gateway/api/route.ts";

/** Keeps the connection open; the credential is looked at again with it. */
const HEARTBEAT_MS = 15_000;
/** What a client waits before it comes back. */
const RETRY_MS = 2000;

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
      const place = call.traffic.events();
      const onError = (error: unknown): void =>
        call.services.log.error("event stream broke off", {
          traceId: call.trace.traceId,
          error: error instanceof Error ? error.message : String(error),
        });
      return Promise.resolve(
        new Response(streamOf(holding(place, events(call)), onError), {
          headers: { "content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no" },
        }),
      );
    },
  }),
];

type Listening = Pick<Call, "services" | "request" | "who" | "reauthenticate">;

async function* events({ services, request, who: asked, reauthenticate }: Listening): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  const ended = new AbortController();
  const until = AbortSignal.any([ended.signal, services.closing, request.signal]);
  const changed = new Set<number>();
  let who = asked;
  let wake = Promise.withResolvers<void>();
  let isChanged = false;
  services.jobs.watch((id) => {
    changed.add(id);
    wake.resolve();
  }, until);
  // Whoever was revoked, or may see less now, hears no more from then on.
  services.access.onChange(() => {
    isChanged = true;
    wake.resolve();
  }, until);
  until.addEventListener("abort", () => wake.resolve(), { once: true });
  try {
    yield encoder.encode(`retry: ${RETRY_MS}\nevent: hello\ndata: {}\n\n`);
    while (!until.aborted) {
      wake = Promise.withResolvers<void>();
      if (isChanged) {
        isChanged = false;
        who = await reauthenticate();
      }
      for (const id of changed) {
        changed.delete(id);
        const job = await services.jobs.job(who, id).catch(notSeen);
        if (job !== undefined) yield encoder.encode(`event: job\ndata: ${JSON.stringify(jobJson(job))}\n\n`);
      }
      if (changed.size > 0) continue;
      const over = new AbortController();
      const beat = services.clock.sleep(HEARTBEAT_MS, AbortSignal.any([until, over.signal])).then(
        () => true,
        () => false,
      );
      const isDue = await Promise.race([wake.promise.then(() => false), beat]);
      over.abort();
      if (!isDue || until.aborted) continue;
      who = await reauthenticate();
      yield encoder.encode(":\n\n");
    }
  } catch (error) {
    const isRefusal = error instanceof SynclineError && error.code === "AUTH";
    if (!isRefusal) throw error;
  } finally {
    ended.abort();
  }
}

function notSeen(error: unknown): undefined {
  if (!(error instanceof SynclineError) || error.code !== "NOT_FOUND") throw error;
}
