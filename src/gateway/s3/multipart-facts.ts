/** What follows for an object from the parts that it is made of: its ETag, its checksum, its size. Pure. */
import { type Algorithm, base64Of } from "#gateway/s3/checksums.ts";
import { ETAG, PARTS, sumAttribute } from "#gateway/s3/object-facts.ts";
import { partSizesText } from "#gateway/s3/part-sizes.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { type CrcName, combineCrc } from "#hub/sums/crc.ts";
import { type Sums, SumsHasher } from "#hub/sums/sums.ts";
import type { Part } from "#hub/uploads/upload.ts";

export type ChecksumType = "COMPOSITE" | "FULL_OBJECT";
/** The checksum that an upload was begun with. */
export type UploadSum = { readonly algorithm: Algorithm; readonly type: ChecksumType };

export const isCrc = (name: Algorithm): name is CrcName => name.startsWith("crc");

/** @param type undefined: what S3 takes where nothing is said @throws {S3Error} InvalidRequest for what cannot be */
export function uploadSum(algorithm: Algorithm, type: string | undefined): UploadSum {
  const fallback = algorithm === "crc64nvme" ? "FULL_OBJECT" : "COMPOSITE";
  const wanted = type ?? fallback;
  const isPossible =
    wanted === "COMPOSITE" ? algorithm !== "crc64nvme" : wanted === "FULL_OBJECT" && isCrc(algorithm);
  if (!isPossible) throw new S3Error("InvalidRequest", `there is no ${wanted.slice(0, 40)} checksum of ${algorithm}`);
  return { algorithm, type: wanted as ChecksumType };
}

const joined = (hexes: readonly string[]): Buffer => Buffer.from(hexes.join(""), "hex");

/** "MD5 of MD5s-N". */
export function multipartEtag(parts: readonly Part[]): string {
  const digest = new Bun.CryptoHasher("md5").update(joined(parts.map(({ sums }) => sums.md5!))).digest("hex");
  return `${digest}-${parts.length}`;
}

/** The checksum of the whole from those of its parts, in hex; undefined where a part has none. */
export function checksumOfParts(parts: readonly Part[], { algorithm, type }: UploadSum): string | undefined {
  const sums = parts.map((part) => part.sums[algorithm]);
  if (!sums.every((sum): sum is string => sum !== undefined)) return undefined;
  if (type === "FULL_OBJECT") {
    return sums.reduce((before, sum, at) => combineCrc(algorithm as CrcName, before, sum, parts[at]!.size));
  }
  if (algorithm === "sha1" || algorithm === "sha256") return new Bun.CryptoHasher(algorithm).update(joined(sums)).digest("hex");
  return crcOf(algorithm as CrcName, joined(sums));
}

function crcOf(name: CrcName, bytes: Uint8Array): string {
  const hasher = new SumsHasher([name]);
  hasher.update(bytes);
  return hasher.digest()[name]!;
}

/** As an attribute has it: those that are of checksums say of how many. */
export function checksumText(hex: string, { type }: UploadSum, count: number): string {
  return type === "COMPOSITE" ? `${base64Of(hex)}-${count}` : base64Of(hex);
}

/** What of the parts is kept with the object. */
export function attributesOfParts(parts: readonly Part[], sum: UploadSum | undefined): Record<string, string> {
  const hex = sum === undefined ? undefined : checksumOfParts(parts, sum);
  return {
    [ETAG]: multipartEtag(parts),
    [PARTS]: partSizesText(parts.map(({ size }) => size)),
    ...(hex === undefined ? {} : { [sumAttribute(sum!.algorithm)]: checksumText(hex, sum!, parts.length) }),
  };
}

/** Sums of the whole that are certain: a CRC of all its bytes. */
export function wholeSums(parts: readonly Part[], sum: UploadSum | undefined): Sums {
  if (sum?.type !== "FULL_OBJECT") return {};
  const hex = checksumOfParts(parts, sum);
  return hex === undefined ? {} : { [sum.algorithm]: hex };
}
