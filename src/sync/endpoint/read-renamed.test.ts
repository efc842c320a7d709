import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { openHost } from "#platform/host-bun.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";

test("[READ-1] a path is read where it leads now, not in the directory that had its name during the scan", async () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-read-"));
  const never = new AbortController().signal;
  const endpoint = new DirEndpoint({
    host: await openHost(),
    path: dir,
    label: "root",
    openStore: () => new MemoryStore(new MemoryDisk()),
    hash: String,
  });
  try {
    mkdirSync(join(dir, "d/e"), { recursive: true });
    writeFileSync(join(dir, "d/e/file"), "before");
    await endpoint.open(
      {
        sessionId: "0".repeat(32),
        seeds: { a: 1n, b: 2n },
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
    await endpoint.scan({ since: 0, acknowledged: 0, extent: "full", deep: false }, () => undefined, never);
    const read = async (): Promise<string[]> => {
      const texts: string[] = [];
      for await (const batch of endpoint.read(["d/e/file"], never)) {
        for (const item of batch) texts.push("bytes" in item ? Buffer.from(item.bytes).toString() : item.problem.code);
      }
      return texts;
    };
    expect(await read()).toEqual(["before"]);
    renameSync(join(dir, "d"), join(dir, "renamed"));
    mkdirSync(join(dir, "d/e"), { recursive: true });
    writeFileSync(join(dir, "d/e/file"), "now");
    expect(await read()).toEqual(["now"]);
  } finally {
    await endpoint.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
