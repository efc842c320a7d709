/** Addresses that are told of the changes of a space. The service asks who may. */
import * as z from "zod";
import { WEBHOOK_ACTIONS } from "#hub/webhooks/webhook.ts";
import type { WebhookView } from "#hub/webhooks/webhooks.ts";
import { type AnyRoute, actorOf, json, nothing, route, spaceAt } from "#gateway/api/route.ts";
import { TIME, iso } from "#gateway/api/shapes-access.ts";
import { PATH_OR_ALL, SEQUENCE } from "#gateway/api/shapes.ts";

const SPACE = z.object({ space: z.string() });
const ONE = z.object({ space: z.string(), id: z.string().min(1).max(64) });
const ACTIONS = z.array(z.enum(WEBHOOK_ACTIONS)).max(WEBHOOK_ACTIONS.length);

const WEBHOOK = z
  .object({
    id: z.string(),
    url: z.string(),
    prefix: z.string(),
    actions: z.array(z.enum(WEBHOOK_ACTIONS)).describe("Empty: all"),
    enabled: z.boolean(),
    disabledReason: z.string().optional(),
    created: TIME,
    createdBy: z.string(),
    delivered: SEQUENCE.describe("All changes up to here were delivered, or were nothing to deliver"),
    behind: SEQUENCE.describe("Changes of the space after that"),
    failingSince: TIME.optional(),
    lastError: z.string().optional(),
    lastDelivered: TIME.optional(),
  })
  .meta({ id: "Webhook" });
export type WebhookJson = z.infer<typeof WEBHOOK>;

const TRIED = z.object({ delivered: z.boolean(), error: z.string().optional() }).meta({ id: "WebhookTried" });
export type TriedJson = z.infer<typeof TRIED>;

function webhookJson({ hook, behind }: WebhookView): WebhookJson {
  const { id, url, prefix, actions, isEnabled, disabledReason, createdMs, createdBy, delivered } = hook;
  const { failingSinceMs, lastError, lastMs } = hook;
  return {
    id,
    url,
    prefix,
    actions: [...actions],
    enabled: isEnabled,
    ...(disabledReason === undefined ? {} : { disabledReason }),
    created: iso(createdMs),
    createdBy,
    delivered,
    behind,
    ...(failingSinceMs === undefined ? {} : { failingSince: iso(failingSinceMs) }),
    ...(lastError === undefined ? {} : { lastError }),
    ...(lastMs === undefined ? {} : { lastDelivered: iso(lastMs) }),
  };
}

const manage = ({ params }: { params: { space: string } }) => [{ action: "manage", resource: spaceAt(params.space, "") }] as const;

export const WEBHOOK_ROUTES: readonly AnyRoute[] = [
  route({
    id: "webhook.list",
    method: "GET",
    path: "/v1/spaces/{space}/webhooks",
    summary: "Addresses that are told of the changes of a space; never their secrets",
    allowed: manage,
    params: SPACE,
    answers: { 200: { description: "By age", schema: z.object({ webhooks: z.array(WEBHOOK) }) } },
    async handle({ services, who, params }) {
      return json(200, { webhooks: (await services.webhooks.list(who, params.space)).map(webhookJson) });
    },
  }),
  route({
    id: "webhook.create",
    method: "POST",
    path: "/v1/spaces/{space}/webhooks",
    summary: "Tell an address of what comes, signed (Standard Webhooks); the secret is told this once",
    allowed: manage,
    params: SPACE,
    body: z.strictObject({
      url: z.string().min(1).max(2048),
      prefix: PATH_OR_ALL.default(""),
      actions: ACTIONS.default([]),
      secret: z.string().min(1).max(255).optional().describe("whsec_ and base64; absent: one is made"),
    }),
    answers: { 201: { description: "The webhook", schema: z.object({ webhook: WEBHOOK, secret: z.string() }) } },
    async handle(call) {
      const { services, who, params, body } = call;
      const made = await services.webhooks.create(who, params.space, body, actorOf(call));
      const answer = { webhook: webhookJson(made.view), secret: made.secret };
      return json(201, answer, { "cache-control": "no-store" });
    },
  }),
  route({
    id: "webhook.get",
    method: "GET",
    path: "/v1/spaces/{space}/webhooks/{id}",
    summary: "One webhook, and how its deliveries are",
    allowed: manage,
    params: ONE,
    answers: { 200: { description: "The webhook", schema: WEBHOOK } },
    async handle({ services, who, params }) {
      return json(200, webhookJson(await services.webhooks.get(who, params.space, params.id)));
    },
  }),
  route({
    id: "webhook.update",
    method: "PATCH",
    path: "/v1/spaces/{space}/webhooks/{id}",
    summary: "Change a webhook; switched on again it goes on where it was",
    allowed: manage,
    params: ONE,
    body: z.strictObject({
      url: z.string().min(1).max(2048).optional(),
      prefix: PATH_OR_ALL.optional(),
      actions: ACTIONS.optional(),
      enabled: z.boolean().optional(),
    }),
    answers: { 200: { description: "The webhook as it is now", schema: WEBHOOK } },
    async handle(call) {
      const { services, who, params, body } = call;
      const { enabled: isEnabled, ...rest } = body;
      const change = { ...rest, isEnabled };
      return json(200, webhookJson(await services.webhooks.update(who, params.space, params.id, change, actorOf(call))));
    },
  }),
  route({
    id: "webhook.remove",
    method: "DELETE",
    path: "/v1/spaces/{space}/webhooks/{id}",
    summary: "Tell this address no more",
    allowed: manage,
    params: ONE,
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.webhooks.remove(call.who, call.params.space, call.params.id, actorOf(call));
      return nothing();
    },
  }),
  route({
    id: "webhook.test",
    method: "POST",
    path: "/v1/spaces/{space}/webhooks/{id}/test",
    summary: "Deliver something that tells of nothing, now",
    allowed: manage,
    params: ONE,
    answers: { 200: { description: "What came of it", schema: TRIED } },
    async handle({ services, who, params, request }) {
      const signal = AbortSignal.any([request.signal, services.closing]);
      const { error } = await services.webhooks.test(who, params.space, params.id, signal);
      return json(200, { delivered: error === undefined, ...(error === undefined ? {} : { error }) });
    },
  }),
];
