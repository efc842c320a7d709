/**
 * A simulated hub with its hosts, the people on them and at its doors, and what can happen to all of them. When it happens,
 * and what must be true afterwards, is told in hub-life.ts.
 */
import { isEncrypted } from "#hub/encrypted-content.ts";
import type { JournalRecord } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import { sumOf } from "#sync/chunk/sum.ts";
import {
  type AgentLink, type AgentResult, AgentSession, type AgentSetup, outerOf,
} from "#testing/hub/agent-session.ts";
import { DoorPerson } from "#testing/hub/door-person.ts";
import { FollowingHub } from "#testing/hub/following-hub.ts";
import { HubLedger } from "#testing/hub/hub-ledger.ts";
import { OPERATOR, makeDir, upkeepOf } from "#testing/hub/hub-operator.ts";
import { type Always, type HubStyle, drawStyle } from "#testing/hub/hub-style.ts";
import { type HubProcess, SPACE, SimHub } from "#testing/hub/sim-hub.ts";
import { hiddenFrom, sharedBy, stateOf } from "#testing/hub/space-oracle.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { contentDigest } from "#testing/sim-content.ts";
import { contentsOf, viewOf } from "#testing/sim-oracle.ts";
import { Person } from "#testing/sim-people.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { SimTrace } from "#testing/sim-trace.ts";
import { UploadPerson } from "#testing/hub/upload-person.ts";
import { Replica } from "#testing/sim-world.ts";

/** Prefixes of links: out of the way of other people's names, or right in it. */
const PREFIXES = ["zone/c", "zone/c", "c"];

/** A host with its link and the person on it. */
export type Agent = {
  readonly link: AgentLink;
  readonly person: Person;
  /** Every path that a person or a power loss took away. */
  readonly gone: Set<RelPath>;
  /** Every path that a session took away since the hub is what it is, and was not restored from a backup. */
  readonly removed: Set<RelPath>;
  /** Its disk has lost what was not durable, at some time. */
  lostPower: boolean;
};

export class HubWorld {
  readonly random: SimRandom;
  readonly clock: SimClock;
  readonly trace = new SimTrace();
  readonly ledger = new HubLedger(this.trace);
  hub: SimHub;
  /** Given up, for the copy that was promoted. */
  former: SimHub | undefined;
  readonly agents: Agent[] = [];
  readonly style: HubStyle;
  copy: FollowingHub | undefined;
  /** The sequence up to which the hub is what it was before it was restored; what came after is not in its journal. */
  since = 0;
  door!: DoorPerson;
  /** In some lives. */
  uploader: UploadPerson | undefined;
  upkeep!: ReturnType<typeof upkeepOf>;
  readonly underWay: Promise<void>[] = [];
  readonly breaches: unknown[] = [];
  sessions = 0;
  restores = 0;
  /** Restores of this hub that have been taken note of. */
  noted = 0;
  deaths = 0;
  streamed = 0;
  brought = 0;

  constructor(seed: number, always: Always | undefined) {
    const random = new SimRandom(seed);
    this.random = random;
    this.clock = new SimClock(random.fork("clock"));
    const style = (this.style = drawStyle(random, always));
    const say = (line: string): void => this.ledger.say(line);
    this.hub = new SimHub(this.clock, random.fork("hub"), say);
    this.watchDisk("hub", this.hub.host.disk);
    this.copy = style.follows ? new FollowingHub(this.hub, this.clock, random.fork("follower"), say) : undefined;
    if (this.copy !== undefined) this.watchDisk("copy", this.copy.hub.host.disk);
    say(JSON.stringify(style));
  }

  watchDisk(name: string, disk: Replica["host"]["disk"]): void {
    disk.trace = (call, file) => {
      this.trace.note(`${name} ${call} ${file ?? ""}`);
      if (name === "hub" && call === "create" && file?.includes("chunks-") === true) this.streamed++;
    };
  }

  async begin(): Promise<void> {
    this.hub.onStarted = (process) => this.afterStart(process);
    this.hub.start();
    const style = this.random.fork("links");
    const seeds = await this.clock.runUntilIdle(this.hub.createSpace(this.style.settings));
    this.copy?.start();
    if (this.copy !== undefined) this.underWay.push(this.copy.follow());
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
      this.addAgent({ name, prefix, mode, from, readOnly, seeds });
    }
    const random = this.random.fork("door");
    const { encrypts } = this.style;
    this.door = new DoorPerson(this.hub, random, this.ledger, { prefixes: [...prefixes, "", ""], seeds, encrypts });
    const uploads = this.random.fork("uploader");
    const parts = { door: this.door, prefixes, seeds };
    this.uploader = this.style.uploads ? new UploadPerson(this.hub, uploads, this.ledger, parts) : undefined;
    this.upkeep = upkeepOf(this.hub);
    await this.makePrefixes();
  }

  addAgent(link: Omit<AgentLink, "replica">): void {
    const random = this.random.fork(`replica ${link.name}`);
    const replica = new Replica(link.name, this.clock, random, {
      timestampNs: random.pick([1n, 1n, 1_000_000n]),
      orderedNames: random.chance(0.5),
      syncCoversName: random.chance(0.5),
      exchange: !random.chance(0.2),
      // A scan takes several slices then, and what it found is on its way before it has ended.
      callNs: random.fork("calls").pick([1000, 1000, 3_000_000]),
    });
    this.watchDisk(link.name, replica.host.disk);
    const { ignores, links, streams, anew: anewOften } = this.style;
    const habits = { ignores, links, streams, anewOften };
    const person = new Person(replica, random.fork("person"), this.ledger, this.clock, habits);
    this.agents.push({ link: { ...link, replica }, person, gone: new Set(), removed: new Set(), lostPower: false });
    this.ledger.say(`${link.name}: "${link.prefix}" ${link.mode} from ${link.from}`);
  }

  /** Whatever it is that happens on a host: what is not there afterwards as it was is gone by that. */
  happens<T>({ link, gone }: Agent, what: () => T): T {
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

  act(agent: Agent): void {
    this.happens(agent, () => agent.person.act());
  }

  powerLoss(agent: Agent, random: SimRandom): void {
    const { replica } = agent.link;
    const before = contentsOf(replica);
    agent.lostPower = true;
    this.ledger.say(`${replica.name}: power loss`);
    this.happens(agent, () => replica.powerLoss(random.fork("power")));
    const after = contentsOf(replica);
    for (const content of before.all) {
      const isKept = after.all.has(content) && (after.tree.has(content) || !before.tree.has(content));
      if (!isKept && this.ledger.recent.has(content)) this.ledger.destroyed.add(content);
    }
  }

  atDoor(): void {
    this.underWay.push(this.door.act());
  }

  atUploads(): void {
    if (this.uploader !== undefined) this.underWay.push(this.uploader.act());
  }

  /** Prune, retention and scrub, at a bad moment: only what is pinned or referred to is safe. */
  keepUp(): Promise<void> {
    this.ledger.say("hub: upkeep");
    const { process } = this.hub;
    if (process === undefined) return Promise.resolve();
    const round = this.upkeep.round(new AbortController().signal).then(
      ({ removedChunks, expiredVersions, damagedChunks }) =>
        this.ledger.say(`hub: upkeep removed ${removedChunks}, expired ${expiredVersions}, damaged ${damagedChunks}`),
      (error: unknown) => {
        if (process.boot.fs.isDead || (error instanceof SynclineError && error.code === "DISK")) return;
        this.breaches.push(error);
      },
    );
    const done = Promise.race([round, process.ended]);
    this.underWay.push(done);
    return done;
  }

  /** Beside all that goes on. */
  backUp(): void {
    const { process } = this.hub;
    if (process === undefined) return;
    const made = this.hub.backUp().then(
      () => this.ledger.say("hub: backed up"),
      (error: unknown) => {
        if (process.boot.fs.isDead || (error instanceof SynclineError && error.code === "DISK")) return;
        this.breaches.push(error);
      },
    );
    this.underWay.push(Promise.race([made, process.ended]));
    // What is forgotten in the middle of it is still in what was copied.
    void this.keepUp();
  }

  lose(): void {
    if (this.hub.process !== undefined && this.hub.hasBackup) this.hub.lose();
  }

  /** Before anybody else uses a hub that was restored: what came after its backup is only where hosts have it. */
  async afterStart(process: HubProcess): Promise<void> {
    if (this.noted === this.hub.restores) return;
    this.noted = this.hub.restores;
    this.restores++;
    if (this.copy !== undefined) this.copy.mayHalt = true;
    await this.forget(process);
  }

  /** @param had what the hub had before, where that may be another life of the space */
  async forget(process: HubProcess, had?: readonly JournalRecord[]): Promise<void> {
    const { records } = await stateOf(process);
    const shared = had === undefined ? records.length : sharedBy(records, had);
    const points = await process.spaces.restorePoints(OPERATOR, SPACE);
    this.ledger.say(`hub: it is as it was at ${records.length}`);
    this.since = records.length;
    this.door.forget(shared, new Set(points.map(({ name }) => name)));
    this.uploader?.forget();
    for (const { removed } of this.agents) removed.clear();
    const kept = this.kept(records);
    for (const content of this.ledger.made.keys()) if (!kept.has(content)) this.ledger.destroyed.add(content);
  }

  /** What is on a host, also in its trash, or in the history of the space. */
  kept(records: readonly JournalRecord[]): Set<string> {
    const sums = new Set(records.flatMap(({ entry }) => (entry?.kind === "file" ? [entry.sum] : [])));
    const { seeds } = this.agents[0]!.link;
    const kept = new Set(this.agents.flatMap(({ link }) => [...contentsOf(link.replica).all]));
    for (const bytes of this.ledger.bytes) if (sums.has(sumOf(bytes, seeds))) kept.add(contentDigest(bytes));
    return kept;
  }

  async settled(): Promise<void> {
    await this.clock.runUntilIdle(Promise.all(this.underWay.splice(0)));
    const breach = this.door.breaches[0] ?? this.breaches[0];
    if (breach !== undefined) throw breach;
  }

  openSession(agent: Agent, random: SimRandom, setup: AgentSetup): AgentSession {
    this.sessions++;
    this.ledger.say(`-- ${setup.watch === undefined ? "one" : "watch"} session of ${agent.link.name}`);
    const session = new AgentSession(agent.link, this.hub, random.fork("run"), setup);
    session.onPowerLoss = () => this.powerLoss(agent, random);
    session.onAltered = (path) => agent.person.altered(path);
    return session;
  }

  async closeSession(agent: Agent, session: AgentSession): Promise<AgentResult> {
    const result = await session.finish();
    this.brought += result.brought;
    for (const { path, restores } of result.removed) if (restores === this.hub.restores) agent.removed.add(path);
    const { name } = agent.link;
    for (const event of result.events) {
      if (event.type === "change") {
        this.ledger.say(`   ${name}: ${event.side} ${event.action} ${event.from ?? ""} ${event.path}`);
      }
      if (event.type === "conflict") this.ledger.say(`   ${name}: conflict ${event.conflict.reason} ${event.conflict.path}`);
      if (event.type === "problem") this.ledger.say(`   ${name}: problem ${JSON.stringify(event.problem)}`);
      if (event.type === "retry") this.ledger.say(`   ${name}: retry ${event.attempt} ${event.reason}`);
    }
    const { error, summary } = result;
    this.ledger.say(`-- ${name}: ${error === undefined ? summary?.result : `ended: ${error.message}`}`);
    if (error !== undefined) this.deaths++;
    return result;
  }

  /**
   * May a session take the file for a damaged one, or not see its edit at all? Somebody rewrote it, put its size and time
   * back and gave it another mode or name; or a power loss left bytes that nobody made. Such a file is told and waits for
   * a person (scan/damage.ts), so it is no breach.
   */
  mayMislead({ link, person, lostPower }: Agent, path: RelPath): boolean {
    const inode = viewOf(link.replica).get(path);
    const digest = inode?.content?.digest();
    if (lostPower && digest !== undefined && !this.ledger.made.has(digest)) return true;
    return person.mayLookDamaged(inode);
  }

  async isHidden({ link }: Agent, path: RelPath): Promise<boolean> {
    const process = await this.clock.runUntilIdle(this.hub.living());
    return (await this.clock.runUntilIdle(hiddenFrom(process, link)))(path);
  }

  async isEncrypted({ link }: Agent, path: RelPath): Promise<boolean> {
    const { spaces } = await this.clock.runUntilIdle(this.hub.living());
    const version = await this.clock.runUntilIdle(spaces.version(OPERATOR, SPACE, outerOf(link, path)));
    return version?.entry?.kind === "file" && isEncrypted(version);
  }

  async sequence(): Promise<number> {
    const { spaces } = await this.clock.runUntilIdle(this.hub.living());
    return (await this.clock.runUntilIdle(spaces.space(OPERATOR, SPACE))).sequence;
  }

  /** The directories of links, where they are gone or something else took their place. Returns how many were made. */
  async makePrefixes(): Promise<number> {
    let made = 0;
    for (const { link } of this.agents) {
      if (link.prefix === "") continue;
      for (const path of [parentOf(link.prefix), link.prefix]) {
        const process = await this.clock.runUntilIdle(this.hub.living());
        if (!(await this.clock.runUntilIdle(makeDir(process, path)))) continue;
        this.ledger.say(`operator: made ${path}`);
        made++;
      }
    }
    return made;
  }
}
