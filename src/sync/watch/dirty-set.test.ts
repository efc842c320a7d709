import { expect, test } from "bun:test";
import { DIRTY_PATHS_MAX, DirtySet } from "#sync/watch/dirty-set.ts";

test("[DIRTY-1] the wider extent of a path wins, and take() begins anew", () => {
  const set = new DirtySet();
  set.mark("a", "subtree");
  set.mark("a", "entry");
  set.mark("b", "entry");
  set.mark("b", "children");
  expect(set.take()).toEqual({ all: false, paths: new Map([["a", "subtree"], ["b", "children"]]) });
  expect(set.isEmpty).toBe(true);
});

test("[DIRTY-2] too many paths become their directories, and those everything", () => {
  const set = new DirtySet();
  set.mark("new", "subtree");
  for (let n = 0; n <= DIRTY_PATHS_MAX; n++) set.mark(`d${n % 3}/f${n}`, "entry");
  const { all, paths } = set.take();
  expect(all).toBe(false);
  expect(paths.get("new")).toBe("subtree");
  expect(paths.get("d0")).toBe("children");
  expect(paths.size).toBeLessThan(10);
  for (let n = 0; n <= DIRTY_PATHS_MAX; n++) set.mark(`d${n}/f`, "entry");
  expect(set.take()).toEqual({ all: true, paths: new Map() });
});

test("[DIRTY-3] what could not be looked at is given back", () => {
  const set = new DirtySet();
  set.mark("a", "entry");
  const taken = set.take();
  set.mark("b", "entry");
  set.restore(taken);
  expect([...set.take().paths.keys()].sort()).toEqual(["a", "b"]);
});
