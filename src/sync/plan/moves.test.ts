import { expect, test } from "bun:test";
import { detectMoves } from "#sync/plan/moves.ts";
import type { MoveHints } from "#sync/plan/moves.ts";
import { executionOrder } from "#sync/plan/order.ts";
import { perform, planOf, preserve, show, world } from "#sync/plan/plan-fixture.ts";
import type { Settings } from "#sync/plan/plan-fixture.ts";

/** What alpha did since the ancestor, as the plan for beta in short: "from>to", "+created<copied", "~metadata". */
function planned(ancestor: string, alpha: string, hints: Partial<MoveHints> = {}): string {
  const now = world(ancestor, alpha, ancestor);
  const plan = detectMoves(planOf(now), { preserve, ...hints });
  expect(show(perform(now, plan).beta)).toBe(show(now.alpha));
  const moves = plan.moves.map(({ from, to, count }) => `${from}>${to}${count > 1 ? `(${count})` : ""}`);
  const changes = plan.changes.map(({ path, action, old, from }) => {
    const sign = action === "remove" ? "-" : action === "metadata" ? "~" : old === undefined ? "+" : "*";
    return `${sign}${path}${from === undefined ? "" : `<${from}`}`;
  });
  return [...moves, ...changes].join(" ");
}

const table: [rule: string, ancestor: string, alpha: string, expected: string][] = [
  ["a file is moved", "a=1", "b=1", "a>b"],
  ["into a new directory", "a=1", "d/e/b=1", "a>d/e/b +d +d/e"],
  ["out of a removed directory", "d/a=1", "a=1", "d/a>a -d"],
  ["other content is no move", "a=1", "b=2", "-a +b"],
  ["a directory is moved as a whole", "d/a=1 d/e/b=2 d/l@x", "n/a=1 n/e/b=2 n/l@x", "d>n(5)"],
  ["deeper or higher", "d/a=1", "x/y/a=1", "d>x/y(2) +x"],
  ["metadata follows the move", "d/a=1:1 d/b=2", "n/a=1:5 n/b=2", "d>n(3) ~n/a"],
  ["a directory with a change falls back to its parts", "d/a=1 d/b=2 d/e/c=3 d/e/f=4", "n/a=1 n/b=9 n/e/c=3 n/e/f=4",
    "d/a>n/a d/e>n/e(3) -d -d/b +n +n/b"],
  ["a directory that stays is no whole", "d/a=1 d/b=2", "d/a=1 n/b=2", "d/b>n/b +n"],
  ["two of the same content: names decide", "p/x=1 p/y=1", "q/y=1 r/x=1", "p/y>q/y p/x>r/x -p +q +r"],
  ["one becomes two: a move and a copy made of it", "a=1", "b=1 c=1", "a>b +c"],
  ["a swap is two copies", "a=1 b=2", "a=2 b=1", "*a<b *b<a"],
  ["a cycle is three copies", "a=1 b=2 c=3", "a=3 b=1 c=2", "*a<c *b<a *c<b"],
  ["a chain is copies and a removal", "a=1 b=2", "b=1 c=2", "-a *b<a +c<b"],
  ["files pass each other between directories", "x=1 y/z=2", "w/z=2 y/x=1", "y/z>w/z x>y/x +w"],
  ["a file moved away below a name that becomes a file", "d/a=1 d/b=2", "d=9 e=1", "d/a>e *d -d/b"],
  ["the same out of a directory in it", "d/s/a=1 d/b=2", "d=9 e=1", "d/s/a>e *d -d/b -d/s"],
  ["a file moved below its own old name", "a=1", "a/a=1", "*a +a/a<a"],
  ["what was moved as a part is not a target again", "p/s/a=1 q/a=1", "n/s/a=1", "p>n(3) -q -q/a"],
  ["nothing empty is moved by itself", "a= d/", "b= e/", "-a +b -d +e"],
];

for (const [rule, ancestor, alpha, expected] of table) {
  test(`[MOVE-1] ${rule}`, () => {
    expect(planned(ancestor, alpha)).toBe(expected);
  });
}

test("[MOVE-2] renames seen by inode choose among equals, and move what is empty", () => {
  const renamed = { alpha: new Map([["z/f", "b/f"], ["n", "m"]]) };
  expect(planned("a/f=1 b/f=1 m=", "a/f=1 z/f=1 n=")).toBe("b>z(2) -m +n");
  expect(planned("a/f=1 b/f=1 m= k/", "k/ y/f=1 z/f=1 n=", { renamed })).toBe("m>n a>y(2) b>z(2)");
});

test("[MOVE-3] bytes that the side has elsewhere are copied there", () => {
  const sumLocation = () => "kept";
  expect(planned("kept=1 f=2", "kept=1 f=1 g=1", { sumLocation })).toBe("*f<kept +g<kept");
  expect(planned("d/f=1", "e/f=1 g=1", { sumLocation: () => "d/f" })).toBe("d>e(2) +g");
});

test("[MOVE-6] nothing is moved to where a move was refused, and no directory there as a whole", () => {
  const apart = (...paths: string[]): Partial<MoveHints> => ({ apart: { beta: new Set(paths) } });
  expect(planned("a=1 b=2", "n=1 m=2", apart("n"))).toBe("b>m -a +n<a");
  expect(planned("d/a=1 d/e/b=2 o/x=3", "n/a=1 n/e/b=2 p/x=3", apart("n"))).toBe("d/a>n/a d/e/b>n/e/b o>p(2) -d -d/e +n +n/e");
});

test("[MOVE-4] the loser of a conflict is put aside first, and nothing is moved to its path", () => {
  const settings: Settings = { conflict: "copy" };
  const now = world("d=1 old/x=5", "d/x=5", "d=3 old/x=5");
  const plan = detectMoves(planOf(now, settings), { preserve });
  expect(plan.moves).toEqual([expect.objectContaining({ side: "beta", from: "d", count: 1, aside: true })]);
  expect(executionOrder(plan, "beta")[0]).toEqual({ type: "move", move: plan.moves[0]! });
  const { beta } = perform(now, plan);
  expect(show(beta)).toContain("d/ d/x=");
});

test("[PLAN-19] directories are removed after all else that goes, children first, also where one gives way to a file", () => {
  const tree = "d/a=1 d/e/b=2 d/f/c=3 g/h=4 stays=5";
  const removals = (alpha: string): string[] => {
    const steps = executionOrder(planOf(world(tree, alpha, tree)), "beta");
    return steps.flatMap((step) => (step.type === "change" && step.change.action === "remove" ? [step.change.path] : []));
  };
  expect(removals("stays=5")).toEqual(["g/h", "d/f/c", "d/e/b", "d/a", "g", "d/f", "d/e", "d"]);
  expect(removals("d=6 stays=5")).toEqual(["d/f/c", "d/e/b", "d/a", "d/f", "d/e", "g/h", "g"]);
});

test("[MOVE-5] a renamed directory of 10,000 files is one move", () => {
  const files = (dir: string) => Array.from({ length: 10_000 }, (_, at) => `${dir}/f${at}=c${at}`).join(" ");
  const plan = planOf(world(files("old"), files("new"), files("old")));
  const moved = detectMoves(plan, { preserve });
  expect(moved.moves).toEqual([{ side: "beta", from: "old", to: "new", count: 10_001 }]);
  expect(moved.changes).toEqual([]);
  expect(moved.counts.beta).toEqual({ creates: 0, replaces: 0, metadata: 0, removes: 0, moves: 1, bytes: 0 });
});
