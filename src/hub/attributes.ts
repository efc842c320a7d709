/**
 * Attributes of a version: short texts by name that doors keep with a path, such as a media type or what a client calls
 * its metadata. The hub reads none of them; two of its rules go by the first part of a name:
 *
 * - `content.`, `etag.` and `sum.` say something of the bytes ("content.encoding", "etag.s3"): whoever brings other bytes
 *   and says nothing of attributes takes them away.
 * - All others ("http.content-type", "user.…", "dav.…") belong to the path, and stay over an edit by whomever.
 *
 * "version." is the hub's own, and of one version alone: nobody else can set it, and nothing carries it on.
 *
 * A move, a restore and taking back keep all others. A tombstone has none, and what takes the place of another kind of entry
 * begins without.
 */
import { encryptionFault } from "#hub/encrypted-content.ts";
import { compareBytes, encodeName } from "#model/path.ts";
import { ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";

export type Attributes = Readonly<Record<string, string>>;

export const NO_ATTRIBUTES: Attributes = Object.freeze({});

/** UTF-8 of all names and values of a version together. */
export const ATTRIBUTES_BYTES_MAX = 16 << 10;
export const ATTRIBUTE_NAME_BYTES_MAX = 512;

const NAME = /^[a-z][a-z0-9-]{0,31}\.[^\p{Cc}]+$/u;
const OF_CONTENT = /^(content|etag|sum)\./;

/** Why these cannot be kept; undefined: they can. */
export function attributesFault(attributes: Attributes): string | undefined {
  for (const [name, value] of Object.entries(attributes)) {
    if (!NAME.test(name) || !name.isWellFormed()) return "an attribute's name is not like room.name";
    if (!value.isWellFormed()) return "an attribute's value is no text";
    const isLong = Buffer.byteLength(name) > ATTRIBUTE_NAME_BYTES_MAX;
    if (isLong) return `an attribute's name has more than ${ATTRIBUTE_NAME_BYTES_MAX} bytes`;
  }
  if (attributesBytes(attributes) > ATTRIBUTES_BYTES_MAX) return `attributes have more than ${ATTRIBUTES_BYTES_MAX} bytes`;
  return encryptionFault(attributes);
}

/** UTF-8 of all names and values together. */
export function attributesBytes(attributes: Attributes): number {
  let bytes = 0;
  for (const [name, value] of Object.entries(attributes)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}

/** Those that stay when the path gets other bytes. */
export function withoutContent(attributes: Attributes): Attributes {
  const names = Object.keys(attributes);
  if (!names.some((name) => OF_CONTENT.test(name))) return attributes;
  return Object.fromEntries(Object.entries(attributes).filter(([name]) => !OF_CONTENT.test(name)));
}

/** Of a version that shows an earlier one of its path again: the sequence of that one; 0 where it shows that nothing is left. */
export const AGAIN = "version.again";
const OF_VERSION = /^version\./;

/** Without those that are the hub's own. */
export function ownAttributes(attributes: Attributes): Attributes {
  for (const name in attributes) {
    if (OF_VERSION.test(name)) return Object.fromEntries(Object.entries(attributes).filter(([one]) => !OF_VERSION.test(one)));
  }
  return attributes;
}

/** What AGAIN says; undefined for a version that is itself. */
export function againOf(attributes: Attributes): number | undefined {
  const text = attributes[AGAIN];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

export function sameAttributes(a: Attributes, b: Attributes): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

/** One spelling for the same attributes; null when there are none. */
export function encodeAttributes(attributes: Attributes): Uint8Array | null {
  const pairs = Object.entries(attributes).map(([name, value]) => ({ name: encodeName(name), value: encodeName(value) }));
  if (pairs.length === 0) return null;
  pairs.sort((a, b) => compareBytes(a.name, b.name));
  const writer = new ByteWriter();
  writer.varint(pairs.length);
  for (const { name, value } of pairs) {
    writer.bytes(name);
    writer.bytes(value);
  }
  return writer.finish();
}

/** @throws {SynclineError} PROTOCOL for bytes that encodeAttributes does not make */
export function decodeAttributes(bytes: Uint8Array | null): Attributes {
  if (bytes === null) return NO_ATTRIBUTES;
  const reader = new ByteReader(bytes);
  const attributes: Record<string, string> = {};
  const count = reader.varint();
  for (let at = 0; at < count; at++) {
    const name = reader.string();
    attributes[name] = reader.string();
  }
  if (!reader.atEnd || Object.keys(attributes).length !== count) throw malformed("attributes");
  const fault = attributesFault(attributes);
  if (fault !== undefined) throw malformed(fault);
  return attributes;
}
