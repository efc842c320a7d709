/**
 * What every Store must do, as a suite: `storeContract("SQLite", open)` inside a test file. Every test opens
 * a store of its own; `dispose` is called at its end with whatever store is then open closed already.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type RelPath, compareNames, comparePaths, isWithin, joinPath, nameOf, parentOf } from "#model/path.ts";
import type { Codec, Store, Tree } from "#sync/index/store.ts";

export type StoreUnderTest = {
  readonly store: Store;
  /** Closes the store that is open and opens the same state again. */
  reopen(): Store;
  /** Opens what would be left if the process ended now, without closing first; the old store is given up. */
  crash?: (() => Store) | undefined;
  dispose?: (() => void) | undefined;
};

/** Records of the suite: numbers with padding, so that pages fill and split. */
type Sample = { readonly value: number; readonly padding: number };

const sampleCodec: Codec<Sample> = {
  encode: ({ value, padding }) => {
    const bytes = new Uint8Array(4 + padding);
    new DataView(bytes.buffer).setUint32(0, value);
    return bytes;
  },
  decode: (bytes) => {
    const fields = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return { value: fields.getUint32(0), padding: bytes.length - 4 };
  },
};

const sample = (value: number, padding = 0): Sample => ({ value, padding });
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const SOON = { durable: false };
const DURABLE = { durable: true };

/**
 * Names that have broken stores: order of astral characters and of raw bytes, NUL-like and control
 * characters.
 */
const ODD_NAMES = [
  "a", "a.txt", "a b", "A", "b", "\u0001", "\t", "\n", "\u007f", "é", "e\u0301", "\uffff", "\u{1f600}", "\udc80", "\udcff",
  "x\udcc3y", "%", "_", "-rf", " ", "x".repeat(255),
];

export function storeContract(name: string, open: () => StoreUnderTest): void {
  const using = (body: (under: StoreUnderTest) => Store): void => {
    const under = open();
    let last = under.store;
    try {
      last = body(under);
    } finally {
      last.close();
      under.dispose?.();
    }
  };
  describe(`${name}: the store contract`, () => {
    treeBasics(using);
    treeSubtrees(using);
    treeModel(using);
    transactions(using);
    tables(using);
    logs(using);
  });
}

type Using = (body: (under: StoreUnderTest) => Store) => void;

function snapshot(tree: Tree<Sample>, from: RelPath = ""): [RelPath, number][] {
  return [...tree.walk(from)].map(([path, record]) => [path, record.value]);
}

function treeBasics(using: Using): void {
  test("[STATE-1] a record is found again, replaced and removed; the count follows", () =>
    using(({ store }) => {
      const tree = store.tree("t", sampleCodec);
      expect(tree.get("a/b")).toBeUndefined();
      expect(tree.count()).toBe(0);
      tree.set("a/b", sample(1));
      tree.set("", sample(2));
      tree.set("a/b", sample(3, 5));
      expect(tree.get("a/b")).toEqual(sample(3, 5));
      expect(tree.get("")).toEqual(sample(2));
      expect(tree.get("a")).toBeUndefined();
      expect(tree.count()).toBe(2);
      tree.delete("a/b");
      tree.delete("a/b");
      tree.delete("never/there");
      expect(tree.get("a/b")).toBeUndefined();
      expect(tree.count()).toBe(1);
      return store;
    }));

  test("[STATE-1] trees of one store do not see each other; handles of one tree do", () =>
    using(({ store }) => {
      const tree = store.tree("one", sampleCodec);
      tree.set("x", sample(1));
      expect(store.tree("two", sampleCodec).count()).toBe(0);
      expect(store.tree("two", sampleCodec).get("x")).toBeUndefined();
      expect(store.tree("one", sampleCodec).get("x")).toEqual(sample(1));
      return store;
    }));

  test("[STATE-2] children come in the order of the bytes of their names, odd names unharmed", () =>
    using((under) => {
      let tree = under.store.tree("t", sampleCodec);
      ODD_NAMES.forEach((child, index) => tree.set(joinPath("d", child), sample(index)));
      const store = under.reopen();
      tree = store.tree("t", sampleCodec);
      const names = tree.children("d").map((child) => child.name);
      expect(names).toEqual(ODD_NAMES.toSorted(compareNames));
      for (const [index, child] of ODD_NAMES.entries()) expect(tree.get(joinPath("d", child))?.value).toBe(index);
      expect(tree.children("nowhere")).toEqual([]);
      expect(tree.packed("d").all()).toEqual(tree.children("d"));
      expect(tree.packed("d").seek("not there")).toBeUndefined();
      expect(tree.packed("nowhere").count).toBe(0);
      return store;
    }));

  test("[STATE-2] setSome sets what it is given, over pages that are full, and leaves the rest", () =>
    using(({ store }) => {
      const tree = store.tree("t", sampleCodec);
      const name = (at: number): string => `n${at.toString().padStart(5, "0")}`;
      const every = (step: number, from: number) =>
        Array.from({ length: Math.ceil((3000 - from) / step) }, (_, at) => ({ name: name(from + at * step), value: at }));
      tree.setSome("d", every(2, 0).map((one) => ({ name: one.name, record: sample(one.value, 40) })));
      tree.setSome("d", every(3, 1).map((one) => ({ name: one.name, record: sample(9000 + one.value, 90) })));
      const wanted = new Map(every(2, 0).map((one) => [one.name, one.value]));
      for (const one of every(3, 1)) wanted.set(one.name, 9000 + one.value);
      const found = tree.children("d").map((one): [string, number] => [one.name, one.record.value]);
      expect(found).toEqual([...wanted].toSorted(([a], [b]) => compareNames(a, b)));
      expect(tree.count()).toBe(wanted.size);
      expect(() => tree.setSome("d", [{ name: "b", record: sample(1) }, { name: "a", record: sample(1) }])).toThrow();
      expect(tree.count()).toBe(wanted.size);
      return store;
    }));

  test("[STATE-2] setChildren replaces the direct children only", () =>
    using(({ store }) => {
      const tree = store.tree("t", sampleCodec);
      tree.set("d", sample(9));
      tree.set("d/old", sample(1));
      tree.set("d/old/deep", sample(2));
      tree.set("d/kept", sample(3));
      tree.setChildren("d", [
        { name: "kept", record: sample(4) },
        { name: "new", record: sample(5) },
      ]);
      expect(snapshot(tree)).toEqual([["d", 9], ["d/kept", 4], ["d/new", 5], ["d/old/deep", 2]]);
      expect(tree.count()).toBe(4);
      tree.setChildren("d", []);
      expect(snapshot(tree)).toEqual([["d", 9], ["d/old/deep", 2]]);
      tree.setChildren("", []);
      expect(tree.count()).toBe(1);
      return store;
    }));

  test("[STATE-2] a directory far larger than a page works one by one and as a whole", () =>
    using((under) => {
      const count = 3000;
      const name = (index: number): string => `n${String(index).padStart(5, "0")}`;
      let tree = under.store.tree("t", sampleCodec);
      const all = Array.from({ length: count }, (_, index) => ({ name: name(index), record: sample(index, 40) }));
      tree.setChildren("big", all);
      under.store.transaction(SOON, () => {
        for (let index = 0; index < count; index += 3) tree.delete(`big/${name(index)}`);
        for (let index = 1; index < count; index += 3) tree.set(`big/${name(index)}`, sample(index, 300));
      });
      const store = under.reopen();
      tree = store.tree("t", sampleCodec);
      expect(tree.count()).toBe(2000);
      const wanted = all
        .filter((_, index) => index % 3 !== 0)
        .map((child) => (child.record.value % 3 === 1 ? { ...child, record: sample(child.record.value, 300) } : child));
      expect(tree.children("big")).toEqual(wanted);
      expect(snapshot(tree, "big").map(([path]) => path)).toEqual(wanted.map((child) => `big/${child.name}`));
      expect(tree.get(`big/${name(2999)}`)).toEqual(sample(2999, 40));
      for (const [from, limit] of [[0, 3], [1499, 1000], [1500, 7], [2999, 5], [700, 5000]] as const) {
        const before = wanted.filter((child) => child.name < name(from)).slice(-limit);
        const behind = wanted.filter((child) => child.name >= name(from)).slice(0, limit);
        expect(tree.childrenAround("big", name(from), limit)).toEqual([...before, ...behind]);
      }
      expect(tree.childrenAround("big", "z", 2)).toEqual(wanted.slice(-2));
      expect(tree.childrenAround("nowhere", "x", 2)).toEqual([]);
      store.transaction(SOON, () => {
        for (const child of wanted) tree.delete(`big/${child.name}`);
      });
      expect(tree.children("big")).toEqual([]);
      expect(tree.count()).toBe(0);
      return store;
    }));

  test("[STATE-1] what is passed in may be changed afterwards", () =>
    using(({ store }) => {
      const shared = new Uint8Array(8);
      const tree = store.tree<number>("t", { encode: (value) => shared.fill(value), decode: (bytes) => bytes[0]! });
      store.transaction(SOON, () => {
        tree.set("a", 1);
        tree.set("b", 2);
        tree.setChildren("d", [{ name: "c", record: 3 }, { name: "d", record: 4 }]);
      });
      expect([...tree.walk("")]).toEqual([["a", 1], ["b", 2], ["d/c", 3], ["d/d", 4]]);
      return store;
    }));
}

function treeSubtrees(using: Using): void {
  const fill = (tree: Tree<Sample>): void => {
    for (const [index, path] of ["a", "a/b", "a/b/c", "a/b/c/d", "a.txt", "ab", "ab/x"].entries()) {
      tree.set(path, sample(index));
    }
  };

  test("[STATE-3] walk goes depth-first in path order and starts anywhere", () =>
    using(({ store }) => {
      const tree = store.tree("t", sampleCodec);
      fill(tree);
      expect(snapshot(tree).map(([path]) => path)).toEqual(["a", "a/b", "a/b/c", "a/b/c/d", "a.txt", "ab", "ab/x"]);
      expect(snapshot(tree, "a/b").map(([path]) => path)).toEqual(["a/b", "a/b/c", "a/b/c/d"]);
      expect(snapshot(tree, "a.txt").map(([path]) => path)).toEqual(["a.txt"]);
      expect(snapshot(tree, "none")).toEqual([]);
      return store;
    }));

  test("[STATE-3] deleteSubtree removes exactly the path and what is below", () =>
    using(({ store }) => {
      const tree = store.tree("t", sampleCodec);
      fill(tree);
      tree.set("", sample(7));
      expect(tree.deleteSubtree("a")).toBe(4);
      expect(tree.deleteSubtree("a")).toBe(0);
      expect(snapshot(tree).map(([path]) => path)).toEqual(["", "a.txt", "ab", "ab/x"]);
      expect(tree.count()).toBe(4);
      expect(tree.deleteSubtree("")).toBe(4);
      expect(tree.count()).toBe(0);
      tree.set("a/b", sample(1));
      expect(snapshot(tree)).toEqual([["a/b", 1]]);
      return store;
    }));

  test("[STATE-3] moveSubtree renames everything below, also into a directory that was not there", () =>
    using((under) => {
      let tree = under.store.tree("t", sampleCodec);
      fill(tree);
      tree.get("a/b/c/d");
      tree.moveSubtree("a/b", "z/y/b");
      tree.moveSubtree("a.txt", "z/t");
      tree.moveSubtree("nothing", "there");
      const wanted: [RelPath, number][] = [
        ["a", 0], ["ab", 5], ["ab/x", 6], ["z/t", 4], ["z/y/b", 1], ["z/y/b/c", 2], ["z/y/b/c/d", 3],
      ];
      expect(snapshot(tree)).toEqual(wanted);
      expect(tree.get("a/b/c/d")).toBeUndefined();
      expect(tree.count()).toBe(7);
      const store = under.reopen();
      tree = store.tree("t", sampleCodec);
      expect(snapshot(tree)).toEqual(wanted);
      return store;
    }));

  test("[STATE-3] a move onto something, or into itself, is refused and changes nothing", () =>
    using(({ store }) => {
      const tree = store.tree("t", sampleCodec);
      fill(tree);
      const before = snapshot(tree);
      expect(() => tree.moveSubtree("a", "ab")).toThrow();
      expect(() => tree.moveSubtree("a", "a/b/c/e")).toThrow();
      expect(() => tree.moveSubtree("a.txt", "a/b")).toThrow();
      expect(snapshot(tree)).toEqual(before);
      return store;
    }));
}

type Step =
  | { readonly type: "set"; readonly path: RelPath; readonly padding: number }
  | { readonly type: "delete" | "deleteSubtree"; readonly path: RelPath }
  | { readonly type: "move"; readonly path: RelPath; readonly to: RelPath }
  | { readonly type: "children"; readonly path: RelPath; readonly names: readonly string[] }
  | { readonly type: "some"; readonly path: RelPath; readonly names: readonly string[]; readonly padding: number }
  | { readonly type: "commit" | "rollback" | "reopen" };

function anySteps(): fc.Arbitrary<Step[]> {
  const name = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom("a", "b", "c", "a.b") },
    { weight: 1, arbitrary: fc.constantFrom(...ODD_NAMES) },
  );
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
  const padding = fc.constantFrom(0, 10, 5_000, 12_000, 40_000);
  return fc.array(
    fc.oneof<fc.Arbitrary<Step>[]>(
      fc.record({ type: fc.constant("set" as const), path, padding }),
      fc.record({ type: fc.constant("set" as const), path, padding }),
      fc.record({ type: fc.constantFrom("delete" as const, "deleteSubtree" as const), path }),
      fc.record({ type: fc.constant("move" as const), path, to: path }),
      fc.record({
        type: fc.constant("children" as const),
        path: fc.oneof(path, fc.constant("")),
        names: fc.uniqueArray(name, { maxLength: 6 }),
      }),
      fc.record({
        type: fc.constant("some" as const),
        path: fc.oneof(path, fc.constant("")),
        names: fc.uniqueArray(name, { maxLength: 6 }),
        padding,
      }),
      fc.record({ type: fc.constantFrom("commit" as const, "rollback" as const, "reopen" as const) }),
    ),
    { minLength: 1, maxLength: 40 },
  );
}

/** The tree as it should be: nothing but a map. */
class TreeModel {
  records = new Map<RelPath, Sample>();

  apply(step: Step, value: number): void {
    if (step.type === "set") this.records.set(step.path, sample(value, step.padding));
    else if (step.type === "delete") this.records.delete(step.path);
    else if (step.type === "deleteSubtree") for (const path of this.below(step.path)) this.records.delete(path);
    else if (step.type === "children") {
      for (const path of [...this.records.keys()]) {
        if (path !== "" && parentOf(path) === step.path) this.records.delete(path);
      }
      for (const name of step.names) this.records.set(joinPath(step.path, name), sample(value));
    } else if (step.type === "some") {
      for (const name of step.names) this.records.set(joinPath(step.path, name), sample(value, step.padding));
    } else if (step.type === "move") {
      for (const path of this.below(step.path)) {
        const record = this.records.get(path)!;
        this.records.delete(path);
        this.records.set(step.to + path.slice(step.path.length), record);
      }
    }
  }

  below(path: RelPath): RelPath[] {
    return [...this.records.keys()].filter((key) => isWithin(key, path));
  }

  sorted(): [RelPath, Sample][] {
    return [...this.records].toSorted(([a], [b]) => comparePaths(a, b));
  }
}

function applyStep(tree: Tree<Sample>, model: TreeModel, step: Step, value: number): void {
  switch (step.type) {
    case "set":
      tree.set(step.path, sample(value, step.padding));
      break;
    case "delete":
      tree.delete(step.path);
      break;
    case "deleteSubtree":
      expect(tree.deleteSubtree(step.path)).toBe(model.below(step.path).length);
      break;
    case "children": {
      const names = step.names.toSorted(compareNames);
      tree.setChildren(step.path, names.map((name) => ({ name, record: sample(value) })));
      break;
    }
    case "some": {
      const names = step.names.toSorted(compareNames);
      tree.setSome(step.path, names.map((name) => ({ name, record: sample(value, step.padding) })));
      break;
    }
    case "move":
      if (isWithin(step.to, step.path) || model.below(step.to).length > 0) return;
      tree.moveSubtree(step.path, step.to);
      break;
    default:
      return;
  }
  model.apply(step, value);
}

function isAscii(name: string): boolean {
  return [...name].every((character) => character < "\u0080");
}

function compareWithModel(tree: Tree<Sample>, model: TreeModel): void {
  const wanted = model.sorted();
  expect([...tree.walk("")]).toEqual(wanted);
  expect(tree.count()).toBe(wanted.length);
  const dirs = new Set(wanted.map(([path]) => parentOf(path)));
  for (const dir of dirs) {
    const children = wanted.filter(([path]) => parentOf(path) === dir);
    expect(tree.children(dir)).toEqual(children.map(([path, record]) => ({ name: nameOf(path), record })));
    const packed = tree.packed(dir);
    expect(packed.all()).toEqual(tree.children(dir));
    expect(packed.count).toBe(children.length);
    for (const asked of [children, children.toReversed()]) {
      // Names that are not there lie between, before and after those that are.
      const names = asked.flatMap(([path]) => [nameOf(path).slice(0, -1), nameOf(path), `${nameOf(path)}~`]);
      const anew = tree.packed(dir);
      for (const name of names) {
        const known = children.find(([path]) => nameOf(path) === name)?.[1];
        expect([name, anew.seek(name)?.record()]).toEqual([name, known]);
        if (isAscii(name)) expect([name, anew.early(name)]).toEqual([name, known]);
      }
    }
  }
  for (const [path, record] of wanted) expect(tree.get(path)).toEqual(record);
}

function treeModel(using: Using): void {
  test("[STATE-4] any sequence of operations leaves what a plain map would hold", () =>
    fc.assert(
      fc.property(anySteps(), (steps) =>
        using((under) => {
          let store = under.store;
          let tree = store.tree("t", sampleCodec);
          const model = new TreeModel();
          const undo = new Error("undo");
          let rest = steps;
          while (rest.length > 0) {
            const end = rest.findIndex((step) => ["commit", "rollback", "reopen"].includes(step.type));
            const group = end < 0 ? rest : rest.slice(0, end + 1);
            rest = rest.slice(group.length);
            const before = new Map(model.records);
            try {
              store.transaction(SOON, () => {
                for (const [index, step] of group.entries()) applyStep(tree, model, step, index);
                if (group.length % 2 === 0) compareWithModel(tree, model);
                if (group.at(-1)!.type === "rollback") throw undo;
              });
            } catch (error) {
              if (error !== undo) throw error;
              model.records = before;
            }
            if (group.at(-1)!.type === "reopen") {
              store = under.reopen();
              tree = store.tree("t", sampleCodec);
            }
            compareWithModel(tree, model);
          }
          return store;
        }),
      ),
      { numRuns: 60 },
    ));
}

function transactions(using: Using): void {
  test("[STATE-5] a body that throws leaves no trace, whatever it touched", () =>
    using((under) => {
      const { store } = under;
      const tree = store.tree("t", sampleCodec);
      const log = store.log("l");
      tree.set("keep/x", sample(1));
      log.append(utf8("first"));
      store.table("k").set("key", utf8("old"));
      const failure = new Error("failure");
      const attempt = (): void =>
        store.transaction(DURABLE, () => {
          tree.set("keep/y", sample(2));
          tree.set("fresh/deep/z", sample(2));
          tree.moveSubtree("keep", "moved");
          log.append(utf8("second"));
          log.trim(1);
          store.table("k").set("key", utf8("new"));
          store.tree("other", sampleCodec).set("a", sample(1));
          store.log("other").append(utf8("x"));
          throw failure;
        });
      expect(attempt).toThrow(failure);
      expect(snapshot(tree)).toEqual([["keep/x", 1]]);
      expect(tree.count()).toBe(1);
      expect([...log.since(0)]).toEqual([[1, utf8("first")]]);
      expect(store.table("k").get("key")).toEqual(utf8("old"));
      expect(store.tree("other", sampleCodec).count()).toBe(0);
      expect(store.log("other").last()).toBe(0);
      expect(log.append(utf8("again"))).toBe(2);
      tree.set("fresh/deep/z", sample(4));
      const next = under.reopen();
      expect(snapshot(next.tree("t", sampleCodec))).toEqual([["fresh/deep/z", 4], ["keep/x", 1]]);
      return next;
    }));

  test("[STATE-5] nested transactions join the outer one, and a failure inside fails the whole", () =>
    using((under) => {
      const { store } = under;
      const tree = store.tree("t", sampleCodec);
      const result = store.transaction(SOON, () => {
        tree.set("a", sample(1));
        return store.transaction(DURABLE, () => {
          tree.set("b", sample(2));
          return tree.get("a")!.value + tree.get("b")!.value;
        });
      });
      expect(result).toBe(3);
      const failure = new Error("inner");
      const swallow = (): void =>
        store.transaction(SOON, () => {
          tree.set("c", sample(3));
          try {
            store.transaction(SOON, () => {
              tree.set("d", sample(4));
              throw failure;
            });
          } catch {
            tree.set("e", sample(5));
          }
        });
      expect(swallow).toThrow(failure);
      const next = under.reopen();
      expect(snapshot(next.tree("t", sampleCodec))).toEqual([["a", 1], ["b", 2]]);
      return next;
    }));

  test("[STATE-5] after a crash the durable transactions are there, whole", () =>
    using((under) => {
      if (under.crash === undefined) return under.store;
      const { store } = under;
      store.transaction(SOON, () => store.tree("t", sampleCodec).set("early", sample(1)));
      store.transaction(DURABLE, () => {
        store.tree("t", sampleCodec).set("a/b", sample(2));
        store.log("l").append(utf8("entry"));
      });
      const next = under.crash();
      expect(snapshot(next.tree("t", sampleCodec))).toEqual([["a/b", 2], ["early", 1]]);
      expect(next.log("l").last()).toBe(1);
      return next;
    }));

  test("[STATE-5] an empty durable transaction makes earlier ones durable", () =>
    using((under) => {
      if (under.crash === undefined) return under.store;
      under.store.transaction(SOON, () => under.store.tree("t", sampleCodec).set("a", sample(1)));
      under.store.transaction(DURABLE, () => undefined);
      const next = under.crash();
      expect(snapshot(next.tree("t", sampleCodec))).toEqual([["a", 1]]);
      return next;
    }));
}

function tables(using: Using): void {
  test("[STATE-6] a table keeps bytes by key and lists them in order by prefix", () =>
    using((under) => {
      const table = under.store.table("k");
      expect(table.get("a")).toBeUndefined();
      under.store.transaction(SOON, () => {
        for (let index = 0; index < 600; index++) table.set(`run/${String(index).padStart(4, "0")}`, utf8(`${index}`));
      });
      table.set("a", utf8("one"));
      table.set("a", utf8("two"));
      table.set("empty", new Uint8Array(0));
      table.delete("run/0000");
      table.delete("gone");
      under.store.table("other").set("a", utf8("elsewhere"));
      const store = under.reopen();
      const again = store.table("k");
      expect(again.get("a")).toEqual(utf8("two"));
      expect(again.get("empty")).toEqual(new Uint8Array(0));
      expect([...again.entries()].map(([key]) => key).slice(0, 3)).toEqual(["a", "empty", "run/0001"]);
      expect([...again.entries("run/")].length).toBe(599);
      expect([...again.entries("run/059")].map(([key]) => key.slice(-1))).toEqual([..."0123456789"]);
      expect([...again.entries("zzz")]).toEqual([]);
      return store;
    }));
}

function logs(using: Using): void {
  test("[STATE-7] a log numbers from 1 and never reuses a number, even trimmed and reopened", () =>
    using((under) => {
      let log = under.store.log("l");
      expect([log.first(), log.last()]).toEqual([1, 0]);
      expect(log.append(utf8("one"))).toBe(1);
      expect(log.append(utf8("two"))).toBe(2);
      expect(log.append(utf8("three"))).toBe(3);
      log.trim(2);
      expect([log.first(), log.last()]).toEqual([3, 3]);
      expect([...log.since(0)]).toEqual([[3, utf8("three")]]);
      log.trim(1);
      expect(log.first()).toBe(3);
      log.trim(99);
      expect([log.first(), log.last()]).toEqual([4, 3]);
      expect([...log.since(0)]).toEqual([]);
      log = under.reopen().log("l");
      expect([log.first(), log.last()]).toEqual([4, 3]);
      const store = under.reopen();
      expect(store.log("l").append(utf8("four"))).toBe(4);
      expect(store.log("other").append(utf8("one"))).toBe(1);
      expect([...store.log("l").since(3)]).toEqual([[4, utf8("four")]]);
      return store;
    }));

  test("[STATE-7] a long log is read from anywhere, also while a transaction appends", () =>
    using((under) => {
      const log = under.store.log("l");
      under.store.transaction(SOON, () => {
        for (let index = 1; index <= 5000; index++) {
          expect(log.append(utf8(`record ${index} ${"x".repeat(30)}`))).toBe(index);
          if (index === 777) expect([...log.since(775)].map(([number]) => number)).toEqual([776, 777]);
        }
      });
      const last = 5000 + 40;
      for (let index = 5001; index <= last; index++) log.append(utf8(`record ${index} `));
      log.trim(1234);
      const store = under.reopen();
      const again = store.log("l");
      expect(again.first()).toBe(1235);
      const all = [...again.since(0)];
      expect(all.map(([number]) => number)).toEqual(Array.from({ length: last - 1234 }, (_, index) => 1235 + index));
      for (const [number, bytes] of all) {
        if (!new TextDecoder().decode(bytes).startsWith(`record ${number} `)) expect(number).toBe(0);
      }
      for (const after of [1234, 3333, last - 1, last, last + 5]) {
        expect([...again.since(after)].length).toBe(Math.max(0, last - after));
      }
      return store;
    }));
}
