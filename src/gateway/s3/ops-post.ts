/** PostObject: a form of a browser, signed by its policy. */
import type { Authenticator, SignedForm } from "#gateway/s3/authenticate.ts";
import { FormReader, boundaryOf } from "#gateway/s3/form-reader.ts";
import { putObject } from "#gateway/s3/ops-write.ts";
import { checkPolicy } from "#gateway/s3/post-policy.ts";
import { type S3Call, type S3Services, answer, askedBy } from "#gateway/s3/s3-call.ts";
import { S3Error, notImplemented } from "#gateway/s3/s3-error.ts";
import type { S3Request } from "#gateway/s3/s3-request.ts";
import { parseCredential } from "#gateway/s3/sigv4.ts";
import { ALGORITHM } from "#platform/net/aws-signature.ts";
import { element, plainDocument } from "#gateway/s3/xml.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";
import type { Piece, RequestBody } from "#platform/net/http1/request-body.ts";

/** Is this a form for a bucket, and not a request that is signed otherwise? */
export function isForm({ method, key, bucket, headers, query }: S3Request): boolean {
  const isPost = method === "POST" && bucket !== "" && key === "" && query.size === 0 && !headers.has("authorization");
  return isPost && /^multipart\/form-data\b/i.test(headers.get("content-type") ?? "");
}

/** @throws {S3Error} */
export async function postObject(
  services: S3Services,
  authenticator: Authenticator,
  request: S3Request,
  traceId: string,
): Promise<Http1Answer> {
  const form = new FormReader(request.body, boundaryOf(request.headers.get("content-type")!));
  const fields = await form.fields();
  const need = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined) throw new S3Error("AccessDenied", `the form has no field ${name}`);
    return value;
  };
  const signed = signedForm(fields, need);
  const { policy } = signed;
  const user = await authenticator.authenticateForm(signed, request.address);
  const key = textOf(need("key")).replaceAll("${filename}", form.fileName);
  const texts = new Map([...fields].map(([name, value]) => [name, textOf(value)] as const));
  texts.set("bucket", request.bucket);
  const range = checkPolicy(policy, texts, services.clock.nowMs());
  if (fields.has("tagging")) throw notImplemented("tags in a form");
  const headers = new Map(fields);
  const acl = fields.get("acl");
  if (acl !== undefined) headers.set("x-amz-acl", acl);
  const body = new RangedBody(form, range);
  const made: S3Request = { ...request, method: "PUT", key, query: new Map(), headers, body };
  const how = { type: "POST", version: signed.scope === undefined ? "AWS" : ALGORITHM } as const;
  const { who, renew } = askedBy(services, user, made, "PostObject", how);
  const put: S3Call = {
    services,
    who,
    renew,
    traceId,
    payload: { kind: "unsigned" },
    request: made,
  };
  const done = await putObject(put);
  const etag = done.headers.find(([name]) => name === "etag")![1];
  const ofKey = done.headers.filter(([name]) => name.startsWith("x-amz-server-side-encryption-customer-"));
  const answer = answered(fields, request.bucket, key, etag);
  return { ...answer, headers: [...answer.headers, ...ofKey] };
}

/** Who sends it, by the fields of either version. It is good until its policy expires. */
function signedForm(fields: ReadonlyMap<string, string>, need: (name: string) => string): SignedForm {
  const policy = need("policy");
  if (!fields.has("x-amz-algorithm") && fields.has("awsaccesskeyid")) {
    return { accessKey: need("awsaccesskeyid"), scope: undefined, signature: need("signature"), policy };
  }
  if (need("x-amz-algorithm") !== ALGORITHM) throw notImplemented("a form that is signed otherwise");
  const scope = parseCredential(need("x-amz-credential"));
  if (!need("x-amz-date").startsWith(scope.date)) throw new S3Error("AccessDenied", "the credential is of another day");
  return { accessKey: scope.accessKey, scope, signature: need("x-amz-signature"), policy };
}

/** What came in a field is text in UTF-8. */
const textOf = (latin1: string): string => Buffer.from(latin1, "latin1").toString();

/** The file, not longer and not shorter than the policy has it. */
class RangedBody implements RequestBody {
  readonly length = undefined;
  readonly #form: FormReader;
  readonly #range: { readonly min: number; readonly max: number };
  #total = 0;

  constructor(form: FormReader, range: { readonly min: number; readonly max: number }) {
    this.#form = form;
    this.#range = range;
  }

  async read(): Promise<Piece> {
    const piece = await this.#form.read();
    this.#total += piece?.length ?? 0;
    if (this.#total > this.#range.max) throw new S3Error("EntityTooLarge", "the file is larger than the policy allows");
    if (piece === undefined && this.#total < this.#range.min) {
      throw new S3Error("EntityTooSmall", "the file is smaller than the policy allows");
    }
    return piece;
  }
}

function answered(fields: ReadonlyMap<string, string>, bucket: string, key: string, etag: string): Http1Answer {
  const redirect = fields.get("success_action_redirect") ?? fields.get("redirect");
  if (redirect !== undefined && URL.canParse(redirect) && /^https?:/i.test(redirect)) {
    const to = new URL(redirect);
    for (const [name, value] of [["bucket", bucket], ["key", key], ["etag", etag]]) to.searchParams.set(name!, value!);
    return answer(303, [["location", to.href], ["etag", etag]]);
  }
  const status = fields.get("success_action_status");
  if (status === "200") return answer(200, [["etag", etag]]);
  if (status !== "201") return answer(204, [["etag", etag]]);
  const inner = element("Location", `/${bucket}/${key}`) + element("Bucket", bucket) + element("Key", key) + element("ETag", etag);
  return answer(201, [["etag", etag], ["content-type", "application/xml"]], plainDocument("PostResponse", inner));
}
