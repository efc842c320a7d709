/**
 * Writes what a scan found into the index and reports every difference. No report comes after the index write it
 * belongs to with a pause between them, so a caller that puts each step in a transaction never loses one, whatever ends
 * the scan in a pause. One that came too early is harmless: who hears of a path looks into the index for what is there.
 */
import { type FileEntry, compareContent } from "#model/entry.ts";
import { PRIVATE_DIR, type RelPath, compareNames, joinPath } from "#model/path.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import type { Tree } from "#sync/index/store.ts";
import { type LinkGroups, TOUCHED_MAX } from "#sync/scan/link-groups.ts";
import type { Pacer } from "#sync/scan/pacer.ts";
import { type ProblemSet, changedProblem } from "#sync/scan/problem-set.ts";
import { RenameCandidates } from "#sync/scan/rename-candidates.ts";
import type { Fd, Stat } from "#platform/file-system.ts";

export type ScanSink = {
  /**
   * The path differs from the index: its record now, or undefined for absence, or "ignored" when rules took
   * it out of sight (with everything below, which gets no call of its own). A path may be reported more than
   * once in a scan; the last call counts. Directories come before what is in them.
   */
  changed(path: RelPath, state: IndexRecord | "ignored" | undefined): void;
  /**
   * Holds what the index knew already, and may have been written or made anew: nobody will read it for the session, but
   * a power loss may still take it. Of files and symlinks, and of directories that hold nothing.
   */
  renewed(path: RelPath, changed: Pick<Stat, "ctimeNs">): void;
};

/** Told which directories a scan walks, so that they can be watched before they are listed. */
export type DirectoryHook = {
  /** `fd` stays open only during the call. */
  entering(path: RelPath, fd: Fd, ino: bigint): void;
  /** All that is in it has been looked at and reported, each name by itself. */
  listed?(path: RelPath): void;
  /** The directory is now ignored. */
  dropped(path: RelPath): void;
};

/**
 * `old` to `next`; `silent`: only what a disk knows by itself has changed, which is no news for a session.
 */
export type IndexChange = {
  readonly name: string;
  readonly path: RelPath;
  readonly old: IndexRecord | undefined;
  readonly next: IndexRecord | "ignored" | undefined;
  readonly nlink: number;
  readonly silent: boolean;
};

/**
 * Children of one directory that are replaced by one index write; a larger directory is written in slices.
 */
const WRITE_WHOLE_MAX = 8192;
/** From this many changes on, and this part of all children, a directory is written whole. */
const WRITE_WHOLE_MIN = 16;
const WRITE_WHOLE_PART = 4;

/** Subtrees that vanished wait here, inside the index only, for the place they may have been renamed to. */
const ASIDE = `${PRIVATE_DIR}/aside`;

export type EditorOptions = {
  readonly index: Tree<IndexRecord>;
  readonly links: LinkGroups;
  readonly hardlinks: boolean;
  readonly sink: ScanSink;
  readonly hook: DirectoryHook | undefined;
  readonly pacer: Pacer;
};

type Child = { name: string; record: IndexRecord };

export class IndexEditor {
  readonly candidates = new RenameCandidates();
  /** Inodes whose link groups may have changed. */
  readonly touched = new Set<bigint>();
  /** Inodes that got a name in this scan, with their number of names. */
  readonly #named = new Map<bigint, number>();
  /** Those of the touched of which nobody would know who goes on where this scan breaks off. */
  readonly #unnoted = new Set<bigint>();
  readonly #options: EditorOptions;
  #asides = 0;

  constructor(options: EditorOptions) {
    this.#options = options;
  }

  /**
   * Performs the changes of one directory. `children`: what the index holds there, when the caller has it.
   */
  *write(dir: RelPath, children: readonly Child[] | undefined, changes: IndexChange[]): Generator<void> {
    const { index, pacer } = this.#options;
    for (const change of changes) {
      if (change.old?.entry.kind !== "dir" || change.next === "ignored") continue;
      if (change.next?.entry.kind !== "dir") yield* this.#setAside(change.path, change.old);
    }
    if (children !== undefined && isWorthWhole(changes.length, children.length)) {
      for (const change of changes) if (change.next === "ignored") this.#forget(change.path, change.old);
      sortByName(changes);
      index.setChildren(dir, merged(children, changes));
      for (const change of changes) this.#report(change);
    } else {
      if (changes.length > 1) sortByName(changes);
      for (const change of changes) {
        if (change.next === "ignored") this.#forget(change.path, change.old);
        else if (change.next === undefined) index.delete(change.path);
        else index.set(change.path, change.next);
        this.#report(change);
        if (pacer.due()) yield;
      }
    }
    if (this.touched.size >= TOUCHED_MAX) {
      yield* this.settleLinks();
      this.#named.clear();
    }
  }

  /** One change at one path, at once. Not for directories that go away. */
  set(path: RelPath, next: IndexRecord, nlink: number): void {
    this.#options.index.set(path, next);
    this.#report({ name: "", path, old: undefined, next, nlink, silent: false });
  }

  #report({ path, old, next, nlink, silent }: IndexChange): void {
    const { links, sink } = this.#options;
    if (next === undefined) return this.#gone(path, old!);
    if (next === "ignored") return sink.changed(path, "ignored");
    if (links.any && old?.entry.kind === "file" && old.ino !== next.ino) this.#leave(old.ino, path);
    if (next.entry.kind === "file") {
      if (nlink > 1) {
        links.join(next.ino, path);
        this.#touch(next.ino);
        if (old?.ino !== next.ino) this.#name(next.ino, nlink);
      } else if (links.any) this.#leave(next.ino, path);
    }
    // What replaced a file at its own path may still be found again elsewhere under its old inode.
    if (old?.entry.kind === "file" && old.ino !== next.ino) this.candidates.fileVanished(path, old);
    if (!silent) sink.changed(path, next);
    if (old !== undefined && isRenewed(old, next, silent)) sink.renewed(path, next);
  }

  /** A directory that the index knows to be empty is so. Another one may have taken its place, even its number. */
  stillEmpty(dir: RelPath, stat: Stat): void {
    this.#options.sink.renewed(dir, stat);
  }

  #gone(path: RelPath, record: IndexRecord): void {
    if (record.entry.kind === "file") {
      this.candidates.fileVanished(path, record);
      this.#leave(record.ino, path);
    }
    this.#options.sink.changed(path, undefined);
  }

  #leave(ino: bigint, path: RelPath): void {
    if (this.#options.links.leave(ino, path)) this.#touch(ino);
  }

  #touch(ino: bigint): void {
    if (this.touched.has(ino)) return;
    this.touched.add(ino);
    this.#unnoted.add(ino);
  }

  #name(ino: bigint, nlink: number): void {
    this.#named.set(ino, nlink);
    this.#unnoted.add(ino);
  }

  /** What was left to be settled before this scan. Call at its beginning. */
  takeUnsettled(): void {
    for (const { ino, nlink } of this.#options.links.unsettled()) {
      this.touched.add(ino);
      if (nlink > 0) this.#named.set(ino, nlink);
    }
  }

  /**
   * Call in each pause: what was found is in the index by then, and no later scan would find it again and settle its
   * groups. In the transaction of what was found.
   */
  noteUnsettled(): void {
    const { links } = this.#options;
    for (const ino of this.#unnoted) links.unsettle(ino, this.#named.get(ino));
    this.#unnoted.clear();
  }

  /** Drops an ignored path and everything below without saying that any of it is absent. */
  #forget(path: RelPath, record: IndexRecord | undefined): void {
    const { index, links, hook } = this.#options;
    if (links.any) {
      for (const [below, known] of index.walk(path)) if (known.entry.kind === "file") this.#leave(known.ino, below);
    }
    index.deleteSubtree(path);
    if (record?.entry.kind === "dir") hook?.dropped(path);
  }

  /** Reports everything below a vanished directory as absent and keeps its records for takeDir(). */
  *#setAside(path: RelPath, record: IndexRecord): Generator<void> {
    const { index } = this.#options;
    const aside = `${ASIDE}/${this.#asides++}`;
    let count = 0;
    for (const found of this.#below(path)) {
      if (found === undefined) {
        yield;
        continue;
      }
      const [below, known] = found;
      count++;
      this.#gone(below, known);
      if (known.entry.kind !== "dir") continue;
      this.candidates.dirVanished(below, aside + below.slice(path.length), known.ino);
    }
    if (count === 0) return;
    index.moveSubtree(path, aside);
    this.candidates.dirVanished(path, aside, record.ino);
    // Its own absence is reported again by the caller, but maybe not in this step.
    this.#options.sink.changed(path, undefined);
  }

  /**
   * Brings a subtree that was set aside to its new place and reports all of it as present there, `record` for the
   * directory itself. All is reported before the index moves: what is in the index and was not reported never would be.
   */
  *restore(aside: RelPath, path: RelPath, record: IndexRecord): Generator<void> {
    const { index, links, sink } = this.#options;
    sink.changed(path, record);
    for (const found of this.#below(aside)) {
      if (found === undefined) {
        yield;
        continue;
      }
      const [from, known] = found;
      const below = path + from.slice(aside.length);
      if (known.entry.kind === "file" && this.touched.has(known.ino)) links.join(known.ino, below);
      sink.changed(below, known);
    }
    index.moveSubtree(aside, path);
    this.set(path, record, 1);
  }

  /** Everything recorded below `path`, directory by directory; undefined where a pause is due. */
  *#below(path: RelPath): Generator<[RelPath, IndexRecord] | undefined> {
    const { index, pacer } = this.#options;
    const dirs = [path];
    for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
      for (const { name, record } of index.children(dir)) {
        const below = joinPath(dir, name);
        yield [below, record];
        if (record.entry.kind === "dir") dirs.push(below);
        if (pacer.due()) yield undefined;
      }
    }
  }

  /**
   * Searches the index for the names of files that had only one when they were recorded and were linked
   * since: the new name alone is reported. The one step of a dirty scan that costs by the size of the root,
   * and only after link(). A full scan, for which an old name may look as it was, costs that anyway.
   */
  *findOtherNames(): Generator<void> {
    const { links } = this.#options;
    for (const [ino, nlink] of this.#named) if (links.members(ino).length >= nlink) this.#named.delete(ino);
    if (this.#named.size === 0) return;
    for (const found of this.#below("")) {
      if (found === undefined) {
        yield;
        continue;
      }
      const [path, { entry, ino }] = found;
      if (entry.kind === "file" && this.#named.has(ino)) links.join(ino, path);
    }
    this.#named.clear();
  }

  /**
   * Gives every member of the touched groups the right leader, and new names what is known of their file. At the end of a
   * scan also a problem to those that were seen before the file was written through another name: only that name is
   * reported as changed.
   */
  *settleLinks(problems?: ProblemSet): Generator<void> {
    const { index, links, hardlinks, sink, pacer } = this.#options;
    for (const ino of this.touched) {
      const names = this.#namesOf(ino);
      if (problems !== undefined) addOutdated(problems, names);
      const hashed = names.find(({ record }) => record.entry.sum !== undefined);
      const known = (hashed ?? names.find(({ record }) => record.diskMtimeNs !== undefined))?.record;
      for (const { path, record } of names) {
        const linkTo = hardlinks && path !== names[0]!.path ? names[0]!.path : undefined;
        const told = known === undefined ? record : asKnown(record, known);
        if (told === record && record.entry.linkTo === linkTo) continue;
        const { linkTo: _, ...plain } = told.entry;
        const entry: FileEntry = linkTo === undefined ? plain : { ...plain, linkTo };
        index.set(path, { ...told, entry });
        sink.changed(path, { ...told, entry });
      }
      links.settled(ino);
      this.#unnoted.delete(ino);
      if (pacer.due()) yield;
    }
    this.touched.clear();
  }

  /** The names that the index has of an inode. Its group forgets all others. */
  #namesOf(ino: bigint): Name[] {
    const { index, links } = this.#options;
    return links.members(ino).flatMap((path) => {
      const record = index.get(path);
      if (record?.entry.kind === "file" && record.ino === ino) return [{ path, record: { ...record, entry: record.entry } }];
      links.leave(ino, path);
      return [];
    });
  }

  /** Drops what was set aside and not found again, also by a scan that was broken off. */
  clearAside(): void {
    this.#options.index.deleteSubtree(ASIDE);
    this.#asides = 0;
  }

  get hasAside(): boolean {
    return this.#asides > 0;
  }
}

type FileRecord = IndexRecord & { readonly entry: FileEntry };
type Name = { readonly path: RelPath; readonly record: FileRecord };

/** Those that are in trouble themselves have not been seen in any state. */
function addOutdated(problems: ProblemSet, names: readonly Name[]): void {
  if (names.length < 2) return;
  const last = names.reduce((newest, one) => (one.record.ctimeNs > newest.record.ctimeNs ? one : newest)).record;
  for (const { path, record } of names) {
    const isTroubled = problems.get(path) !== undefined || problems.covering(path) !== undefined;
    if (!isTroubled && !isSameState(record, last)) problems.add(changedProblem(path));
  }
}

/**
 * The record of a name without a sum, with what is known of the same file under another name where both were seen in the
 * same state: the sum, and the time as it was set where the disk keeps a rounded one.
 */
function asKnown(record: FileRecord, known: FileRecord): FileRecord {
  const { entry } = known;
  if (record.entry.sum === entry.sum && record.entry.mtimeNs === entry.mtimeNs) return record;
  if (record.entry.sum !== undefined || known.damaged === true || !isSameState(record, known)) return record;
  const racy = record.racy || known.racy;
  return { ...record, entry: { ...record.entry, sum: entry.sum, mtimeNs: entry.mtimeNs }, racy, diskMtimeNs: known.diskMtimeNs };
}

function isSameState(a: FileRecord, b: FileRecord): boolean {
  return a.entry.size === b.entry.size && a.ctimeNs === b.ctimeNs && diskMtimeOf(a) === diskMtimeOf(b);
}

function diskMtimeOf({ entry, diskMtimeNs }: IndexRecord): bigint | undefined {
  return diskMtimeNs ?? (entry.kind === "file" ? entry.mtimeNs : undefined);
}

/**
 * May somebody have written the same content again? Other permissions alone do not say so. Not of directories, whose times
 * move with what is in them.
 */
function isRenewed(old: IndexRecord, next: IndexRecord, silent: boolean): boolean {
  const { entry } = next;
  if (entry.kind !== "file" && entry.kind !== "symlink") return false;
  if (compareContent(old.entry, entry) !== "same") return false;
  if (old.ino !== next.ino) return true;
  return silent || entry.kind === "symlink" ? old.ctimeNs !== next.ctimeNs : diskMtimeOf(old) !== diskMtimeOf(next);
}

function isWorthWhole(changes: number, children: number): boolean {
  const many = changes >= WRITE_WHOLE_MIN && changes * WRITE_WHOLE_PART >= children;
  return many && changes + children <= WRITE_WHOLE_MAX;
}

/** In compareNames order; by plain string comparison where that is the same order. */
function sortByName(items: { name: string }[]): void {
  const plain = items.every(({ name }) => !/[\ud800-\uffff]/.test(name));
  if (plain) items.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  else items.sort((a, b) => compareNames(a.name, b.name));
}

function isEachOnce(changes: readonly IndexChange[]): boolean {
  return changes.every(({ name }, at) => at === 0 || changes[at - 1]!.name !== name);
}

/** Children after the changes, which come in name order, in name order. */
function merged(children: readonly Child[], changes: readonly IndexChange[]): Child[] {
  const result: Child[] = [];
  if (children.length === 0 && isEachOnce(changes)) {
    for (const { name, next } of changes) if (next !== undefined && next !== "ignored") result.push({ name, record: next });
    return result;
  }
  const byName = new Map<string, IndexChange>();
  for (const change of changes) byName.set(change.name, change);
  for (const child of children) if (!byName.has(child.name)) result.push(child);
  for (const { name, next } of byName.values()) {
    if (next !== undefined && next !== "ignored") result.push({ name, record: next });
  }
  sortByName(result);
  return result;
}
