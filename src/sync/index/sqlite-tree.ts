/**
 * Trees in SQLite. A directory is a row of `dir`, so that renaming it with everything below is one update;
 * its records lie in pages (tree-pages.ts). The pages touched last stay in memory, so that runs of single
 * calls in one directory cost no SQL; those that changed are written back before the transaction commits.
 *
 * Each tree has two rows of `dir` of its own: a container, whose only record is that of the root (""), and
 * below it the root directory. Every path, the root too, is thus a name in a directory.
 */
import { assert, SynclineError } from "#model/error.ts";
import {
  type RelPath,
  compareBytes,
  compareNames,
  encodeName,
  isWithin,
  joinPath,
  nameOf,
  parentOf,
} from "#model/path.ts";
import type { Codec, Tree } from "#sync/index/store.ts";
import { NodeCursor, PAGES_PER_QUERY, pageRows } from "#sync/index/node-cursor.ts";
import { PackedRecords } from "#sync/index/packed-records.ts";
import { type Sql, blobSum, checkBlob } from "#sync/index/sql.ts";
import {
  NO_NAME,
  PAGE_BYTES_MAX,
  PAGE_BYTES_MERGED_MAX,
  PAGE_BYTES_MIN,
  Page,
  type PageData,
  type PageItem,
  PageWriter,
  damaged,
} from "#sync/index/tree-pages.ts";
import {
  type PageRow,
  type TreeQueries,
  openPage,
  treeQueries,
} from "#sync/index/tree-queries.ts";
import { ByteReader } from "#sync/wire/bytes.ts";

/** Pages kept in memory; with 40 KiB each about a megabyte. */
const CACHED_PAGES_MAX = 32;
/** Directory ids remembered per tree. */
const CACHED_DIRS_MAX = 4096;

/** What the handles of one tree share. */
type TreeState = {
  readonly name: string;
  /** Undefined while nothing was ever written. */
  ids: { container: number; root: number } | undefined;
  loaded: boolean;
  count: number;
  countChanged: boolean;
  readonly dirs: Map<RelPath, number>;
  /** Directories that were looked for in vain, until one is made: a first copy asks for each of its files. */
  readonly absent: Set<RelPath>;
  /** The one of these that was asked for last. */
  absentLast: RelPath | undefined;
};

/** A page in memory. It covers the names from `first` up to, not including, `next`. */
type CachedPage = {
  readonly tree: TreeState;
  readonly path: RelPath;
  readonly dir: number;
  readonly first: Uint8Array;
  next: Uint8Array | undefined;
  readonly page: Page;
  /** Is there a row of that `first`? */
  stored: boolean;
  changed: boolean;
  used: number;
};

/** Pseudo path of a tree's container: no path holds NUL. */
const CONTAINER: RelPath = "\0";

function dirOf(path: RelPath): RelPath {
  return path === "" ? CONTAINER : parentOf(path);
}

/** May two neighbours become one page? An empty one may join any. */
function fit(small: CachedPage, other: CachedPage): boolean {
  return small.page.count === 0 || small.page.length + other.page.length <= PAGE_BYTES_MERGED_MAX;
}

function endsAt(cached: CachedPage, name: Uint8Array): boolean {
  return cached.next !== undefined && compareBytes(cached.next, name) === 0;
}

function covers(cached: CachedPage, dir: number, name: Uint8Array): boolean {
  if (cached.dir !== dir || compareBytes(cached.first, name) > 0) return false;
  return cached.next === undefined || compareBytes(cached.next, name) > 0;
}

function inSubtree(path: RelPath, dir: RelPath): boolean {
  return path !== CONTAINER && isWithin(path, dir);
}

/**
 * All trees of one store, with the caches they share. Changes must happen inside a transaction of the store.
 */
export class SqliteTrees {
  readonly #sql: TreeQueries;
  readonly #trees = new Map<string, TreeState>();
  readonly #pages: CachedPage[] = [];
  /** The page used last, looked at first: neighbours are asked for together. */
  #recent: CachedPage | undefined;
  #uses = 0;
  /** The directory whose pages #writer writes. */
  #filled = 0;
  readonly #writer = new PageWriter((page) => this.#putPage(this.#filled, page));

  constructor(sql: Sql) {
    this.#sql = treeQueries(sql);
  }

  /** `write` runs its body in a transaction, joining the one that is open. */
  tree<R>(name: string, codec: Codec<R>, write: <T>(body: () => T) => T): Tree<R> {
    let state = this.#trees.get(name);
    if (state === undefined) {
      const absent = { absent: new Set<RelPath>(), absentLast: undefined };
      state = { name, ids: undefined, loaded: false, count: 0, countChanged: false, dirs: new Map(), ...absent };
      this.#trees.set(name, state);
    }
    return new SqliteTree(this, state, codec, write);
  }

  /** Writes back what changed; must be called before a commit. */
  flush(): void {
    this.#flushPages(() => true);
    for (const tree of this.#trees.values()) {
      if (!tree.countChanged || tree.ids === undefined) continue;
      this.#sql.putTree.run(tree.ids.container, tree.ids.root, tree.count);
      tree.countChanged = false;
    }
  }

  /** Forgets everything in memory; must be called after a rollback. */
  drop(): void {
    this.#pages.length = 0;
    this.#recent = undefined;
    for (const tree of this.#trees.values()) {
      tree.ids = undefined;
      tree.loaded = false;
      tree.countChanged = false;
      tree.dirs.clear();
      tree.absent.clear();
      tree.absentLast = undefined;
    }
  }

  /** Reads every page and checks its sum. @throws STATE at the first that is damaged */
  check(): void {
    let dir = 0;
    let first = NO_NAME;
    for (;;) {
      const rows = this.#sql.allPages.all(dir, first, PAGES_PER_QUERY);
      for (const row of rows) openPage(row);
      const last = rows.at(-1);
      if (last === undefined) return;
      dir = last.dir;
      first = last.first;
    }
  }

  count(tree: TreeState): number {
    this.#load(tree);
    return tree.count;
  }

  /** The record's bytes, valid until the next call. */
  get(tree: TreeState, path: RelPath): Uint8Array | undefined {
    const nowhere = tree.absentLast;
    if (nowhere !== undefined && path.lastIndexOf("/") === nowhere.length && path.startsWith(nowhere)) return undefined;
    this.#makeRoom();
    const dir = this.#dirId(tree, dirOf(path));
    if (dir === undefined) return undefined;
    const name = encodeName(nameOf(path));
    const cached = this.#page(tree, dirOf(path), dir, name);
    const position = cached.page.find(name);
    return position < 0 ? undefined : cached.page.record(position);
  }

  set(tree: TreeState, path: RelPath, record: Uint8Array): void {
    this.#makeRoom();
    const dirPath = dirOf(path);
    const name = encodeName(nameOf(path));
    const cached = this.#page(tree, dirPath, this.#ensureDir(tree, dirPath), name);
    this.#changed(cached, cached.page.set(name, record) ? 1 : 0);
  }

  /** As set(), for children of one directory in the order of their names: each page is made anew once. */
  setSome(tree: TreeState, path: RelPath, items: readonly PageItem[]): void {
    for (let from = 0; from < items.length; ) {
      this.#makeRoom();
      const cached = this.#page(tree, path, this.#ensureDir(tree, path), items[from]!.name);
      const { next } = cached;
      let to = from + 1;
      while (to < items.length && (next === undefined || compareBytes(items[to]!.name, next) < 0)) to++;
      this.#changed(cached, cached.page.merge(items, from, to));
      from = to;
    }
  }

  #changed(cached: CachedPage, added: number): void {
    this.#addCount(cached.tree, added);
    cached.changed = true;
    if (cached.page.length > PAGE_BYTES_MAX && cached.page.count > 1) this.#writeBack(cached);
  }

  delete(tree: TreeState, path: RelPath): boolean {
    this.#makeRoom();
    const dir = this.#dirId(tree, dirOf(path));
    if (dir === undefined) return false;
    const name = encodeName(nameOf(path));
    const cached = this.#page(tree, dirOf(path), dir, name);
    const position = cached.page.find(name);
    if (position < 0) return false;
    cached.page.removeAt(position);
    cached.changed = true;
    this.#addCount(tree, -1);
    return true;
  }

  /** The bytes of a directory's pages, in order, each with the number of its records. */
  eachPage(tree: TreeState, path: RelPath, each: (page: Uint8Array, count: number) => void): void {
    const dir = this.#dirId(tree, path);
    if (dir === undefined) return;
    this.#flushPages((cached) => cached.dir === dir);
    for (const row of pageRows(this.#sql, dir)) {
      checkBlob(row);
      each(row.data, row.count);
    }
  }

  /** The pages around `name`: as many before and behind its own as hold `limit` records on either side. */
  pagesAround(tree: TreeState, path: RelPath, name: Uint8Array, limit: number): PageRow[] {
    const dir = this.#dirId(tree, path);
    if (dir === undefined) return [];
    this.#flushPages((cached) => cached.dir === dir);
    const rows: PageRow[] = [];
    let row = this.#sql.pageOf.get(dir, name);
    // Its own page may hold all of its records on one side of the name.
    for (let count = 0; row !== undefined && count < limit; row = this.#sql.pageBefore.get(dir, row.first)) {
      if (rows.length > 0) count += row.count;
      rows.unshift(row);
    }
    const own = rows.at(-1)?.first ?? NO_NAME;
    let next = this.#sql.nextFirst.get(dir, own)?.first;
    for (let count = 0; next !== undefined && count < limit; next = this.#sql.nextFirst.get(dir, next)?.first) {
      row = this.#sql.pageOf.get(dir, next);
      if (row === undefined) break;
      count += row.count;
      rows.push(row);
    }
    return rows;
  }

  setChildren(tree: TreeState, path: RelPath, fill: (pages: PageWriter) => number): void {
    const dir = this.#ensureDir(tree, path);
    // Not merely dropped: what is in memory counts, and the count of the rows is what is subtracted below.
    this.#flushPages((cached) => cached.dir === dir);
    this.#forgetPages((cached) => cached.dir === dir);
    // The flush may have pruned the directory when it emptied it.
    const target = this.#ensureDir(tree, path);
    const old = this.#sql.countPages.get(target);
    if (old !== undefined && old.pages > 0) this.#sql.dropPages.run(target);
    this.#filled = target;
    this.#writer.reset();
    const added = fill(this.#writer);
    this.#addCount(tree, added - (old?.records ?? 0));
    if (added === 0) this.#prune(tree, path);
  }

  *walk<R>(tree: TreeState, path: RelPath, decode: (bytes: Uint8Array) => R): Generator<[RelPath, R]> {
    this.#flushPages((cached) => cached.tree === tree);
    const own = this.get(tree, path);
    if (own !== undefined) yield [path, decode(own)];
    const dir = this.#dirId(tree, path);
    if (dir === undefined) return;
    const levels = [new NodeCursor(this.#sql, path, dir)];
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      if (!level.next()) {
        levels.pop();
        continue;
      }
      const nodePath = joinPath(level.path, level.name);
      if (level.dir !== undefined) levels.push(new NodeCursor(this.#sql, nodePath, level.dir));
      if (level.record !== undefined) yield [nodePath, decode(level.record)];
    }
  }

  deleteSubtree(tree: TreeState, path: RelPath): number {
    let removed = this.delete(tree, path) ? 1 : 0;
    this.#settle(tree, path);
    const dir = this.#dirId(tree, path);
    if (dir === undefined) return removed;
    const below = this.#sql.countSubtree.get(dir)?.records ?? 0;
    this.#sql.dropSubtreePages.run(dir);
    this.#sql.dropSubtreeDirs.run(dir);
    this.#forgetDirs(tree, path);
    this.#addCount(tree, -below);
    removed += below;
    if (path === "") {
      // The root directory is the one that must exist.
      assert(tree.ids !== undefined, "a tree with directories has ids");
      tree.ids = { container: tree.ids.container, root: this.#sql.addDir.run(tree.ids.container, NO_NAME) };
    } else {
      this.#prune(tree, parentOf(path));
    }
    return removed;
  }

  moveSubtree(tree: TreeState, from: RelPath, to: RelPath): void {
    assert(from !== "" && !isWithin(to, from), "a subtree cannot move into itself");
    const record = this.get(tree, from)?.slice();
    this.#settle(tree, to);
    const taken = this.get(tree, to) !== undefined || this.#dirId(tree, to) !== undefined;
    assert(!taken, "the target of a move must not exist");
    this.#settle(tree, from);
    const dir = this.#dirId(tree, from);
    if (dir !== undefined) {
      this.#sql.moveDir.run(this.#ensureDir(tree, parentOf(to)), encodeName(nameOf(to)), dir);
      this.#forgetDirs(tree, from);
      tree.absent.clear();
      tree.absentLast = undefined;
    }
    if (record !== undefined) {
      this.set(tree, to, record);
      this.delete(tree, from);
    } else if (dir !== undefined) {
      this.#prune(tree, parentOf(from));
    }
  }

  #load(tree: TreeState): void {
    if (tree.loaded) return;
    const container = this.#sql.dir.get(0, encodeName(tree.name))?.id;
    const row = container === undefined ? undefined : this.#sql.tree.get(container);
    tree.ids = container === undefined || row === undefined ? undefined : { container, root: row.root };
    tree.count = row?.count ?? 0;
    tree.loaded = true;
  }

  #addCount(tree: TreeState, difference: number): void {
    if (difference === 0) return;
    tree.count += difference;
    tree.countChanged = true;
  }

  #dirId(tree: TreeState, path: RelPath): number | undefined {
    const known = tree.dirs.get(path);
    if (known !== undefined) return known;
    if (path === "" || path === CONTAINER) {
      this.#load(tree);
      return path === "" ? tree.ids?.root : tree.ids?.container;
    }
    if (tree.absent.has(path)) {
      tree.absentLast = path;
      return undefined;
    }
    const parent = this.#dirId(tree, parentOf(path));
    const id = parent === undefined ? undefined : this.#sql.dir.get(parent, encodeName(nameOf(path)))?.id;
    if (id !== undefined) this.#rememberDir(tree, path, id);
    else {
      if (tree.absent.size >= CACHED_DIRS_MAX) tree.absent.clear();
      tree.absent.add(path);
      tree.absentLast = path;
    }
    return id;
  }

  #ensureDir(tree: TreeState, path: RelPath): number {
    const known = this.#dirId(tree, path);
    if (known !== undefined) return known;
    if (path === "" || path === CONTAINER) {
      const container = this.#sql.addDir.run(0, encodeName(tree.name));
      tree.ids = { container, root: this.#sql.addDir.run(container, NO_NAME) };
      tree.countChanged = true;
      return path === "" ? tree.ids.root : container;
    }
    const id = this.#sql.addDir.run(this.#ensureDir(tree, parentOf(path)), encodeName(nameOf(path)));
    this.#rememberDir(tree, path, id);
    return id;
  }

  #rememberDir(tree: TreeState, path: RelPath, id: number): void {
    tree.absent.delete(path);
    tree.absentLast = undefined;
    if (tree.dirs.size >= CACHED_DIRS_MAX) tree.dirs.delete(tree.dirs.keys().next().value!);
    tree.dirs.set(path, id);
  }

  #forgetDirs(tree: TreeState, path: RelPath): void {
    for (const known of tree.dirs.keys()) if (inSubtree(known, path)) tree.dirs.delete(known);
  }

  /** Removes a directory that holds nothing any more, and the parents that only held it. */
  #prune(tree: TreeState, path: RelPath): void {
    for (let at = path; at !== "" && at !== CONTAINER; at = parentOf(at)) {
      const dir = this.#dirId(tree, at);
      if (dir === undefined || this.#sql.inUse.get(dir, dir)?.used !== 0) return;
      if (this.#pages.some((cached) => cached.dir === dir && cached.page.count > 0)) return;
      this.#forgetPages((cached) => cached.dir === dir);
      this.#sql.dropDir.run(dir);
      tree.dirs.delete(at);
    }
  }

  /**
   * Writes back and forgets the pages of `path`'s directory and below, so that rows alone tell what is there.
   */
  #settle(tree: TreeState, path: RelPath): void {
    const within = (cached: CachedPage): boolean => cached.tree === tree && inSubtree(cached.path, path);
    this.#flushPages(within);
    this.#forgetPages(within);
  }

  /**
   * The page that holds `name` or would hold it, kept in memory. Callers make room first: an eviction may
   * remove directories that have become empty, so none may happen once a directory's id is known.
   */
  #page(tree: TreeState, path: RelPath, dir: number, name: Uint8Array): CachedPage {
    let cached = this.#recent;
    if (cached !== undefined && covers(cached, dir, name)) return cached;
    cached = this.#pages.find((one) => covers(one, dir, name));
    if (cached === undefined) {
      cached = this.#read(tree, path, dir, this.#sql.pageOf.get(dir, name));
      this.#pages.push(cached);
    }
    cached.used = ++this.#uses;
    this.#recent = cached;
    return cached;
  }

  #read(tree: TreeState, path: RelPath, dir: number, row: PageRow | undefined): CachedPage {
    return {
      tree,
      path,
      dir,
      first: row?.first ?? NO_NAME,
      next: row === undefined ? undefined : this.#sql.nextFirst.get(dir, row.first)?.first,
      page: row === undefined ? new Page(NO_NAME, 0) : openPage(row),
      stored: row !== undefined,
      changed: false,
      used: 0,
    };
  }

  /** Leaves room for the pages that one call loads. */
  #makeRoom(): void {
    while (this.#pages.length >= CACHED_PAGES_MAX) {
      let oldest = this.#pages[0]!;
      for (const cached of this.#pages) if (cached.used < oldest.used) oldest = cached;
      this.#writeBack(oldest);
      this.#forgetPages((cached) => cached === oldest);
    }
  }

  #forgetPages(which: (cached: CachedPage) => boolean): void {
    this.#recent = undefined;
    const pages = this.#pages;
    let kept = 0;
    for (const cached of pages) if (!which(cached)) pages[kept++] = cached;
    pages.length = kept;
  }

  #flushPages(which: (cached: CachedPage) => boolean): void {
    // Writing one back may load, merge or drop others, so each round looks anew; the list is short.
    for (;;) {
      const changed = this.#pages.find((cached) => cached.changed && which(cached));
      if (changed === undefined) return;
      this.#writeBack(changed);
    }
  }

  #writeBack(cached: CachedPage): void {
    if (!cached.changed) return;
    const target = cached.page.length < PAGE_BYTES_MIN ? this.#merge(cached) : cached;
    target.changed = false;
    if (target.page.count === 0) {
      // Only the single page of a directory can still be empty here.
      if (target.stored) this.#sql.dropPage.run(target.dir, target.first);
      target.stored = false;
      this.#prune(target.tree, target.path);
      return;
    }
    const pieces = target.page.pieces(target.first);
    for (const piece of pieces) this.#putPage(target.dir, piece);
    target.stored = true;
    if (pieces.length > 1) this.#forgetPages((other) => other === target);
  }

  /** Joins a small page with a neighbour where they fit; returns the page that now holds its records. */
  #merge(small: CachedPage): CachedPage {
    const { tree, path, dir, first } = small;
    if (small.next !== undefined) {
      const next =
        this.#pages.find((cached) => covers(cached, dir, small.next!)) ??
        this.#read(tree, path, dir, this.#sql.pageOf.get(dir, small.next));
      if (!fit(small, next)) return small;
      small.page.append(next.page);
      small.next = next.next;
      this.#discard(next);
      return small;
    }
    if (first.length === 0) return small;
    const before =
      this.#pages.find((cached) => cached.dir === dir && endsAt(cached, first)) ??
      this.#read(tree, path, dir, this.#sql.pageBefore.get(dir, first));
    if (!fit(small, before)) return small;
    before.page.append(small.page);
    before.next = undefined;
    this.#discard(small);
    return before;
  }

  #discard(cached: CachedPage): void {
    if (cached.stored) this.#sql.dropPage.run(cached.dir, cached.first);
    this.#forgetPages((other) => other === cached);
  }

  #putPage(dir: number, page: PageData): void {
    this.#sql.putPage.run(dir, page.first, page.count, blobSum(page.data), page.data);
  }
}

class SqliteTree<R> implements Tree<R> {
  readonly #trees: SqliteTrees;
  readonly #state: TreeState;
  readonly #codec: Codec<R>;
  readonly #write: <T>(body: () => T) => T;

  constructor(trees: SqliteTrees, state: TreeState, codec: Codec<R>, write: <T>(body: () => T) => T) {
    this.#trees = trees;
    this.#state = state;
    this.#codec = codec;
    this.#write = write;
  }

  get(path: RelPath): R | undefined {
    const bytes = this.#trees.get(this.#state, path);
    return bytes === undefined ? undefined : this.#decode(bytes);
  }

  set(path: RelPath, record: R): void {
    const bytes = this.#codec.encode(record);
    this.#write(() => this.#trees.set(this.#state, path, bytes));
  }

  delete(path: RelPath): void {
    this.#write(() => this.#trees.delete(this.#state, path));
  }

  children(dir: RelPath): { name: string; record: R }[] {
    const out: { name: string; record: R }[] = [];
    const reader = new ByteReader(NO_NAME);
    this.#trees.eachPage(this.#state, dir, (page) => {
      reader.reset(page);
      while (!reader.atEnd) out.push({ name: reader.string(), record: this.#decode(reader.bytes()) });
    });
    return out;
  }

  packed(dir: RelPath): PackedRecords<R> {
    const records = new PackedRecords((bytes) => this.#decode(bytes));
    this.#trees.eachPage(this.#state, dir, (page, count) => records.append(page, count));
    return records;
  }

  childrenAround(dir: RelPath, name: string, limit: number): { name: string; record: R }[] {
    const found: { name: string; bytes: Uint8Array }[] = [];
    const reader = new ByteReader(NO_NAME);
    for (const row of this.#trees.pagesAround(this.#state, dir, encodeName(name), limit)) {
      checkBlob(row);
      reader.reset(row.data);
      while (!reader.atEnd) found.push({ name: reader.string(), bytes: reader.bytes() });
    }
    const at = found.findIndex((one) => compareNames(one.name, name) >= 0);
    const middle = at < 0 ? found.length : at;
    const near = found.slice(Math.max(0, middle - limit), middle + limit);
    return near.map((one) => ({ name: one.name, record: this.#decode(one.bytes) }));
  }

  setChildren(dir: RelPath, children: readonly { name: string; record: R }[]): void {
    this.#write(() =>
      this.#trees.setChildren(this.#state, dir, (pages) => {
        let last: string | undefined;
        for (const { name, record } of children) {
          // Pages are searched by order: one name out of place would hide others.
          assert(last === undefined || compareNames(last, name) < 0, "children must come in order");
          pages.add(name, this.#codec.encode(record));
          last = name;
        }
        pages.finish();
        return children.length;
      }),
    );
  }

  setSome(dir: RelPath, children: readonly { name: string; record: R }[]): void {
    let last: string | undefined;
    const items = children.map(({ name, record }): PageItem => {
      assert(last === undefined || compareNames(last, name) < 0, "children must come in order");
      last = name;
      return { name: encodeName(name), record: this.#codec.encode(record) };
    });
    this.#write(() => this.#trees.setSome(this.#state, dir, items));
  }

  walk(path: RelPath): Iterable<[RelPath, R]> {
    return this.#trees.walk(this.#state, path, (bytes) => this.#decode(bytes));
  }

  deleteSubtree(path: RelPath): number {
    return this.#write(() => this.#trees.deleteSubtree(this.#state, path));
  }

  moveSubtree(from: RelPath, to: RelPath): void {
    this.#write(() => this.#trees.moveSubtree(this.#state, from, to));
  }

  count(): number {
    return this.#trees.count(this.#state);
  }

  /** A record that cannot be decoded was not written by us as it is. */
  #decode(bytes: Uint8Array): R {
    try {
      return this.#codec.decode(bytes);
    } catch (error) {
      throw error instanceof SynclineError && error.code === "PROTOCOL" ? damaged(error) : error;
    }
  }
}
