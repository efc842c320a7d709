/** What a request asks for, read off its address and headers. Nothing is trusted yet, and nothing decided. */
import { percentDecode } from "#gateway/api/url-path.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { Http1Request } from "#platform/net/http1/connection.ts";

/** Bytes of a key in S3. */
export const KEY_BYTES_MAX = 1024;

export type S3Request = {
  readonly method: string;
  /** As it was sent, as are the values of headers (bytes in latin1). */
  readonly path: string;
  readonly rawQuery: string;
  /** Decoded. A name without a value has "". */
  readonly query: ReadonlyMap<string, string>;
  /** Of a presigned request with what its query says in place of headers. */
  readonly headers: ReadonlyMap<string, string>;
  /** "" for the service itself. */
  readonly bucket: string;
  /** "" for the bucket itself. */
  readonly key: string;
  /** The bucket is in the name of the host, not in the path. */
  readonly isVirtual: boolean;
  readonly address: string;
  readonly body: Http1Request["body"];
};

const NOTHING: ReadonlyMap<string, string> = new Map();

/**
 * @param domains names below which the first label of the host is a bucket
 * @throws {S3Error} InvalidURI, KeyTooLongError
 */
export function readRequest(http: Http1Request, domains: readonly string[]): S3Request {
  const mark = http.target.indexOf("?");
  const path = mark < 0 ? http.target : http.target.slice(0, mark);
  const rawQuery = mark < 0 ? "" : http.target.slice(mark + 1);
  const query = rawQuery === "" ? NOTHING : parseQuery(rawQuery);
  const virtual = virtualBucket(http.headers.get("host") ?? "", domains);
  const slash = path.indexOf("/", 1);
  const rawBucket = virtual ?? (slash < 0 ? path.slice(1) : path.slice(1, slash));
  const rawKey = virtual === undefined ? (slash < 0 ? "" : path.slice(slash + 1)) : path.slice(1);
  const key = decode(rawKey);
  if (key.length > KEY_BYTES_MAX || Buffer.byteLength(key) > KEY_BYTES_MAX) {
    throw new S3Error("KeyTooLongError", `a key has up to ${KEY_BYTES_MAX} bytes`);
  }
  const { method, headers, address, body } = http;
  return { method, path, rawQuery, query, headers, bucket: decode(rawBucket), key, isVirtual: virtual !== undefined, address, body };
}

function virtualBucket(host: string, domains: readonly string[]): string | undefined {
  if (domains.length === 0) return undefined;
  const name = host.replace(/:\d+$/, "").toLowerCase();
  const domain = domains.find((one) => name.endsWith(`.${one}`));
  return domain === undefined ? undefined : name.slice(0, -domain.length - 1);
}

function decode(text: string): string {
  try {
    // What came as bytes is text in UTF-8.
    return percentDecode(/[\u0080-\u00ff]/.test(text) ? text.replaceAll(/[\u0080-\u00ff]/g, escaped) : text);
  } catch {
    throw new S3Error("InvalidURI", "the address is not well formed");
  }
}

const escaped = (char: string): string => `%${char.charCodeAt(0).toString(16)}`;

function parseQuery(raw: string): Map<string, string> {
  const query = new Map<string, string>();
  for (const part of raw.split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = decode(equals < 0 ? part : part.slice(0, equals));
    if (query.has(name)) throw new S3Error("InvalidArgument", "a name of the query is given twice");
    query.set(name, equals < 0 ? "" : decode(part.slice(equals + 1).replaceAll("+", "%20")));
  }
  return query;
}
