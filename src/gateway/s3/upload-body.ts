/**
 * The body of a request on its way in: taken out of its coding, compared with everything that the client says of it
 * (signature, length, MD5, checksums). Nothing may be kept of a body before all of that was right.
 */
import { AwsChunked } from "#gateway/s3/aws-chunked.ts";
import { ALGORITHMS, type Algorithm, algorithmOf, checksumHex, headerOf, md5Hex } from "#gateway/s3/checksums.ts";
import type { S3Call } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { EncryptingSink, type PartCipher, encrypted, maskedSums } from "#gateway/s3/sse-c/encrypting.ts";
import { storedPartBytes } from "#hub/encrypted-content.ts";
import type { Intake, NamedContent } from "#hub/space-service.ts";
import { type SumName, type Sums, SumsHasher } from "#hub/sums/sums.ts";
import type { Part, PartOptions, PartSink } from "#hub/uploads/upload.ts";
import { letGo } from "#platform/net/received.ts";

/** Bytes of one body that is kept: of an object that is put whole, or of a part. */
export const BODY_BYTES_MAX = 5 * 2 ** 30;
/** A body that is said to be at most this long is taken whole, which is what most are. */
const WHOLE_BODY_BYTES_MAX = 256 << 10;

/** An object that was taken in; sums in hex. */
export type Taken = {
  readonly named: NamedContent;
  /** Of what was sent. */
  readonly size: number;
  /** Of what is stored: the ETag. */
  readonly md5: string;
  /** Those that the client named. */
  readonly checksums: ReadonlyMap<Algorithm, string>;
};

type Taker = {
  /** Gets the data in order; what it gives back is waited for before the next. */
  readonly onData: (data: Uint8Array) => Promise<void> | void;
  /** The data is looked at later, too. */
  readonly keeps: boolean;
};

/** What the client says of its body. */
class Claims {
  readonly #expected = new Map<Algorithm, string>();
  /** Those that the client has named, and gets back. */
  readonly #named: ReadonlySet<Algorithm>;
  /** Those of them that come behind the body. */
  readonly #promised: ReadonlySet<Algorithm>;
  readonly #sha256: string | undefined;
  readonly #md5: string | undefined;
  readonly #isPresigned: boolean;
  /** What has to be computed of the body. */
  readonly names: readonly SumName[];

  /** @param more what is wanted besides */
  constructor({ request, payload }: S3Call, more: readonly SumName[]) {
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
    const names = new Set<SumName>([...this.#named, ...more]);
    if (this.#sha256 !== undefined) names.add("sha256");
    if (this.#md5 !== undefined) names.add("md5");
    this.names = [...names];
  }

  /**
   * @returns the checksums that the client named
   * @throws {S3Error} for the first that is not as it was said
   */
  check(sums: Sums, total: number, trailer: ReadonlyMap<string, string>): Map<Algorithm, string> {
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
      if (sums[name] !== expected && !(total > 0 && this.#isBakedIn(name, expected))) {
        throw new S3Error("BadDigest", `the ${name} of the body is not the one that was sent with it`);
      }
    }
    return new Map([...this.#named].map((name) => [name, sums[name]!]));
  }

  /** Some clients sign addresses with the checksum of no bytes in them, before they know the body. */
  #isBakedIn(name: Algorithm, expected: string): boolean {
    return this.#isPresigned && sumsOf(new Uint8Array(0), [name])[name] === expected;
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
async function readAll(call: S3Call, max: number, { onData, keeps }: Taker): Promise<ReadonlyMap<string, string>> {
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
    if (!keeps) letGo(piece);
  }
  return chunked?.end() ?? new Map<string, string>();
}

const tooLarge = (max: number): S3Error => new S3Error("EntityTooLarge", `the body has more than ${max} bytes`);

function broken(error: unknown): never {
  throw error instanceof S3Error ? error : new S3Error("IncompleteBody", "the body broke off");
}

async function readWhole(call: S3Call, max: number): Promise<{ bytes: Uint8Array; trailer: ReadonlyMap<string, string> }> {
  const pieces: Uint8Array[] = [];
  const trailer = await readAll(call, max, { onData: (data) => void pieces.push(data), keeps: true });
  return { bytes: pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces), trailer };
}

/** A body that is read into memory. @throws {S3Error} */
export async function plainBody(call: S3Call, max: number): Promise<Uint8Array> {
  const claims = new Claims(call, []);
  const { bytes, trailer } = await readWhole(call, max);
  claims.check(sumsOf(bytes, claims.names), bytes.length, trailer);
  return bytes;
}

/**
 * Takes the bytes of an object in.
 * @param intake holds them until it is disposed
 * @param cipher they are encrypted with; undefined: they are not
 * @throws {S3Error}
 */
export async function takeBody(call: S3Call, intake: Intake, cipher: PartCipher | undefined): Promise<Taken> {
  const claims = new Claims(call, cipher === undefined ? ["md5"] : []);
  const length = announcedLength(call);
  if (length !== undefined && length <= WHOLE_BODY_BYTES_MAX) {
    const { bytes, trailer } = await readWhole(call, length);
    if (bytes.length !== length) throw new S3Error("IncompleteBody", `${bytes.length} bytes came instead of ${length}`);
    const sums = sumsOf(bytes, claims.names);
    const checksums = claims.check(sums, length, trailer);
    if (cipher === undefined) return { named: await intake.store(bytes), size: length, md5: sums.md5!, checksums };
    const named = await intake.store(encrypted(cipher, bytes), { sums: ["md5"] });
    return { named, size: length, md5: named.sums.md5!, checksums };
  }
  call.services.traffic.require("uploads");
  using _place = call.services.traffic.take("uploads");
  const stored = length === undefined || cipher === undefined ? length : storedPartBytes(length);
  const sink = intake.sink(stored, { sums: cipher === undefined ? claims.names : ["md5"] });
  const before = cipher === undefined ? undefined : new EncryptingSink(sink, cipher, claims.names);
  const trailer = await readAll(call, BODY_BYTES_MAX, { onData: (data) => (before ?? sink).write(data), keeps: false });
  const sent = await before?.end();
  const named = await sink.end();
  const { size, sums } = sent ?? { size: named.content.size, sums: named.sums };
  const checksums = claims.check(sums, size, trailer);
  return { named, size, md5: named.sums.md5!, checksums };
}

/**
 * Takes the bytes of a part in; it is the caller's to dispose of the sink.
 * @param more sums that are wanted besides
 * @param cipher it is encrypted with; its sums are kept with the part masked then
 * @param open makes the sink, when it is known how much comes and what is to be computed
 * @throws {S3Error}
 */
export async function takePart(
  call: S3Call,
  more: readonly Algorithm[],
  cipher: PartCipher | undefined,
  open: (options: PartOptions) => Promise<PartSink>,
): Promise<{ part: Part; checksums: ReadonlyMap<Algorithm, string> }> {
  const claims = new Claims(call, cipher === undefined ? ["md5", ...more] : more);
  const length = announcedLength(call);
  const stored = length === undefined || cipher === undefined ? length : storedPartBytes(length);
  await using sink = await open({ size: stored, sums: cipher === undefined ? claims.names : ["md5"] });
  const before = cipher === undefined ? undefined : new EncryptingSink(sink, cipher, claims.names);
  const trailer = await readAll(call, BODY_BYTES_MAX, { onData: (data) => (before ?? sink).write(data), keeps: false });
  const sent = await before?.end();
  const ended = await sink.end();
  const { size, sums } = sent ?? ended;
  const checksums = claims.check(sums, size, trailer);
  const kept = cipher === undefined ? undefined : maskedSums(cipher, ended.sums.md5!, more, sums);
  return { part: await sink.commit(kept), checksums };
}
