/**
 * For tests of plans: trees in memory, written in short, and an executor that is stricter than any disk. It performs a
 * plan step by step and fails at the first step that is not possible as planned.
 */
import { PRESERVE_DEFAULT, sameEntry, compareContent } from "#model/entry.ts";
import type { Entry, FileEntry, Preserve } from "#model/entry.ts";
import { assert } from "#model/error.ts";
import { comparePaths, isWithin, parentOf } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import type { ConflictPolicy, Mode, Plan, Side } from "#model/plan.ts";
import { executionOrder } from "#sync/plan/order.ts";
import type { Step } from "#sync/plan/order.ts";
import { reconcile } from "#sync/plan/reconcile.ts";
import { shortHash } from "#sync/plan/winner.ts";
import { otherSide } from "#sync/plan/rows.ts";
import type { Row, SideState } from "#sync/plan/rows.ts";

export type Forest = Map<RelPath, Entry>;
export type World = { ancestor: Forest; alpha: Forest; beta: Forest };
export const preserve: Preserve = PRESERVE_DEFAULT;

export function file(content: string, mtime = 1, mode = 0o644): FileEntry {
  const sum = shortHash(content).repeat(4);
  return { kind: "file", size: content.length, mode, mtimeNs: BigInt(mtime), sum };
}

export const dir: Entry = { kind: "dir", mode: 0o755 };

/** "a/f=text b/ l@target p=fifo!": entries by path; directories above them are added. "a/f=text:5" has mtime 5. */
export function forest(text: string): Forest {
  const out: Forest = new Map();
  for (const word of text.split(" ").filter((part) => part !== "")) {
    const [, path, sort, rest] = /^([^=@!]*?)(\/$|=|@|!)(.*)$/.exec(word)!;
    for (let up = parentOf(path!); up !== ""; up = parentOf(up)) out.set(up, dir);
    if (sort === "/") out.set(path!, dir);
    else if (sort === "@") out.set(path!, { kind: "symlink", target: rest! });
    else if (sort === "!") out.set(path!, { kind: "other", what: "fifo" });
    else {
      const [content, mtime, mode] = rest!.split(":");
      out.set(path!, file(content!, Number(mtime ?? 1), mode === undefined ? 0o644 : parseInt(mode, 8)));
    }
  }
  return new Map([...out].sort(([a], [b]) => comparePaths(a, b)));
}

export function world(ancestor: string, alpha: string, beta: string): World {
  return { ancestor: forest(ancestor), alpha: forest(alpha), beta: forest(beta) };
}

/** The inverse of forest, in path order; times and modes only where they are unusual. */
export function show(tree: Forest): string {
  const words: string[] = [];
  for (const [path, entry] of [...tree].sort(([a], [b]) => comparePaths(a, b))) {
    if (entry.kind === "dir") words.push(`${path}/`);
    else if (entry.kind === "symlink") words.push(`${path}@${entry.target}`);
    else if (entry.kind === "other") words.push(`${path}!`);
    else words.push(`${path}=${entry.sum!.slice(0, 8)}`);
  }
  return words.join(" ");
}

/** What each side cannot or must not see, at these paths and below. */
export type Veils = { unknown?: { [side in Side]?: RelPath[] }; ignored?: { [side in Side]?: RelPath[] } };

function under(path: RelPath, veils: RelPath[] | undefined): boolean {
  return veils?.some((veil) => isWithin(path, veil)) ?? false;
}

function stateOf(now: World, side: Side, path: RelPath, veils: Veils): SideState {
  if (under(path, veils.unknown?.[side])) {
    return { state: "unknown", problem: { path, side, code: "EACCES", message: "denied", transient: false } };
  }
  const entry = now[side].get(path);
  if (entry !== undefined && under(path, veils.ignored?.[side])) return { state: "ignored" };
  return entry === undefined ? { state: "absent" } : { state: "present", entry };
}

export function rowsOf(now: World, veils: Veils = {}): Row[] {
  const paths = new Set([...now.ancestor.keys(), ...now.alpha.keys(), ...now.beta.keys()]);
  for (const side of ["alpha", "beta"] as const) for (const path of veils.unknown?.[side] ?? []) paths.add(path);
  const rows: Row[] = [];
  for (const path of [...paths].sort(comparePaths)) {
    const ancestor = now.ancestor.get(path);
    const row = { path, ancestor, alpha: stateOf(now, "alpha", path, veils), beta: stateOf(now, "beta", path, veils) };
    const untouched = (state: SideState) =>
      (state.state === "absent" && ancestor === undefined) ||
      (state.state === "present" && sameEntry(state.entry, ancestor, preserve));
    // What only one side has and does not see has no row at all: only lookup.hides knows of it.
    const hidden = (state: SideState) => state.state === "ignored" || state.state === "absent";
    if (ancestor === undefined && hidden(row.alpha) && hidden(row.beta)) continue;
    if (!untouched(row.alpha) || !untouched(row.beta)) rows.push(row);
  }
  return rows;
}

export type Settings = { mode?: Mode; conflict?: ConflictPolicy; delete?: boolean };

export function planOf(now: World, settings: Settings & { conflictPaths?: RelPath[] } = {}, veils: Veils = {}): Plan {
  return reconcile({
    mode: settings.mode ?? "two-way-safe",
    conflict: settings.conflict ?? "leave",
    conflictPaths: settings.conflictPaths,
    delete: settings.delete ?? true,
    preserve,
    rows: rowsOf(now, veils),
    lookup: {
      hides: (side, path) =>
        [...now[side].keys()].some((inner) => isWithin(inner, path) && under(inner, veils.ignored?.[side])),
      refuses: () => false,
      has: (side, path) => now[side].has(path),
    },
  });
}

function moveSubtree(tree: Forest, from: RelPath, to: RelPath): number {
  let count = 0;
  for (const [path, entry] of [...tree]) {
    if (!isWithin(path, from)) continue;
    tree.delete(path);
    tree.set(to + path.slice(from.length), entry);
    count++;
  }
  return count;
}

export function deleteSubtree(tree: Forest, from: RelPath): void {
  for (const path of [...tree.keys()]) if (isWithin(path, from)) tree.delete(path);
}

function performStep(tree: Forest, before: Forest, step: Step): void {
  if (step.type === "move") {
    const { from, to, count } = step.move;
    assert(tree.has(from) && !tree.has(to), `move ${from} to ${to}`);
    assert(parentOf(to) === "" || tree.get(parentOf(to))?.kind === "dir", `move into nothing: ${to}`);
    assert(moveSubtree(tree, from, to) === count, `count of move ${from} to ${to}`);
    return;
  }
  const { path, old, new: wanted, action, from } = step.change;
  const here = tree.get(path);
  assert(sameEntry(here, old, preserve), `${action} at ${path} finds something else`);
  const empty = ![...tree.keys()].some((inner) => inner !== path && isWithin(inner, path));
  if (action === "remove") {
    assert(here !== undefined && empty, `remove ${path}`);
    tree.delete(path);
    return;
  }
  assert(wanted !== undefined, "nothing to make");
  if (action === "metadata") assert(here !== undefined && compareContent(here, wanted) === "same", `metadata ${path}`);
  else assert(here === undefined || here.kind !== "dir" || empty, `${path} replaces a full directory`);
  assert(parentOf(path) === "" || tree.get(parentOf(path))?.kind === "dir", `${path} has no directory`);
  const source = from === undefined ? undefined : before.get(from);
  assert(from === undefined || (source !== undefined && compareContent(source, wanted) === "same"), `from ${from}`);
  tree.set(path, wanted);
}

/** As a session does: what was agreed at the old place goes along as far as it is what moved. */
function carryAgreed({ ancestor, ...sides }: World, side: Side, from: RelPath, to: RelPath): void {
  deleteSubtree(ancestor, to);
  moveSubtree(ancestor, from, to);
  for (const path of new Set([...ancestor.keys(), ...sides[side].keys()])) {
    if (!isWithin(path, to)) continue;
    const [agreed, moved] = [ancestor.get(path), sides[side].get(path)];
    if (agreed !== undefined && moved !== undefined && compareContent(agreed, moved) === "same") continue;
    if (moved !== undefined && sameEntry(moved, sides[otherSide(side)].get(path), preserve)) ancestor.set(path, moved);
    else ancestor.delete(path);
  }
}

/**
 * Performs the plan on copies of both sides, or only its first `stepsMax` steps (alpha's come first), and moves the
 * ancestor as a session does: to what was done and is on both sides now.
 */
export function perform(now: World, plan: Plan, stepsMax = Infinity): World {
  let steps = 0;
  const after: World = { ancestor: new Map(now.ancestor), alpha: new Map(now.alpha), beta: new Map(now.beta) };
  for (const { path, entry } of plan.agreements) {
    if (entry === undefined) deleteSubtree(after.ancestor, path);
    else after.ancestor.set(path, entry);
  }
  for (const side of ["alpha", "beta"] as const) {
    for (const step of executionOrder(plan, side)) {
      if (steps++ >= stepsMax) return after;
      performStep(after[side], now[side], step);
      if (step.type === "change") {
        const { path, new: wanted } = step.change;
        if (wanted === undefined) after.ancestor.delete(path);
        else if (sameEntry(after[otherSide(side)].get(path), wanted, preserve)) after.ancestor.set(path, wanted);
      } else if (step.move.aside === true) deleteSubtree(after.ancestor, step.move.from);
      else carryAgreed(after, side, step.move.from, step.move.to);
    }
  }
  return after;
}

/** Does the plan change nothing, on the sides or in the ancestor? */
export function isEmpty(plan: Plan): boolean {
  return plan.changes.length + plan.moves.length + plan.agreements.length === 0;
}
