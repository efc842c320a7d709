/** Shares: addresses that let whoever has them read something of a space, or put something there. */
import * as z from "zod";
import { NOTE_CHARS_MAX, SHARE_KINDS, type Share, mayDownload, mayUpload } from "#hub/shares/share.ts";
import { SHARE_STATES } from "#hub/shares/shares.ts";
import { type AnyRoute, type ApiServices, actorOf, json, nothing, route, treeAt } from "#gateway/api/route.ts";
import { TIME, iso } from "#gateway/api/shapes-access.ts";
import { PATH_OR_ALL, SEQUENCE, SPACE_NAME_TEXT } from "#gateway/api/shapes.ts";

/** Characters of a password; the least is access's. */
const PASSWORD_CHARS_MAX = 1000;

const SPACE = z.object({ space: SPACE_NAME_TEXT });
const ONE = z.object({ space: SPACE_NAME_TEXT, id: z.string().min(1).max(64) });
const COUNT = z.int().min(1).max(1_000_000_000);

const SHARE = z
  .object({
    id: z.string(),
    path: z.string().describe('"" is the whole space'),
    kind: z.enum(SHARE_KINDS),
    note: z.string(),
    user: z.string().describe("Who made it; each use is done with the rights that this user has then"),
    password: z.boolean().describe("Whether one is asked for"),
    state: z.enum(SHARE_STATES).describe("dead: its maker may not do any more what it lets others do"),
    created: TIME,
    expires: TIME.optional(),
    downloadsMax: SEQUENCE.optional(),
    downloads: SEQUENCE,
    uploads: SEQUENCE,
    bytesOut: SEQUENCE,
    bytesIn: SEQUENCE,
    used: TIME.optional().describe("Last download or upload"),
  })
  .meta({ id: "Share" });
export type ShareJson = z.infer<typeof SHARE>;

async function shareJson({ shares }: Pick<ApiServices, "shares">, share: Share): Promise<ShareJson> {
  const { id, path, kind, note, user, createdMs, expiresMs, downloadsMax, downloads, uploads, bytesOut, bytesIn, usedMs } = share;
  return {
    id,
    path,
    kind,
    note,
    user,
    password: share.password !== undefined,
    state: await shares.stateOf(share),
    created: iso(createdMs),
    ...(expiresMs === undefined ? {} : { expires: iso(expiresMs) }),
    ...(downloadsMax === undefined ? {} : { downloadsMax }),
    downloads,
    uploads,
    bytesOut,
    bytesIn,
    ...(usedMs === undefined ? {} : { used: iso(usedMs) }),
  };
}

export const SHARE_ROUTES: readonly AnyRoute[] = [
  route({
    id: "share.list",
    method: "GET",
    path: "/v1/spaces/{space}/shares",
    summary: "Shares of a space: one's own, and all of them for who manages it; never their addresses",
    allowed: "visible",
    params: SPACE,
    answers: { 200: { description: "By age", schema: z.object({ shares: z.array(SHARE) }) } },
    async handle({ services, who, params }) {
      const all = await services.shares.list(who, params.space);
      return json(200, { shares: await Promise.all(all.map((share) => shareJson(services, share))) });
    },
  }),
  route({
    id: "share.create",
    method: "POST",
    path: "/v1/spaces/{space}/shares",
    summary: "Let whoever has an address read what is at a path, put something there, or both; the address is told this once",
    allowed: ({ params, body }) => [
      ...(mayDownload(body) ? [{ action: "read", resource: treeAt(params.space, body.path) } as const] : []),
      ...(mayUpload(body) ? [{ action: "write", resource: treeAt(params.space, body.path) } as const] : []),
    ],
    params: SPACE,
    body: z.strictObject({
      path: PATH_OR_ALL.default(""),
      kind: z.enum(SHARE_KINDS).default("read"),
      note: z.string().max(NOTE_CHARS_MAX).default("").describe("Shown to who uses it"),
      password: z.string().min(1).max(PASSWORD_CHARS_MAX).optional(),
      expires: TIME.optional(),
      downloadsMax: COUNT.optional(),
    }),
    answers: { 201: { description: "The share", schema: z.object({ share: SHARE, url: z.string() }) } },
    async handle(call) {
      const { services, who, params, body } = call;
      const { expires, ...rest } = body;
      const expiresMs = expires === undefined ? undefined : Date.parse(expires);
      const wanted = { ...rest, password: body.password, downloadsMax: body.downloadsMax, expiresMs };
      const { share, secret } = await services.shares.create(who, params.space, wanted, actorOf(call));
      const url = `${services.publicUrl()}/s/${secret}`;
      return json(201, { share: await shareJson(services, share), url }, { "cache-control": "no-store" });
    },
  }),
  route({
    id: "share.get",
    method: "GET",
    path: "/v1/spaces/{space}/shares/{id}",
    summary: "How one is",
    allowed: "visible",
    params: ONE,
    answers: { 200: { description: "The share", schema: SHARE } },
    async handle({ services, who, params }) {
      return json(200, await shareJson(services, await services.shares.get(who, params.space, params.id)));
    },
  }),
  route({
    id: "share.revoke",
    method: "DELETE",
    path: "/v1/spaces/{space}/shares/{id}",
    summary: "End a share, at once and for good",
    allowed: "visible",
    params: ONE,
    answers: { 204: { description: "Its address leads nowhere" } },
    async handle(call) {
      await call.services.shares.revoke(call.who, call.params.space, call.params.id, actorOf(call));
      return nothing();
    },
  }),
];
