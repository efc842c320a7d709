/** The hub itself: is it well, what does it count, who am I, what can be asked. */
import * as z from "zod";
import { csrfTokenOf } from "#access/sessions.ts";
import { HELLO_PATH } from "#hub/agents/hello.ts";
import { systemPrincipal } from "#access/access.ts";
import { type AnyRoute, type ApiServices, json, route } from "#gateway/api/route.ts";
import { diskWarning } from "#gateway/trouble.ts";

const WHO = systemPrincipal("health");
/** A dependency that does not answer is not ready. */
const READY_MS_MAX = 5000;

const READY = z.object({
  ready: z.boolean(),
  version: z.string(),
  dependencies: z.array(z.object({ name: z.string(), ready: z.boolean(), fault: z.string().optional() })),
  configuration: z.object({
    valid: z.boolean().describe("False: a new one is wrong, and the last good one is in force"),
    restartNeeded: z.boolean(),
  }),
  warnings: z.array(z.string()).describe("What somebody should look at, though the hub does its work"),
});

export const HUB_ROUTES: readonly AnyRoute[] = [
  route({
    id: "health.live",
    method: "GET",
    path: "/health/live",
    summary: "The process answers",
    allowed: "public",
    answers: { 200: { description: "It does", schema: z.object({ live: z.literal(true) }) } },
    handle: () => Promise.resolve(json(200, { live: true })),
  }),
  route({
    id: "health.ready",
    method: "GET",
    path: "/health/ready",
    summary: "Everything that the hub needs is there, by name",
    allowed: "public",
    answers: {
      200: { description: "Ready", schema: READY },
      503: { description: "Not ready", schema: READY },
    },
    async handle({ services }) {
      const limit = AbortSignal.timeout(READY_MS_MAX);
      const dependencies = await services.dependencies(AbortSignal.any([limit, services.closing]));
      const ready = !services.closing.aborted && dependencies.every(({ fault }) => fault === undefined);
      const { valid, restartNeeded } = services.configuration.state;
      return json(ready ? 200 : 503, {
        ready,
        version: services.version,
        configuration: { valid, restartNeeded: restartNeeded.length > 0 },
        dependencies: dependencies.map(({ name, fault }) => ({
          name,
          ready: fault === undefined,
          ...(fault === undefined ? {} : { fault }),
        })),
        warnings: ready ? await warningsOf(services) : [],
      });
    },
  }),
  route({
    id: "hub.hello",
    method: "GET",
    path: HELLO_PATH,
    summary: "Which hub this is, and where its agents connect; trust it only by the authority's fingerprint",
    allowed: "public",
    answers: {
      200: {
        description: "The hub",
        schema: z.object({
          id: z.string(),
          program: z.string(),
          syncPort: z.int(),
          fingerprint: z.string(),
          ca: z.string().describe("PEM"),
        }),
      },
    },
    handle: ({ services }) => Promise.resolve(json(200, services.hello())),
  }),
  route({
    id: "hub.metrics",
    method: "GET",
    path: "/metrics",
    summary: "Metrics for Prometheus",
    allowed: () => [{ action: "read", resource: { type: "hub", name: "metrics" } }],
    answers: { 200: { description: "Text format 0.0.4", media: "text/plain" } },
    async handle({ services }) {
      return new Response(await services.metrics.text(), {
        headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
      });
    },
  }),
  route({
    id: "hub.whoami",
    method: "GET",
    path: "/v1/whoami",
    summary: "The caller as the hub knows them",
    allowed: "known",
    answers: {
      200: {
        description: "Who it is",
        schema: z.object({
          id: z.string(),
          kind: z.enum(["user", "agent", "system"]),
          name: z.string(),
          roles: z.array(z.string()),
          scoped: z.boolean().describe("The token may do less than its user"),
          csrf: z.string().optional().describe("Of a session: what a change with its cookie carries in x-csrf-token"),
        }),
      },
    },
    handle({ who, session }) {
      const { id, kind, name, roles, scopes } = who;
      const csrf = session === undefined ? {} : { csrf: csrfTokenOf(session) };
      const facts = { id, kind, name, roles, scoped: scopes !== undefined, ...csrf };
      return Promise.resolve(json(200, facts, { "cache-control": "no-store" }));
    },
  }),
];

/** Without names: anybody may ask. */
async function warningsOf({ followers, disk }: ApiServices): Promise<string[]> {
  const copies = (await followers.list(WHO)).filter(({ isWell, phase }) => !isWell && phase !== "stopped");
  const full = diskWarning(disk());
  return [
    ...(full === undefined ? [] : [full]),
    ...(copies.length === 0 ? [] : [`spaces that follow another hub and are not well: ${copies.length}`]),
  ];
}
