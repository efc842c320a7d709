/** Objects of one bucket by key: looking, listing, copying, putting as a whole and in parts. */
import { SynclineError } from "#model/error.ts";
import { isError } from "#sync/foreign/foreign-context.ts";
import { s3Lost, s3Nonsense, s3Refusal } from "#sync/foreign/s3/s3-errors.ts";
import { type S3Http, encodeKey } from "#sync/foreign/s3/s3-http.ts";
import { elementsOf, escapeText, textOf } from "#sync/foreign/s3/s3-xml.ts";

/** rclone's name and form: seconds since 1970 with their fraction. */
export const MTIME_HEADER = "x-amz-meta-mtime";
/** The server copies larger objects only in parts. */
const COPY_BYTES_MAX = 5 * 2 ** 30;
const COPY_PART_BYTES = 2 ** 30;
/** Of the headers that come with an object those that are the object's own, and stay with a copy under other metadata. */
const KEPT_HEADERS = ["content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"];

export type S3Object = {
  readonly size: number;
  /** With its quotes. */
  readonly etag: string;
  readonly mtimeNs: bigint;
  readonly headers: Readonly<Record<string, string>>;
};

export type Listing = {
  readonly objects: readonly { readonly key: string; readonly size: number; readonly etag: string }[];
  /** With their "/" at the end. */
  readonly prefixes: readonly string[];
  readonly next: string | undefined;
};

/** What must be true for a change to be made. */
export type Condition = { readonly "if-match": string } | { readonly "if-none-match": "*" } | Record<never, never>;

export class S3Objects {
  readonly #http: S3Http;

  constructor(http: S3Http) {
    this.#http = http;
  }

  async head(key: string, signal: AbortSignal): Promise<S3Object | undefined> {
    try {
      const answer = await this.#http.ask({ op: "look at an object", method: "HEAD", key, signal });
      answer!.drop();
      return objectOf(answer!.headers, key);
    } catch (error) {
      if (isError(error, "NOT_FOUND")) return undefined;
      throw error;
    }
  }

  /** One page. @param delimiter "/" for one directory, "" for all below */
  async list(prefix: string, delimiter: string, count: number, next: string | undefined, signal: AbortSignal): Promise<Listing> {
    const op = "list";
    const answer = await this.#http.askXml({
      op,
      method: "GET",
      query: {
        "list-type": "2",
        prefix,
        "encoding-type": "url",
        "max-keys": String(count),
        ...(delimiter === "" ? {} : { delimiter }),
        ...(next === undefined ? {} : { "continuation-token": next }),
      },
      signal,
    });
    const { xml } = answer!;
    if (!xml.includes("<ListBucketResult")) throw s3Nonsense(op, "it is no listing");
    // Without its end it would pass for a shorter one that is whole.
    if (!xml.includes("</ListBucketResult>")) throw s3Lost(op, "the listing was cut");
    const name = textOf(xml, "EncodingType") === "url" ? decodeName : (text: string): string => text;
    const objects = [...elementsOf(xml, "Contents")].map((inner) => {
      const size = Number(textOf(inner, "Size"));
      const key = textOf(inner, "Key");
      if (key === undefined || !Number.isSafeInteger(size) || size < 0) throw s3Nonsense(op, "an object has no key or size");
      return { key: name(key), size, etag: textOf(inner, "ETag") ?? "" };
    });
    const prefixes = [...elementsOf(xml, "CommonPrefixes")].map((inner) => name(textOf(inner, "Prefix") ?? ""));
    const token = textOf(xml, "NextContinuationToken");
    const isCut = textOf(xml, "IsTruncated") === "true";
    if (isCut && (token === undefined || token === next)) throw s3Nonsense(op, "it ends without saying how it goes on");
    return { objects, prefixes, next: isCut ? token : undefined };
  }

  /** @returns the new object's tag; undefined where a try that seemed to fail had succeeded */
  async put(
    key: string,
    body: Uint8Array,
    headers: Readonly<Record<string, string>>,
    condition: Condition,
    signal: AbortSignal,
  ): Promise<string> {
    const op = "put an object";
    const md5 = new Bun.CryptoHasher("md5").update(body).digest();
    const own = `"${md5.toString("hex")}"`;
    const answer = await this.#http.ask({
      op,
      method: "PUT",
      key,
      headers: { ...headers, ...condition, "content-md5": md5.toString("base64") },
      body,
      signal,
      // A condition would refuse what our own first try has put there.
      wasDone: Object.keys(condition).length === 0 ? undefined : async () => (await this.head(key, signal))?.etag === own,
    });
    answer?.drop();
    if (answer === undefined) return own;
    const etag = answer.headers.get("etag") ?? "";
    if (etag === "") throw s3Nonsense(op, "it has no ETag", key);
    // With keys of its own the server's tag is no MD5 of what was sent.
    const isSealed = [...answer.headers.keys()].some((name) => name.startsWith("x-amz-server-side-encryption"));
    if (!isSealed && /^"[0-9a-f]{32}"$/.test(etag) && etag !== own) throw otherBytes(op, key);
    return etag;
  }

  async delete(key: string, condition: Condition, signal: AbortSignal): Promise<void> {
    const wasDone = async (): Promise<boolean> => (await this.head(key, signal)) === undefined;
    const headers = { ...condition };
    (await this.#http.ask({ op: "remove an object", method: "DELETE", key, headers, signal, wasDone }))?.drop();
  }

  /** On the server. @param headers to replace its metadata; undefined: it keeps them @returns the copy's tag */
  async copy(
    from: string,
    to: string,
    source: { readonly etag: string; readonly size: number },
    headers: Readonly<Record<string, string>> | undefined,
    bucket: string,
    signal: AbortSignal,
  ): Promise<string> {
    const op = "copy an object";
    const of = { "x-amz-copy-source": `/${encodeKey(bucket)}/${encodeKey(from)}`, "x-amz-copy-source-if-match": source.etag };
    if (source.size > COPY_BYTES_MAX) return this.#copyParts(from, to, source, of, headers, signal);
    const own = headers === undefined ? {} : { ...headers, "x-amz-metadata-directive": "REPLACE" };
    const answer = await this.#http.askXml({ op, method: "PUT", key: to, headers: { ...of, ...own }, signal });
    return tagIn(op, answer!.xml, to);
  }

  async #copyParts(
    from: string,
    to: string,
    { etag, size }: { readonly etag: string; readonly size: number },
    of: Readonly<Record<string, string>>,
    headers: Readonly<Record<string, string>> | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const op = "copy an object";
    const source = await this.head(from, signal);
    if (source?.etag !== etag) throw s3Refusal(op, 412, "", from);
    const uploadId = await this.begin(to, headers ?? source.headers, signal);
    try {
      const tags: string[] = [];
      for (let at = 0; at < size; at += COPY_PART_BYTES) {
        const range = { "x-amz-copy-source-range": `bytes=${at}-${Math.min(size, at + COPY_PART_BYTES) - 1}` };
        const query = { partNumber: String(tags.length + 1), uploadId };
        const answer = await this.#http.askXml({ op, method: "PUT", key: to, query, headers: { ...of, ...range }, signal });
        tags.push(tagIn(op, answer!.xml, to));
      }
      return await this.complete(to, uploadId, tags, {}, signal);
    } catch (error) {
      await this.abort(to, uploadId);
      throw error;
    }
  }

  /** Begins an upload in parts. @returns its id */
  async begin(key: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<string> {
    const op = "begin an upload";
    const answer = await this.#http.askXml({ op, method: "POST", key, query: { uploads: "" }, headers, signal });
    const id = textOf(answer!.xml, "UploadId");
    if (id === undefined) throw s3Nonsense(op, "it names no upload", key);
    return id;
  }

  /** @returns the part's tag */
  async part(key: string, uploadId: string, number: number, body: Uint8Array, signal: AbortSignal): Promise<string> {
    const op = "put a part";
    const headers = { "content-md5": new Bun.CryptoHasher("md5").update(body).digest("base64") };
    const query = { partNumber: String(number), uploadId };
    const answer = await this.#http.ask({ op, method: "PUT", key, query, headers, body, signal });
    answer!.drop();
    const etag = answer!.headers.get("etag");
    if (etag === null) throw s3Nonsense(op, "it has no ETag", key);
    return etag;
  }

  /** @returns the object's tag */
  async complete(key: string, uploadId: string, tags: readonly string[], condition: Condition, signal: AbortSignal): Promise<string> {
    const op = "complete an upload";
    const parts = tags.map((tag, at) => `<Part><PartNumber>${at + 1}</PartNumber><ETag>${escapeText(tag)}</ETag></Part>`);
    const body = new Uint8Array(Buffer.from(`<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`));
    const own = tagOfParts(tags);
    const wasDone = async (): Promise<boolean> => own !== undefined && (await this.head(key, signal))?.etag === own;
    const headers = { ...condition, "content-type": "application/xml" };
    const answer = await this.#http.askXml({ op, method: "POST", key, query: { uploadId }, headers, body, signal, wasDone });
    return answer === undefined ? own! : tagIn(op, answer.xml, key);
  }

  /** Lets go of an upload, whatever became of it; what cannot be let go of now is the bucket's own rules' to clean up. */
  async abort(key: string, uploadId: string): Promise<void> {
    const { signal } = new AbortController();
    await this.#http.ask({ op: "abort an upload", method: "DELETE", key, query: { uploadId }, signal }).then(
      (answer) => answer?.drop(),
      () => undefined,
    );
  }
}

/** What an object with another mtime keeps of its headers. */
export function headersWith({ headers }: S3Object, mtimeNs: bigint): Record<string, string> {
  return { ...headers, [MTIME_HEADER]: secondsText(mtimeNs) };
}

export function objectOf(given: Headers, key: string): S3Object {
  const size = Number(given.get("content-length"));
  const etag = given.get("etag") ?? "";
  if (!Number.isSafeInteger(size) || etag === "") throw s3Nonsense("look at an object", "it has no length or ETag", key);
  const headers: Record<string, string> = {};
  for (const [name, value] of given) if (KEPT_HEADERS.includes(name) || name.startsWith("x-amz-meta-")) headers[name] = value;
  return { size, etag, mtimeNs: mtimeOf(given), headers };
}

function mtimeOf(given: Headers): bigint {
  const own = /^(-?)(\d{1,12})(?:\.(\d{1,9})\d*)?$/.exec(given.get(MTIME_HEADER) ?? "");
  if (own !== null) {
    const ns = BigInt(own[2]!) * 1_000_000_000n + BigInt((own[3] ?? "").padEnd(9, "0"));
    return own[1] === "-" ? -ns : ns;
  }
  const ms = Date.parse(given.get("last-modified") ?? "");
  return Number.isNaN(ms) ? 0n : BigInt(ms) * 1_000_000n;
}

/** "1600000000.123456789" */
export function secondsText(ns: bigint): string {
  const whole = ns < 0n ? -ns : ns;
  const fraction = (whole % 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "");
  return `${ns < 0n ? "-" : ""}${whole / 1_000_000_000n}${fraction === "" ? "" : `.${fraction}`}`;
}

function decodeName(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", "%20"));
  } catch {
    throw s3Nonsense("list", "a name is not encoded as it says");
  }
}

/** An answer may begin well and end in an error. */
function tagIn(op: string, xml: string, key: string): string {
  const etag = textOf(xml, "ETag");
  if (etag !== undefined && !xml.includes("<Error>")) return etag.startsWith('"') ? etag : `"${etag}"`;
  throw s3Refusal(op, xml.includes("<Code>") ? 500 : 502, xml, key);
}

/** What S3 makes of parts whose tags are MD5s. */
function tagOfParts(tags: readonly string[]): string | undefined {
  const hasher = new Bun.CryptoHasher("md5");
  for (const tag of tags) {
    const hex = /^"([0-9a-f]{32})"$/.exec(tag)?.[1];
    if (hex === undefined) return undefined;
    hasher.update(Buffer.from(hex, "hex"));
  }
  return `"${hasher.digest("hex")}-${tags.length}"`;
}

function otherBytes(op: string, path: string): SynclineError {
  const message = "the S3 server says that it holds other bytes than were sent";
  return new SynclineError({ code: "STALE", op, path, message, retryable: true });
}
