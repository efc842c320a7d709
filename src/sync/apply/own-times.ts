/**
 * A call through one name of a file moves the ctime that all its names have. The index has a record for each name, and a
 * scan takes a new ctime for an edit: bytes that the disk spoiled until then would pass for one. So what our own calls
 * made of a ctime is noted, from the look before a call to the look after it, and goes into the records of all names that
 * were right before the first of them. Files of one name need none of this: their record comes with what was placed.
 */
import type { RelPath } from "#model/path.ts";
import { FsError, type Stat } from "#platform/file-system.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";

type Moved = {
  /** What the ctime was before each of the calls. */
  readonly passed: Set<bigint>;
  /** What the last call left. */
  to: bigint;
  /** Names that the link groups may not know yet. */
  readonly names: Set<RelPath>;
};

export class OwnTimes {
  /** By inode; no more than the files of several names in one group of changes. */
  readonly #files = new Map<bigint, Moved>();
  /** Inodes whose mode, times, owner or attributes we have changed. */
  readonly #restated = new Set<bigint>();

  get any(): boolean {
    return this.#files.size > 0;
  }

  has(ino: bigint): boolean {
    return this.#files.has(ino);
  }

  /**
   * Notes one call of ours, with the looks right before and after it. Where the file is another by then, or had another
   * ctime than our call before left, somebody else was there: what came before is not explained any more.
   */
  moved(name: RelPath | undefined, before: Stat, after: Stat): void {
    const isSame = after.kind === "file" && after.ino === before.ino && after.size === before.size && after.mtimeNs === before.mtimeNs;
    if (!isSame) return;
    const known = this.#files.get(after.ino);
    const names = known?.names ?? new Set();
    if (name !== undefined) names.add(name);
    const passed = known?.to === before.ctimeNs ? known.passed : new Set<bigint>();
    passed.add(before.ctimeNs);
    this.#files.set(after.ino, { passed, to: after.ctimeNs, names });
  }

  /**
   * As moved(), of a call that changed what all names of the file have in common, besides its content. The records of the
   * others do not say that yet: they are looked at again, and what is found there is news.
   */
  restated(before: Stat, after: Stat): void {
    this.moved(undefined, before, after);
    this.#restated.add(after.ino);
  }

  /**
   * Performs a call that moves the ctime of files through names that nobody looks at after it, because they are in the
   * trash by then, or were until then: each file is looked at under another of its names.
   */
  through<T>(context: ApplyContext, inos: Iterable<bigint>, act: () => T, except?: RelPath): T {
    const looks: { readonly name: RelPath; readonly before: Stat }[] = [];
    for (const ino of inos) {
      for (const name of context.links.members(ino)) {
        const before = name === except ? undefined : lookAt(context, name);
        if (before?.ino !== ino) continue;
        looks.push({ name, before });
        break;
      }
    }
    try {
      return act();
    } finally {
      for (const { name, before } of looks) {
        const after = lookAt(context, name);
        if (after !== undefined) this.moved(name, before, after);
      }
    }
  }

  /** Is it our doing alone that a file recorded with one ctime has the one that it has now? */
  explains(recordedNs: bigint, { ino, ctimeNs }: Stat): boolean {
    const known = this.#files.get(ino);
    return known?.to === ctimeNs && known.passed.has(recordedNs);
  }

  /** Puts the ctimes that our calls left into the index. Inside a transaction; begins anew. */
  settle({ index, links, markDirty }: ApplyContext): void {
    for (const [ino, { passed, to, names }] of this.#files) {
      for (const path of new Set([...names, ...links.members(ino)])) {
        const record = index.get(path);
        const isStale = record?.entry.kind === "file" && record.ino === ino && record.ctimeNs !== to;
        if (!isStale || !passed.has(record.ctimeNs)) continue;
        index.set(path, { ...record, ctimeNs: to, racy: record.racy || this.#restated.has(ino) });
      }
    }
    for (const ino of this.#restated) for (const path of links.members(ino)) markDirty(path);
    this.#files.clear();
    this.#restated.clear();
  }
}

function lookAt({ root }: ApplyContext, name: RelPath): Stat | undefined {
  try {
    return root.statIfThere(name);
  } catch (error) {
    if (error instanceof FsError) return undefined;
    throw error;
  }
}
