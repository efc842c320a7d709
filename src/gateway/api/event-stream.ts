/**
 * Answers that are server-sent events: whoever listens is told what there is for him, then waits for more. Nothing is
 * queued for him here; the credential is looked at again when rights have changed, and with every line that only keeps the
 * connection open.
 */
import type { Principal } from "#access/access.ts";
import { type ErrorCode, SynclineError, messageOf } from "#model/error.ts";
import { holding, streamOf } from "#gateway/api/bytes-body.ts";
import type { Call } from "#gateway/api/route.ts";

/** A line that says nothing keeps the connection open. */
const HEARTBEAT_MS = 15_000;
/** What a client waits before it comes back. */
const RETRY_MS = 2000;

type Listening = Pick<Call, "services" | "traffic" | "trace" | "request" | "renew" | "again">;

export type EventSource = {
  /** The first event, with its name, data and what else belongs to it; see eventText. */
  readonly hello: string;
  /** Calls `wake` when there may be something new, until the signal. */
  readonly watch: (wake: () => void, until: AbortSignal) => void;
  /** What is to be sent now, which may be nothing of several; undefined: nothing, until it is woken. */
  readonly next: (who: Principal) => Promise<string | undefined>;
  /** Refusals that end the stream in order; the next try is told why. */
  readonly endedBy: readonly ErrorCode[];
};

/** One event. @param id undefined: it cannot be gone on after */
export function eventText(name: string, data: unknown, id?: number): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** @throws {ApiProblem} BUSY when too many listen */
export function eventStream(call: Listening, source: EventSource): Response {
  const place = call.traffic.events();
  const onError = (error: unknown): void =>
    call.services.log.error("event stream broke off", {
      traceId: call.trace.traceId,
      error: messageOf(error),
    });
  return new Response(streamOf(holding(place, events(call, source)), onError), {
    headers: { "content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no" },
  });
}

async function* events(call: Listening, { hello, watch, next, endedBy }: EventSource): AsyncGenerator<Uint8Array> {
  const { services, request } = call;
  const encoder = new TextEncoder();
  const ended = new AbortController();
  const until = AbortSignal.any([ended.signal, services.closing, request.signal]);
  let wake = Promise.withResolvers<void>();
  let heartbeat: Promise<boolean> | undefined;
  watch(() => wake.resolve(), until);
  services.access.onChange(() => wake.resolve(), until);
  until.addEventListener("abort", () => wake.resolve(), { once: true });
  try {
    yield encoder.encode(`retry: ${RETRY_MS}\n${hello}`);
    while (!until.aborted) {
      wake = Promise.withResolvers<void>();
      // Whoever was revoked, or may see less now, hears no more from then on.
      const text = await next(await call.renew());
      if (text !== undefined) {
        if (text !== "") yield encoder.encode(text);
        continue;
      }
      heartbeat ??= services.clock.sleep(HEARTBEAT_MS, until).then(
        () => true,
        () => false,
      );
      const isDue = await Promise.race([wake.promise.then(() => false), heartbeat]);
      if (!isDue || until.aborted) continue;
      heartbeat = undefined;
      await call.again();
      yield encoder.encode(":\n\n");
    }
  } catch (error) {
    if (!(error instanceof SynclineError) || !endedBy.includes(error.code)) throw error;
  } finally {
    ended.abort();
  }
}
