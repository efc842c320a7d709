/**
 * One pass over a root, or over the dirty parts of it, comparing the disk with the index.
 *
 * Written as generators that yield where the work may pause; nothing is asynchronous in between, and no
 * descriptor but the one of the directory at hand is held over a pause. Memory follows the largest directory
 * and the depth.
 *
 * Only a stat that says ENOENT, in a directory that still is the one at its path, makes something absent.
 * Everything else that goes wrong is a problem of that path: its records, and those below, stay as they are.
 */
import type { Problem } from "#model/observation.ts";
import { PRIVATE_DIR, type RelPath, comparePaths, joinPath, nameOf, parentOf } from "#model/path.ts";
import { PackedRecords } from "#sync/index/packed-records.ts";
import { type IndexRecord, matchesStat, packedMatchesStat } from "#sync/index/record-codecs.ts";
import type { Tree } from "#sync/index/store.ts";
import { damageProblem } from "#sync/scan/damage.ts";
import { IGNORE_FILE, type IgnoreRules } from "#sync/scan/ignore.ts";
import type { DirectoryHook, IndexChange, IndexEditor } from "#sync/scan/index-editor.ts";
import { type NestedRules, type RulesFile, type RulesProblem, type RulesRead, addRulesProblem } from "#sync/scan/nested-rules.ts";
import { type Observer, identicalRecords } from "#sync/scan/observer.ts";
import type { Pacer } from "#sync/scan/pacer.ts";
import { Renames, withSum } from "#sync/scan/renames.ts";
import type { VanishedDir } from "#sync/scan/rename-candidates.ts";
import { type ProblemSet, changedProblem, scanProblem } from "#sync/scan/problem-set.ts";
import type { Confined } from "#platform/confined.ts";
import { type DirItem, type Fd, type FileSystem, type Stat, isCode, isNotThere } from "#platform/file-system.ts";
import type { DirtyExtent } from "#sync/watch/dirty-set.ts";

/** Entries of a larger directory are looked at as they are listed: sorting them would not be interrupted. */
const SORTED_MAX = 8192;
export type WalkOptions = {
  readonly fs: FileSystem;
  readonly root: Confined;
  readonly rootDev: number;
  readonly caseSensitive: boolean;
  readonly index: Tree<IndexRecord>;
  /** Are extended attributes carried? */
  readonly xattrs: boolean;
  readonly observer: Observer;
  readonly editor: IndexEditor;
  readonly rules: NestedRules;
  readonly problems: ProblemSet;
  readonly hook: DirectoryHook | undefined;
  readonly pacer: Pacer;
  /** Hash every file. */
  readonly deep: boolean;
  /**
   * Ask the ignore rules about known paths too; needed when the rules may be others than at the last scan.
   */
  readonly recheck: boolean;
};

/** A directory to be listed. `shallow`: known directories in it are not entered. */
type Frame = {
  readonly path: RelPath;
  readonly ino: bigint;
  readonly outer: IgnoreRules;
  readonly recheck: boolean;
  readonly shallow: boolean;
};

/** The directory at hand, with what was found to differ in it. */
type Place = {
  readonly dir: RelPath;
  readonly fd: Fd;
  readonly rules: IgnoreRules;
  readonly recheck: boolean;
  /** Enter known directories. */
  readonly descend: boolean;
  readonly changes: IndexChange[];
  /** Listed, but gone when they were looked at. */
  readonly ghosts: { name: string; old: IndexRecord | undefined }[];
};

type Arrival = { readonly path: RelPath; readonly outer: IgnoreRules };

export class Walk {
  readonly #o: WalkOptions;
  readonly #renames: Renames;
  readonly #stack: Frame[] = [];
  /** New directories wait until all that vanished is known, because they may have been renamed. */
  readonly #arrivals: Arrival[] = [];
  #collecting: boolean;
  readonly #isFirst: boolean;
  /** The names of the directory that was looked at last, where case is folded. */
  #listing: Listing | undefined;

  constructor(options: WalkOptions) {
    this.#o = options;
    this.#renames = new Renames(options);
    this.#collecting = options.index.count() > 0;
    this.#isFirst = !this.#collecting;
  }

  /** Puts the root, with everything below unless `shallow`, on the list for drain(). */
  pushRoot(shallow: boolean): void {
    const { root, fs, rules, recheck } = this.#o;
    this.#stack.push({ path: "", ino: fs.fstat(root.root).ino, outer: rules.base, recheck, shallow });
  }

  /** Lists every directory that is waiting, and those found on the way. */
  *drain(): Generator<void> {
    const { pacer } = this.#o;
    while (true) {
      const frame = this.#stack.pop();
      if (frame !== undefined) yield* this.#directory(frame);
      else if (this.#collecting) {
        this.#collecting = false;
        yield* this.#renames.settleArrived();
      } else {
        const arrival = this.#arrivals.pop();
        if (arrival === undefined) return;
        yield* this.#arrive(arrival);
      }
      if (pacer.due()) yield;
    }
  }

  // ---------------------------------------------------------------- one directory

  *#directory(frame: Frame): Generator<void> {
    const { root, fs, problems } = this.#o;
    let fd = root.root;
    try {
      if (frame.path !== "") fd = fs.openDir(root.parent(frame.path), nameOf(frame.path));
    } catch (error) {
      // It was there a moment ago, so its absence is for the next look at its parent to establish.
      const moved = isNotThere(error);
      return problems.add(moved ? changedProblem(frame.path) : scanProblem(frame.path, error));
    }
    try {
      const found = yield* this.#listed(frame, fd);
      if (found !== undefined) addRulesProblem(problems, found);
    } finally {
      if (fd !== root.root) fs.close(fd);
    }
  }

  /** Compares one open directory with the index; a problem means that nothing in it is known. */
  *#listed(frame: Frame, fd: Fd): Generator<void, RulesProblem | undefined> {
    const { fs, index, pacer, problems } = this.#o;
    const { path: dir } = frame;
    let items: DirItem[];
    let own: Stat;
    try {
      own = fs.fstat(fd);
      if (own.ino !== frame.ino || own.dev !== this.#o.rootDev) return changedProblem(dir);
      this.#o.hook?.entering(dir, fd, own.ino);
      items = fs.list(fd);
    } catch (error) {
      return scanProblem(dir, error);
    }
    if (pacer.dueNow()) yield;
    const known = index.packed(dir);
    if (items.length === 0 && known.count === 0 && dir !== "" && !this.#isFirst) this.#o.editor.stillEmpty(dir, own);
    // What is known comes in this order, so that no look-up has to be made for it.
    if (known.count > 0 && items.length <= SORTED_MAX) items.sort(byName);
    if (pacer.dueNow()) yield;
    const inside = this.#rulesInside(frame, fd, items, known.early(IGNORE_FILE));
    if (!("rules" in inside)) return inside;
    if (problems.size > 0) {
      problems.settle(dir);
      // It has been read again.
      if (inside.from !== undefined) problems.delete(joinPath(dir, IGNORE_FILE));
    }

    const { rules, recheck } = inside;
    const place: Place = { dir, fd, rules, recheck, descend: !frame.shallow, changes: [], ghosts: [] };
    const waiting = this.#stack.length;
    let seen = 0;
    for (const { name, kind } of items) {
      // At any depth: a directory in the root may be a root of another session.
      if (name === PRIVATE_DIR) continue;
      const old = known.seek(name);
      if (old !== undefined) seen++;
      const stat = this.#look(place, name, kind, old);
      if (stat !== undefined && !this.#takeNewFile(place, name, stat, old)) {
        yield* this.#differs(place, name, stat, old?.record());
      }
      if (pacer.due()) yield;
    }
    if (seen < known.count) yield* this.#unlisted(place, items, known.all());
    const doubt = this.#settleAbsence(place) ?? (inside.from && this.#knowRules(place, inside.from, known.early(IGNORE_FILE)));
    if (doubt !== undefined) return doubt;
    if (this.#isFirst) this.#inPathOrder(waiting);
    if (place.changes.length > 0) {
      if (problems.size > 0) this.#forgetGone(place);
      if (!this.#isRecorded(dir)) return changedProblem(dir);
      yield* this.#o.editor.write(dir, known.all(), place.changes);
    }
    this.#o.hook?.listed?.(dir);
    return undefined;
  }

  /** What is gone, or out of sight, is no trouble any more. */
  #forgetGone({ changes }: Place): void {
    for (const { path, next } of changes) {
      if (next === undefined || next === "ignored") this.#o.problems.deleteWithin(path);
    }
  }

  /** The directories found last are entered in the order of their names, in which a first scan is told while it looks on. */
  #inPathOrder(from: number): void {
    if (this.#stack.length - from < 2) return;
    this.#stack.push(...this.#stack.splice(from).sort((a, b) => comparePaths(b.path, a.path)));
  }

  /**
   * Is it a directory in the index? A descriptor still leads into one that was moved away meanwhile and is known to have
   * gone: what was found there must not be recorded below a path that no scan enters again.
   */
  #isRecorded(dir: RelPath): boolean {
    return dir === "" || this.#o.index.get(dir)?.entry.kind === "dir";
  }

  #rulesInside(
    frame: Frame,
    fd: Fd,
    items: readonly DirItem[],
    known: IndexRecord | undefined,
  ): (RulesRead & { recheck: boolean }) | RulesProblem {
    if (!items.some(({ name }) => name === IGNORE_FILE)) {
      return { rules: frame.outer, from: undefined, recheck: frame.recheck || known !== undefined };
    }
    const read = this.#o.rules.read(frame.path, fd, frame.outer, known);
    if (!("rules" in read)) return read;
    return { ...read, recheck: frame.recheck || known === undefined || !this.#unchanged(fd, IGNORE_FILE, known) };
  }

  /**
   * What is out of sight was judged by the bytes that an ignore file had: the index gets their sum, so that other bytes
   * under the same stat are damage from the first scan on. A file that was written meanwhile has other rules by now: a
   * problem, and the directory is looked at again.
   */
  #knowRules({ dir, changes }: Place, { stat, sum }: RulesFile, known: IndexRecord | undefined): Problem | undefined {
    const at = changes.findIndex(({ name }) => name === IGNORE_FILE);
    const change = changes[at];
    if (change?.next === "ignored") return undefined;
    const now = change === undefined ? known : change.next;
    if (now?.entry.kind !== "file" || !matchesStat({ ...now, racy: false }, stat)) {
      return change === undefined ? undefined : changedProblem(dir);
    }
    if (now.entry.sum !== undefined) return undefined;
    const next = withSum(now, sum);
    if (change !== undefined) changes[at] = { ...change, next };
    else changes.push({ name: IGNORE_FILE, path: joinPath(dir, IGNORE_FILE), old: now, next, nlink: stat.nlink, silent: true });
    return undefined;
  }

  #unchanged(dir: Fd, name: string, record: IndexRecord): boolean {
    try {
      return matchesStat(record, this.#o.fs.stat(dir, name));
    } catch {
      return false;
    }
  }

  /**
   * The quick part of looking at one listed name, where nearly all items end: returns its stat when it
   * differs from the index. `kind` is a hint that spares the stat of what is ignored.
   */
  #look(place: Place, name: string, kind: DirItem["kind"], old: Known | undefined): Stat | undefined {
    const { fs, problems } = this.#o;
    const asks = (old === undefined || place.recheck) && !place.rules.none;
    if (asks && kind !== "unknown" && this.#isIgnored(place, name, kind === "dir", old)) return undefined;
    let stat: Stat;
    try {
      stat = fs.stat(place.fd, name);
    } catch (error) {
      if (isCode(error, "ENOENT")) place.ghosts.push({ name, old: old?.record() });
      else problems.add(scanProblem(joinPath(place.dir, name), error));
      return undefined;
    }
    if (asks && kind === "unknown" && this.#isIgnored(place, name, stat.kind === "dir", old)) return undefined;
    if (stat.dev !== this.#o.rootDev) {
      problems.add(mountProblem(joinPath(place.dir, name)));
      return undefined;
    }
    if (old === undefined || !this.#matches(old, stat)) return stat;
    if (stat.kind === "dir" && place.descend) this.#enter(place, joinPath(place.dir, name), stat.ino);
    if (problems.size > 0) problems.settle(joinPath(place.dir, name));
    return undefined;
  }

  #matches(known: Known, stat: Stat): boolean {
    if (stat.kind === "file") {
      if (this.#o.deep) return false;
      if (known instanceof PackedRecords && packedMatchesStat(known.page, known.start, stat)) return true;
    }
    const old = known.record();
    if (old.damaged === true) return false;
    // An attribute of a directory shows only in its ctime, which matchesStat leaves out because children move
    // it too.
    if (this.#o.xattrs && stat.kind === "dir" && old.ctimeNs !== stat.ctimeNs) return false;
    return matchesStat(old, stat);
  }

  #isIgnored(place: Place, name: string, isDir: boolean, known: Known | undefined): boolean {
    const path = joinPath(place.dir, name);
    if (!place.rules.ignores(path, isDir)) return false;
    const old = known?.record();
    if (old !== undefined) place.changes.push({ name, path, old, next: "ignored", nlink: 1, silent: false });
    return true;
  }

  #enter(place: Place, path: RelPath, ino: bigint): void {
    this.#stack.push({ path, ino, outer: place.rules, recheck: place.recheck, shallow: false });
  }

  // ---------------------------------------------------------------- one difference

  /** Something at `name` is new, or is not what the index says. */
  *#differs(place: Place, name: string, stat: Stat, old: IndexRecord | undefined): Generator<void> {
    const path = joinPath(place.dir, name);
    try {
      if (this.#o.problems.size > 0) this.#o.problems.delete(path);
      if (stat.kind === "dir") this.#directoryDiffers(place, name, path, stat, old);
      else if (stat.kind === "file" && old?.entry.kind === "file") {
        yield* this.#fileDiffers(place, name, path, stat, old);
      } else yield* this.#nodeDiffers(place, name, path, stat, old);
    } catch (error) {
      this.#o.problems.add(scanProblem(path, error));
    }
  }

  /** As #differs, for nearly all that a first scan finds, which needs no look at anything else; false: it is not that. */
  #takeNewFile(place: Place, name: string, stat: Stat, old: Known | undefined): boolean {
    const { editor, observer, problems } = this.#o;
    if (old !== undefined || stat.kind !== "file") return false;
    if (this.#collecting || editor.candidates.hasFiles || problems.size > 0) return false;
    const path = joinPath(place.dir, name);
    try {
      const next = observer.observe(place.fd, name, stat, observer.nowMs());
      place.changes.push({ name, path, old: undefined, next, nlink: stat.nlink, silent: false });
    } catch (error) {
      problems.add(scanProblem(path, error));
    }
    return true;
  }

  #directoryDiffers(place: Place, name: string, path: RelPath, stat: Stat, old: IndexRecord | undefined): void {
    const { editor, observer } = this.#o;
    const same = old?.entry.kind === "dir" && old.ino === stat.ino;
    if (!same && (this.#collecting || editor.candidates.hasDir(stat.ino))) {
      if (old !== undefined) place.changes.push(absence(place.dir, name, old));
      this.#arrivals.push({ path, outer: place.rules });
      return;
    }
    const next = observer.observe(place.fd, name, stat, observer.nowMs());
    if (old !== undefined && !same) place.changes.push(absence(place.dir, name, old));
    const silent = same && identicalRecords(old, next);
    place.changes.push({ name, path, old: same ? old : undefined, next, nlink: 1, silent });
    if (place.descend || !same) this.#enter(place, path, stat.ino);
  }

  *#fileDiffers(place: Place, name: string, path: RelPath, stat: Stat, old: IndexRecord): Generator<void> {
    const verdict = yield* this.#o.observer.file(place.fd, name, stat, old, this.#o.deep);
    if (verdict === "changed") return this.#o.problems.add(changedProblem(path));
    if (typeof verdict === "string") return this.#o.problems.add(damageProblem(path, verdict));
    const silent = identicalRecords(old, verdict) && !this.#o.observer.inDoubt(old, stat);
    const isKnown = verdict.racy === old.racy && old.damaged !== true && matchesStat({ ...old, racy: false }, stat);
    if (silent && isKnown) return;
    place.changes.push({ name, path, old, next: verdict, nlink: stat.nlink, silent });
  }

  /** A new file, a symlink, something special, or a change of kind. */
  *#nodeDiffers(
    place: Place,
    name: string,
    path: RelPath,
    stat: Stat,
    old: IndexRecord | undefined,
  ): Generator<void> {
    const { editor, observer } = this.#o;
    let next = observer.observe(place.fd, name, stat, observer.nowMs());
    if (stat.kind === "file") {
      if (editor.candidates.hasFiles) next = (yield* this.#renames.fileOf(place.fd, name, path, stat, next)) ?? next;
      if (this.#collecting) editor.candidates.fileArrived(path, stat.ino);
    }
    const silent = old !== undefined && identicalRecords(old, next);
    if (silent && old.ino === next.ino && old.ctimeNs === next.ctimeNs && old.racy === next.racy) return;
    place.changes.push({ name, path, old, next, nlink: stat.nlink, silent });
  }

  // ---------------------------------------------------------------- absence

  /** Names that the index has and the listing has not: the listing alone is not believed. */
  *#unlisted(place: Place, items: readonly DirItem[], children: readonly IndexChild[]): Generator<void> {
    const listed = new Set<string>();
    for (const { name } of items) listed.add(name);
    for (const { name, record } of children) {
      if (listed.has(name)) continue;
      // Where case is folded a stat of the old spelling finds the new one; a second listing has to do.
      if (!this.#o.caseSensitive) place.ghosts.push({ name, old: record });
      else yield* this.#missing(place, name, record);
      if (this.#o.pacer.due()) yield;
    }
  }

  *#missing(place: Place, name: string, old: IndexRecord): Generator<void> {
    const ghosts = place.ghosts.length;
    const stat = this.#look(place, name, "unknown", asKnown(old));
    if (stat !== undefined) yield* this.#differs(place, name, stat, old);
    if (place.ghosts.length === ghosts) return;
    place.ghosts.pop();
    place.changes.push(absence(place.dir, name, old));
  }

  /**
   * Decides about names that were listed but gone at the stat, by a second listing, and makes sure that the
   * directory in which something is missing still is the one at its path. A problem withdraws all findings in
   * the directory.
   */
  #settleAbsence(place: Place): Problem | undefined {
    try {
      if (place.ghosts.length > 0) {
        const listed = new Set<string>();
        for (const { name } of this.#o.fs.list(place.fd)) listed.add(name);
        for (const { name, old } of place.ghosts) {
          if (listed.has(name)) this.#o.problems.add(changedProblem(joinPath(place.dir, name)));
          else if (old !== undefined) place.changes.push(absence(place.dir, name, old));
        }
      }
      const absent = place.changes.some(({ next }) => next === undefined);
      return absent && !this.#resolves(place.dir, place.fd) ? changedProblem(place.dir) : undefined;
    } catch (error) {
      return scanProblem(place.dir, error);
    }
  }

  /** Does the path lead, from the root and component by component, to the directory that `fd` is? */
  #resolves(dir: RelPath, fd: Fd): boolean {
    if (dir === "") return true;
    const { fs, root } = this.#o;
    let at = root.root;
    try {
      for (const name of dir.split("/")) {
        const next = fs.openDir(at, name);
        if (at !== root.root) fs.close(at);
        at = next;
      }
      const reached = fs.fstat(at);
      const held = fs.fstat(fd);
      return reached.ino === held.ino && reached.dev === held.dev;
    } catch (error) {
      if (isNotThere(error)) return false;
      throw error;
    } finally {
      if (at !== root.root) fs.close(at);
    }
  }

  // ---------------------------------------------------------------- directories that are new

  /** A new directory: takes over the index of the one it was renamed from, if any, and is walked. */
  *#arrive({ path, outer }: Arrival): Generator<void> {
    const { root, fs, index, editor, observer, problems } = this.#o;
    let stat: Stat;
    let record: IndexRecord;
    let from: VanishedDir | undefined;
    try {
      const dir = root.parent(path);
      stat = fs.stat(dir, nameOf(path));
      if (stat.kind !== "dir" || !this.#isRecorded(parentOf(path))) return problems.add(changedProblem(path));
      if (stat.dev !== this.#o.rootDev) return problems.add(mountProblem(path));
      record = observer.observe(dir, nameOf(path), stat, observer.nowMs());
      from = this.#renames.dirOf(path, stat.ino);
    } catch (error) {
      const moved = isNotThere(error);
      return problems.add(moved ? changedProblem(path) : scanProblem(path, error));
    }
    if (from === undefined || index.get(path) !== undefined) editor.set(path, record, 1);
    else {
      yield* editor.restore(from.aside, path, record);
      this.#o.rules.clear();
      if (from.path !== path) editor.candidates.renames.set(path, from.path);
    }
    this.#stack.push({ path, ino: stat.ino, outer, recheck: true, shallow: false });
  }

  // ---------------------------------------------------------------- single paths

  /**
   * Compares one path, whose directory is known and open, with the index; new directories are walked by
   * drain().
   */
  *examine(dir: RelPath, fd: Fd, rules: IgnoreRules, path: RelPath, extent: DirtyExtent): Generator<void> {
    const { index, problems, editor } = this.#o;
    const descend = extent === "subtree";
    const place: Place = { dir, fd, rules, recheck: true, descend, changes: [], ghosts: [] };
    const old = index.get(path);
    let stat: Stat | undefined;
    try {
      if (this.#isSpelled(dir, fd, nameOf(path))) stat = this.#look(place, nameOf(path), "unknown", asKnown(old));
      else place.ghosts.push({ name: nameOf(path), old });
    } catch (error) {
      return problems.add(scanProblem(dir, error));
    }
    if (stat !== undefined) yield* this.#differs(place, nameOf(path), stat, old);
    else if (place.ghosts.length > 0) {
      // The name itself was asked for, so this ENOENT needs no listing beside it.
      place.ghosts.length = 0;
      problems.deleteWithin(path);
      if (old !== undefined) place.changes.push(absence(dir, nameOf(path), old));
    }
    const doubt = this.#settleAbsence(place);
    if (doubt !== undefined) return problems.add(doubt);
    if (place.changes.length > 0) {
      if (!this.#isRecorded(dir)) return problems.add(changedProblem(dir));
      yield* editor.write(dir, undefined, place.changes);
    }
    if (extent !== "children") return;
    const now = index.get(path);
    if (now?.entry.kind !== "dir" || old?.ino !== now.ino) return;
    this.#stack.push({ path, ino: now.ino, outer: rules, recheck: false, shallow: true });
  }

  /**
   * Where case is folded a stat finds an entry under any spelling, and taking that for an entry of its own would make
   * two of one. Only a listing tells the name it has; one that lacks the name is taken afresh before it is believed.
   */
  #isSpelled(dir: RelPath, fd: Fd, name: string): boolean {
    if (this.#o.caseSensitive) return true;
    if (this.#listing?.dir !== dir || !this.#listing.names.has(name)) {
      this.#listing = { dir, names: new Set(this.#o.fs.list(fd).map((item) => item.name)) };
    }
    return this.#listing.names.has(name);
  }
}

/** What the index holds at a name, perhaps not decoded yet. */
type Known = { record(): IndexRecord };

function asKnown(record: IndexRecord | undefined): Known | undefined {
  return record === undefined ? undefined : { record: () => record };
}

function byName(a: DirItem, b: DirItem): number {
  return a.name < b.name ? -1 : 1;
}

type Listing = { readonly dir: RelPath; readonly names: ReadonlySet<string> };
type IndexChild = { readonly name: string; readonly record: IndexRecord };

function absence(dir: RelPath, name: string, old: IndexRecord): IndexChange {
  return { name, path: joinPath(dir, name), old, next: undefined, nlink: 1, silent: false };
}

function mountProblem(path: RelPath): Problem {
  return { path, side: "alpha", code: "MOUNT", message: "another file system is mounted here", transient: false };
}
