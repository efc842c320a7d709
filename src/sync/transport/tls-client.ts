/**
 * From "host:port" to a trusted, greeted connection. The certificate is judged before anything is sent: by the given
 * authorities, by a given fingerprint, or by what was pinned when the server was first met.
 */
import type { Clock } from "#platform/host.ts";
import { SynclineError } from "#model/error.ts";
import { type Identity, type PeerCertificate, connectTls } from "#platform/net/tls-socket.ts";
import { KnownServers } from "#sync/transport/known-servers.ts";
import { startClient } from "#sync/wire/greeting.ts";
import type { Mux } from "#sync/wire/mux.ts";
import { addressText } from "#platform/net/address-text.ts";

export type TlsTrust = {
  /** PEM of authorities: the certificate must be theirs and for this host. Excludes pinning. */
  readonly ca: string | undefined;
  /** "SHA256:hex" as by parseFingerprint(): exactly this certificate. Goes before pinning. */
  readonly fingerprint: string | undefined;
  /** Pin an unknown server without a question. */
  readonly acceptNew: boolean;
  /** Asked about an unknown server when acceptNew is false; undefined: refuse it. */
  readonly askTrust: ((server: string, fingerprint: string) => Promise<boolean>) | undefined;
  /** Where the pins are kept. */
  readonly stateDir: string;
};

export type TlsClientOptions = {
  readonly host: string;
  readonly port: number;
  /** Name of the served root, with an optional "/sub/path". */
  readonly root: string;
  readonly token: string | undefined;
  readonly trust: TlsTrust;
  readonly identity: Identity | undefined;
  readonly program: string;
  readonly clock: Clock;
};

/**
 * @throws {SynclineError} LINK_LOST (retryable) when the server cannot be reached, TRUST, AUTH, ROOT_UNKNOWN,
 * ROOT_READ_ONLY, VERSION, PROTOCOL
 */
export async function connectToServer(options: TlsClientOptions, signal: AbortSignal): Promise<Mux> {
  const { host, port, trust } = options;
  const server = addressText(host, port);
  const known = new KnownServers(trust.stateDir);
  for (;;) {
    const { transport, peer } = await reach(options, server, signal);
    let unknown: boolean;
    try {
      unknown = judge(peer, trust, server, known);
    } catch (error) {
      transport.close();
      throw error;
    }
    if (!unknown) {
      const { root, token, program, clock } = options;
      return (await startClient(transport, { root, token: token ?? "", program, clock }, signal)).mux;
    }
    // The server would lose patience while a person reads, so the question is asked without a connection.
    transport.close();
    if (!trust.acceptNew && !(await (trust.askTrust?.(server, peer.fingerprint) ?? false))) {
      throw notTrusted(server, peer.fingerprint);
    }
    known.add(server, peer.fingerprint);
  }
}

async function reach(options: TlsClientOptions, server: string, signal: AbortSignal) {
  const { host, port, trust, identity } = options;
  try {
    return await connectTls({ host, port, authorities: trust.ca, identity }, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    throw unreachable(server, error instanceof Error ? error : new Error(String(error)));
  }
}

/** True for a server that was never met; throws TRUST for one that is not who it should be. */
function judge(peer: PeerCertificate, trust: TlsTrust, server: string, known: KnownServers): boolean {
  if (trust.fingerprint !== undefined) {
    if (peer.fingerprint !== trust.fingerprint) throw changed(server, trust.fingerprint, peer.fingerprint, undefined);
    return false;
  }
  if (trust.ca !== undefined) {
    if (peer.fault === undefined) return false;
    throw new SynclineError({
      code: "TRUST",
      op: "check server",
      message: `the certificate of ${server} is not accepted: ${peer.fault}`,
      hint: "check --ca and the host name, or pin the certificate with --fingerprint",
    });
  }
  const pinned = known.find(server);
  if (pinned !== undefined && pinned !== peer.fingerprint) {
    throw changed(server, pinned, peer.fingerprint, known.path);
  }
  // A certificate of an authority that the system trusts needs no pin; one that was pinned is held to it all the same.
  return pinned === undefined && peer.fault !== undefined;
}

function changed(server: string, wanted: string, got: string, file: string | undefined): SynclineError {
  return new SynclineError({
    code: "TRUST",
    op: "check server",
    message: `the certificate of ${server} is not the expected one: wanted ${wanted}, got ${got}`,
    hint:
      file === undefined
        ? "ask the server's operator for its fingerprint; someone may be in between"
        : `if it was renewed on purpose, remove its line from ${file}; otherwise someone may be in between`,
  });
}

function notTrusted(server: string, fingerprint: string): SynclineError {
  return new SynclineError({
    code: "TRUST",
    op: "check server",
    message: `${server} is not known; its certificate is ${fingerprint}`,
    hint: `compare it with what the server prints, then add --fingerprint ${fingerprint} or --accept-new`,
  });
}

function unreachable(server: string, cause: Error): SynclineError {
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : undefined;
  return new SynclineError({
    code: "LINK_LOST",
    op: "connect",
    message: `cannot reach ${server}: ${cause.message}`,
    hint:
      code === "ECONNREFUSED"
        ? "check that `syncline serve` runs there and that the port is right"
        : "check host name, port and network",
    retryable: true,
    cause,
  });
}
