/** LOCK and UNLOCK. */
import type { SpaceChange, SpaceId } from "#hub/space.ts";
import { commitAll } from "#gateway/api/outcome.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { spaceAt, treeAt } from "#gateway/api/route.ts";
import { DavPartial, DavProblem, XML_HEAD, XML_TYPE, conflictingLock } from "#gateway/dav/answer.ts";
import {
  type DavCall,
  type SpacePlace,
  depthOf,
  isShown,
  readXml,
  requireCollectionAbove,
  requireNoBody,
  spacePlace,
  versionAt,
} from "#gateway/dav/call.ts";
import { membership, requireWrite, targetAt, underLocks } from "#gateway/dav/guard.ts";
import { type Lock, covers, timeoutOf } from "#gateway/dav/lock.ts";
import { LOCK_SECONDS_MAX, LOCK_SECONDS_USUAL, OWNER_BYTES_MAX, type WantedLock } from "#gateway/dav/lock-table.ts";
import { hrefOf } from "#gateway/dav/place.ts";
import { isDav, lockDiscovery } from "#gateway/dav/properties.ts";
import { type XmlElement, childElements, writeXml } from "#gateway/xml.ts";
import { FILE_MODE } from "#model/entry.ts";

export async function lock(call: DavCall): Promise<Response> {
  const place = spacePlace(call);
  requireWrite(call, place);
  const document = await readXml(call);
  const seconds = timeoutOf(call.headers.get("timeout"), LOCK_SECONDS_MAX, LOCK_SECONDS_USUAL);
  if (document === undefined) return refresh(call, place, seconds);
  const { isExclusive, owner } = wantedBy(document);
  const depth = depthOf(call, "infinity");
  if (depth === 1) throw new DavProblem(400, "Depth is 0 or infinity for LOCK");
  const { services, who } = call;
  const space = await services.spaces.space(who, place.space);
  const isDeep = depth === "infinity";
  if (isDeep) services.access.require(who, "write", treeAt(place.space, place.path));
  const { version } = place.path === "" ? { version: undefined } : await targetAt(call, place);
  if (version !== undefined && !isShown(version)) throw new DavProblem(409, `a ${version.entry!.kind} is there, which is not locked here`);
  // A name that is to be locked before anything is there must have a collection to be in.
  if (version === undefined && place.path !== "") await requireCollectionAbove(call, place);
  const wanted: WantedLock = { path: place.path, isDeep, isExclusive, user: who.id, owner, timeoutSeconds: seconds };
  const taken = await call.locks.take(space.id, wanted);
  if ("against" in taken) throw inTheWay(place, taken.against);
  // What was there may have gone while the changes ended that had not seen the lock.
  const isGone = version !== undefined && (await versionAt(call, place))?.entry === undefined;
  const isNothing = (version === undefined && place.path !== "") || isGone;
  const isMade = isNothing && (await makeEmpty(call, place, space.id, taken.lock));
  return answer(place, [taken.lock], isMade ? 201 : 200, { "lock-token": `<${taken.lock.token}>` });
}

function wantedBy(document: XmlElement): { isExclusive: boolean; owner: string } {
  if (!isDav(document, "lockinfo")) throw new DavProblem(400, "the body is no lockinfo");
  const parts = childElements(document);
  const inside = (name: string): XmlElement[] => childElements(parts.find((part) => isDav(part, name)) ?? document);
  const scopes = inside("lockscope").filter((one) => isDav(one, "exclusive") || isDav(one, "shared"));
  if (scopes.length !== 1) throw new DavProblem(400, "a lock is exclusive or shared");
  if (!inside("locktype").some((one) => isDav(one, "write"))) throw new DavProblem(400, "there are locks of the type write only");
  const owner = parts.find((part) => isDav(part, "owner"));
  const said = owner === undefined ? "" : writeXml(owner);
  if (Buffer.byteLength(said) > OWNER_BYTES_MAX) throw new DavProblem(413, `the owner has more than ${OWNER_BYTES_MAX} bytes`);
  return { isExclusive: scopes[0]!.name === "exclusive", owner: said };
}

function inTheWay(place: SpacePlace, against: readonly Lock[]): DavProblem | DavPartial {
  const href = (lock: Lock): string => hrefOf({ space: place.space, path: lock.path }, false);
  const hrefs = [...new Set(against.map(href))];
  // Others below: the answer says where they are.
  if (against.every((lock) => !covers(lock, place.path))) {
    return new DavPartial([...hrefs.map((one) => ({ href: one, status: 423 })), { href: hrefOf(place, false), status: 424 }]);
  }
  return new DavProblem(423, "others have locked it", conflictingLock(hrefs));
}

/** A lock on nothing makes an empty file (RFC 4918 §7.3). False: somebody else has made one meanwhile, and it is locked. */
async function makeEmpty(call: DavCall, place: SpacePlace, space: SpaceId, { token }: Lock): Promise<boolean> {
  const { services, who } = call;
  try {
    await using intake = services.spaces.intake(who, place.space);
    const { content, sum } = await intake.store(new Uint8Array(0));
    const mtimeNs = BigInt(services.clock.nowMs()) * 1_000_000n;
    const change: SpaceChange = {
      type: "put",
      path: place.path,
      expect: { kind: "absent" },
      entry: { kind: "file", size: 0, mode: FILE_MODE, mtimeNs, sum },
      content,
      makeParents: false,
    };
    const holding = { ...call, tokens: new Set([...call.tokens, token]) };
    const touched = [{ path: place.path, isTree: false }, ...membership(place)];
    await underLocks(holding, space, place, touched, () =>
      commitAll(call, place.space, [change], undefined, "conflict", intake),
    );
    return true;
  } catch (error) {
    if (error instanceof ApiProblem && error.code === "EXISTS") return false;
    await call.locks.remove(space, token);
    throw error;
  }
}

/** Without a body: the locks of this resource whose tokens are in the If header last on. */
async function refresh(call: DavCall, place: SpacePlace, seconds: number): Promise<Response> {
  const space = await call.services.spaces.space(call.who, place.space);
  const own = (await call.locks.ofSpace(space.id)).filter(
    (one) => covers(one, place.path) && one.user === call.who.id && call.tokens.has(one.token),
  );
  const kept: Lock[] = [];
  for (const one of own) {
    if (await call.locks.refresh(space.id, one.token, seconds)) kept.push({ ...one, timeoutSeconds: seconds });
  }
  if (kept.length > 0) return answer(place, kept, 200, {});
  throw new DavProblem(412, "no lock of yours here has a token of the If header", "<D:lock-token-matches-request-uri/>");
}

export async function unlock(call: DavCall): Promise<Response> {
  await requireNoBody(call);
  const place = spacePlace(call);
  requireWrite(call, place);
  const token = /^\s*<([^<>\s]+)>\s*$/.exec(call.headers.get("lock-token") ?? "")?.[1];
  if (token === undefined) throw new DavProblem(400, "there is no Lock-Token header with a token in < and >");
  const { services, who } = call;
  const space = await services.spaces.space(who, place.space);
  const found = (await call.locks.ofSpace(space.id)).find((one) => one.token === token && covers(one, place.path));
  if (found === undefined) {
    throw new DavProblem(409, "there is no such lock on this resource", "<D:lock-token-matches-request-uri/>");
  }
  // Whoever manages the space can end what somebody has left behind.
  if (found.user !== who.id) services.access.require(who, "manage", spaceAt(place.space, place.path));
  await call.locks.remove(space.id, token);
  return new Response(null, { status: 204 });
}

function answer(place: SpacePlace, locks: readonly Lock[], status: number, headers: Record<string, string>): Response {
  const inside = lockDiscovery(place.space, locks, place.path);
  const body = `${XML_HEAD}<D:prop xmlns:D="DAV:"><D:lockdiscovery>${inside}</D:lockdiscovery></D:prop>\n`;
  return new Response(body, { status, headers: { "content-type": XML_TYPE, ...headers } });
}
