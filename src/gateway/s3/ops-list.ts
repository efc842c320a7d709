/** ListBuckets, ListObjects and ListObjectsV2. */
import { checksumType, checksumsOf, etagOf, isoTime, modifiedMs, sizeOf } from "#gateway/s3/object-facts.ts";
import { type ListAsk, type ListPage, type Listed, listPage } from "#gateway/s3/listing.ts";
import { type S3Call, countOf, xmlAnswer } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { reencode } from "#platform/net/aws-signature.ts";
import { element } from "#gateway/s3/xml.ts";
import { encodeName } from "#model/path.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

/** Keys of a page at most. */
export const KEYS_MAX = 1000;

export async function listBuckets(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  const prefix = request.query.get("prefix") ?? "";
  const after = request.query.get("continuation-token") ?? "";
  const max = countOf(call, "max-buckets", 10_000, 10_000);
  const all = (await services.spaces.spaces(who)).filter(({ name }) => name.startsWith(prefix) && name > after);
  const shown = all.slice(0, max);
  const buckets = shown.map(
    ({ name, createdMs }) => `<Bucket>${element("Name", name)}${element("CreationDate", isoTime(createdMs))}</Bucket>`,
  );
  const more = all.length > shown.length ? element("ContinuationToken", shown.at(-1)?.name ?? "") : "";
  return xmlAnswer("ListAllMyBucketsResult", `${ownerXml(call)}<Buckets>${buckets.join("")}</Buckets>${more}`);
}

export function ownerXml({ who }: S3Call, name = "Owner"): string {
  return `<${name}>${element("ID", who.id)}${element("DisplayName", who.name)}</${name}>`;
}

type Texts = (text: string) => string;

/** How keys are written: as they are, or percent-encoded where the client asks for it. */
export function textsOf(call: S3Call): Texts {
  const encoding = call.request.query.get("encoding-type");
  if (encoding === undefined || encoding === "") return (text) => text;
  if (encoding !== "url") throw new S3Error("InvalidArgument", 'encoding-type is "url" or nothing');
  return (text) => reencode(Buffer.from(encodeName(text)).toString("latin1").replaceAll("%", "%25"), "/");
}

function askOf(call: S3Call, after: string): ListAsk {
  const { query } = call.request;
  const max = countOf(call, "max-keys", KEYS_MAX, KEYS_MAX);
  return { prefix: query.get("prefix") ?? "", delimiter: query.get("delimiter") ?? "", after, max };
}

async function pageOf(call: S3Call, ask: ListAsk): Promise<ListPage & { readonly createdMs: number }> {
  const { services, who, request } = call;
  const { createdMs } = await services.spaces.space(who, request.bucket);
  return { ...(await listPage({ services, who, space: request.bucket }, ask)), createdMs };
}

function itemXml(call: S3Call, item: Listed, texts: Texts, createdMs: number, showsOwner: boolean): string {
  if (item.kind === "prefix") return `<CommonPrefixes>${element("Prefix", texts(item.key))}</CommonPrefixes>`;
  const { version } = item;
  const sums = checksumsOf(version);
  const checks = sums.map(([name]) => element("ChecksumAlgorithm", name.toUpperCase())).join("");
  const type = sums.length === 0 ? "" : element("ChecksumType", checksumType(sums[0]![1]));
  return (
    `<Contents>${element("Key", texts(item.key))}${element("LastModified", isoTime(modifiedMs(version, createdMs)))}` +
    `${element("ETag", etagOf(version))}${checks}${type}${element("Size", sizeOf(version))}` +
    `${showsOwner ? ownerXml(call) : ""}<StorageClass>STANDARD</StorageClass></Contents>`
  );
}

export async function listObjectsV1(call: S3Call): Promise<Http1Answer> {
  const { query, bucket } = call.request;
  const texts = textsOf(call);
  const marker = query.get("marker") ?? "";
  const ask = askOf(call, marker);
  const { items, isTruncated, createdMs } = await pageOf(call, ask);
  const last = items.at(-1)?.key;
  const showsNext = isTruncated && ask.delimiter !== "" && last !== undefined;
  const inner = [
    element("Name", bucket),
    element("Prefix", texts(ask.prefix)),
    element("Marker", texts(marker)),
    showsNext ? element("NextMarker", texts(last)) : "",
    element("MaxKeys", ask.max),
    ask.delimiter === "" ? "" : element("Delimiter", texts(ask.delimiter)),
    element("EncodingType", query.get("encoding-type") === "url" ? "url" : undefined),
    element("IsTruncated", isTruncated),
    ...items.map((item) => itemXml(call, item, texts, createdMs, true)),
  ];
  return xmlAnswer("ListBucketResult", inner.join(""));
}

/** Only we read it; what it holds may be any key. */
const tokenOf = (key: string): string => Buffer.from(encodeName(key)).toString("base64url");

function keyOfToken(token: string): string {
  const key = Buffer.from(token, "base64url").toString();
  if (key === "" || tokenOf(key) !== token) throw new S3Error("InvalidArgument", "the continuation token is not one of ours");
  return key;
}

export async function listObjectsV2(call: S3Call): Promise<Http1Answer> {
  const { query, bucket } = call.request;
  const texts = textsOf(call);
  const token = query.get("continuation-token");
  const start = query.get("start-after") ?? "";
  const ask = askOf(call, token === undefined ? start : keyOfToken(token));
  const { items, isTruncated, createdMs } = await pageOf(call, ask);
  const last = items.at(-1)?.key;
  const showsOwner = query.get("fetch-owner") === "true";
  const inner = [
    element("Name", bucket),
    element("Prefix", texts(ask.prefix)),
    element("MaxKeys", ask.max),
    ask.delimiter === "" ? "" : element("Delimiter", texts(ask.delimiter)),
    element("EncodingType", query.get("encoding-type") === "url" ? "url" : undefined),
    element("KeyCount", items.length),
    element("IsTruncated", isTruncated),
    element("ContinuationToken", token),
    isTruncated && last !== undefined ? element("NextContinuationToken", tokenOf(last)) : "",
    start === "" ? "" : element("StartAfter", texts(start)),
    ...items.map((item) => itemXml(call, item, texts, createdMs, showsOwner)),
  ];
  return xmlAnswer("ListBucketResult", inner.join(""));
}
