/** A write and a sync of one pack that are under way at the same time, and what the disk says to each. */
import { expect, test } from "bun:test";
import { FsError } from "#platform/file-system.ts";
import { codeOf, expectAll, idsOf, putAll, samples } from "#store/chunk-store-contract.ts";
import { SimPacks } from "#store/packs/packs-fixture.ts";
import { SimCrash } from "#testing/sim-process.ts";

/** As many turns of the event loop as anything here takes. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

type Held = { readonly end: (errno?: string) => void };

/** The first pack's data is being made durable while more of it is being written; both wait until they are told how they end. */
async function bothUnderWay(sim: SimPacks): Promise<{ sync: Held; write: Held; first: ReturnType<typeof samples> }> {
  const { fs } = sim;
  const [sync, write] = [fs.sync.bind(fs), fs.writeAsync.bind(fs)];
  const held: { sync?: Held; write?: Held } = {};
  const isFirst = (fd: Parameters<typeof sync>[0]): boolean => fs.inodeOf(fd).path().endsWith("1.pack");
  const hold = <T>(kind: "sync" | "write", call: () => Promise<T>): Promise<T> => {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const end = (errno?: string): void => {
      if (errno === undefined) call().then(resolve, reject);
      else reject(new FsError(errno, kind));
    };
    held[kind] = { end };
    return promise;
  };
  let syncs = 0;
  let writes = 0;
  // The first sync is that of the header.
  fs.sync = (fd) => (isFirst(fd) && ++syncs === 2 ? hold("sync", () => sync(fd)) : sync(fd));
  fs.writeAsync = (fd, bytes, at) => (isFirst(fd) && ++writes === 2 ? hold("write", () => write(fd, bytes, at)) : write(fd, bytes, at));
  // Two packs of 13.
  const first = samples(26);
  const pin = sim.store.pin();
  await pin.put(first[0]!.id, first[0]!.bytes);
  void codeOf(pin.flush());
  await settled();
  for (const { id, bytes } of first.slice(1)) await pin.put(id, bytes);
  await settled();
  pin[Symbol.dispose]();
  return { sync: held.sync!, write: held.write!, first };
}

test("[CHUNK-58] a sync and a write of one pack that are refused one after the other take nothing from the packs behind it", async () => {
  for (const order of [["sync", "write"], ["write", "sync"]] as const) {
    const sim = await SimPacks.opened();
    const under = await bothUnderWay(sim);
    under[order[0]].end("EIO");
    await settled();
    const later = samples(5, 1500, 100);
    const pin = sim.store.pin();
    for (const { id, bytes } of later) await pin.put(id, bytes);
    await settled();
    await expectAll(sim.store, later);
    under[order[1]].end("EIO");
    await settled();
    // What was put meanwhile may have to be put again, but what is acknowledged is there.
    if ((await codeOf(pin.flush())) !== "ok") await putAll(sim.store, later);
    pin[Symbol.dispose]();
    await putAll(sim.store, samples(40, 1500, 200));
    await expectAll(sim.store, [...later, ...samples(40, 1500, 200)]);
    await sim.store.flush().catch(() => undefined);
    await sim.store.close();
    await sim.open();
    await expectAll(sim.store, [...later, ...samples(40, 1500, 200)]);
    await sim.store.close();
    expect(sim.fs.openFds()).toBe(0);
  }
});

test("[CHUNK-59] a pack that is given up is closed when nothing is being written to it or made durable any more", async () => {
  for (const [refused, other] of [["sync", "write"], ["write", "sync"]] as const) {
    const sim = await SimPacks.opened();
    const under = await bothUnderWay(sim);
    const isOpen = (): boolean => sim.fs.openPaths().some((path) => path.endsWith("1.pack"));
    under[refused].end("EIO");
    await settled();
    // Its number may be another file's as soon as it is closed.
    expect(isOpen()).toBe(true);
    under[other].end();
    await settled();
    expect(isOpen()).toBe(false);
    await putAll(sim.store, under.first);
    await expectAll(sim.store, under.first);
    await sim.store.flush().catch(() => undefined);
    await sim.store.close();
    expect(sim.fs.openFds()).toBe(0);
  }
});

test("[CHUNK-61] a pack that the disk had refused takes nothing more, wherever the process ends while it is given up", async () => {
  for (let after = 1; ; after++) {
    const sim = await SimPacks.opened(after);
    const [first, lost, later] = [samples(3), samples(3, 1500, 100), samples(3, 1500, 200)];
    await putAll(sim.store, first);
    // It leaves a sidecar that says that the pack may go on.
    await sim.store.prune({ live: idsOf(first), olderThanMs: 0, fractionMax: 1 }, new AbortController().signal);
    let since: number | undefined;
    sim.fs.faults = (call, { path }) => {
      if (call !== "sync" || !path.endsWith(".pack") || since !== undefined) return undefined;
      since = sim.fs.effects;
      return "EIO";
    };
    let isKilled = false;
    sim.fs.onEffect = (count) => {
      if (since === undefined || count !== since + after) return;
      isKilled = true;
      throw new SimCrash("here");
    };
    await putAll(sim.store, lost).catch(() => undefined);
    await sim.crash(false);
    await putAll(sim.store, later);
    const store = await sim.crash();
    for (const { id, bytes } of [...first, ...later]) expect(await store.get(id)).toEqual(bytes);
    if (!isKilled) break;
  }
});

test("[CHUNK-63] who waits for room is told when nothing will be written any more", async () => {
  const sim = await SimPacks.opened();
  const { promise: fault, reject } = Promise.withResolvers<never>();
  sim.fs.writeAsync = () => fault;
  const pin = sim.store.pin();
  const putting = async (): Promise<void> => {
    for (const { id, bytes } of samples(100)) await pin.put(id, bytes);
  };
  const told = putting().then(() => "all put", (error: unknown) => (error as Error).message);
  await settled();
  reject(new RangeError("no memory"));
  await settled();
  expect(await Promise.race([told, settled().then(() => "waits")])).toBe("no memory");
  expect(await pin.flush().catch((error: Error) => error.message)).toBe("no memory");
});
