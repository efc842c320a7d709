import { describe, expect, test } from "bun:test";
import { MemoryStore } from "#sync/index/memory-store.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimHost } from "#testing/sim-host.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";

describe("sim-host", () => {
  test("[SIM-14] kill -9 keeps what was written, a power loss may take what was not durable; boots start afresh", () => {
    const random = new SimRandom(1);
    const host = new SimHost(new SimClock(random.fork("clock")), random.fork("host"), { name: "alpha" });
    host.user.mkdir("/srv");
    host.disk.settle();
    const first = host.boot();
    expect(first.hostName).toBe("alpha");
    const store = new MemoryStore(host.stateDisk);
    store.table("t").set("k", Uint8Array.of(1));
    const root = first.fs.openRoot("/srv");
    first.fs.close(first.fs.create(root, "f", 0o600));
    host.kill(first);
    expect(() => first.fs.fstat(root)).toThrow(SimCrash);
    expect(() => store.table("t").get("k")).toThrow("ended");
    const second = host.boot();
    expect(second.fs.list(second.fs.openRoot("/srv"))).toHaveLength(1);
    expect(new MemoryStore(host.stateDisk).table("t").get("k")).toEqual(Uint8Array.of(1));
    expect(second.random.bytes(8)).not.toEqual(first.random.bytes(8));
    host.crash();
    expect(() => second.fs.openRoot("/srv")).toThrow(SimCrash);
    expect(host.user.exists("/srv")).toBe(true);
    host.user.write("/srv/g", "x");
    expect(host.disk.isSettled()).toBe(false);
  });

  test("a host may be one that cannot watch", () => {
    const random = new SimRandom(2);
    const host = new SimHost(new SimClock(), random, { watch: false });
    expect(host.boot().watch).toBeUndefined();
    expect(new SimHost(new SimClock(), random).boot().watch).toBeDefined();
  });
});
