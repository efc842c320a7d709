/** Moves whose outcome the controller did not live to record. */
import { expect, test } from "bun:test";
import { SimCrash } from "#testing/sim-process.ts";
import { SimPair, conflictsOf } from "#testing/scenarios/sim-pair.ts";

test("[SESSION-23] an edit after a move of ours that was never recorded is no conflict", async () => {
  let moved = 0;
  for (let k = 1; k <= 60; k++) {
    const pair = new SimPair({ seed: k });
    pair.alpha.put({ f: "a file", "d/x": "one", "d/y": "two" });
    await pair.agree();
    pair.alpha.rename("f", "g");
    pair.alpha.rename("d", "e");
    const outcome = await pair.run({}, ({ beta }) => {
      beta.fs.onEffect = (count) => {
        if (count === k) throw new SimCrash("both died");
      };
    });
    if (outcome.error === undefined) break;
    if (pair.beta.show().includes("e/")) moved++;
    pair.alpha.put({ g: "edited", "e/x": "edited too" });
    const next = await pair.run();
    expect([k, conflictsOf(next)]).toEqual([k, []]);
    expect([k, pair.beta.show()]).toEqual([k, "e/ e/x=edited too e/y=two g=edited"]);
    expect([k, pair.alpha.show()]).toEqual([k, pair.beta.show()]);
  }
  expect(moved).toBeGreaterThan(0);
});
