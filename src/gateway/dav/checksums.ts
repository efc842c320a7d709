/**
 * Checksums as clients of net-disks send and ask for them (OC-Checksum): verified when a file comes, and kept with its
 * bytes as attributes that other doors know, too: "sum.…" in base64, and the MD5 that S3 calls an ETag.
 */
import type { Attributes } from "#hub/attributes.ts";
import type { Version } from "#hub/space.ts";
import type { Digest } from "#gateway/api/content-bytes.ts";
import { DavProblem } from "#gateway/dav/answer.ts";

export const OWNCLOUD_NS = "http://owncloud.org/ns";

const LENGTHS: Readonly<Record<Digest["algorithm"], number>> = { sha256: 64, sha1: 40, md5: 32 };

/**
 * What the header says that can be verified; sums of other kinds say nothing.
 * @throws {DavProblem} 400
 */
export function digestIn(headers: Headers): Digest | undefined {
  const header = headers.get("oc-checksum");
  if (header === null) return undefined;
  const match = /^\s*([A-Za-z0-9]{1,20}):([A-Za-z0-9+/=]{1,200})\s*$/.exec(header);
  if (match === null) throw new DavProblem(400, "OC-Checksum is not like SHA1:0123…");
  const algorithm = match[1]!.toLowerCase();
  if (!Object.hasOwn(LENGTHS, algorithm)) return undefined;
  const digest = { algorithm: algorithm as Digest["algorithm"], hex: match[2]!.toLowerCase() };
  if (digest.hex.length !== LENGTHS[digest.algorithm] || !/^[0-9a-f]*$/.test(digest.hex)) {
    throw new DavProblem(400, `the ${algorithm} in OC-Checksum is none`);
  }
  return digest;
}

/** The attribute that keeps a sum that was verified. */
export function attributeFor({ algorithm, hex }: Digest): Attributes {
  return { [`sum.${algorithm}`]: Uint8Array.fromHex(hex).toBase64() };
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
