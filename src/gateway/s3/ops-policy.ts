/** Policies of buckets: read, checked and kept here; what they come to is decided in access/ alone. */
import { isPublicPolicy, type Policy } from "#access/policy/policy.ts";
import { POLICY_BYTES_MAX, parsePolicy, usersIn } from "#access/policy/parse-policy.ts";
import { CLOSED, type Closed, POLICY, closedIn } from "#gateway/s3/policy-text.ts";
import { type S3Call, answer, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { plainBody } from "#gateway/s3/upload-body.ts";
import { element, textOf } from "#gateway/s3/xml.ts";
import { SynclineError } from "#model/error.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

/** For settings that are nobody else's to see or to change. @throws {SynclineError} SPACE_UNKNOWN, DENIED */
export async function requireManage({ services, who, request }: S3Call): Promise<void> {
  await services.spaces.space(who, request.bucket);
  services.access.require(who, "manage", { type: "space", space: request.bucket, path: "" });
}

export async function bucketPolicy(call: S3Call): Promise<Http1Answer> {
  await requireManage(call);
  const text = await call.services.settings.get(call, POLICY);
  if (text === undefined) throw new S3Error("NoSuchBucketPolicy", "the bucket has no policy");
  return answer(200, [["content-type", "application/json"]], Buffer.from(text));
}

export async function putBucketPolicy(call: S3Call): Promise<Http1Answer> {
  await requireManage(call);
  const { services, request } = call;
  const bytes = await plainBody(call, POLICY_BYTES_MAX);
  const text = textIn(bytes);
  const policy = understood(text, request.bucket);
  for (const name of usersIn(policy)) {
    if ((await services.access.users.get(name)) === undefined) {
      throw new S3Error("MalformedPolicy", `there is no user "${name}"`);
    }
  }
  const isPublic = isPublicPolicy(policy);
  if (isPublic) {
    if (!services.publicBuckets.has(request.bucket)) {
      const message = "the policy is public, and the hub is not configured to have this bucket public (--s3-public-buckets)";
      throw new S3Error("AccessDenied", message);
    }
  }
  await services.settings.set(call, POLICY, text, ({ doors }) => {
    if (!isPublic || !closedIn(doors).has("policy")) return;
    throw new S3Error("AccessDenied", "the policy is public, and the bucket's public access block refuses those");
  });
  return answer(204);
}

function textIn(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new S3Error("MalformedPolicy", "the policy is no text in UTF-8");
  }
}

function understood(text: string, bucket: string): Policy {
  try {
    return parsePolicy(text, bucket);
  } catch (error) {
    if (error instanceof SynclineError && error.code === "USAGE") throw new S3Error("MalformedPolicy", error.message);
    throw error;
  }
}

export async function deleteBucketPolicy(call: S3Call): Promise<Http1Answer> {
  await requireManage(call);
  await call.services.settings.set(call, POLICY, undefined);
  return answer(204);
}

export async function bucketPolicyStatus(call: S3Call): Promise<Http1Answer> {
  const { services, request } = call;
  const text = await services.settings.get(call, POLICY);
  if (text === undefined) throw new S3Error("NoSuchBucketPolicy", "the bucket has no policy");
  const isPublic = services.access.mayBePublic(request.bucket) && isPublicPolicy(parsePolicy(text, undefined));
  return xmlAnswer("PolicyStatus", element("IsPublic", isPublic));
}

// ---------------------------------------------------------------- public access block

const BLOCK = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"] as const;

/** What is so, by the configuration of the hub and what somebody has closed beyond it. Access lists are never public. */
export async function publicAccessBlock(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  const { settings } = await services.spaces.space(who, request.bucket);
  const closed = closedIn(settings.doors);
  const isShut = !services.publicBuckets.has(request.bucket);
  const values = [true, true, isShut || closed.has("policy"), isShut || closed.has("public")];
  return xmlAnswer("PublicAccessBlockConfiguration", BLOCK.map((name, at) => element(name, values[at])).join(""));
}

export async function putPublicAccessBlock(call: S3Call): Promise<Http1Answer> {
  const body = await xmlBody(call, "PublicAccessBlockConfiguration");
  const asked = new Map(BLOCK.map((name) => [name, textOf(body, name)] as const));
  if ([...asked.values()].some((value) => value !== undefined && !/^(true|false)$/i.test(value))) {
    throw new S3Error("MalformedXML", "a value is true or false");
  }
  const isOn = (name: (typeof BLOCK)[number]): boolean => asked.get(name)?.toLowerCase() === "true";
  const closed: Closed[] = [];
  if (isOn("BlockPublicPolicy")) closed.push("policy");
  if (isOn("RestrictPublicBuckets")) closed.push("public");
  await call.services.settings.set(call, CLOSED, closed.length === 0 ? undefined : closed.join(","));
  return answer(200);
}

export async function deletePublicAccessBlock(call: S3Call): Promise<Http1Answer> {
  await call.services.settings.set(call, CLOSED, undefined);
  return answer(204);
}
