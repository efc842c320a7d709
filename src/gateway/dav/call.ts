/** One request of WebDAV as its method sees it, and what methods share: finding resources, reading bodies, paths. */
import type { Principal } from "#access/access.ts";
import type { Space, Version } from "#hub/space.ts";
import { NO_ATTRIBUTES } from "#hub/attributes.ts";
import { DIR_MODE } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import { type ApiServices, spaceAt } from "#gateway/api/route.ts";
import type { Trace } from "#gateway/api/trace.ts";
import type { Traffic } from "#gateway/api/traffic.ts";
import { etagOf } from "#gateway/api/shapes.ts";
import { DavProblem } from "#gateway/dav/answer.ts";
import type { LockTable } from "#gateway/dav/lock-table.ts";
import type { Place } from "#gateway/dav/place.ts";
import { paced } from "#platform/net/pace.ts";
import { DAV_XML } from "#gateway/dav/xml-bounds.ts";
import { type XmlElement, XmlFault, parseXml } from "#gateway/xml.ts";
import { boundedBody } from "#gateway/bounded-body.ts";
import type { Renew } from "#gateway/renewing.ts";

export type DavServices = Pick<
  ApiServices,
  "spaces" | "access" | "clock" | "random" | "log" | "publicUrl" | "work" | "traffic"
>;

export type DavCall = {
  readonly services: DavServices;
  readonly locks: LockTable;
  readonly request: Request;
  readonly headers: Headers;
  readonly who: Principal;
  readonly renew: Renew;
  readonly trace: Trace;
  readonly traffic: Traffic;
  readonly place: Place;
  /** Tokens that the client says it has. */
  readonly tokens: ReadonlySet<string>;
};

/** What is at an address. */
export type Resource = {
  readonly place: Place;
  /** Undefined: the collection of all spaces. */
  readonly space: Space | undefined;
  /** Undefined: that collection, or a space itself. */
  readonly version: Version | undefined;
  readonly isCollection: boolean;
};

export type SpacePlace = NonNullable<Place>;

/** @throws {DavProblem} for what can be done in spaces only */
export function spacePlace(call: DavCall): SpacePlace {
  if (call.place !== undefined) return call.place;
  throw new DavProblem(403, "spaces are made and removed by those who manage the hub, not here");
}

export function mayRead({ services, who }: Pick<DavCall, "services" | "who">, { space, path }: SpacePlace): boolean {
  return services.access.decide(who, "read", spaceAt(space, path)).allowed;
}

/**
 * What is at an address for somebody who may see it; undefined: nothing.
 *
 * Directories on the way to something that may be read are seen, but nothing of what they are. Symlinks are not: their
 * targets mean something on the hosts that have them, and nothing to clients of this door.
 * @throws {SynclineError} DENIED, SPACE_UNKNOWN
 */
export async function resourceAt(call: DavCall, place: Place): Promise<Resource | undefined> {
  if (place === undefined) return { place, space: undefined, version: undefined, isCollection: true };
  const space = await call.services.spaces.space(call.who, place.space);
  if (place.path === "") return { place, space, version: undefined, isCollection: true };
  const version = await versionAt(call, place);
  if (version?.entry === undefined || !isShown(version)) return undefined;
  return { place, space, version, isCollection: version.entry.kind === "dir" };
}

export const isShown = ({ entry }: Version): boolean => entry?.kind === "file" || entry?.kind === "dir";

/** What is at a path, symlinks too. @throws {SynclineError} DENIED */
export async function versionAt(call: DavCall, place: SpacePlace): Promise<Version | undefined> {
  const { services, who } = call;
  const { space, path } = place;
  if (mayRead(call, place) || !services.access.reaches(who, "read", space, path)) {
    return services.spaces.version(who, space, path);
  }
  const [inside] = await services.spaces.list(who, space, { below: path, after: undefined, shallow: true, limit: 1, at: undefined });
  return inside === undefined ? undefined : passage(path);
}

function passage(path: RelPath): Version {
  const entry = { kind: "dir", mode: DIR_MODE } as const;
  return { path, sequence: 0, entry, content: undefined, attributes: NO_ATTRIBUTES, vector: {} };
}

/** As far as the caller may know: a commit looks again. @throws {DavProblem} 409 */
export async function requireCollectionAbove(call: DavCall, { space, path }: SpacePlace): Promise<void> {
  const dir = { space, path: parentOf(path) };
  if (dir.path === "" || !call.services.access.reaches(call.who, "read", space, dir.path)) return;
  const above = await versionAt(call, dir);
  if (above?.entry?.kind !== "dir") throw new DavProblem(409, "the collection above is missing");
}

/** @throws {SynclineError} NOT_FOUND */
export async function existing(call: DavCall): Promise<Resource> {
  const found = await resourceAt(call, call.place);
  if (found !== undefined) return found;
  throw new SynclineError({ code: "NOT_FOUND", op: call.request.method, message: "there is nothing at this address" });
}

export const etagAt = (version: Version | undefined): string | undefined =>
  version?.entry === undefined ? undefined : etagOf(version);

/** The document in the body; undefined: there is no body. @throws {DavProblem} */
export async function readXml({ request, headers }: DavCall): Promise<XmlElement | undefined> {
  const tooLarge = (): DavProblem => new DavProblem(413, `the body has more than ${DAV_XML.bytesMax} bytes`);
  if (Number(headers.get("content-length") ?? 0) > DAV_XML.bytesMax) throw tooLarge();
  const bytes = await boundedBody(request.body, DAV_XML.bytesMax, tooLarge);
  if (bytes.length === 0) return undefined;
  try {
    return parseXml(bytes, DAV_XML);
  } catch (error) {
    if (error instanceof XmlFault) throw new DavProblem(400, error.message);
    throw error;
  }
}

/** Methods without a use for a body refuse one, or it would be thought that something was done with it. */
export async function requireNoBody({ request }: DavCall): Promise<void> {
  for await (const piece of paced(request.body)) {
    if (piece.length > 0) throw new DavProblem(415, "this method takes no body");
  }
}

export type Depth = 0 | 1 | "infinity";

/** @throws {DavProblem} */
export function depthOf({ headers }: DavCall, fallback: Depth): Depth {
  const text = headers.get("depth")?.trim().toLowerCase();
  if (text === undefined) return fallback;
  if (text === "infinity") return text;
  if (text === "0" || text === "1") return Number(text) as 0 | 1;
  throw new DavProblem(400, "Depth is 0, 1 or infinity");
}
