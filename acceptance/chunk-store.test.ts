/**
 * A real process killed with SIGKILL while it puts chunks: every chunk whose flush it acknowledged is there and right
 * after the next open. SYNCLINE_CHUNK_KILLS sets how many kills (15).
 */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHost } from "#platform/host-bun.ts";
import { openPacks } from "#store/packs/packs.ts";
import { chunkIdOf } from "#sync/chunk/chunk-id.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { chunkNumbered } from "./chunk-writer.ts";

const KILLS = Number(process.env["SYNCLINE_CHUNK_KILLS"] ?? "15");
const LIFE_MS_MAX = 300;
const NUMBERS_PER_LIFE = 1_000_000;

test("[CHUNK-33] no chunk that was acknowledged is lost when the process is killed", async () => {
  const directory = mkdtempSync(join(tmpdir(), "syncline-chunks-"));
  const random = new SimRandom(Date.now());
  const acknowledged: number[] = [];
  try {
    for (let life = 0; life < KILLS; life++) {
      const script = join(import.meta.dir, "chunk-writer.ts");
      const command = [process.execPath, script, directory, String(life * NUMBERS_PER_LIFE)];
      const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
      let text = "";
      const reading = (async () => {
        const decoder = new TextDecoder();
        for await (const piece of child.stdout) text += decoder.decode(piece, { stream: true });
      })();
      while (!text.includes("flushed") && child.exitCode === null) await Bun.sleep(1);
      await Bun.sleep(random.int(LIFE_MS_MAX));
      child.kill("SIGKILL");
      await child.exited;
      await reading;
      for (const line of text.split("\n").slice(0, -1)) {
        if (line.startsWith("flushed ")) acknowledged.push(...line.slice(8).split(" ").map(Number));
      }
    }
    expect(acknowledged.length).toBeGreaterThan(KILLS);
    const { store, recovery } = await openPacks(openHost(), directory);
    expect(recovery.damaged).toBe(0);
    for (const number of acknowledged) {
      const bytes = chunkNumbered(number);
      expect(Buffer.compare(await store.get(chunkIdOf(bytes)), bytes)).toBe(0);
    }
    expect((await store.scrub(undefined, Number.MAX_SAFE_INTEGER, new AbortController().signal)).damaged).toEqual([]);
    await store.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
}, 300_000);
