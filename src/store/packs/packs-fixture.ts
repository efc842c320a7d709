/** Packs on the simulated disk and on the real one, for tests. */
import type { FileSystem } from "#platform/file-system.ts";
import type { Clock, Host } from "#platform/host.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import type { ChunkStoreUnderTest } from "#store/chunk-store-contract.ts";
import type { PackLimits } from "#store/packs/appender.ts";
import { RECORD_BYTES_MAX } from "#store/packs/pack-format.ts";
import type { Recovery } from "#store/packs/open-packs.ts";
import { openPacks } from "#store/packs/packs.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimDisk } from "#testing/sim-disk.ts";
import { SimFs } from "#testing/sim-fs.ts";
import { sha256Here } from "#testing/sim-host.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";

/** Packs so small that a handful of chunks fills several. */
export const SMALL: PackLimits = { packBytes: 24 << 10, packRecords: 64, bufferBytes: RECORD_BYTES_MAX, largeBytes: 4 << 10 };

/** A wall clock that tests set; a sleep only lets others go on. */
export class TestClock implements Clock {
  nowMs_ = 1_767_225_600_000;

  nowMs(): number {
    return this.nowMs_;
  }

  monotonicMs(): number {
    return this.nowMs_;
  }

  async sleep(_ms: number, signal: AbortSignal): Promise<void> {
    await undefined;
    signal.throwIfAborted();
  }
}

/** Where the payload of the last record of a chunk lies; the fs must be able to see the bytes. */
export function payloadPlace(fs: FileSystem, directory: string, id: ChunkId): { name: string; position: number } {
  const root = fs.openRoot(directory);
  try {
    for (const { name } of fs.list(root).sort((a, b) => (a.name < b.name ? 1 : -1))) {
      if (!name.endsWith(".pack")) continue;
      const fd = fs.openRead(root, name);
      const bytes = new Uint8Array(fs.fstat(fd).size);
      fs.read(fd, bytes, 0);
      fs.close(fd);
      const at = Buffer.from(bytes.buffer).lastIndexOf(Buffer.from(id, "hex"));
      if (at !== -1) return { name, position: at - 8 + 64 };
    }
  } finally {
    fs.close(root);
  }
  throw new Error(`chunk ${id} is in no pack`);
}

/** One simulated disk and the processes that keep their chunks in /packs on it. */
export class SimPacks {
  readonly disk: SimDisk;
  readonly clock = new TestClock();
  readonly random: SimRandom;
  readonly limits: PackLimits;
  fs!: SimFs;
  store!: ChunkStore;
  recovery!: Recovery;

  constructor(seed = 1, limits: PackLimits = SMALL, capacityBytes = 2 ** 40) {
    this.random = new SimRandom(seed);
    this.limits = limits;
    this.disk = new SimDisk(new SimClock(), { capacityBytes });
    const fs = new SimFs(this.disk);
    fs.mkdir(fs.openRoot("/"), "packs", 0o700);
    fs.kill();
    this.disk.settle();
  }

  static async opened(...given: ConstructorParameters<typeof SimPacks>): Promise<SimPacks> {
    const sim = new SimPacks(...given);
    await sim.open();
    return sim;
  }

  get host(): Pick<Host, "fs" | "clock" | "random" | "sha256"> {
    return { fs: this.fs, clock: this.clock, random: this.random.asRandom(), sha256: sha256Here };
  }

  async open(): Promise<ChunkStore> {
    this.fs = new SimFs(this.disk, { random: this.random.fork("listing") });
    const { store, recovery } = await openPacks(this.host, "/packs", this.limits);
    this.recovery = recovery;
    return (this.store = store);
  }

  /** Kills the process, and with `power` also what was not synced. */
  async crash(power = true): Promise<ChunkStore> {
    if (power) this.disk.crash(this.random);
    else this.fs.kill();
    return this.open();
  }

  /**
   * At its `at`th effect the disk refuses, or the process ends ("crash"; "power").
   * @returns whether it has come to that
   */
  failAt(at: number, how: string): () => boolean {
    let isReached = false;
    const hit = (count: number): boolean => count === at && (isReached = true);
    if (how === "crash" || how === "power") {
      this.fs.onEffect = (count) => {
        if (hit(count)) throw new SimCrash("here");
      };
    } else {
      let effects = 0;
      this.fs.faults = (_call, { isEffect }) => (isEffect && hit(++effects) ? how : undefined);
    }
    return () => isReached;
  }

  flip(id: ChunkId, shift = 0): void {
    const { name, position } = payloadPlace(new SimFs(this.disk), "/packs", id);
    this.disk.flipBit(`/packs/${name}`, position + shift);
  }
}

export async function simUnderTest(seed: number, limits?: PackLimits): Promise<ChunkStoreUnderTest> {
  const sim = await SimPacks.opened(seed, limits);
  const clock = {
    get nowMs(): number {
      return sim.clock.nowMs_;
    },
    set nowMs(value: number) {
      sim.clock.nowMs_ = value;
    },
  };
  return {
    store: sim.store,
    clock,
    async reopen() {
      await sim.store.close();
      return sim.open();
    },
    crash: () => sim.crash(),
    async damage(id) {
      sim.flip(id);
    },
  };
}
