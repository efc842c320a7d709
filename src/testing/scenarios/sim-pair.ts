/**
 * Two simulated hosts with a root each and sessions between them, for scenarios told step by step: people act by
 * relative path, a session runs to its end (or its death), and the trees are compared as short text.
 */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import type { Side } from "#model/plan.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { Endpoint, OpenRequest } from "#sync/endpoint/endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import { SETTLED_MS } from "#sync/scan/damage.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { type SessionInput, runSession } from "#sync/session/session.ts";
import { SessionState } from "#sync/session/state.ts";
import { SimClock } from "#testing/sim-clock.ts";
import type { SimDisk, SimDiskOptions } from "#testing/sim-disk.ts";
import { type SimBoot, SimHost, type SimHostOptions } from "#testing/sim-host.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";
import type { SimUser } from "#testing/sim-user.ts";

const ROOT = "/root";
const SESSION_ID = "5".repeat(32);

/** Beyond the time in which a write may leave no trace in a file's times. */
const LONG_NS = 2 * SETTLED_MS * 1_000_000;

/** A person's pause between two things: beyond the time in which a file counts as just written. */
const PAUSE_NS = 100_000_000;

export function simHash(text: string): string {
  return Bun.hash.xxHash3(text).toString(16).padStart(16, "0").slice(-12);
}

export const OPTIONS: SessionOptions = {
  mode: "two-way-safe",
  conflict: "leave",
  delete: true,
  brake: undefined,
  approve: undefined,
  dryRun: false,
  watch: false,
  settle: "immediate",
  rescanMs: 3_600_000,
  deep: false,
  ignore: [],
  include: [],
  preserve: PRESERVE_DEFAULT,
  durable: "batch",
  verifyReadBack: false,
  compress: "none",
  bytesPerSecond: undefined,
  verbose: true,
};

/** One host of the pair: what people do there, and what can be seen there. */
export class SimSide {
  readonly host: SimHost;
  readonly #clock: SimClock;
  #stateDisks = new Map<string, MemoryDisk>();

  constructor(clock: SimClock, random: SimRandom, options: SimHostOptions) {
    this.#clock = clock;
    this.host = new SimHost(clock, random, options);
    this.host.user.mkdir(ROOT);
  }

  get disk(): SimDisk {
    return this.host.disk;
  }

  get user(): SimUser {
    this.#clock.spend(PAUSE_NS);
    return this.host.user;
  }

  store(name: string): MemoryStore {
    let disk = this.#stateDisks.get(name);
    if (disk === undefined) this.#stateDisks.set(name, (disk = new MemoryDisk()));
    return new MemoryStore(disk);
  }

  /** The databases whose name begins so are gone, as after a disk that held only them. */
  loseState(prefix: string): void {
    for (const name of [...this.#stateDisks.keys()]) if (name.startsWith(prefix)) this.#stateDisks.delete(name);
  }

  kill(boot: SimBoot): void {
    this.host.kill(boot);
    for (const disk of this.#stateDisks.values()) disk.kill();
  }

  /** Time passes: what the system writes back by itself is durable. */
  settle(): void {
    this.host.disk.settle();
    for (const disk of this.#stateDisks.values()) disk.settle();
  }

  powerLoss(random: SimRandom): void {
    this.host.crash();
    for (const disk of this.#stateDisks.values()) disk.crash(random);
  }

  /** Writes files ("a/b": content), directories ("a/": ""), making what is above them. Undefined removes. */
  put(tree: Readonly<Record<string, string | undefined>>): void {
    for (const [path, content] of Object.entries(tree)) {
      const at = `${ROOT}/${path.replace(/\/$/, "")}`;
      if (content === undefined) this.user.remove(at);
      else if (path.endsWith("/")) this.user.mkdir(at);
      else {
        this.user.mkdir(at.slice(0, at.lastIndexOf("/")));
        this.host.user.write(at, content);
      }
    }
  }

  remove(path: string): void {
    this.user.remove(`${ROOT}/${path}`);
  }

  rename(from: string, to: string): void {
    this.user.rename(`${ROOT}/${from}`, `${ROOT}/${to}`);
  }

  read(path: string): string {
    return this.host.user.read(`${ROOT}/${path}`);
  }

  /** "a/ a/f=text l@target p!fifo": everything but our own directory. */
  show(): string {
    const words: string[] = [];
    for (const [path, { kind, content }] of this.host.user.tree(ROOT)) {
      if (path === ".syncline" || path.startsWith(".syncline/")) continue;
      if (kind === "dir") words.push(`${path}/`);
      else if (kind === "file") words.push(`${path}=${content}`);
      else words.push(kind === "symlink" ? `${path}@${content}` : `${path}!${kind}`);
    }
    return words.join(" ");
  }

  /** Every content that is visible, and every one that is anywhere, the trash included. */
  contents(): { visible: Set<string>; all: Set<string> } {
    const visible = new Set<string>();
    const all = new Set<string>();
    for (const [path, { kind, content }] of this.host.user.tree(ROOT)) {
      if (kind !== "file") continue;
      all.add(content);
      if (!path.startsWith(".syncline/")) visible.add(content);
    }
    return { visible, all };
  }

  endpoint(boot: SimBoot, label: string): DirEndpoint {
    const openStore = (name: string): MemoryStore => this.store(`root ${name}`);
    return new DirEndpoint({ host: boot, path: ROOT, label, openStore, hash: simHash });
  }
}

export type Outcome = {
  readonly summary: Summary | undefined;
  readonly error: Error | undefined;
  readonly events: readonly SessionEvent[];
};

/** "beta replace f", one for each change that was made. */
export function changesOf({ events }: Outcome): string[] {
  return events.flatMap((event) => {
    if (event.type !== "change") return [];
    const from = event.from === undefined ? "" : `${event.from} -> `;
    return [`${event.side} ${event.action} ${from}${event.path}`];
  });
}

/** Of the last cycle, without repetitions. */
export function problemsOf({ events }: Outcome): Problem[] {
  const found = new Map<string, Problem>();
  for (const event of events) if (event.type === "problem") found.set(JSON.stringify(event.problem), event.problem);
  return [...found.values()];
}

export function conflictsOf({ events }: Outcome): string[] {
  return [...new Set(events.flatMap((event) => (event.type === "conflict" ? [event.conflict.path] : [])))];
}

export function codeOf({ error }: Outcome): string | undefined {
  return error instanceof SynclineError ? error.code : error?.name;
}

export type SimPairOptions = {
  readonly seed?: number;
  readonly alpha?: Partial<SimHostOptions>;
  readonly beta?: Partial<SimHostOptions>;
  /** For both disks; each side's own come after them. */
  readonly disk?: SimDiskOptions;
  readonly session?: Partial<SessionOptions>;
};

export type Boots = Readonly<Record<Side, SimBoot>>;

export class SimPair {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly alpha: SimSide;
  readonly beta: SimSide;
  readonly #session: Partial<SessionOptions>;

  constructor(options: SimPairOptions = {}) {
    this.random = new SimRandom(options.seed ?? 1);
    this.clock = new SimClock(this.random.fork("clock"));
    const side = (name: Side): SimSide => {
      const own = options[name];
      const host = { name, ...own, disk: { ...options.disk, ...own?.disk } };
      return new SimSide(this.clock, this.random.fork(name), host);
    };
    this.alpha = side("alpha");
    this.beta = side("beta");
    this.#session = options.session ?? {};
  }

  /** All files are left alone for so long that their times prove something. */
  rest(): void {
    this.clock.spend(LONG_NS);
  }

  boot(): Boots {
    return { alpha: this.alpha.host.boot(), beta: this.beta.host.boot() };
  }

  /** Starts a session; the signal of `stop` ends it. The processes are the caller's to end. */
  start(
    boots: Boots,
    more: Partial<SessionOptions>,
    stop: AbortController,
  ): { readonly outcome: Promise<Outcome>; readonly events: SessionEvent[] } {
    const events: SessionEvent[] = [];
    const input: SessionInput = {
      sessionId: SESSION_ID,
      alpha: () => this.alpha.endpoint(boots.alpha, "alpha"),
      beta: () => this.beta.endpoint(boots.beta, "beta"),
      options: { ...OPTIONS, ...this.#session, ...more },
      store: this.alpha.store("session"),
      host: boots.alpha,
      onEvent: (event) => events.push(event),
      hash: simHash,
      signal: stop.signal,
    };
    const outcome = runSession(input).then(
      (summary): Outcome => ({ summary, error: undefined, events }),
      (error: unknown): Outcome => {
        const expected = error instanceof SimCrash || error instanceof SynclineError;
        if (!expected && !boots.alpha.fs.isDead && !boots.beta.fs.isDead) throw error;
        return { summary: undefined, error: error as Error, events };
      },
    );
    return { outcome, events };
  }

  /** Runs one session to its end, or to its death. Afterwards both processes are gone. */
  async run(more: Partial<SessionOptions> = {}, arrange?: (boots: Boots) => void): Promise<Outcome> {
    this.clock.spend(PAUSE_NS);
    const boots = this.boot();
    arrange?.(boots);
    try {
      const outcome = await this.clock.runUntilIdle(this.start(boots, more, new AbortController()).outcome);
      for (const { fs } of [boots.alpha, boots.beta]) {
        if (!fs.isDead && fs.openFds() > 0) throw new Error(`left open: ${fs.openPaths().join(" ")}`);
      }
      return outcome;
    } finally {
      this.alpha.kill(boots.alpha);
      this.beta.kill(boots.beta);
    }
  }

  /** Runs a session that must end well, with the same trees on both sides. Returns the tree. */
  async agree(more: Partial<SessionOptions> = {}): Promise<string> {
    const outcome = await this.run(more);
    if (outcome.summary?.result !== "same") {
      const what = outcome.error?.stack ?? JSON.stringify([conflictsOf(outcome), problemsOf(outcome)]);
      throw new Error(`${outcome.summary?.result}: ${what}`);
    }
    const [alpha, beta] = [this.alpha.show(), this.beta.show()];
    if (alpha !== beta) throw new Error(`not the same: ${alpha} | ${beta}`);
    return alpha;
  }

  /** Opens one side as a session would and hands it to `body`. */
  async withEndpoint<T>(side: Side, body: (endpoint: Endpoint) => Promise<T>, boot = this[side].host.boot()): Promise<T> {
    const endpoint = this[side].endpoint(boot, side);
    const { ignore, include, preserve, durable, verifyReadBack, compress } = { ...OPTIONS, ...this.#session };
    const filters = { ignore, include, preserve, durable, verifyReadBack, compress };
    const request: OpenRequest = {
      ...filters,
      sessionId: SESSION_ID,
      seeds: new SessionState(this.alpha.store("session"), boot.random).seeds,
      writable: true,
      createRoot: false,
      expectRootId: undefined,
    };
    const work = (async (): Promise<T> => {
      await endpoint.open(request, new AbortController().signal);
      try {
        return await body(endpoint);
      } finally {
        await endpoint.close();
      }
    })();
    try {
      return await this.clock.runUntilIdle(work);
    } finally {
      this[side].kill(boot);
    }
  }
}

/** Lets `act` happen before each call of a process, with its number from 1. */
export function atEachCall(boot: SimBoot, act: (call: string, count: number) => void): void {
  let calls = 0;
  boot.fs.interleave = (call) => act(call, ++calls);
}

/** Lets `act` happen before the k-th call of a process, once. */
export function atCall(boot: SimBoot, k: number, act: (call: string) => void): void {
  atEachCall(boot, (call, count) => {
    if (count === k) act(call);
  });
}
