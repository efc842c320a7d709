import { describe, expect, test } from "bun:test";
import type { Entry } from "#model/entry.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import type { Step } from "#sync/plan/order.ts";
import { type StepGroup, firstCopyCuts, stepGroups } from "#sync/session/step-groups.ts";

const SMALL = 100;
const LARGE = 1 << 20;

function made(path: RelPath, entry: Entry, old?: Entry): Step {
  return { type: "change", change: { side: "beta", path, old, new: entry, action: "content" } };
}

const dir = (path: RelPath): Step => made(path, { kind: "dir", mode: 0o755 });
const file = (path: RelPath, size = SMALL): Step => made(path, { kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined });
const pathOf = (step: Step): RelPath => (step.type === "move" ? step.move.to : step.change.path);

/** In executing order: directories first, then all files, either in the order of their paths. */
function copyOf(trees: number, filesEach: number): Step[] {
  const names = Array.from({ length: trees }, (_, at) => `tree-${String(at).padStart(3, "0")}`);
  const dirs = names.flatMap((name) => [dir(name), dir(`${name}/sub`)]);
  const files = names.flatMap((name) =>
    Array.from({ length: filesEach }, (_, at) => file(`${name}/sub/${String(at).padStart(6, "0")}`)),
  );
  return [...dirs, ...files];
}

const groupsOf = (steps: Step[], comparesAll = true): StepGroup[] => [...stepGroups(steps, false, comparesAll)];

describe("groups of steps", () => {
  test("[SESSION-38] a first copy is cut between new directories, each whole and behind what it lies in", () => {
    const steps = copyOf(40, 1000);
    const groups = groupsOf(steps);
    expect(groups.length).toBeGreaterThan(3);
    expect(groups.map(({ isLast }) => isLast)).toEqual(groups.map((_, at) => at === groups.length - 1));
    expect(groups.every(({ mayOverlap }) => mayOverlap)).toBe(true);
    const all = groups.flatMap((group) => group.steps.map(pathOf));
    expect(all.toSorted()).toEqual(steps.map(pathOf).toSorted());
    const groupOf = new Map(groups.flatMap((group, at) => group.steps.map((step) => [pathOf(step), at] as const)));
    const place = new Map(all.map((path, at) => [path, at]));
    for (const path of all) {
      if (!path.includes("/")) continue;
      expect(groupOf.get(path)).toBe(groupOf.get(parentOf(path)));
      if (place.get(path)! < place.get(parentOf(path))!) throw new Error(`${path} comes before what it lies in`);
    }
  });

  test("[SESSION-48] the groups at the end of a first copy are smaller, and one that is small is a single group", () => {
    const sizes = groupsOf(copyOf(40, 1000)).map(({ steps }) => steps.length);
    expect(sizes[0]).toBeGreaterThanOrEqual(8000);
    expect(sizes.at(-1)!).toBeLessThanOrEqual(sizes[0]! / 2);
    expect(sizes.slice(1).every((size, at) => size <= sizes[at]!)).toBe(true);
    expect(groupsOf(copyOf(4, 1500)).length).toBe(1);
  });

  test("[SESSION-48] so are they when a scan ends that was copied while it went on", () => {
    const steps = Array.from({ length: 30 }, (_, at) => [dir(`t${100 + at}`), ...Array.from({ length: 999 }, (_, no) => file(`t${100 + at}/${no}`))]).flat();
    const cut = (total: () => number | undefined): number[] => {
      const cuts = firstCopyCuts(total);
      return steps.reduce((sizes: number[], step) => {
        if (cuts.isBefore(step)) sizes.push(0);
        sizes[sizes.length - 1]!++;
        return sizes;
      }, [0]);
    };
    expect(cut(() => undefined)).toEqual([8000, 8000, 8000, 6000]);
    expect(cut(() => steps.length)).toEqual([8000, 8000, 7000, 4000, 2000, 1000]);
  });

  test("[SESSION-38] what goes through a transfer, or changes what is ignored, is staged when nothing else is placed", () => {
    for (const odd of [file("tree-000/sub/zz", LARGE), file("tree-000/sub/.synclineignore")]) {
      const groups = groupsOf([...copyOf(40, 1000), odd]);
      const groupsWithOdd = groups.filter(({ steps }) => steps.includes(odd));
      expect(groupsWithOdd.map(({ mayOverlap }) => mayOverlap)).toEqual([false]);
      expect(groups.filter(({ mayOverlap }) => mayOverlap).length).toBe(groups.length - 1);
    }
  });

  test("[SESSION-38] anything but creations, and a pair of which something is stored, keeps its order and waits", () => {
    const steps = copyOf(40, 1000);
    const old: Entry = { kind: "file", size: 1, mode: 0o644, mtimeNs: 1n, sum: undefined };
    const replaced = made("zz", { ...old, size: 2 }, old);
    const move: Step = { type: "move", move: { side: "beta", from: "a", to: "b", count: 1 } };
    const copied: Step = { type: "change", change: { side: "beta", path: "zz", old: undefined, new: old, action: "content", from: "tree-000" } };
    for (const more of [[...steps, replaced], [...steps, move], [...steps, copied]]) {
      expect(groupsOf(more).map((group) => [group.steps.length, group.mayOverlap])).toEqual([[more.length, false]]);
    }
    expect(groupsOf(steps, false).map((group) => [group.steps.map(pathOf), group.mayOverlap])).toEqual([[steps.map(pathOf), false]]);
  });

  test("[SESSION-38] a new directory of more than a group has is cut, and its rest waits for its beginning", () => {
    const groups = groupsOf(copyOf(1, 200_000));
    expect(groups.map(({ steps, mayOverlap }) => [steps.length, mayOverlap])).toEqual([[128_000, true], [72_002, false]]);
  });
});
