/**
 * One fixed morning of changes on two sides, synchronised again and again with the process ending at every place where
 * it can end: before each effect on either disk and before each commit of either state. Whatever the place, the sides
 * must come to exactly what they come to without any crash.
 */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { Side } from "#model/plan.ts";
import { SimClock } from "#testing/sim-clock.ts";
import type { SimDiskOptions } from "#testing/sim-disk.ts";
import { contentsOf, difference, textOf, viewOf } from "#testing/sim-oracle.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { type SessionResult, SimSession } from "#testing/sim-session.ts";
import { type LinkSpec, Replica } from "#testing/sim-world.ts";

export type Crashes = {
  readonly how: "kill" | "power";
  /** Is beta behind the wire? Then its process comes back and the session goes on. */
  readonly remote: boolean;
  readonly disk: SimDiskOptions;
  /** Dies again in the recovery, at its n-th step; undefined: once only. */
  readonly again?: number;
  /** Every n-th step only. */
  readonly stride?: number;
};

/** Sessions after which nothing may change any more. */
const ROUNDS_MAX = 6;

/** Counts the steps of both sides together, and ends the one that makes the wanted step. */
class Deadline {
  steps = 0;
  readonly #at: number;
  readonly #power: boolean;

  constructor(at: number, power: boolean) {
    this.#at = at;
    this.#power = power;
  }

  arm(session: SimSession, random: SimRandom): void {
    const step = (side: Side): void => {
      if (++this.steps === this.#at) session.die(side, `at step ${this.#at}`, this.#power);
    };
    session.onBoot = (side, boot) => {
      boot.fs.onEffect = () => step(side);
    };
    session.link.alpha.onCommit = () => step("alpha");
    session.link.beta.onCommit = () => step("beta");
    session.onPowerLoss = (replica) => replica.powerLoss(random);
  }
}

class Morning {
  readonly #options: Crashes;
  readonly #random: SimRandom;
  readonly #clock = new SimClock();
  readonly link: LinkSpec;

  constructor(options: Crashes, seed: number) {
    this.#options = options;
    this.#random = new SimRandom(seed);
    const make = (name: string): Replica => new Replica(name, this.#clock, this.#random.fork(name), options.disk);
    const preserve = { ...PRESERVE_DEFAULT, hardlinks: true };
    const base = { mode: "two-way-safe", conflict: "leave", delete: true, preserve } as const;
    this.link = { alpha: make("A"), beta: make("B"), remote: options.remote, ...base };
  }

  /** Runs one session; with a deadline it may die in it. */
  async session(deadline?: Deadline): Promise<SessionResult> {
    const session = new SimSession(this.link, this.#clock, this.#random, {});
    deadline?.arm(session, this.#random.fork("power"));
    session.start();
    return session.finish();
  }

  async prepare(): Promise<void> {
    const { alpha, beta } = this.link;
    const a = alpha.host.user;
    for (const name of ["keep", "edit", "save", "gone", "mode", "old", "kind"]) a.write(`/root/${name}`, `${name} 1`);
    a.write("/root/large", Buffer.alloc(140_000, "large 1 "));
    for (const dir of ["tree", "tree/in", "theirs"]) a.mkdir(`/root/${dir}`);
    for (const name of ["tree/one", "tree/in/two", "theirs/edit", "theirs/gone"]) a.write(`/root/${name}`, `${name} 1`);
    a.symlink("/root/link", "keep");
    await this.session();
    const b = beta.host.user;
    this.#clock.spend(60_000_000_000);
    a.patch("/root/edit", "edit 2", 0);
    a.save("/root/save", "save 2");
    a.remove("/root/gone");
    a.chmod("/root/mode", 0o600);
    a.rename("/root/old", "/root/new");
    a.rename("/root/tree", "/root/moved");
    a.patch("/root/large", "LARGE 2", 70_000);
    a.remove("/root/kind");
    a.mkdir("/root/kind");
    a.write("/root/kind/below", "below 1");
    a.mkdir("/root/fresh/deep");
    a.write("/root/fresh/deep/file", "fresh 1");
    a.link("/root/fresh/deep/file", "/root/fresh/twin");
    b.patch("/root/theirs/edit", "theirs 2", 0);
    b.remove("/root/theirs/gone");
    b.write("/root/theirs/new", "theirs new");
    b.remove("/root/link");
    b.symlink("/root/link", "elsewhere");
    for (const replica of [alpha, beta]) replica.host.disk.settle();
  }

  /** What must come out, as text. */
  async settle(): Promise<string> {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const { summary, error, events } = await this.session();
      if (error !== undefined || summary === undefined) throw error ?? new Error("no summary");
      const open = events.filter(({ type }) => type === "problem" || type === "conflict");
      if (summary.result !== "same") throw new Error(`ends with ${summary.result}: ${JSON.stringify(open.slice(0, 3), bigints)}`);
      if (summary.changes > 0) continue;
      const found = difference(this.link, { conflicts: new Set() });
      if (found !== undefined) throw new Error(found);
      return [...textOf(viewOf(this.link.alpha), this.#options.disk.timestampNs ?? 1n)].join("\n");
    }
    throw new Error(`still changing after ${ROUNDS_MAX} rounds`);
  }

  /** Contents that the changes of the morning replaced or removed: they must be in a trash. */
  lost(before: ReadonlySet<string>): string[] {
    const kept = [...contentsOf(this.link.alpha).all, ...contentsOf(this.link.beta).all];
    return [...before.difference(new Set(kept))];
  }
}

const bigints = (_: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);

/** Returns how many places to die there were. Throws at the first that did harm. */
export async function crashEverywhere(options: Crashes): Promise<number> {
  const calm = new Morning(options, 1);
  await calm.prepare();
  const counter = new Deadline(0, false);
  const first = await calm.session(counter);
  if (first.error !== undefined) throw first.error;
  const expected = await calm.settle();
  for (let at = 1; at <= counter.steps; at += options.stride ?? 1) {
    try {
      await dieAt(options, at, expected);
    } catch (error) {
      throw new Error(`dying (${options.how}) at step ${at} of ${counter.steps}: ${String(error)}`, { cause: error });
    }
  }
  return counter.steps;
}

async function dieAt(options: Crashes, at: number, expected: string): Promise<void> {
  const morning = new Morning(options, at + 1);
  await morning.prepare();
  const { alpha, beta } = morning.link;
  const before = new Set([...contentsOf(alpha).tree, ...contentsOf(beta).tree]);
  const isPower = options.how === "power";
  await morning.session(new Deadline(at, isPower));
  if (options.again !== undefined) await morning.session(new Deadline(options.again, isPower));
  const outcome = await morning.settle();
  if (outcome !== expected) throw new Error(`other than without a crash:\n${outcome}\n--- expected\n${expected}`);
  const lost = morning.lost(before);
  if (lost.length > 0) throw new Error(`lost ${lost.join(", ")}`);
}
