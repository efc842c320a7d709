import { expect, test } from "bun:test";
import fc from "fast-check";
import { compareContent, sameEntry } from "#model/entry.ts";
import { comparePaths, isWithin, parentOf } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import { MODES } from "#model/plan.ts";
import type { Change, ConflictPolicy, Mode, Plan, Side } from "#model/plan.ts";
import { carriesFrom, firstCopyOf } from "#sync/plan/first-copy.ts";
import { detectMoves } from "#sync/plan/moves.ts";
import { deleteSubtree, dir, file, isEmpty, perform, planOf, preserve, show, world } from "#sync/plan/plan-fixture.ts";
import type { Forest, Settings, World } from "#sync/plan/plan-fixture.ts";

/** One edit of a tree, as a person would make it. */
type Edit = {
  path: RelPath;
  to: RelPath;
  what: "write" | "link" | "mkdir" | "remove" | "rename" | "touch";
  content: number;
};

const somePath = fc
  .array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 })
  .map((names) => names.join("/"));
const edit: fc.Arbitrary<Edit> = fc.record({
  path: somePath,
  to: somePath,
  what: fc.constantFrom("write", "write", "write", "link", "mkdir", "remove", "rename", "touch"),
  content: fc.nat(3),
});
const edits = (maxLength: number) => fc.array(edit, { maxLength });

function makeRoom(tree: Forest, path: RelPath): void {
  for (let up = parentOf(path); up !== ""; up = parentOf(up)) if (tree.get(up)?.kind !== "dir") tree.set(up, dir);
  deleteSubtree(tree, path);
}

/** Performs the edits; contents and times written are `who`'s own, except content 0, which both may write. */
function perturb(before: Forest, list: readonly Edit[], who: Side | "base"): Forest {
  const tree: Forest = new Map(before);
  for (const { path, to, what, content } of list) {
    const here = tree.get(path);
    const mtime = (who === "alpha" ? 100 : 201) + content * 10;
    if (what === "write") {
      makeRoom(tree, path);
      tree.set(path, file(content === 0 ? "shared" : `${who}${content}${path}`, mtime));
    } else if (what === "link") {
      makeRoom(tree, path);
      tree.set(path, { kind: "symlink", target: `${who}${content}` });
    } else if (what === "mkdir" && here === undefined) {
      makeRoom(tree, path);
      tree.set(path, dir);
    } else if (what === "remove") deleteSubtree(tree, path);
    else if (what === "touch" && here?.kind === "file") tree.set(path, { ...here, mtimeNs: BigInt(mtime) });
    else if (what === "rename" && here !== undefined && !isWithin(to, path) && !isWithin(path, to)) {
      const moved = [...tree].filter(([inner]) => isWithin(inner, path));
      deleteSubtree(tree, path);
      makeRoom(tree, to);
      for (const [inner, entry] of moved) tree.set(to + inner.slice(path.length), entry);
    }
  }
  return tree;
}

/** One random tree and two perturbations of it: independent trees would agree nowhere and test little. */
const someWorld: fc.Arbitrary<World> = fc.tuple(edits(10), edits(5), edits(5)).map(([base, alpha, beta]) => {
  const ancestor = perturb(new Map(), base, "base");
  return { ancestor, alpha: perturb(ancestor, alpha, "alpha"), beta: perturb(ancestor, beta, "beta") };
});

const policies: ConflictPolicy[] = ["leave", "copy", "alpha", "beta", "newer"];
const someSettings: fc.Arbitrary<Required<Settings>> = fc.record({
  mode: fc.constantFrom(...MODES),
  conflict: fc.constantFrom(...policies),
  delete: fc.boolean(),
});

const RUNS = { numRuns: 400 };
const ROUNDS_MAX = 3;

/** Rounds of planning and performing, with moves or without, until a plan is empty. */
function settle(start: World, settings: Settings, withMoves: boolean): { end: World; rounds: number; last: Plan } {
  let now = start;
  for (let rounds = 0; ; rounds++) {
    const plan = planOf(now, settings);
    if (isEmpty(plan) || rounds > ROUNDS_MAX) return { end: now, rounds, last: plan };
    now = perform(now, withMoves ? detectMoves(plan, { preserve }) : plan);
  }
}

/** Everything new on a side that is on neither side at the end. */
function lost(start: World, end: World): RelPath[] {
  const kept = [...end.alpha.values(), ...end.beta.values()];
  const missing: RelPath[] = [];
  for (const side of ["alpha", "beta"] as const) {
    for (const [path, entry] of start[side]) {
      const known = start.ancestor.get(path);
      if (entry.kind === "dir" || (known !== undefined && compareContent(known, entry) === "same")) continue;
      if (!kept.some((other) => compareContent(other, entry) === "same")) missing.push(path);
    }
  }
  return missing;
}

function differences(a: Forest, b: Forest): RelPath[] {
  const paths = new Set([...a.keys(), ...b.keys()]);
  return [...paths].filter((path) => !sameEntry(a.get(path), b.get(path), preserve));
}

const twoWay: Mode[] = ["two-way-safe", "two-way-resolved"];

test("[PLAN-9] any plan can be performed as ordered, and after at most three rounds nothing is left to do", () => {
  fc.assert(
    fc.property(someWorld, someSettings, fc.boolean(), (start, settings, withMoves) => {
      expect(settle(start, settings, withMoves).rounds).toBeLessThanOrEqual(ROUNDS_MAX);
    }),
    RUNS,
  );
});

test("[PLAN-10] two-way sides become equal outside the conflicts that are left; a mirror becomes its original", () => {
  fc.assert(
    fc.property(someWorld, someSettings, fc.boolean(), (start, settings, withMoves) => {
      const { end, last } = settle(start, settings, withMoves);
      const left = (path: RelPath) => last.conflicts.some((conflict) => isWithin(path, conflict.path));
      const differing = differences(end.alpha, end.beta).filter((path) => !left(path));
      if (twoWay.includes(settings.mode)) expect(differing).toEqual([]);
      else expect(end.alpha).toEqual(start.alpha);
      if (settings.mode === "one-way-replica" && settings.delete) expect(show(end.beta)).toBe(show(end.alpha));
      if (settings.mode === "one-way-replica") expect(differing.filter((path) => end.alpha.has(path))).toEqual([]);
      const decided = ["copy", "alpha", "beta"].includes(settings.conflict) || settings.mode === "two-way-resolved";
      if (twoWay.includes(settings.mode) && decided) expect(last.conflicts).toEqual([]);
    }),
    RUNS,
  );
});

test("[PLAN-11] no new content is lost where conflicts are left or copied", () => {
  const settings = fc.record({
    mode: fc.constantFrom<Mode>("two-way-safe", "two-way-resolved", "one-way-safe"),
    conflict: fc.constantFrom<ConflictPolicy>("leave", "copy"),
    delete: fc.boolean(),
  });
  fc.assert(
    fc.property(someWorld, settings, fc.boolean(), (start, chosen, withMoves) => {
      fc.pre(chosen.mode !== "two-way-resolved" || chosen.conflict === "copy");
      const { end } = settle(start, chosen, withMoves);
      expect(lost(start, end)).toEqual([]);
    }),
    RUNS,
  );
});

test("[PLAN-15] a run cut short after any step loses nothing, and the next ones finish it", () => {
  const cut = fc.nat(12);
  const keeping = fc.constantFrom<ConflictPolicy>("leave", "copy");
  fc.assert(
    fc.property(someWorld, keeping, cut, fc.boolean(), (start, conflict, at, withMoves) => {
      const plan = planOf(start, { conflict });
      const torn = perform(start, withMoves ? detectMoves(plan, { preserve }) : plan, at);
      const { end, rounds, last } = settle(torn, { conflict }, withMoves);
      expect(rounds).toBeLessThanOrEqual(ROUNDS_MAX);
      expect(lost(start, end)).toEqual([]);
      const left = (path: RelPath) => last.conflicts.some((conflict) => isWithin(path, conflict.path));
      expect(differences(end.alpha, end.beta).filter((path) => !left(path))).toEqual([]);
    }),
    RUNS,
  );
});

/** Performs the plan for `start` and looks at every path where the ancestor is another than before. */
function expectAgreedIsHeld(start: World, settings: Settings, withMoves: boolean): void {
  const plan = planOf(start, settings);
  const after = perform(start, withMoves ? detectMoves(plan, { preserve }) : plan);
  for (const [path, entry] of after.ancestor) {
    if (sameEntry(start.ancestor.get(path), entry, preserve)) continue;
    expect([path, after.alpha.get(path)]).toEqual([path, entry]);
    expect([path, after.beta.get(path)]).toEqual([path, entry]);
  }
}

test("[PLAN-12] the ancestor changes only to what both sides hold", () => {
  // Beta has made a directory of an agreed file, and the plan moves that to where alpha has its equal.
  const start = world("b/b=agreed a/a=agreed", "a/a=same b=same:100", "b/b/a=same");
  expectAgreedIsHeld(start, { mode: "one-way-replica" }, true);
  fc.assert(fc.property(someWorld, someSettings, fc.boolean(), expectAgreedIsHeld), RUNS);
});

test("[PLAN-13] two-way-safe treats the sides alike", () => {
  const swap = (side: Side): Side => (side === "alpha" ? "beta" : "alpha");
  fc.assert(
    fc.property(someWorld, fc.constantFrom<ConflictPolicy>("leave", "newer"), (start, conflict) => {
      const plan = planOf(start, { conflict });
      const mirrored = planOf({ ancestor: start.ancestor, alpha: start.beta, beta: start.alpha }, { conflict });
      const key = (change: Plan["changes"][number]) => `${change.path} ${change.side}`;
      const order = (a: Plan["changes"][number], b: Plan["changes"][number]) => (key(a) < key(b) ? -1 : 1);
      const swapped = mirrored.changes.map((change) => ({ ...change, side: swap(change.side) }));
      expect([...plan.changes].sort(order)).toEqual(swapped.sort(order));
      expect(plan.conflicts.map(({ path }) => path)).toEqual(mirrored.conflicts.map(({ path }) => path));
    }),
    RUNS,
  );
});

test("[PLAN-14] what is unknown or ignored stays as it is, with the directories that hold it", () => {
  const veil = fc.array(somePath, { maxLength: 1 });
  const someVeils = fc.record({
    unknown: fc.record({ alpha: veil, beta: veil }),
    ignored: fc.record({ alpha: veil, beta: veil }),
  });
  fc.assert(
    fc.property(someWorld, someSettings, someVeils, (start, settings, drawn) => {
      // Something can only fail to be observed, or be filtered, in a directory that is there.
      const possible = (side: Side, paths: readonly RelPath[]) =>
        paths.filter((path) => parentOf(path) === "" || start[side].get(parentOf(path))?.kind === "dir");
      const unknown = { alpha: possible("alpha", drawn.unknown.alpha), beta: possible("beta", drawn.unknown.beta) };
      const ignored = { alpha: possible("alpha", drawn.ignored.alpha), beta: possible("beta", drawn.ignored.beta) };
      const within = (path: RelPath, veils: readonly RelPath[]) => veils.some((veil) => isWithin(path, veil));
      // The executor fails when a directory is removed while something hidden is in it.
      const plan = planOf(start, settings, { unknown, ignored });
      const after = perform(start, plan);
      for (const side of ["alpha", "beta"] as const) {
        for (const [path, entry] of start[side]) {
          if (!within(path, [...unknown[side], ...ignored[side]])) continue;
          expect([path, after[side].get(path)]).toEqual([path, entry]);
        }
      }
      // A won conflict above starts from nothing agreed; so does what is ignored now.
      const forgotten = [...ignored.alpha, ...ignored.beta, ...plan.moves.map((move) => move.from)];
      for (const [path, entry] of start.ancestor) {
        if (!within(path, [...unknown.alpha, ...unknown.beta]) || within(path, forgotten)) continue;
        expect([path, after.ancestor.get(path)]).toEqual([path, entry]);
      }
    }),
    RUNS,
  );
});

test("[PLAN-18] what a first copy does is what reconcile plans", () => {
  fc.assert(
    fc.property(edits(12), someSettings, fc.constantFrom<Side>("alpha", "beta"), (list, settings, from) => {
      const held = perturb(new Map(), list, from);
      const nothing: Forest = new Map();
      const now: World = from === "alpha" ? { ancestor: nothing, alpha: held, beta: nothing } : { ancestor: nothing, alpha: nothing, beta: held };
      const entries = [...held].toSorted(([a], [b]) => comparePaths(a, b));
      const to = from === "alpha" ? "beta" : "alpha";
      expect(carriesFrom(from, settings.mode)).toBe(from === "alpha" || twoWay.includes(settings.mode));
      if (!carriesFrom(from, settings.mode)) return;
      const { counts: _, ...plan } = planOf(now, settings);
      const changes = entries.map(([path, entry]) => firstCopyOf(to, path, entry));
      expect(plan).toEqual({ changes: changes as Change[], moves: [], conflicts: [], agreements: [], blocked: [] });
      expect(firstCopyOf(to, "z", { kind: "other", what: "fifo" })).toBeUndefined();
    }),
    RUNS,
  );
});
