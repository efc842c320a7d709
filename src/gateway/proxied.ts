/** Connections that come through a load balancer: whose they are is in the PROXY header that they begin with. */
import { type TcpAddress, type TcpConnection, connectTcp, listenTcp } from "#platform/net/tcp-server.ts";
import { type ProxyHeader, readProxyHeader } from "#gateway/proxy-header.ts";

/** A balancer sends its header at once. */
const HEADER_MS_MAX = 10_000;

/** A connection to ourselves is made within this time. */
const LOOPBACK_MS_MAX = 5_000;
const LOOPBACK = "127.0.0.1";

export type Arrival = {
  /** Nothing of it is read but the header. */
  readonly connection: TcpConnection;
  /** The client's address, and the one that it has connected to. */
  readonly remote: TcpAddress;
  readonly local: TcpAddress;
  /** The address of this host that it came to, whatever a balancer says. */
  readonly ownAddress: string;
};

/**
 * Reads the header of a connection that comes from one of `proxies`; others are what they are. Undefined: it had none,
 * or the balancer speaks for itself; it is closed then.
 */
export async function arrivalOf(connection: TcpConnection, proxies: ReadonlySet<string>): Promise<Arrival | undefined> {
  const { remote, local } = connection;
  if (!proxies.has(remote.address)) return { connection, remote, local, ownAddress: local.address };
  const found = await readHeader(connection);
  if (found?.header.source === undefined || found.header.destination === undefined) {
    connection.destroy();
    return undefined;
  }
  const { source, destination, length } = found.header;
  const early = found.bytes.subarray(length);
  const unread = early.length === 0 ? connection : await rewound(connection, early);
  return { connection: unread, remote: source, local: destination, ownAddress: local.address };
}

/**
 * A connection that begins with bytes that were read already, as they are when a client begins a handshake at once: the
 * runtime takes nothing back, so it leads through a connection of ours to ourselves.
 */
async function rewound(connection: TcpConnection, early: Uint8Array): Promise<TcpConnection> {
  const accepted = Promise.withResolvers<TcpConnection>();
  let ownPort: number | undefined;
  const strangers: TcpConnection[] = [];
  const settle = (): void => {
    for (const one of strangers.splice(0)) {
      // Somebody else of this host may have found the port in between.
      if (one.remote.port === ownPort) accepted.resolve(one);
      else one.destroy();
    }
  };
  const listener = listenTcp({ host: LOOPBACK, port: 0 }, (one) => {
    strangers.push(one);
    if (ownPort !== undefined) settle();
  });
  try {
    const inner = await connectTcp({ address: LOOPBACK, port: listener.port }, LOOPBACK_MS_MAX);
    ownPort = inner.local.port;
    settle();
    const outer = await accepted.promise;
    inner.write(early)?.catch(() => inner.destroy());
    pass(connection, inner);
    pass(inner, connection);
    return outer;
  } finally {
    listener.close();
  }
}

/**
 * Hands on what comes from one connection to the other, as fast as that takes it. One that is cut is passed on as a cut: an
 * end in order would make a whole of the part that has come.
 */
function pass(from: TcpConnection, to: TcpConnection): void {
  from.listen({
    onData(bytes) {
      const full = to.write(bytes);
      if (full === undefined) return;
      from.pause();
      full.then(() => from.resume(), () => from.destroy());
    },
    onEnd: () => to.end(),
    onClose: (error) => (error === undefined ? to.end() : to.destroy()),
  });
}

type HeaderRead = { readonly header: ProxyHeader; readonly bytes: Uint8Array };

async function readHeader(connection: TcpConnection): Promise<HeaderRead | undefined> {
  const done = Promise.withResolvers<HeaderRead | undefined>();
  const timer = setTimeout(() => done.resolve(undefined), HEADER_MS_MAX);
  let bytes: Uint8Array = new Uint8Array(0);
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
