/**
 * SFTP through the system's ssh, as `ssh://` sides go: keys, agent, host keys and configuration are what a person has
 * already. A connection that is lost is made anew by the next call.
 */
import { SynclineError, messageOf } from "#model/error.ts";
import { type Child, startChild } from "#platform/net/child.ts";
import { ANSWER, DATA_BYTES_MAX } from "#platform/net/sftp-wire.ts";
import type { AddressOf } from "#sync/foreign/client-parts.ts";
import { SftpChannel } from "#sync/foreign/sftp/sftp-channel.ts";
import { type SshTarget, lastLine, splitWords } from "#sync/transport/ssh.ts";

/** What every server takes and gives in one request, where it does not say more. */
const DATA_BYTES_SURE = 32 << 10;
const SSH_FAILED = 255;
const SSH_PORT = 22;
/** Finding the address of a host may take so long. */
const RESOLVE_MS_MAX = 15_000;

export type SftpServer = {
  readonly target: SshTarget;
  /** The ssh program with options, as a person writes it in a shell; undefined: "ssh". */
  readonly command: string | undefined;
  /** The address to connect to, asked for each connection; undefined: as ssh finds it. */
  readonly addressOf?: AddressOf | undefined;
};

export type SftpLink = {
  readonly channel: SftpChannel;
  /** Bytes of data of one request. */
  readonly readBytes: number;
  readonly writeBytes: number;
};

export class SftpConnection {
  readonly #server: SftpServer;
  readonly #label: string;
  #link: Promise<SftpLink> | undefined;
  #isConnecting = false;
  #child: Child | undefined;
  #isClosed = false;

  constructor(server: SftpServer) {
    this.#server = server;
    const { user, host } = server.target;
    this.#label = `ssh ${user === undefined ? host : `${user}@${host}`}`;
  }

  /**
   * The connection that stands, or a new one.
   * @throws {SynclineError} LINK_LOST, AUTH, TRUST, USAGE, UNSUPPORTED, PROTOCOL, VERSION; signal.reason
   */
  async link(signal: AbortSignal): Promise<SftpLink> {
    signal.throwIfAborted();
    if (this.#isClosed) throw closed();
    const standing = await this.#link?.catch(() => undefined);
    if (standing !== undefined && !standing.channel.isClosed) return standing;
    // Another call may have begun to connect while this one waited.
    this.#link = this.#isConnecting ? this.#link : this.#connect();
    const aborted = Promise.withResolvers<never>();
    const stop = (): void => aborted.reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    try {
      return await Promise.race([this.#link!, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  async #connect(): Promise<SftpLink> {
    this.#isConnecting = true;
    try {
      this.#child?.kill();
      const leading = await this.#leading();
      if (this.#isClosed) throw closed();
      return await this.#begin(leading);
    } finally {
      this.#isConnecting = false;
    }
  }

  async #begin(leading: readonly string[]): Promise<SftpLink> {
    const [command = "ssh", ...given] = splitWords(this.#server.command ?? "ssh");
    const { user, host, port } = this.#server.target;
    const destination = user === undefined ? host : `${user}@${host}`;
    const at = [...leading, ...(port === undefined ? [] : ["-p", String(port)])];
    const options = ["-o", "ServerAliveInterval=20", "-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-T", "-s"];
    const child = startChild(this.#label, command, [...given, ...options, ...at, "--", destination, "sftp"]);
    this.#child = child;
    const channel = new SftpChannel(child.transport);
    try {
      await channel.greet();
      return { channel, ...(await limits(channel)) };
    } catch (error) {
      channel.destroy(error);
      child.kill();
      throw await this.#explained(error, child, command);
    }
  }

  /** Options that lead to an address which was looked at; the host's key is looked up by its name all the same. */
  async #leading(): Promise<string[]> {
    const { addressOf, target } = this.#server;
    if (addressOf === undefined) return [];
    const { host, port } = target;
    const address = await addressOf(host, AbortSignal.timeout(RESOLVE_MS_MAX));
    const known = port === undefined || port === SSH_PORT ? host : `[${host}]:${port}`;
    return ["-o", `HostName=${address}`, "-o", `HostKeyAlias=${known}`];
  }

  /** What ssh said on its way out is the better reason. */
  async #explained(error: unknown, child: Child, command: string): Promise<unknown> {
    let exit: Awaited<Child["exited"]>;
    try {
      exit = await child.exited;
    } catch (cause) {
      const message = `${command} could not be started: ${messageOf(cause)}`;
      return new SynclineError({ code: "USAGE", op: "connect", message, hint: "install OpenSSH, or name it with --ssh", cause });
    }
    const said = lastLine(exit.stderr);
    if (said === undefined) return error;
    const isUntrusted = /host key/i.test(exit.stderr);
    const isRefused = /permission denied|authentication/i.test(said);
    const hasNone = exit.status !== SSH_FAILED || /subsystem/i.test(said);
    const code = isUntrusted ? "TRUST" : isRefused ? "AUTH" : hasNone ? "UNSUPPORTED" : "LINK_LOST";
    const byHand = `try \`sftp ${this.#server.target.host}\` by hand first; it must log in`;
    return new SynclineError({
      code,
      op: "connect",
      message: `${this.#label} failed: ${said}`,
      hint: code === "UNSUPPORTED" ? "the server there offers no SFTP" : byHand,
      retryable: code === "LINK_LOST",
      cause: error,
    });
  }

  close(): void {
    this.#isClosed = true;
    // Who wanted the connection hears of it when there is none.
    this.#link?.then(
      ({ channel }) => channel.destroy(new SynclineError({ code: "LINK_LOST", op: "talk SFTP", message: "the connection was closed" })),
      () => undefined,
    );
    this.#child?.kill();
  }
}

function closed(): SynclineError {
  return new SynclineError({ code: "LINK_LOST", op: "connect", message: "the connection was closed" });
}

/** What the server says it takes, within what we take ourselves. */
async function limits(channel: SftpChannel): Promise<{ readBytes: number; writeBytes: number }> {
  if (!channel.extensions.has("limits@openssh.com")) return { readBytes: DATA_BYTES_SURE, writeBytes: DATA_BYTES_SURE };
  const { type, fields } = await channel.ask("extended", (packet) => packet.text("limits@openssh.com"));
  if (type !== ANSWER.extended) return { readBytes: DATA_BYTES_SURE, writeBytes: DATA_BYTES_SURE };
  const [, read, write] = channel.read(fields, (all) => [all.uint64(), all.uint64(), all.uint64()]);
  return { readBytes: within(read!), writeBytes: within(write!) };
}

/** 0 stands for no limit. */
function within(bytes: bigint): number {
  if (bytes === 0n || bytes > BigInt(DATA_BYTES_MAX)) return DATA_BYTES_MAX;
  return Math.max(1, Number(bytes));
}
