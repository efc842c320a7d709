/** The agent: joins its hub once, and then keeps the links that the hub assigns to this host, whether it is there or not. */
import { X509Certificate } from "node:crypto";
import { KEY_REVOKED } from "#access/possession.ts";
import { SynclineError, asError } from "#model/error.ts";
import { fingerprintOf } from "#platform/net/tls-socket.ts";
import type { Host } from "#platform/host.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { RemoteEndpoint } from "#sync/endpoint/remote-endpoint.ts";
import { Turns } from "#sync/endpoint/turns.ts";
import type { Store } from "#sync/index/store.ts";
import type { Mux } from "#sync/wire/mux.ts";
import { AGENT_ROOT, type FromAgent, type FromHub, LINK_ROOT, SUPPLY_METHOD } from "#hub/agents/control.ts";
import { supplyPart } from "#agent/supply.ts";
import type { AssignedLink, DeclaredLink } from "#hub/agents/link.ts";
import { ControlClient } from "#agent/control-client.ts";
import { type HubAddress, type HubEnds, askHub, connect, enrol } from "#agent/hub-client.ts";
import type { Hooks } from "#agent/hooks.ts";
import {
  type AgentIdentity,
  ageOf,
  certificateRequest,
  ownKey,
  readIdentity,
  requireFits,
  writeIdentity,
} from "#agent/identity.ts";
import { type AgentLog, type LinkContext, rootsOf } from "#agent/link-context.ts";
import type { SpanSink } from "#agent/link-traces.ts";
import { LinkRunner } from "#agent/link-runner.ts";
import { holdDataDir } from "#agent/only-agent.ts";

/** While it cannot join because the hub is away. */
const JOIN_AGAIN_MS = 2000;
/** A renewal that was refused or got no answer is asked for again. */
const RENEW_AGAIN_MS = 60 * 60_000;

/** What of the options may change while the agent runs. */
export type Reloadable = Pick<AgentOptions, "links" | "ignore" | "hooks" | "mayInstall">;

export type AgentOptions = {
  readonly address: HubAddress;
  readonly name: string;
  readonly dataDir: string;
  /** Reads the join token; called only while there is no certificate. */
  readonly joinToken: () => string;
  readonly fingerprint: string | undefined;
  readonly acceptNew: boolean;
  /** Links of the command line and configuration. */
  readonly links: readonly DeclaredLink[];
  /** gitignore-style lines of this host, for all links. */
  readonly ignore: readonly string[];
  /** Around each batch, in all links. */
  readonly hooks: Hooks;
  /** May links have commands run that install what manifests in them ask for? */
  readonly mayInstall: boolean;
  /** Calls back with what has changed in the configuration, until the signal. */
  readonly onReload: (listener: (next: Reloadable) => void, signal: AbortSignal) => void;
  readonly host: Host;
  readonly program: string;
  /** System and processor, for people. */
  readonly platform: string;
  readonly openRoot: (path: string) => Endpoint;
  /** Opens a database below the data directory. */
  readonly openState: (name: string) => Store;
  readonly hash: (text: string, digits: number) => string;
  readonly installation: string;
  /** Undefined: nobody wants spans. */
  readonly spans?: SpanSink | undefined;
  readonly log: AgentLog;
};

/**
 * Runs until the signal.
 * @throws {SynclineError} AUTH, TRUST, USAGE when it may not join; STATE when its identity cannot be read; ROOT_BUSY
 */
export async function runAgent(options: AgentOptions, signal: AbortSignal): Promise<void> {
  const release = holdDataDir(options.host.fs, options.dataDir);
  try {
    // Not before: of two that begin at once one would write its key over that with which the other joins.
    const key = ownKey(options.dataDir);
    const identity = await join(options, key, signal);
    if (identity !== undefined) await new Agent(options, key, identity).run(signal);
  } finally {
    release();
  }
}

/** The identity that is kept, or a new one. Waits for a hub that is away. Undefined: aborted. */
async function join(options: AgentOptions, key: string, signal: AbortSignal): Promise<AgentIdentity | undefined> {
  const { dataDir, address, name, fingerprint, acceptNew, host, program, log } = options;
  const kept = readIdentity(dataDir);
  if (kept !== undefined && kept.name !== name) {
    throw new SynclineError({
      code: "USAGE",
      op: "join hub",
      message: `this agent has joined as ${kept.name}, not as ${name}`,
      hint: `give --name ${kept.name}, or another --data directory`,
    });
  }
  if (kept !== undefined && ageOf(kept.certificate, host.clock.nowMs()) !== "over") return kept;
  const token = options.joinToken();
  let told = "";
  while (!signal.aborted) {
    try {
      // What was pinned stays pinned, also when the certificate is over.
      const pinned = kept === undefined ? fingerprint : fingerprintOf(new X509Certificate(kept.ca));
      const reach = { program, clock: host.clock };
      const identity = await enrol({ address, name, token, key, fingerprint: pinned, acceptNew, reach }, signal);
      writeIdentity(dataDir, identity);
      log("joined the hub", { name, hub: identity.hub });
      return identity;
    } catch (error) {
      if (signal.aborted) return undefined;
      if (!(error instanceof SynclineError) || !error.retryable) throw error;
      if (error.message !== told) log("hub cannot be joined yet", { reason: error.message, hint: error.hint ?? "" });
      told = error.message;
      await host.clock.sleep(JOIN_AGAIN_MS, signal).catch(() => undefined);
    }
  }
  return undefined;
}

class Agent {
  #options: AgentOptions;
  readonly #key: string;
  readonly #control: ControlClient;
  readonly #runners = new Map<string, LinkRunner>();
  /** Runners that are ending, and where they are at work until then. */
  readonly #ending = new Map<string, { readonly ended: Promise<void>; readonly roots: readonly string[] }>();
  readonly #turns: Turns;
  #identity: AgentIdentity;
  #ends: HubEnds | undefined;
  #assigned: readonly AssignedLink[] = [];
  #renewAskedMono = Number.NEGATIVE_INFINITY;
  #stopping = false;

  constructor(options: AgentOptions, key: string, identity: AgentIdentity) {
    this.#options = options;
    this.#key = key;
    this.#identity = identity;
    this.#turns = new Turns(options.host.clock);
    const { host, program, platform, log } = options;
    this.#control = new ControlClient({
      program,
      platform,
      links: () => this.#options.links,
      log,
      clock: host.clock,
      random: host.random,
      connect: (signal) => this.#connect(AGENT_ROOT, signal),
      states: () => [...this.#runners.values()].map((runner) => runner.report()),
      holds: () => [...this.#runners.values()].flatMap((runner) => runner.held ?? []),
      onMessage: (message) => this.#onMessage(message),
      request: () => this.#renewal(),
      onConnected: () => {
        for (const runner of this.#runners.values()) runner.hubIsBack();
      },
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { log, name } = this.#options;
    log("agent begins", { name, hub: this.#identity.hub });
    const end = new AbortController();
    const control = this.#control.run(end.signal);
    this.#options.onReload((next) => this.#reload(next), end.signal);
    await aborted(signal);
    this.#stopping = true;
    await Promise.all([...this.#runners.values()].map((runner) => runner.stop()));
    await Promise.all([...this.#ending.values()].map(({ ended }) => ended));
    // The last word: how far each link came.
    this.#control.heartbeat();
    end.abort();
    await control;
    log("agent has ended", { name });
  }

  /** Links are declared anew, by a new greeting; whatever else has changed holds from the next session of each link. */
  #reload(next: Reloadable): void {
    const { links, ignore, hooks, mayInstall } = this.#options;
    this.#options = { ...this.#options, ...next };
    if (JSON.stringify(next.links) !== JSON.stringify(links)) this.#control.again();
    const before = JSON.stringify([ignore, hooks, mayInstall]);
    if (JSON.stringify([next.ignore, next.hooks, next.mayInstall]) === before) return;
    for (const runner of this.#runners.values()) runner.reconfigured();
  }

  /** The address is asked for anew after it has failed: the hub may have moved. */
  async #connect(root: string, signal: AbortSignal): Promise<Mux> {
    const { address, program, host } = this.#options;
    const reach = { program, clock: host.clock };
    this.#ends ??= address.kind === "sync" ? address : await askHub(address, reach, signal);
    const { ca, certificate } = this.#identity;
    const identity = { certificate, key: this.#key };
    try {
      const { host: at, port } = this.#ends;
      return await connect({ host: at, port, ca, identity, root, ...reach }, signal);
    } catch (error) {
      const isThere = error instanceof SynclineError && (error.code === "ROOT_UNKNOWN" || error.code === "AUTH");
      if (!isThere) this.#ends = undefined;
      // Who has tried too often hears of that alone.
      if (!isThere || error.code !== "AUTH" || error.retryable) throw error;
      throw unknownHere(error, this.#options);
    }
  }

  #onMessage(message: FromHub): void {
    const { log } = this.#options;
    switch (message.type) {
      case "assign":
        this.#assigned = message.links;
        return this.#reconcile();
      case "approve":
        return this.#runners.get(message.link)?.approve(message.hash);
      case "rescan":
        return void this.#rescan(message.link, message.job);
      case "rollback":
        return void this.#runners.get(message.link)?.rollback(message.release, message.by);
      case "dependencies":
        return void this.#control
          .dependencies(message.ask, () => this.#runners.get(message.link)?.dependencies(message.project) ?? [])
          .catch((error: unknown) => log("dependencies could not be told", { link: message.link, reason: String(error).slice(0, 300) }));
      case "conflicts":
        return this.#control.conflicts(message.ask, this.#runners.get(message.link)?.conflicts());
      case "resolve":
        return this.#control.resolved(message.ask, this.#resolve(message));
      case "resume":
        return this.#runners.get(message.link)?.resume(message.by);
      case "supply":
        return this.#supply(message);
      case "certificate":
        return this.#renewed(message.certificate);
      case "refused":
        return log("the certificate was not renewed", { reason: message.message });
    }
  }

  /** What is in the way of a decision. */
  #resolve({ link, path, tag, keep, by }: FromHub & { type: "resolve" }): SynclineError | undefined {
    try {
      const runner = this.#runners.get(link);
      if (runner === undefined) throw new SynclineError({ code: "NOT_FOUND", op: "resolve conflict", message: "it has no such link" });
      runner.resolve({ path, tag, keep }, by);
      return undefined;
    } catch (error) {
      if (error instanceof SynclineError) return error;
      throw error;
    }
  }

  async #rescan(link: string, job: number): Promise<void> {
    const runner = this.#runners.get(link);
    const trouble = runner === undefined ? "it has no such link" : await runner.rescan();
    this.#control.rescanned(link, job, trouble ?? null);
  }

  /** The hub has lost a part of a file that a link has. */
  #supply({ link, ...part }: FromHub & { type: "supply" }): void {
    const { host, log } = this.#options;
    const channel = this.#control.open(SUPPLY_METHOD);
    if (channel === undefined) return;
    const runner = this.#runners.get(link);
    const root = runner?.agreesOnFile(part.path) === true ? runner.root : undefined;
    log("hub asks for a part of a file", { link, path: part.path, length: part.length, given: root === undefined ? "no" : "yes" });
    supplyPart(host.fs, root, part, channel).catch((error: unknown) => {
      channel.fail(asError(error));
    });
  }

  /** Makes the runners those that are assigned. A root that lies in another one's is refused by itself. */
  #reconcile(): void {
    if (this.#stopping) return;
    const wanted = new Map(this.#assigned.map((link) => [link.id, link]));
    for (const [id, runner] of this.#runners) {
      if (!wanted.has(id)) this.#end(id, runner);
    }
    const roots: string[] = [];
    for (const link of wanted.values()) {
      const mine = rootsOf(link);
      const other = overlapping(roots, mine);
      const trouble = other === undefined ? link.trouble : `${link.root} and ${other} overlap; one root has one link`;
      const effective = trouble === link.trouble ? link : { ...link, trouble, seeds: null };
      if (link.enabled) roots.push(...mine);
      // One root has one link: another one, of the same root and another space, begins when the one before has ended.
      const isFree = [...this.#ending.values()].every((one) => overlapping(one.roots, mine) === undefined);
      const runner = this.#runners.get(link.id);
      if (runner !== undefined) runner.update(effective);
      else if (isFree && !this.#ending.has(link.id)) this.#begin(effective);
    }
    this.#control.news();
  }

  #begin(link: AssignedLink): void {
    const { host, openRoot, openState, hash, installation, log, dataDir } = this.#options;
    const context: LinkContext = {
      host, openRoot, openState, hash, installation, log,
      configured: () => this.#options,
      turns: this.#turns,
      spans: this.#options.spans,
      stateFile: (name) => `${dataDir}/${name}`,
      openSpace: (id) =>
        new RemoteEndpoint({
          label: `hub ${link.space}/${link.prefix}`,
          clock: host.clock,
          connect: (signal) => this.#connect(`${LINK_ROOT}${id}`, signal),
        }),
      onChange: () => this.#control.news(),
      onHold: (plan) => this.#control.hold(plan),
    };
    log("link begins", { link: link.id, root: link.root, space: link.space, prefix: link.prefix, mode: link.settings.mode });
    this.#runners.set(link.id, new LinkRunner(link, context));
  }

  #end(id: string, runner: LinkRunner): void {
    const { log } = this.#options;
    this.#runners.delete(id);
    const { root, roots } = runner;
    const ended = runner.stop().then(() => {
      log("link has ended", { link: id, root });
      this.#ending.delete(id);
      // It may have been assigned again meanwhile.
      this.#reconcile();
    });
    this.#ending.set(id, { ended, roots });
  }

  #renewal(): FromAgent | undefined {
    const { clock } = this.#options.host;
    const { certificate, name } = this.#identity;
    if (ageOf(certificate, clock.nowMs()) === "valid") return undefined;
    if (clock.monotonicMs() - this.#renewAskedMono < RENEW_AGAIN_MS) return undefined;
    this.#renewAskedMono = clock.monotonicMs();
    return { type: "renew", ...certificateRequest(this.#key, name) };
  }

  #renewed(certificate: string): void {
    const { dataDir, log } = this.#options;
    requireFits(certificate, this.#key, this.#identity.ca);
    const identity = { ...this.#identity, certificate };
    writeIdentity(dataDir, identity);
    this.#identity = identity;
    log("certificate renewed", { validUntil: new X509Certificate(certificate).validTo });
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** One of the first that lies in one of the second, or the other way round. */
function overlapping(some: readonly string[], others: readonly string[]): string | undefined {
  return some.find((root) => others.some((one) => isNested(root, one)));
}

function isNested(a: string, b: string): boolean {
  const below = (x: string, y: string): boolean => x === y || x.startsWith(y.endsWith("/") ? y : `${y}/`);
  return below(a, b) || below(b, a);
}

/** What the hub says to any credentials, in the words of a host that was known there. */
function unknownHere(cause: SynclineError, { name, dataDir }: AgentOptions): SynclineError {
  const facts = { code: "AUTH", op: "connect", cause } as const;
  const files = `end the agent, remove ${dataDir}/identity.json`;
  if (cause.message === KEY_REVOKED) {
    return new SynclineError({
      ...facts,
      message: "the hub does not take the certificate of this host any more: an administrator has revoked it, and its key",
      hint: `to join anew as ${name}: ${files} and ${dataDir}/key.pem, and begin it with a new token of syncline join-token create`,
    });
  }
  return new SynclineError({
    ...facts,
    message: "the hub does not take the certificate of this host: an administrator has removed it, or its hub is another one",
    hint: `to join anew: ${files}, and begin it with --join-token-file`,
  });
}
