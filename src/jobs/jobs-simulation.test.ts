/**
 * Lives of a queue with several processes on one database, which are killed, cut off and started again. From a seed:
 * `SEED=7 bun test src/jobs/jobs-simulation.test.ts` replays one.
 */
import { expect, test } from "bun:test";
import * as z from "zod";
import { SynclineError, messageOf } from "#model/error.ts";
import { starvationBoundMs } from "#jobs/aging.ts";
import { choose } from "#jobs/choose.ts";
import { type Job, PRIORITY_NAMES, isOver } from "#jobs/job.ts";
import { readJobs, readRunning, readWaiting } from "#jobs/job-store.ts";
import { ADMIN, BY, JobWorld, type SimProcess } from "#jobs/jobs-fixture.ts";
import { type AnyJobKind, type JobWork, jobKind } from "#jobs/kind.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SqlValue } from "#platform/sql/database.ts";

const SEEDS = 15;
const STEPS_MAX = 12;
const PROCESSES_MAX = 3;
const ACTS = 120;

const ARGS = z.strictObject({ steps: z.int(), host: z.string().optional(), poison: z.boolean().optional() });
type Args = z.infer<typeof ARGS>;

class Life {
  readonly world: JobWorld;
  readonly #processes = new Map<string, SimProcess>();
  readonly #acknowledged = new Set<number>();
  /** What a job does at the moment, and how far it had durably come. */
  readonly #doing = new Map<number, string>();
  readonly #durable = new Map<number, number>();
  readonly #stepsDone = new Map<number, Set<number>>();
  readonly #yielded = new Map<string, number>();

  constructor(seed: number) {
    const plain = this.#kind("plain", { all: 3, host: 1 }, false);
    const bulk = this.#kind("bulk", { all: 2 }, true);
    const work: JobWork<Args> = (args, context) => this.#work(args, context);
    this.world = new JobWorld(seed, {
      slots: 2,
      kinds: [plain, bulk].map((kind) => ({ kind, work: work as JobWork })),
      onState: (process, job, state) => this.#onState(process, job, state),
    });
  }

  #kind(name: string, limits: { all: number; host?: number }, preemptible: boolean): AnyJobKind {
    return jobKind<Args>({
      name, limits, preemptible, summary: "", args: ARGS, priority: "normal", rights: () => [],
      subject: ({ host }) => ({ host, dependency: host === undefined ? undefined : `host:${host}` }),
    });
  }

  async #work({ steps, poison }: Args, context: Parameters<JobWork>[1]): Promise<unknown> {
    const { random, clock } = this.world;
    const { id } = context;
    const me = this.#owners.get(id)!;
    if (this.#isDead(me)) throw new SimCrash("of a process that has ended");
    const other = this.#doing.get(id);
    if (other !== undefined && !this.#isDead(other)) throw new Error(`job ${id} runs in ${other} and in ${me}`);
    this.#doing.set(id, me);
    try {
      let done = (context.checkpoint as { done: number } | undefined)?.done ?? 0;
      expect([id, done >= (this.#durable.get(id) ?? 0)]).toEqual([id, true]);
      while (done < steps) {
        // Longer than a lease now and then: a process that is cut off must end it by itself.
        await clock.sleep(random.int(random.chance(0.2) ? 120_000 : 20_000), context.signal);
        if (random.chance(poison === true ? 0.3 : 0.03)) {
          throw new SynclineError({ code: "LINK_LOST", op: "x", message: "away", retryable: true });
        }
        done++;
        this.#stepsDone.set(id, (this.#stepsDone.get(id) ?? new Set()).add(done));
        await context.save({ done }, { done, total: steps, unit: "steps" });
        this.#durable.set(id, done);
      }
      return { done };
    } finally {
      if (this.#doing.get(id) === me) this.#doing.delete(id);
    }
  }

  readonly #owners = new Map<number, string>();

  /** Who begins must be whose turn it is: nobody older than its bound may be passed over. */
  #onState(process: string, job: Job, state: Job["state"]): void {
    if (state === "queued") this.#yielded.set(process, job.id);
    if (state !== "running") return;
    this.#owners.set(job.id, process);
    const sql = this.#reader();
    const nowMs = this.world.clock.nowMs();
    const gaveWay = this.#yielded.get(process);
    this.#yielded.delete(process);
    this.#checks.push(
      (async () => {
        const running = (await readRunning(sql)).filter(({ id }) => id !== job.id);
        const waiting = (await readWaiting(sql)).filter(({ id }) => id !== gaveWay);
        const limitsOf = (kind: string) => (kind === "plain" ? { all: 3, host: 1 } : { all: 2 });
        const old = waiting.filter((one) => one.sinceMs + starvationBoundMs(one.priority) < job.sinceMs);
        const at = { nowMs, owner: "x", slots: 9, running, limitsOf, breakerOf: () => undefined };
        const free = old.filter(({ dependency, notBeforeMs }) => dependency === undefined && notBeforeMs === undefined);
        expect([job.id, choose(free, at)?.id]).toEqual([job.id, undefined]);
      })(),
    );
  }

  readonly #checks: Promise<void>[] = [];

  #reader() {
    const { reader } = this.world.disk;
    return {
      all: async <T>(text: string, values: readonly SqlValue[] = []) => reader.all(text, values) as T[],
      get: async <T>(text: string, values: readonly SqlValue[] = []) => reader.get(text, values) as T | undefined,
      run: () => Promise.reject(new Error("only read")),
    };
  }

  /** One that has only begun is not in the list yet. */
  #isDead(name: string): boolean {
    return this.#processes.get(name)?.isDead === true;
  }

  alive(): SimProcess[] {
    return [...this.#processes.values()].filter(({ isDead }) => !isDead);
  }

  async begin(): Promise<void> {
    const process = await this.world.run(this.world.start());
    this.#processes.set(process.name, process);
  }

  async act(): Promise<void> {
    const { random, clock } = this.world;
    const alive = this.alive();
    if (alive.length < PROCESSES_MAX && random.chance(0.15)) return this.begin();
    if (alive.length > 0 && random.chance(0.12)) return this.world.kill(random.pick(alive));
    for (const process of alive) if (process.isCut && random.chance(0.3)) process.isCut = false;
    if (alive.length > 1 && random.chance(0.05)) random.pick(alive).isCut = true;
    const reaching = alive.filter(({ isCut }) => !isCut);
    if (reaching.length > 0 && random.chance(0.03)) {
      const leaving = random.pick(reaching);
      leaving.stop.abort();
      await this.world.run(leaving.running);
      leaving.isDead = true;
      return;
    }
    if (reaching.length > 0 && random.chance(0.6)) {
      const kind = random.pick(["plain", "bulk"]);
      const host = kind === "plain" && random.chance(0.3) ? random.pick(["a", "b"]) : undefined;
      const args = { steps: 1 + random.int(STEPS_MAX), ...(host === undefined ? {} : { host }), poison: random.chance(0.2) };
      const submitting = random.pick(reaching).jobs.submit(ADMIN, BY, { kind, args, priority: random.pick(PRIORITY_NAMES) });
      const made = await this.world.run(submitting);
      this.#acknowledged.add(made.id);
    }
    clock.runFor(random.int(60_000));
    if (this.#acknowledged.size > 0 && reaching.length > 0 && random.chance(0.08)) {
      const id = random.pick([...this.#acknowledged]);
      await this.world.run(random.pick(reaching).jobs.cancel(ADMIN, BY, id).catch(() => undefined));
    }
  }

  /** Nobody disturbs any more: everything comes to its end. */
  async end(): Promise<void> {
    for (const process of this.alive()) process.isCut = false;
    if (this.alive().length === 0) await this.begin();
    const open = async () => (await readJobs(this.#reader(), {}, 1e9, 1e6)).filter(({ state }) => !isOver(state));
    for (let minutes = 0; (await open()).length > 0; minutes++) {
      if (minutes > 600) throw new Error(`still open: ${JSON.stringify(await open())}`);
      this.world.clock.runFor(60_000);
    }
    const jobs = new Map((await readJobs(this.#reader(), {}, 1e9, 1e6)).map((job) => [job.id, job]));
    for (const id of this.#acknowledged) {
      const job = jobs.get(id);
      expect([id, job !== undefined]).toEqual([id, true]);
      const { steps } = job!.args as Args;
      if (job!.state === "done") expect([id, this.#stepsDone.get(id)!.size]).toEqual([id, steps]);
      if (job!.state === "failed") expect(job!.error!.code).toMatch(/LINK_LOST|INTERRUPTED/);
      expect(job!.error?.code).not.toBe("INTERNAL");
    }
    await Promise.all(this.#checks);
    for (const process of this.alive()) this.world.kill(process);
  }

  /** For the story of a seed. */
  get counts(): { jobs: number; takeovers: number } {
    const takeovers = this.world.lines.filter((line) => line.includes("taken over")).length;
    return { jobs: this.#acknowledged.size, takeovers };
  }
}

async function live(seed: number): Promise<Life["counts"]> {
  const life = new Life(seed);
  try {
    for (let acts = 0; acts < ACTS; acts++) await life.act();
    await life.end();
  } catch (error) {
    throw new Error(`seed ${seed}: ${messageOf(error)}`, { cause: error });
  }
  return life.counts;
}

test("[JOB-30] whoever dies when, no job is lost, none runs twice at once, none forgets what was saved, none starves", async () => {
  const only = process.env["SEED"];
  let takeovers = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const counts = await live(only === undefined ? seed : Number(only));
    takeovers += counts.takeovers;
    expect(counts.jobs).toBeGreaterThan(5);
    if (only !== undefined) return;
  }
  expect(takeovers).toBeGreaterThan(SEEDS);
}, 120_000);
