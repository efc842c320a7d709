/**
 * The hub's sync listener: TLS with client certificates of the hub's own authority, and the framed protocol of the
 * engine on it. What a connection is for is the root that it attaches to:
 *
 * - "hello": who this hub is; for anybody
 * - "enrol": a host joins; for who has a join token
 * - "agent": the control channel of a host
 * - "link:ID": the space of one link, as an endpoint; only for the host that the link belongs to
 */
import { X509Certificate } from "node:crypto";
import { SynclineError, asError, messageOf } from "#model/error.ts";
import { isWithin, printablePath } from "#model/path.ts";
import type { Space, Version } from "#hub/space.ts";
import type { Access, Principal } from "#access/access.ts";
import type { Host } from "#platform/host.ts";
import { type Handshake, type Identity, type Listener, listenTls } from "#platform/net/tls-socket.ts";
import type { Transport } from "#platform/net/transport.ts";
import { ConnectionGate } from "#sync/endpoint/connection-gate.ts";
import { EndpointServer } from "#sync/endpoint/endpoint-server.ts";
import { TurnEndpoint, Turns } from "#sync/endpoint/turns.ts";
import { FailureLimiter } from "#sync/transport/failure-limiter.ts";
import { startServer } from "#sync/wire/greeting.ts";
import type { Mux } from "#sync/wire/mux.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";
import type { Attach } from "#sync/wire/prelude.ts";
import { type AgentLog, ControlSession, type SpaceFacts, hostAway } from "#hub/agents/control-session.ts";
import {
  AGENT_ROOT,
  CONTROL_METHOD,
  SUPPLY_METHOD,
  ENROL_METHOD,
  ENROL_ROOT,
  HELLO_METHOD,
  HELLO_ROOT,
  LINK_ROOT,
} from "#hub/agents/control.ts";
import type { CarriedApproval, CarriedApprovals } from "#hub/agents/carried-approvals.ts";
import { type HostAuthority, type IssuedCertificate, serveEnrolment } from "#hub/agents/enrol.ts";
import type { HubHello } from "#hub/agents/hello.ts";
import { type DeclaredLink, neverWritesSpace } from "#hub/agents/link.ts";
import { type DigestEndpoint, LinkDigests } from "#hub/agents/link-digests.ts";
import { LinkEndpoint } from "#hub/agents/link-endpoint.ts";
import { LateCalls } from "#hub/agents/late-calls.ts";
import { removeUnusedStages } from "#hub/agents/stage-upkeep.ts";
import { Supplies } from "#hub/agents/supplies.ts";
import { PresenceTable } from "#hub/agents/presence.ts";
import type { AgentRegistry } from "#hub/agents/registry.ts";
import type { Link } from "#hub/agents/registry-rows.ts";

/** Many agents may stand behind one address; each has a connection for its control and one for each link. */
export const LISTENER_LIMITS = { connections: 8192, pending: 256, pendingPerAddress: 64, perAddress: 4096 } as const;
/** How long a refusal of what was not known is delayed. */
const FAILURE_DELAY_MS = 1000;
/** Certificates of connections that stand are looked at anew, for one may be over by now. */
export const REAUTHENTICATE_MS = 30_000;
/** What was heard is written to the registry. */
const SAVE_MS = 10_000;
/** What links that are gone have staged is looked for. */
const STAGES_MS = 3_600_000;
/** A connection that only asks who we are, or enrols, has so long for it. */
const SHORT_CONNECTION_MS = 30_000;
/** Longest wait of a link's new connection for what its earlier ones have under way. */
export const EARLIER_MS_MAX = 60_000;

export type ListenerOptions = {
  readonly listen: { readonly host: string; readonly port: number };
  /** Of this hub's authority, for HUB_TLS_NAME. */
  readonly identity: Identity;
  readonly hubId: string;
  readonly authority: HostAuthority;
  readonly access: Access;
  readonly registry: AgentRegistry;
  readonly carried: CarriedApprovals;
  /** May a host have a link that it declares itself? What it leads to is what the host may then do. */
  readonly mayDeclare: (host: string, link: DeclaredLink) => boolean;
  /** @throws {SynclineError} SPACE_UNKNOWN, DENIED */
  readonly resolveSpace: (who: Principal, link: Link) => Promise<SpaceFacts>;
  /** The space of a link; opened by the agent's session. */
  readonly openSpace: (who: Principal, link: Link, readOnly: boolean) => DigestEndpoint;
  /** Absolute path of the folder where sessions of links stage large files. */
  readonly stageFolder: string;
  /** Calls back when who exists may have changed: connections that stand are then looked at anew. */
  readonly onAccessChange: (listener: () => void, signal: AbortSignal) => void;
  readonly host: Host;
  readonly program: string;
  readonly log: AgentLog;
};

type Connection = {
  readonly kind: "hello" | "enrol" | "agent" | "link";
  /** Undefined where nobody in particular asks. */
  readonly principal: Principal | undefined;
  readonly label: string;
  readonly onChannel: (channel: MuxChannel) => void;
  /** Called once the earlier connections of the same root have ended; undefined where it need not wait for them. */
  readonly begin?: () => void;
  /** Ends when nothing of it is under way any more. */
  readonly close: () => Promise<void>;
};

/** A connection of a known host, until nothing of it is under way any more. */
type Standing = {
  readonly mux: Mux;
  readonly certificate: Uint8Array;
  readonly label: string;
  readonly ended: PromiseWithResolvers<void>;
  isConnected: boolean;
};

export class AgentListener {
  readonly port: number;
  readonly presence = new PresenceTable();
  readonly digests = new LinkDigests((host, link, sequence) =>
    this.#options.log("a link holds something else than its space", { host, link, sequence }),
  );
  readonly #options: ListenerOptions;
  readonly #listener: Listener;
  readonly #gate = new ConnectionGate(LISTENER_LIMITS);
  readonly #limiter = new FailureLimiter();
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #standing = new Map<string, Set<Standing>>();
  readonly #controls = new Map<string, ControlSession>();
  readonly #turns: Turns;
  readonly #supplies: Supplies;
  #looks = 0;

  /** Throws the system's error when the address cannot be listened on. */
  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#turns = new Turns(options.host.clock);
    this.#supplies = new Supplies(options.host.clock, options.host.random);
    const { listen, identity, authority } = options;
    this.#listener = listenTls({
      host: listen.host,
      port: listen.port,
      identity,
      clientAuthorities: authority.ca,
      onConnection: (address) => this.#arrived(address),
      onHandshake: (address, result) => this.#shaken(address, result),
    });
    this.port = this.#listener.port;
    this.#track(this.#every(SAVE_MS, () => this.#save()));
    this.#track(this.#every(REAUTHENTICATE_MS, () => this.#reauthenticate()));
    this.#track(this.#every(STAGES_MS, async () => this.#removeStages()));
    options.onAccessChange(() => this.#lookAnew(), this.#stop.signal);
  }

  /** What `GET /v1/hub` answers. */
  hello(): HubHello {
    const { hubId, program, authority } = this.#options;
    const fingerprint = new X509Certificate(authority.ca).fingerprint256.replaceAll(":", "").toLowerCase();
    return { id: hubId, program, syncPort: this.port, fingerprint: `SHA256:${fingerprint}`, ca: authority.ca };
  }

  /** Whoever connects from now on sees this certificate; connections that stand go on. */
  useIdentity(identity: Identity): void {
    if (!this.#stop.signal.aborted) this.#listener.useIdentity(identity);
  }

  /** A part of a version's file, from any agent that is here and has it as one of its links' files. */
  async read(
    space: Pick<Space, "name">,
    { path }: Pick<Version, "path">,
    { position, length }: { readonly position: number; readonly length: number },
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    for (const [host, session] of this.#controls) {
      for (const { id: link, space: name, prefix, enabled } of this.#options.registry.linksOf(host)) {
        if (!enabled || name !== space.name || path === prefix || !isWithin(path, prefix)) continue;
        const inner = prefix === "" ? path : path.slice(prefix.length + 1);
        const send = (request: string): boolean => session.supply({ request, link, path: inner, position, length });
        const bytes = await this.#supplies.ask(host, length, send, signal);
        if (bytes !== undefined) return bytes;
      }
    }
    return undefined;
  }

  /** Tells the host, when it is here; otherwise it is told when it comes. */
  approved(link: string, host: string, hash: string): void {
    this.#controls.get(host)?.approve(link, hash);
  }

  /** As ControlSession.rescan. @throws {SynclineError} LINK_LOST (retryable) when the host is away */
  async rescan(host: string, link: string, job: number, signal: AbortSignal): Promise<void> {
    await this.control(host).rescan(link, job, signal);
  }

  /** Approvals that were good for other hosts, too: tells those that are here. */
  carriedOver(carried: readonly CarriedApproval[]): void {
    for (const { link, host, hash, by } of carried) {
      this.#options.log("an approval was carried over", { host, link, hash, by });
      this.approved(link, host, hash);
    }
  }

  /** The control channel of a host. @throws {SynclineError} LINK_LOST (retryable) when the host is away */
  control(host: string): ControlSession {
    const control = this.#controls.get(host);
    if (control === undefined) throw hostAway(host);
    return control;
  }

  /** Other links may be declared now: each host has those of its own that are allowed, also one that is away. */
  async declareAnew(): Promise<void> {
    const { registry, mayDeclare } = this.#options;
    for (const control of this.#controls.values()) await control.declare();
    const declared = Map.groupBy(registry.links().filter(({ origin }) => origin === "host"), ({ host }) => host!);
    for (const [host, links] of declared) await registry.declare(host, links.filter((link) => mayDeclare(host, link)));
  }

  /** False: the host is not here. */
  ask(host: string, message: Parameters<ControlSession["ask"]>[0]): boolean {
    const control = this.#controls.get(host);
    control?.ask(message);
    return control !== undefined;
  }

  async close(): Promise<void> {
    this.#listener.close();
    const message = "the hub stops";
    this.#stop.abort(new SynclineError({ code: "LINK_LOST", op: "serve", message, retryable: true }));
    await Promise.all(this.#running);
    await this.digests.idle();
    await this.#save();
  }

  /** Of what nobody waits for before the hub stops. What fails there is a fault of ours, and ends nothing else. */
  #track(work: Promise<void>): void {
    const { log } = this.#options;
    const running: Promise<void> = work
      .catch((error: unknown) => log("work for agents failed", { reason: brief(String(error)) }))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { host, log } = this.#options;
    for (;;) {
      await host.clock.sleep(ms, this.#stop.signal).catch(() => undefined);
      if (this.#stop.signal.aborted) return;
      await work().catch((error: unknown) => log("agents could not be looked after", { reason: brief(String(error)) }));
    }
  }

  async #save(): Promise<void> {
    await this.#options.registry.saveMarks();
    const taken = this.presence.takeDirty();
    if (taken.length === 0) return;
    const heard = taken.flatMap(({ host, heardWallMs, states }) =>
      states.map((state) => ({ link: state.id, host, heardMs: heardWallMs, state })),
    );
    await this.#options.registry.saveHeard(heard, taken.map(({ host, heardWallMs }) => ({ name: host, lastSeenMs: heardWallMs })));
  }

  #removeStages(): void {
    const { host, stageFolder, registry, log } = this.#options;
    const removed = removeUnusedStages(host, stageFolder, (session) => registry.marks.hasSession(session));
    if (removed > 0) log("stages of links that are gone removed", { removed });
  }

  /** However many changes come meanwhile, one look follows the one that is being taken. */
  #lookAnew(): void {
    this.#looks = Math.min(this.#looks + 1, 2);
    if (this.#looks > 1) return;
    this.#track(
      (async () => {
        for (; this.#looks > 0 && !this.#stop.signal.aborted; this.#looks--) {
          await this.#reauthenticate().catch((error: unknown) =>
            this.#options.log("connections could not be looked at", { reason: brief(String(error)) }),
          );
        }
      })(),
    );
  }

  async #reauthenticate(): Promise<void> {
    for (const [host, connections] of this.#standing) {
      await this.#learnLabels(host);
      for (const { mux, certificate, isConnected } of connections) {
        if (!isConnected) continue;
        try {
          await this.#authenticate(certificate);
        } catch (error) {
          // A database that cannot be asked says nothing of anybody: it is asked again.
          if (!isRefused(error)) throw error;
          this.#options.log("connection ended: no longer known", { host, reason: brief(String(error)) });
          mux.close(error);
        }
      }
    }
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
    this.#track(this.#run(address, result).finally(() => this.#gate.left(address)));
  }

  async #run(address: string, handshake: Exclude<Handshake, Error>): Promise<void> {
    const { log } = this.#options;
    const started = await this.#start(address, handshake);
    this.#gate.decided(address);
    if (started === undefined) return;
    const { mux, value } = started;
    const { label, kind, principal } = value;
    if (principal !== undefined) log("connected", { address, host: principal.name, root: label });
    const isShort = kind === "hello" || kind === "enrol";
    const stop = isShort ? AbortSignal.any([this.#stop.signal, AbortSignal.timeout(SHORT_CONNECTION_MS)]) : this.#stop.signal;
    const abort = (): void => mux.close(stop.reason instanceof Error ? stop.reason : undefined);
    stop.addEventListener("abort", abort, { once: true });
    if (stop.aborted) abort();
    const certificate = handshake.clientCertificate ?? new Uint8Array(0);
    const standing = { mux, label, certificate, ended: Promise.withResolvers<void>(), isConnected: true };
    const earlier = principal === undefined ? [] : this.#stand(principal.name, standing);
    // What keeps it from beginning ends it.
    const close = (error: unknown): void => mux.close(asError(error));
    const begun = value.begin === undefined ? undefined : this.#begin(mux, value.begin, earlier).catch(close);
    const reason = await mux.closed;
    standing.isConnected = false;
    stop.removeEventListener("abort", abort);
    if (principal !== undefined) {
      const { sent, received } = mux.wireBytes;
      log("disconnected", { address, host: principal.name, root: label, sent, received, reason: brief(reason?.message ?? "closed") });
    }
    await begun;
    await value.close().catch((error: unknown) => log("link could not be closed", { root: label, reason: brief(String(error)) }));
    if (principal !== undefined) this.#leave(principal.name, standing);
  }

  /**
   * One connection a root: an agent that comes again has lost the one before, even if we have not noticed. Returns those
   * before it of which something may be under way.
   */
  #stand(host: string, standing: Standing): Standing[] {
    const connections = this.#standing.get(host) ?? new Set();
    this.#standing.set(host, connections);
    const earlier = [...connections].filter(({ label }) => label === standing.label);
    for (const { mux } of earlier) {
      const message = "another connection of this host has taken its place: does its agent, or a copy of it, run twice?";
      mux.close(new SynclineError({ code: "LINK_LOST", op: "connection", message, retryable: true }));
    }
    connections.add(standing);
    return earlier;
  }

  #leave(host: string, standing: Standing): void {
    const connections = this.#standing.get(host);
    connections?.delete(standing);
    if (connections?.size === 0) this.#standing.delete(host);
    standing.ended.resolve();
  }

  /** Not before the earlier ones have ended. Resolves when it has begun, or will not any more. */
  async #begin(mux: Mux, begin: () => void, earlier: readonly Standing[]): Promise<void> {
    if (earlier.length === 0) return begin();
    const over = new AbortController();
    const outcome = await Promise.race([
      Promise.all(earlier.map(({ ended }) => ended.promise)).then(() => "ended"),
      mux.closed.then(() => "left"),
      this.#options.host.clock.sleep(EARLIER_MS_MAX, over.signal).then(() => "late", () => "over"),
    ]);
    over.abort();
    if (outcome === "ended") begin();
    if (outcome === "late") mux.close(stillBusy());
  }

  async #start(
    address: string,
    handshake: Exclude<Handshake, Error>,
  ): Promise<{ mux: Mux; value: Connection } | undefined> {
    const { log, program, host } = this.#options;
    const transport: Transport = handshake.transport;
    const admit = async (attach: Attach, signal: AbortSignal) => ({
      readOnly: false,
      value: await this.#admit(address, handshake, attach, signal),
    });
    const calls = (value: Connection) => value.onChannel;
    try {
      return await startServer(transport, { program, clock: host.clock, admit }, calls, this.#stop.signal);
    } catch (error) {
      const code = error instanceof SynclineError ? error.code : "INTERNAL";
      const reason = brief(messageOf(error));
      log(code === "LINK_LOST" ? "connection ended early" : "connection refused", { address, code, reason });
      return undefined;
    }
  }

  async #admit(
    address: string,
    { clientCertificate }: Exclude<Handshake, Error>,
    attach: Attach,
    signal: AbortSignal,
  ): Promise<Connection> {
    if (attach.root === HELLO_ROOT) return this.#helloConnection();
    if (attach.root === ENROL_ROOT) return this.#enrolConnection(address);
    const principal = await this.#known(address, clientCertificate, signal);
    if (attach.root === AGENT_ROOT) return this.#agentConnection(principal, address, clientCertificate!);
    if (attach.root.startsWith(LINK_ROOT)) return this.#linkConnection(principal, attach.root.slice(LINK_ROOT.length));
    throw new SynclineError({ code: "ROOT_UNKNOWN", op: "attach", message: "a hub has no such root" });
  }

  /** Who is known always passes: a host that was removed must not lock out the others behind its address. */
  async #known(address: string, certificate: Uint8Array | undefined, signal: AbortSignal): Promise<Principal> {
    const { clock } = this.#options.host;
    try {
      if (certificate === undefined) throw noCertificate();
      return await this.#authenticate(certificate);
    } catch (error) {
      const refusedMs = this.#limiter.refusedMs(address, clock.monotonicMs());
      if (refusedMs > 0) throw tooOften(refusedMs);
      if (isRefused(error)) this.#limiter.failed(address, clock.monotonicMs());
      await clock.sleep(FAILURE_DELAY_MS, signal);
      throw error;
    }
  }

  async #authenticate(certificate: Uint8Array): Promise<Principal> {
    const principal = await this.#options.access.authenticate({ type: "certificate", certificate });
    if (principal.kind === "agent") return principal;
    throw new SynclineError({ code: "AUTH", op: "attach", message: "the certificate is not that of a host" });
  }

  #helloConnection(): Connection {
    const onChannel = (channel: MuxChannel): void => {
      void this.#serve(channel, async () => {
        if (channel.method !== HELLO_METHOD) throw wrongCall();
        await channel.send(Buffer.from(JSON.stringify(this.hello())));
        channel.end();
      });
    };
    return { kind: "hello", principal: undefined, label: HELLO_ROOT, onChannel, close: async () => undefined };
  }

  #enrolConnection(address: string): Connection {
    const { hubId, authority, host, log } = this.#options;
    const { clock } = host;
    let begun = false;
    const onChannel = (channel: MuxChannel): void => {
      void this.#serve(channel, async () => {
        // One try a connection: what was refused counts against the address.
        if (channel.method !== ENROL_METHOD || begun) throw wrongCall();
        begun = true;
        try {
          const name = await serveEnrolment(channel, {
            hubId, authority, address,
            onEnrolled: (enrolled, issued) => this.#joined(enrolled, issued),
          });
          log("host enrolled", { host: name, address });
        } catch (error) {
          // How often an address may try a token is for access/ to say, which asks for all doors together.
          log("enrolment refused", { address, reason: brief(messageOf(error)) });
          await clock.sleep(FAILURE_DELAY_MS, channel.signal).catch(() => undefined);
          throw error;
        }
      });
    };
    return { kind: "enrol", principal: undefined, label: ENROL_ROOT, onChannel, close: async () => undefined };
  }

  async #joined(host: string, { certificate }: IssuedCertificate): Promise<void> {
    const { registry } = this.#options;
    await registry.joined(host, new X509Certificate(certificate).serialNumber.toLowerCase());
    await this.#learnLabels(host);
  }

  /** Labels are given where identities are; the registry only goes by them. */
  async #learnLabels(host: string): Promise<void> {
    const { registry, authority } = this.#options;
    const labels = await authority.labelsOf(host);
    const known = registry.host(host)?.labels ?? [];
    if (labels !== undefined && labels.toSorted().join() !== known.join()) await registry.setLabels(host, labels);
  }

  #agentConnection(principal: Principal, address: string, certificate: Uint8Array): Connection {
    const { registry, carried, authority, mayDeclare, resolveSpace, host, log } = this.#options;
    const { presence } = this;
    const { name } = principal;
    const serial = new X509Certificate(certificate).serialNumber.toLowerCase();
    let session: ControlSession | undefined;
    const onChannel = (channel: MuxChannel): void => {
      void this.#serve(channel, async () => {
        if (channel.method === SUPPLY_METHOD) return this.#supplies.take(name, channel);
        if (channel.method !== CONTROL_METHOD || session !== undefined) throw wrongCall();
        session = new ControlSession(channel, {
          principal, certificate, serial, address, registry, presence, carried, authority, mayDeclare, resolveSpace, log,
          clock: host.clock, digests: this.digests,
        });
        this.#controls.set(name, session);
        await this.#learnLabels(name);
        await session.run();
      });
    };
    const close = async (): Promise<void> => {
      if (session !== undefined && this.#controls.get(name) === session) this.#controls.delete(name);
    };
    return { kind: "agent", principal, label: AGENT_ROOT, onChannel, close };
  }

  async #linkConnection(principal: Principal, id: string): Promise<Connection> {
    const { registry, carried, openSpace, host, log } = this.#options;
    const { presence } = this;
    const { name } = principal;
    const { clock } = host;
    const link = registry.linksOf(name).find((one) => one.id === id);
    // Whether another host has a link of that id is nobody's business.
    if (link === undefined || !link.enabled) throw noLink(id);
    const readOnly = neverWritesSpace(link.settings);
    const space = openSpace(principal, link, readOnly);
    this.digests.opened(name, id, space);
    const endpoint = new LinkEndpoint({
      inner: space,
      mark: () => registry.marks.of(id, name),
      setMark: (mark) => registry.marks.set(id, name, mark),
      onTold: () => presence.told(name, id, clock.monotonicMs()),
      onAsked: () => presence.asked(name, id),
      onRestored: (known, acknowledged) =>
        log("agent knows less than it did: restored from a backup", { host: name, link: id, known, acknowledged }),
      wantsRemoved: () => carried.isExpecting(id, name),
      onRemoved: async (removals, ranges) => {
        try {
          this.carriedOver(await carried.removed(id, name, removals, ranges));
        } catch (error) {
          // It is committed all the same; other hosts ask for themselves.
          log("an approval could not be carried over", { host: name, link: id, reason: brief(String(error)) });
        }
      },
    });
    const server = new EndpointServer({
      endpoint: new TurnEndpoint(endpoint, this.#turns, link.settings.priority),
      readOnly,
      mayCreateRoot: !readOnly,
      onRefused: (error, method) => log("call refused", { host: name, link: id, method, reason: brief(error.message) }),
    });
    const calls = new LateCalls((channel) => server.handle(channel));
    const onChannel = (channel: MuxChannel): void => calls.take(channel);
    const begin = (): void => calls.begin();
    const close = (): Promise<void> => {
      this.digests.closed(name, id, space);
      return server.close();
    };
    return { kind: "link", principal, label: `${LINK_ROOT}${id}`, onChannel, begin, close };
  }

  /** What goes wrong is told on the channel. */
  async #serve(channel: MuxChannel, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (channel.failure === undefined) channel.fail(asError(error));
    }
  }
}

/** Nobody, or nobody any more; and no trouble of ours. */
const isRefused = (error: unknown): error is SynclineError => error instanceof SynclineError && error.code === "AUTH";

function brief(text: string): string {
  return printablePath(text.slice(0, 300));
}

function noCertificate(): SynclineError {
  return new SynclineError({
    code: "AUTH",
    op: "attach",
    message: "the hub accepts only hosts with a certificate of its authority",
    hint: "let the agent enrol: --join-token-file FILE",
  });
}

function noLink(id: string): SynclineError {
  return new SynclineError({
    code: "ROOT_UNKNOWN",
    op: "attach",
    message: `this host has no link ${printablePath(id.slice(0, 40))}`,
    hint: "the hub's list of links says which it has",
  });
}

function stillBusy(): SynclineError {
  return new SynclineError({
    code: "LINK_LOST",
    op: "attach",
    message: `the hub is still at work on what an earlier connection of this link has sent, for ${EARLIER_MS_MAX / 1000} s now`,
    hint: "the agent comes back by itself; if it stays so, look at the log, the disk and the database of the hub",
    retryable: true,
  });
}

function wrongCall(): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "call", message: "a call that is none here" });
}

function tooOften(refusedMs: number): SynclineError {
  return new SynclineError({
    code: "AUTH",
    op: "attach",
    message: "too many failed attempts from this address",
    hint: `wait ${Math.ceil(refusedMs / 1000)} s, and check the join token and the certificate`,
    retryable: true,
  });
}
