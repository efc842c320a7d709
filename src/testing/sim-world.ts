/**
 * A small world for whole sessions: hosts with a root each, people who change files there, and sessions between
 * neighbouring roots, everything from one seed. Faults are drawn for each session; afterwards the world is left alone
 * until it is quiet and the oracle (sim-oracle.ts) says whether anything was lost.
 */
import type { ConflictPolicy, Mode } from "#model/plan.ts";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import { SimClock } from "#testing/sim-clock.ts";
import type { SimDiskOptions } from "#testing/sim-disk.ts";
import { type SimBoot, SimHost } from "#testing/sim-host.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";

export const ROOT = "/root";

/** A cheap stand-in for SHA-256 where only names are made from it. */
export function simHash(text: string): string {
  return Bun.hash.xxHash3(text).toString(16).padStart(16, "0").slice(-12);
}

export class Replica {
  readonly name: string;
  readonly host: SimHost;
  /** Every state database of the host, by name; they share the host's fate. */
  readonly #stateDisks = new Map<string, MemoryDisk>();

  constructor(name: string, clock: SimClock, random: SimRandom, disk: SimDiskOptions) {
    this.name = name;
    this.host = new SimHost(clock, random, { name, disk, watch: false });
    this.host.user.mkdir(ROOT);
  }

  store(name: string): MemoryStore {
    let disk = this.#stateDisks.get(name);
    if (disk === undefined) {
      disk = new MemoryDisk();
      this.#stateDisks.set(name, disk);
    }
    return new MemoryStore(disk);
  }

  kill(boot: SimBoot): void {
    this.host.kill(boot);
    for (const disk of this.#stateDisks.values()) disk.kill();
  }

  powerLoss(random: SimRandom): void {
    this.host.crash();
    for (const disk of this.#stateDisks.values()) disk.crash(random);
  }

  endpoint(boot: SimBoot): Endpoint {
    const { name } = this;
    return new DirEndpoint({
      host: boot,
      path: ROOT,
      label: name,
      openStore: (state) => this.store(`root ${state}`),
      hash: simHash,
    });
  }
}

export type LinkSpec = { readonly alpha: Replica; readonly beta: Replica; readonly mode: Mode; readonly conflict: ConflictPolicy };

/** What may go wrong during one session. */
export type Trouble = {
  /** Prepares the processes of both sides: faults, crashes, people who act in between. */
  readonly arrange: (alpha: SimBoot, beta: SimBoot) => void;
};

export type SessionResult = {
  readonly summary: Summary | undefined;
  readonly events: readonly SessionEvent[];
  /** What ended it early. */
  readonly error: Error | undefined;
};

export function sessionOptions(link: LinkSpec, approve: string | undefined): SessionOptions {
  return {
    mode: link.mode,
    conflict: link.conflict,
    delete: true,
    brake: undefined,
    approve,
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
}

/** Runs one session over a link to its end, or to its death; both processes are gone afterwards. */
export async function runLink(
  link: LinkSpec,
  clock: SimClock,
  trouble: Trouble | undefined,
  approve?: string,
): Promise<SessionResult> {
  const boots = { alpha: link.alpha.host.boot(), beta: link.beta.host.boot() };
  trouble?.arrange(boots.alpha, boots.beta);
  const events: SessionEvent[] = [];
  const sessionId = simHash(`${link.alpha.name}-${link.beta.name}`).padEnd(32, "0");
  const stop = new AbortController();
  const store = link.alpha.store(`session ${sessionId}`);
  const session = runSession({
    sessionId,
    alpha: () => link.alpha.endpoint(boots.alpha),
    beta: () => link.beta.endpoint(boots.beta),
    options: sessionOptions(link, approve),
    store,
    host: boots.alpha,
    onEvent: (event) => events.push(event),
    hash: simHash,
    signal: stop.signal,
  });
  const outcome = session.then(
    (summary): SessionResult => ({ summary, events, error: undefined }),
    (error: unknown): SessionResult => {
      // Anything but a simulated death or an error that is meant for people is a bug, wherever it was thrown.
      if (error instanceof SimCrash || error instanceof SynclineError) return { summary: undefined, events, error };
      if (boots.alpha.fs.isDead || boots.beta.fs.isDead) {
        return { summary: undefined, events, error: error instanceof Error ? error : new Error(String(error)) };
      }
      throw error;
    },
  );
  try {
    return await clock.runUntilIdle(outcome);
  } finally {
    link.alpha.kill(boots.alpha);
    link.beta.kill(boots.beta);
  }
}

/** Everything that a replica still holds: its tree, and what our private directory keeps. */
export function contentsOf(replica: Replica): { tree: Set<string>; all: Set<string> } {
  const tree = new Set<string>();
  const all = new Set<string>();
  for (const [path, seen] of replica.host.user.tree(ROOT)) {
    if (seen.kind !== "file" || seen.content === "") continue;
    all.add(seen.content);
    if (!path.startsWith(".syncline/")) tree.add(seen.content);
  }
  return { tree, all };
}

/** The visible tree as text, one line an entry, without our private directory. */
export function visibleTree(replica: Replica): Map<string, string> {
  const out = new Map<string, string>();
  for (const [path, seen] of replica.host.user.tree(ROOT)) {
    if (path === ".syncline" || path.startsWith(".syncline/")) continue;
    const mode = seen.kind === "symlink" ? "" : ` ${seen.mode.toString(8)}`;
    out.set(path, `${seen.kind}${mode} ${JSON.stringify(seen.content).slice(0, 80)}`);
  }
  return out;
}
