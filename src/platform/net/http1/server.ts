/**
 * HTTP/1.1 over TCP or TLS, for a door whose clients need what the runtime's own server does not give: the target and
 * headers as they were sent, answers of any size with their length, and a refusal instead of "100 Continue".
 */
import type { Socket, TCPSocketListener } from "bun";
import { Connection, type Http1Answer, type Http1Request } from "#platform/net/http1/connection.ts";
import { Gather } from "#platform/net/http1/gather.ts";
import type { Identity } from "#platform/net/tls-socket.ts";

export type Http1ServerOptions = {
  readonly host: string;
  /** 0 picks one. */
  readonly port: number;
  /** At once: who comes then takes the place of one that has rested for longest, and is cut off where all are at work. */
  readonly connectionsMax: number;
  /** Undefined: plain. */
  readonly tls: Identity | undefined;
  /** Where it rejects, the connection is cut. */
  readonly handle: (request: Http1Request) => Promise<Http1Answer>;
};

export interface Http1Server {
  readonly port: number;
  readonly connections: number;
  /** New connections get this certificate; what is open stays. Only where TLS is served. */
  useIdentity(tls: Identity): void;
  /** Takes no more connections, and ends when requests at work have their answers, at the latest after `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

type Listener = TCPSocketListener<Connection | undefined>;

/** How often it is looked whether all have ended. */
const LOOK_MS = 20;

/** Throws the system's error when the address cannot be listened on. */
export function serveHttp1(options: Http1ServerOptions): Http1Server {
  const connections = new Set<Connection>();
  let isStopping = false;
  const isPlain = options.tls === undefined;
  const mayStay = (): boolean => !isStopping;
  const parts = { handle: options.handle, nowMs: () => performance.now(), gather: new Gather(), mayStay, isPlain };
  const gone = (connection: Connection | undefined): void => {
    if (connection === undefined) return;
    connections.delete(connection);
    connection.closed();
  };
  const listen = (port: number, tls: Identity | undefined): Listener =>
    Bun.listen<Connection | undefined>({
      hostname: options.host,
      port,
      data: undefined,
      ...(tls === undefined ? {} : { tls: { cert: tls.certificate, key: tls.key } }),
      socket: {
        open(socket: Socket<Connection | undefined>) {
          if (connections.size >= options.connectionsMax && !makeRoom(connections)) {
            // The listener's `data` is shared by all sockets until each gets its own.
            socket.data = undefined;
            socket.terminate();
            return;
          }
          socket.data = new Connection(socket, parts);
          connections.add(socket.data);
        },
        data: (socket, bytes) => socket.data?.data(bytes),
        drain: (socket) => socket.data?.drain(),
        timeout: (socket) => socket.data?.idle(),
        end: (socket) => socket.data?.cut(),
        error: (socket) => gone(socket.data),
        close: (socket) => gone(socket.data),
      },
    });
  let listener = listen(options.port, options.tls);
  let current = options.tls;
  const { port } = listener;
  return {
    port,
    get connections() {
      return connections.size;
    },
    useIdentity(tls) {
      // The runtime cannot change it in place: the address is left and taken again at once.
      listener.stop(false);
      try {
        listener = listen(port, tls);
        current = tls;
      } catch (error) {
        listener = listen(port, current);
        throw error;
      }
    },
    async stop(graceMs) {
      isStopping = true;
      listener.stop(false);
      const until = performance.now() + graceMs;
      while (connections.size > 0 && performance.now() < until) {
        for (const connection of connections) connection.retire();
        await Bun.sleep(LOOK_MS);
      }
      for (const connection of connections) connection.cut();
    },
  };
}

/** False: a request is at work on each. */
function makeRoom(connections: Set<Connection>): boolean {
  let longest: Connection | undefined;
  for (const one of connections) {
    if (!one.isAtWork && one.restsSinceMs < (longest?.restsSinceMs ?? Number.POSITIVE_INFINITY)) longest = one;
  }
  if (longest === undefined) return false;
  connections.delete(longest);
  longest.cut();
  return true;
}
