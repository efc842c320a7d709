/**
 * An approval of deletions is good for every host that they come to. A person approves the plan of one link: exactly its
 * deletions, as they are committed in the space, are remembered by their sequences. Where another host then holds a plan
 * whose deletions are exactly these, and whose rest no brake would hold, it counts as approved by the same person, if
 * that person may approve there, too. All else is held as ever; so is what was deleted again after it had come back,
 * because that has other sequences.
 */
import { z } from "zod";
import { type Access, type Principal, systemPrincipal } from "#access/access.ts";
import { BRAKE_COUNT_DEFAULT, type HeldPlan } from "#hub/agents/control.ts";
import { NAMED_PATHS_MAX, type PathSetName, PathSet, sameSet } from "#hub/agents/path-set.ts";
import type { Hold } from "#hub/agents/held-plans.ts";
import type { AgentRegistry } from "#hub/agents/registry.ts";
import type { AgentHost, Link } from "#hub/agents/registry-rows.ts";
import type { SpaceService } from "#hub/space-service.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type { Database, Migration, SqlRow } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";

/** Commits that they may be spread over. */
export const CARRIED_RANGES_MAX = 64;
/** An approval is forgotten: a host that was away for longer asks again. */
export const CARRIED_MS = 30 * 86_400_000;
/** Approved deletions that were not committed exactly so by then are none of these any more. */
const PENDING_MS = 3_600_000;
const PAGE_ROWS = 2000;
/** Sequences back from the last one in which deletions are looked for, one after the other. */
const WINDOWS = [10_000, 100_000, 1_000_000] as const;

const MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      `CREATE TABLE agent_carried_approvals (
        link TEXT NOT NULL, host TEXT NOT NULL, hash TEXT NOT NULL, space BIGINT NOT NULL, ranges TEXT NOT NULL,
        hosts TEXT NOT NULL, approved_by TEXT NOT NULL, approved_ms BIGINT NOT NULL, PRIMARY KEY (link, host, hash))`,
    ],
  },
];

/** Sequences after `from` up to `to`. */
export type SequenceRange = readonly [from: number, to: number];
const RANGES = z.array(z.tuple([z.number(), z.number()]));
const HOSTS = z.array(z.string());

/** Approved where they are to be committed, and not committed yet. */
type Pending = { readonly hold: Hold; readonly removals: PathSetName; readonly hosts: readonly string[]; readonly sinceMono: number };
type Row = SqlRow & { space: number; ranges: string; hosts: string; approved_by: string };

export type CarriedApproval = { readonly link: string; readonly host: string; readonly hash: string; readonly by: string };

export type CarriedApprovalsOptions = {
  readonly db: Database;
  readonly registry: AgentRegistry;
  readonly spaces: SpaceService;
  readonly access: Access;
  readonly clock: Clock;
};

export class CarriedApprovals {
  readonly #options: CarriedApprovalsOptions;
  readonly #who = systemPrincipal("agents");
  /** By "host link"; lost with the hub's process, and then each host asks for itself. */
  readonly #pending = new Map<string, Pending>();

  static async open(options: CarriedApprovalsOptions): Promise<CarriedApprovals> {
    await migrate(options.db, "carried-approvals", MIGRATIONS);
    const carried = new CarriedApprovals(options);
    await carried.#forgetOld();
    return carried;
  }

  private constructor(options: CarriedApprovalsOptions) {
    this.#options = options;
  }

  /** Also by a hub that runs for years. */
  async #forgetOld(): Promise<void> {
    const { db, clock } = this.#options;
    await db.run("DELETE FROM agent_carried_approvals WHERE approved_ms < ?", [clock.nowMs() - CARRIED_MS]);
  }

  /**
   * A person has approved the plan of `hold`. Returns the holds of other hosts that it is good for, approved by now.
   */
  async approved(who: Principal, hold: Hold): Promise<CarriedApproval[]> {
    const { registry, access, clock } = this.#options;
    const { removals } = hold.plan;
    const link = registry.link(hold.link);
    if (removals === null || link === undefined || !countsFit(hold.plan, link)) return [];
    const mayApprove = ({ name, labels }: AgentHost): boolean =>
      access.decide(who, "approve", { type: "host", host: name, labels }).allowed;
    const hosts = registry.hosts().filter(mayApprove).map(({ name }) => name);
    if (removals.space.count > 0) {
      this.#pending.set(key(hold), { hold, removals: removals.space, hosts, sinceMono: clock.monotonicMs() });
      return [];
    }
    const found = await this.#committed(link, removals.host);
    return found === undefined ? [] : this.#remember(link, hold, found, hosts);
  }

  /** Is it of interest what the link removes from its space? */
  isExpecting(link: string, host: string): boolean {
    return this.#pending.has(`${host} ${link}`);
  }

  /** What a link has removed from its space in one run so far. Returns the holds that are approved by it now. */
  async removed(linkId: string, host: string, removals: PathSetName, ranges: readonly SequenceRange[]): Promise<CarriedApproval[]> {
    const { registry, clock } = this.#options;
    const pending = this.#pending.get(`${host} ${linkId}`);
    const link = registry.link(linkId);
    if (pending === undefined || link === undefined || !sameSet(pending.removals, removals)) return [];
    this.#pending.delete(`${host} ${linkId}`);
    if (clock.monotonicMs() - pending.sinceMono > PENDING_MS) return [];
    return this.#remember(link, pending.hold, ranges, pending.hosts);
  }

  /** The plan was carried out, or has gone: what comes later was not approved with it. */
  released(link: string, host: string): void {
    this.#pending.delete(`${host} ${link}`);
  }

  /** Who has approved the deletions of this plan already; undefined: nobody has. */
  async approverOf(host: string, plan: HeldPlan): Promise<string | undefined> {
    const { registry, spaces, db, clock } = this.#options;
    const link = registry.link(plan.link);
    const { removals } = plan;
    if (link === undefined || removals === null || removals.host.count === 0 || removals.space.count > 0) return undefined;
    if (!countsFit(plan, link) || !restPasses(plan)) return undefined;
    const space = await spaces.space(this.#who, link.space);
    const rows = await db.all<Row>(
      `SELECT space, ranges, hosts, approved_by FROM agent_carried_approvals
       WHERE space = ? AND approved_ms >= ? ORDER BY approved_ms DESC`,
      [space.id, clock.nowMs() - CARRIED_MS],
    );
    const usable = rows.filter((row) => HOSTS.parse(JSON.parse(row.hosts)).includes(host));
    if (usable.length === 0) return undefined;
    const found = await this.#committed(link, removals.host);
    if (found === undefined) return undefined;
    const ranges = usable.flatMap((row) => RANGES.parse(JSON.parse(row.ranges)));
    const isApproved = ([from, to]: SequenceRange): boolean => ranges.some(([first, last]) => first <= from && to <= last);
    return found.every(isApproved) ? usable[0]!.approved_by : undefined;
  }

  async #remember(
    { space: name }: Link,
    hold: Hold,
    given: readonly SequenceRange[],
    hosts: readonly string[],
  ): Promise<CarriedApproval[]> {
    const { registry, spaces, db, clock } = this.#options;
    const ranges = joined(given);
    if (ranges.length > CARRIED_RANGES_MAX && hold.plan.removals!.space.count > 0) return [];
    const space = await spaces.space(this.#who, name);
    await this.#forgetOld();
    await db.run(
      `INSERT INTO agent_carried_approvals (link, host, hash, space, ranges, hosts, approved_by, approved_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (link, host, hash) DO UPDATE SET space = excluded.space,
         ranges = excluded.ranges, hosts = excluded.hosts, approved_by = excluded.approved_by, approved_ms = excluded.approved_ms`,
      [hold.link, hold.host, hold.plan.hash, space.id, JSON.stringify(ranges), JSON.stringify(hosts), hold.approvedBy ?? "", clock.nowMs()],
    );
    const carried: CarriedApproval[] = [];
    for (const one of await registry.held.all()) {
      if (one.approvedMs !== undefined || registry.link(one.link)?.space !== name) continue;
      const by = await this.approverOf(one.host, one.plan);
      if (by === undefined) continue;
      if (await this.#isApproved(one, by)) carried.push({ link: one.link, host: one.host, hash: one.plan.hash, by });
    }
    return carried;
  }

  /** False: its host has carried it out, or holds another plan by now. That keeps no other host from its own. */
  async #isApproved({ link, host, plan }: Hold, by: string): Promise<boolean> {
    try {
      await this.#options.registry.held.approve(link, host, plan.hash, by);
      return true;
    } catch (error) {
      if (error instanceof SynclineError && (error.code === "NOT_FOUND" || error.code === "STALE")) return false;
      throw error;
    }
  }

  /**
   * The deletions of a space that a held plan brings to a host. It holds all that came after what the host has, so they
   * are the last ones of the space, as far as the link sees it; undefined when they are not.
   */
  async #committed(link: Link, removals: PathSetName): Promise<readonly SequenceRange[] | undefined> {
    if (removals.count > NAMED_PATHS_MAX) return undefined;
    const { sequence } = await this.#options.spaces.space(this.#who, link.space);
    for (const window of WINDOWS) {
      const last = await this.#lastRemovals(link, Math.max(0, sequence - window), removals.count);
      if (last.length < removals.count && window < sequence) continue;
      const set = new PathSet();
      for (const { path } of last) set.add(path);
      return sameSet(set.name, removals) ? joined(last.map(({ at }) => [at - 1, at])) : undefined;
    }
    return undefined;
  }

  async #lastRemovals({ space, prefix }: Link, after: number, count: number): Promise<{ path: RelPath; at: number }[]> {
    const { spaces } = this.#options;
    let found: { path: RelPath; at: number }[] = [];
    for (let since = after; ; ) {
      const page = await spaces.changedSince(this.#who, space, prefix, since, PAGE_ROWS);
      for (const { path, entry, sequence } of page) {
        if (entry !== undefined || path === prefix) continue;
        found.push({ path: prefix === "" ? path : path.slice(prefix.length + 1), at: sequence });
      }
      if (found.length > 2 * count + PAGE_ROWS) found = found.slice(-count);
      if (page.length < PAGE_ROWS) return count === 0 ? [] : found.slice(-count);
      since = page.at(-1)!.sequence;
    }
  }
}

const key = ({ link, host }: Hold): string => `${host} ${link}`;

/** What is shown to a person and what is named must be as many. */
function countsFit({ counts, removals }: HeldPlan, { settings }: Link): boolean {
  const [host, space] = settings.from === "host" ? [counts.alpha, counts.beta] : [counts.beta, counts.alpha];
  return removals !== null && removals.host.count === host.removes && removals.space.count === space.removes;
}

/** Without its deletions no brake would hold it, however small the side is. */
function restPasses({ counts }: HeldPlan): boolean {
  return counts.alpha.replaces <= BRAKE_COUNT_DEFAULT && counts.beta.replaces <= BRAKE_COUNT_DEFAULT;
}

/** As few ranges as possible, in order. */
function joined(ranges: readonly SequenceRange[]): SequenceRange[] {
  const all: [number, number][] = [];
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = all.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else all.push([from, to]);
  }
  return all;
}
