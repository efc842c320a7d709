/** The client that commands speak to a hub with, and places in spaces as people write them. */
import { randomBytes } from "node:crypto";
import { LISTEN_FALLBACK } from "#config/hub-keys.ts";
import { HubClient } from "#gateway/client/hub-client.ts";
import { SPACE_NAME } from "#hub/space.ts";
import { type RelPath, pathFault } from "#model/path.ts";
import type { Context } from "#cli/context.ts";
import { readSmallFile, readTokens } from "#cli/local-files.ts";
import { usage } from "#cli/values.ts";

/** @throws {SynclineError} USAGE without a token */
export function openClient({ parsed, signal }: Context): HubClient {
  const { given } = parsed;
  const tokenFile = given["token-file"];
  if (tokenFile === undefined) throw usage("no token", "--token-file FILE holds the token of a user of the hub");
  const url = given.hub ?? `http://${LISTEN_FALLBACK}`;
  if (!/^https?:\/\/[^/]+\/?$/.test(url)) {
    throw usage(`--hub: "${url}" is no address of a hub`, "write it like https://hub.example.com:7830");
  }
  return new HubClient({
    url,
    token: readTokens("token-file", tokenFile)[0]!,
    ca: given.ca === undefined ? undefined : readSmallFile("ca", given.ca),
    traceId: randomBytes(16).toString("hex"),
    signal,
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
