/**
 * Runs the sessions of imports and exports: a space on one side, a place on another system on the other, and what is
 * remembered of the two in a folder of their own. Whoever asks for such a job is not who keeps the hub: it goes only where
 * the configuration lets it, with what the configuration says of who the hub is there, and never with what happens to lie
 * in the hub's own home or environment.
 */
import { readdirSync, rmSync, statSync } from "node:fs";
import { devNull } from "node:os";
import { join } from "node:path";
import type { HubConfig } from "#config/hub-config.ts";
import { ComingFiles } from "#hub/endpoint/coming-files.ts";
import { SpaceEndpoint } from "#hub/endpoint/space-endpoint.ts";
import { type HubSpaces, seedsOf } from "#hub/hub-spaces.ts";
import type { TransferPair, TransferRequest, Transferred, Transfers } from "#hub/jobs/transfer-work.ts";
import type { SpaceId } from "#hub/space.ts";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import type { Conflict, Side } from "#model/plan.ts";
import type { Host } from "#platform/host.ts";
import { NotPublic, guardedHost } from "#platform/net/guarded-address.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import type { AddressOf } from "#sync/foreign/client-parts.ts";
import type { SessionEvent, SessionOptions } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import { type Environment, netrcOf } from "#cli/credentials.ts";
import { type ForeignAddress, bucketServer, foreignOpener } from "#cli/foreign-sides.ts";
import { makeFolder, readSmallFile } from "#cli/local-files.ts";
import { parseSide } from "#cli/side-address.ts";
import { openState, removeState, shortHash } from "#cli/sides.ts";
import { usage } from "#cli/values.ts";

/** Below the hub's data directory; a folder for each space, and in it one for each pair. */
const FOLDER = "transfers";
const PLAN_HASH_DIGITS = 12;
const OWNER_DIGITS = 12;
const HASH_DIGITS = 32;
const SSH_OPTIONS = "-o BatchMode=yes -o ConnectTimeout=15";
const ANONYMOUS = "anonymous";
/** No file of the hub's user names keys or servers for those who ask for jobs. */
const NO_ENVIRONMENT: Environment = { NETRC: devNull, AWS_CONFIG_FILE: devNull, AWS_SHARED_CREDENTIALS_FILE: devNull };

export type HubTransfersParts = {
  readonly host: Host;
  readonly dataDir: string;
  readonly hubId: string;
  readonly spaces: HubSpaces;
  /** The one in force. */
  readonly config: () => HubConfig;
};

/** A pair has one session at a time: the limits of both kinds of jobs see to that. */
export class HubTransfers implements Transfers {
  readonly #parts: HubTransfersParts;

  constructor(parts: HubTransfersParts) {
    this.#parts = parts;
  }

  check(url: string): void {
    const address = foreignAddress(url);
    if (address.kind === "s3") bucketServer(address, NO_ENVIRONMENT);
  }

  async run(request: TransferRequest): Promise<Transferred> {
    const { host, hubId } = this.#parts;
    const { direction, space, signal } = request;
    const address = foreignAddress(request.url);
    const folder = this.#folderOf(request);
    const sessionId = shortHash(`${hubId}\0${space.id}\0${wordsOf(request)}`, HASH_DIGITS);
    const watched = new Watched(request);
    try {
      const foreign = await this.#foreign(address, folder, sessionId, signal);
      makeFolder(folder);
      const store = openState(join(folder, "session.db"));
      try {
        const own = (): Endpoint => this.#own(request, folder);
        const summary = await runSession({
          sessionId,
          store,
          host,
          signal,
          alpha: direction === "import" ? foreign : own,
          beta: direction === "import" ? own : foreign,
          seeds: seedsOf(space),
          options: optionsOf(request),
          onEvent: (event) => watched.event(event),
          hash: (text) => shortHash(text, PLAN_HASH_DIGITS),
        });
        const { runId, changes, files } = summary;
        return { runId: runId === "" ? undefined : runId, changed: changes, files, held: watched.held };
      } finally {
        store.close();
      }
    } catch (error) {
      throw signal.aborted ? error : explained(error, address);
    }
  }

  forget(pair: TransferPair): void {
    rmSync(this.#folderOf(pair), { recursive: true, force: true });
  }

  #folderOf(pair: TransferPair): string {
    return join(this.#parts.dataDir, FOLDER, String(pair.space.id), shortHash(wordsOf(pair), HASH_DIGITS));
  }

  async sweep(known: () => Promise<ReadonlySet<SpaceId>>): Promise<void> {
    const folder = makeFolder(join(this.#parts.dataDir, FOLDER));
    // A space is there before its folder is: what is listed first and belongs to none has none any more.
    const names = readdirSync(folder).filter((name) => /^\d+$/.test(name));
    const ids = await known();
    for (const name of names) {
      if (!ids.has(Number(name) as SpaceId)) rmSync(join(folder, name), { recursive: true, force: true });
    }
  }

  #own({ direction, who, space, prefix }: TransferRequest, folder: string): SpaceEndpoint {
    const { host, spaces, hubId } = this.#parts;
    return new SpaceEndpoint({
      spaces,
      who,
      host,
      hubId,
      prefix,
      space: space.name,
      spaceId: space.id,
      readOnly: direction === "export",
      label: prefix === "" ? space.name : `${space.name}:${prefix}`,
      stageFolder: makeFolder(join(folder, "stage")),
      hash: (text) => shortHash(text, HASH_DIGITS),
      coming: new ComingFiles(),
    });
  }

  async #foreign(address: ForeignAddress, folder: string, owner: string, signal: AbortSignal): Promise<() => Endpoint> {
    const { host, dataDir, config } = this.#parts;
    const { foreignHosts, foreignCredentials, foreignCa, foreignSsh } = config();
    const addressOf = foreignHosts === "any" ? undefined : publicAddress;
    // A private address is refused here, once and in words, and not for each try.
    if (addressOf !== undefined) await requirePublic(address, addressOf, signal);
    const ca = foreignCa === undefined ? undefined : readSmallFile("foreign-ca", foreignCa);
    const fileOf = (name: string): string => join(folder, "roots", `${name}.db`);
    const context = {
      host,
      stateDir: folder,
      owner: owner.slice(0, OWNER_DIGITS),
      credentialsFile: credentialsFor(address, foreignCredentials),
      sshCommand: `${foreignSsh ?? "ssh"} ${SSH_OPTIONS}`,
      identity: undefined,
      ca,
    };
    return foreignOpener(address, context, {
      openStore: (name) => openState(fileOf(name)),
      removeStore: (name) => removeState(fileOf(name)),
      hash: (text) => shortHash(text, HASH_DIGITS),
      trust: { ca, fingerprint: undefined, acceptNew: false, askTrust: undefined, stateDir: join(dataDir, FOLDER) },
      environment: NO_ENVIRONMENT,
      addressOf,
    });
  }
}

const CHANGED = "the target has another one, which stays";
const CONFLICT: Readonly<Record<Conflict["reason"], string>> = {
  "both-changed": CHANGED,
  kind: CHANGED,
  "delete-against-change": CHANGED,
  untracked: "in its way is what is ignored, or no file",
};

const wordsOf = ({ direction, prefix, url }: TransferPair): string => JSON.stringify([direction, prefix, url]);

/** What a session tells, as the job takes it. */
class Watched {
  readonly #request: TransferRequest;
  #phase = "connecting";
  held: Transferred["held"];

  constructor(request: TransferRequest) {
    this.#request = request;
  }

  event(event: SessionEvent): void {
    const { onProgress, onLeft } = this.#request;
    if (event.type === "phase") {
      this.#phase = event.phase;
      onProgress({ done: 0, unit: "entries", phase: event.phase });
    } else if (event.type === "progress") {
      const { done, total, bytes, bytesTotal } = event;
      const phase = this.#phase;
      const isBytes = bytesTotal !== undefined && bytesTotal > 0;
      onProgress(isBytes ? { done: bytes, total: bytesTotal, unit: "bytes", phase } : { done, total, unit: "entries", phase });
    } else if (event.type === "retry") {
      onProgress({ done: 0, unit: "entries", phase: `trying again: ${event.reason}` });
    } else if (event.type === "hold") {
      this.held = { hash: event.hash, reason: event.reason.replaceAll(/\b(alpha|beta)\b/g, (side) => this.#name(side as Side)) };
    } else if (event.type === "conflict") {
      onLeft("conflict", event.conflict.path, CONFLICT[event.conflict.reason]);
    } else if (event.type === "problem") {
      onLeft("problem", event.problem.path, event.problem.message);
    }
  }

  #name(side: Side): string {
    const isSpace = (side === "alpha") === (this.#request.direction === "export");
    return isSpace ? `the space ${this.#request.space.name}` : "the other system";
  }
}

function optionsOf({ mode, approve, space }: TransferRequest): SessionOptions {
  const isMirror = mode === "mirror";
  return {
    mode: isMirror ? "one-way-replica" : "one-way-safe",
    conflict: "leave",
    delete: isMirror,
    brake: undefined,
    approve,
    dryRun: false,
    watch: false,
    settle: "immediate",
    rescanMs: 0,
    deep: false,
    ignore: space.settings.ignore,
    include: [],
    preserve: PRESERVE_DEFAULT,
    durable: "batch",
    verifyReadBack: false,
    compress: "auto",
    bytesPerSecond: undefined,
    verbose: false,
  };
}

/** @throws {SynclineError} USAGE */
function foreignAddress(url: string): ForeignAddress {
  const address = parseSide(url);
  if (address.kind === "ftp") return { ...address, user: address.user ?? ANONYMOUS };
  if (address.kind === "s3") return address;
  if (address.kind !== "sftp") throw usage(`${url} is no other system`, "s3://, ftp://, ftps:// or sftp://");
  // They go to ssh, which gives them to whatever its configuration runs.
  const isPlain = /^[\w.:%-]+$/.test(address.host) && /^[\w.+-]*$/.test(address.user ?? "");
  if (!isPlain) throw usage(`${url}: host or user have characters that ssh is not given`, "letters, digits, and . _ - in names");
  return address;
}

/** @throws {SynclineError} USAGE where the file is missing, open to others, or would give a password to any host */
function credentialsFor(address: ForeignAddress, file: string | undefined): string | undefined {
  if (address.kind === "sftp" || (address.kind === "ftp" && address.user === ANONYMOUS)) return undefined;
  if (file === undefined) {
    const s3 = "[default] with aws_access_key_id = … and aws_secret_access_key = …";
    const what = address.kind === "s3" ? s3 : "machine HOST login USER password …";
    throw usage("this hub has no keys and passwords of other systems", `foreignCredentials: FILE in its configuration, with ${what}`);
  }
  const text = readSmallFile("foreign-credentials", file);
  if ((statSync(file).mode & 0o077) !== 0) throw usage("the file of foreignCredentials can be read by others", `chmod 600 ${file}`);
  // No host has this name: what is found is for all.
  const forAll = netrcOf(text, "\0", undefined);
  if (address.kind === "ftp" && forAll !== undefined) {
    throw usage("the file of foreignCredentials has a password for every host", `write "machine HOST" in place of "default" into ${file}`);
  }
  return file;
}

/** @throws {SynclineError} DENIED, LINK_LOST */
async function requirePublic(address: ForeignAddress, addressOf: AddressOf, signal: AbortSignal): Promise<void> {
  if (address.kind === "s3") {
    const { endpoint, style } = bucketServer(address, NO_ENVIRONMENT);
    const { hostname, protocol } = new URL(endpoint);
    if (protocol !== "https:") throw notPublic(`${endpoint} is no https, and would show the files to the network`);
    const name = hostname.replace(/^\[|\]$/g, "");
    await addressOf(style === "virtual" ? `${address.bucket}.${name}` : name, signal);
    return;
  }
  if (address.kind === "ftp" && address.tls === "none" && address.user !== ANONYMOUS) {
    throw notPublic("FTP in clear would show the password to the network; ?tls=explicit asks for TLS");
  }
  await addressOf(address.host, signal);
}

const publicAddress: AddressOf = async (name, signal) => {
  try {
    return await guardedHost(name, signal);
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof NotPublic) throw notPublic(cause.message);
    const message = `${name} cannot be reached: ${messageOf(cause)}`;
    throw new SynclineError({ code: "LINK_LOST", op: "connect", message, hint: "check the name", retryable: true, cause });
  }
};

function notPublic(message: string): SynclineError {
  const hint = "whoever keeps the hub may allow it: foreignHosts: any in its configuration";
  return new SynclineError({ code: "DENIED", op: "connect", message, hint });
}

/** With the hub's own next step in place of that of a person at a command line. */
function explained(error: unknown, { kind }: ForeignAddress): unknown {
  if (!(error instanceof SynclineError)) return error;
  const hint = hintOf(error, kind === "sftp");
  if (hint === undefined) return error;
  const { code, op, path, message, retryable } = error;
  return new SynclineError({ code, op, path, message, hint, retryable, cause: error });
}

function hintOf({ code, op, hint }: SynclineError, isSsh: boolean): string | undefined {
  if (code === "USAGE" && op === "read credentials") {
    return "whoever keeps the hub adds it to that file: [PROFILE] with an S3 key, or machine HOST login USER password PASSWORD";
  }
  if (code === "AUTH") {
    return isSsh
      ? "the hub's user needs a key that is taken there: foreignSsh: ssh -i FILE in the hub's configuration"
      : "see what the file of foreignCredentials in the hub's configuration says of it";
  }
  if (code === "TRUST") {
    return isSsh
      ? "put the host's key into known_hosts of the hub's user, once it is known to be right"
      : "name the authority of its certificate: foreignCa: FILE in the hub's configuration";
  }
  const anew = "if it is so on purpose: anew=true, which forgets earlier runs and deletes nothing";
  // What is said of a directory is said for links of agents.
  if (code === "ROOT_MISSING") return `see that it is there; nothing was changed; ${anew}`;
  return code === "ROOT_IDENTITY" ? `${hint === undefined ? "" : `${hint}; `}${anew}` : undefined;
}
