/** Moves whose outcome the controller did not live to record. */
import { expect, test } from "bun:test";
import type { Endpoint, ScanSummary } from "#sync/endpoint/endpoint.ts";
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

test("[SESSION-71] of a move that the disk refused when it was done, its side tells where it comes from, too (life 3000008034 of one writer)", async () => {
  const pair = new SimPair();
  pair.alpha.put({ "d/f": "moved", "e/": "" });
  await pair.agree();
  const boot = pair.beta.host.boot();
  const body = async (endpoint: Endpoint): Promise<void> => {
    const { signal } = new AbortController();
    const told: string[] = [];
    const scan = (since: number, extent: "full" | "dirty"): Promise<ScanSummary> => {
      const request = { since, acknowledged: 0, extent, deep: false };
      return endpoint.scan(request, (batch) => void told.push(...batch.map(({ path, state }) => `${path} ${state}`)), signal);
    };
    const { seq } = await scan(0, "full");
    told.length = 0;
    const run = endpoint.apply("run", signal);
    await run.push([{ type: "move", move: { side: "beta", from: "d/f", to: "e/f", count: 1 } }]);
    boot.fs.faults = (call, { path }) => (call === "stat" && path === "/root/e/f" ? "EACCES" : undefined);
    const results: string[] = [];
    await run.commit((more) => results.push(...more.map(({ path, status }) => `${path} ${status}`)));
    boot.fs.faults = undefined;
    await scan(seq, "dirty");
    expect([results, told.sort()]).toEqual([["e/f failed"], ["d/f absent", "e/f present"]]);
  };
  await pair.withEndpoint("beta", body, boot);
});
