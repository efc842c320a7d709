/** Scenarios 15–21: both sides changed. No content that a person made may become unreachable. */
import { describe, expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { SessionOptions } from "#sync/session/events.ts";
import { SimPair, type SimSide, changesOf, conflictsOf, problemsOf } from "#testing/scenarios/sim-pair.ts";
import { SimRandom } from "#testing/sim-random.ts";

type Act = (side: SimSide) => void;

/** A tree that both sides have, what each then does, and the session that follows. */
async function apart(
  tree: Record<string, string>,
  onAlpha: Act,
  onBeta: Act,
  session: Partial<SessionOptions> = {},
): Promise<SimPair> {
  const pair = new SimPair({ session });
  pair.alpha.put(tree);
  await pair.agree();
  onAlpha(pair.alpha);
  onBeta(pair.beta);
  await pair.run();
  return pair;
}

/** In both orders: what the sides do must not depend on which of them is called alpha. */
async function bothWays(tree: Record<string, string>, one: Act, other: Act, expected: string): Promise<void> {
  for (const [onAlpha, onBeta] of [[one, other], [other, one]] as const) {
    const pair = await apart(tree, onAlpha, onBeta);
    expect(await pair.agree()).toBe(expected);
    expect(changesOf(await pair.run())).toEqual([]);
  }
}

describe("[S-15] deleted here, changed there", () => {
  test("[S-15] delete against modify: the content survives at its path, whichever side deleted", () =>
    bothWays({ f: "one" }, (side) => side.remove("f"), (side) => side.put({ f: "two" }), "f=two"));

  test("[S-15] a deleted directory against a modified file in it: file and directory come back", () =>
    bothWays({ "d/f": "1", "d/g": "2" }, (side) => side.remove("d"), (side) => side.put({ "d/f": "3" }), "d/ d/f=3"));
});

describe("[S-16] changed here and there", () => {
  test("[S-16] to the same content: no conflict and nothing to send", () =>
    bothWays({ f: "one" }, (side) => side.put({ f: "two" }), (side) => side.put({ f: "two" }), "f=two"));

  test("[S-16] to different content: left alone, both stay and every session says so", async () => {
    const pair = await apart({ f: "one" }, (side) => side.put({ f: "mine" }), (side) => side.put({ f: "yours" }));
    for (let round = 0; round < 2; round++) {
      const outcome = await pair.run();
      expect([outcome.summary?.result, conflictsOf(outcome), changesOf(outcome)]).toEqual(["conflicts", ["f"], []]);
    }
    expect([pair.alpha.show(), pair.beta.show()]).toEqual(["f=mine", "f=yours"]);
  });

  test("[S-16] with copies: one winner on both sides and one copy, stable under repeated sessions", async () => {
    const seen = new Set<string>();
    for (const [mine, yours] of [["mine", "yours"], ["yours", "mine"]] as const) {
      const edit = (content: string): Act => (side) => side.put({ "f.txt": content });
      const pair = await apart({ "f.txt": "one" }, edit(mine), edit(yours), { conflict: "copy" });
      const tree = await pair.agree();
      expect(changesOf(await pair.run())).toEqual([]);
      expect(tree).toMatch(/^f\.conflict-(alpha|beta)-[0-9a-f]{8}\.txt=(mine|yours) f\.txt=(mine|yours)$/);
      expect(pair.alpha.contents().visible).toEqual(new Set(["mine", "yours"]));
      seen.add(tree.slice(tree.lastIndexOf("=")));
    }
    // The seeds of the sums are the same, so the same content wins whoever wrote it.
    expect(seen.size).toBe(1);
  });

  test("[S-17] a conflict copy that both sides edit is a file like any other: nothing is dropped", async () => {
    const edit = (content: string): Act => (side) => side.put({ f: content });
    const pair = await apart({ f: "one" }, edit("mine"), edit("yours"), { conflict: "copy" });
    const copy = (await pair.agree()).split(" ").find((word) => word.includes("conflict"))!.split("=")[0]!;
    pair.alpha.put({ [copy]: "mine again" });
    pair.beta.put({ [copy]: "yours again" });
    const tree = await pair.agree();
    expect(changesOf(await pair.run())).toEqual([]);
    for (const content of ["mine again", "yours again"]) expect(tree).toContain(`=${content}`);
  });
});

describe("[S-18] [S-19] directories and kinds", () => {
  test("[S-18] a directory deleted here that got a new file there comes back with that file only", () =>
    bothWays(
      { "d/f": "1", "d/sub/g": "2" },
      (side) => side.remove("d"),
      (side) => side.put({ "d/sub/new": "3" }),
      "d/ d/sub/ d/sub/new=3",
    ));

  test("[S-19] file to directory here, edited there: both contents stay where they are, as a conflict", async () => {
    const toDir: Act = (side) => side.put({ f: undefined, "f/inside": "in" });
    const edit: Act = (side) => side.put({ f: "edited" });
    const pair = await apart({ f: "one" }, toDir, edit);
    expect([pair.alpha.show(), pair.beta.show()]).toEqual(["f/ f/inside=in", "f=edited"]);
    const copied = await apart({ f: "one" }, toDir, edit, { conflict: "copy" });
    const tree = await copied.agree();
    for (const content of ["=in", "=edited"]) expect(tree).toContain(content);
  });

  test("[S-19] directory to file here, new child there: both contents stay", async () => {
    const toFile: Act = (side) => side.put({ d: undefined, "d.tmp": "file" });
    const child: Act = (side) => side.put({ "d/new": "child" });
    for (const conflict of ["leave", "copy"] as const) {
      const pair = new SimPair({ session: { conflict } });
      pair.alpha.put({ "d/f": "1" });
      await pair.agree();
      toFile(pair.alpha);
      pair.alpha.rename("d.tmp", "d");
      child(pair.beta);
      await pair.run();
      const all = new Set([...pair.alpha.contents().visible, ...pair.beta.contents().visible]);
      expect(all).toContain("file");
      expect(all).toContain("child");
      if (conflict === "copy") expect(await pair.agree()).toContain("=file");
    }
  });

  test("[S-19] unchanged there, the other kind simply takes its place", async () => {
    for (const order of ["alpha", "beta"] as const) {
      const pair = new SimPair();
      pair.alpha.put({ f: "1", "d/x": "2", "e/y": "3" });
      pair.alpha.user.symlink("/root/l", "f");
      await pair.agree();
      const side = pair[order];
      side.put({ f: undefined, "f/in": "4", d: undefined, l: undefined, "l/in": "5", e: undefined });
      side.user.symlink("/root/d", "f");
      side.put({ e: "6" });
      expect(await pair.agree()).toBe("d@f e=6 f/ f/in=4 l/ l/in=5");
    }
  });
});

describe("[S-20] renames", () => {
  test("[S-20] renamed here, edited there: the edit is not lost", async () => {
    for (const [one, other] of [["alpha", "beta"], ["beta", "alpha"]] as const) {
      const pair = new SimPair();
      pair.alpha.put({ A: "old" });
      await pair.agree();
      pair[one].rename("A", "B");
      pair[other].put({ A: "edited" });
      expect(await pair.agree()).toBe("A=edited B=old");
    }
  });

  test("[S-20] renamed to two targets: both names hold it", () =>
    bothWays({ A: "it" }, (side) => side.rename("A", "B"), (side) => side.rename("A", "C"), "B=it C=it"));

  test("[S-20] swaps, chains and cycles of names arrive as they are", async () => {
    const trees: [Record<string, string>, [string, string][], string][] = [
      [{ A: "1", B: "2" }, [["A", "t"], ["B", "A"], ["t", "B"]], "A=2 B=1"],
      [{ A: "1", B: "2" }, [["B", "C"], ["A", "B"]], "B=1 C=2"],
      [{ A: "1", B: "2", C: "3" }, [["A", "t"], ["C", "A"], ["B", "C"], ["t", "B"]], "A=3 B=1 C=2"],
      [{ "x/f": "1", "y/g": "2" }, [["x", "t"], ["y", "x"], ["t", "y"]], "x/ x/g=2 y/ y/f=1"],
      [{ "x/f": "1", "y/g": "2" }, [["x", "y/x"]], "y/ y/g=2 y/x/ y/x/f=1"],
    ];
    for (const [tree, renames, expected] of trees) {
      await bothWays(tree, (side) => renames.forEach(([from, to]) => side.rename(from, to)), () => undefined, expected);
    }
  });

  test("[S-20] x into y here, y into x there: no loop, no loss, and it ends", async () => {
    const pair = await apart(
      { "x/f": "1", "y/g": "2" },
      (side) => side.rename("x", "y/x"),
      (side) => side.rename("y", "x/y"),
    );
    const tree = await pair.agree();
    for (const content of ["=1", "=2"]) expect(tree).toContain(content);
    expect(changesOf(await pair.run())).toEqual([]);
  });

  test("[S-20] a directory renamed here while a file in it is edited there", async () => {
    const pair = await apart(
      { "d/f": "1", "d/g": "2" },
      (side) => side.rename("d", "e"),
      (side) => side.put({ "d/f": "edited" }),
    );
    const tree = await pair.agree();
    expect(tree).toBe("d/ d/f=edited e/ e/f=1 e/g=2");
  });
});

describe("the same on both sides", () => {
  const cases: Record<string, readonly [path: string, length: number]> = {
    "a small file": ["f", 0], "a large file": ["f", 200_000], "an ignore file": [".synclineignore", 0],
  };
  for (const [what, [path, length]] of Object.entries(cases)) {
    test(`[SIM-98] ${what} written alike on both is durable on both before it counts as agreed`, async () => {
      const more = "x".repeat(length);
      for (const side of ["alpha", "beta"] as const) {
        for (let seed = 1; seed <= 20; seed++) {
          const pair = new SimPair({ seed });
          pair.alpha.put({ g: "stays", ...(path === "f" && { f: `old${more}` }) });
          await pair.agree();
          for (const one of [pair.alpha, pair.beta]) {
            one.disk.settle();
            one.put({ [path]: `new${more}` });
          }
          await pair.agree();
          pair[side === "alpha" ? "beta" : "alpha"].disk.settle();
          pair[side].powerLoss(new SimRandom(seed));
          await pair.agree();
          expect([side, seed, pair[side].read(path) === `new${more}`]).toEqual([side, seed, true]);
        }
      }
    });
  }

  const kinds: Record<string, (side: SimSide) => void> = {
    "a symlink": (side) => side.user.symlink("/root/l", "nowhere"),
    "an empty directory": (side) => side.put({ "l/": "" }),
    "an empty file": (side) => side.put({ l: "" }),
    "a second name": (side) => side.user.link("/root/g", "/root/l"),
    "other bytes under the old time": (side) => {
      const { mtimeNs } = side.disk.inodeAt("/root/g");
      side.put({ g: "other" });
      side.user.setMtime("/root/g", mtimeNs);
    },
    "an old tree from elsewhere": (side) => side.user.rename("/away", "/root/l"),
    "a name that came by a link": (side) => {
      side.user.mkdir("/root/l");
      side.user.link("/root/g", "/root/l/g");
      side.remove("g");
    },
  };
  for (const [what, make] of Object.entries(kinds)) {
    for (const on of ["both sides", "one side"]) {
      test(`[SIM-113] ${what} made on ${on} a moment ago outlives a power loss`, async () => {
        const preserve = { ...PRESERVE_DEFAULT, hardlinks: what === "a second name" };
        for (let seed = 1; seed <= 20; seed++) {
          const pair = new SimPair({ seed, session: { preserve } });
          for (const one of [pair.alpha, pair.beta]) {
            one.put({ g: "stays" });
            one.user.mkdir("/away/sub");
            one.user.write("/away/sub/f", "content");
          }
          await pair.agree();
          for (const one of [pair.alpha, pair.beta]) one.disk.settle();
          pair.rest();
          make(pair.alpha);
          if (on === "both sides") make(pair.beta);
          const made = pair.alpha.show();
          await pair.agree();
          pair.beta.disk.settle();
          pair.alpha.powerLoss(new SimRandom(seed));
          // What was removed may be back on that side, and comes back on the other.
          const kept = (await pair.agree()).split(" ");
          expect([seed, made.split(" ").filter((one) => !kept.includes(one))]).toEqual([seed, []]);
        }
      });
    }
  }

  const again: Record<string, (side: SimSide) => void> = {
    "a symlink": (side) => side.user.symlink("/root/l", "nowhere"),
    "an empty directory": (side) => side.put({ "l/": "" }),
    "a tree of directories": (side) => side.put({ "l/a/b/": "" }),
    "a directory with a symlink": (side) => {
      side.put({ "l/": "" });
      side.user.symlink("/root/l/s", "nowhere");
    },
    "an empty file": (side) => side.put({ l: "" }),
    "a file": (side) => side.put({ l: "content" }),
    "a file of the same time": (side) => {
      side.put({ l: "content" });
      side.user.setMtime("/root/l", 1_000_000_000n);
    },
    "a directory with a file of the same time": (side) => {
      side.put({ "l/f": "content" });
      side.user.setMtime("/root/l/f", 1_000_000_000n);
    },
  };
  /** A pair that has agreed on what was made, a good while ago. */
  const agreedOn = async (seed: number, make: (side: SimSide) => void): Promise<{ pair: SimPair; made: string }> => {
    const pair = new SimPair({ seed });
    pair.alpha.put({ g: "stays" });
    make(pair.alpha);
    const made = await pair.agree();
    pair.rest();
    return { pair, made };
  };

  for (const [what, make] of Object.entries(again)) {
    const hows = ["removed and made anew", "removed and made anew under other numbers", "removed, not so on the other side, and made anew"];
    for (const how of what.startsWith("a file") ? [...hows, "written over"] : hows) {
      test(`[SIM-117] ${what} that was ${how} as it was outlives a power loss`, async () => {
        for (let seed = 1; seed <= 20; seed++) {
          const { pair, made } = await agreedOn(seed, make);
          if (how !== "written over") pair.alpha.remove("l");
          if (how.includes("not so")) {
            // A session sees that it is gone, and cannot do anything about it.
            await pair.run({}, ({ beta }) => {
              beta.fs.faults = (call) => (/^(rename|unlink|rmdir|exchange)/.test(call) ? "EIO" : undefined);
            });
          }
          if (how.endsWith("numbers")) pair.alpha.user.mkdir("/takes/the/numbers/that/are/free");
          for (const one of [pair.alpha, pair.beta]) one.disk.settle();
          make(pair.alpha);
          await pair.agree();
          pair.alpha.powerLoss(new SimRandom(seed));
          expect([seed, await pair.agree()]).toEqual([seed, made]);
        }
      });
    }
  }

  for (const [what, make] of Object.entries(again)) {
    test(`[SIM-118] ${what} that was made anew as it was, and that its side cannot answer for, is agreed no longer`, async () => {
      for (let seed = 1; seed <= 20; seed++) {
        const { pair, made } = await agreedOn(seed, make);
        pair.alpha.remove("l");
        for (const one of [pair.alpha, pair.beta]) one.disk.settle();
        make(pair.alpha);
        const outcome = await pair.run({}, ({ alpha }) => {
          alpha.fs.faults = (call) => (call === "sync" || call === "syncAll" ? "EIO" : undefined);
        });
        expect(new Set(problemsOf(outcome).map(({ side, code }) => `${side} ${code}`))).toEqual(new Set(["alpha EIO"]));
        pair.alpha.powerLoss(new SimRandom(seed));
        await pair.run();
        expect([seed, pair.beta.show()]).toEqual([seed, made]);
      }
    });
  }

  test("[SIM-118] many files that were made anew as they were, and whose sync was refused, are made durable by the next session", async () => {
    const files = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`l/${at}`, "content"]));
    const make = (side: SimSide): void => {
      side.put(files);
      for (const path of Object.keys(files)) side.user.setMtime(`/root/${path}`, 1_000_000_000n);
    };
    for (let seed = 1; seed <= 20; seed++) {
      const { pair, made } = await agreedOn(seed, make);
      for (const path of Object.keys(files)) pair.alpha.remove(path);
      for (const one of [pair.alpha, pair.beta]) one.disk.settle();
      make(pair.alpha);
      await pair.run({}, ({ alpha }) => {
        alpha.fs.faults = (call) => (call === "syncAll" ? "EAGAIN" : undefined);
      }).catch(() => undefined);
      await pair.agree();
      pair.alpha.powerLoss(new SimRandom(seed));
      expect([seed, await pair.agree()]).toEqual([seed, made]);
    }
  });

  const acts: Record<string, (side: SimSide) => void> = {
    "a symlink": (side) => side.user.symlink("/root/l", "nowhere"),
    "a renamed directory": (side) => side.rename("d", "l"),
  };
  for (const [what, act] of Object.entries(acts)) {
    test(`[SESSION-65] ${what} that the source cannot answer for is brought over, told, and not agreed on`, async () => {
      for (let seed = 1; seed <= 20; seed++) {
        const pair = new SimPair({ seed });
        pair.alpha.put({ "d/f": "stays" });
        await pair.agree();
        for (const one of [pair.alpha, pair.beta]) one.disk.settle();
        act(pair.alpha);
        const made = pair.alpha.show();
        const outcome = await pair.run({}, ({ alpha }) => {
          alpha.fs.faults = (call) => (call === "sync" || call === "syncAll" ? "EIO" : undefined);
        });
        expect(problemsOf(outcome).map(({ path, side, code }) => [path, side, code])).toEqual([["l", "alpha", "EIO"]]);
        expect(pair.beta.show()).toBe(made);
        pair.beta.disk.settle();
        pair.alpha.powerLoss(new SimRandom(seed));
        const kept = (await pair.agree()).split(" ");
        expect([seed, made.split(" ").filter((one) => !kept.includes(one))]).toEqual([seed, []]);
        expect(changesOf(await pair.run())).toEqual([]);
      }
    });
  }

  for (const errno of ["EACCES", "EIO"]) {
    test(`[SOURCE-11] what was renamed while its side could not look at it, and is removed then, stays removed (seed 1265200284, ${errno})`, async () => {
      for (let k = 1; ; k++) {
        const pair = new SimPair();
        pair.alpha.put({ "d/e/": "", "d/f": "content", g: "stays" });
        await pair.agree();
        pair.alpha.rename("d/f", "d/e/f");
        let calls = 0;
        const outcome = await pair.run({}, ({ alpha }) => {
          alpha.fs.faults = (call, { path, isEffect }) => (!isEffect && call !== "close" && path.startsWith("/root/d") && ++calls === k ? errno : undefined);
        });
        if (calls < k) break;
        pair.alpha.remove("d/e/f");
        for (let runs = 0; runs < 2; runs++) await pair.run();
        expect([k, outcome.error, pair.alpha.show(), pair.beta.show()]).toEqual([k, undefined, "d/ d/e/ g=stays", "d/ d/e/ g=stays"]);
      }
    });
  }
});
