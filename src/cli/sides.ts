/** Opens the endpoint of a side: a local directory, one behind a server, one reached with ssh, a place on a foreign system. */
import { join } from "node:path";
import { canonicalPath } from "#platform/folders.ts";
import type { Host } from "#platform/host.ts";
import { foreignOpener } from "#cli/foreign-sides.ts";
import { type SideAddress, parseSide } from "#cli/side-address.ts";
import { VERSION } from "#cli/version.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { RemoteEndpoint } from "#sync/endpoint/remote-endpoint.ts";
import type { RootToOpen } from "#sync/endpoint/serve.ts";
import { openOrReplace } from "#sync/index/sqlite-store.ts";
import type { Store } from "#sync/index/store.ts";
import { overlap, refuseNested } from "#sync/session/open-sides.ts";
import { parseFingerprint } from "#sync/transport/known-servers.ts";
import type { TlsTrust } from "#sync/transport/server-trust.ts";
import { connectOverSsh } from "#sync/transport/ssh.ts";
import { connectToServer } from "#sync/transport/tls-client.ts";
import { shellWord } from "#cli/format.ts";
import { isSameDirectory, makeFolder, readIfThere, removeFiles } from "#cli/local-files.ts";
import { PRIVATE_DIR } from "#model/path.ts";
import { SynclineError } from "#model/error.ts";

/** How the program names itself to the other side. */
export const PROGRAM = `syncline ${VERSION}`;

export type SideContext = {
  readonly host: Host;
  /** Indexes of local roots, and pinned certificates. */
  readonly stateDir: string;
  readonly token: string | undefined;
  readonly fingerprint: string | undefined;
  readonly acceptNew: boolean;
  readonly askTrust: ((question: string) => Promise<boolean>) | undefined;
  readonly ca: string | undefined;
  readonly identity: { readonly certificate: string; readonly key: string } | undefined;
  readonly sshCommand: string | undefined;
  /** Keys and passwords of foreign systems, see credentials.ts. */
  readonly credentialsFile: string | undefined;
  /** Hex digits that name the pair on foreign systems. */
  readonly owner: string;
};

/** Hex digits of a SHA-256; names pairs, plans, runs and files of ours. */
export function shortHash(text: string, digits: number): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, digits);
}

/** Opens a database of ours; a damaged one is moved aside and begun anew. */
export function openState(file: string): Store {
  makeFolder(join(file, ".."));
  return openOrReplace(file, { check: false }).store;
}

/** Removes a closed database of ours with the files that belong to it. */
export function removeState(file: string): void {
  removeFiles([file, `${file}-wal`, `${file}-shm`]);
}

/** Makes local endpoints whose indexes are kept below `stateDir`. */
export function localEndpoints(host: Host, stateDir: string): (root: RootToOpen) => Endpoint {
  const fileOf = (name: string): string => join(stateDir, "roots", `${name}.db`);
  return ({ path, label, readOnly }) =>
    new DirEndpoint({
      host,
      label,
      readOnly,
      path: canonicalPath(path),
      openStore: (name) => openState(fileOf(name)),
      removeStore: (name) => removeState(fileOf(name)),
      hash: (text) => shortHash(text, 32),
    });
}

/**
 * Returns what opens the side anew for each connection; the text is checked at once.
 *
 * @throws {SynclineError} USAGE for an address or fingerprint that is none
 */
export function sideOpener(text: string, context: SideContext): () => Endpoint {
  const address = parseSide(text);
  if (address.kind === "local") {
    const open = localEndpoints(context.host, context.stateDir);
    return () => open({ path: address.path, label: address.path, readOnly: false });
  }
  if (address.kind === "tls") return tlsOpener(text, address, context);
  if (address.kind === "ssh") return sshOpener(text, address, context);
  const fileOf = (name: string): string => join(context.stateDir, "roots", `${name}.db`);
  return foreignOpener(address, context, {
    openStore: (name) => openState(fileOf(name)),
    removeStore: (name) => removeState(fileOf(name)),
    hash: (part) => shortHash(part, 32),
    trust: trustOf(context),
    environment: process.env,
    addressOf: undefined,
  });
}

/**
 * Two local sides can be told to overlap before anything in them is opened or created.
 *
 * @throws {SynclineError} ROOT_OVERLAP
 */
export function refuseOverlap(alpha: string, beta: string): void {
  const [a, b] = [parseSide(alpha), parseSide(beta)];
  if (a.kind !== "local" || b.kind !== "local") return;
  refuseNested(canonicalPath(a.path), canonicalPath(b.path));
  if (isSameDirectory(a.path, b.path)) throw overlap(a.path, b.path);
}

/**
 * A directory that was copied with its .syncline carries the marker of the other one: what is remembered of the two could
 * not be told apart.
 *
 * @throws {SynclineError} ROOT_IDENTITY when two local sides have the same one
 */
export function refuseSameMarker(alpha: string, beta: string): void {
  const markers = [alpha, beta].map((text) => {
    const side = parseSide(text);
    return side.kind === "local" ? readMarkerText(join(side.path, PRIVATE_DIR, "root")) : undefined;
  });
  if (markers[0] === undefined || markers[0] !== markers[1]) return;
  throw new SynclineError({
    code: "ROOT_IDENTITY",
    op: "open",
    message: `${alpha} and ${beta} carry the same marker: one was copied from the other, with its ${PRIVATE_DIR}`,
    hint:
      `remove ${PRIVATE_DIR} from the copy (it only holds what undo needs there), for example: ` +
      `rm -r ${shellWord(join(beta, PRIVATE_DIR))}`,
  });
}

function readMarkerText(file: string): string | undefined {
  try {
    return readIfThere(file);
  } catch {
    // Whoever opens the root says better what is wrong with it.
    return undefined;
  }
}

function trustOf(context: SideContext): TlsTrust {
  const { askTrust } = context;
  return {
    ca: context.ca,
    fingerprint: context.fingerprint === undefined ? undefined : parseFingerprint(context.fingerprint),
    acceptNew: context.acceptNew,
    askTrust:
      askTrust === undefined
        ? undefined
        : (server: string, fingerprint: string) =>
            askTrust(`The certificate of ${server} is new here:\n  ${fingerprint}\nTrust it?`),
    stateDir: context.stateDir,
  };
}

function tlsOpener(
  text: string,
  address: SideAddress & { kind: "tls" },
  context: SideContext,
): () => Endpoint {
  const { host } = context;
  const options = {
    host: address.host,
    port: address.port,
    root: address.root,
    token: context.token,
    identity: context.identity,
    program: PROGRAM,
    clock: host.clock,
    trust: trustOf(context),
  };
  return () =>
    new RemoteEndpoint({
      label: text,
      clock: host.clock,
      connect: (signal) => connectToServer(options, signal),
    });
}

function sshOpener(
  text: string,
  address: SideAddress & { kind: "ssh" },
  context: SideContext,
): () => Endpoint {
  const { host: target, user, port, path } = address;
  const { host, sshCommand } = context;
  const options = {
    target: { host: target, user, port },
    path,
    command: sshCommand,
    version: VERSION,
    program: PROGRAM,
    clock: host.clock,
    hashFile: join(context.stateDir, "executables.json"),
  };
  return () =>
    new RemoteEndpoint({
      label: text,
      clock: host.clock,
      connect: (signal) => connectOverSsh(options, signal),
    });
}
