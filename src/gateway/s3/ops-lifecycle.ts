/** Lifecycle of a bucket: its rules are kept with its space, and done by a job of the hub (hub/lifecycle). */
import { lifecycleOf, lifecycleXml } from "#gateway/s3/lifecycle-xml.ts";
import { httpTime } from "#gateway/s3/object-facts.ts";
import { type Header, type S3Call, answer, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { expiryOf } from "#hub/lifecycle/rules.ts";
import type { Version } from "#hub/space.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

const ID_BYTES = 12;

export async function bucketLifecycle(call: S3Call): Promise<Http1Answer> {
  const { lifecycle } = (await call.services.spaces.space(call.who, call.request.bucket)).settings;
  if (lifecycle === undefined) throw new S3Error("NoSuchLifecycleConfiguration", "the bucket has no lifecycle configuration");
  return xmlAnswer("LifecycleConfiguration", lifecycleXml(lifecycle));
}

export async function putBucketLifecycle(call: S3Call): Promise<Http1Answer> {
  requireManage(call);
  const { services } = call;
  const newId = (): string => services.random.bytes(ID_BYTES).toBase64({ alphabet: "base64url" });
  const lifecycle = lifecycleOf(await xmlBody(call, "LifecycleConfiguration"), newId);
  await services.settings.change(call, { lifecycle });
  return answer(200);
}

export async function deleteBucketLifecycle(call: S3Call): Promise<Http1Answer> {
  requireManage(call);
  await call.services.settings.change(call, { lifecycle: undefined });
  return answer(204);
}

function requireManage({ services, who, request }: S3Call): void {
  services.access.require(who, "manage", { type: "space", space: request.bucket, path: "" });
}

/**
 * When the current version of a key expires, where its bucket has rules for that: one look-up for all others.
 * @param madeMs undefined: to be looked up
 */
export async function expirationHeader(call: S3Call, version: Version, madeMs?: number): Promise<Header[]> {
  const { services, who, request } = call;
  const rules = (await services.settings.recentSettings(request.bucket))?.lifecycle;
  if (rules === undefined || request.query.has("versionId")) return [];
  // Which rule it is hangs on when it was made; whether there is one does not.
  if (expiryOf(rules, version, 0) === undefined) return [];
  const sinceMs = madeMs ?? (await services.spaces.history(who, request.bucket, version.path, version.sequence + 1, 1))[0]?.timeMs ?? 0;
  const { ruleId, atMs } = expiryOf(rules, version, sinceMs)!;
  return [["x-amz-expiration", `expiry-date="${httpTime(atMs)}", rule-id="${encodeURIComponent(ruleId)}"`]];
}
