/**
 * Serves named roots over TLS, and one root over our own standard input and output. Whoever connects must hold one of
 * the tokens (and a certificate, where an authority is given) before anything else about this host can be learned.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { SynclineError, assert, messageOf } from "#model/error.ts";
import { PRIVATE_DIR, nameOf, pathFault, printablePath } from "#model/path.ts";
import { Confined } from "#platform/confined.ts";
import { isCode } from "#platform/file-system.ts";
import type { Clock, Host } from "#platform/host.ts";
import { type Handshake, type Identity, listenTls } from "#platform/net/tls-socket.ts";
import type { Transport } from "#platform/net/transport.ts";
import { ConnectionGate } from "#sync/endpoint/connection-gate.ts";
import { EndpointServer } from "#sync/endpoint/endpoint-server.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { FailureLimiter } from "#sync/transport/failure-limiter.ts";
import { startServer } from "#sync/wire/greeting.ts";
import type { Mux } from "#sync/wire/mux.ts";
import type { Attach } from "#sync/wire/prelude.ts";

/** Connections at once, attached or not. */
export const CONNECTIONS_MAX = 256;
/** Connections that have not shown a token yet. */
export const PENDING_MAX = 64;
/** And of one address: who opens connections and says nothing must not keep everybody else out. */
export const PENDING_PER_ADDRESS_MAX = 16;
/** Connections of one address. */
export const PER_ADDRESS_MAX = 64;
/** How long a wrong token waits for its refusal. */
export const FAILURE_DELAY_MS = 1000;

export type ServedRoot = { readonly name: string; readonly path: string; readonly readOnly: boolean };

/** What an endpoint is opened for: a served root, or a directory below it. */
export type RootToOpen = { readonly path: string; readonly label: string; readonly readOnly: boolean };

/** Static message, facts in fields. Texts of the other side are printable and short. */
export type ServeLog = (message: string, fields: Readonly<Record<string, string | number>>) => void;

export type ServeOptions = {
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls: { readonly identity: Identity; readonly clientAuthorities?: string | undefined };
  readonly roots: readonly ServedRoot[];
  /** Any of these opens any of the roots. May be empty only with clientAuthorities. */
  readonly tokens: readonly string[];
  readonly openEndpoint: (root: RootToOpen) => Endpoint;
  readonly host: Host;
  /** Name and version, for the other side's messages. */
  readonly program: string;
  readonly log: ServeLog;
};

export type Server = {
  readonly port: number;
  /** Stops listening, ends every connection and closes every endpoint. */
  close(): Promise<void>;
};

/** Throws the system's error when the address cannot be listened on. */
export function serveConnections(options: ServeOptions): Server {
  return new ConnectionServer(options);
}

type Admitted = { readonly server: EndpointServer; readonly label: string };

class ConnectionServer implements Server {
  readonly port: number;
  readonly #options: ServeOptions;
  readonly #listener: { close(): void };
  readonly #limiter = new FailureLimiter();
  readonly #tokens: readonly Buffer[];
  readonly #gate = new ConnectionGate({
    connections: CONNECTIONS_MAX,
    pending: PENDING_MAX,
    pendingPerAddress: PENDING_PER_ADDRESS_MAX,
    perAddress: PER_ADDRESS_MAX,
  });
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(options: ServeOptions) {
    const { listen, tls, tokens } = options;
    assert(tokens.length > 0 || tls.clientAuthorities !== undefined, "someone must be told apart from everyone");
    assert(tokens.every((token) => token !== ""), "an empty token opens to everyone");
    this.#options = options;
    this.#tokens = tokens.map(digest);
    const listener = listenTls({
      host: listen.host,
      port: listen.port,
      identity: tls.identity,
      clientAuthorities: tls.clientAuthorities,
      onConnection: (address) => this.#arrived(address),
      onHandshake: (address, result) => this.#shaken(address, result),
    });
    this.#listener = listener;
    this.port = listener.port;
  }

  async close(): Promise<void> {
    this.#listener.close();
    const message = "the server stops";
    this.#stop.abort(new SynclineError({ code: "LINK_LOST", op: "serve", message, retryable: true }));
    await Promise.all(this.#running);
  }

  #arrived(address: string): boolean {
    if (!this.#stop.signal.aborted && this.#gate.arrived(address)) return true;
    this.#options.log("connection refused: too many", { address, connections: this.#gate.connections });
    return false;
  }

  #shaken(address: string, result: Handshake): void {
    if (result instanceof Error) {
      this.#gate.decided(address);
      this.#gate.left(address);
      this.#options.log("TLS handshake failed", { address, reason: brief(result.message) });
      return;
    }
    const isKnown = this.#options.tls.clientAuthorities === undefined || result.isClientKnown;
    const running = this.#run(address, result.transport, isKnown).finally(() => {
      this.#gate.left(address);
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  async #run(address: string, transport: Transport, isKnown: boolean): Promise<void> {
    const { log } = this.#options;
    const started = await this.#start(address, transport, isKnown);
    this.#gate.decided(address);
    if (started === undefined) return;
    const { mux, value } = started;
    log("connected", { address, root: value.label });
    const stop = this.#stop.signal;
    const abort = (): void => mux.close(stop.reason instanceof Error ? stop.reason : undefined);
    stop.addEventListener("abort", abort, { once: true });
    if (stop.aborted) abort();
    const reason = await mux.closed;
    stop.removeEventListener("abort", abort);
    const { sent, received } = mux.wireBytes;
    log("disconnected", { address, root: value.label, sent, received, reason: brief(reason?.message ?? "closed") });
    try {
      await value.server.close();
    } catch (error) {
      log("root could not be closed", { root: value.label, reason: brief(String(error)) });
    }
  }

  async #start(
    address: string,
    transport: Transport,
    isKnown: boolean,
  ): Promise<{ mux: Mux; value: Admitted } | undefined> {
    const { program, host, log } = this.#options;
    let opened: { mux: Mux; value: Admitted } | undefined;
    const refused = (error: SynclineError, method: string): void => {
      this.#limiter.failed(address, host.clock.monotonicMs());
      log("call refused", { address, method, code: error.code, reason: brief(error.message) });
      // What is left of a caller that breaks the protocol cannot be trusted either.
      if (error.code === "PROTOCOL") opened?.mux.close(error);
    };
    try {
      opened = await startServer(
        transport,
        {
          program,
          clock: host.clock,
          admit: async (attach, signal) => {
            const root = await this.#judge(address, isKnown, attach, signal);
            return { readOnly: root.readOnly, value: this.#endpointServer(root, refused) };
          },
        },
        (value) => (channel) => value.server.handle(channel),
        this.#stop.signal,
      );
      return opened;
    } catch (error) {
      const code = error instanceof SynclineError ? error.code : "INTERNAL";
      const reason = brief(messageOf(error));
      log(code === "LINK_LOST" ? "connection ended early" : "connection refused", { address, code, reason });
      return undefined;
    }
  }

  #endpointServer(root: FoundRoot, onRefused: (error: SynclineError, method: string) => void): Admitted {
    const endpoint = this.#options.openEndpoint(root);
    const server = new EndpointServer({
      endpoint,
      readOnly: root.readOnly,
      // A served directory that is missing is an unmounted disk, not a wish.
      mayCreateRoot: false,
      // Someone may have swapped a directory for a link between our look at the path and the endpoint's open.
      onOpened: (reply) => {
        if (root.device === undefined || reply.device === root.device) return;
        throw outside(root.label);
      },
      onRefused,
    });
    return { server, label: root.label };
  }

  /** Certificate and token first: who has none learns nothing, not even which roots there are. */
  async #judge(address: string, isKnown: boolean, attach: Attach, signal: AbortSignal): Promise<FoundRoot> {
    const { clock } = this.#options.host;
    const refusedMs = this.#limiter.refusedMs(address, clock.monotonicMs());
    if (refusedMs > 0) throw tooOften(refusedMs);
    try {
      if (!isKnown) throw noCertificate();
      if (!this.#knows(attach.token)) throw wrongToken();
      return findRoot(this.#options, attach.root);
    } catch (error) {
      this.#limiter.failed(address, clock.monotonicMs());
      await clock.sleep(FAILURE_DELAY_MS, signal);
      throw error;
    }
  }

  #knows(token: string): boolean {
    if (this.#tokens.length === 0) return true;
    const shown = digest(token);
    let known = false;
    // Every token is compared, in time that does not depend on how much of it is right.
    for (const expected of this.#tokens) known = timingSafeEqual(expected, shown) || known;
    return known;
  }
}

function digest(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

function brief(text: string): string {
  return printablePath(text.slice(0, 300));
}

type FoundRoot = RootToOpen & { readonly device: string | undefined };

/** Resolves "NAME" or "NAME/sub/path"; the latter must lead there without symbolic links. */
function findRoot(options: ServeOptions, asked: string): FoundRoot {
  const slash = asked.indexOf("/");
  const name = slash < 0 ? asked : asked.slice(0, slash);
  const root = options.roots.find((served) => served.name === name);
  if (root === undefined) {
    throw new SynclineError({
      code: "ROOT_UNKNOWN",
      op: "attach",
      message: `the server has no root "${printablePath(name.slice(0, 100))}"`,
      hint: "ask the server's operator for the names it serves",
    });
  }
  const sub = slash < 0 ? "" : asked.slice(slash + 1).replace(/\/+$/, "");
  if (sub === "") return { path: root.path, label: root.name, readOnly: root.readOnly, device: undefined };
  const label = `${root.name}/${printablePath(sub)}`;
  if (pathFault(sub) !== undefined || sub.split("/").includes(PRIVATE_DIR)) throw outside(label);
  const device = deviceBelow(options.host, root.path, sub, label);
  return { path: `${root.path}/${sub}`, label, readOnly: root.readOnly, device };
}

/** "device:inode" of a directory below a root, in the form of OpenReply.device. */
function deviceBelow(host: Host, rootPath: string, sub: string, label: string): string {
  try {
    using root = new Confined(host.fs, host.fs.openRoot(rootPath));
    const stat = host.fs.fstat(root.dir(sub));
    return `${stat.dev}:${stat.ino}`;
  } catch (cause) {
    if (isCode(cause, "ELOOP", "ENOTDIR")) throw outside(label);
    throw new SynclineError({
      code: "ROOT_MISSING",
      op: "attach",
      message: `the server has no directory "${label}"`,
      hint: `check the part after the root's name, or create ${printablePath(nameOf(sub))} there first`,
      cause,
    });
  }
}

function outside(label: string): SynclineError {
  return new SynclineError({
    code: "ROOT_UNKNOWN",
    op: "attach",
    message: `"${label.slice(0, 200)}" does not lead to a directory inside the root`,
    hint: "symbolic links and .. are not followed below a served root",
  });
}

function noCertificate(): SynclineError {
  return new SynclineError({
    code: "AUTH",
    op: "attach",
    message: "the server accepts only clients with a certificate of its authority",
    hint: "give --client-cert and --client-key",
  });
}

function wrongToken(): SynclineError {
  return new SynclineError({
    code: "AUTH",
    op: "attach",
    message: "the server does not know this token",
    hint: "give --token-file with one of the server's tokens; without it none is sent",
  });
}

function tooOften(refusedMs: number): SynclineError {
  return new SynclineError({
    code: "AUTH",
    op: "attach",
    message: "too many failed attempts from this address",
    hint: `wait ${Math.ceil(refusedMs / 1000)} s and check --token-file and the root's name`,
    retryable: true,
  });
}

export type ServeOnceOptions = {
  readonly transport: Transport;
  readonly openEndpoint: (root: RootToOpen) => Endpoint;
  readonly clock: Clock;
  readonly program: string;
};

/**
 * Answers one connection that is authenticated already (ssh has done it): the client names any absolute path that the
 * user may reach. Resolves when the connection has ended and the endpoint is closed; rejects when it never began.
 */
export async function serveStdio(options: ServeOnceOptions, signal: AbortSignal): Promise<void> {
  const { transport, openEndpoint, clock, program } = options;
  const admit = async (attach: Attach) => {
    if (!attach.root.startsWith("/") || attach.root.includes("\0")) {
      const message = "the path of a remote root must be absolute";
      throw new SynclineError({ code: "ROOT_UNKNOWN", op: "attach", message });
    }
    const endpoint = openEndpoint({ path: attach.root, label: attach.root, readOnly: false });
    return { readOnly: false, value: new EndpointServer({ endpoint, readOnly: false, mayCreateRoot: true }) };
  };
  const { mux, value } = await startServer(
    transport,
    { program, clock, admit },
    (server) => (channel) => server.handle(channel),
    signal,
  );
  const abort = (): void => mux.close();
  signal.addEventListener("abort", abort, { once: true });
  await mux.closed;
  signal.removeEventListener("abort", abort);
  await value.close();
}
