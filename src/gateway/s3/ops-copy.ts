/**
 * CopyObject: metadata only within a bucket; between two of them the bytes are read, because their sums differ, and so they
 * are where a key of the client is on one side and not on the other.
 */
import { percentDecode } from "#gateway/api/url-path.ts";
import { elementOf } from "#gateway/s3/checksums.ts";
import { readCondition } from "#gateway/s3/conditions.ts";
import { type Source, copiedBytes, isOfBytes } from "#gateway/s3/copied-bytes.ts";
import { pathToWrite } from "#gateway/s3/keys.ts";
import { metadataOf, refuseUnknown, tagsOf } from "#gateway/s3/metadata.ts";
import { lockAsked } from "#gateway/s3/lock-text.ts";
import { KEPT_HEADERS, META, TAGS, checksumsOf, etagOf, isoTime, modifiedMs } from "#gateway/s3/object-facts.ts";
import { commitObject, conditionOf } from "#gateway/s3/ops-write.ts";
import { objectVersion } from "#gateway/s3/ops-read.ts";
import { type Header, type S3Call, header, xmlAnswer } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { customerKey, keyHeaders } from "#gateway/s3/sse-c/customer-key.ts";
import { opened } from "#gateway/s3/sse-c/object-encryption.ts";
import { element } from "#gateway/s3/xml.ts";
import { versionHeader } from "#gateway/s3/version-ids.ts";
import type { Attributes } from "#hub/attributes.ts";
import type { Version } from "#hub/space.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

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

/** Its conditions are looked at, and its key. @throws {S3Error} NoSuchKey, NoSuchVersion, PreconditionFailed, and as opened() */
export async function sourceVersion(call: S3Call, source: CopySource): Promise<Source> {
  const version = await objectVersion(call, source);
  const by = opened(call, version, "source");
  const ask = (name: string): string | undefined => header(call, `x-amz-copy-source-${name}`);
  if (readCondition(ask, version, modifiedMs(version, 0)) === "not-modified") {
    throw new S3Error("PreconditionFailed", "at least one of the conditions does not hold");
  }
  return { bucket: source.bucket, version, by };
}

export async function copyObject(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  refuseUnknown(call);
  const at = pathToWrite(request.key);
  const lock = await lockAsked(call);
  const key = customerKey(call, "object");
  const source = copySourceOf(call);
  const replacesMetadata = directive(call, "x-amz-metadata-directive");
  const replacesTags = directive(call, "x-amz-tagging-directive");
  const isSelf = source.bucket === request.bucket && source.key === request.key && source.versionId === undefined;
  const hasKey = key !== undefined || customerKey(call, "source") !== undefined;
  if (isSelf && !hasKey && !replacesMetadata && !replacesTags && header(call, "x-amz-checksum-algorithm") === undefined) {
    throw new S3Error("InvalidRequest", "the object is copied onto itself, and nothing of it is to be changed");
  }
  const from = await sourceVersion(call, source);
  const { version } = from;
  if ((version.entry?.kind === "dir") !== at.isDir) {
    throw new S3Error("InvalidObjectName", "a key that ends with / is a directory, and only that is copied there");
  }
  const kept = keptOf(call, version, { replacesMetadata, replacesTags });
  await using intake = services.spaces.intake(who, request.bucket);
  const { sums, ...copied } = await copiedBytes(call, from, key, intake);
  const attributes = { ...kept, ...copied.attributes };
  const made = await commitObject(call, { ...copied, at, attributes, lock }, conditionOf(call), intake);
  const { versionId } = source;
  const headers: Header[] = versionId === undefined ? [] : [["x-amz-copy-source-version-id", versionId]];
  const more = [...keyHeaders(key), ...(await versionHeader(call, made))];
  return xmlAnswer("CopyObjectResult", resultXml(made, sums), [...headers, ...more]);
}

function resultXml(version: Version, told: Attributes): string {
  const sums = checksumsOf({ ...version, attributes: told }).map(([name, value]) => element(elementOf(name), value));
  return element("LastModified", isoTime(modifiedMs(version, 0))) + element("ETag", etagOf(version)) + sums.join("");
}

function directive(call: S3Call, name: string): boolean {
  const value = header(call, name) ?? "COPY";
  if (value !== "COPY" && value !== "REPLACE") throw new S3Error("InvalidArgument", `${name} is COPY or REPLACE`);
  return value === "REPLACE";
}

const DESCRIBING = new Set(KEPT_HEADERS.map(([, attribute]) => attribute));
const isMetadata = (name: string): boolean => name.startsWith(META) || DESCRIBING.has(name);

/** What is kept of what the source says of itself, and what takes its place; what is said of its bytes is not among it. */
function keptOf(
  call: S3Call,
  version: Version,
  { replacesMetadata, replacesTags }: { readonly replacesMetadata: boolean; readonly replacesTags: boolean },
): Attributes {
  const kept = Object.entries(version.attributes).filter(
    ([name]) => !isOfBytes(name) && !(replacesMetadata && isMetadata(name)) && !(replacesTags && name === TAGS),
  );
  return {
    ...Object.fromEntries(kept),
    ...(replacesMetadata ? metadataOf(call) : {}),
    ...(replacesTags ? tagsOf(call) : {}),
  };
}

