/** Many records by their paths. */
import { type RelPath, compareNames, joinPath, nameOf, parentOf } from "#model/path.ts";
import type { Tree } from "#sync/index/store.ts";

/** Neighbours from which on a directory's page is made anew at once. */
const RUN_MIN = 4;

/** Sets one after the other; those of one directory that come in order, at once. Call inside a transaction. */
export function setRecords<R>(tree: Tree<R>, records: readonly { path: RelPath; record: R }[]): void {
  let dir: RelPath = "";
  let run: { name: string; record: R }[] = [];
  const flush = (): void => {
    if (run.length >= RUN_MIN) tree.setSome(dir, run);
    else for (const { name, record } of run) tree.set(joinPath(dir, name), record);
    run = [];
  };
  for (const { path, record } of records) {
    const cut = path.lastIndexOf("/");
    const isSameDir = cut < 0 ? dir === "" : cut === dir.length && path.startsWith(dir);
    const name = nameOf(path);
    const follows = run.length > 0 && isSameDir && compareNames(run.at(-1)!.name, name) < 0;
    if (!follows) {
      flush();
      // The root has no parent to be a child of.
      if (path === "") {
        tree.set(path, record);
        continue;
      }
      dir = parentOf(path);
    }
    run.push({ name, record });
  }
  flush();
}
