/** Agents on their hosts, the links that they keep, and the plans that wait for a person. */
import * as z from "zod";
import type { HostView, LinkView } from "#hub/agents/hub-agents.ts";
import { HELD_PLAN, LINK_STATE as AGENT_STATE } from "#hub/agents/control.ts";
import { DEPENDENCY } from "#hub/agents/dependencies.ts";
import { LINK_SETTINGS, type LinkSettings } from "#hub/agents/link.ts";
import type { Hold } from "#hub/agents/held-plans.ts";
import type { Link } from "#hub/agents/registry-rows.ts";
import { type AnyRoute, type Call, actorOf, json, nothing, route } from "#gateway/api/route.ts";

const NAME = z.string().min(1).max(255);
const TIME = z.iso.datetime();
const iso = (ms: number): string => new Date(ms).toISOString();

const LINK = z
  .object({
    id: z.string(),
    host: z.string().optional().describe("Absent: for every host with the label `selector`"),
    selector: z.string().optional(),
    root: z.string(),
    space: z.string(),
    prefix: z.string(),
    settings: LINK_SETTINGS,
    enabled: z.boolean(),
    generation: z.int(),
    origin: z.enum(["hub", "host"]).describe("host: declared by the host itself"),
    created: TIME,
  })
  .meta({ id: "Link" });

const LINK_STATE = z
  .object({
    link: LINK,
    host: z.string(),
    status: z.string().describe("healthy only when it is heard, up to date, not halted and not held"),
    lagMs: z.int().describe("For how long it has had something to carry over"),
    heardAgoMs: z.int().optional().describe("Absent: never"),
    state: AGENT_STATE.optional().describe("What the agent said last"),
  })
  .meta({ id: "LinkState" });

const AGENT = z
  .object({
    name: z.string(),
    labels: z.array(z.string()),
    program: z.string(),
    platform: z.string(),
    status: z.string(),
    revoked: TIME.optional().describe("Its certificates and its key were, and it has not joined anew"),
    heardAgoMs: z.int().optional(),
    clockSkewMs: z.int().optional().describe("The agent's wall clock minus the hub's"),
    links: z.array(LINK_STATE),
  })
  .meta({ id: "Agent" });

const HOLD = z
  .object({
    link: z.string(),
    host: z.string(),
    plan: HELD_PLAN,
    held: TIME,
    approvedBy: z.string().optional(),
    approved: TIME.optional(),
  })
  .meta({ id: "Hold" });

export type LinkJson = z.infer<typeof LINK>;
export type LinkStateJson = z.infer<typeof LINK_STATE>;
export type AgentJson = z.infer<typeof AGENT>;
export type HoldJson = z.infer<typeof HOLD>;

/** Single settings; what is not named stays as it is, and is not given its default. */
const SETTINGS_CHANGE = z.record(z.string(), z.unknown()).transform((given, context): Partial<LinkSettings> => {
  const checked = LINK_SETTINGS.safeParse(given);
  if (checked.success) return Object.fromEntries(Object.entries(checked.data).filter(([key]) => key in given));
  for (const { message, path } of checked.error.issues) context.addIssue({ code: "custom", message, path });
  return z.NEVER;
});

function linkJson({ createdMs, host, selector, ...link }: Link): z.infer<typeof LINK> {
  return {
    ...link,
    ...(host === undefined ? {} : { host }),
    ...(selector === undefined ? {} : { selector }),
    created: iso(createdMs),
  };
}

function stateJson({ link, host, status, lagMs, state, heardAgoMs }: LinkView): z.infer<typeof LINK_STATE> {
  return {
    link: linkJson(link),
    host,
    status,
    lagMs: Math.round(lagMs),
    ...(heardAgoMs === undefined ? {} : { heardAgoMs: Math.round(heardAgoMs) }),
    ...(state === undefined ? {} : { state }),
  };
}

function agentJson(view: HostView, revokedMs: number | undefined): z.infer<typeof AGENT> {
  const { name, labels, program, platform, status, heardAgoMs, skewMs, links } = view;
  return {
    name,
    labels: [...labels],
    program,
    platform,
    status,
    ...(revokedMs === undefined ? {} : { revoked: iso(revokedMs) }),
    ...(heardAgoMs === undefined ? {} : { heardAgoMs: Math.round(heardAgoMs) }),
    ...(skewMs === undefined ? {} : { clockSkewMs: Math.round(skewMs) }),
    links: links.map(stateJson),
  };
}

function holdJson({ link, host, plan, heldMs, approvedBy, approvedMs }: Hold): z.infer<typeof HOLD> {
  return {
    link,
    host,
    plan,
    held: iso(heldMs),
    ...(approvedBy === undefined ? {} : { approvedBy }),
    ...(approvedMs === undefined ? {} : { approved: iso(approvedMs) }),
  };
}

/**
 * Who may do what with a link hangs on whom it is for, and on that host's labels, which HubAgents knows; here it is only
 * asked whether somebody is known.
 */
export const LINK_ROUTES: readonly AnyRoute[] = [
  route({
    id: "agent.list",
    method: "GET",
    path: "/v1/agents",
    summary: "Hosts that the caller may read, with the state of their agents and links",
    allowed: "known",
    answers: { 200: { description: "All, by name", schema: z.object({ agents: z.array(AGENT) }) } },
    async handle({ services, who }) {
      const revoked = await services.access.hosts.revoked();
      return json(200, { agents: services.agents.hosts(who).map((view) => agentJson(view, revoked.get(view.name))) });
    },
  }),
  route({
    id: "link.list",
    method: "GET",
    path: "/v1/links",
    summary: "Links of hosts that the caller may read; those for a label once for each host",
    allowed: "known",
    answers: { 200: { description: "All", schema: z.object({ links: z.array(LINK_STATE) }) } },
    handle: ({ services, who }) => Promise.resolve(json(200, { links: services.agents.links(who).map(stateJson) })),
  }),
  route({
    id: "link.definitions",
    method: "GET",
    path: "/v1/links/defined",
    summary: "Links as they were made, also those that no host has, of hosts and labels that the caller may read",
    allowed: "known",
    answers: { 200: { description: "All", schema: z.object({ links: z.array(LINK) }) } },
    handle: ({ services, who }) =>
      Promise.resolve(json(200, { links: services.agents.definitions(who).map(linkJson) })),
  }),
  route({
    id: "link.create",
    method: "POST",
    path: "/v1/links",
    summary: "Give a host, or every host with a label, a link; the caller must have the space's rights itself",
    allowed: "known",
    body: z.strictObject({
      host: NAME.optional(),
      selector: NAME.optional(),
      root: z.string().max(1024),
      space: NAME,
      prefix: z.string().max(1024).optional(),
      settings: z.record(z.string(), z.unknown()).optional(),
      enabled: z.boolean().optional(),
    }),
    answers: { 201: { description: "The link", schema: LINK } },
    async handle(call) {
      const link = await call.services.agents.createLink(call.who, call.body);
      await noteLink(call, "create", link);
      return json(201, linkJson(link));
    },
  }),
  route({
    id: "link.update",
    method: "PATCH",
    path: "/v1/links/{id}",
    summary: "Change where a link leads, single settings, or whether it runs",
    allowed: "known",
    params: z.object({ id: NAME }),
    body: z.strictObject({
      root: z.string().max(1024).optional(),
      space: NAME.optional(),
      prefix: z.string().max(1024).optional(),
      settings: SETTINGS_CHANGE.optional(),
      enabled: z.boolean().optional(),
    }),
    answers: { 200: { description: "The link", schema: LINK } },
    async handle(call) {
      const link = await call.services.agents.updateLink(call.who, call.params.id, call.body);
      await noteLink(call, "change", link);
      return json(200, linkJson(link));
    },
  }),
  route({
    id: "link.remove",
    method: "DELETE",
    path: "/v1/links/{id}",
    summary: "Remove a link; the files on both sides stay",
    allowed: "known",
    params: z.object({ id: NAME }),
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.agents.removeLink(call.who, call.params.id);
      await note(call, "link.remove", call.params.id, {});
      return nothing();
    },
  }),
  route({
    id: "link.rollback",
    method: "POST",
    path: "/v1/links/{id}/{name}/rollback",
    summary: "Have the link {id} on the host {name} show an earlier release and stay there",
    allowed: "known",
    params: z.object({ id: NAME, name: NAME }),
    body: z.strictObject({ release: z.string().max(100).optional().describe("Absent: the one before") }),
    answers: { 202: { description: "The link as it was; its state says when it is done", schema: LINK_STATE } },
    async handle(call) {
      const { services, who, params, body } = call;
      const view = services.agents.rollback(who, params.id, params.name, body.release);
      await note(call, "link.rollback", params.id, { host: params.name, release: body.release ?? "the one before" });
      return json(202, stateJson(view));
    },
  }),
  route({
    id: "link.resume",
    method: "POST",
    path: "/v1/links/{id}/{name}/resume",
    summary: "Let the paused link {id} on the host {name} go on",
    allowed: "known",
    params: z.object({ id: NAME, name: NAME }),
    answers: { 202: { description: "The link as it was; its state says when it goes on", schema: LINK_STATE } },
    async handle(call) {
      const { services, who, params } = call;
      const view = services.agents.resume(who, params.id, params.name);
      await note(call, "link.resume", params.id, { host: params.name });
      return json(202, stateJson(view));
    },
  }),
  route({
    id: "link.dependencies",
    method: "GET",
    path: "/v1/links/{id}/{name}/dependencies",
    summary: "What a project of the link {id} resolves to on the host {name}, asked of its agent now",
    allowed: "known",
    params: z.object({ id: NAME, name: NAME }),
    query: z.strictObject({ project: z.string().max(300).default("npm:.").describe("As the link's setting names it") }),
    answers: { 200: { description: "All", schema: z.object({ dependencies: z.array(DEPENDENCY) }) } },
    async handle({ services, who, params, query }) {
      return json(200, { dependencies: await services.agents.dependencies(who, params.id, params.name, query.project) });
    },
  }),
  route({
    id: "hold.list",
    method: "GET",
    path: "/v1/holds",
    summary: "Plans that a brake has stopped and that wait for a person, longest first",
    allowed: "known",
    answers: { 200: { description: "All", schema: z.object({ holds: z.array(HOLD) }) } },
    async handle({ services, who }) {
      return json(200, { holds: (await services.agents.holds(who)).map(holdJson) });
    },
  }),
  route({
    id: "hold.approve",
    method: "POST",
    path: "/v1/holds/{id}/{name}/approve",
    summary: "Let exactly the plan with this hash be carried out, of the link {id} on the host {name}",
    allowed: "known",
    params: z.object({ id: NAME, name: NAME }),
    body: z.strictObject({ hash: z.string().min(1).max(100) }),
    answers: { 200: { description: "The hold", schema: HOLD } },
    async handle(call) {
      const { services, who, params, body } = call;
      const hold = await services.agents.approve(who, params.id, params.name, body.hash);
      await note(call, "hold.approve", params.id, { host: params.name, hash: body.hash, changes: hold.plan.total });
      return json(200, holdJson(hold));
    },
  }),
];

type Noted = Pick<Call, "services" | "who" | "address" | "trace">;

/** What people do to links is their word about files of hosts and of spaces, so the audit log has it. */
async function note(call: Noted, action: string, link: string, details: object): Promise<void> {
  await call.services.access.audit.append(actorOf(call), { action, resource: `link:${link}`, outcome: "done", details });
}

function noteLink(call: Noted, what: "create" | "change", { id, host, selector, root, space, prefix, enabled }: Link): Promise<void> {
  return note(call, `link.${what}`, id, { host, selector, root, space, prefix, enabled });
}
