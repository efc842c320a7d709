import { describe, expect, test } from "bun:test";
import type { JournalRecord } from "#hub/space.ts";
import type { Entry } from "#model/entry.ts";
import { unseen } from "#testing/hub/space-oracle.ts";

const file = (sum: string): Entry => ({ kind: "file", size: 3, mode: 0o644, mtimeNs: 0n, sum });
const [SEEN, LATER] = [file("1".repeat(32)), file("2".repeat(32))];

type Told = Pick<JournalRecord, "action" | "path" | "entry"> & { readonly from?: string; readonly runId?: string };

/** A journal of these records, each of a run. */
function journal(told: readonly Told[]): JournalRecord[] {
  return told.map(({ action, path, entry, from = "", runId = "others" }, at) => {
    const previous = told.findLastIndex((one, before) => before < at && one.path === path) + 1;
    const origin = { runId } as JournalRecord["origin"];
    return { action, path, entry, from, origin, sequence: at + 1, previous } as JournalRecord;
  });
}

describe("what a session changes it has seen", () => {
  const put: Told = { action: "create", path: "e", entry: LATER };

  test("[HUBSIM-3] a change of something else than was seen is told", () => {
    const records = journal([put, { action: "replace", path: "e", entry: SEEN, runId: "run" }]);
    expect(unseen(records, [{ runId: "run", path: "e", old: LATER }])).toBeUndefined();
    expect(unseen(records, [{ runId: "run", path: "e", old: SEEN }])).toContain("at e and changed");
    expect(unseen(records, [{ runId: "run", path: "e", old: undefined }])).toContain("saw undefined at e");
  });

  test("[HUBSIM-3] what its own move took away is not what it wanted to make there, in vain (life 307883)", () => {
    const records = journal([
      put,
      { action: "remove", path: "e", entry: undefined, runId: "run" },
      { action: "move", path: "e.conflict", entry: LATER, from: "e", runId: "run" },
    ]);
    expect(unseen(records, [{ runId: "run", path: "e", old: undefined }])).toBeUndefined();
  });
});
