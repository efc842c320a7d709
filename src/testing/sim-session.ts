/**
 * One session over a link, from the start of its processes to their end: directly, or with beta behind the real
 * protocol on a simulated network; once, or watching until it is told to stop.
 */
import { SynclineError, asError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { ConflictPolicy, Side } from "#model/plan.ts";
import type { CompressMode } from "#sync/chunk/compress.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import type { Brake, ScrubOptions, SessionEvent, SessionOptions, Settle, Summary } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import type { SimBoot, SimHostOptions } from "#testing/sim-host.ts";
import { SimNet, type SimNetFaults } from "#testing/sim-net.ts";
import type { Exempt } from "#testing/sim-oracle.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import { SimServer } from "#testing/sim-server.ts";
import { type LinkSpec, type Replica, sessionIdOf, simHash } from "#testing/sim-world.ts";

/** Virtual time that the far processes get to notice the end of a connection; three silent pings and some. */
const WIND_DOWN_MS = 100_000;
/** Virtual time in which the last calls of a session come back. */
const LAST_CALLS_MS = 2000;
/** How long a host is down after a crash in the middle of a session. */
const DOWN_MS = 3000;

export type SessionSetup = {
  readonly watch?: {
    readonly settle: Settle;
    readonly rescanMs: number;
    readonly source: SimHostOptions["watch"];
    readonly scrub?: ScrubOptions | undefined;
  };
  readonly deep?: boolean | undefined;
  readonly approve?: string | undefined;
  /** What a person has decided, for conflicts at and below these paths. */
  readonly decided?: { readonly policy: ConflictPolicy; readonly paths: readonly RelPath[] } | undefined;
  readonly brake?: Brake;
  readonly asyncDelayMs?: number;
  readonly net?: SimNetFaults;
  readonly compress?: CompressMode;
  readonly verifyReadBack?: boolean;
};

export type SessionResult = {
  readonly summary: Summary | undefined;
  readonly events: readonly SessionEvent[];
  /** What ended it early. */
  readonly error: Error | undefined;
  /** Observations that each side told, without complete listings. */
  readonly observed: Record<Side, number>;
  /** Calls that changed something on the disk of the process that a side began with. */
  readonly writes: Record<Side, number>;
};

export class SimSession {
  readonly link: LinkSpec;
  readonly clock: SimClock;
  readonly events: SessionEvent[] = [];
  readonly observed: Record<Side, number> = { alpha: 0, beta: 0 };
  readonly net: SimNet | undefined;
  /** Prepares every process of the session when it starts, also those that start later. */
  onBoot: ((side: Side, boot: SimBoot) => void) | undefined;
  /** Called when the host of a side goes down with its disk, to lose what was not durable. */
  onPowerLoss: ((replica: Replica) => void) | undefined;
  /** Called when a file on a side was given another name or mode. */
  onAltered: ((side: Side, path: RelPath) => void) | undefined;
  result: SessionResult | undefined;
  /** Paths in conflict, and paths with problems, as of the last cycle that ended. */
  open: Required<Pick<Exempt, "conflicts" | "problems">> = { conflicts: new Set(), problems: [] };
  readonly #random: SimRandom;
  readonly #setup: SessionSetup;
  readonly #stop = new AbortController();
  readonly #boots: Record<Side, SimBoot>;
  #server: SimServer | undefined;
  #ended = Promise.withResolvers<void>();
  #found: { readonly conflicts: Set<RelPath>; readonly problems: RelPath[] } = { conflicts: new Set(), problems: [] };
  #isOver = false;

  constructor(link: LinkSpec, clock: SimClock, random: SimRandom, setup: SessionSetup) {
    this.link = link;
    this.clock = clock;
    this.#random = random;
    this.#setup = setup;
    const options = { watch: setup.watch?.source ?? (false as const), asyncDelayMs: setup.asyncDelayMs ?? 0 };
    this.#boots = { alpha: link.alpha.host.boot(options), beta: link.beta.host.boot(options) };
    if (link.remote) this.net = new SimNet(clock, random.fork("net"), setup.net);
  }

  /** Is the last plan held? */
  get held(): boolean {
    const last = this.events.findLast(({ type }) => type === "hold" || type === "cycle");
    return last?.type === "cycle" && last.summary.result === "held";
  }

  start(): void {
    const { link, net } = this;
    this.onBoot?.("alpha", this.#boots.alpha);
    this.onBoot?.("beta", this.#boots.beta);
    const server = net === undefined ? undefined : new SimServer(link.beta, net, this.#boots.beta);
    this.#server = server;
    const store = link.alpha.store(`session ${sessionIdOf(link)}`, this.#boots.alpha);
    const session = runSession({
      sessionId: sessionIdOf(link),
      alpha: () => this.#counted("alpha", link.alpha.endpoint(this.#boots.alpha)),
      beta: () => this.#counted("beta", server === undefined ? link.beta.endpoint(this.#boots.beta) : server.endpoint()),
      options: this.#options(),
      store,
      host: this.#boots.alpha,
      onEvent: (event) => this.#onEvent(event),
      hash: simHash,
      signal: this.#stop.signal,
    });
    session.then(
      (summary) => {
        store.close();
        this.#end(summary, undefined);
      },
      (error: unknown) => {
        if (!this.#boots.alpha.fs.isDead) store.close();
        this.#end(undefined, asError(error));
      },
    );
  }

  /** The process of a side ends here and now, as kill -9 or a power loss ends it. Throws the SimCrash. */
  die(side: Side, why: string, power: boolean): never {
    const { link } = this;
    const crash = new SimCrash(`${link[side].name} ${power ? "lost power" : "died"} ${why}`);
    if (side === "beta" && this.#server !== undefined) this.#serverDies(this.#server, power);
    else {
      link.alpha.kill(this.#boots.alpha);
      if (this.#server === undefined) link.beta.kill(this.#boots.beta);
      else this.net!.died("client", !power);
      if (power) this.onPowerLoss?.(link[side]);
      this.#end(undefined, crash);
    }
    throw crash;
  }

  #serverDies(server: SimServer, power: boolean): void {
    const { beta } = this.link;
    beta.kill(this.#boots.beta);
    server.died(!power);
    if (power) this.onPowerLoss?.(beta);
    const source = this.#setup.watch?.source ?? false;
    this.clock.after(this.#random.real() * DOWN_MS, () => {
      if (this.#isOver) return;
      const boot = beta.host.boot({ watch: source, asyncDelayMs: this.#setup.asyncDelayMs ?? 0 });
      this.#boots.beta = boot;
      this.onBoot?.("beta", boot);
      server.started(boot);
    });
  }

  /** Runs to the end of the session and winds everything down; checks what must be left behind by then. */
  async finish(): Promise<SessionResult> {
    await this.clock.runUntilIdle(this.#ended.promise);
    const { error } = this.result!;
    const isBug = error !== undefined && !(error instanceof SimCrash) && !(error instanceof SynclineError);
    if (isBug && !this.#boots.alpha.fs.isDead) throw error;
    const breach = this.#server?.breaches[0];
    if (breach !== undefined) throw breach;
    if (error instanceof SynclineError && (error.code === "PROTOCOL" || error.code === "INTERNAL")) throw error;
    this.#windDown();
    this.#checkLeft();
    this.#isOver = true;
    this.link.alpha.kill(this.#boots.alpha);
    this.link.beta.kill(this.#boots.beta);
    return this.result!;
  }

  abort(): void {
    this.#stop.abort(new SynclineError({ code: "INTERRUPTED", op: "session", message: "stopped" }));
  }

  /** From now on nothing goes wrong any more. */
  calm(): void {
    this.net?.heal();
    for (const boot of this.#living()) {
      boot.fs.faults = undefined;
      boot.fs.onEffect = undefined;
      boot.fs.interleave = undefined;
    }
    this.link.alpha.onCommit = undefined;
    this.link.beta.onCommit = undefined;
    this.onBoot = undefined;
  }

  #living(): SimBoot[] {
    const boots = this.#server === undefined ? [this.#boots.alpha, this.#boots.beta] : [this.#boots.alpha, this.#server.boot];
    return boots.filter((boot) => boot !== undefined && !boot.fs.isDead) as SimBoot[];
  }

  #windDown(): void {
    this.calm();
    // A sync that was under way when the session ended keeps its descriptor until it is done.
    if (this.#living().some((boot) => boot.fs.openFds() > 0)) this.clock.runFor(LAST_CALLS_MS);
    const server = this.#server;
    if (server === undefined) return;
    const endMs = this.clock.monotonicMs() + WIND_DOWN_MS;
    while (server.connections > 0 && this.clock.monotonicMs() < endMs) this.clock.runFor(1000);
    if (server.connections > 0) throw new Error("a connection of the far side never ended");
  }

  /** What a process that lives on must not keep. */
  #checkLeft(): void {
    const { link } = this;
    for (const boot of this.#living()) {
      if (boot.fs.openFds() === 0) continue;
      throw new Error(`descriptors left open on ${boot.hostName}: ${boot.fs.openPaths().join(", ")}`);
    }
    for (const replica of [link.alpha, link.beta]) {
      const held = replica.heldStores([this.#boots.alpha, this.#boots.beta]);
      if (held.length > 0) throw new Error(`state left open on ${replica.name}: ${held.join(", ")}`);
    }
  }

  #end(summary: Summary | undefined, error: Error | undefined): void {
    const writes = { alpha: this.#boots.alpha.fs.writes, beta: this.#boots.beta.fs.writes };
    this.result ??= { summary, events: this.events, error, observed: this.observed, writes };
    this.#ended.resolve();
  }

  #onEvent(event: SessionEvent): void {
    this.events.push(event);
    if (event.type === "change" && (event.action === "metadata" || event.action === "move")) this.onAltered?.(event.side, event.path);
    if (event.type === "conflict") this.#found.conflicts.add(event.conflict.path);
    if (event.type === "problem") this.#found.problems.push(event.problem.path);
    if (event.type !== "cycle") return;
    this.open = this.#found;
    this.#found = { conflicts: new Set(), problems: [] };
  }

  #counted(side: Side, endpoint: Endpoint): Endpoint {
    const scan = endpoint.scan.bind(endpoint);
    endpoint.scan = (request, onBatch, signal) =>
      scan(
        request,
        (batch, problems) => {
          if (request.since > 0) this.observed[side] += batch.length;
          return onBatch(batch, problems);
        },
        signal,
      );
    return endpoint;
  }

  #options(): SessionOptions {
    const { link } = this;
    const { watch, deep, approve, decided, compress, verifyReadBack } = this.#setup;
    return {
      mode: link.mode,
      conflict: decided?.policy ?? link.conflict,
      conflictPaths: decided?.paths,
      delete: link.delete,
      brake: this.#setup.brake,
      approve,
      dryRun: false,
      watch: watch !== undefined,
      settle: watch?.settle ?? "immediate",
      rescanMs: watch?.rescanMs ?? 3_600_000,
      scrub: watch?.scrub,
      deep: deep ?? false,
      ignore: [],
      include: [],
      preserve: link.preserve,
      durable: "batch",
      verifyReadBack: verifyReadBack ?? false,
      compress: compress ?? "none",
      bytesPerSecond: undefined,
      verbose: true,
    };
  }
}
