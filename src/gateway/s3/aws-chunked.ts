/**
 * The coding "aws-chunked": a body in chunks of which each may be signed, with checksums behind them. Takes bytes as
 * they come, split anywhere; gives the data out before a chunk's signature is compared, so nothing may be kept of it
 * before end() has returned.
 */
import { S3Error } from "#gateway/s3/s3-error.ts";
import { sameSignature } from "#gateway/s3/sigv4.ts";
import { EMPTY_SHA256, type Scope, scopeText, sha256Hex, sign } from "#platform/net/aws-signature.ts";

/** Bytes of the line before a chunk. */
const LINE_BYTES_MAX = 256;
/** Bytes of one chunk. */
const CHUNK_BYTES_MAX = 1 << 30;
const TRAILER_BYTES_MAX = 8192;
const SIGNATURE_TRAILER = "x-amz-trailer-signature";

/** What chunks are signed with; the signature before the first is that of the request. */
export type ChunkSigner = {
  readonly key: Uint8Array;
  readonly time: string;
  readonly scope: Scope;
  readonly seed: string;
};

export type ChunkedOptions = {
  /** Undefined: chunks are not signed. */
  readonly signer: ChunkSigner | undefined;
  readonly hasTrailer: boolean;
  /** Bytes of data that must come. */
  readonly length: number;
};

type State = "line" | "data" | "data end" | "behind";

const CR = 13;
const LF = 10;

export class AwsChunked {
  readonly #options: ChunkedOptions;
  #state: State = "line";
  #text = "";
  #left = 0;
  #total = 0;
  #signature: string;
  /** What the chunk at hand says that it is signed with. */
  #told = "";
  #hasher: Bun.CryptoHasher | undefined;

  constructor(options: ChunkedOptions) {
    this.#options = options;
    this.#signature = options.signer?.seed ?? "";
  }

  /** @param onData gets views of `bytes` @throws {S3Error} when it is not what it must be */
  push(bytes: Uint8Array, onData: (data: Uint8Array) => void): void {
    for (let at = 0; at < bytes.length; ) {
      switch (this.#state) {
        case "data":
          at = this.#takeData(bytes, at, onData);
          break;
        case "data end":
          at = this.#takeEnd(bytes, at);
          break;
        case "line":
          at = this.#takeLine(bytes, at);
          break;
        case "behind":
          this.#text += Buffer.from(bytes.buffer, bytes.byteOffset + at, bytes.length - at).toString("latin1");
          if (this.#text.length > TRAILER_BYTES_MAX) throw wrongTrailer("too much comes behind the last chunk");
          at = bytes.length;
      }
    }
  }

  #takeData(bytes: Uint8Array, at: number, onData: (data: Uint8Array) => void): number {
    const end = Math.min(bytes.length, at + this.#left);
    const data = bytes.subarray(at, end);
    this.#hasher?.update(data);
    onData(data);
    this.#left -= data.length;
    if (this.#left > 0) return end;
    if (this.#hasher !== undefined) this.#compare(this.#hasher.digest("hex"));
    this.#hasher = undefined;
    this.#text = "";
    this.#state = "data end";
    return end;
  }

  #takeEnd(bytes: Uint8Array, at: number): number {
    const isFirst = this.#text === "";
    if (bytes[at] !== (isFirst ? CR : LF)) throw incomplete("a chunk is longer than it says");
    this.#text = isFirst ? "\r" : "";
    if (!isFirst) this.#state = "line";
    return at + 1;
  }

  #takeLine(bytes: Uint8Array, at: number): number {
    const end = bytes.indexOf(LF, at);
    const stop = end < 0 ? bytes.length : end + 1;
    if (this.#text.length + stop - at > LINE_BYTES_MAX) throw incomplete("the line before a chunk is too long");
    this.#text += Buffer.from(bytes.buffer, bytes.byteOffset + at, stop - at).toString("latin1");
    if (end >= 0) this.#begin(this.#text);
    return stop;
  }

  #begin(line: string): void {
    const { signer, length } = this.#options;
    const match = /^([0-9A-Fa-f]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?\r\n$/.exec(line);
    if (match === null) throw incomplete("the line before a chunk is not well formed");
    if (signer !== undefined && match[2] === undefined) throw notSigned();
    this.#told = match[2] ?? "";
    this.#left = Number.parseInt(match[1]!, 16);
    this.#text = "";
    if (this.#left > CHUNK_BYTES_MAX) throw incomplete("a chunk is too large");
    this.#total += this.#left;
    if (this.#total > length) throw incomplete("there is more data than was announced");
    if (this.#left > 0) {
      this.#hasher = signer === undefined ? undefined : new Bun.CryptoHasher("sha256");
      this.#state = "data";
      return;
    }
    if (signer !== undefined) this.#compare(EMPTY_SHA256);
    this.#state = "behind";
  }

  #compare(sha256: string): void {
    const { key, time, scope } = this.#options.signer!;
    const text = `AWS4-HMAC-SHA256-PAYLOAD\n${time}\n${scopeText(scope)}\n${this.#signature}\n${EMPTY_SHA256}\n${sha256}`;
    const signature = sign(key, text);
    if (!sameSignature(signature, this.#told)) throw notSigned();
    this.#signature = signature;
  }

  /** Everything has come. @returns the trailer by lower-case name @throws {S3Error} */
  end(): ReadonlyMap<string, string> {
    if (this.#state !== "behind") throw incomplete("the last chunk is missing");
    if (this.#total !== this.#options.length) throw incomplete("there is less data than was announced");
    const { hasTrailer, signer } = this.#options;
    if (!hasTrailer) {
      if (this.#text !== "" && this.#text !== "\r\n") throw incomplete("something comes behind the last chunk");
      return new Map();
    }
    const trailer = parseTrailer(this.#text);
    const told = trailer.get(SIGNATURE_TRAILER);
    trailer.delete(SIGNATURE_TRAILER);
    if (signer !== undefined) this.#compareTrailer(trailer, told);
    return trailer;
  }

  #compareTrailer(trailer: ReadonlyMap<string, string>, told: string | undefined): void {
    const { key, time, scope } = this.#options.signer!;
    const lines = [...trailer].map(([name, value]) => `${name}:${value}\n`).sort().join("");
    const text = `AWS4-HMAC-SHA256-TRAILER\n${time}\n${scopeText(scope)}\n${this.#signature}\n${sha256Hex(lines)}`;
    if (told === undefined || !sameSignature(sign(key, text), told)) throw notSigned();
  }
}

/** Clients disagree on the empty lines around it. */
function parseTrailer(text: string): Map<string, string> {
  const trailer = new Map<string, string>();
  for (const line of text.split("\n")) {
    const plain = line.endsWith("\r") ? line.slice(0, -1) : line;
    if (plain === "") continue;
    const match = /^([A-Za-z0-9-]{1,128}):[ \t]*([\x21-\x7e]*)[ \t]*$/.exec(plain);
    const name = match?.[1]!.toLowerCase();
    if (match === null || trailer.has(name!)) throw wrongTrailer("the trailer is not well formed");
    trailer.set(name!, match[2]!);
  }
  return trailer;
}

const incomplete = (message: string): S3Error => new S3Error("IncompleteBody", message);
const wrongTrailer = (message: string): S3Error => new S3Error("MalformedTrailerError", message);
const notSigned = (): S3Error => new S3Error("SignatureDoesNotMatch", "the signature of a chunk is not right");
