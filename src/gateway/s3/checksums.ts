/** Checksums that clients send along and want back: which there are, and in which words they come. */
import { S3Error } from "#gateway/s3/s3-error.ts";

export const ALGORITHMS = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

const BYTES: Record<Algorithm, number> = { crc32: 4, crc32c: 4, crc64nvme: 8, sha1: 20, sha256: 32 };

/** "x-amz-checksum-crc32", in headers and trailers. */
export const headerOf = (name: Algorithm): string => `x-amz-checksum-${name}`;
/** "ChecksumCRC32", in XML. */
export const elementOf = (name: Algorithm): string => `Checksum${name.toUpperCase()}`;

/** The algorithm that a client names ("CRC32"). @throws {S3Error} InvalidRequest for others */
export function algorithmOf(text: string): Algorithm {
  const name = text.toLowerCase();
  const known = ALGORITHMS.find((one) => one === name);
  if (known === undefined) throw new S3Error("InvalidRequest", `the checksum algorithm ${text.slice(0, 40)} is not known here`);
  return known;
}

/** A checksum in base64 as hex, its length right. @throws {S3Error} InvalidRequest */
export function checksumHex(name: Algorithm, text: string): string {
  const bytes = base64(text);
  if (bytes?.length !== BYTES[name]) throw new S3Error("InvalidRequest", `the value of ${headerOf(name)} is no ${name}`);
  return bytes.toHex();
}

/** Content-MD5 as hex. @throws {S3Error} InvalidDigest */
export function md5Hex(text: string): string {
  const bytes = base64(text);
  if (bytes?.length !== 16) throw new S3Error("InvalidDigest", "Content-MD5 is no MD5 in base64");
  return bytes.toHex();
}

export const base64Of = (hex: string): string => Uint8Array.fromHex(hex).toBase64();

function base64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return undefined;
  }
}
