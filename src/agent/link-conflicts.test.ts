import { expect, test } from "bun:test";
import type { Conflict } from "#model/plan.ts";
import type { SessionEvent, Summary } from "#sync/session/events.ts";
import type { AssignedLink } from "#hub/agents/link.ts";
import { LINK_SETTINGS } from "#hub/agents/link.ts";
import { LinkConflicts } from "#agent/link-conflicts.ts";

const link = { settings: LINK_SETTINGS.parse({}) } as AssignedLink;
const hash = (text: string, digits: number): string => new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, digits);
const entry = (size: number) => ({ kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined }) as const;
const conflict = { path: "f", reason: "both-modified", alpha: entry(1), beta: entry(2) } as unknown as Conflict;

/** A cycle that leaves the conflict open. */
function cycle(conflicts: LinkConflicts): void {
  conflicts.event({ type: "conflict", conflict }, link, hash);
  const summary = { result: "conflicts" } as Summary;
  conflicts.event({ type: "cycle", summary } as SessionEvent, link, hash);
}

test("[CONFLICT-11] a decision that cannot be read when the agent begins is not written over, and is carried out when it can", () => {
  let kept = "";
  let isRefused = false;
  const file = {
    read: () => {
      if (isRefused) throw new Error("EMFILE: too many open files");
      return kept;
    },
    write: (text: string) => {
      kept = text;
    },
  };
  const before = new LinkConflicts(file);
  before.begin();
  cycle(before);
  const { tag } = before.list(link, hash).conflicts[0]!;
  before.decide(link, { path: "f", tag, keep: "copy" }, hash);
  const decided = kept;
  isRefused = true;
  const after = new LinkConflicts(file);
  after.begin();
  cycle(after);
  expect(() => after.decide(link, { path: "f", tag, keep: "both" }, hash)).toThrow("cannot be read");
  expect(kept).toBe(decided);
  isRefused = false;
  after.doubt();
  after.begin();
  cycle(after);
  expect(after.waits).toBe(true);
  after.begin();
  expect(after.policy?.paths).toEqual(["f"]);
});
