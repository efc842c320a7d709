/** Content that arrived unrecorded, and was then deleted by the one who had sent it. */
import { expect, test } from "bun:test";
import { SimPair, conflictsOf } from "#testing/scenarios/sim-pair.ts";
import { SimCrash } from "#testing/sim-process.ts";

test("[SESSION-24] a deletion after a change of ours that was never recorded does not bring the file back", async () => {
  let arrived = 0;
  for (let k = 1; k <= 60; k++) {
    const pair = new SimPair({ seed: k });
    pair.alpha.put({ f: "a file", "d/x": "one", stays: "here" });
    await pair.agree();
    pair.alpha.put({ f: "edited", "d/x": "edited too", "d/new": "new" });
    const outcome = await pair.run({}, ({ beta }) => {
      beta.fs.onEffect = (count) => {
        if (count === k) throw new SimCrash("both died");
      };
    });
    if (outcome.error === undefined) break;
    if (pair.beta.show().includes("f=edited")) arrived++;
    pair.alpha.remove("f");
    pair.alpha.rename("d", "e");
    const next = await pair.run();
    expect([k, conflictsOf(next)]).toEqual([k, []]);
    expect([k, pair.beta.show()]).toEqual([k, "e/ e/new=new e/x=edited too stays=here"]);
    expect([k, pair.alpha.show()]).toEqual([k, pair.beta.show()]);
  }
  expect(arrived).toBeGreaterThan(0);
});
