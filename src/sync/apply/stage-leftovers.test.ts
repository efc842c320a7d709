/** What a run that fails leaves in the stage: nothing that the next try would lie beside. */
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { openHost } from "#platform/host-bun.ts";
import { PARTIAL_KEPT_MS } from "#sync/apply/recover.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import { MemoryStore } from "#sync/index/memory-store.ts";
import { SimPair } from "#testing/scenarios/sim-pair.ts";

/** Names in the session's stage on beta. */
function staged(pair: SimPair): string[] {
  const names: string[] = [];
  for (const [path] of pair.beta.host.user.tree("/root")) if (/^\.syncline\/stage\/\w+\/./.test(path)) names.push(path);
  return names;
}

for (const [what, tree] of [
  ["a file", { f: "content" }],
  ["a large file", { f: "L".repeat(200_000) }],
  ["a tree", { "d/e/f": "content", "d/g": "more" }],
] as const) {
  test(`[STAGE-2] ${what} that cannot be placed, however often it is tried, does not fill the stage`, async () => {
    const pair = new SimPair();
    pair.alpha.put(tree);
    const outcome = await pair.run({}, ({ beta }) => {
      beta.fs.faults = (call, { path }) => (call === "rename" && /\/stage\/\w+\/s/.test(path) ? "EBUSY" : undefined);
    });
    expect(outcome.summary?.result).toBe("problems");
    expect(staged(pair)).toEqual([]);
    expect(await pair.agree()).not.toBe("");
  });
}

test("[STAGE-3] what is left of a transfer is kept for a week, and not for ever", async () => {
  const pair = new SimPair();
  pair.alpha.put({ f: "content" });
  await pair.agree();
  const stage = `/root/.syncline/stage/${"5".repeat(32)}`;
  pair.beta.user.write(`${stage}/p-abandoned`, "half");
  pair.beta.user.write(`${stage}/p-abandoned.old`, "half");
  await pair.agree();
  expect(staged(pair)).toEqual([`${stage.slice("/root/".length)}/p-abandoned`]);
  pair.clock.jump(PARTIAL_KEPT_MS);
  await pair.agree();
  expect(staged(pair)).toEqual([]);
});

test("[STAGE-4] a staged tree with something unfinished in it that cannot be removed does not appear", async () => {
  const pair = new SimPair();
  pair.alpha.put({ "d/f": "content", "d/g": "more", other: "other" });
  const outcome = await pair.run({}, ({ beta }) => {
    beta.fs.faults = (call, { path }) => {
      const refused = (call === "write" || call === "unlink") && /\/stage\/\w+\/s\w*\/f/.test(path);
      return refused ? "EIO" : undefined;
    };
  });
  expect(outcome.summary?.result).toBe("problems");
  expect(pair.beta.show()).toBe("other=other");
  expect(await pair.agree()).toBe("d/ d/f=content d/g=more other=other");
});

test("[STAGE-8] a root that stays open for weeks forgets what is left of transfers, too", async () => {
  const root = mkdtempSync(join(tmpdir(), "syncline-stage-"));
  try {
    const host = openHost();
    let aheadMs = 0;
    const clock = { ...host.clock, nowMs: () => host.clock.nowMs() + aheadMs };
    const openStore = (): MemoryStore => new MemoryStore();
    const endpoint = new DirEndpoint({ host: { ...host, clock }, path: root, label: root, openStore, hash: (text) => text });
    const never = new AbortController().signal;
    const sessionId = "5".repeat(32);
    await endpoint.open(
      {
        sessionId, seeds: { a: 1n, b: 2n }, writable: true, ignore: [], include: [], preserve: PRESERVE_DEFAULT, durable: "none",
        verifyReadBack: false, compress: "none", createRoot: false, expectRootId: undefined, ephemeral: false,
      },
      never,
    );
    const stage = join(root, ".syncline/stage", sessionId);
    for (const name of ["p-abandoned", "s1"]) writeFileSync(join(stage, name), "half");
    mkdirSync(join(stage, "s2"));
    const left = async (extent: "full" | "dirty"): Promise<string[]> => {
      await endpoint.scan({ since: 0, acknowledged: 0, extent, deep: false }, () => undefined, never);
      return readdirSync(stage).toSorted();
    };
    expect(await left("full")).toEqual(["p-abandoned", "s1", "s2"]);
    aheadMs = PARTIAL_KEPT_MS + 60_000;
    expect(await left("dirty")).toEqual(["p-abandoned", "s1", "s2"]);
    expect(await left("full")).toEqual(["s1", "s2"]);
    await endpoint.close();
  } finally {
    rmSync(root, { recursive: true });
  }
});
