/**
 * Access lists as buckets have them today whose owner enforces ownership: there is one grant, and it cannot be changed.
 * Roles and policies say who may what.
 */
import { ownerXml } from "#gateway/s3/ops-list.ts";
import { requireManage } from "#gateway/s3/ops-policy.ts";
import { objectAt } from "#gateway/s3/ops-read.ts";
import { type S3Call, answer, header, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error, notImplemented } from "#gateway/s3/s3-error.ts";
import { type XmlElement, childrenOf, element, malformedXml, textOf } from "#gateway/s3/xml.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

/** Lists that say what is so anyway. */
const ALLOWED = new Set(["private", "bucket-owner-full-control"]);
const ENFORCED = "BucketOwnerEnforced";

const unsupported = (): S3Error =>
  new S3Error("AccessControlListNotSupported", "access lists are not kept here: roles of the hub and the bucket's policy say who may what");

/** A list that comes with an object or a bucket. @throws {S3Error} AccessControlListNotSupported */
export function refuseAcl(headers: ReadonlyMap<string, string>): void {
  const canned = headers.get("x-amz-acl");
  if (canned !== undefined && !ALLOWED.has(canned)) throw unsupported();
  for (const name of headers.keys()) if (name.startsWith("x-amz-grant-")) throw unsupported();
}

/** The list that clients ask for names the one who asks as the owner. */
function aclXml(call: S3Call): Http1Answer {
  const grantee =
    `<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">` +
    `${element("ID", call.who.id)}${element("DisplayName", call.who.name)}</Grantee>`;
  const grant = `<Grant>${grantee}${element("Permission", "FULL_CONTROL")}</Grant>`;
  return xmlAnswer("AccessControlPolicy", `${ownerXml(call)}<AccessControlList>${grant}</AccessControlList>`);
}

export async function bucketAcl(call: S3Call): Promise<Http1Answer> {
  await call.services.spaces.space(call.who, call.request.bucket);
  return aclXml(call);
}

export async function objectAcl(call: S3Call): Promise<Http1Answer> {
  await objectAt(call, call.request.bucket, call.request.key);
  return aclXml(call);
}

export async function putAcl(call: S3Call): Promise<Http1Answer> {
  const { request, services, who } = call;
  await services.spaces.space(who, request.bucket);
  const path = request.key === "" ? "" : (await objectAt(call, request.bucket, request.key)).path;
  services.access.require(who, path === "" ? "manage" : "write", { type: "space", space: request.bucket, path });
  refuseAcl(request.headers);
  const hasBody = request.body.length !== 0;
  if (hasBody) requireOwnerOnly(call, await xmlBody(call, "AccessControlPolicy"));
  const isNamed = header(call, "x-amz-acl") !== undefined;
  if (!hasBody && !isNamed) throw new S3Error("InvalidRequest", "neither a list nor the name of one is given");
  return answer(200);
}

/** Some clients send back the list that they got. @throws {S3Error} AccessControlListNotSupported for any other */
function requireOwnerOnly({ who }: S3Call, body: XmlElement): void {
  const [list, ...more] = childrenOf(body, "AccessControlList");
  if (list === undefined || more.length > 0) throw malformedXml();
  for (const grant of childrenOf(list, "Grant")) {
    const [grantee] = childrenOf(grant, "Grantee");
    const isOwner = grantee !== undefined && textOf(grantee, "ID") === who.id && textOf(grant, "Permission") === "FULL_CONTROL";
    if (!isOwner) throw unsupported();
  }
}

// ---------------------------------------------------------------- ownership

export async function ownershipControls(call: S3Call): Promise<Http1Answer> {
  await call.services.spaces.space(call.who, call.request.bucket);
  return xmlAnswer("OwnershipControls", `<Rule>${element("ObjectOwnership", ENFORCED)}</Rule>`);
}

export async function putOwnershipControls(call: S3Call): Promise<Http1Answer> {
  await requireManage(call);
  const body = await xmlBody(call, "OwnershipControls");
  const rules = childrenOf(body, "Rule").map((rule) => textOf(rule, "ObjectOwnership"));
  if (rules.length !== 1) throw malformedXml("there is one rule");
  requireEnforced(rules[0]);
  return answer(200);
}

/** @throws {S3Error} NotImplemented for what would bring access lists back */
export function requireEnforced(ownership: string | undefined): void {
  if (ownership === undefined || ownership === ENFORCED) return;
  throw notImplemented(`the ownership ${ownership.slice(0, 40)}: it is ${ENFORCED} always`);
}

/** It stays as it is; who takes everything down that he has set up must get to the end. */
export async function deleteOwnershipControls(call: S3Call): Promise<Http1Answer> {
  await requireManage(call);
  return answer(204);
}

// ---------------------------------------------------------------- encryption at rest

export async function bucketEncryption(call: S3Call): Promise<Http1Answer> {
  await call.services.spaces.space(call.who, call.request.bucket);
  throw new S3Error("ServerSideEncryptionConfigurationNotFoundError", "the hub encrypts nothing by itself");
}

export function noBucketEncryption(): Promise<Http1Answer> {
  return Promise.reject(notImplemented("encryption by the hub"));
}
