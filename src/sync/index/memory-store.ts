/**
 * The store without a disk, for simulation. Behaves as the SQLite store does, crashes included: see MemoryDisk.
 *
 * Every change leaves behind how to take it back. A transaction that throws takes back its own; a power loss takes
 * back the newest commits that were not durable yet.
 */
import { SynclineError, assert } from "#model/error.ts";
import { type RelPath, compareNames, isWithin, joinPath, nameOf, parentOf } from "#model/path.ts";
import { PackedRecords } from "#sync/index/packed-records.ts";
import type { Codec, Log, Store, Table, Tree } from "#sync/index/store.ts";
import { ByteWriter } from "#sync/wire/bytes.ts";

type Undo = () => void;
type Note = (undo: Undo) => void;
/** Draws a whole number 0 <= x < n. */
export type Chance = { int(n: number): number };

/** A record and what is below it. Nodes without a record exist as long as something else may need them. */
type TreeNode = {
  record: Uint8Array | undefined;
  readonly children: Map<string, TreeNode>;
  /** Names of `children` in compareNames order; undefined when that must be worked out anew. */
  sorted: string[] | undefined;
};
type TreeData = { top: TreeNode; count: number };
type LogData = { records: Uint8Array[]; first: number };

function newNode(): TreeNode {
  return { record: undefined, children: new Map(), sorted: undefined };
}

/** What outlives the process: one database file, as it were. Give it to a new MemoryStore after a crash. */
export class MemoryDisk {
  readonly trees = new Map<string, TreeData>();
  readonly tables = new Map<string, Map<string, Uint8Array>>();
  readonly logs = new Map<string, LogData>();
  /** Called before every commit. What it throws ends the store as a crash at that moment would: nothing committed. */
  beforeCommit: ((durable: boolean) => void) | undefined;
  /** Commits, oldest first, that a power loss may still take. */
  #volatile: Undo[][] = [];
  /** What takes back the transaction in progress. */
  #open: Undo[] = [];
  #generation = 0;

  /** Changes whenever the process that uses the disk ends; a store of another generation is dead. */
  get generation(): number {
    return this.#generation;
  }

  /** Begins a transaction whose changes leave `undos` behind until it is committed or taken back. */
  begin(undos: Undo[]): void {
    this.#open = undos;
  }

  commit(undos: Undo[], durable: boolean): void {
    this.#open = [];
    if (durable) this.#volatile = [];
    else if (undos.length > 0) this.#volatile.push(undos);
  }

  /** Ends the process: the open transaction is lost, all commits stay. */
  kill(): void {
    this.#generation++;
    // Before any commit is: what was done last must be taken back first.
    takeBack(this.#open);
  }

  /** Time passes: the system has written back by itself what was committed. */
  settle(): void {
    this.#volatile = [];
  }

  /** The power goes: a prefix of the commits survives, at least up to the last durable one. */
  crash(chance: Chance): void {
    this.kill();
    const kept = chance.int(this.#volatile.length + 1);
    for (const undos of this.#volatile.splice(kept).reverse()) takeBack(undos);
    this.#volatile = [];
  }
}

function takeBack(undos: Undo[]): void {
  for (let at = undos.length - 1; at >= 0; at--) undos[at]!();
  undos.length = 0;
}

type Transaction = { readonly undos: Undo[]; durable: boolean; failure: { readonly error: unknown } | undefined };

export class MemoryStore implements Store {
  readonly #disk: MemoryDisk;
  readonly #generation: number;
  #open: Transaction | undefined;
  #isClosed = false;
  /** What ended it in the middle of a commit. */
  #death: { readonly error: unknown } | undefined;

  constructor(disk = new MemoryDisk()) {
    this.#disk = disk;
    this.#generation = disk.generation;
  }

  tree<R>(name: string, codec: Codec<R>): Tree<R> {
    let data = this.#disk.trees.get(name);
    if (data === undefined) this.#disk.trees.set(name, (data = { top: newNode(), count: 0 }));
    return new MemoryTree(data, codec, this.#change, this.#check);
  }

  table(name: string): Table {
    let data = this.#disk.tables.get(name);
    if (data === undefined) this.#disk.tables.set(name, (data = new Map()));
    return makeTable(data, this.#change, this.#check);
  }

  log(name: string): Log {
    let data = this.#disk.logs.get(name);
    if (data === undefined) this.#disk.logs.set(name, (data = { records: [], first: 1 }));
    return makeLog(data, this.#change, this.#check);
  }

  transaction<T>(options: { durable: boolean }, body: () => T): T {
    this.#check();
    const outer = this.#open;
    if (outer !== undefined) {
      outer.durable ||= options.durable;
      try {
        return body();
      } catch (error) {
        // Part of the whole is missing now, so the whole must fail even when somebody catches this on the way.
        outer.failure ??= { error };
        throw error;
      }
    }
    const transaction: Transaction = { undos: [], durable: options.durable, failure: undefined };
    this.#open = transaction;
    this.#disk.begin(transaction.undos);
    try {
      const result = body();
      if (transaction.failure !== undefined) throw transaction.failure.error;
      this.#commit(transaction);
      return result;
    } catch (error) {
      takeBack(transaction.undos);
      throw error;
    } finally {
      this.#open = undefined;
    }
  }

  close(): void {
    assert(this.#open === undefined, "a store is not closed inside a transaction");
    this.#isClosed = true;
  }

  #commit(transaction: Transaction): void {
    this.#check();
    try {
      this.#disk.beforeCommit?.(transaction.durable);
      this.#check();
    } catch (error) {
      this.#death ??= { error };
      throw error;
    }
    this.#disk.commit(transaction.undos, transaction.durable);
  }

  /** Runs one change, in the open transaction or in one of its own. */
  readonly #change = <T>(body: (note: Note) => T): T => {
    this.#check();
    const open = this.#open;
    if (open === undefined) return this.transaction({ durable: false }, () => this.#change(body));
    return body((undo) => open.undos.push(undo));
  };

  readonly #check = (): void => {
    if (this.#death !== undefined) throw this.#death.error;
    assert(!this.#isClosed, "the store is open");
    if (this.#generation === this.#disk.generation) return;
    throw new SynclineError({ code: "STATE", op: "state", message: "the process that held the state has ended" });
  };
}

type ChangeFn = <T>(body: (note: Note) => T) => T;

class MemoryTree<R> implements Tree<R> {
  readonly #data: TreeData;
  readonly #codec: Codec<R>;
  readonly #change: ChangeFn;
  readonly #check: () => void;

  constructor(data: TreeData, codec: Codec<R>, change: ChangeFn, check: () => void) {
    this.#data = data;
    this.#codec = codec;
    this.#change = change;
    this.#check = check;
  }

  get(path: RelPath): R | undefined {
    this.#check();
    const record = this.#find(path)?.record;
    return record === undefined ? undefined : this.#codec.decode(record);
  }

  set(path: RelPath, record: R): void {
    const bytes = this.#codec.encode(record).slice();
    this.#change((note) => this.#put(this.#ensure(path), bytes, note));
  }

  delete(path: RelPath): void {
    this.#change((note) => {
      const node = this.#find(path);
      if (node?.record !== undefined) this.#put(node, undefined, note);
    });
  }

  children(dir: RelPath): { name: string; record: R }[] {
    this.#check();
    const out: { name: string; record: R }[] = [];
    const node = this.#find(dir);
    if (node === undefined) return out;
    for (const name of sortedNames(node)) {
      const { record } = node.children.get(name)!;
      if (record !== undefined) out.push({ name, record: this.#codec.decode(record) });
    }
    return out;
  }

  packed(dir: RelPath): PackedRecords<R> {
    this.#check();
    const records = new PackedRecords((bytes) => this.#codec.decode(bytes));
    const node = this.#find(dir);
    if (node === undefined) return records;
    const page = new ByteWriter();
    let count = 0;
    for (const name of sortedNames(node)) {
      const { record } = node.children.get(name)!;
      if (record === undefined) continue;
      page.string(name);
      page.bytes(record);
      count++;
    }
    records.append(page.finish(), count);
    return records;
  }

  childrenAround(dir: RelPath, name: string, limit: number): { name: string; record: R }[] {
    const all = this.children(dir);
    const at = all.findIndex((one) => compareNames(one.name, name) >= 0);
    const middle = at < 0 ? all.length : at;
    return all.slice(Math.max(0, middle - limit), middle + limit);
  }

  setChildren(dir: RelPath, children: readonly { name: string; record: R }[]): void {
    const encoded = children.map(({ name, record }) => ({ name, bytes: this.#codec.encode(record).slice() }));
    this.#change((note) => {
      const node = this.#ensure(dir);
      const wanted = new Set(encoded.map(({ name }) => name));
      for (const [name, child] of node.children) {
        if (child.record !== undefined && !wanted.has(name)) this.#put(child, undefined, note);
      }
      for (const { name, bytes } of encoded) this.#put(childOf(node, name), bytes, note);
    });
  }

  setSome(dir: RelPath, children: readonly { name: string; record: R }[]): void {
    if (children.length === 0) return;
    assert(children.every(({ name }, at) => at === 0 || compareNames(children[at - 1]!.name, name) < 0), "children in order");
    const encoded = children.map(({ name, record }) => ({ name, bytes: this.#codec.encode(record).slice() }));
    this.#change((note) => {
      const node = this.#ensure(dir);
      for (const { name, bytes } of encoded) this.#put(childOf(node, name), bytes, note);
    });
  }

  *walk(path: RelPath): Generator<[RelPath, R]> {
    this.#check();
    const node = this.#find(path);
    if (node !== undefined) yield* this.#walkNode(path, node);
  }

  deleteSubtree(path: RelPath): number {
    return this.#change((note) => {
      const node = this.#find(path);
      const removed = node === undefined ? 0 : recordsIn(node);
      if (node === undefined || removed === 0) return 0;
      if (path === "") this.#replaceTop(newNode(), note);
      else replaceChild(this.#find(parentOf(path))!, nameOf(path), undefined, note);
      this.#count(-removed, note);
      return removed;
    });
  }

  moveSubtree(from: RelPath, to: RelPath): void {
    assert(from !== "" && !isWithin(to, from), "a subtree cannot move into itself");
    this.#change((note) => {
      const target = this.#find(to);
      assert(target === undefined || recordsIn(target) === 0, "the target of a move must not exist");
      const node = this.#find(from);
      if (node === undefined) return;
      replaceChild(this.#find(parentOf(from))!, nameOf(from), undefined, note);
      replaceChild(this.#ensure(parentOf(to)), nameOf(to), node, note);
    });
  }

  count(): number {
    this.#check();
    return this.#data.count;
  }

  *#walkNode(path: RelPath, node: TreeNode): Generator<[RelPath, R]> {
    if (node.record !== undefined) yield [path, this.#codec.decode(node.record)];
    for (const name of sortedNames(node)) yield* this.#walkNode(joinPath(path, name), node.children.get(name)!);
  }

  #find(path: RelPath): TreeNode | undefined {
    let node: TreeNode | undefined = this.#data.top;
    if (path === "") return node;
    for (const name of path.split("/")) {
      node = node.children.get(name);
      if (node === undefined) return undefined;
    }
    return node;
  }

  /** A node without a record is as good as none, so making one needs no undo. */
  #ensure(path: RelPath): TreeNode {
    let node = this.#data.top;
    if (path !== "") for (const name of path.split("/")) node = childOf(node, name);
    return node;
  }

  #put(node: TreeNode, bytes: Uint8Array | undefined, note: Note): void {
    const old = node.record;
    node.record = bytes;
    note(() => {
      node.record = old;
    });
    const difference = (bytes === undefined ? 0 : 1) - (old === undefined ? 0 : 1);
    if (difference !== 0) this.#count(difference, note);
  }

  #count(difference: number, note: Note): void {
    const data = this.#data;
    data.count += difference;
    note(() => {
      data.count -= difference;
    });
  }

  #replaceTop(top: TreeNode, note: Note): void {
    const data = this.#data;
    const old = data.top;
    data.top = top;
    note(() => {
      data.top = old;
    });
  }
}

function childOf(node: TreeNode, name: string): TreeNode {
  let child = node.children.get(name);
  if (child === undefined) {
    child = newNode();
    node.children.set(name, child);
    node.sorted = undefined;
  }
  return child;
}

function replaceChild(node: TreeNode, name: string, child: TreeNode | undefined, note: Note): void {
  const old = node.children.get(name);
  const put = (next: TreeNode | undefined): void => {
    if (next === undefined) node.children.delete(name);
    else node.children.set(name, next);
    node.sorted = undefined;
  };
  put(child);
  note(() => put(old));
}

function sortedNames(node: TreeNode): string[] {
  return (node.sorted ??= [...node.children.keys()].sort(compareNames));
}

function recordsIn(node: TreeNode): number {
  let count = node.record === undefined ? 0 : 1;
  for (const child of node.children.values()) count += recordsIn(child);
  return count;
}

function makeTable(data: Map<string, Uint8Array>, change: ChangeFn, check: () => void): Table {
  const put = (key: string, value: Uint8Array | undefined): void => {
    if (value === undefined) data.delete(key);
    else data.set(key, value);
  };
  const replace = (key: string, value: Uint8Array | undefined): void =>
    change((note) => {
      const old = data.get(key);
      put(key, value);
      note(() => put(key, old));
    });
  return {
    get(key) {
      check();
      return data.get(key)?.slice();
    },
    set: (key, value) => replace(key, value.slice()),
    delete: (key) => replace(key, undefined),
    *entries(prefix = "") {
      check();
      for (const key of [...data.keys()].filter((each) => each.startsWith(prefix)).sort()) {
        const value = data.get(key);
        if (value !== undefined) yield [key, value.slice()];
      }
    },
  };
}

function makeLog(data: LogData, change: ChangeFn, check: () => void): Log {
  const last = (): number => data.first + data.records.length - 1;
  return {
    append(record) {
      const copy = record.slice();
      return change((note) => {
        data.records.push(copy);
        note(() => data.records.pop());
        return last();
      });
    },
    last() {
      check();
      return last();
    },
    first() {
      check();
      return data.first;
    },
    *since(after) {
      check();
      for (let number = Math.max(after + 1, data.first); number <= last(); number++) {
        yield [number, data.records[number - data.first]!.slice()];
      }
    },
    trim(upTo) {
      change((note) => {
        const gone = data.records.splice(0, Math.max(0, Math.min(upTo, last()) - data.first + 1));
        data.first += gone.length;
        note(() => {
          data.records = gone.concat(data.records);
          data.first -= gone.length;
        });
      });
    },
  };
}
