/**
 * `bun bench/chunk-store.ts [directory]`: what the packs do on this disk. Prints one line a number; SHA-256 of what is put
 * is the caller's work and not in the times, that of what is got is.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHost } from "#platform/host-bun.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import { openPacks } from "#store/packs/packs.ts";
import { type ChunkId, chunkIdOf } from "#sync/chunk/chunk-id.ts";
import { SimRandom } from "#testing/sim-random.ts";

const top = mkdtempSync(join(process.argv[2] ?? tmpdir(), "syncline-chunk-bench-"));
const host = openHost();
const random = new SimRandom(7);
let stores = 0;

const say = (what: string, value: string): void => console.log(`${what.padEnd(58)} ${value}`);
const perSecond = (count: number, ms: number): string => `${Math.round((count / ms) * 1000).toLocaleString("en")}/s`;
const mbPerSecond = (bytes: number, ms: number): string => `${Math.round(bytes / ms / 1000)} MB/s`;

async function fresh(): Promise<{ store: ChunkStore; directory: string }> {
  const directory = mkdtempSync(join(top, `${stores++}-`));
  return { store: (await openPacks(host, directory)).store, directory };
}

/** Distinct incompressible chunks: windows of one large random buffer, named before the clock runs. */
function makeChunks(count: number, length: number): { ids: ChunkId[]; at: (index: number) => Uint8Array } {
  const pool = random.bytes(Math.min(count * length, 256 << 20));
  const step = Math.max(1, Math.floor((pool.length - length) / count));
  const at = (index: number): Uint8Array => pool.subarray(index * step, index * step + length);
  return { ids: Array.from({ length: count }, (_, index) => chunkIdOf(at(index))), at };
}

async function timed(run: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

async function putAndFlush(count: number, length: number): Promise<ChunkStore> {
  const { ids, at } = makeChunks(count, length);
  const { store } = await fresh();
  const pin = store.pin();
  const ms = await timed(async () => {
    for (const [index, id] of ids.entries()) {
      const full = pin.put(id, at(index));
      if (full !== undefined) await full;
    }
    await pin.flush();
  });
  pin[Symbol.dispose]();
  say(`put ${count} of ${length} B, one flush`, `${perSecond(count, ms)}, ${mbPerSecond(count * length, ms)}`);
  await randomGets(store, ids, length);
  return store;
}

async function randomGets(store: ChunkStore, ids: readonly ChunkId[], length: number): Promise<void> {
  const gets = Math.min(ids.length, 20_000);
  const ms = await timed(async () => {
    for (let index = 0; index < gets; index++) await store.get(ids[random.int(ids.length)]!);
  });
  say(`random get of ${length} B, one after the other, cached`, `${perSecond(gets, ms)}, ${mbPerSecond(gets * length, ms)}`);
}

async function writers(count: number, writersAtOnce: number): Promise<void> {
  const { ids, at } = makeChunks(count, 2048);
  const { store } = await fresh();
  let next = 0;
  const ms = await timed(async () => {
    const writer = async (): Promise<void> => {
      while (next < count) {
        const index = next++;
        using pin = store.pin();
        const full = pin.put(ids[index]!, at(index));
        if (full !== undefined) await full;
        await pin.flush();
      }
    };
    await Promise.all(Array.from({ length: writersAtOnce }, writer));
  });
  say(`${writersAtOnce} writers, each put of 2048 B flushed`, perSecond(count, ms));
  await store.close();
}

async function million(): Promise<void> {
  const count = 1_000_000;
  const { store, directory } = await fresh();
  const bytes = new Uint8Array(64);
  const numbers = new Uint32Array(bytes.buffer);
  const pin = store.pin();
  for (let index = 0; index < count; index++) {
    numbers[0] = index;
    const full = pin.put(chunkIdOf(bytes), bytes);
    if (full !== undefined) await full;
  }
  await pin.flush();
  await store.close();
  for (const [what, spoil] of [["with sidecars", false], ["every pack scanned", true]] as const) {
    if (spoil) for (const name of new Bun.Glob("*.index").scanSync(directory)) rmSync(join(directory, name));
    host.collectGarbage();
    let again: ChunkStore | undefined;
    const ms = await timed(async () => {
      again = (await openPacks(host, directory)).store;
    });
    say(`open 1,000,000 chunks, ${what}`, `${Math.round(ms)} ms`);
    await again!.close();
  }
}

try {
  await (await putAndFlush(100_000, 2048)).close();
  await writers(20_000, 1);
  await writers(50_000, 16);
  await (await putAndFlush(16_384, 64 << 10)).close();
  await million();
} finally {
  rmSync(top, { recursive: true });
}
