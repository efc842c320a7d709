/**
 * Checksums as clients of net-disks send and ask for them (OC-Checksum): verified when a file comes, and kept with its
 * bytes as attributes that other doors know, too: "sum.…" in base64, and the MD5 that S3 calls an ETag.
 */
import type { Attributes } from "#hub/attributes.ts";
import type { Version } from "#hub/space.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { DavProblem } from "#gateway/dav/answer.ts";

export const OWNCLOUD_NS = "http://owncloud.org/ns";

const LENGTHS = { sha256: 64, sha1: 40, md5: 32 } as const;
type Algorithm = keyof typeof LENGTHS;
type Digest = { readonly algorithm: Algorithm; readonly hex: string };

/**
 * What the header says that can be verified; sums of other kinds say nothing.
 * @throws {DavProblem} 400
 */
function digestIn(headers: Headers): Digest | undefined {
  const header = headers.get("oc-checksum");
  if (header === null) return undefined;
  const match = /^\s*([A-Za-z0-9]{1,20}):([A-Za-z0-9+/=]{1,200})\s*$/.exec(header);
  if (match === null) throw new DavProblem(400, "OC-Checksum is not like SHA1:0123…");
  const algorithm = match[1]!.toLowerCase();
  if (!Object.hasOwn(LENGTHS, algorithm)) return undefined;
  const digest = { algorithm: algorithm as Algorithm, hex: match[2]!.toLowerCase() };
  if (digest.hex.length !== LENGTHS[digest.algorithm] || !/^[0-9a-f]*$/.test(digest.hex)) {
    throw new DavProblem(400, `the ${algorithm} in OC-Checksum is none`);
  }
  return digest;
}

/** Sums of one body. Whoever sends one asks for them later, and compares by MD5 where it can. */
export class Summing {
  readonly #expected: Digest;
  readonly #hashers: readonly (readonly [Algorithm, Bun.CryptoHasher])[];

  /** Undefined: the client does not use them. @throws {DavProblem} 400 */
  static of(headers: Headers): Summing | undefined {
    const expected = digestIn(headers);
    return expected === undefined ? undefined : new Summing(expected);
  }

  private constructor(expected: Digest) {
    this.#expected = expected;
    const algorithms = [...new Set<Algorithm>([expected.algorithm, "md5"])];
    this.#hashers = algorithms.map((algorithm) => [algorithm, new Bun.CryptoHasher(algorithm)]);
  }

  readonly watch = (bytes: Uint8Array): void => {
    for (const [, hasher] of this.#hashers) hasher.update(bytes);
  };

  /** What is kept with the bytes. @throws {ApiProblem} DIGEST when they are not what was said */
  attributes(): Attributes {
    const kept: Record<string, string> = {};
    for (const [algorithm, hasher] of this.#hashers) {
      const sum = hasher.digest();
      if (algorithm === this.#expected.algorithm && sum.toString("hex") !== this.#expected.hex) {
        throw new ApiProblem("DIGEST", `the ${algorithm} of the body is another`, "send the file again");
      }
      kept[`sum.${algorithm}`] = sum.toString("base64");
    }
    return kept;
  }
}

/** "SHA1:… MD5:…", of what is known of a version's bytes; undefined: nothing. */
export function checksumsOf({ attributes }: Version): string | undefined {
  const found: string[] = [];
  for (const algorithm of ["sha1", "md5", "sha256"] as const) {
    const sum = attributes[`sum.${algorithm}`];
    const hex = sum === undefined ? (algorithm === "md5" ? attributes["etag.s3"] : undefined) : hexOf(sum);
    if (hex?.length === LENGTHS[algorithm] && /^[0-9a-f]*$/.test(hex)) found.push(`${algorithm.toUpperCase()}:${hex}`);
  }
  return found.length === 0 ? undefined : found.join(" ");
}

/** Sums of the sums of parts are of another form, and nothing that a client could compare. */
function hexOf(base64: string): string | undefined {
  try {
    return Uint8Array.fromBase64(base64).toHex();
  } catch {
    return undefined;
  }
}
