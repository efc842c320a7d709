/**
 * HTTP for doors: one listener that hands every request to a function. TLS 1.2 and later (BoringSSL's floor in Bun) with
 * HTTP/2 where the client offers it; plain HTTP/1.1 otherwise.
 *
 * Bodies flow with back-pressure in both directions: a handler that reads slowly stops the sender, and a client that
 * reads slowly is not read ahead for. A body that is a stream goes out chunked; its length cannot be announced (Bun
 * removes Content-Length from it).
 */
import type { ConnectionLimit } from "#platform/net/connection-limit.ts";
import { listenFault } from "#platform/net/listen-fault.ts";
import type { Identity } from "#platform/net/tls-socket.ts";

/** A connection on which nothing moves is closed. Bounds slow clients; Bun takes at most 255. */
const IDLE_SECONDS = 60;
/**
 * While a body comes the runtime wants 16 KiB a second of it, over the whole of this time, and cuts whoever is slower. Up
 * to here a body has the longest time that there is; a longer one has no end set here: who reads it holds its pace.
 */
const SHORT_BODY_BYTES = 256 << 10;
const SHORT_BODY_SECONDS = 255;

export type HttpServerOptions = {
  readonly host: string;
  /** 0 picks one. */
  readonly port: number;
  /** Undefined: plain HTTP. */
  readonly tls: Identity | undefined;
  /** Is told what requests are at work. Undefined: nobody counts. */
  readonly connections?: ConnectionLimit | undefined;
  /** Must not reject: what it throws is an answer without words. `address` is the client's. */
  readonly handle: (request: Request, address: string) => Promise<Response>;
};

export interface HttpServer {
  readonly port: number;
  /** New connections get this certificate; what is open stays. Only where TLS is served. */
  useIdentity(tls: Identity): void;
  /** Takes no more connections, and ends when those that run have their answers, at the latest after `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

/** @throws {SynclineError} USAGE when the address cannot be listened on */
export function serveHttp(options: HttpServerOptions): HttpServer {
  const answer = async (request: Request, own: Bun.Server<undefined>, address: string): Promise<Response> => {
    // Asking for the body itself would make a stream of each.
    if (request.method === "GET" || request.method === "HEAD") return options.handle(request, address);
    const length = Number(request.headers.get("content-length") ?? Number.NaN);
    own.timeout(request, length <= SHORT_BODY_BYTES ? SHORT_BODY_SECONDS : 0);
    const response = await options.handle(request, address);
    own.timeout(request, IDLE_SECONDS);
    return response;
  };
  const handlers = {
    fetch: async (request: Request, own: Bun.Server<undefined>) => {
      const peer = own.requestIP(request);
      const { connections } = options;
      if (peer === null || connections === undefined) return answer(request, own, peer?.address ?? "unknown");
      connections.began(peer.address, peer.port);
      try {
        return await answer(request, own, peer.address);
      } finally {
        connections.ended(peer.address, peer.port);
      }
    },
    error: () => new Response(null, { status: 500 }),
  };
  const secure = (tls: Identity) => ({ tls: { cert: tls.certificate, key: tls.key }, http2: true });
  let server: Bun.Server<undefined>;
  try {
    server = Bun.serve({
      hostname: options.host,
      port: options.port,
      idleTimeout: IDLE_SECONDS,
      // Each door holds its own limits; content may be as large as a disk.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      ...(options.tls === undefined ? {} : secure(options.tls)),
      ...handlers,
    });
  } catch (cause) {
    throw listenFault(cause, options, "--listen");
  }
  return {
    port: server.port!,
    useIdentity: (tls) => server.reload({ ...handlers, ...secure(tls) }),
    async stop(graceMs) {
      const grace = setTimeout(() => void server.stop(true), graceMs);
      try {
        await server.stop();
      } finally {
        clearTimeout(grace);
      }
    },
  };
}
