import { describe, expect, test } from "bun:test";
import { comparisonLines, followLines } from "#cli/commands/space-follow.ts";
import type { FollowJson } from "#gateway/api/routes-follow.ts";
import type { Paint } from "#cli/screen.ts";

/** Colours as words. */
const paint = new Proxy({}, { get: (_, name) => (text: string) => `<${String(name)} ${text}>` }) as Paint;

const WELL: FollowJson = {
  space: "demo", url: "http://hub1", source: "site", phase: "following", well: true, sequence: 1041, sourceSequence: 1041,
  heardAgoSeconds: 1, lagSeconds: 1, sameAt: 1041, differed: 0, fetchedBytes: 5,
};

describe("copies of spaces as a person reads them", () => {
  test("[FOLLOW-16] only what is whole, the same and heard is green; everything else says why", () => {
    const green = (one: FollowJson): boolean => followLines([one], paint)[0]!.includes("<green");
    expect(green(WELL)).toBe(true);
    const others: Partial<FollowJson>[] = [
      { phase: "retrying" }, { phase: "catching-up" }, { phase: "starting" }, { phase: "stopped" }, { phase: "diverged" },
      { phase: "halted" }, { phase: "following", lagSeconds: 90 }, { phase: "following" },
    ];
    for (const change of others) expect([change, green({ ...WELL, ...change, well: false })]).toEqual([change, false]);
    const error = { code: "HALT", message: "the source was put back", hint: "syncline space promote demo" };
    const lines = followLines([{ ...WELL, well: false, phase: "halted", error, differed: 2, sequence: 1000 }], paint);
    expect(lines.join("\n")).toContain("1,000 of 1,041");
    expect(lines.slice(1)).toEqual([
      "  <red the source was put back>",
      "  <dim syncline space promote demo>",
      "  <yellow 2 paths differed and were taken over from the source>",
    ]);
  });

  test("[FOLLOW-17] a comparison names the paths, a few of them unless all are wanted, and counts the rest", () => {
    const same = { sequence: 7, same: true, rounds: 1, differing: 0, whole: true, paths: [] };
    expect(comparisonLines("demo", same, false)).toEqual(["demo is the same as its source at 7"]);
    const leaf = { sequence: 3, digest: "0".repeat(16) };
    const paths = Array.from({ length: 30 }, (_, at) => ({ path: `f${at}\n`, here: leaf }));
    const found = { sequence: 7, same: false, rounds: 4, differing: 30, whole: true, paths };
    const lines = comparisonLines("demo", found, false);
    expect(lines).toHaveLength(22);
    expect(lines[1]).toMatch(/f0\\n +here version 3 +there nothing/);
    expect(lines.at(-1)).toBe("  and 10 more");
    expect(comparisonLines("demo", found, true)).toHaveLength(31);
  });
});
