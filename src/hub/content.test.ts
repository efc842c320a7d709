import { expect, test } from "bun:test";
import { HeldContent, StoreIntake, StoredContent } from "#hub/content.ts";
import { CutsThread } from "#hub/cuts/cuts-thread.ts";
import { TRACE, TestHub } from "#hub/hub-fixture.ts";
import { SUM_NAMES, SumsHasher } from "#hub/sums/sums.ts";
import { letGo } from "#platform/net/received.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import { MemoryChunkDisk, MemoryChunks } from "#store/memory-chunks.ts";
import { type ChunkId, chunkIdOf } from "#sync/chunk/chunk-id.ts";
import { sumOf } from "#sync/chunk/sum.ts";

const nothing = { manifestOf: async () => undefined, freshOf: () => undefined };

test("[CONTENT-1] a chunk of another length than its manifest says is an error, never other bytes at its place", async () => {
  const [one, two] = [new Uint8Array(10).fill(1), new Uint8Array(10).fill(2)];
  const chunks = new Map([one, two].map((bytes) => [chunkIdOf(bytes), bytes]));
  const [first, second] = [...chunks.keys()];
  const read = async (...lengths: number[]): Promise<Uint8Array> => {
    const told = [first!, second!].map((id, at) => ({ id, length: lengths[at]! }));
    const content = new StoredContent(async (id) => chunks.get(id)!, told);
    const into = new Uint8Array(content.size).fill(9);
    await content.read(into, 0);
    return into;
  };
  expect(await read(10, 10)).toEqual(new Uint8Array([...one, ...two]));
  for (const lengths of [[11, 9], [9, 11], [10, 12]]) await expect(read(...lengths)).rejects.toThrow("has 10");
});

/** As a store in which chunks lie together in stretches, none of them the first of a stretch. */
function gatherUpTo(most: number, byId: ReadonlyMap<ChunkId, Uint8Array>): ChunkStore["gather"] {
  const place = new Map([...byId.keys()].map((id, at) => [id, at]));
  return async (chunks, room) => {
    room.fill(255);
    const isFirst = place.get(chunks[0]!.id)! % most === 0;
    const some = isFirst ? [] : chunks.slice(0, most - (place.get(chunks[0]!.id)! % most));
    let used = 0;
    for (const { id, length } of some) {
      room.set(byId.get(id)!, used);
      used += length;
    }
    return some.length;
  };
}

test("[CONTENT-2] any range of content is streamed, each piece whole until the one behind the next is asked for", async () => {
  // All large, all small, and small ones in front of large ones.
  for (const [length, small, together] of [[300 << 10, 0, 0], [700, 0, 0], [300 << 10, 6 * 64, 0], [300 << 10, 6 * 64, 50]] as const) {
    const sizes = [...Array.from({ length: small }, () => 700), ...Array.from({ length: 12 }, () => length)];
    const chunks = sizes.map((size, at) => new Uint8Array(size + at).fill(at));
    const byId = new Map(chunks.map((bytes) => [chunkIdOf(bytes), bytes]));
    const whole = Buffer.concat(chunks);
    const rooms: Uint8Array[] = [];
    const manifest = [...byId].map(([id, bytes]) => ({ id, length: bytes.length }));
    const content = new StoredContent(
      async (id) => byId.get(id)!,
      manifest,
      {
        lend: async (id) => {
          const bytes = byId.get(id)!.slice();
          rooms.push(bytes);
          // Given back, it has other bytes at once.
          return { bytes, release: () => void bytes.fill(255), leave: () => undefined };
        },
        gather: together === 0 ? undefined : gatherUpTo(together, byId),
      },
    );
    const end = whole.length;
    const lend = async (): Promise<never> => Promise.reject(new Error("not asked for"));
    const streaming = { lend, gather: undefined };
    const unproved = new StoredContent(async () => Promise.reject(new Error("not asked for")), manifest, streaming, false);
    expect([content.isProved, unproved.isProved]).toEqual([true, false]);
    for (const [from, to] of [[0, end], [1, end - 1], [length, length + 1], [length - 1, 3 * length], [5, 5]] as const) {
      const stream = content.stream(from, to);
      const taken: Buffer[] = [];
      let waiting: Uint8Array | undefined;
      for await (const piece of stream) {
        if (waiting !== undefined) taken.push(Buffer.from(waiting));
        waiting = piece;
      }
      if (waiting !== undefined) taken.push(Buffer.from(waiting));
      expect(Buffer.compare(Buffer.concat(taken), whole.subarray(from, to))).toBe(0);
    }
    // Chunks from the last small one's end on.
    const lent = rooms.length;
    const border = chunks.slice(0, small).reduce((sum, { length: bytes }) => sum + bytes, 0);
    await Array.fromAsync(content.stream(0, border));
    expect([rooms.length - lent, lent > 0]).toEqual([0, length > 100_000]);
    const broken = content.stream(0, end);
    await broken.next();
    await broken.return(undefined);
  }
});

test("[CONTENT-3] what was written into a sink is the caller's again, whatever kind of array it came in", async () => {
  const seeds = { a: 1n, b: 2n };
  const store = new MemoryChunks(() => 1, new MemoryChunkDisk());
  await using intake = new StoreIntake(store, { seeds }, new HeldContent(), nothing, () => undefined);
  const part = crypto.getRandomValues(new Uint8Array(40 << 10));
  for (const count of [1, 2, 3, 8]) {
    const parts = Array.from({ length: count }, (_, at) => part.subarray(at));
    const sink = intake.sink();
    for (const bytes of parts) {
      // As the runtime hands out what a socket receives: slice() of it is no copy.
      const received = Buffer.from(bytes);
      await sink.write(received);
      received.fill(0);
    }
    expect((await sink.end()).sum).toBe(sumOf(Buffer.concat(parts), seeds));
  }
});

test("[CONTENT-4] memory that was written into a sink may be gone afterwards, whatever sizes it comes in and whoever reads it", async () => {
  const seeds = { a: 1n, b: 2n };
  const bytes = new Uint8Array(30 << 20);
  for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  const md5 = Bun.MD5.hash(bytes, "hex");
  for (const cuts of [CutsThread.make(), undefined]) {
    for (const step of [70_001, 512 << 10, 9 << 20]) {
      const store = new MemoryChunks(() => 1, new MemoryChunkDisk());
      await using intake = new StoreIntake(store, { seeds, cuts }, new HeldContent(), nothing, () => undefined);
      const sink = intake.sink(bytes.length, { sums: ["md5"] });
      for (let at = 0; at < bytes.length; at += step) {
        const received = bytes.slice(at, at + step);
        const full = sink.write(received);
        if (full !== undefined) await full;
        letGo(received);
        expect(received.length).toBe(0);
      }
      const { sum, sums } = await sink.end();
      expect([sum, sums.md5]).toEqual([sumOf(bytes, seeds), md5]);
      const read = new Uint8Array(bytes.length);
      await intake.part(sink.stored).read(read, 0);
      expect(Buffer.compare(read, bytes)).toBe(0);
    }
  }
}, 60_000);

test("[SUMS-5] a sink computes what a door asks for; what nobody asked for is computed at its first need, and kept", async () => {
  await using hub = await TestHub.open();
  const { who, spaces } = hub;
  await spaces.createSpace(who, "demo");
  for (const size of [0, 5, 3 << 20]) {
    const bytes = new Uint8Array(Buffer.alloc(size, "some words "));
    const hasher = new SumsHasher(SUM_NAMES);
    hasher.update(bytes);
    const right = hasher.digest();
    await using intake = spaces.intake(who, "demo");
    const sink = intake.sink(size, { sums: ["md5", "crc32"] });
    for (let at = 0; at < size; at += 700_000) await sink.write(bytes.subarray(at, at + 700_000));
    const { content, sum, sums } = await sink.end();
    expect(sums).toEqual({ md5: right.md5!, crc32: right.crc32! });
    const entry = { kind: "file", size, mode: 0o644, mtimeNs: 1n, sum } as const;
    const change = { type: "put", path: `f${size}`, expect: { kind: "any" }, entry, content, makeParents: true } as const;
    await spaces.commit(who, "demo", { changes: [change], intake, atomic: true, cause: "upload", traceId: TRACE });
    const version = (await spaces.version(who, "demo", `f${size}`))!;
    expect(await spaces.sums(who, "demo", version)).toEqual(sums);
    const both = await Promise.all([["sha1", "md5"] as const, ["sha1"] as const].map((names) => spaces.sums(who, "demo", version, names)));
    for (const one of both) expect(one).toEqual({ ...sums, sha1: right.sha1! });
    expect(await spaces.sums(who, "demo", version, SUM_NAMES)).toEqual(right);
    expect(await hub.meta.sums(content.id)).toEqual(right);
  }
});

test("[CUTS-3] a file that is cut on another thread is the same content as one that is cut here, also with its sum given", async () => {
  const cuts = CutsThread.make();
  const bytes = new Uint8Array(20 << 20);
  for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  const seeds = { a: 1n, b: 2n };
  const disk = new MemoryChunks(() => 1, new MemoryChunkDisk());
  const named = [];
  for (const [tools, options] of [
    [{ seeds, cuts }, { isSummed: false }], [{ seeds, cuts }, {}], [{ seeds }, {}],
  ] as const) {
    await using intake = new StoreIntake(disk, tools, new HeldContent(), nothing, () => undefined);
    const sink = intake.sink(bytes.length, options);
    for (let at = 0; at < bytes.length; at += 1 << 20) await sink.write(bytes.subarray(at, at + (1 << 20)));
    named.push(await sink.end(sumOf(bytes, seeds)));
    const read = new Uint8Array(bytes.length);
    await intake.part(sink.stored).read(read, 0);
    expect(Buffer.compare(read, bytes)).toBe(0);
  }
  for (const one of named) expect(one).toEqual(named[0]!);
});
