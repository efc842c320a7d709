/**
 * Jobs at rest. What a process does with a job that it runs is fenced by the job's claim, a number that grows with every
 * start: whoever lost the job changes nothing any more. `beat` grows while the process lives; another one that sees it
 * stand still for too long, by its own clock, takes the job over. No two clocks are compared.
 */
import { SynclineError } from "#model/error.ts";
import type { Sql, SqlRow, SqlValue } from "#platform/sql/database.ts";
import type { Rule } from "#access/access.ts";
import type { Candidate, Preemptible } from "#jobs/choose.ts";
import {
  type Job,
  type JobError,
  type JobState,
  OPEN_JOBS_MAX,
  type Priority,
  type Progress,
  type Subject,
  type Submitter,
} from "#jobs/job.ts";

export type NewJob = Subject & {
  readonly kind: string;
  readonly args: unknown;
  readonly bound?: unknown;
  readonly priority: Priority;
  readonly submitter: Submitter;
  readonly traceId: string;
  readonly schedule: string | undefined;
  readonly triesMax: number;
  readonly deadlineMs: number | undefined;
};

export type JobFilter = {
  readonly state?: JobState | undefined;
  readonly kind?: string | undefined;
  readonly host?: string | undefined;
  readonly space?: string | undefined;
  readonly schedule?: string | undefined;
  readonly submittedBy?: string | undefined;
};

/** A job that runs, as those see it who want to begin another. */
export type RunningJob = Preemptible & { readonly claim: number; readonly beat: number; readonly cancelAsked: boolean };

/** What a start of a job is known by. */
export type Claim = { readonly id: number; readonly claim: number };

type JobRow = SqlRow & {
  id: number;
  kind: string;
  args: string;
  bound: string | null;
  priority: string;
  host: string | null;
  space: string | null;
  dependency: string | null;
  submitted_by: string;
  scopes: string | null;
  submitter_ms: number | null;
  trace_id: string;
  schedule: string | null;
  state: string;
  tries: number;
  tries_max: number;
  preempted: number;
  lost: number;
  deadline_ms: number | null;
  submitted_ms: number;
  since_ms: number;
  not_before_ms: number | null;
  started_ms: number | null;
  ended_ms: number | null;
  owner: string | null;
  claim: number;
  beat: number;
  cancel_asked: number;
  progress: string | null;
  checkpoint: string | null;
  result: string | null;
  error: string | null;
};

const INSERT = `INSERT INTO jobs
  (id, kind, args, priority, host, space, dependency, submitted_by, scopes, trace_id, schedule, state, tries, tries_max,
   preempted, lost, deadline_ms, submitted_ms, since_ms, claim, beat, cancel_asked, bound, submitter_ms)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', 0, ?, 0, 0, ?, ?, ?, 0, 0, 0, ?, ?)`;
// One text for every filter; an empty one matches all.
const SELECT_PAGE = `SELECT * FROM jobs WHERE id < ? AND (? = '' OR state = ?) AND (? = '' OR kind = ?)
  AND (? = '' OR host = ?) AND (? = '' OR space = ?) AND (? = '' OR schedule = ?) AND (? = '' OR submitted_by = ?)
  ORDER BY id DESC LIMIT ?`;
const SELECT_WAITING = `SELECT id, kind, priority, host, space, dependency, since_ms, deadline_ms, not_before_ms
  FROM jobs WHERE state IN ('queued', 'waiting') ORDER BY id`;
const SELECT_RUNNING = `SELECT id, kind, priority, host, space, dependency, owner, claim, beat, cancel_asked, started_ms
  FROM jobs WHERE state = 'running' ORDER BY id`;
const BEGIN = `UPDATE jobs SET state = 'running', owner = ?, claim = claim + 1, beat = 0, started_ms = ?, not_before_ms = NULL
  WHERE id = ? AND state IN ('queued', 'waiting')`;
/** The time that it ran is no time that it waited. */
const AGED = "since_ms = since_ms + CASE WHEN started_ms < ? THEN ? - started_ms ELSE 0 END, owner = NULL";
const REQUEUE = `UPDATE jobs SET state = 'queued', ${AGED}, preempted = preempted + ?, lost = lost + ?
  WHERE id = ? AND claim = ? AND state = 'running'`;
const RETRY = `UPDATE jobs SET state = 'waiting', ${AGED}, tries = tries + 1, not_before_ms = ?, error = ?
  WHERE id = ? AND claim = ? AND state = 'running'`;
const END = `UPDATE jobs SET state = ?, ended_ms = ?, owner = NULL, result = ?, error = ?, tries = tries + ?,
  progress = COALESCE(?, progress) WHERE id = ? AND claim = ? AND state = 'running'`;

/** @throws {SynclineError} LIMIT (retryable) where too many are open */
export async function insertJob(sql: Sql, job: NewJob, nowMs: number): Promise<number> {
  const open = await sql.get<{ n: number }>(
    "SELECT count(*) AS n FROM jobs WHERE state IN ('queued', 'waiting', 'running')",
  );
  if (open!.n >= OPEN_JOBS_MAX) throw tooMany();
  await sql.run("UPDATE job_counters SET value = value + 1 WHERE name = 'next_job'");
  const counter = await sql.get<{ value: number }>("SELECT value FROM job_counters WHERE name = 'next_job'");
  const id = counter!.value - 1;
  const { submitter, host = null, space = null, dependency = null } = job;
  await sql.run(INSERT, [
    id,
    job.kind,
    JSON.stringify(job.args),
    job.priority,
    host,
    space,
    dependency,
    submitter.id,
    submitter.scopes === undefined ? null : JSON.stringify(submitter.scopes),
    job.traceId,
    job.schedule ?? null,
    job.triesMax,
    job.deadlineMs ?? null,
    nowMs,
    nowMs,
    jsonOf(job.bound),
    submitter.sinceMs ?? null,
  ]);
  return id;
}

export async function readJob(sql: Sql, id: number): Promise<Job | undefined> {
  const row = await sql.get<JobRow>("SELECT * FROM jobs WHERE id = ?", [id]);
  return row === undefined ? undefined : jobOf(row);
}

/** Newest first, from before an id. */
export async function readJobs(sql: Sql, filter: JobFilter, before: number, limit: number): Promise<Job[]> {
  const { state = "", kind = "", host = "", space = "", schedule = "", submittedBy = "" } = filter;
  const texts = [state, kind, host, space, schedule, submittedBy].flatMap((text) => [text, text]);
  return (await sql.all<JobRow>(SELECT_PAGE, [before, ...texts, limit])).map(jobOf);
}

export async function readWaiting(sql: Sql): Promise<Candidate[]> {
  return (await sql.all<JobRow>(SELECT_WAITING)).map((row) => ({
    ...subjectOf(row),
    id: row.id,
    kind: row.kind,
    priority: row.priority as Priority,
    sinceMs: row.since_ms,
    deadlineMs: row.deadline_ms ?? undefined,
    notBeforeMs: row.not_before_ms ?? undefined,
  }));
}

export async function readRunning(sql: Sql): Promise<RunningJob[]> {
  return (await sql.all<JobRow>(SELECT_RUNNING)).map((row) => ({
    ...subjectOf(row),
    id: row.id,
    kind: row.kind,
    priority: row.priority as Priority,
    owner: row.owner ?? undefined,
    claim: row.claim,
    beat: row.beat,
    cancelAsked: row.cancel_asked !== 0,
    startedMs: row.started_ms ?? 0,
  }));
}

export async function beginJob(sql: Sql, id: number, owner: string, nowMs: number): Promise<void> {
  await sql.run(BEGIN, [owner, nowMs, id]);
}

/** False: it is not this start's any more. */
export async function beatJob(sql: Sql, { id, claim }: Claim, progress: Progress | undefined): Promise<boolean> {
  const text = "UPDATE jobs SET beat = beat + 1, progress = COALESCE(?, progress) WHERE id = ? AND claim = ? AND state = 'running'";
  return (await sql.run(text, [jsonOf(progress), id, claim])) === 1;
}

/** False: it is not this start's any more. */
export async function saveCheckpoint(sql: Sql, at: Claim, checkpoint: unknown, progress: Progress): Promise<boolean> {
  const text = "UPDATE jobs SET checkpoint = ?, progress = ?, lost = 0 WHERE id = ? AND claim = ? AND state = 'running'";
  return (await sql.run(text, [jsonOf(checkpoint), jsonOf(progress), at.id, at.claim])) === 1;
}

/** Back into the queue with its age and its checkpoint. False: it is not this start's any more. */
export async function requeueJob(
  sql: Sql,
  { id, claim }: Claim,
  why: "preempted" | "lost" | "hub-ends",
  nowMs: number,
): Promise<boolean> {
  const counts = [why === "preempted" ? 1 : 0, why === "lost" ? 1 : 0];
  return (await sql.run(REQUEUE, [nowMs, nowMs, ...counts, id, claim])) === 1;
}

export async function retryLater(
  sql: Sql,
  { id, claim }: Claim,
  error: JobError,
  notBeforeMs: number,
  nowMs: number,
): Promise<boolean> {
  return (await sql.run(RETRY, [nowMs, nowMs, notBeforeMs, jsonOf(error), id, claim])) === 1;
}

export type Ending = {
  readonly state: "done" | "failed" | "cancelled";
  readonly result?: unknown;
  readonly error?: JobError | undefined;
  readonly progress?: Progress | undefined;
};

export async function endJob(sql: Sql, { id, claim }: Claim, end: Ending, nowMs: number): Promise<boolean> {
  const { state, result, error, progress } = end;
  const tries = state === "failed" ? 1 : 0;
  const values = [state, nowMs, jsonOf(result), jsonOf(error), tries, jsonOf(progress), id, claim];
  return (await sql.run(END, values)) === 1;
}

/** Of a job that does not run: at once. Of one that does: its process is asked. */
export async function cancelJob(sql: Sql, id: number, nowMs: number): Promise<void> {
  await sql.run("UPDATE jobs SET cancel_asked = 1 WHERE id = ? AND state = 'running'", [id]);
  await sql.run(
    "UPDATE jobs SET state = 'cancelled', ended_ms = ?, not_before_ms = NULL WHERE id = ? AND state IN ('queued', 'waiting')",
    [nowMs, id],
  );
}

/** As if it were new, but from its checkpoint. */
export async function reopenJob(sql: Sql, id: number, nowMs: number): Promise<void> {
  await sql.run(
    `UPDATE jobs SET state = 'queued', tries = 0, lost = 0, since_ms = ?, not_before_ms = NULL, ended_ms = NULL, owner = NULL,
       cancel_asked = 0, result = NULL, error = NULL WHERE id = ? AND state IN ('waiting', 'failed', 'cancelled')`,
    [nowMs, id],
  );
}

/** Ends all that is not over: work of a hub that is another one now. */
export async function endOpenJobs(sql: Sql, error: JobError, nowMs: number): Promise<number> {
  return sql.run(
    `UPDATE jobs SET state = 'cancelled', ended_ms = ?, not_before_ms = NULL, owner = NULL, claim = claim + 1, error = ?
     WHERE state IN ('queued', 'waiting', 'running')`,
    [nowMs, jsonOf(error)],
  );
}

/** Jobs of a schedule that are not over, oldest first. */
export async function openOfSchedule(sql: Sql, schedule: string): Promise<number[]> {
  const rows = await sql.all<{ id: number }>(
    "SELECT id FROM jobs WHERE schedule = ? AND state IN ('queued', 'waiting', 'running') ORDER BY id",
    [schedule],
  );
  return rows.map(({ id }) => id);
}

/** Forgets jobs that ended before a time, and of the others all but the latest `keep`; returns how many. */
export async function dropEnded(sql: Sql, beforeMs: number, keep: number): Promise<number> {
  const old = await sql.run("DELETE FROM jobs WHERE ended_ms IS NOT NULL AND ended_ms < ?", [beforeMs]);
  const last = await sql.get<{ id: number; ended_ms: number }>(
    "SELECT id, ended_ms FROM jobs WHERE ended_ms IS NOT NULL ORDER BY ended_ms DESC, id DESC LIMIT 1 OFFSET ?",
    [keep],
  );
  if (last === undefined) return old;
  const more = "DELETE FROM jobs WHERE ended_ms IS NOT NULL AND (ended_ms < ? OR (ended_ms = ? AND id <= ?))";
  return old + (await sql.run(more, [last.ended_ms, last.ended_ms, last.id]));
}

const jsonOf = (value: unknown): SqlValue => (value === undefined ? null : JSON.stringify(value));
const valueOf = (text: string | null): unknown => (text === null ? undefined : JSON.parse(text));

function subjectOf({ host, space, dependency }: JobRow): Subject {
  return { host: host ?? undefined, space: space ?? undefined, dependency: dependency ?? undefined };
}

function jobOf(row: JobRow): Job {
  return {
    ...subjectOf(row),
    id: row.id,
    kind: row.kind,
    args: JSON.parse(row.args),
    bound: valueOf(row.bound),
    priority: row.priority as Priority,
    submitter: submitterOf(row),
    traceId: row.trace_id,
    schedule: row.schedule ?? undefined,
    state: row.state as JobState,
    tries: row.tries,
    triesMax: row.tries_max,
    preempted: row.preempted,
    lost: row.lost,
    deadlineMs: row.deadline_ms ?? undefined,
    submittedMs: row.submitted_ms,
    sinceMs: row.since_ms,
    notBeforeMs: row.not_before_ms ?? undefined,
    startedMs: row.started_ms ?? undefined,
    endedMs: row.ended_ms ?? undefined,
    owner: row.owner ?? undefined,
    claim: row.claim,
    cancelAsked: row.cancel_asked !== 0,
    progress: valueOf(row.progress) as Progress | undefined,
    checkpoint: valueOf(row.checkpoint),
    result: valueOf(row.result),
    error: valueOf(row.error) as JobError | undefined,
  };
}

/** Of a job, and of a schedule. */
export function submitterOf(row: Pick<JobRow, "submitted_by" | "scopes" | "submitter_ms">): Submitter {
  const { submitted_by: id, submitter_ms: sinceMs } = row;
  return { id, scopes: valueOf(row.scopes) as readonly Rule[] | undefined, ...(sinceMs === null ? {} : { sinceMs }) };
}

function tooMany(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "submit job",
    message: `${OPEN_JOBS_MAX} jobs are waiting already`,
    hint: "see why: syncline jobs explain ID; cancel those that nobody needs",
    retryable: true,
  });
}
