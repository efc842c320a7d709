/** Connections that come through a load balancer: whose they are is in the PROXY header that they begin with. */
import type { TcpAddress, TcpConnection } from "#platform/net/tcp-server.ts";
import { type ProxyHeader, readProxyHeader } from "#gateway/proxy-header.ts";

/** A balancer sends its header at once. */
const HEADER_MS_MAX = 10_000;

export type Arrival = {
  readonly connection: TcpConnection;
  /** The client's address, and the one that it has connected to. */
  readonly remote: TcpAddress;
  readonly local: TcpAddress;
  /** What came behind the header; the connection is paused. */
  readonly early: Uint8Array;
};

const NOTHING = new Uint8Array(0);

/**
 * Reads the header of a connection that comes from one of `proxies`; others are what they are. Undefined: it had none,
 * or the balancer speaks for itself; it is closed then.
 */
export async function arrivalOf(connection: TcpConnection, proxies: ReadonlySet<string>): Promise<Arrival | undefined> {
  const { remote, local } = connection;
  if (!proxies.has(remote.address)) return { connection, remote, local, early: NOTHING };
  const found = await readHeader(connection);
  if (found?.header.source === undefined || found.header.destination === undefined) {
    connection.destroy();
    return undefined;
  }
  const { source, destination, length } = found.header;
  return { connection, remote: source, local: destination, early: found.bytes.subarray(length) };
}

type HeaderRead = { readonly header: ProxyHeader; readonly bytes: Uint8Array };

async function readHeader(connection: TcpConnection): Promise<HeaderRead | undefined> {
  const done = Promise.withResolvers<HeaderRead | undefined>();
  const timer = setTimeout(() => done.resolve(undefined), HEADER_MS_MAX);
  let bytes: Uint8Array = NOTHING;
  connection.listen({
    onData(more) {
      bytes = bytes.length === 0 ? more : Buffer.concat([bytes, more]);
      const header = readProxyHeader(bytes);
      if (header === "more") return;
      // What comes next is for who is told of the arrival.
      connection.pause();
      done.resolve(header === undefined ? undefined : { header, bytes });
    },
    onEnd: () => done.resolve(undefined),
    onClose: () => done.resolve(undefined),
  });
  try {
    return await done.promise;
  } finally {
    clearTimeout(timer);
  }
}
