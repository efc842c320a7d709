/** Hosts that have joined, and the tokens with which they join. */
import * as z from "zod";
import type { Host } from "#access/hosts.ts";
import type { JoinToken } from "#access/join-tokens.ts";
import { type AnyRoute, type Wanted, actorOf, json, nothing, route } from "#gateway/api/route.ts";
import { SEQUENCE, whole } from "#gateway/api/shapes.ts";

const ROWS_MAX = 1000;
const NAME = z.string().min(1).max(255);
const LABELS = z.array(NAME).max(100);
const TIME = z.iso.datetime();
const PAGE = z.strictObject({ after: z.string().max(255).default(""), limit: whole(1, ROWS_MAX).default(100) });
const NEXT = z.string().optional().describe("Absent: this was the last page");

const HOST = z
  .object({
    name: z.string(),
    labels: z.array(z.string()),
    enrolled: TIME,
    revoked: TIME.optional().describe("Its certificates and its key were, and it has not joined anew; absent: its key is good"),
  })
  .meta({ id: "Host" });
const JOIN_TOKEN = z
  .object({
    id: z.string(),
    labels: z.array(z.string()).describe("Given to every host that joins with it"),
    usesLeft: SEQUENCE.optional().describe("Absent: any number"),
    created: TIME,
    expires: TIME.optional(),
  })
  .meta({ id: "JoinToken" });

export type JoinTokenJson = z.infer<typeof JOIN_TOKEN>;

const iso = (ms: number): string => new Date(ms).toISOString();

const hostJson = ({ name, labels, enrolledMs, revokedMs }: Host): z.infer<typeof HOST> => ({
  name,
  labels: [...labels],
  enrolled: iso(enrolledMs),
  ...(revokedMs === undefined ? {} : { revoked: iso(revokedMs) }),
});

function joinTokenJson({ id, labels, usesLeft, createdMs, expiresMs }: JoinToken): z.infer<typeof JOIN_TOKEN> {
  return {
    id,
    labels: [...labels],
    ...(usesLeft === undefined ? {} : { usesLeft }),
    created: iso(createdMs),
    ...(expiresMs === undefined ? {} : { expires: iso(expiresMs) }),
  };
}

/** Any host, with these labels. */
const anyHost = (labels: readonly string[]): Wanted => ({ action: "manage", resource: { type: "host", host: "*", labels } });

/** Who may do what with one host hangs on its labels, which HubAgents knows; here only who is known is asked. */
export const HOST_ROUTES: readonly AnyRoute[] = [
  route({
    id: "host.list",
    method: "GET",
    path: "/v1/hosts",
    summary: "Hosts that have joined and that the caller may read, by name; a page may hold fewer than asked for",
    allowed: "known",
    query: PAGE,
    answers: { 200: { description: "A page", schema: z.object({ hosts: z.array(HOST), nextAfter: NEXT }) } },
    async handle({ services, who, query }) {
      const hosts = await services.access.hosts.page(query.after, query.limit);
      const next = hosts.length < query.limit ? {} : { nextAfter: hosts.at(-1)!.name };
      const shown = hosts.filter((host) => services.agents.mayRead(who, host));
      // Who may read no host at all is told so; another page may hold some of the others.
      if (shown.length === 0 && services.agents.hosts(who).length === 0) {
        services.access.require(who, "read", { type: "host", host: "*", labels: [] });
      }
      return json(200, { hosts: shown.map(hostJson), ...next });
    },
  }),
  route({
    id: "host.update",
    method: "PATCH",
    path: "/v1/hosts/{name}",
    summary: "Change the labels of a host",
    allowed: "known",
    params: z.object({ name: NAME }),
    body: z.strictObject({ labels: LABELS }),
    answers: { 204: { description: "Changed" } },
    async handle(call) {
      const { services, who, params, body } = call;
      await services.agents.setLabels(who, params.name, body.labels, actorOf(call));
      return nothing();
    },
  }),
  route({
    id: "host.remove",
    method: "DELETE",
    path: "/v1/hosts/{name}",
    summary: "Remove a host with its own links: its certificates are refused from the answer on; its files stay",
    allowed: "known",
    params: z.object({ name: NAME }),
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.agents.removeHost(call.who, call.params.name, actorOf(call));
      return nothing();
    },
  }),
  route({
    id: "host.revoke",
    method: "DELETE",
    path: "/v1/hosts/{name}/certificates",
    summary:
      "Revoke the certificates of a host and its key: refused from the answer on, and its connections end. Its labels and " +
      "links wait until it joins anew, with another key and a join token that was made since",
    allowed: "known",
    params: z.object({ name: NAME }),
    answers: { 204: { description: "Revoked" } },
    async handle(call) {
      await call.services.agents.revokeHost(call.who, call.params.name, actorOf(call));
      return nothing();
    },
  }),
  route({
    id: "joinToken.list",
    method: "GET",
    path: "/v1/join-tokens",
    summary: "Tokens with which hosts join; never their values",
    allowed: () => [anyHost([])],
    query: PAGE,
    answers: {
      200: { description: "A page", schema: z.object({ joinTokens: z.array(JOIN_TOKEN), nextAfter: NEXT }) },
    },
    async handle({ services, query }) {
      const tokens = await services.access.joinTokens.page(query.after, query.limit);
      const next = tokens.length < query.limit ? {} : { nextAfter: tokens.at(-1)!.id };
      return json(200, { joinTokens: tokens.map(joinTokenJson), ...next });
    },
  }),
  route({
    id: "joinToken.create",
    method: "POST",
    path: "/v1/join-tokens",
    summary: "Make a token with which hosts join; its value is told this once",
    // A rule that is for one label lets nobody name what joins; one that forbids a label forbids to give it.
    allowed: ({ body }) => [anyHost([]), anyHost(body.labels)],
    body: z.strictObject({
      labels: LABELS.default([]),
      uses: z.int().min(1).optional().describe("Absent: any number"),
      expires: TIME.optional(),
    }),
    answers: {
      201: { description: "The token", schema: z.object({ joinToken: JOIN_TOKEN, value: z.string() }) },
    },
    async handle(call) {
      const { labels, uses, expires } = call.body;
      const made = await call.services.access.joinTokens.create(actorOf(call), {
        labels,
        ...(uses === undefined ? {} : { uses }),
        ...(expires === undefined ? {} : { expiresMs: Date.parse(expires) }),
      });
      const headers = { "cache-control": "no-store" };
      return json(201, { joinToken: joinTokenJson(made.token), value: made.value }, headers);
    },
  }),
  route({
    id: "joinToken.revoke",
    method: "DELETE",
    path: "/v1/join-tokens/{id}",
    summary: "Revoke a join token; hosts that joined with it stay",
    allowed: () => [anyHost([])],
    params: z.object({ id: NAME }),
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.joinTokens.revoke(actorOf(call), call.params.id);
      return nothing();
    },
  }),
];
