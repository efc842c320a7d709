/** What a run that fails leaves in the stage: nothing that the next try would lie beside. */
import { expect, test } from "bun:test";
import { PARTIAL_KEPT_MS } from "#sync/apply/recover.ts";
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
