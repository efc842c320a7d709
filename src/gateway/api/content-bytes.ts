/** The bytes of files over HTTP, for every door that speaks it: out, whole or in ranges and with conditions; and in. */
import { getMimeType } from "hono/utils/mime";
import { requireReadable } from "#hub/encrypted-content.ts";
import type { ContentReader, Intake, NamedContent } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import { messageOf } from "#model/error.ts";
import { nameOf } from "#model/path.ts";
import { paced } from "#platform/net/pace.ts";
import { type Range, expectedSha256, parseRanges, rangeApplies, readCondition } from "#gateway/api/conditions.ts";
import { bytesBody } from "#gateway/api/bytes-body.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import type { Call } from "#gateway/api/route.ts";
import { etagOf, versionJson } from "#gateway/api/shapes.ts";
import type { Flow } from "#gateway/api/traffic.ts";
import { percentEncode } from "#gateway/api/url-path.ts";
import { passedMs } from "#platform/net/http-date.ts";

/** A body that is said to be at most this long is taken whole, which is what most are. */
const WHOLE_BODY_BYTES_MAX = 256 << 10;

type Parts<K extends keyof Call["services"]> = Pick<Call, "request" | "headers" | "trace"> & {
  readonly traffic: Flow;
  readonly services: Pick<Call["services"], K>;
};
/** Who wants bytes of which space. */
export type Sending = Parts<"spaces" | "log" | "random"> & Pick<Call, "who"> & { readonly space: string };
export type Taking = Pick<Call, "request" | "headers" | "who"> & { readonly traffic: Flow; readonly space: string };

/**
 * Answers with the content of a version, which is a file.
 * @throws {ApiProblem} PRECONDITION, RANGE, BUSY
 */
export async function sendVersion(call: Sending, version: Version, disposition: "attachment" | "inline"): Promise<Response> {
  const { services, who, headers, space } = call;
  requireReadable(version);
  const condition = readCondition(headers, version);
  const fixed = contentHeaders(version, disposition);
  if (condition === "not-modified") return new Response(null, { status: 304, headers: fixed });
  if (condition === "failed") {
    throw new ApiProblem("PRECONDITION", "the condition does not hold", undefined, { current: versionJson(version) });
  }
  const size = version.entry?.kind === "file" ? version.entry.size : 0;
  if (call.request.method === "HEAD") {
    return new Response(null, { headers: { ...fixed, "content-length": String(size) } });
  }
  const reader = await services.spaces.open(who, space, version);
  const ranges = rangeApplies(headers, version) ? parseRanges(headers.get("range"), size) : undefined;
  return answerBytes(call, reader, ranges, fixed);
}

async function answerBytes(
  call: Sending,
  reader: ContentReader,
  ranges: readonly Range[] | undefined,
  fixed: Record<string, string>,
): Promise<Response> {
  const { size } = reader;
  const onError = (error: unknown): void =>
    call.services.log.error("content broke off", {
      traceId: call.trace.traceId,
      error: messageOf(error),
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

function contentHeaders(version: Version, disposition: "attachment" | "inline"): Record<string, string> {
  const { entry, path } = version;
  const mtimeMs = entry?.kind === "file" ? passedMs(entry.mtimeNs) : 0;
  const mtime = new Date(mtimeMs);
  return {
    "content-type": mediaTypeOf(version),
    "content-disposition": dispositionOf(nameOf(path), disposition),
    "accept-ranges": "bytes",
    "cache-control": "private, no-cache",
    "x-syncline-sequence": String(version.sequence),
    ...(entry?.kind === "file" ? { "x-syncline-size": String(entry.size) } : {}),
    ...(Number.isNaN(mtime.getTime()) ? {} : { "last-modified": mtime.toUTCString() }),
    ...(etagOf(version) === undefined ? {} : { etag: etagOf(version)! }),
  };
}

/** RFC 6266: a plain name for old clients, the real one for all others. */
export function dispositionOf(name: string, disposition: "attachment" | "inline"): string {
  const plain = name.replaceAll(/[^\x20-\x7e]|["\\%]/g, "_");
  return `${disposition}; filename="${plain}"; filename*=UTF-8''${percentEncode(name)}`;
}

/** As the door was told through which it came, else by the name; what cannot stand in a header is not said. */
export function mediaTypeOf({ attributes, path }: Version): string {
  const told = attributes["http.content-type"];
  if (told !== undefined && /^[\x21-\x7e][\x20-\x7e]{0,254}$/.test(told)) return told;
  return getMimeType(nameOf(path)) ?? "application/octet-stream";
}

/**
 * Puts the body of a request into the store, as fast as the store takes it.
 * @param watch sees all of the body, in order
 * @throws {ApiProblem} DIGEST when it is not what the headers say, MEDIA_TYPE, USAGE, BUSY
 */
export async function storeBody(call: Taking, intake: Intake, watch?: (bytes: Uint8Array) => void): Promise<NamedContent> {
  const length = call.headers.get("content-length");
  if (length !== null && Number(length) <= WHOLE_BODY_BYTES_MAX) return storeWhole(call, intake, watch);
  using _place = call.traffic.upload();
  return await storeStream(call, intake, length, watch);
}

/**
 * What the sha-256 of the body must be, in hex.
 * @throws {ApiProblem} MEDIA_TYPE, USAGE, and LENGTH where nothing says how much is all
 */
export function digestOf({ headers, request }: Taking): string | undefined {
  if (headers.has("content-encoding")) {
    throw new ApiProblem("MEDIA_TYPE", "content is kept as it is sent", "send it without Content-Encoding");
  }
  const expected = expectedSha256(headers);
  if (expected === "invalid") throw new ApiProblem("USAGE", "the digest is no sha-256 in base64");
  // Over HTTP/2 a body that was cut ends for the runtime as a whole one does; HTTP/1.1 frames those without a length.
  const isFramed = headers.has("content-length") || headers.has("transfer-encoding");
  if (expected === undefined && !isFramed && request.body !== null) {
    const hint = "send Content-Length or Content-Digest, or use HTTP/1.1";
    throw new ApiProblem("LENGTH", "over HTTP/2 the end of this body cannot be told from a cut", hint);
  }
  return expected;
}

export function requireDigest(found: string, expected: string): void {
  if (found === expected) return;
  throw new ApiProblem("DIGEST", "the sha-256 of the body is another", "send the file again");
}

export function requireLength(call: Taking, total: number, announced: string | null): void {
  call.traffic.count("in", total);
  if (announced === null || Number(announced) === total) return;
  throw new ApiProblem("DIGEST", `${total} bytes came instead of ${announced}`, "send the file again");
}

type Watch = ((bytes: Uint8Array) => void) | undefined;

async function storeWhole(call: Taking, intake: Intake, watch: Watch): Promise<NamedContent> {
  const expected = digestOf(call);
  const bytes = new Uint8Array(await call.request.arrayBuffer());
  requireLength(call, bytes.length, call.headers.get("content-length"));
  if (expected !== undefined) requireDigest(Bun.SHA256.hash(bytes, "hex"), expected);
  watch?.(bytes);
  return intake.store(bytes);
}

/** Hands the body on as fast as the store takes it. */
async function storeStream(call: Taking, intake: Intake, length: string | null, watch: Watch): Promise<NamedContent> {
  const expected = digestOf(call);
  const sink = intake.sink(length === null ? undefined : Number(length));
  const hasher = expected === undefined ? undefined : new Bun.SHA256();
  let total = 0;
  for await (const piece of paced(call.request.body)) {
    total += piece.length;
    hasher?.update(piece);
    watch?.(piece);
    const full = sink.write(piece);
    if (full !== undefined) await full;
  }
  requireLength(call, total, length);
  if (hasher !== undefined) requireDigest(hasher.digest("hex"), expected!);
  return sink.end();
}
