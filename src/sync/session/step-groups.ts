/**
 * Cuts one side's steps into groups, each of which is staged, made durable and placed as one. The groups of a first
 * copy are small and whole: a new directory is in one group with everything below it, so that it appears complete, and
 * while one group is being committed the next is read and staged.
 */
import type { FileEntry } from "#model/entry.ts";
import { type RelPath, comparePaths, isWithin, nameOf } from "#model/path.ts";
import type { Step } from "#sync/plan/order.ts";
import { INLINE_BYTES_MAX } from "#sync/endpoint/endpoint.ts";
import { IGNORE_FILE } from "#sync/scan/ignore.ts";

/** Ops placed by one commit: bounds what a crash can undo and what both sides keep in memory for it. */
export const GROUP_OPS_MIN = 128_000;
/** Groups that a very large plan is cut into; each costs a write of everything that is still pending. */
const GROUPS_WANTED = 8;
/** As GROUP_OPS_MIN, of a first copy: fewer would spend more on waiting for disks than they gain by overlapping. */
const FIRST_GROUP_OPS_MIN = 8000;
/** With `--durable always`: what a power loss can take back at most, on one side. */
const GROUP_OPS_ALWAYS = 64;
/** Content bytes staged for one commit, so that the stage cannot fill the disk unnoticed. */
const GROUP_BYTES_MAX = 8 * 2 ** 30;

export type StepGroup = {
  readonly steps: readonly Step[];
  /** May it be staged while the group before it is placed? */
  readonly mayOverlap: boolean;
  readonly isLast: boolean;
};

/** Must the bytes of this change come from the other side? */
export function wantedContent(step: Step): FileEntry | undefined {
  if (step.type === "move" || step.change.action !== "content") return undefined;
  const entry = step.change.new;
  if (entry?.kind !== "file" || entry.size === 0) return undefined;
  return step.change.from === undefined && entry.linkTo === undefined ? entry : undefined;
}

/** Does it make something new of what comes along, whatever else there is? */
function isPlainCreation(step: Step): boolean {
  if (step.type === "move") return false;
  const { action, old, new: entry, from } = step.change;
  if (action !== "content" || old !== undefined || from !== undefined) return false;
  return entry?.kind !== "file" || entry.linkTo === undefined;
}

function pathOf(step: Step): RelPath {
  return step.type === "move" ? step.move.to : step.change.path;
}

/** Not what goes through a transfer, nor what changes which paths are ignored. */
function mayOverlap(step: Step): boolean {
  return (wantedContent(step)?.size ?? 0) <= INLINE_BYTES_MAX && nameOf(pathOf(step)) !== IGNORE_FILE;
}

/**
 * @param comparesAll nothing of the pair is stored yet
 */
export function* stepGroups(steps: readonly Step[], always: boolean, comparesAll: boolean): Generator<StepGroup> {
  const isFirstCopy = comparesAll && !always && steps.every(isPlainCreation);
  const enough = isFirstCopy ? Math.max(FIRST_GROUP_OPS_MIN, Math.ceil(steps.length / GROUPS_WANTED)) : Infinity;
  const most = always ? GROUP_OPS_ALWAYS : Math.max(GROUP_OPS_MIN, Math.ceil(steps.length / GROUPS_WANTED));
  let group: Step[] = [];
  let bytes = 0;
  /** The new directory at hand, with everything below it, and whether an earlier group has it. */
  let tree: RelPath | undefined;
  let beginsInTree = false;
  const grouped = (isLast: boolean): StepGroup => {
    return { steps: group, mayOverlap: isFirstCopy && !beginsInTree && group.every(mayOverlap), isLast };
  };
  for (const step of isFirstCopy ? inPathOrder(steps) : steps) {
    const size = wantedContent(step)?.size ?? 0;
    const inTree = tree !== undefined && isWithin(pathOf(step), tree);
    const isFull = group.length >= most || bytes + size > GROUP_BYTES_MAX;
    if (group.length > 0 && (isFull || (group.length >= enough && !inTree))) {
      yield grouped(false);
      group = [];
      bytes = 0;
      beginsInTree = inTree;
    }
    if (!inTree) tree = isDir(step) ? pathOf(step) : undefined;
    group.push(step);
    bytes += size;
  }
  if (group.length > 0) yield grouped(true);
}

/**
 * Directories and what they hold, merged: where nothing but creations is done, that is safe as well, and what belongs
 * together comes together. Either kind is in this order already.
 */
function* inPathOrder(steps: readonly Step[]): Generator<Step> {
  const dirs = steps.filter(isDir);
  let next = 0;
  for (const step of steps) {
    if (isDir(step)) continue;
    while (next < dirs.length && comparePaths(pathOf(dirs[next]!), pathOf(step)) < 0) yield dirs[next++]!;
    yield step;
  }
  yield* dirs.slice(next);
}

function isDir(step: Step): boolean {
  return step.type === "change" && step.change.new?.kind === "dir";
}
