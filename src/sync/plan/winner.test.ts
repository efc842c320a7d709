import { expect, test } from "bun:test";
import { file } from "#sync/plan/plan-fixture.ts";
import { conflictWinner } from "#sync/plan/winner.ts";

test("[PLAN-17] of two contents the one on a side that was put back from a backup is kept beside the other", () => {
  for (const [a, b] of [[file("one"), file("two")], [file("two"), file("one")]] as const) {
    expect(conflictWinner("two-way-safe", "copy", a, b, "alpha")).toBe("beta");
    expect(conflictWinner("two-way-safe", "copy", a, b, "beta")).toBe("alpha");
    // A person or a mode that has chosen a side is not overruled.
    expect(conflictWinner("two-way-resolved", "copy", a, b, "alpha")).toBe("alpha");
    expect(conflictWinner("two-way-safe", "beta", a, b, "beta")).toBe("beta");
    expect(conflictWinner("two-way-safe", "leave", a, b, "beta")).toBeUndefined();
  }
});
