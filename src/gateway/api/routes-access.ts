/** Who exists and what they may: users, groups, tokens, roles, and the audit log. Every change is audited by its room. */
import * as z from "zod";
import { ACTIONS, RESOURCE_TYPES, type Resource } from "#access/access.ts";
import { ruleSchema } from "#access/roles-file.ts";
import type { Token } from "#access/tokens.ts";
import type { User } from "#access/users.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, actorOf, json, nothing, route } from "#gateway/api/route.ts";
import { PATH_OR_ALL, SEQUENCE, whole } from "#gateway/api/shapes.ts";

const ROWS_MAX = 1000;
const NAME = z.string().min(1).max(255);
const NAMES = z.array(NAME).max(100);
const BY_NAME = z.object({ name: NAME });
const BY_ID = z.object({ id: NAME });
const TIME = z.iso.datetime();
const PAGE = z.strictObject({ after: z.string().max(255).default(""), limit: whole(1, ROWS_MAX).default(100) });
const NEXT = z.string().optional().describe("Absent: this was the last page");

const USER = z
  .object({
    name: z.string(),
    roles: z.array(z.string()),
    groups: z.array(z.string()),
    hasPassword: z.boolean(),
    disabled: z.boolean(),
    created: TIME,
  })
  .meta({ id: "User" });
const GROUP = z.object({ name: z.string(), roles: z.array(z.string()), created: TIME }).meta({ id: "Group" });
const TOKEN = z
  .object({
    id: z.string(),
    user: z.string(),
    name: z.string(),
    scopes: z.array(z.unknown()).optional().describe("Rules; the token may do no more than they and its user may"),
    created: TIME,
    expires: TIME.optional(),
    used: TIME.optional().describe("To the minute"),
  })
  .meta({ id: "Token" });
export type TokenJson = z.infer<typeof TOKEN>;

const AUDIT = z
  .object({
    seq: SEQUENCE,
    time: TIME,
    actor: z.string(),
    action: z.string(),
    resource: z.string(),
    outcome: z.string(),
    address: z.string().optional(),
    traceId: z.string().optional(),
    details: z.unknown().optional(),
  })
  .meta({ id: "AuditRecord" });

const USER_CHANGE = {
  password: z.string().min(1).max(1024).nullable().optional().describe("null: no sign-in by password"),
  roles: NAMES.optional(),
  groups: NAMES.optional(),
};

const iso = (ms: number): string => new Date(ms).toISOString();

function userJson({ name, roles, groups, hasPassword, isDisabled, createdMs }: User): z.infer<typeof USER> {
  return { name, roles: [...roles], groups: [...groups], hasPassword, disabled: isDisabled, created: iso(createdMs) };
}

function tokenJson({ id, user, name, scopes, createdMs, expiresMs, usedMs }: Token): z.infer<typeof TOKEN> {
  return {
    id,
    user,
    name,
    ...(scopes === undefined ? {} : { scopes: [...scopes] }),
    created: iso(createdMs),
    ...(expiresMs === undefined ? {} : { expires: iso(expiresMs) }),
    ...(usedMs === undefined ? {} : { used: iso(usedMs) }),
  };
}

/** Where the next page begins, when this one is full. */
const next = (rows: readonly unknown[], limit: number, last: string | undefined) =>
  rows.length < limit || last === undefined ? {} : { nextAfter: last };

const on = (type: "user" | "token" | "role" | "audit", action: "read" | "manage", name: string) =>
  [{ action, resource: { type, name } }] as const;

const USER_ROUTES: readonly AnyRoute[] = [
  route({
    id: "user.list",
    method: "GET",
    path: "/v1/users",
    summary: "Users by name",
    allowed: () => on("user", "read", "*"),
    query: PAGE,
    answers: { 200: { description: "A page", schema: z.object({ users: z.array(USER), nextAfter: NEXT }) } },
    async handle({ services, query }) {
      const users = await services.access.users.page(query.after, query.limit);
      return json(200, { users: users.map(userJson), ...next(users, query.limit, users.at(-1)?.name) });
    },
  }),
  route({
    id: "user.create",
    method: "POST",
    path: "/v1/users",
    summary: "Make a user",
    allowed: ({ body }) => on("user", "manage", body.name),
    body: z.strictObject({ name: NAME, ...USER_CHANGE }),
    answers: { 201: { description: "The user", schema: USER } },
    async handle(call) {
      const { services, body } = call;
      await services.access.users.create(actorOf(call), body.name, body);
      return json(201, userJson((await services.access.users.get(body.name))!), {
        location: `/v1/users/${encodeURIComponent(body.name)}`,
      });
    },
  }),
  route({
    id: "user.get",
    method: "GET",
    path: "/v1/users/{name}",
    summary: "One user",
    allowed: ({ params }) => on("user", "read", params.name),
    params: BY_NAME,
    answers: { 200: { description: "The user", schema: USER } },
    async handle({ services, params }) {
      return json(200, userJson(found(await services.access.users.get(params.name), params.name)));
    },
  }),
  route({
    id: "user.update",
    method: "PATCH",
    path: "/v1/users/{name}",
    summary: "Change a user; a new password, and being disabled, end its sessions",
    allowed: ({ params }) => on("user", "manage", params.name),
    params: BY_NAME,
    body: z.strictObject({ ...USER_CHANGE, disabled: z.boolean().optional() }),
    answers: { 200: { description: "The user as it is now", schema: USER } },
    async handle(call) {
      const { services, params, body } = call;
      const { disabled: isDisabled, ...rest } = body;
      await services.access.users.update(actorOf(call), params.name, { ...rest, isDisabled });
      return json(200, userJson(found(await services.access.users.get(params.name), params.name)));
    },
  }),
  route({
    id: "user.delete",
    method: "DELETE",
    path: "/v1/users/{name}",
    summary: "Remove a user with all tokens, keys and sessions",
    allowed: ({ params }) => on("user", "manage", params.name),
    params: BY_NAME,
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.users.remove(actorOf(call), call.params.name);
      return nothing();
    },
  }),
];

const GROUP_ROUTES: readonly AnyRoute[] = [
  route({
    id: "group.list",
    method: "GET",
    path: "/v1/groups",
    summary: "Groups by name",
    allowed: () => on("user", "read", "*"),
    query: PAGE,
    answers: { 200: { description: "A page", schema: z.object({ groups: z.array(GROUP), nextAfter: NEXT }) } },
    async handle({ services, query }) {
      const groups = await services.access.users.groups(query.after, query.limit);
      const shown = groups.map(({ name, roles, createdMs }) => ({ name, roles, created: iso(createdMs) }));
      return json(200, { groups: shown, ...next(groups, query.limit, groups.at(-1)?.name) });
    },
  }),
  route({
    id: "group.create",
    method: "POST",
    path: "/v1/groups",
    summary: "Make a group, whose members have its roles",
    allowed: ({ body }) => on("user", "manage", body.name),
    body: z.strictObject({ name: NAME, roles: NAMES.default([]) }),
    answers: { 204: { description: "It is there" } },
    async handle(call) {
      await call.services.access.users.createGroup(actorOf(call), call.body.name, call.body.roles);
      return nothing();
    },
  }),
  route({
    id: "group.update",
    method: "PATCH",
    path: "/v1/groups/{name}",
    summary: "Change the roles of a group",
    allowed: ({ params }) => on("user", "manage", params.name),
    params: BY_NAME,
    body: z.strictObject({ roles: NAMES }),
    answers: { 204: { description: "Changed" } },
    async handle(call) {
      await call.services.access.users.updateGroup(actorOf(call), call.params.name, call.body.roles);
      return nothing();
    },
  }),
  route({
    id: "group.delete",
    method: "DELETE",
    path: "/v1/groups/{name}",
    summary: "Remove a group; its members stay",
    allowed: ({ params }) => on("user", "manage", params.name),
    params: BY_NAME,
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.users.removeGroup(actorOf(call), call.params.name);
      return nothing();
    },
  }),
];

const TOKEN_ROUTES: readonly AnyRoute[] = [
  route({
    id: "token.list",
    method: "GET",
    path: "/v1/tokens",
    summary: "Tokens of all users, or of one; never their values",
    allowed: ({ query }) => on("token", "read", query.user ?? "*"),
    query: PAGE.extend({ user: NAME.optional() }),
    answers: { 200: { description: "A page", schema: z.object({ tokens: z.array(TOKEN), nextAfter: NEXT }) } },
    async handle({ services, query }) {
      const tokens = await services.access.tokens.page(query.user, query.after, query.limit);
      return json(200, { tokens: tokens.map(tokenJson), ...next(tokens, query.limit, tokens.at(-1)?.id) });
    },
  }),
  route({
    id: "token.create",
    method: "POST",
    path: "/v1/tokens",
    summary: "Make a token of a user; its value is told this once",
    allowed: ({ body }) => on("token", "manage", body.user),
    body: z.strictObject({
      user: NAME,
      name: z.string().min(1).max(64),
      scopes: z.array(ruleSchema).max(100).optional(),
      expires: TIME.optional(),
    }),
    answers: {
      201: { description: "The token", schema: z.object({ token: TOKEN, value: z.string() }) },
    },
    async handle(call) {
      const { user, name, scopes, expires } = call.body;
      const expiresMs = expires === undefined ? undefined : Date.parse(expires);
      const made = await call.services.access.tokens.create(actorOf(call), { user, name, scopes, expiresMs });
      return json(201, { token: tokenJson(made.token), value: made.value }, { "cache-control": "no-store" });
    },
  }),
  route({
    id: "token.revoke",
    method: "DELETE",
    path: "/v1/tokens/{id}",
    summary: "Revoke a token: it is refused from the answer on",
    allowed: ({ params }) => on("token", "manage", params.id),
    params: BY_ID,
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.tokens.revoke(actorOf(call), call.params.id);
      return nothing();
    },
  }),
];

const AUDIT_QUERY = z.strictObject({
  before: whole(1, Number.MAX_SAFE_INTEGER).optional(),
  limit: whole(1, ROWS_MAX).default(100),
  actor: NAME.optional(),
  action: NAME.optional(),
  resource: z.string().min(1).max(8192).optional(),
  outcome: z.enum(["done", "denied", "failed"]).optional(),
  traceId: z.string().regex(/^[0-9a-f]{32}$/).optional(),
  from: TIME.optional(),
  until: TIME.optional(),
});

const RULE_ROUTES: readonly AnyRoute[] = [
  route({
    id: "role.list",
    method: "GET",
    path: "/v1/roles",
    summary: "Roles with their rules",
    allowed: () => on("role", "read", "*"),
    answers: {
      200: {
        description: "By name",
        schema: z.object({
          roles: z.array(
            z.object({ name: z.string(), includes: z.array(z.string()), rules: z.array(z.unknown()) }),
          ),
        }),
      },
    },
    handle({ services }) {
      const book = services.access.roles;
      const roles = book.names().map((name) => book.sources(name).find((role) => role.name === name));
      return Promise.resolve(json(200, { roles }));
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
  route({
    id: "audit.list",
    method: "GET",
    path: "/v1/audit",
    summary: "The audit log, newest first",
    allowed: () => on("audit", "read", "*"),
    query: AUDIT_QUERY,
    answers: {
      200: {
        description: "A page",
        schema: z.object({ records: z.array(AUDIT), nextBefore: SEQUENCE.optional() }),
      },
    },
    async handle({ services, query }) {
      const { before, limit, from, until, ...rest } = query;
      const filter = {
        ...rest,
        fromMs: from === undefined ? undefined : Date.parse(from),
        untilMs: until === undefined ? undefined : Date.parse(until),
      };
      const rows = await services.access.audit.page(filter, before, limit);
      const records = rows.map(({ seq, timeMs, actor, action, resource, outcome, address, traceId, details }) => ({
        seq,
        time: iso(timeMs),
        actor,
        action,
        resource,
        outcome,
        address,
        traceId,
        details: details === undefined ? undefined : (JSON.parse(details) as unknown),
      }));
      return json(200, { records, ...(rows.length < limit ? {} : { nextBefore: rows.at(-1)!.seq }) });
    },
  }),
  route({
    id: "audit.verify",
    method: "GET",
    path: "/v1/audit/verify",
    summary: "Is the audit log what was written, record by record",
    allowed: () => on("audit", "read", "*"),
    answers: {
      200: {
        description: "The verdict; note the head somewhere else",
        schema: z.object({
          sound: z.boolean(),
          head: z.object({ seq: SEQUENCE, hash: z.string() }).optional(),
          seq: SEQUENCE.optional(),
          why: z.string().optional(),
        }),
      },
    },
    async handle({ services }) {
      return json(200, await services.access.audit.verify());
    },
  }),
];

/** Nobody is known yet, so the secret in the hub's data directory decides; it works once. */
const SETUP: AnyRoute = route({
  id: "hub.setup",
  method: "POST",
  path: "/v1/setup",
  summary: "Make the first user of a new hub, an administrator, with the set-up token from its data directory",
  allowed: "public",
  body: z.strictObject({ token: z.string().min(1).max(512), user: NAME, password: z.string().min(8).max(1024) }),
  answers: {
    201: {
      description: "A token of the new user, told this once",
      schema: z.object({ user: z.string(), token: z.string() }),
    },
  },
  async handle({ services, body, address, trace }) {
    const token = await services.setup(body, { id: "system:setup", address, traceId: trace.traceId });
    return json(201, { user: body.user, token }, { "cache-control": "no-store" });
  },
});

export const ACCESS_ROUTES: readonly AnyRoute[] = [
  ...USER_ROUTES,
  ...GROUP_ROUTES,
  ...TOKEN_ROUTES,
  ...RULE_ROUTES,
  SETUP,
];

function found(user: User | undefined, name: string): User {
  if (user !== undefined) return user;
  throw new ApiProblem("NOT_FOUND", `there is no user "${name}"`, "GET /v1/users lists them");
}
