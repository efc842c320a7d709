/**
 * Cuts one side's steps into groups, each of which is staged, made durable and placed as one. The groups of a first
 * copy are small and whole: a new directory is in one group with everything below it, so that it appears complete, and
 * while one group is being committed the next is read and staged.
 */
import type { FileEntry } from "#model/entry.ts";
import { type RelPath, comparePaths, isWithin, nameOf } from "#model/path.ts";
import { bytesOf } from "#sync/plan/counts.ts";
import type { Step } from "#sync/plan/order.ts";
import { INLINE_BYTES_MAX } from "#sync/endpoint/endpoint.ts";
import { IGNORE_FILE } from "#sync/scan/ignore.ts";

/** Ops placed by one commit: bounds what a crash can undo and what both sides keep in memory for it. */
export const GROUP_OPS_MIN = 128_000;
/** Groups that a very large plan is cut into; each costs a write of everything that is still pending. */
const GROUPS_WANTED = 8;
/** As GROUP_OPS_MIN, of a first copy: fewer would spend more on waiting for disks than they gain by overlapping. */
const FIRST_GROUP_OPS_MIN = 8000;
/** The groups at its end are smaller: while the last one is made durable and placed there is nothing else to do. */
const LAST_GROUP_OPS_MIN = 2000;
/** With `--durable always`: what a power loss can take back at most, on one side. */
const GROUP_OPS_ALWAYS = 64;
/** Content bytes staged for one commit, so that the stage cannot fill the disk unnoticed. */
const GROUP_BYTES_MAX = 8 * 2 ** 30;

/** A group, or a part of one: what is known of it by now. */
export type StepGroup = {
  readonly steps: readonly Step[];
  /** May it be staged while the group before it is placed? */
  readonly mayOverlap: boolean;
  /** Is the group complete with it? */
  readonly isEnd: boolean;
  /** Is it the last of all? */
  readonly isLast: boolean;
};

/** Must the bytes of this change come from the other side? */
export function wantedContent(step: Step): FileEntry | undefined {
  if (step.type === "move" || step.change.action !== "content") return undefined;
  const entry = step.change.new;
  if (entry?.kind !== "file" || entry.size === 0) return undefined;
  return step.change.from === undefined && entry.linkTo === undefined ? entry : undefined;
}

/** Content bytes that the step is about, wherever they come from. */
export function bytesOfStep(step: Step): number {
  return step.type === "move" ? 0 : bytesOf(step.change);
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
export function mayOverlap(step: Step): boolean {
  return (wantedContent(step)?.size ?? 0) <= INLINE_BYTES_MAX && nameOf(pathOf(step)) !== IGNORE_FILE;
}

/** Says before which steps a group ends. Asked for each of them once, in their order. */
class GroupCuts {
  readonly #enough: (before: number) => number;
  readonly #most: number;
  /** In all groups before this one. */
  #before = 0;
  #ops = 0;
  #bytes = 0;
  /** The new directory at hand, with everything below it. */
  #tree: RelPath | undefined;
  /** Does the group at hand begin in a directory that an earlier group has made? */
  isInTree = false;

  /**
   * @param enough ops after which a group ends at the next step outside a new directory, by the number of those before
   * @param most ops after which it ends anywhere
   */
  constructor(enough: (before: number) => number, most: number) {
    this.#enough = enough;
    this.#most = most;
  }

  isBefore(step: Step): boolean {
    const size = wantedContent(step)?.size ?? 0;
    const inTree = this.#tree !== undefined && isWithin(pathOf(step), this.#tree);
    const isFull = this.#ops >= this.#most || this.#bytes + size > GROUP_BYTES_MAX;
    const isCut = this.#ops > 0 && (isFull || (!inTree && this.#ops >= this.#enough(this.#before)));
    if (isCut) {
      this.#before += this.#ops;
      this.#ops = 0;
      this.#bytes = 0;
      this.isInTree = inTree;
    }
    if (!inTree) this.#tree = isDir(step) ? pathOf(step) : undefined;
    this.#ops++;
    this.#bytes += size;
    return isCut;
  }
}

/** Ops from which on a group of a first copy may end, where it would end at `size` with much more behind it. */
function taperedSize(size: number, before: number, total: number): number {
  if (total <= FIRST_GROUP_OPS_MIN) return size;
  return Math.min(size, Math.max(LAST_GROUP_OPS_MIN, (total - before) / 2));
}

/**
 * As long as it is not known how many steps there will be, groups grow with what is behind them.
 * @param total the number of all steps; undefined until it is known
 */
export function firstCopyCuts(total: () => number | undefined): GroupCuts {
  const enough = (before: number): number => {
    const size = Math.max(FIRST_GROUP_OPS_MIN, before / GROUPS_WANTED);
    const all = total();
    return all === undefined ? size : taperedSize(size, before, all);
  };
  return new GroupCuts(enough, GROUP_OPS_MIN);
}

/**
 * @param comparesAll nothing of the pair is stored yet
 */
export function* stepGroups(steps: readonly Step[], always: boolean, comparesAll: boolean): Generator<StepGroup> {
  const isFirstCopy = comparesAll && !always && steps.every(isPlainCreation);
  const size = Math.max(FIRST_GROUP_OPS_MIN, Math.ceil(steps.length / GROUPS_WANTED));
  const enough = (before: number): number => (isFirstCopy ? taperedSize(size, before, steps.length) : Infinity);
  const most = always ? GROUP_OPS_ALWAYS : Math.max(GROUP_OPS_MIN, Math.ceil(steps.length / GROUPS_WANTED));
  const cuts = new GroupCuts(enough, most);
  let group: Step[] = [];
  let beginsInTree = false;
  const grouped = (isLast: boolean): StepGroup => {
    return { steps: group, mayOverlap: isFirstCopy && !beginsInTree && group.every(mayOverlap), isEnd: true, isLast };
  };
  for (const step of isFirstCopy ? inPathOrder(steps) : steps) {
    if (cuts.isBefore(step)) {
      yield grouped(false);
      group = [];
      beginsInTree = cuts.isInTree;
    }
    group.push(step);
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
