/**
 * From "host:port" to a trusted, greeted connection. The certificate is judged before anything is sent: by the given
 * authorities, by a given fingerprint, or by what was pinned when the server was first met.
 */
import type { Clock } from "#platform/host.ts";
import { SynclineError, asError } from "#model/error.ts";
import { type Identity, connectTls } from "#platform/net/tls-socket.ts";
import { KnownServers } from "#sync/transport/known-servers.ts";
import { type TlsTrust, isNewServer, trustNew } from "#sync/transport/server-trust.ts";
import { startClient } from "#sync/wire/greeting.ts";
import type { Mux } from "#sync/wire/mux.ts";
import { addressText } from "#platform/net/address-text.ts";

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
      unknown = isNewServer(peer, trust, server, known);
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
    await trustNew(peer, trust, server, known);
  }
}

async function reach(options: TlsClientOptions, server: string, signal: AbortSignal) {
  const { host, port, trust, identity } = options;
  try {
    return await connectTls({ host, port, authorities: trust.ca, identity }, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    throw unreachable(server, asError(error));
  }
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
