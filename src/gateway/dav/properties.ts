/** Properties of resources: those that the hub knows, those that clients keep, and how a client asks for them. */
import { nameOf, printablePath } from "#model/path.ts";
import { mediaTypeOf } from "#gateway/api/content-bytes.ts";
import { DavProblem, statusLine } from "#gateway/dav/answer.ts";
import { type DavCall, type Resource, etagAt, mayRead } from "#gateway/dav/call.ts";
import { OWNCLOUD_NS, checksumsOf } from "#gateway/dav/checksums.ts";
import { type PropName, deadProperties, keyOf } from "#gateway/dav/dead-properties.ts";
import { type Lock, covers } from "#gateway/dav/lock.ts";
import { hrefOf } from "#gateway/dav/place.ts";
import { passedMs } from "#platform/net/http-date.ts";
import { type XmlElement, childElements, escapeXml } from "#gateway/xml.ts";

/** Names that one request may ask for. */
export const PROP_NAMES_MAX = 200;
export const DAV_NS = "DAV:";
export const MICROSOFT_NS = "urn:schemas-microsoft-com:";

/** What values are made of, beside the resource itself. */
export type PropContext = {
  readonly call: DavCall;
  /** All of the resource's space. */
  readonly locks: readonly Lock[];
};

type Live = PropName & {
  /** Part of what is told to who asks for everything. */
  readonly isUsual: boolean;
  /** The XML inside; undefined: the resource has no such property. */
  readonly value: (resource: Resource, context: PropContext) => string | undefined | Promise<string | undefined>;
};

const dav = (name: string, value: Live["value"], isUsual = true): Live => ({ ns: DAV_NS, name, isUsual, value });

const SUPPORTED_LOCK = ["exclusive", "shared"]
  .map((scope) => `<D:lockentry><D:lockscope><D:${scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>`)
  .join("");

const LIVE: readonly Live[] = [
  dav("resourcetype", ({ isCollection }) => (isCollection ? "<D:collection/>" : "")),
  dav("displayname", displayName),
  dav("getcontentlength", ({ version }) => (version?.entry?.kind === "file" ? String(version.entry.size) : undefined)),
  dav("getcontenttype", ({ version, isCollection }) => (isCollection ? "httpd/unix-directory" : escapeXml(mediaTypeOf(version!)))),
  dav("getetag", ({ version }) => (etagAt(version) === undefined ? undefined : escapeXml(etagAt(version)!))),
  dav("getlastmodified", async (resource, context) => httpDate(await changedMs(resource, context))),
  // The first version may be long ago and gone: it is said when what is there now was made.
  dav("creationdate", async (resource, context) => isoDate(await changedMs(resource, context))),
  dav("supportedlock", ({ place }) => (place === undefined ? "" : SUPPORTED_LOCK)),
  dav("lockdiscovery", ({ place }, { locks }) => (place === undefined ? "" : lockDiscovery(place.space, locks, place.path))),
  dav("quota-used-bytes", ({ space }) => (space === undefined ? undefined : String(space.usage.bytes)), false),
  dav("quota-available-bytes", quotaLeft, false),
  { ns: OWNCLOUD_NS, name: "checksums", isUsual: false, value: checksums },
  { ns: MICROSOFT_NS, name: "Win32LastModifiedTime", isUsual: false, value: fileTime },
];
const LIVE_BY_KEY: ReadonlyMap<string, Live> = new Map(LIVE.map((live) => [keyOf(live), live]));

/** Not for clients to set. What they call a resource is theirs. */
export const isProtected = (name: PropName): boolean => LIVE_BY_KEY.has(keyOf(name)) && name.name !== "displayname";

function displayName({ place, version }: Resource): string {
  const name = place === undefined ? "dav" : version === undefined ? place.space : nameOf(version.path);
  return escapeXml(printablePath(name));
}

function quotaLeft({ space }: Resource): string | undefined {
  const quota = space?.settings.quotaBytes;
  return quota === undefined ? undefined : String(Math.max(0, quota - space!.usage.bytes));
}

async function changedMs({ place, space, version }: Resource, { call }: PropContext): Promise<number | undefined> {
  if (version === undefined) return space?.createdMs;
  if (version.entry?.kind === "file") return passedMs(version.entry.mtimeNs);
  // A directory has no time of its own: when its version was made is in the journal, for those who may read it.
  if (place === undefined || !mayRead(call, place)) return undefined;
  const [last] = await call.services.spaces.history(call.who, place.space, version.path, undefined, 1);
  return last?.timeMs;
}

const isDate = (ms: number | undefined): ms is number => ms !== undefined && !Number.isNaN(new Date(ms).getTime());

const httpDate = (ms: number | undefined): string | undefined => (isDate(ms) ? new Date(ms).toUTCString() : undefined);

const isoDate = (ms: number | undefined): string | undefined =>
  isDate(ms) ? new Date(ms).toISOString().replace(/\.\d+Z$/, "Z") : undefined;

function checksums({ version }: Resource): string | undefined {
  const known = version === undefined ? undefined : checksumsOf(version);
  return known === undefined ? undefined : `<checksum>${known}</checksum>`;
}

function fileTime({ version }: Resource): string | undefined {
  return version?.entry?.kind === "file" ? httpDate(passedMs(version.entry.mtimeNs)) : undefined;
}

/** The locks that hold for a path. */
export function lockDiscovery(space: string, locks: readonly Lock[], path: string): string {
  return locks.filter((lock) => covers(lock, path)).map((lock) => activeLock(space, lock)).join("");
}

function activeLock(space: string, lock: Lock): string {
  const root = hrefOf({ space, path: lock.path }, false);
  return (
    `<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:${lock.isExclusive ? "exclusive" : "shared"}/></D:lockscope>` +
    `<D:depth>${lock.isDeep ? "infinity" : "0"}</D:depth>${lock.owner}<D:timeout>Second-${lock.timeoutSeconds}</D:timeout>` +
    `<D:locktoken><D:href>${escapeXml(lock.token)}</D:href></D:locktoken>` +
    `<D:lockroot><D:href>${escapeXml(root)}</D:href></D:lockroot></D:activelock>`
  );
}

// ---------------------------------------------------------------- asking

export type PropRequest =
  | { readonly kind: "all"; readonly include: readonly PropName[] }
  | { readonly kind: "names" }
  | { readonly kind: "some"; readonly names: readonly PropName[] };

/** @param document undefined: no body, which asks for everything. @throws {DavProblem} */
export function propRequestOf(document: XmlElement | undefined): PropRequest {
  if (document === undefined) return { kind: "all", include: [] };
  if (!isDav(document, "propfind")) throw new DavProblem(400, "the body is no propfind");
  const parts = childElements(document).filter(({ ns }) => ns === DAV_NS);
  const asked = parts.filter(({ name }) => name === "allprop" || name === "propname" || name === "prop");
  if (asked.length !== 1) throw new DavProblem(400, "a propfind holds one of allprop, propname and prop");
  const [one] = asked;
  if (one!.name === "propname") return { kind: "names" };
  if (one!.name === "prop") return { kind: "some", names: namesIn(one!) };
  const include = parts.find(({ name }) => name === "include");
  return { kind: "all", include: include === undefined ? [] : namesIn(include) };
}

export const isDav = (element: XmlElement, name: string): boolean => element.ns === DAV_NS && element.name === name;

function namesIn(element: XmlElement): PropName[] {
  const names = new Map(childElements(element).map(({ ns, name }) => [keyOf({ ns, name }), { ns, name }]));
  if (names.size > PROP_NAMES_MAX) throw new DavProblem(413, `more than ${PROP_NAMES_MAX} properties are asked for`);
  return [...names.values()];
}

// ---------------------------------------------------------------- answering

/** An empty element for a name; the prefix D is the document's. */
export function emptyElement({ ns, name }: PropName): string {
  if (ns === DAV_NS) return `<D:${name}/>`;
  return ns === "" ? `<${name}/>` : `<${name} xmlns="${escapeXml(ns)}"/>`;
}

function liveElement({ ns, name }: PropName, inner: string): string {
  if (inner === "") return emptyElement({ ns, name });
  return ns === DAV_NS ? `<D:${name}>${inner}</D:${name}>` : `<${name} xmlns="${escapeXml(ns)}">${inner}</${name}>`;
}

/** The response element of one resource. @param isMinimal what it has not is left out instead of being named */
export async function propResponse(
  resource: Resource,
  request: PropRequest,
  context: PropContext,
  isMinimal: boolean,
): Promise<string> {
  const dead = resource.version === undefined ? new Map<string, never>() : deadProperties(resource.version);
  const found: string[] = [];
  const missing: string[] = [];
  const names = request.kind === "some" ? request.names : namesOf(request, dead);
  for (const name of names) {
    const kept = dead.get(keyOf(name));
    const live = LIVE_BY_KEY.get(keyOf(name));
    const inner = kept === undefined ? await live?.value(resource, context) : undefined;
    if (kept === undefined && inner === undefined) {
      // Who asked for everything did not ask for this.
      if (request.kind === "some") missing.push(emptyElement(name));
    } else if (request.kind === "names") found.push(emptyElement(name));
    else found.push(kept?.xml ?? liveElement(name, inner!));
  }
  const parts = [...(found.length > 0 || missing.length === 0 || isMinimal ? [propStat(200, found)] : [])];
  if (missing.length > 0 && !isMinimal) parts.push(propStat(404, missing));
  const href = escapeXml(hrefOf(resource.place, resource.isCollection));
  return `<D:response><D:href>${href}</D:href>${parts.join("")}</D:response>\n`;
}

function namesOf(request: Exclude<PropRequest, { kind: "some" }>, dead: ReadonlyMap<string, { name: PropName }>): PropName[] {
  const names = new Map<string, PropName>();
  for (const live of LIVE) if (live.isUsual || request.kind === "names") names.set(keyOf(live), live);
  for (const [key, { name }] of dead) names.set(key, name);
  if (request.kind === "all") for (const name of request.include) names.set(keyOf(name), name);
  return [...names.values()];
}

export const propStat = (status: number, elements: readonly string[], condition = ""): string => {
  const error = condition === "" ? "" : `<D:error>${condition}</D:error>`;
  return `<D:propstat><D:prop>${elements.join("")}</D:prop>${statusLine(status)}${error}</D:propstat>`;
};
