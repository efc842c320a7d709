/** What the queue must do on every database; queue.test.ts and acceptance/jobs-postgres.test.ts run it. */
import { afterEach, describe, expect, test } from "bun:test";
import type { SynclineError } from "#model/error.ts";
import type { Database } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { BREAKER_FAILURES, OPEN_FIRST_MS } from "#jobs/breaker.ts";
import { readBreakers } from "#jobs/breaker-store.ts";
import { type Job, LOST_MAX, OPEN_JOBS_MAX } from "#jobs/job.ts";
import {
  type NewJob,
  beatJob,
  cancelJob,
  dropEnded,
  insertJob,
  openOfSchedule,
  readJob,
  readJobs,
  readRunning,
  reopenJob,
  saveCheckpoint,
} from "#jobs/job-store.ts";
import { endJobsOfBackup } from "#jobs/jobs.ts";
import { JobQueue } from "#jobs/queue.ts";
import { putSchedule, readDue, readSchedule, readSchedules, removeSchedule } from "#jobs/schedule-store.ts";
import { type HubSchedule, Schedules } from "#jobs/schedules.ts";
import { JOB_MIGRATIONS } from "#jobs/schema.ts";

const T0 = 1_800_000_000_000;
const HOUR = 3_600_000;
const SYSTEM = { id: "system:jobs", scopes: undefined };

class Lab {
  readonly db: Database;
  nowMs = T0;

  constructor(db: Database) {
    this.db = db;
  }

  readonly clock = { nowMs: () => this.nowMs, monotonicMs: () => this.nowMs, sleep: () => Promise.reject(new Error("no")) };
  readonly random = { bytes: (count: number) => new Uint8Array(count).fill(128) };

  queue(owner: string, slots = 4): JobQueue {
    const { db, clock, random } = this;
    return new JobQueue({ db, clock, random, owner, slots, limitsOf: () => ({ all: 100, host: 2 }) });
  }

  add(more: Partial<NewJob> = {}): Promise<number> {
    const job: NewJob = {
      kind: "k", args: { deep: [1, "ä"] }, priority: "normal", submitter: SYSTEM, traceId: "ab", schedule: undefined,
      triesMax: 3, deadlineMs: undefined, ...more,
    };
    return this.db.transaction((sql) => insertJob(sql, job, this.nowMs));
  }

  async job(id: number): Promise<Job> {
    return (await readJob(this.db, id))!;
  }
}

const failure = { code: "LINK_LOST", message: "away", hint: undefined };
const failed = { type: "failed", error: failure, retryable: true } as const;
const done = { type: "done", result: { ok: true }, progress: { done: 1, unit: "parts" } } as const;

export function queueContract(name: string, makeDatabase: () => Promise<{ db: Database; dispose(): Promise<void> }>): void {
  describe(`job queue contract: ${name}`, () => {
    let dispose: (() => Promise<void>) | undefined;
    const fresh = async (): Promise<Lab> => {
      const made = await makeDatabase();
      dispose = made.dispose;
      await migrate(made.db, "jobs", JOB_MIGRATIONS);
      return new Lab(made.db);
    };
    afterEach(async () => {
      await dispose?.();
      dispose = undefined;
    });

    test("[JOB-10] a job comes back as it went in, and through its life", async () => {
      const lab = await fresh();
      const scopes = [{ effect: "allow", resource: "job", actions: ["manage"] }] as const;
      const more = { host: "web1", space: "demo", dependency: "host:web1", submitter: { id: "user:ann", scopes }, deadlineMs: T0 + 9 };
      const id = await lab.add({ ...more, schedule: "nightly" });
      expect(await lab.job(id)).toMatchObject({ ...more, id, state: "queued", args: { deep: [1, "ä"] }, schedule: "nightly" });
      lab.nowMs += 5000;
      const claimed = (await lab.queue("one").claim())!;
      expect(claimed).toMatchObject({ id, state: "running", owner: "one", claim: 1, startedMs: T0 + 5000 });
      expect(await lab.queue("two").claim()).toBeUndefined();
      expect(await saveCheckpoint(lab.db, claimed, { at: 7 }, { done: 7, total: 9, unit: "parts" })).toBe(true);
      expect(await beatJob(lab.db, claimed, { done: 8, unit: "parts" })).toBe(true);
      expect(await lab.job(id)).toMatchObject({ checkpoint: { at: 7 }, progress: { done: 8, unit: "parts" } });
      expect(await lab.queue("one").settle(claimed, done)).toEqual({ isMine: true, state: "done", next: undefined });
      expect(await lab.job(id)).toMatchObject({ state: "done", result: { ok: true }, endedMs: lab.nowMs, owner: undefined });
      // Whoever had it has nothing to say any more.
      expect(await saveCheckpoint(lab.db, claimed, {}, { done: 0, unit: "parts" })).toBe(false);
      expect((await lab.queue("one").settle(claimed, done)).isMine).toBe(false);
    });

    test("[JOB-11] many that claim at once get each job once", async () => {
      const lab = await fresh();
      const ids = [];
      for (let count = 0; count < 12; count++) ids.push(await lab.add());
      const queues = ["a", "b", "c"].map((owner) => lab.queue(owner, 100));
      const claims = await Promise.all(Array.from({ length: 15 }, (_, at) => queues[at % 3]!.claim()));
      const got = claims.flatMap((job) => (job === undefined ? [] : [job.id]));
      expect(got.toSorted((a, b) => a - b)).toEqual(ids);
    });

    test("[JOB-12] a retry keeps its checkpoint, waits for its time, and ends with the last try", async () => {
      const lab = await fresh();
      const queue = lab.queue("one");
      const id = await lab.add();
      for (let attempt = 1; attempt <= 3; attempt++) {
        const job = (await queue.claim())!;
        expect(job.checkpoint).toEqual(attempt === 1 ? undefined : { attempt: attempt - 1 });
        await saveCheckpoint(lab.db, job, { attempt }, { done: attempt, unit: "tries" });
        const { state } = await queue.settle(job, failed);
        expect([attempt, state]).toEqual([attempt, attempt === 3 ? "failed" : "waiting"]);
        expect(await queue.claim()).toBeUndefined();
        lab.nowMs += 60_000;
      }
      expect(await lab.job(id)).toMatchObject({ tries: 3, error: { code: "LINK_LOST", message: "away" } });
      await reopenJob(lab.db, id, lab.nowMs);
      expect(await queue.claim()).toMatchObject({ id, tries: 0, checkpoint: { attempt: 3 }, error: undefined });
    });

    test("[JOB-13] who gives way keeps checkpoint and age, and what it made room for begins in its place", async () => {
      const lab = await fresh();
      const queue = lab.queue("one", 1);
      const bulk = await lab.add({ priority: "bulk" });
      lab.nowMs += 7000;
      const job = (await queue.claim())!;
      await saveCheckpoint(lab.db, job, { at: 3 }, { done: 3, unit: "parts" });
      const urgent = await lab.add({ priority: "urgent" });
      expect(await queue.preemption([job])).toBe(bulk);
      lab.nowMs += HOUR;
      const { state, next } = await queue.settle(job, { type: "yielded" });
      expect([state, next?.id]).toEqual(["queued", urgent]);
      const again = await lab.job(bulk);
      // It had waited for seven seconds, and has not aged while it ran.
      expect(again).toMatchObject({ state: "queued", preempted: 1, tries: 0, checkpoint: { at: 3 }, sinceMs: lab.nowMs - 7000 });
      await queue.settle(next!, done);
      expect((await queue.claim())!.id).toBe(bulk);
    });

    test("[JOB-14] a process that has gone is taken over once; who lost it changes nothing; a job that ends hubs fails", async () => {
      const lab = await fresh();
      const id = await lab.add({ dependency: "host:a" });
      const [old, other] = [lab.queue("old"), lab.queue("new")];
      for (let count = 1; count <= LOST_MAX; count++) {
        const job = (await old.claim())!;
        const [seen] = await readRunning(lab.db);
        expect(await beatJob(lab.db, job, undefined)).toBe(true);
        // It has given a sign of life since.
        expect(await other.takeOver(seen!)).toBe(false);
        const [still] = await readRunning(lab.db);
        const takers = await Promise.all([other.takeOver(still!), lab.queue("third").takeOver(still!)]);
        expect(takers.filter((taken) => taken)).toHaveLength(1);
        expect(await beatJob(lab.db, job, undefined)).toBe(false);
        expect((await old.settle(job, done)).isMine).toBe(false);
        const { state, lost } = await lab.job(id);
        expect([state, lost]).toEqual(count < LOST_MAX ? ["queued", count] : ["failed", LOST_MAX - 1]);
      }
    });

    test("[JOB-15] a dependency that fails opens its breaker for all; one job tries, and success closes it", async () => {
      const lab = await fresh();
      const queue = lab.queue("one");
      for (let count = 0; count < BREAKER_FAILURES; count++) {
        await lab.add({ dependency: "host:a", triesMax: 1 });
        await queue.settle((await queue.claim())!, failed);
      }
      const [first, second] = [await lab.add({ dependency: "host:a" }), await lab.add({ dependency: "host:a" })];
      const free = await lab.add({ dependency: "host:b" });
      const jobB = (await queue.claim())!;
      expect([jobB.id, await queue.claim()]).toEqual([free, undefined]);
      lab.nowMs += OPEN_FIRST_MS;
      const probe = (await queue.claim())!;
      expect([probe.id, await queue.claim()]).toEqual([first, undefined]);
      expect((await readBreakers(lab.db)).get("host:a")).toMatchObject({ state: "half-open", probe: first });
      // The one that tried gives way to nobody's answer: the next may try at once.
      await queue.settle(probe, { type: "cancelled" });
      const next = (await queue.claim())!;
      expect(next.id).toBe(second);
      await queue.settle(next, done);
      expect(await readBreakers(lab.db)).toEqual(new Map());
    });

    test("[JOB-16] cancelling ends at once what does not run, and what runs however its process ends", async () => {
      const lab = await fresh();
      const queue = lab.queue("one");
      const [queued, runs, lost] = [await lab.add(), await lab.add({ priority: "high" }), await lab.add({ priority: "urgent" })];
      const taken = [(await queue.claim())!, (await queue.claim())!];
      expect(taken.map(({ id }) => id)).toEqual([lost, runs]);
      for (const id of [queued, runs, lost]) await lab.db.transaction((sql) => cancelJob(sql, id, lab.nowMs));
      expect([(await lab.job(queued)).state, (await lab.job(runs)).cancelAsked]).toEqual(["cancelled", true]);
      // The process ends without having heard of it.
      expect((await queue.settle(taken[1]!, { type: "hub-ends" })).state).toBe("cancelled");
      expect(await lab.queue("two").takeOver((await readRunning(lab.db))[0]!)).toBe(true);
      expect((await lab.job(lost)).state).toBe("cancelled");
      await reopenJob(lab.db, runs, lab.nowMs);
      expect(await queue.claim()).toMatchObject({ id: runs, cancelAsked: false });
    });

    test("[JOB-27] a hub that was restored from a backup goes on with nothing that had begun before", async () => {
      const lab = await fresh();
      const queue = lab.queue("one");
      const [runs, queued] = [await lab.add({ priority: "high" }), await lab.add()];
      const job = (await queue.claim())!;
      expect(await endJobsOfBackup(lab.db, lab.nowMs)).toBe(2);
      for (const id of [runs, queued]) expect(await lab.job(id)).toMatchObject({ state: "cancelled", error: { code: "INTERRUPTED" } });
      expect((await queue.settle(job, done)).isMine).toBe(false);
      await reopenJob(lab.db, queued, lab.nowMs);
      expect((await queue.claim())!.id).toBe(queued);
    });

    test("[JOB-17] lists are filtered and go page by page; jobs that are over are dropped by age and number", async () => {
      const lab = await fresh();
      const queue = lab.queue("one", 100);
      for (let count = 0; count < 9; count++) await lab.add({ kind: count % 2 === 0 ? "even" : "odd", host: `h${count % 3}` });
      const ids = async (filter: Parameters<typeof readJobs>[1], before = 1e9, limit = 100) =>
        (await readJobs(lab.db, filter, before, limit)).map(({ id }) => id);
      expect(await ids({ kind: "odd" })).toEqual([8, 6, 4, 2]);
      expect(await ids({ kind: "odd", host: "h1" })).toEqual([8, 2]);
      expect(await ids({}, 5, 2)).toEqual([4, 3]);
      for (let count = 0; count < 6; count++) {
        lab.nowMs += 1000;
        await queue.settle((await queue.claim())!, done);
      }
      expect(await ids({ state: "done" })).toEqual([6, 5, 4, 3, 2, 1]);
      expect(await dropEnded(lab.db, T0 + 2500, 3)).toBe(3);
      expect(await ids({ state: "done" })).toEqual([6, 5, 4]);
      expect(await dropEnded(lab.db, T0, 3)).toBe(0);
      // A number is never used again.
      await dropEnded(lab.db, T0 + HOUR, 0);
      expect(await lab.add()).toBe(10);
    });

    test("[JOB-18] more jobs than may be open are refused", async () => {
      const lab = await fresh();
      await lab.add();
      await lab.db.run(
        `INSERT INTO jobs (id, kind, args, priority, submitted_by, trace_id, state, tries, tries_max, preempted, lost,
           submitted_ms, since_ms, claim, beat, cancel_asked)
         WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 98 + ${OPEN_JOBS_MAX})
         SELECT i, 'k', '{}', 'bulk', 'x', 'x', 'queued', 0, 1, 0, 0, ${T0}, ${T0}, 0, 0, 0 FROM n`,
      );
      const refusal = await lab.add().catch((error: unknown) => error);
      expect([(refusal as SynclineError).code, (refusal as SynclineError).retryable]).toEqual(["LIMIT", true]);
      expect((await lab.queue("one").claim())!.id).toBe(1);
    });

    test("[JOB-19] each time of a schedule makes its job once, whoever looks, and overlaps are treated as it says", async () => {
      const lab = await fresh();
      const cancelled: number[] = [];
      const make = () =>
        new Schedules({
          db: lab.db, clock: lab.clock, random: lab.random, log: () => undefined,
          submit: (sql, { kind, args, priority, submitter, name: schedule }) =>
            insertJob(sql, { kind, args, priority, submitter, schedule, traceId: "x", triesMax: 3, deadlineMs: undefined }, lab.nowMs),
          onCancelled: (id) => cancelled.push(id),
        });
      const settings = { cron: "@hourly", zone: "UTC", kind: "k", args: {}, priority: "bulk", misfire: "run-once", catchUp: 1, enabled: true, spreadMs: 0 } as const;
      const own: HubSchedule[] = (["forbid", "queue", "replace"] as const).map((overlap) => ({ name: overlap, settings: { ...settings, overlap } }));
      const [one, two] = [make(), make()];
      await Promise.all([one.begin(own, SYSTEM), two.begin(own, SYSTEM)]);
      expect((await readSchedules(lab.db)).map(({ name: text }) => text)).toEqual(["forbid", "queue", "replace"]);
      await one.fire();
      // The first times are spread over the first minutes.
      expect(await readDue(lab.db, lab.nowMs)).toEqual([]);
      const rounds = async (): Promise<number[][]> => {
        lab.nowMs += HOUR;
        await Promise.all([one.fire(), two.fire()]);
        return Promise.all(own.map(({ name: text }) => openOfSchedule(lab.db, text)));
      };
      expect((await rounds()).map(({ length }) => length)).toEqual([1, 1, 1]);
      const [forbid, queue, replace] = await rounds();
      expect([forbid!.length, queue!.length, replace!.length]).toEqual([1, 2, 1]);
      expect((await readSchedule(lab.db, "forbid"))!.lastOutcome).toBe(`passed over: job ${forbid![0]} is not over`);
      expect(cancelled).toHaveLength(1);
      // Nobody was there for a day: one job for all of it, and that some minutes after the start.
      lab.nowMs += 24 * HOUR;
      await one.begin(own, SYSTEM);
      await one.fire();
      expect(await openOfSchedule(lab.db, "queue")).toHaveLength(2);
      lab.nowMs += 6 * 60_000;
      await one.fire();
      expect(await openOfSchedule(lab.db, "queue")).toHaveLength(3);
      // The clock was far ahead, and is right again.
      const ahead = (await readSchedule(lab.db, "queue"))!;
      await putSchedule(lab.db, { ...ahead, nextMs: lab.nowMs + 9000 * HOUR, fireMs: lab.nowMs + 9000 * HOUR });
      await one.lookAnew();
      expect((await readSchedule(lab.db, "queue"))!.nextMs).toBeLessThanOrEqual(lab.nowMs + HOUR);
      await removeSchedule(lab.db, "queue");
      expect(await readSchedule(lab.db, "queue")).toBeUndefined();
    });
  });
}
