import { afterEach, beforeEach, expect, test } from "bun:test";
import { FreshChunks } from "#hub/fresh-chunks.ts";
import { TestHub, diskFull } from "#hub/hub-fixture.ts";
import type { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { openHost } from "#platform/host-bun.ts";
import { FRESH_BYTES_MAX } from "#store/chunk-store.ts";
import { chunkIdOf } from "#sync/chunk/chunk-id.ts";

const { clock } = openHost();
/** Nothing happens by itself after a while. */
const still: Clock = {
  nowMs: () => clock.nowMs(),
  monotonicMs: () => clock.monotonicMs(),
  sleep: (_, signal) => new Promise((_done, failed) => signal.addEventListener("abort", () => failed(signal.reason))),
};

let hub: TestHub;
beforeEach(async () => {
  hub = await TestHub.open(undefined, still);
  await hub.spaces.createSpace(hub.who, "demo");
});
afterEach(() => hub[Symbol.asyncDispose]());

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(() => "done", (error: unknown) => (error as SynclineError).code);
const rows = async (): Promise<number[]> => (await hub.meta.freshChunks()).map(({ number }) => number);
const textOf = (at: number): string => `text ${at} `.repeat(20);

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await clock.sleep(1, new AbortController().signal);
}

test("[FRESH-1] small content that was acknowledged survives a power loss before its store has made it durable", async () => {
  let flushes = 0;
  const pin = hub.chunks.pin.bind(hub.chunks);
  hub.chunks.pin = (onLost) => {
    const one = pin(onLost);
    return { ...one, flush: () => (flushes++, one.flush()), [Symbol.dispose]: () => one[Symbol.dispose]() };
  };
  for (const [path, at] of [["a", 1], ["b", 2], ["again", 1]] as const) await hub.put("demo", path, textOf(at));
  expect([flushes, (await rows()).length]).toEqual([0, 3]);
  hub = await hub.afterPowerLoss();
  expect(await hub.files("demo")).toEqual({ a: textOf(1), b: textOf(2), again: textOf(1) });
  expect(await rows()).toEqual([]);
  // Now it is in the store itself.
  hub = await hub.afterPowerLoss();
  expect(Object.keys(await hub.files("demo"))).toEqual(["a", "again", "b"]);
});

test("[FRESH-2] what is more than a little, or does not come alone, is made durable by the store", async () => {
  await hub.put("demo", "large", "x".repeat(FRESH_BYTES_MAX + 1));
  await Promise.all([hub.put("demo", "one", textOf(1)), hub.put("demo", "two", textOf(2))]);
  expect(await rows()).toEqual([]);
  await hub.put("demo", "alone", textOf(4));
  expect((await rows()).length).toBe(1);
  hub = await hub.afterPowerLoss();
  const { large, ...small } = await hub.files("demo");
  expect(large!.length).toBe(FRESH_BYTES_MAX + 1);
  expect(small).toEqual({ one: textOf(1), two: textOf(2), alone: textOf(4) });
});

test("[FRESH-3] rows have other chunks when many have come, and not before the store has theirs, and go when the hub ends", async () => {
  for (let at = 0; at < 127; at++) await hub.put("demo", `f${at}`, textOf(at));
  expect((await rows()).length).toBe(127);
  let count = 127;
  do await hub.put("demo", `f${count}`, textOf(count));
  while ((await rows()).length === ++count);
  // What was written over was durable: of all that is in no row the store has lost nothing.
  const left = count;
  hub = await hub.afterPowerLoss();
  expect(Object.keys(await hub.files("demo")).length).toBe(left);
  expect(await rows()).toEqual([]);
  await hub.put("demo", "rest", textOf(1_000));
  expect((await rows()).length).toBe(1);
  await hub.spaces.close();
  expect(await rows()).toEqual([]);
  hub = await hub.afterPowerLoss();
  expect(Object.keys(await hub.files("demo")).length).toBe(left + 1);
});

test("[FRESH-8] contents of many lengths in rows of others survive a power loss at any time", async () => {
  const files: Record<string, string> = {};
  for (let round = 0; round < 2; round++) {
    const before = Object.keys(files).length;
    for (let at = before; at < before + 150 + 100 * round; at++) {
      files[`f${at}`] = `${at} `.repeat(1 + ((at * 37) % 1_500));
      await hub.put("demo", `f${at}`, files[`f${at}`]!);
    }
    hub = await hub.afterPowerLoss();
    expect(await hub.files("demo")).toEqual(files);
  }
});

test("[FRESH-9] free rows go when nothing comes for a while, and a commit that was refused gives its row back", async () => {
  const due: (() => void)[] = [];
  const fresh = await FreshChunks.open({
    meta: hub.meta,
    chunks: hub.chunks,
    clock: { ...still, sleep: (_, signal) => new Promise((done) => (due.push(done), signal.addEventListener("abort", () => done()))) },
  });
  using pin = hub.chunks.pin();
  const commit = async (at: number): Promise<void> => {
    const bytes = Buffer.from(textOf(at));
    const taken = fresh.take([{ id: chunkIdOf(bytes), bytes }])!;
    await pin.put(taken[0]!.id, bytes);
    await hub.meta.commit([], new Map(), undefined, undefined, taken);
    fresh.keep(taken);
  };
  await commit(1);
  await commit(2);
  const refused = fresh.take([{ id: chunkIdOf(Buffer.from("x")), bytes: Buffer.from("x") }])!;
  fresh.giveBack(refused);
  expect(fresh.take([{ id: chunkIdOf(Buffer.from("y")), bytes: Buffer.from("y") }])![0]!.number).toBe(refused[0]!.number);
  // They are settled, then they go; one that came in between has a row of theirs, and stays.
  due.shift()!();
  await until(async () => due.length > 0);
  expect(await rows()).toEqual([1, 2]);
  await commit(3);
  expect(await rows()).toEqual([1, 2]);
  due.shift()!();
  await until(async () => due.length > 0);
  due.shift()!();
  await until(async () => (await rows()).length === 0);
  await fresh.close();
});

test("[FRESH-4] a disk that takes chunks from the store takes none that was acknowledged", async () => {
  await hub.put("demo", "a", textOf(1));
  hub.disk.refusal = diskFull();
  expect(await codeOf(hub.chunks.flush())).toBe("DISK");
  expect(await hub.files("demo")).toEqual({ a: textOf(1) });
  await hub.put("demo", "b", textOf(2));
  await hub.spaces.close();
  expect(await rows()).toEqual([]);
  hub = await hub.afterPowerLoss();
  expect(await hub.files("demo")).toEqual({ a: textOf(1), b: textOf(2) });
});

test("[FRESH-10] what a disk takes from the store, and does not take again, is read and held on to all the same", async () => {
  await hub.put("demo", "a", textOf(1));
  // The store cannot take it again yet.
  const pin = hub.chunks.pin.bind(hub.chunks);
  let isFull = true;
  hub.chunks.pin = (onLost) => {
    const one = pin(onLost);
    const put: typeof one.put = (id, bytes) => (isFull ? Promise.reject(diskFull()) : one.put(id, bytes));
    return { ...one, put, [Symbol.dispose]: () => one[Symbol.dispose]() };
  };
  hub.disk.refusal = diskFull();
  expect(await codeOf(hub.chunks.flush())).toBe("DISK");
  await clock.sleep(1, new AbortController().signal);
  const version = (await hub.spaces.version(hub.who, "demo", "a"))!;
  expect(hub.chunks.lengthOf(version.content!.id as never)).toBeUndefined();
  expect(await hub.files("demo")).toEqual({ a: textOf(1) });
  isFull = false;
  {
    await using intake = hub.spaces.intake(hub.who, "demo");
    expect(await intake.hold(version.content!)).toBe(true);
  }
  await hub.spaces.close();
  expect(await rows()).toEqual([]);
  hub = await hub.afterPowerLoss();
  expect(await hub.files("demo")).toEqual({ a: textOf(1) });
});

test("[FRESH-12] a commit that was made is told to be made, though the disk takes from the store what was just put there again", async () => {
  await hub.put("demo", "a", textOf(1));
  await hub.put("demo", "b", textOf(2));
  const pin = hub.chunks.pin.bind(hub.chunks);
  let [puts, goOn] = [0, (): void => undefined];
  hub.chunks.pin = (onLost) => {
    const one = pin(onLost);
    const put: typeof one.put = (id, bytes) => {
      if (++puts !== 2) return one.put(id, bytes);
      // The buffers are full.
      return new Promise<void>((done) => (goOn = done)).then(() => one.put(id, bytes));
    };
    return { ...one, put, [Symbol.dispose]: () => one[Symbol.dispose]() };
  };
  for (const puttings of [2, 2]) {
    hub.disk.refusal = diskFull();
    expect(await codeOf(hub.chunks.flush())).toBe("DISK");
    await until(async () => puts === puttings);
  }
  goOn();
  await clock.sleep(1, new AbortController().signal);
  expect(await codeOf(hub.put("demo", "c", textOf(3)))).toBe("done");
  expect(await hub.files("demo")).toEqual({ a: textOf(1), b: textOf(2), c: textOf(3) });
  await hub.spaces.close();
  hub = await hub.afterPowerLoss();
  expect(await hub.files("demo")).toEqual({ a: textOf(1), b: textOf(2), c: textOf(3) });
});

test("[FRESH-11] a fault while they are made durable is told, and what was acknowledged stays", async () => {
  const faults: string[] = [];
  const fresh = await FreshChunks.open({ meta: hub.meta, chunks: hub.chunks, clock: still, onFault: (_, error) => faults.push(String(error)) });
  const bytes = Buffer.from(textOf(1));
  const taken = fresh.take([{ id: chunkIdOf(bytes), bytes }])!;
  hub.chunks.pin = () => {
    throw new TypeError("a fault");
  };
  expect(() => fresh.keep(Array.from({ length: 128 }, () => taken[0]!))).not.toThrow();
  await until(async () => faults.length > 0);
  expect(faults).toEqual(["TypeError: a fault"]);
  expect(fresh.bytesOf(taken[0]!.id)).toEqual(bytes);
  expect(fresh.take([])).toBeUndefined();
});

test("[FRESH-5] while the store refuses, rows stay, also through a restart, and new commits are told of it", async () => {
  await hub.put("demo", "a", textOf(1));
  hub.disk.refusal = diskFull();
  hub.disk.isRefusing = true;
  await hub.spaces.close();
  expect(await rows()).toEqual([1]);
  hub = await hub.afterPowerLoss();
  expect(await codeOf(hub.put("demo", "b", textOf(2)))).toBe("DISK");
  expect(await rows()).toEqual([1]);
  hub.disk.isRefusing = false;
  hub.disk.refusal = undefined;
  await hub.spaces.close();
  expect(await rows()).toEqual([]);
  hub = await hub.afterPowerLoss();
  expect(await hub.files("demo")).toEqual({ a: textOf(1) });
});

test("[FRESH-6] a row whose bytes are not what they were is not taken for content, and stops nobody", async () => {
  await hub.put("demo", "a", textOf(1));
  await hub.put("demo", "b", textOf(2));
  await hub.database.run("UPDATE fresh_chunks SET bytes = ? WHERE number = 1", [Buffer.from("something else")]);
  hub = await hub.afterPowerLoss();
  expect(await codeOf(hub.files("demo"))).toBe("CHUNK_MISSING");
  await hub.put("demo", "a", textOf(1));
  expect(await hub.files("demo")).toEqual({ a: textOf(1), b: textOf(2) });
});

test("[FRESH-7] no more is held than its bound, no number is given twice, and nothing is taken after the end", async () => {
  const fresh = await FreshChunks.open({ meta: hub.meta, chunks: hub.chunks, clock: still });
  const chunk = { id: "0".repeat(64), bytes: new Uint8Array(FRESH_BYTES_MAX) } as never;
  expect(fresh.take([chunk, chunk])?.map(({ number }) => number)).toEqual([1, 2]);
  expect(fresh.take([chunk])?.[0]?.number).toBe(3);
  expect(fresh.take(Array.from({ length: 257 }, () => chunk))).toBeUndefined();
  await fresh.close();
  expect(fresh.take([chunk])).toBeUndefined();
});
