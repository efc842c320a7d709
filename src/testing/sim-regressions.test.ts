/**
 * Bugs that simulated lives have found, each as the small scenario that shows it. Seeds change their meaning whenever
 * the simulation draws anew, so a seed is no regression test; where one is named it is the life that found the bug.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RunRecord } from "#sync/endpoint/endpoint.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";
import { SimPair, atCall, atEachCall, changesOf, conflictsOf, problemsOf } from "#testing/scenarios/sim-pair.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";

const never = new AbortController().signal;
// Loops over every call of a session: a second each, more on a busy machine.
setDefaultTimeout(60_000);

/** Comes by a transfer, against what is there. */
const LARGE = Buffer.alloc(140_000, "0123456789abcdef");
/** More calls than any of these sessions makes on one side. */
const CALLS = 120;

async function lastRun(pair: SimPair, side: "alpha" | "beta"): Promise<RunRecord> {
  const runs = await pair.withEndpoint(side, (endpoint) => endpoint.runs());
  return runs.sort((a, b) => a.startedMs - b.startedMs).at(-1)!;
}

function undo(pair: SimPair, side: "alpha" | "beta", runId: string): Promise<{ problems: Problem[] }> {
  return pair.withEndpoint(side, (endpoint) => endpoint.undo(runId, never));
}

describe("planning and state", () => {
  test("[SIM-40] new content here and a new mode there: here only the mode is set, nothing is written (seed 7)", async () => {
    const pair = new SimPair();
    pair.alpha.put({ f: "one" });
    await pair.agree();
    pair.alpha.user.write("/root/f", "two two");
    pair.beta.user.chmod("/root/f", 0o600);
    const outcome = await pair.run();
    expect(changesOf(outcome)).toEqual(["alpha metadata f", "beta replace f"]);
    expect(await pair.agree()).toBe("f=two two");
  });

  test("[SIM-41] what a disk with coarse times stores is no change of anybody's (seed 1999)", async () => {
    const pair = new SimPair({ beta: { disk: { timestampNs: 1_000_000n } } });
    pair.alpha.put({ f: "same", g: "one", "d/h": "in a new directory" });
    pair.beta.put({ f: "same" });
    await pair.agree();
    pair.beta.user.chmod("/root/g", 0o600);
    pair.beta.rename("d/h", "d/i");
    await pair.agree();
    for (let round = 0; round < 2; round++) expect(changesOf(await pair.run({ deep: round === 1 }))).toEqual([]);
  });

  test("[SIM-65] a loser that its own side removes before it is put aside leaves nothing known behind (seed 6018481)", async () => {
    for (let k = 1; k <= CALLS; k++) {
      const pair = new SimPair({ session: { conflict: "beta" } });
      pair.alpha.put({ "e/a/f": "one" });
      pair.beta.put({ e: "two" });
      await pair.run({}, ({ alpha }) => atCall(alpha, k, () => pair.alpha.put({ e: undefined })));
      await pair.run();
      expect([k, problemsOf(await pair.run())]).toEqual([k, []]);
    }
  });

  test("[SIM-42] a mirror takes back a rename of beta's own, and knows afterwards what is there (seed 5126)", async () => {
    const pair = new SimPair({ session: { mode: "one-way-replica" } });
    pair.alpha.put({ "d/f": "one", "d/g": "two" });
    await pair.agree();
    pair.beta.rename("d", "b");
    expect(changesOf(await pair.run())).toEqual(["beta move b -> d"]);
    const quiet = await pair.run();
    expect([changesOf(quiet), problemsOf(quiet)]).toEqual([[], []]);
    expect(await pair.agree()).toBe("d/ d/f=one d/g=two");
  });

  test("[SIM-43] a rename whose source changes under the plan waits for the next cycle, and breaks nothing", async () => {
    for (let k = 1; k <= CALLS; k++) {
      const pair = new SimPair({ seed: k });
      pair.alpha.put({ f: "one", "d/g": "two" });
      await pair.agree();
      pair.alpha.rename("f", "h");
      pair.alpha.rename("d", "e");
      let hasActed = false;
      const { error } = await pair.run({}, ({ beta }) =>
        atCall(beta, k, () => {
          hasActed = true;
          pair.beta.user.save("/root/f", "late edit");
        }),
      );
      expect([k, error?.message]).toEqual([k, undefined]);
      if (!hasActed) break;
      await pair.run();
      expect([k, (await pair.agree()).includes("late edit")]).toEqual([k, true]);
    }
  });
});

describe("ignore rules that change under way", () => {
  test("[SIM-57] what is not agreed any more is remembered as what each side holds, also over a death (seed 201819)", async () => {
    for (let k = 1; k <= CALLS; k++) {
      const pair = new SimPair({ seed: k });
      pair.alpha.put({ "b/f": "one", g: "two" });
      await pair.agree();
      pair.beta.put({ ".synclineignore": "b", g: "two more" });
      let hasDied = false;
      await pair.run({}, ({ alpha }) => {
        alpha.fs.onEffect = (count) => {
          hasDied = count === k;
          if (hasDied) throw new SimCrash(`died at effect ${k}`);
        };
      });
      pair.alpha.put({ ".synclineignore": "none" });
      pair.beta.put({ ".synclineignore": "none" });
      await pair.run();
      expect([k, problemsOf(await pair.run())]).toEqual([k, []]);
      if (!hasDied) break;
    }
  });

  test("[SIM-44] rules that a session itself brings take effect in it, for what is there and what is not (seed 234)", async () => {
    const pair = new SimPair();
    pair.beta.put({ ".synclineignore": "*.txt", "old.txt": "beta's own" });
    await pair.run();
    expect(pair.alpha.show()).toBe(".synclineignore=*.txt");
    pair.alpha.put({ ".synclineignore": "none", "new.txt": "alpha's" });
    expect(await pair.agree()).toBe(".synclineignore=none new.txt=alpha's old.txt=beta's own");
  });

  test("[SIM-45] what is refused because of rules leaves known what stands there instead (seed 3567)", async () => {
    const pair = new SimPair({ session: { mode: "one-way-replica" } });
    pair.alpha.put({ "c/e/f": "alpha's" });
    pair.beta.put({ ".synclineignore": "c/", c: "a file" });
    expect(await pair.agree()).toBe("c/ c/e/ c/e/f=alpha's");
  });

  test("[SIM-46] something ignored stands in the way: said so, and not tried again at once (seed 1857)", async () => {
    const pair = new SimPair();
    pair.beta.put({ ".synclineignore": "c/", "c/own": "beta's" });
    await pair.run();
    pair.alpha.put({ c: "a file" });
    const outcome = await pair.run();
    expect(problemsOf(outcome)).toMatchObject([{ path: "c", side: "beta", code: "EEXIST", transient: false }]);
    expect(pair.beta.read("c/own")).toBe("beta's");
  });

  test("[SIM-92] a large file that is ignored where it would go is refused before its bytes come (seeds 600044499, 700007695)", async () => {
    const stories: Record<string, (pair: SimPair) => Promise<void>> = {
      // Beta cannot remember that c/f is ignored: a file stands where its directory would be.
      "below a directory whose place is taken": async (pair) => {
        pair.alpha.put({ c: "a file" });
        await pair.agree();
        pair.alpha.put({ ".synclineignore": "none", c: undefined, "c/f": LARGE.toString() });
        pair.beta.put({ ".synclineignore": "c/" });
      },
      // What was agreed once is not forgotten for an undo.
      "taken back with the rules": async (pair) => {
        pair.alpha.put({ ".synclineignore": "b" });
        await pair.agree();
        pair.alpha.put({ ".synclineignore": "c/", b: LARGE.toString() });
        const { summary } = await pair.run();
        expect((await undo(pair, "beta", summary!.runId)).problems).toEqual([]);
      },
    };
    for (const [what, story] of Object.entries(stories)) {
      const pair = new SimPair({ session: { mode: "one-way-safe" } });
      await story(pair);
      await pair.run();
      const writes: number[] = [];
      const rest = await pair.run({}, ({ beta }) => {
        beta.fs.onEffect = () => writes.push(1);
      });
      expect([what, changesOf(rest), problemsOf(rest), rest.summary?.bytes.literal]).toEqual([what, [], [], 0]);
      expect([what, writes.length]).toEqual([what, 0]);
      pair.alpha.put({ ".synclineignore": "none" });
      pair.beta.put({ ".synclineignore": "none" });
      await pair.run();
      expect([what, await pair.agree()]).toEqual([what, pair.alpha.show()]);
    }
  });

  test("[SIM-92] so is one that would be staged before it is there", async () => {
    const pair = new SimPair();
    pair.beta.put({ ".synclineignore": "b" });
    await pair.agree();
    const result = await pair.withEndpoint("beta", async (endpoint) => {
      const [source, destination] = memoryChannelPair();
      const brought = endpoint.early!.bring(destination, "b", LARGE.length, never);
      // Nothing is asked for.
      expect(await source.receive()).toBeUndefined();
      source.end();
      return brought;
    });
    expect(result).toMatchObject({ path: "b", problem: { code: "IGNORED" }, literalBytes: 0 });
  });

  test("[SIM-61] a file comes where the directory that was there before it is ignored on the other side (seed 5018952)", async () => {
    for (const goneFor of ["no session", "a session"]) {
      const pair = new SimPair();
      pair.beta.put({ ".synclineignore": "c/" });
      pair.alpha.put({ "c/own/f": "alpha's" });
      await pair.run();
      expect([goneFor, pair.beta.show()]).toEqual([goneFor, ".synclineignore=c/"]);
      pair.alpha.put({ c: undefined });
      if (goneFor === "a session") await pair.run();
      pair.alpha.put({ c: "a file" });
      expect([goneFor, await pair.agree()]).toEqual([goneFor, ".synclineignore=c/ c=a file"]);
    }
  });

  test("[SIM-62] a flipped bit in an ignore file is reported, and shows the session nothing (seed 1713973)", async () => {
    for (const deep of [false, true]) {
      const pair = new SimPair({ session: { mode: "one-way-replica" } });
      pair.alpha.put({ ".synclineignore": "e", "c/f": "one" });
      pair.beta.put({ ".synclineignore": "e", e: "beta's own", "c/e": "also" });
      await pair.run();
      await pair.run({ deep: true });
      // Written a moment ago it may be an edit; later it would be healed.
      pair.beta.disk.flipBit("/root/.synclineignore", 0);
      const outcome = await pair.run({ deep });
      expect(changesOf(outcome)).toEqual([]);
      expect(problemsOf(outcome)).toMatchObject([
        { path: "", side: "beta", code: "RULES" },
        { path: ".synclineignore", side: "beta", code: "SUSPECT" },
      ]);
      // Written anew it is a rule again.
      pair.beta.put({ ".synclineignore": "e" });
      pair.alpha.put({ "c/f": "two" });
      expect(problemsOf(await pair.run({ deep }))).toEqual([]);
      expect(pair.beta.show()).toBe(".synclineignore=e c/ c/e=also c/f=two e=beta's own");
    }
  });

  test("[SIM-64] a file comes once the directory in its place has gone that came to be ignored there (seed 1801259)", async () => {
    for (const wasAgreed of [false, true]) {
      const pair = new SimPair();
      pair.beta.put({ "c/f": "beta's" });
      if (wasAgreed) {
        await pair.agree();
        pair.alpha.remove("c");
      }
      pair.alpha.put({ c: "a file" });
      if (!wasAgreed) expect(conflictsOf(await pair.run())).toEqual(["c"]);
      pair.beta.put({ ".synclineignore": "c/" });
      await pair.run();
      const outcome = await pair.run();
      expect(problemsOf(outcome)).toMatchObject([{ path: "c", side: "beta", code: "EEXIST", transient: false }]);
      expect(pair.beta.read("c/f")).toBe("beta's");
      pair.beta.remove("c");
      expect([wasAgreed, await pair.agree()]).toEqual([wasAgreed, ".synclineignore=c/ c=a file"]);
    }
  });

  test("[SIM-66] a directory goes that went with what came to be ignored in it (seed 9104172)", async () => {
    for (const alphaHasOwn of [false, true]) {
      const pair = new SimPair();
      pair.alpha.put({ ".synclineignore": "b" });
      if (alphaHasOwn) pair.alpha.put({ "a/b/f": "alpha's" });
      pair.beta.put({ "a/f": "one", "a/b/f": "beta's" });
      await pair.run();
      await pair.run();
      expect(pair.alpha.read("a/f")).toBe("one");
      pair.beta.remove("a");
      const problems = problemsOf(await pair.run());
      if (alphaHasOwn) {
        expect(problems).toMatchObject([{ path: "a", side: "alpha", code: "ENOTEMPTY" }]);
        expect(pair.alpha.read("a/b/f")).toBe("alpha's");
        pair.alpha.remove("a/b");
      }
      expect([alphaHasOwn, await pair.agree()]).toEqual([alphaHasOwn, ".synclineignore=b"]);
    }
  });

  test("[SIM-70] what was in a directory that was ignored, unheard, and came back as a file is gone (life 40000131 of three)", async () => {
    let broken = 0;
    for (let k = 1; k <= 10; k++) {
      const pair = new SimPair();
      pair.beta.put({ "b/f": "one" });
      await pair.agree();
      pair.alpha.remove("b");
      pair.alpha.put({ b: "a file", ".synclineignore": "b" });
      // Alpha has told that the directory is ignored, and the controller ends before it remembers.
      const { error } = await pair.run({}, ({ beta }) => {
        let reads = 0;
        beta.fs.faults = (call) => (call === "openRead" && ++reads === k ? "EIO" : undefined);
      });
      if (error !== undefined) broken++;
      pair.alpha.remove(".synclineignore");
      // Once it is heard nothing is agreed any more, and what was in the directory is kept beside.
      expect([k, (await pair.agree({ conflict: "alpha" })).split(" ")[0]]).toEqual([k, "b=a"]);
    }
    expect(broken).toBeGreaterThan(0);
  });
});

describe("edits at the worst moment", () => {
  test("[SIM-63] an edit of what was in flight is seen, also with the same size and time (seed 1725055)", async () => {
    let edits = 0;
    for (const power of [false, true]) {
      for (let k = 1; k <= CALLS; k++) {
        const pair = new SimPair({ seed: k });
        pair.alpha.put({ f: "one1", "d/g": "two2" });
        let hasDied = false;
        await pair.run({}, ({ beta }) => {
          beta.fs.onEffect = (count) => {
            hasDied = count === k;
            if (hasDied) throw new SimCrash(`died at effect ${k}`);
          };
        });
        if (!hasDied) break;
        for (const path of ["f", "d/g"]) {
          const at = `/root/${path}`;
          if (!pair.beta.user.exists(at)) continue;
          const { mtimeNs } = pair.beta.disk.inodeAt(at);
          pair.beta.user.patch(at, "late", 0);
          pair.beta.user.setMtime(at, mtimeNs);
          edits++;
        }
        if (power) pair.beta.powerLoss(new SimRandom(k));
        const isDifferent = conflictsOf(await pair.run()).length > 0;
        expect([power, k, isDifferent || pair.alpha.show() === pair.beta.show()]).toEqual([power, k, true]);
      }
    }
    expect(edits).toBeGreaterThan(0);
  });

  test("[SIM-67] an edit that only the reading saw, and that its side takes back, is taken back on the other too (seed 6009014)", async () => {
    for (const size of [12, 150_000]) {
      // Of one size, so that the scan hashes what it finds.
      const [first, second, edit] = ["1", "2", "E"].map((letter) => letter.repeat(size)) as [string, string, string];
      let arrived = 0;
      for (let k = 1; k <= CALLS; k++) {
        const pair = new SimPair({ seed: k });
        pair.alpha.put({ f: first });
        await pair.agree();
        pair.alpha.put({ f: second });
        const { mtimeNs } = pair.alpha.disk.inodeAt("/root/f");
        let hasActed = false;
        await pair.run({}, ({ alpha }) =>
          atCall(alpha, k, () => {
            hasActed = true;
            pair.alpha.put({ f: edit });
          }),
        );
        if (!hasActed) break;
        if (pair.beta.read("f") === edit) arrived++;
        pair.alpha.user.save("/root/f", second);
        pair.alpha.user.setMtime("/root/f", mtimeNs);
        expect([size, k, (await pair.agree()) === `f=${second}`]).toEqual([size, k, true]);
      }
      expect(arrived).toBeGreaterThan(0);
    }
  });

  test("[SIM-47] an edit right after a file was placed does not pass for what was placed (seed 698)", async () => {
    for (const how of ["write", "save"] as const) {
      for (let k = 1; k <= CALLS; k++) {
        const pair = new SimPair({ seed: k });
        pair.alpha.put({ f: "one1" });
        await pair.agree();
        pair.alpha.put({ f: "two2", g: "new1" });
        let hasActed = false;
        await pair.run({}, ({ beta }) =>
          atCall(beta, k, () => {
            hasActed = true;
            pair.beta.user[how]("/root/f", "late");
            pair.beta.user[how]("/root/g", "late");
          }),
        );
        if (!hasActed) break;
        const conflicts = conflictsOf(await pair.run());
        if (conflicts.length === 0) {
          expect([how, k, pair.alpha.show()]).toEqual([how, k, pair.beta.show()]);
          const times = [pair.alpha, pair.beta].map(({ disk }) => ["f", "g"].map((name) => disk.inodeAt(`/root/${name}`).mtimeNs));
          expect([how, k, times[0]]).toEqual([how, k, times[1]]);
        }
        expect([how, k, pair.beta.contents().visible.has("late")]).toEqual([how, k, true]);
      }
    }
  });

  test("[SIM-48] an edit between the check and the setting of a time is not hidden by that time", async () => {
    for (let k = 1; k <= CALLS; k++) {
      const pair = new SimPair({ seed: k });
      pair.alpha.put({ f: "one1" });
      await pair.agree();
      pair.alpha.user.setMtime("/root/f", 1_700_000_000_000_000_000n);
      await pair.run({}, ({ beta }) => atCall(beta, k, () => pair.beta.user.write("/root/f", "late")));
      if (pair.beta.read("f") === "late") expect([k, await pair.agree()]).toEqual([k, "f=late"]);
    }
  });
});

describe("an edit that no look can tell", () => {
  for (const [what, exchange] of [["removes", true], ["replaces", true], ["replaces", false]] as const) {
    const how = exchange ? "swapping" : "linking";
    test(`[SIM-60] same size and time, right before the call that ${what} it: in the trash, and undo has it (${how}) (seed 5021849)`, async () => {
      const pair = new SimPair({ disk: { exchange } });
      pair.alpha.put({ f: "one", g: "stays" });
      await pair.agree();
      if (what === "removes") pair.alpha.remove("f");
      else pair.alpha.put({ f: "another" });
      const { mtimeNs } = pair.beta.disk.inodeAt("/root/f");
      let edits = 0;
      await pair.run({}, ({ beta }) => {
        beta.fs.interleave = (call) => {
          if (edits > 0 || call !== (what === "removes" ? "rename" : exchange ? "exchange" : "link")) return;
          edits++;
          pair.beta.host.user.patch("/root/f", "ONE", 0);
          pair.beta.host.user.setMtime("/root/f", mtimeNs);
        };
      });
      expect([edits, pair.beta.show()]).toEqual([1, pair.alpha.show()]);
      const { runId } = await lastRun(pair, "beta");
      expect((await undo(pair, "beta", runId)).problems).toEqual([]);
      expect(pair.beta.show()).toBe("f=ONE g=stays");
      expect(await pair.agree()).toBe("f=ONE g=stays");
    });
  }
});

describe("an edit that keeps size and time, at any call of the session", () => {
  /** The calls of beta, each with the one before, at which such an edit of a path is neither brought nor in conflict. */
  async function unseenAt(path: string, exchange: boolean, bring: (pair: SimPair) => void): Promise<string[]> {
    const at = `/root/${path}`;
    const unseen: string[] = [];
    for (let k = 1, last = 1; k <= last; k++) {
      const pair = new SimPair({ seed: k, disk: { exchange } });
      pair.alpha.put({ f: "one", g: "stays" });
      await pair.agree();
      bring(pair);
      let calls = "";
      await pair.run({}, ({ beta }) => {
        let before = "";
        atEachCall(beta, (call, count) => {
          if (count === k && pair.beta.user.exists(at) && pair.beta.disk.inodeAt(at).kind === "file") {
            calls = `${before} ${call}`;
            const { mtimeNs } = pair.beta.disk.inodeAt(at);
            pair.beta.user.patch(at, "EDI", 0);
            pair.beta.user.setMtime(at, mtimeNs);
          }
          before = call;
          last = Math.max(last, count);
        });
      });
      const isConflict = conflictsOf(await pair.run()).length > 0;
      const [alpha, beta] = [pair.alpha.contents().visible.has("EDI"), pair.beta.contents().visible.has("EDI")];
      if (calls !== "" && !(beta && (alpha || isConflict))) unseen.push(calls);
    }
    return unseen;
  }

  const swapped = ["stat exchange", "exchange stat"];
  const linked = ["stat link", "link stat", "stat rename", "rename stat"];
  const cases: [what: string, path: string, how: (pair: SimPair) => void, unseen: string[], withoutSwap?: string[]][] = [
    ["replaced", "f", (pair) => pair.alpha.put({ f: "two" }), swapped, linked],
    ["replaced by a directory", "f", (pair) => pair.alpha.put({ f: undefined, "f/h": "" }), ["stat exchange"], ["stat rename"]],
    ["created", "h", (pair) => pair.alpha.put({ h: "new" }), ["rename stat"]],
    ["moved", "f", (pair) => pair.alpha.rename("f", "h"), ["stat rename"]],
    ["moved, at its new name", "h", (pair) => pair.alpha.rename("f", "h"), ["rename stat"]],
    ["removed", "f", (pair) => pair.alpha.remove("f"), ["stat rename"]],
    ["given a mode", "f", (pair) => pair.alpha.user.chmod("/root/f", 0o600), ["fstat chmod", "chmod fstat"]],
    ["given a time", "f", (pair) => pair.alpha.user.setMtime("/root/f", 1_600_000_000_000_000_000n), []],
  ];
  for (const [what, path, how, unseen, withoutSwap = unseen] of cases) {
    test(`[SIM-75] of a file that is ${what}: unseen only where the session moves its ctime (seed 110020091)`, async () => {
      expect(await unseenAt(path, true, how)).toEqual(unseen);
      expect(await unseenAt(path, false, how)).toEqual(withoutSwap);
    });
  }
});

describe("power loss and refusals", () => {
  test("[SIM-68] where names cannot be swapped a save is kept at every moment but that of the rename itself (seed 20012038)", async () => {
    const lostAt: string[] = [];
    for (let k = 1; k <= CALLS; k++) {
      const pair = new SimPair({ seed: k, disk: { exchange: false } });
      pair.alpha.put({ f: "one" });
      await pair.agree();
      pair.alpha.put({ f: "two" });
      let at = "";
      await pair.run({}, ({ beta }) =>
        atCall(beta, k, (call) => {
          at = call;
          pair.beta.user.save("/root/f", "late");
        }),
      );
      if (at === "") break;
      if (!pair.beta.contents().all.has("late")) lostAt.push(at);
    }
    expect(lostAt).toEqual(["rename"]);
  });

  test("[SIM-49] where names cannot be swapped the old file is safe in the trash before it is replaced (seed 1804)", async () => {
    for (let seed = 1; seed <= 150; seed++) {
      const pair = new SimPair({ seed, disk: { exchange: false } });
      pair.beta.put({ f: "beta's own" });
      pair.alpha.put({ f: "alpha's" });
      pair.beta.disk.settle();
      await pair.run({ mode: "one-way-replica" }, ({ beta }) => {
        beta.fs.onEffect = (_, call) => {
          if (call === "sync" && pair.beta.read("f") === "alpha's") throw new SimCrash("the power goes");
        };
      });
      pair.beta.powerLoss(new SimRandom(seed));
      await pair.run({ mode: "one-way-replica" });
      expect([seed, pair.beta.contents().all.has("beta's own")]).toEqual([seed, true]);
    }
  });

  test("[SIM-80] what a directory held is safe in the trash before the directory goes (life 151000214 of three)", async () => {
    for (const gone of ["removed", "replaced"]) {
      for (let k = 1; k <= CALLS; k++) {
        const pair = new SimPair({ seed: k, session: { mode: "one-way-replica" } });
        pair.alpha.put({ f: "stays", g: "stays", ...(gone === "replaced" && { d: "a file" }) });
        pair.beta.put({ f: "stays", g: "stays", "d/own": "beta's own", "d/e/own": "and more" });
        pair.beta.disk.settle();
        const { error } = await pair.run({}, ({ beta }) => {
          beta.fs.onEffect = (count) => {
            if (count === k) throw new SimCrash("the power goes");
          };
        });
        if (error === undefined) break;
        pair.beta.powerLoss(new SimRandom(k));
        await pair.run();
        const { all } = pair.beta.contents();
        expect([gone, k, all.has("beta's own"), all.has("and more")]).toEqual([gone, k, true, true]);
      }
    }
  });

  test("[SIM-50] what broke off in one group is still sorted out after a later one of the same run (seed 2308)", async () => {
    const pair = new SimPair();
    pair.alpha.put({ f: "one", g: "two" });
    await pair.agree();
    pair.alpha.put({ f: "one more", g: "two more" });
    let refused = 0;
    await pair.run({}, ({ beta }) => {
      beta.fs.faults = (call, { path }) => {
        if (call !== "rename" || !path.includes("/stage/") || refused > 0 || pair.beta.read("f") === "one") return undefined;
        refused++;
        // Makes the same run go another round.
        pair.beta.user.save("/root/g", "late edit");
        return "EIO";
      };
    });
    expect(refused).toBe(1);
    await pair.run();
    expect(pair.beta.contents().all.has("one")).toBe(true);
  });

  test("[SIM-59] a power loss takes nothing that a side has told, also where it was asked from the start again (seed 5016638)", async () => {
    for (let k = 1; ; k++) {
      const pair = new SimPair({ seed: k });
      pair.beta.put({ f: "one" });
      // From some k on beta has told everything, and nobody lived to remember it.
      const { error } = await pair.run({}, ({ alpha }) => {
        alpha.fs.onEffect = (count) => {
          if (count === k) throw new SimCrash("died");
        };
      });
      if (error === undefined) break;
      pair.beta.put({ g: "two", "d/h": "three" });
      await pair.agree();
      pair.beta.disk.settle();
      pair.beta.powerLoss(new SimRandom(k));
      pair.beta.put({ g: undefined });
      expect([k, await pair.agree()]).toEqual([k, "d/ d/h=three f=one"]);
    }
  });

  test("[SIM-81] what a source may not sync alone is not handed out before everything is synced (seed 150005978)", async () => {
    for (const refused of ["/root/d/f", "/root/d"]) {
      for (let seed = 1; seed <= 40; seed++) {
        const pair = new SimPair({ seed });
        pair.alpha.put({ "d/g": "stays" });
        await pair.agree();
        pair.alpha.disk.settle();
        pair.alpha.put({ "d/f": "new" });
        await pair.run({}, ({ alpha }) => {
          alpha.fs.faults = (call, { path }) => (call === "sync" && path === refused ? "EACCES" : undefined);
        });
        pair.alpha.powerLoss(new SimRandom(seed));
        expect([seed, await pair.agree()]).toEqual([seed, "d/ d/f=new d/g=stays"]);
      }
    }
  });

  for (const errno of ["EIO", "EACCES", "ENOSPC"]) {
    test(`[SIM-51] ${errno} at any one call of either side: nothing stays open, nothing is lost, the next session mends it`, async () => {
      for (const side of ["alpha", "beta"] as const) {
        for (let k = 1; k <= 2 * CALLS; k += 3) {
          const pair = new SimPair({ seed: k });
          pair.alpha.put({ f: "one", "d/g": "two", "d/h": "three" });
          pair.alpha.user.write("/root/large", LARGE);
          await pair.agree();
          pair.alpha.user.patch("/root/large", "LARGE", 70_000);
          pair.alpha.put({ f: "one more", "d/g": undefined, "e/new": "four" });
          pair.beta.put({ "d/h": "three more" });
          let calls = 0;
          await pair.run({}, (boots) => {
            boots[side].fs.faults = (call) => (++calls === k && call !== "close" ? errno : undefined);
          });
          expect([side, k, (await pair.agree()).slice(0, 43)]).toEqual([side, k, "d/ d/h=three more e/ e/new=four f=one more "]);
          if (calls < k) break;
        }
      }
    });
  }

  test("[SIM-52] a partial that cannot be taken up again keeps no descriptor", async () => {
    const pair = new SimPair();
    pair.alpha.user.write("/root/large", LARGE);
    await pair.run({}, ({ beta }) => {
      beta.fs.onEffect = () => {
        if (beta.fs.openPaths().some((path) => path.includes("/p-"))) throw new SimCrash("died");
      };
    });
    expect([...pair.beta.host.user.tree("/root").keys()].join(" ")).toContain("/p-");
    // Ends with an error should anything be left open.
    const outcome = await pair.run({}, ({ beta }) => {
      beta.fs.faults = (call, { path }) => (call === "unlink" && path.endsWith(".old") ? "EIO" : undefined);
    });
    expect(outcome.summary?.result).toBe("problems");
    expect(await pair.agree()).toContain("large=");
  });

  test("[SIM-52] an endpoint that is closed between push and commit, or fails to open, keeps no descriptor", async () => {
    const pair = new SimPair();
    pair.alpha.put({ f: "one" });
    await pair.agree();
    const boot = pair.beta.host.boot();
    const entry = { kind: "file", size: 3, mode: 0o644, mtimeNs: 0n, sum: undefined } as const;
    const change = { side: "beta", path: "new", old: undefined, new: entry, action: "content" } as const;
    await pair.withEndpoint(
      "beta",
      async (endpoint) => {
        await endpoint.apply("run", never).push([{ type: "change", change, bytes: Buffer.from("abc") }]);
        expect(boot.fs.openFds()).toBeGreaterThan(3);
        await endpoint.close();
        expect(boot.fs.openPaths()).toEqual([]);
      },
      boot,
    );
    for (let k = 1; k <= 40; k++) {
      const failing = pair.beta.host.boot();
      let calls = 0;
      failing.fs.faults = (call) => (++calls === k && call !== "close" ? "EIO" : undefined);
      await pair.withEndpoint("beta", async () => undefined, failing).catch(() => undefined);
      expect([k, failing.fs.openPaths()]).toEqual([k, []]);
    }
  });
});

describe("undo", () => {
  test("[SIM-53] on a disk with coarse times what a run brought is known as the run's (seed 41)", async () => {
    const pair = new SimPair({ beta: { disk: { timestampNs: 1_000_000n } } });
    pair.alpha.put({ f: "one", "d/g": "two" });
    await pair.agree();
    const { runId } = await lastRun(pair, "beta");
    expect((await undo(pair, "beta", runId)).problems).toEqual([]);
    expect(pair.beta.show()).toBe("");
  });

  test("[SIM-54] an undo that dies at any effect is completed by the next, also where steps meet at one path (seed 3331)", async () => {
    // Five effects: two directories of the trash, two renames, a sync.
    for (let k = 1; k <= 5; k++) {
      const pair = new SimPair({ seed: k, session: { conflict: "copy", preserve: PRESERVE_DEFAULT } });
      pair.alpha.user.symlink("/root/c", "elsewhere");
      pair.beta.put({ "c/c/b": "beta's" });
      await pair.run({ mode: "one-way-safe", conflict: "alpha" });
      expect(pair.beta.show()).toContain("c@elsewhere");
      const { runId } = await lastRun(pair, "beta");
      const boot = pair.beta.host.boot();
      boot.fs.onEffect = (count) => {
        if (count === k) throw new SimCrash(`died at effect ${k}`);
      };
      await pair.withEndpoint("beta", (endpoint) => endpoint.undo(runId, never), boot).catch(() => undefined);
      expect([k, (await undo(pair, "beta", runId)).problems]).toEqual([k, []]);
      expect([k, pair.beta.show()]).toEqual([k, "c/ c/c/ c/c/b=beta's"]);
    }
  });

  test("[SIM-71] what a session did before it was held and what was approved then are two runs (seed 80031383)", async () => {
    const pair = new SimPair({ session: { mode: "one-way-replica" } });
    pair.beta.put({ ".synclineignore": "b", "b/A": "beta's" });
    const before = pair.beta.show();
    const first = await pair.run();
    expect([first.summary?.result, changesOf(first)]).toEqual(["held", ["beta remove .synclineignore"]]);
    const hold = first.events.find((event) => event.type === "hold");
    const second = await pair.run({ approve: hold?.hash });
    expect([second.summary?.result, changesOf(second)]).toEqual(["same", ["beta remove b/A", "beta remove b"]]);
    expect((await undo(pair, "beta", second.summary!.runId)).problems).toEqual([]);
    expect(pair.beta.show()).toBe("b/ b/A=beta's");
    expect((await undo(pair, "beta", first.summary!.runId)).problems).toEqual([]);
    expect(pair.beta.show()).toBe(before);
  });
});
