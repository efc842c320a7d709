import { describe, expect, test } from "bun:test";
import type { Pin } from "#store/chunk-store.ts";
import { type Chunk, chunkOf, codeOf, expectAll, idsOf, putAll, sampleChunk, samples } from "#store/chunk-store-contract.ts";
import { openPacks } from "#store/packs/packs.ts";
import { SMALL, SimPacks, payloadPlace } from "#store/packs/packs-fixture.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimFs } from "#testing/sim-fs.ts";
import { SimRandom } from "#testing/sim-random.ts";

const never = new AbortController().signal;
const MINUTE = 60_000;

/** Names in the directory of the packs that end so. */
function names(sim: SimPacks, ending: string): string[] {
  const fs = new SimFs(sim.disk);
  return fs.list(fs.openRoot("/packs")).map(({ name }) => name).filter((name) => name.endsWith(ending)).sort();
}

function edit(sim: SimPacks, name: string, change: (fs: SimFs, fd: ReturnType<SimFs["openWrite"]>) => void): void {
  const fs = new SimFs(sim.disk);
  const fd = fs.openWrite(fs.openRoot("/packs"), name);
  change(fs, fd);
  fs.kill();
  sim.disk.settle();
}

describe("packs: when the disk begins", () => {
  test("[CHUNK-49] a flush says when the disk is at work for it, or that there is nothing to do, or that it failed: once", async () => {
    const sim = await SimPacks.opened();
    await putAll(sim.store, samples(2));
    const told: string[] = [];
    sim.fs.faults = (call) => {
      if (call === "sync") told.push("sync");
      return undefined;
    };
    using pin = sim.store.pin();
    const flush = (): Promise<unknown> => pin.flush(() => told.push("begun")).then(() => told.push("durable"), () => told.push("failed"));
    for (const { id, bytes } of samples(2, 1500, 100)) await pin.put(id, bytes);
    await Promise.all([flush(), flush()]);
    expect(told.splice(0)).toEqual(["sync", "begun", "begun", "durable", "durable"]);
    await flush();
    expect(told.splice(0)).toEqual(["begun", "durable"]);
    sim.fs.faults = (call) => (call === "sync" ? "EIO" : undefined);
    for (const { id, bytes } of samples(1, 1500, 200)) await pin.put(id, bytes);
    await flush();
    expect(told).toEqual(["begun", "failed"]);
  });
});

describe("packs: what the disk refuses", () => {
  test("[CHUNK-16] a failed sync acknowledges nothing, loses what was not durable for sure, and tells every holder", async () => {
    const sim = await SimPacks.opened();
    const [durable, lost] = [samples(5), samples(5, 1500, 100)];
    await putAll(sim.store, durable);
    const [holder, finder] = [sim.store.pin(), sim.store.pin()];
    for (const { id, bytes } of lost) await holder.put(id, bytes);
    expect(finder.has([lost[0]!.id, durable[0]!.id])).toEqual([true, true]);
    sim.fs.faults = (call) => (call === "sync" ? "EIO" : undefined);
    expect(await codeOf(holder.flush())).toBe("DISK");
    sim.fs.faults = undefined;
    // Its sync would succeed now; but what it would say of is gone.
    for (const attempt of [holder.flush(), finder.flush(), sim.store.flush()]) expect(await codeOf(attempt)).toBe("DISK");
    expect(await codeOf(() => finder.has([]))).toBe("DISK");
    using fresh = sim.store.pin();
    expect(fresh.has(lost.map(({ id }) => id))).not.toContain(true);
    await fresh.flush();
    holder[Symbol.dispose]();
    finder[Symbol.dispose]();
    await sim.store.flush();
    await putAll(sim.store, lost);
    await expectAll(await sim.crash(), [...durable, ...lost]);
  });

  test("[CHUNK-32] after a failed sync of the directory no new pack is believed in; a restart begins anew", async () => {
    const sim = await SimPacks.opened();
    const chunks = samples(3);
    let isRefused = false;
    sim.fs.faults = (call, { path }) => {
      if (call !== "sync" || path !== "/packs" || isRefused) return undefined;
      isRefused = true;
      return "EDQUOT";
    };
    for (let round = 0; round < 3; round++) expect(await codeOf(putAll(sim.store, chunks))).toBe("DISK");
    expect(names(sim, ".pack")).toEqual([]);
    await sim.crash(false);
    await putAll(sim.store, chunks);
    await expectAll(await sim.crash(), chunks);
  });

  test("[CHUNK-17] a loss that nobody holds any more is told by the next flush, once", async () => {
    const sim = await SimPacks.opened();
    const pin = sim.store.pin();
    const [chunk] = samples(1) as [Chunk];
    await pin.put(chunk.id, chunk.bytes);
    pin[Symbol.dispose]();
    sim.fs.faults = (call) => (call === "writeAsync" || call === "write" ? "EIO" : undefined);
    // Somebody else's barrier fails first.
    using other = sim.store.pin();
    expect(await codeOf(other.flush())).toBe("DISK");
    sim.fs.faults = undefined;
    expect(await codeOf(sim.store.flush())).toBe("DISK");
    expect(await codeOf(sim.store.flush())).toBe("ok");
  });

  test("[CHUNK-18] a full disk: nothing is acknowledged, nothing durable is touched, and it works again with room", async () => {
    const sim = await SimPacks.opened(3, SMALL, 120 << 10);
    const safe: Chunk[] = [];
    const codes: string[] = [];
    for (let round = 0; round < 80; round++) {
      const chunk = sampleChunk(round, 4000);
      const code = await codeOf(putAll(sim.store, [chunk]));
      codes.push(code);
      if (code === "ok") safe.push(chunk);
    }
    expect(new Set(codes)).toEqual(new Set(["ok", "DISK"]));
    expect(names(sim, ".pack").length).toBeLessThan(12);
    await expectAll(sim.store, safe);
    sim.disk.capacityBytes = 2 ** 30;
    const more = samples(20, 4000, 500);
    await putAll(sim.store, more);
    await expectAll(await sim.crash(), [...safe, ...more]);
  });

  test("[CHUNK-19] a refusal or the end of the process at any effect loses no acknowledged chunk", async () => {
    for (const errno of ["EIO", "ENOSPC", "crash", "power"]) {
      for (let at = 1; ; at++) {
        const sim = await SimPacks.opened(at);
        const acknowledged: Chunk[] = [];
        const isReached = sim.failAt(at, errno);
        let isClosed = false;
        const life = history(sim, acknowledged).then(() => {
          isClosed = true;
          return sim.store.close();
        });
        await life.catch((error: unknown) => {
          if (!(error instanceof SimCrash)) expect((error as { code?: string }).code).toBe("DISK");
        });
        sim.fs.faults = undefined;
        if (!sim.fs.isDead && !isClosed) await expectAll(sim.store, acknowledged);
        await expectAll(await sim.crash(errno === "power"), acknowledged);
        if (!isReached()) break;
      }
    }
  });

  /** Fills several packs, prunes most of it, puts again. Fewer are acknowledged while a prune may remove them. */
  async function history(sim: SimPacks, acknowledged: Chunk[]): Promise<void> {
    const { store } = sim;
    const old = samples(24);
    const attempt = async (chunks: Chunk[]): Promise<void> => {
      await putAll(store, chunks);
      acknowledged.push(...chunks);
    };
    for (let at = 0; at < old.length; at += 8) await attempt(old.slice(at, at + 8));
    sim.clock.nowMs_ += MINUTE;
    const live = old.filter((_, at) => at % 5 === 0);
    acknowledged.splice(0, acknowledged.length, ...live);
    await store.prune({ live: idsOf(live), olderThanMs: sim.clock.nowMs(), fractionMax: 1 }, never);
    await attempt(samples(4, 1500, 200));
  }
});

describe("packs: opening what was left", () => {
  test("[CHUNK-20] a torn tail is cut and told, and another pack goes on", async () => {
    const sim = await SimPacks.opened();
    const chunks = samples(6);
    await putAll(sim.store, chunks);
    sim.fs.kill();
    const [pack] = names(sim, ".pack") as [string];
    edit(sim, pack, (fs, fd) => fs.truncate(fd, fs.fstat(fd).size - 700));
    await sim.open();
    expect(sim.recovery).toMatchObject({ damaged: 0, chunks: 5 });
    expect(sim.recovery.cutBytes).toBeGreaterThan(0);
    await expectAll(sim.store, chunks.slice(0, 5));
    await putAll(sim.store, [chunks[5]!]);
    await expectAll(await sim.crash(), chunks);
    expect(names(sim, ".pack")).toEqual([pack, "0000000002.pack"]);
  });

  test("[CHUNK-41] a pack that the disk had refused takes nothing more, also in the next process; one that was closed does", async () => {
    for (const when of ["before", "after"]) {
      const sim = await SimPacks.opened();
      const [durable, lost, later] = [samples(3), samples(3, 1500, 100), samples(3, 1500, 200)];
      await putAll(sim.store, durable);
      sim.fs.faults = (call) => (call === "sync" ? "EIO" : undefined);
      expect(await codeOf(putAll(sim.store, lost))).toBe("DISK");
      sim.fs.faults = undefined;
      if (when === "before") sim.fs.kill();
      else await sim.store.close();
      await sim.open();
      await putAll(sim.store, later);
      // What is written to a file after a sync of it has failed may never come to the disk, whatever the next one says.
      await expectAll(await sim.crash(), [...durable, ...later]);
      expect(names(sim, ".pack")).toEqual(["0000000001.pack", "0000000002.pack"]);
    }
    const sim = await SimPacks.opened();
    await putAll(sim.store, samples(3));
    await sim.store.close();
    await sim.open();
    await putAll(sim.store, samples(3, 1500, 100));
    expect(names(sim, ".pack")).toEqual(["0000000001.pack"]);
  });

  test("[CHUNK-55] nothing of a pack is believed whose sync, cut and removal were refused, though the page cache shows it (life 1300015666)", async () => {
    for (const before of [0, 3]) {
      const sim = await SimPacks.opened();
      const [durable, lost, later] = [samples(before), samples(3, 1500, 100), samples(3, 1500, 200)];
      await putAll(sim.store, durable);
      let syncs = 0;
      const refused = new Set<string>(["truncate", "unlink"]);
      sim.fs.faults = (call, { path }) => {
        if (call === "sync" && path.endsWith(".pack")) return ++syncs === (before > 0 ? 1 : 2) ? "EIO" : undefined;
        return path.endsWith(".index") ? undefined : refused.delete(call) ? "EIO" : undefined;
      };
      expect(await codeOf(putAll(sim.store, lost))).toBe("DISK");
      await putAll(sim.store, later);
      const store = await sim.crash(false);
      using pin = store.pin();
      expect(pin.has(lost.map(({ id }) => id))).not.toContain(true);
      await putAll(store, lost);
      await expectAll(await sim.crash(), [...durable, ...lost, ...later]);
    }
  });

  test("[CHUNK-64] nor of one of which the disk refused all that would say where it ends, until the process ended", async () => {
    for (const before of [0, 3]) {
      const sim = await SimPacks.opened();
      const [durable, lost, later] = [samples(before), samples(3, 1500, 100), samples(3, 1500, 200)];
      await putAll(sim.store, durable);
      let syncs = 0;
      sim.fs.faults = (call, { path }) => {
        if (call === "sync" && path.endsWith(".pack")) return ++syncs === (before > 0 ? 1 : 2) ? "EIO" : undefined;
        return /^(truncate|unlink|create|rename)$/.test(call) ? "EIO" : undefined;
      };
      expect(await codeOf(putAll(sim.store, lost))).toBe("DISK");
      sim.fs.kill();
      // What the next process finds in the page cache is not on the disk.
      const store = await sim.open();
      using pin = store.pin();
      expect(pin.has(lost.map(({ id }) => id))).not.toContain(true);
      await putAll(store, [...lost, ...later]);
      await expectAll(await sim.crash(), [...durable, ...lost, ...later]);
    }
  });

  test("[CHUNK-21] without a sidecar, a bit that flipped in a payload or in a header costs that record alone", async () => {
    for (const shift of [0, -64, -40, -20, -3]) {
      const sim = await SimPacks.opened();
      const chunks = samples(9);
      await putAll(sim.store, chunks);
      sim.fs.kill();
      sim.flip(chunks[4]!.id, shift);
      await sim.open();
      expect(sim.recovery).toMatchObject({ damaged: 1, chunks: 8, cutBytes: 0 });
      await expectAll(sim.store, chunks.toSpliced(4, 1));
      // The name of the damaged one is known where its header is whole.
      expect(await codeOf(sim.store.get(chunks[4]!.id))).toBe(shift === 0 ? "CHUNK_DAMAGED" : "CHUNK_MISSING");
      expect(sim.store.stats().damaged).toBe(shift === 0 ? 1 : 0);
      await sim.store.close();
      await sim.open();
      expect(sim.store.stats().damaged).toBe(shift === 0 ? 1 : 0);
      await putAll(sim.store, [chunks[4]!]);
      await expectAll(await sim.crash(), chunks);
    }
  });

  test("[CHUNK-22] a chunk that holds another record's bytes is never taken for records", async () => {
    const sim = await SimPacks.opened();
    const [victim] = samples(1) as [Chunk];
    await putAll(sim.store, [victim]);
    const pack = sim.disk.inodeAt(`/packs/${names(sim, ".pack")[0]}`).content!.toBytes();
    const forged = pack.slice(4096, 4096 + 64 + 1504);
    // Another id under a header whose mark is of another pack, as the bytes of an earlier life are.
    await sim.store.close();
    const other = await SimPacks.opened(77);
    const carrier = chunkOf(Uint8Array.from([...new SimRandom(5).bytes(64 * 16), ...forged]));
    const after = sampleChunk(9, 800);
    await putAll(other.store, [carrier, after]);
    other.fs.kill();
    other.flip(carrier.id, -3);
    await other.open();
    expect(other.recovery.chunks).toBe(1);
    expect(await codeOf(other.store.get(victim.id))).toBe("CHUNK_MISSING");
    await expectAll(other.store, [after]);
  });

  test("[CHUNK-23] a sidecar that is missing, damaged, of another pack or older than the pack costs time only", async () => {
    const harms: ((sim: SimPacks, name: string) => void)[] = [
      (sim, name) => {
        const fs = new SimFs(sim.disk);
        fs.unlink(fs.openRoot("/packs"), name);
      },
      (sim, name) => edit(sim, name, (fs, fd) => fs.truncate(fd, 70)),
      (sim, name) => edit(sim, name, (fs, fd) => fs.truncate(fd, 0)),
      (sim, name) => sim.disk.flipBit(`/packs/${name}`, 80),
      (sim, name) => sim.disk.flipBit(`/packs/${name}`, 41),
      (sim, name) => {
        const fs = new SimFs(sim.disk);
        const root = fs.openRoot("/packs");
        const other = names(sim, ".index").find((one) => one !== name)!;
        fs.unlink(root, name);
        fs.link(root, other, root, name);
      },
    ];
    for (const harm of harms) {
      const sim = await SimPacks.opened();
      const chunks = samples(40);
      await putAll(sim.store, chunks);
      await sim.store.close();
      expect(names(sim, ".index").length).toBeGreaterThan(2);
      await sim.open();
      expect(sim.recovery.scannedBytes).toBe(0);
      sim.fs.kill();
      for (const name of names(sim, ".index")) harm(sim, name);
      await sim.open();
      expect(sim.recovery).toMatchObject({ chunks: 40, damaged: 0, cutBytes: 0 });
      expect(sim.recovery.scannedBytes).toBeGreaterThan(40_000);
      await expectAll(sim.store, chunks);
      await sim.store.close();
      await sim.open();
      expect(sim.recovery.scannedBytes).toBe(0);
      await expectAll(sim.store, chunks);
    }
  });

  test("[CHUNK-24] a pack whose header is damaged is read by its second copy, then by its sidecar, or set aside", async () => {
    const sim = await SimPacks.opened();
    const chunks = samples(6);
    await putAll(sim.store, chunks);
    await sim.store.close();
    const [pack] = names(sim, ".pack") as [string];
    const [index] = names(sim, ".index") as [string];
    sim.disk.flipBit(`/packs/${pack}`, 20);
    await expectAll(await sim.open(), chunks);
    await sim.store.close();
    sim.disk.flipBit(`/packs/${pack}`, 2048 + 20);
    await expectAll(await sim.open(), chunks);
    await sim.store.close();
    sim.disk.flipBit(`/packs/${index}`, 80);
    await sim.open();
    expect(sim.recovery).toMatchObject({ unreadable: [1], chunks: 0 });
    expect(names(sim, ".unreadable").length).toBe(1);
    await putAll(sim.store, chunks);
    expect(names(sim, ".pack")).toEqual(["0000000002.pack"]);
    await expectAll(await sim.crash(), chunks);
  });

  test("[CHUNK-25] a pack that lost its end, or all of it, is told: its chunks are damaged, and heal", async () => {
    const sim = await SimPacks.opened();
    const chunks = samples(40);
    await putAll(sim.store, chunks);
    await sim.store.close();
    const [first, second] = names(sim, ".pack") as [string, string];
    edit(sim, first, (fs, fd) => fs.truncate(fd, 10_000));
    edit(sim, second, (fs, fd) => fs.truncate(fd, 5000));
    await sim.open();
    const { damaged } = sim.recovery;
    expect(damaged).toBeGreaterThan(5);
    expect(sim.store.stats()).toMatchObject({ chunks: 40 - damaged, damaged });
    await putAll(sim.store, chunks);
    expect(sim.store.stats()).toMatchObject({ chunks: 40, damaged: 0 });
    await expectAll(await sim.crash(), chunks);
  });

  test("[CHUNK-26] a second process is kept out until the first has ended", async () => {
    const sim = await SimPacks.opened();
    const other = new SimFs(sim.disk);
    const again = () => openPacks({ ...sim.host, fs: other }, "/packs", SMALL);
    expect(await codeOf(again())).toBe("ROOT_BUSY");
    expect(other.openFds()).toBe(0);
    sim.fs.kill();
    await (await again()).store.close();
    expect(other.openFds()).toBe(0);
  });

  test("[CHUNK-27] sectors that cannot be read cost their chunks alone, at the open and at the scrub", async () => {
    const sim = await SimPacks.opened();
    const chunks = samples(30);
    await putAll(sim.store, chunks);
    const { position, name } = payloadPlace(new SimFs(sim.disk), "/packs", chunks[3]!.id);
    const at = `/packs/${name}`;
    const readsOf = (fs: SimFs): void => {
      const read = fs.read.bind(fs);
      fs.read = (fd, into, from) => {
        const isThere = fs.inodeOf(fd) === sim.disk.inodeAt(at) && from <= position && position < from + into.length;
        if (!isThere) return read(fd, into, from);
        fs.faults = (call) => (call === "read" ? "EIO" : undefined);
        try {
          return read(fd, into, from);
        } finally {
          fs.faults = undefined;
        }
      };
    };
    readsOf(sim.fs);
    expect(await codeOf(sim.store.get(chunks[3]!.id))).toBe("DISK");
    expect((await sim.store.scrub(undefined, 2 ** 40, never)).damaged).toEqual([chunks[3]!.id]);
    sim.fs.kill();
    const index = names(sim, ".index")[0];
    if (index !== undefined) sim.disk.flipBit(`/packs/${index}`, 70);
    const fs = new SimFs(sim.disk);
    readsOf(fs);
    const { store, recovery } = await openPacks({ ...sim.host, fs }, "/packs", SMALL);
    // One sector of 4096 bytes holds the ends of at most four such records.
    expect(recovery.chunks).toBeGreaterThanOrEqual(26);
    expect(recovery.chunks).toBeLessThan(30);
    await putAll(store, chunks);
    await expectAll(store, chunks.slice(10));
  });
});

describe("packs: a disk that does not let us read for a while", () => {
  const failReads = (fs: SimFs, from: number, to: number): void => {
    let reads = 0;
    fs.faults = (call) => (call === "read" && ++reads >= from && reads < to ? "EIO" : undefined);
  };

  test("[CHUNK-38] an open that could not read everything cuts nothing off, moves nothing and forgets nothing", async () => {
    for (let from = 1; from <= 14; from++) {
      for (const isClosed of [false, true]) {
        const sim = await SimPacks.opened(from);
        const chunks = samples(40);
        await putAll(sim.store, chunks);
        if (isClosed) await sim.store.close();
        else sim.fs.kill();
        sim.fs = new SimFs(sim.disk);
        failReads(sim.fs, from, from + 6);
        const first = await openPacks(sim.host, "/packs", SMALL).catch(() => undefined);
        if (first !== undefined) {
          const options = { live: idsOf(chunks), olderThanMs: sim.clock.nowMs_ + MINUTE, fractionMax: 1 };
          await first.store.prune(options, never).catch(() => undefined);
          await first.store.close();
        }
        sim.fs.kill();
        await expectAll(await sim.open(), chunks);
      }
    }
  });

  test("[CHUNK-39] a prune that cannot read what it has to move stops, and leaves the pack", async () => {
    const sim = await SimPacks.opened();
    const chunks = samples(60);
    await putAll(sim.store, chunks);
    const kept = chunks.filter((_, at) => at % 5 === 0);
    failReads(sim.fs, 1, 2);
    const prune = () =>
      sim.store.prune({ live: idsOf(kept), olderThanMs: sim.clock.nowMs_ + MINUTE, fractionMax: 1 }, never);
    expect(await codeOf(prune())).toBe("DISK");
    await expectAll(sim.store, kept);
    expect((await prune()).freedBytes).toBeGreaterThan(0);
    await expectAll(await sim.crash(), kept);
  });
});

describe("packs: what is believed", () => {
  test("[CHUNK-36] what a killed process wrote and did not sync is synced before it counts as being here", async () => {
    for (let seed = 0; seed < 30; seed++) {
      const sim = await SimPacks.opened(seed);
      const chunks = samples(6);
      await putAll(sim.store, chunks.slice(0, 2));
      sim.fs.onEffect = (_count, call) => {
        if (call === "sync") throw new SimCrash("before the barrier");
      };
      expect(await putAll(sim.store, chunks.slice(2)).catch((error: Error) => error.name)).toBe("SimCrash");
      await sim.crash(false);
      using pin = sim.store.pin();
      expect(pin.has(chunks.map(({ id }) => id))).not.toContain(false);
      await pin.flush();
      await expectAll(await sim.crash(), chunks);
    }
  });

  test("[CHUNK-37] bytes that are not those of their id are never given out, though their record is whole", async () => {
    const sim = await SimPacks.opened();
    const [one, other] = samples(2) as [Chunk, Chunk];
    await putAll(sim.store, [{ id: one.id, bytes: other.bytes }]);
    expect(await codeOf(sim.store.get(one.id))).toBe("CHUNK_DAMAGED");
    await putAll(sim.store, [one]);
    await expectAll(sim.store, [one]);
  });

  test("[CHUNK-44] a process proves what it lends and did not write itself, once", async () => {
    const sim = await SimPacks.opened();
    const [one, other] = samples(2) as [Chunk, Chunk];
    await putAll(sim.store, [{ id: one.id, bytes: other.bytes }, other]);
    await sim.store.close();
    await sim.open();
    expect(await codeOf(sim.store.lend(one.id))).toBe("CHUNK_DAMAGED");
    for (let time = 0; time < 2; time++) {
      expect(sim.store.areProved([other.id])).toBe(time > 0);
      const lent = await sim.store.lend(other.id);
      expect(Buffer.compare(lent.bytes, other.bytes)).toBe(0);
      lent.leave();
    }
    sim.flip(other.id);
    expect(await codeOf(sim.store.lend(other.id))).toBe("CHUNK_DAMAGED");
  });

  test("[CHUNK-54] what is lent unproved proves nothing, and is proved for who wants it while others have it", async () => {
    const sim = await SimPacks.opened();
    const [one, other] = samples(2) as [Chunk, Chunk];
    await putAll(sim.store, [{ id: one.id, bytes: other.bytes }, other]);
    await sim.store.close();
    await sim.open();
    // A whole record with other bytes: who compares the sum of the whole finds it.
    const wrong = await sim.store.lendUnproved(one.id);
    const right = await sim.store.lendUnproved(other.id);
    expect([wrong, right].map(({ bytes }) => Buffer.compare(bytes, other.bytes))).toEqual([0, 0]);
    expect([one, other].map(({ id }) => sim.store.areProved([id]))).toEqual([false, false]);
    expect(await codeOf(sim.store.lend(one.id))).toBe("CHUNK_DAMAGED");
    const proved = await sim.store.lend(other.id);
    expect([proved.bytes === right.bytes, sim.store.areProved([other.id])]).toEqual([true, true]);
    expect(await codeOf(sim.store.lendUnproved(one.id))).toBe("CHUNK_DAMAGED");
    for (const { release } of [wrong, right, proved]) release();
  });

  test("[CHUNK-60] what was lent of a chunk that turned out to be damaged is lent to nobody else, healed or not", async () => {
    for (const finds of ["get", "scrub"]) {
      const sim = await SimPacks.opened();
      const [one, other] = samples(2) as [Chunk, Chunk];
      await putAll(sim.store, [{ id: one.id, bytes: other.bytes }]);
      const held = await sim.store.lendUnproved(one.id);
      (await sim.store.lendUnproved(one.id)).release();
      if (finds === "get") expect(await codeOf(sim.store.get(one.id))).toBe("CHUNK_DAMAGED");
      else expect((await sim.store.scrub(undefined, 2 ** 40, never)).damaged).toEqual([one.id]);
      await putAll(sim.store, [one]);
      const healed = await sim.store.lendUnproved(one.id);
      expect(Buffer.compare(healed.bytes, one.bytes)).toBe(0);
      for (const { release } of [held, healed]) release();
    }
  });
});

describe("packs: prune beside others", () => {
  test("[CHUNK-28] a prune empties packs that are mostly dead, and gives their space back", async () => {
    const sim = await SimPacks.opened();
    const chunks = samples(100);
    await putAll(sim.store, chunks);
    sim.clock.nowMs_ += MINUTE;
    const before = sim.store.stats().storedBytes;
    const live = chunks.filter((_, at) => at % 10 === 0);
    const result = await sim.store.prune({ live: idsOf(live), olderThanMs: sim.clock.nowMs(), fractionMax: 1 }, never);
    expect(result.removedChunks).toBe(90);
    const { storedBytes } = sim.store.stats();
    expect(storedBytes).toBeLessThan(before / 3);
    expect(result.freedBytes).toBe(before - storedBytes + (await newHeaders(sim)));
    await expectAll(sim.store, live);
    await sim.store.close();
    await expectAll(await sim.open(), live);
    const store = await sim.crash();
    await expectAll(store, live);
    // The pack that was open when it was pruned keeps its dead records until it is complete.
    expect(store.stats().chunks).toBeLessThan(live.length + 15);
    expect((await store.scrub(undefined, 2 ** 40, never)).damaged).toEqual([]);
  });

  /** Bytes of headers of the packs that the copies went into beyond the one that was open. */
  async function newHeaders(sim: SimPacks): Promise<number> {
    const first = names(sim, ".pack").length - 1;
    return first * 4096;
  }

  test("[CHUNK-62] a pack of which nothing lives any more goes on up to its limit and not beyond it", async () => {
    const sim = await SimPacks.opened();
    await putAll(sim.store, samples(12));
    sim.clock.nowMs_ += MINUTE;
    await sim.store.prune({ live: idsOf([]), olderThanMs: sim.clock.nowMs(), fractionMax: 1 }, never);
    await sim.store.close();
    await sim.open();
    const large = sampleChunk(500, 20_000);
    await putAll(sim.store, [large]);
    const sizes = names(sim, ".pack").map((name) => sim.disk.inodeAt(`/packs/${name}`).content!.size);
    expect(sizes.length).toBe(2);
    for (const size of sizes) expect(size).toBeLessThanOrEqual(SMALL.packBytes);
    await expectAll(await sim.crash(), [large]);
  });

  test("[CHUNK-29] readers are served while what they read is moved and its pack goes", async () => {
    const sim = await SimPacks.opened();
    const chunks = samples(60);
    await putAll(sim.store, chunks);
    sim.clock.nowMs_ += MINUTE;
    const live = chunks.filter((_, at) => at % 4 === 0);
    const pruning = sim.store.prune({ live: idsOf(live), olderThanMs: sim.clock.nowMs(), fractionMax: 1 }, never);
    let isOver = false;
    void pruning.then(() => (isOver = true));
    let reads = 0;
    while (!isOver) {
      await expectAll(sim.store, live);
      reads += live.length;
    }
    expect(reads).toBeGreaterThan(live.length);
    expect((await pruning).removedChunks).toBe(45);
    await expectAll(sim.store, live);
    await sim.store.close();
    expect(sim.fs.openFds()).toBe(0);
  });

  test("[CHUNK-30] uploads and prunes at the same time: nothing that was committed is lost, at any interleaving", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const sim = await SimPacks.opened(seed);
      const random = new SimRandom(seed);
      const pool = samples(30, 900);
      const committed = new Set<Chunk>();
      const upload = async (): Promise<void> => {
        for (let round = 0; round < 6; round++) {
          using pin: Pin = sim.store.pin();
          const wanted = random.shuffle([...pool]).slice(0, 1 + random.int(8));
          const found = pin.has(wanted.map(({ id }) => id));
          for (let turn = random.int(12); turn > 0; turn--) await undefined;
          for (const [at, { id, bytes }] of wanted.entries()) if (found[at] !== true) await pin.put(id, bytes);
          for (let turn = random.int(12); turn > 0; turn--) await undefined;
          await pin.flush();
          for (const chunk of wanted) committed.add(chunk);
        }
      };
      async function* live() {
        for (const { id } of [...committed]) {
          await undefined;
          yield id;
        }
      }
      const forget = async (): Promise<void> => {
        for (let round = 0; round < 8; round++) {
          for (let turn = random.int(30); turn > 0; turn--) await undefined;
          const gone = [...committed].filter(() => random.chance(0.6));
          for (const chunk of gone) committed.delete(chunk);
          sim.clock.nowMs_ += 2000;
          await sim.store.prune({ live: live(), olderThanMs: sim.clock.nowMs() + MINUTE, fractionMax: 1 }, never);
        }
      };
      await Promise.all([upload(), upload(), upload(), forget()]);
      await expectAll(sim.store, committed);
      await expectAll(await sim.crash(), committed);
    }
  });
});
