import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHost } from "#platform/host-bun.ts";
import { CHUNK_BYTES_MAX } from "#store/chunk-store.ts";
import { openPacks } from "#store/packs/packs.ts";
import { type ChunkId, chunkIdOf } from "#sync/chunk/chunk-id.ts";

test("[CHUNK-1] bytes are the caller's again when put returns, also where it has to wait for room", async () => {
  const directory = join(mkdtempSync(join(tmpdir(), "syncline-copies-")), "packs");
  mkdirSync(directory);
  const { store } = await openPacks(openHost(), directory);
  const pin = store.pin();
  const ids: ChunkId[] = [];
  const waits: Promise<void>[] = [];
  // One buffer for all, as a splitter has it.
  const buffer = new Uint8Array(CHUNK_BYTES_MAX);
  for (let at = 0; at < 16; at++) {
    for (let from = 0; from < buffer.length; from += 65_536) {
      crypto.getRandomValues(buffer.subarray(from, from + 65_536));
    }
    const id = chunkIdOf(buffer);
    ids.push(id);
    const wait = pin.put(id, buffer);
    if (wait !== undefined) waits.push(wait);
  }
  buffer.fill(0);
  expect(waits.length).toBeGreaterThan(0);
  await Promise.all(waits);
  await pin.flush();
  for (const id of ids) expect(chunkIdOf(await store.get(id))).toBe(id);
  pin[Symbol.dispose]();
  await store.close();
  rmSync(join(directory, ".."), { recursive: true });
}, 60_000);
