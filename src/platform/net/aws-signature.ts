/**
 * AWS Signature Version 4, as servers and clients make it: canonical requests, strings to sign, keys. Texts are bytes as
 * latin1, as they go over the wire. Pure.
 */
export const ALGORITHM = "AWS4-HMAC-SHA256";

export const UNSIGNED = "UNSIGNED-PAYLOAD";
export const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** Whose key, and for what day, region and service a signature is. */
export type Scope = { readonly accessKey: string; readonly date: string; readonly region: string };

export const scopeText = ({ date, region }: Scope): string => `${date}/${region}/s3/aws4_request`;

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
