/**
 * The watched directories as nodes with a parent. A watch belongs to a directory's inode, not to a path: when
 * a directory is renamed its node gets another parent, and the watches of everything below stay right as they
 * are.
 */
import { type RelPath, joinPath } from "#model/path.ts";

export class WatchNode {
  /** Of this node's watch; undefined for a directory that could not be watched. */
  wd: number | undefined;
  /** Overflows that had been heard of when the watch was last known to live. */
  overflows = 0;
  ino: bigint;
  /** Undefined for the root, and for what is not (or no longer) connected to it. */
  parent: WatchNode | undefined;
  name: string;
  children: Map<string, WatchNode> | undefined;

  constructor(ino: bigint, name: string) {
    this.ino = ino;
    this.name = name;
  }
}

export class WatchTree {
  readonly #byWd = new Map<number, WatchNode>();
  #root: WatchNode | undefined;

  /** Directories with a watch. */
  get size(): number {
    return this.#byWd.size;
  }

  /** Undefined until setRoot. */
  get root(): WatchNode | undefined {
    return this.#root;
  }

  setRoot(ino: bigint): WatchNode {
    this.#root = new WatchNode(ino, "");
    return this.#root;
  }

  byWd(wd: number): WatchNode | undefined {
    return this.#byWd.get(wd);
  }

  bind(node: WatchNode, wd: number): void {
    node.wd = wd;
    this.#byWd.set(wd, node);
  }

  /** The node stays in the tree but is not watched any more. */
  unbind(node: WatchNode): void {
    if (node.wd !== undefined && this.#byWd.get(node.wd) === node) this.#byWd.delete(node.wd);
    node.wd = undefined;
  }

  find(path: RelPath): WatchNode | undefined {
    let node = this.#root;
    if (path === "") return node;
    for (const name of path.split("/")) {
      node = node?.children?.get(name);
      if (node === undefined) return undefined;
    }
    return node;
  }

  /** Puts the node under a parent, in place of what was there by that name; returns what was. */
  attach(node: WatchNode, parent: WatchNode, name: string): WatchNode | undefined {
    const before = parent.children?.get(name);
    if (before === node) return undefined;
    if (before !== undefined) this.detach(before);
    this.detach(node);
    node.parent = parent;
    node.name = name;
    // Only now, because detaching the last child takes the map away.
    parent.children ??= new Map();
    parent.children.set(name, node);
    return before;
  }

  /** Cuts the node and everything below off the tree. */
  detach(node: WatchNode): void {
    const { parent } = node;
    if (parent === undefined) return;
    if (parent.children?.get(node.name) === node) parent.children.delete(node.name);
    if (parent.children?.size === 0) parent.children = undefined;
    node.parent = undefined;
  }

  /** Path of a node; undefined when it is not connected to the root. */
  pathOf(node: WatchNode): RelPath | undefined {
    if (node === this.#root) return "";
    let path = node.name;
    let at = node.parent;
    for (; at !== undefined && at !== this.#root; at = at.parent) path = joinPath(at.name, path);
    return at === undefined ? undefined : path;
  }

  /** Is `node` equal to `above` or below it? */
  isBelow(node: WatchNode, above: WatchNode): boolean {
    for (let at: WatchNode | undefined = node; at !== undefined; at = at.parent) if (at === above) return true;
    return false;
  }

  /** The node and everything below it, parents first. */
  *within(node: WatchNode): Generator<WatchNode> {
    const waiting = [node];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      yield at;
      if (at.children !== undefined) waiting.push(...at.children.values());
    }
  }
}
