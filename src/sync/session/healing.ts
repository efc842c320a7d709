/**
 * Damaged files get the bytes back that both sides agreed on, from the other side, when it holds them still: they are
 * read there for this. Where that is not possible the problem says why, and what a person can do.
 */
import { type FileEntry, type Sum, compareContent } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, comparePaths, nameOf, parentOf } from "#model/path.ts";
import type { Change, Mode, Plan, Side } from "#model/plan.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { countPlan } from "#sync/plan/counts.ts";
import { CORRUPT } from "#sync/scan/damage.ts";
import { IGNORE_FILE } from "#sync/scan/ignore.ts";
import { RULES_DAMAGED } from "#sync/scan/nested-rules.ts";
import { otherSide } from "#sync/plan/rows.ts";
import type { UnknownPaths } from "#sync/session/observe.ts";
import { SIDES, type SessionState } from "#sync/session/state.ts";

/** Paths hashed by one request. */
const SUMS_PER_CALL = 1000;

export type HealingContext = {
  readonly state: SessionState;
  readonly endpoints: Record<Side, Endpoint>;
  readonly mode: Mode;
  readonly unknown: Record<Side, UnknownPaths>;
  readonly signal: AbortSignal;
};

export type Healing = {
  readonly changes: readonly Change[];
  /** What is to be told instead of a problem of the scans: undefined where the plan heals it, else with what is in the way. */
  readonly problems: ReadonlyMap<Problem, Problem | undefined>;
};

type Damaged = { readonly side: Side; readonly problem: Problem; readonly entry: FileEntry & { readonly sum: Sum } };

/** Looks at what the last scan of each side found damaged. */
export async function planHealing(context: HealingContext): Promise<Healing> {
  const changes: Change[] = [];
  const problems = new Map<Problem, Problem | undefined>();
  for (const side of SIDES) {
    const found = context.state.unknown[side].filter(({ code }) => code === CORRUPT);
    const hopeful: Damaged[] = [];
    for (const problem of found.sort((a, b) => comparePaths(a.path, b.path))) {
      const one = damagedFile(context, side, problem);
      if (typeof one === "string") problems.set(problem, withReason(problem, one));
      else hopeful.push(one);
    }
    const healed = new Set<RelPath>();
    const sums = await freshSums(context, otherSide(side), hopeful);
    for (const [at, { problem, entry }] of hopeful.entries()) {
      const { path } = problem;
      const reason = sums[at] === entry.sum ? undefined : NO_GOOD_COPY;
      const isAlone = entry.linkTo === undefined || healed.has(entry.linkTo);
      if (reason !== undefined || !isAlone) {
        problems.set(problem, withReason(problem, reason ?? "it can be healed together with its first name only"));
        continue;
      }
      healed.add(path);
      problems.set(problem, undefined);
      changes.push({ side, path, old: entry, new: entry, action: "content", heals: true });
    }
  }
  return { changes, problems };
}

const NO_GOOD_COPY =
  "the other side does not hold what was agreed on either, so put over it what is right, from there or from a backup";

/** The file that can be healed if the other side's bytes turn out to be right, or why it cannot be. */
function damagedFile({ state, mode, unknown }: HealingContext, side: Side, problem: Problem): Damaged | string {
  const { path } = problem;
  const other = otherSide(side);
  if (side === "alpha" && mode.startsWith("one-way")) {
    return `${mode} never writes to alpha, so copy the file there from beta, or from a backup`;
  }
  const above = path === "" ? undefined : unknown[side].covering(parentOf(path));
  if (above !== undefined && !isOwnRules(above, path)) return "it can be healed when the directory above it can be seen";
  if (unknown[other].covering(path) !== undefined) return "it can be healed when the other side's file can be read";
  const agreed = state.ancestorOf(path);
  const here = state.held(side, path);
  const there = state.held(other, path);
  if (agreed?.kind !== "file" || agreed.sum === undefined) return "nothing is agreed on here, so put the right file back from a backup";
  if (here.state !== "present" || compareContent(here.entry, agreed) !== "same") {
    return "it had been changed after both sides last agreed, so only a backup has the right bytes";
  }
  if (there.state !== "present" || compareContent(there.entry, agreed) !== "same") return NO_GOOD_COPY;
  return { side, problem, entry: { ...(here.entry as FileEntry), sum: agreed.sum } };
}

/** What is in a directory cannot be known because it is this very file, with its ignore rules, that is damaged. */
function isOwnRules({ code, path: dir }: Problem, path: RelPath): boolean {
  return code === RULES_DAMAGED && nameOf(path) === IGNORE_FILE && parentOf(path) === dir;
}

async function freshSums({ endpoints, signal }: HealingContext, side: Side, wanted: readonly Damaged[]): Promise<(Sum | Problem)[]> {
  const sums: (Sum | Problem)[] = [];
  for (let at = 0; at < wanted.length; at += SUMS_PER_CALL) {
    const paths = wanted.slice(at, at + SUMS_PER_CALL).map(({ problem }) => problem.path);
    sums.push(...(await endpoints[side].sums(paths, signal)));
  }
  return sums;
}

function withReason(problem: Problem, reason: string): Problem {
  return { ...problem, message: `${problem.message}; ${reason}` };
}

/** The plan with what heals in it, in path order, and without the problems that are healed. */
export function withHealing(plan: Plan, { changes: heals, problems }: Healing): Plan {
  if (problems.size === 0) return plan;
  const changes = [...plan.changes, ...heals].sort((a, b) => comparePaths(a.path, b.path));
  const blocked = toldProblems(plan.blocked, problems);
  return { ...plan, changes, blocked, counts: countPlan(changes, plan.moves) };
}

/** The problems as they are to be told. */
export function toldProblems(problems: readonly Problem[], told: Healing["problems"]): Problem[] {
  return problems.flatMap((one) => {
    const now = told.has(one) ? told.get(one) : one;
    return now === undefined ? [] : [now];
  });
}
