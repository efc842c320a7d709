/**
 * Looks at what a watcher reported. Its cost follows the number of reported paths, not the size of the root.
 */
import { PRIVATE_DIR, type RelPath, comparePaths, isWithin, nameOf, parentOf } from "#model/path.ts";
import { matchesStat } from "#sync/index/record-codecs.ts";
import { IgnoreRules } from "#sync/scan/ignore.ts";
import type { LinkGroups } from "#sync/scan/link-groups.ts";
import { addRulesProblem, isIgnoreFile } from "#sync/scan/nested-rules.ts";
import { changedProblem, scanProblem } from "#sync/scan/problem-set.ts";
import type { Walk, WalkOptions } from "#sync/scan/walk.ts";
import { type Fd, isNotThere } from "#platform/file-system.ts";
import { type DirtyExtent, widerExtent } from "#sync/watch/dirty-set.ts";

export class DirtyPass {
  readonly #walk: Walk;
  readonly #o: WalkOptions;
  readonly #links: LinkGroups;
  /** Directories that the index is known to have; spares a look-up for each path in them. */
  readonly #recorded = new Set<RelPath>([""]);
  /**
   * The directory looked into last, with a descriptor of our own: those of Confined may be closed during a
   * pause. Undefined for none; the root's descriptor is not ours to close.
   */
  #open: { readonly dir: RelPath; readonly fd: Fd } | undefined;

  constructor(walk: Walk, options: WalkOptions, links: LinkGroups) {
    this.#walk = walk;
    this.#o = options;
    this.#links = links;
  }

  *run(paths: ReadonlyMap<RelPath, DirtyExtent>): Generator<void> {
    try {
      yield* this.#lookAtAll(paths);
    } finally {
      this.#close();
    }
  }

  *#lookAtAll(paths: ReadonlyMap<RelPath, DirtyExtent>): Generator<void> {
    const extents = this.#widened(paths);
    let done: RelPath | undefined;
    // Parents come first, so that a directory is settled before what was reported inside it.
    for (const path of [...extents.keys()].sort(comparePaths)) {
      if (done !== undefined && isWithin(path, done)) continue;
      const extent = extents.get(path)!;
      if (extent === "subtree") done = path;
      yield* this.#look(path, extent);
      if (this.#o.pacer.due()) yield;
    }
    yield* this.#walk.drain();
    yield* this.#otherNames(extents);
  }

  /**
   * What really has to be looked at: a whole directory for a changed ignore file, everything unknown around a
   * path, and what failed for a passing reason.
   */
  #widened(paths: ReadonlyMap<RelPath, DirtyExtent>): Map<RelPath, DirtyExtent> {
    const { problems, rules } = this.#o;
    const extents = new Map<RelPath, DirtyExtent>();
    const add = (path: RelPath, extent: DirtyExtent) => extents.set(path, widerExtent(extents.get(path), extent));
    for (const { path, transient } of problems.list()) {
      if (!transient) continue;
      if (isIgnoreFile(path)) rules.clear();
      add(isIgnoreFile(path) ? parentOf(path) : path, "subtree");
    }
    for (const [path, extent] of paths) {
      const covering = problems.covering(path);
      if (covering !== undefined) add(covering, "subtree");
      else if (isIgnoreFile(path) && !this.#isUnchanged(path)) {
        rules.clear();
        add(parentOf(path), "subtree");
      } else add(path, extent);
    }
    return extents;
  }

  #isUnchanged(path: RelPath): boolean {
    const record = this.#o.index.get(path);
    try {
      return record !== undefined && matchesStat(record, this.#o.root.stat(path));
    } catch (error) {
      scanProblem(path, error);
      return false;
    }
  }

  *#look(path: RelPath, extent: DirtyExtent): Generator<void> {
    const { problems, rules } = this.#o;
    if (path === "") {
      problems.lookAgain("");
      if (extent !== "entry") this.#walk.pushRoot(extent === "children");
      return;
    }
    if (path.split("/").includes(PRIVATE_DIR)) return;
    const target = this.#highestUnrecorded(path);
    const reach = target === path ? extent : "subtree";
    const dir = parentOf(target);
    const inside = rules.of(dir);
    if (!(inside instanceof IgnoreRules)) return addRulesProblem(problems, inside);
    let fd: Fd;
    try {
      fd = this.#openDir(dir);
    } catch (error) {
      if (!isNotThere(error)) return problems.add(scanProblem(dir, error));
      // The directory is gone or is something else: then that is what there is to find out.
      this.#recorded.clear();
      this.#recorded.add("");
      yield* this.#look(dir, "entry");
      if (this.#o.index.get(dir)?.entry.kind === "dir") problems.add(changedProblem(dir));
      return;
    }
    if (reach === "subtree") problems.lookAgain(target);
    yield* this.#walk.examine(dir, fd, inside, target, reach);
  }

  #openDir(dir: RelPath): Fd {
    const { root } = this.#o;
    if (dir === "") return root.root;
    if (this.#open?.dir === dir) return this.#open.fd;
    this.#close();
    this.#open = { dir, fd: root.fs.openDir(root.parent(dir), nameOf(dir)) };
    return this.#open.fd;
  }

  #close(): void {
    if (this.#open !== undefined) this.#o.root.fs.close(this.#open.fd);
    this.#open = undefined;
  }

  /** The highest directory on the way that the index does not have as one, else the path itself. */
  #highestUnrecorded(path: RelPath): RelPath {
    const dir = parentOf(path);
    if (this.#recorded.has(dir)) return path;
    const above = this.#highestUnrecorded(dir);
    if (above !== dir) return above;
    if (this.#o.index.get(dir)?.entry.kind !== "dir") return dir;
    this.#recorded.add(dir);
    return path;
  }

  /** A write through one name of a file shows under that name only; the other names are looked at too. */
  *#otherNames(looked: ReadonlyMap<RelPath, DirtyExtent>): Generator<void> {
    yield* this.#o.editor.findOtherNames();
    for (const ino of [...this.#o.editor.touched]) {
      for (const path of this.#links.members(ino)) {
        if (!looked.has(path)) yield* this.#look(path, "entry");
        if (this.#o.pacer.due()) yield;
      }
    }
  }
}
