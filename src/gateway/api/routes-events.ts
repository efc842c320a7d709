/**
 * Live state as server-sent events: every committed change of a space as it happens, resumed by sequence.
 *
 * Nothing is queued for a listener. The stream reads the journal on as the client takes it, so one that is slow or was
 * away is as far behind as it is and misses nothing.
 */
import * as z from "zod";
import { SynclineError } from "#model/error.ts";
import { streamOf } from "#gateway/api/bytes-body.ts";
import { type AnyRoute, type Call, route } from "#gateway/api/route.ts";
import { SPACE_NAME_TEXT, journalJson, whole } from "#gateway/api/shapes.ts";

/** Records read at once for one listener. */
const PAGE_RECORDS = 100;
/** A line that says nothing keeps the connection open; the credential, which may expire, is looked at again with it. */
const HEARTBEAT_MS = 15_000;
/** What a client waits before it comes back. */
const RETRY_MS = 2000;

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const QUERY = z.strictObject({ after: whole(0, Number.MAX_SAFE_INTEGER).optional() });

type Listening = Call<z.infer<typeof BY_NAME>, z.infer<typeof QUERY>, undefined>;

export const EVENT_ROUTES: readonly AnyRoute[] = [
  route({
    id: "space.events",
    method: "GET",
    path: "/v1/spaces/{space}/events",
    summary:
      "Changes of a space as they are committed (server-sent events; id is the sequence, data a JournalRecord). Goes on " +
      "after Last-Event-ID or ?after, otherwise with what comes next",
    allowed: "visible",
    params: BY_NAME,
    query: QUERY,
    answers: { 200: { description: "Events: hello, change", media: "text/event-stream" } },
    async handle(call) {
      const { sequence, lineage } = await call.services.spaces.space(call.who, call.params.space);
      const last = call.headers.get("last-event-id");
      const resumed = last !== null && /^\d{1,16}$/.test(last) ? Number(last) : call.query.after;
      // A number from before a restore of the hub is beyond what there is: the client sees another lineage, and all.
      const after = Math.min(resumed ?? sequence, sequence);
      const place = call.traffic.stream();
      const onError = (error: unknown): void =>
        call.services.log.error("event stream broke off", {
          traceId: call.trace.traceId,
          error: error instanceof Error ? error.message : String(error),
        });
      const hello = `retry: ${RETRY_MS}\nid: ${after}\nevent: hello\ndata: ${JSON.stringify({ sequence, lineage })}\n\n`;
      return new Response(streamOf(events(call, after, hello, place), onError), {
        headers: { "content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no" },
      });
    },
  }),
];

async function* events(call: Listening, from: number, hello: string, place: Disposable): AsyncGenerator<Uint8Array> {
  using _place = place;
  const { services, params, request } = call;
  const { space } = params;
  const encoder = new TextEncoder();
  const ended = new AbortController();
  const until = AbortSignal.any([ended.signal, services.closing, request.signal]);
  let who = call.who;
  let wake = Promise.withResolvers<void>();
  let heartbeat: Promise<boolean> | undefined;
  services.spaces.watch(space, () => wake.resolve(), until);
  // Whoever was revoked, or may see less now, hears no more from then on.
  let isChanged = false;
  services.access.onChange(() => {
    isChanged = true;
    wake.resolve();
  }, until);
  until.addEventListener("abort", () => wake.resolve(), { once: true });
  try {
    yield encoder.encode(hello);
    for (let after = from; !until.aborted; ) {
      wake = Promise.withResolvers<void>();
      if (isChanged) {
        isChanged = false;
        who = await call.reauthenticate();
      }
      const { sequence } = await services.spaces.space(who, space);
      if (after < sequence) {
        const limit = Math.min(PAGE_RECORDS, sequence - after);
        const records = await services.spaces.journal(who, space, after, limit);
        after += limit;
        const lines = records.map((record) => {
          const data = JSON.stringify(journalJson(record));
          return `id: ${record.sequence}\nevent: change\ndata: ${data}\n\n`;
        });
        if (lines.length > 0) yield encoder.encode(lines.join(""));
        continue;
      }
      heartbeat ??= services.clock.sleep(HEARTBEAT_MS, until).then(
        () => true,
        () => false,
      );
      const isDue = await Promise.race([wake.promise.then(() => false), heartbeat]);
      if (!isDue || until.aborted) continue;
      heartbeat = undefined;
      who = await call.reauthenticate();
      yield encoder.encode(":\n\n");
    }
  } catch (error) {
    // A space or a right that has gone meanwhile ends the stream in order; the next try is told why.
    const isRefusal = error instanceof SynclineError && ["AUTH", "DENIED", "SPACE_UNKNOWN"].includes(error.code);
    if (!isRefusal) throw error;
  } finally {
    ended.abort();
  }
}
