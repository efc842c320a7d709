import { expect, test } from "bun:test";
import { judge, planHash } from "#sync/plan/brake.ts";
import { detectMoves } from "#sync/plan/moves.ts";
import { planOf, preserve, world } from "#sync/plan/plan-fixture.ts";
import type { World } from "#sync/plan/plan-fixture.ts";
import { withoutCaseCollisions } from "#sync/plan/case-collisions.ts";
import type { Brake } from "#sync/session/events.ts";

function files(from: number, to: number, content = ""): string {
  return Array.from({ length: to - from }, (_, at) => `f${from + at}=${content}${from + at}`).join(" ");
}

function held(now: World, brake?: Brake): string | undefined {
  return judge(planOf(now), brake, { alpha: now.alpha.size, beta: now.beta.size })?.reason;
}

test("[BRAKE-1] more than half of a side and more than 20 entries removed is held", () => {
  expect(held(world(files(0, 40), files(0, 19), files(0, 40)))).toBe("21 of 40 entries of beta would be removed");
  expect(held(world(files(0, 40), files(0, 20), files(0, 40)))).toBeUndefined();
  expect(held(world(files(0, 10), files(0, 1), files(0, 10)))).toBeUndefined();
});

test("[BRAKE-10] with what is replaced, more than half and more than 1000 entries; a limit of one's own only raises it", () => {
  const replaced = (count: number) => world(files(0, 1100), files(0, count, "x") + " " + files(count, 1100), files(0, 1100));
  expect(held(world(files(0, 40), files(0, 40, "x"), files(0, 40)))).toBeUndefined();
  expect(held(replaced(1000))).toBeUndefined();
  expect(held(replaced(1001))).toBe("1001 of 1100 entries of beta would be removed or replaced");
  expect(held(replaced(1000), { count: 3, percent: undefined })).toBeUndefined();
  expect(held(replaced(1100), { count: 2000, percent: undefined })).toBeUndefined();
  const both = world(files(0, 2200), files(0, 1100, "x"), files(0, 2200));
  expect(held(both, { count: 1500, percent: undefined })).toBe("2200 of 2200 entries of beta would be removed or replaced");
});

test("[BRAKE-2] a limit of one's own replaces the default; of count and percent the larger counts", () => {
  const now = world(files(0, 10), files(0, 5), files(0, 10));
  expect(held(now, { count: 4, percent: undefined })).toContain("5 of 10");
  expect(held(now, { count: 5, percent: undefined })).toBeUndefined();
  expect(held(now, { count: 4, percent: 50 })).toBeUndefined();
  expect(held(now, { count: undefined, percent: 0 })).toContain("5 of 10");
});

test("[BRAKE-3] a side is never emptied without approval, but its only entry may go", () => {
  expect(held(world("a=1 b=1", "", "a=1 b=1"), { count: 100, percent: 100 })).toContain("all 2 entries of beta");
  expect(held(world("a=1", "", "a=1"))).toBeUndefined();
});

test("[BRAKE-4] creations, moves and metadata never trip it", () => {
  expect(held(world("", files(0, 50), ""))).toBeUndefined();
  const before = `d/a=1 ${files(0, 30)}`;
  const now = world(before, files(0, 30).replaceAll("f", "n/f") + " n/a=1", before);
  const plan = detectMoves(planOf(now), { preserve });
  expect(judge(plan, { count: 2, percent: 0 }, { alpha: 32, beta: 32 })).toBeUndefined();
});

test("[BRAKE-5] the hash names the effects of a plan and nothing else", () => {
  const hash = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 12);
  const plan = planOf(world("f=1 g=1", "f=2 g=1", "f=1 g=1"));
  const again = planOf(world("f=1 g=1 h=7", "f=2 g=1 h=8", "f=1 g=1 h=9"));
  expect(planHash(plan, hash)).toMatch(/^[0-9a-f]{12}$/);
  expect(planHash(again, hash)).toBe(planHash(plan, hash));
  expect(planHash(planOf(world("f=1 g=1", "f=3 g=1", "f=1 g=1")), hash)).not.toBe(planHash(plan, hash));
  expect(planHash(planOf(world("", files(0, 3000), "")), hash)).not.toBe(
    planHash(planOf(world("", files(1, 3000), "")), hash),
  );
});

test("[NAME-1] what a side cannot tell apart is refused with all below it, and reported", () => {
  const now = world("readme=1", "readme=1 README=2 Dir/x=1 dir/y=1 e\u0301=1 é=2", "readme=1");
  const plan = withoutCaseCollisions(planOf(now), "beta", (dir) => (dir === "" ? ["readme"] : []));
  expect(plan.changes.map(({ path }) => path)).toEqual(["Dir", "Dir/x", "e\u0301"]);
  expect(plan.blocked.map(({ path, code, side }) => [path, code, side])).toEqual([
    ["README", "NAME", "beta"],
    ["dir", "NAME", "beta"],
    ["é", "NAME", "beta"],
  ]);
  expect(plan.counts.beta.creates).toBe(3);
});

test("[NAME-2] a name may change its case by a move", () => {
  const moved = detectMoves(planOf(world("readme=1", "README=1", "readme=1")), { preserve });
  expect(withoutCaseCollisions(moved, "beta", () => ["readme"])).toBe(moved);
  const other = detectMoves(planOf(world("a=1 readme=2", "README=1 readme=2", "a=1 readme=2")), { preserve });
  const refused = withoutCaseCollisions(other, "beta", () => ["a", "readme"]);
  expect([refused.moves, refused.changes, refused.blocked.map(({ code }) => code)]).toEqual([[], [], ["NAME"]]);
});
