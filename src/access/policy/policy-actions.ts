/**
 * What a policy of a bucket can speak of: the actions of S3 that are known here, what each is done to, and what of them a
 * policy may give. A name that is not in the table is refused in a policy, because nothing would ever ask for it.
 */

export type PolicyAction = {
  /** What its resource is. */
  readonly on: "bucket" | "object";
  /** Policies give reading and writing. What takes the right to manage they may only deny. */
  readonly level: "read" | "write" | "manage";
};

const named = (on: PolicyAction["on"], level: PolicyAction["level"], names: string): [string, PolicyAction][] =>
  names.trim().split(/\s+/).map((name) => [`s3:${name}`, { on, level }]);

export const POLICY_ACTIONS: ReadonlyMap<string, PolicyAction> = new Map([
  ...named("bucket", "read", `
    ListBucket ListBucketVersions ListBucketMultipartUploads GetBucketLocation GetBucketVersioning GetBucketTagging
    GetBucketCORS GetBucketAcl GetBucketOwnershipControls GetBucketPublicAccessBlock GetBucketPolicyStatus
    GetEncryptionConfiguration GetLifecycleConfiguration GetBucketObjectLockConfiguration`),
  ...named("bucket", "manage", `
    PutBucketVersioning PutBucketTagging PutBucketCORS PutBucketAcl PutBucketOwnershipControls PutBucketPublicAccessBlock
    PutEncryptionConfiguration PutLifecycleConfiguration PutBucketObjectLockConfiguration DeleteBucket`),
  ...named("object", "read", `
    GetObject GetObjectVersion GetObjectTagging GetObjectVersionTagging GetObjectAcl GetObjectVersionAcl
    GetObjectAttributes GetObjectVersionAttributes GetObjectRetention GetObjectLegalHold`),
  ...named("object", "write", `
    PutObject DeleteObject DeleteObjectVersion PutObjectTagging PutObjectVersionTagging DeleteObjectTagging
    DeleteObjectVersionTagging PutObjectAcl PutObjectVersionAcl AbortMultipartUpload ListMultipartUploadParts
    PutObjectRetention PutObjectLegalHold`),
  ...named("object", "manage", "BypassGovernanceRetention"),
]);

/** Nobody locks themselves out: who may manage the bucket may always see and replace its policy. */
export const POLICY_OF_ROLES: ReadonlySet<string> = new Set(
  ["GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"].map((name) => `s3:${name}`),
);
