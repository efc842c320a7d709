/** The header fields of tus 1.0: what they may say, as values. Everything else is refused where it is read. */
import { type SumName, isSum } from "#hub/sums/sums.ts";
import { ApiProblem } from "#gateway/api/problem.ts";

/** Characters of an Upload-Metadata field; it is given back as it came. */
export const METADATA_CHARS_MAX = 4096;
/** Uploads that one file may be made of. */
export const CONCAT_MAX = 64;

/** By the names of the protocol. Digests are in base64, of CRC-32 the most significant byte first. */
export const CHECKSUMS: Readonly<Record<string, SumName>> = {
  sha1: "sha1", sha256: "sha256", md5: "md5", crc32: "crc32", crc32c: "crc32c",
};

export type Concat = { readonly kind: "partial" } | { readonly kind: "final"; readonly urls: readonly string[] };
export type Checksum = { readonly name: SumName; readonly sum: string };

/** A whole number of bytes. @throws {ApiProblem} USAGE */
export function bytesOf(name: string, text: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw wrong(`${name} is a number of bytes`);
}

const KEY = /^[\x21-\x2b\x2d-\x7e]{1,255}$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Keys are unique; a key without a value has "". @throws {ApiProblem} USAGE, LIMIT */
export function metadataOf(text: string | null): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  if (text === null || text.trim() === "") return found;
  if (text.length > METADATA_CHARS_MAX) throw new ApiProblem("LIMIT", `Upload-Metadata has at most ${METADATA_CHARS_MAX} characters`);
  for (const pair of text.split(",")) {
    const [key = "", value = "", ...more] = pair.trim().split(" ");
    if (!KEY.test(key) || !BASE64.test(value) || more.length > 0) throw wrong("Upload-Metadata is pairs of a key and base64");
    if (found.has(key)) throw wrong(`Upload-Metadata has "${key}" twice`);
    const bytes = Buffer.from(value, "base64");
    const decoded = bytes.toString("utf8");
    if (!Buffer.from(decoded, "utf8").equals(bytes)) throw wrong(`Upload-Metadata: the value of "${key}" is no UTF-8`);
    found.set(key, decoded);
  }
  return found;
}

/** @throws {ApiProblem} USAGE, also for an algorithm that is not known */
export function checksumOf(text: string | null): Checksum | undefined {
  if (text === null) return undefined;
  const [algorithm = "", digest = "", ...more] = text.trim().split(" ");
  const name = Object.hasOwn(CHECKSUMS, algorithm) ? CHECKSUMS[algorithm] : undefined;
  if (name === undefined) throw wrong(`Upload-Checksum: the algorithms are ${Object.keys(CHECKSUMS).join(", ")}`);
  const sum = BASE64.test(digest) ? Buffer.from(digest, "base64").toString("hex") : "";
  if (more.length > 0 || !isSum(name, sum)) throw wrong(`Upload-Checksum: this is no ${algorithm} in base64`);
  return { name, sum };
}

/** @throws {ApiProblem} USAGE, LIMIT */
export function concatOf(text: string | null): Concat | undefined {
  if (text === null) return undefined;
  if (text.trim() === "partial") return { kind: "partial" };
  const list = /^final;\s*(.+)$/.exec(text.trim())?.[1];
  const urls = list?.split(/\s+/) ?? [];
  if (urls.length === 0) throw wrong("Upload-Concat is partial, or final; and the addresses of partial uploads");
  if (urls.length > CONCAT_MAX) throw new ApiProblem("LIMIT", `a file is made of ${CONCAT_MAX} uploads at most`);
  return { kind: "final", urls };
}

const wrong = (message: string): ApiProblem => new ApiProblem("USAGE", message);
