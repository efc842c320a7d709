/** Who exists: users, groups, and their tokens. Every change is audited by its room. */
import * as z from "zod";
import { ruleSchema } from "#access/roles-file.ts";
import type { Token } from "#access/tokens.ts";
import type { Group, User } from "#access/users.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, actorOf, json, nothing, route } from "#gateway/api/route.ts";
import { BY_NAME, NAME, NEXT, PAGE, TIME, iso, next, on, onCredentials } from "#gateway/api/shapes-access.ts";

const NAMES = z.array(NAME).max(100);
const BY_ID = z.object({ id: NAME });

const USER = z
  .object({
    name: z.string(),
    roles: z.array(z.string()),
    groups: z.array(z.string()),
    hasPassword: z.boolean(),
    oidc: z.enum(["none", "invited", "tied"]).describe("Whether it signs in through the identity provider"),
    disabled: z.boolean(),
    created: TIME,
  })
  .meta({ id: "User" });
export type UserJson = z.infer<typeof USER>;
const GROUP = z.object({ name: z.string(), roles: z.array(z.string()), created: TIME }).meta({ id: "Group" });
export type GroupJson = z.infer<typeof GROUP>;
const MEMBER = z.object({ name: NAME, user: NAME });
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

const USER_CHANGE = {
  password: z.string().min(1).max(1024).nullable().optional().describe("null: no sign-in by password"),
  roles: NAMES.optional(),
  groups: NAMES.optional(),
  oidc: z.boolean().optional().describe("May sign in through the identity provider; false also unties it"),
};

function userJson({ name, roles, groups, hasPassword, oidc, isDisabled, createdMs }: User): z.infer<typeof USER> {
  return { name, roles: [...roles], groups: [...groups], hasPassword, oidc, disabled: isDisabled, created: iso(createdMs) };
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

const groupJson = ({ name, roles, createdMs }: Group): GroupJson => ({ name, roles: [...roles], created: iso(createdMs) });

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
      return json(200, { groups: groups.map(groupJson), ...next(groups, query.limit, groups.at(-1)?.name) });
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
    id: "group.get",
    method: "GET",
    path: "/v1/groups/{name}",
    summary: "One group",
    allowed: ({ params }) => on("user", "read", params.name),
    params: BY_NAME,
    answers: { 200: { description: "The group", schema: GROUP } },
    async handle({ services, params }) {
      const group = await services.access.users.group(params.name);
      if (group === undefined) throw new ApiProblem("NOT_FOUND", `there is no group "${params.name}"`, "GET /v1/groups lists them");
      return json(200, groupJson(group));
    },
  }),
  route({
    id: "group.members",
    method: "GET",
    path: "/v1/groups/{name}/members",
    summary: "Users in a group, by name",
    allowed: ({ params }) => on("user", "read", params.name),
    params: BY_NAME,
    query: PAGE,
    answers: { 200: { description: "A page", schema: z.object({ members: z.array(z.string()), nextAfter: NEXT }) } },
    async handle({ services, params, query }) {
      const members = await services.access.users.members(params.name, query.after, query.limit);
      return json(200, { members, ...next(members, query.limit, members.at(-1)) });
    },
  }),
  ...(["PUT", "DELETE"] as const).map((method) =>
    route({
      id: method === "PUT" ? "group.addMember" : "group.removeMember",
      method,
      path: "/v1/groups/{name}/members/{user}",
      summary: method === "PUT" ? "Take a user into a group" : "Take a user out of a group",
      allowed: ({ params }) => [...on("user", "manage", params.name), ...on("user", "manage", params.user)],
      params: MEMBER,
      answers: { 204: { description: "So it is" } },
      async handle(call) {
        const { name, user } = call.params;
        await call.services.access.users.setMember(actorOf(call), name, user, method === "PUT");
        return nothing();
      },
    }),
  ),
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
    allowed: ({ query }) => onCredentials("read", query.user ?? "*"),
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
    allowed: ({ body }) => onCredentials("manage", body.user),
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
    // Whose it is decides; one that is not there is nobody's.
    allowed: async ({ params }, { access }) => onCredentials("manage", (await access.tokens.get(params.id))?.user ?? params.id),
    params: BY_ID,
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.tokens.revoke(actorOf(call), call.params.id);
      return nothing();
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
  SETUP,
];

function found(user: User | undefined, name: string): User {
  if (user !== undefined) return user;
  throw new ApiProblem("NOT_FOUND", `there is no user "${name}"`, "GET /v1/users lists them");
}
