/** Jobs as people and other rooms use them, run by one process. */
import { describe, expect, test } from "bun:test";
import * as z from "zod";
import { SynclineError } from "#model/error.ts";
import { BACKOFF_LONGEST_MS } from "#jobs/backoff.ts";
import { type Job, isOver } from "#jobs/job.ts";
import { ADMIN, BY, JobWorld, type SimProcess } from "#jobs/jobs-fixture.ts";
import { type JobContext, type JobWork, jobKind } from "#jobs/kind.ts";
import { RUN_QUANTUM_MS } from "#jobs/runner.ts";

const ARGS = z.strictObject({ steps: z.int().min(1), host: z.string().optional() });
type Args = z.infer<typeof ARGS>;

/** Does `steps` steps of five seconds, and saves after each. */
class Lab {
  readonly steps: string[] = [];
  readonly world: JobWorld;
  process!: SimProcess;
  /** Before a step: may throw. */
  before: (step: number, context: JobContext) => void = () => undefined;

  constructor(slots = 2) {
    const work: JobWork<Args> = async ({ steps }, context) => {
      let done = (context.checkpoint as { done: number } | undefined)?.done ?? 0;
      while (done < steps) {
        this.before(done + 1, context);
        await this.world.clock.sleep(5000, context.signal);
        this.steps.push(`${context.id}:${++done}`);
        await context.save({ done }, { done, total: steps, unit: "steps" });
      }
      return { steps };
    };
    const kind = jobKind<Args>({
      name: "steps",
      summary: "does steps",
      args: ARGS,
      priority: "normal",
      preemptible: true,
      limits: { all: 2, host: 1 },
      rights: () => [{ action: "manage", resource: { type: "job", name: "steps" } }],
      subject: ({ host }) => ({ host, dependency: host === undefined ? undefined : `host:${host}` }),
    });
    this.world = new JobWorld(1, { kinds: [{ kind, work: work as JobWork }], slots, isAlone: true });
  }

  run<T>(work: () => Promise<T>): Promise<T> {
    return this.world.run(work());
  }

  async begin(): Promise<void> {
    this.process = await this.run(() => this.world.start());
  }

  submit(args: unknown, more: object = {}): Promise<Job> {
    return this.run(() => this.process.jobs.submit(ADMIN, BY, { kind: "steps", args, ...more }));
  }

  job(id: number): Promise<Job> {
    return this.run(() => this.process.jobs.job(ADMIN, id));
  }

  async reason(id: number): Promise<string> {
    return (await this.run(() => this.process.jobs.explain(ADMIN, id))).explanation.reason;
  }

  async ended(id: number): Promise<Job> {
    for (;;) {
      const job = await this.job(id);
      if (isOver(job.state)) return job;
      this.world.clock.runFor(1000);
    }
  }
}

async function begun(slots?: number): Promise<Lab> {
  const lab = new Lab(slots);
  await lab.begin();
  return lab;
}

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "done",
    (error: unknown) => (error instanceof SynclineError ? error.code : error),
  );

describe("jobs", () => {
  test("[JOB-20] a job is checked, recorded, run with progress, and keeps its result", async () => {
    const lab = await begun();
    expect(await codeOf(lab.submit({ steps: 0 }))).toBe("USAGE");
    expect(await codeOf(lab.submit({ steps: 1 }, { kind: "none" }))).toBe("USAGE");
    expect(await codeOf(lab.submit({ steps: 1 }, { deadlineMs: 5 }))).toBe("USAGE");
    const { id } = await lab.submit({ steps: 3 });
    lab.world.clock.runFor(11_000);
    expect(await lab.job(id)).toMatchObject({ state: "running", progress: { done: 2, total: 3 } });
    expect(await lab.ended(id)).toMatchObject({ state: "done", result: { steps: 3 }, tries: 0 });
    expect(lab.world.audit).toMatchObject([{ action: "job.submit", resource: `job:${id}`, details: { kind: "steps" } }]);
    expect(await lab.reason(id)).toBe("it is done");
  });

  test("[JOB-21] what may be tried again is, from its checkpoint; what may not fails at once; retry gives new tries", async () => {
    const lab = await begun();
    let away = true;
    lab.before = (step) => {
      if (step === 2 && away) throw new SynclineError({ code: "LINK_LOST", op: "x", message: "it is away", retryable: true });
    };
    const { id } = await lab.submit({ steps: 2 });
    lab.world.clock.runFor(6000);
    expect(await lab.job(id)).toMatchObject({ state: "waiting", tries: 1 });
    const failed = await lab.ended(id);
    expect(failed).toMatchObject({ state: "failed", tries: 3, error: { code: "LINK_LOST", message: "it is away" } });
    expect(failed.endedMs! - failed.submittedMs).toBeLessThan(2 * BACKOFF_LONGEST_MS);
    expect(await lab.reason(id)).toBe("it failed in 3 of 3 tries: it is away");
    away = false;
    await lab.run(() => lab.process.jobs.retry(ADMIN, BY, id));
    expect(await lab.ended(id)).toMatchObject({ state: "done", tries: 0 });
    // The first step was not done again.
    expect(lab.steps).toEqual([`${id}:1`, `${id}:2`]);
    lab.before = () => {
      throw new SynclineError({ code: "HALT", op: "x", message: "a person must look", hint: "look" });
    };
    const halted = await lab.submit({ steps: 1 });
    expect(await lab.ended(halted.id)).toMatchObject({ state: "failed", tries: 1, error: { code: "HALT", hint: "look" } });
    expect(await codeOf(lab.run(() => lab.process.jobs.retry(ADMIN, BY, id)))).toBe("STALE");
  });

  test("[JOB-22] bulk work gives way to urgent work at a safe point, after it has run for its time, and goes on where it was", async () => {
    const lab = await begun(1);
    const bulk = await lab.submit({ steps: 10 }, { priority: "bulk" });
    lab.world.clock.runFor(1000);
    const urgent = await lab.submit({ steps: 1 }, { priority: "urgent" });
    expect(await lab.reason(urgent.id)).toBe(`the hub runs 1 jobs at once: job ${bulk.id}`);
    lab.world.clock.runFor(RUN_QUANTUM_MS - 3000);
    expect(await lab.job(bulk.id)).toMatchObject({ state: "running" });
    await lab.ended(urgent.id);
    expect(await lab.ended(bulk.id)).toMatchObject({ state: "done", preempted: 1, tries: 0 });
    const at = lab.steps.indexOf(`${urgent.id}:1`);
    expect(lab.steps.filter((_, index) => index !== at)).toEqual(Array.from({ length: 10 }, (_, step) => `${bulk.id}:${step + 1}`));
    expect([at >= 2, at <= 4]).toEqual([true, true]);
    // A normal job is as urgent as another one.
    const [first, second] = [await lab.submit({ steps: 9 }), await lab.submit({ steps: 1 })];
    await lab.ended(second.id);
    expect((await lab.job(first.id)).preempted).toBe(0);
  });

  test("[JOB-23] cancelling ends what waits at once and what runs where it is; it can be retried from there", async () => {
    const lab = await begun();
    const { id } = await lab.submit({ steps: 5 });
    lab.world.clock.runFor(7000);
    await lab.run(() => lab.process.jobs.cancel(ADMIN, BY, id));
    expect(await lab.ended(id)).toMatchObject({ state: "cancelled", checkpoint: { done: 1 } });
    expect(await codeOf(lab.run(() => lab.process.jobs.cancel(ADMIN, BY, id)))).toBe("STALE");
    await lab.run(() => lab.process.jobs.retry(ADMIN, BY, id));
    await lab.ended(id);
    expect(lab.steps).toHaveLength(5);
    expect(lab.world.audit.map(({ action }) => action)).toEqual(["job.submit", "job.cancel", "job.retry"]);
  });

  test("[JOB-24] a hub that ends puts its jobs back, and the next one goes on from their checkpoints", async () => {
    const lab = await begun();
    const { id } = await lab.submit({ steps: 4 });
    lab.world.clock.runFor(12_000);
    lab.process.stop.abort();
    await lab.run(() => lab.process.running);
    await lab.begin();
    expect(await lab.ended(id)).toMatchObject({ state: "done", tries: 0, lost: 0 });
    expect(lab.steps).toEqual([1, 2, 3, 4].map((step) => `${id}:${step}`));
    const killed = await lab.submit({ steps: 4 });
    lab.world.clock.runFor(12_000);
    lab.world.kill(lab.process);
    await lab.begin();
    expect(await lab.ended(killed.id)).toMatchObject({ state: "done", tries: 0 });
    expect(lab.steps.slice(4)).toEqual([1, 2, 3, 4].map((step) => `${killed.id}:${step}`));
  });

  test("[JOB-25] rights are asked when it is submitted and again when it begins; who has gone runs nothing", async () => {
    const lab = await begun(1);
    const { access, users } = lab.world;
    access.mayNot.add("user:admin manage");
    expect(await codeOf(lab.submit({ steps: 1 }))).toBe("DENIED");
    access.mayNot.clear();
    const first = await lab.submit({ steps: 2 });
    const [second, third] = [await lab.submit({ steps: 1 }), await lab.submit({ steps: 1 })];
    access.mayNot.add("user:admin manage");
    expect(await lab.ended(first.id)).toMatchObject({ state: "done" });
    expect(await lab.ended(second.id)).toMatchObject({ state: "failed", error: { code: "DENIED" } });
    access.mayNot.clear();
    users.delete("admin");
    await lab.run(() => lab.process.jobs.retry(ADMIN, BY, second.id));
    expect(await lab.ended(second.id)).toMatchObject({ state: "failed", error: { code: "DENIED" } });
    expect(lab.steps).toEqual([`${first.id}:1`, `${first.id}:2`]);
    // Others see nothing of it that they may not read, and change nothing that is not theirs.
    const bob = { ...ADMIN, id: "user:bob", name: "bob" };
    access.mayNot.add("user:bob manage");
    expect(await codeOf(lab.run(() => lab.process.jobs.retry(bob, BY, second.id)))).toBe("DENIED");
    access.mayNot.add("user:bob read");
    expect(await codeOf(lab.run(() => lab.process.jobs.job(bob, third.id)))).toBe("NOT_FOUND");
    expect(await lab.run(() => lab.process.jobs.list(bob, {}, undefined, 10))).toEqual([]);
  });

  test("[JOB-26] a job for a host that fails again and again waits, and says for what", async () => {
    const lab = await begun();
    lab.before = () => {
      throw new SynclineError({ code: "LINK_LOST", op: "x", message: "web1 is away", retryable: true });
    };
    const first = await lab.submit({ steps: 1, host: "web1" });
    await lab.ended(first.id);
    const { id } = await lab.submit({ steps: 1, host: "web1" });
    expect(await lab.reason(id)).toMatch(/^host:web1 failed 3 times in a row; it is tried again in \d+ s$/);
    const { explanation } = await lab.run(() => lab.process.jobs.explain(ADMIN, id));
    expect(explanation).toMatchObject({ starvationBoundMs: 20 * 60_000, breaker: { state: "open", dependency: "host:web1" } });
    lab.before = () => undefined;
    // Another host has a breaker of its own.
    const other = await lab.submit({ steps: 1, host: "web2" });
    expect(await lab.ended(other.id)).toMatchObject({ state: "done" });
    expect(await lab.ended(id)).toMatchObject({ state: "done" });
    expect((await lab.run(() => lab.process.jobs.state())).breakers.size).toBe(0);
  });
  test("[JOB-79] a job, and a schedule, of a user that is gone act for nobody who gets the name later", async () => {
    const lab = await begun(1);
    const { users } = lab.world;
    const first = await lab.submit({ steps: 2 });
    const second = await lab.submit({ steps: 1 });
    const settings = { cron: "* * * * *", zone: "UTC", kind: "steps", args: { steps: 1 }, priority: "normal", misfire: "skip", catchUp: 1, overlap: "queue", enabled: true, spreadMs: 0 } as const;
    await lab.run(() => lab.process.jobs.putSchedule(ADMIN, BY, "hers", settings));
    users.set("admin", { principal: ADMIN, createdMs: 2 });
    expect(await lab.ended(first.id)).toMatchObject({ state: "done" });
    expect(await lab.ended(second.id)).toMatchObject({ state: "failed", error: { code: "DENIED" } });
    const { id } = await lab.run(() => lab.process.jobs.runSchedule(ADMIN, BY, "hers"));
    expect(await lab.ended(id)).toMatchObject({ state: "failed", error: { code: "DENIED" } });
    // Nor is it shown to whoever may not see those of others.
    const { access } = lab.world;
    access.mayNot.add("user:admin read");
    expect([await codeOf(lab.run(() => lab.process.jobs.job(ADMIN, second.id))), await lab.run(() => lab.process.jobs.list(ADMIN, {}, undefined, 9))]).toEqual(["NOT_FOUND", []]);
    access.mayNot.clear();
    // Who has the name now has jobs of her own.
    await lab.run(() => lab.process.jobs.putSchedule(ADMIN, BY, "hers", settings));
    const own = await lab.run(() => lab.process.jobs.runSchedule(ADMIN, BY, "hers"));
    expect(await lab.ended(own.id)).toMatchObject({ state: "done" });
  });
});
