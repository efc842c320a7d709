/** What a handler of an operation is given, and what it gives back. */
import { type Principal, askingAs } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import type { Asking } from "#access/policy/policy.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import type { Renew, SignedIn } from "#gateway/renewing.ts";
import { type SignedHow, askingOf } from "#gateway/s3/asking.ts";
import type { BucketSettings } from "#gateway/s3/bucket-settings.ts";
import type { Payload } from "#gateway/s3/authenticate.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { S3Request } from "#gateway/s3/s3-request.ts";
import type { S3Traffic } from "#gateway/s3/s3-traffic.ts";
import { document, parseXml, type XmlElement } from "#gateway/s3/xml.ts";
import { plainBody } from "#gateway/s3/upload-body.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Uploads } from "#hub/uploads/upload.ts";
import type { Versions } from "#hub/versions/versions.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

export type S3Services = {
  readonly spaces: SpaceService;
  readonly uploads: Uploads;
  readonly versions: Versions;
  readonly access: HubAccess;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: ApiLog;
  readonly traffic: S3Traffic;
  readonly settings: BucketSettings;
  /** Requests come over TLS. */
  readonly isSecure: boolean;
  /** Buckets that the operator lets be public. */
  readonly publicBuckets: ReadonlySet<string>;
};

export type S3Call = {
  readonly services: S3Services;
  readonly who: Principal;
  /** Who asks, as of now. @throws {S3Error} when the key is none any more */
  readonly renew: Renew;
  readonly request: S3Request;
  readonly payload: Payload;
  /** 32 hex digits: the request's id, and the trace of what it changes. */
  readonly traceId: string;
};

/** Who asks with a request, as policies see it; so it is also when the key is looked at again. */
export function askedBy(
  { isSecure, clock }: S3Services,
  user: SignedIn,
  request: S3Request,
  operation: string,
  signed: SignedHow | undefined,
): { readonly who: Principal & { readonly asking: Asking }; readonly renew: Renew } {
  const facts = { signed, isSecure, nowMs: clock.nowMs() };
  const asking = (who: Principal) => askingAs(who, askingOf(request, operation, who, facts));
  return { who: asking(user.who), renew: async () => asking(await user.renew()) };
}

export type Header = readonly [name: string, value: string];

/** Bytes of XML that somebody sends: the parts of a large upload with their checksums. */
const XML_BYTES_MAX = 3 << 20;

export function answer(status: number, headers: readonly Header[] = [], body?: Http1Answer["body"]): Http1Answer {
  return { status, headers, body };
}

export function xmlAnswer(root: string, inner: string, headers: readonly Header[] = []): Http1Answer {
  return answer(200, [["content-type", "application/xml"], ...headers], document(root, inner));
}

export const header = (call: S3Call, name: string): string | undefined => call.request.headers.get(name);

/** A query value that is a whole number of 0 or more. @throws {S3Error} InvalidArgument */
export function countOf(call: S3Call, name: string, fallback: number, max: number): number {
  const text = call.request.query.get(name);
  if (text === undefined) return fallback;
  const count = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count <= 2_147_483_647)) throw new S3Error("InvalidArgument", `${name} is no number that can be used`);
  return Math.min(count, max);
}

/** The body as XML, its checksums and its signature compared. @throws {S3Error} */
export async function xmlBody(call: S3Call, root: string): Promise<XmlElement> {
  const bytes = await plainBody(call, XML_BYTES_MAX);
  // They may have come for long.
  await call.renew();
  const element = parseXml(new TextDecoder().decode(bytes));
  if (element.name !== root) throw new S3Error("MalformedXML", `the body is no ${root}`);
  return element;
}
