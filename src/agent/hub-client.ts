/** Finds the hub, joins it, and connects to it: by the authority that was pinned, whatever address it is reached at. */
import { X509Certificate } from "node:crypto";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { otherScheme, reasonOf } from "#platform/net/connection-words.ts";
import { getUnjudged } from "#platform/net/http-client.ts";
import { type Identity, connectTls, fingerprintOf } from "#platform/net/tls-socket.ts";
import { startClient } from "#sync/wire/greeting.ts";
import type { Mux } from "#sync/wire/mux.ts";
import {
  ENROL_METHOD,
  ENROL_ROOT,
  HELLO_METHOD,
  HELLO_ROOT,
  decodeEnrolReply,
  encodeControl,
} from "#hub/agents/control.ts";
import { HELLO_BYTES_MAX, HELLO_PATH, HUB_TLS_NAME, type HubHello, parseHello } from "#hub/agents/hello.ts";
import { type AgentIdentity, certificateRequest, requireFits } from "#agent/identity.ts";

/** How a person names a hub. */
export type HubAddress =
  | { readonly kind: "http"; readonly url: string; readonly host: string }
  | { readonly kind: "sync"; readonly host: string; readonly port: number };

/** Where its sync listener is. */
export type HubEnds = { readonly host: string; readonly port: number };

export type Reach = { readonly program: string; readonly clock: Clock };

/** @throws {SynclineError} USAGE */
export function parseHubAddress(text: string): HubAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const host = url?.hostname.replace(/^\[|\]$/g, "") ?? "";
  if (url !== undefined && host !== "") {
    if (url.protocol === "http:" || url.protocol === "https:") return { kind: "http", url: url.origin + HELLO_PATH, host };
    if (url.protocol === "syncline:" && url.port !== "") return { kind: "sync", host, port: Number(url.port) };
  }
  throw new SynclineError({
    code: "USAGE",
    op: "read address",
    message: `"${text.slice(0, 200)}" is no address of a hub`,
    hint: "write https://HOST:PORT of its HTTP API, or syncline://HOST:PORT of its sync listener",
  });
}

/**
 * Asks the hub who it is. Whoever answers may say anything: compare the fingerprint with the pinned one.
 * @throws {SynclineError} LINK_LOST (retryable) when it cannot be reached, PROTOCOL
 */
export async function askHub(address: HubAddress, reach: Reach, signal: AbortSignal): Promise<HubHello & HubEnds> {
  const hello =
    address.kind === "http" ? await askHttp(address.url, signal) : await askSync(address, reach, signal);
  const port = address.kind === "sync" ? address.port : hello.syncPort;
  return { ...hello, host: address.host, port };
}

async function askHttp(url: string, signal: AbortSignal): Promise<HubHello> {
  let text: string;
  try {
    text = await getUnjudged(url, HELLO_BYTES_MAX, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(url, error);
  }
  return parseHello(text);
}

async function askSync(ends: HubEnds, reach: Reach, signal: AbortSignal): Promise<HubHello> {
  const mux = await connect({ ...ends, ca: undefined, identity: undefined, root: HELLO_ROOT, ...reach }, signal);
  const abort = (): void => mux.close();
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    const answer = await mux.open(HELLO_METHOD).receive();
    return parseHello(Buffer.from(answer ?? []).toString("utf8"));
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
    mux.close();
  }
}

export type ConnectOptions = HubEnds &
  Reach & {
    /** PEM of the hub's authority; undefined only to ask who it is. */
    readonly ca: string | undefined;
    readonly identity: Identity | undefined;
    readonly root: string;
  };

/** @throws {SynclineError} LINK_LOST (retryable), TRUST, and what the hub refuses with: AUTH, ROOT_UNKNOWN */
export async function connect(options: ConnectOptions, signal: AbortSignal): Promise<Mux> {
  const { host, port, ca, identity, root, program, clock } = options;
  const reached = await connectTls({ host, port, authorities: ca, identity, serverName: HUB_TLS_NAME }, signal).catch(
    (error: unknown) => {
      signal.throwIfAborted();
      throw unreachable(`${host}:${port}`, error);
    },
  );
  const { transport, peer } = reached;
  if (ca !== undefined && peer.fault !== undefined) {
    transport.close();
    throw new SynclineError({
      code: "TRUST",
      op: "check hub",
      message: `who answers at ${host}:${port} is not our hub: ${peer.fault}`,
      hint: "check --hub; if the hub was set up anew, remove identity.json from --data and join it again",
      // Another machine may have the address for a while.
      retryable: true,
    });
  }
  return (await startClient(transport, { root, token: "", program, clock }, signal)).mux;
}

export type Join = {
  readonly address: HubAddress;
  readonly name: string;
  readonly token: string;
  /** PEM of our private key. */
  readonly key: string;
  /** "SHA256:hex" of the hub's authority, as by parseFingerprint(). */
  readonly fingerprint: string | undefined;
  /** Pin whatever answers, when no fingerprint is given. */
  readonly acceptNew: boolean;
  readonly reach: Reach;
};

/**
 * Joins the hub: pins its authority and gets a certificate of it. The token is shown only to who proved to be the hub.
 * @throws {SynclineError} TRUST, AUTH, USAGE, LINK_LOST (retryable)
 */
export async function enrol(join: Join, signal: AbortSignal): Promise<AgentIdentity> {
  const { address, name, token, key, reach } = join;
  const hello = await askHub(address, reach, signal);
  judge(hello, join);
  const mux = await connect({ ...reach, host: hello.host, port: hello.port, ca: hello.ca, identity: undefined, root: ENROL_ROOT }, signal);
  const abort = (): void => mux.close();
  signal.addEventListener("abort", abort, { once: true });
  try {
    const channel = mux.open(ENROL_METHOD);
    await channel.send(encodeControl({ token, host: name, ...certificateRequest(key, name) }));
    const { hub, certificate } = decodeEnrolReply((await channel.receive()) ?? new Uint8Array(0));
    requireFits(certificate, key, hello.ca);
    return { version: 1, name, hub, ca: hello.ca, certificate };
  } catch (error) {
    throw refusal(error, name);
  } finally {
    signal.removeEventListener("abort", abort);
    mux.close();
  }
}

/** What the hub says to any credentials, in the words of who joins. */
function refusal(error: unknown, name: string): unknown {
  if (!(error instanceof SynclineError)) return error;
  const facts = { code: error.code, op: "join hub", cause: error };
  if (error.code === "AUTH") {
    return new SynclineError({
      ...facts,
      message: "the hub does not take this join token: it is not one of its own, or is used up, expired or revoked",
      hint: "an administrator makes one: syncline join-token create",
    });
  }
  if (error.code !== "EXISTS") return error;
  return new SynclineError({
    ...facts,
    message: `another host has joined as "${name}", or this one did with a key that it has no more`,
    hint: `if it is this one, an administrator lets the name go: syncline agents remove ${name}; otherwise choose another --name`,
  });
}

function judge(hello: HubHello, { fingerprint, acceptNew }: Join): void {
  let actual: string;
  try {
    actual = fingerprintOf(new X509Certificate(hello.ca));
  } catch (cause) {
    throw new SynclineError({ code: "PROTOCOL", op: "check hub", message: "the hub's authority cannot be read", cause });
  }
  if (fingerprint === undefined ? acceptNew : fingerprint === actual) return;
  throw new SynclineError({
    code: "TRUST",
    op: "check hub",
    message:
      fingerprint === undefined
        ? `this hub is not known yet; its authority is ${actual}`
        : `the hub's authority is not the expected one: wanted ${fingerprint}, got ${actual}`,
    hint:
      fingerprint === undefined
        ? `compare it with what the hub prints, then add --fingerprint ${actual} or --accept-new`
        : "ask the hub's operator for its fingerprint; someone may be in between",
  });
}

function unreachable(where: string, cause: unknown): SynclineError {
  return new SynclineError({
    code: "LINK_LOST",
    op: "connect",
    message: `cannot reach the hub at ${where}: ${reasonOf(cause)}`,
    hint: otherScheme(where, cause) ?? "check that the hub runs, and --hub",
    retryable: true,
    cause,
  });
}
