/**
 * One simulated life of a few replicas from a seed: people change files, sessions run into trouble, and at the end,
 * left alone, everything must be the same everywhere and nothing lost. Throws SimFailure with the story otherwise.
 */
import type { ConflictPolicy, Mode } from "#model/plan.ts";
import { SimClock } from "#testing/sim-clock.ts";
import type { SimBoot } from "#testing/sim-host.ts";
import { Ledger, Person } from "#testing/sim-people.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";
import {
  type LinkSpec,
  Replica,
  type SessionResult,
  type Trouble,
  contentsOf,
  runLink,
  visibleTree,
} from "#testing/sim-world.ts";

/** Rounds of trouble in one life. */
const ROUNDS_MAX = 5;
/** Sessions over all links after which a world without trouble must be quiet (P5). */
const QUIET_ROUNDS_MAX = 12;

export class SimFailure extends Error {
  override readonly name = "SimFailure";
}

export type SimReport = { readonly seed: number; readonly sessions: number; readonly deaths: number; readonly trace: string };

export async function simulate(seed: number): Promise<SimReport> {
  return new Life(seed).run();
}

class Life {
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #clock: SimClock;
  readonly #ledger = new Ledger();
  readonly #replicas: Replica[] = [];
  readonly #links: LinkSpec[] = [];
  readonly #people: Person[] = [];
  #sessions = 0;
  #deaths = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = new SimRandom(seed);
    this.#clock = new SimClock(this.#random.fork("clock"));
    const three = this.#random.chance(0.25);
    for (const name of three ? ["A", "B", "C"] : ["A", "B"]) this.#addReplica(name);
    const mode: Mode = this.#random.chance(0.8) ? "two-way-safe" : "two-way-resolved";
    const conflict: ConflictPolicy = mode === "two-way-safe" && this.#random.chance(0.3) ? "copy" : "leave";
    for (let at = 1; at < this.#replicas.length; at++) {
      this.#links.push({ alpha: this.#replicas[at - 1]!, beta: this.#replicas[at]!, mode, conflict });
    }
  }

  #addReplica(name: string): void {
    const random = this.#random.fork(`replica ${name}`);
    const replica = new Replica(name, this.#clock, random, {
      timestampNs: random.pick([1n, 1n, 1_000_000n]),
      orderedNames: random.chance(0.5),
      syncCoversName: random.chance(0.5),
      exchange: !random.chance(0.2),
    });
    this.#replicas.push(replica);
    this.#people.push(new Person(replica, random.fork("person"), this.#ledger, this.#clock));
  }

  async run(): Promise<SimReport> {
    try {
      const rounds = 1 + this.#random.int(ROUNDS_MAX);
      for (let round = 0; round < rounds; round++) await this.#round();
      await this.#quieten();
      this.#checkNothingLost();
    } catch (error) {
      const story = this.#ledger.log.join("\n  ");
      throw new SimFailure(`seed ${this.#seed}: ${String(error instanceof Error ? (error.stack ?? error) : error)}\n  ${story}`);
    }
    const trace = simTrace(this.#ledger.log);
    return { seed: this.#seed, sessions: this.#sessions, deaths: this.#deaths, trace };
  }

  async #round(): Promise<void> {
    for (const person of this.#people) for (let left = this.#random.int(6); left > 0; left--) person.act();
    if (this.#random.chance(0.1)) this.#clock.jump((this.#random.real() - 0.5) * 2 * 86_400_000);
    // What people left on the disk a while ago is durable; what they write during a session may not be.
    for (const replica of this.#replicas) replica.host.disk.settle();
    this.#recent = new Set();
    for (const link of this.#links) await this.#troubled(link);
  }

  async #troubled(link: LinkSpec): Promise<void> {
    const random = this.#random.fork(`session ${this.#sessions}`);
    const trouble: Trouble = { arrange: (alpha, beta) => this.#arrange(random, link, alpha, beta) };
    const result = await this.#session(link, trouble);
    if (result.error === undefined) return;
    this.#deaths++;
    if (!random.chance(0.5)) return;
    const victim = random.pick([link.alpha, link.beta]);
    this.#powerLoss(victim, random);
  }

  #powerLoss(victim: Replica, random: SimRandom): void {
    const before = contentsOf(victim).all;
    this.#ledger.log.push(`${victim.name}: power loss`);
    victim.powerLoss(random.fork("power"));
    const after = contentsOf(victim).all;
    // What people wrote during the session and never synced may be gone; what they had before may not.
    for (const content of before) if (!after.has(content) && this.#recent.has(content)) this.#ledger.destroyed.add(content);
  }

  /** Contents made since the disks were settled, while sessions ran. */
  #recent = new Set<string>();

  #arrange(random: SimRandom, link: LinkSpec, alpha: SimBoot, beta: SimBoot): void {
    const boots = [
      { boot: alpha, replica: link.alpha },
      { boot: beta, replica: link.beta },
    ];
    for (const { boot, replica } of boots) {
      if (random.chance(0.35)) {
        const at = 1 + random.int(random.pick([20, 60, 200]));
        boot.fs.onEffect = (count) => {
          if (count === at) throw new SimCrash(`${replica.name} died at effect ${at}`);
        };
      }
      if (random.chance(0.25)) {
        const errno = random.pick(["EIO", "ENOSPC", "EACCES", "EIO"]);
        const rate = random.pick([0.005, 0.05]);
        const faults = random.fork(`faults ${replica.name}`);
        boot.fs.faults = (call, info) => {
          if (call === "close") return undefined;
          const fits = errno === "ENOSPC" ? ["write", "create", "mkdir", "link", "symlink", "rename"].includes(call) : true;
          return fits && info.path.startsWith("/root/") && faults.chance(rate) ? errno : undefined;
        };
      }
      if (random.chance(0.3)) {
        const chance = random.fork(`interleave ${replica.name}`);
        const person = this.#people[this.#replicas.indexOf(replica)]!;
        boot.fs.interleave = () => {
          if (!chance.chance(0.01)) return;
          const made = this.#ledger.made.size;
          person.act();
          for (const content of [...this.#ledger.made.keys()].slice(made)) this.#recent.add(content);
        };
      }
    }
  }

  async #session(link: LinkSpec, trouble: Trouble | undefined, approve?: string): Promise<SessionResult> {
    this.#sessions++;
    this.#ledger.log.push(`-- session ${link.alpha.name}-${link.beta.name}`);
    const result = await runLink(link, this.#clock, trouble, approve);
    for (const event of result.events) {
      if (event.type === "change") this.#ledger.log.push(`   ${event.side} ${event.action} ${event.from ?? ""} ${event.path}`);
      if (event.type === "conflict") this.#ledger.log.push(`   conflict ${event.conflict.reason} ${event.conflict.path}`);
      if (event.type === "problem") this.#ledger.log.push(`   problem ${JSON.stringify(event.problem)}`);
    }
    const how = result.error === undefined ? result.summary?.result : `ended: ${result.error.message}`;
    this.#ledger.log.push(`-- ${how}`);
    const hold = result.events.findLast((event) => event.type === "hold");
    // A person looks at what the brake holds and lets it go, without trouble this time.
    return hold?.type === "hold" && result.error === undefined ? this.#session(link, undefined, hold.hash) : result;
  }

  /** Without people and trouble every link must come to rest, with the same trees but for paths in conflict. */
  async #quieten(): Promise<void> {
    for (let round = 0; round < QUIET_ROUNDS_MAX; round++) {
      let changes = 0;
      const open = new Set<string>();
      for (const link of this.#links) {
        const { summary, events, error } = await this.#session(link, undefined);
        if (error !== undefined || summary === undefined) throw error ?? new Error("no summary");
        changes += summary.changes;
        for (const event of events) {
          if (event.type === "conflict") open.add(event.conflict.path);
          if (event.type === "problem") throw new Error(`problem without trouble: ${JSON.stringify(event.problem)}`);
        }
      }
      if (changes > 0) continue;
      for (const link of this.#links) this.#checkSame(link, open);
      return;
    }
    throw new Error(`still changing after ${QUIET_ROUNDS_MAX} rounds`);
  }

  #checkSame(link: LinkSpec, open: ReadonlySet<string>): void {
    const alpha = visibleTree(link.alpha);
    const beta = visibleTree(link.beta);
    const inConflict = (path: string): boolean =>
      [...open].some((conflict) => path === conflict || path.startsWith(`${conflict}/`) || conflict.startsWith(`${path}/`));
    for (const path of new Set([...alpha.keys(), ...beta.keys()])) {
      if (alpha.get(path) === beta.get(path) || inConflict(path)) continue;
      const { name } = link.alpha;
      throw new Error(`not the same at ${path}: ${name} ${alpha.get(path)} | ${link.beta.name} ${beta.get(path)}`);
    }
  }

  /** P2: what nobody destroyed is visible somewhere, and what was made is at least in somebody's trash. */
  #checkNothingLost(): void {
    const visible = new Set<string>();
    for (const replica of this.#replicas) for (const content of contentsOf(replica).tree) visible.add(content);
    for (const [content, replica] of this.#ledger.made) {
      if (this.#ledger.destroyed.has(content) || visible.has(content) || !this.#wasWritten(content)) continue;
      const kept = this.#replicas.filter((one) => contentsOf(one).all.has(content)).map((one) => one.name);
      const resolved = this.#links[0]!.mode === "two-way-resolved";
      // alpha wins by the user's own choice; the loser must still be in a trash.
      if (resolved && kept.length > 0) continue;
      if (process.env.DBG) for (const one of this.#replicas) console.error(one.name, [...one.host.user.tree("/root")].map(([p, e]) => `${p}=${e.content.slice(0, 8)}`).join("  "));
      throw new Error(`lost: ${content.slice(0, 20)} of ${replica.name}; kept in the trash of ${kept.join(", ") || "nobody"}`);
    }
  }

  #wasWritten(content: string): boolean {
    return !this.#ledger.failed.has(content);
  }
}

function simTrace(log: readonly string[]): string {
  return Bun.hash.xxHash3(log.join("\n")).toString(16);
}

