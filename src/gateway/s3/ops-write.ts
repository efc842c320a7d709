/** PutObject, DeleteObject and DeleteObjects. */
import { type WriteCondition, expectOf } from "#gateway/s3/conditions.ts";
import { isObject, noSuchKey, pathOfKey, pathToWrite, type KeyPath } from "#gateway/s3/keys.ts";
import { metadataOf, refuseUnknown, sumsAsAttributes, tagsOf } from "#gateway/s3/metadata.ts";
import { expirationHeader } from "#gateway/s3/ops-lifecycle.ts";
import { lockAsked } from "#gateway/s3/lock-text.ts";
import { DIRECTORY, ETAG, checksumHeaders, etagOf, idOf } from "#gateway/s3/object-facts.ts";
import { deleteVersion, purgeMany } from "#gateway/s3/ops-purge.ts";
import { type S3Call, answer, header, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error, codeOf, s3ErrorOf } from "#gateway/s3/s3-error.ts";
import { customerKey, keyHeaders } from "#gateway/s3/sse-c/customer-key.ts";
import { newDataKey } from "#gateway/s3/sse-c/data-key.ts";
import { WHOLE_PART, partCipher } from "#gateway/s3/sse-c/encrypting.ts";
import { encryptedAttributes, sumTexts } from "#gateway/s3/sse-c/object-encryption.ts";
import { NULL_VERSION, isSingle, versionHeader, versionIdOf } from "#gateway/s3/version-ids.ts";
import { takeBody } from "#gateway/s3/upload-body.ts";
import { childrenOf, element, exactTextOf, malformedXml, textOf } from "#gateway/s3/xml.ts";
import type { Attributes } from "#hub/attributes.ts";
import type { VersionLock } from "#hub/locks.ts";
import type { Intake } from "#hub/space-service.ts";
import type { ChangeResult, ContentRef, Expect, SpaceChange, Version } from "#hub/space.ts";
import { DIR_MODE, type Entry, FILE_MODE, type FileEntry } from "#model/entry.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

const NEW_DIR: Entry = { kind: "dir", mode: DIR_MODE };
/** How often a change is made anew when somebody else has changed the key meanwhile. */
export const TRIES_MAX = 5;
const DELETES_MAX = 1000;

/** What a key is to become. */
export type NewObject = {
  readonly at: KeyPath;
  readonly entry: Entry;
  readonly content: ContentRef | undefined;
  readonly attributes: Attributes;
  readonly lock: VersionLock | undefined;
};

export const conditionOf = (call: S3Call): WriteCondition => ({
  match: header(call, "if-match"),
  none: header(call, "if-none-match"),
});

export async function putObject(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  refuseUnknown(call);
  const at = pathToWrite(request.key);
  const attributes = { ...metadataOf(call), ...tagsOf(call) };
  const lock = await lockAsked(call);
  const condition = conditionOf(call);
  // What cannot come about is refused before the body is sent.
  if (hasCondition(condition)) expectOf(condition, await currentOf(call, at), request.key);
  const key = customerKey(call, "object");
  const made = key === undefined || at.isDir ? undefined : newDataKey(key, services.random);
  await using intake = services.spaces.intake(who, request.bucket);
  const cipher = made === undefined ? undefined : partCipher(made.dataKey, WHOLE_PART, services.random);
  const { named, size, md5, checksums } = await takeBody(call, intake, cipher);
  if (at.isDir && size > 0) throw new S3Error("InvalidObjectName", "a key that ends with / is a directory, and has no bytes");
  const ofBytes = made === undefined
    ? { ...sumsAsAttributes(checksums), [ETAG]: md5 }
    : encryptedAttributes({ opener: made.opener, parts: [{ number: WHOLE_PART, size }] }, md5, made.dataKey, sumTexts(checksums));
  const own = { ...attributes, ...ofBytes };
  const sum = made === undefined ? named.sum : undefined;
  const entry = at.isDir ? NEW_DIR : fileEntry(call, { size, sum });
  const content = at.isDir ? undefined : named.content;
  const wanted = { at, entry, content, attributes: at.isDir ? { ...own, [DIRECTORY]: "1" } : own, lock };
  const version = await commitObject(call, wanted, condition, intake);
  const more = [...(await versionHeader(call, version)), ...(await expirationHeader(call, version, services.clock.nowMs()))];
  const sums = checksumHeaders({ ...version, attributes: sumsAsAttributes(checksums) });
  return answer(200, [["etag", etagOf(version)], ...sums, ...keyHeaders(key), ...more]);
}

export const hasCondition = ({ match, none }: WriteCondition): boolean => match !== undefined || none !== undefined;

/** As a new file is; one that is there keeps its permissions (commitObject). */
export function fileEntry({ services }: S3Call, { size, sum }: Pick<FileEntry, "size" | "sum">): FileEntry {
  return { kind: "file", size, sum, mtimeNs: BigInt(services.clock.nowMs()) * 1_000_000n, mode: FILE_MODE };
}

/** What is there, also where it is no object: a condition is about whatever holds the name. */
export async function currentOf({ services, who, request }: S3Call, { path }: KeyPath): Promise<Version | undefined> {
  const version = await services.spaces.version(who, request.bucket, path);
  return version?.entry === undefined ? undefined : version;
}

/**
 * Makes the key what it is to become, if its conditions hold at that moment. A key of a directory says no more than that
 * there is one.
 * @throws {S3Error} PreconditionFailed, ConditionalRequestConflict, and for what the space refuses
 */
export async function commitObject(
  call: S3Call,
  { at, entry, content, attributes, lock }: NewObject,
  condition: WriteCondition,
  intake: Intake,
): Promise<Version> {
  const { key } = call.request;
  for (let attempt = 1; attempt <= TRIES_MAX; attempt++) {
    const current = hasCondition(condition) ? await currentOf(call, at) : undefined;
    const expect = expectOf(condition, current, key);
    const change: SpaceChange = {
      type: "put", path: at.path, expect, entry, content, attributes, makeParents: true, lock, keepsKind: true, keepsMode: true,
    };
    const [result] = await commit(call, [change], intake);
    if (result!.status === "done") return result!.version;
    if (result!.status === "refused") throw refusedOf(result!, key);
  }
  throw conflict(key);
}

export function conflict(key: string): S3Error {
  return new S3Error("ConditionalRequestConflict", "the key is being changed by others; look and try again", { Key: key });
}

export async function commit(
  { services, renew, request, traceId }: S3Call,
  changes: readonly SpaceChange[],
  intake: Intake | undefined,
): Promise<readonly ChangeResult[]> {
  const asked = { changes, intake, atomic: false, cause: "upload", traceId } as const;
  // What it commits may have come for long.
  return (await services.spaces.commit(await renew(), request.bucket, asked)).results;
}

export function refusedOf({ code, message }: Pick<Extract<ChangeResult, { status: "refused" }>, "code" | "message">, key: string): S3Error {
  const below = `there is a key "${key}/", or keys below that`;
  const why = code === "IS_A_DIRECTORY" ? below : code === "NOT_A_DIRECTORY" ? `a key above this one is a file: ${message}` : undefined;
  const told = why === undefined ? message : `${why}; keys are paths here, and a path is either a file or a directory`;
  return new S3Error(codeOf(code), told, { Key: key });
}

// ---------------------------------------------------------------- deleting

export async function deleteObject(call: S3Call): Promise<Http1Answer> {
  const { key, query } = call.request;
  const versionId = query.get("versionId");
  // A directory has no versions.
  const namesOne = versionId !== undefined && !key.endsWith("/") && (await isSingle(call, call.request.bucket, versionId));
  if (namesOne) return deleteVersion(call, versionId);
  const marker = await removeKey(call, key, conditionOf(call));
  const headers = marker === undefined ? [] : await versionHeader(call, marker);
  return answer(204, headers.length === 0 ? [] : [["x-amz-delete-marker", "true"], ...headers]);
}

/** @returns the tombstone; undefined where nothing was there */
async function removeKey(call: S3Call, key: string, condition: WriteCondition): Promise<Version | undefined> {
  const { services, who, request } = call;
  const at = pathOfKey(key);
  if (at === undefined) {
    await services.spaces.space(who, request.bucket);
    if (condition.match !== undefined) throw noSuchKey(key);
    return undefined;
  }
  services.access.require(who, "write", { type: "space", space: request.bucket, path: at.path });
  for (let attempt = 1; attempt <= TRIES_MAX; attempt++) {
    const current = await currentOf(call, at);
    const object = isObject(current, at.isDir) ? current : undefined;
    if (hasCondition(condition)) expectOf(condition, object, key);
    const removal = object === undefined ? await markOf(call, at) : removalOf(object, at);
    if (removal === undefined) return undefined;
    const [result] = await commit(call, [removal], undefined);
    // What is in a directory keeps it.
    if (result!.status === "refused") return undefined;
    if (result!.status === "stale") continue;
    await removeEmptied(call, [emptiedBy(removal)]);
    return result!.version;
  }
  throw conflict(key);
}

type KeyRemoval = Exclude<SpaceChange, { type: "move" }>;

/** The directory that may have nothing in it any more: the one above, or the one that was put and is one of many now. */
const emptiedBy = ({ type, path }: KeyRemoval): RelPath => (type === "put" ? path : parentOf(path));

/** A directory that was put and has something in it stays, seen by what is in it. */
function removalOf({ sequence, attributes, entry }: Version, { path, isDir }: KeyPath): KeyRemoval {
  const expect: Expect = { kind: "sequence", sequence };
  if (!isDir || entry === undefined || attributes[DIRECTORY] === undefined) return { type: "remove", path, expect, recursive: false };
  return { type: "put", path, expect, entry, content: undefined, attributes: {}, makeParents: false };
}

/**
 * While versioning is suspended a delete marker takes the place of the "null" version, also where the key has been removed
 * by one with a number of its own. Undefined where there is none to be replaced.
 */
async function markOf({ services, who, request }: S3Call, { path, isDir }: KeyPath): Promise<KeyRemoval | undefined> {
  const { bucket } = request;
  const versioning = await services.settings.versioning(bucket);
  if (isDir || !versioning.isSuspended) return undefined;
  const last = await services.spaces.version(who, bucket, path);
  if (last === undefined || last.entry !== undefined || versioning.isNull(idOf(last))) return undefined;
  if ((await services.versions.nullOf(who, bucket, path)) === undefined) return undefined;
  return { type: "remove", path, expect: { kind: "sequence", sequence: last.sequence }, recursive: false, marksAgain: true };
}

/**
 * Directories exist for S3 by what is in them, unless they were put: those that have become empty go, as far up as they
 * are and as the caller may write.
 */
export async function removeEmptied(call: S3Call, emptied: Iterable<RelPath>): Promise<void> {
  for (let dirs = new Set(emptied); dirs.size > 0; ) {
    const removals = (await Promise.all([...dirs].map(async (dir) => removalOfEmpty(call, dir)))).filter((one) => one !== undefined);
    if (removals.length > 0) await commit(call, removals, undefined);
    dirs = new Set(removals.map(({ path }) => parentOf(path)));
  }
}

type Removal = Extract<SpaceChange, { type: "remove" }>;

/** Undefined where it stays. */
async function removalOfEmpty({ services, who, request }: S3Call, path: RelPath): Promise<Removal | undefined> {
  const { access, spaces } = services;
  const space = request.bucket;
  const isTheirs = access.decide(who, "write", { type: "space", space, path }).allowed;
  // Who sees only parts of it cannot tell that it is empty.
  const isSeen = access.decide(who, "read", { type: "space", space, path, isTree: true }).allowed;
  if (path === "" || !isTheirs || !isSeen) return undefined;
  const dir = await spaces.version(who, space, path);
  if (dir?.entry?.kind !== "dir" || dir.attributes[DIRECTORY] !== undefined) return undefined;
  const inside = await spaces.list(who, space, { below: path, after: undefined, shallow: true, limit: 1, at: undefined });
  return inside.length > 0 ? undefined : { type: "remove", path, expect: { kind: "sequence", sequence: dir.sequence }, recursive: false };
}

export type Asked = { readonly key: string; readonly versionId: string | undefined; readonly match: string | undefined };

export async function deleteObjects(asking: S3Call): Promise<Http1Answer> {
  const body = await xmlBody(asking, "Delete");
  // The list may have come for long.
  const call = { ...asking, who: await asking.renew() };
  const { services, who, request } = call;
  const asked = childrenOf(body, "Object").map((object): Asked => {
    const key = exactTextOf(object, "Key");
    if (key === undefined || key === "") throw malformedXml();
    return { key, versionId: textOf(object, "VersionId"), match: textOf(object, "ETag") };
  });
  if (asked.length === 0 || asked.length > DELETES_MAX) throw malformedXml(`from 1 to ${DELETES_MAX} keys can be deleted at once`);
  await services.spaces.space(who, request.bucket);
  const isQuiet = textOf(body, "Quiet") === "true";
  const { isShown } = await services.settings.versioning(request.bucket);
  const isNamed = ({ key, versionId }: Asked): boolean =>
    versionId !== undefined && (versionId !== NULL_VERSION || (isShown && !key.endsWith("/")));
  const purged = await purgeMany(call, asked.filter(isNamed));
  const removed = await removeMany(call, asked.filter((one) => !isNamed(one)));
  const lines = asked.map((one) => (isNamed(one) ? purged : removed).shift()!);
  return xmlAnswer("DeleteResult", lines.filter((line) => !isQuiet || line.startsWith("<Error>")).join(""));
}

/** One commit for all of them; a line of the answer for each. */
async function removeMany(call: S3Call, asked: readonly Asked[]): Promise<string[]> {
  const plans = await Promise.all(asked.map(async (one) => planOf(call, one).catch((error: unknown) => s3ErrorOf(error))));
  const changes = plans.flatMap((plan) => (plan instanceof S3Error || plan === undefined ? [] : [plan]));
  const results = changes.length === 0 ? [] : await commit(call, changes, undefined);
  let next = 0;
  const emptied: RelPath[] = [];
  const lines: string[] = [];
  const versioning = await call.services.settings.versioning(call.request.bucket);
  for (const [at, plan] of plans.entries()) {
    const { key, match, versionId } = asked[at]!;
    const result = plan instanceof S3Error || plan === undefined ? undefined : results[next++]!;
    let fault = plan instanceof S3Error ? plan : undefined;
    let marker: string | undefined;
    if (result?.status === "done") {
      emptied.push(emptiedBy(plan as KeyRemoval));
      if (versioning.isShown && result.version.entry === undefined) marker = versionIdOf(versioning, result.version);
    }
    // Somebody was faster: once more, by itself.
    if (result?.status === "stale") {
      await removeKey(call, key, { match, none: undefined }).catch((error: unknown) => void (fault = s3ErrorOf(error)));
    }
    lines.push(fault === undefined ? deletedXml(key, versionId, marker) : errorXml(key, fault, versionId));
  }
  await removeEmptied(call, emptied);
  return lines;
}

/** @param marker the delete marker that was made, or taken away */
export function deletedXml(key: string, versionId: string | undefined, marker: string | undefined): string {
  const marked = marker === undefined ? "" : element("DeleteMarker", true) + element("DeleteMarkerVersionId", marker);
  return `<Deleted>${element("Key", key)}${element("VersionId", versionId)}${marked}</Deleted>`;
}

export function errorXml(key: string, { code, message }: S3Error, versionId: string | undefined): string {
  return `<Error>${element("Key", key)}${element("VersionId", versionId)}${element("Code", code)}${element("Message", message)}</Error>`;
}

/** The change that removes a key; undefined where nothing is there. */
async function planOf(call: S3Call, { key, match }: Asked): Promise<KeyRemoval | undefined> {
  const { services, who, request } = call;
  const at = pathOfKey(key);
  if (at === undefined) return undefined;
  services.access.require(who, "write", { type: "space", space: request.bucket, path: at.path });
  const current = await currentOf(call, at);
  const object = isObject(current, at.isDir) ? current : undefined;
  if (match !== undefined) expectOf({ match, none: undefined }, object, key);
  return object === undefined ? markOf(call, at) : removalOf(object, at);
}

