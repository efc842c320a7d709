import { expect, test } from "bun:test";
import { COPY_BYTES_MIN } from "#sync/session/copy-finder.ts";
import { SimPair } from "#testing/scenarios/sim-pair.ts";

const LARGE = "x".repeat(COPY_BYTES_MIN + 5);

test("[SESSION-20] a copy of a large file that both sides have is made there, not sent", async () => {
  const pair = new SimPair({});
  pair.alpha.put({ one: LARGE });
  await pair.agree();
  pair.alpha.put({ "d/two": LARGE });
  const { summary } = await pair.run();
  expect(summary?.bytes.literal).toBe(0);
  expect(summary?.bytes.reused).toBe(LARGE.length);
  expect(await pair.agree()).toContain("d/two=");
});

test("[SESSION-21] other bytes of the same length are sent", async () => {
  const pair = new SimPair({});
  pair.alpha.put({ one: LARGE });
  await pair.agree();
  pair.alpha.put({ two: LARGE.replace("x", "y") });
  const { summary } = await pair.run();
  expect(summary?.bytes.literal).toBeGreaterThan(0);
  await pair.agree();
});
