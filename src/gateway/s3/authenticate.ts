/**
 * The one place where a request becomes somebody: the signature in its headers, its query or its form is compared with
 * what the secret key makes of the request. Whoever handles the request gets the principal and how the body is to be
 * checked, and never looks at credentials again. What nobody has signed is nobody's, and only for buckets that may be public.
 */
import { ANONYMOUS } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { type SignedIn, signedIn } from "#gateway/renewing.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { SignedHow } from "#gateway/s3/asking.ts";
import type { ChunkSigner } from "#gateway/s3/aws-chunked.ts";
import { S3Error, notImplemented } from "#gateway/s3/s3-error.ts";
import type { S3Request } from "#gateway/s3/s3-request.ts";
import {
  SKEW_MS_MAX, type Signed, SigningKeys, parseAuthorization, parseCredential, parseNames, sameSignature, timeMsOf,
} from "#gateway/s3/sigv4.ts";
import { isPresignedV2, presignedV2, signV2 } from "#gateway/s3/sigv2.ts";
import {
  ALGORITHM, type Scope, UNSIGNED, canonicalQuery, canonicalRequest, reencode, sign, stringToSign,
} from "#platform/net/aws-signature.ts";

/** Seconds for which a presigned request may be good. */
const EXPIRES_SECONDS_MAX = 604_800;

/** How the bytes of a body are told to be those that were signed. */
export type Payload =
  | { readonly kind: "signed"; readonly sha256: string }
  | { readonly kind: "unsigned" }
  | { readonly kind: "chunked"; readonly signer: ChunkSigner | undefined; readonly hasTrailer: boolean };

export type Authenticated = {
  readonly user: SignedIn;
  /** Undefined: nobody has signed it. */
  readonly how: SignedHow | undefined;
  readonly payload: Payload;
  readonly request: S3Request;
};

/** A form as it says who sends it; of Version 2 when it has neither time nor scope. */
export type SignedForm = {
  readonly accessKey: string;
  readonly scope: Scope | undefined;
  readonly signature: string;
  readonly policy: string;
};

/** What is signed, by whom, and how its body is named. */
type Claim = {
  readonly request: S3Request;
  readonly signed: Signed;
  readonly query: string;
  readonly payload: string;
};

export class Authenticator {
  readonly #access: HubAccess;
  readonly #clock: Clock;
  readonly #takesV2: boolean;
  readonly #keys = new SigningKeys();

  /** @param takesV2 Signature Version 2 as well, for presigned addresses and forms */
  constructor(access: HubAccess, clock: Clock, takesV2: boolean) {
    this.#access = access;
    this.#clock = clock;
    this.#takesV2 = takesV2;
  }

  /** @throws {S3Error} when it is nobody, and nobody may ask */
  async authenticate(request: S3Request): Promise<Authenticated> {
    if (!request.headers.has("authorization") && !request.query.has("X-Amz-Algorithm")) return this.#unsignedOrV2(request);
    const claim = this.#claimOf(request);
    const candidates = pathsOf(claim);
    let key: Uint8Array | undefined;
    const user = await this.#signedIn(claim, (secretKey) => {
      const { scope, signature } = claim.signed;
      key = this.#keys.get(secretKey, scope);
      const isRight = candidates.some((text) => sameSignature(sign(key!, text), signature));
      if (isRight) this.#keys.remember(secretKey, scope, key);
      return isRight;
    });
    const type = claim.request === request ? "REST-HEADER" : "REST-QUERY-STRING";
    return { user, how: { type, version: ALGORITHM }, request: claim.request, payload: payloadOf(claim, key!) };
  }

  async #unsignedOrV2(request: S3Request): Promise<Authenticated> {
    if (isPresignedV2(request)) {
      this.requireV2();
      const { accessKey, signature, expires, text, request: seen } = presignedV2(request);
      if (this.#clock.nowMs() > expires * 1000) throw new S3Error("AccessDenied", "the request has expired");
      const user = await this.#byV2(accessKey, signature, text, request.address);
      return { user, how: { type: "REST-QUERY-STRING", version: "AWS" }, payload: { kind: "unsigned" }, request: seen };
    }
    const isNobodys = !request.query.has("AWSAccessKeyId") && !request.query.has("Signature");
    if (!isNobodys || !this.#access.mayBePublic(request.bucket)) throw new S3Error("AccessDenied", "the request is not signed");
    // Words that a bucket's owner would not have it say must be somebody's.
    if ([...request.query.keys()].some((name) => name.startsWith("response-"))) {
      throw new S3Error("InvalidRequest", "only a signed request may say which headers are answered");
    }
    return { user: { who: ANONYMOUS, renew: () => Promise.resolve(ANONYMOUS) }, how: undefined, payload: { kind: "unsigned" }, request };
  }

  /** @throws {S3Error} InvalidRequest where Signature Version 2 is not taken */
  requireV2(): void {
    if (!this.#takesV2) throw new S3Error("InvalidRequest", "only AWS Signature Version 4 is accepted: sign with AWS4-HMAC-SHA256");
  }

  #byV2(accessKey: string, signature: string, text: string, address: string): Promise<SignedIn> {
    const verify = (secretKey: string): boolean => sameSignature(signV2(secretKey, text), signature);
    return this.#ask({ type: "s3", accessKey, address, verify });
  }

  /** A form's policy, which is what is signed of it. @throws {S3Error} */
  async authenticateForm(form: SignedForm, address: string): Promise<SignedIn> {
    const { accessKey, scope } = form;
    if (scope === undefined) {
      this.requireV2();
      return this.#byV2(accessKey, form.signature, form.policy, address);
    }
    return this.#ask({
      type: "s3",
      accessKey,
      address,
      verify: (secretKey) => {
        const key = this.#keys.get(secretKey, scope);
        const isRight = sameSignature(sign(key, form.policy), form.signature);
        if (isRight) this.#keys.remember(secretKey, scope, key);
        return isRight;
      },
    });
  }

  #signedIn({ signed, request }: Claim, verify: (secretKey: string) => boolean): Promise<SignedIn> {
    return this.#ask({ type: "s3", accessKey: signed.scope.accessKey, address: request.address, verify });
  }

  /** Asked again it compares the signature alone: the time of a request is that of its beginning. */
  #ask(credential: Parameters<HubAccess["authenticate"]>[0]): Promise<SignedIn> {
    return signedIn(this.#access, async () => {
      try {
        return await this.#access.authenticate(credential);
      } catch (error) {
        if (!(error instanceof SynclineError) || error.code !== "AUTH" || error.retryable) throw error;
        throw new S3Error("SignatureDoesNotMatch", "there is no such access key, or the signature is not right");
      }
    });
  }

  #claimOf(request: S3Request): Claim {
    if (request.query.has("X-Amz-Algorithm")) return this.#presigned(request);
    const header = request.headers.get("authorization");
    if (header === undefined) throw new S3Error("AccessDenied", "the request is not signed");
    if (!header.startsWith(ALGORITHM)) {
      throw header.startsWith("AWS4-ECDSA")
        ? notImplemented("Signature Version 4A")
        : new S3Error("InvalidRequest", "only AWS Signature Version 4 is accepted: sign with AWS4-HMAC-SHA256");
    }
    const signed = parseAuthorization(header, request.headers.get("x-amz-date"));
    if (!signed.time.startsWith(signed.scope.date)) throw new S3Error("AccessDenied", "the credential is of another day");
    this.#checkSkew(signed.time);
    requireSigned(request.headers, signed.signedHeaders);
    const payload = request.headers.get("x-amz-content-sha256");
    if (payload === undefined) throw new S3Error("InvalidRequest", "the header x-amz-content-sha256 is missing");
    return { request, signed, query: canonicalQuery(request.rawQuery), payload };
  }

  #presigned(request: S3Request): Claim {
    const { query } = request;
    const need = (name: string): string => {
      const value = query.get(name);
      if (value === undefined) throw new S3Error("AuthorizationQueryParametersError", `${name} is missing in the query`);
      return value;
    };
    if (need("X-Amz-Algorithm") !== ALGORITHM) throw notImplemented(`the algorithm ${need("X-Amz-Algorithm").slice(0, 60)}`);
    const time = need("X-Amz-Date");
    const seconds = Number(need("X-Amz-Expires"));
    const isGood = Number.isInteger(seconds) && seconds >= 1 && seconds <= EXPIRES_SECONDS_MAX;
    if (!isGood) throw new S3Error("AccessDenied", `X-Amz-Expires is a number from 1 to ${EXPIRES_SECONDS_MAX}`);
    const signedHeaders = parseNames(need("X-Amz-SignedHeaders"));
    const signed: Signed = { scope: parseCredential(need("X-Amz-Credential")), signedHeaders, signature: need("X-Amz-Signature"), time };
    if (!time.startsWith(signed.scope.date)) throw new S3Error("AccessDenied", "the credential is of another day");
    const beganMs = timeMsOf(time);
    const nowMs = this.#clock.nowMs();
    if (nowMs < beganMs - SKEW_MS_MAX) throw new S3Error("AccessDenied", "the request is not valid yet");
    if (nowMs > beganMs + seconds * 1000) throw new S3Error("AccessDenied", "the request has expired");
    requireSigned(request.headers, signedHeaders);
    const payload = query.get("X-Amz-Content-Sha256") ?? request.headers.get("x-amz-content-sha256") ?? UNSIGNED;
    const hoisted = { ...request, headers: withHoisted(request) };
    return { request: hoisted, signed, query: canonicalQuery(request.rawQuery, "X-Amz-Signature"), payload };
  }

  #checkSkew(time: string): void {
    if (Math.abs(this.#clock.nowMs() - timeMsOf(time)) <= SKEW_MS_MAX) return;
    throw new S3Error("RequestTimeTooSkewed", "the time of the request is more than 15 minutes off the time of the hub");
  }
}

/** What S3 acts on must be signed, or whoever has seen one request could make another one of it. */
function requireSigned(headers: ReadonlyMap<string, string>, signed: readonly string[]): void {
  if (!signed.includes("host")) throw new S3Error("AccessDenied", "the header Host is not signed");
  for (const name of headers.keys()) {
    if (name.startsWith("x-amz-") && !signed.includes(name)) throw new S3Error("AccessDenied", `the header ${name} is not signed`);
  }
}

/** Parameters of the signature itself; all other `x-amz-` ones stand for headers. */
const OF_SIGNATURE = /^x-amz-(algorithm|credential|date|expires|signedheaders|signature|security-token|content-sha256)$/;

function withHoisted({ headers, query }: S3Request): ReadonlyMap<string, string> {
  const merged = new Map(headers);
  for (const [given, value] of query) {
    const name = given.toLowerCase();
    if (!name.startsWith("x-amz-") || OF_SIGNATURE.test(name)) continue;
    const before = headers.get(name);
    if (before !== undefined && before !== value) {
      throw new S3Error("InvalidRequest", `${name} says one thing in the headers and another in the query`);
    }
    merged.set(name, value);
  }
  return merged;
}

const ONE_SPELLING = /^[A-Za-z0-9\-._~/]*$/;

/** What may have been signed: the path as it came, or in the one spelling that some clients sign and do not send. */
function pathsOf({ request, signed, query, payload }: Claim): string[] {
  const { method, path, headers } = request;
  const spellings = ONE_SPELLING.test(path) ? [path] : new Set([path, reencode(path, "/")]);
  return [...spellings].map((spelling) =>
    stringToSign(signed.time, signed.scope, canonicalRequest({ method, path: spelling, query, headers }, signed.signedHeaders, payload)),
  );
}

function payloadOf({ payload, signed }: Claim, key: Uint8Array): Payload {
  if (/^[0-9a-f]{64}$/.test(payload)) return { kind: "signed", sha256: payload };
  const signer: ChunkSigner = { key, time: signed.time, scope: signed.scope, seed: signed.signature };
  switch (payload) {
    case UNSIGNED:
      return { kind: "unsigned" };
    case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD":
      return { kind: "chunked", signer, hasTrailer: false };
    case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
      return { kind: "chunked", signer, hasTrailer: true };
    case "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
      return { kind: "chunked", signer: undefined, hasTrailer: true };
    default:
      if (payload.startsWith("STREAMING-")) throw notImplemented(`the payload ${payload.slice(0, 60)}`);
      throw new S3Error("InvalidArgument", "x-amz-content-sha256 is no SHA-256 in hex");
  }
}
