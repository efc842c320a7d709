/** The jobs of a hub, put together: which kinds there are, what they work on, and what is counted of them. */
import { join } from "node:path";
import type { HubAccess } from "#access/hub-access.ts";
import type { Metrics, Reading } from "#gateway/api/metrics.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import type { AgentListener } from "#hub/agents/listener.ts";
import type { AgentRegistry } from "#hub/agents/registry.ts";
import type { HubCare } from "#hub/hub-care.ts";
import { HUB_SCHEDULES } from "#hub/jobs/kinds.ts";
import { LifecycleRows } from "#hub/lifecycle/lifecycle-rows.ts";
import type { Transfers } from "#hub/jobs/transfer-work.ts";
import { hubJobs } from "#hub/jobs/works.ts";
import type { HubUploads } from "#hub/uploads/hub-uploads.ts";
import type { Versions } from "#hub/versions/versions.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { ScrubParts } from "#hub/upkeep.ts";
import type { SpaceService } from "#hub/space-service.ts";
import { type Job, type JobState, isOver } from "#jobs/job.ts";
import { Jobs } from "#jobs/jobs.ts";
import type { Host } from "#platform/host.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";
import type { Database } from "#platform/sql/database.ts";
import type { ChunkStore } from "#store/chunk-store.ts";

/** Where the last scrub of the chunks in this directory ended. */
const SCRUB_CURSOR_FILE = "scrub-cursor";
const BREAKER_VALUES = { closed: 0, "half-open": 1, open: 2 } as const;

export type HubJobsOptions = {
  readonly host: Host;
  readonly dataDir: string;
  readonly log: ApiLog;
  readonly database: Database;
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly spaces: SpaceService;
  readonly access: HubAccess;
  readonly registry: AgentRegistry;
  readonly listener: AgentListener;
  readonly care: HubCare;
  readonly uploads: HubUploads;
  readonly versions: Versions;
  readonly transfers: Transfers;
  readonly onDamaged: ScrubParts["onDamaged"];
};

/** `count` is called before anything runs. */
export type HubJobs = { readonly jobs: Jobs; readonly count: (metrics: Metrics) => void };

/** Nothing begins before `jobs.run`. @throws {SynclineError} VERSION, STATE */
export async function openJobs(options: HubJobsOptions): Promise<HubJobs> {
  const { host, dataDir, log, database, access } = options;
  const { clock, random } = host;
  const file = join(dataDir, SCRUB_CURSOR_FILE);
  const cursor = {
    read: () => Promise.resolve(readPrivateFile(file) || undefined),
    write: (at: string | undefined) => Promise.resolve(writePrivateFile(file, at ?? "")),
  };
  const lifecycle = new LifecycleRows(database, options.meta.hubId);
  const told = (message: string, fields: Readonly<Record<string, unknown>>): void => log.info(message, fields);
  let counted: (kind: string, outcome: JobState) => void = () => undefined;
  const jobs = await Jobs.open({
    db: database,
    clock,
    random,
    access,
    audit: access.audit,
    userByName: (name) => access.users.forSignIn(name),
    kinds: hubJobs({ ...options, lifecycle, audit: access.audit, cursor, clock, random, log: told }),
    schedules: HUB_SCHEDULES,
    // One process at a time holds the file of SQLite, and one hub a database on a server.
    isAlone: true,
    onState: (job, state) => {
      tell(log, job, state);
      if (state !== "running") counted(job.kind, state);
    },
    log: told,
  });
  const count = (metrics: Metrics): void => {
    const ended = metrics.counter("syncline_job_runs_total", "Runs of jobs that ended, by kind and what became of the job");
    counted = (kind, outcome) => ended.add(1, { kind, outcome });
    askQueue(metrics, jobs);
  };
  return { jobs, count };
}

function tell(log: ApiLog, { id, kind, error, traceId }: Job, state: JobState): void {
  const fields = { job: id, kind, state, traceId };
  if (state === "failed" || state === "waiting") log.error("job", { ...fields, code: error?.code, error: error?.message });
  else if (isOver(state)) log.info("job", fields);
}

function askQueue(metrics: Metrics, jobs: Jobs): void {
  metrics.ask("syncline_jobs", "gauge", "Jobs that are not over, by state", async () => {
    const { counts } = await jobs.state();
    return Object.entries(counts).map(([state, value]): Reading => ({ labels: { state }, value }));
  });
  metrics.ask("syncline_job_oldest_seconds", "gauge", "How long the job of a kind that waits longest has waited", async () => {
    const { oldestMs } = await jobs.state();
    return [...oldestMs].map(([kind, ms]): Reading => ({ labels: { kind }, value: Math.max(0, ms) / 1000 }));
  });
  metrics.ask("syncline_job_breaker", "gauge", "What jobs cannot do without: 0 closed, 1 tried again, 2 open", async () => {
    const { breakers } = await jobs.state();
    return [...breakers].map(([dependency, { state }]): Reading => ({ labels: { dependency }, value: BREAKER_VALUES[state] }));
  });
}
