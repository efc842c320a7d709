/** The doors of a hub that have a listener of their own: opened where their key is configured. */
import type { HubConfig } from "#config/hub-config.ts";
import { type HubKey, flagOf } from "#config/hub-keys.ts";
import type { Door, DoorParts } from "#gateway/door.ts";
import { SynclineError } from "#model/error.ts";
import { listenFault } from "#platform/net/listen-fault.ts";
import { parseListen } from "#cli/commands/serve.ts";

/** What each door is given in common. */
export type DoorsParts = Omit<DoorParts, "listen"> & {
  readonly config: HubConfig;
  /** Of the listener that agents connect to, which nobody may have asked for. */
  readonly agentsPort: number;
};

type DoorRow = {
  /** The key that holds its address. */
  readonly key: HubKey;
  /** @throws the system's error, or a SynclineError, when it cannot listen */
  readonly open: (parts: DoorParts, config: HubConfig) => Promise<Door>;
};

/** One row a door. A door's code is loaded only where it is opened. */
const DOORS: readonly DoorRow[] = [
  { key: "ftpListen", open: async (parts, config) => (await import("#gateway/ftp/ftp.ts")).openFtp("ftp", parts, config) },
  { key: "ftpsListen", open: async (parts, config) => (await import("#gateway/ftp/ftp.ts")).openFtp("ftps", parts, config) },
  {
    key: "s3Listen",
    open: async (parts, config) => {
      const { startS3 } = await import("#gateway/s3/s3.ts");
      const isSecure = servesTls(parts.listen.host, config);
      const { s3Domain: domains = [], s3PublicBuckets: publicBuckets = [], s3SignatureV2 } = config;
      return startS3(parts, { isSecure, domains, publicBuckets, takesV2: s3SignatureV2 === "on" });
    },
  },
  { key: "sftpListen", open: async (parts, config) => (await import("#gateway/sftp/sftp.ts")).openSftp(parts, config) },
  {
    key: "grpcListen",
    open: async (parts, config) => (await import("#gateway/grpc/grpc.ts")).openGrpc(parts, servesTls(parts.listen.host, config)),
  },
];

/** The rule of all listeners for HTTP: plain on loopback addresses unless TLS is to be always, TLS on all others. */
export function servesTls(host: string, { tls }: HubConfig): boolean {
  return tls === "always" || !/^(127\.\d+\.\d+\.\d+|::1|localhost)$/.test(host);
}

/** How long clients that are at work get when the hub ends. */
const GRACE_MS = 10_000;

/**
 * Opens what is configured, in the order of the table.
 * @param opened is told of each door's end as soon as it is open
 * @throws {SynclineError} USAGE when an address cannot be listened on
 */
export async function openDoors(
  { config, agentsPort, ...parts }: DoorsParts,
  opened: (close: () => Promise<void>) => void,
): Promise<readonly Door[]> {
  const doors: Door[] = [];
  for (const { key, open } of DOORS) {
    const text = config[key];
    if (typeof text !== "string") continue;
    const listen = parseListen(text);
    const door = await open({ ...parts, listen }, config).catch((error: unknown) => {
      if (listen.port === agentsPort) throw agentsAreThere(key, text, error);
      throw error instanceof SynclineError ? error : listenFault(error, listen, `--${flagOf(key)}`);
    });
    opened(() => door.close(GRACE_MS));
    doors.push(door);
    parts.log.info("door open", { url: door.url });
  }
  return doors;
}

function agentsAreThere(key: HubKey, text: string, cause: unknown): unknown {
  // What is wrong with the rest of its configuration says so itself.
  if (cause instanceof SynclineError && cause.op !== "listen") return cause;
  const [door, agents] = [flagOf(key), flagOf("syncListen")];
  return new SynclineError({
    code: "USAGE",
    op: "listen",
    message: `cannot listen on ${text}: this hub's own listener for agents has that port`,
    hint: `give agents another one with --${agents} HOST:PORT, or choose another address with --${door} HOST:PORT`,
    cause,
  });
}
