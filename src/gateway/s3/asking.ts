/**
 * What a request asks for, in the words of policies: the names of its actions, and what conditions may ask of it. Nothing
 * is decided here; access/ decides, with these words.
 */
import type { Action, Principal } from "#access/access.ts";
import type { Asking } from "#access/policy/policy.ts";
import type { S3Request } from "#gateway/s3/s3-request.ts";

type Names = Asking["names"];

const of = (...names: string[]): readonly string[] => names.map((name) => `s3:${name}`);

const reads = (...names: string[]): Names => ({ read: of(...names) });
/** Settings take the right to manage. On the way they are read, which is no other action. */
const manages = (name: string): Names => ({ manage: of(name) });
/** What is looked at on the way to writing is not told. */
const writes = (...names: string[]): Names => ({ read: of(...names), write: of(...names) });
const puts: Names = { read: of("GetObject"), write: of("PutObject") };
const deletes: Names = { ...writes("DeleteObject"), manage: of("BypassGovernanceRetention") };
/** Roles alone say who sees and changes a policy. */
const byRoles: Names = {};

/** By the name of the operation. Those that are not here are called as they are named. */
const NAMES: ReadonlyMap<string, Names> = new Map([
  ["ListBuckets", byRoles],
  ["CreateBucket", byRoles],
  ["GetBucketPolicy", byRoles],
  ["PutBucketPolicy", byRoles],
  ["DeleteBucketPolicy", byRoles],
  ["HeadBucket", reads("ListBucket")],
  ["DeleteBucket", manages("DeleteBucket")],
  ["GetBucketLocation", reads("GetBucketLocation")],
  ["GetBucketPolicyStatus", reads("GetBucketPolicyStatus")],
  ["GetBucketVersioning", reads("GetBucketVersioning")],
  ["PutBucketVersioning", manages("PutBucketVersioning")],
  ["GetBucketTagging", reads("GetBucketTagging")],
  ["PutBucketTagging", manages("PutBucketTagging")],
  ["DeleteBucketTagging", manages("PutBucketTagging")],
  ["GetBucketCors", reads("GetBucketCORS")],
  ["PutBucketCors", manages("PutBucketCORS")],
  ["DeleteBucketCors", manages("PutBucketCORS")],
  ["GetBucketAcl", reads("GetBucketAcl")],
  ["PutBucketAcl", manages("PutBucketAcl")],
  ["GetBucketOwnershipControls", reads("GetBucketOwnershipControls")],
  ["PutBucketOwnershipControls", manages("PutBucketOwnershipControls")],
  ["DeleteBucketOwnershipControls", manages("PutBucketOwnershipControls")],
  ["GetPublicAccessBlock", reads("GetBucketPublicAccessBlock")],
  ["PutPublicAccessBlock", manages("PutBucketPublicAccessBlock")],
  ["DeletePublicAccessBlock", manages("PutBucketPublicAccessBlock")],
  ["GetBucketEncryption", reads("GetEncryptionConfiguration")],
  ["PutBucketEncryption", manages("PutEncryptionConfiguration")],
  ["DeleteBucketEncryption", manages("PutEncryptionConfiguration")],
  ["GetBucketLifecycleConfiguration", reads("GetLifecycleConfiguration")],
  ["PutBucketLifecycleConfiguration", manages("PutLifecycleConfiguration")],
  ["DeleteBucketLifecycle", manages("PutLifecycleConfiguration")],
  ["GetObjectLockConfiguration", reads("GetBucketObjectLockConfiguration")],
  ["PutObjectLockConfiguration", manages("PutBucketObjectLockConfiguration")],
  ["ListObjects", reads("ListBucket")],
  ["ListObjectsV2", reads("ListBucket")],
  ["ListObjectVersions", reads("ListBucketVersions")],
  ["ListMultipartUploads", { read: of("ListBucketMultipartUploads"), write: of("ListBucketMultipartUploads") }],
  ["GetObject", reads("GetObject")],
  ["HeadObject", reads("GetObject")],
  ["GetObjectAttributes", reads("GetObject", "GetObjectAttributes")],
  ["GetObjectTagging", reads("GetObjectTagging")],
  ["PutObjectTagging", writes("PutObjectTagging")],
  ["DeleteObjectTagging", writes("DeleteObjectTagging")],
  ["GetObjectAcl", reads("GetObjectAcl")],
  ["PutObjectAcl", writes("PutObjectAcl")],
  ["PutObject", puts],
  ["CopyObject", puts],
  ["PostObject", puts],
  ["CreateMultipartUpload", puts],
  ["UploadPart", puts],
  ["UploadPartCopy", puts],
  ["CompleteMultipartUpload", puts],
  ["AbortMultipartUpload", writes("AbortMultipartUpload")],
  ["ListParts", writes("ListMultipartUploadParts")],
  ["DeleteObject", deletes],
  ["DeleteObjects", deletes],
]);

/** Names that have one more where a version is named: "s3:GetObject" and "s3:GetObjectVersion" then. */
const WITH_VERSION = /^s3:((Get|Delete)Object|(Get|Put|Delete)Object(Tagging|Acl|Attributes))$/;

function withVersion(names: readonly string[] | undefined): readonly string[] | undefined {
  return names?.flatMap((name) => (WITH_VERSION.test(name) ? [name, name.replace("Object", "ObjectVersion")] : [name]));
}

function namesOf(operation: string, hasVersion: boolean): Names {
  const names = NAMES.get(operation) ?? { read: of(operation), write: of(operation), manage: of(operation) };
  if (!hasVersion) return names;
  const entries = Object.entries(names) as [Action, readonly string[] | undefined][];
  return Object.fromEntries(entries.map(([action, all]) => [action, withVersion(all)]));
}

/** Who signed how, as conditions ask for it. */
export type SignedHow = { readonly type: "REST-HEADER" | "REST-QUERY-STRING" | "POST"; readonly version: "AWS4-HMAC-SHA256" | "AWS" };

/**
 * @param operation its name
 * @param signed undefined: it is not signed
 * @param isSecure it came over TLS
 */
export function askingOf(
  request: S3Request,
  operation: string,
  who: Principal,
  { signed, isSecure, nowMs }: { readonly signed: SignedHow | undefined; readonly isSecure: boolean; readonly nowMs: number },
): Asking {
  const { headers, query, key, address } = request;
  const isListing = operation.startsWith("List");
  const copiesVersion = headers.get("x-amz-copy-source")?.includes("?versionId=") === true;
  const fact = (name: string): string | undefined => {
    switch (name) {
      case "aws:currenttime":
        return new Date(nowMs).toISOString();
      case "aws:epochtime":
        return String(Math.floor(nowMs / 1000));
      case "aws:referer":
        return headers.get("referer");
      case "aws:securetransport":
        return String(isSecure);
      case "aws:sourceip":
        return address;
      case "aws:useragent":
        return headers.get("user-agent");
      case "aws:username":
        return who.kind === "user" ? who.name : undefined;
      case "s3:authtype":
        return signed?.type;
      case "s3:signatureversion":
        return signed?.version;
      case "s3:delimiter":
      case "s3:prefix":
        // Not to say it is to ask for everything.
        return isListing ? (query.get(name.slice(3)) ?? "") : undefined;
      case "s3:max-keys":
        return isListing ? (query.get("max-keys") ?? "1000") : undefined;
      case "s3:versionid":
        return query.get("versionId");
      default:
        return name.startsWith("s3:x-amz-") ? headers.get(name.slice(3)) : undefined;
    }
  };
  return { names: namesOf(operation, query.has("versionId") || copiesVersion), key, fact };
}
