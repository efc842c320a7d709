/** Signed requests to one bucket: addressing, signatures, retries. */
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import {
  ALGORITHM,
  EMPTY_SHA256,
  canonicalRequest,
  scopeText,
  sign,
  signingKey,
  stringToSign,
} from "#platform/net/aws-signature.ts";
import type { Reach } from "#platform/net/guarded-address.ts";
import { type HttpAnswer, askHttp } from "#platform/net/http-ask.ts";
import { retryAfterMs } from "#platform/net/http-date.ts";
import { s3Lost, s3Nonsense, s3Refusal } from "#sync/foreign/s3/s3-errors.ts";

export type S3Credentials = { readonly accessKey: string; readonly secretKey: string; readonly sessionToken?: string | undefined };

export type S3Place = {
  /** "https://host:port"; without a path. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** `path`: the bucket begins the path · `virtual`: it begins the host's name. */
  readonly style: "path" | "virtual";
  readonly credentials: S3Credentials;
  /** Authorities beside those of the system (PEM). */
  readonly ca?: string | undefined;
  /** Undefined: anywhere, because a person at this host said so. */
  readonly reach?: Reach | undefined;
};

/** A request that broke off, or was put off by the server, is tried so often in all. */
export const TRIES_MAX = 5;
const PAUSE_FIRST_MS = 200;
const PAUSE_LONGEST_MS = 10_000;
/** Of an answer that is XML: a page of a listing with a thousand long keys has about 2 MB. */
const XML_BYTES_MAX = 16 << 20;

export type S3Ask = {
  /** What is being done, as part of a sentence: "list". */
  readonly op: string;
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Undefined: the bucket itself. */
  readonly key?: string | undefined;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  readonly signal: AbortSignal;
  /**
   * Asked before another try of what may have been done already; true: it was, and `undefined` is the answer. Without it
   * the request is one that may be repeated.
   */
  readonly wasDone?: (() => Promise<boolean>) | undefined;
};

export class S3Http {
  readonly #place: S3Place;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #base: URL;
  #key: { readonly date: string; readonly bytes: Uint8Array } | undefined;
  #closed = false;

  constructor(place: S3Place, clock: Clock, random: Random) {
    this.#place = place;
    this.#clock = clock;
    this.#random = random;
    this.#base = new URL(place.endpoint);
    if (place.style === "virtual") this.#base.hostname = `${place.bucket}.${this.#base.hostname}`;
  }

  close(): void {
    this.#closed = true;
  }

  /**
   * The answer, of a status below 300. Rejects with what the server refused, and with LINK_LOST when it could not be
   * asked.
   */
  async ask(ask: S3Ask): Promise<HttpAnswer | undefined> {
    for (let attempt = 1; ; attempt++) {
      let failure: SynclineError;
      let isDoubtful = true;
      let waitMs = 0;
      try {
        const answer = await this.#once(ask);
        if (answer.status < 300) return answer;
        const xml = ask.method === "HEAD" ? "" : await wholeText(answer, ask.op);
        if (ask.method === "HEAD") answer.drop();
        failure = s3Refusal(ask.op, answer.status, xml, ask.key);
        isDoubtful = answer.status === 500 || answer.status === 502 || answer.status === 504;
        waitMs = Math.min(PAUSE_LONGEST_MS, retryAfterMs(answer.headers.get("retry-after"), this.#clock.nowMs()) ?? 0);
      } catch (error) {
        if (ask.signal.aborted) throw ask.signal.reason;
        failure = error instanceof SynclineError ? error : s3Lost(ask.op, error, ask.key);
      }
      if (!failure.retryable || attempt === TRIES_MAX || this.#closed) throw failure;
      const longest = Math.min(PAUSE_LONGEST_MS, PAUSE_FIRST_MS * 2 ** (attempt - 1));
      const draw = this.#random.bytes(1)[0]! / 255;
      await this.#clock.sleep(Math.max(waitMs, longest * (0.5 + draw / 2)), ask.signal);
      if (isDoubtful && ask.wasDone !== undefined && (await ask.wasDone())) return undefined;
    }
  }

  /** As ask, for an answer that is XML. */
  async askXml(ask: S3Ask): Promise<{ readonly xml: string; readonly headers: Headers } | undefined> {
    const answer = await this.ask(ask);
    if (answer === undefined) return undefined;
    try {
      return { xml: await wholeText(answer, ask.op), headers: answer.headers };
    } catch (error) {
      if (ask.signal.aborted) throw ask.signal.reason;
      throw error instanceof SynclineError ? error : s3Lost(ask.op, error, ask.key);
    }
  }

  #once({ op, method, key, query = {}, headers = {}, body, signal }: S3Ask): Promise<HttpAnswer> {
    if (this.#closed) throw s3Lost(op, "it was closed", key);
    const { bucket, style, ca, reach } = this.#place;
    const path = `/${[...(style === "path" ? [bucket] : []), ...(key === undefined ? [] : [key])].map(encodeKey).join("/")}`;
    const names = Object.keys(query).map((name) => [encode(name), encode(query[name]!)] as const);
    const sorted = names.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => `${name}=${value}`).join("&");
    const signed = this.#signed(method, path, sorted, headers, body);
    const url = `${this.#base.origin}${path}${sorted === "" ? "" : `?${sorted}`}`;
    return askHttp({ method, url, headers: signed, body, ca, reach, signal });
  }

  #signed(
    method: string,
    path: string,
    query: string,
    given: Readonly<Record<string, string>>,
    body: Uint8Array | undefined,
  ): Record<string, string> {
    const { credentials, region } = this.#place;
    const { accessKey, secretKey, sessionToken } = credentials;
    const time = `${new Date(this.#clock.nowMs()).toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}Z`;
    const scope = { accessKey, date: time.slice(0, 8), region };
    const payload = body === undefined || body.length === 0 ? EMPTY_SHA256 : Bun.SHA256.hash(body as Uint8Array<ArrayBuffer>, "hex");
    const headers: Record<string, string> = {
      ...given,
      host: this.#base.host,
      "x-amz-date": time,
      "x-amz-content-sha256": payload,
      ...(sessionToken === undefined ? {} : { "x-amz-security-token": sessionToken }),
    };
    const signs = Object.keys(headers).sort();
    const canonical = canonicalRequest({ method, path, query, headers: new Map(Object.entries(headers)) }, signs, payload);
    if (this.#key?.date !== scope.date) this.#key = { date: scope.date, bytes: signingKey(secretKey, scope) };
    const signature = sign(this.#key.bytes, stringToSign(time, scope, canonical));
    const credential = `${accessKey}/${scopeText(scope)}`;
    headers.authorization = `${ALGORITHM} Credential=${credential}, SignedHeaders=${signs.join(";")}, Signature=${signature}`;
    headers["accept-encoding"] = "identity";
    return headers;
  }
}

async function wholeText(answer: HttpAnswer, op: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of answer.body) {
    parts.push(part);
    bytes += part.length;
    if (bytes > XML_BYTES_MAX) throw s3Nonsense(op, `it has more than ${XML_BYTES_MAX} bytes`);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** As RFC 3986 has it, which is also how it is signed. */
export function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

export function encodeKey(key: string): string {
  return key.split("/").map(encode).join("/");
}
