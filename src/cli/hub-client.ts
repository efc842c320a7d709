/** The client that commands speak to a hub with, and places in spaces as people write them. */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { LISTEN_FALLBACK } from "#config/hub-keys.ts";
import { HubClient } from "#gateway/client/hub-client.ts";
import { SPACE_NAME } from "#hub/space.ts";
import { type RelPath, pathFault } from "#model/path.ts";
import type { Context } from "#cli/context.ts";
import { readSmallFile, readTokens } from "#cli/local-files.ts";
import { readLogin } from "#cli/logins.ts";
import { usage } from "#cli/values.ts";
import { VERSION } from "#cli/version.ts";

/** The address of the hub that was named, without a path. @throws {SynclineError} USAGE */
export function hubUrl({ parsed }: Context): string {
  const url = parsed.given.hub ?? `http://${LISTEN_FALLBACK}`;
  if (/^https?:\/\/[^/]+\/?$/.test(url)) return url.replace(/\/$/, "");
  throw usage(`--hub: "${url}" is no address of a hub`, "write it like https://hub.example.com:7830");
}

/** With the token that was named, or the session of `syncline login`. @throws {SynclineError} USAGE without either */
export function openClient(context: Context): HubClient {
  const tokenFile = context.parsed.given["token-file"];
  const url = hubUrl(context);
  const login = tokenFile === undefined ? readLogin(context.stateDir(), url) : undefined;
  const token = tokenFile === undefined ? login?.value : readTokens("token-file", tokenFile)[0]!;
  if (token === undefined) {
    throw usage(`no token for ${url}`, "sign in with syncline login, or name a file with a token: --token-file FILE");
  }
  return clientOf(context, token, login?.ca);
}

/** @param ca PEM, where none was named */
export function clientOf(context: Context, token: string | undefined, ca?: string): HubClient {
  const { given } = context.parsed;
  return new HubClient({
    url: hubUrl(context),
    token,
    ca: given.ca === undefined ? ca : readSmallFile("ca", given.ca),
    program: `syncline/${VERSION} on ${hostname()}`,
    traceId: randomBytes(16).toString("hex"),
    signal: context.signal,
  });
}

export type Place = { readonly space: string; /** "" is the whole space. */ readonly path: RelPath };

/** "SPACE:PATH"; "SPACE" alone is all of it. @throws {SynclineError} USAGE */
export function parsePlace(text: string): Place {
  const colon = text.indexOf(":");
  const space = colon < 0 ? text : text.slice(0, colon);
  const path = colon < 0 ? "" : text.slice(colon + 1).replace(/\/$/, "");
  if (!SPACE_NAME.test(space)) throw usage(`"${text}" does not begin with the name of a space`, "write SPACE:PATH");
  requirePath(path, true);
  return { space, path };
}

/** The same, of one file or directory. @throws {SynclineError} USAGE */
export function parseFilePlace(text: string): Place {
  const place = parsePlace(text);
  if (place.path === "") throw usage(`"${text}" names a whole space`, "write SPACE:PATH");
  return place;
}

export function requirePath(path: RelPath, mayBeAll: boolean): void {
  const fault = pathFault(path, mayBeAll);
  if (fault !== undefined) throw usage(`"${path}" cannot be a path in a space: ${fault}`);
}

/**
 * Where something is to be moved or copied to: within the same space, so its name may be left out. A name that has a colon in
 * it is written with the space.
 *
 * @throws {SynclineError} USAGE
 */
export function parseTarget(text: string, space: string): RelPath {
  const colon = text.indexOf(":");
  const other = text.slice(0, Math.max(colon, 0));
  const isPlace = colon > 0 && SPACE_NAME.test(other);
  if (isPlace && other !== space) {
    throw usage(
      `"${text}" is another space, or a name with a colon`,
      `it stays within ${space}: write ${space}:PATH; between spaces: syncline get, syncline put`,
    );
  }
  const path = (isPlace ? text.slice(colon + 1) : text).replace(/\/$/, "");
  requirePath(path, false);
  return path;
}
