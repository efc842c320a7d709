/**
 * How a session gets its next data connection: a port of ours that the client comes to (PASV, EPSV), or an address of the
 * client's that we go to (PORT, EPRT). Each command replaces what the one before has arranged, and a transfer uses it up.
 */
import { type TcpConnection, type TlsOptions, connectTcp } from "#platform/net/tcp-server.ts";
import type { Clock } from "#platform/host.ts";
import type { DataAddress } from "#gateway/ftp/data-address.ts";
import type { PassivePorts, Reservation } from "#gateway/ftp/passive-ports.ts";
import { FtpRefusal } from "#gateway/ftp/reply.ts";

/** After a transfer was asked for, the client comes within this time. */
export const ACCEPT_MS_MAX = 30_000;
/** A client that has begun its handshake before it asked for the transfer may need the announcement to go on with it. */
const EARLY_HANDSHAKE_MS_MAX = 1_000;
/** A connection to the client is made within this time. */
const CONNECT_MS_MAX = 15_000;

export type Protection = {
  readonly tls: TlsOptions;
  /** Told whether the TLS session of the control connection was resumed. @throws {FtpRefusal} when it has to be */
  readonly onSecured: (isReused: boolean) => void;
};

export class DataChannel {
  #passive: Reservation | undefined;
  #active: DataAddress | undefined;

  get isArranged(): boolean {
    return this.#passive !== undefined || this.#active !== undefined;
  }

  passive(ports: PassivePorts, host: string, client: string): number {
    this.reset();
    this.#passive = ports.reserve(host, client);
    return this.#passive.port;
  }

  active(to: DataAddress): void {
    this.reset();
    this.#active = to;
  }

  /** Gives up what was arranged. */
  reset(): void {
    this.#passive?.give();
    this.#passive = undefined;
    this.#active = undefined;
  }

  /**
   * The connection, secured where `protection` says so; nothing of it is read.
   *
   * @param announce tells the client that the transfer begins; called once, unless this throws before
   * @throws {FtpRefusal} 425 when it does not come about, 522 when it is not secured as it has to be; signal.reason;
   *   what `announce` throws
   */
  async open(protection: Protection | undefined, clock: Clock, signal: AbortSignal, announce: () => Promise<void>): Promise<TcpConnection> {
    const passive = this.#passive;
    const active = this.#active;
    this.#passive = undefined;
    this.#active = undefined;
    if (protection === undefined || passive?.isThere() !== true) {
      await announce();
      const connection = await this.#connection(passive, active, signal);
      return protection === undefined ? connection : secured(connection, protection, signal);
    }
    const connection = await passive.connection;
    const securing = secured(connection, protection, signal);
    // Heard of below, in its turn.
    securing.catch(() => undefined);
    try {
      await handshakeOfEarly(connection, securing, clock);
      await announce();
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return securing;
  }

  async #connection(passive: Reservation | undefined, active: DataAddress | undefined, signal: AbortSignal): Promise<TcpConnection> {
    if (passive === undefined) {
      if (active === undefined) throw new FtpRefusal(425, "Send PASV, EPSV, PORT or EPRT first");
      const made = await connectTcp(active, CONNECT_MS_MAX).catch(() => {
        throw new FtpRefusal(425, "The data connection could not be opened");
      });
      if (!signal.aborted) return made;
      made.destroy();
      throw signal.reason;
    }
    const give = (): void => passive.give();
    const timer = setTimeout(give, ACCEPT_MS_MAX);
    signal.addEventListener("abort", give, { once: true });
    try {
      return await passive.connection;
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", give);
    }
  }
}

async function secured(connection: TcpConnection, { tls, onSecured }: Protection, signal: AbortSignal): Promise<TcpConnection> {
  try {
    const { isReused } = await connection.startTls(tls);
    onSecured(isReused);
    signal.throwIfAborted();
    return connection;
  } catch (error) {
    connection.destroy();
    if (error instanceof FtpRefusal || signal.aborted) throw error;
    throw new FtpRefusal(425, "The TLS handshake of the data connection failed");
  }
}

/**
 * Some clients begin the handshake as soon as they are connected, others when the transfer is announced. The former may
 * end an empty upload in the middle of it, without close_notify, when they hear of the transfer before it is done: so
 * it is done first.
 */
async function handshakeOfEarly(connection: TcpConnection, securing: Promise<unknown>, clock: Clock): Promise<void> {
  // What a client has sent before it asked for the transfer is read by the second turn.
  for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => void setImmediate(resolve));
  if (!connection.isGreeted) return;
  const late = new AbortController();
  const waited = clock.sleep(EARLY_HANDSHAKE_MS_MAX, late.signal).catch(() => undefined);
  await Promise.race([securing, waited]).finally(() => late.abort());
}
