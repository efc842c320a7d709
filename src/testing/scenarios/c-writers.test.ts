/** Scenarios 23–29: somebody writes while the session works. The other programs act before the k-th system call, for every k. */
import { describe, expect, test } from "bun:test";
import { type SimSide, SimPair, atCall, problemsOf } from "#testing/scenarios/sim-pair.ts";

/** Above what travels inside a batch: goes through a transfer. */
const LARGE = 140_000;
const large = (letter: string): string => letter.repeat(LARGE);

/** Calls that one process makes in a session like those below; k goes a little beyond. */
const CALLS = 70;

type Writer = (side: SimSide) => void;

/**
 * A file that changed on alpha is being synchronised while `writer` acts on alpha before call k. Whatever it meets, beta
 * must only ever hold one of the whole contents, and afterwards the last.
 */
async function onSource(writer: Writer, contents: readonly string[], last: string, first: string): Promise<number> {
  let late = 0;
  for (let k = 1; k <= CALLS; k++) {
    const pair = new SimPair({ seed: k });
    pair.alpha.put({ f: "zero", g: "other" });
    await pair.agree();
    pair.alpha.put({ f: first });
    let acted = false;
    await pair.run({}, ({ alpha }) =>
      atCall(alpha, k, () => {
        writer(pair.alpha);
        acted = true;
      }),
    );
    if (!acted) writer(pair.alpha);
    if (![...contents, "zero", first].includes(pair.beta.read("f"))) throw new Error(`torn at call ${k}`);
    if (acted && pair.beta.read("f") !== last) late++;
    expect(await pair.agree()).toBe(`f=${last} g=other`);
  }
  return late;
}

describe("the source changes", () => {
  test("[S-23] modified between scan, hash and serving: never a mixture, and the last state arrives", async () => {
    await onSource((side) => side.put({ f: "second version" }), ["second version"], "second version", "first version");
    await onSource((side) => side.user.patch("/root/f", "X", 3), ["firXt version"], "firXt version", "first version");
  });

  test("[S-23] a large file modified while it is transferred", async () => {
    const changed = `${large("a").slice(0, 1000)}b${large("a").slice(1001)}`;
    await onSource((side) => side.user.patch("/root/f", "b", 1000), [changed], changed, large("a"));
  });

  test("[S-24] another file renamed over it while it is read", async () => {
    await onSource((side) => side.user.save("/root/f", "second"), ["second"], "second", "first");
    await onSource((side) => side.user.save("/root/f", large("b")), [large("b")], large("b"), large("a"));
  });

  test("[S-26] growing, truncated or vanished in the middle: that file waits, the others do not", async () => {
    const acts: Record<string, Writer> = {
      grows: (side) => side.host.user.patch("/root/f", "more"),
      shrinks: (side) => {
        const size = side.read("f").length;
        if (size > 5) side.host.user.write("/root/f", large("a").slice(0, size - 5));
      },
    };
    for (const [name, act] of Object.entries(acts)) {
      const pair = new SimPair();
      pair.alpha.put({ f: large("a"), g: "small", h: large("h") });
      const outcome = await pair.run({}, ({ alpha }) => {
        alpha.fs.interleave = (call) => {
          if (call === "readAsync" || call === "read") act(pair.alpha);
        };
      });
      expect([name, outcome.summary?.result]).toEqual([name, "problems"]);
      expect(problemsOf(outcome).every(({ path, side }) => path === "f" && side === "alpha")).toBe(true);
      expect(pair.beta.show()).toBe(`g=small h=${large("h")}`);
      expect(await pair.agree()).toContain(`f=${pair.alpha.read("f")}`);
    }
  });

  test("[S-26] a file that vanishes while it is sent is no error of the others", async () => {
    for (let k = 5; k <= 40; k++) {
      const pair = new SimPair();
      pair.alpha.put({ f: large("a"), g: "small" });
      await pair.run({}, ({ alpha }) =>
        atCall(alpha, k, () => {
          if (pair.alpha.host.user.exists("/root/f")) pair.alpha.remove("f");
        }),
      );
      expect(pair.beta.show()).toContain("g=small");
      expect(await pair.agree()).toBe("g=small");
    }
  });

  test("[S-27] a rewrite that keeps size and mtime is found by its ctime", async () => {
    const pair = new SimPair();
    pair.alpha.put({ f: "aaaa" });
    await pair.agree();
    const { mtimeNs } = pair.alpha.disk.inodeAt("/root/f");
    pair.alpha.put({ f: "bbbb" });
    pair.alpha.user.setMtime("/root/f", mtimeNs);
    expect(await pair.agree()).toBe("f=bbbb");
  });

  test("[S-27] a one-byte edit in the same tick of a coarse clock is found", async () => {
    for (const timestampNs of [1_000_000n, 2_000_000_000n]) {
      const pair = new SimPair({ disk: { timestampNs } });
      pair.alpha.put({ f: "aaaa" });
      await pair.agree();
      pair.alpha.host.user.write("/root/f", "abaa");
      await pair.run();
      pair.alpha.host.user.write("/root/f", "abca");
      expect(await pair.agree()).toBe("f=abca");
    }
  });
});

describe("the target changes", () => {
  for (const exchange of [true, false]) {
    const how = exchange ? "swapping" : "linking";
    test(`[S-25] edited between the last check and the rename (${how}): the edit is still visible somewhere`, async () => {
      // Without a swap nothing can stop a rename of others from falling between our link and our rename.
      for (const edit of exchange ? (["write", "save"] as const) : (["write"] as const)) {
        for (let k = 1; k <= CALLS; k++) {
          const pair = new SimPair({ seed: k, disk: { exchange } });
          pair.alpha.put({ f: "one", "d/g": "two" });
          await pair.agree();
          pair.alpha.put({ f: "from alpha" });
          await pair.run({}, ({ beta }) => atCall(beta, k, () => pair.beta.user[edit]("/root/f", "late edit")));
          await pair.run();
          const after = new Set([...pair.alpha.contents().visible, ...pair.beta.contents().visible]);
          expect([k, edit, after.has("late edit")]).toEqual([k, edit, true]);
          expect(pair.alpha.contents().all.has("from alpha") || pair.beta.contents().all.has("from alpha")).toBe(true);
        }
      }
    });

    test(`[S-25] edited while it is being removed (${how}): the edit is not removed`, async () => {
      for (let k = 1; k <= CALLS; k++) {
        const pair = new SimPair({ seed: k, disk: { exchange } });
        pair.alpha.put({ f: "one", g: "two" });
        await pair.agree();
        pair.alpha.remove("f");
        let acted = false;
        await pair.run({}, ({ beta }) =>
          atCall(beta, k, () => {
            pair.beta.user.write("/root/f", "late edit");
            acted = true;
          }),
        );
        if (!acted) continue;
        expect([k, await pair.agree()]).toEqual([k, "f=late edit g=two"]);
      }
    });
  }
});
