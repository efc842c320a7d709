/** AWS Signature Version 4, as servers check it. Pure but for the memory of signing keys. */
import { timingSafeEqual } from "node:crypto";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { type Scope, signingKey } from "#platform/net/aws-signature.ts";

export const SKEW_MS_MAX = 15 * 60_000;
/** Signing keys that are remembered: one for each access key, day and region; the one used longest ago goes first. */
const KEYS_MAX = 1024;
const SIGNED_HEADERS_MAX = 100;

/** What a client says of its signature. */
export type Signed = {
  readonly scope: Scope;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** "20130524T000000Z" */
  readonly time: string;
};

const AUTHORIZATION = /^AWS4-HMAC-SHA256\s+Credential=([^,\s]+)\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-f]{64})$/;
const TIME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

const malformed = (message: string): S3Error => new S3Error("AuthorizationHeaderMalformed", message);

/** @throws {S3Error} AuthorizationHeaderMalformed */
export function parseAuthorization(header: string, time: string | undefined): Signed {
  const match = AUTHORIZATION.exec(header);
  if (match === null) throw malformed("the Authorization header is not well formed");
  if (time === undefined) throw new S3Error("AccessDenied", "a signed request needs x-amz-date");
  return { scope: parseCredential(match[1]!), signedHeaders: parseNames(match[2]!), signature: match[3]!, time };
}

/** "KEY/20130524/us-east-1/s3/aws4_request"; the key may hold "/". @throws {S3Error} */
export function parseCredential(text: string): Scope {
  const parts = text.split("/");
  const [date, region, service, end] = parts.slice(-4);
  const accessKey = parts.slice(0, -4).join("/");
  const isRight = accessKey !== "" && /^\d{8}$/.test(date!) && region !== "" && service === "s3" && end === "aws4_request";
  if (!isRight) throw malformed("the credential is not like KEY/DATE/REGION/s3/aws4_request");
  return { accessKey, date: date!, region: region! };
}

/** @throws {S3Error} */
export function parseNames(text: string): string[] {
  const names = text.split(";");
  if (names.length > SIGNED_HEADERS_MAX) throw malformed(`more than ${SIGNED_HEADERS_MAX} signed headers`);
  if (!names.every((name) => /^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name))) throw malformed("signed headers are lower-case names");
  return names;
}

/** @throws {S3Error} AccessDenied */
export function timeMsOf(time: string): number {
  const parts = TIME.exec(time);
  const ms = parts === null ? Number.NaN : Date.parse(`${parts[1]}-${parts[2]}-${parts[3]}T${parts[4]}:${parts[5]}:${parts[6]}Z`);
  if (Number.isNaN(ms)) throw new S3Error("AccessDenied", "the time of the request is not like 20130524T000000Z");
  return ms;
}

/** In constant time. */
export function sameSignature(a: string, b: string): boolean {
  const x = Buffer.from(a, "latin1");
  const y = Buffer.from(b, "latin1");
  return x.length === y.length && timingSafeEqual(x, y);
}

/** Four hashes a request less. What is remembered is only used with the secret key that it was made of. */
export class SigningKeys {
  readonly #known = new Map<string, { readonly secretKey: string; readonly key: Uint8Array }>();

  get(secretKey: string, scope: Scope): Uint8Array {
    const known = this.#known.get(nameOf(scope));
    return known?.secretKey === secretKey ? known.key : signingKey(secretKey, scope);
  }

  /** After the signature was right: guesses push out nothing. */
  remember(secretKey: string, scope: Scope, key: Uint8Array): void {
    const name = nameOf(scope);
    if (this.#known.get(name)?.key === key) return;
    this.#known.delete(name);
    this.#known.set(name, { secretKey, key });
    if (this.#known.size > KEYS_MAX) this.#known.delete(this.#known.keys().next().value!);
  }
}

const nameOf = ({ accessKey, date, region }: Scope): string => `${accessKey}\n${date}\n${region}`;
