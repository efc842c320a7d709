/**
 * The ports on which clients open their data connections: they listen all the time and are shared. Whose connection it
 * is follows from the port and the client's address, so a port has one client of an address waiting at most, and as many
 * of different addresses as there are.
 */
import type { Clock } from "#platform/host.ts";
import { type TcpConnection, type TcpListener, listenTcp } from "#platform/net/tcp-server.ts";
import { arrivalOf } from "#gateway/proxied.ts";
import { canonicalAddress } from "#gateway/ftp/data-address.ts";
import { FtpRefusal } from "#gateway/ftp/reply.ts";

/** Ports that listen where any free one will do. */
const LISTENERS_MAX = 2_048;
/** Where any free one will do, a port that nobody waits at is closed after this long. */
const LISTENER_IDLE_MS = 60_000;
/** Ports tried that somebody else has, before it is said that there is none. */
const TRIES_MAX = 64;
/** A client that was told a port and does not come loses it after this long. */
export const PASSIVE_MS_MAX = 60_000;

/** A port that waits for one client. */
export type Reservation = {
  readonly port: number;
  /** The client's connection, nothing of it read; rejects when it does not come or is given up. */
  readonly connection: Promise<TcpConnection>;
  /** Whether it has come already. */
  isThere(): boolean;
  /** Idempotent; a connection that came and was not asked for is closed. */
  give(): void;
};

type Waiter = { readonly arrived: (connection: TcpConnection) => void; readonly lost: () => void; readonly untilMs: number };
type Port = { readonly host: string; readonly listener: TcpListener; readonly waiting: Map<string, Waiter>; usedMs: number };

export class PassivePorts {
  readonly #range: { readonly first: number; readonly last: number } | undefined;
  readonly #proxies: ReadonlySet<string>;
  readonly #clock: Clock;
  readonly #ports: Port[] = [];
  /** Where in the range the next port is opened. */
  #next: number;

  constructor(range: { readonly first: number; readonly last: number } | undefined, proxies: ReadonlySet<string>, clock: Clock) {
    this.#range = range;
    this.#proxies = proxies;
    this.#clock = clock;
    this.#next = range?.first ?? 0;
  }

  /**
   * @param host the local address that the client's control connection came to
   * @param client the client's address as canonicalAddress writes it; nobody else's connection is taken
   * @throws {FtpRefusal} 425 when no port is free
   */
  reserve(host: string, client: string): Reservation {
    const port = this.#free(host, client);
    const arrival = Promise.withResolvers<TcpConnection>();
    let taken: TcpConnection | undefined;
    let isGiven = false;
    const waiter: Waiter = {
      untilMs: this.#clock.monotonicMs() + PASSIVE_MS_MAX,
      arrived: (connection) => {
        taken = connection;
        arrival.resolve(connection);
      },
      lost: () => arrival.reject(new FtpRefusal(425, "The data connection was not opened in time")),
    };
    // Nobody may be there to hear that it was lost.
    arrival.promise.catch(() => undefined);
    port.waiting.set(client, waiter);
    port.usedMs = this.#clock.monotonicMs();
    const give = (): void => {
      if (isGiven) return;
      isGiven = true;
      if (port.waiting.get(client) === waiter) port.waiting.delete(client);
      waiter.lost();
      taken?.destroy();
    };
    return { port: port.listener.port, connection: arrival.promise, isThere: () => taken !== undefined, give };
  }

  #free(host: string, client: string): Port {
    for (const port of this.#ports) if (port.host === host && !port.waiting.has(client)) return port;
    const port = this.#range === undefined ? this.#openAny(host) : this.#openNext(host, this.#range);
    if (port === undefined) throw new FtpRefusal(425, "No port is free for the data connection; try again");
    this.#ports.push(port);
    return port;
  }

  #openAny(host: string): Port | undefined {
    return this.#ports.length >= LISTENERS_MAX ? undefined : this.#listen(host, 0);
  }

  #openNext(host: string, { first, last }: { readonly first: number; readonly last: number }): Port | undefined {
    const size = last - first + 1;
    for (let tried = 0; tried < Math.min(size, TRIES_MAX); tried++) {
      const number = this.#next;
      this.#next = number === last ? first : number + 1;
      const isOurs = this.#ports.some((port) => port.host === host && port.listener.port === number);
      const port = isOurs ? undefined : this.#listen(host, number);
      if (port !== undefined) return port;
    }
    return undefined;
  }

  #listen(host: string, number: number): Port | undefined {
    const waiting = new Map<string, Waiter>();
    try {
      const listener = listenTcp({ host, port: number }, (connection) => void this.#arrived(waiting, connection));
      return { host, listener, waiting, usedMs: this.#clock.monotonicMs() };
    } catch {
      // Somebody else has it.
      return undefined;
    }
  }

  async #arrived(waiting: Map<string, Waiter>, connection: TcpConnection): Promise<void> {
    const arrival = await arrivalOf(connection, this.#proxies).catch(() => undefined);
    if (arrival === undefined) {
      connection.destroy();
      return;
    }
    const client = canonicalAddress(arrival.remote.address);
    const waiter = waiting.get(client);
    if (waiter === undefined) {
      arrival.connection.destroy();
      return;
    }
    waiting.delete(client);
    waiter.arrived(arrival.connection);
  }

  /** Ends waits that took too long, and closes ports that nobody needs any more. Called every second or so. */
  sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const port of [...this.#ports]) {
      for (const [client, waiter] of port.waiting) {
        if (waiter.untilMs > nowMs) continue;
        port.waiting.delete(client);
        waiter.lost();
      }
      const isIdle = port.waiting.size === 0 && nowMs - port.usedMs > LISTENER_IDLE_MS;
      if (this.#range !== undefined || !isIdle) continue;
      port.listener.close();
      this.#ports.splice(this.#ports.indexOf(port), 1);
    }
  }

  close(): void {
    for (const port of this.#ports.splice(0)) {
      port.listener.close();
      for (const waiter of port.waiting.values()) waiter.lost();
    }
  }
}
