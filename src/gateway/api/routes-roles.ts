/** What roles allow, and which rule decides. */
import * as z from "zod";
import { ACTIONS, RESOURCE_TYPES, type Resource } from "#access/access.ts";
import { RULES_MAX } from "#access/decide.ts";
import { ROLE_NAME, RULE_ITEMS_MAX, ruleSchema } from "#access/roles-file.ts";
import type { KnownRole } from "#access/stored-roles.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, actorOf, json, nothing, route } from "#gateway/api/route.ts";
import { BY_NAME, NAME, on } from "#gateway/api/shapes-access.ts";
import { PATH_OR_ALL } from "#gateway/api/shapes.ts";

const TEXTS = z.array(z.string());
const RULE = z
  .object({
    effect: z.enum(["allow", "deny"]),
    resource: z.string(),
    actions: TEXTS,
    names: TEXTS.optional(),
    prefixes: TEXTS.optional(),
    labels: TEXTS.optional(),
  })
  .meta({ id: "Rule" });
const ROLE = z
  .object({
    name: z.string(),
    origin: z.enum(["built-in", "file", "hub"]).describe("hub: it can be changed here"),
    includes: z.array(z.string()),
    rules: z.array(RULE),
    fault: z.string().optional().describe("Why it does not count as it is"),
  })
  .meta({ id: "Role" });
export type RoleJson = z.infer<typeof ROLE>;

function roleJson({ role, origin, fault }: KnownRole): RoleJson {
  const { name, includes, rules } = role;
  const shown = rules.map(({ names, prefixes, labels, ...rest }) => ({
    ...rest,
    actions: [...rest.actions],
    ...(names === undefined ? {} : { names: [...names] }),
    ...(prefixes === undefined ? {} : { prefixes: [...prefixes] }),
    ...(labels === undefined ? {} : { labels: [...labels] }),
  }));
  return { name, origin, includes: [...includes], rules: shown, ...(fault === undefined ? {} : { fault }) };
}

export const ROLE_ROUTES: readonly AnyRoute[] = [
  route({
    id: "role.list",
    method: "GET",
    path: "/v1/roles",
    summary: "Roles with their rules: the program's own, those of the bootstrap file, and those made here",
    allowed: () => on("role", "read", "*"),
    answers: { 200: { description: "By name", schema: z.object({ roles: z.array(ROLE) }) } },
    handle: ({ services }) => Promise.resolve(json(200, { roles: services.access.storedRoles.list().map(roleJson) })),
  }),
  route({
    id: "role.get",
    method: "GET",
    path: "/v1/roles/{name}",
    summary: "One role",
    allowed: ({ params }) => on("role", "read", params.name),
    params: BY_NAME,
    answers: { 200: { description: "The role", schema: ROLE } },
    handle({ services, params }) {
      const known = services.access.storedRoles.get(params.name);
      if (known === undefined) throw new ApiProblem("NOT_FOUND", `there is no role "${params.name}"`, "GET /v1/roles lists them");
      return Promise.resolve(json(200, roleJson(known)));
    },
  }),
  route({
    id: "role.put",
    method: "PUT",
    path: "/v1/roles/{name}",
    summary: "Make a role, or replace one that was made here; it counts from the answer on",
    allowed: ({ params }) => on("role", "manage", params.name),
    params: z.object({ name: z.string().regex(ROLE_NAME, { error: "1 to 63 of a-z, 0-9, - and ." }) }),
    body: z.strictObject({
      includes: z.array(NAME).max(RULE_ITEMS_MAX).default([]),
      rules: z.array(ruleSchema).max(RULES_MAX).default([]),
    }),
    answers: {
      200: { description: "Replaced", schema: ROLE },
      201: { description: "Made", schema: ROLE },
    },
    async handle(call) {
      const { storedRoles } = call.services.access;
      const isNew = await storedRoles.put(actorOf(call), { name: call.params.name, ...call.body });
      return json(isNew ? 201 : 200, roleJson(storedRoles.get(call.params.name)!));
    },
  }),
  route({
    id: "role.delete",
    method: "DELETE",
    path: "/v1/roles/{name}",
    summary: "Remove a role that was made here; whoever has it keeps its name, which then allows nothing",
    allowed: ({ params }) => on("role", "manage", params.name),
    params: BY_NAME,
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.storedRoles.remove(actorOf(call), call.params.name);
      return nothing();
    },
  }),
  route({
    id: "access.explain",
    method: "POST",
    path: "/v1/access/explain",
    summary: "May a user do something, and which rule says so",
    allowed: ({ body }) => on("user", "read", body.user),
    body: z.strictObject({
      user: NAME,
      action: z.enum(ACTIONS),
      type: z.enum(RESOURCE_TYPES),
      name: NAME.describe("Of the space, host or other thing"),
      path: PATH_OR_ALL.optional(),
    }),
    answers: {
      200: { description: "The decision", schema: z.object({ allowed: z.boolean(), reason: z.string() }) },
    },
    async handle({ services, body }) {
      const { user, action, type, name, path = "" } = body;
      const resource: Resource =
        type === "space"
          ? { type, space: name, path }
          : type === "host"
            ? { type, host: name, labels: (await services.access.hosts.get(name))?.labels ?? [] }
            : { type, name };
      return json(200, await services.access.explain(user, action, resource));
    },
  }),
];
