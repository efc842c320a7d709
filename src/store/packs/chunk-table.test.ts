import { expect, test } from "bun:test";
import { chunkIdOf } from "#sync/chunk/chunk-id.ts";
import { ChunkTable, NONE, OFFSET_BYTES_MAX, PACK_SLOTS_MAX } from "#store/packs/chunk-table.ts";
import { RECORD_BYTES_MAX, recordBytesOf } from "#store/packs/pack-format.ts";
import { CHUNK_BYTES_MAX } from "#store/chunk-store.ts";
import { SimRandom } from "#testing/sim-random.ts";

const idOf = (number: number) => chunkIdOf(new Uint8Array(Uint32Array.of(number).buffer));

test("[CHUNK-34] the table agrees with a map through any history of adding, moving and removing", () => {
  const random = new SimRandom(3);
  const table = new ChunkTable();
  const model = new Map<number, { entry: number; slot: number; offset: number; recordBytes: number }>();
  for (let step = 0; step < 60_000; step++) {
    const number = random.int(6000);
    const id = idOf(number);
    const known = model.get(number);
    expect(table.find(id)).toBe(known?.entry ?? NONE);
    const place = {
      slot: random.chance(0.1) ? PACK_SLOTS_MAX - 1 : random.int(1000),
      offset: random.chance(0.1) ? OFFSET_BYTES_MAX - 16 : random.int(2 ** 24) * 16,
      recordBytes: random.chance(0.1) ? recordBytesOf(CHUNK_BYTES_MAX) : 64 + random.int(1000) * 16,
    };
    if (known === undefined) {
      const entry = table.add(Uint8Array.fromHex(id), place, CHUNK_BYTES_MAX, step);
      model.set(number, { entry, ...place });
      expect([table.plainBytes(entry), table.seconds(entry)]).toEqual([CHUNK_BYTES_MAX, step]);
    } else {
      const { entry, ...at } = known;
      expect(table.place(entry)).toEqual(at);
      if (random.chance(0.7)) {
        table.remove(entry);
        model.delete(number);
        expect(table.isUsed(entry)).toBe(false);
      } else {
        table.move(entry, place);
        model.set(number, { entry, ...place });
      }
    }
    expect(table.count).toBe(model.size);
  }
  for (const [number, { entry }] of model) expect(table.find(idOf(number))).toBe(entry);
  expect(recordBytesOf(CHUNK_BYTES_MAX)).toBe(RECORD_BYTES_MAX);
});

test("[CHUNK-35] a chunk takes at most 40 bytes of memory, at any number from a hundred thousand on", () => {
  const table = new ChunkTable();
  const id = new Uint8Array(32);
  const words = new Uint32Array(id.buffer);
  const random = new SimRandom(1);
  let worst = 0;
  for (let count = 1; count <= 1_500_000; count++) {
    words[0] = random.uint32();
    words[1] = count;
    table.add(id, { slot: 1, offset: 16, recordBytes: 64 }, 1, 1);
    if (count >= 100_000) worst = Math.max(worst, table.memoryBytes / count);
  }
  // Blocks of a megabyte are taken as a whole, which shows at the small end.
  expect(worst).toBeLessThan(50);
  expect(table.memoryBytes / table.count).toBeLessThan(40);
});
