/**
 * One control connection: reads commands in their order, answers each once, and holds what they leave behind (who is
 * signed in, directory, type, what the next command begins from). What commands do is in the tables of commands.
 */
import { newTraceId } from "#platform/trace-id.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { SynclineError, stackOf } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Identity } from "#platform/net/tls-socket.ts";
import type { TcpAddress, TcpConnection, TlsOptions } from "#platform/net/tcp-server.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Arrival } from "#gateway/proxied.ts";
import type { SignedIn } from "#gateway/renewing.ts";
import type { Bandwidth } from "#gateway/ftp/bandwidth.ts";
import { type Command, CommandReader, TOO_LONG } from "#gateway/ftp/command-reader.ts";
import type { CommandSpec } from "#gateway/ftp/commands.ts";
import { canonicalAddress } from "#gateway/ftp/data-address.ts";
import { DataChannel, type Protection } from "#gateway/ftp/data-channel.ts";
import { DEFLATE_LEVEL_DEFAULT } from "#gateway/ftp/deflate.ts";
import { FtpFiles } from "#gateway/ftp/files.ts";
import { type FtpPath, ROOT } from "#gateway/ftp/ftp-path.ts";
import type { FtpSettings } from "#gateway/ftp/ftp-settings.ts";
import type { FtpTraffic } from "#gateway/ftp/ftp-traffic.ts";
import type { HashName, Hashes } from "#gateway/ftp/hashes.ts";
import { FACTS_DEFAULT, type Fact } from "#gateway/ftp/listing.ts";
import type { Partials } from "#gateway/partials.ts";
import type { PassivePorts } from "#gateway/ftp/passive-ports.ts";
import { FtpRefusal, refusalOf, replyBytes, replyLine } from "#gateway/ftp/reply.ts";

/** Who has not signed in by then is sent away. */
export const LOGIN_MS_MAX = 60_000;
/** Wrong passwords of one connection; the last one ends it. */
export const LOGIN_FAILURES_MAX = 3;
/** An answer that the client does not take within this time ends the connection. */
const ANSWER_MS_MAX = 60_000;

/** What all sessions of a hub share. */
export type FtpShared = {
  readonly spaces: SpaceService;
  readonly access: HubAccess;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: ApiLog;
  readonly settings: FtpSettings;
  readonly ports: PassivePorts;
  readonly partials: Partials;
  readonly bandwidth: Bandwidth;
  readonly traffic: FtpTraffic;
  readonly hashes: Hashes;
  /** What the disk of the hub has left, in bytes. */
  readonly freeBytes: () => number;
  readonly commands: ReadonlyMap<string, CommandSpec>;
  readonly identity: () => Identity;
};

/** A transfer that is under way. */
export type Transfer = {
  readonly name: string;
  readonly direction: "in" | "out";
  bytes: number;
  movedMs: number;
  /** It waits for us and not for the client: content is being made durable. */
  isCommitting: boolean;
  readonly abort: AbortController;
};

export class FtpSession {
  readonly shared: FtpShared;
  readonly connection: TcpConnection;
  readonly client: TcpAddress;
  /** Where the client believes to be connected to, and the address of this host that it has come to. */
  readonly local: TcpAddress;
  readonly ownAddress: string;
  /** The client's address in the one form that is compared. */
  readonly clientAddress: string;
  /** Tickets of this text are taken on the data connections of this session alone. */
  readonly ticketGroup: string;
  readonly channel = new DataChannel();
  readonly beganMs: number;

  // What commands leave behind.
  tls: TlsOptions | undefined;
  clientCertificate: Uint8Array | undefined;
  user: string | undefined;
  signedIn: SignedIn | undefined;
  loginFailures = 0;
  cwd: FtpPath = ROOT;
  type: "ascii" | "binary" = "ascii";
  /** Level of MODE Z; undefined: MODE S. */
  deflateLevel: number | undefined;
  deflateLevelWanted = DEFLATE_LEVEL_DEFAULT;
  restart = 0;
  /** Where the next transfer or sum ends, behind `restart`: RANG was sent. */
  rangeEnd: number | undefined;
  allocated: number | undefined;
  renameFrom: FtpPath | undefined;
  copyFrom: FtpPath | undefined;
  facts: readonly Fact[] = FACTS_DEFAULT;
  hash: HashName = "SHA-256";
  /** PBSZ was sent. */
  isSizeAgreed = false;
  isDataPrivate = false;
  /** EPSV ALL was sent: no other command may arrange a data connection. */
  isExtendedOnly = false;
  /** It ends behind the reply that is on its way. */
  isLeaving = false;

  #transfer: Transfer | undefined;
  readonly #reader = new CommandReader();
  readonly #gone = new AbortController();
  #isWorking = false;
  #isPaused = false;
  /** ABOR that are to be answered behind the transfer that they end. */
  #aborts = 0;
  #isUnboundSaid = false;
  #heardMs: number;
  #answeringMs: number | undefined;
  #onGone: (() => void) | undefined;

  constructor(shared: FtpShared, { connection, remote, local, ownAddress }: Arrival) {
    this.shared = shared;
    this.connection = connection;
    this.client = remote;
    this.local = local;
    this.ownAddress = ownAddress;
    this.clientAddress = canonicalAddress(remote.address);
    this.ticketGroup = Buffer.from(shared.random.bytes(16)).toString("hex");
    this.beganMs = this.#heardMs = shared.clock.monotonicMs();
  }

  /** @throws {FtpRefusal} 530 */
  get files(): FtpFiles {
    if (this.signedIn === undefined) throw new FtpRefusal(530, "Please sign in with USER and PASS");
    return new FtpFiles({ ...this.shared, newTraceId: () => this.newTraceId() }, this.signedIn.who);
  }

  newTraceId(): string {
    return newTraceId(this.shared.random);
  }

  /** Aborted when the connection is gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /**
   * Greets, and takes commands until the connection ends.
   * @param onGone once the connection is gone and nothing is at work any more; may be called twice
   */
  start(onGone: () => void): void {
    this.#onGone = onGone;
    this.#answer(replyLine(220, "Syncline FTP server ready"));
    this.connection.listen({
      onData: (bytes) => this.#heard(bytes),
      onEnd: () => this.#ended(),
      onClose: () => this.#ended(),
    });
  }

  /** Ends it with a last word. */
  close(code: number, text: string): void {
    this.#transfer?.abort.abort(new FtpRefusal(code, text));
    if (!this.connection.isClosed) this.#answer(replyLine(code, text));
    this.connection.end();
    this.#ended();
  }

  /** It waits for a command, or for somebody to sign in. */
  get isIdle(): boolean {
    return !this.#isWorking;
  }

  /** A transfer that is under way from now on, which what was sent ahead may abort already. */
  begin(transfer: Transfer): void {
    this.#transfer = transfer;
    this.#interrupt(transfer);
  }

  endTransfer(): void {
    this.#transfer = undefined;
  }

  get isGone(): boolean {
    return this.#gone.signal.aborted;
  }

  #ended(): void {
    if (this.#gone.signal.aborted) return;
    this.#gone.abort(new FtpRefusal(426, "The control connection is gone"));
    this.#transfer?.abort.abort(this.#gone.signal.reason);
    this.channel.reset();
    this.connection.end();
    if (!this.#isWorking) this.#onGone?.();
  }

  // ---------------------------------------------------------------- commands

  #heard(bytes: Uint8Array): void {
    this.#heardMs = this.shared.clock.monotonicMs();
    this.#reader.push(bytes);
    if (this.#transfer !== undefined) this.#interrupt(this.#transfer);
    if (this.#reader.isFull && !this.#isPaused) {
      this.#isPaused = true;
      this.connection.pause();
    }
    void this.#work();
  }

  /** What does not wait for the transfer to end. */
  #interrupt(transfer: Transfer): void {
    for (let verb = this.#reader.urgent(); verb !== undefined; verb = this.#reader.urgent()) {
      if (verb === "STAT") {
        this.#answer(replyLine(211, `${transfer.direction === "in" ? "Receiving" : "Sending"}: ${transfer.bytes} bytes so far`));
        continue;
      }
      this.#aborts++;
      transfer.abort.abort(new FtpRefusal(426, "Transfer aborted"));
    }
  }

  async #work(): Promise<void> {
    if (this.#isWorking) return;
    this.#isWorking = true;
    try {
      for (let next = this.#reader.next(); next !== undefined && !this.isGone; next = this.#reader.next()) {
        if (this.#isPaused && !this.#reader.isFull) {
          this.#isPaused = false;
          this.connection.resume();
        }
        const answer = next === TOO_LONG ? replyLine(500, "The line is too long") : await this.#do(next);
        if (answer !== undefined) await this.send(answer);
        if (this.isLeaving) return this.#ended();
        for (; this.#aborts > 0; this.#aborts--) await this.send(replyLine(226, "Abort successful"));
        this.#heardMs = this.shared.clock.monotonicMs();
      }
    } catch {
      // The answer could not be sent: nobody is there any more.
      this.#ended();
    } finally {
      this.#isWorking = false;
      if (this.isGone) this.#onGone?.();
    }
  }

  /** @returns the reply, unless the command has sent it */
  async #do({ verb, argument }: Command): Promise<string | undefined> {
    const spec = this.shared.commands.get(verb);
    try {
      if (spec === undefined) throw new FtpRefusal(500, `Unknown command "${verb.slice(0, 16)}"; HELP lists those that there are`);
      if (spec.needs === "user") await this.renew();
      if (!spec.isBetween) this.#forget(verb);
      return await spec.run(this, argument);
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal !== undefined) return replyLine(refusal.code, refusal.message);
      const text = stackOf(error);
      this.shared.log.error("ftp command failed", { verb, user: this.signedIn?.who.name, error: text });
      return replyLine(451, "The hub could not do this; its log says why");
    }
  }

  /** A name to rename or copy from is for the very next command. */
  #forget(verb: string): void {
    if (verb !== "RNTO") this.renameFrom = undefined;
    if (verb !== "SITE") this.copyFrom = undefined;
  }

  /** Who is signed in, as of now. @throws {FtpRefusal} 530 */
  async renew(): Promise<void> {
    if (this.signedIn === undefined) throw new FtpRefusal(530, "Please sign in with USER and PASS");
    const { renew } = this.signedIn;
    try {
      this.signedIn = { who: await renew(), renew };
    } catch (error) {
      if (!(error instanceof SynclineError) || error.code !== "AUTH") throw error;
      this.signOut();
      throw new FtpRefusal(530, "Please sign in again");
    }
  }

  /** As REIN and AUTH leave it. */
  signOut(): void {
    this.signedIn = undefined;
    this.user = undefined;
    this.cwd = ROOT;
    this.type = "ascii";
    this.deflateLevel = undefined;
    this.deflateLevelWanted = DEFLATE_LEVEL_DEFAULT;
    this.restart = 0;
    this.rangeEnd = undefined;
    this.allocated = undefined;
    this.renameFrom = this.copyFrom = undefined;
    this.facts = FACTS_DEFAULT;
    this.isExtendedOnly = false;
    this.channel.reset();
  }

  /** Nothing that was sent in clear counts once it is secured. */
  forgetUnread(): void {
    this.#reader.clear();
  }

  // ---------------------------------------------------------------- answers

  /** Resolves when the client has room for more. */
  async send(text: string): Promise<void> {
    const full = this.connection.write(replyBytes(text));
    if (full === undefined) return;
    this.#answeringMs = this.shared.clock.monotonicMs();
    await full;
    this.#answeringMs = undefined;
  }

  /** Out of turn, and bounded by how much a client can have asked for. */
  #answer(text: string): void {
    this.connection.write(replyBytes(text))?.catch(() => this.#ended());
  }

  // ---------------------------------------------------------------- time

  /** Ends what takes too long. Called every second or so. */
  sweep(): void {
    const nowMs = this.shared.clock.monotonicMs();
    const { idleMs, stallMs } = this.shared.settings;
    if (this.#answeringMs !== undefined && nowMs - this.#answeringMs > ANSWER_MS_MAX) return this.connection.destroy();
    if (this.signedIn === undefined && nowMs - this.beganMs > LOGIN_MS_MAX) {
      return this.close(421, "Nobody signed in; the connection is closed");
    }
    if (this.#transfer !== undefined) {
      const isStalled = !this.#transfer.isCommitting && nowMs - this.#transfer.movedMs > stallMs;
      if (isStalled) this.#transfer.abort.abort(new FtpRefusal(426, "Nothing moved for too long; the transfer is aborted"));
      return;
    }
    if (!this.#isWorking && nowMs - this.#heardMs > idleMs) this.close(421, "Nothing was asked for too long; the connection is closed");
  }

  /** What the data connection has to be like. */
  get protection(): Protection | undefined {
    if (!this.isDataPrivate) return undefined;
    const { settings, log } = this.shared;
    return {
      tls: this.tls!,
      onSecured: (isReused) => {
        if (isReused || settings.dataSession === "off") return;
        if (settings.dataSession === "require") {
          throw new FtpRefusal(522, "The data connection must resume the TLS session of the control connection");
        }
        if (this.#isUnboundSaid) return;
        this.#isUnboundSaid = true;
        log.info("ftp data connection without a resumed TLS session", { user: this.user, address: this.client.address });
      },
    };
  }
}
