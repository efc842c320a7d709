/**
 * Which operation a request asks for. A sub-resource that is not in the table is refused, whatever the method: an
 * unknown one must never fall through to reading or writing the object itself.
 */
import {
  bucketAcl, bucketEncryption, deleteOwnershipControls, noBucketEncryption, objectAcl, ownershipControls, putAcl, putOwnershipControls,
} from "#gateway/s3/ops-acl.ts";
import { bucketLocation, createBucket, deleteBucket, headBucket } from "#gateway/s3/ops-bucket.ts";
import { copyObject } from "#gateway/s3/ops-copy.ts";
import { listBuckets, listObjectsV1, listObjectsV2 } from "#gateway/s3/ops-list.ts";
import {
  abortUpload, completeUpload, createUpload, listParts, listUploads, uploadPart, uploadPartCopy,
} from "#gateway/s3/ops-multipart.ts";
import { bucketCors, deleteBucketCors, putBucketCors } from "#gateway/s3/cors.ts";
import {
  bucketPolicy, bucketPolicyStatus, deleteBucketPolicy, deletePublicAccessBlock, publicAccessBlock, putBucketPolicy, putPublicAccessBlock,
} from "#gateway/s3/ops-policy.ts";
import { getObject } from "#gateway/s3/ops-read.ts";
import {
  bucketTagging, deleteBucketTagging, deleteObjectTagging, objectAttributes, objectTagging, putBucketTagging, putObjectTagging,
} from "#gateway/s3/ops-tagging.ts";
import { bucketVersioning, listVersions, putBucketVersioning } from "#gateway/s3/ops-versions.ts";
import { deleteObject, deleteObjects, putObject } from "#gateway/s3/ops-write.ts";
import type { S3Call } from "#gateway/s3/s3-call.ts";
import { S3Error, notImplemented } from "#gateway/s3/s3-error.ts";
import type { S3Request } from "#gateway/s3/s3-request.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

export type Operation = {
  readonly name: string;
  readonly method: string;
  readonly on: "service" | "bucket" | "object";
  /** The name in the query that asks for it; undefined: the thing itself. */
  readonly sub?: string;
  /** A header without which it is another operation. */
  readonly header?: string;
  /** Other names that the query may have. */
  readonly query: readonly string[];
  readonly handle: (call: S3Call) => Promise<Http1Answer>;
};

const LISTING = ["prefix", "delimiter", "max-keys", "encoding-type"];
const RESPONSE = ["content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"].map(
  (name) => `response-${name}`,
);

/** The first that fits is meant. */
export const OPERATIONS: readonly Operation[] = [
  {
    name: "ListBuckets", method: "GET", on: "service",
    query: ["prefix", "continuation-token", "max-buckets", "bucket-region"], handle: listBuckets,
  },
  { name: "CreateBucket", method: "PUT", on: "bucket", query: [], handle: createBucket },
  { name: "HeadBucket", method: "HEAD", on: "bucket", query: [], handle: headBucket },
  { name: "DeleteBucket", method: "DELETE", on: "bucket", query: [], handle: deleteBucket },
  { name: "GetBucketLocation", method: "GET", on: "bucket", sub: "location", query: [], handle: bucketLocation },
  { name: "GetBucketVersioning", method: "GET", on: "bucket", sub: "versioning", query: [], handle: bucketVersioning },
  { name: "PutBucketVersioning", method: "PUT", on: "bucket", sub: "versioning", query: [], handle: putBucketVersioning },
  {
    name: "ListObjectVersions", method: "GET", on: "bucket", sub: "versions",
    query: [...LISTING, "key-marker", "version-id-marker"], handle: listVersions,
  },
  { name: "GetBucketTagging", method: "GET", on: "bucket", sub: "tagging", query: [], handle: bucketTagging },
  { name: "PutBucketTagging", method: "PUT", on: "bucket", sub: "tagging", query: [], handle: putBucketTagging },
  { name: "DeleteBucketTagging", method: "DELETE", on: "bucket", sub: "tagging", query: [], handle: deleteBucketTagging },
  { name: "GetBucketCors", method: "GET", on: "bucket", sub: "cors", query: [], handle: bucketCors },
  { name: "PutBucketCors", method: "PUT", on: "bucket", sub: "cors", query: [], handle: putBucketCors },
  { name: "DeleteBucketCors", method: "DELETE", on: "bucket", sub: "cors", query: [], handle: deleteBucketCors },
  {
    name: "ListMultipartUploads", method: "GET", on: "bucket", sub: "uploads",
    query: ["prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"], handle: listUploads,
  },
  { name: "GetBucketAcl", method: "GET", on: "bucket", sub: "acl", query: [], handle: bucketAcl },
  { name: "PutBucketAcl", method: "PUT", on: "bucket", sub: "acl", query: [], handle: putAcl },
  { name: "GetBucketPolicy", method: "GET", on: "bucket", sub: "policy", query: [], handle: bucketPolicy },
  { name: "PutBucketPolicy", method: "PUT", on: "bucket", sub: "policy", query: [], handle: putBucketPolicy },
  { name: "DeleteBucketPolicy", method: "DELETE", on: "bucket", sub: "policy", query: [], handle: deleteBucketPolicy },
  { name: "GetBucketPolicyStatus", method: "GET", on: "bucket", sub: "policyStatus", query: [], handle: bucketPolicyStatus },
  { name: "GetPublicAccessBlock", method: "GET", on: "bucket", sub: "publicAccessBlock", query: [], handle: publicAccessBlock },
  { name: "PutPublicAccessBlock", method: "PUT", on: "bucket", sub: "publicAccessBlock", query: [], handle: putPublicAccessBlock },
  {
    name: "DeletePublicAccessBlock", method: "DELETE", on: "bucket", sub: "publicAccessBlock", query: [], handle: deletePublicAccessBlock,
  },
  { name: "GetBucketOwnershipControls", method: "GET", on: "bucket", sub: "ownershipControls", query: [], handle: ownershipControls },
  { name: "PutBucketOwnershipControls", method: "PUT", on: "bucket", sub: "ownershipControls", query: [], handle: putOwnershipControls },
  {
    name: "DeleteBucketOwnershipControls", method: "DELETE", on: "bucket", sub: "ownershipControls", query: [],
    handle: deleteOwnershipControls,
  },
  { name: "GetBucketEncryption", method: "GET", on: "bucket", sub: "encryption", query: [], handle: bucketEncryption },
  { name: "PutBucketEncryption", method: "PUT", on: "bucket", sub: "encryption", query: [], handle: noBucketEncryption },
  { name: "DeleteBucketEncryption", method: "DELETE", on: "bucket", sub: "encryption", query: [], handle: noBucketEncryption },
  { name: "DeleteObjects", method: "POST", on: "bucket", sub: "delete", query: [], handle: deleteObjects },
  {
    name: "ListObjectsV2", method: "GET", on: "bucket", sub: "list-type",
    query: [...LISTING, "continuation-token", "start-after", "fetch-owner"], handle: listObjectsV2,
  },
  { name: "ListObjects", method: "GET", on: "bucket", query: [...LISTING, "marker"], handle: listObjectsV1 },
  { name: "GetObjectTagging", method: "GET", on: "object", sub: "tagging", query: ["versionId"], handle: objectTagging },
  { name: "PutObjectTagging", method: "PUT", on: "object", sub: "tagging", query: ["versionId"], handle: putObjectTagging },
  { name: "DeleteObjectTagging", method: "DELETE", on: "object", sub: "tagging", query: ["versionId"], handle: deleteObjectTagging },
  { name: "GetObjectAttributes", method: "GET", on: "object", sub: "attributes", query: ["versionId"], handle: objectAttributes },
  { name: "GetObjectAcl", method: "GET", on: "object", sub: "acl", query: [], handle: objectAcl },
  { name: "PutObjectAcl", method: "PUT", on: "object", sub: "acl", query: [], handle: putAcl },
  { name: "CreateMultipartUpload", method: "POST", on: "object", sub: "uploads", query: [], handle: createUpload },
  {
    name: "UploadPartCopy", method: "PUT", on: "object", sub: "uploadId", header: "x-amz-copy-source", query: ["partNumber"],
    handle: uploadPartCopy,
  },
  { name: "UploadPart", method: "PUT", on: "object", sub: "uploadId", query: ["partNumber"], handle: uploadPart },
  { name: "CompleteMultipartUpload", method: "POST", on: "object", sub: "uploadId", query: [], handle: completeUpload },
  { name: "AbortMultipartUpload", method: "DELETE", on: "object", sub: "uploadId", query: [], handle: abortUpload },
  {
    name: "ListParts", method: "GET", on: "object", sub: "uploadId",
    query: ["part-number-marker", "max-parts", "encoding-type"], handle: listParts,
  },
  { name: "GetObject", method: "GET", on: "object", query: [...RESPONSE, "partNumber", "versionId"], handle: getObject },
  { name: "HeadObject", method: "HEAD", on: "object", query: [...RESPONSE, "partNumber", "versionId"], handle: getObject },
  { name: "CopyObject", method: "PUT", on: "object", header: "x-amz-copy-source", query: [], handle: copyObject },
  { name: "PutObject", method: "PUT", on: "object", query: [], handle: putObject },
  { name: "DeleteObject", method: "DELETE", on: "object", query: ["versionId"], handle: deleteObject },
];

/** In any query: names of what signs it, and what clients say of themselves. */
const ANYWHERE = /^(x-amz-.*|X-Amz-.*|x-id|AWSAccessKeyId|Signature|Expires)$/;

const SUBS = new Set(OPERATIONS.flatMap(({ sub }) => sub ?? []));

/** @throws {S3Error} NotImplemented, MethodNotAllowed */
export function operationOf(request: S3Request): Operation {
  const on = request.bucket === "" ? "service" : request.key === "" ? "bucket" : "object";
  const names = [...request.query.keys()].filter((name) => !ANYWHERE.test(name));
  const subs = names.filter((name) => SUBS.has(name));
  const isAskedFor = ({ sub, query }: Operation): boolean =>
    sub === undefined ? subs.every((other) => query.includes(other)) : subs.includes(sub);
  const fits = (one: Operation): boolean =>
    one.on === on && one.method === request.method && isAskedFor(one) &&
    (one.header === undefined || request.headers.has(one.header));
  const found = OPERATIONS.find(fits);
  const known = found ?? OPERATIONS.find((one) => one.on === on && one.sub === subs[0]);
  const unknown = names.find((name) => name !== known?.sub && known?.query.includes(name) !== true);
  if (known === undefined || unknown !== undefined) throw notImplemented(`"${(unknown ?? names[0] ?? request.method).slice(0, 60)}"`);
  if (found === undefined) throw new S3Error("MethodNotAllowed", `${request.method} is not possible here`);
  return found;
}
