import { expect, test } from "bun:test";
import type { SynclineError } from "#model/error.ts";
import { PRIVATE_DIR } from "#model/path.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimDisk } from "#testing/sim-disk.ts";
import { SimFs } from "#testing/sim-fs.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { SimUser } from "#testing/sim-user.ts";
import { type StampContext, forgetIfRestored, keepStamping } from "#agent/root-stamp.ts";

const SEEDS = { a: 1n, b: 2n };
const ROOT = "/r";
/** A disk that refuses is tried again and again meanwhile. */
const LIFE_MS = 7000;
/** Calls with an effect of one drawing, on both disks, and one more. */
const EFFECTS = 9;
/** How a life ends. */
type End = { readonly at: number; readonly how: "killed" | "power lost" | "disk full" };

/** The call that the disk refuses once, and how. */
type Refusal = { readonly call: string; readonly code: string };

/** A host with one root and the state of one session, over many lives of its agent. */
class Life {
  readonly clock = new SimClock();
  readonly disk = new SimDisk(this.clock);
  readonly states = new MemoryDisk();
  readonly #random: SimRandom;
  #lives = 0;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
    new SimUser(this.disk).mkdir(ROOT);
    new SimUser(this.disk).mkdir(`${ROOT}/${PRIVATE_DIR}`);
    this.disk.settle();
  }

  /** One start of the agent, which draws a stamp and is ended in the midst of it. Was the root taken for a restored one? */
  async run(end: End | undefined, refusal?: Refusal): Promise<boolean> {
    const fs = new SimFs(this.disk);
    let isRefused = false;
    if (refusal !== undefined) {
      fs.faults = (call) => (call === refusal.call && !isRefused && (isRefused = true) ? refusal.code : undefined);
    }
    const store = new MemoryStore(this.states);
    const random = this.#random.fork(`life ${this.#lives++}`).asRandom();
    const context: StampContext = { fs, clock: this.clock, random, root: ROOT, store, sessionId: "0123456789abcdef" };
    const isRestored = forgetIfRestored(context, SEEDS, "alpha");
    let effects = 0;
    const count = (): void => {
      if (++effects !== end?.at) return;
      this.states.kill();
      throw new SimCrash("now");
    };
    if (end?.how === "disk full") fs.faults = (_call, { isEffect }) => (isEffect && ++effects >= end.at ? "ENOSPC" : undefined);
    else {
      fs.onEffect = count;
      const { transaction } = store;
      store.transaction = (options, body) => {
        const result = transaction.call(store, options, body);
        count();
        return result as never;
      };
    }
    const over = new AbortController();
    const stamping = keepStamping(context, over.signal);
    this.clock.runFor(LIFE_MS);
    over.abort();
    await stamping;
    if (end?.how === "power lost") {
      this.disk.crash(this.#random);
      this.states.crash(this.#random);
    } else {
      fs.kill();
      this.states.kill();
    }
    return isRestored;
  }

  /** A copy of the root's stamp. */
  stamp(): string {
    const user = new SimUser(this.disk);
    const name = [...user.tree(`${ROOT}/${PRIVATE_DIR}`).keys()].find((one) => /^stamp-[0-9a-f]{16}$/.test(one));
    return name === undefined ? "" : user.read(`${ROOT}/${PRIVATE_DIR}/${name}`);
  }

  putBack(stamp: string): void {
    new SimUser(this.disk).write(`${ROOT}/${PRIVATE_DIR}/stamp-0123456789abcdef`, stamp);
  }
}

test("[AGENT-104] drawings of stamps that are cut off one after the other, anywhere, never let a root pass for a restored one", async () => {
  let cut = 0;
  for (const how of ["killed", "power lost", "disk full"] as const) {
    for (let first = 1; first <= EFFECTS; first++) {
      for (let second = 1; second <= EFFECTS; second++) {
        for (const hasStamp of [false, true]) {
          const life = new Life(first * 100 + second);
          const ends = [...(hasStamp ? [undefined] : []), { at: first, how }, { at: second, how }, { at: first, how }, undefined, undefined];
          for (const [at, end] of ends.entries()) {
            expect([how, first, second, hasStamp, at, await life.run(end)]).toEqual([how, first, second, hasStamp, at, false]);
            if (end !== undefined) cut++;
          }
          const old = life.stamp();
          expect(old).toHaveLength(33);
          expect(await life.run(undefined)).toBe(false);
          expect(life.stamp()).not.toBe(old);
          life.putBack(old);
          expect([how, first, second, await life.run(undefined)]).toEqual([how, first, second, true]);
          expect(await life.run(undefined)).toBe(false);
        }
      }
    }
  }
  expect(cut).toBe(3 * EFFECTS * EFFECTS * 2 * 3);
});

test("[AGENT-108] a root that was put back is told once, also while its disk refuses it another stamp, and the next time again", async () => {
  for (const at of [1, 2, 3]) {
    const life = new Life(at);
    await life.run(undefined);
    const old = life.stamp();
    await life.run(undefined);
    life.putBack(old);
    const full = { at, how: "disk full" } as const;
    expect(await life.run(full)).toBe(true);
    for (let time = 0; time < 3; time++) expect([at, time, await life.run(full)]).toEqual([at, time, false]);
    expect(await life.run(undefined)).toBe(false);
    expect(life.stamp()).not.toBe(old);
    life.putBack(old);
    expect(await life.run(undefined)).toBe(true);
    expect(await life.run(undefined)).toBe(false);
  }
});

test("[AGENT-126] a root that was put back, and whose stamp cannot be read just then, is told the next time; nothing begins before", async () => {
  for (const [call, code] of [["openRoot", "EMFILE"], ["openDir", "EMFILE"], ["openRead", "EIO"], ["read", "EIO"]] as const) {
    const life = new Life(1);
    await life.run(undefined);
    const old = life.stamp();
    await life.run(undefined);
    life.putBack(old);
    const said = await life.run(undefined, { call, code }).catch((error: unknown) => (error as SynclineError).code);
    expect([call, said, life.stamp() === old]).toEqual([call, "DISK", true]);
    expect([call, await life.run(undefined)]).toEqual([call, true]);
  }
});
