/** Bugs of what one side ignores by now, as small scenarios; where a life is named it is the one that found the bug. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { hubLife } from "#testing/hub/hub-life.ts";
import { SimPair } from "#testing/scenarios/sim-pair.ts";
import { SimCrash } from "#testing/sim-process.ts";

// Loops over every effect of a session.
setDefaultTimeout(60_000);

/** More effects than any of these sessions has on one side. */
const EFFECTS = 60;

/** What a side shows, word by word. */
const wordsOf = (shown: string): string[] => shown.split(" ").filter((word) => word !== "");

/** Runs a session in which beta's process dies at its k-th effect; returns whether it came to that. */
async function dieAt(pair: SimPair, k: number): Promise<boolean> {
  let died = false;
  await pair.run({}, ({ beta }) => {
    beta.fs.onEffect = (count) => {
      died ||= count === k;
      if (count === k) throw new SimCrash(`died at effect ${k}`);
    };
  });
  return died;
}

test("[SIM-111] what was on its way from a side that ignores it by now is not taken for removed there (life 1020006849 of a hub)", async () => {
  for (const agreed of [{}, { x: "agreed before" }]) {
    for (let k = 1; k <= EFFECTS; k++) {
      const pair = new SimPair({ seed: k });
      pair.alpha.put(agreed);
      await pair.agree();
      pair.alpha.put({ "c/f": "one", "d/": "", "d/e/g": "two", h: "three" });
      const died = await dieAt(pair, k);
      const arrived = wordsOf(pair.beta.show());
      pair.alpha.put({ ".synclineignore": "c/\n/d/e\nh" });
      const { summary } = await pair.run();
      expect([k, summary?.result]).toEqual([k, "same"]);
      expect([k, wordsOf(pair.beta.show())]).toEqual([k, expect.arrayContaining(arrived)]);
      if (!died) break;
    }
  }
});

test("[SIM-111] nor what a first copy had agreed on before it broke off, in any mode; what was removed meanwhile is", async () => {
  for (const mode of ["two-way-safe", "one-way-safe", "one-way-replica"] as const) {
    for (let k = 1; k <= EFFECTS; k++) {
      const pair = new SimPair({ seed: k, session: { mode } });
      pair.alpha.put({ "c/f": "one", "d/e/g": "two", "d/e/x": "three", h: "four", i: "five" });
      await dieAt(pair, k);
      const arrived = wordsOf(pair.beta.show());
      pair.alpha.put({ "d/.synclineignore": "g", ".synclineignore": "c/\n/h\n", i: undefined });
      await pair.run();
      const kept = arrived.filter((word) => word !== "i=five");
      expect([mode, k, wordsOf(pair.beta.show())]).toEqual([mode, k, expect.arrayContaining(kept)]);
      if (mode !== "one-way-safe") expect([mode, k, pair.beta.show()]).not.toEqual([mode, k, expect.stringContaining("i=five")]);
    }
  }
});

const KINDS = ["file", "directory", "part"] as const;

test("[SIM-112] what is renamed on one side to where the other ignores it goes from there, and is not hidden there (seed 1030002411)", async () => {
  // One way, the rules stay where they are, and the other side never comes to hide anything itself.
  for (const [kind, mode] of [...KINDS.map((one) => [one, "two-way-safe"] as const), ...KINDS.map((one) => [one, "one-way-safe"] as const)]) {
    const pair = new SimPair({ session: { mode } });
    pair.alpha.put({ "d/f": "one", "d/e/x.o": "two", "d/e/y": "three", "n/": "" });
    await pair.agree();
    pair.beta.put({ "n/.synclineignore": "*.o\nk/" });
    if (kind === "file") pair.alpha.rename("d/f", "n/f.o");
    else pair.alpha.rename("d", kind === "part" ? "n/d" : "n/k");
    const { summary, events } = await pair.run();
    const rules = mode === "two-way-safe" ? "*.o\nk/".length : 0;
    expect([kind, mode, summary?.result, summary?.bytes.literal]).toEqual([kind, mode, "same", rules]);
    expect(events.filter(({ type }) => type === "problem")).toEqual([]);
    const left = { file: "d/ d/e/ d/e/x.o=two d/e/y=three", directory: "", part: "" }[kind];
    const come = { file: "", directory: "", part: " n/d/ n/d/e/ n/d/e/y=three n/d/f=one" }[kind];
    expect([kind, pair.beta.show()]).toEqual([kind, `${left} n/ n/.synclineignore=*.o\nk/${come}`.trim()]);
    const quiet = await pair.run();
    expect([kind, quiet.summary?.result, quiet.summary?.changes]).toEqual([kind, "same", 0]);
  }
});

test("[HUBSIM-31] a host that died in its session takes a directory that its space ignores by now for nothing that was removed (life 1020006849)", async () => {
  await hubLife(1020006849);
});
