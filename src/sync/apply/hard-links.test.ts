/** Hard links in runs that change their leaders. */
import { expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SimPair, codeOf, problemsOf } from "#testing/scenarios/sim-pair.ts";

const session = { preserve: { ...PRESERVE_DEFAULT, hardlinks: true } };

function linked(pair: SimPair, a: string, b: string): boolean {
  return pair.beta.disk.inodeAt(`/root/${a}`) === pair.beta.disk.inodeAt(`/root/${b}`);
}

for (const exchange of [true, false]) {
  const how = exchange ? "swapping" : "linking";

  test(`[LINK-1] a new pair in an existing directory arrives in one run (${how})`, async () => {
    const pair = new SimPair({ disk: { exchange }, session });
    pair.alpha.put({ a: "one" });
    pair.alpha.user.link("/root/a", "/root/b");
    const outcome = await pair.run();
    expect([codeOf(outcome), outcome.summary?.result, problemsOf(outcome)]).toEqual([undefined, "same", []]);
    expect(pair.beta.show()).toBe("a=one b=one");
    expect(linked(pair, "a", "b")).toBe(true);
  });

  test(`[LINK-2] a link to a file that is replaced in the same run holds the new content (${how})`, async () => {
    const pair = new SimPair({ disk: { exchange }, session });
    pair.alpha.put({ a: "old" });
    await pair.agree();
    pair.alpha.put({ a: "new" });
    pair.alpha.user.link("/root/a", "/root/b");
    await pair.run();
    expect(pair.beta.show()).toBe("a=new b=new");
    expect(linked(pair, "a", "b")).toBe(true);
    expect(await pair.agree()).toBe("a=new b=new");
  });

  test(`[LINK-3] a write through one name reaches all names of the other side, and they stay one file (${how})`, async () => {
    const pair = new SimPair({ disk: { exchange }, session });
    pair.alpha.put({ a: "one", "d/": "" });
    pair.alpha.user.link("/root/a", "/root/b");
    pair.alpha.user.link("/root/a", "/root/d/c");
    await pair.agree();
    pair.alpha.put({ b: "two" });
    expect(await pair.agree()).toBe("a=two b=two d/ d/c=two");
    expect([linked(pair, "a", "b"), linked(pair, "a", "d/c")]).toEqual([true, true]);
  });
}

test("[LINK-4] while watching, a write through one of the names that we made reaches all names on both sides", async () => {
  const pair = new SimPair({ session });
  pair.alpha.put({ a: "one", k: "k" });
  const boots = pair.boot();
  const stop = new AbortController();
  const { outcome } = pair.start(boots, { watch: true }, stop);
  pair.clock.runFor(3000);
  pair.alpha.user.link("/root/a", "/root/b");
  pair.clock.runFor(3000);
  expect(linked(pair, "a", "b")).toBe(true);
  pair.beta.put({ b: "two" });
  pair.clock.runFor(8000);
  stop.abort();
  await pair.clock.runUntilIdle(outcome);
  pair.alpha.kill(boots.alpha);
  pair.beta.kill(boots.beta);
  expect([pair.alpha.show(), pair.beta.show()]).toEqual(["a=two b=two k=k", "a=two b=two k=k"]);
  expect(pair.alpha.disk.inodeAt("/root/a")).toBe(pair.alpha.disk.inodeAt("/root/b"));
  expect(linked(pair, "a", "b")).toBe(true);
});
