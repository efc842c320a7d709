import { expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import type { Pin } from "#store/chunk-store.ts";
import { type Chunk, idsOf, sampleChunk } from "#store/chunk-store-contract.ts";
import { SimPacks } from "#store/packs/packs-fixture.ts";

const POOL = 24;
const never = new AbortController().signal;
/** Of lengths from nothing to several kilobytes, every third compressible. */
const pool: readonly Chunk[] = Array.from({ length: POOL }, (_, at) => sampleChunk(at, (at * at * 17) % 5000, at % 3 === 0));
const anyChunk = fc.nat(POOL - 1);
const someChunks = fc.uniqueArray(anyChunk, { maxLength: 8 });

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("put" as const), chunks: someChunks }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("flush" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("release" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("get" as const), chunk: anyChunk }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("forget" as const), chunks: someChunks }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("prune" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("scrub" as const), budget: fc.nat(9000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("rot" as const), chunk: anyChunk, shift: fc.constantFrom(0, -30, -62) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("power" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("kill" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reopen" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("full" as const), freeBytes: fc.nat(30_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("room" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("fail" as const), after: fc.integer({ min: 1, max: 12 }) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** What must be there, beside the store itself. */
class Model {
  readonly sim: SimPacks;
  /** Acknowledged, and referred to: must be there and sound. */
  readonly kept = new Set<number>();
  /** Put through the open pin and not acknowledged. */
  readonly pending = new Set<number>();
  /** Rotten by our hand, and not durably put again since. */
  readonly rotten = new Set<number>();
  readonly healing = new Set<number>();
  pin: Pin | undefined;

  constructor(seed: number) {
    this.sim = new SimPacks(seed);
  }

  async play(steps: readonly Step[]): Promise<void> {
    await this.sim.open();
    for (const one of steps) {
      try {
        await this.#step(one);
      } catch (error) {
        if (!(error instanceof SynclineError)) throw error;
        this.#refused(error);
      }
      this.sim.clock.nowMs_ += 1500;
    }
    this.sim.fs.faults = undefined;
    this.sim.disk.capacityBytes = 2 ** 40;
    this.#release();
    // A complete pack may be on its way to be durable, and fail.
    await this.sim.store.flush().catch((error: unknown) => this.#refused(error as SynclineError));
    await this.#verify();
    await this.sim.crash();
    await this.#verify();
    await this.sim.store.close();
    expect(this.sim.fs.openFds()).toBe(0);
  }

  async #step(one: Step): Promise<void> {
    const { sim } = this;
    switch (one.do) {
      case "put": {
        this.pin ??= sim.store.pin();
        const ids = one.chunks.map((at) => pool[at]!.id);
        const here = this.pin.has(ids);
        for (const [index, at] of one.chunks.entries()) {
          // Somebody who found it sends it again only sometimes.
          if (here[index] === true && at % 2 === 0) {
            this.pending.add(at);
            continue;
          }
          await this.pin.put(pool[at]!.id, pool[at]!.bytes);
          this.pending.add(at);
          if (here[index] === false) this.healing.add(at);
        }
        return;
      }
      case "flush":
        if (this.pin === undefined) return sim.store.flush();
        await this.pin.flush();
        for (const at of this.pending) this.kept.add(at);
        for (const at of this.healing) this.rotten.delete(at);
        this.healing.clear();
        return this.pending.clear();
      case "release":
        return this.#release();
      case "get":
        return this.#get(one.chunk);
      case "forget":
        for (const at of one.chunks) this.kept.delete(at);
        return undefined;
      case "prune": {
        const live = idsOf([...this.kept].map((at) => pool[at]!));
        await sim.store.prune({ live, olderThanMs: sim.clock.nowMs() - 4000, fractionMax: 1 }, never);
        return undefined;
      }
      case "scrub":
        await sim.store.scrub(undefined, one.budget, never);
        return undefined;
      case "rot":
        return this.#rot(one.chunk, one.shift);
      case "power":
      case "kill":
        this.#release();
        sim.fs.faults = undefined;
        await sim.crash(one.do === "power");
        return this.#verify();
      case "reopen":
        this.#release();
        await sim.store.close().finally(() => sim.open());
        return this.#verify();
      case "full":
        sim.disk.capacityBytes = sim.disk.usedBytes + one.freeBytes;
        return undefined;
      case "room":
        sim.disk.capacityBytes = 2 ** 40;
        return undefined;
      case "fail": {
        let left = one.after;
        // After an EIO no later sync of the directory would be true, not even after a restart: there another reason.
        const reason = (path: string): string => (path === "/packs" ? "EDQUOT" : "EIO");
        sim.fs.faults = (_call, { isEffect, path }) => (isEffect && --left === 0 ? reason(path) : undefined);
      }
    }
  }

  #release(): void {
    this.pin?.[Symbol.dispose]();
    this.pin = undefined;
    this.pending.clear();
    this.healing.clear();
  }

  /** The disk refused, or what was found was rotten: nothing was acknowledged. */
  #refused(error: SynclineError): void {
    const isRot = this.rotten.size > 0 && (error.code === "CHUNK_DAMAGED" || error.code === "CHUNK_MISSING");
    if (!isRot) expect(error.code).toBe("DISK");
    this.#release();
  }

  #rot(at: number, shift: number): void {
    try {
      // Behind the header of an empty chunk lies another record.
      this.sim.flip(pool[at]!.id, pool[at]!.bytes.length === 0 ? -30 : shift);
      this.rotten.add(at);
      this.healing.delete(at);
    } catch {
      // It lies in no file.
    }
  }

  async #get(at: number): Promise<void> {
    const { id, bytes } = pool[at]!;
    const found = await this.sim.store.get(id).catch((error: unknown) => {
      if (error instanceof SynclineError && error.code.startsWith("CHUNK_")) return undefined;
      throw error;
    });
    if (found !== undefined) expect(Buffer.compare(found, bytes)).toBe(0);
    else if (this.kept.has(at)) expect(this.rotten).toContain(at);
  }

  /** Everything kept is there; nothing is wrong; what is said to be here can be had, unless it rots. */
  async #verify(): Promise<void> {
    const { store } = this.sim;
    using pin = store.pin();
    const here = pin.has(pool.map(({ id }) => id));
    for (let at = 0; at < POOL; at++) {
      await this.#get(at);
      if (here[at] === true && !this.rotten.has(at)) {
        expect(Buffer.compare(await store.get(pool[at]!.id), pool[at]!.bytes)).toBe(0);
      }
    }
    // No header rots here.
    expect(this.sim.recovery.unreadable).toEqual([]);
    const { chunks, storedBytes } = store.stats();
    expect(chunks).toBeLessThanOrEqual(POOL);
    expect(storedBytes).toBeGreaterThanOrEqual(0);
  }
}

const RUNS = Number(process.env["SYNCLINE_PACK_RUNS"] ?? "200");

test("[CHUNK-31] histories of puts, flushes, prunes, rot, full disks, refusals and power losses keep what was acknowledged", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(step, { minLength: 1, maxLength: 60, size: "max" }), (seed, steps) =>
      new Model(seed).play(steps),
    ),
    { numRuns: RUNS },
  );
}, 600_000);
