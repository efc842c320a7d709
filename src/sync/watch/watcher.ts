/**
 * Watches a root: raw events in, dirty paths out. Events are hints only; the state always comes from a scan.
 *
 * The watcher never lists a directory. It hands every new or renamed directory to the next scan as a dirty
 * subtree, and the scan calls entering() for each directory before it lists it: first the watch, then the
 * listing, so nothing can be created in between unseen (`mkdir -p a/b/c` faster than the watches). For the
 * same reason the first full scan sets up all watches in its one pass.
 *
 * Everything heals itself: a doubtful watch is dropped and its directory is dirty, so that the scan adds it
 * again.
 */
import { PRIVATE_DIR, type RelPath, isWithin, joinPath, nameOf, parentOf } from "#model/path.ts";
import type { DirectoryHook } from "#sync/scan/index-editor.ts";
import { type DirtyExtent, type DirtyPaths, DirtySet } from "#sync/watch/dirty-set.ts";
import { WatchNode, WatchTree } from "#sync/watch/watch-tree.ts";
import { type Fd, FsError, isCode } from "#platform/file-system.ts";
import type { WatchEvent, WatchSource, Watcher } from "#platform/watch-source.ts";

/** Places that are waited for; beyond it all are forgotten, and the next look at them is that of a full scan. */
const AWAITED_MAX = 1000;
/** Renamed directories whose new name has not been heard of yet, at most; further ones are dropped. */
const MOVES_PENDING_MAX = 1024;

export type RootWatcherOptions = {
  readonly source: WatchSource;
  /** Is the path out of the session's sight? Then its events are of no interest. */
  readonly ignores: (path: RelPath, isDir: boolean) => boolean;
  /** There is something to take(); called once for each take(). Must not throw. */
  readonly onDirty: () => void;
};

export class RootWatcher implements DirectoryHook, Disposable {
  readonly #options: RootWatcherOptions;
  readonly #watcher: Watcher;
  readonly #tree = new WatchTree();
  readonly #dirty = new DirtySet();
  /** By cookie: cut off the tree by a moved-from. Kept for the take() under way and the next one. */
  #moves = new Map<number, WatchNode>();
  #olderMoves = new Map<number, WatchNode>();
  /** Where something ignored is in the way. */
  readonly #awaited = new Set<RelPath>();
  /** Overflows heard of. Each may have hidden the end of any watch that was added before it. */
  #overflows = 0;
  #degraded: string | undefined;
  /** Trouble since the current full pass began. */
  #trouble: string | undefined;
  #closed = false;

  /** Opens the queue. Nothing is watched until a full scan with this as its hook has run. */
  constructor(options: RootWatcherOptions) {
    this.#options = options;
    this.#watcher = options.source.open((events) => this.#onEvents(events));
  }

  /** Why events may be missing, until a full pass without trouble has ended. */
  get degraded(): string | undefined {
    return this.#degraded;
  }

  /** Directories watched now. */
  get watched(): number {
    return this.#tree.size;
  }

  /** What may have changed since the last call. Scan it all, or give it back with restore(). */
  take(): DirtyPaths {
    for (const node of this.#olderMoves.values()) this.#drop(node);
    this.#olderMoves = this.#moves;
    this.#moves = new Map();
    return this.#dirty.take();
  }

  restore(dirty: DirtyPaths): void {
    this.#dirty.restore(dirty);
  }

  /** The path turned out different from what was expected: look at it again. */
  mark(path: RelPath): void {
    this.#mark(path, "entry");
  }

  /** Something ignored at the path, or in it, is in the way: the path is dirty when any of that goes. */
  awaitLeaving(path: RelPath): void {
    if (this.#awaited.size >= AWAITED_MAX) this.#awaited.clear();
    this.#awaited.add(path);
  }

  /** A full scan with this hook begins: take() first, since it covers everything that was dirty. */
  beginPass(): void {
    this.#trouble = undefined;
  }

  /** That full scan has ended well. */
  endPass(): void {
    this.#degraded = this.#trouble;
  }

  close(): void {
    this.#closed = true;
    this.#watcher.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ---------------------------------------------------------------- called by scans

  entering(path: RelPath, fd: Fd, ino: bigint): void {
    if (this.#closed) return;
    const known = this.#tree.find(path);
    // The inode alone proves no watch: its number may belong to a successor of the directory that was watched.
    const isSure = known?.wd !== undefined && known.overflows === this.#overflows;
    if (isSure && known.ino === ino) return;
    let wd: number;
    try {
      wd = this.#watcher.add(fd);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#place(path, ino);
      const limit = isCode(error, "ENOSPC", "EMFILE");
      return this.#degrade(limit ? "the system's limit of watched directories is reached" : error.message);
    }
    const holder = this.#tree.byWd(wd);
    if (holder !== undefined && holder.ino === ino) {
      holder.overflows = this.#overflows;
      return this.#rename(holder, path);
    }
    // The number belonged to a directory whose end has not been reported yet.
    if (holder !== undefined) this.#tree.unbind(holder);
    const node = this.#place(path, ino);
    // A watch that it had by another number has ended unheard.
    this.#tree.unbind(node);
    this.#tree.bind(node, wd);
    node.overflows = this.#overflows;
  }

  dropped(path: RelPath): void {
    const node = this.#tree.find(path);
    if (node !== undefined && path !== "") this.#drop(node);
  }

  /** A fresh node at the path, with nodes for the directories above where there are none. */
  #place(path: RelPath, ino: bigint): WatchNode {
    const known = this.#tree.find(path);
    if (known !== undefined) {
      if (known.ino === ino) return known;
      this.#drop(known);
    }
    if (path === "") return this.#tree.setRoot(ino);
    const node = new WatchNode(ino, nameOf(path));
    this.#tree.attach(node, this.#parentNode(path), node.name);
    return node;
  }

  #parentNode(path: RelPath): WatchNode {
    const dir = parentOf(path);
    return this.#tree.find(dir) ?? this.#place(dir, 0n);
  }

  /** A scan found the directory of a node at another path: its events are still to come, or got lost. */
  #rename(node: WatchNode, path: RelPath): void {
    const before = this.#tree.pathOf(node);
    if (before === path) return;
    if (path === "" || before === "" || isWithin(path, before ?? "\0")) return this.#mark(path, "subtree");
    for (const moves of [this.#moves, this.#olderMoves]) {
      for (const [cookie, moved] of moves) if (moved === node) moves.delete(cookie);
    }
    if (before !== undefined) this.#mark(before, "entry");
    const replaced = this.#tree.attach(node, this.#parentNode(path), nameOf(path));
    if (replaced !== undefined) this.#drop(replaced);
  }

  // ---------------------------------------------------------------- events

  #onEvents(events: readonly WatchEvent[]): void {
    if (this.#closed) return;
    const wasEmpty = this.#dirty.isEmpty;
    for (const event of events) this.#onEvent(event);
    if (wasEmpty && !this.#dirty.isEmpty) this.#options.onDirty();
  }

  #onEvent(event: WatchEvent): void {
    if (event.type === "overflow") {
      this.#overflows++;
      return this.#lostAll("events came faster than they could be read");
    }
    const node = this.#tree.byWd(event.wd);
    if (node === undefined) return;
    const isRoot = node === this.#tree.root;
    switch (event.type) {
      case "unmount":
        this.#lost(node);
        return this.#lostAll("a file system below the root was unmounted");
      case "gone":
      case "delete-self":
        this.#lost(node);
        if (isRoot) this.#lostAll("the root directory is no longer watched");
        return;
      case "move-self":
        if (isRoot) this.#lostAll("the root directory was moved");
        return;
      default:
        if (event.name !== "" && event.name !== PRIVATE_DIR) this.#onChild(node, event);
    }
  }

  /** Something happened to a name in a watched directory. */
  #onChild(node: WatchNode, { type, name, isDir, cookie }: WatchEvent): void {
    if (isDir && type === "delete") this.#left(node, name, 0);
    if (isDir && type === "moved-from") this.#left(node, name, cookie);
    if (isDir && type === "moved-to") this.#cameTo(node, name, cookie);
    const dir = this.#tree.pathOf(node);
    if (dir === undefined) return;
    const path = joinPath(dir, name);
    if (type === "delete" || type === "moved-from") this.#hasLeft(path);
    if (this.#options.ignores(path, isDir)) return;
    this.#dirty.mark(path, isDir && (type === "create" || type === "moved-to") ? "subtree" : "entry");
  }

  #hasLeft(path: RelPath): void {
    if (this.#awaited.size === 0) return;
    for (let at = path; at !== ""; at = parentOf(at)) if (this.#awaited.delete(at)) this.#dirty.mark(at, "entry");
  }

  #left(parent: WatchNode, name: string, cookie: number): void {
    const child = parent.children?.get(name);
    if (child === undefined) return;
    this.#tree.detach(child);
    if (cookie === 0 || this.#moves.size >= MOVES_PENDING_MAX) this.#drop(child);
    else this.#moves.set(cookie, child);
  }

  #cameTo(parent: WatchNode, name: string, cookie: number): void {
    const moves = this.#moves.has(cookie) ? this.#moves : this.#olderMoves;
    const node = moves.get(cookie);
    if (node === undefined || this.#tree.isBelow(parent, node)) return;
    moves.delete(cookie);
    // What was there before is either deleted, and says so itself, or was swapped: then the scan puts it
    // right.
    const replaced = this.#tree.attach(node, parent, name);
    if (replaced !== undefined) this.#drop(replaced);
  }

  /**
   * The watch of a directory has ended. Where that was no deletion, the scan of the dirty path adds it again.
   */
  #lost(node: WatchNode): void {
    const path = this.#tree.pathOf(node);
    this.#tree.unbind(node);
    if (path !== undefined && path !== "") this.#mark(path, "subtree");
  }

  /** Ends the watches of the node and everything below. */
  #drop(node: WatchNode): void {
    this.#tree.detach(node);
    for (const below of this.#tree.within(node)) {
      const { wd } = below;
      this.#tree.unbind(below);
      if (wd === undefined) continue;
      try {
        this.#watcher.remove(wd);
      } catch (error) {
        // A deleted directory has lost its watch already.
        if (!(error instanceof FsError)) throw error;
      }
    }
  }

  #mark(path: RelPath, extent: DirtyExtent): void {
    if (this.#closed) return;
    const wasEmpty = this.#dirty.isEmpty;
    this.#dirty.mark(path, extent);
    if (wasEmpty) this.#options.onDirty();
  }

  #lostAll(reason: string): void {
    this.#degrade(reason);
    this.#dirty.markAll();
  }

  #degrade(reason: string): void {
    this.#degraded = reason;
    this.#trouble = reason;
  }
}
