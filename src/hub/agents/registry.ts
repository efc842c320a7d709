/**
 * What the hub knows of its hosts and their links: who has joined, which root of which host follows which space, what
 * was held and approved. Hosts and links are in memory too, because every heartbeat and every decision about an agent's
 * rights asks for them. What changes with every heartbeat is kept in memory alone (presence.ts) and written here now and
 * then, so that a hub that was started again shows what it last heard, and says that it is old.
 */
import { createHash } from "node:crypto";
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Database, SqlRow } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";
import type { Rule } from "#access/access.ts";
import { HOST_NAME } from "#access/authority.ts";
import { LINK_STATE, type LinkState } from "#hub/agents/control.ts";
import { HeldPlans } from "#hub/agents/held-plans.ts";
import { LinkMarks } from "#hub/agents/link-marks.ts";
import {
  AGENT_MIGRATIONS, type AgentHost, type Link, dropHost, dropLink, insertLink, readHosts, readLinks, readSpaces, writeHost, writeLink,
  writeSpace,
} from "#hub/agents/registry-rows.ts";
import { parseJson } from "#hub/agents/rows-json.ts";
import {
  type DeclaredLink,
  LABEL,
  LINKS_PER_HOST_MAX,
  type LinkSettings,
  NEW_LINK,
  checked,
  neverWritesSpace,
  trimRoot,
} from "#hub/agents/link.ts";

/** Hosts of one hub. */
export const HOSTS_MAX = 10_000;
/** Links of one hub, those for labels counted once. */
export const LINKS_MAX = 20_000;
export const LABELS_PER_HOST_MAX = 100;

export type LinkChange = {
  readonly root?: string | undefined;
  readonly space?: string | undefined;
  readonly prefix?: string | undefined;
  /** Replaces single settings; those left out stay. */
  readonly settings?: Partial<LinkSettings> | undefined;
  readonly enabled?: boolean | undefined;
};

export type HeardState = { readonly link: string; readonly host: string; readonly heardMs: number; readonly state: LinkState };

export type RegistryOptions = { readonly db: Database; readonly clock: Clock; readonly random: Random };

export class AgentRegistry {
  readonly #db: Database;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly held: HeldPlans;
  readonly marks: LinkMarks;
  readonly #listeners = new Set<(host: string | undefined) => void>();
  readonly #hosts = new Map<string, AgentHost>();
  /** Oldest first. */
  readonly #links = new Map<string, Link>();
  /** Ids of the spaces that links lead to, where that is known: a link follows its space, whatever that is called. */
  readonly #spaceOf = new Map<string, number>();
  /** Names of spaces that links are to be told of by, as far as that is not written. */
  readonly #names = new Map<number, string>();
  /** What was made of #links for a host; forgotten with every change. */
  readonly #linksOf = new Map<string, readonly Link[]>();
  /** Changes of hosts and links follow one another: rows first, then memory. */
  #tail: Promise<unknown> = Promise.resolve();

  /** @throws {SynclineError} VERSION, STATE as migrate() */
  static async open(options: RegistryOptions): Promise<AgentRegistry> {
    await migrate(options.db, "agents", AGENT_MIGRATIONS);
    const registry = new AgentRegistry(options);
    await registry.#load();
    return registry;
  }

  private constructor(options: RegistryOptions) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#random = options.random;
    this.held = new HeldPlans(options.db, options.clock);
    this.marks = new LinkMarks(options.db, (one) => this.#isThere(one));
  }

  async #load(): Promise<void> {
    for (const host of await readHosts(this.#db)) this.#hosts.set(host.name, host);
    for (const link of await readLinks(this.#db)) this.#links.set(link.id, link);
    for (const [id, space] of await readSpaces(this.#db)) this.#spaceOf.set(id, space);
    await this.marks.load();
    await this.held.load();
  }

  /** Calls back after links may have changed: those of one host, or (undefined) of any. */
  onLinks(listener: (host: string | undefined) => void, signal: AbortSignal): void {
    this.#listeners.add(listener);
    signal.addEventListener("abort", () => this.#listeners.delete(listener), { once: true });
  }

  #changed(host: string | undefined): void {
    this.#linksOf.clear();
    for (const listener of this.#listeners) listener(host);
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(change);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  // Hosts

  /** By name. */
  hosts(): AgentHost[] {
    return [...this.#hosts.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  host(name: string): AgentHost | undefined {
    return this.#hosts.get(name);
  }

  /** Enters a host, or what has changed of it. @throws {SynclineError} USAGE, LIMIT */
  #enter(name: string, change: Partial<AgentHost>): Promise<AgentHost> {
    return this.#inTurn(() => this.#enterNow(name, change));
  }

  async #enterNow(name: string, change: Partial<AgentHost>): Promise<AgentHost> {
    requireHostName(name);
    const known = this.#hosts.get(name);
    if (known === undefined && this.#hosts.size >= HOSTS_MAX) throw limit(`the hub has ${HOSTS_MAX} hosts already`);
    const host: AgentHost = { ...(known ?? newHost(name, this.#clock.nowMs())), ...change };
    await writeHost(this.#db, host);
    this.#hosts.set(name, host);
    return host;
  }

  /** It has joined, or has another certificate. @throws {SynclineError} USAGE, LIMIT */
  async joined(name: string, serial: string): Promise<void> {
    await this.#enter(name, { serial });
  }

  /** Its agent has said hello. A host that the registry has lost (restored from a backup) is entered again. */
  async greeted(name: string, serial: string, program: string, platform: string): Promise<void> {
    await this.#enter(name, { serial, program, platform, lastSeenMs: this.#clock.nowMs() });
  }

  /** Labels decide which links for labels are its own; a host may be given some before it joins. */
  async setLabels(name: string, labels: readonly string[]): Promise<AgentHost> {
    const kept = [...new Set(labels)].toSorted();
    if (kept.length > LABELS_PER_HOST_MAX) throw limit(`a host has at most ${LABELS_PER_HOST_MAX} labels`);
    const wrong = kept.find((label) => !LABEL.test(label));
    if (wrong !== undefined) throw usage(`"${wrong.slice(0, 100)}" is no label`, "write it like web or role=web");
    const host = await this.#enter(name, { labels: kept });
    this.#changed(name);
    return host;
  }

  /** Forgets a host with its own links and all that was heard of it. False when there is none. */
  removeHost(name: string): Promise<boolean> {
    return this.#inTurn(() => this.#removeHostNow(name));
  }

  async #removeHostNow(name: string): Promise<boolean> {
    await this.#db.transaction((sql) => dropHost(sql, name));
    for (const { id, host } of this.#links.values()) if (host === name) this.#forgetLink(id);
    this.marks.forget((one) => one.host === name);
    const removed = this.#hosts.delete(name);
    this.#changed(name);
    return removed;
  }

  /** What the links of a host lead to, as the rights that its agent has. From memory. */
  rulesOfHost(host: string): readonly Rule[] {
    return this.linksOf(host).map(({ space, prefix, settings }): Rule => ({
      effect: "allow",
      resource: "space",
      actions: neverWritesSpace(settings) ? ["read"] : ["read", "write"],
      names: [space],
      ...(prefix === "" ? {} : { prefixes: [prefix] }),
    }));
  }

  // Links

  /** Oldest first. */
  links(): Link[] {
    return [...this.#links.values()];
  }

  link(id: string): Link | undefined {
    return this.#links.get(id);
  }

  /** Its own links and those for its labels, oldest first; no more than LINKS_PER_HOST_MAX. */
  linksOf(host: string): readonly Link[] {
    const known = this.#linksOf.get(host);
    if (known !== undefined) return known;
    const labels = this.#hosts.get(host)?.labels ?? [];
    const isMine = (link: Link): boolean =>
      link.selector === undefined ? link.host === host : labels.includes(link.selector);
    const links = [...this.#links.values()].filter(isMine).slice(0, LINKS_PER_HOST_MAX);
    // Names that nobody has are asked for by strangers alone.
    if (this.#hosts.has(host)) this.#linksOf.set(host, links);
    return links;
  }

  /** @throws {SynclineError} USAGE, LIMIT, EXISTS when the same root is bound to the same place already */
  createLink(value: unknown): Promise<Link> {
    return this.#inTurn(() => this.#createLinkNow(value));
  }

  async #createLinkNow(value: unknown): Promise<Link> {
    const { host, selector, root, space, prefix, settings, enabled } = checked(NEW_LINK, value, "link");
    const id = Buffer.from(this.#random.bytes(8)).toString("hex");
    const link: Link = {
      id, host, selector, space, prefix, settings, enabled,
      root: trimRoot(root), generation: 1, origin: "hub", createdMs: this.#clock.nowMs(),
    };
    const where = host ?? selector;
    if (this.links().some((one) => (one.host ?? one.selector) === where && one.root === link.root)) {
      const message = `${where} has a link for ${link.root} already`;
      throw new SynclineError({ code: "EXISTS", op: "create link", message, hint: "change that one, or remove it first" });
    }
    if (this.#links.size >= LINKS_MAX) throw limit(`the hub has ${LINKS_MAX} links already`);
    await insertLink(this.#db, link);
    this.#links.set(id, link);
    this.#changed(host);
    return link;
  }

  /**
   * @param require whether it may be so, of the link as it is when its turn comes and as it then will be
   * @throws {SynclineError} NOT_FOUND, USAGE, DENIED for a link that its host declares; what `require` throws
   */
  updateLink(id: string, change: LinkChange, require?: (before: Link, after: Link) => void): Promise<Link> {
    return this.#inTurn(() => this.#updateLinkNow(id, change, require));
  }

  async #updateLinkNow(id: string, change: LinkChange, require?: (before: Link, after: Link) => void): Promise<Link> {
    const before = this.#links.get(id);
    if (before === undefined) throw noLink(id);
    refuseDeclared(before);
    const { host, selector } = before;
    const merged = {
      ...(host === undefined ? { selector } : { host }),
      root: change.root ?? before.root,
      space: change.space ?? before.space,
      prefix: change.prefix ?? before.prefix,
      settings: { ...before.settings, ...change.settings },
      enabled: change.enabled ?? before.enabled,
    };
    const valid = checked(NEW_LINK, merged, "link");
    const link: Link = { ...before, ...valid, host, selector, root: trimRoot(valid.root), generation: before.generation + 1 };
    require?.(before, link);
    const isElsewhere = link.space !== before.space;
    // Together: with the space that it led to before, the next start would lead it back there.
    await this.#db.transaction(async (sql) => {
      await writeLink(sql, link);
      if (isElsewhere) await writeSpace(sql, id, 0);
    });
    this.#links.set(id, link);
    if (isElsewhere) this.#spaceOf.delete(id);
    this.#changed(link.host);
    return link;
  }

  /**
   * The link was found to lead to this space: from now on it does, whatever the space is called. Nothing for one that was
   * led elsewhere since it was looked at.
   */
  async bindSpace({ id, space: name }: Pick<Link, "id" | "space">, space: number): Promise<void> {
    if (this.#spaceOf.get(id) === space) return;
    await this.#inTurn(async () => {
      if (this.#links.get(id)?.space !== name) return;
      await writeSpace(this.#db, id, space);
      this.#spaceOf.set(id, space);
    });
  }

  /**
   * These spaces have these names. Links that lead to one of them are told of by that name, also when the disk has refused
   * to write it at first: the space is called so by then, and under its earlier name they would lead nowhere, or to another
   * space that gets that name.
   */
  spacesAre(spaces: readonly { readonly id: number; readonly name: string }[]): Promise<void> {
    for (const { id, name } of spaces) this.#names.set(id, name);
    return this.#inTurn(() => this.#nameSpaces());
  }

  async #nameSpaces(): Promise<void> {
    const names = new Map(this.#names);
    for (const link of this.links()) {
      const space = names.get(this.#spaceOf.get(link.id) ?? 0);
      if (space === undefined || space === link.space) continue;
      const renamed: Link = { ...link, space, generation: link.generation + 1 };
      await writeLink(this.#db, renamed);
      this.#links.set(link.id, renamed);
      this.#changed(link.host);
    }
    for (const [id, name] of names) if (this.#names.get(id) === name) this.#names.delete(id);
  }

  /** The files stay where they are, on both ends. @throws {SynclineError} DENIED for a link that its host declares */
  removeLink(id: string): Promise<boolean> {
    return this.#inTurn(() => this.#removeLinkNow(id));
  }

  async #removeLinkNow(id: string): Promise<boolean> {
    const link = this.#links.get(id);
    if (link === undefined) return false;
    refuseDeclared(link);
    await this.#db.transaction((sql) => dropLink(sql, id));
    this.#forgetLink(id);
    this.marks.forget((one) => one.link === id);
    this.#changed(link.host);
    return true;
  }

  /** Makes the links that `host` declares exactly these. Returns whether anything changed. */
  declare(host: string, declared: readonly DeclaredLink[]): Promise<boolean> {
    return this.#inTurn(() => this.#declareNow(host, declared));
  }

  async #declareNow(host: string, declared: readonly DeclaredLink[]): Promise<boolean> {
    const wanted = new Map(declared.map((one) => [declaredId(host, one), one]));
    const known = this.links().filter((link) => link.host === host && link.origin === "host");
    const gone = known.filter(({ id }) => !wanted.has(id));
    const next: Link[] = [];
    for (const [id, { root, space, prefix, settings }] of wanted) {
      const before = this.#links.get(id);
      if (before !== undefined && JSON.stringify(before.settings) === JSON.stringify(settings)) continue;
      const made: Link = {
        id, host, selector: undefined, root: trimRoot(root), space, prefix, settings,
        enabled: true, generation: 1, origin: "host", createdMs: this.#clock.nowMs(),
      };
      next.push(before === undefined ? made : { ...before, settings, generation: before.generation + 1 });
    }
    if (gone.length === 0 && next.length === 0) return false;
    if (this.#links.size + next.length > LINKS_MAX) throw limit(`the hub has ${LINKS_MAX} links already`);
    await this.#db.transaction(async (sql) => {
      for (const { id } of gone) await dropLink(sql, id);
      for (const link of next) await (this.#links.has(link.id) ? writeLink(sql, link) : insertLink(sql, link));
    });
    for (const { id } of gone) this.#forgetLink(id);
    this.marks.forget(({ link }) => gone.some(({ id }) => id === link));
    for (const link of next) this.#links.set(link.id, link);
    this.#changed(host);
    return true;
  }

  // What links report

  /** In one transaction, however many. Of what has gone since it was heard nothing is written: nobody would remove it. */
  saveHeard(heard: readonly HeardState[], hosts: readonly { name: string; lastSeenMs: number }[]): Promise<void> {
    return this.#inTurn(() => this.#saveHeardNow(heard.filter((one) => this.#isThere(one)), hosts));
  }

  async #saveHeardNow(heard: readonly HeardState[], hosts: readonly { name: string; lastSeenMs: number }[]): Promise<void> {
    await this.#db.transaction(async (sql) => {
      for (const { link, host, heardMs, state } of heard) {
        await sql.run(
          `INSERT INTO agent_states (link, host, heard_ms, state) VALUES (?, ?, ?, ?)
           ON CONFLICT (link, host) DO UPDATE SET heard_ms = excluded.heard_ms, state = excluded.state`,
          [link, host, heardMs, JSON.stringify(state)],
        );
      }
      for (const { name, lastSeenMs } of hosts) {
        await sql.run("UPDATE agent_hosts SET last_seen_ms = ? WHERE name = ?", [lastSeenMs, name]);
      }
    });
    for (const { name, lastSeenMs } of hosts) {
      const host = this.#hosts.get(name);
      if (host !== undefined) this.#hosts.set(name, { ...host, lastSeenMs });
    }
  }

  /** A row that cannot be read any more is left out: the next heartbeat writes it anew. */
  async heard(): Promise<HeardState[]> {
    const rows = await this.#db.all<SqlRow & { link: string; host: string; heard_ms: number; state: string }>(
      "SELECT link, host, heard_ms, state FROM agent_states",
    );
    return rows.flatMap(({ link, host, heard_ms, state }) => {
      const parsed = LINK_STATE.safeParse(parseJson(state));
      return parsed.success ? [{ link, host, heardMs: heard_ms, state: parsed.data }] : [];
    });
  }

  /** What is written now and then: marks, and what was refused before. */
  saveMarks(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#names.size > 0) await this.#nameSpaces();
      await this.marks.save();
    });
  }

  #isThere({ link, host }: { readonly link: string; readonly host: string }): boolean {
    return this.#links.has(link) && this.#hosts.has(host);
  }

  /** Its rows have gone before. A host that declares the same again has a link of that id which knows no space yet. */
  #forgetLink(id: string): void {
    this.#links.delete(id);
    this.#spaceOf.delete(id);
  }
}

/** The same declaration has the same id, also after the hub was restored; another root, space or prefix is another link. */
function declaredId(host: string, { root, space, prefix }: DeclaredLink): string {
  return createHash("sha256").update(JSON.stringify([host, trimRoot(root), space, prefix])).digest("hex").slice(0, 16);
}

function newHost(name: string, nowMs: number): AgentHost {
  return { name, labels: [], serial: "", program: "", platform: "", firstSeenMs: nowMs, lastSeenMs: 0 };
}

function requireHostName(name: string): void {
  if (HOST_NAME.test(name)) return;
  throw usage(`"${name.slice(0, 100)}" is no host name`, "use a-z, 0-9, - and ., at most 63 characters");
}

function refuseDeclared({ id, host, origin }: Link): void {
  if (origin === "hub") return;
  throw new SynclineError({
    code: "DENIED",
    op: "change link",
    message: `link ${id} is declared by ${host} itself`,
    hint: `change the --link options or the configuration of the agent on ${host}`,
  });
}

function noLink(id: string): SynclineError {
  return new SynclineError({ code: "NOT_FOUND", op: "find link", message: `there is no link ${id.slice(0, 40)}` });
}

function usage(message: string, hint: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "change hosts", message, hint });
}

function limit(message: string): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "change hosts", message });
}
