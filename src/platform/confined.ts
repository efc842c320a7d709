/**
 * Paths under a held root descriptor, walked one component at a time without following symlinks
 * (the openat discipline of rsync 3.5 and Mutagen). Keeps a few directory descriptors open because neighbours are
 * asked for together. A cached descriptor stays on the directory it was opened on even when that is renamed, so
 * callers forget() what they rename or remove, and clear() when they begin a new pass.
 */
import { type DirItem, type Fd, type FileSystem, type Stat, isNotThere } from "#platform/file-system.ts";
import { type RelPath, isWithin, nameOf, parentOf } from "#model/path.ts";

/** Open directory descriptors held at most; far below the usual limit of 1024 descriptors a process. */
const OPEN_DIRS_MAX = 64;

export class Confined implements Disposable {
  readonly fs: FileSystem;
  readonly root: Fd;
  readonly #open = new Map<RelPath, Fd>();
  /** The last two descriptors given out stay open, so that a rename between two deep directories is safe. */
  #pinned: [Fd, Fd];
  /** The directory asked for last; neighbours are found without a look into the cache. */
  #lastPath: RelPath = "";

  /** Takes over `root` and closes it on dispose. */
  constructor(fs: FileSystem, root: Fd) {
    this.fs = fs;
    this.root = root;
    this.#pinned = [root, root];
  }

  /** Descriptor of a directory; it belongs to the cache: do not close it, and do not use it after two more calls. */
  dir(path: RelPath): Fd {
    if (path === this.#lastPath) return this.#pinned[1];
    const fd = this.#resolve(path);
    this.#pinned = [this.#pinned[1], fd];
    this.#lastPath = path;
    return fd;
  }

  #resolve(path: RelPath): Fd {
    if (path === "") return this.root;
    const cached = this.#open.get(path);
    if (cached !== undefined) {
      this.#open.delete(path);
      this.#open.set(path, cached);
      return cached;
    }
    const fd = this.fs.openDir(this.#resolve(parentOf(path)), nameOf(path));
    this.#open.set(path, fd);
    if (this.#open.size > OPEN_DIRS_MAX) this.#evict(fd);
    return fd;
  }

  #evict(newest: Fd): void {
    for (const [path, fd] of this.#open) {
      if (fd === newest || fd === this.#pinned[0] || fd === this.#pinned[1]) continue;
      this.#open.delete(path);
      this.fs.close(fd);
      return;
    }
  }

  /** Descriptor of the directory that holds `path`; see dir(). */
  parent(path: RelPath): Fd {
    const last = this.#lastPath;
    if (path.lastIndexOf("/") === last.length && path.startsWith(last)) return this.#pinned[1];
    return this.dir(parentOf(path));
  }

  stat(path: RelPath): Stat {
    return path === "" ? this.fs.fstat(this.root) : this.fs.stat(this.parent(path), nameOf(path));
  }

  /** As stat, but undefined when the path, or a directory on the way, certainly does not exist. */
  statIfThere(path: RelPath): Stat | undefined {
    try {
      return this.stat(path);
    } catch (error) {
      if (isNotThere(error)) return undefined;
      throw error;
    }
  }

  list(path: RelPath): DirItem[] {
    return this.fs.list(this.dir(path));
  }

  openRead(path: RelPath): Fd {
    return this.fs.openRead(this.parent(path), nameOf(path));
  }

  /** Drops cached descriptors of `path` and below. */
  forget(path: RelPath): void {
    if (isWithin(this.#lastPath, path)) {
      this.#lastPath = "";
      this.#pinned = [this.#pinned[0], this.root];
    }
    for (const [open, fd] of this.#open) {
      if (!isWithin(open, path)) continue;
      this.#open.delete(open);
      this.fs.close(fd);
    }
  }

  clear(): void {
    this.forget("");
  }

  [Symbol.dispose](): void {
    this.clear();
    this.fs.close(this.root);
  }
}
