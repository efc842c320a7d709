/** What a side ignores keeps a place: told as a lasting problem, once, and nothing is sent there in vain. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { SimPair, changesOf, problemsOf } from "#testing/scenarios/sim-pair.ts";

setDefaultTimeout(30_000);

/** Comes by a transfer; the other goes along with its change. */
const LARGE = "0123456789abcdef".repeat(10_000);
const SMALL = "small";

/** Cycles of a session, and content bytes that came in it. */
async function told(pair: SimPair): Promise<{ problems: string[]; literal: number | undefined; result: string | undefined }> {
  const outcome = await pair.run();
  const problems = problemsOf(outcome).map(({ side, path, code, transient }) => `${side} ${path} ${code}${transient ? " for now" : ""}`);
  return { problems, literal: outcome.summary?.bytes.literal, result: outcome.summary?.result };
}

describe("[HELD-1] a directory stays for what is ignored in it", () => {
  for (const content of [undefined, SMALL, LARGE]) {
    const becomes = content === undefined ? "goes" : `becomes a file of ${content.length} bytes`;
    test(`[HELD-1] one that ${becomes}: told once, by the directory on top, with what holds it; without that it goes`, async () => {
      const pair = new SimPair({ session: { ignore: ["*.o"] } });
      pair.alpha.put({ "d/f": "one", "d/sub/g": "two", x: "stays" });
      await pair.agree();
      pair.beta.put({ "d/a.o": "a", "d/sub/b.o": "b", "d/sub/c.o": "c", "d/sub/d.o": "d" });
      pair.alpha.remove("d");
      if (content !== undefined) pair.alpha.put({ d: content });
      const first = await pair.run();
      const [found, ...others] = problemsOf(first);
      expect([found, others]).toEqual([expect.objectContaining({ path: "d", side: "beta", code: "ENOTEMPTY", transient: false }), []]);
      expect(found!.message).toMatch(/: d\/[^,]*\.o, d\/[^,]*\.o, d\/[^,]*\.o and more; remove that/);
      expect(pair.beta.show()).toContain("d/a.o=a d/sub/ d/sub/b.o=b");
      // A large file never comes in vain, a small one only before the place is known.
      expect(first.summary?.bytes.literal).toBe(content === SMALL ? SMALL.length : 0);
      for (let round = 0; round < 2; round++) {
        expect(await told(pair)).toEqual({ problems: ["beta d ENOTEMPTY"], literal: 0, result: "problems" });
      }
      pair.beta.remove("d/a.o");
      pair.beta.remove("d/sub");
      expect(await pair.agree()).toBe(content === undefined ? "x=stays" : `d=${content} x=stays`);
    });
  }

  test("[HELD-2] what is new in it is for the next plan, at once; only then is it held for good", async () => {
    const pair = new SimPair({ session: { ignore: ["*.o"] } });
    pair.alpha.put({ "d/f": "one", x: "stays", y: "stays" });
    await pair.agree();
    pair.alpha.remove("d");
    let isDone = false;
    const outcome = await pair.run({}, ({ beta }) => {
      beta.fs.interleave = (call) => {
        if (isDone || call !== "rmdir") return;
        isDone = true;
        pair.beta.put({ "d/new": "beta's", "d/a.o": "a" });
      };
    });
    expect([isDone, outcome.summary?.result, problemsOf(outcome)]).toEqual([true, "same", []]);
    expect([pair.alpha.show(), pair.beta.show()]).toEqual(["d/ d/new=beta's x=stays y=stays", "d/ d/a.o=a d/new=beta's x=stays y=stays"]);
  });
});

describe("[HELD-3] something ignored stands in the place of what comes", () => {
  for (const [what, content] of [["small", SMALL], ["large", LARGE]] as const) {
    test(`[HELD-3] of a ${what} file: told once, and its bytes come once at most; gone, it comes`, async () => {
      const pair = new SimPair();
      pair.beta.put({ ".synclineignore": "c/", "c/own": "beta's" });
      await pair.run();
      pair.alpha.put({ c: content });
      expect(await told(pair)).toEqual({ problems: ["beta c EEXIST"], literal: content === SMALL ? SMALL.length : 0, result: "problems" });
      expect(await told(pair)).toEqual({ problems: ["beta c EEXIST"], literal: 0, result: "problems" });
      pair.beta.remove("c");
      expect(await pair.agree()).toBe(`.synclineignore=c/ c=${content}`);
    });
  }

  test("[HELD-3] of a directory: so are the files that would be in it, and none of them is told of", async () => {
    const pair = new SimPair();
    pair.beta.put({ ".synclineignore": "c\n!c/", c: "beta's" });
    await pair.run();
    pair.alpha.put({ "c/a": SMALL, "c/b/large": LARGE, "c/b/small": SMALL });
    expect(await told(pair)).toEqual({ problems: ["beta c EEXIST"], literal: 2 * SMALL.length, result: "problems" });
    expect(await told(pair)).toEqual({ problems: ["beta c EEXIST"], literal: 0, result: "problems" });
    expect(pair.beta.read("c")).toBe("beta's");
    pair.beta.remove("c");
    expect(await pair.agree()).toBe(`.synclineignore=c\n!c/ c/ c/a=${SMALL} c/b/ c/b/large=${LARGE} c/b/small=${SMALL}`);
  });

  test("[HELD-6] below a refused directory nothing is tried before that has come, and then all of it comes", async () => {
    const pair = new SimPair();
    pair.beta.put({ ".synclineignore": "c\n!c/", c: "beta's" });
    await pair.run();
    const tree: Record<string, string> = {};
    for (let at = 0; at < 40; at++) tree[`c/${at % 2 === 0 ? "" : "deep/"}f${at}`] = `${SMALL} ${at}`;
    pair.alpha.put({ ...tree, "c/large": LARGE, "d/f": "comes" });
    await pair.run();
    const changes = async (): Promise<(number | undefined)[]> => {
      const { events } = await pair.run();
      return events.flatMap((event) => (event.type === "progress" && event.total !== undefined ? [event.total] : []));
    };
    for (let round = 0; round < 2; round++) expect(new Set(await changes())).toEqual(new Set([1]));
    pair.alpha.put({ "c/new": "new", "c/f0": "edited" });
    expect(new Set(await changes())).toEqual(new Set([1]));
    pair.beta.remove("c");
    await pair.agree();
    for (const [path, text] of Object.entries({ ...tree, "c/f0": "edited", "c/new": "new", "c/large": LARGE, "d/f": "comes" })) {
      expect([path, pair.beta.read(path)]).toEqual([path, text]);
    }
    expect(changesOf(await pair.run())).toEqual([]);
  });

  test("[HELD-4] a small file that is ignored where it would go, which the other side cannot remember, comes once at most", async () => {
    const pair = new SimPair({ session: { mode: "one-way-safe" } });
    pair.alpha.put({ c: "a file" });
    await pair.agree();
    pair.alpha.put({ ".synclineignore": "none", c: undefined, "c/f": SMALL, "c/g": LARGE });
    pair.beta.put({ ".synclineignore": "c/" });
    await pair.run();
    for (let round = 0; round < 2; round++) expect((await told(pair)).literal).toBe(0);
    expect(pair.beta.read("c")).toBe("a file");
    pair.beta.put({ ".synclineignore": "none" });
    await pair.run();
    expect(pair.beta.show()).toContain(`c/ c/f=${SMALL} c/g=${LARGE}`);
  });
});

test("[HELD-5] while watching, what was held is done as soon as what held it has gone", async () => {
  const pair = new SimPair({ session: { ignore: ["*.o", "k/"] } });
  pair.alpha.put({ "d/f": "one", "d/sub/g": "one", "e/f": "two", "x/": "" });
  await pair.agree();
  pair.beta.put({ "d/sub/a.o": "a", "k/own": "beta's", "e/b.o": "b" });
  pair.alpha.remove("d");
  pair.alpha.remove("e");
  pair.alpha.put({ e: SMALL, k: LARGE });
  const boots = pair.boot();
  const stop = new AbortController();
  const { outcome, events } = pair.start(boots, { watch: true }, stop);
  const cycles = (): number => events.filter(({ type }) => type === "cycle").length;
  pair.clock.runFor(2000);
  expect(pair.beta.show()).toBe("d/ d/sub/ d/sub/a.o=a e/ e/b.o=b k/ k/own=beta's x/");
  // It is not tried again and again.
  const before = cycles();
  pair.clock.runFor(60_000);
  expect(cycles()).toBe(before);
  pair.beta.remove("d/sub/a.o");
  pair.beta.remove("k");
  pair.beta.remove("e/b.o");
  pair.clock.runFor(2000);
  stop.abort();
  await pair.clock.runUntilIdle(outcome);
  pair.alpha.kill(boots.alpha);
  pair.beta.kill(boots.beta);
  expect(pair.beta.show()).toBe(`e=${SMALL} k=${LARGE} x/`);
  expect(changesOf({ events, summary: undefined, error: undefined })).toContain("beta remove d");
});
