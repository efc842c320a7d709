/** Uploads in parts, over the hub's own room for uploads: completing one writes metadata alone. */
import { parseRanges } from "#gateway/api/conditions.ts";
import { ALGORITHMS, type Algorithm, algorithmOf, base64Of, checksumHex, elementOf, headerOf } from "#gateway/s3/checksums.ts";
import { expectOf } from "#gateway/s3/conditions.ts";
import { pathToWrite } from "#gateway/s3/keys.ts";
import { metadataOf, refuseUnknown, tagsOf } from "#gateway/s3/metadata.ts";
import {
  type UploadSum, attributesOfParts, checksumOfParts, checksumText, multipartEtag, uploadSum, wholeSums,
} from "#gateway/s3/multipart-facts.ts";
import { lockAsked } from "#gateway/s3/lock-text.ts";
import { checksumType, checksumsOf, etagOf, isoTime } from "#gateway/s3/object-facts.ts";
import { copySourceOf, sourceVersion } from "#gateway/s3/ops-copy.ts";
import { ownerXml, textsOf } from "#gateway/s3/ops-list.ts";
import { TRIES_MAX, conditionOf, conflict, currentOf, hasCondition, refusedOf } from "#gateway/s3/ops-write.ts";
import { type Header, type S3Call, answer, countOf, header, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { customerKey, keyHeaders } from "#gateway/s3/sse-c/customer-key.ts";
import { versionHeader } from "#gateway/s3/version-ids.ts";
import type { DataKey } from "#gateway/s3/sse-c/data-key.ts";
import { EncryptingSink, maskedSums } from "#gateway/s3/sse-c/encrypting.ts";
import { encryptedAttributes, openObject, withSums } from "#gateway/s3/sse-c/object-encryption.ts";
import { cipherOfPart, sentPart, uploadKey, uploadOpener } from "#gateway/s3/sse-c/upload-encryption.ts";
import { takePart } from "#gateway/s3/upload-body.ts";
import { type XmlElement, childrenOf, element, malformedXml, textOf } from "#gateway/s3/xml.ts";
import { type Attributes, attributesFault } from "#hub/attributes.ts";
import { encryptionOf, storedPartBytes } from "#hub/encrypted-content.ts";
import type { VersionLock } from "#hub/locks.ts";
import type { Version } from "#hub/space.ts";
import { PART_NUMBER_MAX, type Part, UPLOAD_EXPIRY_MS_MAX, type Upload, type Uploader } from "#hub/uploads/upload.ts";
import { SynclineError } from "#model/error.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

/** Bytes of every part but the last. */
const PART_BYTES_MIN = 5 << 20;
const PAGE_MAX = 1000;

const uploader = ({ who }: S3Call): Uploader => ({ who, door: "s3" });

const noSuchUpload = (): S3Error => new S3Error("NoSuchUpload", "there is no such upload: it may have been completed or aborted");

/** An upload that is not there has a name of its own. */
async function asked<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof SynclineError)) throw error;
    if (error.code === "NOT_FOUND") throw noSuchUpload();
    if (error.code === "STALE" || error.code === "CHUNK_MISSING") throw new S3Error("InvalidPart", error.message);
    throw error;
  }
}

/** What is noted with an upload when it is begun. */
type Noted = {
  readonly sum: UploadSum | undefined;
  readonly lock: VersionLock | undefined;
  /** Of an encrypted one (sse-c/upload-encryption.ts). */
  readonly opener: string | undefined;
};

/** The upload that the query names, which must be for this key. @throws {S3Error} NoSuchUpload */
async function uploadOf(call: S3Call): Promise<Noted & { readonly upload: Upload }> {
  const { request, services } = call;
  const { path } = pathToWrite(request.key);
  const upload = await asked(services.uploads.get(uploader(call), request.query.get("uploadId")!));
  if (upload.space !== request.bucket || upload.path !== path) throw noSuchUpload();
  type Note = Partial<UploadSum> & { lock?: VersionLock; opener?: string };
  const { lock, opener, ...sum } = (upload.note === "" ? {} : JSON.parse(upload.note)) as Note;
  return { upload, sum: sum.algorithm === undefined ? undefined : (sum as UploadSum), lock, opener };
}

export async function createUpload(call: S3Call): Promise<Http1Answer> {
  const { services, request } = call;
  refuseUnknown(call);
  const at = pathToWrite(request.key);
  if (at.isDir) throw new S3Error("InvalidObjectName", "a key that ends with / is a directory, and has no bytes");
  const algorithm = header(call, "x-amz-checksum-algorithm");
  const sum = algorithm === undefined ? undefined : uploadSum(algorithmOf(algorithm), header(call, "x-amz-checksum-type"));
  const lock = await lockAsked(call);
  const key = customerKey(call, "object");
  const opener = uploadOpener(call, key);
  const { id } = await services.uploads.create(uploader(call), {
    space: request.bucket,
    path: at.path,
    kind: "parts",
    attributes: { ...metadataOf(call), ...tagsOf(call) },
    expiryMs: UPLOAD_EXPIRY_MS_MAX,
    note: sum === undefined && lock === undefined && opener === undefined ? "" : JSON.stringify({ ...sum, lock, opener }),
  });
  const inner = element("Bucket", request.bucket) + element("Key", request.key) + element("UploadId", id);
  const headers: Header[] =
    sum === undefined ? [] : [["x-amz-checksum-algorithm", sum.algorithm.toUpperCase()], ["x-amz-checksum-type", sum.type]];
  return xmlAnswer("InitiateMultipartUploadResult", inner, [...headers, ...keyHeaders(key)]);
}

function partNumberOf(call: S3Call): number {
  const number = Number(call.request.query.get("partNumber"));
  const isRight = Number.isInteger(number) && number >= 1 && number <= PART_NUMBER_MAX;
  if (!isRight) throw new S3Error("InvalidArgument", `partNumber is from 1 to ${PART_NUMBER_MAX}`);
  return number;
}

export async function uploadPart(call: S3Call): Promise<Http1Answer> {
  const { services } = call;
  const number = partNumberOf(call);
  refuseUnknown(call);
  const { upload, sum, opener } = await uploadOf(call);
  const by = cipherOfPart(call, opener, number);
  const { part, checksums } = await asked(
    takePart(call, sumsFor(sum), by?.cipher, (options) => services.uploads.part(uploader(call), upload.id, number, options)),
  );
  const sums = [...checksums].map(([name, hex]): Header => [headerOf(name), base64Of(hex)]);
  return answer(200, [["etag", `"${part.sums.md5}"`], ...sums, ...keyHeaders(by?.key)]);
}

const sumsFor = (sum: UploadSum | undefined): Algorithm[] => (sum === undefined ? [] : [sum.algorithm]);

export async function uploadPartCopy(call: S3Call): Promise<Http1Answer> {
  const { services } = call;
  const number = partNumberOf(call);
  refuseUnknown(call);
  const source = copySourceOf(call);
  const { upload, sum, opener } = await uploadOf(call);
  const by = cipherOfPart(call, opener, number);
  const { version, by: sourceBy } = await sourceVersion(call, source);
  const content = await openObject(call, source.bucket, version, sourceBy);
  const { start, end } = copyRangeOf(call, content.size);
  const names = sumsFor(sum);
  const size = by === undefined ? end - start : storedPartBytes(end - start);
  const options = { size, sums: by === undefined ? ["md5" as const, ...names] : ["md5" as const] };
  await using sink = await asked(services.uploads.part(uploader(call), upload.id, number, options));
  const before = by === undefined ? undefined : new EncryptingSink(sink, by.cipher, names);
  for await (const piece of content.stream(start, end)) await (before ?? sink).write(piece);
  const sent = await before?.end();
  const ended = await sink.end();
  const kept = by === undefined ? undefined : maskedSums(by.cipher, ended.sums.md5!, names, sent!.sums);
  const part = await asked(sink.commit(kept));
  const told = by === undefined ? part : sentPart(part, sum, by.cipher.dataKey);
  const inner = element("LastModified", isoTime(part.timeMs)) + element("ETag", `"${part.sums.md5}"`) + sumXml(told, sum);
  return xmlAnswer("CopyPartResult", inner, keyHeaders(by?.key));
}

function copyRangeOf(call: S3Call, size: number): { readonly start: number; readonly end: number } {
  const text = header(call, "x-amz-copy-source-range");
  if (text === undefined) return { start: 0, end: size };
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(text);
  const [range] = match === null ? [] : (parseRanges(text, size) ?? []);
  const isWithin = range !== undefined && Number(match![2]) < size;
  if (!isWithin) throw new S3Error("InvalidArgument", `x-amz-copy-source-range is not within the ${size} bytes of the source`);
  return range;
}

function sumXml(part: Part, sum: UploadSum | undefined): string {
  const hex = sum === undefined ? undefined : part.sums[sum.algorithm];
  return hex === undefined ? "" : element(elementOf(sum!.algorithm), base64Of(hex));
}

export async function abortUpload(call: S3Call): Promise<Http1Answer> {
  const { upload } = await uploadOf(call);
  await asked(call.services.uploads.abort(uploader(call), upload.id));
  return answer(204);
}

export async function listParts(call: S3Call): Promise<Http1Answer> {
  const { services, request } = call;
  const { upload, sum, opener } = await uploadOf(call);
  const by = uploadKey(call, opener);
  const after = countOf(call, "part-number-marker", 0, PART_NUMBER_MAX);
  const max = countOf(call, "max-parts", PAGE_MAX, PAGE_MAX);
  const found = await asked(services.uploads.parts(uploader(call), upload.id, after, max + 1));
  const parts = found.slice(0, max).map((part) => (opener === undefined ? part : sentPart(part, sum, by?.dataKey)));
  const rows = parts.map(
    (part) =>
      `<Part>${element("PartNumber", part.number)}${element("LastModified", isoTime(part.timeMs))}` +
      `${element("ETag", `"${part.sums.md5}"`)}${sumXml(part, sum)}${element("Size", part.size)}</Part>`,
  );
  const inner = [
    element("Bucket", request.bucket),
    element("Key", request.key),
    element("UploadId", upload.id),
    ownerXml(call, "Initiator"),
    ownerXml(call),
    element("StorageClass", "STANDARD"),
    element("PartNumberMarker", after),
    element("NextPartNumberMarker", parts.at(-1)?.number ?? after),
    element("MaxParts", max),
    element("IsTruncated", found.length > max),
    element("ChecksumAlgorithm", sum?.algorithm.toUpperCase()),
    element("ChecksumType", sum?.type),
    ...rows,
  ];
  return xmlAnswer("ListPartsResult", inner.join(""), keyHeaders(by?.key));
}

type UploadItem = { readonly key: string; readonly upload: Upload | undefined };

export async function listUploads(call: S3Call): Promise<Http1Answer> {
  const { request } = call;
  const { query } = request;
  const texts = textsOf(call);
  const max = countOf(call, "max-uploads", PAGE_MAX, PAGE_MAX);
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const keyMarker = query.get("key-marker") ?? "";
  const idMarker = query.get("upload-id-marker") ?? "";
  const found = await uploadItems(call, { prefix, delimiter, keyMarker, idMarker, max: max + 1 });
  const items = found.slice(0, max);
  const last = items.at(-1);
  const isTruncated = found.length > max;
  const inner = [
    element("Bucket", request.bucket),
    element("KeyMarker", texts(keyMarker)),
    element("UploadIdMarker", idMarker),
    element("NextKeyMarker", isTruncated && last !== undefined ? texts(last.key) : undefined),
    element("NextUploadIdMarker", isTruncated ? (last?.upload?.id ?? "") : undefined),
    element("Prefix", texts(prefix)),
    element("Delimiter", delimiter === "" ? undefined : texts(delimiter)),
    element("EncodingType", query.get("encoding-type") === "url" ? "url" : undefined),
    element("MaxUploads", max),
    element("IsTruncated", isTruncated),
    ...items.map(({ key, upload }) =>
      upload === undefined
        ? `<CommonPrefixes>${element("Prefix", texts(key))}</CommonPrefixes>`
        : `<Upload>${element("Key", texts(key))}${element("UploadId", upload.id)}${ownerXml(call, "Initiator")}${ownerXml(call)}` +
          `<StorageClass>STANDARD</StorageClass>${element("Initiated", isoTime(upload.createdMs))}</Upload>`,
    ),
  ];
  return xmlAnswer("ListMultipartUploadsResult", inner.join(""));
}

type UploadsAsk = {
  readonly prefix: string;
  readonly delimiter: string;
  readonly keyMarker: string;
  readonly idMarker: string;
  readonly max: number;
};

/** Behind every id: uploads of the marked key itself have been told. */
const LAST_ID = "g";

async function uploadItems(call: S3Call, ask: UploadsAsk): Promise<UploadItem[]> {
  const { services, request } = call;
  const { prefix, delimiter, keyMarker, idMarker, max } = ask;
  const items: UploadItem[] = [];
  let after = keyMarker === "" ? undefined : { path: keyMarker, id: idMarker === "" ? LAST_ID : idMarker };
  let told = delimiter !== "" && keyMarker.endsWith(delimiter) ? keyMarker : undefined;
  while (items.length < max) {
    const page = await services.uploads.list(uploader(call), request.bucket, { prefix, after, limit: PAGE_MAX });
    for (const upload of page) {
      if (told !== undefined && upload.path.startsWith(told)) continue;
      const at = delimiter === "" ? -1 : upload.path.indexOf(delimiter, prefix.length);
      told = at < 0 ? undefined : upload.path.slice(0, at + delimiter.length);
      items.push(told === undefined ? { key: upload.path, upload } : { key: told, upload: undefined });
      if (items.length === max) return items;
    }
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE_MAX) return items;
    after = { path: last.path, id: last.id };
  }
  return items;
}

// ---------------------------------------------------------------- completing

/** What a client says of a part that it has sent. */
type Named = { readonly number: number; readonly etag: string; readonly sums: ReadonlyMap<Algorithm, string> };

function namedParts(body: XmlElement): Named[] {
  const parts = childrenOf(body, "Part").map((part): Named => {
    const number = Number(textOf(part, "PartNumber"));
    const etag = textOf(part, "ETag");
    if (!Number.isInteger(number) || etag === undefined) throw malformedXml();
    const sums = ALGORITHMS.flatMap((name) => {
      const text = textOf(part, elementOf(name));
      return text === undefined || text === "" ? [] : [[name, checksumHex(name, text)] as const];
    });
    return { number, etag: etag.replaceAll('"', ""), sums: new Map(sums) };
  });
  if (parts.length === 0 || parts.length > PART_NUMBER_MAX) throw malformedXml(`an upload has from 1 to ${PART_NUMBER_MAX} parts`);
  const isInOrder = parts.every(({ number }, at) => at === 0 || number > parts[at - 1]!.number);
  if (!isInOrder) throw new S3Error("InvalidPartOrder", "parts are named in ascending order");
  return parts;
}

/** Checksums in the headers of a completion are of the object, and not of the body. */
function withoutSums(call: S3Call): S3Call {
  const headers = new Map([...call.request.headers].filter(([name]) => !ALGORITHMS.some((one) => name === headerOf(one))));
  return { ...call, request: { ...call.request, headers } };
}

export async function completeUpload(asking: S3Call): Promise<Http1Answer> {
  const { request } = asking;
  const named = namedParts(await xmlBody(withoutSums(asking), "CompleteMultipartUpload"));
  // It may have come for long.
  const call = { ...asking, who: await asking.renew() };
  const { upload, ...noted } = await uploadOf(call);
  const isOpen = upload.sequence === undefined;
  const by = uploadKey(call, noted.opener);
  const completing = { ...noted, dataKey: by?.dataKey };
  const version = await (isOpen ? firstCompletion(call, upload, completing, named) : completedAgain(call, upload, named));
  const encryption = encryptionOf(version);
  const opener = by === undefined || encryption === undefined ? undefined : { ...by, encryption };
  const sums = checksumsOf(withSums(version, opener));
  const inner = [
    element("Location", `/${request.bucket}/${request.key}`),
    element("Bucket", request.bucket),
    element("Key", request.key),
    element("ETag", etagOf(version)),
    ...sums.map(([name, value]) => element(elementOf(name), value)),
    element("ChecksumType", sums[0] === undefined ? undefined : checksumType(sums[0][1])),
  ];
  const headers = [...keyHeaders(by?.key), ...(await versionHeader(call, version))];
  return xmlAnswer("CompleteMultipartUploadResult", inner.join(""), headers);
}

/** The same parts give the same answer; others are not what was completed. */
async function completedAgain(call: S3Call, { id }: Upload, named: readonly Named[]): Promise<Version> {
  const { traceId, services } = call;
  const parts = named.map(({ number }) => number);
  const { result } = await asked(services.uploads.complete(uploader(call), id, { traceId, parts }));
  if (result.status !== "done") throw noSuchUpload();
  return result.version;
}

/** Of an encrypted upload the checksums are known where the key comes along. */
type Completing = Noted & { readonly dataKey: DataKey | undefined };

async function firstCompletion(call: S3Call, upload: Upload, noted: Completing, named: readonly Named[]): Promise<Version> {
  const { services, request, traceId } = call;
  const { sum, lock, opener, dataKey } = noted;
  const there = await asked(services.uploads.parts(uploader(call), upload.id, 0, PART_NUMBER_MAX));
  const parts = matched(named, opener === undefined ? there : there.map((part) => sentPart(part, sum, dataKey)));
  if (opener !== undefined && dataKey === undefined) refuseSums(call);
  requireWhole(call, parts, sum);
  const ofParts = opener === undefined ? attributesOfParts(parts, sum) : encryptedOfParts(parts, sum, opener, dataKey);
  const attributes = { ...upload.attributes, ...ofParts };
  if (attributesFault(attributes) !== undefined) {
    throw new S3Error("InvalidRequest", "the parts have too many different sizes to be kept with the metadata: send parts of one size");
  }
  const at = pathToWrite(request.key);
  const condition = conditionOf(call);
  const numbers = parts.map(({ number }) => number);
  for (let attempt = 1; attempt <= TRIES_MAX; attempt++) {
    const current = hasCondition(condition) ? await currentOf(call, at) : undefined;
    const expect = expectOf(condition, current, request.key);
    if (expect.kind === "entry") throw new Error("a condition of a door is about sequences");
    const sums = opener === undefined ? wholeSums(parts, sum) : {};
    const completion = { traceId, parts: numbers, attributes, expect, sums, lock, keepsKind: true } as const;
    const { result } = await asked(services.uploads.complete(uploader(call), upload.id, completion));
    if (result.status === "done") return result.version;
    if (result.status === "refused") throw refusedOf(result, request.key);
  }
  throw conflict(request.key);
}

/** The parts that are named, which must be those that came. @throws {S3Error} InvalidPart, EntityTooSmall */
function matched(named: readonly Named[], there: readonly Part[]): Part[] {
  const byNumber = new Map(there.map((part) => [part.number, part]));
  return named.map(({ number, etag, sums }, at) => {
    const part = byNumber.get(number);
    const isSame = part?.sums.md5 === etag && [...sums].every(([name, hex]) => (part.sums[name] ?? hex) === hex);
    if (part === undefined || !isSame) {
      throw new S3Error("InvalidPart", `part ${number} has not come, or is another`, { PartNumber: String(number) });
    }
    if (at < named.length - 1 && part.size < PART_BYTES_MIN) {
      const more = { PartNumber: String(number), ProposedSize: String(part.size), MinSizeAllowed: String(PART_BYTES_MIN) };
      throw new S3Error("EntityTooSmall", `every part but the last has ${PART_BYTES_MIN} bytes at least`, more);
    }
    return part;
  });
}

/** Without the key nobody can say whether a checksum of the whole is right. @throws {S3Error} InvalidRequest */
function refuseSums(call: S3Call): void {
  if (!ALGORITHMS.some((name) => header(call, headerOf(name)) !== undefined)) return;
  throw new S3Error("InvalidRequest", "the upload was begun with a key of the client: to compare a checksum, send that key along");
}

function encryptedOfParts(parts: readonly Part[], sum: UploadSum | undefined, opener: string, dataKey: DataKey | undefined): Attributes {
  const hex = sum === undefined ? undefined : checksumOfParts(parts, sum);
  const sums = hex === undefined ? {} : { [sum!.algorithm]: checksumText(hex, sum!, parts.length) };
  const placed = parts.map(({ number, size }) => ({ number, size }));
  return encryptedAttributes({ opener: Uint8Array.fromBase64(opener), parts: placed }, multipartEtag(parts), dataKey, sums);
}

/** What the client says of the whole must follow from the parts. @throws {S3Error} InvalidRequest, BadDigest */
function requireWhole(call: S3Call, parts: readonly Part[], sum: UploadSum | undefined): void {
  const size = header(call, "x-amz-mp-object-size");
  const total = parts.reduce((all, part) => all + part.size, 0);
  if (size !== undefined && Number(size) !== total) throw new S3Error("InvalidRequest", `the parts have ${total} bytes together`);
  for (const name of ALGORITHMS) {
    const text = header(call, headerOf(name));
    if (text === undefined) continue;
    const own = sum?.algorithm === name ? sum : uploadSum(name, header(call, "x-amz-checksum-type"));
    const hex = checksumOfParts(parts, own);
    const isRight = hex !== undefined && (checksumText(hex, own, parts.length) === text || base64Of(hex) === text);
    if (!isRight) throw new S3Error("BadDigest", `the ${name} of the whole is not the one that was sent`);
  }
}

