/** Signing in and out, and who is signed in. */
import * as z from "zod";
import { SESSION_IDLE_MS, type Session, csrfTokenOf } from "#access/sessions.ts";
import { requireSameSite, sessionCookie } from "#gateway/api/cookies.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, type Call, actorOf, json, nothing, route } from "#gateway/api/route.ts";
import { BY_NAME, NAME, NEXT, PAGE, TIME, iso, next, onCredentials } from "#gateway/api/shapes-access.ts";

const SESSION = z
  .object({
    id: z.string(),
    user: z.string(),
    created: TIME,
    seen: TIME.describe("To the minute"),
    address: z.string(),
    client: z.string().describe("What it called itself"),
  })
  .meta({ id: "Session" });
export type SessionJson = z.infer<typeof SESSION>;

export const SIGNED_IN = z
  .object({
    id: z.string(),
    user: z.string(),
    idleSeconds: z.int().describe("It ends when it is not used for so long"),
    value: z.string().optional().describe("Send it as a Bearer token; absent where it went into a cookie"),
    csrf: z.string().optional().describe("With a cookie: what every change must carry in x-csrf-token"),
  })
  .meta({ id: "SignedIn" });
export type SignedInJson = z.infer<typeof SIGNED_IN>;

const SESSIONS_PAGE = z.object({ sessions: z.array(SESSION), nextAfter: NEXT });

const sessionJson = ({ id, user, createdMs, seenMs, address, client }: Session): SessionJson => ({
  id,
  user,
  created: iso(createdMs),
  seen: iso(seenMs),
  address,
  client,
});

/** The answer to who has just signed in; told this once. */
export function signedIn(
  { services }: Pick<Call, "services">,
  made: { readonly id: string; readonly user: string; readonly cookie: string },
  inCookie: boolean,
): Response {
  const { id, user, cookie } = made;
  const facts = { id, user, idleSeconds: SESSION_IDLE_MS / 1000 };
  const headers = { "cache-control": "no-store" };
  if (!inCookie) return json(201, { ...facts, value: cookie }, headers);
  const isSecure = services.publicUrl().startsWith("https:");
  return json(201, { ...facts, csrf: csrfTokenOf(cookie) }, { ...headers, "set-cookie": sessionCookie(cookie, isSecure) });
}

export const SESSION_ROUTES: readonly AnyRoute[] = [
  route({
    id: "session.open",
    method: "POST",
    path: "/v1/sessions",
    summary: "Sign in with a password. The session's value is told this once, or set as a cookie that scripts cannot read",
    allowed: "public",
    body: z.strictObject({
      user: NAME,
      password: z.string().min(1).max(1024),
      cookie: z.boolean().default(false).describe("For browsers: the value goes into a cookie"),
    }),
    answers: { 201: { description: "Signed in", schema: SIGNED_IN } },
    async handle(call) {
      const { services, body, headers, address, trace } = call;
      // Nobody's page may sign a browser in as somebody else.
      if (body.cookie) {
        requireSameSite(headers);
        // A browser lets another site send bytes without a type, and over plain HTTP does not say that it is another one.
        if (headers.get("content-type") === null) throw new ApiProblem("MEDIA_TYPE", "the body must be application/json");
      }
      const from = { address, traceId: trace.traceId };
      const made = await services.access.signIn(body.user, body.password, from, headers.get("user-agent") ?? "");
      return signedIn(call, { id: made.id, user: made.principal.name, cookie: made.cookie }, body.cookie);
    },
  }),
  route({
    id: "session.close",
    method: "DELETE",
    path: "/v1/whoami/session",
    summary: "Sign out: the session that asks ends",
    allowed: "known",
    answers: { 204: { description: "It is refused from now on" } },
    async handle(call) {
      const { services, session, who } = call;
      const known = session === undefined ? undefined : await services.access.sessions.authenticate(session);
      if (known === undefined) throw new ApiProblem("USAGE", "this was not asked with a session", "a token is revoked by its id");
      await services.access.sessions.revoke(actorOf(call), known.session.id, who.name);
      return nothing({ "set-cookie": sessionCookie("", services.publicUrl().startsWith("https:")) });
    },
  }),
  route({
    id: "user.changePassword",
    method: "POST",
    path: "/v1/whoami/password",
    summary: "Change one's own password; it takes the old one, and ends all sessions of the user",
    allowed: "known",
    body: z.strictObject({ old: z.string().min(1).max(1024), new: z.string().min(1).max(1024) }),
    answers: { 204: { description: "The new one counts" } },
    async handle(call) {
      const { services, who, body, address } = call;
      // A narrow token must not become its user.
      services.access.require(who, "manage", { type: "token", name: who.name });
      if (who.kind !== "user") throw new ApiProblem("USAGE", `${who.id} has no password`);
      await services.access.changePassword(who, body, { ...actorOf(call), address });
      return nothing();
    },
  }),
  route({
    id: "session.list",
    method: "GET",
    path: "/v1/sessions",
    summary: "Sessions of all users, by id",
    allowed: () => onCredentials("read", "*"),
    query: PAGE,
    answers: { 200: { description: "A page", schema: SESSIONS_PAGE } },
    handle: ({ services, query }) => pageOf(services, undefined, query),
  }),
  route({
    id: "session.ofUser",
    method: "GET",
    path: "/v1/users/{name}/sessions",
    summary: "Sessions of a user",
    allowed: ({ params }) => onCredentials("read", params.name),
    params: BY_NAME,
    query: PAGE,
    answers: { 200: { description: "A page", schema: SESSIONS_PAGE } },
    handle: ({ services, params, query }) => pageOf(services, params.name, query),
  }),
  route({
    id: "session.revokeAll",
    method: "DELETE",
    path: "/v1/users/{name}/sessions",
    summary: "End all sessions of a user",
    allowed: ({ params }) => onCredentials("manage", params.name),
    params: BY_NAME,
    answers: { 200: { description: "How many there were", schema: z.object({ ended: z.int() }) } },
    async handle(call) {
      return json(200, { ended: await call.services.access.sessions.revokeAll(actorOf(call), call.params.name) });
    },
  }),
  route({
    id: "session.revoke",
    method: "DELETE",
    path: "/v1/users/{name}/sessions/{id}",
    summary: "End a session: it is refused from the answer on",
    allowed: ({ params }) => onCredentials("manage", params.name),
    params: z.object({ name: NAME, id: NAME }),
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.sessions.revoke(actorOf(call), call.params.id, call.params.name);
      return nothing();
    },
  }),
];

async function pageOf(
  { access }: Call["services"],
  user: string | undefined,
  { after, limit }: z.output<typeof PAGE>,
): Promise<Response> {
  const sessions = await access.sessions.page(user, after, limit);
  return json(200, { sessions: sessions.map(sessionJson), ...next(sessions, limit, sessions.at(-1)?.id) });
}
