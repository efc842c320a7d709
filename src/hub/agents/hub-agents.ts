/**
 * Hosts, links and holds as doors and commands see them: rights are asked here, once, and every answer says how things
 * are by the hub's own clock.
 */
import type { Access, Principal, Resource } from "#access/access.ts";
import type { Actor } from "#access/audit.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, isWithin, joinPath, printablePath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type { LinkState } from "#hub/agents/control.ts";
import type { CarriedApprovals } from "#hub/agents/carried-approvals.ts";
import type { Dependency } from "#hub/agents/dependencies.ts";
import type { Keep, LeftConflict } from "#hub/agents/left-conflicts.ts";
import { NEW_LINK, checked, neverWritesSpace } from "#hub/agents/link.ts";
import type { AgentListener } from "#hub/agents/listener.ts";
import { type LinkStatus, hostStatus, lagMs, linkStatus } from "#hub/agents/presence.ts";
import type { Hold } from "#hub/agents/held-plans.ts";
import type { AgentRegistry, LinkChange } from "#hub/agents/registry.ts";
import type { AgentHost, Link } from "#hub/agents/registry-rows.ts";

/** A link on one host; a link for a label is one on each of its hosts. */
export type LinkView = {
  readonly link: Link;
  readonly host: string;
  readonly status: LinkStatus;
  /** For how long it has had something to carry over, in either direction. */
  readonly lagMs: number;
  /** Of what it said last, and how long ago that was; undefined: nothing since it was made. */
  readonly state: LinkState | undefined;
  readonly heardAgoMs: number | undefined;
};

export type HostView = AgentHost & {
  readonly status: LinkStatus;
  readonly heardAgoMs: number | undefined;
  /** The agent's wall clock minus the hub's. */
  readonly skewMs: number | undefined;
  readonly links: readonly LinkView[];
};

export type HubAgentsOptions = {
  readonly registry: AgentRegistry;
  readonly listener: AgentListener;
  readonly carried: CarriedApprovals;
  readonly access: Access;
  readonly clock: Clock;
  /** Ends what the host may do: its certificates, its name. @throws {SynclineError} NOT_FOUND */
  readonly removeIdentity: (by: Actor, host: string) => Promise<void>;
  /** Refuses what was issued to the host until now, also what the hub does not know of, and its key. */
  readonly revokeIdentity: (by: Actor, host: string) => Promise<void>;
  /** @throws {SynclineError} NOT_FOUND, USAGE */
  readonly setLabels: (by: Actor, host: string, labels: readonly string[]) => Promise<void>;
};

/** A conflict that a link has left open, by its path in the space. */
export type LeftOfLink = { readonly link: string; readonly host: string; readonly path: RelPath; readonly conflict: LeftConflict };

export type LeftInSpace = {
  readonly left: readonly LeftOfLink[];
  /** Links that have some, as far as was heard, and could not be asked. */
  readonly unanswered: readonly { readonly link: string; readonly host: string; readonly conflicts: number; readonly reason: string }[];
};

/** Agents that one question goes to. */
const LINKS_ASKED_MAX = 100;

/** Which hosts a link is for. */
type Where = { readonly host?: string | undefined; readonly selector?: string | undefined };

export class HubAgents {
  readonly #options: HubAgentsOptions;
  /** What was heard before the hub began, with the hub's wall clock then. */
  readonly #before = new Map<string, { state: LinkState; heardMs: number }>();

  private constructor(options: HubAgentsOptions) {
    this.#options = options;
  }

  static async open(options: HubAgentsOptions): Promise<HubAgents> {
    const agents = new HubAgents(options);
    for (const { link, host, state, heardMs } of await options.registry.heard()) {
      agents.#before.set(`${host} ${link}`, { state, heardMs });
    }
    return agents;
  }

  /** Those that the caller may read, by name. */
  hosts(who: Principal): HostView[] {
    const { registry } = this.#options;
    return registry.hosts().filter((host) => this.mayRead(who, host)).map((host) => this.#view(host));
  }

  /** Of a host that has joined, whether it was heard yet or not. */
  mayRead(who: Principal, host: Pick<AgentHost, "name" | "labels">): boolean {
    return this.#options.access.decide(who, "read", resourceOf(host)).allowed;
  }

  /** @throws {SynclineError} NOT_FOUND, also for one that the caller may not read */
  host(who: Principal, name: string): HostView {
    return this.#view(this.#readable(who, name));
  }

  /**
   * Its certificates and its own links go; its files stay. Also when a crash has left only one half of it.
   * @param by whom the audit log names
   * @throws {SynclineError} NOT_FOUND, DENIED
   */
  async removeHost(who: Principal, name: string, by: Actor = { id: who.id }): Promise<void> {
    const { registry, listener, access, removeIdentity, revokeIdentity } = this.#options;
    const isKnown = registry.host(name) !== undefined;
    access.require(who, "manage", isKnown ? resourceOf(this.#readable(who, name)) : this.#resourceOfHost(name));
    try {
      await removeIdentity(by, name);
    } catch (error) {
      const isGone = error instanceof SynclineError && error.code === "NOT_FOUND";
      if (!isGone || !isKnown) throw error;
      // It joined after the day that the hub was put back to, and has a certificate all the same.
      await revokeIdentity(by, name);
    }
    await registry.removeHost(name);
    listener.presence.forget(name);
    listener.digests.forget(name);
  }

  /**
   * Its certificates and its key are refused from now on, and its connections end; its labels and links wait for it until
   * it joins anew, with another key and a join token that was made since.
   * @param by whom the audit log names
   * @throws {SynclineError} NOT_FOUND, DENIED
   */
  async revokeHost(who: Principal, name: string, by: Actor = { id: who.id }): Promise<void> {
    const { access, listener, revokeIdentity } = this.#options;
    access.require(who, "manage", resourceOf(this.#readable(who, name)));
    await revokeIdentity(by, name);
    // However well it was a moment ago, nothing more is heard of it.
    listener.presence.forget(name);
  }

  /**
   * Links for labels begin and end on the host at once. A rule that is for some labels alone allows nobody to change
   * them, because that would change whom it is for; what a rule forbids for a label, it forbids before and after.
   * @param by whom the audit log names
   * @throws {SynclineError} NOT_FOUND, DENIED, USAGE
   */
  async setLabels(who: Principal, name: string, labels: readonly string[], by: Actor = { id: who.id }): Promise<HostView> {
    const { registry, access, setLabels } = this.#options;
    for (const held of [[], registry.host(name)?.labels ?? [], labels]) {
      access.require(who, "manage", { type: "host", host: name, labels: held });
    }
    await setLabels(by, name, labels);
    return this.#view(await registry.setLabels(name, labels));
  }

  /** Links of hosts that the caller may read; those for labels once for each host. Oldest first. */
  links(who: Principal): LinkView[] {
    return this.hosts(who)
      .flatMap(({ links }) => links)
      .toSorted((a, b) => a.link.createdMs - b.link.createdMs || (a.host < b.host ? -1 : 1));
  }

  /** Definitions, whether a host has them or not, of those hosts and labels that the caller may read. Oldest first. */
  definitions(who: Principal): Link[] {
    const { registry, access } = this.#options;
    return registry.links().filter((link) => access.decide(who, "read", this.#resourceOfLink(link)).allowed);
  }

  /**
   * Who makes a link lends the host what it may do itself: it must have the space's rights that the link gives.
   * @throws {SynclineError} USAGE, DENIED, EXISTS, LIMIT
   */
  async createLink(who: Principal, value: unknown): Promise<Link> {
    const link = checked(NEW_LINK, value, "link");
    this.#mayLink(who, link);
    return this.#options.registry.createLink(value);
  }

  /** @throws {SynclineError} NOT_FOUND, DENIED, USAGE */
  async updateLink(who: Principal, id: string, change: LinkChange): Promise<Link> {
    this.#mayLink(who, this.#link(who, id));
    // In its turn: another change before it may have led the link to where this one must not make it write.
    return this.#options.registry.updateLink(id, change, (before, after) => {
      for (const link of [before, after]) this.#mayLink(who, link);
    });
  }

  /** @throws {SynclineError} NOT_FOUND, DENIED */
  async removeLink(who: Principal, id: string): Promise<void> {
    this.#mayManage(who, this.#link(who, id));
    await this.#options.registry.removeLink(id);
  }

  /** Plans that wait, of hosts that the caller may read; longest first. */
  async holds(who: Principal): Promise<Hold[]> {
    const { registry, access } = this.#options;
    const holds = await registry.held.all();
    return holds.filter(({ host }) => access.decide(who, "read", this.#resourceOfHost(host)).allowed);
  }

  /**
   * Lets exactly the plan of that hash be carried out: at once when the host is here, otherwise when it comes. Its
   * deletions are then approved on other hosts, too (carried-approvals.ts).
   * @throws {SynclineError} DENIED, NOT_FOUND, STALE when another plan is held there by now
   */
  async approve(who: Principal, link: string, host: string, hash: string): Promise<Hold> {
    const { registry, listener, carried, access } = this.#options;
    access.require(who, "approve", resourceOf(this.#readable(who, host)));
    const hold = await registry.held.approve(link, host, hash, who.id);
    // First what is to be carried over: when it is committed it must be known.
    try {
      listener.carriedOver(await carried.approved(who, hold));
    } finally {
      listener.approved(link, host, hash);
    }
    return hold;
  }

  /**
   * Has a link on one host show an earlier release and stay there. What becomes of it is in its state.
   * @param release undefined: the one before the one that is shown
   * @throws {SynclineError} DENIED, NOT_FOUND, USAGE, LINK_LOST when the host is not here
   */
  rollback(who: Principal, id: string, host: string, release: string | undefined): LinkView {
    const view = this.#linkOf(who, id, host);
    const releases = view.state?.releases ?? undefined;
    if (releases === undefined) {
      throw new SynclineError({
        code: "USAGE", op: "roll back", message: `link ${id} makes no releases on ${host}`,
        hint: "its space can be brought back: syncline restore SPACE --to POINT",
      });
    }
    if (releases.names.length < 2 || (release !== undefined && !releases.names.includes(release))) {
      const message = release === undefined ? `${host} has no earlier release` : `${host} has no release ${release.slice(0, 60)}`;
      throw new SynclineError({ code: "NOT_FOUND", op: "roll back", message, hint: `syncline release list ${id} ${host}` });
    }
    this.#ask(host, { type: "rollback", link: id, release: release ?? null, by: who.id });
    return view;
  }

  /**
   * What a project of a link resolves to on a host, asked of its agent now.
   * @throws {SynclineError} NOT_FOUND, LIMIT, LINK_LOST when the host is not here
   */
  async dependencies(who: Principal, id: string, host: string, project: string): Promise<Dependency[]> {
    const known = this.#readable(who, host);
    const view = this.#view(known).links.find(({ link }) => link.id === id);
    if (view?.link.settings.install.includes(project) === true) {
      return this.#options.listener.control(host).dependencies(id, project);
    }
    throw new SynclineError({
      code: "NOT_FOUND", op: "find project", message: `link ${id.slice(0, 40)} on ${host} watches no ${project.slice(0, 100)}`,
      hint: "its key install names the projects that it watches",
    });
  }

  /**
   * Conflicts that links have left open below a path of a space, asked of their agents now; those of hosts and paths that
   * the caller may read. Links whose agents do not answer are named with the reason.
   */
  async leftConflicts(who: Principal, space: string, below: RelPath): Promise<LeftInSpace> {
    const views = this.links(who).filter(({ link, state }) => link.space === space && (state?.conflicts ?? 0) > 0);
    const near = views.filter(({ link }) => isWithin(link.prefix, below) || isWithin(below, link.prefix));
    const left: LeftOfLink[] = [];
    const unanswered: LeftInSpace["unanswered"][number][] = [];
    await Promise.all(
      near.slice(0, LINKS_ASKED_MAX).map(async ({ link, host, state }) => {
        try {
          const { conflicts } = await this.#options.listener.control(host).conflicts(link.id);
          for (const conflict of conflicts) {
            const path = joinPath(link.prefix, conflict.path);
            if (isWithin(path, below) && this.#mayReadPath(who, space, path)) left.push({ link: link.id, host, path, conflict });
          }
        } catch (error) {
          if (!(error instanceof SynclineError)) throw error;
          unanswered.push({ link: link.id, host, conflicts: state!.conflicts, reason: error.message });
        }
      }),
    );
    left.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.host < b.host ? -1 : 1));
    for (const { link, host, state } of near.slice(LINKS_ASKED_MAX)) {
      unanswered.push({ link: link.id, host, conflicts: state!.conflicts, reason: "too many links at once: ask below a path" });
    }
    return { left, unanswered };
  }

  #mayReadPath(who: Principal, space: string, path: RelPath): boolean {
    return this.#options.access.decide(who, "read", { type: "space", space, path }).allowed;
  }

  /**
   * A decision about a conflict that a link has left open: its agent carries it out in its next session. Who decides must
   * be one who may let plans of that host be carried out, and write the space there.
   * @param decision path in the space
   * @throws {SynclineError} DENIED, NOT_FOUND, STALE, UNSUPPORTED, LINK_LOST when the host is not here
   */
  async resolveLeft(
    who: Principal,
    id: string,
    host: string,
    { path, tag, keep }: { readonly path: RelPath; readonly tag: string; readonly keep: Keep },
  ): Promise<void> {
    const { access, listener } = this.#options;
    const known = this.#readable(who, host);
    access.require(who, "approve", resourceOf(known));
    const link = this.#view(known).links.find((one) => one.link.id === id)?.link;
    if (link === undefined) throw noLink(host, id);
    const resource: Resource = { type: "space", space: link.space, path, isTree: true };
    access.require(who, "read", resource);
    access.require(who, "write", resource);
    if (path === link.prefix || !isWithin(path, link.prefix)) {
      const message = `${printablePath(path.slice(0, 200))} is not in link ${id.slice(0, 40)}`;
      throw new SynclineError({ code: "NOT_FOUND", op: "resolve conflict", message });
    }
    const inner = link.prefix === "" ? path : path.slice(link.prefix.length + 1);
    await listener.control(host).resolve({ link: id, path: inner, tag, keep, by: who.id });
  }

  /** Lets a paused link go on. @throws {SynclineError} DENIED, NOT_FOUND, LINK_LOST when the host is not here */
  resume(who: Principal, id: string, host: string): LinkView {
    const view = this.#linkOf(who, id, host);
    this.#ask(host, { type: "resume", link: id, by: who.id });
    return view;
  }

  #linkOf(who: Principal, id: string, host: string): LinkView {
    const known = this.#readable(who, host);
    this.#options.access.require(who, "manage", resourceOf(known));
    const view = this.#view(known).links.find(({ link }) => link.id === id);
    if (view !== undefined) return view;
    throw noLink(host, id);
  }

  #ask(host: string, message: Parameters<AgentListener["ask"]>[1]): void {
    if (this.#options.listener.ask(host, message)) return;
    throw new SynclineError({
      code: "LINK_LOST", op: "ask agent", message: `the agent on ${host} is not here`, retryable: true,
      hint: `start it; for a link with releases, on ${host} itself: syncline release ${message.type} ROOT`,
    });
  }

  #readable(who: Principal, name: string): AgentHost {
    const host = this.#options.registry.host(name);
    if (host !== undefined && this.mayRead(who, host)) return host;
    throw new SynclineError({ code: "NOT_FOUND", op: "find host", message: `there is no host "${name.slice(0, 63)}"` });
  }

  /** Who has nothing to do with it is not told whether there is one. */
  #link(who: Principal, id: string): Link {
    const { registry, access } = this.#options;
    const link = registry.link(id);
    const may = (action: "read" | "manage"): boolean => access.decide(who, action, this.#resourceOfLink(link!)).allowed;
    if (link !== undefined && (may("read") || may("manage"))) return link;
    throw new SynclineError({ code: "NOT_FOUND", op: "find link", message: `there is no link ${id.slice(0, 40)}` });
  }

  #mayLink(who: Principal, link: Where & Pick<Link, "space" | "prefix" | "settings">): void {
    const { access } = this.#options;
    this.#mayManage(who, link);
    // The host gets all of it: who may not see a part of that cannot lend it.
    const space: Resource = { type: "space", space: link.space, path: link.prefix, isTree: true };
    access.require(who, "read", space);
    if (!neverWritesSpace(link.settings)) access.require(who, "write", space);
  }

  /** A link for a label is also one of each host that has the label now, which may have others that a rule forbids. */
  #mayManage(who: Principal, link: Where): void {
    const { registry, access } = this.#options;
    access.require(who, "manage", this.#resourceOfLink(link));
    if (link.host !== undefined || link.selector === undefined) return;
    for (const host of registry.hosts()) {
      if (host.labels.includes(link.selector)) access.require(who, "manage", resourceOf(host));
    }
  }

  #resourceOfLink({ host, selector }: Where): Resource {
    if (host !== undefined) return this.#resourceOfHost(host);
    // It may become a link of any host with that label.
    return { type: "host", host: "*", labels: selector === undefined ? [] : [selector] };
  }

  #resourceOfHost(name: string): Resource {
    return { type: "host", host: name, labels: this.#options.registry.host(name)?.labels ?? [] };
  }

  #view(host: AgentHost): HostView {
    const { registry, listener, clock } = this.#options;
    const now = clock.monotonicMs();
    const heardAgoMs = listener.presence.heardAgoMs(host.name, now);
    const links = registry.linksOf(host.name).map((link) => this.#linkView(link, host.name, now));
    const status = hostStatus(heardAgoMs, links.map((one) => one.status));
    return { ...host, status, heardAgoMs, skewMs: listener.presence.skewMs(host.name), links };
  }

  #linkView(link: Link, host: string, now: number): LinkView {
    const { listener, clock } = this.#options;
    const { presence } = listener;
    const live = presence.heard(host, link.id, now);
    const before = this.#before.get(`${host} ${link.id}`);
    // The wall clock may have been set; what was heard before this hub began is shown as old in any case.
    const old = before === undefined ? undefined : { state: before.state, agoMs: Math.max(0, clock.nowMs() - before.heardMs) };
    const unaskedMs = presence.unaskedMs(host, link.id, now);
    const shown = live ?? old;
    const { enabled, generation } = link;
    const digest = live === undefined ? undefined : listener.digests.at(host, link.id, live.state.sequence);
    return {
      link,
      host,
      status: linkStatus({ enabled, generation, heard: live, hostAgoMs: presence.heardAgoMs(host, now), unaskedMs, digest }),
      lagMs: shown === undefined ? unaskedMs : lagMs(shown.state, shown.agoMs, unaskedMs),
      state: shown?.state,
      heardAgoMs: shown?.agoMs,
    };
  }
}

function resourceOf({ name, labels }: Pick<AgentHost, "name" | "labels">): Resource {
  return { type: "host", host: name, labels };
}

function noLink(host: string, id: string): SynclineError {
  return new SynclineError({ code: "NOT_FOUND", op: "find link", message: `${host} has no link ${id.slice(0, 40)}` });
}
