/** The bytes of a copy: those of the source where they can stay as they are, or else read and stored once more. */
import { type Algorithm, algorithmOf } from "#gateway/s3/checksums.ts";
import { sumsAsAttributes } from "#gateway/s3/metadata.ts";
import { ETAG, checksumsOf, sumAttribute } from "#gateway/s3/object-facts.ts";
import { fileEntry } from "#gateway/s3/ops-write.ts";
import { type S3Call, header } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { CustomerKey } from "#gateway/s3/sse-c/customer-key.ts";
import { newDataKey } from "#gateway/s3/sse-c/data-key.ts";
import { EncryptingSink, WHOLE_PART, partCipher } from "#gateway/s3/sse-c/encrypting.ts";
import { type Opened, encryptedAttributes, openObject, sumTexts, withSums } from "#gateway/s3/sse-c/object-encryption.ts";
import type { Attributes } from "#hub/attributes.ts";
import { storedPartBytes } from "#hub/encrypted-content.ts";
import type { Intake } from "#hub/space-service.ts";
import type { ContentRef, Version } from "#hub/space.ts";
import type { Sums } from "#hub/sums/sums.ts";
import type { Entry } from "#model/entry.ts";

/** An object that is copied, with its bucket and what opens it. */
export type Source = { readonly bucket: string; readonly version: Version; readonly by: Opened | undefined };

export type CopiedBytes = {
  readonly entry: Entry;
  readonly content: ContentRef | undefined;
  /** Attributes that follow from the bytes, and from how they are stored. */
  readonly attributes: Attributes;
  /** Checksums that are told, as attributes. */
  readonly sums: Attributes;
};

const OF_BYTES = /^(etag\.|sum\.|content\.s3-parts$|content\.sse-c$)/;

/** Does an attribute say something of the bytes, and not of the object? */
export const isOfBytes = (name: string): boolean => OF_BYTES.test(name);

/**
 * What a copy is made of, held by the intake.
 * @param key that the copy is to have; undefined: it is not encrypted
 * @throws {S3Error} InvalidObjectState when the bytes are gone
 */
export async function copiedBytes(
  call: S3Call,
  source: Source,
  key: CustomerKey | undefined,
  intake: Intake,
): Promise<CopiedBytes> {
  const { version, by, bucket } = source;
  const { entry } = version;
  if (entry?.kind !== "file") {
    return { entry: entry!, content: undefined, attributes: ofBytes(version), sums: {} };
  }
  if (by === undefined && key === undefined) return asItWas(call, source, intake);
  // With the same key it is opened by what opens the source.
  const isSameKey = by !== undefined && key !== undefined && Buffer.compare(by.key.key, key.key) === 0;
  const isAlike = isSameKey && lackingSum(call, withSums(version, by)) === undefined;
  return isAlike && bucket === call.request.bucket ? held(call, source, intake) : recoded(call, source, key, intake);
}

const ofBytes = ({ attributes }: Version): Attributes =>
  Object.fromEntries(Object.entries(attributes).filter(([name]) => isOfBytes(name)));

/** The checksum that is asked for, where the source has none of that name. */
function lackingSum(call: S3Call, { attributes }: Version): Algorithm | undefined {
  const named = header(call, "x-amz-checksum-algorithm");
  const algorithm = named === undefined ? undefined : algorithmOf(named);
  return algorithm === undefined || attributes[sumAttribute(algorithm)] !== undefined ? undefined : algorithm;
}

async function held(call: S3Call, { version, by }: Source, intake: Intake): Promise<CopiedBytes> {
  const { entry, content } = version;
  if (content === undefined || !(await intake.hold(content))) throw bytesGone();
  const { size, sum } = entry as Extract<Entry, { kind: "file" }>;
  return { entry: fileEntry(call, { size, sum }), content, attributes: ofBytes(version), sums: withSums(version, by).attributes };
}

/** Nothing is encrypted: within a bucket no byte moves. */
async function asItWas(call: S3Call, source: Source, intake: Intake): Promise<CopiedBytes> {
  const { bucket, version } = source;
  const { spaces } = call.services;
  const lacking = lackingSum(call, version);
  const wanted = lacking === undefined ? [] : [lacking];
  const isNamedAlike = bucket === call.request.bucket && version.entry?.kind === "file" && version.entry.sum !== undefined;
  if (isNamedAlike) {
    const copied = await held(call, source, intake);
    const more = lacking === undefined ? {} : await spaces.sums(call.who, bucket, version, wanted);
    return withMore(copied, wanted, more);
  }
  const content = await spaces.open(call.who, bucket, version);
  const sink = intake.sink(content.size, { sums: wanted });
  for await (const piece of content.stream(0, content.size)) await sink.write(piece);
  const named = await sink.end();
  const entry = fileEntry(call, { size: content.size, sum: named.sum });
  return withMore({ entry, content: named.content, attributes: ofBytes(version), sums: ofBytes(version) }, wanted, named.sums);
}

function withMore(copied: CopiedBytes, names: readonly Algorithm[], found: Sums): CopiedBytes {
  const more = sumsAsAttributes(new Map(names.map((name) => [name, found[name]!])));
  return { ...copied, attributes: { ...copied.attributes, ...more }, sums: { ...copied.sums, ...more } };
}

/** Through the key of the source, if it has one, and with the key that the copy is to have, if there is one. */
async function recoded(call: S3Call, source: Source, key: CustomerKey | undefined, intake: Intake): Promise<CopiedBytes> {
  const { bucket, version, by } = source;
  const { random } = call.services;
  const content = await openObject(call, bucket, version, by);
  const { size } = content;
  const names = sumsOfCopy(call, withSums(version, by));
  const made = key === undefined ? undefined : newDataKey(key, random);
  if (made === undefined) {
    const sink = intake.sink(size, { sums: ["md5", ...names] });
    for await (const piece of content.stream(0, size)) await sink.write(piece);
    const named = await sink.end();
    const sums = sumsAsAttributes(new Map(names.map((name) => [name, named.sums[name]!])));
    const attributes = { ...sums, [ETAG]: named.sums.md5! };
    return { entry: fileEntry(call, { size, sum: named.sum }), content: named.content, attributes, sums };
  }
  const sink = intake.sink(storedPartBytes(size), { sums: ["md5"] });
  const before = new EncryptingSink(sink, partCipher(made.dataKey, WHOLE_PART, random), names);
  for await (const piece of content.stream(0, size)) await before.write(piece);
  const sent = await before.end();
  const named = await sink.end();
  const checksums = new Map(names.map((name) => [name, sent.sums[name]!]));
  const encryption = { opener: made.opener, parts: [{ number: WHOLE_PART, size }] };
  const attributes = encryptedAttributes(encryption, named.sums.md5!, made.dataKey, sumTexts(checksums));
  return { entry: fileEntry(call, { size, sum: undefined }), content: named.content, attributes, sums: sumsAsAttributes(checksums) };
}

/** The one that is asked for, or those that the source has. */
function sumsOfCopy(call: S3Call, version: Version): Algorithm[] {
  const named = header(call, "x-amz-checksum-algorithm");
  return named === undefined ? checksumsOf(version).map(([name]) => name) : [algorithmOf(named)];
}

function bytesGone(): S3Error {
  return new S3Error("InvalidObjectState", "the bytes of the source are gone");
}
