/** Tags of objects and of buckets, and GetObjectAttributes. */
import { BUCKET_TAGS } from "#gateway/s3/bucket-settings.ts";
import { elementOf } from "#gateway/s3/checksums.ts";
import { pathToWrite } from "#gateway/s3/keys.ts";
import { TAGS, checksumType, checksumsOf, etagOf, httpTime, idOf, modifiedMs, partsOf, sizeOf } from "#gateway/s3/object-facts.ts";
import { TRIES_MAX, commit, conflict, refusedOf } from "#gateway/s3/ops-write.ts";
import { versionAsked } from "#gateway/s3/ops-read.ts";
import { opened, openedHeaders, withSums } from "#gateway/s3/sse-c/object-encryption.ts";
import { type Header, type S3Call, answer, header, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { type Tags, checkedTags, tagsText } from "#gateway/s3/tags.ts";
import { versionHeader } from "#gateway/s3/version-ids.ts";
import { childrenOf, element, exactTextOf, malformedXml } from "#gateway/s3/xml.ts";
import type { ChangeResult, Version } from "#hub/space.ts";
import type { RelPath } from "#model/path.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

function tagsXml(text: string | undefined): string {
  const tags = text === undefined ? [] : [...new URLSearchParams(text)];
  return `<TagSet>${tags.map(([name, value]) => `<Tag>${element("Key", name)}${element("Value", value)}</Tag>`).join("")}</TagSet>`;
}

async function tagsIn(call: S3Call): Promise<Tags> {
  const body = await xmlBody(call, "Tagging");
  const [set, ...more] = childrenOf(body, "TagSet");
  if (set === undefined || more.length > 0) throw malformedXml();
  const tags = childrenOf(set, "Tag").map((tag) => {
    const [name, value] = [exactTextOf(tag, "Key"), exactTextOf(tag, "Value")];
    if (name === undefined || value === undefined) throw malformedXml();
    return [name, value] as const;
  });
  return checkedTags(tags);
}

export async function objectTagging(call: S3Call): Promise<Http1Answer> {
  const version = await versionAsked(call);
  return xmlAnswer("Tagging", tagsXml(version.attributes[TAGS]), await versionHeader(call, version));
}

export async function putObjectTagging(call: S3Call): Promise<Http1Answer> {
  const tags = await tagsIn(call);
  return answer(200, await setTags(call, tags.length === 0 ? undefined : tagsText(tags)));
}

export async function deleteObjectTagging(call: S3Call): Promise<Http1Answer> {
  return answer(204, await setTags(call, undefined));
}

/** The current version is written once more with other tags: its id and its lock stay. Of an old one they lie beside it. */
async function setTags(asking: S3Call, text: string | undefined): Promise<readonly Header[]> {
  // The tags may have come for long.
  const call = { ...asking, who: await asking.renew() };
  const { services, who, request, traceId } = call;
  const at = pathToWrite(request.key);
  services.access.require(who, "write", { type: "space", space: request.bucket, path: at.path });
  for (let attempt = 1; attempt <= TRIES_MAX; attempt++) {
    const version = await versionAsked(call);
    const name = { path: at.path, sequence: idOf(version) };
    const current = await services.spaces.version(who, request.bucket, at.path);
    if (current === undefined || idOf(current) !== name.sequence) {
      const { status } = await services.versions.changeOld(who, request.bucket, name, { traceId, attributes: { [TAGS]: text } });
      if (status === "absent") throw new S3Error("NoSuchVersion", "there is no such version");
      if (status === "current") continue;
      return versionHeader(call, version);
    }
    const result = await retagged(call, current, at.path, text);
    if (result.status === "done") return versionHeader(call, version);
    if (result.status === "refused") throw refusedOf(result, request.key);
  }
  throw conflict(request.key);
}

async function retagged(call: S3Call, version: Version, path: RelPath, text: string | undefined): Promise<ChangeResult> {
  const { services, who, request } = call;
  const { entry, content, sequence, attributes: old } = version;
  await using intake = services.spaces.intake(who, request.bucket);
  if (content !== undefined && !(await intake.hold(content))) throw new S3Error("InvalidObjectState", "the bytes of the object are gone");
  const kept = Object.fromEntries(Object.entries(old).filter(([name]) => name !== TAGS));
  const attributes = text === undefined ? kept : { ...kept, [TAGS]: text };
  const expect = { kind: "sequence", sequence } as const;
  const change = { type: "put", path, expect, entry: entry!, content, attributes, makeParents: false } as const;
  const [result] = await commit(call, [{ ...change, isSameVersion: true }], intake);
  return result!;
}

export async function bucketTagging(call: S3Call): Promise<Http1Answer> {
  const text = await call.services.settings.get(call, BUCKET_TAGS);
  if (text === undefined) throw new S3Error("NoSuchTagSet", "the bucket has no tags");
  return xmlAnswer("Tagging", tagsXml(text));
}

export async function putBucketTagging(call: S3Call): Promise<Http1Answer> {
  await call.services.settings.set(call, BUCKET_TAGS, tagsText(await tagsIn(call)));
  return answer(204);
}

export async function deleteBucketTagging(call: S3Call): Promise<Http1Answer> {
  await call.services.settings.set(call, BUCKET_TAGS, undefined);
  return answer(204);
}

export async function objectAttributes(call: S3Call): Promise<Http1Answer> {
  const version = await versionAsked(call);
  const wanted = new Set((header(call, "x-amz-object-attributes") ?? "").split(",").map((one) => one.trim()));
  const by = opened(call, version, "object");
  const sums = checksumsOf(withSums(version, by));
  const type = sums[0] === undefined ? undefined : checksumType(sums[0][1]);
  const sumsXml = sums.map(([name, value]) => element(elementOf(name), value)).join("") + element("ChecksumType", type);
  const parts = partsOf(version)?.length ?? 0;
  const inner = [
    wanted.has("ETag") ? element("ETag", etagOf(version).replaceAll('"', "")) : "",
    wanted.has("Checksum") && sums.length > 0 ? `<Checksum>${sumsXml}</Checksum>` : "",
    wanted.has("ObjectParts") && parts > 0 ? `<ObjectParts>${element("PartsCount", parts)}</ObjectParts>` : "",
    wanted.has("StorageClass") ? element("StorageClass", "STANDARD") : "",
    wanted.has("ObjectSize") ? element("ObjectSize", sizeOf(version)) : "",
  ];
  return xmlAnswer("GetObjectAttributesResponse", inner.join(""), [
    ["last-modified", httpTime(modifiedMs(version, 0))],
    ...openedHeaders(by),
  ]);
}
