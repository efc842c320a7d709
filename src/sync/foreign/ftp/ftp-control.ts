/**
 * One control connection to an FTP server (RFC 959, 2228, 4217, 2428): commands go out, their replies come back in the same
 * order, and data connections are made to where this one leads. A reply that nobody asked for, a time-out or anything that
 * makes no sense ends it, because from then on a reply might be taken for that of another command.
 */
import { SynclineError } from "#model/error.ts";
import { encodeName } from "#model/path.ts";
import { addressText } from "#platform/net/address-text.ts";
import { type TcpConnection, connectTcp } from "#platform/net/tcp-server.ts";
import type { Identity, PeerCertificate } from "#platform/net/tls-socket.ts";
import type { AddressOf } from "#sync/foreign/client-parts.ts";
import { FtpRefusal, lostConnection, noTls, notDone } from "#sync/foreign/ftp/ftp-errors.ts";
import { type Reply, ReplyReader, extendedPort, featuresOf, passivePort, replyText } from "#sync/foreign/ftp/replies.ts";
import { KnownServers } from "#sync/transport/known-servers.ts";
import { type TlsTrust, isNewServer, trustNew } from "#sync/transport/server-trust.ts";

/** A connection, control or data, that takes longer is given up. */
export const CONNECT_MS_MAX = 15_000;
/** A reply that takes longer does not come any more; the last one of an upload may wait for the server's disk. */
export const REPLY_MS_MAX = 120_000;
/** Commands that are sent before the replies of the first ones are there. */
export const COMMANDS_AHEAD_MAX = 32;
/** Text of a command: a path of 4 KiB, and what is around it. */
const COMMAND_BYTES_MAX = 8 << 10;

export type FtpServer = {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** `explicit`: on request (AUTH TLS) · `implicit`: from the first byte. Data connections go the same way. */
  readonly tls: "none" | "explicit" | "implicit";
  readonly trust: TlsTrust;
  /** Shown to servers that ask for a certificate. */
  readonly identity: Identity | undefined;
  /** The address to connect to, asked for each connection; undefined: the host as it stands. */
  readonly addressOf?: AddressOf | undefined;
};

type Waiting = {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
  /** Of a command that moves data: what waits for the reply that comes after this one, unless this one says no. */
  readonly final?: Waiting;
};

export class FtpControl {
  readonly #server: FtpServer;
  readonly #label: string;
  readonly #tcp: TcpConnection;
  readonly #replies = new ReplyReader();
  readonly #waiting: Waiting[] = [];
  #fault: unknown;
  #peer: PeerCertificate | undefined;
  #usesExtended = true;
  /** Of the last command that moved data. It has no sense without us, and many servers let it go on. */
  #data: TcpConnection | undefined;
  features: ReadonlyMap<string, string> = new Map();
  greeting = "";

  private constructor(server: FtpServer, tcp: TcpConnection) {
    this.#server = server;
    this.#label = addressText(server.host, server.port);
    this.#tcp = tcp;
  }

  /**
   * Connects, secures the connection and signs in; binary transfers are set.
   * @throws {SynclineError} LINK_LOST, TRUST, AUTH, PROTOCOL, UNSUPPORTED; signal.reason
   */
  static async open(server: FtpServer, signal: AbortSignal): Promise<FtpControl> {
    for (;;) {
      const control = new FtpControl(server, await dial(await addressOf(server, signal), server.port, signal));
      const stop = (): void => control.destroy(signal.reason);
      signal.addEventListener("abort", stop, { once: true });
      try {
        const unknown = await control.#greet();
        if (unknown === undefined) {
          await control.#signIn();
          return control;
        }
        // The server would lose patience while a person reads, so the question is asked without a connection.
        control.destroy(undefined);
        await trustNew(unknown, server.trust, control.#label, new KnownServers(server.trust.stateDir));
      } catch (error) {
        control.destroy(error);
        throw signal.aborted ? signal.reason : error;
      } finally {
        signal.removeEventListener("abort", stop);
      }
    }
  }

  get isClosed(): boolean {
    return this.#fault !== undefined || this.#tcp.isClosed;
  }

  /** The certificate, where it has to be asked about first. */
  async #greet(): Promise<PeerCertificate | undefined> {
    if (this.#server.tls === "implicit") {
      const unknown = await this.#secure();
      if (unknown !== undefined) return unknown;
    }
    const greeted = this.#expect().reply;
    this.#listen();
    const greeting = await this.#after(greeted);
    if (greeting.code !== 220) throw notDone(greeting, "connect", undefined);
    this.greeting = greeting.lines.join("\n");
    if (this.#server.tls !== "explicit") return undefined;
    const answer = await this.send("AUTH TLS");
    if (answer.code !== 234) throw this.#withoutTls(answer);
    // What was sent in clear behind this reply would be taken for an answer of the secured connection.
    if (this.#fault !== undefined) throw this.#fault;
    if (!this.#replies.isEmpty) throw this.#senseless("it says more in clear after it was asked for TLS");
    const unknown = await this.#secure();
    if (unknown === undefined) this.#listen();
    return unknown;
  }

  async #secure(): Promise<PeerCertificate | undefined> {
    const { host, trust, identity } = this.#server;
    const options = { serverName: host, authorities: trust.ca, identity, session: undefined };
    const { peer } = await this.#tcp.startClientTls(options).catch((error: unknown) => {
      throw noTls(this.#label, error);
    });
    this.#peer = peer!;
    return isNewServer(peer!, trust, this.#label, new KnownServers(trust.stateDir)) ? peer : undefined;
  }

  async #signIn(): Promise<void> {
    let answer = await this.send(`USER ${this.#server.user}`);
    if (answer.code === 331) answer = await this.send(`PASS ${this.#server.password}`);
    if (answer.code !== 230 && answer.code !== 202) throw this.#notIn(answer);
    const isSecure = this.#server.tls !== "none";
    const [features, type, ...protection] = await this.sendAll(["FEAT", "TYPE I", ...(isSecure ? ["PBSZ 0", "PROT P"] : [])]);
    if (features!.code === 211) this.features = featuresOf(features!);
    for (const reply of [type!, ...protection]) if (reply.code >= 300) throw notDone(reply, "sign in", undefined);
    if (this.features.has("UTF8")) await this.send("OPTS UTF8 ON");
    if (this.features.has("MLST")) await this.send("OPTS MLST type;size;modify;");
  }

  #withoutTls(answer: Reply): SynclineError {
    return new SynclineError({
      code: "UNSUPPORTED",
      op: "connect",
      message: `${this.#label} does not begin TLS when asked: ${replyText(answer)}`,
      hint: "use ftps:// if TLS begins at once there; without ?tls=explicit everything goes in clear, the password too",
    });
  }

  #notIn(answer: Reply): SynclineError {
    if (answer.code === 421) return notDone(answer, "sign in", undefined);
    return new SynclineError({
      code: "AUTH",
      op: "sign in",
      message: `${this.#label} does not let ${this.#server.user} in: ${replyText(answer)}`,
      hint:
        this.#server.tls === "none"
          ? "check user and password, and whether the server wants TLS (?tls=explicit)"
          : "check user and password",
    });
  }

  // ------------------------------------------------------- commands

  /**
   * Sends a command, without a line end.
   * @throws {SynclineError} LINK_LOST when no reply comes, PROTOCOL, UNSUPPORTED for what cannot be in a command
   */
  send(command: string): Promise<Reply> {
    return this.sendAll([command]).then(([reply]) => reply!);
  }

  /** Commands that do not depend on each other, sent together: COMMANDS_AHEAD_MAX at most. Their replies in order. */
  async sendAll(commands: readonly string[]): Promise<Reply[]> {
    const bytes = Buffer.concat(commands.map((command) => commandBytes(command)));
    const replies = commands.map(() => this.#expect().reply);
    this.#say(bytes);
    const answers: Reply[] = [];
    for (const reply of replies) {
      const answer = await this.#after(reply);
      if (answer.code < 200) throw this.#failed(this.#senseless(replyText(answer)));
      answers.push(answer);
    }
    return answers;
  }

  /**
   * A command that moves data, with a data connection that stands and is secured. `done` waits for what is said at its end.
   * @throws {FtpRefusal} when the server does not begin
   */
  async begin(command: string, offset = 0): Promise<{ data: TcpConnection; done: () => Promise<Reply> }> {
    const bytes = commandBytes(command);
    const data = await this.#connectData();
    this.#data = data;
    try {
      if (offset > 0) {
        const rest = await this.send(`REST ${offset}`);
        if (rest.code !== 350) throw new FtpRefusal(rest);
      }
      const final = this.#expect();
      // Taken off and put behind the first one, for both may come at once.
      this.#waiting.pop();
      const first = this.#expect(final.waiting);
      this.#waiting.push(final.waiting);
      this.#say(bytes);
      const begun = await this.#after(first.reply);
      if (begun.code >= 200) throw new FtpRefusal(begun);
      if (this.#server.tls !== "none") await this.#secureData(data, final.reply);
      return { data, done: () => this.#after(final.reply) };
    } catch (error) {
      data.destroy();
      throw error;
    }
  }

  async #connectData(): Promise<TcpConnection> {
    const port = await this.#passivePort();
    return connectTcp({ address: this.#tcp.remote.address, port }, CONNECT_MS_MAX).catch((error: unknown) => {
      throw lostConnection(`${this.#label}, data connection to port ${port}`, error);
    });
  }

  async #passivePort(): Promise<number> {
    if (this.#usesExtended) {
      const answer = await this.send("EPSV");
      if (answer.code === 229) {
        const port = extendedPort(answer);
        if (port === undefined) throw this.#senseless(replyText(answer));
        return port;
      }
      if (answer.code < 500 || this.#tcp.remote.address.includes(":")) throw new FtpRefusal(answer);
      this.#usesExtended = false;
    }
    const answer = await this.send("PASV");
    if (answer.code !== 227) throw new FtpRefusal(answer);
    const port = passivePort(answer);
    if (port === undefined) throw this.#senseless(replyText(answer));
    return port;
  }

  /** With the session of the control connection: many servers take that for the proof that both are of the same client. */
  async #secureData(data: TcpConnection, last: Promise<Reply>): Promise<void> {
    const { host, trust, identity } = this.#server;
    const options = { serverName: host, authorities: trust.ca, identity, session: this.#tcp.session };
    const facts = await data.startClientTls(options).catch(async (error: unknown) => {
      // The server may say what it did not like.
      data.destroy();
      const said = await this.#after(last);
      throw said.code >= 400 ? new FtpRefusal(said) : lostConnection(`${this.#label}, data connection`, error);
    });
    // A session that was gone on with proves by itself that it is the same server.
    if (facts.peer === undefined || facts.peer.fingerprint === this.#peer!.fingerprint) return;
    throw this.#failed(
      new SynclineError({
        code: "TRUST",
        op: "check server",
        message: `the data connection of ${this.#label} has another certificate than the control connection`,
        hint: "someone may be in between",
      }),
    );
  }

  // ------------------------------------------------------- replies

  #listen(): void {
    this.#tcp.listen({
      onData: (bytes) => this.#take(bytes),
      onEnd: () => this.destroy(this.#lost()),
      onClose: (error) => this.destroy(error === undefined ? this.#lost() : lostConnection(this.#label, error)),
    });
  }

  #take(bytes: Uint8Array): void {
    try {
      this.#replies.push(bytes);
      for (let reply = this.#replies.next(); reply !== undefined; reply = this.#replies.next()) this.#answer(reply);
    } catch (error) {
      this.destroy(error);
    }
  }

  #answer(reply: Reply): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) throw reply.code === 421 ? notDone(reply, "wait", undefined) : this.#senseless(replyText(reply));
    if (waiting.final !== undefined && reply.code >= 200) this.#waiting.shift()!.resolve(reply);
    waiting.resolve(reply);
  }

  #expect(final?: Waiting): { reply: Promise<Reply>; waiting: Waiting } {
    if (this.isClosed) throw this.#lost();
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    // Whoever waits for an earlier one is told first, and may never come to wait for this one.
    promise.catch(() => undefined);
    const waiting: Waiting = { resolve, reject, ...(final === undefined ? {} : { final }) };
    this.#waiting.push(waiting);
    return { reply: promise, waiting };
  }

  /** What cannot be written has ended the connection: whoever waits for the reply hears why. */
  #say(bytes: Uint8Array): void {
    this.#tcp.write(bytes)?.catch(() => undefined);
  }

  /** The time counts from when somebody waits. */
  async #after(reply: Promise<Reply>): Promise<Reply> {
    const late = (): void => this.destroy(lostConnection(this.#label, new Error("it does not answer")));
    const timer = setTimeout(late, REPLY_MS_MAX);
    try {
      return await reply;
    } finally {
      clearTimeout(timer);
    }
  }

  #lost(): unknown {
    return this.#fault ?? lostConnection(this.#label, new Error("the server has ended the connection"));
  }

  #senseless(what: string): SynclineError {
    return new SynclineError({ code: "PROTOCOL", op: "talk FTP", message: `${this.#label} makes no sense: ${what}` });
  }

  /** After this there is no telling what a reply would belong to. */
  #failed(error: SynclineError): SynclineError {
    this.destroy(error);
    return error;
  }

  /** Ends it at once; who waits is told why. */
  destroy(fault: unknown): void {
    if (this.#fault !== undefined) return;
    this.#fault = fault ?? lostConnection(this.#label, new Error("the connection was closed"));
    for (const { reject } of this.#waiting.splice(0)) reject(this.#fault);
    this.#data?.destroy();
    this.#tcp.destroy();
  }

  /** Ends it in order. */
  quit(): void {
    if (this.isClosed) return;
    this.#fault = lostConnection(this.#label, new Error("the connection was closed"));
    this.#say(commandBytes("QUIT"));
    this.#tcp.end();
  }
}

function commandBytes(command: string): Uint8Array {
  const bytes = encodeName(`${command}\r\n`);
  // 255 begins a Telnet command; servers differ in what they make of two of them.
  const fits = !/[\0\r\n]/.test(command) && !bytes.includes(255) && bytes.length <= COMMAND_BYTES_MAX;
  if (fits) return bytes;
  throw new SynclineError({
    code: "UNSUPPORTED",
    op: "talk FTP",
    message: "a name with a line break, NUL or the byte 255 in it, or a longer path, cannot be said in FTP",
    hint: "rename it, or leave it out with --ignore",
  });
}

async function addressOf({ host, addressOf: ask }: FtpServer, signal: AbortSignal): Promise<string> {
  return ask === undefined ? host : ask(host, signal);
}

/** A TCP connection, unless the signal comes first. */
async function dial(host: string, port: number, signal: AbortSignal): Promise<TcpConnection> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const stop = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  const connecting = connectTcp({ address: host, port }, CONNECT_MS_MAX);
  try {
    return await Promise.race([connecting, aborted.promise]);
  } catch (error) {
    connecting.then((late) => late.destroy(), () => undefined);
    if (signal.aborted) throw signal.reason;
    throw lostConnection(addressText(host, port), error);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
