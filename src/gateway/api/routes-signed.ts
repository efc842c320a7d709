/**
 * Signed addresses: whoever has one may read, or write, one path until it ends, as the user that made it. Nothing is kept
 * of them: the address says all, under a mark that only this hub can make.
 */
import * as z from "zod";
import type { Principal } from "#access/access.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { getContent, putContent } from "#gateway/api/routes-content.ts";
import { type AnyRoute, type Call, actorOf, json, route, spaceAt } from "#gateway/api/route.ts";
import { TIME, iso } from "#gateway/api/shapes-access.ts";
import { PATH, SPACE_NAME_TEXT, VERSION_JSON, whole } from "#gateway/api/shapes.ts";
import { encodeUrlPath, percentEncode } from "#gateway/api/url-path.ts";
import { signedIn } from "#gateway/renewing.ts";

/** How long an address may be good, and is where nothing is said. */
export const SIGNED_SECONDS_MAX = 7 * 86_400;
const SIGNED_SECONDS_USUAL = 3600;

const METHODS = ["GET", "PUT"] as const;
type SignedMethod = (typeof METHODS)[number];

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const SIGNED_QUERY = z.strictObject({
  user: z.string().min(1).max(64),
  until: whole(0, Number.MAX_SAFE_INTEGER).describe("Milliseconds since 1970"),
  mark: z.string().regex(/^[\w-]{43}$/, "no mark of this hub"),
});
type Signed = Call<z.infer<typeof BY_NAME>, z.infer<typeof SIGNED_QUERY>, undefined>;

const SIGNED_PATH = "/v1/signed/{space}/{path...}";

export const SIGNED_ROUTES: readonly AnyRoute[] = [
  route({
    id: "content.sign",
    method: "POST",
    path: "/v1/spaces/{space}/sign",
    summary: "An address at which anybody may read, or write, one path for a while, with the rights that the caller has then",
    allowed: ({ params, body }) => [
      { action: body.method === "GET" ? "read" : "write", resource: spaceAt(params.space, body.path) },
    ],
    params: BY_NAME,
    body: z.strictObject({
      path: PATH,
      method: z.enum(METHODS).default("GET"),
      seconds: z.int().min(1).max(SIGNED_SECONDS_MAX).default(SIGNED_SECONDS_USUAL),
    }),
    answers: { 201: { description: "The address", schema: z.object({ url: z.string(), method: z.enum(METHODS), until: TIME }) } },
    async handle(call) {
      const { services, who, params, body } = call;
      const signer = who.kind === "user" ? await services.access.users.forSignIn(who.name) : undefined;
      if (signer === undefined) throw new SynclineError({ code: "DENIED", op: "sign address", message: "only users sign addresses" });
      const untilMs = services.clock.nowMs() + body.seconds * 1000;
      const mark = services.access.seal.mark(textOf(body.method, params.space, body.path, signer, untilMs));
      const query = `user=${percentEncode(who.name)}&until=${untilMs}&mark=${mark.toBase64({ alphabet: "base64url", omitPadding: true })}`;
      const url = `${services.publicUrl()}/v1/signed/${percentEncode(params.space)}/${encodeUrlPath(body.path)}?${query}`;
      const details = { method: body.method, untilMs };
      const resource = `space:${params.space}/${body.path}`;
      await services.access.audit.append(actorOf(call), { action: "content.sign", resource, outcome: "done", details });
      return json(201, { url, method: body.method, until: iso(untilMs) }, { "cache-control": "no-store" });
    },
  }),
  route({
    id: "signed.get",
    method: "GET",
    path: SIGNED_PATH,
    summary: "The bytes of a file, for who has a signed address",
    allowed: "public",
    params: BY_NAME,
    query: SIGNED_QUERY,
    answers: { 200: { description: "Everything", media: "application/octet-stream" }, 206: { description: "Ranges" } },
    async handle(call) {
      const query = { disposition: "attachment" } as const;
      return getContent({ ...call, query, who: await signerOf(call, "GET", call.services.clock.nowMs()) });
    },
  }),
  route({
    id: "signed.put",
    method: "PUT",
    path: SIGNED_PATH,
    summary: "Write a file, for who has a signed address",
    allowed: "public",
    params: BY_NAME,
    query: SIGNED_QUERY,
    takesBytes: true,
    answers: { 200: { description: "Replaced", schema: VERSION_JSON }, 201: { description: "Made", schema: VERSION_JSON } },
    async handle(call) {
      // The address may end while the bytes come.
      const atMs = call.services.clock.nowMs();
      const signed = await signedIn(call.services.access, () => signerOf(call, "PUT", atMs));
      return putContent({ ...call, query: {}, ...signed });
    },
  }),
];

/** Since when there is the user, too: another one of the name is somebody else. */
type Signer = { readonly principal: Principal; readonly createdMs: number };

/** Paths may hold anything but NUL, names of users and spaces little: no two requests make one text. */
function textOf(method: SignedMethod, space: string, path: RelPath, { principal, createdMs }: Signer, untilMs: number): string {
  return ["signed", method, space, principal.name, createdMs, untilMs, path].join("\0");
}

/**
 * Who signed it, as they are now and for nothing but this.
 * @throws {SynclineError} AUTH: it was never signed so, it has ended, or its maker may not sign in any more
 */
async function signerOf({ services, params, query, path }: Signed, method: SignedMethod, atMs: number): Promise<Principal> {
  const { access } = services;
  const { user, until, mark } = query;
  const given = Uint8Array.fromBase64(mark, { alphabet: "base64url" });
  const signer = await access.users.forSignIn(user);
  const isRight = signer !== undefined && access.seal.isMark(given, textOf(method, params.space, path, signer, until));
  if (!isRight || until <= atMs) {
    const message = "this address was not signed here, or has ended";
    throw new SynclineError({ code: "AUTH", op: "open signed address", message, hint: "ask whoever gave it to you for a new one" });
  }
  const scope = { effect: "allow", resource: "space", names: [params.space] } as const;
  const own = { ...scope, actions: [method === "GET" ? "read" : "write"], prefixes: [path] } as const;
  // Whoever sees nothing of a space cannot write to it either: what its maker sees of it may be elsewhere than this path.
  return { ...signer.principal, scopes: method === "GET" ? [own] : [own, { ...scope, actions: ["read"] }] };
}
