import { expect, test } from "bun:test";
import { comparePaths } from "#model/path.ts";
import { dir, file, forest, isEmpty, perform, planOf, preserve, rowsOf, show, world } from "#sync/plan/plan-fixture.ts";
import type { Settings } from "#sync/plan/plan-fixture.ts";
import { reconcile } from "#sync/plan/reconcile.ts";
import { needsSums } from "#sync/plan/rows.ts";
import type { Row } from "#sync/plan/rows.ts";
import { copyPath } from "#model/conflict-copy.ts";

/** The sides after all rounds, and the reasons of the conflicts left. */
type Case = [rule: string, ancestor: string, alpha: string, beta: string, ...outcome: [string, string, string?]];

function check(settings: Settings, cases: Case[]): void {
  const { mode, conflict = "leave" } = settings;
  for (const [rule, ancestor, alpha, beta, alphaAfter, betaAfter, conflicts = ""] of cases) {
    test(`[PLAN-1] ${mode}, ${conflict}: ${rule}`, () => {
      let now = world(ancestor, alpha, beta);
      let plan = planOf(now, settings);
      const found = plan.conflicts.map(({ path, reason }) => `${path}:${reason}`).join(" ");
      for (let round = 0; !isEmpty(plan) && round < 3; round++) {
        now = perform(now, plan);
        plan = planOf(now, settings);
      }
      expect(show(now.alpha)).toBe(show(forest(alphaAfter)));
      expect(show(now.beta)).toBe(show(forest(betaAfter)));
      expect(found).toBe(conflicts);
      expect(isEmpty(plan)).toBe(true);
    });
  }
}

check({ mode: "two-way-safe" }, [
  ["creation goes over", "", "a/f=1", "", "a/f=1", "a/f=1"],
  ["edit goes over", "f=1", "f=2", "f=1", "f=2", "f=2"],
  ["edit goes back", "f=1", "f=1", "f=2", "f=2", "f=2"],
  ["removal goes over", "d/f=1 g=1", "g=1", "d/f=1 g=1", "g=1", "g=1"],
  ["the same edit on both is agreed", "f=1", "f=2", "f=2", "f=2", "f=2"],
  ["both removed", "f=1", "", "", "", ""],
  ["two edits are a conflict", "f=1", "f=2", "f=3", "f=2", "f=3", "f:both-changed"],
  ["two creations are a conflict", "", "f=2", "f=3", "f=2", "f=3", "f:both-changed"],
  ["edit beats removal", "f=1", "", "f=2", "f=2", "f=2"],
  ["touched file beats removal", "f=1", "f=1:9", "", "f=1", "f=1"],
  ["new file resurrects its directory with itself only", "d/x=1 d/e/y=1", "", "d/x=1 d/e/y=1 d/e/n=2",
    "d/e/n=2", "d/e/n=2"],
  ["file to directory", "f=1", "f/x=2", "f=1", "f/x=2", "f/x=2"],
  ["directory to file", "d/x=1", "d=2", "d/x=1", "d=2", "d=2"],
  ["directory to file against a new child", "d/x=1", "d=2", "d/x=1 d/y=3", "d=2", "d/x=1 d/y=3", "d:kind"],
  ["directory to link against a removed child", "d/x=1 d/y=1", "d@t", "d/x=1", "d@t", "d@t"],
  ["file to directory against an edit", "f=1", "f/x=2", "f=3", "f/x=2", "f=3", "f:kind"],
  ["link retargeted", "l@a", "l@b", "l@a", "l@b", "l@b"],
  ["a pipe is left alone", "", "p!", "", "p!", ""],
  ["a pipe in the way of a file", "p=1", "p!", "p=2", "p!", "p=2", "p:untracked"],
  ["a pipe holds its directory", "d/f=1", "", "d/f=1 d/p!", "", "d/p!"],
]);

check({ mode: "two-way-resolved" }, [
  ["alpha wins", "f=1", "f=2", "f=3", "f=2", "f=2"],
  ["content still beats removal", "f=1", "", "f=3", "f=3", "f=3"],
  ["file wins, the directory with news is put aside", "d/x=1", "d=2", "d/x=1 d/y=3",
    `d=2 ${aside("d/x=1 d/y=3")}`, `d=2 ${aside("d/x=1 d/y=3")}`],
  ["directory wins over a file", "d/x=1", "d/x=1 d/y=2", "d=3", "d/x=1 d/y=2", "d/x=1 d/y=2"],
]);

/** The forest of "d" as it is called once it lost a conflict on beta. */
function aside(text: string): string {
  const plan = planOf(world("d/x=1", "d=2", text), { mode: "two-way-resolved" });
  return text.replaceAll("d/", `${plan.moves[0]!.to}/`);
}

check({ mode: "two-way-safe", conflict: "beta" }, [
  ["beta wins", "f=1", "f=2", "f=3", "f=3", "f=3"],
  ["beta's directory wins with all it holds", "d/x=1", "d=2", "d/x=1 d/y=3", "d/x=1 d/y=3", "d/x=1 d/y=3"],
]);

check({ mode: "two-way-safe", conflict: "newer" }, [
  ["later time wins", "f=1", "f=2:8", "f=3:9", "f=3", "f=3"],
  ["equal times stay a conflict", "f=1", "f=2:9", "f=3:9", "f=2", "f=3", "f:both-changed"],
  ["kinds have no times", "f=1", "f=2:9", "f@x", "f=2", "f@x", "f:kind"],
]);

check({ mode: "one-way-safe" }, [
  ["creation goes over", "", "a/f=1", "b=1", "a/f=1", "a/f=1 b=1"],
  ["beta's own edit stays", "f=1", "f=1", "f=2", "f=1", "f=2"],
  ["beta's own edit against alpha's", "f=1", "f=3", "f=2", "f=3", "f=2", "f:both-changed"],
  ["beta's own edit against alpha's removal", "f=1", "", "f=2", "", "f=2"],
  ["what beta removed comes back", "f=1", "f=1", "", "f=1", "f=1"],
  ["removal goes over, beta's own content stays", "d/f=1 d/g=1", "", "d/f=1 d/g=1 d/n=2", "", "d/n=2"],
  ["beta's own kind is a conflict", "d/x=1", "d/x=1", "d=2", "d/x=1", "d=2", "d:kind"],
]);

check({ mode: "one-way-safe", delete: false }, [
  ["nothing is removed", "d/f=1", "", "d/f=1", "", "d/f=1"],
  ["not even to make room", "d/f=1", "d=2", "d/f=1", "d=2", "d/f=1", "d:kind"],
  ["an empty directory makes room", "d/", "d=2", "d/", "d=2", "d=2"],
]);

check({ mode: "one-way-replica" }, [
  ["beta becomes alpha", "f=1 g=1", "f=1 h=2", "f=3 n/x=1", "f=1 h=2", "f=1 h=2"],
  ["whatever kinds there were", "", "d=2 e/x=1", "d/x=1 d/y/z=3 e=1", "d=2 e/x=1", "d=2 e/x=1"],
  ["except what it cannot remove", "", "f=1", "d/p!", "f=1", "d/p! f=1"],
]);

check({ mode: "one-way-replica", delete: false }, [
  ["only beta's edits go", "f=1 g=1", "f=1", "f=3 g=1 n=4", "f=1", "f=1 g=1 n=4"],
  ["a full directory makes no room", "", "d=2", "d/x=1", "d=2", "d/x=1", "d:kind"],
]);

test("[PLAN-2] policy copy keeps both: one winner whichever side asks, the loser beside it on both sides", () => {
  for (const [alpha, beta] of [["f.txt=2", "f.txt=3"], ["f.txt=3", "f.txt=2"], ["f.txt@t", "f.txt=2"]] as const) {
    const settings = { conflict: "copy" } as const;
    const straight = settle(world("f.txt=1", alpha, beta), settings);
    const swapped = settle(world("f.txt=1", beta, alpha), settings);
    expect(show(straight.alpha)).toBe(show(straight.beta));
    expect(straight.alpha.size).toBe(2);
    expect(straight.alpha.get("f.txt")).toEqual(swapped.alpha.get("f.txt")!);
    expect([...straight.alpha.keys()].sort()[0]).toMatch(/^f\.conflict-(alpha|beta)-[0-9a-f]{8}\.txt$/);
    expect(settle(straight, settings)).toEqual(straight);
  }
});

test("[PLAN-2] under policy copy a directory wins over a file, with everything it holds", () => {
  const end = settle(world("d/x=1", "d=2", "d/x=1 d/y=3"), { conflict: "copy" });
  const copy = copyPath("d", "alpha", file("2").sum!, 1);
  expect(show(end.alpha)).toBe(show(forest(`d/x=1 d/y=3 ${copy}=2`)));
  expect(end.beta).toEqual(end.alpha);
});

test("[PLAN-6] a directory with ignored content in it does not give way to a conflict's winner", () => {
  const plan = planOf(world("d=1", "d=2", "d/i=3 d/x=4"), { conflict: "alpha" }, { ignored: { beta: ["d/i"] } });
  expect(plan.conflicts.map(({ path, reason }) => `${path} ${reason}`)).toEqual(["d untracked"]);
  expect(plan.changes.length + plan.moves.length).toBe(0);
});

test("[PLAN-3] names of conflict copies fit the disk, keep their ending and avoid what is there", () => {
  expect(copyPath("d/a.tar", "beta", "0123456789", 1)).toBe("d/a.conflict-beta-01234567.tar");
  expect(copyPath(".profile", "alpha", "0123456789", 2)).toBe(".profile.conflict-alpha-01234567-2");
  const long = copyPath(`${"é".repeat(125)}.jpeg`, "alpha", "0123456789", 1);
  expect(Buffer.byteLength(long)).toBeLessThanOrEqual(255);
  expect(long).toEndWith("é.conflict-alpha-01234567.jpeg");
  const loser = planOf(world("f=1", "f=2", "f=3"), { conflict: "copy" }).moves[0]!.to;
  const taken = planOf(world(`f=1 ${loser}=9`, `f=2 ${loser}=9`, `f=3 ${loser}=9`), { conflict: "copy" });
  expect(taken.moves[0]!.to).toBe(`${loser}-2`);
});

test("[PLAN-21] a loser that the winner's side keeps beside the path already goes to that place: no content is kept twice", () => {
  const settings = { conflict: "copy" } as const;
  for (const [put, ending] of [["alpha", ""], ["beta", ".txt"]] as const) {
    const copy = copyPath(`f${ending}`, put, file("3").sum!, 1);
    for (const swaps of [false, true]) {
      const [loser, winner] = [`f${ending}=3`, `f${ending}=2 ${copy}=3`];
      const end = settle(swaps ? world("", winner, loser) : world("", loser, winner), settings);
      expect(show(end.alpha)).toBe(show(forest(winner)));
      expect(end.beta).toEqual(end.alpha);
    }
  }
});

test("[PLAN-21] what is only named like such a copy, or was known to both sides, is none", () => {
  const settings = { conflict: "copy" } as const;
  const copy = copyPath("f", "beta", file("3").sum!, 1);
  const mine = copyPath("f", "alpha", file("3").sum!, 1);
  const other = settle(world("", "f=3", `f=2 ${copy}=9`), settings);
  expect(show(other.beta)).toBe(show(forest(`f=2 ${copy}=9 ${mine}=3`)));
  // Who removes it on this side does not mean the loser, which would go with it.
  const removed = settle(world(`${copy}=3`, "f=3", `f=2 ${copy}=3`), settings);
  expect(show(removed.beta)).toBe(show(forest(`f=2 ${mine}=3`)));
  expect(removed.alpha).toEqual(removed.beta);
});

test("[PLAN-16] a policy for some paths settles what is at and below them, and leaves the rest", () => {
  const now = world("d/f=1 d/g=1 e=1 dd=1", "d/f=2 d/g=2 e=2 dd=2", "d/f=3 d/g=3 e=3 dd=3");
  const left = (conflictPaths: string[]) =>
    planOf(now, { conflict: "beta", conflictPaths }).conflicts.map(({ path }) => path);
  expect(left(["d"])).toEqual(["dd", "e"]);
  expect(left(["d/g", "e"])).toEqual(["d/f", "dd"]);
  expect(left([""])).toEqual([]);
  expect(left([])).toEqual(["d/f", "d/g", "dd", "e"]);
  expect(show(settle(now, { conflict: "beta", conflictPaths: ["d"] }).alpha)).toBe(show(forest("d/f=3 d/g=3 dd=2 e=2")));
});

test("[PLAN-4] metadata that both sides changed is merged by field without a conflict", () => {
  const merged = settle(world("f=1:1:644 g=1:1:644", "f=1:5:644 g=2:3:644", "f=1:1:600 g=1:1:600"), {});
  for (const side of [merged.alpha, merged.beta]) {
    expect(side.get("f")).toMatchObject({ mtimeNs: 5n, mode: 0o600 });
    expect(side.get("g")).toMatchObject({ ...file("2", 3), mode: 0o600 });
  }
  const both = settle(world("f=1:1:644", "f=1:5:640", "f=1:6:600"), {});
  expect(both.alpha.get("f")).toMatchObject({ mtimeNs: 6n, mode: 0o600 });
  expect(both.beta).toEqual(both.alpha);
});

test("[PLAN-5] what is unknown blocks itself, what is below, and the removal of what is above", () => {
  const now = world("d/e/f=1 d/g=1", "", "d/e/f=1 d/g=1");
  const plan = planOf(now, {}, { unknown: { beta: ["d/e"] } });
  expect(plan.changes.map(({ path, action }) => `${action} ${path}`)).toEqual(["remove d/g"]);
  expect(plan.agreements).toEqual([]);
  expect(plan.blocked.map(({ path, code }) => `${path} ${code}`)).toEqual(["d/e EACCES"]);
});

test("[PLAN-6] a newly ignored path is forgotten, not removed, and holds its directory", () => {
  const now = world("d/i=1 d/g=1", "d/i=1 d/g=1", "");
  const plan = planOf(now, {}, { ignored: { alpha: ["d/i"] } });
  expect(plan.changes.map(({ path, action }) => `${action} ${path}`)).toEqual(["remove d/g"]);
  expect(plan.agreements).toEqual([{ path: "d/i", entry: undefined }]);
  const after = perform(now, plan);
  expect(isEmpty(planOf(after, {}, { ignored: { alpha: ["d/i"] } }))).toBe(true);
});

test("[PLAN-7] only files of equal size without a sum must be hashed first; for copies any pair", () => {
  const rowWith = (size: string): Row => ({
    path: "f",
    ancestor: undefined,
    alpha: { state: "present", entry: { ...file("1"), sum: undefined } },
    beta: { state: "present", entry: file(size) },
  });
  expect(rowsOf(world("", "f=1", "f=2")).some((row) => needsSums(row, "copy"))).toBe(false);
  expect(needsSums(rowWith("2"), "leave")).toBe(true);
  expect(needsSums(rowWith("22"), "leave")).toBe(false);
  expect(needsSums(rowWith("22"), "copy")).toBe(true);
  const opposed: Row = { ...rowWith("2"), beta: { state: "present", entry: dir } };
  expect([needsSums(opposed, "copy"), needsSums(opposed, "leave")]).toEqual([true, false]);
  // Gone from one side: was what is left there edited?
  const left: Row = { ...rowWith("2"), ancestor: file("1"), beta: { state: "absent" } };
  expect(needsSums(left, "leave")).toBe(true);
  expect(needsSums({ ...left, ancestor: file("22") }, "leave")).toBe(false);
  expect(needsSums({ ...left, ancestor: undefined }, "leave")).toBe(false);
});

test("[PLAN-8] rows out of order are refused", () => {
  const rows = rowsOf(world("", "a=1 b=1", "")).sort((a, b) => -comparePaths(a.path, b.path));
  const lookup = { hides: () => false, refuses: () => false, has: () => false };
  const input = { mode: "two-way-safe", conflict: "leave", delete: true, lookup, rows } as const;
  expect(() => reconcile({ ...input, preserve })).toThrow("out of order");
});

function settle(now: ReturnType<typeof world>, settings: Parameters<typeof planOf>[1]): ReturnType<typeof world> {
  for (let round = 0; round < 3; round++) now = perform(now, planOf(now, settings));
  return now;
}
