/** As sim-regressions.test.ts: bugs that simulated lives have found, those around files whose bytes the disk changed. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { PRIVATE_DIR } from "#model/path.ts";
import { SimPair, changesOf, problemsOf } from "#testing/scenarios/sim-pair.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { type SessionResult, SimSession } from "#testing/sim-session.ts";
import { type LinkSpec, Replica } from "#testing/sim-world.ts";

// As there: a second or more on a busy machine.
setDefaultTimeout(60_000);

describe("damage", () => {
  test("[SIM-78] what a rename made known is told again by every later process, until it is written anew (seed 142018737)", async () => {
    const pair = new SimPair();
    pair.alpha.put({ f: "A0:xxxxxxxxx", g: "stays" });
    await pair.agree({ deep: true });
    pair.alpha.disk.flipBit("/root/f", 1);
    const rotten = pair.alpha.read("f");
    for (const [from, to] of [["f", "d/h"], ["d/h", "d/h"], ["d", "e"], ["e/h", "i"], ["i", "i"]] as const) {
      pair.alpha.user.mkdir("/root/d");
      if (from !== to) pair.alpha.rename(from, to);
      const [found, ...more] = problemsOf(await pair.run());
      const path = to === "e" ? "e/h" : to;
      expect([from, found, more]).toMatchObject([from, { path, side: "alpha", code: "SUSPECT" }, []]);
      expect([from, pair.alpha.read(path), pair.beta.contents().visible.has(rotten)]).toEqual([from, rotten, false]);
    }
    pair.alpha.disk.flipBit("/root/i", 1);
    expect(await pair.agree()).toBe("d/ e/ g=stays i=A0:xxxxxxxxx");
    // What is right again is not read each time.
    let reads = 0;
    await pair.run({}, ({ alpha }) => {
      alpha.fs.faults = (call, { path }) => void (reads += call === "openRead" && path === "/root/i" ? 1 : 0);
    });
    expect(reads).toBe(0);
  });

  test("[SIM-72] the very bytes that a flipped bit made, written by a person, go as any others (seed 80020960)", async () => {
    for (const side of ["alpha", "beta"] as const) {
      const pair = new SimPair();
      pair.alpha.put({ f: "A0:xxxxxxxxx" });
      await pair.agree({ deep: true });
      pair[side].disk.flipBit("/root/f", 1);
      const rotten = pair[side].read("f");
      pair.alpha.put({ g: rotten });
      for (const deep of [false, true]) {
        const found = problemsOf(await pair.run({ deep })).map(({ code, path, side: where }) => [code, path, where]);
        expect(found).toEqual(deep ? [["SUSPECT", "f", side]] : []);
        expect(pair[side === "alpha" ? "beta" : "alpha"].show()).toBe(`f=A0:xxxxxxxxx g=${rotten}`);
        expect(pair[side].show()).toBe(`f=${rotten} g=${rotten}`);
      }
    }
  });

  test("[SIM-83] a heal whose names a power loss takes back, but not the ctime it moved, makes no edit of the rot (seed 200038586)", async () => {
    const good = "A0:xxxxxxxxx";
    let suspects = 0;
    for (const exchange of [true, false]) {
      for (let k = 1; k <= 160; k++) {
        const pair = new SimPair({ seed: k, beta: { disk: { exchange } } });
        pair.alpha.put({ f: good, g: "stays" });
        await pair.agree({ deep: true });
        pair.rest();
        pair.beta.settle();
        pair.beta.disk.flipBit("/root/f", 4);
        const rotten = pair.beta.read("f");
        await pair.run({ deep: true }, ({ beta }) => {
          beta.fs.onEffect = (count) => {
            if (count === k % 40) throw new SimCrash(`the power goes at effect ${count}`);
          };
        });
        pair.beta.powerLoss(pair.random.fork("power"));
        for (const deep of [false, true]) {
          const outcome = await pair.run({ deep });
          expect([exchange, k, deep, outcome.error, pair.alpha.show()]).toEqual([exchange, k, deep, undefined, `f=${good} g=stays`]);
          const codes = problemsOf(outcome).map(({ side, path, code }) => `${side} ${path} ${code}`);
          if (codes.length > 0) expect([exchange, k, codes, pair.beta.read("f")]).toEqual([exchange, k, ["beta f SUSPECT"], rotten]);
          else if (deep) expect([exchange, k, pair.beta.read("f")]).toEqual([exchange, k, good]);
          if (deep && codes.length > 0) suspects++;
          pair.rest();
        }
      }
    }
    expect(suspects).toBeGreaterThan(0);
  });

  test("[SIM-84] a heal that dies, also by a power loss, makes no edit of the rot under any other name of the file", async () => {
    const good = "A0:xxxxxxxxx";
    for (const exchange of [true, false]) {
      for (let k = 0; k < 160; k++) {
        const session = { preserve: { ...PRESERVE_DEFAULT, hardlinks: true } };
        const pair = new SimPair({ seed: k, session, beta: { disk: { exchange } } });
        pair.alpha.put({ f: good });
        pair.alpha.user.link("/root/f", "/root/h");
        // The second run reads the ctime that the link left.
        for (let runs = 0; runs < 2; runs++) {
          await pair.agree({ deep: true });
          pair.rest();
        }
        pair.beta.settle();
        pair.beta.disk.flipBit("/root/f", 4);
        await pair.run({ deep: true }, ({ beta }) => {
          beta.fs.onEffect = (count) => {
            if (count === k % 40) throw new SimCrash(`died at effect ${count}`);
          };
        });
        if (k >= 80) pair.beta.powerLoss(pair.random.fork("power"));
        for (const deep of [false, true, true]) {
          await pair.run({ deep });
          expect([exchange, k, pair.alpha.show()]).toEqual([exchange, k, `f=${good} h=${good}`]);
          pair.rest();
        }
        if (k < 80) expect([exchange, k, pair.beta.show()]).toEqual([exchange, k, `f=${good} h=${good}`]);
      }
    }
  });

  test("[SIM-85] rotten rules are healed, and what they keep a directory for is told as before (seeds 200002236, 200003538)", async () => {
    for (const side of ["alpha", "beta"] as const) {
      const pair = new SimPair();
      pair.alpha.put({ ".synclineignore": "*.own", "d/f": "one", g: "stays" });
      await pair.agree({ deep: true });
      pair.beta.put({ "d/beta.own": "beta's own" });
      pair.alpha.remove("d");
      const told = async (): Promise<string[]> => {
        return problemsOf(await pair.run({ deep: true })).map(({ side: where, path, code }) => `${where} ${path} ${code}`);
      };
      expect(await told()).toEqual(["beta d ENOTEMPTY"]);
      pair.rest();
      pair[side].disk.flipBit("/root/.synclineignore", 3);
      for (let runs = 0; runs < 2; runs++) {
        expect([side, await told()]).toEqual([side, ["beta d ENOTEMPTY"]]);
        expect([side, pair.alpha.show()]).toEqual([side, ".synclineignore=*.own g=stays"]);
        expect([side, pair.beta.show()]).toEqual([side, ".synclineignore=*.own d/ d/beta.own=beta's own g=stays"]);
      }
    }
  });

  const good = "A0:xxxxxxxxx";
  const withLinks = { preserve: { ...PRESERVE_DEFAULT, hardlinks: true } };
  const through: [what: string, before: (pair: SimPair) => void, act: (pair: SimPair) => void][] = [
    ["gets a second name", () => undefined, (pair) => pair.alpha.user.link("/root/f", "/root/h")],
    ["came with another name in a new directory", () => undefined, (pair) => {
      pair.alpha.put({ f: undefined, "d/f": good });
      pair.alpha.user.link("/root/d/f", "/root/d/h");
    }],
    ["loses a name", (pair) => pair.alpha.user.link("/root/f", "/root/h"), (pair) => pair.alpha.remove("h")],
    ["has another name renamed", (pair) => pair.alpha.user.link("/root/f", "/root/h"), (pair) => pair.alpha.rename("h", "i")],
    ["has another name replaced", (pair) => pair.alpha.user.link("/root/f", "/root/h"), (pair) => pair.alpha.user.save("/root/h", "another")],
  ];
  for (const [what, before, act] of through) {
    for (const exchange of [true, false]) {
      test(`[SIM-86] a file that ${what} by a session is known to it under all names, so that rot is no edit (${exchange ? "swapping" : "linking"})`, async () => {
        const pair = new SimPair({ session: withLinks, disk: { exchange } });
        pair.alpha.put({ f: good, g: "stays" });
        before(pair);
        // The second run has looked at every name as it is now.
        for (let runs = 0; runs < 2; runs++) await pair.agree({ deep: true });
        act(pair);
        const shown = await pair.agree();
        pair.rest();
        const path = shown.includes("d/f") ? "d/f" : "f";
        pair.beta.disk.flipBit(`/root/${path}`, 4);
        const rotten = pair.beta.read(path);
        for (const deep of [false, true]) {
          const outcome = await pair.run({ deep });
          expect([what, deep, pair.alpha.show(), pair.alpha.contents().all.has(rotten)]).toEqual([what, deep, shown, false]);
          expect([what, deep, changesOf(outcome).filter((change) => !change.startsWith("beta heal"))]).toEqual([what, deep, []]);
        }
        expect(pair.beta.show()).toBe(shown);
      });
    }
  }

  test("[SIM-91] rot is no edit where a session gives the file a further name and another time at once (seed 600036734)", async () => {
    const pair = new SimPair({ session: withLinks });
    pair.alpha.put({ f: good });
    for (let runs = 0; runs < 2; runs++) await pair.agree({ deep: true });
    pair.beta.disk.flipBit("/root/f", 4);
    const rotten = pair.beta.read("f");
    pair.alpha.user.setMtime("/root/f", 1_800_000_000_000_000_000n);
    pair.alpha.user.link("/root/f", "/root/h");
    for (let runs = 0; runs < 3; runs++) {
      await pair.run({});
      expect([runs, pair.alpha.show(), pair.alpha.contents().all.has(rotten)]).toEqual([runs, `f=${good} h=${good}`, false]);
    }
  });

  for (const [how, restNs] of [["long ago", 3_600_000_000_000], ["a moment ago", 0]] as const) {
    test(`[LINK-18] a file that was written ${how} and rotted gets no further name, so that no other session takes the rot for an edit (seed 1800018250)`, async () => {
      const clock = new SimClock();
      const [a, b, c] = ["A", "B", "C"].map((name) => new Replica(name, clock, new SimRandom(1), {})) as [Replica, Replica, Replica];
      const base = { mode: "two-way-safe", conflict: "leave", delete: true, remote: false, ...withLinks } as const;
      const links = [{ alpha: a, beta: b, ...base }, { alpha: b, beta: c, ...base }] as const;
      const run = async (link: LinkSpec, deep = false): Promise<SessionResult> => {
        clock.spend(1_000_000_000);
        const session = new SimSession(link, clock, new SimRandom(1), { deep });
        session.start();
        return session.finish();
      };
      const shown = (replica: Replica): string[] => [...replica.host.user.tree("/root")].flatMap(([path, { kind, content }]) => {
        return kind === "file" && !path.startsWith(PRIVATE_DIR) ? [`${path}=${content}`] : [];
      });
      a.host.user.write("/root/f", good);
      for (const deep of [false, true]) for (const link of links) await run(link, deep);
      clock.spend(restNs);
      b.host.disk.flipBit("/root/f", 4);
      const rotten = b.host.user.read("/root/f");
      c.host.user.link("/root/f", "/root/g");
      for (const link of links.toReversed()) await run(link);
      const isCertain = restNs > 0;
      const all = [`f=${good}`, `g=${good}`];
      // What is certain is healed first; otherwise the name comes as a file of its own.
      expect([shown(b), shown(a), shown(c)]).toEqual([isCertain ? all : [`f=${rotten}`, `g=${good}`], all, all]);
      expect(b.host.disk.inodeAt("/root/f") === b.host.disk.inodeAt("/root/g")).toBe(isCertain);
    });
  }

  test("[SIM-88] a session that dies while it gives rotten files further names, or takes some, makes no edit of the rot", async () => {
    const rotten = new Set<string>();
    for (const exchange of [true, false]) {
      for (let k = 1; ; k++) {
        const pair = new SimPair({ seed: k, session: withLinks, disk: { exchange } });
        pair.alpha.put({ f: good, g: `${good} too` });
        pair.alpha.user.link("/root/g", "/root/i");
        for (let runs = 0; runs < 2; runs++) await pair.agree({ deep: true });
        pair.rest();
        for (const name of ["f", "g"]) {
          pair.beta.disk.flipBit(`/root/${name}`, 4);
          rotten.add(pair.beta.read(name));
        }
        pair.alpha.user.link("/root/f", "/root/d-link");
        pair.alpha.user.mkdir("/root/d");
        pair.alpha.user.link("/root/f", "/root/d/h");
        pair.alpha.remove("i");
        const shown = pair.alpha.show();
        const { error } = await pair.run({}, ({ beta }) => {
          beta.fs.onEffect = (count) => {
            if (count === k) throw new SimCrash(`died at effect ${count}`);
          };
        });
        for (const deep of [false, true, true]) {
          await pair.run({ deep });
          pair.rest();
          const found = [...pair.alpha.contents().all].filter((content) => rotten.has(content));
          expect([exchange, k, deep, pair.alpha.show(), found]).toEqual([exchange, k, deep, shown, []]);
        }
        if (error === undefined) break;
      }
    }
  });
});
