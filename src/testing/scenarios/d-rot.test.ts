/** Scenario 38: damaged files get their bytes back, and what may be an edit waits for a person. */
import { describe, expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { Mode, Side } from "#model/plan.ts";
import type { SessionOptions } from "#sync/session/events.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { type Boots, type Outcome, SimPair, type SimPairOptions, changesOf, problemsOf } from "#testing/scenarios/sim-pair.ts";

const SIDES: readonly Side[] = ["alpha", "beta"];
const MODES: readonly Mode[] = ["two-way-safe", "two-way-resolved", "one-way-safe", "one-way-replica"];
const CONTENTS = { small: "precious ".repeat(110), large: "precious ".repeat(22_000) };
const DEEP: Partial<SessionOptions> = { deep: true };

const other = (side: Side): Side => (side === "alpha" ? "beta" : "alpha");
const mayWrite = (mode: Mode, side: Side): boolean => side === "beta" || !mode.startsWith("one-way");

/** A pair that agreed long ago on `f` and something beside it. */
async function agreed(content: string, options: SimPairOptions = {}): Promise<SimPair> {
  const pair = new SimPair(options);
  pair.alpha.put({ "d/f": content, g: "other" });
  pair.alpha.user.chmod("/root/d/f", 0o640);
  await pair.agree();
  pair.rest();
  return pair;
}

/** Flips a bit of `d/f`; returns the bytes that are there now. */
function rot(pair: SimPair, side: Side, position = 3): string {
  pair[side].disk.flipBit("/root/d/f", position);
  return pair[side].read("d/f");
}

const codesOf = (outcome: Outcome): string[] => problemsOf(outcome).map(({ side, path, code }) => `${side} ${path} ${code}`);

describe("heals", () => {
  for (const mode of MODES) {
    for (const side of SIDES) {
      for (const [size, good] of Object.entries(CONTENTS)) {
        const what = mayWrite(mode, side) ? "gets its bytes back, and only they change" : "is reported, for the mode never writes there";
        test(`[HEAL-1] [S-38] ${mode}: a ${size} file that rotted on ${side} ${what}`, async () => {
          const pair = await agreed(good, { session: { mode } });
          const rotten = rot(pair, side);
          const before = { ...pair[side].disk.inodeAt("/root/d/f") };
          const outcome = await pair.run(DEEP);
          expect(pair[other(side)].contents().all.has(rotten)).toBe(false);
          if (!mayWrite(mode, side)) {
            expect(codesOf(outcome)).toEqual([`${side} d/f CORRUPT`]);
            expect(problemsOf(outcome)[0]!.message).toContain("never writes to alpha");
            expect(outcome.summary).toMatchObject({ changes: 0, healed: 0, result: "problems" });
            return;
          }
          expect(changesOf(outcome)).toEqual([`${side} heal d/f`]);
          expect(outcome.summary).toMatchObject({ changes: 1, healed: 1, problems: 0, result: "same" });
          expect(codesOf(outcome)).toEqual([]);
          expect(pair[side].read("d/f")).toBe(good);
          const { mode: bits, mtimeNs } = pair[side].disk.inodeAt("/root/d/f");
          expect([bits, mtimeNs]).toEqual([before.mode, before.mtimeNs]);
          // The damaged file is in the trash, as everything that is replaced.
          expect(pair[side].contents().all.has(rotten)).toBe(true);
          for (const deep of [false, true]) expect(await pair.run({ deep })).toMatchObject({ summary: { changes: 0, problems: 0 } });
        });
      }
    }
  }

  test("[HEAL-2] a dry run shows what it would heal, and heals nothing", async () => {
    const pair = await agreed("precious");
    const rotten = rot(pair, "beta");
    const outcome = await pair.run({ ...DEEP, dryRun: true });
    const plan = outcome.events.find((event) => event.type === "plan");
    expect(plan?.plan.changes).toMatchObject([{ side: "beta", path: "d/f", action: "content", heals: true }]);
    expect(plan?.plan.counts.beta.replaces).toBe(1);
    expect(outcome.summary).toMatchObject({ result: "dry-run", planned: 1, changes: 0, healed: 0, problems: 0 });
    expect(pair.beta.read("d/f")).toBe(rotten);
  });

  test("[HEAL-3] nothing heals from a side that is damaged too, or that holds something else by now", async () => {
    const spoil: Record<string, (pair: SimPair) => void> = {
      "damaged too": (pair) => void rot(pair, "beta", 5),
      edited: (pair) => pair.beta.put({ "d/f": "edited" }),
      "edited under the old size and time": (pair) => {
        const { mtimeNs } = pair.beta.disk.inodeAt("/root/d/f");
        pair.beta.put({ "d/f": "PRECIOUS" });
        pair.beta.user.setMtime("/root/d/f", mtimeNs);
      },
      removed: (pair) => pair.beta.remove("d/f"),
      unreadable: () => undefined,
    };
    for (const [how, act] of Object.entries(spoil)) {
      const pair = await agreed("precious");
      const rotten = rot(pair, "alpha");
      act(pair);
      for (let runs = 0; runs < 2; runs++) {
        const outcome = await pair.run(DEEP, ({ beta }) => {
          if (how === "unreadable") beta.fs.faults = (call, { path }) => (call === "read" && path.endsWith("/f") ? "EIO" : undefined);
        });
        expect([how, outcome.summary?.healed]).toEqual([how, 0]);
        expect(codesOf(outcome)).toContain("alpha d/f CORRUPT");
        expect(pair.alpha.read("d/f")).toBe(rotten);
        expect(pair.beta.contents().all.has(rotten)).toBe(false);
      }
    }
  });

  test("[HEAL-4] what changes on the other side between the plan and the reading does not heal", async () => {
    for (const good of Object.values(CONTENTS)) {
      const pair = await agreed(good);
      const rotten = rot(pair, "alpha");
      let planned = 0;
      const count = ({ beta }: Boots): void => {
        beta.fs.interleave = (call) => void (call === "openRead" && planned++);
      };
      await pair.run({ ...DEEP, dryRun: true }, count);
      let reads = 0;
      const outcome = await pair.run(DEEP, ({ beta }) => {
        beta.fs.interleave = (call) => {
          if (call === "openRead" && ++reads === planned + 1) pair.beta.put({ "d/f": good.toUpperCase() });
        };
      });
      expect(outcome.events.some((event) => event.type === "phase" && event.phase === "transferring")).toBe(true);
      expect(outcome.summary).toMatchObject({ healed: 0, result: "problems" });
      expect(pair.alpha.read("d/f")).toBe(rotten);
      expect(pair.beta.read("d/f")).toBe(good.toUpperCase());
    }
  });

  test("[HEAL-5] what may be an edit is neither sent nor healed: another mode or name, or a write a moment ago", async () => {
    const disguises: Record<string, (pair: SimPair) => void> = {
      "chmod": (pair) => pair.alpha.user.chmod("/root/d/f", 0o600),
      "a write": (pair) => {
        pair.alpha.put({ "d/f": "PRECIOUS" });
      },
    };
    for (const [how, act] of Object.entries(disguises)) {
      const pair = await agreed("precious");
      if (how === "a write") {
        act(pair);
        await pair.agree();
      }
      const rotten = rot(pair, "alpha");
      if (how !== "a write") {
        act(pair);
        pair.rest();
      }
      for (const deep of [true, true]) {
        const outcome = await pair.run({ deep });
        expect([how, ...codesOf(outcome)]).toEqual([how, "alpha d/f SUSPECT"]);
        expect(pair.alpha.read("d/f")).toBe(rotten);
        expect(pair.beta.contents().all.has(rotten)).toBe(false);
      }
      // Touched it is what the person wants.
      pair.alpha.user.setMtime("/root/d/f", 1_700_000_000_000_000_000n);
      await pair.agree();
      expect(pair.beta.read("d/f")).toBe(rotten);
    }
  });

  test("[HEAL-6] a rotten ignore file is healed, and until then nothing that it hides is seen", async () => {
    const pair = new SimPair();
    pair.alpha.put({ ".synclineignore": "e", f: "one", e: "alpha's own" });
    pair.beta.put({ e: "beta's own" });
    await pair.run();
    pair.rest();
    pair.beta.disk.flipBit("/root/.synclineignore", 0);
    // Ignore files are read by every run.
    const outcome = await pair.run();
    expect(changesOf(outcome)).toEqual(["beta heal .synclineignore"]);
    expect(outcome.summary).toMatchObject({ result: "same", healed: 1 });
    expect(pair.beta.show()).toBe(".synclineignore=e e=beta's own f=one");
    pair.alpha.put({ f: "two" });
    expect((await pair.run()).summary?.result).toBe("same");
    expect(pair.beta.read("f")).toBe("two");
  });

  test("[HEAL-7] all names of a rotten file are healed together, and stay one file", async () => {
    const pair = new SimPair({ session: { preserve: { ...PRESERVE_DEFAULT, hardlinks: true } } });
    pair.alpha.put({ a: "precious" });
    pair.alpha.user.link("/root/a", "/root/b");
    await pair.agree();
    pair.rest();
    for (const side of SIDES) {
      pair[side].disk.flipBit("/root/b", 2);
      const outcome = await pair.run(DEEP);
      expect(changesOf(outcome)).toEqual([`${side} heal a`, `${side} heal b`]);
      expect(pair[side].show()).toBe("a=precious b=precious");
      expect(pair[side].disk.inodeAt("/root/a")).toBe(pair[side].disk.inodeAt("/root/b"));
      pair.rest();
      expect(await pair.run(DEEP)).toMatchObject({ summary: { changes: 0, result: "same" } });
    }
  });

  test("[HEAL-8] a heal that is taken back brings the damaged bytes back, as an edit of the person's", async () => {
    const pair = await agreed("precious");
    const rotten = rot(pair, "beta");
    const { summary } = await pair.run(DEEP);
    const never = new AbortController().signal;
    const undone = await pair.withEndpoint("beta", (endpoint) => endpoint.undo(summary!.runId, never));
    expect(undone.problems).toEqual([]);
    expect(pair.beta.read("d/f")).toBe(rotten);
    await pair.agree();
    expect(pair.alpha.read("d/f")).toBe(rotten);
  });

  test("[HEAL-10] what people did to the file beside its damage is kept: its mode there, its time here", async () => {
    const pair = await agreed("precious");
    rot(pair, "alpha");
    pair.beta.user.chmod("/root/d/f", 0o604);
    pair.beta.user.setMtime("/root/d/f", 1_500_000_000_000_000_000n);
    expect((await pair.run(DEEP)).summary).toMatchObject({ result: "same", healed: 1 });
    for (const side of SIDES) {
      const { mode, mtimeNs } = pair[side].disk.inodeAt("/root/d/f");
      expect([side, mode, mtimeNs, pair[side].read("d/f")]).toEqual([side, 0o604, 1_500_000_000_000_000_000n, "precious"]);
    }
  });
});

describe("heals that are cut off", () => {
  for (const exchange of [true, false]) {
    for (const [size, good] of Object.entries(CONTENTS)) {
      const how = exchange ? "names can be swapped" : "they cannot";
      test(`[HEAL-11] a ${size} file, where ${how}: dying at any step sends nothing of the rot, and a later run heals`, async () => {
        for (let at = 1; ; at++) {
          const pair = await agreed(good, { disk: { exchange } });
          const rotten = rot(pair, "alpha");
          const killed = await pair.run(DEEP, ({ alpha }) => {
            alpha.fs.onEffect = (count) => {
              if (count === at) throw new SimCrash(`died at effect ${at}`);
            };
          });
          if (killed.error === undefined) {
            expect(at).toBeGreaterThan(5);
            return;
          }
          for (const deep of [false, true, true]) {
            const outcome = await pair.run({ deep });
            expect([at, deep, outcome.error, pair.beta.contents().all.has(rotten)]).toEqual([at, deep, undefined, false]);
            pair.rest();
          }
          expect([at, pair.alpha.read("d/f")]).toEqual([at, good]);
          expect(await pair.agree()).toBe(`d/ d/f=${good} g=other`);
        }
      });
    }
  }

  test("[HEAL-12] a disk that refuses any one call brings nothing of the rot out, and a later run heals", async () => {
    for (const exchange of [true, false]) {
      for (const sort of ["create", "write", "rename", "exchange", "link", "sync", "chmod", "setMtime", "mkdir"]) {
        for (let at = 1; at <= 4; at++) {
          const pair = await agreed("precious", { disk: { exchange } });
          const rotten = rot(pair, "alpha");
          let calls = 0;
          await pair.run(DEEP, ({ alpha }) => {
            alpha.fs.faults = (call) => (call === sort && ++calls === at ? "EIO" : undefined);
          });
          for (const deep of [false, true, true]) {
            await pair.run({ deep });
            expect([sort, at, pair.beta.contents().all.has(rotten)]).toEqual([sort, at, false]);
            pair.rest();
          }
          expect([sort, at, pair.alpha.read("d/f")]).toEqual([sort, at, "precious"]);
        }
      }
    }
  });

  test("[HEAL-13] a disk that refuses some calls in a row, or all from one on, brings nothing of the rot out (seed 1301042120)", async () => {
    for (const row of [2, 3, 4, Infinity]) {
      for (let at = 1; ; at++) {
        const pair = await agreed("precious", { disk: { exchange: false } });
        const rotten = rot(pair, "alpha");
        let calls = 0;
        let refused = 0;
        await pair.run(DEEP, ({ alpha }) => {
          let isLinking = false;
          alpha.fs.faults = (call) => {
            isLinking ||= call === "exchange";
            if (!isLinking || call === "close" || ++calls <= at || calls > at + row) return undefined;
            refused++;
            return "EACCES";
          };
        });
        if (refused === 0) {
          expect(at).toBeGreaterThan(3);
          break;
        }
        for (const deep of [false, true, true]) {
          await pair.run({ deep });
          expect([row, at, pair.beta.contents().all.has(rotten)]).toEqual([row, at, false]);
          pair.rest();
        }
        expect(pair.beta.read("d/f")).toBe("precious");
      }
    }
  });
});
