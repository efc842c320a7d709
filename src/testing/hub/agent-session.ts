/** A simulated host whose root is kept the same with a part of the hub's space, and one session of that link. */
import type { Side } from "#model/plan.ts";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SynclineError, asError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Mode } from "#model/plan.ts";
import type { CompressMode } from "#sync/chunk/compress.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { EarlyFiles } from "#sync/endpoint/endpoint.ts";
import type { SessionEvent, SessionOptions, Settle, Summary } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import type { Part, SimHub } from "#testing/hub/sim-hub.ts";
import type { SimBoot, SimHostOptions } from "#testing/sim-host.ts";
import { SimNet, type SimNetFaults } from "#testing/sim-net.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import { SimServer } from "#testing/sim-server.ts";
import { type Replica, simHash } from "#testing/sim-world.ts";

/** Virtual time that the hub gets to notice the end of a connection; three silent pings and some. */
const WIND_DOWN_MS = 100_000;
/** Virtual time in which the last calls of a session come back. */
const LAST_CALLS_MS = 2000;

export type AgentLink = Part & {
  readonly replica: Replica;
  readonly mode: Mode;
  /** Which side is alpha; a one-way mode changes the other one alone. */
  readonly from: "host" | "space";
  readonly seeds: SumSeeds;
  /** The hub that it was joined to, where that is not the first. */
  readonly joined?: string;
};

export type AgentSetup = {
  readonly watch?: { readonly settle: Settle; readonly rescanMs: number; readonly source: SimHostOptions["watch"] };
  readonly approve?: string | undefined;
  readonly deep?: boolean;
  readonly asyncDelayMs?: number;
  readonly net?: SimNetFaults;
  readonly compress?: CompressMode;
};

export type AgentResult = {
  readonly summary: Summary | undefined;
  readonly events: readonly SessionEvent[];
  /** What ended it early. */
  readonly error: Error | undefined;
  /** Observations of both sides, without complete listings. */
  readonly observed: number;
  /** Files that were staged on the host before they were in the space. */
  readonly brought: number;
  /** Paths that were removed on the host, each with how often the hub had been restored when their cycle began. */
  readonly removed: readonly { readonly path: RelPath; readonly restores: number }[];
};

export class AgentSession {
  readonly link: AgentLink;
  readonly events: SessionEvent[] = [];
  readonly net: SimNet;
  readonly boot: SimBoot;
  /** Called when the host goes down with its disk, to lose what was not durable. */
  onPowerLoss: (() => void) | undefined;
  /** Called when a file of the host was given another name or mode. */
  onAltered: ((path: RelPath) => void) | undefined;
  result: AgentResult | undefined;
  readonly #hub: SimHub;
  readonly #setup: AgentSetup;
  readonly #server: SimServer;
  readonly #stop = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  readonly #removed: { readonly path: RelPath; readonly restores: number }[] = [];
  #observed = 0;
  #brought = 0;
  #restores = 0;

  constructor(link: AgentLink, hub: SimHub, random: SimRandom, setup: AgentSetup) {
    this.link = link;
    this.#hub = hub;
    this.#setup = setup;
    const options = { watch: setup.watch?.source ?? (false as const), asyncDelayMs: setup.asyncDelayMs ?? 0 };
    this.boot = link.replica.host.boot(options);
    this.net = new SimNet(hub.clock, random.fork("net"), setup.net);
    const far = { name: "hub", endpoint: () => hub.endpoint(link) };
    this.#server = new SimServer(far, this.net, hub.process?.boot);
    hub.servers.add(this.#server);
  }

  /** The side that the host is. */
  get hostSide(): Side {
    return this.link.from === "host" ? "alpha" : "beta";
  }

  get held(): boolean {
    const last = this.events.findLast(({ type }) => type === "hold" || type === "cycle");
    return last?.type === "cycle" && last.summary.result === "held";
  }

  start(): void {
    const { link, boot } = this;
    const sessionId = simHash(`${link.name}-${link.joined ?? "hub"}`).padEnd(32, "0");
    const store = link.replica.store(`session ${sessionId}`, boot);
    const host = () => this.#counted(this.#countingEarly(link.replica.endpoint(boot)));
    const space = () => this.#counted(this.#server.endpoint());
    const session = runSession({
      sessionId,
      alpha: link.from === "host" ? host : space,
      beta: link.from === "host" ? space : host,
      options: this.#options(),
      seeds: link.seeds,
      store,
      host: boot,
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
        if (!boot.fs.isDead) store.close();
        this.#end(undefined, asError(error));
      },
    );
  }

  #onEvent(event: SessionEvent): void {
    this.events.push(event);
    if (event.type === "phase" && event.phase === "scanning") this.#restores = this.#hub.restores;
    if (event.type !== "change" || event.side !== this.hostSide) return;
    if (event.action === "remove") this.#removed.push({ path: event.path, restores: this.#restores });
    if (event.action === "metadata" || event.action === "move") this.onAltered?.(event.path);
  }

  /** The agent ends here and now. Throws the SimCrash. */
  die(why: string, power: boolean): never {
    const { replica } = this.link;
    const crash = new SimCrash(`${replica.name} ${power ? "lost power" : "died"} ${why}`);
    replica.kill(this.boot);
    this.net.died("client", !power);
    if (power) this.onPowerLoss?.();
    this.#end(undefined, crash);
    throw crash;
  }

  abort(): void {
    this.#stop.abort(new SynclineError({ code: "INTERRUPTED", op: "session", message: "stopped" }));
  }

  /** From now on nothing goes wrong any more. */
  calm(): void {
    this.net.heal();
    this.boot.fs.faults = undefined;
    this.boot.fs.onEffect = undefined;
    this.boot.fs.interleave = undefined;
    this.link.replica.onCommit = undefined;
  }

  /** Runs to its end and winds everything down; checks what must be left behind by then. */
  async finish(): Promise<AgentResult> {
    const { clock } = this.#hub;
    await clock.runUntilIdle(this.#ended.promise);
    const { error } = this.result!;
    const isKnown = error instanceof SimCrash || error instanceof SynclineError;
    if (error !== undefined && !isKnown && !this.boot.fs.isDead) throw error;
    const breach = this.#server.breaches[0];
    if (breach !== undefined) throw breach;
    if (error instanceof SynclineError && (error.code === "PROTOCOL" || error.code === "INTERNAL")) throw error;
    this.calm();
    if (!this.boot.fs.isDead && this.boot.fs.openFds() > 0) clock.runFor(LAST_CALLS_MS);
    const endMs = clock.monotonicMs() + WIND_DOWN_MS;
    while (this.#server.connections > 0 && clock.monotonicMs() < endMs) clock.runFor(1000);
    if (this.#server.connections > 0) throw new Error("a connection to the hub never ended");
    this.#hub.servers.delete(this.#server);
    this.#checkLeft();
    return this.result!;
  }

  #checkLeft(): void {
    const { replica } = this.link;
    const { fs } = this.boot;
    if (!fs.isDead && fs.openFds() > 0) throw new Error(`left open on ${replica.name}: ${fs.openPaths().join(", ")}`);
    const held = replica.heldStores([this.boot]);
    if (held.length > 0) throw new Error(`state left open on ${replica.name}: ${held.join(", ")}`);
    replica.kill(this.boot);
  }

  #end(summary: Summary | undefined, error: Error | undefined): void {
    const counts = { observed: this.#observed, brought: this.#brought, removed: this.#removed };
    this.result ??= { summary, events: this.events, error, ...counts };
    this.#ended.resolve();
  }

  #countingEarly(endpoint: DirEndpoint): DirEndpoint {
    const inner = (): EarlyFiles | undefined => Reflect.get(DirEndpoint.prototype, "early", endpoint) as EarlyFiles | undefined;
    const get = (): EarlyFiles | undefined => {
      const early = inner();
      if (early === undefined) return undefined;
      return {
        bring: async (...asked) => {
          const result = await early.bring(...asked);
          if (result.entry !== undefined) this.#brought++;
          return result;
        },
        drop: (path) => early.drop(path),
      };
    };
    return Object.defineProperty(endpoint, "early", { get });
  }

  #counted<E extends ReturnType<Replica["endpoint"]> | ReturnType<SimServer["endpoint"]>>(endpoint: E): E {
    const scan = endpoint.scan.bind(endpoint);
    endpoint.scan = (request, onBatch, signal) =>
      scan(
        request,
        (batch, problems) => {
          if (request.since > 0) this.#observed += batch.length;
          return onBatch(batch, problems);
        },
        signal,
      );
    return endpoint;
  }

  #options(): SessionOptions {
    const { watch, approve, compress, deep = false } = this.#setup;
    const { mode } = this.link;
    return {
      mode,
      conflict: mode === "one-way-replica" ? "leave" : "copy",
      delete: true,
      brake: undefined,
      approve,
      dryRun: false,
      watch: watch !== undefined,
      settle: watch?.settle ?? "immediate",
      rescanMs: watch?.rescanMs ?? 3_600_000,
      deep,
      ignore: [],
      include: [],
      preserve: PRESERVE_DEFAULT,
      durable: "batch",
      verifyReadBack: false,
      compress: compress ?? "none",
      bytesPerSecond: undefined,
      verbose: true,
    };
  }
}

/** The path in the space of one in the root of a link. */
export function outerOf({ prefix }: Part, path: RelPath): RelPath {
  return prefix === "" ? path : `${prefix}/${path}`;
}

/** The path in the root of a link of one in the space; undefined when it is not in the link. */
export function innerOf({ prefix }: Part, path: RelPath): RelPath | undefined {
  if (prefix === "") return path;
  return path.startsWith(`${prefix}/`) ? path.slice(prefix.length + 1) : undefined;
}
