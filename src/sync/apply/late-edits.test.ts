/** What somebody does between the last look at a path and the change of it, with a crash on top. */
import { describe, expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { type Boots, SimPair, atCall, conflictsOf } from "#testing/scenarios/sim-pair.ts";

/** Acts right before the first `call` of beta, which then dies before its n-th effect from there. */
function actThenDie({ beta }: Boots, call: string, act: () => void, effects: number): void {
  let left = -1;
  beta.fs.interleave = (name) => {
    if (name !== call || left >= 0) return;
    act();
    left = effects;
  };
  beta.fs.onEffect = () => {
    if (left > 0 && --left === 0) throw new SimCrash("beta died");
  };
}

describe("a crash right after", () => {
  for (let effects = 2; effects <= 6; effects++) {
    test(`[S-25] a file saved over the target (effect ${effects}): the edit is visible on either side`, async () => {
      const pair = new SimPair();
      pair.alpha.put({ f: "one" });
      await pair.agree();
      pair.alpha.put({ f: "from alpha" });
      await pair.run({}, (boots) => actThenDie(boots, "exchange", () => pair.beta.user.save("/root/f", "late edit"), effects));
      await pair.run();
      const visible = new Set([...pair.alpha.contents().visible, ...pair.beta.contents().visible]);
      expect(visible).toContain("late edit");
      expect(visible).toContain("from alpha");
    });

    test(`[S-25] a file saved over what is removed (effect ${effects}): the edit is visible on either side`, async () => {
      const pair = new SimPair();
      pair.alpha.put({ f: "one", g: "two" });
      await pair.agree();
      pair.alpha.remove("f");
      await pair.run({}, (boots) => actThenDie(boots, "rename", () => pair.beta.user.save("/root/f", "late edit"), effects));
      await pair.run();
      const visible = new Set([...pair.alpha.contents().visible, ...pair.beta.contents().visible]);
      expect(visible).toContain("late edit");
    });
  }
});

test("[S-9] a directory that gives way to a file never takes along what it holds beside, whenever it all ends", async () => {
  for (let k = 1; ; k++) {
    const pair = new SimPair({ seed: k, session: { ignore: ["*.tmp"] } });
    pair.alpha.put({ "d/f": "known" });
    await pair.agree();
    pair.beta.put({ "d/x.tmp": "ignored" });
    pair.alpha.put({ "d/f": undefined });
    pair.alpha.remove("d");
    pair.alpha.put({ d: "now a file" });
    const outcome = await pair.run({}, ({ beta }) => {
      beta.fs.onEffect = (count) => {
        if (count === k) throw new SimCrash(`beta died at effect ${k}`);
      };
    });
    await pair.run();
    expect([k, pair.beta.contents().visible.has("ignored")]).toEqual([k, true]);
    if (outcome.error === undefined) break;
  }
});

for (const exchange of [true, false]) {
  const how = exchange ? "swapping" : "linking";
  test(`[S-25] edited right after it was placed, with the same size: the next scan finds it (${how})`, async () => {
    for (let k = 1; k <= 12; k++) {
      const pair = new SimPair({ seed: k, disk: { exchange } });
      pair.alpha.put({ f: "one", g: "x" });
      await pair.agree();
      pair.alpha.put({ f: "two", n: "new" });
      let left = -1;
      await pair.run({}, ({ beta }) => {
        beta.fs.interleave = (call) => {
          if (left < 0 && (call === "exchange" || call === "rename")) left = k;
          if (left > 0 && --left === 0) {
            for (const path of ["f", "n"]) {
              if (!pair.beta.host.user.exists(`/root/${path}`)) continue;
              const was = pair.beta.read(path);
              pair.beta.host.user.write(`/root/${path}`, was.toUpperCase());
            }
          }
        };
      });
      const edited = pair.beta.show();
      // An edit before the swap is a conflict, and nothing is hidden by that.
      if (conflictsOf(await pair.run()).length > 0) continue;
      expect([k, pair.alpha.show()]).toEqual([k, pair.beta.show()]);
      for (const text of edited.match(/[A-Z]+/g) ?? []) expect([k, pair.alpha.show()]).toEqual([k, expect.stringContaining(text)]);
    }
  });
}

test("[S-25] where names cannot be swapped only the rename itself may take what was saved over a file that gets further names", async () => {
  const session = { preserve: { ...PRESERVE_DEFAULT, hardlinks: true } };
  for (let k = 1; ; k++) {
    const pair = new SimPair({ disk: { exchange: false }, session });
    pair.alpha.put({ f: "one" });
    await pair.agree();
    pair.alpha.put({ f: "from alpha" });
    pair.alpha.user.link("/root/f", "/root/g");
    let before: string | undefined;
    await pair.run({}, ({ beta }) =>
      atCall(beta, k, (call) => {
        before = call;
        pair.beta.user.save("/root/f", "late edit");
      }),
    );
    if (before === undefined) break;
    if (before === "rename") continue;
    const contents = new Set([...pair.alpha.contents().all, ...pair.beta.contents().all]);
    expect([k, before, contents.has("late edit")]).toEqual([k, before, true]);
  }
});
