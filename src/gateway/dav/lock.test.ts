import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isWithin } from "#model/path.ts";
import { type Lock, covers, locksAgainst, locksInTheWay, timeoutOf } from "#gateway/dav/lock.ts";

let made = 0;
const lock = (path: string, more: Partial<Lock> = {}): Lock => ({
  token: `t:${made++}`, path, isDeep: false, isExclusive: true, user: "user:ann", owner: "", timeoutSeconds: 60, expiresMs: 1, ...more,
});
const touch = (path: string, isTree = false) => [{ path, isTree }];
const inTheWay = (locks: Lock[], path: string, isTree: boolean, tokens: Lock[], user = "user:ann"): Lock[] =>
  locksInTheWay(locks, touch(path, isTree), new Set(tokens.map(({ token }) => token)), user);

describe("locks", () => {
  test("[DAV-4] whoever holds the token may write, nobody else, and nobody with somebody else's token", () => {
    const own = lock("a/b");
    expect(inTheWay([own], "a/b", false, [own])).toEqual([]);
    expect(inTheWay([own], "a/b", false, [])).toEqual([own]);
    expect(inTheWay([own], "a/b", false, [own], "user:eve")).toEqual([own]);
    expect(inTheWay([own], "a", false, [])).toEqual([]);
    expect(inTheWay([own], "a/bc", true, [])).toEqual([]);
    expect(inTheWay([own], "a", true, [])).toEqual([own]);
    expect(inTheWay([own], "a", true, [own])).toEqual([]);
    const deep = lock("a", { isDeep: true });
    expect(inTheWay([deep], "a/b/c", false, [])).toEqual([deep]);
    expect(inTheWay([lock("a")], "a/b", false, [])).toEqual([]);
  });

  test("[DAV-4] of shared locks one's own token is enough; each locked path below needs its own", () => {
    const mine = lock("a", { isExclusive: false });
    const other = lock("a", { isExclusive: false, user: "user:bob" });
    expect(inTheWay([mine, other], "a", false, [mine])).toEqual([]);
    expect(inTheWay([mine, other], "a", false, [])).toEqual([mine, other]);
    const one = lock("d/x");
    const two = lock("d/y");
    expect(inTheWay([one, two], "d", true, [one])).toEqual([two]);
  });

  test("[DAV-4] two locks meet only where both are shared", () => {
    const there = [lock("a/b", { isExclusive: false }), lock("c", { isDeep: true })];
    const against = (path: string, isDeep: boolean, isExclusive: boolean) => locksAgainst(there, { path, isDeep, isExclusive });
    expect(against("a/b", false, true)).toEqual([there[0]!]);
    expect(against("a/b", false, false)).toEqual([]);
    expect(against("a", true, true)).toEqual([there[0]!]);
    expect(against("a", false, true)).toEqual([]);
    expect(against("c/d/e", false, false)).toEqual([there[1]!]);
    expect(against("", true, false)).toEqual([there[1]!]);
  });

  test("[DAV-4] a lock that was let in leaves no path with two holders who may both write alone", () => {
    const path = fc.constantFrom("", "a", "a/b", "a/b/c", "a/d", "e");
    const wanted = fc.record({ path, isDeep: fc.boolean(), isExclusive: fc.boolean() });
    fc.assert(
      fc.property(fc.array(wanted, { maxLength: 8 }), (all) => {
        const held: Lock[] = [];
        for (const [at, one] of all.entries()) {
          if (locksAgainst(held, one).length === 0) held.push(lock(one.path, { ...one, user: `user:${at}` }));
        }
        for (const target of ["", "a", "a/b", "a/b/c", "a/d", "e"]) {
          const covering = held.filter((one) => covers(one, target));
          if (covering.some(({ isExclusive }) => isExclusive)) expect(covering).toHaveLength(1);
          const stranger = locksInTheWay(held, touch(target, true), new Set(held.map(({ token }) => token)), "user:eve");
          expect(stranger.length > 0).toBe(held.some((one) => covers(one, target) || isWithin(one.path, target)));
        }
      }),
    );
  });

  test("[DAV-5] what a client asks for in time is bounded", () => {
    const asked = (text: string | null): number => timeoutOf(text, 3600, 600);
    expect([null, "", "x", "Second-", "Second-1x"].map(asked)).toEqual([600, 600, 600, 600, 600]);
    expect([asked("Second-30"), asked("Infinite, Second-5"), asked("Second-9999999999"), asked("x, second-7"), asked("Second-0")]).toEqual([30, 3600, 3600, 7, 1]);
  });
});
