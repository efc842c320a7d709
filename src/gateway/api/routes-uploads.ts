/**
 * Uploads of large files that go on after whatever breaks: numbered parts in any order, several at a time; first their
 * fingerprints, so that what the space has already need not be sent; then what is lacking; then one call that makes the file.
 */
import * as z from "zod";
import {
  PART_NUMBER_MAX, PRINTS_MAX, type Part, UPLOAD_BYTES_MAX, UPLOAD_PAGE_MAX, type Upload, type Uploader, uploadExpect,
} from "#hub/uploads/upload.ts";
import { rangesOf } from "#hub/uploads/number-ranges.ts";
import { UPLOAD } from "#hub/jobs/kinds.ts";
import { type Job, isOver } from "#jobs/job.ts";
import { SynclineError } from "#model/error.ts";
import { decodeName, encodeName, pathFault } from "#model/path.ts";
import { paced } from "#platform/net/pace.ts";
import { madeJson, refused, throwStale } from "#gateway/api/outcome.ts";
import { digestOf, requireDigest, requireLength } from "#gateway/api/content-bytes.ts";
import { JOB_JSON, jobJson } from "#gateway/api/job-shapes.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, type Call, actorOf, json, nothing, route, spaceAt } from "#gateway/api/route.ts";
import {
  ATTRIBUTES, FILE_TIME, MODE, PATH, SEQUENCE, SPACE_NAME_TEXT, VERSION_JSON, etagOf, parseFileTime, parseMode,
  shownAttributes, whole,
} from "#gateway/api/shapes.ts";

const DOOR = "api";
const LABEL_CHARS_MAX = 1000;
const PARTS_DEFAULT = 1000;

const ID = z.string().regex(/^[0-9a-f]{1,64}$/, "an upload's id");
const SHA256 = z.string().regex(/^[0-9a-f]{64}$/, "a SHA-256 in hex");
const NUMBER = z.int().min(1).max(PART_NUMBER_MAX);
const BY_SPACE = z.object({ space: SPACE_NAME_TEXT });
const BY_ID = z.object({ space: SPACE_NAME_TEXT, id: ID });
const BY_NUMBER = z.object({ space: SPACE_NAME_TEXT, id: ID, number: whole(1, PART_NUMBER_MAX) });

const PART_JSON = z
  .object({ number: NUMBER, size: SEQUENCE, sha256: SHA256.optional() })
  .meta({ id: "UploadPart" });

const UPLOAD_JSON = z
  .object({
    id: ID,
    path: z.string(),
    size: SEQUENCE.optional().describe("Bytes in all, where they were announced"),
    received: SEQUENCE.describe("Bytes of the parts that have come"),
    created: z.iso.datetime(),
    expires: z.iso.datetime().describe("It is dropped then, unless somebody goes on with it"),
    label: z.string().optional(),
    attributes: ATTRIBUTES.optional(),
    sequence: SEQUENCE.optional().describe("Of the version that it became"),
    job: SEQUENCE.optional().describe("That was asked to complete it; GET /v1/jobs/{id} says how it is with it"),
  })
  .meta({ id: "Upload" });

const ACCEPTED_JSON = z.object({ job: JOB_JSON, upload: UPLOAD_JSON }).meta({ id: "UploadAccepted" });

export type UploadAcceptedJson = z.infer<typeof ACCEPTED_JSON>;
export type UploadJson = z.infer<typeof UPLOAD_JSON>;
export type UploadPartJson = z.infer<typeof PART_JSON>;

const CREATE_BODY = z.strictObject({
  path: PATH,
  size: z.int().min(0).max(UPLOAD_BYTES_MAX).optional().describe("Counted against the quota from now on"),
  mode: MODE.optional(),
  mtime: FILE_TIME.optional(),
  attributes: ATTRIBUTES.optional(),
  sequence: SEQUENCE.optional().describe("Only if this is the current version at the end; 0: only if nothing is there"),
  label: z.string().max(LABEL_CHARS_MAX).optional().describe("For the caller: by it an upload is known again"),
});
const OFFER_BODY = z.strictObject({
  parts: z.array(z.strictObject({ number: NUMBER, size: z.int().min(1), sha256: SHA256 })).max(PRINTS_MAX),
});
const CHALLENGE_JSON = z
  .object({
    nonce: z.string(),
    parts: z.array(z.object({ number: NUMBER, start: SEQUENCE, length: SEQUENCE })),
  })
  .meta({ id: "UploadChallenge" });
const PROVE_BODY = z.strictObject({
  nonce: z.string().max(128),
  proofs: z.array(z.strictObject({ number: NUMBER, mac: SHA256 })).max(PRINTS_MAX),
});
const COMPLETE_BODY = z.strictObject({
  parts: z.array(NUMBER).max(PART_NUMBER_MAX).optional().describe("Ascending; absent: all that have come"),
  sequence: SEQUENCE.optional().describe("Instead of what was said at the beginning"),
  message: z.string().max(1000).optional().describe("Kept in the journal"),
});
const LIST_QUERY = z.strictObject({
  prefix: z.string().max(4096).optional().describe("Of paths"),
  cursor: z.string().min(1).max(8192).optional(),
  limit: whole(1, UPLOAD_PAGE_MAX).default(100),
});
const STATE_QUERY = z.strictObject({
  after: whole(0, PART_NUMBER_MAX).default(0).describe("Parts behind this number"),
  limit: whole(1, PART_NUMBER_MAX).default(PARTS_DEFAULT),
});

type ById = z.infer<typeof BY_ID>;
type PutPart = Call<z.infer<typeof BY_NUMBER>, Record<string, never>, undefined>;
type Complete = Call<ById, Record<string, never>, z.infer<typeof COMPLETE_BODY>>;

const byOf = ({ who }: Pick<Call, "who">): Uploader => ({ who, door: DOOR });

export const UPLOAD_ROUTES: readonly AnyRoute[] = [
  route({
    id: "upload.create",
    method: "POST",
    path: "/v1/spaces/{space}/uploads",
    summary: "Begin to upload a large file in parts; nothing is there before it is completed",
    allowed: ({ params, body }) => [{ action: "write", resource: spaceAt(params.space, body.path) }],
    params: BY_SPACE,
    body: CREATE_BODY,
    answers: { 201: { description: "Begun", schema: UPLOAD_JSON } },
    async handle(call) {
      const { services, params, body } = call;
      const upload = await services.uploads.create(byOf(call), {
        space: params.space,
        path: body.path,
        kind: "parts",
        size: body.size,
        attributes: body.attributes,
        mode: body.mode === undefined ? undefined : parseMode(body.mode),
        mtimeNs: body.mtime === undefined ? undefined : parseFileTime(body.mtime),
        expect: uploadExpect(body.sequence),
        note: body.label,
      });
      return json(201, uploadJson(upload));
    },
  }),
  route({
    id: "upload.list",
    method: "GET",
    path: "/v1/spaces/{space}/uploads",
    summary: "One's own unfinished uploads of the space, by path",
    allowed: "known",
    params: BY_SPACE,
    query: LIST_QUERY,
    answers: {
      200: {
        description: "A page",
        schema: z.object({ uploads: z.array(UPLOAD_JSON), nextCursor: z.string().optional().describe("Absent: this was the last page") }),
      },
    },
    async handle(call) {
      const { services, params, query } = call;
      const { prefix, limit } = query;
      const after = query.cursor === undefined ? undefined : readCursor(query.cursor);
      const found = await services.uploads.list(byOf(call), params.space, { prefix, after, limit });
      const last = found.length === limit ? found.at(-1) : undefined;
      return json(200, {
        uploads: found.map(uploadJson),
        ...(last === undefined ? {} : { nextCursor: cursorOf(last) }),
      });
    },
  }),
  route({
    id: "upload.get",
    method: "GET",
    path: "/v1/spaces/{space}/uploads/{id}",
    summary: "How far an upload is: its parts, or the version that it became",
    allowed: "known",
    params: BY_ID,
    query: STATE_QUERY,
    answers: {
      200: {
        description: "The upload and a page of its parts",
        schema: z.object({ upload: UPLOAD_JSON, parts: z.array(PART_JSON), nextAfter: NUMBER.optional() }),
      },
    },
    async handle(call) {
      const { services, query } = call;
      const upload = await uploadOf(call);
      if (upload.sequence !== undefined) return json(200, { upload: uploadJson(upload), parts: [] });
      const parts = await services.uploads.parts(byOf(call), upload.id, query.after, query.limit);
      const nextAfter = parts.length === query.limit ? parts.at(-1)!.number : undefined;
      return json(200, { upload: uploadJson(upload), parts: parts.map(partJson), ...(nextAfter === undefined ? {} : { nextAfter }) });
    },
  }),
  route({
    id: "upload.putPart",
    method: "PUT",
    path: "/v1/spaces/{space}/uploads/{id}/parts/{number}",
    summary: "Send one part, in any order; durable when answered. Content-Digest (sha-256) is verified. Sent again it is replaced",
    allowed: "known",
    params: BY_NUMBER,
    takesBytes: true,
    answers: { 200: { description: "It counts", schema: PART_JSON } },
    handle: putPart,
  }),
  route({
    id: "upload.offer",
    method: "POST",
    path: "/v1/spaces/{space}/uploads/{id}/offer",
    summary:
      "Which of these parts the space has in files that the caller may read: those can be proved instead of sent. A proof is " +
      "the HMAC-SHA-256, with the nonce as its key, of the text \"syncline part NUMBER SHA256 START\\n\" and the bytes from START on",
    allowed: "known",
    params: BY_ID,
    body: OFFER_BODY,
    answers: { 200: { description: "What is to be proved; all others are to be sent", schema: CHALLENGE_JSON } },
    async handle(call) {
      const { id } = await uploadOf(call);
      return json(200, await call.services.uploads.offer(byOf(call), id, call.body.parts));
    },
  }),
  route({
    id: "upload.prove",
    method: "POST",
    path: "/v1/spaces/{space}/uploads/{id}/prove",
    summary: "Take over the parts of the last offer that are proved",
    allowed: "known",
    params: BY_ID,
    body: PROVE_BODY,
    answers: { 200: { description: "Those that count now", schema: z.object({ parts: z.array(NUMBER) }) } },
    async handle(call) {
      const { id } = await uploadOf(call);
      return json(200, { parts: await call.services.uploads.prove(byOf(call), id, call.body.nonce, call.body.proofs) });
    },
  }),
  route({
    id: "upload.complete",
    method: "POST",
    path: "/v1/spaces/{space}/uploads/{id}/complete",
    summary:
      "Make the file of the parts, at once whatever its size; asked again it answers the same. With Prefer: respond-async " +
      "(RFC 7240) a job does it, and nothing is stored before the job is done",
    allowed: "known",
    params: BY_ID,
    body: COMPLETE_BODY,
    answers: {
      200: { description: "The version that it became", schema: VERSION_JSON },
      202: { description: "Not yet: a job of the address in Location does it", schema: ACCEPTED_JSON },
    },
    handle: complete,
  }),
  route({
    id: "upload.abort",
    method: "DELETE",
    path: "/v1/spaces/{space}/uploads/{id}",
    summary: "Give an unfinished upload up",
    allowed: "known",
    params: BY_ID,
    answers: { 204: { description: "It is gone" } },
    async handle(call) {
      const { id } = await uploadOf(call);
      await call.services.uploads.abort(byOf(call), id);
      return nothing();
    },
  }),
];

/** One for another space does not exist at this address. */
async function uploadOf(call: Pick<Call<ById>, "services" | "who" | "params">): Promise<Upload> {
  const { services, params } = call;
  const upload = await services.uploads.get(byOf(call), params.id);
  if (upload.space === params.space) return upload;
  throw new ApiProblem("NOT_FOUND", "this upload is for another space");
}

async function putPart(call: PutPart): Promise<Response> {
  const { services, params, headers } = call;
  const taking = { ...call, space: params.space };
  const expected = digestOf(taking);
  const length = headers.get("content-length");
  const { id } = await uploadOf(call);
  using _place = call.traffic.upload();
  await using sink = await services.uploads.part(byOf(call), id, params.number, {
    size: length === null ? undefined : Number(length),
    sums: ["sha256"],
  });
  let total = 0;
  for await (const piece of paced(call.request.body)) {
    total += piece.length;
    const full = sink.write(piece);
    if (full !== undefined) await full;
  }
  requireLength(taking, total, length);
  const { sums } = await sink.end();
  if (expected !== undefined) requireDigest(sums.sha256!, expected);
  return json(200, partJson(await sink.commit()));
}

async function complete(call: Complete): Promise<Response> {
  const { services, who, params, body, trace } = call;
  const upload = await uploadOf(call);
  // Jobs act for users. Whoever else prefers it is answered when it is done, as the preference allows.
  const isLater = upload.sequence === undefined && who.kind === "user" && prefersAsync(call.headers);
  if (isLater) return accept(call, upload);
  const expect = uploadExpect(body.sequence);
  const { result } = await services.uploads.complete(byOf(call), upload.id, {
    traceId: trace.traceId,
    parts: body.parts,
    expect,
    message: body.message,
  });
  if (result.status === "refused") throw refused(result);
  const asked = { path: upload.path, expect: expect ?? upload.expect };
  if (result.status === "stale") return throwStale({ services, who }, params.space, asked, result.version, "conflict");
  const { version } = result;
  const etag = etagOf(version);
  return json(200, madeJson(call, params.space, version), {
    "x-syncline-sequence": String(version.sequence),
    ...(etag === undefined ? {} : { etag }),
  });
}

const prefersAsync = (headers: Headers): boolean => /(^|[,;])\s*respond-async\s*($|[,;])/i.test(headers.get("prefer") ?? "");

/** A job that is at it already is the one that is meant. */
async function accept(call: Complete, upload: Upload): Promise<Response> {
  const { services, who, body } = call;
  const { path, id, space } = upload;
  const before = upload.job === undefined ? undefined : await jobOf(call, upload.job);
  const { parts, sequence, message } = body;
  const args = { space, path, upload: id, door: DOOR, parts: parts === undefined ? undefined : rangesOf(parts), sequence, message };
  const job = before ?? (await services.jobs.submit(who, actorOf(call), { kind: UPLOAD.name, args }));
  const accepted = before === undefined ? await services.uploads.setJob(byOf(call), id, job.id) : upload;
  const headers = { location: `/v1/jobs/${job.id}`, "preference-applied": "respond-async" };
  return json(202, { job: jobJson(job), upload: uploadJson(accepted) }, headers);
}

/** Undefined: it is over, or not for the caller to see. */
async function jobOf({ services, who }: Complete, id: number): Promise<Job | undefined> {
  try {
    const job = await services.jobs.job(who, id);
    return isOver(job.state) ? undefined : job;
  } catch (error) {
    if (error instanceof SynclineError && error.code === "NOT_FOUND") return undefined;
    throw error;
  }
}

function uploadJson({ id, path, size, received, createdMs, expiresMs, note, attributes, sequence, job }: Upload): UploadJson {
  return {
    id,
    path,
    received,
    created: new Date(createdMs).toISOString(),
    expires: new Date(expiresMs).toISOString(),
    ...(size === undefined ? {} : { size }),
    ...(note === "" ? {} : { label: note }),
    ...(attributes === undefined ? {} : shownAttributes(attributes)),
    ...(sequence === undefined ? {} : { sequence }),
    ...(job === undefined ? {} : { job }),
  };
}

const partJson = ({ number, size, sums }: Part): UploadPartJson => ({
  number,
  size,
  ...(sums.sha256 === undefined ? {} : { sha256: sums.sha256 }),
});

/** Where the next page begins; opaque to callers. */
const cursorOf = ({ path, id }: Upload): string => `${id}.${Buffer.from(encodeName(path)).toString("base64url")}`;

function readCursor(cursor: string): { path: string; id: string } {
  const [id, path] = cursor.split(".");
  const name = decodeName(Buffer.from(path ?? "", "base64url"));
  if (ID.safeParse(id).success && pathFault(name) === undefined) return { id: id!, path: name };
  throw new ApiProblem("USAGE", "query.cursor: not one of ours", "leave it out to begin anew");
}
