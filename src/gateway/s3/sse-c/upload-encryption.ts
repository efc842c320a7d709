/** Uploads in parts that are encrypted with a key of the client: begun with it, each part comes with it again. */
import type { Algorithm } from "#gateway/s3/checksums.ts";
import type { UploadSum } from "#gateway/s3/multipart-facts.ts";
import type { S3Call } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { type CustomerKey, customerKey } from "#gateway/s3/sse-c/customer-key.ts";
import { type DataKey, masked, newDataKey, openDataKey } from "#gateway/s3/sse-c/data-key.ts";
import { type PartCipher, partCipher } from "#gateway/s3/sse-c/encrypting.ts";
import { partBytes } from "#hub/encrypted-content.ts";
import type { Part } from "#hub/uploads/upload.ts";

/** For the note of a new upload, in base64; undefined: it is not to be encrypted. */
export function uploadOpener(call: S3Call, key: CustomerKey | undefined): string | undefined {
  return key === undefined ? undefined : newDataKey(key, call.services.random).opener.toBase64();
}

/**
 * The key that comes with a part, and with a completion where it does.
 * @param opener of the upload; undefined: it is not encrypted
 * @throws {S3Error} InvalidRequest for a key that the upload was not begun with
 */
export function uploadKey(call: S3Call, opener: string | undefined): { key: CustomerKey; dataKey: DataKey } | undefined {
  const key = customerKey(call, "object");
  if (key === undefined) return undefined;
  const dataKey = opener === undefined ? undefined : openDataKey(key, Uint8Array.fromBase64(opener));
  if (dataKey !== undefined) return { key, dataKey };
  const why = opener === undefined ? "without a key" : "with another key";
  throw new S3Error("InvalidRequest", `the upload was begun ${why}: its parts come as it was begun`);
}

/** What a part is encrypted with. @throws {S3Error} InvalidRequest where the key does not come along */
export function cipherOfPart(
  call: S3Call,
  opener: string | undefined,
  number: number,
): { readonly key: CustomerKey; readonly cipher: PartCipher } | undefined {
  const known = uploadKey(call, opener);
  if (known !== undefined) return { key: known.key, cipher: partCipher(known.dataKey, number, call.services.random) };
  if (opener === undefined) return undefined;
  throw new S3Error("InvalidRequest", "the upload was begun with a key of the client (SSE-C): each part comes with that key");
}

/** A part as it was sent. @param dataKey undefined: its checksum is not known */
export function sentPart(part: Part, sum: UploadSum | undefined, dataKey: DataKey | undefined): Part {
  const md5 = part.sums.md5!;
  const name: Algorithm | undefined = sum?.algorithm;
  const hex = name === undefined ? undefined : part.sums[name];
  const known = dataKey === undefined || hex === undefined ? {} : { [name!]: masked(dataKey, md5, name!, hex) };
  return { ...part, size: partBytes(part.size), sums: { md5, ...known } };
}
