/**
 * A process for chunk-store.test.ts to kill: puts chunks without end and writes a line for each one whose flush has
 * resolved. `chunk-writer.ts DIRECTORY FIRST`: chunks are numbered from FIRST on; chunkNumbered() makes their bytes.
 */
import { openHost } from "#platform/host-bun.ts";
import { openPacks } from "#store/packs/packs.ts";
import { chunkIdOf } from "#sync/chunk/chunk-id.ts";
import { SimRandom } from "#testing/sim-random.ts";

const WRITERS = 4;

/** Up to some 80 kB, now and then as large as those that are written without waiting for others; every other compresses well. */
export function chunkNumbered(number: number): Uint8Array {
  const random = new SimRandom(number);
  const length = number % 32 === 0 ? 262_144 + random.int(100_000) : random.chance(0.1) ? random.int(80_000) : random.int(4000);
  return number % 2 === 0 ? random.bytes(length) : new Uint8Array(length).fill(number).fill(number >> 8, 1, 5);
}

if (import.meta.main) {
  const [directory, first] = process.argv.slice(2) as [string, string];
  const { store, recovery } = await openPacks(openHost(), directory);
  console.log(`opened ${JSON.stringify(recovery)}`);
  let next = Number(first);
  const writer = async (): Promise<void> => {
    for (;;) {
      using pin = store.pin();
      const numbers: number[] = [];
      for (let count = 1 + (next % 5); count > 0; count--) {
        const number = next++;
        const bytes = chunkNumbered(number);
        await pin.put(chunkIdOf(bytes), bytes);
        numbers.push(number);
      }
      await pin.flush();
      process.stdout.write(`flushed ${numbers.join(" ")}\n`);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}
