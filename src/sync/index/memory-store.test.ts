import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import { storeContract } from "#sync/index/store-contract.ts";
import type { Codec } from "#sync/index/store.ts";
import { SimRandom } from "#testing/sim-random.ts";

storeContract("memory", () => {
  const disk = new MemoryDisk();
  let store = new MemoryStore(disk);
  return {
    store,
    reopen() {
      store.close();
      return (store = new MemoryStore(disk));
    },
    crash() {
      disk.kill();
      return (store = new MemoryStore(disk));
    },
  };
});

const text: Codec<string> = {
  encode: (record) => new TextEncoder().encode(record),
  decode: (bytes) => new TextDecoder().decode(bytes),
};

/** Everything a store holds, to compare two states of it. */
function contents(disk: MemoryDisk): unknown {
  const store = new MemoryStore(disk);
  const tree = store.tree("t", text);
  const log = store.log("l");
  return {
    tree: [...tree.walk("")],
    count: tree.count(),
    table: [...store.table("x").entries()].map(([key, value]) => [key, text.decode(value)]),
    log: [log.first(), log.last(), ...Array.from(log.since(0), ([number, record]) => [number, text.decode(record)])],
  };
}

const path = fc.constantFrom("", "a", "a/b", "a/b/c", "b", "b/x", "c");
const step = fc.oneof(
  fc.tuple(fc.constant("set"), path, fc.string()),
  fc.tuple(fc.constant("delete"), path, fc.string()),
  fc.tuple(fc.constant("setChildren"), path, fc.string()),
  fc.tuple(fc.constant("deleteSubtree"), path, fc.string()),
  fc.tuple(fc.constant("move"), fc.constantFrom("a", "b", "a/b"), fc.string()),
  fc.tuple(fc.constant("table"), path, fc.string()),
  fc.tuple(fc.constant("append"), path, fc.string()),
  fc.tuple(fc.constant("trim"), path, fc.string()),
);

function perform(store: MemoryStore, [what, at, value]: readonly [string, string, string], number: number): void {
  const tree = store.tree("t", text);
  const log = store.log("l");
  if (what === "set") tree.set(at, value);
  if (what === "delete") tree.delete(at);
  if (what === "setChildren") tree.setChildren(at, [{ name: "b", record: value }]);
  if (what === "deleteSubtree") tree.deleteSubtree(at);
  if (what === "move") tree.moveSubtree(at, `moved-${number}`);
  if (what === "table" && value.length % 2 === 0) store.table("x").set(at, text.encode(value));
  if (what === "table" && value.length % 2 === 1) store.table("x").delete(at);
  if (what === "append") log.append(text.encode(value));
  if (what === "trim") log.trim(log.first());
}

describe("memory-store", () => {
  test("[SIM-4] a power loss keeps a prefix of the commits, no shorter than the last durable one", () => {
    const commits = fc.array(fc.tuple(fc.array(step, { maxLength: 4 }), fc.boolean()), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(commits, fc.integer(), (transactions, seed) => {
        const disk = new MemoryDisk();
        const store = new MemoryStore(disk);
        const states = [contents(disk)];
        let durable = 0;
        let number = 0;
        for (const [steps, isDurable] of transactions) {
          store.transaction({ durable: isDurable }, () => {
            for (const each of steps) perform(store, each, number++);
          });
          // A transaction that changes nothing leaves nothing to lose.
          if (isDurable) durable = states.length;
          states.push(contents(disk));
        }
        disk.crash(new SimRandom(seed));
        const after = contents(disk);
        expect(states.slice(durable).some((state) => Bun.deepEquals(state, after))).toBe(true);
        expect(() => store.tree("t", text).count()).toThrow("ended");
      }),
      { numRuns: 150 },
    );
  });

  test("[SIM-4] every length of prefix occurs", () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < 60; seed++) {
      const disk = new MemoryDisk();
      const store = new MemoryStore(disk);
      const log = store.log("l");
      log.append(Uint8Array.of(0));
      store.transaction({ durable: true }, () => undefined);
      for (let at = 1; at < 5; at++) log.append(Uint8Array.of(at));
      disk.crash(new SimRandom(seed));
      seen.add(new MemoryStore(disk).log("l").last());
    }
    expect([...seen].toSorted()).toEqual([1, 2, 3, 4, 5]);
  });

  test("[SIM-4] a crash right before a commit loses the transaction and ends the store", () => {
    const disk = new MemoryDisk();
    const store = new MemoryStore(disk);
    store.table("x").set("k", Uint8Array.of(1));
    const crash = new Error("crash");
    disk.beforeCommit = () => {
      throw crash;
    };
    expect(() => store.table("x").set("k", Uint8Array.of(2))).toThrow(crash);
    disk.beforeCommit = undefined;
    expect(() => store.table("x").get("k")).toThrow(crash);
    expect(() => store.transaction({ durable: true }, () => undefined)).toThrow(crash);
    disk.kill();
    expect(new MemoryStore(disk).table("x").get("k")).toEqual(Uint8Array.of(1));
  });

  test("[SIM-4] a power loss in the middle of a transaction takes that back before any commit (seed 80034572)", () => {
    for (let seed = 0; seed < 20; seed++) {
      const disk = new MemoryDisk();
      const store = new MemoryStore(disk);
      const log = store.log("l");
      for (const number of [1, 2, 3]) log.append(Uint8Array.of(number));
      store.transaction({ durable: true }, () => undefined);
      log.trim(1);
      disk.beforeCommit = () => {
        disk.crash(new SimRandom(seed));
        throw new Error("crash");
      };
      expect(() => log.trim(2)).toThrow("crash");
      const kept = [...new MemoryStore(disk).log("l").since(0)].map(([number, record]) => [number, record[0]]);
      expect([seed, kept.slice(-2)]).toEqual([seed, [[2, 2], [3, 3]]]);
    }
  });

  test("an open transaction is lost when the process ends in it", () => {
    const disk = new MemoryDisk();
    const store = new MemoryStore(disk);
    const run = (): void =>
      store.transaction({ durable: true }, () => {
        store.table("x").set("k", Uint8Array.of(1));
        disk.kill();
      });
    expect(run).toThrow("ended");
    expect(new MemoryStore(disk).table("x").get("k")).toBeUndefined();
  });
});
