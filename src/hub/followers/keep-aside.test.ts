import { expect, test } from "bun:test";
import { DIFFERENCES_MAX, answerOf, compareTrees } from "#hub/followers/compare.ts";
import { keepAside } from "#hub/followers/keep-aside.ts";
import type { DigestView } from "#hub/followers/space-digest.ts";
import { TestHub } from "#hub/hub-fixture.ts";
import type { Leaf } from "#hub/meta/leaves.ts";
import { encodeName } from "#model/path.ts";

test("[FOLLOW-46] what is kept aside is kept also where the space for it was deleted, or is another one of that name", async () => {
  await using hub = await TestHub.open();
  const { spaces, who } = hub;
  await spaces.createSpace(who, "demo");
  await hub.put("demo", "own", "one");
  const keep = async (): Promise<number> => {
    const space = await spaces.space(who, "demo");
    const here = { path: "own", sequence: space.sequence, digest: "" };
    return keepAside(hub, space, [{ path: "own", here, there: undefined }], []);
  };
  expect(await keep()).toBe(1);
  expect(await hub.files("demo.diverged")).toEqual({ "1/own": "one" });
  // Somebody has looked at it, and needs it no more.
  await spaces.deleteSpace(who, "demo.diverged");
  await hub.put("demo", "own", "two");
  expect(await keep()).toBe(1);
  expect(await hub.files("demo.diverged-2")).toEqual({ "2/own": "two" });
  await spaces.updateSpace(who, "demo.diverged-2", { name: "elsewhere" });
  await spaces.createSpace(who, "demo.diverged-2");
  await hub.put("demo", "own", "three");
  expect(await keep()).toBe(1);
  expect(await hub.files("demo.diverged-2")).toEqual({});
  expect(await hub.files("demo.diverged-3")).toEqual({ "3/own": "three" });
  expect(await keep()).toBe(1);
  expect((await spaces.spaces(who)).map(({ name }) => name)).toEqual(["demo", "demo.diverged-2", "demo.diverged-3", "elsewhere"]);
});

test("[FOLLOW-47] a comparison that stops before the end says so", async () => {
  const viewOf = (count: number): DigestView => ({
    digest: () => Promise.resolve({ count, digest: String(count) } as never),
    cuts: () => Promise.resolve([]),
    leaves: async function* () {
      for (let at = 0; at < count; at++) yield { path: encodeName(`f${at}`), sequence: at + 1, hash: BigInt(at) } as Leaf;
    },
  });
  const compared = (count: number) => compareTrees(viewOf(count), (range, detail) => answerOf(viewOf(0), range, detail));
  for (const [count, isWhole] of [[5, true], [DIFFERENCES_MAX, true], [DIFFERENCES_MAX + 1, false]] as const) {
    const found = await compared(count);
    expect([found.differences.length, found.isWhole]).toEqual([Math.min(count, DIFFERENCES_MAX), isWhole]);
  }
});
