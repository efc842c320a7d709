/** Processes of a hub that run jobs on one simulated database, and can be killed at any moment. */
import type { Database } from "#platform/sql/database.ts";
import type { Access, Principal } from "#access/access.ts";
import type { AuditEvent } from "#access/audit.ts";
import { SynclineError } from "#model/error.ts";
import type { Job, JobState } from "#jobs/job.ts";
import { type JobUser, Jobs, type JobsOptions } from "#jobs/jobs.ts";
import { SimDatabase, SimDatabaseDisk } from "#testing/hub/sim-database.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimRandom } from "#testing/sim-random.ts";

export const ADMIN: Principal = { id: "user:admin", kind: "user", name: "admin", roles: ["admin"], scopes: undefined };
export const BY = { id: "user:admin", traceId: "00000000000000000000000000000001" };

/** Allows what `mayNot` does not name; tests of who may what use the real one. */
export class OpenAccess implements Pick<Access, "decide" | "require" | "reaches" | "authenticate"> {
  readonly mayNot = new Set<string>();

  decide(who: Principal, action: string): { allowed: boolean; reason: string } {
    return { allowed: !this.mayNot.has(`${who.id} ${action}`), reason: "as the test says" };
  }

  require(who: Principal, action: string): void {
    if (this.decide(who, action).allowed) return;
    throw new SynclineError({ code: "DENIED", op: action, message: `${who.id} may not` });
  }

  reaches(): boolean {
    return true;
  }

  authenticate(): Promise<Principal> {
    return Promise.reject(new Error("nobody signs in here"));
  }
}

export type SimProcess = {
  readonly name: string;
  readonly jobs: Jobs;
  readonly running: Promise<void>;
  readonly stop: AbortController;
  isDead: boolean;
  /** It does not reach the database. */
  isCut: boolean;
};

export type SimWorldOptions = Pick<JobsOptions, "kinds"> &
  Partial<Pick<JobsOptions, "schedules" | "isAlone" | "slots">> & {
    readonly onState?: (process: string, job: Job, state: JobState) => void;
  };

/** One database for all processes: transactions follow one another, whoever makes them. */
export class JobWorld {
  readonly random: SimRandom;
  readonly clock: SimClock;
  readonly disk = new SimDatabaseDisk();
  readonly access = new OpenAccess();
  readonly users = new Map<string, JobUser>([["admin", { principal: ADMIN, createdMs: 1 }]]);
  readonly audit: AuditEvent[] = [];
  readonly lines: string[] = [];
  readonly #options: SimWorldOptions;
  #tail: Promise<unknown> = Promise.resolve();
  #count = 0;

  constructor(seed: number, options: SimWorldOptions) {
    this.random = new SimRandom(seed);
    this.clock = new SimClock(this.random.fork("clock"));
    this.#options = options;
  }

  /** In virtual time. */
  run<T>(work: Promise<T>): Promise<T> {
    return this.clock.runUntilIdle(work);
  }

  async start(): Promise<SimProcess> {
    const name = `p${++this.#count}`;
    const process = { name, isDead: false, isCut: false, stop: new AbortController() } as { -readonly [K in keyof SimProcess]: SimProcess[K] };
    const { kinds, schedules = [], isAlone = false, slots, onState } = this.#options;
    process.jobs = await Jobs.open({
      db: this.#database(process),
      clock: this.clock,
      random: this.random.fork(name).asRandom(),
      access: this.access,
      audit: { appendIn: async (_sql, _by, event) => void this.audit.push(event) },
      userByName: async (user) => this.users.get(user),
      kinds,
      schedules,
      isAlone,
      ...(slots === undefined ? {} : { slots }),
      onState: (job, state) => {
        if (!process.isDead) onState?.(name, job, state);
      },
      log: (message, fields) => this.lines.push(`${name} ${message} ${JSON.stringify(fields)}`),
    });
    process.running = process.jobs.run(process.stop.signal).catch(() => undefined);
    return process;
  }

  /** Nothing that it still does reaches the database. */
  kill(process: SimProcess): void {
    process.isDead = true;
    process.stop.abort();
  }

  #database(process: SimProcess): Database {
    const dead = () => process.isDead;
    const options = { disk: this.disk, clock: this.clock, random: this.random.fork(process.name), isDead: dead, onCommit: () => undefined };
    const inner = new SimDatabase(options);
    const reached = <T>(ask: () => Promise<T>): Promise<T> => (process.isCut ? Promise.reject(unreachable()) : ask());
    const transaction: Database["transaction"] = (work) => {
      if (process.isCut) return Promise.reject(unreachable());
      const turn = this.#tail.then(() => inner.transaction(work));
      // What a process that died had begun is taken back before the next one begins.
      this.#tail = turn.catch(() => undefined).then(() => (dead() ? this.disk.crash() : undefined));
      return turn;
    };
    return {
      engine: "postgres",
    commits: undefined,
      all: (text, values) => reached(() => inner.all(text, values)),
      get: (text, values) => reached(() => inner.get(text, values)),
      run: (text, values) => transaction((sql) => sql.run(text, values)),
      transaction,
      copyTo: (file) => inner.copyTo(file),
      close: () => inner.close(),
    };
  }
}

function unreachable(): SynclineError {
  const message = "the database server does not answer";
  return new SynclineError({ code: "LINK_LOST", op: "use database", message, retryable: true });
}
