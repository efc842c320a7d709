/**
 * What a simulated world is made of: hosts with one root each, that outlive their processes, and the links between
 * them. Sessions over a link are in sim-session.ts, the people in sim-people.ts, a whole life in sim-run.ts.
 */
import type { Preserve } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { ConflictPolicy, Mode } from "#model/plan.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import type { SimDiskOptions } from "#testing/sim-disk.ts";
import { type SimBoot, SimHost } from "#testing/sim-host.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";

export const ROOT = "/root";
/** What an endpoint works off when it opens, by table of its state. */
const RECOVERED = ["intent", "lent-mode"];

/** A cheap stand-in for SHA-256 where only names are made from it. */
export function simHash(text: string): string {
  return Bun.hash.xxHash3(text).toString(16).padStart(16, "0").slice(-12);
}

/** The state database with its lock: as SQLite's, it is held by one connection at a time. */
class LockedStore extends MemoryStore {
  readonly #release: () => void;

  constructor(disk: MemoryDisk, release: () => void) {
    super(disk);
    this.#release = release;
  }

  override close(): void {
    super.close();
    this.#release();
  }
}

export class Replica {
  readonly name: string;
  readonly host: SimHost;
  /** Called before each commit of any state database of the host; a SimCrash thrown here ends the process. */
  onCommit: (() => void) | undefined;
  /** Every state database of the host, by name; they share the host's fate. */
  readonly #stateDisks = new Map<string, MemoryDisk>();
  /** Which process has which of them open. */
  #held = new Map<string, SimBoot>();

  constructor(name: string, clock: SimClock, random: SimRandom, disk: SimDiskOptions) {
    this.name = name;
    this.host = new SimHost(clock, random, { name, disk, watch: false });
    this.host.user.mkdir(ROOT);
  }

  /** Time passes: what the system writes back by itself is durable, unless the disk refused it before. */
  settle(): void {
    this.host.disk.settle();
    for (const disk of this.#stateDisks.values()) disk.settle();
  }

  store(name: string, boot: SimBoot): MemoryStore {
    let disk = this.#stateDisks.get(name);
    if (disk === undefined) {
      disk = new MemoryDisk();
      disk.beforeCommit = () => this.onCommit?.();
      this.#stateDisks.set(name, disk);
    }
    if (this.#held.has(name)) {
      const message = "another Syncline process is using this state database";
      throw new SynclineError({ code: "ROOT_BUSY", op: "open state", message, retryable: true });
    }
    const held = this.#held;
    held.set(name, boot);
    return new LockedStore(disk, () => {
      // What the dead do must not free the locks of the living.
      if (held.get(name) === boot) held.delete(name);
    });
  }

  /** Names of the state databases that these processes hold open. */
  heldStores(boots: readonly SimBoot[]): string[] {
    return [...this.#held].flatMap(([name, boot]) => (boots.includes(boot) ? [name] : []));
  }

  /** Will the next process that opens the root put things in order first, after a death or what the disk refused? */
  get awaitsRecovery(): boolean {
    const tables = [...this.#stateDisks.values()].flatMap((disk) => RECOVERED.map((name) => disk.tables.get(name)?.size ?? 0));
    return tables.some((size) => size > 0);
  }

  /** Other processes on the host live on. */
  kill(boot: SimBoot): void {
    this.host.kill(boot);
    for (const name of this.heldStores([boot])) {
      this.#stateDisks.get(name)!.kill();
      this.#held.delete(name);
    }
  }

  powerLoss(random: SimRandom): void {
    this.host.crash();
    for (const disk of this.#stateDisks.values()) disk.crash(random);
    this.#held.clear();
  }

  endpoint(boot: SimBoot): DirEndpoint {
    return new DirEndpoint({
      host: boot,
      path: ROOT,
      label: this.name,
      openStore: (state) => {
        // A zombie's last steps must not take a lock that nobody would give back.
        if (boot.fs.isDead) throw new SimCrash("the simulated process has ended");
        return this.store(`root ${state}`, boot);
      },
      hash: simHash,
    });
  }
}

export type LinkSpec = {
  readonly alpha: Replica;
  readonly beta: Replica;
  readonly mode: Mode;
  readonly conflict: ConflictPolicy;
  /** One-way modes: may beta's entries be removed? */
  readonly delete: boolean;
  readonly preserve: Preserve;
  /** Is beta reached over the wire? */
  readonly remote: boolean;
};

export function sessionIdOf(link: LinkSpec): string {
  return simHash(`${link.alpha.name}-${link.beta.name}`).padEnd(32, "0");
}
