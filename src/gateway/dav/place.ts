/** What an address below /dav/ names: the spaces, or a path of one of them. */
import { type RelPath, decodeName, encodeName, pathFault } from "#model/path.ts";
import { SynclineError } from "#model/error.ts";
import { encodeUrlPath, percentDecode, percentEncode, splitUrl } from "#gateway/api/url-path.ts";

export const DAV_PREFIX = "/dav";

/** Undefined: the collection of all spaces. */
export type Place = { readonly space: string; /** "" is the space itself. */ readonly path: RelPath } | undefined;

/**
 * @param raw a path as it stands in a URL, with or without a slash at its end
 * @throws {SynclineError} USAGE when it is not below /dav, or cannot be a path
 */
export function placeOf(raw: string): Place {
  const inside = raw === DAV_PREFIX ? "" : raw.startsWith(`${DAV_PREFIX}/`) ? raw.slice(DAV_PREFIX.length + 1) : undefined;
  if (inside === undefined) throw badAddress("it is not below /dav/");
  const names = inside.replace(/\/$/, "").split("/").map(percentDecode);
  if (names.some((name) => name.includes("/"))) throw badAddress('a name cannot hold "/"');
  const [space, ...rest] = names;
  if (space === "" && rest.length === 0) return undefined;
  const path = rest.join("/");
  const fault = space === "" ? "a name is missing" : pathFault(path, rest.length === 0);
  if (fault !== undefined) throw badAddress(fault);
  if (decodeName(encodeName(path)) !== path) throw badAddress("its bytes are no name");
  return { space: space!, path };
}

function badAddress(fault: string): SynclineError {
  const hint = "addresses are /dav/SPACE/PATH, each name percent-encoded";
  return new SynclineError({ code: "USAGE", op: "read request", message: `the address cannot be used: ${fault}`, hint });
}

/** How a resource is called in answers. Collections end with a slash. */
export function hrefOf(place: Place, isCollection: boolean): string {
  if (place === undefined) return `${DAV_PREFIX}/`;
  const at = `${DAV_PREFIX}/${percentEncode(place.space)}`;
  if (place.path === "") return `${at}/`;
  return `${at}/${encodeUrlPath(place.path)}${isCollection ? "/" : ""}`;
}

/**
 * The path of a URL in a header: absolute, or a path of this server.
 * @param hosts names of this server, with their ports where they are not the usual ones
 * @returns undefined for another server
 * @throws {SynclineError} USAGE
 */
export function placeOfUrl(url: string, hosts: readonly string[]): { readonly place: Place } | undefined {
  const absolute = /^https?:\/\/([^/?#]*)/i.exec(url);
  if (absolute !== null) {
    const host = absolute[1]!.toLowerCase().replace(/^[^@]*@/, "").replace(/:(80|443)$/, "");
    if (!hosts.includes(host)) return undefined;
    return placeOrElsewhere(splitUrl(url).path);
  }
  if (!url.startsWith("/")) throw badAddress("it is neither a URL nor a path");
  return placeOrElsewhere(url.replace(/[?#].*$/, ""));
}

/** What is not below /dav is none of these resources, like another server. */
function placeOrElsewhere(raw: string): { readonly place: Place } | undefined {
  const isOurs = raw === DAV_PREFIX || raw.startsWith(`${DAV_PREFIX}/`);
  return isOurs ? { place: placeOf(raw) } : undefined;
}
