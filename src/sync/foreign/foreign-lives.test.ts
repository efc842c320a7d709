/**
 * Lives of a pair with a foreign system: people write, remove and rename on both sides, each path on one side alone, before
 * and in the middle of sessions, which lose their connection or are killed at any step. In the end both sides hold exactly
 * what people left.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { SynclineError } from "#model/error.ts";
import { ForeignPair } from "#sync/foreign/foreign-fixture.ts";
import type { Abilities } from "#sync/foreign/foreign-files.ts";
import { MemorySystem } from "#sync/foreign/memory-files-fixture.ts";

const ROUNDS = 5;
const LIVES = 2;
const DIRS = ["", "d/", "d/e/", "f/"];

class Killed extends Error {}

/** The same numbers for the same seed. */
function dice(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 374_761_393) >>> 0;
    return state % below;
  };
}

class Life {
  readonly system: MemorySystem;
  readonly pair: ForeignPair;
  readonly roll: (below: number) => number;
  /** What people left, by path. */
  readonly left = new Map<string, string>();
  #contents = 0;

  constructor(seed: number, abilities: Partial<Abilities>, hasTags: boolean) {
    this.system = new MemorySystem(abilities, hasTags);
    this.pair = new ForeignPair(() => this.system.client());
    this.roll = dice(seed);
  }

  /** Names beginning with "l" are written here alone, with "r" there alone. */
  #path(side: "l" | "r"): string {
    return `${DIRS[this.roll(DIRS.length)]}${side}${this.roll(4)}`;
  }

  #content(): string {
    const text = `content ${this.#contents++} `;
    return text.repeat([1, 3, 40, 20_000][this.roll(4)]! + this.#contents);
  }

  act(): void {
    const side = this.roll(2) === 0 ? "l" : "r";
    const path = this.#path(side);
    const what = this.roll(5);
    if (what < 3) {
      const text = this.#content();
      this.left.set(path, text);
      if (side === "l") this.pair.put(path, text);
      else this.system.put(path, text);
    } else if (this.left.has(path)) {
      const text = this.left.get(path)!;
      this.left.delete(path);
      if (what === 3) {
        if (side === "l") this.pair.remove(path);
        else this.system.delete(path);
        return;
      }
      const to = this.#path(side);
      this.left.set(to, text);
      this.#rename(side, path, to, text);
    }
  }

  #rename(side: "l" | "r", from: string, to: string, text: string): void {
    if (from === to) return;
    if (side === "r") {
      this.system.delete(from);
      this.system.put(to, text);
      return;
    }
    const place = join(this.pair.root, to);
    mkdirSync(dirname(place), { recursive: true });
    renameSync(join(this.pair.root, from), place);
  }

  later(): void {
    this.pair.aheadMs += 300_000;
    this.system.nowNs += 300_000_000_000n;
  }

  /** One session that something happens to. */
  async trouble(): Promise<void> {
    let left = this.roll(100);
    const isKilled = this.roll(2) === 0;
    this.system.fault = (call, path) => {
      if (this.roll(8) === 0) this.act();
      if (left-- > 0) return;
      if (isKilled) throw new Killed();
      left = 20 + this.roll(40);
      throw new SynclineError({ code: "LINK_LOST", op: call, path, message: "lost", retryable: true });
    };
    const { error } = await this.pair.run();
    this.system.fault = undefined;
    const isExpected = error === undefined || error instanceof Killed || (error instanceof SynclineError && error.code === "LINK_LOST");
    if (!isExpected) throw error;
  }

  async rest(): Promise<void> {
    for (let run = 0; run < 3; run++) {
      const { error, summary } = await this.pair.run();
      if (error !== undefined) throw error;
      expect({ conflicts: summary?.conflicts, problems: summary?.problems }).toEqual({ conflicts: 0, problems: 0 });
      this.later();
      if (summary?.changes === 0) return;
    }
    throw new Error("it does not come to rest");
  }
}

const KINDS: [string, Partial<Abilities>, boolean][] = [
  ["able", {}, true],
  ["like S3", { listsTimes: false, renames: "copies", modes: false, symlinks: false }, true],
  ["like a bucket", { listsTimes: false, renames: "copies", directories: false, modes: false, symlinks: false }, true],
  ["like SFTP", { conditional: false, timeResolutionNs: 1_000_000_000n, parallel: 8 }, false],
  ["like FTP", { conditional: false, modes: false, symlinks: false, timeResolutionNs: 1_000_000_000n, parallel: 2 }, false],
  ["poor", { setsTimes: false, timeResolutionNs: 60_000_000_000n, renames: "none", keeps: false, ranges: false, modes: false, symlinks: false, parallel: 1 }, false],
];

test.each(KINDS)("[FOREIGN-27] lives with a system that is %s end as people left it", async (_name, abilities, hasTags) => {
  const first = Number(process.env["SYNCLINE_SEED"] ?? 1);
  const lives = Number(process.env["SYNCLINE_SEEDS"] ?? LIVES);
  for (let seed = first; seed < first + lives; seed++) {
    const life = new Life(seed, abilities, hasTags);
    try {
      for (let round = 0; round < ROUNDS; round++) {
        for (let acts = 1 + life.roll(8); acts > 0; acts--) life.act();
        life.later();
        if (life.roll(3) > 0) await life.trouble();
      }
      await life.rest();
      const wanted = Object.fromEntries([...life.left].sort(([a], [b]) => (a < b ? -1 : 1)));
      expect({ seed, files: life.pair.files() }).toEqual({ seed, files: wanted });
      expect({ seed, files: life.system.files() }).toEqual({ seed, files: wanted });
      expect([...life.system.nodes.keys()].some((path) => path.includes(".syncline-part-"))).toBe(false);
    } finally {
      expect(existsSync(life.pair.root)).toBe(true);
      life.pair[Symbol.dispose]();
    }
  }
}, 300_000);
