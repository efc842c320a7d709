import { expect, test } from "bun:test";
import fc from "fast-check";
import { changesFor, differences, type Difference } from "#hub/restore.ts";
import type { SpaceChange, Version } from "#hub/space.ts";
import { compareBytes, encodeName, parentOf } from "#model/path.ts";
import { chunkIdOf, type ContentId } from "#sync/chunk/chunk-id.ts";

/** A tree as a map from path to "d" or the text of a file. */
type Tree = Map<string, string>;

const names = fc.constantFrom("a", "b", "a.x", "a-", "c");
const treeOf = fc
  .array(fc.tuple(fc.array(names, { minLength: 1, maxLength: 3 }), fc.constantFrom("d", "one", "two")), { maxLength: 12 })
  .map((made): Tree => {
    const tree: Tree = new Map();
    for (const [parts, what] of made) {
      const path = parts.join("/");
      const above = parts.slice(0, -1).map((_, at) => parts.slice(0, at + 1).join("/"));
      if (above.some((dir) => (tree.get(dir) ?? "d") !== "d")) continue;
      if (tree.get(path) === "d" && what !== "d") continue;
      for (const dir of above) tree.set(dir, "d");
      tree.set(path, what);
    }
    return tree;
  });

function versions(tree: Tree, sequence: number): Version[] {
  const made = [...tree].map(([path, what]): Version => {
    const [vector, attributes] = [{}, {}];
    if (what === "d") {
      return { path, sequence, vector, attributes, content: undefined, entry: { kind: "dir", mode: 0o755 } };
    }
    const bytes = Buffer.from(what);
    const id = chunkIdOf(bytes) as string as ContentId;
    const entry = { kind: "file", size: bytes.length, mode: 0o644, mtimeNs: 1n, sum: undefined } as const;
    return { path, sequence, vector, attributes, entry, content: { id, size: bytes.length } };
  });
  return made.sort((a, b) => compareBytes(encodeName(a.path), encodeName(b.path)));
}

async function* each<T>(all: readonly T[]): AsyncGenerator<T> {
  yield* all;
}

/** Makes one change as a space would, refusing what a space would refuse. */
function perform(tree: Tree, change: SpaceChange): void {
  if (change.type === "move") throw new Error("restore moves nothing");
  const { path } = change;
  const there = tree.has(path);
  if (change.expect.kind === "absent" && there) throw new Error(`${path} is there`);
  if (change.expect.kind === "sequence" && !there) throw new Error(`${path} is not there`);
  const isFull = [...tree.keys()].some((other) => other.startsWith(`${path}/`));
  if (change.type === "remove") {
    if (isFull) throw new Error(`${path} is not empty`);
    tree.delete(path);
    return;
  }
  if (parentOf(path) !== "" && tree.get(parentOf(path)) !== "d") throw new Error(`${path} has no directory`);
  const { entry, content } = change;
  if (entry.kind === "dir") tree.set(path, "d");
  else tree.set(path, (content!.id as string) === chunkIdOf(Buffer.from("one")) ? "one" : "two");
}

test("[RESTORE-1] the changes lead from any tree to any other, and each is possible when its turn comes", async () => {
  await fc.assert(
    fc.asyncProperty(treeOf, treeOf, async (from, to) => {
      const found: Difference[] = [];
      for await (const one of differences(each(versions(from, 1)), each(versions(to, 2)))) found.push(one);
      const { changes, lost } = changesFor(found);
      expect(lost).toEqual([]);
      const tree = new Map(from);
      for (const change of changes) perform(tree, change);
      expect(new Map([...tree].sort())).toEqual(new Map([...to].sort()));
    }),
    { numRuns: 500 },
  );
});

test("[RESTORE-2] what is the same is left alone", async () => {
  const tree: Tree = new Map([["a", "d"], ["a/b", "one"]]);
  const found: Difference[] = [];
  for await (const one of differences(each(versions(tree, 1)), each(versions(tree, 9)))) found.push(one);
  expect(found).toEqual([]);
});

test("[RESTORE-3] a file whose bytes are gone is named, not restored empty", () => {
  const [wanted] = versions(new Map([["a", "one"]]), 3);
  const difference = { path: "a", now: undefined, wanted: { ...wanted!, content: undefined } };
  expect(changesFor([difference])).toEqual({ changes: [], lost: ["a"] });
});
