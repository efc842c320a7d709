/** Methods that make and remove one thing: PUT, MKCOL, DELETE. */
import { type Attributes, NO_ATTRIBUTES, withoutContent } from "#hub/attributes.ts";
import type { Intake } from "#hub/space-service.ts";
import type { Expect, SpaceChange, Version } from "#hub/space.ts";
import { DIR_MODE, FILE_MODE } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { commitAll, putOver } from "#gateway/api/outcome.ts";
import { storeBody } from "#gateway/api/content-bytes.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { treeAt } from "#gateway/api/route.ts";
import { isFileTime } from "#gateway/api/shapes.ts";
import { DavProblem } from "#gateway/dav/answer.ts";
import {
  type DavCall, type SpacePlace, depthOf, etagAt, isShown, mayRead, requireCollectionAbove, requireNoBody, spacePlace, versionAt,
} from "#gateway/dav/call.ts";
import { Summing } from "#gateway/dav/checksums.ts";
import { type Target, membership, requireUnlocked, requireWrite, targetAt, underLocks } from "#gateway/dav/guard.ts";
import { hrefOf } from "#gateway/dav/place.ts";


/** Types that say nothing: clients send one of them with every file. */
const NO_TYPE = /^\s*(application\/octet-stream|application\/x-www-form-urlencoded|binary\/octet-stream|\*\/\*)?\s*(;|$)/i;

/** A file whole or not at all. */
export async function put(call: DavCall): Promise<Response> {
  const { services, headers, request } = call;
  const place = spacePlace(call);
  // A part of a file is not a file (RFC 9110 §14.5).
  if (headers.has("content-range")) throw new DavProblem(400, "a file is put as a whole; Content-Range is not taken");
  if (place.path === "") throw new DavProblem(405, "this is a collection", "", allowed("OPTIONS, PROPFIND, LOCK, UNLOCK"));
  requireWrite(call, place);
  const space = await services.spaces.space(call.who, place.space);
  const { version: old, expect } = await targetAt(call, place);
  requireFile(old, request.url.endsWith("/"));
  const touched = [{ path: place.path, isTree: false }, ...(old === undefined ? membership(place) : [])];
  // Before the body, so that nothing is sent in vain; and again when it is here.
  if (old === undefined) await requireCollectionAbove(call, place);
  await requireUnlocked(call, space.id, place, touched);
  const summing = Summing.of(headers);
  const mtimeNs = fileTimeOf(headers) ?? BigInt(services.clock.nowMs()) * 1_000_000n;
  await using intake = services.spaces.intake(call.who, place.space);
  const { content, sum } = await storeBody({ ...call, space: place.space }, intake, summing?.watch);
  requireExpected(headers, content.size);
  const changeOf = (there: Version | undefined, expected: Expect): SpaceChange => ({
    type: "put",
    path: place.path,
    expect: expected,
    entry: { kind: "file", size: content.size, mode: FILE_MODE, mtimeNs, sum },
    content,
    attributes: attributesOf(there, headers.get("content-type"), summing?.attributes()),
    makeParents: false,
    keepsMode: true,
  });
  const version = await underLocks(call, space.id, place, touched, () => replace(call, place, { version: old, expect }, changeOf, intake));
  const etag = etagAt(version);
  return new Response(null, {
    status: old === undefined ? 201 : 204,
    headers: {
      ...(etag === undefined ? {} : { etag }),
      ...(headers.has("x-oc-mtime") ? { "x-oc-mtime": "accepted" } : {}),
      ...(old === undefined ? { location: hrefOf(place, false) } : {}),
    },
  });
}

/**
 * What is kept with a file stays as it is when its new bytes have come: they may have come for long, and a property that
 * somebody has set meanwhile must not be as it was before.
 */
async function replace(
  call: DavCall,
  place: SpacePlace,
  { version: old, expect }: Target,
  changeOf: (there: Version | undefined, expected: Expect) => SpaceChange,
  intake: Intake,
): Promise<Version> {
  const commit = async (there: Version | undefined, expected: Expect): Promise<Version> =>
    (await commitAll(call, place.space, [changeOf(there, expected)], undefined, "precondition", intake))[0]!.version;
  if (expect.kind !== "any" || !mayRead(call, place)) return commit(old, expect);
  const look = async (): Promise<Version | undefined> => {
    const there = await versionAt(call, place);
    requireFile(there?.entry === undefined ? undefined : there, false);
    return there;
  };
  return putOver(expect, look, commit);
}

const allowed = (methods: string): Record<string, string> => ({ allow: methods });

function requireFile(old: Version | undefined, hasSlash: boolean): void {
  const kind = old?.entry?.kind;
  if (kind === "dir" || (kind === undefined && hasSlash)) {
    throw new DavProblem(405, "this is a collection", "", allowed("OPTIONS, PROPFIND, PROPPATCH, DELETE, COPY, MOVE, LOCK, UNLOCK"));
  }
  if (kind !== undefined && kind !== "file") throw new DavProblem(409, `a ${kind} is there, which this door does not replace`);
}

/** What is said is said as a whole, or the others would go; where nothing is said the space keeps what stays. */
function attributesOf(old: Version | undefined, type: string | null, sums: Attributes | undefined): Attributes | undefined {
  const isSaid = type !== null && !NO_TYPE.test(type);
  if (!isSaid && sums === undefined) return undefined;
  return {
    ...withoutContent(old?.attributes ?? NO_ATTRIBUTES),
    ...(isSaid ? { "http.content-type": type } : {}),
    ...sums,
  };
}

/** macOS says in a header of its own how long a body is that it sends without a length. */
function requireExpected(headers: Headers, size: number): void {
  const expected = headers.get("x-expected-entity-length");
  if (expected === null || Number(expected) === size) return;
  throw new ApiProblem("DIGEST", `${size} bytes came instead of ${expected}`, "send the file again");
}

/** When the client says the file was changed, in seconds since 1970. @throws {DavProblem} */
export function fileTimeOf(headers: Headers): bigint | undefined {
  const text = headers.get("x-oc-mtime");
  if (text === null) return undefined;
  const match = /^\s*(-?\d{1,12})(?:\.(\d{1,9})\d*)?\s*$/.exec(text);
  if (match === null) throw new DavProblem(400, "X-OC-Mtime is no number of seconds");
  const mtimeNs = BigInt(match[1]!) * 1_000_000_000n + BigInt((match[2] ?? "").padEnd(9, "0"));
  if (!isFileTime(mtimeNs)) throw new DavProblem(400, "X-OC-Mtime is outside of the years 0 to 9999");
  return mtimeNs;
}

export async function makeCollection(call: DavCall): Promise<Response> {
  await requireNoBody(call);
  const place = spacePlace(call);
  const exists = (): DavProblem => new DavProblem(405, "something is there already", "", allowed("OPTIONS, PROPFIND, DELETE"));
  if (place.path === "") {
    await call.services.spaces.space(call.who, place.space);
    throw exists();
  }
  requireWrite(call, place);
  const space = await call.services.spaces.space(call.who, place.space);
  const { version } = await targetAt(call, place);
  if (version !== undefined) throw exists();
  const change: SpaceChange = {
    type: "put",
    path: place.path,
    expect: { kind: "absent" },
    entry: { kind: "dir", mode: DIR_MODE },
    content: undefined,
    makeParents: false,
  };
  const touched = [{ path: place.path, isTree: false }, ...membership(place)];
  try {
    await underLocks(call, space.id, place, touched, () => commitAll(call, place.space, [change], undefined, "conflict"));
  } catch (error) {
    if (error instanceof ApiProblem && error.code === "EXISTS") throw exists();
    throw error;
  }
  return new Response(null, { status: 201, headers: { location: hrefOf(place, true) } });
}

export async function remove(call: DavCall): Promise<Response> {
  const place = spacePlace(call);
  if (place.path === "") throw new DavProblem(403, "spaces are made and removed by those who manage the hub, not here");
  call.services.access.require(call.who, "write", treeAt(place.space, place.path));
  const space = await call.services.spaces.space(call.who, place.space);
  const { version, expect } = await targetAt(call, place);
  if (version?.entry?.kind === "dir" && depthOf(call, "infinity") !== "infinity") {
    throw new DavProblem(400, "a collection is removed with all that is in it: Depth is infinity");
  }
  const isHidden = version !== undefined && !isShown(version);
  if (isHidden || (version === undefined && expect.kind === "absent")) throw nothingThere(call);
  const touched = [{ path: place.path, isTree: true }, ...membership(place)];
  const change: SpaceChange = {
    type: "remove",
    path: place.path,
    expect: expect.kind === "any" ? { kind: "present" } : expect,
    recursive: true,
  };
  await underLocks(call, space.id, place, touched, async (seen) => {
    await commitAll(call, place.space, [change], undefined, expect.kind === "any" ? "conflict" : "precondition");
    await call.locks.removeWithin(space.id, place.path, seen);
  });
  return new Response(null, { status: 204 });
}

function nothingThere({ request }: DavCall): SynclineError {
  return new SynclineError({ code: "NOT_FOUND", op: request.method, message: "there is nothing at this address" });
}
