/** The hub's end of one agent's control channel. */
import { SynclineError } from "#model/error.ts";
import type { Principal } from "#access/access.ts";
import type { Clock } from "#platform/host.ts";
import {
  CONTROL_VERSION,
  SUPPLY_VERSION,
  type FromAgent,
  type FromHub,
  decodeFromAgent,
  encodeControl,
} from "#hub/agents/control.ts";
import { type HostAuthority, requestOf } from "#hub/agents/enrol.ts";
import { type AssignedLink, type DeclaredLink, IGNORE_CHARS_MAX } from "#hub/agents/link.ts";
import type { LinkDigests } from "#hub/agents/link-digests.ts";
import type { PresenceTable } from "#hub/agents/presence.ts";
import type { AgentRegistry, Link } from "#hub/agents/registry.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

/** What of a space its links begin with. */
export type SpaceFacts = { readonly seeds: Uint8Array; readonly ignore: readonly string[] };

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
  readonly mayDeclare: (host: string, link: DeclaredLink) => boolean;
  /** @throws {SynclineError} SPACE_UNKNOWN, DENIED; said to the agent as the link's trouble */
  readonly resolveSpace: (who: Principal, link: Link) => Promise<SpaceFacts>;
  readonly clock: Clock;
  readonly log: AgentLog;
};

export class ControlSession {
  readonly host: string;
  readonly #channel: MuxChannel;
  readonly #context: ControlContext;
  #greeted = false;
  /** Of the agent's hello; 0 before it. */
  #version = 0;
  #assigned = "";
  #assigning: Promise<void> = Promise.resolve();

  constructor(channel: MuxChannel, context: ControlContext) {
    this.#channel = channel;
    this.#context = context;
    this.host = context.principal.name;
  }

  /** Serves until the agent has gone. Throws what it did wrong; the agent is told by the channel. */
  async run(): Promise<void> {
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
      case "renew":
        return this.#renew(message);
    }
  }

  async #hello({ version, program, platform, links }: FromAgent & { type: "hello" }): Promise<void> {
    const { registry, serial, log } = this.#context;
    if (this.#greeted) throw new SynclineError({ code: "PROTOCOL", op: "control", message: "a second hello" });
    this.#greeted = true;
    this.#version = version;
    await registry.greeted(this.host, serial, program, platform);
    const allowed = links.filter((link) => this.#context.mayDeclare(this.host, link));
    if (allowed.length < links.length) log("links were not allowed", { host: this.host, refused: links.length - allowed.length });
    await registry.declare(this.host, allowed);
    log("agent is here", { host: this.host, program, links: links.length });
    this.#assigned = "";
    await this.assign();
    for (const hold of await registry.holds()) {
      if (hold.host === this.host && hold.approvedMs !== undefined) this.approve(hold.link, hold.plan.hash);
    }
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
      const facts = await resolveSpace(principal, link).then(usableFacts, troubleOf);
      links.push({ id, root, space, prefix, settings, enabled, generation, ...facts });
    }
    const message: FromHub = { type: "assign", version: CONTROL_VERSION, links };
    const text = JSON.stringify(message);
    if (text === this.#assigned) return;
    this.#send(message);
    this.#assigned = text;
  }

  async #heartbeat({ links, sentMs }: FromAgent & { type: "heartbeat" }): Promise<void> {
    const { registry, presence, digests, clock } = this.#context;
    const own = registry.linksOf(this.host);
    const mine = new Set(own.map(({ id }) => id));
    const known = links.filter(({ id }) => mine.has(id));
    presence.heartbeat(this.host, known, sentMs, clock.monotonicMs(), clock.nowMs());
    digests.heard(this.host, own, known);
    for (const state of known) {
      if (state.stored !== null) {
        const { session, epoch, sequence } = state.stored;
        registry.acknowledge(state.id, this.host, { session, epoch, acknowledged: sequence });
      }
      // Between its start and its first complete cycle an agent does not know yet whether it holds something.
      const isDone = state.holdHash === null && state.phase === "watching" && state.syncedAgoMs !== null;
      if (isDone) await registry.releaseHold(state.id, this.host);
    }
    // A space that was made, changed or deleted meanwhile.
    await this.assign();
  }

  async #hold({ plan }: FromAgent & { type: "hold" }): Promise<void> {
    const { registry, log } = this.#context;
    const isMine = registry.linksOf(this.host).some(({ id }) => id === plan.link);
    if (!isMine) return;
    await registry.holdPlan(this.host, plan);
    log("a plan is held", { host: this.host, link: plan.link, hash: plan.hash, changes: plan.total, reason: plan.reason });
    const hold = await registry.hold(plan.link, this.host);
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
