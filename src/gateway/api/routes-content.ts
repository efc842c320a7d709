/** Content: bytes of files in and out, whole or in ranges, with conditions. */
import * as z from "zod";
import type { Expect, SpaceChange, Version } from "#hub/space.ts";
import { tagMatches } from "#gateway/api/conditions.ts";
import { sendVersion, storeBody } from "#gateway/api/content-bytes.ts";
import { type Condition, commitAll, madeJson, putOver, sequenceExpect, throwStale, unchanged } from "#gateway/api/outcome.ts";
import { attributesSaid } from "#gateway/api/put-attributes.ts";
import { pointAt } from "#gateway/api/point.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, type Call, json, route, spaceAt, treeAt } from "#gateway/api/route.ts";
import { notThere } from "#gateway/api/routes-spaces.ts";
import {
  FLAG,
  MODE,
  POINT_TEXT,
  SPACE_NAME_TEXT,
  VERSION_JSON,
  etagOf,
  parseFileTime,
  parseMode,
  versionJson,
  whole,
} from "#gateway/api/shapes.ts";
import { FILE_MODE } from "#model/entry.ts";

const SEQUENCES = whole(0, Number.MAX_SAFE_INTEGER);

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const READ_QUERY = z.strictObject({
  at: POINT_TEXT.optional(),
  disposition: z.enum(["attachment", "inline"]).default("attachment"),
});
const WRITE_QUERY = z.strictObject({
  sequence: SEQUENCES.optional().describe("Only if this is the current version; 0: only if nothing is there"),
});
const REMOVE_QUERY = z.strictObject({
  sequence: SEQUENCES.optional(),
  recursive: FLAG.default(false).describe("A directory goes with everything in it"),
});

type ByName = z.infer<typeof BY_NAME>;
type Read = Call<ByName, z.infer<typeof READ_QUERY>, undefined>;
type Write = Call<ByName, z.infer<typeof WRITE_QUERY>, undefined>;
type Remove = Call<ByName, z.infer<typeof REMOVE_QUERY>, undefined>;

export const CONTENT_ROUTES: readonly AnyRoute[] = [
  route({
    id: "content.get",
    method: "GET",
    path: "/v1/spaces/{space}/content/{path...}",
    summary: "The bytes of a file, now or at a point; HEAD for the head alone",
    allowed: ({ params, path }) => [{ action: "read", resource: spaceAt(params.space, path) }],
    params: BY_NAME,
    query: READ_QUERY,
    answers: {
      200: { description: "Everything", media: "application/octet-stream" },
      206: { description: "One range, or several as multipart/byteranges", media: "application/octet-stream" },
      304: { description: "The caller has it" },
    },
    handle: getContent,
  }),
  route({
    id: "content.put",
    method: "PUT",
    path: "/v1/spaces/{space}/content/{path...}",
    summary:
      "Write a file; durable when answered. If-Match and If-None-Match as in HTTP, Content-Digest (sha-256) is " +
      "verified, X-Syncline-Mtime (RFC 3339), X-Syncline-Mode (octal), X-Syncline-Media-Type and X-Syncline-Meta-NAME " +
      "(percent-encoded) are kept",
    allowed: ({ params, path }) => [{ action: "write", resource: spaceAt(params.space, path) }],
    params: BY_NAME,
    query: WRITE_QUERY,
    takesBytes: true,
    answers: {
      200: { description: "Replaced", schema: VERSION_JSON },
      201: { description: "Made", schema: VERSION_JSON },
    },
    handle: putContent,
  }),
  route({
    id: "content.delete",
    method: "DELETE",
    path: "/v1/spaces/{space}/content/{path...}",
    summary: "Remove a file, or a directory; its versions stay in the history",
    allowed: ({ params, query, path }) => [
      { action: "write", resource: query.recursive ? treeAt(params.space, path) : spaceAt(params.space, path) },
    ],
    params: BY_NAME,
    query: REMOVE_QUERY,
    answers: { 200: { description: "The version that says that it is gone", schema: VERSION_JSON } },
    handle: removeContent,
  }),
];

export async function getContent(call: Read): Promise<Response> {
  const { services, who, params, query, path } = call;
  const at = query.at === undefined ? undefined : await pointAt(call, params.space, query.at);
  const version = await services.spaces.version(who, params.space, path, at);
  if (version?.entry === undefined) throw notThere(path);
  if (version.entry.kind === "dir") {
    const hint = `GET /v1/spaces/${params.space}/entries?below=… lists it`;
    throw new ApiProblem("IS_A_DIRECTORY", "this is a directory", hint, { path });
  }
  if (version.entry.kind !== "file") throw new ApiProblem("NOT_FOUND", `this is a ${version.entry.kind}, not a file`);
  return sendVersion({ ...call, space: params.space }, version, query.disposition);
}

/** Conditions in headers and query, looked at before the body is read and held again by the commit. */
async function conditionOf(call: Write | Remove, current: Version | undefined): Promise<Condition> {
  const { headers, query, services, who, params, path } = call;
  const there = current?.entry === undefined ? undefined : current;
  const none = headers.get("if-none-match");
  const match = headers.get("if-match");
  const sequence = sequenceExpect(query.sequence);
  const etag = there === undefined ? undefined : etagOf(there);
  const isFailed =
    (none !== null && there !== undefined && tagMatches(none, etag, true)) ||
    (match !== null && (there === undefined || !tagMatches(match, etag, false)));
  const as: Condition["onStale"] = none !== null || match !== null ? "precondition" : "conflict";
  const expect = sequence ?? fromTags(none, match, there);
  if (isFailed) await throwStale({ services, who }, params.space, { path, expect }, current, "precondition");
  const isStale =
    sequence !== undefined && (sequence.kind === "absent" ? there !== undefined : there?.sequence !== query.sequence);
  if (isStale) await throwStale({ services, who }, params.space, { path, expect }, current, "conflict");
  return { expect, onStale: sequence === undefined ? as : "conflict" };
}

function fromTags(none: string | null, match: string | null, there: Version | undefined): Condition["expect"] {
  if (match === null && none === null) return { kind: "any" };
  if (match === "*") return { kind: "present" };
  return unchanged(there);
}

const mayRead = ({ services, who, params, path }: Write | Remove): boolean =>
  services.access.decide(who, "read", spaceAt(params.space, path)).allowed;

/** What is there, for those who may see it; others make changes without looking. */
async function currentOf(call: Write | Remove): Promise<Version | undefined> {
  const { services, who, params, path } = call;
  const isConditional = call.headers.has("if-match") || call.headers.has("if-none-match");
  return mayRead(call) || isConditional ? services.spaces.version(who, params.space, path) : undefined;
}

export async function putContent(call: Write): Promise<Response> {
  const { services, who, params, path, headers } = call;
  const mtime = headers.get("x-syncline-mtime");
  const mtimeNs = mtime === null ? BigInt(services.clock.nowMs()) * 1_000_000n : parseFileTime(mtime);
  const current = await currentOf(call);
  const { expect, onStale } = await conditionOf(call, current);
  // What cannot be is refused before the bytes.
  const mode = modeOf(headers);
  const isSaid = attributesSaid(headers, current) !== undefined;
  // Held until the commit is done: what was written is not pruned meanwhile.
  await using intake = services.spaces.intake(who, params.space);
  const { content, sum } = await storeBody({ ...call, space: params.space }, intake);
  const put = async (there: Version | undefined, expected: Expect): Promise<Version> => {
    const entry = { kind: "file", size: content.size, mode: mode ?? FILE_MODE, mtimeNs, sum } as const;
    const attributes = attributesSaid(headers, there);
    const keepsMode = mode === undefined;
    const change = { type: "put", path, expect: expected, entry, content, attributes, makeParents: true, keepsMode } as const;
    return (await commitAll(call, params.space, [change], undefined, onStale, intake))[0]!.version;
  };
  const isOpen = isSaid && mayRead(call) && (expect.kind === "any" || expect.kind === "present");
  const version = await (isOpen ? putOver(expect, () => currentOf(call), put) : put(current, expect));
  const etag = etagOf(version);
  return json(current?.entry === undefined ? 201 : 200, madeJson(call, params.space, version), {
    "x-syncline-sequence": String(version.sequence),
    ...(etag === undefined ? {} : { etag }),
  });
}

function modeOf(headers: Headers): number | undefined {
  const text = headers.get("x-syncline-mode");
  if (text === null) return undefined;
  if (!MODE.safeParse(text).success) {
    throw new ApiProblem("USAGE", `X-Syncline-Mode: "${text}" are no permission bits`, "write them octal, like 0644");
  }
  return parseMode(text);
}

async function removeContent(call: Remove): Promise<Response> {
  const { params, query, path } = call;
  const condition = await conditionOf(call, await currentOf(call));
  const expect = condition.expect.kind === "any" ? ({ kind: "present" } as const) : condition.expect;
  const change: SpaceChange = { type: "remove", path, expect, recursive: query.recursive };
  const [done] = await commitAll(call, params.space, [change], undefined, condition.onStale);
  return json(200, versionJson(done!.version));
}
