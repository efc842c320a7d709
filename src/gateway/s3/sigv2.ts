/**
 * AWS Signature Version 2, for presigned addresses and forms alone: HMAC-SHA1 over less of a request than Version 4 signs.
 * What it does not sign is not acted on. Texts are bytes as latin1, as they came over the wire. Pure.
 */
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { S3Request } from "#gateway/s3/s3-request.ts";

/** Names of the query that belong to the signature. */
const OWN = new Set(["AWSAccessKeyId", "Signature", "Expires"]);
/** Other names of the query that are signed; clients and servers agree on them by this list. */
const SIGNED = new Set([
  "accelerate", "acl", "cors", "defaultObjectAcl", "delete", "lifecycle", "location", "logging", "notification", "object-lock",
  "partNumber", "policy", "replication", "requestPayment", "restore", "tagging", "torrent", "uploadId", "uploads", "versionId",
  "versioning", "versions", "website", "response-cache-control", "response-content-disposition", "response-content-encoding",
  "response-content-language", "response-content-type", "response-expires",
]);
/** Headers that clients put into the query and sign as headers. */
const HOISTED = /^(content-md5|content-type|x-amz-.*)$/i;

export type SignedV2 = {
  readonly accessKey: string;
  /** Base64. */
  readonly signature: string;
  /** Seconds since 1970. */
  readonly expires: number;
  /** What was signed. */
  readonly text: string;
  /** With what the query says in place of headers. */
  readonly request: S3Request;
};

export const isPresignedV2 = ({ query }: S3Request): boolean => query.has("AWSAccessKeyId") && query.has("Signature");

/** @throws {S3Error} AccessDenied when something of it is not signed or missing */
export function presignedV2(request: S3Request): SignedV2 {
  const expires = request.query.get("Expires");
  const isNumber = expires !== undefined && /^\d{1,12}$/.test(expires);
  if (!isNumber) throw new S3Error("AccessDenied", "Expires is missing in the query, or no number");
  const headers = new Map(request.headers);
  const query = new Map<string, string>();
  for (const [name, value] of request.query) {
    if (OWN.has(name)) continue;
    if (HOISTED.test(name)) hoist(headers, name.toLowerCase(), value);
    else if (SIGNED.has(name)) query.set(name, value);
    else throw new S3Error("AccessDenied", `Signature Version 2 does not sign "${name.slice(0, 60)}" in the query: sign with Version 4`);
  }
  const seen = { ...request, headers, query };
  return {
    accessKey: request.query.get("AWSAccessKeyId")!,
    signature: request.query.get("Signature")!,
    expires: Number(expires),
    text: textOf(seen, expires),
    request: seen,
  };
}

function hoist(headers: Map<string, string>, name: string, value: string): void {
  const before = headers.get(name);
  if (before !== undefined && before !== value) {
    throw new S3Error("InvalidRequest", `${name} says one thing in the headers and another in the query`);
  }
  headers.set(name, value);
}

function textOf({ method, headers, query, bucket, path, isVirtual }: S3Request, expires: string): string {
  const amz = [...headers].filter(([name]) => name.startsWith("x-amz-")).sort(([a], [b]) => (a < b ? -1 : 1));
  const lines = amz.map(([name, value]) => `${name}:${value.trim().replaceAll(/\s+/g, " ")}\n`).join("");
  const subs = [...query].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => (value === "" ? name : `${name}=${latin1(value)}`));
  const resource = `${isVirtual ? `/${bucket}` : ""}${path}${subs.length === 0 ? "" : `?${subs.join("&")}`}`;
  const head = [method, headers.get("content-md5") ?? "", headers.get("content-type") ?? "", expires].join("\n");
  return `${head}\n${lines}${resource}`;
}

/** Values of the query were decoded to text; what is signed is their bytes. */
const latin1 = (text: string): string => Buffer.from(text).toString("latin1");

/** Base64. */
export function signV2(secretKey: string, text: string): string {
  return new Bun.CryptoHasher("sha1", secretKey).update(text, "latin1").digest("base64");
}
