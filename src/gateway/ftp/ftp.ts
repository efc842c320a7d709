/**
 * The FTP door: listeners for FTP that is secured by AUTH TLS and for FTP in TLS from the first byte on. Both of a hub
 * share ports, limits and rates.
 */
import type { HubConfig } from "#config/hub-config.ts";
import { messageOf } from "#model/error.ts";
import type { Door, DoorParts } from "#gateway/door.ts";
import { type TcpConnection, listenTcp } from "#platform/net/tcp-server.ts";
import type { Identity } from "#platform/net/tls-socket.ts";
import { arrivalOf } from "#gateway/proxied.ts";
import { secure } from "#gateway/ftp/account-commands.ts";
import { Bandwidth } from "#gateway/ftp/bandwidth.ts";
import { ftpCommands } from "#gateway/ftp/commands.ts";
import { ftpSettings } from "#gateway/ftp/ftp-settings.ts";
import { FtpTraffic } from "#gateway/ftp/ftp-traffic.ts";
import { Hashes } from "#gateway/ftp/hashes.ts";
import { Partials } from "#gateway/partials.ts";
import { PassivePorts } from "#gateway/ftp/passive-ports.ts";
import { replyLine } from "#gateway/ftp/reply.ts";
import { type FtpShared, FtpSession } from "#gateway/ftp/session.ts";
import type { FileSystem } from "#platform/file-system.ts";
import { addressText } from "#platform/net/address-text.ts";

/** How often is looked for what takes too long. */
const SWEEP_MS = 1_000;
/** How often is looked whether all have gone. */
const LOOK_MS = 20;

export type FtpKind = "ftp" | "ftps";

/** What the listeners of a hub share; it goes with the hub. */
const houses = new WeakMap<object, FtpHouse>();

class FtpHouse {
  readonly shared: FtpShared;
  identity: Identity;
  #listeners = 0;
  #sweeping: AbortController | undefined;

  constructor({ host, spaces, uploads, access, metrics, log, dataDir, identity }: DoorParts, config: HubConfig) {
    const settings = ftpSettings(config);
    const { clock, random } = host;
    this.identity = identity();
    this.shared = {
      spaces,
      access,
      clock,
      random,
      log,
      settings,
      ports: new PassivePorts(settings.passivePorts, settings.proxies, clock),
      partials: new Partials(uploads, "ftp"),
      bandwidth: new Bandwidth(settings.rates, clock),
      traffic: new FtpTraffic(metrics),
      hashes: new Hashes(),
      freeBytes: () => freeBytesIn(host.fs, dataDir),
      commands: ftpCommands(),
      identity: () => this.identity,
    };
  }

  opened(): void {
    if (this.#listeners++ > 0) return;
    this.#sweeping = new AbortController();
    void this.#sweep(this.#sweeping.signal);
  }

  closed(): void {
    if (--this.#listeners > 0) return;
    this.#sweeping?.abort();
    this.shared.ports.close();
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.shared.clock.sleep(SWEEP_MS, signal).catch(() => undefined);
      try {
        for (const session of this.shared.traffic.sessions) session.sweep();
        this.shared.ports.sweep();
      } catch (error) {
        // Nobody waits for this, and without it sessions would stay for ever.
        this.shared.log.error("ftp sessions could not be looked at", { error: messageOf(error) });
      }
    }
  }
}

function freeBytesIn(fs: FileSystem, directory: string): number {
  const root = fs.openRoot(directory);
  try {
    return fs.space(root).freeBytes;
  } finally {
    fs.close(root);
  }
}

/** @throws the system's error when the address cannot be listened on; {SynclineError} USAGE for the configuration */
export async function openFtp(kind: FtpKind, parts: DoorParts, config: HubConfig): Promise<Door> {
  const house = houses.get(parts.access) ?? new FtpHouse(parts, config);
  houses.set(parts.access, house);
  const sessions = new Set<FtpSession>();
  const listener = listenTcp(parts.listen, (connection) => {
    admit(house, kind, connection, sessions).catch((error: unknown) => {
      connection.destroy();
      parts.log.error("ftp connection failed", { error: messageOf(error) });
    });
  });
  house.opened();
  return {
    url: `${kind}://${addressText(parts.listen.host, listener.port)}`,
    useIdentity: (identity) => void (house.identity = identity),
    async close(graceMs) {
      listener.close();
      await drained(house, sessions, graceMs);
      house.closed();
    },
  };
}

async function admit(house: FtpHouse, kind: FtpKind, accepted: TcpConnection, sessions: Set<FtpSession>): Promise<void> {
  const { shared } = house;
  const arrival = await arrivalOf(accepted, shared.settings.proxies);
  if (arrival === undefined) return;
  const { connection } = arrival;
  const session = new FtpSession(shared, arrival);
  const { traffic } = shared;
  // Those that are still in their handshake count as well.
  const hasRoom = traffic.hasRoom(session.clientAddress);
  traffic.sessions.add(session);
  sessions.add(session);
  const gone = (): void => {
    traffic.sessions.delete(session);
    sessions.delete(session);
  };
  if (kind === "ftps") {
    if (!hasRoom || !(await secure(session))) {
      connection.destroy();
      gone();
      return;
    }
    session.isDataPrivate = true;
  }
  if (!hasRoom) {
    connection.write(Buffer.from(replyLine(421, "Too many sessions; try again later")))?.catch(() => undefined);
    connection.end();
    gone();
    return;
  }
  session.start(gone);
}

/** Sends away who is idle, at once, and the others when their transfers have ended, or the grace has. */
async function drained({ shared }: FtpHouse, sessions: Set<FtpSession>, graceMs: number): Promise<void> {
  const { clock } = shared;
  const endMs = clock.monotonicMs() + graceMs;
  const never = new AbortController().signal;
  while (sessions.size > 0) {
    const isOver = clock.monotonicMs() >= endMs;
    for (const session of [...sessions]) if (isOver || session.isIdle) session.close(421, "The hub is closing");
    // What came of a transfer that was cut is made durable before the stores are closed.
    if (sessions.size > 0) await clock.sleep(LOOK_MS, never);
  }
}
