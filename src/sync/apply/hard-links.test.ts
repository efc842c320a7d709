/** Hard links in runs that change their leaders. */
import { expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { SessionOptions } from "#sync/session/events.ts";
import { type Boots, SimPair, type SimSide, atCall, changesOf, codeOf, conflictsOf, problemsOf } from "#testing/scenarios/sim-pair.ts";

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

/** Pairs of all paths of a side that are one file there: "a=b". */
function pairs(side: SimSide): string {
  const paths = side.show().split(" ").flatMap((word) => (word.endsWith("/") ? [] : [word.split("=")[0]!]));
  const isOne = (a: string, b: string): boolean => side.disk.inodeAt(`/root/${a}`) === side.disk.inodeAt(`/root/${b}`);
  return paths.flatMap((a, at) => paths.slice(at + 1).flatMap((b) => (isOne(a, b) ? [`${a}=${b}`] : []))).join(" ");
}

for (const other of ["a", "z"]) {
  test(`[LINK-5] the loser of a conflict stays one file with its other name ${other}, on both sides (seed 1703585)`, async () => {
    const losers = new Set<string>();
    for (const mine of ["one", "two", "three", "four"]) {
      const pair = new SimPair({ session: { ...session, conflict: "copy" } });
      pair.alpha.put({ n: "alpha's" });
      pair.alpha.user.link("/root/n", `/root/${other}.alpha`);
      pair.beta.put({ n: mine });
      pair.beta.user.link("/root/n", `/root/${other}.beta`);
      await pair.agree();
      expect(pairs(pair.alpha).split(" ")).toHaveLength(2);
      expect(pairs(pair.beta)).toBe(pairs(pair.alpha));
      expect(changesOf(await pair.run())).toEqual([]);
      losers.add(pair.alpha.show().includes("conflict-alpha") ? "alpha" : "beta");
    }
    expect(losers.size).toBe(2);
  });
}

for (const hardlinks of [true, false]) {
  const how = hardlinks ? "carried" : "not carried";

  test(`[LINK-6] while watching, a write through one name reaches those that we moved, links ${how}`, async () => {
    const pair = new SimPair({ session: { preserve: { ...PRESERVE_DEFAULT, hardlinks } } });
    for (const side of [pair.alpha, pair.beta]) {
      side.put({ "d/a": "one", k: "k" });
      side.user.setMtime("/root/d/a", 1_700_000_000_000_000_000n);
      side.user.link("/root/d/a", "/root/z");
    }
    await pair.agree();
    const boots = pair.boot();
    const stop = new AbortController();
    const { outcome } = pair.start(boots, { watch: true }, stop);
    pair.clock.runFor(3000);
    pair.alpha.rename("d", "e");
    pair.clock.runFor(8000);
    expect(linked(pair, "e/a", "z")).toBe(true);
    pair.beta.put({ z: "two" });
    pair.clock.runFor(8000);
    stop.abort();
    await pair.clock.runUntilIdle(outcome);
    pair.alpha.kill(boots.alpha);
    pair.beta.kill(boots.beta);
    expect([pair.alpha.show(), pair.beta.show()]).toEqual(["e/ e/a=two k=k z=two", "e/ e/a=two k=k z=two"]);
  });
}

for (const name of ["b", "e"]) {
  test(`[LINK-7] a file is edited here and gets the second name ${name} there: that keeps the old content (seed 1705652)`, async () => {
    for (const [one, two] of [["alpha", "beta"], ["beta", "alpha"]] as const) {
      const pair = new SimPair({ session });
      pair.alpha.put({ d: "one" });
      await pair.agree();
      pair[one].put({ d: "edited" });
      pair[two].user.link("/root/d", `/root/${name}`);
      expect((await pair.agree()).split(" ")).toEqual(["d=edited", `${name}=one`].sort((a, b) => (a < b ? -1 : 1)));
      expect([pairs(pair.alpha), pairs(pair.beta)]).toEqual(["", ""]);
      expect(changesOf(await pair.run())).toEqual([]);
    }
  });
}

test("[LINK-8] names that were agreed apart and become one file on each side come to one metadata (seed 80007317)", async () => {
  const modes = { a: 0o644, b: 0o600 };
  for (const [kept, other] of [["a", "b"], ["b", "a"]] as const) {
    const pair = new SimPair({ session });
    pair.alpha.put({ a: "one", b: "one" });
    for (const name of ["a", "b"] as const) pair.alpha.user.chmod(`/root/${name}`, modes[name]);
    await pair.agree();
    for (const [side, name, second] of [[pair.alpha, kept, other], [pair.beta, other, kept]] as const) {
      side.remove(second);
      side.user.link(`/root/${name}`, `/root/${second}`);
    }
    expect(await pair.agree()).toBe("a=one b=one");
    expect(changesOf(await pair.run())).toEqual([]);
    const [mine, theirs] = [pair.alpha, pair.beta].map(({ disk }) => disk.inodeAt("/root/a"));
    expect([mine!.mode, mine!.mtimeNs]).toEqual([theirs!.mode, theirs!.mtimeNs]);
    expect([pairs(pair.alpha), pairs(pair.beta)]).toEqual(["a=b", "a=b"]);
  }
});

test("[LINK-9] while watching, a mode that comes through one name of a file is that of its other name, too (seed 1098029297)", async () => {
  const pair = new SimPair({});
  pair.alpha.put({ a: "one", "c/": "" });
  await pair.agree();
  pair.beta.user.link("/root/a", "/root/c/c");
  await pair.agree();
  pair.alpha.user.chmod("/root/a", 0o600);
  const boots = pair.boot();
  const stop = new AbortController();
  const { outcome } = pair.start(boots, { watch: true }, stop);
  pair.clock.runFor(10_000);
  stop.abort();
  await pair.clock.runUntilIdle(outcome);
  pair.alpha.kill(boots.alpha);
  pair.beta.kill(boots.beta);
  const modes = [pair.alpha, pair.beta].flatMap((side) => ["a", "c/c"].map((path) => side.disk.inodeAt(`/root/${path}`)!.mode));
  expect(modes).toEqual([0o600, 0o600, 0o600, 0o600]);
});

for (const [first, second, isKnown] of [["d/a", "z", false], ["a", "d/z", false], ["d/a", "z", true], ["a", "d/z", true]] as const) {
  const what = `${second}, of ${isKnown ? "a known" : "a new"} file`;

  test(`[LINK-10] a new name, ${what}, is known with what its file has: no touch is lost, an undo gives it back (seed 1098034039)`, async () => {
    const TIME = 1_700_000_000_000_000_000n;
    const times = ({ disk }: SimSide): bigint[] => [first, second].map((path) => disk.inodeAt(`/root/${path}`).mtimeNs);
    let taken = 0;
    for (let k = 1; ; k++) {
      const pair = new SimPair({ session });
      pair.alpha.put({ [first]: "one", "d/k": "k" });
      if (isKnown) await pair.agree();
      pair.alpha.user.link(`/root/${first}`, `/root/${second}`);
      let hasActed = false;
      await pair.run({}, ({ alpha }) =>
        atCall(alpha, k, () => {
          hasActed = true;
          pair.alpha.user.setMtime(`/root/${second}`, TIME);
        }),
      );
      if (!hasActed) break;
      const isThere = pairs(pair.beta) !== "";
      const before = isThere ? times(pair.beta) : [];
      const { summary, events } = await pair.run();
      expect([k, pairs(pair.beta), times(pair.alpha), times(pair.beta)]).toEqual([k, [first, second].sort().join("="), [TIME, TIME], [TIME, TIME]]);
      if (!isThere || !events.some((event) => event.type === "change" && event.side === "beta")) continue;
      const undo = pair.withEndpoint("beta", (endpoint) => endpoint.undo(summary!.runId, new AbortController().signal));
      expect([k, (await undo).problems, times(pair.beta)]).toEqual([k, [], before]);
      taken++;
    }
    expect(taken).toBeGreaterThan(0);
  });
}

test("[LINK-11] a loser is put aside also where its file gets a further name in the same run (seed 1210005902)", async () => {
  const pair = new SimPair({ session: { ...session, conflict: "copy" } });
  pair.alpha.put({ c: "one", "e/": "" });
  await pair.agree();
  pair.alpha.user.link("/root/c", "/root/e/b");
  pair.beta.put({ "e/b/": "" });
  pair.beta.user.link("/root/c", "/root/e/b/b");
  const outcome = await pair.run();
  expect([outcome.summary?.result, problemsOf(outcome)]).toEqual(["same", []]);
  for (const side of [pair.alpha, pair.beta]) {
    expect(side.show().replace(/-[0-9a-f]{8}=/, "=")).toBe("c=one e/ e/b/ e/b.conflict-alpha=one e/b/b=one");
    expect(pairs(side).split(" ")).toHaveLength(3);
  }
});

test("[LINK-12] no name is linked to a file of which it is not known that it has that content (seed 1210002371)", async () => {
  const pair = new SimPair({ session });
  pair.alpha.put({ a: "agreed on" });
  await pair.agree();
  pair.alpha.put({ a: "alpha's" });
  pair.alpha.user.link("/root/a", "/root/n");
  pair.beta.user.save("/root/a", "beta's!");
  await pair.run({}, ({ beta }) => {
    beta.fs.faults = (call, { path }) => (call === "openRead" && path === "/root/a" ? "EIO" : undefined);
  });
  expect(pair.beta.show()).not.toContain("n=beta");
  await pair.run();
  expect([pair.alpha.show(), pair.beta.show()]).toEqual(["a=alpha's n=alpha's", "a=beta's! n=alpha's"]);
});

test("[LINK-12] a file of which the index does not know it is read for that", async () => {
  const pair = new SimPair({ session });
  pair.beta.put({ same: "one", other: "two", known: "one" });
  await pair.withEndpoint("beta", async (endpoint) => {
    const signal = new AbortController().signal;
    await endpoint.scan({ since: 0, acknowledged: 0, extent: "full", deep: false }, async () => undefined, signal);
    const [sum] = await endpoint.sums(["known"], signal);
    const run = endpoint.apply("run", signal);
    for (const linkTo of ["same", "other"]) {
      const entry = { kind: "file", size: 3, mode: 0o644, mtimeNs: 0n, sum: String(sum), linkTo } as const;
      const change = { side: "beta", path: `${linkTo}-too`, old: undefined, new: entry, action: "content" } as const;
      await run.push([{ type: "change", change }]);
    }
    const results: string[] = [];
    await run.commit((more) => results.push(...more.map(({ path, status }) => `${path}: ${status}`)));
    expect(results).toEqual(["same-too: done", "other-too: stale"]);
  });
  expect(pairs(pair.beta)).toBe("same=same-too");
});

test("[LINK-12] a file that is written just before it gets a name is not taken for what it was (seed 1250001017)", async () => {
  for (let k = 1; ; k++) {
    const pair = new SimPair({ session });
    pair.alpha.put({ a: "agreed on" });
    await pair.agree();
    pair.alpha.user.link("/root/a", "/root/n");
    let hasWritten = false;
    await pair.run({}, ({ beta }) =>
      atCall(beta, k, () => {
        hasWritten = true;
        pair.beta.put({ a: "written" });
      }),
    );
    if (!hasWritten) break;
    for (let round = 0; round < 2; round++) await pair.run();
    // One file with the new content, or two (LINK-7); in any case the same on both sides.
    expect([k, await pair.agree()]).toEqual([k, expect.stringMatching(/^a=written n=(written|agreed on)$/)]);
    const [mine, theirs] = [pair.alpha, pair.beta].map(({ disk }) => ["a", "n"].map((name) => disk.inodeAt(`/root/${name}`).mtimeNs));
    expect([k, mine]).toEqual([k, theirs]);
  }
});

test("[LINK-18] a file is read once for all the names that it gets in one group, and needs no reading where nobody may read it", async () => {
  for (const errno of [undefined, "EACCES"]) {
    const pair = new SimPair({ session });
    pair.alpha.put({ a: "agreed" });
    await pair.agree({ deep: true });
    for (const name of ["b", "c", "d"]) pair.alpha.user.link("/root/a", `/root/${name}`);
    let reads = 0;
    await pair.run({}, ({ beta }) => {
      beta.fs.faults = (call, { path }) => (call === "openRead" && path === "/root/a" && ++reads > 0 ? errno : undefined);
    });
    expect([pairs(pair.beta), errno ?? reads]).toEqual(["a=b a=c a=d b=c b=d c=d", errno ?? 1]);
  }
});

/** What keeps the first name `a` of a file of alpha from being the same on beta. */
const APART: Record<string, { readonly session: Partial<SessionOptions>; readonly beta: Record<string, string> }> = {
  "a conflict": { session, beta: { a: "beta's" } },
  "a mirror's own file": { session: { ...session, mode: "one-way-safe" }, beta: { a: "beta's" } },
  "a rule of beta's own": { session, beta: { ".synclineignore": "/a\n/.synclineignore\n" } },
};

for (const [what, { session: own, beta }] of Object.entries(APART)) {
  test(`[LINK-13] where ${what} keeps its first name from coming, the second name of a file is one of its own`, async () => {
    for (const [edits, goesFrom] of [[false, "alpha"], [true, "alpha"], [false, "beta"]] as const) {
      const pair = new SimPair({ session: own });
      pair.beta.put(beta);
      pair.alpha.put({ a: "alpha's" });
      pair.alpha.user.link("/root/a", "/root/b");
      const there = (): string => pair.beta.show().split(" ").filter((word) => word.startsWith("b")).join(" ");
      expect([problemsOf(await pair.run()), there()]).toEqual([[], "b=alpha's"]);
      // What goes or changes under that name does on the other side, from then on.
      if (edits) {
        pair.alpha.put({ b: "edited" });
        await pair.run();
        expect(there()).toBe("b=edited");
        const rest = await pair.run();
        expect([changesOf(rest), problemsOf(rest)]).toEqual([[], []]);
      }
      pair[own.mode === "one-way-safe" ? "alpha" : goesFrom].remove("b");
      await pair.run();
      expect([there(), pair.alpha.show().includes("b=")]).toEqual(["", false]);
    }
  });
}

test("[LINK-13] so it is where something ignored stands in the place of the first name", async () => {
  const pair = new SimPair({ session });
  pair.beta.put({ ".synclineignore": "a/\n/.synclineignore\n", "a/own": "beta's" });
  pair.alpha.put({ a: "alpha's" });
  pair.alpha.user.link("/root/a", "/root/b");
  await pair.run();
  expect(problemsOf(await pair.run()).map(({ path, code }) => `${path} ${code}`)).toEqual(["a EEXIST"]);
  expect(pair.beta.show()).toEndWith("b=alpha's");
  pair.beta.remove("a");
  await pair.run();
  await pair.run();
  expect([pairs(pair.alpha), pairs(pair.beta)]).toEqual(["a=b", "a=b"]);
});

test("[LINK-13] so is a name whose conflict is decided while that of the first name is left (seed 1250003057)", async () => {
  const pair = new SimPair({ session });
  pair.alpha.put({ b: "agreed on" });
  pair.alpha.user.link("/root/b", "/root/e");
  await pair.agree();
  pair.alpha.put({ b: "alpha's" });
  pair.beta.put({ b: "beta's" });
  expect(conflictsOf(await pair.run())).toEqual(["b", "e"]);
  await pair.run({ conflict: "alpha", conflictPaths: ["e"] });
  const { events, ...last } = await pair.run();
  expect([conflictsOf({ ...last, events }), problemsOf({ ...last, events })]).toEqual([["b"], []]);
  expect([pair.alpha.show(), pair.beta.show()]).toEqual(["b=alpha's e=alpha's", "b=beta's e=alpha's"]);
});

test("[LINK-13] when nothing keeps the names apart any more, they become one file again", async () => {
  for (const winner of ["alpha", "beta"] as const) {
    const pair = new SimPair({ session });
    pair.alpha.put({ a: "alpha's" });
    pair.alpha.user.link("/root/a", "/root/b");
    pair.beta.put({ a: "beta's" });
    await pair.run();
    await pair.run({ conflict: winner, conflictPaths: ["a"] });
    const tree = await pair.agree();
    expect(tree).toBe(winner === "alpha" ? "a=alpha's b=alpha's" : "a=beta's b=alpha's");
    const names = winner === "alpha" ? "a=b" : "";
    expect([pairs(pair.alpha), pairs(pair.beta)]).toEqual([names, names]);
    expect(changesOf(await pair.run())).toEqual([]);
  }
});

test("[LINK-14] where the first name of a file goes, the others stay that very file; where it is kept apart, they are one beside it", async () => {
  const pair = new SimPair({ session });
  pair.alpha.put({ a: "one" });
  for (const name of ["b", "c"]) pair.alpha.user.link("/root/a", `/root/${name}`);
  await pair.agree();
  const before = pair.beta.disk.inodeAt("/root/c");
  pair.alpha.remove("a");
  expect(changesOf(await pair.run())).toEqual(["beta remove a"]);
  expect([pairs(pair.beta), pair.beta.disk.inodeAt("/root/c") === before]).toEqual(["b=c", true]);
  expect(changesOf(await pair.run())).toEqual([]);

  pair.alpha.user.link("/root/b", "/root/a");
  pair.alpha.user.link("/root/b", "/root/d");
  pair.beta.put({ a: "beta's" });
  await pair.run();
  expect([pair.beta.show(), pairs(pair.beta)]).toEqual(["a=beta's b=one c=one d=one", "b=c b=d c=d"]);
  expect(changesOf(await pair.run())).toEqual([]);
  pair.alpha.remove("d");
  await pair.run();
  expect([pair.alpha.show(), pair.beta.show()]).toEqual(["a=one b=one c=one", "a=beta's b=one c=one"]);
});

test("[LINK-14] names that go with the first one are gone", async () => {
  for (const other of ["b", "d/b"]) {
    for (const [side, there] of [["alpha", "beta"], ["beta", "alpha"]] as const) {
      const pair = new SimPair({ session });
      pair.alpha.put({ a: "one", "d/": "", k: "k" });
      pair.alpha.user.link("/root/a", `/root/${other}`);
      await pair.agree();
      for (const name of ["a", other, "d"]) pair[side].remove(name);
      expect([other, await pair.agree()]).toEqual([other, "k=k"]);
      expect(pair[there].show()).toBe("k=k");
    }
  }
});

test("[LINK-15] a name that is one of that file already is left as it is", async () => {
  for (const exchange of [true, false]) {
    const pair = new SimPair({ session, disk: { exchange } });
    pair.alpha.put({ a: "one" });
    for (const name of ["b", "c"]) pair.alpha.user.link("/root/a", `/root/${name}`);
    await pair.agree();
    await pair.withEndpoint("beta", async (endpoint) => {
      const signal = new AbortController().signal;
      const [sum] = await endpoint.sums(["b"], signal);
      const { mtimeNs } = pair.beta.disk.inodeAt("/root/c");
      const old = { kind: "file", size: 3, mode: 0o644, mtimeNs, sum: String(sum), linkTo: "a" } as const;
      const run = endpoint.apply("run", signal);
      await run.push([{ type: "change", change: { side: "beta", path: "c", old, new: { ...old, linkTo: "b" }, action: "content" } }]);
      const results: unknown[] = [];
      await run.commit((more) => results.push(...more));
      expect(results).toMatchObject([{ path: "c", status: "done", entry: { linkTo: "b" } }]);
      expect((await endpoint.undo("run", signal)).problems).toEqual([]);
    });
    expect([pair.beta.show(), pairs(pair.beta)]).toEqual(["a=one b=one c=one", "a=b a=c b=c"]);
    const inode = pair.beta.disk.inodeAt("/root/a");
    expect(inode.links).toHaveLength(3);
    await pair.agree();
  }
});

test("[LINK-16] a name that is given during the first scan is known as one of its file (seed 1264001311)", async () => {
  for (let k = 1; ; k++) {
    const pair = new SimPair({ session });
    pair.alpha.put({ "d.txt": "one", "a/": "", "e/k": "k" });
    const boots = pair.boot();
    let hasActed = false;
    atCall(boots.alpha, k, () => {
      hasActed = true;
      pair.alpha.user.link("/root/d.txt", "/root/a/b");
      pair.alpha.put({ "a/b": "two, through that name" });
    });
    const stop = new AbortController();
    const { outcome } = pair.start(boots, { watch: true }, stop);
    pair.clock.runFor(10_000);
    boots.alpha.fs.interleave = undefined;
    stop.abort();
    await pair.clock.runUntilIdle(outcome);
    pair.alpha.kill(boots.alpha);
    pair.beta.kill(boots.beta);
    if (!hasActed) break;
    const tree = "a/ a/b=two, through that name d.txt=two, through that name e/ e/k=k";
    expect([k, pair.beta.show(), linked(pair, "a/b", "d.txt")]).toEqual([k, tree, true]);
  }
});

/** Alpha's directory `d` may not be read. */
const CLOSED = (boots: Boots): void => {
  boots.alpha.fs.faults = (call, { path }) => (call === "openDir" && path === "/root/d" ? "EACCES" : undefined);
};

/** `d/a` and its other name `e` are agreed on; then alpha's `d` may not be read any more. */
async function closed(act: (pair: SimPair) => void, runs = 1): Promise<SimPair> {
  const pair = new SimPair({ session });
  pair.alpha.put({ "d/a": "one" });
  pair.alpha.user.link("/root/d/a", "/root/e");
  await pair.agree();
  act(pair);
  for (let run = 1; run <= runs; run++) {
    const outcome = await pair.run({}, CLOSED);
    expect(problemsOf(outcome).map(({ path, code }) => `${path} ${code}`)).toEqual(["d EACCES"]);
    if (run > 1) expect(changesOf(outcome)).toEqual([]);
  }
  return pair;
}

test("[LINK-17] a name whose first one stays unknown comes, changes and goes as a file of its own until that is seen", async () => {
  for (const runs of [1, 2]) {
    const come = await closed(({ beta }) => beta.user.link("/root/e", "/root/z"), runs);
    expect([come.alpha.show(), pairs(come.alpha)]).toEqual(["d/ d/a=one e=one z=one", "d/a=e"]);
    expect(await come.agree()).toBe("d/ d/a=one e=one z=one");
    expect([pairs(come.alpha), pairs(come.beta)]).toEqual(["d/a=e d/a=z e=z", "d/a=e d/a=z e=z"]);

    const written = await closed(({ beta }) => beta.put({ e: "edited" }), runs);
    expect([written.alpha.show(), pairs(written.alpha)]).toEqual(["d/ d/a=one e=edited", ""]);
    expect([await written.agree(), pairs(written.alpha), pairs(written.beta)]).toEqual(["d/ d/a=edited e=edited", "d/a=e", "d/a=e"]);

    for (const side of ["alpha", "beta"] as const) {
      const removed = await closed(({ beta }) => beta.put({ e: "edited" }), runs);
      removed[side].remove("e");
      await removed.run({}, CLOSED);
      expect([removed.alpha.show(), await removed.agree()]).toEqual(["d/ d/a=one", "d/ d/a=edited"]);
    }
  }
});

test("[LINK-17] what was one of it, and gets another mode, goes or becomes a file of its own then, does no more than that", async () => {
  for (const runs of [1, 2]) {
    for (const [side, other] of [["alpha", "beta"], ["beta", "alpha"]] as const) {
      const gone = await closed((pair) => pair[side].remove("e"), runs);
      expect([gone[other].show(), await gone.agree()]).toEqual(["d/ d/a=one", "d/ d/a=one"]);

      const moded = await closed((pair) => pair[side].user.chmod("/root/e", 0o600), runs);
      expect([pairs(moded.alpha), pairs(moded.beta), moded[other].disk.inodeAt("/root/e").mode]).toEqual(["d/a=e", "d/a=e", 0o600]);

      const alone = await closed((pair) => {
        const { mtimeNs } = pair[side].disk.inodeAt("/root/e");
        pair[side].user.save("/root/e", "one");
        pair[side].user.setMtime("/root/e", mtimeNs);
      }, runs);
      await alone.agree();
      expect([pairs(alone.alpha), pairs(alone.beta)]).toEqual(["", ""]);
    }
  }
});

test("[LINK-17] so is a name of a file that looks damaged on the other side (seed 1264001955)", async () => {
  for (const side of ["alpha", "beta"] as const) {
    const pair = new SimPair({ session });
    const [here, there] = [pair[side], pair[side === "alpha" ? "beta" : "alpha"]];
    there.put({ a: "one" });
    await pair.agree();
    const { mtimeNs } = here.disk.inodeAt("/root/a");
    here.put({ a: "two" });
    here.user.setMtime("/root/a", mtimeNs);
    here.user.chmod("/root/a", 0o600);
    for (const name of ["b", "c"]) there.user.link("/root/a", `/root/${name}`);
    const outcome = await pair.run();
    expect(problemsOf(outcome).map(({ path, code }) => `${path} ${code}`)).toEqual(["a SUSPECT"]);
    expect([here.show(), pairs(here)]).toEqual(["a=two b=one c=one", "b=c"]);
    expect(changesOf(await pair.run())).toEqual([]);
    here.user.setMtime("/root/a", mtimeNs + 1n);
    expect([await pair.agree(), pairs(here), pairs(there)]).toEqual(["a=two b=one c=one", "b=c", "b=c"]);
  }
});

test("[LINK-17] a name that comes while its file is healed is one of it at the end", async () => {
  for (const names of [["b"], ["0", "b"]]) {
    const pair = new SimPair({ session });
    pair.beta.put({ a: "one" });
    if (names.length > 1) pair.beta.user.link("/root/a", "/root/c");
    await pair.agree({ deep: true });
    pair.rest();
    pair.alpha.disk.flipBit("/root/a", 0);
    for (const name of names) pair.beta.user.link("/root/a", `/root/${name}`);
    const tree = await pair.agree({ deep: true });
    expect(tree.split(" ").every((word) => word.endsWith("=one"))).toBe(true);
    expect(pairs(pair.alpha)).toBe(pairs(pair.beta));
    expect(changesOf(await pair.run({ deep: true }))).toEqual([]);
  }
});
