/** The hub's end of one agent's control channel. */
import { type ErrorCode, SynclineError } from "#model/error.ts";
import type { Principal } from "#access/access.ts";
import type { Clock } from "#platform/host.ts";
import {
  CONFLICTS_VERSION,
  CONTROL_VERSION,
  SUPPLY_VERSION,
  type FromAgent,
  type FromHub,
  decodeFromAgent,
  encodeControl,
} from "#hub/agents/control.ts";
import { DEPENDENCIES_MAX, type Dependency } from "#hub/agents/dependencies.ts";
import { type HostAuthority, requestOf } from "#hub/agents/enrol.ts";
import type { LeftConflicts } from "#hub/agents/left-conflicts.ts";
import { type AssignedLink, type DeclaredLink, IGNORE_CHARS_MAX } from "#hub/agents/link.ts";
import type { LinkDigests } from "#hub/agents/link-digests.ts";
import type { CarriedApprovals } from "#hub/agents/carried-approvals.ts";
import type { PresenceTable } from "#hub/agents/presence.ts";
import type { AgentRegistry } from "#hub/agents/registry.ts";
import type { Link } from "#hub/agents/registry-rows.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

/** Of the control protocol, from which on agents know `rescan`. */
const RESCAN_VERSION = 2;

/** What of a space its links begin with. */
export type SpaceFacts = { readonly id: number; readonly seeds: Uint8Array; readonly ignore: readonly string[] };

/** Says something to people; static message, facts in fields. */
export type AgentLog = (message: string, fields: Readonly<Record<string, string | number>>) => void;

export type ControlContext = {
  readonly principal: Principal;
  /** That it came with, and its serial number. */
  readonly certificate: Uint8Array;
  readonly serial: string;
  readonly address: string;
  readonly registry: AgentRegistry;
  readonly presence: PresenceTable;
  readonly digests: LinkDigests;
  readonly authority: HostAuthority;
  readonly carried: CarriedApprovals;
  readonly mayDeclare: (host: string, link: DeclaredLink) => boolean;
  /** @throws {SynclineError} SPACE_UNKNOWN, DENIED; said to the agent as the link's trouble */
  readonly resolveSpace: (who: Principal, link: Link) => Promise<SpaceFacts>;
  readonly clock: Clock;
  readonly log: AgentLog;
};

/** Questions to one agent at a time, and how long it may take with the answer. */
const ASKS_MAX = 8;
const ASK_MS_MAX = 20_000;

/** A question that waits for its answer, which may come in parts. */
type Asked = {
  readonly onAnswer: (message: FromAgent) => void;
  readonly reject: (error: Error) => void;
};

export class ControlSession {
  readonly host: string;
  readonly #channel: MuxChannel;
  readonly #context: ControlContext;
  #greeted = false;
  /** Of the agent's hello; 0 before it. */
  #version = 0;
  /** Asked for and not answered, by job. */
  readonly #rescans = new Map<number, PromiseWithResolvers<string | null>>();
  /** Of its hello. */
  #links: readonly DeclaredLink[] = [];
  #assigned = "";
  #assigning: Promise<void> = Promise.resolve();
  readonly #asks = new Map<number, Asked>();
  #lastAsk = 0;

  constructor(channel: MuxChannel, context: ControlContext) {
    this.#channel = channel;
    this.#context = context;
    this.host = context.principal.name;
  }

  /** Serves until the agent has gone. Throws what it did wrong; the agent is told by the channel. */
  async run(): Promise<void> {
    try {
      await this.#serve();
    } finally {
      for (const asked of this.#rescans.values()) asked.reject(hostAway(this.host));
    }
  }

  async #serve(): Promise<void> {
    const { registry } = this.#context;
    registry.onLinks((host) => {
      if (host === undefined || host === this.host) void this.assign();
    }, this.#channel.signal);
    for (;;) {
      const bytes = await this.#channel.receive();
      if (bytes === undefined) return this.#channel.end();
      const message = decodeFromAgent(bytes);
      if (!this.#greeted && message.type !== "hello") {
        throw new SynclineError({ code: "PROTOCOL", op: "control", message: "a control channel begins with hello" });
      }
      await this.#handle(message);
    }
  }

  /** Tells the agent to carry out the plan that a person approved. */
  approve(link: string, hash: string): void {
    this.#send({ type: "approve", link, hash });
  }

  /**
   * Has the agent look at everything below the root of a link; resolves when it has.
   * @throws {SynclineError} LINK_LOST (retryable) when it goes meanwhile, UNSUPPORTED, STATE with what is in its way
   */
  async rescan(link: string, job: number, signal: AbortSignal): Promise<void> {
    this.#requireVersion(RESCAN_VERSION);
    signal.throwIfAborted();
    this.#send({ type: "rescan", link, job });
    const asked = Promise.withResolvers<string | null>();
    const abort = (): void => asked.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#rescans.set(job, asked);
    try {
      const trouble = await asked.promise;
      if (trouble !== null) throw inTheWay(this.host, trouble);
    } finally {
      this.#rescans.delete(job);
      signal.removeEventListener("abort", abort);
    }
  }

  /**
   * What the dependencies of a project are, as its agent reads them now.
   * @throws {SynclineError} LIMIT, LINK_LOST (retryable), NOT_FOUND with what the agent says
   */
  dependencies(link: string, project: string): Promise<Dependency[]> {
    const items: Dependency[] = [];
    return this.#ask((ask) => ({ type: "dependencies", ask, link, project }), (message, { resolve, reject }) => {
      if (message.type !== "dependencies") return;
      const { fault, isLast } = message;
      items.push(...message.items);
      if (items.length > DEPENDENCIES_MAX) reject(askFault("LIMIT", `more than ${DEPENDENCIES_MAX} dependencies`));
      else if (fault !== null) reject(askFault("NOT_FOUND", `${this.host}: ${fault}`));
      else if (isLast) resolve(items);
    });
  }

  /**
   * Conflicts that a link has left open.
   * @throws {SynclineError} LIMIT, LINK_LOST (retryable), UNSUPPORTED
   */
  conflicts(link: string): Promise<LeftConflicts> {
    this.#requireVersion(CONFLICTS_VERSION);
    return this.#ask((ask) => ({ type: "conflicts", ask, link }), (message, { resolve }) => {
      if (message.type === "conflicts") resolve({ conflicts: message.conflicts, total: message.total });
    });
  }

  /**
   * A person has decided about a conflict; resolves when the agent has taken it, which then begins a session.
   * @throws {SynclineError} LIMIT, LINK_LOST (retryable), UNSUPPORTED; NOT_FOUND, STALE of the agent
   */
  resolve(decision: Omit<FromHub & { type: "resolve" }, "type" | "ask">): Promise<void> {
    this.#requireVersion(CONFLICTS_VERSION);
    return this.#ask((ask) => ({ type: "resolve", ask, ...decision }), (message, { resolve, reject }) => {
      if (message.type !== "resolved") return;
      if (message.trouble === null) resolve();
      else reject(askFault(message.trouble.code, `${this.host}: ${message.trouble.message}`));
    });
  }

  #requireVersion(version: number): void {
    if (!this.#greeted || this.#channel.failure !== undefined) throw hostAway(this.host);
    if (this.#version < version) throw tooOld(this.host);
  }

  async #ask<T>(
    message: (ask: number) => FromHub,
    onAnswer: (answer: FromAgent, outcome: Pick<PromiseWithResolvers<T>, "resolve" | "reject">) => void,
  ): Promise<T> {
    if (this.#asks.size >= ASKS_MAX) throw askFault("LIMIT", `${this.host} is being asked already`, true);
    const ask = ++this.#lastAsk;
    const outcome = Promise.withResolvers<T>();
    this.#send(message(ask));
    this.#asks.set(ask, { onAnswer: (answer) => onAnswer(answer, outcome), reject: outcome.reject });
    const end = new AbortController();
    const late = askFault("LINK_LOST", `${this.host} has not answered`, true);
    void this.#context.clock
      .sleep(ASK_MS_MAX, AbortSignal.any([end.signal, this.#channel.signal]))
      .then(() => outcome.reject(late), () => outcome.reject(late));
    try {
      return await outcome.promise;
    } finally {
      this.#asks.delete(ask);
      end.abort();
    }
  }

  /** What a person wants of a link; it is done, or not, by what the next heartbeats say. */
  ask(message: FromHub & { type: "rollback" | "resume" }): void {
    this.#send(message);
  }

  /** Asks the agent for a part of a file. False: it cannot be asked. */
  supply(part: Omit<FromHub & { type: "supply" }, "type">): boolean {
    if (this.#version < SUPPLY_VERSION || this.#channel.failure !== undefined) return false;
    this.#send({ type: "supply", ...part });
    return true;
  }

  async #handle(message: FromAgent): Promise<void> {
    switch (message.type) {
      case "hello":
        return this.#hello(message);
      case "heartbeat":
        return this.#heartbeat(message);
      case "hold":
        return this.#hold(message);
      case "dependencies":
      case "conflicts":
      case "resolved":
        return this.#asks.get(message.ask)?.onAnswer(message);
      case "renew":
        return this.#renew(message);
      case "rescanned":
        return this.#rescans.get(message.job)?.resolve(message.trouble);
    }
  }

  async #hello({ version, program, platform, links }: FromAgent & { type: "hello" }): Promise<void> {
    const { registry, serial, log } = this.#context;
    if (this.#greeted) throw new SynclineError({ code: "PROTOCOL", op: "control", message: "a second hello" });
    this.#greeted = true;
    this.#version = version;
    this.#links = links;
    await registry.greeted(this.host, serial, program, platform);
    await this.declare();
    log("agent is here", { host: this.host, program, links: links.length });
    this.#assigned = "";
    await this.assign();
    for (const hold of await registry.held.all()) {
      if (hold.host === this.host && hold.approvedMs !== undefined) this.approve(hold.link, hold.plan.hash);
    }
  }

  /** Gives the host the links that it wants itself, as far as it may have them now. */
  async declare(): Promise<void> {
    if (!this.#greeted || this.#channel.failure !== undefined) return;
    const { registry, mayDeclare, log } = this.#context;
    const allowed = this.#links.filter((link) => mayDeclare(this.host, link));
    const refused = this.#links.length - allowed.length;
    if (refused > 0) log("links were not allowed", { host: this.host, refused });
    await registry.declare(this.host, allowed);
  }

  /** Sends the host's links when they are other than what was sent last. Calls queue up. */
  assign(): Promise<void> {
    this.#assigning = this.#assigning.then(() => this.#assignNow()).catch((error: unknown) => {
      this.#context.log("links could not be assigned", { host: this.host, reason: String(error).slice(0, 300) });
    });
    return this.#assigning;
  }

  async #assignNow(): Promise<void> {
    if (!this.#greeted || this.#channel.failure !== undefined) return;
    const { registry, resolveSpace, principal } = this.#context;
    const links: AssignedLink[] = [];
    for (const link of registry.linksOf(this.host)) {
      const { id, root, space, prefix, settings, enabled, generation } = link;
      const found = await resolveSpace(principal, link).catch((error: unknown) => error);
      const facts = isFacts(found) ? usableFacts(found) : troubleOf(found);
      if (isFacts(found)) await registry.bindSpace(link, found.id);
      links.push({ id, root, space, prefix, settings, enabled, generation, ...facts });
    }
    const message: FromHub = { type: "assign", version: CONTROL_VERSION, links };
    const text = JSON.stringify(message);
    if (text === this.#assigned) return;
    this.#send(message);
    this.#assigned = text;
  }

  async #heartbeat({ links, sentMs }: FromAgent & { type: "heartbeat" }): Promise<void> {
    const { registry, presence, digests, carried, clock } = this.#context;
    const own = registry.linksOf(this.host);
    const mine = new Set(own.map(({ id }) => id));
    const known = links.filter(({ id }) => mine.has(id));
    presence.heartbeat(this.host, known, sentMs, clock.monotonicMs(), clock.nowMs());
    digests.heard(this.host, own, known);
    for (const state of known) {
      if (state.stored !== null) {
        const { session, epoch, sequence } = state.stored;
        registry.marks.acknowledge(state.id, this.host, { session, epoch, acknowledged: sequence });
      }
      // Between its start and its first complete cycle an agent does not know yet whether it holds something.
      const isDone = state.holdHash === null && state.phase === "watching" && state.syncedAgoMs !== null;
      if (!isDone) continue;
      await registry.held.release(state.id, this.host);
      carried.released(state.id, this.host);
    }
    // A space that was made, changed or deleted meanwhile.
    await this.assign();
  }

  async #hold({ plan }: FromAgent & { type: "hold" }): Promise<void> {
    const { registry, carried, log } = this.#context;
    const isMine = registry.linksOf(this.host).some(({ id }) => id === plan.link);
    if (!isMine) return;
    await registry.held.hold(this.host, plan);
    log("a plan is held", { host: this.host, link: plan.link, hash: plan.hash, changes: plan.total, reason: plan.reason });
    const by = await carried.approverOf(this.host, plan).catch((error: unknown) => {
      // Then it is held as any other is.
      log("approvals cannot be looked through", { host: this.host, link: plan.link, reason: String(error).slice(0, 300) });
      return undefined;
    });
    if (by !== undefined) {
      await registry.held.approve(plan.link, this.host, plan.hash, by);
      log("an approval was carried over", { host: this.host, link: plan.link, hash: plan.hash, by });
    }
    const hold = await registry.held.of(plan.link, this.host);
    // Approved before the agent was started again.
    if (hold?.approvedMs !== undefined && hold.plan.hash === plan.hash) this.approve(plan.link, plan.hash);
  }

  async #renew({ publicKey, proof }: FromAgent & { type: "renew" }): Promise<void> {
    const { authority, certificate, address, log } = this.#context;
    try {
      const issued = await authority.renew(certificate, requestOf(this.host, publicKey, proof), { address });
      log("certificate renewed", { host: this.host });
      this.#send({ type: "certificate", certificate: issued.certificate, ca: authority.ca });
    } catch (error) {
      if (!(error instanceof SynclineError)) throw error;
      this.#send({ type: "refused", what: "renew", message: error.message.slice(0, 2000) });
    }
  }

  #send(message: FromHub): void {
    if (this.#channel.failure !== undefined) return;
    // What cannot be sent any more is said anew to the next connection.
    void Promise.resolve(this.#channel.send(encodeControl(message))).catch(() => undefined);
  }
}

/** An agent that is not connected; jobs that need it try again. */
export function hostAway(host: string): SynclineError {
  return new SynclineError({
    code: "LINK_LOST",
    op: "ask host",
    message: `the host ${host} is away`,
    hint: `see since when: syncline agents ${host}`,
    retryable: true,
  });
}

function askFault(code: ErrorCode, message: string, retryable = false): SynclineError {
  return new SynclineError({ code, op: "ask agent", message, retryable });
}

function tooOld(host: string): SynclineError {
  const hint = "update the program on that host";
  return new SynclineError({ code: "UNSUPPORTED", op: "ask agent", message: `the agent of ${host} is too old for it`, hint });
}

function inTheWay(host: string, trouble: string): SynclineError {
  const hint = `syncline agents ${host} --verbose`;
  return new SynclineError({ code: "STATE", op: "rescan", message: `${host} says: ${trouble}`, hint });
}

const isFacts = (found: unknown): found is SpaceFacts => !(found instanceof Error);

type Usable = Pick<AssignedLink, "seeds" | "spaceIgnore" | "trouble">;

function usableFacts({ seeds, ignore }: SpaceFacts): Usable {
  if (ignore.join("\n").length > IGNORE_CHARS_MAX) {
    const trouble = `the space's ignore rules have more than ${IGNORE_CHARS_MAX} characters`;
    return { seeds: null, spaceIgnore: [], trouble };
  }
  return { seeds: Buffer.from(seeds).toString("hex"), spaceIgnore: [...ignore], trouble: null };
}

function troubleOf(error: unknown): Usable {
  if (!(error instanceof SynclineError)) throw error;
  return { seeds: null, spaceIgnore: [], trouble: error.message.slice(0, 1000) };
}
