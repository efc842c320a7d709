/**
 * AWS Signature Version 4, as servers check it: canonical requests, strings to sign, keys. Texts are bytes as latin1, as
 * they came over the wire. Pure but for the memory of signing keys.
 */
import { timingSafeEqual } from "node:crypto";
import { S3Error } from "#gateway/s3/s3-error.ts";

export const ALGORITHM = "AWS4-HMAC-SHA256";
export const SKEW_MS_MAX = 15 * 60_000;
export const UNSIGNED = "UNSIGNED-PAYLOAD";
export const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** Signing keys that are remembered: one for each access key, day and region; the one used longest ago goes first. */
const KEYS_MAX = 1024;
const SIGNED_HEADERS_MAX = 100;

/** Whose key, and for what day, region and service a signature is. */
export type Scope = { readonly accessKey: string; readonly date: string; readonly region: string };

/** What a client says of its signature. */
export type Signed = {
  readonly scope: Scope;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** "20130524T000000Z" */
  readonly time: string;
};

export const scopeText = ({ date, region }: Scope): string => `${date}/${region}/s3/aws4_request`;

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

const PLAIN = /^[A-Za-z0-9\-._~]*$/;

/** Decodes what is percent-encoded and encodes it as RFC 3986 has it, so that all spellings of a value are one. */
export function reencode(text: string, keep = ""): string {
  if (PLAIN.test(text)) return text;
  let out = "";
  for (let at = 0; at < text.length; at++) {
    let code = text.charCodeAt(at);
    if (code === 37 && /^[0-9a-fA-F]{2}$/.test(text.slice(at + 1, at + 3))) {
      code = Number.parseInt(text.slice(at + 1, at + 3), 16);
      at += 2;
    }
    const char = String.fromCharCode(code);
    out += PLAIN.test(char) || keep.includes(char) ? char : `%${code.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

/** The query as it is signed. @param except a name that is left out */
export function canonicalQuery(raw: string, except?: string): string {
  if (raw === "") return "";
  const pairs: [string, string][] = [];
  for (const part of raw.split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = reencode(equals < 0 ? part : part.slice(0, equals));
    if (name !== except) pairs.push([name, equals < 0 ? "" : reencode(part.slice(equals + 1))]);
  }
  pairs.sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0));
  return pairs.map(([name, value]) => `${name}=${value}`).join("&");
}

/** What is signed of a request. @param path as it was sent */
export function canonicalRequest(
  request: { readonly method: string; readonly path: string; readonly query: string; readonly headers: ReadonlyMap<string, string> },
  signedHeaders: readonly string[],
  payload: string,
): string {
  let headers = "";
  for (const name of signedHeaders) {
    const value = request.headers.get(name) ?? "";
    headers += `${name}:${value.includes("  ") ? value.replaceAll(/ +/g, " ") : value}\n`;
  }
  return `${request.method}\n${request.path}\n${request.query}\n${headers}\n${signedHeaders.join(";")}\n${payload}`;
}

/** SHA-256 of latin1 text, in hex. */
export function sha256Hex(text: string): string {
  return Bun.SHA256.hash(Buffer.from(text, "latin1"), "hex");
}

export function stringToSign(time: string, scope: Scope, canonical: string): string {
  return `${ALGORITHM}\n${time}\n${scopeText(scope)}\n${sha256Hex(canonical)}`;
}

function hmac(key: Uint8Array | string, text: string): Uint8Array {
  return new Bun.CryptoHasher("sha256", key).update(text, "latin1").digest();
}

export function signingKey(secretKey: string, { date, region }: Scope): Uint8Array {
  const ofDate = hmac(`AWS4${secretKey}`, date);
  return hmac(hmac(hmac(ofDate, region), "s3"), "aws4_request");
}

/** Lower-case hex of what the key makes of the text. */
export function sign(key: Uint8Array, text: string): string {
  return new Bun.CryptoHasher("sha256", key).update(text, "latin1").digest("hex");
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
