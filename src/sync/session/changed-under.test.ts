/** What changes on a side while a plan that does not know of it is carried out there. */
import { expect, test } from "bun:test";
import { SimPair } from "#testing/scenarios/sim-pair.ts";

test("[SESSION-24] a directory renamed to where another one was, which the other side has removed as well", async () => {
  const pair = new SimPair();
  pair.alpha.put({ "a/x": "one", "b/y": "two", k: "k" });
  await pair.agree();
  pair.alpha.remove("b");
  pair.alpha.rename("a", "b");
  pair.beta.remove("b");
  expect(await pair.agree()).toBe("b/ b/x=one k=k");
  expect(await pair.agree()).toBe("b/ b/x=one k=k");
});

test("[SESSION-24] the same with what is new and what is edited below it", async () => {
  const pair = new SimPair();
  pair.alpha.put({ "a/x": "one", "a/z": "three", "b/x": "two", k: "k" });
  await pair.agree();
  pair.alpha.remove("b");
  pair.alpha.rename("a", "b");
  pair.beta.put({ "b/x": undefined, "a/z": "edited" });
  pair.beta.remove("b");
  const seen = await pair.agree();
  expect(seen).toContain("=edited");
  expect(await pair.agree()).toBe(seen);
});

test("[APPLY-1] a directory that goes while something is brought into it comes back with that in the same run", async () => {
  const pair = new SimPair();
  pair.alpha.put({ "d/x": "one", k: "k" });
  await pair.agree();
  pair.alpha.put({ "d/y": "two" });
  let isGone = false;
  const outcome = await pair.run({}, ({ beta }) => {
    beta.fs.interleave = (call) => {
      if (call !== "create" || isGone) return;
      isGone = true;
      pair.beta.host.user.remove("/root/d");
    };
  });
  expect(outcome.summary?.result).toBe("same");
  expect([pair.alpha.show(), pair.beta.show()]).toEqual(["d/ d/y=two k=k", "d/ d/y=two k=k"]);
});
