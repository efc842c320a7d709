/** Signing in through an identity provider: a browser is sent there and comes back; a program shows a code and waits. */
import * as z from "zod";
import { SIGN_IN_MS_MAX } from "#access/oidc.ts";
import { cookieText, readCookie, sessionCookie } from "#gateway/api/cookies.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, type Call, json, route } from "#gateway/api/route.ts";
import { SIGNED_IN, signedIn } from "#gateway/api/routes-sessions.ts";
import { splitUrl } from "#gateway/api/url-path.ts";

const CALLBACK = "/v1/oidc/callback";
/** Between the two steps of a browser. */
const STEP_COOKIE = "oidc";

const DEVICE = z
  .object({
    handle: z.string().describe("For the poll; a secret of who began"),
    userCode: z.string(),
    verificationUri: z.string(),
    verificationUriComplete: z.string().optional(),
    intervalSeconds: z.int(),
    expiresSeconds: z.int(),
  })
  .meta({ id: "DeviceSignIn" });
export type DeviceJson = z.infer<typeof DEVICE>;

const WAITING = z.object({ waiting: z.literal(true), slower: z.boolean().describe("Ask less often") }).meta({ id: "DeviceWaiting" });

const isSecure = ({ services }: Pick<Call, "services">): boolean => services.publicUrl().startsWith("https:");

export const OIDC_ROUTES: readonly AnyRoute[] = [
  route({
    id: "signIn.ways",
    method: "GET",
    path: "/v1/sign-in",
    summary: "How people sign in to this hub",
    allowed: "public",
    answers: {
      200: {
        description: "The ways",
        schema: z.object({ password: z.literal(true), oidc: z.object({ issuer: z.string() }).optional() }),
      },
    },
    handle({ services }) {
      const issuer = services.access.oidc.settings?.issuer;
      return Promise.resolve(json(200, { password: true, ...(issuer === undefined ? {} : { oidc: { issuer } }) }));
    },
  }),
  route({
    id: "oidc.login",
    method: "GET",
    path: "/v1/oidc/login",
    summary: "Send a browser to the identity provider; it comes back signed in, to a path of this hub",
    allowed: "public",
    query: z.strictObject({
      // Nothing that a browser takes for another site.
      return: z.string().regex(/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/, { error: "a path of this hub" }).default("/"),
    }),
    answers: { 303: { description: "To the provider" } },
    async handle(call) {
      const { services, query } = call;
      const begun = await services.access.oidc.begin(`${services.publicUrl()}${CALLBACK}`, query.return);
      return new Response(null, {
        status: 303,
        headers: {
          location: begun.url,
          "cache-control": "no-store",
          "set-cookie": cookieText(STEP_COOKIE, begun.sealed, SIGN_IN_MS_MAX / 1000, isSecure(call)),
        },
      });
    },
  }),
  route({
    id: "oidc.callback",
    method: "GET",
    path: CALLBACK,
    summary: "Where the identity provider sends the browser back to",
    allowed: "public",
    query: z.record(z.string(), z.string()),
    answers: { 303: { description: "Signed in, with a cookie; to where it began" } },
    async handle(call) {
      const { services, request, headers, address, trace } = call;
      const sealed = readCookie(headers, STEP_COOKIE, isSecure(call));
      if (sealed === undefined) throw new ApiProblem("AUTH", "this browser has begun no sign-in here", "GET /v1/oidc/login begins one");
      const { search } = splitUrl(request.url);
      const vouched = await told(call, () => services.access.oidc.finish(sealed, search === "" ? "" : `?${search}`));
      const from = { address, traceId: trace.traceId };
      const { cookie } = await services.access.signInVouched(vouched, from, headers.get("user-agent") ?? "");
      const answer = new Headers({ location: vouched.returnTo, "cache-control": "no-store" });
      answer.append("set-cookie", sessionCookie(cookie, isSecure(call)));
      answer.append("set-cookie", cookieText(STEP_COOKIE, "", 0, isSecure(call)));
      return new Response(null, { status: 303, headers: answer });
    },
  }),
  route({
    id: "oidc.device",
    method: "POST",
    path: "/v1/oidc/device",
    summary: "Begin a sign-in of a program: show the person the code and the page, and poll",
    allowed: "public",
    answers: { 201: { description: "The code", schema: DEVICE } },
    async handle(call) {
      const { verificationUriComplete: complete, ...device } = await told(call, () => call.services.access.oidc.beginDevice());
      const answer = { ...device, ...(complete === undefined ? {} : { verificationUriComplete: complete }) };
      return json(201, answer, { "cache-control": "no-store" });
    },
  }),
  route({
    id: "oidc.poll",
    method: "POST",
    path: "/v1/oidc/device/poll",
    summary: "Whether the person has decided; then the session, told this once",
    allowed: "public",
    body: z.strictObject({ handle: z.string().min(1).max(8192) }),
    answers: {
      201: { description: "Signed in", schema: SIGNED_IN },
      202: { description: "Not yet", schema: WAITING },
    },
    async handle(call) {
      const { services, body, headers, address, trace } = call;
      const vouched = await told(call, () => services.access.oidc.pollDevice(body.handle));
      if (vouched === undefined || vouched === "slower") return json(202, { waiting: true, slower: vouched === "slower" });
      const from = { address, traceId: trace.traceId };
      const made = await services.access.signInVouched(vouched, from, headers.get("user-agent") ?? "");
      return signedIn(call, made, false);
    },
  }),
];

/** What the provider did wrong is for who runs the hub, not for who asked. */
async function told<T>({ services, trace }: Pick<Call, "services" | "trace">, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && error.cause !== undefined) {
      services.log.error("sign-in through the identity provider failed", { traceId: trace.traceId, error: causesOf(error) });
    }
    throw error;
  }
}

function causesOf(error: Error): string {
  const { cause } = error;
  const own = "error_description" in error ? `${error.message} (${String(error.error_description)})` : error.message;
  return cause instanceof Error ? `${own}: ${causesOf(cause)}` : own;
}
