/** GetObject and HeadObject. */
import { parseRanges } from "#gateway/api/conditions.ts";
import { rangeApplies, readCondition } from "#gateway/s3/conditions.ts";
import { isObject, noSuchKey, pathOfKey } from "#gateway/s3/keys.ts";
import { expirationHeader } from "#gateway/s3/ops-lifecycle.ts";
import { lockHeadersOf } from "#gateway/s3/ops-locks.ts";
import { checksumHeaders, idOf, modifiedMs, objectHeaders, partsOf, sizeOf } from "#gateway/s3/object-facts.ts";
import { type Header, type S3Call, answer, header } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { type ObjectSource, type Opened, openObject, opened, openedHeaders, withSums } from "#gateway/s3/sse-c/object-encryption.ts";
import { isSingle, versionHeader, versionIdOf, versionNameOf } from "#gateway/s3/version-ids.ts";
import type { ContentReader } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

/** Up to here an answer is made in memory. */
const WHOLE_BYTES_MAX = 512 << 10;

/** What the query may say in place of the object's own headers. */
const OVERRIDES: readonly (readonly [query: string, header: string])[] = [
  ["response-content-type", "content-type"],
  ["response-cache-control", "cache-control"],
  ["response-content-disposition", "content-disposition"],
  ["response-content-encoding", "content-encoding"],
  ["response-content-language", "content-language"],
  ["response-expires", "expires"],
];

/** The version that a key has now. @throws {S3Error} NoSuchKey @throws {SynclineError} DENIED, SPACE_UNKNOWN */
export async function objectAt(call: S3Call, bucket: string, key: string): Promise<Version> {
  const { services, who } = call;
  const at = pathOfKey(key);
  if (at === undefined) {
    await services.spaces.space(who, bucket);
    throw noSuchKey(key);
  }
  const version = await services.spaces.version(who, bucket, at.path).catch((error: unknown) => hide(call, bucket, error));
  if (isObject(version, at.isDir)) return version;
  throw new S3Error("NoSuchKey", "there is no such key", { Key: key }, await markerHeaders(call, bucket, version));
}

/** Where a delete marker says that the key was removed. */
async function markerHeaders({ services }: S3Call, bucket: string, version: Version | undefined): Promise<Header[]> {
  const marked = version === undefined || version.entry !== undefined ? 0 : idOf(version);
  const versioning = await services.settings.versioning(bucket);
  if (marked === 0 || !versioning.isShown || versioning.namingOf(marked) === "early") return [];
  return [["x-amz-delete-marker", "true"], ["x-amz-version-id", versionIdOf(versioning, version!)]];
}

/** A bucket of which somebody may see nothing is not there for them. */
async function hide({ services, who }: S3Call, bucket: string, error: unknown): Promise<never> {
  if (error instanceof SynclineError && error.code === "DENIED") await services.spaces.space(who, bucket);
  throw error;
}

/** The version that the query names, or the one that the key has now. @throws {S3Error} NoSuchVersion, MethodNotAllowed */
export async function versionAsked(call: S3Call): Promise<Version> {
  const { bucket, key, query } = call.request;
  const versionId = query.get("versionId");
  return objectVersion(call, { bucket, key, versionId });
}

/** @throws {S3Error} NoSuchKey, NoSuchVersion; MethodNotAllowed for a delete marker */
export async function objectVersion(
  call: S3Call,
  at: { readonly bucket: string; readonly key: string; readonly versionId: string | undefined },
): Promise<Version> {
  const { services, who } = call;
  const { bucket, key, versionId } = at;
  const place = pathOfKey(key);
  if (versionId === undefined || place?.isDir === true || !(await isSingle(call, bucket, versionId))) return objectAt(call, bucket, key);
  if (place === undefined) throw noSuchKey(key);
  const found = async (): Promise<Version | undefined> => {
    const name = await versionNameOf(call, bucket, place.path, versionId);
    return name === undefined ? undefined : services.versions.named(who, bucket, name);
  };
  const record = await found().catch((error: unknown) => hide(call, bucket, error));
  if (record === undefined) throw new S3Error("NoSuchVersion", "there is no such version");
  if (record.entry === undefined) {
    const headers: Header[] = [["x-amz-delete-marker", "true"], ["x-amz-version-id", versionId]];
    throw new S3Error("MethodNotAllowed", "this version is a delete marker", {}, headers);
  }
  if (!isObject(record, place.isDir)) throw new S3Error("NoSuchVersion", "there is no such version");
  return record;
}

/** Where versions are shown, or one was asked for. */
async function versionHeaders(call: S3Call, version: Version): Promise<Header[]> {
  const told = await versionHeader(call, version);
  const named = call.request.query.get("versionId");
  return told.length === 0 && named !== undefined ? [["x-amz-version-id", named]] : told;
}

export async function getObject(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  const { bucket, method } = request;
  const version = await versionAsked(call);
  const by = opened(call, version, "object");
  const createdMs = version.entry?.kind === "dir" ? (await services.spaces.space(who, bucket)).createdMs : 0;
  const changedMs = modifiedMs(version, createdMs);
  const told = [await versionHeaders(call, version), await lockHeadersOf(call, bucket, version), await expirationHeader(call, version)];
  const headers = withOverrides(call, [...objectHeaders(version, createdMs), ...told.flat(), ...openedHeaders(by)]);
  if (readCondition((name) => header(call, name), version, changedMs) === "not-modified") {
    return answer(304, headers.filter(([name]) => name !== "content-type"));
  }
  const size = sizeOf(version);
  const isPart = request.query.has("partNumber");
  const range = isPart ? partOf(call, version) : rangeOf(call, version, changedMs);
  // A checksum is of the whole: with a part of it clients would compare the wrong thing.
  const wantsSums = header(call, "x-amz-checksum-mode")?.toUpperCase() === "ENABLED" && range === undefined;
  if (wantsSums) headers.push(...checksumHeaders(withSums(version, by)));
  if (isPart) headers.push(["x-amz-mp-parts-count", String(partsOf(version)?.length ?? 1)]);
  const { start, end } = range ?? { start: 0, end: size };
  if (range !== undefined) headers.push(["content-range", `bytes ${start}-${end - 1}/${size}`]);
  const status = range === undefined ? 200 : 206;
  if (method === "HEAD") return answer(status, [...headers, ["content-length", String(end - start)]]);
  if (end === start) return answer(status, headers, new Uint8Array(0));
  return answer(status, headers, await bodyOf(call, version, by, { start, end }));
}

function withOverrides({ request }: S3Call, headers: Header[]): Header[] {
  const given = OVERRIDES.flatMap(([query, name]): Header[] => {
    const value = request.query.get(query);
    if (value === undefined) return [];
    if (/[^\x20-\x7e]/.test(value)) throw new S3Error("InvalidArgument", `${query} cannot be a header`);
    return [[name, value]];
  });
  if (given.length === 0) return headers;
  return [...headers.filter(([name]) => !given.some(([other]) => other === name)), ...given];
}

type Span = { readonly start: number; readonly end: number };

/** One range; several are answered with everything, as is what is no range. @throws {S3Error} InvalidRange */
function rangeOf(call: S3Call, version: Version, changedMs: number): Span | undefined {
  const text = header(call, "range");
  if (text === undefined || !rangeApplies(header(call, "if-range"), version, changedMs)) return undefined;
  const size = sizeOf(version);
  const ranges = parseRanges(text, size);
  if (ranges === undefined || ranges.length > 1) return undefined;
  const [range] = ranges;
  if (range === undefined) {
    const more = { RangeRequested: text, ActualObjectSize: String(size) };
    throw new S3Error("InvalidRange", "the range cannot be satisfied", more, [["content-range", `bytes */${size}`]]);
  }
  return range;
}

function partOf(call: S3Call, version: Version): Span {
  const { query } = call.request;
  const number = Number(query.get("partNumber"));
  if (!Number.isInteger(number) || number < 1 || number > 10_000) throw new S3Error("InvalidArgument", "partNumber is from 1 to 10000");
  if (header(call, "range") !== undefined) throw new S3Error("InvalidRequest", "either a range or a part can be asked for");
  const sizes = partsOf(version) ?? [sizeOf(version)];
  if (number > sizes.length) throw new S3Error("InvalidPartNumber", `the object has ${sizes.length} parts`);
  const start = sizes.slice(0, number - 1).reduce((sum, size) => sum + size, 0);
  return { start, end: start + sizes[number - 1]! };
}

async function bodyOf(call: S3Call, version: Version, by: Opened | undefined, { start, end }: Span): Promise<Http1Answer["body"]> {
  const { services, who, request } = call;
  const length = end - start;
  if (length > WHOLE_BYTES_MAX) {
    services.traffic.require("downloads");
    const source = await openObject(call, request.bucket, version, by);
    return { length, pieces: pieces(call, source, { start, end }) };
  }
  const bytes = new Uint8Array(length);
  if (by === undefined) await fill(await services.spaces.open(who, request.bucket, version), bytes, start);
  else await gather(await openObject(call, request.bucket, version, by), bytes, start);
  services.traffic.count("out", length);
  return bytes;
}

async function gather(source: ObjectSource, bytes: Uint8Array, start: number): Promise<void> {
  let at = 0;
  for await (const piece of source.stream(start, start + bytes.length)) {
    bytes.set(piece, at);
    at += piece.length;
  }
}

async function fill(reader: ContentReader, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const count = await reader.read(at === 0 ? bytes : bytes.subarray(at), position + at);
    if (count === 0) throw new Error("the content is shorter than it was");
    at += count;
  }
}

async function* pieces({ services, traceId }: S3Call, source: ObjectSource, { start, end }: Span): AsyncGenerator<Uint8Array, void> {
  const { traffic, log } = services;
  using _place = traffic.take("downloads");
  try {
    for await (const piece of source.stream(start, end)) {
      traffic.count("out", piece.length);
      yield piece;
    }
  } catch (error) {
    log.error("object broke off", { traceId, error: messageOf(error) });
    throw error;
  }
}
