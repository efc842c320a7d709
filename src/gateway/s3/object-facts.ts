/** What S3 tells of an object beside its bytes, from what the hub keeps of a version. */
import { passedMs } from "#platform/net/http-date.ts";
import { getMimeType } from "hono/utils/mime";
import { ALGORITHMS, type Algorithm, headerOf } from "#gateway/s3/checksums.ts";
import type { Header } from "#gateway/s3/s3-call.ts";
import { partSizes } from "#gateway/s3/part-sizes.ts";
import { againOf } from "#hub/attributes.ts";
import { encryptionOf } from "#hub/encrypted-content.ts";
import type { Version } from "#hub/space.ts";
import { nameOf } from "#model/path.ts";

/** Attributes of a version that are this door's; "etag." and "sum." go with the bytes. */
export const ETAG = "etag.s3";
const SUM = "sum.";
export const META = "user.";
export const TAGS = "s3.tags";
/** Of a directory that was put as a key of its own. */
export const DIRECTORY = "s3.directory";
/** Sizes of the parts that an object was put in. */
export const PARTS = "content.s3-parts";

/** Headers that are kept with an object as they were sent, with the attribute of each. */
export const KEPT_HEADERS: readonly (readonly [header: string, attribute: string])[] = [
  ["content-type", "http.content-type"],
  ["cache-control", "http.cache-control"],
  ["content-disposition", "http.content-disposition"],
  ["content-encoding", "content.encoding"],
  ["content-language", "http.content-language"],
  ["expires", "http.expires"],
];

/** Attributes may be anything; these go into headers. */
const ETAG_TEXT = /^[0-9a-f]{32}(-\d{1,5})?$/;
const SUM_TEXT = /^[A-Za-z0-9+/]{1,64}={0,2}(-\d{1,5})?$/;

const EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e";

/** In quotes. What came by another door has no MD5: then it is of another form, which no client takes for one. */
export function etagOf({ entry, content, attributes }: Version): string {
  const own = attributes[ETAG];
  if (own !== undefined && ETAG_TEXT.test(own)) return `"${own}"`;
  if (content === undefined || content.size === 0) return `"${EMPTY_MD5}"`;
  return entry?.kind === "file" ? `"${content.id.slice(0, 32)}-1"` : `"${EMPTY_MD5}"`;
}

/** The id of a version: its sequence, or that of the one which it shows again. 0: it shows that nothing is left of the key. */
export const idOf = ({ attributes, sequence }: Pick<Version, "attributes" | "sequence">): number => againOf(attributes) ?? sequence;

export const sizeOf = ({ entry }: Version): number => (entry?.kind === "file" ? entry.size : 0);

/** Sizes of the parts that an object was put in; undefined: it was put whole. */
export function partsOf(version: Version): readonly number[] | undefined {
  const encryption = encryptionOf(version);
  const isInParts = version.attributes[ETAG]?.includes("-") === true;
  if (encryption !== undefined) return isInParts ? encryption.parts.map(({ size }) => size) : undefined;
  const text = version.attributes[PARTS];
  return text === undefined ? undefined : partSizes(text, sizeOf(version));
}

/** Of a file its mtime; directories have none, and show when their space was made. */
export function modifiedMs({ entry }: Version, createdMs: number): number {
  return entry?.kind === "file" ? passedMs(entry.mtimeNs) : createdMs;
}

const DATE_MS_MAX = 8.64e15;

/** As XML has it; a time that is no date is the beginning of time. */
export const isoTime = (ms: number): string => new Date(Math.abs(ms) <= DATE_MS_MAX ? ms : 0).toISOString();
export const httpTime = (ms: number): string => new Date(Math.abs(ms) <= DATE_MS_MAX ? ms : 0).toUTCString();

const bytesAsLatin1 = (text: string): string => Buffer.from(text.replaceAll(/[\u0000-\u001f\u007f]/g, " ")).toString("latin1");

/** Of files that were asked for lately: the hub gives the same version again while nothing is committed. */
const knownHeaders = new WeakMap<Version, readonly Header[]>();

/** All headers that describe the object, but for its length. @param createdMs of its space; counts for directories alone */
export function objectHeaders(version: Version, createdMs: number): readonly Header[] {
  const known = knownHeaders.get(version);
  if (known !== undefined) return known;
  const headers = headersOf(version, createdMs);
  if (version.entry?.kind === "file") knownHeaders.set(version, headers);
  return headers;
}

function headersOf(version: Version, createdMs: number): Header[] {
  const { attributes, path, entry } = version;
  const headers: Header[] = [
    ["last-modified", httpTime(modifiedMs(version, createdMs))],
    ["etag", etagOf(version)],
    ["accept-ranges", "bytes"],
  ];
  for (const [name, attribute] of KEPT_HEADERS) {
    const value = attributes[attribute];
    if (value !== undefined) headers.push([name, bytesAsLatin1(value)]);
    else if (name === "content-type") {
      const guess = entry?.kind === "dir" ? "application/x-directory" : getMimeType(nameOf(path));
      headers.push([name, guess ?? "binary/octet-stream"]);
    }
  }
  for (const [name, value] of Object.entries(attributes)) {
    const short = name.startsWith(META) ? name.slice(META.length) : "";
    if (/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(short)) headers.push([`x-amz-meta-${short}`, bytesAsLatin1(value)]);
  }
  const tags = attributes[TAGS];
  if (tags !== undefined) headers.push(["x-amz-tagging-count", String(tags.split("&").length)]);
  return headers;
}

/** Checksums that are kept with the bytes: base64, with "-N" behind those that are of the checksums of N parts. */
export function checksumsOf({ attributes }: Version): [Algorithm, string][] {
  return ALGORITHMS.flatMap((name) => {
    const value = attributes[`${SUM}${name}`];
    return value === undefined || !SUM_TEXT.test(value) ? [] : [[name, value] as [Algorithm, string]];
  });
}

export const sumAttribute = (name: Algorithm): string => `${SUM}${name}`;

export function checksumType(value: string): "COMPOSITE" | "FULL_OBJECT" {
  return /-\d+$/.test(value) ? "COMPOSITE" : "FULL_OBJECT";
}

export function checksumHeaders(version: Version): Header[] {
  const sums = checksumsOf(version);
  if (sums.length === 0) return [];
  return [...sums.map(([name, value]): Header => [headerOf(name), value]), ["x-amz-checksum-type", checksumType(sums[0]![1])]];
}
