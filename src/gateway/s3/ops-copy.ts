/** CopyObject: metadata only within a bucket; between two of them the bytes are read, because their sums differ. */
import { percentDecode } from "#gateway/api/url-path.ts";
import { readCondition } from "#gateway/s3/conditions.ts";
import { pathToWrite } from "#gateway/s3/keys.ts";
import { metadataOf, refuseUnknown, sumsAsAttributes, tagsOf } from "#gateway/s3/metadata.ts";
import { lockAsked } from "#gateway/s3/lock-text.ts";
import { KEPT_HEADERS, META, TAGS, checksumsOf, etagOf, isoTime, modifiedMs, sumAttribute } from "#gateway/s3/object-facts.ts";
import { algorithmOf, elementOf } from "#gateway/s3/checksums.ts";
import { commitObject, conditionOf, fileEntry, versionHeader } from "#gateway/s3/ops-write.ts";
import { objectAt, oldVersion } from "#gateway/s3/ops-read.ts";
import { type Header, type S3Call, header, xmlAnswer } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { element } from "#gateway/s3/xml.ts";
import type { Attributes } from "#hub/attributes.ts";
import type { ContentReader, Intake } from "#hub/space-service.ts";
import type { ContentRef, Version } from "#hub/space.ts";
import type { Entry } from "#model/entry.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

/** Read at once of what goes from one bucket to another. */
const PIECE_BYTES = 1 << 20;

export type CopySource = { readonly bucket: string; readonly key: string; readonly versionId: string | undefined };

/** @throws {S3Error} InvalidArgument */
export function copySourceOf(call: S3Call): CopySource {
  const text = header(call, "x-amz-copy-source") ?? "";
  const match = /^\/?([^/?]+)\/(.+?)(?:\?versionId=([^?&]+))?$/.exec(text);
  if (match === null) throw new S3Error("InvalidArgument", "x-amz-copy-source is not like bucket/key");
  try {
    return { bucket: percentDecode(match[1]!), key: percentDecode(match[2]!), versionId: match[3] };
  } catch {
    throw new S3Error("InvalidArgument", "x-amz-copy-source is not well formed");
  }
}

/** The object to copy, its conditions looked at. @throws {S3Error} NoSuchKey, NoSuchVersion, PreconditionFailed */
export async function sourceVersion(call: S3Call, source: CopySource): Promise<Version> {
  const { bucket, key, versionId } = source;
  const isOld = versionId !== undefined && versionId !== "null";
  const version = await (isOld ? oldVersion(call, { bucket, key, versionId }) : objectAt(call, bucket, key));
  const ask = (name: string): string | undefined => header(call, `x-amz-copy-source-${name}`);
  if (readCondition(ask, version, modifiedMs(version, 0)) === "not-modified") {
    throw new S3Error("PreconditionFailed", "at least one of the conditions does not hold");
  }
  return version;
}

export async function copyObject(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  refuseUnknown(call);
  const at = pathToWrite(request.key);
  const lock = await lockAsked(call);
  const source = copySourceOf(call);
  const replacesMetadata = directive(call, "x-amz-metadata-directive");
  const replacesTags = directive(call, "x-amz-tagging-directive");
  const isSelf = source.bucket === request.bucket && source.key === request.key && source.versionId === undefined;
  if (isSelf && !replacesMetadata && !replacesTags && header(call, "x-amz-checksum-algorithm") === undefined) {
    throw new S3Error("InvalidRequest", "the object is copied onto itself, and nothing of it is to be changed");
  }
  const version = await sourceVersion(call, source);
  if ((version.entry?.kind === "dir") !== at.isDir) {
    throw new S3Error("InvalidObjectName", "a key that ends with / is a directory, and only that is copied there");
  }
  const attributes = await attributesOf(call, source, version, { replacesMetadata, replacesTags });
  await using intake = services.spaces.intake(who, request.bucket);
  const { entry, content } = await contentFor(call, source, version, intake);
  const made = await commitObject(call, { at, entry, content, attributes, lock }, conditionOf(call), intake);
  const { versionId } = source;
  const headers: Header[] = versionId === undefined ? [] : [["x-amz-copy-source-version-id", versionId]];
  return xmlAnswer("CopyObjectResult", resultXml(made), [...headers, ...(await versionHeader(call, made))]);
}

function resultXml(version: Version): string {
  const sums = checksumsOf(version).map(([name, value]) => element(elementOf(name), value));
  return element("LastModified", isoTime(modifiedMs(version, 0))) + element("ETag", etagOf(version)) + sums.join("");
}

function directive(call: S3Call, name: string): boolean {
  const value = header(call, name) ?? "COPY";
  if (value !== "COPY" && value !== "REPLACE") throw new S3Error("InvalidArgument", `${name} is COPY or REPLACE`);
  return value === "REPLACE";
}

const DESCRIBING = new Set(KEPT_HEADERS.map(([, attribute]) => attribute));
const isMetadata = (name: string): boolean => name.startsWith(META) || DESCRIBING.has(name);

async function attributesOf(
  call: S3Call,
  source: CopySource,
  version: Version,
  { replacesMetadata, replacesTags }: { readonly replacesMetadata: boolean; readonly replacesTags: boolean },
): Promise<Attributes> {
  const kept = Object.entries(version.attributes).filter(
    ([name]) => !(replacesMetadata && isMetadata(name)) && !(replacesTags && name === TAGS),
  );
  const named = header(call, "x-amz-checksum-algorithm");
  const algorithm = named === undefined ? undefined : algorithmOf(named);
  const lacks = algorithm !== undefined && version.attributes[sumAttribute(algorithm)] === undefined && version.content !== undefined;
  const sums = lacks ? await call.services.spaces.sums(call.who, source.bucket, version, [algorithm]) : undefined;
  return {
    ...Object.fromEntries(kept),
    ...(replacesMetadata ? metadataOf(call) : {}),
    ...(replacesTags ? tagsOf(call) : {}),
    ...(sums === undefined ? {} : sumsAsAttributes(new Map([[algorithm!, sums[algorithm!]!]]))),
  };
}

/** The bytes of the source, held for the bucket that they go to. @throws {S3Error} InvalidObjectState when they are gone */
async function contentFor(
  call: S3Call,
  source: CopySource,
  version: Version,
  intake: Intake,
): Promise<{ entry: Entry; content: ContentRef | undefined }> {
  const { services, who, request } = call;
  const { entry, content } = version;
  if (entry?.kind !== "file") return { entry: entry!, content: undefined };
  const at = pathToWrite(request.key);
  const isSame = source.bucket === request.bucket && entry.sum !== undefined;
  if (isSame && content !== undefined) {
    if (await intake.hold(content)) return { entry: await fileEntry(call, at, { size: content.size, sum: entry.sum }), content };
    throw new S3Error("InvalidObjectState", "the bytes of the source are gone");
  }
  const reader = await services.spaces.open(who, source.bucket, version);
  const named = await storedAgain(reader, intake);
  return { entry: await fileEntry(call, at, { size: named.content.size, sum: named.sum }), content: named.content };
}

async function storedAgain(reader: ContentReader, intake: Intake): ReturnType<Intake["store"]> {
  const sink = intake.sink(reader.size);
  const piece = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < reader.size; ) {
    const count = await reader.read(piece, at);
    if (count === 0) throw new Error("the content is shorter than it was");
    await sink.write(piece.subarray(0, count));
    at += count;
  }
  return sink.end();
}
