/** Object lock: of a bucket, and of single versions of its keys. */
import { pathOfKey } from "#gateway/s3/keys.ts";
import { asksToBypass, holdOf, lockHeaders, noLocks, periodOf, periodXml, retentionOf, retentionXml } from "#gateway/s3/lock-text.ts";
import { idOf } from "#gateway/s3/object-facts.ts";
import { versionAsked } from "#gateway/s3/ops-read.ts";
import { type Header, type S3Call, answer, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { element } from "#gateway/s3/xml.ts";
import type { VersionName } from "#hub/meta/purge.ts";
import type { Version } from "#hub/space.ts";
import { VERSIONING } from "#hub/versioning.ts";
import type { LockAsked } from "#hub/versions/versions.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

export async function bucketLock(call: S3Call): Promise<Http1Answer> {
  const { lock } = (await call.services.spaces.space(call.who, call.request.bucket)).settings;
  if (lock === undefined) throw new S3Error("ObjectLockConfigurationNotFoundError", "the bucket has no object lock configuration");
  const rule = lock.period === undefined ? "" : periodXml(lock.period);
  return xmlAnswer("ObjectLockConfiguration", element("ObjectLockEnabled", "Enabled") + rule);
}

export async function putBucketLock(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  services.access.require(who, "manage", { type: "space", space: request.bucket, path: "" });
  const period = periodOf(await xmlBody(call, "ObjectLockConfiguration"));
  await services.settings.change(call, { lock: { period } }, ({ doors }) => {
    if (doors?.[VERSIONING] !== "Enabled") throw new S3Error("InvalidBucketState", "only a bucket with versioning keeps locks");
  });
  return answer(200);
}

/** The version that the query names, or the current one; in a bucket that keeps locks. */
async function lockable(call: S3Call): Promise<{ version: Version; name: VersionName }> {
  const { services, who, request } = call;
  if ((await services.spaces.space(who, request.bucket)).settings.lock === undefined) throw noLocks();
  const version = await versionAsked(call);
  if (version.content === undefined) throw new S3Error("InvalidRequest", "a key that ends with / has no bytes that could be locked");
  return { version, name: { path: version.path, sequence: idOf(version) } };
}

export async function objectRetention(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  const { term } = await services.versions.lock(who, request.bucket, (await lockable(call)).name);
  if (term === undefined) throw new S3Error("NoSuchObjectLockConfiguration", "the version has no retention");
  return xmlAnswer("Retention", retentionXml(term));
}

export async function objectLegalHold(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  const { hold } = await services.versions.lock(who, request.bucket, (await lockable(call)).name);
  return xmlAnswer("LegalHold", element("Status", hold ? "ON" : "OFF"));
}

export async function putObjectRetention(call: S3Call): Promise<Http1Answer> {
  requireLock(call);
  const term = retentionOf(await xmlBody(call, "Retention"), call.services.clock.nowMs());
  return changeLock(call, { traceId: call.traceId, term, bypass: asksToBypass(call) });
}

export async function putObjectLegalHold(call: S3Call): Promise<Http1Answer> {
  requireLock(call);
  return changeLock(call, { traceId: call.traceId, hold: holdOf(await xmlBody(call, "LegalHold")) });
}

function requireLock({ services, who, request }: S3Call): void {
  const path = pathOfKey(request.key)?.path ?? "";
  services.access.require(who, "lock", { type: "space", space: request.bucket, path });
}

async function changeLock(asking: S3Call, asked: LockAsked): Promise<Http1Answer> {
  // What is asked for may have come for long.
  const call = { ...asking, who: await asking.renew() };
  const { services, who, request } = call;
  const { name } = await lockable(call);
  const outcome = await services.versions.changeLock(who, request.bucket, name, asked);
  if (outcome.status === "kept") throw new S3Error("AccessDenied", outcome.why, { Key: request.key });
  if (outcome.status === "absent") throw new S3Error("NoSuchVersion", "there is no such version");
  return answer(200);
}

/** For who reads the object, where the bucket keeps locks: one look-up for all others. */
export async function lockHeadersOf(call: S3Call, bucket: string, version: Version): Promise<Header[]> {
  const { services, who } = call;
  if ((await services.settings.recentSettings(bucket))?.lock === undefined || version.content === undefined) return [];
  return lockHeaders(await services.versions.lock(who, bucket, { path: version.path, sequence: idOf(version) }));
}
