/**
 * TLS sockets, 1.2 and 1.3 only (the runtime's library refuses older ones). Certificates are reported here and judged
 * by the caller: the rules of trust are in transport/.
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { Socket, SocketHandler } from "bun";
import { EventGate } from "#platform/net/event-gate.ts";
import { letGo } from "#platform/net/received.ts";
import { CLOSE_GRACE_MS, type Transport, type TransportHandlers } from "#platform/net/transport.ts";

/** Certificate and private key in PEM. */
export type Identity = { readonly certificate: string; readonly key: string };

export type PeerCertificate = {
  /** "SHA256:" and 64 lower-case hex digits, of the certificate's DER bytes. */
  readonly fingerprint: string;
  /** Why the certificate's chain or host name is not good for the given authorities; undefined when it is. */
  readonly fault: string | undefined;
};

export type ConnectOptions = {
  readonly host: string;
  readonly port: number;
  /** PEM of the accepted authorities; undefined: those of the system. */
  readonly authorities: string | undefined;
  readonly identity: Identity | undefined;
  /** The name that the certificate must be for, where that is not `host`. */
  readonly serverName?: string | undefined;
};

export type ListenOptions = {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  readonly identity: Identity;
  /** PEM; when given, clients are asked for a certificate signed by one of these. */
  readonly clientAuthorities: string | undefined;
  /** A TCP connection arrived; false cuts it off before any cryptography is done for it. */
  readonly onConnection: (address: string) => boolean;
  /** A handshake ended. Once for each admitted connection. */
  readonly onHandshake: (address: string, result: Handshake) => void;
};

/** A connection, or the reason there is none. */
export type Handshake =
  | {
      readonly transport: Transport;
      /** With clientAuthorities: whether the client has a certificate of theirs. The caller refuses it otherwise. */
      readonly isClientKnown: boolean;
      /** DER of the certificate of a client that is known. Its private key was proved in the handshake. */
      readonly clientCertificate: Uint8Array | undefined;
    }
  | Error;

export type Listener = {
  readonly port: number;
  /**
   * New connections get this certificate; what stands, stays. The runtime cannot change it in place, so the address is
   * left and taken again at once: who connects in that moment has to try again.
   * Throws the system's error when the address has been taken by another; the old certificate is tried first.
   */
  useIdentity(identity: Identity): void;
  close(): void;
};

/** A handshake, in either role, that takes longer is given up. */
export const HANDSHAKE_MS_MAX = 15_000;

class SocketTransport implements Transport {
  readonly label: string;
  readonly #gate = new EventGate();
  readonly #socket: Socket<SocketTransport | undefined>;
  #waiting: Uint8Array[] = [];
  #offset = 0;
  #closing: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: Socket<SocketTransport | undefined>) {
    this.#socket = socket;
    this.label = `${socket.remoteAddress}:${socket.remotePort}`;
  }

  listen(handlers: TransportHandlers): void {
    this.#gate.listen(handlers);
  }

  write(bytes: Uint8Array): boolean {
    if (this.#gate.closed || this.#closing !== undefined) return true;
    if (this.#waiting.length === 0) {
      const taken = this.#socket.write(bytes);
      if (taken === bytes.length) return true;
      this.#offset = Math.max(0, taken);
    }
    this.#waiting.push(bytes);
    return false;
  }

  drain(): void {
    while (this.#waiting.length > 0) {
      const head = this.#waiting[0]!;
      const taken = this.#socket.write(head, this.#offset, head.length - this.#offset);
      this.#offset += Math.max(0, taken);
      if (this.#offset < head.length) return;
      this.#waiting.shift();
      this.#offset = 0;
    }
    if (this.#closing !== undefined) this.#socket.shutdown();
    else this.#gate.drained();
  }

  data(bytes: Uint8Array): void {
    if (this.#closing === undefined && !this.#gate.data(bytes)) this.ended(new Error("sent too much, too early"));
  }

  ended(error: Error | undefined): void {
    clearTimeout(this.#closing);
    this.#waiting = [];
    this.#socket.terminate();
    this.#gate.close(error);
  }

  close(): void {
    if (this.#gate.closed || this.#closing !== undefined) return;
    this.#closing = setTimeout(() => this.ended(undefined), CLOSE_GRACE_MS);
    // The last record leaves in order; terminate() could throw away an answer just written. And behind the runtime's end()
    // nothing closes the descriptor but the other side, which may never do it.
    if (this.#waiting.length === 0) this.#socket.shutdown();
  }
}

type Judge = (socket: Socket<SocketTransport | undefined>, fault: Error | null, ok: boolean) => void;

/** The part of the handlers that both roles share; `judge` decides what a finished handshake means. */
function handlers(judge: Judge, failed: (socket: Socket<SocketTransport | undefined>, error: Error) => void) {
  const early = new WeakMap<object, Error>();
  return {
    handshake(socket, ok, fault) {
      judge(socket, fault, ok);
    },
    data(socket, bytes) {
      socket.data?.data(bytes);
      // As Transport says.
      letGo(bytes);
    },
    drain(socket) {
      socket.data?.drain();
    },
    error(socket, error) {
      early.set(socket, error);
      if (socket.data === undefined) failed(socket, error);
      else socket.data.ended(error);
    },
    end(socket) {
      socket.end();
    },
    close(socket, error) {
      const reason = error ?? early.get(socket);
      if (socket.data === undefined) failed(socket, reason ?? new Error("closed during the TLS handshake"));
      else socket.data.ended(reason);
    },
  } satisfies SocketHandler<SocketTransport | undefined>;
}

/** Lower-case "SHA256:hex" of a certificate's DER bytes. */
export function fingerprintOf(certificate: X509Certificate): string {
  return `SHA256:${certificate.fingerprint256.replaceAll(":", "").toLowerCase()}`;
}

/** Judges nothing but names. @param fault what the handshake had against the chain */
export function describePeer(der: Uint8Array, host: string, fault: Error | null): PeerCertificate {
  const certificate = new X509Certificate(der);
  const named = isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host);
  const wrongName = named === undefined ? `the certificate is not for ${host}` : undefined;
  return { fingerprint: fingerprintOf(certificate), fault: fault === null ? wrongName : fault.message };
}

/**
 * Connects and finishes the handshake; sends nothing else. The caller judges `peer` before it writes anything.
 * Rejects with the system's error (code ECONNREFUSED, ENOTFOUND, …) or `signal.reason`.
 */
export async function connectTls(
  options: ConnectOptions,
  signal: AbortSignal,
): Promise<{ transport: Transport; peer: PeerCertificate }> {
  signal.throwIfAborted();
  const name = options.serverName ?? options.host;
  const done = Promise.withResolvers<{ transport: Transport; peer: PeerCertificate }>();
  const shared = handlers(
    (socket, fault) => {
      // The runtime's `ok` is also false for a name that does not match, which is judged below; a handshake that
      // really failed has no certificate or a protocol error.
      const der = socket.getPeerCertificate()?.raw;
      const broken = fault !== null && "code" in fault && fault.code === "EPROTO";
      if (broken || der === undefined) return done.reject(fault ?? new Error("the TLS handshake failed"));
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 30_000);
      socket.data = new SocketTransport(socket);
      done.resolve({ transport: socket.data, peer: describePeer(der, name, fault) });
    },
    (_socket, error) => done.reject(error),
  );
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(HANDSHAKE_MS_MAX)]);
  const abort = (): void => done.reject(signal.aborted ? signal.reason : new Error("the TLS handshake timed out"));
  deadline.addEventListener("abort", abort, { once: true });
  const identity = options.identity;
  const connecting = Bun.connect<SocketTransport | undefined>({
    hostname: options.host,
    port: options.port,
    data: undefined,
    tls: {
      rejectUnauthorized: false,
      ...(isIP(name) === 0 ? { serverName: name } : {}),
      ...(options.authorities === undefined ? {} : { ca: options.authorities }),
      ...(identity === undefined ? {} : { cert: identity.certificate, key: identity.key }),
    },
    socket: { ...shared, connectError: (_socket, error) => done.reject(error) },
  });
  connecting.catch(done.reject);
  try {
    return await done.promise;
  } catch (error) {
    connecting.then((socket) => socket.terminate(), () => undefined);
    throw error;
  } finally {
    deadline.removeEventListener("abort", abort);
  }
}

function serverTls({ certificate, key }: Identity, ca: string | undefined) {
  const asked = ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: false };
  return { cert: certificate, key, ...asked };
}

/** Accepts TLS connections until closed. Throws the system's error when the address cannot be used. */
export function listenTls(options: ListenOptions): Listener {
  const admitted = new WeakMap<object, { address: string; timer: ReturnType<typeof setTimeout> }>();
  const settle = (socket: Socket<SocketTransport | undefined>, result: Handshake): void => {
    const waiting = admitted.get(socket);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    admitted.delete(socket);
    options.onHandshake(waiting.address, result);
  };
  const shared = handlers((socket, fault, ok) => {
    // Without a common cipher or with a damaged handshake there is no channel on which to say so.
    if (socket.getCipher() === undefined || (!ok && fault !== null && "code" in fault && fault.code === "EPROTO")) {
      settle(socket, fault ?? new Error("the TLS handshake failed"));
      socket.terminate();
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 30_000);
    socket.data = new SocketTransport(socket);
    // A client whose certificate is not accepted is told so in words, by the caller, instead of by a reset.
    const isClientKnown = options.clientAuthorities !== undefined && ok && fault === null && socket.authorized;
    const clientCertificate = isClientKnown ? socket.getPeerCertificate()?.raw : undefined;
    settle(socket, { transport: socket.data, isClientKnown, clientCertificate });
  }, settle);
  const listen = (port: number, identity: Identity) =>
    Bun.listen<SocketTransport | undefined>({
      hostname: options.host,
      port,
      data: undefined,
      tls: serverTls(identity, options.clientAuthorities),
      socket: {
        ...shared,
        open(socket) {
          // The listener's `data` is shared by all sockets until each gets its own.
          socket.data = undefined;
          const address = socket.remoteAddress;
          if (!options.onConnection(address)) {
            socket.terminate();
            return;
          }
          const timer = setTimeout(() => {
            settle(socket, new Error("the TLS handshake timed out"));
            socket.terminate();
          }, HANDSHAKE_MS_MAX);
          admitted.set(socket, { address, timer });
        },
      },
    });
  let listener = listen(options.port, options.identity);
  let current = options.identity;
  const { port } = listener;
  return {
    port,
    useIdentity(identity) {
      listener.stop(false);
      try {
        listener = listen(port, identity);
        current = identity;
      } catch (error) {
        listener = listen(port, current);
        throw error;
      }
    },
    close: () => listener.stop(false),
  };
}
