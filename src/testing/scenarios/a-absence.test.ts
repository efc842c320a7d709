/** Scenarios 1–14: absence that is no deletion. Nothing may be deleted because something could not be seen. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RealPair } from "#testing/scenarios/real-pair.ts";
import { SimPair, atCall, changesOf, codeOf, conflictsOf, problemsOf } from "#testing/scenarios/sim-pair.ts";

const TREE = { "a/f": "one", "a/g": "two", h: "three" };
const SHOWN = "a/ a/f=one a/g=two h=three";

async function synced(options: ConstructorParameters<typeof SimPair>[0] = {}): Promise<SimPair> {
  const pair = new SimPair(options);
  pair.alpha.put(TREE);
  expect(await pair.agree()).toBe(SHOWN);
  return pair;
}

describe("a root that is not there", () => {
  test("[S-1] an unmounted root leaves an empty directory: the session halts and deletes nothing", async () => {
    for (const side of ["alpha", "beta"] as const) {
      const pair = await synced();
      const other = side === "alpha" ? pair.beta : pair.alpha;
      pair[side].disk.mount("/root");
      expect(codeOf(await pair.run())).toBe("ROOT_IDENTITY");
      expect(pair[side].show()).toBe("");
      expect(other.show()).toBe(SHOWN);
      pair[side].disk.unmount("/root");
      expect(changesOf(await pair.run())).toEqual([]);
      expect(await pair.agree()).toBe(SHOWN);
    }
  });

  test("[S-2] an empty disk with a marker of its own is another root; joined anew it is filled, not followed", async () => {
    const pair = await synced();
    pair.beta.disk.mount("/root");
    await pair.withEndpoint("beta", async () => undefined);
    expect(pair.beta.user.exists("/root/.syncline/root")).toBe(true);
    expect(codeOf(await pair.run())).toBe("ROOT_IDENTITY");
    expect(pair.alpha.show()).toBe(SHOWN);
    // What a person does who means it: the pair is forgotten and begins from nothing.
    pair.alpha.loseState("session");
    expect(await pair.agree()).toBe(SHOWN);
  });

  test("[S-3] a disk that goes while it is scanned: what was seen after that is thrown away", async () => {
    let halted = 0;
    for (let k = 1; k <= 60; k++) {
      const pair = await synced();
      const outcome = await pair.run({}, (boots) => atCall(boots.alpha, k, () => pair.alpha.disk.mount("/root")));
      expect(changesOf(outcome)).toEqual([]);
      expect(pair.beta.show()).toBe(SHOWN);
      if (codeOf(outcome) === "ROOT_IDENTITY") halted++;
      if (pair.alpha.show() === "") pair.alpha.disk.unmount("/root");
      expect(await pair.agree()).toBe(SHOWN);
    }
    expect(halted).toBeGreaterThan(10);
  });

  test("[S-7] a peer that comes back with a pristine file system at the same address stops the session", async () => {
    const pair = await synced();
    pair.alpha.remove(".syncline");
    for (const path of ["a", "h"]) pair.alpha.remove(path);
    pair.alpha.loseState("root");
    expect(codeOf(await pair.run())).toBe("ROOT_IDENTITY");
    expect(pair.beta.show()).toBe(SHOWN);
  });
});

describe("a part that cannot be seen", () => {
  for (const errno of ["EACCES", "EIO", "ESTALE"]) {
    test(`[S-4] a directory that answers ${errno} is unknown: no deletes, its parent stays, the rest goes on`, async () => {
      const pair = await synced();
      pair.alpha.disk.refuse("/root/a", errno);
      pair.alpha.put({ h: "three!" });
      const outcome = await pair.run();
      expect(outcome.summary?.result).toBe("problems");
      expect(problemsOf(outcome).map(({ path, side, code }) => [path, side, code])).toContainEqual(["a", "alpha", errno]);
      expect(pair.beta.show()).toBe("a/ a/f=one a/g=two h=three!");
      // A deletion from the other side does not go through what is unknown either.
      pair.beta.remove("a");
      expect((await pair.run()).summary?.result).toBe("problems");
      pair.alpha.disk.refuse("/root/a", undefined);
      expect(await pair.agree()).toBe("h=three!");
    });
  }

  test("[S-4] a file that cannot be read is reported and keeps its last copy", async () => {
    const pair = await synced();
    pair.alpha.put({ "a/f": "changed" });
    pair.alpha.disk.refuse("/root/a/f", "EACCES");
    const outcome = await pair.run();
    expect(outcome.summary?.result).toBe("problems");
    expect(pair.beta.show()).toBe(SHOWN);
    pair.alpha.disk.refuse("/root/a/f", undefined);
    expect(await pair.agree()).toBe("a/ a/f=changed a/g=two h=three");
  });

  test("[S-6] a nested mount that comes or goes is unknown, and its mount point is never removed", async () => {
    const pair = await synced();
    pair.alpha.disk.mount("/root/a");
    const outcome = await pair.run();
    expect(outcome.summary?.result).toBe("problems");
    expect(problemsOf(outcome).some(({ path, side }) => path === "a" && side === "alpha")).toBe(true);
    expect(pair.beta.show()).toBe(SHOWN);
    pair.beta.remove("a");
    await pair.run();
    expect(pair.alpha.user.exists("/root/a")).toBe(true);
    pair.alpha.disk.unmount("/root/a");
    expect(pair.alpha.show()).toBe(SHOWN);
    expect(await pair.agree()).toBe("h=three");
  });
});

describe("what is not looked at", () => {
  test("[S-8] a new ignore rule deletes nothing, and dropping it overwrites nothing", async () => {
    const pair = await synced();
    expect((await pair.run({ ignore: ["/a"] })).summary?.changes).toBe(0);
    pair.alpha.put({ "a/f": "mine" });
    pair.beta.put({ "a/f": "yours", "a/g": undefined });
    expect((await pair.run({ ignore: ["/a"] })).summary?.changes).toBe(0);
    expect(pair.alpha.show()).toBe("a/ a/f=mine a/g=two h=three");
    const outcome = await pair.run();
    expect(conflictsOf(outcome)).toEqual(["a/f"]);
    expect(pair.alpha.show()).toBe("a/ a/f=mine a/g=two h=three");
    expect(pair.beta.show()).toBe("a/ a/f=yours a/g=two h=three");
  });

  test("[S-8] what was deleted while it was ignored comes back when the rule is dropped", async () => {
    for (const [ignore, gone] of [[["h"], "h"], [["/a"], "a"]] as const) {
      const pair = await synced();
      await pair.run({ ignore });
      pair.alpha.remove(gone);
      expect((await pair.run({ ignore })).summary?.changes).toBe(0);
      expect(await pair.agree()).toBe(SHOWN);
    }
  });

  test("[S-8] a rule in an ignore file takes effect on both sides without a delete", async () => {
    for (const rule of ["f\n", "/a\n"]) {
      const pair = await synced();
      pair.alpha.put({ ".synclineignore": rule, "a/f": "mine" });
      expect((await pair.run()).summary?.changes).toBe(1);
      pair.beta.put({ "a/f": undefined });
      expect(changesOf(await pair.run())).toEqual([]);
      expect(pair.alpha.show()).toContain("a/f=mine");
      pair.alpha.remove(".synclineignore");
      await pair.run();
      expect(await pair.agree()).toBe("a/ a/f=mine a/g=two h=three");
    }
  });

  test("[S-8] what one side alone ignores stays on the other, and is not sent again and again", async () => {
    // One way only, so that the rule stays where it is.
    const pair = new SimPair({ session: { mode: "one-way-safe" } });
    pair.alpha.put({ "n.tmp": "new" });
    pair.beta.put({ ".synclineignore": "*.tmp\n" });
    const first = await pair.run();
    expect(first.summary?.result).toBe("same");
    const second = await pair.run();
    expect(changesOf(second)).toEqual([]);
    expect(second.summary?.bytes.literal).toBe(0);
    expect(pair.alpha.show()).toContain("n.tmp=new");
    expect(pair.beta.show()).not.toContain("n.tmp");
  });

  test("[S-8] an ignore file that cannot be read makes its directory unknown", async () => {
    const pair = await synced();
    pair.alpha.put({ "a/.synclineignore": "*.tmp\n" });
    await pair.agree();
    pair.alpha.disk.refuse("/root/a/.synclineignore", "EIO");
    pair.alpha.put({ "a/x.tmp": "private", "a/f": undefined });
    expect((await pair.run()).summary?.result).toBe("problems");
    expect(pair.beta.show()).not.toContain("x.tmp");
    expect(pair.beta.show()).toContain("a/f=one");
  });

  test("[S-9] a directory that is deleted on one side keeps what the other side ignores in it", async () => {
    const pair = new SimPair({ session: { ignore: ["*.o"] } });
    pair.alpha.put({ "d/f": "one", "d/sub/g": "two" });
    pair.beta.put({ "x/": "" });
    await pair.agree();
    pair.beta.put({ "d/sub/g.o": "built here" });
    pair.alpha.remove("d");
    const outcome = await pair.run();
    expect(pair.beta.show()).toBe("d/ d/sub/ d/sub/g.o=built here x/");
    expect(pair.alpha.show()).toBe("x/");
    expect(problemsOf(outcome)).toMatchObject([{ path: "d", side: "beta", code: "ENOTEMPTY", transient: false }]);
    expect(problemsOf(outcome)[0]!.message).toContain(": d/sub/g.o;");
    pair.beta.put({ "d/sub/g.o": undefined });
    expect(await pair.agree()).toBe("x/");
  });
});

describe("memory that was lost", () => {
  test("[S-10] without its index a side deletes nothing and overwrites nothing", async () => {
    for (const side of ["alpha", "beta"] as const) {
      const pair = await synced();
      const [mine, other] = side === "alpha" ? [pair.alpha, pair.beta] : [pair.beta, pair.alpha];
      mine.loseState("root");
      other.put({ "a/f": "newer", h: undefined });
      const outcome = await pair.run();
      expect(conflictsOf(outcome)).toEqual(["a/f"]);
      expect(mine.show()).toBe(SHOWN);
      expect(other.show()).toBe("a/ a/f=newer a/g=two h=three");
    }
  });

  test("[S-10] without the session's own state both trees are compared whole", async () => {
    const pair = await synced();
    pair.alpha.loseState("session");
    pair.alpha.put({ h: undefined });
    pair.beta.put({ "a/f": "newer" });
    const outcome = await pair.run();
    expect(conflictsOf(outcome)).toEqual(["a/f"]);
    expect(pair.alpha.show()).toBe(SHOWN);
  });

  test("[S-10] a damaged state file is set aside and costs nothing but time", async () => {
    using pair = new RealPair();
    writeFileSync(join(pair.roots.alpha, "f"), "one");
    expect((await pair.run()).summary?.result).toBe("same");
    rmSync(pair.stateDir("beta"), { recursive: true });
    rmSync(join(pair.roots.alpha, "f"));
    expect((await pair.run()).summary?.result).toBe("same");
    expect(readFileSync(join(pair.roots.alpha, "f"), "utf8")).toBe("one");
  });

  for (const side of ["alpha", "beta"] as const) {
    test(`[S-11] ${side} restored from a backup, state included: its files are old, not new`, async () => {
      using pair = new RealPair();
      const at = (name: string, path: string): string => join(pair.roots[name as "alpha"], path);
      const other = side === "alpha" ? "beta" : "alpha";
      for (const name of ["f", "g", "k"]) writeFileSync(at("alpha", name), `${name} 1`);
      expect((await pair.run()).summary?.result).toBe("same");
      const restore = pair.backUp(side);
      writeFileSync(at(other, "f"), "f 2");
      expect((await pair.run()).summary?.result).toBe("same");
      rmSync(at(other, "g"));
      writeFileSync(at(other, "n"), "new");
      expect((await pair.run()).summary?.result).toBe("same");
      restore();
      expect(readFileSync(at(side, "f"), "utf8")).toBe("f 1");
      const outcome = await pair.run();
      expect(outcome.error).toBeUndefined();
      expect(readFileSync(at(other, "f"), "utf8")).toBe("f 2");
      expect(readFileSync(at(other, "n"), "utf8")).toBe("new");
      expect(readFileSync(at(other, "k"), "utf8")).toBe("k 1");
    });
  }
});

describe("what was ignored, and gone when the rules changed", () => {
  for (const how of ["a dry run", "a held plan"] as const) {
    test(`[SIM-95] agreed on, ignored as ${how} saw it: it comes back, and nobody waits for it (seed 1030016926)`, async () => {
      const pair = new SimPair();
      pair.alpha.put({ "e/f": "one", g: "two" });
      await pair.agree();
      pair.alpha.put({ ".synclineignore": "e", ...(how === "a held plan" && { g: undefined }) });
      const { summary } = await pair.run(how === "a dry run" ? { dryRun: true } : { brake: { count: 0, percent: undefined } });
      expect(summary?.result).toBe(how === "a dry run" ? "dry-run" : "held");
      pair.alpha.put({ ".synclineignore": undefined, e: undefined, g: "two" });
      expect(await pair.agree()).toBe("e/ e/f=one g=two");
    });
  }
});

describe("what a side that is asked for everything does not tell", () => {
  for (const mode of ["two-way-safe", "one-way-replica"] as const) {
    test(`[SIM-96] after a first copy that was cut off, ${mode}: what came to be ignored stays, what is gone goes`, async () => {
      let copied = 0;
      for (let k = 1; ; k++) {
        const pair = new SimPair({ seed: k, session: { mode } });
        pair.alpha.put({ "e/f": "one", g: "stays", gone: "goes" });
        let hasDied = false;
        await pair.run({}, ({ beta }) => atCall(beta, k, () => {
          hasDied = true;
          beta.fs.kill();
        }));
        if (!hasDied) break;
        const isThere = pair.beta.host.user.exists("/root/e/f");
        if (isThere) copied++;
        pair.alpha.put({ ".synclineignore": "e", gone: undefined });
        for (let again = 0; again < 2; again++) {
          await pair.run();
          const [isStill, isGone] = ["e/f", "gone"].map((path) => pair.beta.host.user.exists(`/root/${path}`));
          expect([k, pair.alpha.read("e/f"), isStill, isGone]).toEqual([k, "one", isThere, false]);
        }
      }
      expect(copied).toBeGreaterThan(0);
    });
  }
});

describe("brake and overlap", () => {
  test("[S-13] one side emptied: the plan is held, and an approval runs exactly that plan", async () => {
    const pair = await synced();
    for (const path of ["a", "h"]) pair.alpha.remove(path);
    const held = await pair.run();
    expect(held.summary?.result).toBe("held");
    expect(pair.beta.show()).toBe(SHOWN);
    const hold = held.events.find((event) => event.type === "hold");
    if (hold?.type !== "hold") throw new Error("no hold");
    expect(hold.reason).toContain("beta");
    expect((await pair.run({ approve: "000000000000" })).summary?.result).toBe("held");
    // Another plan than the one that was looked at is held again.
    pair.alpha.put({ "a/f": "one" });
    pair.alpha.put({ a: undefined, n: "new" });
    expect((await pair.run({ approve: hold.hash })).summary?.result).toBe("held");
    expect(pair.beta.show()).toContain("a/f=one");
    const second = (await pair.run()).events.find((event) => event.type === "hold");
    if (second?.type !== "hold") throw new Error("no second hold");
    expect(second.hash).not.toBe(hold.hash);
    expect((await pair.run({ approve: second.hash })).summary?.result).toBe("same");
    expect(await pair.agree()).toBe("n=new");
  });

  test("[S-13] more than half of a large side is held; a limit of one's own counts instead", async () => {
    const pair = new SimPair();
    for (let at = 0; at < 50; at++) pair.alpha.put({ [`f${at}`]: `${at}` });
    await pair.agree();
    for (let at = 0; at < 30; at++) pair.alpha.remove(`f${at}`);
    expect((await pair.run()).summary?.result).toBe("held");
    expect((await pair.run({ brake: { count: 29, percent: undefined } })).summary?.result).toBe("held");
    expect((await pair.run({ brake: { count: 30, percent: undefined } })).summary?.result).toBe("same");
  });

  test("[S-14] the same root twice, or one inside the other, is refused", async () => {
    using pair = new RealPair();
    mkdirSync(join(pair.roots.alpha, "sub"));
    symlinkSync(pair.roots.alpha, join(pair.dir, "again"));
    const beta = pair.roots.beta;
    const { alpha } = pair.roots;
    for (const path of [alpha, join(alpha, "sub"), pair.dir, join(pair.dir, "again"), join(pair.dir, "again", "sub")]) {
      pair.roots.beta = path;
      const outcome = await pair.run();
      expect(codeOf(outcome)).toBe("ROOT_OVERLAP");
    }
    pair.roots.beta = beta;
    expect(readdirSync(beta)).toEqual([]);
    expect((await pair.run()).error).toBeUndefined();
  });
});
