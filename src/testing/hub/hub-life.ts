/**
 * One simulated life of a hub from a seed: three hosts whose roots are kept the same with (parts of) one space, people on
 * them and at the hub's door, and trouble everywhere. At the end, left alone, every host must be as its link promises,
 * the space as its journal says, and nothing lost. Throws SimFailure with the story otherwise.
 */
import { isEncrypted } from "#hub/encrypted-content.ts";
import type { JournalRecord } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import { sumOf } from "#sync/chunk/sum.ts";
import { SETTLED_MS, isDamageCode } from "#sync/scan/damage.ts";
import { type AgentLink, type AgentResult, AgentSession, type AgentSetup, outerOf } from "#testing/hub/agent-session.ts";
import { DoorPerson } from "#testing/hub/door-person.ts";
import { FollowingHub, troubleCopy } from "#testing/hub/following-hub.ts";
import { HubLedger } from "#testing/hub/hub-ledger.ts";
import { OPERATOR, hasDir, healChunks, makeDir, rotChunks, upkeepOf } from "#testing/hub/hub-operator.ts";
import { type Always, type HubStyle, drawStyle } from "#testing/hub/hub-style.ts";
import { troubleAgent, troubleHub } from "#testing/hub/hub-trouble.ts";
import { type HubProcess, SPACE, SimHub } from "#testing/hub/sim-hub.ts";
import {
  encryptedTaken,
  hiddenFrom,
  judgeJournal,
  linkDifference,
  phantomInSpace,
  phantomOnHost,
  sharedBy,
  stateOf,
  unreadable,
  unseen,
} from "#testing/hub/space-oracle.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { contentDigest } from "#testing/sim-content.ts";
import { contentsOf, doubtfulOf, viewOf } from "#testing/sim-oracle.ts";
import { IGNORE_TEXTS, Person } from "#testing/sim-people.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { SimFailure, type SimReport } from "#testing/sim-run.ts";
import { SimTrace } from "#testing/sim-trace.ts";
import { Trouble } from "#testing/sim-trouble.ts";
import { UploadPerson } from "#testing/hub/upload-person.ts";
import { ROOT, Replica } from "#testing/sim-world.ts";

/** Rounds of trouble in one life. */
const ROUNDS_MAX = 3;
/** Sessions over all links after which a world without trouble must be quiet. */
const QUIET_ROUNDS_MAX = 12;
/** Virtual time after which watching sessions that nobody disturbs must have made their hosts what the space is. */
const WATCH_PATIENCE_MS = 200_000;
/** How often a watching session rescans: only that finds again what a disk refused. */
const WATCH_RESCAN_MS = 20_000;
/** Prefixes of links: out of the way of other people's names, or right in it. */
const PREFIXES = ["zone/c", "zone/c", "c"];
const DAY_MS = 86_400_000;

type Running = { readonly agent: Agent; readonly session: AgentSession; readonly isWatch: boolean };

/** A host with its link and the person on it. */
type Agent = {
  readonly link: AgentLink;
  readonly person: Person;
  /** Every path that a person or a power loss took away. */
  readonly gone: Set<RelPath>;
  /** Every path that a session took away since the hub is what it is, and was not restored from a backup. */
  readonly removed: Set<RelPath>;
  /** Its disk has lost what was not durable, at some time. */
  lostPower: boolean;
};

/** Of a session without trouble. */
type Calm = AgentResult & {
  /** Paths that a person had to mend. */
  readonly mended: number;
};

export type HubReport = SimReport & {
  /** Files that the hub began to take in pieces. */
  readonly streamed: number;
  /** Files that hosts had staged before they were in the space. */
  readonly brought: number;
  /** Times that the hub was restored from a backup, or given up for its copy. */
  readonly restores: number;
  /** Uploads that became files. */
  readonly uploaded: number;
  /** Files that somebody encrypted. */
  readonly encrypted: number;
};

export async function hubLife(seed: number, always?: Always): Promise<HubReport> {
  return new HubLife(seed, always).run();
}

class HubLife {
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #clock: SimClock;
  readonly #trace = new SimTrace();
  readonly #ledger = new HubLedger(this.#trace);
  #hub: SimHub;
  /** Given up, for the copy that was promoted. */
  #former: SimHub | undefined;
  readonly #agents: Agent[] = [];
  readonly #style: HubStyle;
  #copy: FollowingHub | undefined;
  /** The sequence up to which the hub is what it was before it was restored; what came after is not in its journal. */
  #since = 0;
  #door!: DoorPerson;
  /** In some lives. */
  #uploader: UploadPerson | undefined;
  #upkeep!: ReturnType<typeof upkeepOf>;
  readonly #underWay: Promise<void>[] = [];
  readonly #breaches: unknown[] = [];
  #sessions = 0;
  #restores = 0;
  /** Restores of this hub that have been taken note of. */
  #noted = 0;
  #deaths = 0;
  #streamed = 0;
  #brought = 0;

  constructor(seed: number, always: Always | undefined) {
    this.#seed = seed;
    const random = new SimRandom(seed);
    this.#random = random;
    this.#clock = new SimClock(random.fork("clock"));
    const style = (this.#style = drawStyle(random, always));
    const say = (line: string): void => this.#ledger.say(line);
    this.#hub = new SimHub(this.#clock, random.fork("hub"), say);
    this.#watchDisk("hub", this.#hub.host.disk);
    this.#copy = style.follows ? new FollowingHub(this.#hub, this.#clock, random.fork("follower"), say) : undefined;
    if (this.#copy !== undefined) this.#watchDisk("copy", this.#copy.hub.host.disk);
    say(JSON.stringify(style));
  }

  async run(): Promise<HubReport> {
    try {
      await this.#begin();
      const rounds = 1 + this.#random.int(ROUNDS_MAX);
      for (let round = 0; round < rounds; round++) await this.#round(this.#random.fork(`round ${round}`));
      await this.#end();
    } catch (error) {
      const story = this.#ledger.log.join("\n  ");
      const what = error instanceof Error ? (error.stack ?? String(error)) : String(error);
      throw new SimFailure(`seed ${this.#seed}: ${what}\n  ${story}`);
    } finally {
      for (const one of [this.#hub, this.#former, this.#copy]) one?.close();
    }
    const counts = { sessions: this.#sessions, deaths: this.#deaths, streamed: this.#streamed, brought: this.#brought };
    const more = { restores: this.#restores, uploaded: this.#uploader?.completed ?? 0, encrypted: this.#door.encrypted };
    return { seed: this.#seed, ...counts, ...more, trace: this.#trace.digest() };
  }

  #watchDisk(name: string, disk: Replica["host"]["disk"]): void {
    disk.trace = (call, file) => {
      this.#trace.note(`${name} ${call} ${file ?? ""}`);
      if (name === "hub" && call === "create" && file?.includes("chunks-") === true) this.#streamed++;
    };
  }

  async #begin(): Promise<void> {
    this.#hub.onStarted = (process) => this.#afterStart(process);
    this.#hub.start();
    const style = this.#random.fork("links");
    const seeds = await this.#clock.runUntilIdle(this.#hub.createSpace(this.#style.settings));
    this.#copy?.start();
    if (this.#copy !== undefined) this.#underWay.push(this.#copy.follow());
    const prefixes: RelPath[] = [""];
    for (const name of ["A", "B", "C"]) {
      const isOneWay = name !== "A" && style.chance(0.25);
      const mode = isOneWay ? style.pick(["one-way-replica", "one-way-safe"] as const) : "two-way-safe";
      const from = style.chance(isOneWay ? 0.6 : 0.2) ? "space" : "host";
      const shared = name === "C" || style.chance(0.1) ? style.pick(PREFIXES) : "";
      // Nobody else may write where a host alone says what is there.
      const prefix = isOneWay && from === "host" ? `only${name}` : shared;
      if (!prefixes.includes(prefix)) prefixes.push(prefix);
      const readOnly = isOneWay && from === "space";
      this.#addAgent({ name, prefix, mode, from, readOnly, seeds });
    }
    const random = this.#random.fork("door");
    const { encrypts } = this.#style;
    this.#door = new DoorPerson(this.#hub, random, this.#ledger, { prefixes: [...prefixes, "", ""], seeds, encrypts });
    const uploads = this.#random.fork("uploader");
    const parts = { door: this.#door, prefixes, seeds };
    this.#uploader = this.#style.uploads ? new UploadPerson(this.#hub, uploads, this.#ledger, parts) : undefined;
    this.#upkeep = upkeepOf(this.#hub);
    await this.#makePrefixes();
  }

  #addAgent(link: Omit<AgentLink, "replica">): void {
    const random = this.#random.fork(`replica ${link.name}`);
    const replica = new Replica(link.name, this.#clock, random, {
      timestampNs: random.pick([1n, 1n, 1_000_000n]),
      orderedNames: random.chance(0.5),
      syncCoversName: random.chance(0.5),
      exchange: !random.chance(0.2),
      // A scan takes several slices then, and what it found is on its way before it has ended.
      callNs: random.fork("calls").pick([1000, 1000, 3_000_000]),
    });
    this.#watchDisk(link.name, replica.host.disk);
    const habits = { ignores: this.#style.ignores, links: this.#style.links, streams: this.#style.streams };
    const person = new Person(replica, random.fork("person"), this.#ledger, this.#clock, habits);
    this.#agents.push({ link: { ...link, replica }, person, gone: new Set(), removed: new Set(), lostPower: false });
    this.#ledger.say(`${link.name}: "${link.prefix}" ${link.mode} from ${link.from}`);
  }

  // ---------------------------------------------------------------- what happens

  /** Whatever it is that happens on a host: what is not there afterwards as it was is gone by that. */
  #happens<T>({ link, gone }: Agent, what: () => T): T {
    const before = viewOf(link.replica);
    const result = what();
    const after = viewOf(link.replica);
    for (const [path, inode] of before) {
      const now = after.get(path);
      // In another directory's place what a session removes in it, by the directory that it holds, goes from this path.
      if (now?.kind !== inode.kind || (inode.kind === "dir" && now !== inode)) gone.add(path);
    }
    return result;
  }

  #act(agent: Agent): void {
    this.#happens(agent, () => agent.person.act());
  }

  #powerLoss(agent: Agent, random: SimRandom): void {
    const { replica } = agent.link;
    const before = contentsOf(replica);
    agent.lostPower = true;
    this.#ledger.say(`${replica.name}: power loss`);
    this.#happens(agent, () => replica.powerLoss(random.fork("power")));
    const after = contentsOf(replica);
    for (const content of before.all) {
      const isKept = after.all.has(content) && (after.tree.has(content) || !before.tree.has(content));
      if (!isKept && this.#ledger.recent.has(content)) this.#ledger.destroyed.add(content);
    }
  }

  #atDoor(): void {
    this.#underWay.push(this.#door.act());
  }

  #atUploads(): void {
    if (this.#uploader !== undefined) this.#underWay.push(this.#uploader.act());
  }

  /** Prune, retention and scrub, at a bad moment: only what is pinned or referred to is safe. */
  #keepUp(): Promise<void> {
    this.#ledger.say("hub: upkeep");
    const { process } = this.#hub;
    if (process === undefined) return Promise.resolve();
    const round = this.#upkeep.round(new AbortController().signal).then(
      ({ removedChunks, expiredVersions, damagedChunks }) =>
        this.#ledger.say(`hub: upkeep removed ${removedChunks}, expired ${expiredVersions}, damaged ${damagedChunks}`),
      (error: unknown) => {
        if (process.boot.fs.isDead || (error instanceof SynclineError && error.code === "DISK")) return;
        this.#breaches.push(error);
      },
    );
    const done = Promise.race([round, process.ended]);
    this.#underWay.push(done);
    return done;
  }

  /** Beside all that goes on. */
  #backUp(): void {
    const { process } = this.#hub;
    if (process === undefined) return;
    const made = this.#hub.backUp().then(
      () => this.#ledger.say("hub: backed up"),
      (error: unknown) => {
        if (process.boot.fs.isDead || (error instanceof SynclineError && error.code === "DISK")) return;
        this.#breaches.push(error);
      },
    );
    this.#underWay.push(Promise.race([made, process.ended]));
    // What is forgotten in the middle of it is still in what was copied.
    void this.#keepUp();
  }

  #lose(): void {
    if (this.#hub.process !== undefined && this.#hub.hasBackup) this.#hub.lose();
  }

  /** Before anybody else uses a hub that was restored: what came after its backup is only where hosts have it. */
  async #afterStart(process: HubProcess): Promise<void> {
    if (this.#noted === this.#hub.restores) return;
    this.#noted = this.#hub.restores;
    this.#restores++;
    if (this.#copy !== undefined) this.#copy.mayHalt = true;
    await this.#forget(process);
  }

  /** @param had what the hub had before, where that may be another life of the space */
  async #forget(process: HubProcess, had?: readonly JournalRecord[]): Promise<void> {
    const { records } = await stateOf(process);
    const shared = had === undefined ? records.length : sharedBy(records, had);
    const points = await process.spaces.restorePoints(OPERATOR, SPACE);
    this.#ledger.say(`hub: it is as it was at ${records.length}`);
    this.#since = records.length;
    this.#door.forget(shared, new Set(points.map(({ name }) => name)));
    this.#uploader?.forget();
    for (const { removed } of this.#agents) removed.clear();
    const kept = this.#kept(records);
    for (const content of this.#ledger.made.keys()) if (!kept.has(content)) this.#ledger.destroyed.add(content);
  }

  /** What is on a host, also in its trash, or in the history of the space. */
  #kept(records: readonly JournalRecord[]): Set<string> {
    const sums = new Set(records.flatMap(({ entry }) => (entry?.kind === "file" ? [entry.sum] : [])));
    const { seeds } = this.#agents[0]!.link;
    const kept = new Set(this.#agents.flatMap(({ link }) => [...contentsOf(link.replica).all]));
    for (const bytes of this.#ledger.bytes) if (sums.has(sumOf(bytes, seeds))) kept.add(contentDigest(bytes));
    return kept;
  }

  async #settled(): Promise<void> {
    await this.#clock.runUntilIdle(Promise.all(this.#underWay.splice(0)));
    const breach = this.#door.breaches[0] ?? this.#breaches[0];
    if (breach !== undefined) throw breach;
  }

  // ---------------------------------------------------------------- rounds

  async #round(random: SimRandom): Promise<void> {
    for (const agent of this.#agents) for (let left = random.int(6); left > 0; left--) this.#act(agent);
    for (let left = random.int(4); left > 0; left--) this.#atDoor();
    this.#atUploads();
    await this.#settled();
    if (random.chance(0.1)) this.#clock.jump((random.real() - 0.5) * 2 * DAY_MS);
    this.#settleDisks();
    const spanMs = random.pick([300, 3000, 20_000]);
    if (!this.#style.calm) troubleHub(this.#hub, random.fork("hub"), spanMs, this.#style.rots);
    const sessions = this.#agents.flatMap((agent) => {
      const session = random.chance(0.85) ? this.#session(agent, random.fork(`session ${agent.link.name}`)) : undefined;
      return session === undefined ? [] : [session];
    });
    this.#hub.beforeCommit = this.#meanwhile(random.fork("meanwhile"));
    this.#schedule(random, spanMs);
    if (!this.#style.calm && this.#copy !== undefined) troubleCopy(this.#copy, random.fork("copy"), spanMs);
    this.#clock.runFor(spanMs + 1);
    this.#hub.calm();
    this.#copy?.calm();
    for (const { session } of sessions) session.calm();
    await this.#settled();
    if (this.#hub.isDoubtful) await this.#clock.runUntilIdle(this.#hub.restart());
    await this.#calmCopy(random.fork("copy after"));
    await this.#finishAll(sessions, random);
    if (random.chance(0.3)) await this.#clock.runUntilIdle(this.#hub.restart());
    await this.#judge();
  }

  async #calmCopy(random: SimRandom): Promise<void> {
    const copy = this.#copy;
    if (copy === undefined) return;
    if (copy.hub.isDoubtful || random.chance(0.2)) await this.#clock.runUntilIdle(copy.restart());
    // What it lacks while the way is cut is what a promotion loses.
    if (!this.#style.calm) copy.isCut = random.chance(0.4);
  }

  /** What people left on a disk a while ago is durable, unless the disk refused to sync it. */
  #settleDisks(): void {
    for (const { link } of this.#agents) link.replica.host.disk.settle();
    const { made, recent } = this.#ledger;
    const doubtful = new Map(this.#agents.map(({ link }) => [link.name, doubtfulOf(link.replica)]));
    this.#ledger.recent = new Set([...recent].filter((content) => doubtful.get(made.get(content)!.name)?.has(content)));
  }

  /** What others do between a session's last look and its commit. */
  #meanwhile(random: SimRandom): () => Promise<void> {
    return async () => {
      if (!random.chance(0.4)) return;
      for (let left = random.int(4); left > 0 && this.#hub.process !== undefined; left--) await this.#door.act();
      if (random.chance(0.3)) await this.#keepUp();
    };
  }

  #schedule(random: SimRandom, spanMs: number): void {
    const at = (what: () => void): void => void this.#clock.after(random.real() * spanMs, what);
    for (const agent of this.#agents) for (let left = random.int(5); left > 0; left--) at(() => this.#act(agent));
    for (let left = random.int(6); left > 0; left--) at(() => this.#atDoor());
    for (let left = random.int(3); left > 0; left--) at(() => void this.#keepUp());
    if (this.#uploader !== undefined) for (let left = 3 + random.int(5); left > 0; left--) at(() => this.#atUploads());
    if (this.#style.isLost) this.#scheduleLoss(random.fork("lost"), at);
    if (this.#style.rots) at(() => rotChunks(this.#hub, random.fork("rot"), (line) => this.#ledger.say(line)));
  }

  #scheduleLoss(random: SimRandom, at: (what: () => void) => void): void {
    if (random.chance(0.6)) at(() => this.#backUp());
    if (random.chance(0.5)) at(() => this.#lose());
  }

  #session(agent: Agent, random: SimRandom): Running {
    const isWatch = random.chance(this.#style.streams ? 0.8 : 0.4);
    const source = { queueMax: random.pick([10_000, 20, 3]), delayMs: random.pick([0, 5, 50]) };
    const settle = random.pick(["immediate", "throttle", "debounce"] as const);
    const session = this.#open(agent, random, {
      asyncDelayMs: random.pick([0, 0, 0, 5, 100]),
      net: this.#style.calm ? { delayMs: 5 } : Trouble.net(random),
      compress: random.pick(["none", "auto", "zstd"]),
      ...(isWatch ? { watch: { settle, rescanMs: WATCH_RESCAN_MS, source } } : {}),
    });
    if (!this.#style.calm) {
      const interrupt = (): (() => void) => this.#happens(agent, () => agent.person.interrupt());
      troubleAgent(session, random.fork("trouble"), { power: !this.#style.rots, interrupt });
    }
    session.start();
    return { agent, session, isWatch };
  }

  #open(agent: Agent, random: SimRandom, setup: AgentSetup): AgentSession {
    this.#sessions++;
    this.#ledger.say(`-- ${setup.watch === undefined ? "one" : "watch"} session of ${agent.link.name}`);
    const session = new AgentSession(agent.link, this.#hub, random.fork("run"), setup);
    session.onPowerLoss = () => this.#powerLoss(agent, random);
    session.onAltered = (path) => agent.person.altered(path);
    return session;
  }

  async #close(agent: Agent, session: AgentSession): Promise<AgentResult> {
    const result = await session.finish();
    this.#brought += result.brought;
    for (const { path, restores } of result.removed) if (restores === this.#hub.restores) agent.removed.add(path);
    const { name } = agent.link;
    for (const event of result.events) {
      if (event.type === "change") {
        this.#ledger.say(`   ${name}: ${event.side} ${event.action} ${event.from ?? ""} ${event.path}`);
      }
      if (event.type === "conflict") this.#ledger.say(`   ${name}: conflict ${event.conflict.reason} ${event.conflict.path}`);
      if (event.type === "problem") this.#ledger.say(`   ${name}: problem ${JSON.stringify(event.problem)}`);
      if (event.type === "retry") this.#ledger.say(`   ${name}: retry ${event.attempt} ${event.reason}`);
    }
    const { error, summary } = result;
    this.#ledger.say(`-- ${name}: ${error === undefined ? summary?.result : `ended: ${error.message}`}`);
    if (error !== undefined) this.#deaths++;
    return result;
  }

  async #finishAll(sessions: readonly Running[], random: SimRandom): Promise<void> {
    const watching = sessions.filter(({ isWatch, session }) => isWatch && session.result === undefined);
    for (const { agent, session, isWatch } of sessions) if (!isWatch) await this.#close(agent, session);
    await this.#awaitSame(watching);
    for (const { session } of watching) session.abort();
    for (const { agent, session, isWatch } of sessions) if (isWatch) await this.#close(agent, session);
    for (const { agent } of sessions) {
      if (!this.#style.calm && !this.#style.rots && random.chance(0.1)) this.#powerLoss(agent, random.fork(agent.link.name));
    }
  }

  /** Watching sessions bring their hosts together with the space by themselves, unless a plan is held. */
  async #awaitSame(watching: readonly Running[]): Promise<void> {
    if (this.#style.rots) return;
    const endMs = this.#clock.monotonicMs() + WATCH_PATIENCE_MS;
    for (;;) {
      this.#clock.runFor(2000);
      const process = await this.#clock.runUntilIdle(this.#hub.living());
      let found: string | undefined;
      for (const { agent, session } of watching) {
        if (session.result !== undefined || session.held) continue;
        const mayDiffer = (path: RelPath): boolean => this.#mayMislead(agent, path);
        found ??= await this.#clock.runUntilIdle(linkDifference(process, agent.link, mayDiffer));
      }
      if (found === undefined) return;
      if (this.#clock.monotonicMs() > endMs) throw new Error(`watching, ${found}`);
    }
  }

  /**
   * May a session take the file for a damaged one, or not see its edit at all? Somebody rewrote it, put its size and time
   * back and gave it another mode or name; or a power loss left bytes that nobody made. Such a file is told and waits for
   * a person (scan/damage.ts), so it is no breach.
   */
  #mayMislead({ link, person, lostPower }: Agent, path: RelPath): boolean {
    const inode = viewOf(link.replica).get(path);
    const digest = inode?.content?.digest();
    if (lostPower && digest !== undefined && !this.#ledger.made.has(digest)) return true;
    return person.mayLookDamaged(inode);
  }

  // ---------------------------------------------------------------- the end

  async #judge(): Promise<void> {
    const process = await this.#clock.runUntilIdle(this.#hub.living());
    const { acknowledged, points } = this.#door;
    await this.#clock.runUntilIdle(judgeJournal(process, acknowledged, points));
    if (this.#style.rots) return;
    const bad = await this.#clock.runUntilIdle(unreadable(process, this.#agents[0]!.link.seeds));
    if (bad.length > 0) throw new Error(`cannot be read: ${bad.join("; ")}`);
  }

  async #end(): Promise<void> {
    if (this.#style.promotes && this.#copy !== undefined) {
      await this.#clock.runUntilIdle(this.#copy.promote());
      if (this.#style.failsOver) await this.#failOver(this.#copy);
    }
    this.#copy?.calm();
    if (this.#style.rots) {
      const copy = this.#copy;
      if (copy !== undefined && !copy.isPromoted) await this.#clock.runUntilIdle(copy.healSource());
      await this.#clock.runUntilIdle(healChunks(this.#hub, [...this.#ledger.bytes, ...IGNORE_TEXTS]));
      const process = await this.#clock.runUntilIdle(this.#hub.living());
      const bad = await this.#clock.runUntilIdle(unreadable(process, this.#agents[0]!.link.seeds));
      if (bad.length > 0) throw new Error(`not healed: ${bad.join("; ")}`);
    }
    await this.#quieten();
    await this.#hostRots();
    await this.#clock.runUntilIdle(this.#keepUp());
    await this.#settled();
    await this.#judge();
    await this.#judgeLosses();
    await this.#clock.runUntilIdle(this.#hub.restart());
    await this.#judge();
    await this.#judgeCopy();
  }

  /** The source is given up: every host joins the hub of the promoted copy, where nothing is remembered of its link. */
  async #failOver(copy: FollowingHub): Promise<void> {
    this.#ledger.say("-- all go on with the copy");
    copy.calm();
    const { records } = await this.#clock.runUntilIdle(stateOf(await this.#clock.runUntilIdle(this.#hub.living())));
    copy.hub.believed.push(...this.#hub.believed);
    this.#former = this.#hub;
    this.#hub = copy.hub;
    this.#noted = 0;
    const { onStarted } = copy.hub;
    copy.hub.onStarted = async (process) => {
      await onStarted?.(process);
      await this.#afterStart(process);
    };
    this.#copy = undefined;
    this.#upkeep = upkeepOf(this.#hub);
    this.#door.goTo(this.#hub);
    this.#uploader?.goTo(this.#hub);
    this.#agents.splice(0, 3, ...this.#agents.map((agent) => ({ ...agent, link: { ...agent.link, joined: "copy" } })));
    const process = await this.#clock.runUntilIdle(this.#hub.living());
    await this.#clock.runUntilIdle(this.#forget(process, records));
    this.#restores++;
    await this.#round(this.#random.fork("failover"));
  }

  /** A copy is what its source is; a promoted one is how the source began, and lives on by itself. */
  async #judgeCopy(): Promise<void> {
    const copy = this.#copy;
    if (copy === undefined) return;
    const breach = copy.breaches[0];
    if (breach !== undefined) throw breach;
    const judged = copy.isPromoted ? copy.livesOn() : copy.judge(this.#agents[0]!.link.seeds);
    await this.#clock.runUntilIdle(judged);
    await this.#clock.runUntilIdle(copy.restart());
  }

  /** Without people and trouble every link must come to rest, as its mode promises. */
  async #quieten(): Promise<void> {
    for (let round = 0; round < QUIET_ROUNDS_MAX; round++) {
      let changes = 0;
      for (const agent of this.#agents) changes += await this.#quiet(agent);
      changes += await this.#makePrefixes();
      if (changes > 0) continue;
      const process = await this.#clock.runUntilIdle(this.#hub.living());
      for (const { link } of this.#agents) {
        const found = await this.#clock.runUntilIdle(linkDifference(process, link));
        if (found !== undefined) throw new Error(found);
      }
      return this.#judgeRest();
    }
    throw new Error(`still changing after ${QUIET_ROUNDS_MAX} rounds`);
  }

  /** A bit flips in a file of a host that the space holds, too: a deep session gets its bytes back from there. */
  async #hostRots(): Promise<void> {
    const random = this.#random.fork("host rots");
    const agent = random.pick(this.#agents);
    const { link } = agent;
    const { host } = link.replica;
    if (link.mode.startsWith("one-way") && link.from === "host") return;
    // Beyond the time in which a write may leave no trace, whatever the rounds have done to the clocks.
    this.#clock.jump(ROUNDS_MAX * DAY_MS + 2 * SETTLED_MS);
    while ((await this.#once(agent, undefined, true)).mended > 0);
    link.replica.settle();
    const { spaces } = await this.#clock.runUntilIdle(this.#hub.living());
    for (const [path, { content, links, poisoned }] of random.shuffle([...viewOf(link.replica)])) {
      if (content === undefined || content.size === 0 || links.length > 1 || poisoned) continue;
      if (await this.#isHidden(agent, path)) continue;
      const good = sumOf(content.toBytes(), link.seeds);
      const held = (await this.#clock.runUntilIdle(spaces.version(OPERATOR, SPACE, outerOf(link, path))))?.entry;
      if (held?.kind !== "file" || held.sum !== good) continue;
      this.#ledger.say(`${link.name}: rot in ${path}`);
      host.disk.flipBit(`${ROOT}/${path}`, random.int(content.size));
      const { summary } = await this.#once(agent, undefined, true);
      const now = viewOf(link.replica).get(path)?.content;
      const isBack = now !== undefined && sumOf(now.toBytes(), link.seeds) === good;
      if (!isBack || summary?.healed !== 1 || summary.changes !== 1) throw new Error(`rot in ${path} of ${link.name} was not healed`);
      return this.#judgeRest();
    }
  }

  /** Changes of one session; a link whose directory was taken away by another session waits for the operator. */
  async #quiet(agent: Agent): Promise<number> {
    const isGone = !(await this.#clock.runUntilIdle(this.#hub.living().then((process) => hasDir(process, agent.link.prefix))));
    try {
      const { summary, events, mended } = await this.#once(agent);
      // A link that never ran makes its directory anew; nobody takes it for one that was emptied.
      const isEmptied = events.some((event) => event.type === "change" && event.action === "remove");
      if (isGone && isEmptied) throw new Error(`${agent.link.prefix} is gone, and so is what ${agent.link.name} had`);
      // The directory that it made is in no plan of its own, and news to the links above.
      return summary!.changes + mended + (isGone ? 1 : 0);
    } catch (error) {
      const isTold = error instanceof SynclineError && error.code === "ROOT_MISSING";
      if (!isGone || !isTold) throw error;
      return 1;
    }
  }

  /** A session without trouble; a plan that the brake holds is let go, and what waits for a person is mended by one. */
  async #once(agent: Agent, approve?: string, deep = false): Promise<Calm> {
    const session = this.#open(agent, this.#random.fork(`calm ${this.#sessions}`), { approve, deep });
    session.start();
    const result = await this.#close(agent, session);
    if (result.error !== undefined) throw result.error;
    const hold = result.events.findLast((event) => event.type === "hold");
    if (hold?.type === "hold" && result.summary?.result === "held") return this.#once(agent, hold.hash, deep);
    let mended = 0;
    for (const event of result.events) {
      if (event.type !== "problem") continue;
      const { code, path, side } = event.problem;
      // A directory stays for the sake of what the session must not see in it, or stands in the way itself.
      const isHeld = code === "ENOTEMPTY" || code === "EEXIST";
      if (isHeld && (await this.#isHidden(agent, path))) continue;
      if (code === "UNSUPPORTED" && side !== session.hostSide && (await this.#isEncrypted(agent, path))) continue;
      const isExcused = isDamageCode(code) && side === session.hostSide && this.#mayMislead(agent, path);
      if (!isExcused) throw new Error(`problem without trouble: ${JSON.stringify(event)}`);
      mended++;
      this.#happens(agent, () => agent.person.repair(path));
    }
    return { ...result, mended };
  }

  async #isHidden({ link }: Agent, path: RelPath): Promise<boolean> {
    const process = await this.#clock.runUntilIdle(this.#hub.living());
    return (await this.#clock.runUntilIdle(hiddenFrom(process, link)))(path);
  }

  async #isEncrypted({ link }: Agent, path: RelPath): Promise<boolean> {
    const { spaces } = await this.#clock.runUntilIdle(this.#hub.living());
    const version = await this.#clock.runUntilIdle(spaces.version(OPERATOR, SPACE, outerOf(link, path)));
    return version?.entry?.kind === "file" && isEncrypted(version);
  }

  /** What is at rest stays at rest: sessions see nothing and commit nothing. */
  async #judgeRest(): Promise<void> {
    const before = await this.#sequence();
    for (const agent of this.#agents) {
      const { summary, observed } = await this.#once(agent);
      if (summary?.changes !== 0) throw new Error(`${summary?.changes} changes at rest`);
      if (observed > 0) throw new Error(`${observed} observations at rest`);
    }
    if ((await this.#sequence()) !== before) throw new Error("a commit at rest");
  }

  async #sequence(): Promise<number> {
    const { spaces } = await this.#clock.runUntilIdle(this.#hub.living());
    return (await this.#clock.runUntilIdle(spaces.space(OPERATOR, SPACE))).sequence;
  }

  /** The directories of links, where they are gone or something else took their place. Returns how many were made. */
  async #makePrefixes(): Promise<number> {
    let made = 0;
    for (const { link } of this.#agents) {
      if (link.prefix === "") continue;
      for (const path of [parentOf(link.prefix), link.prefix]) {
        const process = await this.#clock.runUntilIdle(this.#hub.living());
        if (!(await this.#clock.runUntilIdle(makeDir(process, path)))) continue;
        this.#ledger.say(`operator: made ${path}`);
        made++;
      }
    }
    return made;
  }

  /** What nobody destroyed on a host is on one, or in the history of the space; and nothing went without a cause. */
  async #judgeLosses(): Promise<void> {
    const process = await this.#clock.runUntilIdle(this.#hub.living());
    const { records } = await this.#clock.runUntilIdle(stateOf(process));
    const kept = this.#kept(records);
    for (const [content, { name }] of this.#ledger.made) {
      if (!this.#ledger.destroyed.has(content) && !kept.has(content)) throw new Error(`lost: ${content} of ${name}`);
    }
    const lost = unseen(records, this.#hub.believed);
    if (lost !== undefined) throw new Error(lost);
    const links = this.#agents.map(({ link }) => link);
    const gone = new Map(this.#agents.map((agent) => [agent.link.name, agent.gone]));
    const taken = encryptedTaken(records, links);
    if (taken !== undefined) throw new Error(taken);
    const phantom = phantomInSpace(records, links, gone);
    if (phantom !== undefined) throw new Error(phantom);
    for (const { link, removed } of this.#agents) {
      const found = phantomOnHost(records.slice(this.#since), link, removed);
      if (found !== undefined) throw new Error(found);
    }
  }
}
