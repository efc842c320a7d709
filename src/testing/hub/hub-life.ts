/**
 * One simulated life of a hub from a seed: three hosts whose roots are kept the same with (parts of) one space, people on
 * them and at the hub's door, and trouble everywhere. At the end, left alone, every host must be as its link promises,
 * the space as its journal says, and nothing lost. Throws SimFailure with the story otherwise.
 */
import { SynclineError, stackOf } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { sumOf } from "#sync/chunk/sum.ts";
import { SETTLED_MS, isDamageCode } from "#sync/scan/damage.ts";
import { type AgentResult, type AgentSession, outerOf } from "#testing/hub/agent-session.ts";
import { type FollowingHub, troubleCopy } from "#testing/hub/following-hub.ts";
import { OPERATOR, hasDir, healChunks, rotChunks, upkeepOf } from "#testing/hub/hub-operator.ts";
import type { Always } from "#testing/hub/hub-style.ts";
import { troubleAgent, troubleHub } from "#testing/hub/hub-trouble.ts";
import { type Agent, HubWorld } from "#testing/hub/hub-world.ts";
import { SPACE } from "#testing/hub/sim-hub.ts";
import {
  encryptedTaken, judgeJournal, linkDifference, phantomInSpace, phantomOnHost, stateOf, unreadable, unseen,
} from "#testing/hub/space-oracle.ts";
import { doubtfulOf, viewOf } from "#testing/sim-oracle.ts";
import { IGNORE_TEXTS } from "#testing/sim-people.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import { SimFailure, type SimReport } from "#testing/sim-run.ts";
import { Trouble } from "#testing/sim-trouble.ts";
import { ROOT } from "#testing/sim-world.ts";

/** Rounds of trouble in one life. */
const ROUNDS_MAX = 3;
/** Sessions over all links after which a world without trouble must be quiet. */
const QUIET_ROUNDS_MAX = 12;
/** Virtual time after which watching sessions that nobody disturbs must have made their hosts what the space is. */
const WATCH_PATIENCE_MS = 200_000;
/** How often a watching session rescans: only that finds again what a disk refused. */
const WATCH_RESCAN_MS = 20_000;
const DAY_MS = 86_400_000;

type Running = { readonly agent: Agent; readonly session: AgentSession; readonly isWatch: boolean };

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

class HubLife extends HubWorld {
  readonly #seed: number;

  constructor(seed: number, always: Always | undefined) {
    super(seed, always);
    this.#seed = seed;
  }

  async run(): Promise<HubReport> {
    try {
      await this.begin();
      const rounds = 1 + this.random.int(ROUNDS_MAX);
      for (let round = 0; round < rounds; round++) await this.#round(this.random.fork(`round ${round}`));
      await this.#end();
    } catch (error) {
      const story = this.ledger.log.join("\n  ");
      const what = stackOf(error);
      throw new SimFailure(`seed ${this.#seed}: ${what}\n  ${story}`);
    } finally {
      for (const one of [this.hub, this.former, this.copy]) one?.close();
    }
    const counts = { sessions: this.sessions, deaths: this.deaths, streamed: this.streamed, brought: this.brought };
    const more = { restores: this.restores, uploaded: this.uploader?.completed ?? 0, encrypted: this.door.encrypted };
    return { seed: this.#seed, ...counts, ...more, trace: this.trace.digest() };
  }

  // ---------------------------------------------------------------- rounds

  async #round(random: SimRandom): Promise<void> {
    for (const agent of this.agents) for (let left = random.int(6); left > 0; left--) this.act(agent);
    for (let left = random.int(4); left > 0; left--) this.atDoor();
    this.atUploads();
    await this.settled();
    if (random.chance(0.1)) this.clock.jump((random.real() - 0.5) * 2 * DAY_MS);
    this.#settleDisks();
    const spanMs = random.pick([300, 3000, 20_000]);
    if (!this.style.calm) troubleHub(this.hub, random.fork("hub"), spanMs, this.style.rots);
    const sessions = this.agents.flatMap((agent) => {
      const session = random.chance(0.85) ? this.#session(agent, random.fork(`session ${agent.link.name}`)) : undefined;
      return session === undefined ? [] : [session];
    });
    this.hub.beforeCommit = this.#meanwhile(random.fork("meanwhile"));
    this.#schedule(random, spanMs);
    if (!this.style.calm && this.copy !== undefined) troubleCopy(this.copy, random.fork("copy"), spanMs);
    this.clock.runFor(spanMs + 1);
    this.hub.calm();
    this.copy?.calm();
    for (const { session } of sessions) session.calm();
    await this.settled();
    if (this.hub.isDoubtful) await this.clock.runUntilIdle(this.hub.restart());
    await this.#calmCopy(random.fork("copy after"));
    await this.#finishAll(sessions, random);
    if (random.chance(0.3)) await this.clock.runUntilIdle(this.hub.restart());
    await this.#judge();
  }

  async #calmCopy(random: SimRandom): Promise<void> {
    const copy = this.copy;
    if (copy === undefined) return;
    if (copy.hub.isDoubtful || random.chance(0.2)) await this.clock.runUntilIdle(copy.restart());
    // What it lacks while the way is cut is what a promotion loses.
    if (!this.style.calm) copy.isCut = random.chance(0.4);
  }

  /** What people left on a disk a while ago is durable, unless the disk refused to sync it. */
  #settleDisks(): void {
    for (const { link } of this.agents) link.replica.host.disk.settle();
    const { made, recent } = this.ledger;
    const doubtful = new Map(this.agents.map(({ link }) => [link.name, doubtfulOf(link.replica)]));
    this.ledger.recent = new Set([...recent].filter((content) => doubtful.get(made.get(content)!.name)?.has(content)));
  }

  /** What others do between a session's last look and its commit. */
  #meanwhile(random: SimRandom): () => Promise<void> {
    return async () => {
      if (!random.chance(0.4)) return;
      for (let left = random.int(4); left > 0 && this.hub.process !== undefined; left--) await this.door.act();
      if (random.chance(0.3)) await this.keepUp();
    };
  }

  #schedule(random: SimRandom, spanMs: number): void {
    const at = (what: () => void): void => void this.clock.after(random.real() * spanMs, what);
    for (const agent of this.agents) for (let left = random.int(5); left > 0; left--) at(() => this.act(agent));
    for (let left = random.int(6); left > 0; left--) at(() => this.atDoor());
    for (let left = random.int(3); left > 0; left--) at(() => void this.keepUp());
    if (this.uploader !== undefined) for (let left = 3 + random.int(5); left > 0; left--) at(() => this.atUploads());
    if (this.style.isLost) this.#scheduleLoss(random.fork("lost"), at);
    if (this.style.rots) at(() => rotChunks(this.hub, random.fork("rot"), (line) => this.ledger.say(line)));
  }

  #scheduleLoss(random: SimRandom, at: (what: () => void) => void): void {
    if (random.chance(0.6)) at(() => this.backUp());
    if (random.chance(0.5)) at(() => this.lose());
  }

  #session(agent: Agent, random: SimRandom): Running {
    const isWatch = random.chance(this.style.streams ? 0.8 : 0.4);
    const source = { queueMax: random.pick([10_000, 20, 3]), delayMs: random.pick([0, 5, 50]) };
    const settle = random.pick(["immediate", "throttle", "debounce"] as const);
    const session = this.openSession(agent, random, {
      asyncDelayMs: random.pick([0, 0, 0, 5, 100]),
      net: this.style.calm ? { delayMs: 5 } : Trouble.net(random),
      compress: random.pick(["none", "auto", "zstd"]),
      ...(isWatch ? { watch: { settle, rescanMs: WATCH_RESCAN_MS, source } } : {}),
    });
    if (!this.style.calm) {
      const interrupt = (): (() => void) => this.happens(agent, () => agent.person.interrupt());
      troubleAgent(session, random.fork("trouble"), { power: !this.style.rots, interrupt });
    }
    session.start();
    return { agent, session, isWatch };
  }

  async #finishAll(sessions: readonly Running[], random: SimRandom): Promise<void> {
    const watching = sessions.filter(({ isWatch, session }) => isWatch && session.result === undefined);
    for (const { agent, session, isWatch } of sessions) if (!isWatch) await this.closeSession(agent, session);
    await this.#awaitSame(watching);
    for (const { session } of watching) session.abort();
    for (const { agent, session, isWatch } of sessions) if (isWatch) await this.closeSession(agent, session);
    for (const { agent } of sessions) {
      if (!this.style.calm && !this.style.rots && random.chance(0.1)) this.powerLoss(agent, random.fork(agent.link.name));
    }
  }

  /** Watching sessions bring their hosts together with the space by themselves, unless a plan is held. */
  async #awaitSame(watching: readonly Running[]): Promise<void> {
    if (this.style.rots) return;
    const endMs = this.clock.monotonicMs() + WATCH_PATIENCE_MS;
    for (;;) {
      this.clock.runFor(2000);
      const process = await this.clock.runUntilIdle(this.hub.living());
      let found: string | undefined;
      for (const { agent, session } of watching) {
        if (session.result !== undefined || session.held) continue;
        const mayDiffer = (path: RelPath): boolean => this.mayMislead(agent, path);
        found ??= await this.clock.runUntilIdle(linkDifference(process, agent.link, mayDiffer));
      }
      if (found === undefined) return;
      if (this.clock.monotonicMs() > endMs) throw new Error(`watching, ${found}`);
    }
  }

  // ---------------------------------------------------------------- the end

  async #judge(): Promise<void> {
    const process = await this.clock.runUntilIdle(this.hub.living());
    const { acknowledged, points } = this.door;
    await this.clock.runUntilIdle(judgeJournal(process, acknowledged, points));
    if (this.style.rots) return;
    const bad = await this.clock.runUntilIdle(unreadable(process, this.agents[0]!.link.seeds));
    if (bad.length > 0) throw new Error(`cannot be read: ${bad.join("; ")}`);
  }

  async #end(): Promise<void> {
    if (this.style.promotes && this.copy !== undefined) {
      await this.clock.runUntilIdle(this.copy.promote());
      if (this.style.failsOver) await this.#failOver(this.copy);
    }
    this.copy?.calm();
    if (this.style.rots) {
      const copy = this.copy;
      if (copy !== undefined && !copy.isPromoted) await this.clock.runUntilIdle(copy.healSource());
      await this.clock.runUntilIdle(healChunks(this.hub, [...this.ledger.bytes, ...IGNORE_TEXTS]));
      const process = await this.clock.runUntilIdle(this.hub.living());
      const bad = await this.clock.runUntilIdle(unreadable(process, this.agents[0]!.link.seeds));
      if (bad.length > 0) throw new Error(`not healed: ${bad.join("; ")}`);
    }
    await this.#quieten();
    await this.#hostRots();
    await this.clock.runUntilIdle(this.keepUp());
    await this.settled();
    await this.#judge();
    await this.#judgeLosses();
    await this.clock.runUntilIdle(this.hub.restart());
    await this.#judge();
    await this.#judgeCopy();
  }

  /** The source is given up: every host joins the hub of the promoted copy, where nothing is remembered of its link. */
  async #failOver(copy: FollowingHub): Promise<void> {
    this.ledger.say("-- all go on with the copy");
    copy.calm();
    const { records } = await this.clock.runUntilIdle(stateOf(await this.clock.runUntilIdle(this.hub.living())));
    copy.hub.believed.push(...this.hub.believed);
    this.former = this.hub;
    this.hub = copy.hub;
    this.noted = 0;
    const { onStarted } = copy.hub;
    copy.hub.onStarted = async (process) => {
      await onStarted?.(process);
      await this.afterStart(process);
    };
    this.copy = undefined;
    this.upkeep = upkeepOf(this.hub);
    this.door.goTo(this.hub);
    this.uploader?.goTo(this.hub);
    this.agents.splice(0, 3, ...this.agents.map((agent) => ({ ...agent, link: { ...agent.link, joined: "copy" } })));
    const process = await this.clock.runUntilIdle(this.hub.living());
    await this.clock.runUntilIdle(this.forget(process, records));
    this.restores++;
    await this.#round(this.random.fork("failover"));
  }

  /** A copy is what its source is; a promoted one is how the source began, and lives on by itself. */
  async #judgeCopy(): Promise<void> {
    const copy = this.copy;
    if (copy === undefined) return;
    const breach = copy.breaches[0];
    if (breach !== undefined) throw breach;
    const judged = copy.isPromoted ? copy.livesOn() : copy.judge(this.agents[0]!.link.seeds);
    await this.clock.runUntilIdle(judged);
    await this.clock.runUntilIdle(copy.restart());
  }

  /** Without people and trouble every link must come to rest, as its mode promises. */
  async #quieten(): Promise<void> {
    for (let round = 0; round < QUIET_ROUNDS_MAX; round++) {
      let changes = 0;
      for (const agent of this.agents) changes += await this.#quiet(agent);
      changes += await this.makePrefixes();
      if (changes > 0) continue;
      const process = await this.clock.runUntilIdle(this.hub.living());
      for (const { link } of this.agents) {
        const found = await this.clock.runUntilIdle(linkDifference(process, link));
        if (found !== undefined) throw new Error(found);
      }
      return this.#judgeRest();
    }
    throw new Error(`still changing after ${QUIET_ROUNDS_MAX} rounds`);
  }

  /** A bit flips in a file of a host that the space holds, too: a deep session gets its bytes back from there. */
  async #hostRots(): Promise<void> {
    const random = this.random.fork("host rots");
    const agent = random.pick(this.agents);
    const { link } = agent;
    const { host } = link.replica;
    if (link.mode.startsWith("one-way") && link.from === "host") return;
    // Beyond the time in which a write may leave no trace, whatever the rounds have done to the clocks.
    this.clock.jump(ROUNDS_MAX * DAY_MS + 2 * SETTLED_MS);
    while ((await this.#once(agent, undefined, true)).mended > 0);
    link.replica.settle();
    const { spaces } = await this.clock.runUntilIdle(this.hub.living());
    for (const [path, { content, links, poisoned }] of random.shuffle([...viewOf(link.replica)])) {
      if (content === undefined || content.size === 0 || links.length > 1 || poisoned) continue;
      if (await this.isHidden(agent, path)) continue;
      const good = sumOf(content.toBytes(), link.seeds);
      const held = (await this.clock.runUntilIdle(spaces.version(OPERATOR, SPACE, outerOf(link, path))))?.entry;
      if (held?.kind !== "file" || held.sum !== good) continue;
      this.ledger.say(`${link.name}: rot in ${path}`);
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
    const isGone = !(await this.clock.runUntilIdle(this.hub.living().then((process) => hasDir(process, agent.link.prefix))));
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
    const session = this.openSession(agent, this.random.fork(`calm ${this.sessions}`), { approve, deep });
    session.start();
    const result = await this.closeSession(agent, session);
    if (result.error !== undefined) throw result.error;
    const hold = result.events.findLast((event) => event.type === "hold");
    if (hold?.type === "hold" && result.summary?.result === "held") return this.#once(agent, hold.hash, deep);
    let mended = 0;
    for (const event of result.events) {
      if (event.type !== "problem") continue;
      const { code, path, side } = event.problem;
      // A directory stays for the sake of what the session must not see in it, or stands in the way itself.
      const isHeld = code === "ENOTEMPTY" || code === "EEXIST";
      if (isHeld && (await this.isHidden(agent, path))) continue;
      if (code === "UNSUPPORTED" && side !== session.hostSide && (await this.isEncrypted(agent, path))) continue;
      const isExcused = isDamageCode(code) && side === session.hostSide && this.mayMislead(agent, path);
      if (!isExcused) throw new Error(`problem without trouble: ${JSON.stringify(event)}`);
      mended++;
      this.happens(agent, () => agent.person.repair(path));
    }
    return { ...result, mended };
  }

  /** What is at rest stays at rest: sessions see nothing and commit nothing. */
  async #judgeRest(): Promise<void> {
    const before = await this.sequence();
    for (const agent of this.agents) {
      const { summary, observed } = await this.#once(agent);
      if (summary?.changes !== 0) throw new Error(`${summary?.changes} changes at rest`);
      if (observed > 0) throw new Error(`${observed} observations at rest`);
    }
    if ((await this.sequence()) !== before) throw new Error("a commit at rest");
  }

  /** What nobody destroyed on a host is on one, or in the history of the space; and nothing went without a cause. */
  async #judgeLosses(): Promise<void> {
    const process = await this.clock.runUntilIdle(this.hub.living());
    const { records } = await this.clock.runUntilIdle(stateOf(process));
    const kept = this.kept(records);
    for (const [content, { name }] of this.ledger.made) {
      if (!this.ledger.destroyed.has(content) && !kept.has(content)) throw new Error(`lost: ${content} of ${name}`);
    }
    const lost = unseen(records, this.hub.believed);
    if (lost !== undefined) throw new Error(lost);
    const links = this.agents.map(({ link }) => link);
    const gone = new Map(this.agents.map((agent) => [agent.link.name, agent.gone]));
    const taken = encryptedTaken(records, links);
    if (taken !== undefined) throw new Error(taken);
    const phantom = phantomInSpace(records, links, gone);
    if (phantom !== undefined) throw new Error(phantom);
    for (const { link, removed } of this.agents) {
      const found = phantomOnHost(records.slice(this.since), link, removed);
      if (found !== undefined) throw new Error(found);
    }
  }
}
