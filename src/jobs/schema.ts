/** Tables of the room. */
import type { Migration } from "#platform/sql/database.ts";

export const JOB_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      // next_job: ids of jobs that were dropped mean nothing else later.
      "CREATE TABLE job_counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
      "INSERT INTO job_counters (name, value) VALUES ('next_job', 1)",
      // claim, beat: see job-store.ts.
      `CREATE TABLE jobs (
        id BIGINT PRIMARY KEY, kind TEXT NOT NULL, args TEXT NOT NULL, priority TEXT NOT NULL, host TEXT, space TEXT,
        dependency TEXT, submitted_by TEXT NOT NULL, scopes TEXT, trace_id TEXT NOT NULL, schedule TEXT,
        state TEXT NOT NULL, tries BIGINT NOT NULL, tries_max BIGINT NOT NULL, preempted BIGINT NOT NULL,
        lost BIGINT NOT NULL, deadline_ms BIGINT, submitted_ms BIGINT NOT NULL, since_ms BIGINT NOT NULL,
        not_before_ms BIGINT, started_ms BIGINT, ended_ms BIGINT, owner TEXT, claim BIGINT NOT NULL,
        beat BIGINT NOT NULL, cancel_asked BIGINT NOT NULL, progress TEXT, checkpoint TEXT, result TEXT, error TEXT)`,
      "CREATE INDEX jobs_by_state ON jobs (state, id)",
      "CREATE INDEX jobs_by_schedule ON jobs (schedule, state) WHERE schedule IS NOT NULL",
      "CREATE INDEX jobs_ended ON jobs (ended_ms, id) WHERE ended_ms IS NOT NULL",
      `CREATE TABLE job_breakers (
        name TEXT PRIMARY KEY, state TEXT NOT NULL, failures BIGINT NOT NULL, opens BIGINT NOT NULL,
        until_ms BIGINT NOT NULL, probe BIGINT, changed_ms BIGINT NOT NULL)`,
      `CREATE TABLE job_schedules (
        name TEXT PRIMARY KEY, origin TEXT NOT NULL, submitted_by TEXT NOT NULL, scopes TEXT, settings TEXT NOT NULL,
        enabled BIGINT NOT NULL, next_ms BIGINT, fire_ms BIGINT, last_ms BIGINT, last_job BIGINT, last_outcome TEXT)`,
    ],
  },
  {
    // What the names in the arguments stood for when the job was made, as JSON.
    id: 2,
    statements: ["ALTER TABLE jobs ADD COLUMN bound TEXT"],
  },
  {
    // Since when there is the user who submitted it.
    id: 3,
    statements: ["ALTER TABLE jobs ADD COLUMN submitter_ms BIGINT", "ALTER TABLE job_schedules ADD COLUMN submitter_ms BIGINT"],
  },
];
