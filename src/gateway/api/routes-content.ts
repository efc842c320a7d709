/** Content: bytes of files in and out, whole or in ranges, with conditions. */
import { getMimeType } from "hono/utils/mime";
import * as z from "zod";
import type { ContentReader, Intake, NamedContent } from "#hub/space-service.ts";
import type { SpaceChange, Version } from "#hub/space.ts";
import { nameOf } from "#model/path.ts";
import {
  type Range,
  expectedSha256,
  parseRanges,
  rangeApplies,
  readCondition,
  tagMatches,
} from "#gateway/api/conditions.ts";
import { bytesBody } from "#gateway/api/bytes-body.ts";
import { type Condition, commitAll, sequenceExpect, throwStale } from "#gateway/api/outcome.ts";
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
import { percentEncode } from "#gateway/api/url-path.ts";

const FILE_MODE = 0o644;
/** A body that is said to be at most this long is taken whole, which is what most are. */
const WHOLE_BODY_BYTES_MAX = 256 << 10;
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
      "verified, X-Syncline-Mtime (RFC 3339) and X-Syncline-Mode (octal) are kept",
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

async function getContent(call: Read): Promise<Response> {
  const { services, who, params, query, path, headers } = call;
  const at = query.at === undefined ? undefined : await pointAt(call, params.space, query.at);
  const version = await services.spaces.version(who, params.space, path, at);
  if (version?.entry === undefined) throw notThere(path);
  if (version.entry.kind === "dir") {
    const hint = `GET /v1/spaces/${params.space}/entries?below=… lists it`;
    throw new ApiProblem("IS_A_DIRECTORY", "this is a directory", hint, { path });
  }
  if (version.entry.kind !== "file") throw new ApiProblem("NOT_FOUND", `this is a ${version.entry.kind}, not a file`);
  const condition = readCondition(headers, version);
  const fixed = contentHeaders(version, query.disposition);
  if (condition === "not-modified") return new Response(null, { status: 304, headers: fixed });
  if (condition === "failed") {
    throw new ApiProblem("PRECONDITION", "the condition does not hold", undefined, { current: versionJson(version) });
  }
  const { size } = version.entry;
  if (call.request.method === "HEAD") {
    return new Response(null, { headers: { ...fixed, "content-length": String(size) } });
  }
  const reader = await services.spaces.open(who, params.space, version);
  const ranges = rangeApplies(headers, version) ? parseRanges(headers.get("range"), size) : undefined;
  return answerBytes(call, reader, ranges, fixed);
}

async function answerBytes(
  call: Read,
  reader: ContentReader,
  ranges: readonly Range[] | undefined,
  fixed: Record<string, string>,
): Promise<Response> {
  const { size } = reader;
  const onError = (error: unknown): void =>
    call.services.log.error("content broke off", {
      traceId: call.trace.traceId,
      error: error instanceof Error ? error.message : String(error),
    });
  const send = async (status: number, parts: readonly (Range | Uint8Array)[], more: Record<string, string>) =>
    new Response(await bytesBody(reader, parts, call.traffic, onError), { status, headers: { ...fixed, ...more } });
  if (ranges === undefined) return send(200, [{ start: 0, end: size }], {});
  if (ranges.length === 0) {
    throw new ApiProblem("RANGE", `the content has ${size} bytes`, undefined, {}, { "content-range": `bytes */${size}` });
  }
  const [only] = ranges;
  if (ranges.length === 1) return send(206, ranges, { "content-range": rangeText(only!, size) });
  const boundary = `syncline-${call.services.random.bytes(12).toHex()}`;
  const encoder = new TextEncoder();
  const parts: (Range | Uint8Array)[] = [];
  for (const range of ranges) {
    const head = `--${boundary}\r\ncontent-type: ${fixed["content-type"]}\r\ncontent-range: ${rangeText(range, size)}`;
    parts.push(encoder.encode(`${parts.length === 0 ? "" : "\r\n"}${head}\r\n\r\n`), range);
  }
  parts.push(encoder.encode(`\r\n--${boundary}--\r\n`));
  return send(206, parts, { "content-type": `multipart/byteranges; boundary=${boundary}` });
}

const rangeText = ({ start, end }: Range, size: number): string => `bytes ${start}-${end - 1}/${size}`;

function contentHeaders(version: Version, disposition: string): Record<string, string> {
  const { entry, path } = version;
  const name = nameOf(path);
  // RFC 6266: a plain name for old clients, the real one for all others.
  const plain = name.replaceAll(/[^\x20-\x7e]|["\\%]/g, "_");
  const mtimeMs = entry?.kind === "file" ? Number(entry.mtimeNs / 1_000_000n) : 0;
  const mtime = new Date(mtimeMs);
  return {
    "content-type": mediaTypeOf(version) ?? getMimeType(name) ?? "application/octet-stream",
    "content-disposition": `${disposition}; filename="${plain}"; filename*=UTF-8''${percentEncode(name)}`,
    "accept-ranges": "bytes",
    "cache-control": "private, no-cache",
    "x-syncline-sequence": String(version.sequence),
    ...(entry?.kind === "file" ? { "x-syncline-size": String(entry.size) } : {}),
    ...(Number.isNaN(mtime.getTime()) ? {} : { "last-modified": mtime.toUTCString() }),
    ...(etagOf(version) === undefined ? {} : { etag: etagOf(version)! }),
  };
}

/** As the door was told through which it came; what cannot stand in a header is not said. */
function mediaTypeOf({ attributes }: Version): string | undefined {
  const told = attributes["http.content-type"];
  return told !== undefined && /^[\x21-\x7e][\x20-\x7e]{0,254}$/.test(told) ? told : undefined;
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
  // What was compared is what must still be there when it is done.
  return there === undefined ? { kind: "absent" } : { kind: "sequence", sequence: there.sequence };
}

/** What is there, for those who may see it; others make changes without looking. */
async function currentOf(call: Write | Remove): Promise<Version | undefined> {
  const { services, who, params, path } = call;
  const isConditional = call.headers.has("if-match") || call.headers.has("if-none-match");
  const mayRead = services.access.decide(who, "read", spaceAt(params.space, path)).allowed;
  return mayRead || isConditional ? services.spaces.version(who, params.space, path) : undefined;
}

async function putContent(call: Write): Promise<Response> {
  const { services, who, params, path, headers } = call;
  const mtime = headers.get("x-syncline-mtime");
  const mtimeNs = mtime === null ? BigInt(services.clock.nowMs()) * 1_000_000n : parseFileTime(mtime);
  const current = await currentOf(call);
  const old = current?.entry;
  const mode = modeOf(headers, old?.kind === "file" ? old.mode : FILE_MODE);
  const condition = await conditionOf(call, current);
  const length = headers.get("content-length");
  const isWhole = length !== null && Number(length) <= WHOLE_BODY_BYTES_MAX;
  using _place = isWhole ? undefined : call.traffic.upload();
  // Held until the commit is done: what was written is not pruned meanwhile.
  await using intake = services.spaces.intake(who, params.space);
  const { content, sum } = isWhole ? await storeWhole(call, intake) : await storeStream(call, intake, length);
  const change: SpaceChange = {
    type: "put",
    path,
    expect: condition.expect,
    entry: { kind: "file", size: content.size, mode, mtimeNs, sum },
    content,
    makeParents: true,
  };
  const [done] = await commitAll(call, params.space, [change], undefined, condition.onStale, intake);
  const { version } = done!;
  const etag = etagOf(version);
  return json(old === undefined ? 201 : 200, versionJson(version), {
    "x-syncline-sequence": String(version.sequence),
    ...(etag === undefined ? {} : { etag }),
  });
}

function modeOf(headers: Headers, fallback: number): number {
  const text = headers.get("x-syncline-mode");
  if (text === null) return fallback;
  if (!MODE.safeParse(text).success) {
    throw new ApiProblem("USAGE", `X-Syncline-Mode: "${text}" are no permission bits`, "write them octal, like 0644");
  }
  return parseMode(text);
}

/** What the sha-256 of the body must be, in hex. @throws {ApiProblem} where the body cannot be kept as it is sent */
function digestOf({ headers }: Write): string | undefined {
  if (headers.has("content-encoding")) {
    throw new ApiProblem("MEDIA_TYPE", "content is kept as it is sent", "send it without Content-Encoding");
  }
  const expected = expectedSha256(headers);
  if (expected === "invalid") throw new ApiProblem("USAGE", "the digest is no sha-256 in base64");
  return expected;
}

function requireDigest(found: string, expected: string): void {
  if (found === expected) return;
  throw new ApiProblem("DIGEST", "the sha-256 of the body is another", "send the file again");
}

function requireLength(call: Write, total: number, announced: string | null): void {
  call.traffic.count("in", total);
  if (announced === null || Number(announced) === total) return;
  throw new ApiProblem("DIGEST", `${total} bytes came instead of ${announced}`, "send the file again");
}

async function storeWhole(call: Write, intake: Intake): Promise<NamedContent> {
  const expected = digestOf(call);
  const bytes = new Uint8Array(await call.request.arrayBuffer());
  requireLength(call, bytes.length, call.headers.get("content-length"));
  if (expected !== undefined) requireDigest(Bun.SHA256.hash(bytes, "hex"), expected);
  return intake.store(bytes);
}

/** Hands the body on as fast as the store takes it. */
async function storeStream(call: Write, intake: Intake, length: string | null): Promise<NamedContent> {
  const expected = digestOf(call);
  const sink = intake.sink(length === null ? undefined : Number(length));
  const hasher = expected === undefined ? undefined : new Bun.SHA256();
  let total = 0;
  for await (const piece of call.request.body ?? []) {
    total += piece.length;
    hasher?.update(piece);
    const full = sink.write(piece);
    if (full !== undefined) await full;
  }
  requireLength(call, total, length);
  if (hasher !== undefined) requireDigest(hasher.digest("hex"), expected!);
  return sink.end();
}

async function removeContent(call: Remove): Promise<Response> {
  const { params, query, path } = call;
  const condition = await conditionOf(call, await currentOf(call));
  const expect = condition.expect.kind === "any" ? ({ kind: "present" } as const) : condition.expect;
  const change: SpaceChange = { type: "remove", path, expect, recursive: query.recursive };
  const [done] = await commitAll(call, params.space, [change], undefined, condition.onStale);
  return json(200, versionJson(done!.version));
}
