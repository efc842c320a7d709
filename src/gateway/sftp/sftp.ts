/** The SFTP door: the spaces of a hub for every client that speaks SFTP, scp of OpenSSH 9 included. */
import { newTraceId } from "#platform/trace-id.ts";
import type { Credential, Principal } from "#access/access.ts";
import { type SshAuthorities, readSshAuthorities } from "#access/ssh-certificates.ts";
import type { HubConfig } from "#config/hub-config.ts";
import { Partials } from "#gateway/partials.ts";
import type { Door, DoorParts } from "#gateway/door.ts";
import { signedIn } from "#gateway/renewing.ts";
import { SftpSession, type SessionParts } from "#gateway/sftp/sftp-session.ts";
import { Stage } from "#gateway/sftp/stage.ts";
import { type Place, Tree } from "#gateway/sftp/tree.ts";
import { SynclineError, stackOf } from "#model/error.ts";
import { pathFault } from "#model/path.ts";
import { makePrivateFolder } from "#platform/folders.ts";
import { readPrivateFile } from "#platform/net/private-file.ts";
import { openHostKeys } from "#platform/net/ssh-host-keys.ts";
import { type SshChannel, type SshConnection, type SshLimits, type SshProof, listenSsh } from "#platform/net/ssh-listener.ts";
import { readSshPublicKey } from "#platform/net/ssh-signature.ts";
import { addressText } from "#platform/net/address-text.ts";

const LIMITS: SshLimits = {
  connections: 2_000,
  connectionsOfAddress: 500,
  strangers: 256,
  strangerMs: 60_000,
  tries: 6,
  offers: 24,
  channels: 10,
  idleMs: 3_600_000,
};
/** Of what the door keeps, and of its uploads. */
const DIRECTORY = "sftp";
const REFUSAL =
  "Syncline serves files over SFTP and runs no commands. Use sftp, or scp of OpenSSH 9 (older: scp -s); scp -O needs a shell.";
/** How often a closing door looks whether its clients are done. */
const LOOK_MS = 50;

type Login = {
  who: Principal;
  readonly proof: SshProof;
};

/** @throws the system's error when the address cannot be used; {SynclineError} USAGE, STATE */
export async function openSftp(parts: DoorParts, config: HubConfig): Promise<Door> {
  const { host, listen, log } = parts;
  const directory = `${parts.dataDir}/${DIRECTORY}`;
  const stageDirectory = `${directory}/stage`;
  makePrivateFolder(stageDirectory);
  const { keys, fingerprints } = openHostKeys(directory);
  for (const key of fingerprints) log.info("sftp host key", key);
  const stage = new Stage(host.fs, host.random, stageDirectory);
  const service = new SftpService(parts, stage, rootsOf(config), authoritiesOf(config));
  const listener = listenSsh<Login>({
    host: listen.host,
    port: listen.port,
    hostKeys: keys,
    subsystem: "sftp",
    refusal: REFUSAL,
    limits: LIMITS,
    isKnownKey: (user, key) => service.isKnownKey(user, key),
    authenticate: (proof, connection) => service.authenticate(proof, connection),
    onChannel: (login, channel, connection) => service.serve(login, channel, connection),
    onEnd: (reason, address) => log.info("sftp connection ended", { reason, address }),
  });
  parts.metrics.ask("syncline_sftp_connections", "gauge", "Connections to the SFTP door", () => [{ value: listener.connections }]);
  return {
    url: `sftp://${addressText(listen.host, listener.port)}`,
    // Clients know an SSH server by its host keys.
    useIdentity: () => undefined,
    async close(graceMs) {
      listener.stop();
      await service.quiet(graceMs);
      listener.endAll();
      await service.close();
    },
  };
}

function rootsOf({ sftpRoots = [] }: HubConfig): ReadonlyMap<string, NonNullable<Place>> {
  return new Map(
    sftpRoots.map((text) => {
      const [user = "", place = ""] = text.split(/=(.*)/s);
      const slash = place.indexOf("/");
      const path = slash < 0 ? "" : place.slice(slash + 1).replace(/\/+$/, "");
      const fault = pathFault(path, true);
      if (fault !== undefined) {
        throw new SynclineError({
          code: "USAGE",
          op: "read configuration",
          message: `sftpRoots: ${fault} in "${text}"`,
          hint: "syncline config explain sftpRoots",
        });
      }
      return [user, { space: slash < 0 ? place : place.slice(0, slash), path }] as const;
    }),
  );
}

function authoritiesOf({ sftpUserAuthorities: file }: HubConfig): SshAuthorities {
  if (file === undefined) return [];
  const text = readPrivateFile(file);
  const authorities = text === undefined ? "there is no such file" : readSshAuthorities(text);
  if (typeof authorities !== "string") return authorities;
  throw new SynclineError({
    code: "USAGE",
    op: "read configuration",
    message: `sftpUserAuthorities: ${file}: ${authorities}`,
    hint: "it has lines like those of authorized_keys",
  });
}

/** Who is connected, and what they are served. */
class SftpService {
  readonly #parts: DoorParts;
  readonly #stage: Stage;
  readonly #roots: ReadonlyMap<string, NonNullable<Place>>;
  readonly #authorities: SshAuthorities;
  readonly #sessions = new Set<SftpSession>();
  /** Who has signed in, also where no session is open, or none yet. */
  readonly #logins = new Map<SshConnection, Login>();
  readonly #bytes;
  readonly #signIns;
  readonly #partials: Partials;
  readonly #ended = new AbortController();

  constructor(parts: DoorParts, stage: Stage, roots: ReadonlyMap<string, NonNullable<Place>>, authorities: SshAuthorities) {
    this.#parts = parts;
    this.#stage = stage;
    this.#roots = roots;
    this.#authorities = authorities;
    this.#partials = new Partials(parts.uploads, DIRECTORY);
    this.#bytes = parts.metrics.counter("syncline_sftp_bytes_total", "Bytes of files moved over SFTP");
    this.#signIns = parts.metrics.counter("syncline_sftp_sign_ins_total", "Attempts to sign in over SFTP");
    parts.access.onChange(() => void this.#lookAgain(), this.#ended.signal);
  }

  async isKnownKey(user: string, key: Uint8Array): Promise<boolean> {
    // A certificate is looked at when it has signed.
    if (readSshPublicKey(key)?.isCertificate === true) return this.#authorities.length > 0;
    return (await this.#parts.access.sshKeys.find(user, key)) !== undefined;
  }

  async authenticate(proof: SshProof, connection: SshConnection): Promise<Login | undefined> {
    const { access, log } = this.#parts;
    const { user } = proof;
    const { address } = connection;
    try {
      const credential = this.#credential(proof, address);
      const { renew } = await signedIn(access, () => access.authenticate(credential));
      // As of now: a password takes a while to be compared, in which somebody may have been changed.
      const login = { who: await renew(), proof };
      // In the turn in which it is true: from now on every change is looked at.
      this.#logins.set(connection, login);
      connection.gone.addEventListener("abort", () => this.#logins.delete(connection), { once: true });
      if (connection.gone.aborted) this.#logins.delete(connection);
      this.#signIns.add(1, { result: "ok" });
      log.info("sftp signed in", { user, address, by: proof.type });
      return login;
    } catch (error) {
      this.#signIns.add(1, { result: "refused" });
      if (error instanceof SynclineError) log.info("sftp sign-in refused", { user, address, by: proof.type });
      else this.#fault(error);
      return undefined;
    }
  }

  #credential(proof: SshProof, address: string): Credential {
    const { user } = proof;
    if (proof.type === "password") return { type: "password", user, password: proof.password, address };
    const { key } = proof;
    if (readSshPublicKey(key)?.isCertificate !== true) return { type: "ssh-key", user, key, address };
    return { type: "ssh-certificate", user, certificate: key, authorities: this.#authorities, address };
  }

  /** Somebody was changed: connections of who may not sign in any more end, the others have the new rights. */
  async #lookAgain(): Promise<void> {
    const { access } = this.#parts;
    const { generation } = access;
    for (const [connection, login] of this.#logins) {
      // Who cannot be looked at may have lost everything.
      const who = await this.#whoIs(login).catch((error: unknown) => this.#fault(error));
      // Another change has begun a look of its own at all of them, and may have found something newer than this.
      if (generation !== access.generation) return;
      if (who === undefined) connection.end();
      else login.who = who;
    }
  }

  async #whoIs({ proof }: Login): Promise<Principal | undefined> {
    const { sshKeys, users } = this.#parts.access;
    const isPlainKey = proof.type === "key" && readSshPublicKey(proof.key)?.isCertificate !== true;
    return isPlainKey ? sshKeys.find(proof.user, proof.key) : (await users.forSignIn(proof.user))?.principal;
  }

  serve(login: Login, channel: SshChannel, connection: SshConnection): void {
    const session = new SftpSession(channel, this.#sessionParts(login, connection));
    this.#sessions.add(session);
    void session.done.then(() => this.#sessions.delete(session));
  }

  #sessionParts(login: Login, connection: SshConnection): SessionParts {
    const { host, spaces, access } = this.#parts;
    const root = this.#roots.get(login.proof.user);
    const traceId = (): string => newTraceId(host.random);
    // What a session holds asks with the rights of the moment.
    const who = (): Principal => login.who;
    return {
      who,
      tree: new Tree({ spaces, access, who, root }),
      access,
      spaces,
      write: { spaces, partials: this.#partials, who, clock: host.clock, stage: this.#stage, traceId },
      clock: host.clock,
      traceId,
      disk: () => this.#stage.space(),
      makeParents: root !== undefined,
      touch: () => connection.touch(),
      count: (direction: "in" | "out", bytes: number) => this.#bytes.add(bytes, { direction }),
      onFault: (error: unknown) => this.#fault(error),
    };
  }

  #fault(error: unknown): undefined {
    this.#parts.log.error("sftp failed", { error: stackOf(error) });
  }

  /** Resolves when nobody writes or waits for an answer, at the latest after `graceMs`. */
  async quiet(graceMs: number): Promise<void> {
    const { clock } = this.#parts.host;
    const end = clock.monotonicMs() + graceMs;
    while (clock.monotonicMs() < end && [...this.#sessions].some((session) => session.isBusy)) {
      await clock.sleep(LOOK_MS, this.#ended.signal);
    }
  }

  async close(): Promise<void> {
    this.#ended.abort();
    await Promise.all([...this.#sessions].map((session) => session.done));
    this.#stage.close();
  }
}
