/**
 * The ancestor, the last state that both sides agreed on, as it is written: a first copy agrees on a million entries that
 * come directory by directory. They are collected in a batch and written as whole directories, which costs a fraction of a
 * search and a write for each; until then they are looked up here and not in the tree.
 */
import type { Entry } from "#model/entry.ts";
import { type RelPath, compareNames, joinPath, nameOf, parentOf } from "#model/path.ts";
import type { Tree } from "#sync/index/store.ts";

/** New entries of one directory from which on it is written as a whole, if it held nothing before. */
const WHOLE_DIR_MIN = 8;

export class Ancestor {
  readonly tree: Tree<Entry>;
  #files: number;
  #isEmpty: boolean;
  /** Entries of a batch in progress that are not in the tree yet. */
  #batch: Map<RelPath, Entry> | undefined;

  /** @param files how many the tree has */
  constructor(tree: Tree<Entry>, files: number) {
    this.tree = tree;
    this.#files = files;
    this.#isEmpty = tree.count() === 0;
  }

  get files(): number {
    return this.#files;
  }

  /** A first copy asks for every path of a tree that holds nothing: that must not cost a look-up each. */
  at(path: RelPath): Entry | undefined {
    if (this.#isEmpty) return undefined;
    return this.#batch?.get(path) ?? this.tree.get(path);
  }

  set(path: RelPath, entry: Entry | undefined): void {
    const before = this.at(path);
    if (before?.kind === "file") this.#files--;
    if (entry === undefined) {
      this.#batch?.delete(path);
      if (before !== undefined) this.tree.delete(path);
      return;
    }
    if (entry.kind === "file") this.#files++;
    if (this.#batch !== undefined) this.#batch.set(path, entry);
    else {
      this.#isEmpty = false;
      this.tree.set(path, entry);
    }
  }

  /** Runs `body`, whose new entries are written directory by directory at its end. Inside a transaction. */
  inBatch(body: () => void): void {
    this.#batch = new Map();
    try {
      body();
      this.flush();
    } finally {
      this.#batch = undefined;
    }
  }

  /** Before the tree itself is looked at in the middle of a batch. */
  flush(): void {
    const batch = this.#batch;
    if (batch === undefined || batch.size === 0) return;
    const byDir = new Map<RelPath, { name: string; record: Entry }[]>();
    for (const [path, record] of batch) {
      const dir = parentOf(path);
      let children = byDir.get(dir);
      if (children === undefined) byDir.set(dir, (children = []));
      children.push({ name: nameOf(path), record });
    }
    for (const [dir, children] of byDir) {
      const whole = children.length >= WHOLE_DIR_MIN && (this.#isEmpty || this.tree.children(dir).length === 0);
      if (whole) this.tree.setChildren(dir, children.sort((a, b) => compareNames(a.name, b.name)));
      else for (const { name, record } of children) this.tree.set(joinPath(dir, name), record);
    }
    this.#isEmpty = false;
    batch.clear();
  }

  /** Inside a transaction. */
  clear(): void {
    this.tree.deleteSubtree("");
    this.#isEmpty = true;
    this.#files = 0;
  }
}
