/**
 * Backup and check of the hub while it runs. Both take as long as they take, so they answer with a line of JSON for each
 * thing they have to say, and a last one with the outcome; who goes away ends them.
 */
import * as z from "zod";
import { streamOf } from "#gateway/api/bytes-body.ts";
import { problemOf } from "#gateway/api/problem.ts";
import { type AnyRoute, type Call, actorOf, route } from "#gateway/api/route.ts";

/** A connection on which nothing moves for a minute is closed. */
const HEARTBEAT_MS = 15_000;
/** Lines that wait for the client: all that a check can find, and what a backup has to say last. */
const LINES_MAX = 2000;

const MEDIA = "application/x-ndjson";

type Line = { readonly type: "progress" | "finding" | "done" | "failed"; readonly [field: string]: unknown };
type Work = (tell: (line: Line) => void, signal: AbortSignal) => Promise<object>;

export const CARE_ROUTES: readonly AnyRoute[] = [
  route({
    id: "hub.backup",
    method: "POST",
    path: "/v1/backup",
    summary:
      "A consistent copy of the hub into a directory of its host, while it works; what the directory has already of an " +
      "earlier one is not copied again. Lines: progress, then done or failed",
    allowed: () => [{ action: "manage", resource: { type: "hub", name: "backup" } }],
    body: z.strictObject({ directory: z.string().min(1).max(4096).describe("Absolute") }),
    answers: { 200: { description: "Lines of JSON", media: MEDIA } },
    handle: (call) =>
      told(call, (tell, signal) => {
        const { care } = call.services;
        return care.backup(actorOf(call), call.body.directory, (one) => tell({ type: "progress", ...one }), signal);
      }),
  }),
  route({
    id: "hub.check",
    method: "POST",
    path: "/v1/check",
    summary: "Whether all that the hub keeps is what was written. Lines: finding, then done or failed",
    allowed: () => [{ action: "manage", resource: { type: "hub", name: "check" } }],
    body: z.strictObject({ deep: z.boolean().optional().describe("Read every chunk too") }),
    answers: { 200: { description: "Lines of JSON", media: MEDIA } },
    handle: (call) =>
      told(call, (tell, signal) =>
        call.services.care.check(call.body.deep ?? false, (one) => tell({ type: "finding", ...one }), signal),
      ),
  }),
];

/** Answers when there is something to say; what fails before is an ordinary problem. */
async function told(call: Pick<Call, "services" | "request" | "trace">, work: Work): Promise<Response> {
  const { services, request, trace } = call;
  const gone = new AbortController();
  const signal = AbortSignal.any([gone.signal, services.closing, request.signal]);
  const lines: Line[] = [];
  let wake = Promise.withResolvers<void>();
  const tell = (line: Line): void => {
    // Of progress only the newest is worth anything.
    if (line.type === "progress" && lines.at(-1)?.type === "progress") lines.pop();
    if (lines.length < LINES_MAX) lines.push(line);
    wake.resolve();
  };
  const fault = (error: unknown): Line => {
    const { code, detail, hint } = problemOf(error);
    return { type: "failed", code, detail, hint };
  };
  let isOver = false;
  const running = work(tell, signal).finally(() => (isOver = true));
  const last: Promise<Line> = running.then((result) => ({ type: "done" as const, ...result }), fault);
  await Promise.race([wake.promise, running]);
  async function* all(): AsyncGenerator<Uint8Array> {
    try {
      while (!isOver || lines.length > 0) {
        wake = Promise.withResolvers<void>();
        const beat = AbortSignal.timeout(HEARTBEAT_MS);
        beat.addEventListener("abort", () => wake.resolve(), { once: true });
        if (lines.length === 0) await Promise.race([wake.promise, last]);
        const said = lines.splice(0).map((line) => `${JSON.stringify(line)}\n`);
        // An empty line says that we are still at it.
        yield new TextEncoder().encode(said.length === 0 ? "\n" : said.join(""));
      }
      const outcome = await last;
      if (outcome.type === "failed") services.log.error("care failed", { traceId: trace.traceId, ...outcome });
      yield new TextEncoder().encode(`${JSON.stringify(outcome)}\n`);
    } finally {
      gone.abort();
      await last;
    }
  }
  const headers = { "content-type": MEDIA, "cache-control": "no-cache", "x-accel-buffering": "no" };
  return new Response(streamOf(all(), () => undefined), { headers });
}
