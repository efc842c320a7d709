/**
 * One simulated life of a few replicas from a seed: people change files, sessions run into trouble, and at the end,
 * left alone, everything must be as the mode promises and nothing lost. Throws SimFailure with the story otherwise.
 */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { ConflictPolicy, Mode, Side } from "#model/plan.ts";
import { SynclineError, stackOf } from "#model/error.ts";
import { SETTLED_MS, isDamageCode } from "#sync/scan/damage.ts";
import { agreedOf, missing } from "#testing/sim-agreed.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { type Exempt, Ignored, contentsOf, difference, doubtfulOf, feignedOf, hiddenOf, textOf, viewOf } from "#testing/sim-oracle.ts";
import type { Inode } from "#testing/sim-inode.ts";
import { type Habits, Ledger, type Maker, Person } from "#testing/sim-people.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { type SessionResult, type SessionSetup, SimSession } from "#testing/sim-session.ts";
import { SimTrace } from "#testing/sim-trace.ts";
import { Trouble } from "#testing/sim-trouble.ts";
import { takeBack } from "#testing/sim-undo.ts";
import { type LinkSpec, ROOT, Replica } from "#testing/sim-world.ts";

/** Rounds of trouble in one life. */
const ROUNDS_MAX = 4;
/** Sessions over all links after which a world without trouble must be quiet (P5). */
const QUIET_ROUNDS_MAX = 12;
/** Rounds of them in which power may be lost. */
const LOSSES_MAX = 3;
/** Virtual time after which a watching session that nobody disturbs must have made both sides the same. */
const WATCH_PATIENCE_MS = 200_000;
/** How often a watching session rescans where the disk refuses at random: only that finds such paths again. */
const WATCH_RESCAN_MS = 20_000;

/** Beyond the time in which a write may leave no trace in a file's times. */
const LONG_NS = 2 * SETTLED_MS * 1_000_000;
/** Beyond what all rounds together may have set the clocks back. */
const CLOCKS_BACK_MS = ROUNDS_MAX * 86_400_000;

export class SimFailure extends Error {
  override readonly name = "SimFailure";
}

export type SimReport = { readonly seed: number; readonly sessions: number; readonly deaths: number; readonly trace: string };

/** Mostly of two replicas, sometimes of a chain of three. */
export async function simulate(seed: number): Promise<SimReport> {
  return new Life(seed, undefined).run();
}

/** A chain or a star of three replicas, in which both pairs may be watching at the same time. */
export async function simulateThree(seed: number): Promise<SimReport> {
  return new Life(seed, "three").run();
}

/** As simulate(), where names of one file are carried as such, and people give second names often. */
export async function simulateLinks(seed: number): Promise<SimReport> {
  return new Life(seed, "links").run();
}

/** As simulate(), where people often make things once more as they were. */
export async function simulateAnew(seed: number): Promise<SimReport> {
  return new Life(seed, "anew").run();
}

class Life {
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #clock: SimClock;
  readonly #trace = new SimTrace();
  readonly #ledger = new Ledger(this.#trace);
  readonly #replicas: Replica[] = [];
  readonly #links: LinkSpec[] = [];
  readonly #people = new Map<Replica, Person>();
  readonly #isThree: boolean;
  readonly #watches: boolean;
  readonly #lies: boolean;
  readonly #died = new Set<LinkSpec>();
  readonly #lostPower = new Set<Replica>();
  /** Runs that changed something, oldest first. */
  readonly #runs: string[] = [];
  #sessions = 0;
  #healed = false;
  #deaths = 0;

  constructor(seed: number, kind: "three" | "links" | "anew" | undefined) {
    this.#seed = seed;
    const isThree = kind === "three";
    this.#isThree = isThree;
    const random = new SimRandom(seed);
    this.#random = random;
    this.#clock = new SimClock(random.fork("clock"));
    const style = random.fork("style");
    this.#watches = style.chance(0.4);
    this.#lies = style.chance(0.06);
    const linksOften = kind === "links";
    const habits = { ignores: style.chance(0.25), links: style.chance(0.3), linksOften, anewOften: kind === "anew" };
    const mode = drawMode(style);
    const conflict = drawPolicy(style, mode);
    const preserve = { ...PRESERVE_DEFAULT, hardlinks: style.chance(0.4) || linksOften };
    const mayDelete = !mode.startsWith("one-way") || style.chance(0.8);
    for (const name of style.chance(0.2) || isThree ? ["A", "B", "C"] : ["A", "B"]) this.#addReplica(name, habits);
    const [first, second, ...more] = this.#replicas as [Replica, Replica, ...Replica[]];
    // In a star the one in the middle is alpha of both pairs; in a chain it is beta of the first.
    const isStar = isThree && style.chance(0.5);
    const pairs = [isStar ? [second, first] : [first, second], ...more.map((third) => [second, third])];
    for (const [alpha, beta] of pairs as [Replica, Replica][]) {
      this.#links.push({ alpha, beta, mode, conflict, delete: mayDelete, preserve, remote: style.chance(0.35) });
    }
    this.#ledger.say(`${mode} ${conflict} ${JSON.stringify({ mayDelete, hardlinks: preserve.hardlinks, lies: this.#lies })}`);
  }

  #addReplica(name: string, habits: Habits): void {
    const random = this.#random.fork(`replica ${name}`);
    const replica = new Replica(name, this.#clock, random, {
      timestampNs: random.pick([1n, 1n, 1_000_000n]),
      orderedNames: random.chance(0.5),
      syncCoversName: random.chance(0.5),
      exchange: !random.chance(0.2),
      // A scan takes several slices then, and what it found is on its way before it has ended.
      callNs: random.fork("calls").pick([1000, 1000, 3_000_000]),
      statMayLie: this.#lies,
    });
    replica.host.disk.trace = (call, file) => this.#trace.note(file === undefined ? call : `${call} ${file}`);
    this.#replicas.push(replica);
    this.#people.set(replica, new Person(replica, random.fork("person"), this.#ledger, this.#clock, habits));
  }

  async run(): Promise<SimReport> {
    try {
      const rounds = 1 + this.#random.int(ROUNDS_MAX);
      for (let round = 0; round < rounds; round++) await this.#round();
      await this.#quieten();
      this.#checkNothingLost();
      if (this.#random.chance(0.15)) await this.#rot();
    } catch (error) {
      const story = this.#ledger.log.join("\n  ");
      const what = stackOf(error);
      throw new SimFailure(`seed ${this.#seed}: ${what}\n  ${story}`);
    }
    return { seed: this.#seed, sessions: this.#sessions, deaths: this.#deaths, trace: this.#trace.digest() };
  }

  /** May a file of the replica hold other bytes than its stat tells, or look so? Without a path: may any? */
  #mayMislead(replica: Replica, path?: RelPath): boolean {
    if (this.#lies) return true;
    const person = this.#people.get(replica)!;
    const view = viewOf(replica);
    // Bytes that nobody made are what a power loss left; one that takes a rename back, too, explains the new ctime.
    const digest = path === undefined ? undefined : view.get(path)?.content?.digest();
    if (digest !== undefined && this.#lostPower.has(replica) && !this.#ledger.made.has(digest)) return true;
    if (path !== undefined) return person.mayLookDamaged(view.get(path));
    return [...view.values()].some((inode) => person.mayLookDamaged(inode));
  }

  async #round(): Promise<void> {
    for (const person of this.#people.values()) for (let left = this.#random.int(6); left > 0; left--) person.act();
    if (this.#random.chance(0.1)) this.#clock.jump((this.#random.real() - 0.5) * 2 * 86_400_000);
    // What people left on the disk a while ago is durable, unless the disk refused to sync it; what they write during
    // a session may not be.
    for (const replica of this.#replicas) replica.host.disk.settle();
    const doubtful = new Map<Maker, Set<string>>(this.#replicas.map((replica) => [replica, doubtfulOf(replica)]));
    const { made, recent } = this.#ledger;
    this.#ledger.recent = new Set([...recent].filter((content) => doubtful.get(made.get(content)!)?.has(content)));
    if (this.#isThree && this.#random.chance(0.5)) return this.#together(this.#random.fork(`together ${this.#sessions}`));
    for (const link of this.#links) {
      const random = this.#random.fork(`session ${this.#sessions}`);
      // Not where a recovery comes first: that may bring something back before the run begins.
      const recovers = link.alpha.awaitsRecovery || link.beta.awaitsRecovery;
      if (random.chance(0.12) && !recovers) await this.#undone(link, random);
      else if (this.#watches && random.chance(0.5)) await this.#watched(link, random);
      else await this.#troubled(link, random);
    }
  }

  // ---------------------------------------------------------------- sessions

  #setup(random: SimRandom): SessionSetup {
    return {
      asyncDelayMs: random.pick([0, 0, 0, 5, 100]),
      net: Trouble.net(random),
      compress: random.pick(["none", "auto", "zstd"]),
      verifyReadBack: random.chance(0.1),
    };
  }

  #open(link: LinkSpec, random: SimRandom, setup: SessionSetup, what: string): SimSession {
    this.#sessions++;
    const how = `${what}${link.remote ? " remote" : ""}`;
    this.#ledger.say(`-- ${how} session ${link.alpha.name}-${link.beta.name}`);
    const session = new SimSession(link, this.#clock, random.fork("run"), setup);
    session.onPowerLoss = (replica) => this.#powerLoss(replica, random);
    session.onAltered = (side, path) => this.#people.get(link[side])!.altered(path);
    return session;
  }

  async #close(session: SimSession): Promise<SessionResult> {
    const result = await session.finish();
    for (const event of result.events) {
      if (event.type === "change") this.#ledger.say(`   ${event.side} ${event.action} ${event.from ?? ""} ${event.path}`);
      if (event.type === "conflict") this.#ledger.say(`   conflict ${event.conflict.reason} ${event.conflict.path}`);
      if (event.type === "problem") this.#ledger.say(`   problem ${JSON.stringify(event.problem)}`);
      if (event.type === "retry") this.#ledger.say(`   retry ${event.attempt} ${event.reason}`);
    }
    const { error, summary } = result;
    this.#ledger.say(`-- ${error === undefined ? summary?.result : `ended: ${error.message}`}`);
    if (summary !== undefined && summary.changes > 0) this.#runs.push(summary.runId);
    if (result.events.some((event) => event.type === "change" && event.action === "heal")) this.#healed = true;
    const { link } = session;
    if (error instanceof SimCrash) this.#died.add(link);
    else this.#died.delete(link);
    if (link.mode.startsWith("one-way") && result.writes.alpha > 0) throw new Error("a one-way session wrote to alpha");
    return result;
  }

  async #once(link: LinkSpec, random: SimRandom, setup: SessionSetup, trouble?: Trouble): Promise<SessionResult> {
    const session = this.#open(link, random, setup, setup.approve === undefined ? "one" : "approved");
    trouble?.arrange(session);
    session.start();
    const result = await this.#close(session);
    this.#judge(result, link, trouble);
    const hold = result.events.findLast((event) => event.type === "hold");
    if (hold?.type !== "hold" || result.error !== undefined || result.summary?.result !== "held") return result;
    // A person looks at what the brake holds and lets it go, without trouble this time.
    const { net: _, ...calm } = setup;
    return this.#once(link, random.fork("approved"), { ...calm, approve: hold.hash });
  }

  /** Did the session have a reason to end early? */
  #judge({ error }: SessionResult, link: LinkSpec, trouble: Trouble | undefined): void {
    if (error === undefined || trouble?.isHard === true) return;
    const isLost = link.remote && error instanceof SynclineError && error.retryable;
    if (!isLost || trouble === undefined) throw error;
  }

  async #troubled(link: LinkSpec, random: SimRandom): Promise<void> {
    const trouble = this.#trouble(link, random);
    const result = await this.#once(link, random, this.#setup(random), trouble);
    this.#afterwards(link, result, random);
    await this.#decide(link, result, random.fork("decide"));
  }

  /**
   * A person decides about conflicts that a session has told, as `syncline resolve` does. Who loses may go; all else is
   * as safe as ever, also where the session dies.
   */
  async #decide(link: LinkSpec, told: SessionResult, random: SimRandom): Promise<void> {
    const conflicts = [...exempt(told).conflicts];
    if (conflicts.length === 0 || !random.chance(0.6)) return;
    const paths = random.shuffle(conflicts).slice(0, 1 + random.int(2));
    const policy = random.pick(["alpha", "beta", "newer", "copy"] as const);
    this.#ledger.say(`decided: ${policy} for ${paths.join(", ")}`);
    const losers: Record<typeof policy, readonly Side[]> = { alpha: ["beta"], beta: ["alpha"], newer: ["alpha", "beta"], copy: [] };
    for (const side of losers[policy]) for (const path of paths) this.#people.get(link[side])!.givesUp(path);
    const setup = { ...this.#setup(random), decided: { policy, paths } };
    // What somebody does there in the last moment falls under the decision or not, and only the session knows which.
    const result = await this.#once(link, random, setup, this.#trouble(link, random, false, false));
    this.#afterwards(link, result, random);
  }

  #trouble(link: LinkSpec, random: SimRandom, gentle = false, people = true): Trouble {
    return new Trouble(random.fork("trouble"), {
      gentle,
      people,
      afterDeath: this.#died.has(link),
      interrupt: (replica) => this.#people.get(replica)!.interrupt(),
    });
  }

  #afterwards(link: LinkSpec, { error }: SessionResult, random: SimRandom): void {
    if (error === undefined) return;
    this.#deaths++;
    if (random.chance(0.3)) this.#powerLoss(random.pick([link.alpha, link.beta]), random);
  }

  #watch(link: LinkSpec, random: SimRandom, trouble: Trouble): SimSession {
    const source = { queueMax: random.pick([10_000, 20, 3]), delayMs: random.pick([0, 5, 50]), watchesMax: random.pick([1000, 1000, 2]) };
    const settle = random.pick(["immediate", "throttle", "debounce"] as const);
    const rescanMs = trouble.isHard ? WATCH_RESCAN_MS : 3_600_000;
    const scrub = random.fork("scrub").pick([undefined, undefined, { everyMs: 5000 }, { everyMs: 20_000, bytesPerSecond: 100_000 }]);
    const session = this.#open(link, random, { ...this.#setup(random), watch: { settle, rescanMs, source, scrub } }, `watch ${settle}`);
    trouble.arrange(session);
    session.start();
    return session;
  }

  /** People are at work beside the sessions, for a while. */
  #live(sessions: readonly SimSession[], replicas: readonly Replica[], random: SimRandom): void {
    const spanMs = random.pick([300, 3000, 20_000]);
    for (const replica of replicas) {
      for (let left = random.int(8); left > 0; left--) {
        this.#clock.after(random.real() * spanMs, () => this.#people.get(replica)!.act());
      }
    }
    this.#clock.runFor(spanMs + 1);
    for (const session of sessions) session.calm();
    // What was refused before may still be under way.
    this.#clock.runFor(1000);
  }

  async #watched(link: LinkSpec, random: SimRandom): Promise<void> {
    const trouble = this.#trouble(link, random);
    const session = this.#watch(link, random, trouble);
    this.#live([session], [link.alpha, link.beta], random);
    const isEarly = session.result !== undefined;
    if (!isEarly) this.#awaitSame([session]);
    session.abort();
    const result = await this.#close(session);
    if (isEarly) this.#judge(result, link, trouble);
    else if (result.error !== undefined) throw result.error;
    else if (result.summary?.result !== "interrupted") throw new Error(`aborted, but ${result.summary?.result}`);
    this.#afterwards(link, result, random);
  }

  /** All pairs are watched at the same time, so that the one in the middle has two sessions at its root. */
  async #together(random: SimRandom): Promise<void> {
    const sessions = this.#links.map((link) => this.#watch(link, random, this.#trouble(link, random, true)));
    this.#live(sessions, this.#replicas, random);
    this.#awaitSame(sessions);
    for (const session of sessions) session.abort();
    for (const session of sessions) {
      const { error, summary } = await this.#close(session);
      if (error !== undefined) throw error;
      if (summary?.result !== "interrupted") throw new Error(`aborted, but ${summary?.result}`);
    }
  }

  /** Watching sessions bring both sides of each together by themselves, unless the plan of one is held. */
  #awaitSame(sessions: readonly SimSession[]): void {
    const endMs = this.#clock.monotonicMs() + WATCH_PATIENCE_MS;
    for (;;) {
      this.#clock.runFor(2000);
      const ended = sessions.find(({ result }) => result !== undefined)?.result;
      if (ended !== undefined) throw ended.error ?? new Error("a watching session ended by itself");
      if (sessions.some((session) => session.held)) return;
      const found = sessions.map((session) => this.#stillDifferent(session)).find((one) => one !== undefined);
      if (found === undefined) return;
      if (this.#clock.monotonicMs() > endMs) throw new Error(`watching, ${found}`);
    }
  }

  #stillDifferent({ link, open: { conflicts, problems } }: SimSession): string | undefined {
    // Damage waits for a person.
    const mayWait = (path: RelPath): boolean => this.#mayMislead(link.alpha, path) || this.#mayMislead(link.beta, path);
    const hidden = [link.alpha, link.beta].flatMap((replica) => {
      const isHidden = (inode: Inode): boolean =>
        this.#people.get(replica)!.hides(inode) || (inode.misstated !== undefined && inode.misstated === inode.content);
      return [...viewOf(replica)].flatMap(([path, inode]) => (isHidden(inode) ? [path] : []));
    });
    const waiting = problems.filter((path) => mayWait(path));
    return difference(link, { conflicts: new Set([...conflicts, ...hidden]), problems: waiting, blocked: problems });
  }

  /**
   * What was done without trouble, taken back at once: the side is exactly as it was (P9). Mostly that is one run; what
   * the brake lets go after a person's look is a second, after one that may have changed something before it was held.
   */
  async #undone(link: LinkSpec, random: SimRandom): Promise<void> {
    const sides: readonly Side[] = link.mode.startsWith("one-way") ? ["beta"] : ["alpha", "beta"];
    // An undo may lose power: what somebody made during the session before must be durable by then.
    for (const replica of [link.alpha, link.beta]) replica.host.disk.settle();
    const before = sides.map((side) => textOf(viewOf(link[side]), 1n));
    const done = this.#runs.length;
    await this.#once(link, random, {});
    const runs = this.#runs.slice(done).reverse();
    if (runs.length === 0) return;
    for (const [at, side] of sides.entries()) {
      for (const runId of runs) {
        this.#ledger.say(`${link[side].name}: undo ${runId}`);
        const isDurable = !this.#lies && [...viewOf(link[side]).values()].every(({ poisoned }) => !poisoned);
        const taken = await takeBack(link, side, runId, this.#clock, random.fork(`undo ${side} ${runId}`), isDurable);
        for (const content of taken) this.#ledger.destroyed.add(content);
      }
      const now = textOf(viewOf(link[side]), 1n);
      for (const path of new Set([...before[at]!.keys(), ...now.keys()])) {
        if (before[at]!.get(path) === now.get(path)) continue;
        throw new Error(`undo left ${link[side].name} ${path}: was ${before[at]!.get(path)}, is ${now.get(path)}`);
      }
    }
  }

  #powerLoss(victim: Replica, random: SimRandom): void {
    const before = contentsOf(victim);
    const feigned = feignedOf(victim);
    this.#lostPower.add(victim);
    this.#ledger.say(`${victim.name}: power loss`);
    victim.powerLoss(random.fork("power"));
    const after = contentsOf(victim);
    const others = this.#replicas.filter((one) => one !== victim).map((one) => contentsOf(one).tree);
    // What people wrote during the session may be gone; what they had before, or what the other side has, may not, but
    // for what the disk first refused to sync and then claimed to have synced: no session can know better.
    // Gone too is what was written into a file that had just been placed, when the loss takes the placing back: then it
    // lies in the stage, where recovery takes it for what was staged.
    for (const content of before.all) {
      const isKept = after.all.has(content) && (after.tree.has(content) || !before.tree.has(content));
      if (isKept || !this.#ledger.recent.has(content)) continue;
      if (this.#lies || feigned.has(content) || !others.some((tree) => tree.has(content))) this.#ledger.destroyed.add(content);
    }
  }

  // ---------------------------------------------------------------- the end

  /** Without people and trouble every link must come to rest, as its mode promises but for paths in conflict. */
  async #quieten(): Promise<void> {
    for (let round = 0; round < QUIET_ROUNDS_MAX; round++) {
      let changes = 0;
      const open = new Map<LinkSpec, Exempt>();
      for (const link of this.#links) {
        const random = this.#random.fork(`quiet ${this.#sessions}`);
        const before = [hiddenOf(link.alpha), hiddenOf(link.beta)];
        const result = await this.#once(link, random, { deep: this.#mayMislead(link.alpha) || this.#mayMislead(link.beta) });
        for (const [at, now] of [hiddenOf(link.alpha, before[0]), hiddenOf(link.beta, before[1])].entries()) {
          const { rules, hidden } = before[at]!;
          if (rules === now.rules && hidden !== now.hidden) throw new Error(`ignored, but changed: ${hidden} | ${now.hidden}`);
        }
        changes += result.summary?.changes ?? 0;
        changes += this.#repair(link, result);
        open.set(link, exempt(result));
        if (round < LOSSES_MAX && this.#losesAgreed(link, random.fork("loss"))) changes++;
      }
      if (changes > 0) continue;
      for (const link of this.#links) {
        const found = difference(link, open.get(link)!);
        if (found !== undefined) throw new Error(found);
      }
      return this.#checkAtRest();
    }
    throw new Error(`still changing after ${QUIET_ROUNDS_MAX} rounds`);
  }

  /** P8: now and then the power goes right after a session; what it agreed on is there. */
  #losesAgreed(link: LinkSpec, random: SimRandom): boolean {
    // A disk that lies, or has claimed a sync that it had refused before, leaves nobody anything to promise.
    const isHonest = [link.alpha, link.beta].every((replica) => {
      return [replica.host.disk.inodeAt(ROOT), ...viewOf(replica).values()].every(({ poisoned }) => !poisoned);
    });
    if (this.#lies || !isHonest || !random.chance(0.3)) return false;
    const agreed = agreedOf(link);
    const victim = random.pick([link.alpha, link.beta]);
    this.#powerLoss(victim, random);
    const found = missing(agreed, victim);
    if (found !== undefined) throw new Error(found);
    return true;
  }

  /** Answers the problems of a session without trouble; returns how many paths a person had to mend. */
  #repair(link: LinkSpec, result: SessionResult): number {
    let count = 0;
    for (const event of result.events) {
      if (event.type !== "problem") continue;
      const { code, path, side } = event.problem;
      if (isDamageCode(code) && this.#mayMislead(link[side], path)) {
        count++;
        this.#people.get(link[side])!.repair(path);
        continue;
      }
      // With the damage of an ignore file, which is mended.
      if (code === "RULES" && this.#mayMislead(link[side])) continue;
      if (mayStay(link, event.problem)) continue;
      throw new Error(`problem without trouble: ${JSON.stringify(event.problem)}`);
    }
    return count;
  }

  /** P3, P11: what is at rest stays at rest; another session sees nothing, says nothing and writes nothing. */
  async #checkAtRest(): Promise<void> {
    for (const link of this.#links) {
      const { summary, observed, writes, events } = await this.#once(link, this.#random.fork(`rest ${this.#sessions}`), {});
      if (summary?.changes !== 0) throw new Error(`${summary?.changes} changes at rest`);
      const told = observed.alpha + observed.beta;
      if (told > 0) throw new Error(`${told} observations at rest`);
      // What stands in the way of a change is tried again each time.
      if (events.some(({ type }) => type === "problem")) continue;
      if (writes.alpha + writes.beta > 0) throw new Error(`writes at rest: ${writes.alpha} and ${writes.beta}`);
    }
  }

  /** P2: what nobody destroyed is visible somewhere, or at least in a trash where a side may win, or nobody could see it. */
  #checkNothingLost(): void {
    const { mode, conflict } = this.#links[0]!;
    // An edit that a power loss left under the stat from before it is not to be told from rot: it may lie in a trash.
    const mayTrash = this.#lies && this.#healed;
    const isStrict = !mayTrash && (mode === "two-way-safe" || mode === "one-way-safe") && (conflict === "leave" || conflict === "copy");
    const kept = new Set<string>();
    for (const replica of this.#replicas) {
      const { tree, all } = contentsOf(replica);
      for (const content of all) if (!isStrict || tree.has(content) || this.#ledger.unseen.has(content)) kept.add(content);
    }
    for (const [content, replica] of this.#ledger.made) {
      if (this.#ledger.destroyed.has(content) || kept.has(content)) continue;
      const trash = this.#replicas.filter((one) => contentsOf(one).all.has(content)).map((one) => one.name);
      throw new Error(`lost: ${content} of ${replica.name}; kept in the trash of ${trash.join(", ") || "nobody"}`);
    }
  }

  /** P14: a bit flips under an unchanged stat: a deep run says so, and brings nothing of it to the other side. */
  async #rot(): Promise<void> {
    const link = this.#random.pick(this.#links);
    // By now nothing counts as just written, and a first deep run knows the sums of all files.
    this.#clock.jump(CLOCKS_BACK_MS);
    this.#clock.spend(LONG_NS);
    for (const each of this.#links) await this.#once(each, this.#random.fork("rot 1"), { deep: true });
    for (const replica of this.#replicas) replica.settle();
    const side = this.#random.pick(["alpha", "beta"] as const);
    const ignored = new Ignored(viewOf(link[side]));
    const other = side === "alpha" ? "beta" : "alpha";
    const files = [...viewOf(link[side])].filter(([path, inode]) => {
      const both = viewOf(link[other]).get(path)?.content;
      return both !== undefined && (inode.content?.size ?? 0) > 0 && inode.links.length === 1 && !inode.poisoned && !ignored.hides(path);
    });
    if (files.length === 0) return;
    const [path, inode] = this.#random.pick(files);
    const position = this.#random.int(inode.content!.size);
    this.#ledger.say(`${link[side].name}: rot in ${path} at ${position}`);
    const good = inode.content!.digest();
    link[side].host.disk.flipBit(`/root/${path}`, position);
    if (this.#random.chance(0.5)) return this.#rotAmongPeople(link[side], path, good);
    const rotten = inode.content!.digest();
    // What the other side ignores is agreed on by nobody.
    const isAgreed = !new Ignored(viewOf(link[other])).hides(path);
    const mayHeal = isAgreed && (side === "beta" || !link.mode.startsWith("one-way"));
    if (mayHeal && viewOf(link[other]).get(path)?.content?.digest() === good) await this.#rotHeals(link, side, path, good);
    else await this.#rotStays(link, side, path, position);
    if (this.#ledger.made.has(rotten)) return;
    const found = this.#replicas.find((one) => one !== link[side] && contentsOf(one).all.has(rotten));
    if (found !== undefined) throw new Error(`rot of ${link[side].name} came to ${found.name}: ${rotten}`);
  }

  /** Where the other side cannot give the bytes back, a deep run says so, and believes those that are mended. */
  async #rotStays(link: LinkSpec, side: Side, path: RelPath, position: number): Promise<void> {
    const { summary, events } = await this.#once(link, this.#random.fork("rot 2"), { deep: true });
    const reported = events.some((event) => {
      if (event.type !== "problem" || event.problem.code !== "CORRUPT") return false;
      return event.problem.path === path && event.problem.side === side;
    });
    if (!reported || summary?.changes !== 0) throw new Error(`rot in ${path} was not reported, or exported`);
    link[side].host.disk.flipBit(`/root/${path}`, position);
    const mended = await this.#once(link, this.#random.fork("rot 3"), { deep: true });
    const isMended = mended.events.every((event) => event.type !== "problem" || event.problem.code !== "CORRUPT");
    if (mended.summary?.changes !== 0 || !isMended) throw new Error("mended, but not taken for it");
  }

  /** Deep runs, some of which may be cut off, give the bytes back; nothing else changes, and then all is at rest. */
  async #rotHeals(link: LinkSpec, side: Side, path: RelPath, good: string): Promise<void> {
    const before = textOf(viewOf(link[side]), 1n);
    this.#lostPower.clear();
    let trouble = this.#random.int(3);
    for (; trouble > 0; trouble--) {
      const random = this.#random.fork(`rot trouble ${trouble}`);
      const result = await this.#once(link, random, { ...this.#setup(random), deep: true }, this.#trouble(link, random, false, false));
      this.#afterwards(link, result, random);
    }
    // A heal that was cut off may have moved its ctime.
    this.#clock.spend(LONG_NS);
    const result = await this.#once(link, this.#random.fork("rot 2"), { deep: true });
    const { summary, events } = result;
    // A power loss may take back the names of a heal and leave the ctime that it moved. Nothing then tells that ctime
    // from one of a person's edit whose time was put back: it is told, goes nowhere, and waits for a person (HEAL-5).
    const isSuspect = events.some((event) => {
      return event.type === "problem" && event.problem.code === "SUSPECT" && event.problem.path === path && event.problem.side === side;
    });
    // The good content may be beside it then, and goes like any file.
    const others = events.filter((event) => event.type === "change" && !event.path.startsWith(`${path}.late-edit-`));
    if (isSuspect && this.#lostPower.has(link[side]) && others.length === 0) return;
    const isWhole = summary?.result === "same" || summary?.result === "conflicts" || summary?.result === "problems";
    const open = result.events.find((event) => event.type === "problem" && !mayStay(link, event.problem));
    if (!isWhole || open !== undefined) throw new Error(`after a heal: ${summary?.result} ${JSON.stringify(open)}`);
    const after = viewOf(link[side]);
    if (after.get(path)?.content?.digest() !== good) throw new Error(`rot in ${path} was not healed`);
    for (const [at, text] of textOf(after, 1n)) {
      // What a power loss left of a heal between two names is put beside the file, though it is only the good content again.
      const isLate = this.#lostPower.has(link[side]) && at.startsWith(`${path}.late-edit-`) && after.get(at)!.content?.digest() === good;
      if (at === path || before.get(at) === text || isLate) continue;
      throw new Error(`a heal of ${path} changed ${at}: ${before.get(at)}, ${text}`);
    }
    const again = await this.#once(link, this.#random.fork("rot 3"), { deep: true });
    if (again.summary?.changes !== 0) throw new Error("changes after a heal");
  }

  /** P14: whatever people do elsewhere, or to the rotten file's name and mode, no other replica gets it. */
  async #rotAmongPeople(replica: Replica, path: RelPath, good: string): Promise<void> {
    const before = viewOf(replica);
    const inode = before.get(path)!;
    const { mtimeNs, ctimeNs, mode } = inode;
    const rotten = inode.content!.digest();
    for (const person of this.#people.values()) {
      person.aim = `${ROOT}/${path}`;
      for (let left = this.#random.int(6); left > 0; left--) person.act();
    }
    // One bit may be all that two small contents differ in, also of a content that was written just now.
    if (this.#ledger.made.has(rotten)) return;
    this.#clock.spend(1_000_000_000);
    // What looks like a write is taken for one; so is a file that was put in the place of another.
    const now = [...viewOf(replica)].find(([, one]) => one === inode)?.[0];
    if (now !== undefined && now !== path && before.has(now)) return;
    const isPlain = mode === inode.mode && now === path;
    if (inode.mtimeNs !== mtimeNs || inode.links.length > 1 || (isPlain && inode.ctimeNs !== ctimeNs)) return;
    for (const deep of [false, false, true]) {
      for (const link of this.#links) await this.#once(link, this.#random.fork(`rot ${this.#sessions}`), { deep });
      const found = this.#replicas.find((one) => one !== replica && contentsOf(one).all.has(rotten));
      if (found !== undefined) throw new Error(`rot of ${replica.name} came to ${found.name}: ${rotten}`);
    }
    const isHidden = this.#replicas.some((one) => new Ignored(viewOf(one)).hides(path));
    if (isHidden || inode.ctimeNs !== ctimeNs || viewOf(replica).get(path) !== inode) return;
    const link = this.#links.find((one) => {
      const other = one.alpha === replica ? one.beta : one.alpha;
      const isOf = one.beta === replica || (one.alpha === replica && !one.mode.startsWith("one-way"));
      return isOf && viewOf(other).get(path)?.content?.digest() === good;
    });
    if (link !== undefined) throw new Error(`rot in ${path} was not healed`);
  }
}

/** Is it a problem that nobody needs to do anything about for the link to be at rest? */
function mayStay(link: LinkSpec, { code, path, side }: Problem): boolean {
  // A directory stays for the sake of what the session must not see in it, or stands in the way itself.
  const isHeld = code === "ENOTEMPTY" || code === "EEXIST";
  return isHeld && new Ignored(viewOf(link[side])).touched().has(path);
}

function exempt({ events }: SessionResult): Exempt {
  const conflicts = events.flatMap((event) => (event.type === "conflict" ? [event.conflict.path] : []));
  const problems = events.flatMap((event) => (event.type === "problem" ? [event.problem.path] : []));
  return { conflicts: new Set(conflicts), problems };
}

function drawMode(random: SimRandom): Mode {
  const draw = random.int(100);
  if (draw < 58) return "two-way-safe";
  if (draw < 72) return "two-way-resolved";
  return draw < 86 ? "one-way-replica" : "one-way-safe";
}

function drawPolicy(random: SimRandom, mode: Mode): ConflictPolicy {
  const policies: Record<Mode, readonly ConflictPolicy[]> = {
    "two-way-safe": ["leave", "leave", "leave", "copy", "copy", "alpha", "beta", "newer"],
    "two-way-resolved": ["leave", "leave", "leave", "copy"],
    "one-way-safe": ["leave", "leave", "copy", "alpha", "newer"],
    "one-way-replica": ["leave"],
  };
  return random.pick(policies[mode]);
}
