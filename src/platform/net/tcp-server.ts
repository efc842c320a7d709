/**
 * Plain TCP for protocols that begin in clear: connections that are accepted or made, that may be secured with TLS in
 * their middle (STARTTLS) in either role, with back-pressure in both directions.
 *
 * Under TLS an end is told apart from a cut: `onEnd` says whether the other side has closed the TLS stream in order.
 */
import { isIP } from "node:net";
import type { Socket, TCPSocketListener, TLSOptions } from "bun";
import { ELSEWHERE_BYTES_MIN, SocketOutlet } from "#platform/net/send-thread.ts";
import { SocketInlet } from "#platform/net/socket-inlet.ts";
import { type Identity, type PeerCertificate, describePeer } from "#platform/net/tls-socket.ts";

/** A handshake that takes longer is given up. */
export const TLS_HANDSHAKE_MS_MAX = 15_000;
/** A connection that was ended may send what it still holds for this long. */
export const END_GRACE_MS = 10_000;
/** Probes of TCP keep-alive begin after this much silence. */
const KEEP_ALIVE_MS = 60_000;

export type TcpAddress = { readonly address: string; readonly port: number };

export type TcpHandlers = {
  /** Bytes in their order; they are the receiver's to keep. */
  onData(bytes: Uint8Array): void;
  /** The other side sends no more. False under TLS when the stream was cut: what came may be a part of what was sent. */
  onEnd(isWhole: boolean): void;
  /** Once, and nothing comes after it. `error` is undefined when it ended in order. */
  onClose(error: Error | undefined): void;
};

export type TlsOptions = {
  readonly identity: Identity;
  /** PEM; when given, the client is asked for a certificate signed by one of these. */
  readonly clientAuthorities?: string | undefined;
  /**
   * Connections with the same text take each other's session tickets, and nobody else's. A line without a line break;
   * undefined: one for the whole process.
   */
  readonly ticketGroup?: string | undefined;
};

export type TlsFacts = {
  /** The client has resumed a session of the same ticket group. */
  readonly isReused: boolean;
  /** DER; undefined when the client showed none that the authorities have signed. Its key was proved. */
  readonly clientCertificate: Uint8Array | undefined;
};

export type ClientTlsOptions = {
  /** Host name or address that the certificate must be for. */
  readonly serverName: string;
  /** PEM of the accepted authorities; undefined: those of the system. */
  readonly authorities: string | undefined;
  readonly identity: Identity | undefined;
  /** `session` of another connection to the same server, to be gone on with; the server may begin another. */
  readonly session: Uint8Array | undefined;
};

export type ServerFacts = {
  /** Judged by the caller, before anything is written. Undefined where a session was resumed that does not show it again. */
  readonly peer: PeerCertificate | undefined;
  readonly isReused: boolean;
};

export interface TcpConnection {
  readonly remote: TcpAddress;
  readonly local: TcpAddress;
  readonly isSecure: boolean;
  /** Under TLS: the other side has begun the handshake. */
  readonly isGreeted: boolean;
  /** end() was said: what waits goes out, and it closes in order. */
  readonly isEnding: boolean;
  readonly isClosed: boolean;
  /** Who gets the events; may be said again to hand over. Nothing is read before the first call; each begins reading. */
  listen(handlers: TcpHandlers): void;
  /**
   * Takes all bytes. A promise where the other side does not keep up: wait for it before the next write, and leave the
   * bytes alone until then. It rejects when the connection closes first; writes to a closed connection do the same.
   */
  write(bytes: Uint8Array): Promise<void> | undefined;
  /**
   * As write(), for large pieces: where that can be, they are copied into the socket on another thread, which also waits
   * for the other side. Calls need not wait for each other. Always a promise.
   */
  writeElsewhere(bytes: Uint8Array): Promise<void>;
  /** Nothing is read until resume(); the sender is stopped by its own buffers. */
  /**
   * Takes what has come and was not handed out yet, as much as there is room for, without a copy. To be called in onData(),
   * behind whose bytes they are. 0 where none are there, at the end, under TLS, and where that cannot be.
   */
  takeInto(into: Uint8Array): number;
  pause(): void;
  resume(): void;
  /**
   * From here on TLS is spoken. What is written must have been taken before; what the other side has sent in clear and
   * was not read is refused by the handshake.
   * @throws the handshake's error; the connection is closed then
   */
  startTls(options: TlsOptions): Promise<TlsFacts>;
  /** As startTls, in the role of the client. */
  startClientTls(options: ClientTlsOptions): Promise<ServerFacts>;
  /** In the role of the client: the newest session that the server lets others resume. */
  readonly session: Uint8Array | undefined;
  /**
   * Sends what waits, closes the TLS stream in order, and ends. What arrives meanwhile is dropped.
   * @param graceMs for what the other side has not taken yet; END_GRACE_MS when not given
   */
  end(graceMs?: number): void;
  /**
   * As end(), but the system hears of it a turn of the event loop later: what is said in this one over other connections
   * goes out before it.
   */
  endLater(): void;
  /** Ends at once; what waits is lost. */
  destroy(): void;
}

export type TcpListener = { readonly port: number; close(): void };

/** An IPv4 address that comes dressed as IPv6, as it is when one socket serves both, is shown as what it is. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
}

type Raw = Socket<Connection>;
/** A handshake that came to a channel; `fault` is what is wrong with the other side's certificate. */
type HandshakeEnd = { readonly isDone: boolean; readonly fault: Error | null };
/** A write whose bytes the system has not taken, or not all of them. */
type Waiting = { rest: Uint8Array; readonly resolve: () => void; readonly reject: (error: Error) => void };

/** Follows the records of a TLS stream from outside, to see whether it ends with an alert (close_notify). */
class RecordWatch {
  readonly #head = new Uint8Array(5);
  #have = 0;
  #left = 0;
  /** Type and length of the last record that was complete. */
  #type = 0;
  #length = 0;
  /** Bytes of content that the records since `rebase` can hold at most, and those that came out of them. */
  #expected = 0;
  #delivered = 0;

  /** TLS 1.3: a record has a byte for its inner type and a tag of 16 bytes. */
  static readonly #overhead = 17;
  static readonly #alert = 21;
  static readonly #content = 23;
  static readonly #alertBytes = 2;

  raw(bytes: Uint8Array): void {
    // What records between two calls held was handed out by now.
    if (this.#left === 0 && this.#have === 0) this.#expected = this.#delivered = 0;
    for (let at = 0; at < bytes.length; ) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, bytes.length - at);
        this.#left -= step;
        at += step;
      } else {
        this.#head[this.#have++] = bytes[at++]!;
        if (this.#have < this.#head.length) continue;
        this.#have = 0;
        this.#type = this.#head[0]!;
        this.#length = this.#left = this.#head[3]! * 256 + this.#head[4]!;
        if (this.#type === RecordWatch.#content) this.#expected += Math.max(0, this.#length - RecordWatch.#overhead);
      }
    }
  }

  content(bytes: number): void {
    this.#delivered += bytes;
  }

  get hasBegun(): boolean {
    return this.#have > 0 || this.#type > 0;
  }

  /** Whether the last thing that came was an alert, which at an end in order is close_notify. */
  get isEndedInOrder(): boolean {
    if (this.#left > 0 || this.#have > 0) return false;
    if (this.#type === RecordWatch.#alert) return true;
    const isOfAlert = this.#length === RecordWatch.#overhead + RecordWatch.#alertBytes;
    return this.#type === RecordWatch.#content && isOfAlert && this.#expected - this.#delivered >= RecordWatch.#alertBytes;
  }
}

class Connection implements TcpConnection {
  readonly remote: TcpAddress;
  readonly local: TcpAddress;
  isClosed = false;
  #socket: Raw;
  #handlers: TcpHandlers | undefined;
  /** In their order. One, and those of who writes on without having waited: small answers in a row. */
  readonly #waiting: Waiting[] = [];
  /** From the first large piece on; null where there can be none. */
  #outlet: SocketOutlet | null | undefined;
  /** From the first takeInto() on; null where there can be none. */
  #inlet: SocketInlet | null | undefined;
  isEnding = false;
  /** The other side's end was told. */
  #isOver = false;
  #endTimer: ReturnType<typeof setTimeout> | undefined;
  #records: RecordWatch | undefined;
  #handshake: { readonly done: (end: HandshakeEnd) => void; readonly failed: (error: Error) => void } | undefined;
  session: Uint8Array | undefined;
  /** Offered to the server. */
  #resumed: Uint8Array | undefined;
  /** Why it will be closed, or was. */
  #fault: Error | undefined;
  /** What came with the end of the handshake, before anybody listened; the socket is paused then. */
  readonly #unheard: Uint8Array[] = [];

  constructor(socket: Raw) {
    this.#socket = socket;
    this.remote = { address: plainAddress(socket.remoteAddress), port: socket.remotePort };
    this.local = { address: plainAddress(socket.localAddress), port: socket.localPort };
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.pause();
  }

  get isSecure(): boolean {
    return this.#records !== undefined;
  }

  get isGreeted(): boolean {
    return this.#records?.hasBegun === true;
  }

  listen(handlers: TcpHandlers): void {
    const isFirst = this.#handlers === undefined;
    this.#handlers = handlers;
    for (const bytes of this.#unheard.splice(0)) handlers.onData(bytes);
    if (isFirst && this.#isOver) handlers.onEnd(this.#records?.isEndedInOrder ?? true);
    if (this.isClosed) queueMicrotask(() => handlers.onClose(this.#fault));
    else this.resume();
  }

  write(bytes: Uint8Array): Promise<void> | undefined {
    if (this.isClosed || this.isEnding) return Promise.reject(new Error("the connection is closed"));
    if (this.#waiting.length > 0) return this.#wait(bytes);
    if (this.#isSentElsewhere && bytes.length > 0) return this.#outlet!.write(bytes);
    const taken = Math.max(0, this.#socket.write(bytes));
    if (taken === bytes.length) return undefined;
    return this.#wait(bytes.subarray(taken));
  }

  #wait(rest: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => void this.#waiting.push({ rest, resolve, reject }));
  }

  /** The other thread has something that goes out before all else. */
  get #isSentElsewhere(): boolean {
    return this.#outlet?.isIdle === false;
  }

  async writeElsewhere(bytes: Uint8Array): Promise<void> {
    const isFree = !this.isSecure && !this.isClosed && !this.isEnding && this.#waiting.length === 0;
    if (!isFree || bytes.length < ELSEWHERE_BYTES_MIN) return this.write(bytes);
    this.#outlet ??= SocketOutlet.of((this.#socket as { fd?: unknown }).fd, this.remote.port) ?? null;
    return this.#outlet === null ? this.write(bytes) : this.#outlet.write(bytes);
  }

  takeInto(into: Uint8Array): number {
    if (this.isSecure || this.isClosed || this.isEnding) return 0;
    this.#inlet ??= SocketInlet.of((this.#socket as { fd?: unknown }).fd, this.remote.port) ?? null;
    return this.#inlet?.take(into) ?? 0;
  }

  pause(): void {
    if (!this.isClosed) this.#socket.pause();
  }

  resume(): void {
    if (!this.isClosed) this.#socket.resume();
  }

  async startTls({ identity, clientAuthorities, ticketGroup }: TlsOptions): Promise<TlsFacts> {
    // The runtime keeps one context, with ticket keys of its own, for each set of options; text beside the certificate
    // is no part of it.
    const cert = ticketGroup === undefined ? identity.certificate : `${identity.certificate}\n${ticketGroup}\n`;
    const asked = clientAuthorities === undefined ? {} : { ca: clientAuthorities, requestCert: true };
    const { isDone, fault } = await this.#upgrade({ cert, key: identity.key, rejectUnauthorized: false, ...asked }, true);
    const isKnown = isDone && fault === null && this.#socket.authorized;
    return {
      isReused: this.#socket.isSessionReused(),
      clientCertificate: isKnown ? this.#socket.getPeerCertificate()?.raw : undefined,
    };
  }

  async startClientTls({ serverName, authorities, identity, session }: ClientTlsOptions): Promise<ServerFacts> {
    this.#resumed = session;
    const tls = {
      rejectUnauthorized: false,
      ...(isIP(serverName) === 0 ? { serverName } : {}),
      ...(authorities === undefined ? {} : { ca: authorities }),
      ...(identity === undefined ? {} : { cert: identity.certificate, key: identity.key }),
    };
    const { fault } = await this.#upgrade(tls, false);
    const der = this.#socket.getPeerCertificate()?.raw;
    const isReused = this.#socket.isSessionReused();
    if (der === undefined && !isReused) {
      this.destroy();
      throw new Error("the server has shown no certificate");
    }
    return { isReused, peer: der === undefined ? undefined : describePeer(der, serverName, fault) };
  }

  #upgrade(tls: TLSOptions, isServer: boolean): Promise<HandshakeEnd> {
    if (this.isClosed) return Promise.reject(this.#fault ?? new Error("the connection is closed"));
    const end = new Promise<HandshakeEnd>((done, failed) => {
      this.#handshake = { done, failed };
    });
    const timer = setTimeout(() => {
      this.#fault = new Error("the TLS handshake timed out");
      this.destroy();
    }, TLS_HANDSHAKE_MS_MAX);
    this.#records = new RecordWatch();
    // The types do not know that an accepted or made connection may be the server.
    const options = { data: this as Connection, tls, socket: SECURE_HANDLERS, isServer };
    this.#socket.resume();
    [, this.#socket] = this.#socket.upgradeTLS<Connection>(options);
    return end.finally(() => clearTimeout(timer));
  }

  end(graceMs = END_GRACE_MS): void {
    if (this.isClosed || this.isEnding) return;
    this.isEnding = true;
    this.#finish(graceMs);
  }

  endLater(): void {
    if (this.isClosed || this.isEnding) return;
    this.isEnding = true;
    // The first of them comes before what waits for it in this turn.
    setImmediate(() => setImmediate(() => this.isClosed || this.#finish(END_GRACE_MS)));
  }

  #finish(graceMs: number): void {
    this.#endTimer = setTimeout(() => this.destroy(), graceMs);
    if (this.#waiting.length === 0) this.#endSocket();
    // It would never learn that the other side is gone.
    if (!this.#isOver) this.#socket.resume();
  }

  #endSocket(): void {
    // Behind the runtime's end() nothing closes the descriptor of a TLS stream but the other side, which may never do it.
    if (this.isSecure && !this.#isOver) this.#socket.shutdown();
    else if (!this.#isSentElsewhere) this.#socket.end();
    else this.#outlet!.settled().then(() => this.#socket.end(), () => this.destroy());
  }

  destroy(): void {
    if (this.isClosed) return;
    this.#socket.terminate();
    this.closed(this.#fault);
  }

  // ------------------------------------------------------- events of the socket

  data(bytes: Uint8Array): void {
    this.#records?.content(bytes.length);
    if (this.isEnding) return;
    if (this.#handlers === undefined) this.#unheard.push(bytes);
    else this.#handlers.onData(bytes);
  }

  raw(bytes: Uint8Array): void {
    this.#records?.raw(bytes);
  }

  drain(): void {
    if (this.#waiting.length === 0) return;
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const taken = Math.max(0, this.#socket.write(first.rest));
      if (taken < first.rest.length) {
        first.rest = first.rest.subarray(taken);
        return;
      }
      this.#waiting.shift();
      first.resolve();
    }
    if (this.#endTimer !== undefined) this.#endSocket();
  }

  handshake(isDone: boolean, fault: Error | null): void {
    const socket = this.#socket;
    const isBroken = socket.getCipher() === undefined || (!isDone && fault !== null && "code" in fault && fault.code === "EPROTO");
    const waiting = this.#handshake;
    this.#handshake = undefined;
    if (isBroken) {
      waiting?.failed(fault ?? new Error("the TLS handshake failed"));
      this.destroy();
      return;
    }
    if (this.#handlers === undefined) this.pause();
    waiting?.done({ isDone, fault });
  }

  /** TLS is about to begin on this socket, which is not ours yet. */
  secured(socket: Raw): void {
    if (this.#resumed !== undefined) socket.setSession(this.#resumed);
  }

  over(): void {
    if (this.#isOver || this.isClosed) return;
    this.#isOver = true;
    if (!this.isEnding) this.#handlers?.onEnd(this.#records?.isEndedInOrder ?? true);
    else if (this.isSecure && this.#waiting.length === 0 && this.#endTimer !== undefined) this.#socket.end();
  }

  failed(error: Error): void {
    this.#fault ??= error;
  }

  closed(error: Error | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.#endTimer);
    this.#outlet?.close();
    this.#inlet?.close();
    this.#fault = error ?? this.#fault;
    this.#handshake?.failed(this.#fault ?? new Error("closed during the TLS handshake"));
    this.#handshake = undefined;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#fault ?? new Error("the connection is closed"));
    this.#handlers?.onClose(this.#fault);
  }
}

/**
 * Handlers of a socket in clear; once TLS is spoken on it, it shows the records that pass. A socket that was not
 * connected has no data.
 */
const PLAIN_HANDLERS = {
  data: (socket: Raw, bytes: Uint8Array) => (socket.data.isSecure ? socket.data.raw(bytes) : socket.data.data(bytes)),
  drain: (socket: Raw) => (socket.data.isSecure ? undefined : socket.data.drain()),
  end: (socket: Raw) => (socket.data.isSecure ? undefined : socket.data.over()),
  error: (socket: Raw, error: Error) => (socket.data as Connection | undefined)?.failed(error),
  close: (socket: Raw, error?: Error) => (socket.data as Connection | undefined)?.closed(error),
};

const SECURE_HANDLERS = {
  open: (socket: Raw) => socket.data.secured(socket),
  session: (socket: Raw, session: Uint8Array) => {
    socket.data.session = session;
  },
  data: (socket: Raw, bytes: Uint8Array) => socket.data.data(bytes),
  drain: (socket: Raw) => socket.data.drain(),
  handshake: (socket: Raw, isDone: boolean, fault: Error | null) => socket.data.handshake(isDone, fault),
  end: (socket: Raw) => socket.data.over(),
  error: (socket: Raw, error: Error) => socket.data.failed(error),
  close: (socket: Raw, error?: Error) => socket.data.closed(error),
};

/**
 * Accepts connections until closed; what was accepted stays. A port that another has is refused, never shared.
 * @throws the system's error when the address cannot be listened on
 */
export function listenTcp(
  at: { readonly host: string; readonly port: number },
  onConnection: (connection: TcpConnection) => void,
): TcpListener {
  const listener: TCPSocketListener<Connection> = Bun.listen<Connection>({
    hostname: at.host,
    port: at.port,
    exclusive: true,
    allowHalfOpen: true,
    socket: {
      ...PLAIN_HANDLERS,
      open(socket) {
        socket.data = new Connection(socket);
        onConnection(socket.data);
      },
    },
  });
  return { port: listener.port, close: () => listener.stop(false) };
}

/** @throws the system's error, or one that says that it took longer than `timeoutMs` */
export async function connectTcp(to: TcpAddress, timeoutMs: number): Promise<TcpConnection> {
  const made = Promise.withResolvers<Connection>();
  const timer = setTimeout(() => made.reject(new Error("the connection could not be made in time")), timeoutMs);
  const connecting = Bun.connect<Connection>({
    hostname: to.address,
    port: to.port,
    allowHalfOpen: true,
    socket: {
      ...PLAIN_HANDLERS,
      open(socket) {
        socket.data = new Connection(socket);
        made.resolve(socket.data);
      },
      connectError: (_socket, error) => made.reject(error),
    },
  });
  connecting.catch(made.reject);
  try {
    return await made.promise;
  } catch (error) {
    connecting.then((socket) => socket.terminate(), () => undefined);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
