import { expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import { MemoryChunkDisk, MemoryChunks } from "#store/memory-chunks.ts";
import { chunkStoreContract, codeOf, putAll, sampleChunk } from "#store/chunk-store-contract.ts";

chunkStoreContract("memory", async () => {
  const disk = new MemoryChunkDisk();
  const clock = { nowMs: 1_000_000 };
  const open = (): MemoryChunks => new MemoryChunks(() => clock.nowMs, disk);
  const store = open();
  return {
    store,
    clock,
    async reopen() {
      await store.close();
      return open();
    },
    async crash() {
      disk.crash();
      return open();
    },
    async damage(id) {
      disk.damage(id);
    },
  };
});

test("[CHUNK-15] in memory too, a refused flush loses what was put, tells every holder, and the store goes on", async () => {
  const disk = new MemoryChunkDisk();
  const store = new MemoryChunks(() => 0, disk);
  const [one, two] = [sampleChunk(1, 100), sampleChunk(2, 100)];
  await putAll(store, [one]);
  let told = 0;
  const pin = store.pin(() => told++);
  await pin.put(two.id, two.bytes);
  disk.refusal = new SynclineError({ code: "DISK", op: "flush", message: "full" });
  expect(await codeOf(store.flush())).toBe("DISK");
  expect(await codeOf(store.flush())).toBe("DISK");
  expect(await codeOf(pin.flush())).toBe("DISK");
  expect([told, pin.fresh()]).toEqual([1, undefined]);
  pin[Symbol.dispose]();
  await store.flush();
  expect(store.stats().chunks).toBe(1);
  await putAll(store, [two]);
  expect(await store.get(two.id)).toEqual(two.bytes);
});
