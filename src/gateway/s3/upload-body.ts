/**
 * The body of a request on its way in: taken out of its coding, compared with everything that the client says of it
 * (signature, length, MD5, checksums). Nothing may be kept of a body before all of that was right.
 */
import { AwsChunked } from "#gateway/s3/aws-chunked.ts";
import { ALGORITHMS, type Algorithm, algorithmOf, checksumHex, headerOf, md5Hex } from "#gateway/s3/checksums.ts";
import type { S3Call } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { Intake, NamedContent } from "#hub/space-service.ts";
import { type SumName, type Sums, SumsHasher } from "#hub/sums/sums.ts";

/** Bytes of one body that is kept: of an object that is put whole, or of a part. */
export const BODY_BYTES_MAX = 5 * 2 ** 30;
/** A body that is said to be at most this long is taken whole, which is what most are. */
const WHOLE_BODY_BYTES_MAX = 256 << 10;

/** What was taken in; hex. */
export type Taken = {
  readonly named: NamedContent;
  readonly md5: string;
  /** Those that the client named. */
  readonly checksums: ReadonlyMap<Algorithm, string>;
};

/** Gets the data in order; what it gives back is waited for before the next. */
type OnData = (data: Uint8Array) => Promise<void> | void;

/** What the client says of its body, and what is computed of it. */
class Claims {
  readonly #expected = new Map<Algorithm, string>();
  /** Those that the client has named, and gets back. */
  readonly #named: ReadonlySet<Algorithm>;
  /** Those of them that come behind the body. */
  readonly #promised: ReadonlySet<Algorithm>;
  readonly #sha256: string | undefined;
  readonly #md5: string | undefined;
  readonly #isPresigned: boolean;
  readonly #hasher: SumsHasher;
  #total = 0;

  constructor({ request, payload }: S3Call, wantsMd5: boolean) {
    const { headers, query } = request;
    for (const name of ALGORITHMS) {
      const text = headers.get(headerOf(name));
      if (text !== undefined) this.#expected.set(name, checksumHex(name, text));
    }
    this.#promised = promisedIn(headers.get("x-amz-trailer"));
    const named = headers.get("x-amz-sdk-checksum-algorithm") ?? headers.get("x-amz-checksum-algorithm");
    this.#named = new Set([...this.#expected.keys(), ...this.#promised, ...(named === undefined ? [] : [algorithmOf(named)])]);
    this.#sha256 = payload.kind === "signed" ? payload.sha256 : undefined;
    const md5 = headers.get("content-md5");
    this.#md5 = md5 === undefined ? undefined : md5Hex(md5);
    this.#isPresigned = query.has("X-Amz-Signature");
    const names: SumName[] = [...this.#named];
    if (this.#sha256 !== undefined) names.push("sha256");
    if (wantsMd5 || this.#md5 !== undefined) names.push("md5");
    this.#hasher = new SumsHasher(names);
  }

  update(data: Uint8Array): void {
    this.#total += data.length;
    this.#hasher.update(data);
  }

  /** @throws {S3Error} for the first that is not as it was said */
  digest(trailer: ReadonlyMap<string, string>): { md5: string; checksums: Map<Algorithm, string> } {
    const sums = this.#hasher.digest();
    if (this.#sha256 !== undefined && sums.sha256 !== this.#sha256) {
      throw new S3Error("XAmzContentSHA256Mismatch", "the SHA-256 of the body is not the one that was signed");
    }
    if (this.#md5 !== undefined && sums.md5 !== this.#md5) throw new S3Error("BadDigest", "the MD5 of the body is another");
    for (const name of this.#promised) {
      const text = trailer.get(headerOf(name));
      if (text === undefined) throw new S3Error("MalformedTrailerError", `the trailer has no ${headerOf(name)}`);
      this.#expected.set(name, checksumHex(name, text));
    }
    for (const [name, expected] of this.#expected) {
      if (sums[name] !== expected && !this.#isBakedIn(name, expected)) {
        throw new S3Error("BadDigest", `the ${name} of the body is not the one that was sent with it`);
      }
    }
    return { md5: sums.md5 ?? "", checksums: new Map([...this.#named].map((name) => [name, sums[name]!])) };
  }

  /** Some clients sign addresses with the checksum of no bytes in them, before they know the body. */
  #isBakedIn(name: Algorithm, expected: string): boolean {
    return this.#isPresigned && this.#total > 0 && sumsOf(new Uint8Array(0), [name])[name] === expected;
  }
}

function sumsOf(bytes: Uint8Array, names: readonly SumName[]): Sums {
  const hasher = new SumsHasher(names);
  hasher.update(bytes);
  return hasher.digest();
}

function promisedIn(trailer: string | undefined): ReadonlySet<Algorithm> {
  const names = (trailer ?? "").split(",").map((name) => name.trim().toLowerCase()).filter((name) => name !== "");
  return new Set(
    names.map((name) => {
      if (!name.startsWith("x-amz-checksum-")) throw new S3Error("InvalidRequest", `x-amz-trailer: ${name.slice(0, 60)} is not known here`);
      return algorithmOf(name.slice("x-amz-checksum-".length));
    }),
  );
}

/** Bytes of data that will come; undefined: nobody knows. @throws {S3Error} MissingContentLength */
export function announcedLength({ request, payload }: S3Call): number | undefined {
  if (payload.kind !== "chunked") return request.body.length;
  const text = request.headers.get("x-amz-decoded-content-length");
  if (text === undefined || !/^\d{1,15}$/.test(text)) {
    throw new S3Error("MissingContentLength", "x-amz-decoded-content-length is missing, or no number");
  }
  return Number(text);
}

/** Reads all of it. @returns the trailer @throws {S3Error} EntityTooLarge, and what AwsChunked throws */
async function readAll(call: S3Call, max: number, onData: OnData): Promise<ReadonlyMap<string, string>> {
  const { request, payload, services } = call;
  const length = announcedLength(call);
  if (length !== undefined && length > max) throw tooLarge(max);
  const chunked = payload.kind === "chunked" ? new AwsChunked({ ...payload, length: length! }) : undefined;
  let total = 0;
  for (;;) {
    const coming = request.body.read();
    const piece = coming instanceof Promise ? await coming.catch(broken) : coming;
    if (piece === undefined) break;
    services.traffic.count("in", piece.length);
    const datas: Uint8Array[] = [];
    if (chunked === undefined) datas.push(piece);
    else chunked.push(piece, (data) => datas.push(data));
    for (const data of datas) {
      total += data.length;
      if (total > max) throw tooLarge(max);
      const full = onData(data);
      if (full !== undefined) await full;
    }
  }
  return chunked?.end() ?? new Map<string, string>();
}

const tooLarge = (max: number): S3Error => new S3Error("EntityTooLarge", `the body has more than ${max} bytes`);

function broken(): never {
  throw new S3Error("IncompleteBody", "the body broke off");
}

/** A body that is read into memory. @throws {S3Error} */
export async function plainBody(call: S3Call, max: number): Promise<Uint8Array> {
  const claims = new Claims(call, false);
  const pieces: Uint8Array[] = [];
  const trailer = await readAll(call, max, (data) => {
    claims.update(data);
    pieces.push(data);
  });
  claims.digest(trailer);
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}

/**
 * Takes the body in.
 * @param intake holds it until it is disposed
 * @throws {S3Error}
 */
export async function takeBody(call: S3Call, intake: Intake): Promise<Taken> {
  const claims = new Claims(call, true);
  const length = announcedLength(call);
  if (length !== undefined && length <= WHOLE_BODY_BYTES_MAX) return takeWhole(call, intake, claims, length);
  call.services.traffic.require("uploads");
  using _place = call.services.traffic.take("uploads");
  const sink = intake.sink(length);
  const trailer = await readAll(call, BODY_BYTES_MAX, (data) => {
    claims.update(data);
    return sink.write(data);
  });
  const { md5, checksums } = claims.digest(trailer);
  return { named: await sink.end(), md5, checksums };
}

async function takeWhole(call: S3Call, intake: Intake, claims: Claims, length: number): Promise<Taken> {
  const pieces: Uint8Array[] = [];
  const trailer = await readAll(call, length, (data) => void pieces.push(data));
  const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  claims.update(bytes);
  if (bytes.length !== length) throw new S3Error("IncompleteBody", `${bytes.length} bytes came instead of ${length}`);
  const { md5, checksums } = claims.digest(trailer);
  return { named: await intake.store(bytes), md5, checksums };
}
