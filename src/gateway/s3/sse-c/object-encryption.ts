/** Objects that are encrypted with a key of the client: what requests must bring, and how their bytes are read. */
import { type Algorithm, base64Of } from "#gateway/s3/checksums.ts";
import { ETAG, sumAttribute } from "#gateway/s3/object-facts.ts";
import type { Header, S3Call } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { type CustomerKey, customerKey, keyHeaders } from "#gateway/s3/sse-c/customer-key.ts";
import { type DataKey, masked, openDataKey } from "#gateway/s3/sse-c/data-key.ts";
import { DecryptedContent } from "#gateway/s3/sse-c/decrypted-content.ts";
import type { Attributes } from "#hub/attributes.ts";
import { ENCRYPTED, type Encryption, encryptionOf, encryptionText } from "#hub/encrypted-content.ts";
import type { ContentSource } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";

/** What an encrypted object is read with. */
export type Opened = { readonly encryption: Encryption; readonly dataKey: DataKey; readonly key: CustomerKey };

const unexpectedKey = (): S3Error =>
  new S3Error("InvalidRequest", "the object is not encrypted with a key of its own: ask without one");

const keyMissing = (of: "object" | "source"): S3Error =>
  new S3Error(
    "InvalidRequest",
    `the ${of} is encrypted with a key of the client (SSE-C): send that key along, in the headers ` +
      `x-amz-${of === "source" ? "copy-source-" : ""}server-side-encryption-customer-algorithm, -key and -key-MD5`,
  );

/**
 * What opens an object for this request; undefined: it is not encrypted.
 * @param of is it the object that is asked for, or the source of a copy?
 * @throws {S3Error} InvalidRequest without a key, or with one for an object that has none; AccessDenied with another key
 */
export function opened(call: S3Call, version: Version, of: "object" | "source"): Opened | undefined {
  const key = customerKey(call, of);
  // A directory has no bytes that could be encrypted.
  if (version.entry?.kind === "dir") return undefined;
  const encryption = encryptionOf(version);
  if (encryption === undefined) {
    if (key !== undefined) throw unexpectedKey();
    return undefined;
  }
  if (key === undefined) throw keyMissing(of);
  return { encryption, key, dataKey: dataKeyOf(key, encryption.opener) };
}

/** @throws {S3Error} AccessDenied with another key than the one that it was encrypted with */
function dataKeyOf(key: CustomerKey, opener: Uint8Array): DataKey {
  const dataKey = openDataKey(key, opener);
  if (dataKey === undefined) throw new S3Error("AccessDenied", "the key is not the one that the object was encrypted with");
  return dataKey;
}

export const openedHeaders = (one: Opened | undefined): Header[] => keyHeaders(one?.key);

export type ObjectSource = Pick<ContentSource, "size" | "stream">;

/** The bytes of an object as they were sent. */
export async function openObject(
  { services, who }: S3Call,
  bucket: string,
  version: Version,
  by: Opened | undefined,
): Promise<ObjectSource> {
  if (by === undefined) return services.spaces.open(who, bucket, version);
  return new DecryptedContent(await services.spaces.openEncrypted(who, bucket, version), by.dataKey, by.encryption.parts);
}

// ---------------------------------------------------------------- checksums

/** Checksums of what is encrypted go with it masked: "crc32" by its text, "-N" behind what is of the checksums of N parts. */
export type SumTexts = Readonly<Partial<Record<Algorithm, string>>>;

export const sumTexts = (checksums: ReadonlyMap<Algorithm, string>): SumTexts =>
  Object.fromEntries([...checksums].map(([name, hex]) => [name, base64Of(hex)]));

const SUM_TEXT = /^([A-Za-z0-9+/]+={0,2})(-\d{1,5})?$/;

function maskedText(dataKey: DataKey, etag: string, name: string, text: string): string {
  const [, base64 = "", count = ""] = SUM_TEXT.exec(text) ?? [];
  return base64Of(masked(dataKey, etag, name, Uint8Array.fromBase64(base64).toHex())) + count;
}

const all = (dataKey: DataKey, etag: string, sums: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(sums).map(([name, text]) => [name, maskedText(dataKey, etag, name, text)]));

/** The attributes of an object that was encrypted. @param dataKey undefined: nobody can say checksums */
export function encryptedAttributes(
  { opener, parts }: Pick<Encryption, "opener" | "parts">,
  etag: string,
  dataKey: DataKey | undefined,
  sums: SumTexts,
): Attributes {
  const kept = dataKey === undefined ? {} : all(dataKey, etag, sums as Record<string, string>);
  return { [ETAG]: etag, [ENCRYPTED]: encryptionText({ opener, parts, sums: kept }) };
}

/** Checksums of the object as it was sent. */
function sumsOf(version: Version, { encryption, dataKey }: Opened): SumTexts {
  return all(dataKey, version.attributes[ETAG] ?? "", encryption.sums) as SumTexts;
}

/** As if it were not encrypted, as far as checksums go: those of it as it was sent are its attributes. */
export function withSums(version: Version, by: Opened | undefined): Version {
  if (by === undefined) return version;
  const sums = Object.entries(sumsOf(version, by)).map(([name, text]) => [sumAttribute(name as Algorithm), text]);
  return { ...version, attributes: Object.fromEntries(sums) as Attributes };
}
