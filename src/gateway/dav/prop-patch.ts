/** PROPPATCH: properties that clients keep are set and removed, all of a request or none. */
import { ATTRIBUTES_BYTES_MAX, ATTRIBUTE_NAME_BYTES_MAX, type Attributes, attributesBytes, sameAttributes } from "#hub/attributes.ts";
import type { SpaceChange, Version } from "#hub/space.ts";
import type { Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { commitAll } from "#gateway/api/outcome.ts";
import { isFileTime } from "#gateway/api/shapes.ts";
import { DavProblem, MULTI_STATUS_HEAD, MULTI_STATUS_TAIL, XML_TYPE } from "#gateway/dav/answer.ts";
import { type DavCall, isShown, readXml, spacePlace } from "#gateway/dav/call.ts";
import { type PropName, attributeOf, langOf, storedValue } from "#gateway/dav/dead-properties.ts";
import { requireUnlocked, requireWrite, targetAt, underLocks } from "#gateway/dav/guard.ts";
import { hrefOf } from "#gateway/dav/place.ts";
import { DAV_NS, MICROSOFT_NS, emptyElement, isDav, isProtected, propStat } from "#gateway/dav/properties.ts";
import { passedSeconds } from "#platform/net/http-date.ts";
import { type XmlElement, childElements, escapeXml, textOf } from "#gateway/xml.ts";

/** Properties of one request. */
export const PATCHED_MAX = 200;

type Patch = { readonly name: PropName; /** Undefined: it is removed. */ readonly value: string | undefined; readonly text: string };

export async function propPatch(call: DavCall): Promise<Response> {
  const place = spacePlace(call);
  requireWrite(call, place);
  const patches = patchesOf(await readXml(call));
  const space = await call.services.spaces.space(call.who, place.space);
  // Nothing is kept with a space itself.
  if (place.path === "") return answer(hrefOf(place, true), patches, () => refused(403));
  const { version } = await targetAt(call, place);
  if (version?.entry === undefined || !isShown(version)) {
    throw new SynclineError({ code: "NOT_FOUND", op: "PROPPATCH", message: "there is nothing at this address" });
  }
  const touched = [{ path: place.path, isTree: false }];
  await requireUnlocked(call, space.id, place, touched);
  const made = patched(version, patches);
  if ("faults" in made) {
    return answer(hrefOf(place, version.entry.kind === "dir"), patches, (patch) => made.faults.get(patch) ?? refused(424));
  }
  if (!sameAttributes(made.attributes, version.attributes) || made.entry !== version.entry) {
    await using intake = call.services.spaces.intake(call.who, place.space);
    const isHeld = version.content === undefined || (await intake.hold(version.content));
    if (!isHeld) throw new DavProblem(409, "the bytes of this file are gone");
    const change: SpaceChange = {
      type: "put",
      path: place.path,
      expect: { kind: "sequence", sequence: version.sequence },
      entry: made.entry,
      content: version.content,
      attributes: made.attributes,
      makeParents: false,
    };
    await underLocks(call, space.id, place, touched, () => commitAll(call, place.space, [change], undefined, "conflict", intake));
  }
  return answer(hrefOf(place, version.entry.kind === "dir"), patches, () => refused(200));
}

/** In the order of the document: what comes later wins. @throws {DavProblem} */
function patchesOf(document: XmlElement | undefined): Patch[] {
  if (document === undefined || !isDav(document, "propertyupdate")) throw new DavProblem(400, "the body is no propertyupdate");
  const patches: Patch[] = [];
  for (const part of childElements(document)) {
    const isSet = isDav(part, "set");
    if (!isSet && !isDav(part, "remove")) continue;
    for (const prop of childElements(part).filter((child) => isDav(child, "prop"))) {
      const lang = langOf(prop) ?? langOf(part) ?? langOf(document);
      for (const element of childElements(prop)) {
        const { ns, name } = element;
        patches.push({ name: { ns, name }, value: isSet ? storedValue(element, lang) : undefined, text: textOf(element) });
      }
    }
  }
  if (patches.length === 0) throw new DavProblem(400, "the body names no property");
  if (patches.length > PATCHED_MAX) throw new DavProblem(413, `more than ${PATCHED_MAX} properties are changed`);
  return patches;
}

type Result = { readonly status: number; readonly condition: string };
const refused = (status: number, condition = ""): Result => ({ status, condition });

type Patched = { readonly attributes: Attributes; readonly entry: Entry } | { readonly faults: ReadonlyMap<Patch, Result> };

function patched(version: Version, patches: readonly Patch[]): Patched {
  const attributes: Record<string, string> = { ...version.attributes };
  const faults = new Map<Patch, Result>();
  let mtimeNs: bigint | undefined;
  for (const patch of patches) {
    const { name, value } = patch;
    const timeMs = timeOf(name, patch.text);
    if (timeMs !== undefined && value !== undefined && version.entry?.kind === "file") {
      if (Number.isNaN(timeMs) || !isFileTime(BigInt(timeMs) * 1_000_000n)) faults.set(patch, refused(409));
      else mtimeNs = BigInt(timeMs) * 1_000_000n;
    } else if (isProtected(name)) faults.set(patch, refused(403, "<D:cannot-modify-protected-property/>"));
    else if (value === undefined) delete attributes[attributeOf(name)];
    else if (Buffer.byteLength(attributeOf(name)) > ATTRIBUTE_NAME_BYTES_MAX) faults.set(patch, refused(507));
    else {
      attributes[attributeOf(name)] = value;
      if (attributesBytes(attributes) > ATTRIBUTES_BYTES_MAX) faults.set(patch, refused(507));
    }
  }
  return faults.size > 0 ? { faults } : { attributes, entry: touched(version.entry!, mtimeNs) };
}

/** Clients know a file's time to the second or the millisecond: one that is the same to them stays as exact as it is. */
function touched(entry: Entry, mtimeNs: bigint | undefined): Entry {
  if (entry.kind !== "file" || mtimeNs === undefined || passedSeconds(entry.mtimeNs) === passedSeconds(mtimeNs)) return entry;
  return { ...entry, mtimeNs };
}

/** Two names by which clients set a file's time, in milliseconds; NaN: it is no time. */
function timeOf({ ns, name }: PropName, text: string): number | undefined {
  if (ns === MICROSOFT_NS && name === "Win32LastModifiedTime") return Date.parse(text.trim());
  if (ns !== DAV_NS || name !== "lastmodified") return undefined;
  return /^\s*\d{1,12}(\.\d*)?\s*$/.test(text) ? Math.floor(Number(text) * 1000) : Number.NaN;
}

function answer(href: string, patches: readonly Patch[], resultOf: (patch: Patch) => Result): Response {
  const groups = new Map<string, { result: Result; elements: Set<string> }>();
  for (const patch of patches) {
    const result = resultOf(patch);
    const key = `${result.status}${result.condition}`;
    const group = groups.get(key) ?? { result, elements: new Set<string>() };
    groups.set(key, group);
    group.elements.add(emptyElement(patch.name));
  }
  const stats = [...groups.values()].map(({ result, elements }) => propStat(result.status, [...elements], result.condition));
  const response = `<D:response><D:href>${escapeXml(href)}</D:href>${stats.join("")}</D:response>`;
  return new Response(`${MULTI_STATUS_HEAD}${response}${MULTI_STATUS_TAIL}`, { status: 207, headers: { "content-type": XML_TYPE } });
}
