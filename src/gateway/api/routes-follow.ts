/** Hubs that follow each other: what a source tells its followers, and which spaces of this hub follow another. */
import * as z from "zod";
import type { Comparison } from "#hub/followers/compare.ts";
import type { FollowView } from "#hub/followers/followers.ts";
import { WAIT_MS_MAX } from "#hub/followers/source.ts";
import { holding, streamOf } from "#gateway/api/bytes-body.ts";
import {
  CHUNKS_BODY,
  DIGEST_JSON,
  DROPPED_BODY,
  DROPPED_JSON,
  FACTS_JSON,
  HISTORY_BODY,
  MARKS_JSON,
  PAGE_JSON,
  RECORDS_JSON,
  factsJson,
  marksJson,
  pageJson,
  recordsJson,
} from "#gateway/api/follow-shapes.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, json, nothing, route, spaceAt, treeAt } from "#gateway/api/route.ts";
import { FLAG, PATH, PATH_OR_ALL, SEQUENCE, SPACE_JSON, SPACE_NAME_TEXT, spaceJson, whole } from "#gateway/api/shapes.ts";
import { CHUNK_BYTES_MAX } from "#store/chunk-store.ts";
import { type ChunkId, type ContentId, isChunkId } from "#sync/chunk/chunk-id.ts";

/** Length of a chunk that is not there, in an answer. */
export const ABSENT = 0xffff_ffff;
/** Differences that one answer names; the rest is counted. */
const SHOWN_MAX = 1000;
const SECONDS_MAX = WAIT_MS_MAX / 1000;

/** A host and a port, and nothing that would make of the rest a query, or hold a password that everybody sees. */
const HUB_ADDRESS = /^https?:\/\/(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?\/?$/;

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const seen = ({ params }: { params: { space: string } }) =>
  [{ action: "read", resource: treeAt(params.space, "") }] as const;
const managed = ({ params }: { params: { space: string } }) =>
  [{ action: "manage", resource: spaceAt(params.space, "") }] as const;

const FOLLOW_JSON = z
  .object({
    space: z.string(),
    url: z.string(),
    source: z.string().describe("The space's name there"),
    phase: z.enum(["starting", "catching-up", "following", "retrying", "diverged", "halted", "stopped"]),
    well: z.boolean().describe("All of the source is here, the same, and the source was heard"),
    sequence: SEQUENCE,
    sourceSequence: SEQUENCE.optional().describe("As the source said last"),
    heardAgoSeconds: z.number().optional(),
    lagSeconds: z.number().optional().describe("Since when something is lacking, or nothing was heard"),
    sameAt: SEQUENCE.optional().describe("Where both were found to be the same"),
    differed: SEQUENCE.describe("Paths that were found to differ since the hub began"),
    fetchedBytes: SEQUENCE,
    error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }).optional(),
  })
  .meta({ id: "Follow" });
export type FollowJson = z.infer<typeof FOLLOW_JSON>;

const LEAF = z.object({ sequence: SEQUENCE, digest: z.string() });
const COMPARISON_JSON = z.object({
  sequence: SEQUENCE,
  same: z.boolean(),
  rounds: SEQUENCE.describe("Questions that it took"),
  differing: SEQUENCE.describe("Paths that differ; `whole` says whether these are all"),
  whole: z.boolean(),
  paths: z.array(z.object({ path: z.string(), here: LEAF.optional(), there: LEAF.optional() })),
});
export type ComparisonJson = z.infer<typeof COMPARISON_JSON>;

const BEGUN_JSON = z.object({
  space: SPACE_JSON,
  keptAside: z
    .object({ space: z.string(), sharedSequence: SEQUENCE, changes: SEQUENCE })
    .optional()
    .describe("What was here alone: the space that has it, and how many changes the source never had"),
});
export type FollowBegunJson = z.infer<typeof BEGUN_JSON>;
const PROMOTED_JSON = z.object({
  space: SPACE_JSON,
  missing: SEQUENCE.optional().describe("Changes of the source that are not here, as far as it was heard"),
  heardAgoSeconds: z.number().optional(),
});
export type PromotedJson = z.infer<typeof PROMOTED_JSON>;

const seconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : Math.round(ms / 100) / 10);

function followJson({ isWell, heardAgoMs, lagMs, trouble, ...view }: FollowView): FollowJson {
  return { ...view, well: isWell, heardAgoSeconds: seconds(heardAgoMs), lagSeconds: seconds(lagMs), error: trouble };
}

function comparisonJson({ differences, isWhole, rounds, sequence }: Comparison & { sequence: number }): ComparisonJson {
  const paths = differences.slice(0, SHOWN_MAX).map(({ path, here, there }) => ({
    path,
    ...(here === undefined ? {} : { here: { sequence: here.sequence, digest: here.digest } }),
    ...(there === undefined ? {} : { there: { sequence: there.sequence, digest: there.digest } }),
  }));
  return { sequence, same: differences.length === 0, rounds, differing: differences.length, whole: isWhole, paths };
}

const SOURCE_ROUTES: readonly AnyRoute[] = [
  route({
    id: "space.digest",
    method: "GET",
    path: "/v1/spaces/{space}/digest",
    summary: "Digest of the tree at a sequence, or of the paths from `from` on and before `to`: equal where the versions are",
    allowed: seen,
    params: BY_NAME,
    query: z.strictObject({
      at: whole(0, Number.MAX_SAFE_INTEGER).optional(),
      from: PATH_OR_ALL.optional(),
      to: PATH.optional(),
      detail: FLAG.optional().describe("Entries of a small range, digests of the parts of a larger one"),
    }),
    answers: { 200: { description: "The digest", schema: DIGEST_JSON } },
    async handle({ services, who, params, query }) {
      const range = { from: query.from ?? "", to: query.to };
      return json(200, await services.following.digest(who, params.space, query.at, range, query.detail ?? false));
    },
  }),
  route({
    id: "follow.facts",
    method: "GET",
    path: "/v1/spaces/{space}/follow",
    summary: "What a follower takes over beside the journal",
    allowed: seen,
    params: BY_NAME,
    answers: { 200: { description: "Settings, restore points, lineages", schema: FACTS_JSON } },
    handle: async ({ services, who, params }) => json(200, factsJson(await services.following.facts(who, params.space))),
  }),
  route({
    id: "follow.journal",
    method: "GET",
    path: "/v1/spaces/{space}/follow/journal",
    summary: "The journal after a sequence as it is at rest, for a hub that follows; waits while there is nothing",
    allowed: seen,
    params: BY_NAME,
    query: z.strictObject({
      after: whole(0, Number.MAX_SAFE_INTEGER).default(0),
      wait: whole(0, SECONDS_MAX).default(0).describe("Seconds"),
    }),
    answers: { 200: { description: "A page; it ends with a commit", schema: PAGE_JSON } },
    async handle({ services, who, params, query, request }) {
      const { following, hubId, closing } = services;
      const signal = AbortSignal.any([request.signal, closing]);
      return json(200, pageJson(hubId, await following.page(who, params.space, query.after, query.wait * 1000, signal)));
    },
  }),
  route({
    id: "follow.history",
    method: "POST",
    path: "/v1/spaces/{space}/follow/history",
    summary: "Versions of one path as they are at rest, oldest first; an empty page is the end",
    allowed: seen,
    params: BY_NAME,
    body: HISTORY_BODY,
    answers: { 200: { description: "A page", schema: RECORDS_JSON } },
    async handle({ services, who, params, body: { path, after, until } }) {
      const page = await services.following.history(who, params.space, path, after, until);
      return json(200, recordsJson(services.hubId, page));
    },
  }),
  route({
    id: "follow.dropped",
    method: "POST",
    path: "/v1/spaces/{space}/follow/dropped",
    summary: "Which of these versions have no content any more",
    allowed: seen,
    params: BY_NAME,
    body: DROPPED_BODY,
    answers: { 200: { description: "Their sequences", schema: DROPPED_JSON } },
    handle: async ({ services, who, params, body }) =>
      json(200, { sequences: await services.following.dropped(who, params.space, body.sequences) }),
  }),
  route({
    id: "follow.marks",
    method: "GET",
    path: "/v1/spaces/{space}/follow/marks",
    summary: "What was said of versions after they were made: locks, and which were purged; an empty page is the end",
    allowed: seen,
    params: BY_NAME,
    query: z.strictObject({ after: whole(0, Number.MAX_SAFE_INTEGER).default(0) }),
    answers: { 200: { description: "A page, by number", schema: MARKS_JSON } },
    handle: async ({ services, who, params, query }) =>
      json(200, marksJson(await services.following.marks(who, params.space, query.after))),
  }),
  route({
    id: "follow.chunks",
    method: "POST",
    path: "/v1/spaces/{space}/follow/chunks",
    summary:
      "Chunks of content that the space has: for each, in the order asked, its id (32 bytes), its length (4, little-endian; " +
      "all ones: not here) and its bytes",
    allowed: seen,
    params: BY_NAME,
    body: CHUNKS_BODY,
    answers: { 200: { description: "Bytes", media: "application/octet-stream" } },
    async handle(call) {
      const { services, who, params, body, trace, traffic } = call;
      const wanted = body.wanted.map(({ content, chunks }) => ({
        content: content as ContentId,
        chunks: chunks as string[] as ChunkId[],
      }));
      const found = services.following.chunks(who, params.space, wanted);
      const onError = (error: unknown): void =>
        services.log.error("chunks broke off", { traceId: trace.traceId, error: String(error) });
      const framed = holding(traffic.download(), frames(found, (count) => traffic.count("out", count)));
      return new Response(streamOf(framed, onError), { headers: { "content-type": "application/octet-stream" } });
    },
  }),
  route({
    id: "follow.give",
    method: "PUT",
    path: "/v1/spaces/{space}/follow/chunks/{id}",
    summary: "Give back a chunk that the hub has lost; taken only when it asked for it, and only when the bytes are right",
    allowed: seen,
    params: z.object({ space: SPACE_NAME_TEXT, id: z.string().max(64) }),
    takesBytes: true,
    answers: { 204: { description: "It is there again" } },
    async handle({ services, who, params, request }) {
      const { id } = params;
      const length = Number(request.headers.get("content-length") ?? Number.NaN);
      if (length > CHUNK_BYTES_MAX) throw new ApiProblem("LIMIT", `a chunk has at most ${CHUNK_BYTES_MAX} bytes`);
      if (!isChunkId(id) || Number.isNaN(length)) throw notAskedFor(id);
      const bytes = new Uint8Array(await request.arrayBuffer());
      if (!(await services.following.give(who, params.space, id, bytes))) throw notAskedFor(id);
      return nothing();
    },
  }),
];

const FOLLOWER_ROUTES: readonly AnyRoute[] = [
  route({
    id: "follow.list",
    method: "GET",
    path: "/v1/follows",
    summary: "Spaces of this hub that follow another hub, and how they are",
    allowed: "known",
    answers: { 200: { description: "By name", schema: z.object({ follows: z.array(FOLLOW_JSON) }) } },
    handle: async ({ services, who }) =>
      json(200, { follows: (await services.followers.list(who)).map(followJson) }),
  }),
  route({
    id: "follow.begin",
    method: "POST",
    path: "/v1/spaces/{space}/source",
    summary: "Follow a space of another hub under this name; a space that has lived the same life goes on from where it is",
    allowed: managed,
    params: BY_NAME,
    body: z.strictObject({
      url: z.string().regex(HUB_ADDRESS, "the address of a hub, like https://hub.example.com:7830").max(500),
      space: SPACE_NAME_TEXT.optional().describe("Its name there; left out: the same"),
      token: z.string().min(1).max(512).describe("Of a user there who may read all of it; kept sealed"),
      ca: z.string().max(65_536).optional().describe("PEM of the authority that certified that hub"),
      quotaBytes: SEQUENCE.optional().describe("Bytes that the copy's current files may have; left out: as many as the source's"),
    }),
    answers: { 201: { description: "It follows", schema: BEGUN_JSON } },
    async handle({ services, who, params, body, request }) {
      const { url, space, token, ca, quotaBytes } = body;
      const target = { url: url.replace(/\/$/, ""), source: space ?? params.space, token, ca, quotaBytes };
      const made = await services.followers.follow(who, params.space, target, request.signal);
      return json(201, { space: spaceJson(made.space), keptAside: made.aside });
    },
  }),
  route({
    id: "follow.end",
    method: "DELETE",
    path: "/v1/spaces/{space}/source",
    summary: "Ask the source no more; the copy stays and takes no changes until it is promoted or follows again",
    allowed: managed,
    params: BY_NAME,
    answers: { 204: { description: "It asks no more" } },
    async handle({ services, who, params }) {
      await services.followers.unfollow(who, params.space);
      return nothing();
    },
  }),
  route({
    id: "follow.promote",
    method: "POST",
    path: "/v1/spaces/{space}/promote",
    summary: "Make a copy the space that is written to, in a lineage of its own",
    allowed: managed,
    params: BY_NAME,
    answers: { 200: { description: "What it is now, and what of the source is missing", schema: PROMOTED_JSON } },
    async handle({ services, who, params }) {
      const { space, missing, heardAgoMs } = await services.followers.promote(who, params.space);
      return json(200, { space: spaceJson(space), missing, heardAgoSeconds: seconds(heardAgoMs) });
    },
  }),
  route({
    id: "follow.compare",
    method: "POST",
    path: "/v1/spaces/{space}/compare",
    summary: "Compare a copy with its source now, by digests; changes nothing",
    allowed: seen,
    params: BY_NAME,
    answers: { 200: { description: "What differs", schema: COMPARISON_JSON } },
    async handle({ services, who, params, request }) {
      return json(200, comparisonJson(await services.followers.compare(who, params.space, request.signal)));
    },
  }),
];

export const FOLLOW_ROUTES: readonly AnyRoute[] = [...SOURCE_ROUTES, ...FOLLOWER_ROUTES];

async function* frames(
  found: AsyncGenerator<{ id: ChunkId; bytes: Uint8Array | undefined }>,
  onBytes: (count: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const { id, bytes } of found) {
    const frame = new Uint8Array(36 + (bytes?.length ?? 0));
    frame.setFromHex(id);
    new DataView(frame.buffer).setUint32(32, bytes?.length ?? ABSENT, true);
    if (bytes !== undefined) frame.set(bytes, 36);
    onBytes(frame.length);
    yield frame;
  }
}

const notAskedFor = (id: string): ApiProblem => new ApiProblem("NOT_FOUND", `nobody asks for the chunk ${id}`);
