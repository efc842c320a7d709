/** Profiles of the hub's process on demand. They slow it down, so one at a time, and the audit log says who asked. */
import * as z from "zod";
import { PROFILE_SECONDS_MAX } from "#observe/profiler.ts";
import { type AnyRoute, type Call, actorOf, route } from "#gateway/api/route.ts";
import { whole } from "#gateway/api/shapes.ts";

const allowed = () => [{ action: "manage", resource: { type: "hub", name: "profiles" } }] as const;
const HEADERS = { "content-type": "application/json", "cache-control": "no-store" };

export const PROFILE_ROUTES: readonly AnyRoute[] = [
  route({
    id: "profile.cpu",
    method: "POST",
    path: "/v1/profiles/cpu",
    summary: "Where the hub's time goes in the next seconds, as a .cpuprofile",
    allowed,
    query: z.strictObject({ seconds: whole(1, PROFILE_SECONDS_MAX).default(10) }),
    answers: { 200: { description: "The profile", media: "application/json" } },
    async handle(call) {
      const { services, query, request } = call;
      await note(call, "profile.cpu", { seconds: query.seconds });
      const profile = await services.profiler.cpu(query.seconds, AbortSignal.any([request.signal, services.closing]));
      return new Response(profile, { headers: HEADERS });
    },
  }),
  route({
    id: "profile.heap",
    method: "POST",
    path: "/v1/profiles/heap",
    summary: "What fills the hub's memory, as a .heapsnapshot; it may hold anything that the hub knows. The hub stands still meanwhile",
    allowed,
    answers: { 200: { description: "The snapshot", media: "application/json" } },
    async handle(call) {
      await note(call, "profile.heap", undefined);
      return new Response(call.services.profiler.heap(), { headers: HEADERS });
    },
  }),
];

async function note(call: Pick<Call, "services" | "who" | "address" | "trace">, action: string, details: unknown): Promise<void> {
  await call.services.access.audit.append(actorOf(call), { action, resource: "hub:profiles", outcome: "done", details });
}
