/** What the methods of tus do, on the hub's uploads. */
import { type Attributes, attributesFault } from "#hub/attributes.ts";
import { type AppendSink, type NewUpload, UPLOAD_BYTES_MAX, type Upload, type UploadExpect, type Uploader } from "#hub/uploads/upload.ts";
import type { ChangeResult } from "#hub/space.ts";
import { type RelPath, joinPath, pathFault } from "#model/path.ts";
import { paced } from "#platform/net/pace.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { percentEncode, splitUrl } from "#gateway/api/url-path.ts";
import { type Concat, bytesOf, checksumOf, concatOf, metadataOf } from "#gateway/tus/tus-headers.ts";
import { TUS_PREFIX, type TusCall, TusProblem } from "#gateway/tus/tus-call.ts";

const MEDIA_TYPE = "application/offset+octet-stream";
/** Where a partial upload would lie, if it became a file of its own; the right to write there is asked for. */
const PARTIAL_NAME = "partial-upload";
/** What metadata calls the file, the first that is there. */
const NAMES = ["relativePath", "filename", "name"] as const;
const MEDIA_NAMES = ["filetype", "type", "contentType"] as const;
const ID = /^[0-9a-f]{32}$/;

/** What is kept with an upload for its answers. */
type Note = { readonly metadata: string; readonly concat?: string | undefined };

const byOf = ({ who }: Pick<TusCall, "who">): Uploader => ({ who, door: "tus" });
const noteText = (note: Note): string => JSON.stringify(note);
const noteOf = ({ note }: Upload): Note => JSON.parse(note) as Note;
const isPartial = (upload: Upload): boolean => noteOf(upload).concat === "partial";
const urlOf = ({ space, id }: Upload): string => `${TUS_PREFIX}/${percentEncode(space)}/${id}`;

/** POST: creation, with a body or without, of a whole file, of a part, or of a file of parts. */
export async function begin(call: TusCall): Promise<Response> {
  const { headers, services } = call;
  const metadata = metadataOf(headers.get("upload-metadata"));
  const concat = concatOf(headers.get("upload-concat"));
  const size = lengthOf(headers, concat);
  const hasBytes = mediaOf(headers) === MEDIA_TYPE;
  const wanted: NewUpload = {
    space: call.space,
    path: concat?.kind === "partial" ? under(call.rest, PARTIAL_NAME) : pathOf(call.rest, metadata),
    kind: "stream",
    size,
    attributes: attributesOf(metadata),
    expect: expectOf(headers),
    note: noteText({ metadata: headers.get("upload-metadata") ?? "", concat: shownConcat(call, concat) }),
  };
  if (concat?.kind === "final") {
    if (hasBytes) throw new TusProblem(403, "DENIED", "a file that is made of uploads takes no bytes of its own");
    return join(call, wanted, concat.urls);
  }
  const upload = await services.uploads.create(byOf(call), wanted);
  try {
    const now = hasBytes ? await take(call, upload, 0) : upload;
    await completeWhole(call, now);
    return answer(201, now, { location: urlOf(upload), ...(hasBytes ? { "upload-offset": String(now.received) } : {}) });
  } catch (error) {
    // Nobody was told its address.
    await services.uploads.abort(byOf(call), upload.id).catch(() => undefined);
    throw error;
  }
}

async function join(call: TusCall, wanted: NewUpload, urls: readonly string[]): Promise<Response> {
  const ids = urls.map((url) => idOf(call, url));
  for (const id of ids) {
    if (!isPartial(await call.services.uploads.get(byOf(call), id))) throw new ApiProblem("USAGE", "only partial uploads are joined");
  }
  const { result, upload } = await call.services.uploads.join(byOf(call), wanted, ids, { traceId: call.trace.traceId });
  requireDone(result);
  return answer(201, upload, { location: urlOf(upload) });
}

/** @throws {ApiProblem} USAGE for what is no address of an upload of the space */
function idOf({ space }: TusCall, url: string): string {
  const { path } = splitUrl(url.startsWith("/") ? `http://hub${url}` : url);
  const id = path.slice(path.lastIndexOf("/") + 1);
  if (ID.test(id) && path === `${TUS_PREFIX}/${percentEncode(space)}/${id}`) return id;
  throw new ApiProblem("USAGE", "Upload-Concat names an address that is no upload of this space");
}

function shownConcat(call: TusCall, concat: Concat | undefined): string | undefined {
  if (concat?.kind !== "final") return concat?.kind;
  return `final;${concat.urls.map((url) => `${TUS_PREFIX}/${percentEncode(call.space)}/${idOf(call, url)}`).join(" ")}`;
}

/** HEAD. An upload whose last byte has come, and whose hub died before it made the file, is made now. */
export async function stateOf(call: TusCall): Promise<Response> {
  const upload = await uploadOf(call);
  await completeWhole(call, upload);
  const { metadata, concat } = noteOf(upload);
  const length: Record<string, string> =
    upload.size === undefined ? { "upload-defer-length": "1" } : { "upload-length": String(upload.size) };
  return answer(200, upload, {
    "upload-offset": String(upload.received),
    ...length,
    ...(metadata === "" ? {} : { "upload-metadata": metadata }),
    ...(concat === undefined ? {} : { "upload-concat": concat }),
  });
}

/** PATCH. */
export async function appendTo(call: TusCall): Promise<Response> {
  const { headers, services } = call;
  if (mediaOf(headers) !== MEDIA_TYPE) throw new ApiProblem("MEDIA_TYPE", `the body is ${MEDIA_TYPE}`);
  const offset = headers.get("upload-offset");
  if (offset === null) throw new ApiProblem("USAGE", "Upload-Offset is missing");
  let upload = await uploadOf(call);
  if (noteOf(upload).concat?.startsWith("final") === true) throw new TusProblem(403, "DENIED", "this file was made of other uploads");
  const length = headers.get("upload-length");
  if (length !== null) upload = await services.uploads.setSize(byOf(call), upload.id, bytesOf("Upload-Length", length));
  const now = await take(call, upload, bytesOf("Upload-Offset", offset));
  await completeWhole(call, now);
  return answer(204, now, { "upload-offset": String(now.received) });
}

/** DELETE. */
export async function giveUp(call: TusCall): Promise<Response> {
  const upload = await uploadOf(call);
  await call.services.uploads.abort(byOf(call), upload.id);
  return new Response(null, { status: 204 });
}

async function uploadOf(call: TusCall): Promise<Upload> {
  if (!ID.test(call.rest)) throw new ApiProblem("NOT_FOUND", "this is no address of an upload");
  const upload = await call.services.uploads.get(byOf(call), call.rest);
  if (upload.space !== call.space) throw new ApiProblem("NOT_FOUND", "this upload is for another space");
  return upload;
}

/** Takes the body in. Without a checksum what came counts also where the connection breaks off. */
async function take(call: TusCall, upload: Upload, offset: number): Promise<Upload> {
  const { services, headers, request } = call;
  const checksum = checksumOf(headers.get("upload-checksum"));
  const announced = headers.get("content-length");
  const isNext = offset === upload.received && upload.size !== undefined;
  if (announced !== null && isNext && offset + Number(announced) > upload.size) {
    throw new ApiProblem("LIMIT", `the upload has ${upload.size} bytes in all`);
  }
  if (upload.sequence !== undefined && offset === upload.received && (announced === "0" || request.body === null)) return upload;
  using _place = services.traffic.upload();
  await using sink = await services.uploads.append(byOf(call), upload.id, offset, {
    whole: checksum !== undefined,
    sums: checksum === undefined ? [] : [checksum.name],
  });
  services.traffic.count("in", await pour(request, sink));
  const sums = await sink.end();
  if (checksum !== undefined && sums[checksum.name] !== checksum.sum) {
    throw new TusProblem(460, "DIGEST", "the bytes have another checksum; none of them counts", "send them again");
  }
  return { ...upload, received: await sink.commit() };
}

async function pour(request: Request, sink: AppendSink): Promise<number> {
  let total = 0;
  for await (const piece of paced(request.body)) {
    total += piece.length;
    const full = sink.write(piece);
    if (full !== undefined) await full;
  }
  return total;
}

/** Makes the file when all of it has come. @throws {ApiProblem} where the space refuses it; the bytes stay */
async function completeWhole(call: TusCall, upload: Upload): Promise<void> {
  if (upload.sequence !== undefined || upload.received !== upload.size || isPartial(upload)) return;
  // Its last bytes may have come for long.
  const by = byOf({ who: await call.renew() });
  const { result } = await call.services.uploads.complete(by, upload.id, { traceId: call.trace.traceId });
  requireDone(result);
}

function requireDone(result: ChangeResult): void {
  if (result.status === "done") return;
  if (result.status === "refused") throw new ApiProblem(result.code, result.message);
  throw new TusProblem(412, "PRECONDITION", "all bytes have come, and something else is at the path than was expected");
}

function lengthOf(headers: Headers, concat: Concat | undefined): number | undefined {
  const length = headers.get("upload-length");
  const defer = headers.get("upload-defer-length");
  if (concat?.kind === "final") {
    if (length !== null || defer !== null) throw new ApiProblem("USAGE", "a file that is made of uploads has their length");
    return undefined;
  }
  if (defer !== null && defer !== "1") throw new ApiProblem("USAGE", "Upload-Defer-Length is 1 or absent");
  if ((length === null) === (defer === null)) throw new ApiProblem("USAGE", "say Upload-Length, or Upload-Defer-Length: 1");
  const size = length === null ? undefined : bytesOf("Upload-Length", length);
  if ((size ?? 0) > UPLOAD_BYTES_MAX) throw new ApiProblem("LIMIT", `an upload has ${UPLOAD_BYTES_MAX} bytes at most`);
  return size;
}

const mediaOf = (headers: Headers): string | undefined => headers.get("content-type")?.split(";")[0]!.trim().toLowerCase();

/** Some clients write "null" where they know of none. */
const told = (metadata: ReadonlyMap<string, string>, names: readonly string[]): string | undefined =>
  names.map((name) => metadata.get(name)).find((value) => value !== undefined && value !== "" && value !== "null");

function under(dir: RelPath, name: RelPath): RelPath {
  return dir === "" ? name : joinPath(dir, name);
}

/** @throws {ApiProblem} USAGE, NAME */
function pathOf(rest: RelPath, metadata: ReadonlyMap<string, string>): RelPath {
  const name = told(metadata, NAMES)?.replace(/^\/+/, "");
  if (name === undefined && rest === "") {
    const hint = "name it in Upload-Metadata as filename, or POST to /v1/tus/SPACE/PATH";
    throw new ApiProblem("USAGE", "nobody says what the file is called", hint);
  }
  const path = name === undefined ? rest : under(rest, name);
  const fault = pathFault(path);
  if (fault !== undefined) throw new ApiProblem("NAME", fault);
  return path;
}

/** The media type, and what else the client says as its own. */
function attributesOf(metadata: ReadonlyMap<string, string>): Attributes | undefined {
  const attributes: Record<string, string> = {};
  const media = told(metadata, MEDIA_NAMES);
  if (media !== undefined) attributes["http.content-type"] = media;
  const known: readonly string[] = [...NAMES, ...MEDIA_NAMES];
  for (const [key, value] of metadata) if (!known.includes(key)) attributes[`user.${key}`] = value;
  const fault = attributesFault(attributes);
  if (fault !== undefined) throw new ApiProblem("USAGE", `Upload-Metadata: ${fault}`);
  return Object.keys(attributes).length === 0 ? undefined : attributes;
}

function expectOf(headers: Headers): UploadExpect | undefined {
  const none = headers.get("if-none-match");
  if (none === null) return undefined;
  if (none.trim() === "*") return { kind: "absent" };
  throw new ApiProblem("USAGE", "If-None-Match is * here");
}

function answer(status: number, { expiresMs, sequence }: Upload, headers: Record<string, string>): Response {
  const expires: Record<string, string> = sequence === undefined ? { "upload-expires": new Date(expiresMs).toUTCString() } : {};
  return new Response(null, { status, headers: { "cache-control": "no-store", ...expires, ...headers } });
}
