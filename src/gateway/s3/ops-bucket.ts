/** Buckets: a bucket is a space. */
import { refuseAcl, requireEnforced } from "#gateway/s3/ops-acl.ts";
import { type S3Call, answer, header, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { SynclineError } from "#model/error.ts";
import { SPACE_NAME } from "#hub/space.ts";
import { VERSIONING } from "#hub/versioning.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

/** What we call our region; any is accepted. Not one of AWS, or clients sign as they did before they knew regions. */
export const REGION = "local";

export async function createBucket(call: S3Call): Promise<Http1Answer> {
  const { services, request } = call;
  const { bucket } = request;
  if (!SPACE_NAME.test(bucket)) {
    throw new S3Error("InvalidBucketName", "a bucket is named with lower-case letters, digits, dots and dashes");
  }
  const keepsLocks = header(call, "x-amz-bucket-object-lock-enabled")?.toLowerCase() === "true";
  refuseAcl(request.headers);
  requireEnforced(header(call, "x-amz-object-ownership"));
  if (request.body.length !== 0) await xmlBody(call, "CreateBucketConfiguration");
  const who = await call.renew();
  try {
    const locking = { lock: { period: undefined }, doors: { [VERSIONING]: "Enabled" } };
    await services.spaces.createSpace(who, bucket, keepsLocks ? locking : {});
  } catch (error) {
    if (!(error instanceof SynclineError) || error.code !== "EXISTS") throw error;
    const isSeen = services.access.reaches(who, "read", bucket, "");
    throw new S3Error(isSeen ? "BucketAlreadyOwnedByYou" : "BucketAlreadyExists", "there is a bucket of that name", { BucketName: bucket });
  }
  return answer(200, [["location", `/${bucket}`]]);
}

export async function headBucket(call: S3Call): Promise<Http1Answer> {
  await call.services.spaces.space(call.who, call.request.bucket);
  return answer(200, [["x-amz-bucket-region", REGION], ["content-length", "0"]]);
}

const GONE_CHARS_MAX = 63;

export async function deleteBucket(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  const { bucket } = request;
  services.access.require(who, "manage", { type: "space", space: bucket, path: "" });
  const isEmpty = (await services.spaces.count(who, bucket, "", 1)) === 0;
  if (!isEmpty) throw new S3Error("BucketNotEmpty", "there are keys in the bucket", { BucketName: bucket });
  const name = await freedName(call);
  try {
    // What has been put into it since must not go with it.
    await services.spaces.deleteSpace(who, name, { onlyEmpty: true });
  } catch (error) {
    if (name !== bucket) await services.spaces.updateSpace(who, name, { name: bucket });
    const isKept = error instanceof SynclineError && error.op === "delete space";
    throw isKept ? new S3Error("BucketNotEmpty", error.message, { BucketName: bucket }) : error;
  }
  return answer(204);
}

/** Until a deleted space is erased it holds its name: it gets another one, so that a bucket can be made again. */
async function freedName({ services, who, request }: S3Call): Promise<string> {
  const { bucket } = request;
  const mark = `.deleted-${services.random.bytes(4).toHex()}`;
  const name = `${bucket.slice(0, GONE_CHARS_MAX - mark.length)}${mark}`;
  if (!services.access.decide(who, "manage", { type: "space", space: name, path: "" }).allowed) return bucket;
  return (await services.spaces.updateSpace(who, bucket, { name })).name;
}

export async function bucketLocation(call: S3Call): Promise<Http1Answer> {
  await call.services.spaces.space(call.who, call.request.bucket);
  return xmlAnswer("LocationConstraint", REGION);
}
