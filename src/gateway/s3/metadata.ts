/** What a client says of an object beside its bytes, as attributes that the hub keeps with the version. */
import { sumAttribute, KEPT_HEADERS, META, TAGS } from "#gateway/s3/object-facts.ts";
import { type Algorithm, base64Of } from "#gateway/s3/checksums.ts";
import { type S3Call, header } from "#gateway/s3/s3-call.ts";
import { refuseAcl } from "#gateway/s3/ops-acl.ts";
import { S3Error, notImplemented } from "#gateway/s3/s3-error.ts";
import { parseTagging, tagsText } from "#gateway/s3/tags.ts";

/** Bytes of all metadata of an object. */
const METADATA_BYTES_MAX = 8 << 10;
const META_HEADER = "x-amz-meta-";

/** Headers came as bytes; those that are no UTF-8 stay as latin1 has them. */
function textOf(value: string): string {
  if (!/[\u0080-\u00ff]/.test(value)) return value;
  const text = Buffer.from(value, "latin1").toString();
  return text.includes("\ufffd") ? value : text;
}

/** Headers that describe an object, as attributes. @throws {S3Error} MetadataTooLarge */
export function metadataOf(call: S3Call): Record<string, string> {
  const attributes: Record<string, string> = {};
  let bytes = 0;
  for (const [name, value] of call.request.headers) {
    if (!name.startsWith(META_HEADER) || name.length === META_HEADER.length) continue;
    const text = textOf(value);
    attributes[META + name.slice(META_HEADER.length)] = text;
    bytes += name.length + Buffer.byteLength(text);
  }
  for (const [name, attribute] of KEPT_HEADERS) {
    const value = name === "content-encoding" ? withoutAwsChunked(header(call, name)) : header(call, name);
    if (value === undefined || value === "") continue;
    attributes[attribute] = textOf(value);
    bytes += value.length;
  }
  if (bytes > METADATA_BYTES_MAX) throw new S3Error("MetadataTooLarge", `the metadata has more than ${METADATA_BYTES_MAX} bytes`);
  return attributes;
}

/** It is how the body came, and nothing of the object. */
function withoutAwsChunked(value: string | undefined): string | undefined {
  return value?.split(",").map((one) => one.trim()).filter((one) => one.toLowerCase() !== "aws-chunked").join(",");
}

/** Tags that come with an object, as an attribute. @throws {S3Error} InvalidTag */
export function tagsOf(call: S3Call): Record<string, string> {
  const text = header(call, "x-amz-tagging");
  return text === undefined || text === "" ? {} : { [TAGS]: tagsText(parseTagging(text)) };
}

export function sumsAsAttributes(checksums: ReadonlyMap<Algorithm, string>): Record<string, string> {
  return Object.fromEntries([...checksums].map(([name, hex]) => [sumAttribute(name), base64Of(hex)]));
}

/** Headers that ask for what is not done here: the object would not be what the client thinks it is. */
const REFUSED: readonly (readonly [header: RegExp, what: string])[] = [
  [/^x-amz-website-redirect-location$/, "redirection of websites"],
  [/^x-amz-write-offset-bytes$/, "writing at an offset"],
];

/** @throws {S3Error} NotImplemented, AccessControlListNotSupported */
export function refuseUnknown(call: S3Call): void {
  for (const [name, value] of call.request.headers) {
    if (!name.startsWith("x-amz-")) continue;
    const refused = REFUSED.find(([pattern]) => pattern.test(name));
    if (refused !== undefined) throw notImplemented(refused[1]);
    if (name === "x-amz-server-side-encryption" && value !== "AES256") throw notImplemented(`encryption with ${value.slice(0, 40)}`);
  }
  refuseAcl(call.request.headers);
}
