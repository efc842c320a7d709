import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { openHost } from "#platform/host-bun.ts";
import { sumOf } from "#sync/chunk/sum.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";

const SEEDS = { a: 1n, b: 2n };
const never = new AbortController().signal;

async function openRoot(dir: string): Promise<DirEndpoint> {
  const endpoint = new DirEndpoint({
    host: await openHost(),
    path: dir,
    label: "root",
    openStore: () => new MemoryStore(new MemoryDisk()),
    hash: String,
  });
  await endpoint.open(
    {
      sessionId: "0".repeat(32),
      seeds: SEEDS,
      writable: false,
      ignore: [],
      include: [],
      preserve: PRESERVE_DEFAULT,
      durable: "none",
      verifyReadBack: false,
      compress: "none",
      createRoot: false,
      expectRootId: undefined,
    },
    never,
  );
  return endpoint;
}

/** Path → what was read, or why not. What is read has the sum of its bytes. */
async function read(endpoint: DirEndpoint, paths: string[]): Promise<string[]> {
  const texts: string[] = [];
  for await (const batch of endpoint.read(paths, never)) {
    for (const item of batch) {
      if ("problem" in item) texts.push(item.problem.code);
      else {
        expect([item.entry.sum, item.entry.size]).toEqual([sumOf(item.bytes, SEEDS), item.bytes.length]);
        texts.push(Buffer.from(item.bytes).toString());
      }
    }
  }
  return texts;
}

test.each([[false], [true]])("[READ-3] of many files each is what it is now, whatever became of it (read before: %p)", async (before) => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-read-"));
  const names = ["a", "b", "c", "d", "e", "f", "g", "h"];
  const paths = names.map((name) => `d/${name}`);
  mkdirSync(join(dir, "d"));
  for (const path of paths) writeFileSync(join(dir, path), `old ${path}`);
  // Old enough that nobody doubts the scan's record of it.
  await Bun.sleep(50);
  const endpoint = await openRoot(dir);
  try {
    const first = { since: 0, acknowledged: 0, extent: "full", deep: false } as const;
    const { seq } = await endpoint.scan(first, () => undefined, never);
    if (before) expect(await read(endpoint, paths)).toEqual(paths.map((path) => `old ${path}`));
    writeFileSync(join(dir, "d/b"), "longer than it was");
    writeFileSync(join(dir, "d/c"), "new d/c");
    writeFileSync(join(dir, "d/d.new"), "ren d/d");
    renameSync(join(dir, "d/d.new"), join(dir, "d/d"));
    rmSync(join(dir, "d/e"));
    rmSync(join(dir, "d/f"));
    mkdirSync(join(dir, "d/f"));
    writeFileSync(join(dir, "d/g"), "");
    const now = ["old d/a", "longer than it was", "new d/c", "ren d/d", "ENOENT", "EINVAL", "", "old d/h"];
    expect(await read(endpoint, paths)).toEqual(now);
    expect(await read(endpoint, ["d/a", "d/b", "d/never", "d/h"])).toEqual([now[0]!, now[1]!, "CHANGED", now[7]!]);
    // Reading has told the index nothing that no scan has seen: the next one has all the news.
    const told: string[] = [];
    await endpoint.scan({ ...first, since: seq }, (batch) => void told.push(...batch.map(({ path }) => path)), never);
    expect(told).toEqual(["d/b", "d/c", "d/d", "d/e", "d/f", "d/g"]);
  } finally {
    await endpoint.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test("[READ-1] a path is read where it leads now, not in the directory that had its name during the scan", async () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-read-"));
  mkdirSync(join(dir, "d/e"), { recursive: true });
  writeFileSync(join(dir, "d/e/file"), "before");
  const endpoint = await openRoot(dir);
  try {
    await endpoint.scan({ since: 0, acknowledged: 0, extent: "full", deep: false }, () => undefined, never);
    expect(await read(endpoint, ["d/e/file"])).toEqual(["before"]);
    renameSync(join(dir, "d"), join(dir, "renamed"));
    mkdirSync(join(dir, "d/e"), { recursive: true });
    writeFileSync(join(dir, "d/e/file"), "now");
    expect(await read(endpoint, ["d/e/file"])).toEqual(["now"]);
  } finally {
    await endpoint.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
