/**
 * The server of gRPC (the library grpc-js) on a listener of ours: so many connections and no more, and another
 * certificate for those that come after it was changed.
 */
import { type Server as NetServer, type Socket, createServer } from "node:net";
import { Server, ServerCredentials, ServerInterceptingCall } from "@grpc/grpc-js";
import type { Identity } from "#platform/net/tls-socket.ts";

export type GrpcListenOptions = {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Undefined: plain HTTP/2. */
  readonly tls: Identity | undefined;
  readonly connectionsMax: number;
  readonly connectionsOfAddressMax: number;
  /** Calls at once on one connection. */
  readonly streamsMax: number;
  readonly messageBytesMax: number;
  /** A connection without a call. */
  readonly idleMs: number;
};

export type GrpcListener = {
  readonly server: Server;
  readonly port: number;
  readonly connections: number;
  /** New connections get this certificate; what is open stays. Only where TLS is served. */
  useIdentity(identity: Identity): void;
  /** Takes no more, and ends when the calls that run have ended, at the latest after `graceMs`. */
  stop(graceMs: number): Promise<void>;
};

const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

/** Services are added to `server` before the first call comes. Rejects with the system's error. */
export async function listenGrpc(options: GrpcListenOptions): Promise<GrpcListener> {
  const server = new Server({
    "grpc.max_receive_message_length": options.messageBytesMax,
    "grpc.max_send_message_length": options.messageBytesMax,
    "grpc.max_concurrent_streams": options.streamsMax,
    "grpc.max_connection_idle_ms": options.idleMs,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.enable_channelz": 0,
    // It changes nothing, but behind one the library tells a call that is over of nothing more. Without it a question that
    // ends after its deadline still begins a call, which is never told that it has ended, and waits for ever.
    interceptors: [(_method, call) => new ServerInterceptingCall(call)],
  });
  let injector = server.createConnectionInjector(credentialsOf(options.tls));
  const sockets = new Set<Socket>();
  const ofAddress = new Map<string, number>();
  const listener = createServer((socket) => {
    const address = socket.remoteAddress ?? "";
    const held = ofAddress.get(address) ?? 0;
    if (sockets.size >= options.connectionsMax || held >= options.connectionsOfAddressMax) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    ofAddress.set(address, held + 1);
    socket.setNoDelay(true);
    // What goes wrong with one ends its calls, which is where it is told.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      sockets.delete(socket);
      const left = (ofAddress.get(address) ?? 1) - 1;
      if (left === 0) ofAddress.delete(address);
      else ofAddress.set(address, left);
    });
    injector.injectConnection(socket);
  });
  await listening(listener, options);
  const address = listener.address();
  return {
    server,
    port: typeof address === "object" && address !== null ? address.port : options.port,
    get connections() {
      return sockets.size;
    },
    useIdentity(identity) {
      if (options.tls !== undefined) injector = server.createConnectionInjector(credentialsOf(identity));
    },
    async stop(graceMs) {
      listener.close();
      const grace = setTimeout(() => server.forceShutdown(), graceMs);
      await new Promise<void>((done) => server.tryShutdown(() => done()));
      clearTimeout(grace);
      for (const socket of sockets) socket.destroy();
    },
  };
}

function credentialsOf(tls: Identity | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { cert_chain: Buffer.from(tls.certificate), private_key: Buffer.from(tls.key) };
  return ServerCredentials.createSsl(null, [pair]);
}

function listening(listener: NetServer, { host, port }: GrpcListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once("error", reject);
    listener.listen(port, host, () => {
      listener.off("error", reject);
      resolve();
    });
  });
}
