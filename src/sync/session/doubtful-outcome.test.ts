/** Changes of ours of which it is not known what became of them: nobody lived to record it, or they failed half way. */
import { expect, test } from "bun:test";
import { SimPair, conflictsOf } from "#testing/scenarios/sim-pair.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";

test("[SESSION-32] they are settled once, also while something else stays unknown", async () => {
  let arrived = 0;
  for (let k = 1; k <= 60; k++) {
    const pair = new SimPair({ seed: k });
    pair.alpha.put({ f: "one", "shut/x": "unreadable" });
    await pair.agree();
    pair.alpha.disk.refuse("/root/shut", "EACCES");
    pair.alpha.put({ f: "two" });
    const outcome = await pair.run({}, ({ beta }) => {
      beta.fs.onEffect = (count) => {
        if (count === k) throw new SimCrash("both died");
      };
    });
    if (outcome.error === undefined) break;
    if (pair.beta.read("f") !== "two") continue;
    arrived++;
    await pair.run();
    for (const side of [pair.alpha, pair.beta]) {
      side.put({ f: "ten" });
      side.user.setMtime("/root/f", 1_000_000_000n);
    }
    await pair.run();
    // The content that was once sent: now it is beta's own wish.
    pair.beta.put({ f: "two" });
    const last = await pair.run();
    expect([k, conflictsOf(last), pair.alpha.read("f"), pair.beta.read("f")]).toEqual([k, [], "two", "two"]);
  }
  expect(arrived).toBeGreaterThan(0);
});

test("[SESSION-34] an edit is not taken for agreed because its side was to get the other's new mode", async () => {
  for (let k = 1; ; k++) {
    const pair = new SimPair({ seed: k });
    pair.alpha.put({ f: "one", "d/x": "two" });
    await pair.agree();
    pair.alpha.put({ f: "edited" });
    pair.beta.user.chmod("/root/f", 0o600);
    const outcome = await pair.run({}, ({ alpha, beta }) => {
      let effects = 0;
      for (const { fs } of [alpha, beta]) {
        fs.onEffect = () => {
          if (++effects === k) throw new SimCrash("both died");
        };
      }
    });
    if (outcome.error === undefined) break;
    const next = await pair.run();
    expect([k, conflictsOf(next), pair.alpha.show()]).toEqual([k, [], "d/ d/x=two f=edited"]);
    expect([k, pair.beta.show()]).toEqual([k, pair.alpha.show()]);
  }
});

for (const then of ["cannot be seen", "was edited"]) {
  test(`[SESSION-35] a rename that was taken back is not deleted because what the first one placed ${then}`, async () => {
    let moved = 0;
    for (let k = 1; ; k++) {
      const pair = new SimPair({ seed: k });
      pair.alpha.put({ "d/x": "one", "d/y": "two", stays: "here" });
      await pair.agree();
      pair.alpha.rename("d", "e");
      const outcome = await pair.run({}, ({ beta }) => {
        beta.fs.onEffect = (count) => {
          if (count === k) throw new SimCrash("both died");
        };
      });
      if (outcome.error === undefined) break;
      pair.alpha.rename("e", "d");
      if (!pair.beta.show().includes("e/x")) continue;
      moved++;
      if (then === "was edited") pair.beta.put({ "e/x": "edited" });
      else {
        pair.beta.disk.refuse("/root/e", "EACCES");
        await pair.run();
        expect([k, pair.alpha.show()]).toEqual([k, "d/ d/x=one d/y=two stays=here"]);
        pair.beta.disk.refuse("/root/e", undefined);
      }
      const edited = then === "was edited" ? "e/ e/x=edited " : "";
      expect([k, await pair.agree()]).toEqual([k, `d/ d/x=one d/y=two ${edited}stays=here`]);
    }
    expect(moved).toBeGreaterThan(0);
  });
}

for (const errno of ["EIO", "EACCES"]) {
  test(`[SESSION-33] what is there after a call that failed with ${errno} is not taken for the other side's own`, async () => {
    let placed = 0;
    for (let k = 1; ; k++) {
      const pair = new SimPair({ seed: k });
      pair.alpha.put({ f: "one", "d/x": "two", moved: "three" });
      await pair.agree();
      pair.alpha.put({ f: "edited", "n/new": "new" });
      pair.alpha.rename("d", "e");
      pair.alpha.rename("moved", "e/moved");
      let calls = 0;
      await pair.run({}, ({ beta }) => {
        beta.fs.faults = (call) => (++calls === k && call !== "close" ? errno : undefined);
      });
      if (calls < k) break;
      if (pair.beta.show() !== "d/ d/x=two f=one moved=three") placed++;
      pair.alpha.put({ f: "edited again", n: undefined });
      pair.alpha.rename("e", "g");
      const next = await pair.run();
      const wanted = "f=edited again g/ g/moved=three g/x=two";
      expect([k, conflictsOf(next), pair.alpha.show()]).toEqual([k, [], wanted]);
      expect([k, pair.beta.show()]).toEqual([k, wanted]);
    }
    expect(placed).toBeGreaterThan(0);
  });
}

test("[SESSION-69] what a side's people have made themselves in place of what failed there survives a power loss (seed 1700042950)", async () => {
  for (const what of ["d/", "f"]) {
    const pair = new SimPair();
    pair.alpha.put({ k: "k" });
    await pair.agree();
    pair.alpha.put({ [what]: "" });
    await pair.run({}, ({ beta }) => {
      beta.fs.faults = (call) => (call === "rename" ? "EACCES" : undefined);
    });
    expect(pair.beta.show()).toBe("k=k");
    pair.beta.put({ [what]: "" });
    if (what === "f") pair.beta.user.setMtime("/root/f", pair.alpha.disk.inodeAt("/root/f").mtimeNs);
    const tree = pair.alpha.show();
    await pair.run();
    pair.beta.powerLoss(new SimRandom(1));
    expect(pair.beta.show()).toBe(tree);
    expect(await pair.agree()).toBe(tree);
  }
});
