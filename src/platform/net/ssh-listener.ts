/**
 * SSH for doors: accepts connections, lets clients prove who they are, and hands out channels for subsystems. There are
 * no shells, no commands and no forwarding of anything: what asks for them is refused.
 *
 * The transport is the server of the library ssh2 (RFC 4253, 4252, 4254) on sockets of ours, so that what it writes and
 * what it reads ahead is bounded here.
 */
import type { Socket } from "bun";
import ssh2 from "ssh2";
import type { AuthContext, Connection, ServerChannel, Session } from "ssh2";
import { FairPlaces } from "#platform/net/fair-places.ts";
import { SshSocket } from "#platform/net/ssh-socket.ts";
import { isSignedBy } from "#platform/net/ssh-signature.ts";

/** What a client showed. */
export type SshProof =
  | { readonly type: "password"; readonly user: string; readonly password: string }
  /** A public key or a certificate (its wire form) whose private key has signed this connection. */
  | { readonly type: "key"; readonly user: string; readonly key: Uint8Array };

/** A byte stream of its own within a connection. */
export interface SshChannel {
  /**
   * Calls back with what comes; the views stay valid. onEnd comes once, when the client sends no more or is gone; what
   * it sent before has been handed over then, unless the connection broke.
   */
  listen(handlers: { onData(bytes: Uint8Array): void; onDrain(): void; onEnd(): void }): void;
  /** Takes all bytes. False: wait for onDrain before the next. */
  write(bytes: Uint8Array): boolean;
  /** The client is granted no more than what it may send already, until resume(). */
  pause(): void;
  resume(): void;
  /** What was written leaves, then the channel ends. */
  end(): void;
}

export type SshListenOptions<Who> = {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Private keys in PEM, one of a kind. */
  readonly hostKeys: readonly string[];
  readonly subsystem: string;
  /** What is said to who asks for a shell or a command. */
  readonly refusal: string;
  readonly limits: SshLimits;
  /** A key is offered: whether it would do, so that the client signs with the right one. */
  readonly isKnownKey: (user: string, key: Uint8Array) => Promise<boolean>;
  /** Undefined: not that one. It must not reject. */
  readonly authenticate: (proof: SshProof, connection: SshConnection) => Promise<Who | undefined>;
  readonly onChannel: (who: Who, channel: SshChannel, connection: SshConnection) => void;
  readonly onEnd: (reason: string, address: string) => void;
};

export interface SshConnection {
  /** The client's. */
  readonly address: string;
  /** Aborted when it is over. */
  readonly gone: AbortSignal;
  /** Something was done for it: it is not idle. */
  touch(): void;
  end(): void;
}

export type SshLimits = {
  readonly connections: number;
  readonly connectionsOfAddress: number;
  /** Those that did not sign in yet; who comes when there are so many takes the place of another. */
  readonly strangers: number;
  /** To sign in, from the first byte. */
  readonly strangerMs: number;
  readonly tries: number;
  /** Keys that are offered without a signature. */
  readonly offers: number;
  readonly channels: number;
  /** Without a request. */
  readonly idleMs: number;
};

export type SshListener = {
  readonly port: number;
  readonly connections: number;
  /** Takes no more connections. */
  stop(): void;
  /** Ends those that are there. */
  endAll(): void;
};

const IDENT = "Syncline";
/** A client that does not answer is gone after three of these. */
const KEEPALIVE_MS = 30_000;
const KEEPALIVES_MAX = 3;
/** A paused channel gets what its window allows, twice at most; a client that sends more does not heed it. */
const HELD_BYTES_MAX = 8 << 20;
/** A channel is not drained while this much waits in the connection. */
const BACKLOG_BYTES = 1 << 20;
const LOOK_MS = 1_000;
const METHODS = ["publickey", "password"] as const;

/**
 * Finite-field exchanges cost the server most, so only the one that old clients need. Of the ciphers, GCM is twice as fast
 * as counter mode with its separate sums, but clients choose by their own order. ChaCha20 is not among them: without
 * native code it is slower than all others.
 */
const ALGORITHMS = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
  ],
  cipher: ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"],
  compress: ["none"],
};

type Place = { readonly socket: SshSocket; readonly address: string; drained: () => void };
type Raw = Socket<SshSocket | undefined>;

/** Accepts SSH connections until stopped. Throws the system's error when the address cannot be used. */
export function listenSsh<Who>(options: SshListenOptions<Who>): SshListener {
  const door = new Doorkeeper(options);
  const listener = Bun.listen<SshSocket | undefined>({
    hostname: options.host,
    port: options.port,
    data: undefined,
    socket: {
      open(raw) {
        raw.data = door.admit(raw);
        if (raw.data === undefined) raw.terminate();
      },
      data: (raw, bytes) => raw.data?.data(bytes),
      drain: (raw) => raw.data?.drain(),
      error: (raw, error) => raw.data?.closed(error),
      // Half a connection is none: there is nothing that would be answered.
      end(raw) {
        raw.data?.closed(undefined);
        raw.end();
      },
      close: (raw, error) => raw.data?.closed(error ?? undefined),
    },
  });
  return {
    port: listener.port,
    get connections() {
      return door.connections;
    },
    stop: () => listener.stop(false),
    endAll: () => door.endAll(),
  };
}

/** Lets connections in, as many as there may be. */
class Doorkeeper<Who> {
  readonly #options: SshListenOptions<Who>;
  readonly #server;
  readonly #places = new Set<SshSocket>();
  readonly #ofAddress = new Map<string, number>();
  /** The library tells of a connection when the client has said what it is, and only where from it came. */
  readonly #served = new Map<string, Served<Who>>();
  readonly #strangers: FairPlaces;

  constructor(options: SshListenOptions<Who>) {
    this.#options = options;
    this.#strangers = new FairPlaces(options.limits.strangers);
    const config = {
      hostKeys: options.hostKeys,
      ident: IDENT,
      keepaliveInterval: KEEPALIVE_MS,
      keepaliveCountMax: KEEPALIVES_MAX,
      algorithms: ALGORITHMS,
    };
    this.#server = new ssh2.Server(config, (connection, { ip, port }) => this.#served.get(peerName(ip, port))?.begin(connection));
  }

  get connections(): number {
    return this.#places.size;
  }

  endAll(): void {
    for (const socket of this.#places) socket.destroy();
  }

  /** Undefined: there are too many. */
  admit(raw: Raw): SshSocket | undefined {
    const address = raw.remoteAddress;
    const held = this.#ofAddress.get(address) ?? 0;
    const { connections, connectionsOfAddress } = this.#options.limits;
    if (this.#places.size >= connections || held >= connectionsOfAddress) return undefined;
    const place: Place = { socket: new SshSocket(raw, () => place.drained()), address, drained: () => undefined };
    const { socket } = place;
    raw.setNoDelay(true);
    this.#places.add(socket);
    this.#ofAddress.set(address, held + 1);
    const served = new Served(this.#options, place, this.#strangers.take(address, () => socket.destroy()));
    const name = peerName(address, socket.remotePort);
    this.#served.set(name, served);
    socket.on("error", () => undefined);
    socket.once("close", () => {
      this.#places.delete(socket);
      this.#served.delete(name);
      const left = (this.#ofAddress.get(address) ?? 1) - 1;
      if (left === 0) this.#ofAddress.delete(address);
      else this.#ofAddress.set(address, left);
      served.closed();
    });
    this.#server.injectSocket(socket);
    return socket;
  }
}

const peerName = (address: string, port: number): string => `${address} ${port}`;

/** One connection, from its first byte. */
class Served<Who> implements SshConnection {
  readonly address: string;
  readonly #options: SshListenOptions<Who>;
  readonly #gone = new AbortController();
  readonly #place: Place;
  readonly #signedIn: () => void;
  readonly #channels = new Set<Channel>();
  #connection: Connection | undefined;
  #who: Who | undefined;
  #isStranger = true;
  #tries = 0;
  #offers = 0;
  #touchedMs = performance.now();
  #timer: ReturnType<typeof setInterval>;

  constructor(options: SshListenOptions<Who>, place: Place, signedIn: () => void) {
    this.#options = options;
    this.#place = place;
    this.address = place.address;
    this.#signedIn = signedIn;
    place.drained = () => this.#drained();
    place.socket.on("data", () => {
      for (const channel of this.#channels) if (channel.heldBytes > HELD_BYTES_MAX) this.#end("sent more than it was allowed");
    });
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  begin(connection: Connection): void {
    this.#connection = connection;
    connection.on("error", (error) => this.#end(error.message));
    // Who has gone while a password was looked at is told nothing: the library throws then.
    connection.on("authentication", (context) => void this.#authenticate(context).catch(() => this.end()));
    connection.on("ready", () => this.#known());
    connection.on("session", (accept, reject) => {
      if (this.#channels.size >= this.#options.limits.channels) return reject();
      const session = accept();
      if (session !== undefined) this.#session(session);
    });
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  touch(): void {
    this.#touchedMs = performance.now();
  }

  end(): void {
    tryTo(() => this.#connection?.end());
    this.#place.socket.end();
  }

  closed(): void {
    clearInterval(this.#timer);
    this.#known();
    for (const channel of this.#channels) channel.closed();
    this.#channels.clear();
    this.#gone.abort();
  }

  #known(): void {
    if (!this.#isStranger) return;
    this.#isStranger = false;
    this.#touchedMs = performance.now();
    this.#signedIn();
  }

  #look(): void {
    const { strangerMs, idleMs } = this.#options.limits;
    const quietMs = performance.now() - this.#touchedMs;
    if (this.#isStranger ? quietMs > strangerMs : quietMs > idleMs) {
      this.#end(this.#isStranger ? "nobody signed in in time" : "idle");
    }
  }

  #end(reason: string): void {
    this.#options.onEnd(reason, this.address);
    this.end();
    // What a broken client does not take is not waited for.
    setTimeout(() => this.#place.socket.destroy(), LOOK_MS).unref();
  }

  async #authenticate(context: AuthContext): Promise<void> {
    const { limits, isKnownKey } = this.#options;
    if (context.method === "none") return context.reject(METHODS);
    if (context.method === "publickey" && context.signature === undefined && context.key !== undefined) {
      if (++this.#offers > limits.offers) return this.#end("too many keys were offered");
      const isKnown = await isKnownKey(context.username, context.key.data).catch(() => false);
      return isKnown ? context.accept() : context.reject(METHODS);
    }
    const proof = proofOf(context);
    const who = proof === undefined ? undefined : await this.#options.authenticate(proof, this);
    if (who !== undefined) {
      this.#who = who;
      context.accept();
      return;
    }
    if (++this.#tries >= limits.tries) this.#end("too many failed tries to sign in");
    else context.reject(METHODS);
  }

  #session(session: Session): void {
    const { subsystem, refusal, onChannel } = this.#options;
    session.on("subsystem", (accept, reject, { name }) => {
      const raw = name === subsystem ? accept() : reject?.();
      if (raw === undefined || raw === null) return;
      const channel = new Channel(raw, this.#place.socket, () => this.#channels.delete(channel));
      this.#channels.add(channel);
      onChannel(this.#who!, channel, this);
    });
    const refuse = (accept: () => ServerChannel | undefined): void => {
      const raw = accept();
      if (raw === undefined) return;
      raw.on("error", () => undefined);
      raw.resume();
      tryTo(() => {
        raw.stderr.write(`${refusal}\r\n`);
        raw.exit(1);
        raw.end();
      });
    };
    session.on("exec", refuse);
    session.on("shell", refuse);
    // A terminal comes with a shell, whose refusal says why.
    session.on("pty", (accept) => void accept?.());
  }

  #drained(): void {
    for (const channel of this.#channels) channel.drained();
  }
}

/** The library throws when it is asked for something after a connection has broken: then there is nobody to tell. */
function tryTo(work: () => void): void {
  try {
    work();
  } catch {
    return;
  }
}

/** Undefined: nothing that counts, or a signature that is wrong. */
function proofOf({ method, username: user, password, key, signature, blob, hashAlgo }: AuthContext): SshProof | undefined {
  if (method === "password" && typeof password === "string") return { type: "password", user, password };
  if (method !== "publickey" || key === undefined || signature === undefined || blob === undefined) return undefined;
  return isSignedBy(key.data, key.algo, hashAlgo, blob, signature) ? { type: "key", user, key: key.data } : undefined;
}

class Channel implements SshChannel {
  readonly #raw: ServerChannel;
  readonly #socket: SshSocket;
  readonly #onEnd: () => void;
  #handlers: Parameters<SshChannel["listen"]>[0] | undefined;
  #isWaiting = false;
  #isRawFull = false;
  /** The client sends no more. */
  #isEnded = false;
  /** Nothing leaves any more. */
  #isOver = false;

  constructor(raw: ServerChannel, socket: SshSocket, onEnd: () => void) {
    this.#raw = raw;
    this.#socket = socket;
    this.#onEnd = onEnd;
    raw.on("error", () => this.closed());
    raw.on("close", () => this.closed());
    raw.on("drain", () => {
      this.#isRawFull = false;
      this.drained();
    });
  }

  listen(handlers: Parameters<SshChannel["listen"]>[0]): void {
    this.#handlers = handlers;
    this.#raw.on("data", (bytes: Buffer) => handlers.onData(bytes));
    this.#raw.on("end", () => this.#ended());
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isOver) return true;
    try {
      if (!this.#raw.write(bytes)) this.#isRawFull = true;
    } catch {
      this.closed();
      return true;
    }
    this.#isWaiting = this.#isRawFull || this.#socket.unsentBytes > BACKLOG_BYTES;
    return !this.#isWaiting;
  }

  /** The connection takes more; the channel's own window may not. */
  drained(): void {
    if (!this.#isWaiting || this.#isRawFull || this.#socket.unsentBytes > BACKLOG_BYTES) return;
    this.#isWaiting = false;
    this.#handlers?.onDrain();
  }

  pause(): void {
    this.#raw.pause();
  }

  resume(): void {
    this.#raw.resume();
  }

  /** Bytes that came while it was paused. */
  get heldBytes(): number {
    return this.#raw.readableLength;
  }

  end(): void {
    if (this.#isOver) return;
    tryTo(() => {
      this.#raw.exit(0);
      this.#raw.end();
    });
  }

  #ended(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#handlers?.onEnd();
  }

  closed(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#onEnd();
    tryTo(() => this.#raw.end());
    // Who waits for room would wait for ever.
    this.#handlers?.onDrain();
    this.#ended();
  }
}
