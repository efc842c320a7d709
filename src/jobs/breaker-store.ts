/** Breakers at rest: shared by all processes of one hub, and still there after a start. A closed one without failures is no row. */
import type { Sql, SqlRow } from "#platform/sql/database.ts";
import { type Breaker, CLOSED } from "#jobs/breaker.ts";

type BreakerRow = SqlRow & {
  name: string;
  state: string;
  failures: number;
  opens: number;
  until_ms: number;
  probe: number | null;
};

/** By dependency; those that are not there are closed. */
export async function readBreakers(sql: Sql): Promise<Map<string, Breaker>> {
  const rows = await sql.all<BreakerRow>("SELECT * FROM job_breakers ORDER BY name");
  return new Map(rows.map((row) => [row.name, breakerOf(row)]));
}

export async function changeBreaker(
  sql: Sql,
  name: string,
  change: (breaker: Breaker) => Breaker,
  nowMs: number,
): Promise<Breaker> {
  const row = await sql.get<BreakerRow>("SELECT * FROM job_breakers WHERE name = ?", [name]);
  const before = row === undefined ? CLOSED : breakerOf(row);
  const after = change(before);
  if (after === before) return after;
  const { state, failures, opens, untilMs, probe } = after;
  if (state === "closed" && failures === 0) {
    await sql.run("DELETE FROM job_breakers WHERE name = ?", [name]);
    return after;
  }
  await sql.run(
    `INSERT INTO job_breakers (name, state, failures, opens, until_ms, probe, changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET state = excluded.state, failures = excluded.failures, opens = excluded.opens,
       until_ms = excluded.until_ms, probe = excluded.probe, changed_ms = excluded.changed_ms`,
    [name, state, failures, opens, untilMs, probe ?? null, nowMs],
  );
  return after;
}

/** Forgets those that nobody had to do with since then. */
export async function dropBreakers(sql: Sql, beforeMs: number): Promise<void> {
  await sql.run("DELETE FROM job_breakers WHERE changed_ms < ?", [beforeMs]);
}

function breakerOf({ state, failures, opens, until_ms, probe }: BreakerRow): Breaker {
  return { state: state as Breaker["state"], failures, opens, untilMs: until_ms, probe: probe ?? undefined };
}
