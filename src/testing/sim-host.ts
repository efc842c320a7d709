/** One simulated host: a disk that outlives crashes and, for each boot, a fresh process on it. */
import type { Host } from "#platform/host.ts";
import { MemoryDisk } from "#sync/index/memory-store.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import { SimDisk, type SimDiskOptions } from "#testing/sim-disk.ts";
import { SimFs } from "#testing/sim-fs.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import { SimUser } from "#testing/sim-user.ts";
import { type SimWatchOptions, SimWatchSource } from "#testing/sim-watch.ts";

export type SimHostOptions = {
  readonly name?: string;
  readonly disk?: SimDiskOptions;
  /** Undefined: the default; false: this host cannot watch. */
  readonly watch?: Omit<SimWatchOptions, "random"> | false;
  readonly asyncDelayMs?: number;
  /** Whom the engine's process runs as. */
  readonly uid?: number;
};

/** What one start of the program sees. */
export type SimBoot = Host & { readonly fs: SimFs };

/** On this thread: what another one does comes when it will, and no seed repeats that. */
export async function sha256Here(bytes: Uint8Array): Promise<Uint8Array> {
  return Bun.SHA256.hash(bytes, new Uint8Array(32)) as Uint8Array;
}

export class SimHost {
  readonly clock: SimClock;
  readonly disk: SimDisk;
  /** Where the state database of this host lives; shares the host's fate in crash(). */
  readonly stateDisk = new MemoryDisk();
  /** The people and programs on the host that do not know of us. */
  readonly user: SimUser;
  readonly #random: SimRandom;
  readonly #options: SimHostOptions;
  #boots = 0;
  /** Of the system, which a power loss ends. */
  #starts = 1;
  #startedMs = 0;

  constructor(clock: SimClock, random: SimRandom, options: SimHostOptions = {}) {
    this.clock = clock;
    this.#random = random;
    this.#options = options;
    this.disk = new SimDisk(clock, options.disk);
    this.user = new SimUser(this.disk);
  }

  /** Starts a process on the host: its Host. What is given here goes before the host's own options. */
  boot(options: Pick<SimHostOptions, "watch" | "asyncDelayMs"> = {}): SimBoot {
    const random = this.#random.fork(`boot ${++this.#boots}`);
    const { asyncDelayMs = 0, uid = 0, watch = {}, name = "sim" } = { ...this.#options, ...options };
    const fs = new SimFs(this.disk, { uid, random: random.fork("fs"), asyncDelayMs });
    return {
      fs,
      clock: this.clock,
      random: random.fork("engine").asRandom(),
      watch: watch === false ? undefined : new SimWatchSource(fs, { ...watch, random: random.fork("watch") }),
      hostName: name,
      uptime: () => ({ start: String(this.#starts), ms: this.clock.monotonicMs() - this.#startedMs }),
      sha256: sha256Here,
      collectGarbage: () => undefined,
    };
  }

  /** Power loss: every process ends, un-synced files and un-durable state survive as chance has it. */
  crash(): void {
    const random = this.#random.fork(`crash ${this.#boots}`);
    this.disk.crash(random.fork("disk"));
    this.stateDisk.crash(random.fork("state"));
    this.user.restart();
    this.#starts++;
    this.#startedMs = this.clock.monotonicMs();
  }

  /** kill -9 of the engine: what was written stays. */
  kill(boot: SimBoot): void {
    boot.fs.kill();
    this.stateDisk.kill();
  }
}
