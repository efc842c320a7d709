/** Plans that the brake holds on hosts, and who has let which of them go. Rows of the registry's tables (registry-rows.ts). */
import { HELD_PLAN, type HeldPlan } from "#hub/agents/control.ts";
import { parseJson } from "#hub/agents/rows-json.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { Database, SqlRow } from "#platform/sql/database.ts";

export type Hold = {
  readonly link: string;
  readonly host: string;
  readonly plan: HeldPlan;
  readonly heldMs: number;
  readonly approvedBy: string | undefined;
  readonly approvedMs: number | undefined;
};

type HoldRow = SqlRow & {
  link: string;
  host: string;
  hash: string;
  plan: string;
  held_ms: number;
  approved_by: string | null;
  approved_ms: number | null;
};

export class HeldPlans {
  readonly #db: Database;
  readonly #clock: Clock;
  /** "host link" where something is held: every heartbeat says that nothing is. */
  readonly #held = new Set<string>();

  constructor(db: Database, clock: Clock) {
    this.#db = db;
    this.#clock = clock;
  }

  /** What was held when the hub ended. Before all else. */
  async load(): Promise<void> {
    for (const { host, link } of await this.all()) this.#held.add(`${host} ${link}`);
  }

  async all(): Promise<Hold[]> {
    const rows = await this.#db.all<HoldRow>(
      "SELECT link, host, hash, plan, held_ms, approved_by, approved_ms FROM agent_holds ORDER BY held_ms, link, host",
    );
    return rows.flatMap(holdOf);
  }

  async of(link: string, host: string): Promise<Hold | undefined> {
    const row = await this.#db.get<HoldRow>(
      "SELECT link, host, hash, plan, held_ms, approved_by, approved_ms FROM agent_holds WHERE link = ? AND host = ?",
      [link, host],
    );
    return row === undefined ? undefined : holdOf(row)[0];
  }

  /** Another plan than the one that is held takes its place, and an approval of that one is worth nothing any more. */
  async hold(host: string, plan: HeldPlan): Promise<void> {
    this.#held.add(`${host} ${plan.link}`);
    await this.#db.transaction(async (sql) => {
      const before = await sql.get<SqlRow & { hash: string }>(
        "SELECT hash FROM agent_holds WHERE link = ? AND host = ?",
        [plan.link, host],
      );
      if (before?.hash === plan.hash) return;
      await sql.run("DELETE FROM agent_holds WHERE link = ? AND host = ?", [plan.link, host]);
      await sql.run(
        "INSERT INTO agent_holds (link, host, hash, plan, held_ms, approved_by, approved_ms) VALUES (?, ?, ?, ?, ?, NULL, NULL)",
        [plan.link, host, plan.hash, JSON.stringify(plan), this.#clock.nowMs()],
      );
    });
  }

  /** The plan was carried out, or has gone. */
  async release(link: string, host: string): Promise<void> {
    const key = `${host} ${link}`;
    // First, because another plan may be held while this one goes.
    if (!this.#held.delete(key)) return;
    try {
      await this.#db.run("DELETE FROM agent_holds WHERE link = ? AND host = ?", [link, host]);
    } catch (error) {
      // The next heartbeat says it again.
      this.#held.add(key);
      throw error;
    }
  }

  /** @throws {SynclineError} NOT_FOUND when nothing is held there, STALE when it is another plan */
  async approve(link: string, host: string, hash: string, actor: string): Promise<Hold> {
    await this.#db.transaction(async (sql) => {
      const row = await sql.get<SqlRow & { hash: string }>("SELECT hash FROM agent_holds WHERE link = ? AND host = ?", [link, host]);
      if (row === undefined) {
        throw new SynclineError({ code: "NOT_FOUND", op: "approve", message: `nothing is held on ${host} for this link` });
      }
      if (row.hash !== hash) {
        const message = `another plan is held there by now: ${row.hash}`;
        throw new SynclineError({ code: "STALE", op: "approve", message, hint: "look at it, and approve that one" });
      }
      await sql.run("UPDATE agent_holds SET approved_by = ?, approved_ms = ? WHERE link = ? AND host = ?", [
        actor,
        this.#clock.nowMs(),
        link,
        host,
      ]);
    });
    return (await this.of(link, host))!;
  }
}

function holdOf(row: HoldRow): Hold[] {
  const plan = HELD_PLAN.safeParse(parseJson(row.plan));
  if (!plan.success) return [];
  const { link, host } = row;
  const approvedBy = row.approved_by ?? undefined;
  return [{ link, host, plan: plan.data, heldMs: row.held_ms, approvedBy, approvedMs: row.approved_ms ?? undefined }];
}
