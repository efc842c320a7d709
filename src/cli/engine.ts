/**
 * The seam between the command line and the engine: the only file of cli/ that knows how endpoints are opened and
 * sessions are run. Imports of the engine are deferred so that `--help` does not load it.
 */
import { join, resolve } from "node:path";
import { SynclineError } from "#model/error.ts";
import { listenFault } from "#platform/net/listen-fault.ts";
import type { Problem } from "#model/observation.ts";
import type { Side } from "#model/plan.ts";
import type { Host } from "#platform/host.ts";
import type { Endpoint, RunChange } from "#sync/endpoint/endpoint.ts";
import type { ServeLog, ServedRoot } from "#sync/endpoint/serve.ts";
import type { Store } from "#sync/index/store.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import type { AgentOptions } from "#agent/agent.ts";
import type { Hooks } from "#agent/hooks.ts";
import type { DeclaredLink } from "#hub/agents/link.ts";
import type { AgentOtlp } from "#cli/agent-tracing.ts";
import { parseSide } from "#cli/side-address.ts";
import type { SideContext } from "#cli/sides.ts";
import { usage } from "#cli/values.ts";
import { shellWord } from "#cli/format.ts";
import { installationId, isThere, readSmallFile, readTokens } from "#cli/local-files.ts";
import type { Given } from "#cli/parse.ts";

/** Digits of a plan's hash: enough that nobody approves another plan, short enough to be read out. */
const PLAN_HASH_DIGITS = 12;

/** Digits that tell what pairs leave on foreign systems apart. */
const OWNER_DIGITS = 12;

/** The two sides of a pair as a person names them, local paths absolute. */
export type Pair = Readonly<Record<Side, string>>;

/**
 * "./a" becomes absolute, an address with a scheme stays: a pair means the same from every working directory.
 * @throws {SynclineError} USAGE for an address that is none, before it is shown anywhere: it may hold a password
 */
export function sideText(text: string): string {
  if (!isAddress(text)) return resolve(text);
  parseSide(text);
  return text;
}

/** Is it written as a side on another host? */
export function isAddress(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

export async function openHost(): Promise<Host> {
  return (await import("#platform/host-bun.ts")).openHost();
}

export type PairRequest = {
  readonly pair: Pair;
  readonly given: Given;
  readonly stateDir: string;
  /** Keeps what is remembered for this apart from what is remembered for the pair's own session. */
  readonly purpose?: "verify";
  readonly host: Host;
  readonly signal: AbortSignal;
  /** Asked when a server is unknown and --accept-new was not given; undefined where nobody can be asked. */
  readonly askTrust: ((question: string) => Promise<boolean>) | undefined;
};

/** @param owner hex digits that name the pair on foreign systems */
function sideContext(request: PairRequest, owner: string): SideContext {
  const { given, host, stateDir, askTrust } = request;
  if ((given["client-cert"] === undefined) !== (given["client-key"] === undefined)) {
    throw usage("--client-cert and --client-key belong together");
  }
  const identity =
    given["client-cert"] === undefined || given["client-key"] === undefined
      ? undefined
      : {
          certificate: readSmallFile("client-cert", given["client-cert"]),
          key: readSmallFile("client-key", given["client-key"]),
        };
  return {
    host,
    stateDir,
    askTrust,
    identity,
    token: given["token-file"] === undefined ? undefined : readTokens("token-file", given["token-file"])[0],
    fingerprint: given.fingerprint,
    acceptNew: given["accept-new"] ?? false,
    ca: given.ca === undefined ? undefined : readSmallFile("ca", given.ca),
    sshCommand: given.ssh,
    credentialsFile: given["credentials-file"],
    owner,
  };
}

type Named = { readonly sessionId: string; /** Where the session's own state is. */ readonly file: string };

/** The same pair is another session on every installation: what a server remembers of one is not the other's. */
async function namePair(request: PairRequest): Promise<Named> {
  const { shortHash } = await import("#cli/sides.ts");
  const { pair, stateDir, host, purpose } = request;
  const candidate = Buffer.from(host.random.bytes(16)).toString("hex");
  const words = [pair.alpha, pair.beta, installationId(stateDir, candidate), purpose ?? "sync"];
  const sessionId = shortHash(words.join("\0"), 32);
  return { sessionId, file: join(stateDir, "sessions", `${sessionId}.db`) };
}

type Opened = {
  readonly sessionId: string;
  readonly store: Store;
  readonly sides: Record<Side, () => Endpoint>;
  readonly hash: (text: string) => string;
};

/**
 * Opens what a pair remembers; the endpoints themselves connect later. A damaged store is moved aside and begun anew:
 * the next scan then compares everything, which can show conflicts but loses nothing.
 */
async function openPair(request: PairRequest): Promise<Opened> {
  const { openState, refuseOverlap, refuseSameMarker, shortHash, sideOpener } = await import("#cli/sides.ts");
  const { pair } = request;
  refuseOverlap(pair.alpha, pair.beta);
  refuseSameMarker(pair.alpha, pair.beta);
  const { sessionId, file } = await namePair(request);
  const context = sideContext(request, sessionId.slice(0, OWNER_DIGITS));
  const sides = { alpha: sideOpener(pair.alpha, context), beta: sideOpener(pair.beta, context) };
  const hash = (text: string): string => shortHash(text, PLAN_HASH_DIGITS);
  return { sessionId, hash, sides, store: openState(file) };
}

/** Runs one session to its end (or, watching, until the signal). Endpoints and store are closed in any case. */
export async function runPair(
  request: PairRequest,
  options: SessionOptions,
  onEvent: (event: SessionEvent) => void,
): Promise<Summary> {
  const { runSession } = await import("#sync/session/session.ts");
  const { sessionId, store, sides, hash } = await openPair(request);
  const { host, signal } = request;
  try {
    return await runSession({
      sessionId,
      store,
      host,
      options,
      onEvent,
      hash,
      signal,
      alpha: sides.alpha,
      beta: sides.beta,
    });
  } catch (error) {
    if (request.purpose === undefined && isNotItself(error)) {
      const { SessionState } = await import("#sync/session/state.ts");
      const { marks } = new SessionState(store, host.random);
      if (marks.alpha !== undefined || marks.beta !== undefined) throw withForget(error, request.pair);
    }
    throw error;
  } finally {
    store.close();
  }
}

/** Is a root not there, or another one than it was? */
function isNotItself(error: unknown): error is SynclineError {
  return error instanceof SynclineError && (error.code === "ROOT_IDENTITY" || error.code === "ROOT_MISSING");
}

/** Its hint ends with the command for the case that all is as it was meant to be. */
function withForget({ code, op, path, message, hint, cause }: SynclineError, { alpha, beta }: Pair): SynclineError {
  const command = ["syncline", "forget", alpha, beta].map(shellWord).join(" ");
  const anew = `if that was on purpose, begin anew, which deletes nothing: ${command}`;
  return new SynclineError({ code, op, path, message, hint: hint === undefined ? anew : `${hint}; ${anew}`, cause });
}

/**
 * Opens both endpoints as the pair's session would and hands them to `body`; for looking at runs and taking them back.
 *
 * @param options those of the pair's last run: with other filters the endpoints would see other paths
 */
async function withSides<T>(
  request: PairRequest,
  options: SessionOptions,
  writable: boolean,
  body: (sides: Record<Side, Endpoint>) => Promise<T>,
): Promise<T> {
  const [{ SessionState }, { carriedByBoth }] = await Promise.all([
    import("#sync/session/state.ts"),
    import("#sync/session/open-sides.ts"),
  ]);
  const { sessionId, store, sides } = await openPair(request);
  const opened: Record<Side, Endpoint> = { alpha: sides.alpha(), beta: sides.beta() };
  try {
    const state = new SessionState(store, request.host.random);
    const preserve = await carriedByBoth(options, opened.alpha, opened.beta, request.signal);
    for (const side of ["alpha", "beta"] as const) {
      const { ignore, include, durable, verifyReadBack, compress } = options;
      await opened[side].open(
        {
          sessionId,
          ignore,
          include,
          preserve,
          durable,
          verifyReadBack,
          compress,
          seeds: state.seeds,
          writable: writable && (side === "beta" || !options.mode.startsWith("one-way")),
          createRoot: false,
          expectRootId: state.marks[side]?.rootId,
        },
        request.signal,
      );
    }
    return await body(opened);
  } finally {
    await Promise.allSettled([opened.alpha.close(), opened.beta.close()]);
    store.close();
  }
}

/** What a run changed, by side. */
export function runChanges(
  request: PairRequest,
  options: SessionOptions,
  runId: string,
): Promise<Record<Side, RunChange[]>> {
  return withSides(request, options, false, async ({ alpha, beta }) => ({
    alpha: await alpha.runChanges(runId),
    beta: await beta.runChanges(runId),
  }));
}

export type Undone = { readonly restored: number; readonly problems: Problem[] };

/** Takes a run back on both sides; a side that a one-way session never writes has nothing to take back. */
export function undoRun(
  request: PairRequest,
  options: SessionOptions,
  runId: string,
): Promise<Record<Side, Undone>> {
  return withSides(request, options, true, async ({ alpha, beta }) => ({
    alpha: options.mode.startsWith("one-way")
      ? { restored: 0, problems: [] }
      : await alpha.undo(runId, request.signal),
    beta: await beta.undo(runId, request.signal),
  }));
}

/**
 * Compares a pair without any memory, before or after, on either side: neither an ancestor nor recorded sums can hide
 * a difference. The sums are keyed by a secret that is drawn for this comparison alone.
 */
export async function comparePair(
  request: PairRequest,
  options: SessionOptions,
  onEvent: (event: SessionEvent) => void,
): Promise<Summary> {
  const { removeState } = await import("#cli/sides.ts");
  // Under a name of its own, or the pair's session would miss what is found here.
  const own: PairRequest = { ...request, purpose: "verify" };
  const { file } = await namePair(own);
  // A comparison that was killed may have left its state.
  removeState(file);
  try {
    return await runPair(own, { ...options, ephemeral: true, deep: true }, onEvent);
  } finally {
    removeState(file);
  }
}

/**
 * Forgets what is remembered of a pair: the next run compares everything, as if it were the first. What the endpoints
 * keep becomes worthless with it, because it belongs to the secret that is forgotten here.
 *
 * @returns false when nothing was remembered
 * @throws {SynclineError} ROOT_BUSY while a session of the pair runs
 */
export async function forgetPair(request: PairRequest): Promise<boolean> {
  const { openState, removeState } = await import("#cli/sides.ts");
  const { file } = await namePair(request);
  if (!isThere(file)) return false;
  openState(file).close();
  removeState(file);
  return true;
}

export type ServeRequest = {
  readonly host: Host;
  readonly stateDir: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly roots: readonly ServedRoot[];
  readonly tokens: readonly string[];
  /** A given certificate and key (PEM); undefined: one is made and kept. */
  readonly identity: { readonly certificate: string; readonly key: string } | undefined;
  readonly clientCa: string | undefined;
  readonly log: ServeLog;
};

export type Serving = { readonly port: number; readonly fingerprint: string; close(): Promise<void> };

/** Starts serving; returns once it listens. */
export async function serveRoots(request: ServeRequest): Promise<Serving> {
  const [{ PROGRAM, localEndpoints }, { serveConnections }, { givenIdentity, ownIdentity }] =
    await Promise.all([
      import("#cli/sides.ts"),
      import("#sync/endpoint/serve.ts"),
      import("#sync/transport/server-identity.ts"),
    ]);
  const { host, stateDir, listen, roots, tokens, clientCa, log } = request;
  const identity =
    request.identity === undefined
      ? ownIdentity(stateDir, host.hostName, listen.host, host.clock)
      : givenIdentity(request.identity);
  const server = listening(listen, () => serveConnections({
    host,
    listen,
    roots,
    tokens,
    log,
    tls: { identity, clientAuthorities: clientCa },
    openEndpoint: localEndpoints(host, stateDir),
    program: PROGRAM,
  }));
  return { port: server.port, fingerprint: identity.fingerprint, close: () => server.close() };
}

/** The far end of an ssh:// side; resolves when the near end has gone. */
export async function serveFarSide(stateDir: string, signal: AbortSignal): Promise<void> {
  const [{ PROGRAM, localEndpoints }, { serveStdio }, { ownStdio }, host] = await Promise.all([
    import("#cli/sides.ts"),
    import("#sync/endpoint/serve.ts"),
    import("#platform/net/stream-transport.ts"),
    openHost(),
  ]);
  const openEndpoint = localEndpoints(host, stateDir);
  await serveStdio({ transport: ownStdio(), openEndpoint, clock: host.clock, program: PROGRAM }, signal);
}

export type AgentRequest = {
  readonly hub: string;
  /** Undefined: the name of this machine. */
  readonly name: string | undefined;
  readonly dataDir: string;
  readonly joinTokenFile: string | undefined;
  readonly fingerprint: string | undefined;
  readonly acceptNew: boolean;
  readonly links: readonly DeclaredLink[];
  readonly ignore: readonly string[];
  /** Lines of the shell around each batch, and how long each may take. */
  readonly hooks: Hooks;
  readonly mayInstall: boolean;
  /** Undefined: no spans are made. */
  readonly otlp: AgentOtlp | undefined;
  readonly onReload: AgentOptions["onReload"];
  readonly log: ServeLog;
};

/** Runs the agent of a host until the signal. */
export async function runHostAgent(request: AgentRequest, signal: AbortSignal): Promise<void> {
  const [{ PROGRAM, localEndpoints, openState, shortHash }, { runAgent }, { parseHubAddress }, { parseFingerprint }, host] =
    await Promise.all([
      import("#cli/sides.ts"),
      import("#agent/agent.ts"),
      import("#agent/hub-client.ts"),
      import("#sync/transport/known-servers.ts"),
      openHost(),
    ]);
  const { dataDir, joinTokenFile, fingerprint } = request;
  const openRoot = localEndpoints(host, dataDir);
  const name = request.name ?? host.hostName.toLowerCase();
  const tracing = await tracingOfAgent(request, host, name);
  const exporting = tracing?.run(signal);
  await runAgent(
    {
      address: parseHubAddress(request.hub),
      name,
      dataDir,
      spans: tracing?.tracer,
      joinToken: () => {
        if (joinTokenFile !== undefined) return readTokens("join-token-file", joinTokenFile)[0]!;
        throw usage("this host has not joined the hub yet", "--join-token-file FILE, with a token that the hub made");
      },
      fingerprint: fingerprint === undefined ? undefined : parseFingerprint(fingerprint),
      acceptNew: request.acceptNew,
      links: request.links,
      ignore: request.ignore,
      hooks: request.hooks,
      mayInstall: request.mayInstall,
      onReload: request.onReload,
      host,
      program: PROGRAM,
      platform: `${process.platform}-${process.arch}`,
      openRoot: (path) => openRoot({ path, label: path, readOnly: false }),
      openState: (name) => openState(join(dataDir, name)),
      hash: shortHash,
      installation: installationId(dataDir, Buffer.from(host.random.bytes(16)).toString("hex")),
      log: request.log,
    },
    signal,
  );
  await exporting;
}

async function tracingOfAgent({ otlp, log }: AgentRequest, host: Host, name: string) {
  if (otlp === undefined) return undefined;
  const { agentTracing } = await import("#cli/agent-tracing.ts");
  return agentTracing(otlp, { host, name, log });
}

/** Runs what begins to listen; an address that cannot be had is the operator's to mend. */
function listening<T>(listen: { readonly host: string; readonly port: number }, begin: () => T): T {
  try {
    return begin();
  } catch (cause) {
    if (cause instanceof SynclineError) throw cause;
    throw listenFault(cause, listen, "--listen");
  }
}
