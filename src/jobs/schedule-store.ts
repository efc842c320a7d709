/** Schedules at rest. */
import type { Sql, SqlRow } from "#platform/sql/database.ts";
import { submitterOf } from "#jobs/job-store.ts";
import type { Schedule, ScheduleSettings } from "#jobs/schedule.ts";

type ScheduleRow = SqlRow & {
  name: string;
  origin: string;
  submitted_by: string;
  scopes: string | null;
  submitter_ms: number | null;
  settings: string;
  enabled: number;
  next_ms: number | null;
  fire_ms: number | null;
  last_ms: number | null;
  last_job: number | null;
  last_outcome: string | null;
};

const PUT = `INSERT INTO job_schedules
  (name, origin, submitted_by, scopes, settings, enabled, next_ms, fire_ms, last_ms, last_job, last_outcome, submitter_ms)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (name) DO UPDATE SET origin = excluded.origin, submitted_by = excluded.submitted_by,
    scopes = excluded.scopes, settings = excluded.settings, enabled = excluded.enabled, next_ms = excluded.next_ms,
    fire_ms = excluded.fire_ms, last_ms = excluded.last_ms, last_job = excluded.last_job,
    last_outcome = excluded.last_outcome, submitter_ms = excluded.submitter_ms`;

/** By name. */
export async function readSchedules(sql: Sql): Promise<Schedule[]> {
  return (await sql.all<ScheduleRow>("SELECT * FROM job_schedules ORDER BY name")).map(scheduleOf);
}

/** Those that are to be looked at now, longest overdue first. */
export async function readDue(sql: Sql, nowMs: number): Promise<Schedule[]> {
  const text = "SELECT * FROM job_schedules WHERE enabled = 1 AND fire_ms <= ? ORDER BY fire_ms, name";
  return (await sql.all<ScheduleRow>(text, [nowMs])).map(scheduleOf);
}

export async function readSchedule(sql: Sql, name: string): Promise<Schedule | undefined> {
  const row = await sql.get<ScheduleRow>("SELECT * FROM job_schedules WHERE name = ?", [name]);
  return row === undefined ? undefined : scheduleOf(row);
}

export async function putSchedule(sql: Sql, schedule: Schedule): Promise<void> {
  const { name, origin, submitter, enabled, nextMs, fireMs, lastMs, lastJob, lastOutcome } = schedule;
  const { cron, zone, kind, args, priority, misfire, catchUp, overlap, spreadMs } = schedule;
  const settings = { cron, zone, kind, args, priority, misfire, catchUp, overlap, spreadMs };
  await sql.run(PUT, [
    name,
    origin,
    submitter.id,
    submitter.scopes === undefined ? null : JSON.stringify(submitter.scopes),
    JSON.stringify(settings),
    enabled ? 1 : 0,
    nextMs ?? null,
    fireMs ?? null,
    lastMs ?? null,
    lastJob ?? null,
    lastOutcome ?? null,
    submitter.sinceMs ?? null,
  ]);
}

export async function removeSchedule(sql: Sql, name: string): Promise<void> {
  await sql.run("DELETE FROM job_schedules WHERE name = ?", [name]);
}

function scheduleOf(row: ScheduleRow): Schedule {
  return {
    ...(JSON.parse(row.settings) as Omit<ScheduleSettings, "enabled">),
    name: row.name,
    origin: row.origin as Schedule["origin"],
    submitter: submitterOf(row),
    enabled: row.enabled !== 0,
    nextMs: row.next_ms ?? undefined,
    fireMs: row.fire_ms ?? undefined,
    lastMs: row.last_ms ?? undefined,
    lastJob: row.last_job ?? undefined,
    lastOutcome: row.last_outcome ?? undefined,
  };
}
