/** DELETE of single versions: they go for good, unless a lock or a restore point keeps them. */
import { expectOf } from "#gateway/s3/conditions.ts";
import { pathOfKey } from "#gateway/s3/keys.ts";
import { asksToBypass } from "#gateway/s3/lock-text.ts";
import { type Asked, conditionOf, deletedXml, errorXml, refusedOf, removeEmptied } from "#gateway/s3/ops-write.ts";
import { type Header, type S3Call, answer } from "#gateway/s3/s3-call.ts";
import { S3Error, s3ErrorOf } from "#gateway/s3/s3-error.ts";
import { NULL_VERSION, sequenceOf, versionNameOf } from "#gateway/s3/version-ids.ts";
import type { PurgeResult, VersionName } from "#hub/meta/purge.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

export async function deleteVersion(call: S3Call, versionId: string): Promise<Http1Answer> {
  const { key } = call.request;
  const [result] = await purge(call, [{ key, versionId, match: conditionOf(call).match }]);
  if (result instanceof S3Error) throw result;
  const marker: Header[] = result === "marker" ? [["x-amz-delete-marker", "true"]] : [];
  return answer(204, [["x-amz-version-id", versionId], ...marker]);
}

/** A line of the answer for each. */
export async function purgeMany(call: S3Call, asked: readonly Asked[]): Promise<string[]> {
  const results = await purge(call, asked);
  return results.map((result, at) => {
    const { key, versionId } = asked[at]!;
    if (result instanceof S3Error) return errorXml(key, result, versionId);
    return deletedXml(key, versionId, result === "marker" ? versionId : undefined);
  });
}

/** What went, if there was anything. */
type Purged = "version" | "marker" | "nothing" | S3Error;

async function purge(call: S3Call, asked: readonly Asked[]): Promise<Purged[]> {
  const { services, who, request, traceId } = call;
  if (asked.length === 0) return [];
  // Who may see nothing of the bucket is told that there is none.
  await services.spaces.space(who, request.bucket);
  const names = await Promise.all(asked.map((one) => nameOf(call, one).catch((error: unknown) => s3ErrorOf(error))));
  const versions = names.filter((name): name is VersionName => name !== undefined && !(name instanceof S3Error));
  const bypass = asksToBypass(call);
  const results = versions.length === 0 ? [] : (await services.versions.purge(who, request.bucket, versions, { traceId, bypass })).results;
  const emptied = new Set<RelPath>();
  for (const result of results) {
    const isGone = result.status === "purged" && result.current !== undefined && result.current.entry === undefined;
    if (isGone) emptied.add(parentOf(result.path));
  }
  await removeEmptied(call, emptied);
  let next = 0;
  return names.map((name, at) => {
    if (name === undefined) return "nothing";
    return name instanceof S3Error ? name : purgedOf(results[next++]!, asked[at]!.key);
  });
}

/** Undefined where no such version can be. @throws {S3Error, SynclineError} */
async function nameOf(call: S3Call, { key, versionId, match }: Asked): Promise<VersionName | undefined> {
  const { services, who, request } = call;
  const at = pathOfKey(key);
  if (versionId === undefined || (versionId !== NULL_VERSION && sequenceOf(versionId) === undefined)) {
    throw new S3Error("InvalidArgument", "the version is none of ours", { VersionId: versionId ?? "" });
  }
  if (at === undefined || at.isDir) return undefined;
  services.access.require(who, "purge", { type: "space", space: request.bucket, path: at.path });
  const name = await versionNameOf(call, request.bucket, at.path, versionId);
  if (name === undefined) return undefined;
  if (match !== undefined) expectOf({ match, none: undefined }, await services.versions.named(who, request.bucket, name), key);
  return name;
}

function purgedOf(result: PurgeResult, key: string): Purged {
  if (result.status === "absent") return "nothing";
  if (result.status === "kept") return new S3Error("AccessDenied", `the version cannot be deleted: ${result.why}`, { Key: key });
  if (result.status === "refused") return refusedOf(result, key);
  return result.version.entry === undefined ? "marker" : "version";
}
