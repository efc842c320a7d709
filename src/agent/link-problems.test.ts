import { expect, test } from "bun:test";
import type { Problem } from "#model/observation.ts";
import type { Result, SessionEvent, Summary } from "#sync/session/events.ts";
import { LinkProblems } from "#agent/link-problems.ts";

function told(): { lines: string[]; cycle: (problems: readonly string[], result?: Result) => string[] } {
  const lines: string[] = [];
  const problems = new LinkProblems("l1", (message, fields) => lines.push([message, ...Object.values(fields)].join(" ")));
  const cycle = (paths: readonly string[], result: Result = "problems"): string[] => {
    lines.length = 0;
    for (const path of paths) {
      const problem = { path, side: "alpha", code: "ENOSPC", message: "full", transient: true } as Problem;
      problems.event({ type: "problem", problem }, "beta");
    }
    problems.event({ type: "cycle", summary: { result } as Summary }, "beta");
    return [...lines];
  };
  return { lines, cycle };
}

test("[AGENT-96] a problem is named when it is new, and not with every cycle that has it still", () => {
  const { cycle } = told();
  expect(cycle(["a"])).toEqual(["problem l1 host a ENOSPC full"]);
  expect(cycle(["a"])).toEqual([]);
  expect(cycle(["", "a"])).toEqual(["problem l1 host . ENOSPC full"]);
  // What broke off says nothing of what was not looked at.
  expect(cycle([], "interrupted")).toEqual([]);
  expect(cycle(["a"])).toEqual([]);
  expect(cycle([], "same")).toEqual(["problems are over l1"]);
  expect(cycle(["a"])).toHaveLength(1);
});

test("[AGENT-96] of very many problems the first are named and the others counted, once", () => {
  const { cycle } = told();
  const many = Array.from({ length: 500 }, (_, at) => `f${at}`);
  const lines = cycle(many);
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toBe("more problems, which are not named l1 480");
  expect(cycle(many)).toEqual([]);
});

test("[AGENT-97] a link that cannot watch says so, once for each reason", () => {
  const lines: string[] = [];
  const problems = new LinkProblems("l1", (message, { reason }) => lines.push(`${message}: ${reason}`));
  const event = (reason: string): SessionEvent => ({ type: "degraded", side: "alpha", reason });
  for (const reason of ["no watches left", "no watches left", "it overflowed"]) problems.event(event(reason), "beta");
  expect(lines.map((line) => line.split(": ").slice(1).join(": "))).toEqual(["host: no watches left", "host: it overflowed"]);
});
