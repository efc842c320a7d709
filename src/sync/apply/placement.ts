/**
 * Performs one change on the disk. Every step is a single atomic rename or exchange, checked afterwards against what
 * was expected: what was displaced is in our hands and not lost, so when it turns out to be something else than the
 * plan believed, it is put back. No path is ever without an entry in between (Unison's two-state invariant), except
 * where an entry is removed.
 */
import { type Entry, type Preserve, compareContent, sameMetadata } from "#model/entry.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import { type Change, type Move, nameOfChange } from "#model/plan.ts";
import type { OpResult } from "#sync/endpoint/endpoint.ts";
import { type IndexRecord, matchesStat } from "#sync/index/record-codecs.ts";
import { type Damage, damageOf, damageProblem } from "#sync/scan/damage.ts";
import { type Fd, type Stat, isCode, isNotThere } from "#platform/file-system.ts";
import { type ApplyContext, RACY_NS, problem, problemOf, rescueName } from "#sync/apply/apply-context.ts";
import { type HeldDirectories, placeTaken, whyNotEmpty } from "#sync/apply/held-places.ts";
import { changeMetadata, ownerIds } from "#sync/apply/metadata.ts";
import { type Changed, withLentModes } from "#sync/apply/lent-mode.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";
import type { Staged, Staging } from "#sync/apply/staging.ts";
import { keepDamaged } from "#sync/apply/still-damaged.ts";

export type Placed = {
  readonly result: OpResult;
  /** What the index must hold now; undefined with a `done` removal. */
  readonly record: IndexRecord | undefined;
  /** For the run's journal; undefined when nothing happened. */
  readonly item: RunItem | undefined;
  /** The disk refused in the middle: what was displaced may lie in the stage, and recovery must look for it. */
  readonly unsettled?: boolean | undefined;
  /** Names were changed, and back again or in part, though nothing was done: a power loss must not stop in between. */
  readonly touched?: boolean | undefined;
};

/** What is to make room where names cannot be swapped. `linked`: what the link in the trash has made of it, once it is there. */
type Displaced = { readonly record: IndexRecord; readonly stat: Stat; linked: Stat | undefined };

/** Is what the controller believes compatible with what the index recorded? */
function agrees(record: Entry, believed: Entry, preserve: Preserve): boolean {
  return compareContent(record, believed) !== "differs" && sameMetadata(record, believed, preserve);
}

export function recordOf(entry: Entry, stat: Pick<Stat, "ino" | "ctimeNs" | "mtimeNs">): IndexRecord {
  const base = { entry, ino: stat.ino, ctimeNs: stat.ctimeNs };
  if (entry.kind !== "file") return { ...base, racy: false };
  const apart = stat.ctimeNs - stat.mtimeNs;
  const racy = apart < RACY_NS && apart > -RACY_NS;
  return stat.mtimeNs === entry.mtimeNs ? { ...base, racy } : { ...base, racy, diskMtimeNs: stat.mtimeNs };
}

/** A file whose time we set is read again by the next scan up to this size. */
const REREAD_BYTES_MAX = 4 << 20;

const MAY_NOT_WRITE = "let the user that this side runs as write to its directory";

export class Placement {
  readonly #context: ApplyContext;
  /** Of the group that is being placed. */
  readonly #staging: () => Staging;
  /** Opens the run's trash at first need. */
  readonly #trash: () => Fd;
  /** Is the name of the run's trash itself durable? */
  #trashIsNamed = false;
  /** Directories of this group that stay for what is ignored in them. */
  readonly #held: HeldDirectories = new Map();
  /** Directories of this group out of which something came to the trash since that was synced. */
  readonly #emptied = new Set<RelPath>();

  constructor(context: ApplyContext, staging: () => Staging, trash: () => Fd) {
    this.#context = context;
    this.#staging = staging;
    this.#trash = trash;
  }

  /**
   * Places a staged entry, or removes, or sets metadata, as the change says. Never throws for the path's sake. A promise
   * only where the system cannot swap, because what is replaced must then be safe before the new goes over it, and
   * where a directory goes, because what was taken out of it must be.
   */
  change(change: Change, staged: Staged | undefined, trashName: string): Placed | Promise<Placed> {
    try {
      if (change.new?.kind !== "dir" && this.#emptied.has(change.path)) {
        const placed = this.#syncTrash().then(() => this.change(change, staged, trashName));
        return placed.catch((error: unknown) => this.#failed(change.path, error));
      }
      if (change.action === "metadata" && change.new !== undefined) return this.#metadata(change, change.new);
      const placed = withLentModes(this.#context, [{ dir: parentOf(change.path) }], () => {
        if (change.new === undefined) return this.#remove(change, trashName);
        if (staged === undefined) throw new Error(`not staged: ${change.path}`);
        return change.old === undefined ? this.#create(change, staged) : this.#replace(change, staged, trashName);
      });
      return placed instanceof Promise ? placed.catch((error: unknown) => this.#failed(change.path, error)) : placed;
    } catch (error) {
      return this.#failed(change.path, error);
    }
  }

  /** The entry in the index when it still is what the change expects and the disk shows it; otherwise undefined. */
  #expected(path: RelPath, old: Entry): { record: IndexRecord; stat: Stat } | undefined {
    const { index, root, preserve } = this.#context;
    const record = index.get(path);
    if (record === undefined || !agrees(record.entry, old, preserve)) return undefined;
    const stat = root.statIfThere(path);
    if (stat === undefined) return undefined;
    if (matchesStat(record, stat)) return { record, stat };
    if (!this.#isAsRecorded(record, stat)) return undefined;
    // A racily clean record proves nothing by its stat: hash the file again, it is small change.
    if (!record.racy) return { record, stat };
    if (record.entry.kind !== "file" || record.entry.sum === undefined) return { record, stat };
    const fd = root.openRead(path);
    try {
      return this.#staging().hash(fd) === record.entry.sum ? { record, stat } : undefined;
    } finally {
      this.#context.host.fs.close(fd);
    }
  }

  /** As far as its stat tells. A call of ours through another name of the same file has moved its ctime, and nothing else. */
  #isAsRecorded(record: IndexRecord, stat: Stat): boolean {
    const ours = this.#staging().times.explains(record.ctimeNs, stat);
    return matchesStat({ ...record, racy: false, ctimeNs: ours ? stat.ctimeNs : record.ctimeNs }, stat);
  }

  /** The names of all that was placed so far are durable. */
  synced(): void {
    this.#emptied.clear();
    this.#held.clear();
  }

  /** Its other names have their places still, and what displacing this one did must not look like an edit there. */
  #noteDisplaced(before: Stat, out: Stat, trashName: string): void {
    if (out.kind !== "file" || out.nlink < 2) return;
    this.#staging().times.moved(undefined, before, this.#context.host.fs.stat(this.#trash(), trashName));
  }

  /** A look at a staged file that has other names, or is to get some: placing it moves their ctime. */
  #stagedBefore({ at, ino }: Staged): Stat | undefined {
    return this.#staging().times.has(ino) ? this.#context.stage.stat(at) : undefined;
  }

  #failed(path: RelPath, error: unknown): Placed {
    // A directory on the way has gone or become something else since the plan was made.
    if (isNotThere(error)) {
      this.#context.markDirty(parentOf(path));
      return { ...this.#stale(path), unsettled: true };
    }
    // It may have failed after the rename: only a look at the path tells.
    this.#context.markDirty(path);
    const found = problemOf(path, error);
    const refused = isCode(error, "EACCES") ? { ...found, message: `${found.message}; ${MAY_NOT_WRITE}` } : found;
    const result = { path, status: "failed", entry: undefined, problem: refused } as const;
    return { result, record: undefined, item: undefined, unsettled: true };
  }

  #stale(path: RelPath): Placed {
    const { index, markDirty } = this.#context;
    markDirty(path);
    const entry = index.get(path)?.entry;
    const found = problem(path, "STALE", "it changed after the plan was made", true);
    return { result: { path, status: "stale", entry, problem: found }, record: undefined, item: undefined };
  }

  /** As #stale of where it moves from; the answer is known by where it was to go. */
  #staleMove(move: Move): Placed {
    const stale = this.#stale(move.from);
    return { ...stale, result: { ...stale.result, path: move.to, entry: undefined } };
  }

  /** Something is where nothing should be: new since the plan, or out of this session's sight, and then it stays. */
  #occupied(path: RelPath): Placed {
    const { root, ignores } = this.#context;
    const there = root.statIfThere(path);
    if (there === undefined || !ignores(path, there.kind === "dir")) return this.#stale(path);
    const found = placeTaken(this.#context, path, path);
    return { result: { path, status: "failed", entry: undefined, problem: found }, record: undefined, item: undefined };
  }

  #done(change: Change, entry: Entry, stat: Stat, extra: Partial<RunItem> = {}): Placed {
    const { path, old } = change;
    const item: RunItem = {
      path,
      action: nameOfChange(change),
      from: "",
      trash: "",
      stage: "",
      old,
      oldIno: 0n,
      new: entry,
      newIno: stat.ino,
      ...extra,
    };
    return { result: { path, status: "done", entry }, record: recordOf(entry, stat), item };
  }

  #create(change: Change, staged: Staged): Placed {
    const { host, root, stage } = this.#context;
    const parent = root.parent(change.path);
    const name = nameOf(change.path);
    stage.forget(staged.at);
    const before = this.#stagedBefore(staged);
    try {
      host.fs.rename(stage.root, staged.at, parent, name, { replace: false });
    } catch (error) {
      if (!isCode(error, "EEXIST", "ENOTEMPTY")) throw error;
      return this.#occupied(change.path);
    }
    return this.#done(change, staged.entry, this.#finished(staged, change.path, { before }), { stage: staged.at });
  }

  /**
   * The stat of what was just placed, with everything on it that had to wait until then. `seen` is the look right after
   * the rename, where other calls came since: the rename moved the ctime, and what comes before the look is hidden in it.
   * `before`: the look right before the rename.
   */
  #finished(staged: Staged, path: RelPath, { before, seen }: { before?: Stat | undefined; seen?: Stat } = {}): Stat {
    const isDir = staged.entry.kind === "dir";
    if (isDir) {
      this.#context.root.forget(path);
      this.#staging().finishTree(staged.at);
    }
    const stat = isDir || seen === undefined ? this.#context.root.stat(path) : seen;
    const isOurs = stat.ino === staged.ino && (stat.kind === "dir" || stat.mtimeNs === staged.mtimeNs);
    if (!isOurs) this.#context.markDirty(path);
    if (before !== undefined) this.#staging().times.moved(path, before, stat);
    // Somebody may have edited it since the rename. The index must then hold what we put there, not what that looks
    // like by now, or the edit would pass for ours.
    return { ...stat, ino: staged.ino, mtimeNs: staged.mtimeNs };
  }

  /**
   * Swaps the staged entry with the one that is there, looks at what came out, and only then puts that into the
   * trash. Where the system cannot swap, the old file is linked into the trash before the rename goes over it.
   */
  #replace(change: Change, staged: Staged, trashName: string): Placed | Promise<Placed> {
    const { host, root, stage } = this.#context;
    const { at } = staged;
    stage.forget(at);
    const expected = this.#expected(change.path, change.old!);
    if (expected === undefined) return this.#stale(change.path);
    if (expected.stat.ino === staged.ino) return this.#isThat(change, staged);
    // What is in it must not even vanish for a moment.
    if (expected.stat.kind === "dir" && root.list(change.path).length > 0) return this.#notEmpty(change);
    const parent = root.parent(change.path);
    const name = nameOf(change.path);
    const before = this.#stagedBefore(staged);
    if (!this.#exchange(at, parent, name)) {
      const displaced: Displaced = { ...expected, linked: undefined };
      const placed = this.#replaceByLink(change, staged, displaced, trashName);
      return change.heals === true ? this.#orStillDamaged(placed, change.path, displaced) : placed;
    }
    const seen = host.fs.stat(parent, name);
    const out = host.fs.stat(stage.root, at);
    const displaced = sameFile(out, expected.stat);
    // A directory may only be displaced when the removals before it have emptied it.
    if (!displaced || (out.kind === "dir" && !this.#removeEmptyDir(at))) {
      host.fs.exchange(stage.root, at, parent, name);
      // Somebody may have saved over the path a second time: then that lies in the stage now, and recovery brings it back.
      return { ...this.#stale(change.path), unsettled: !this.#staging().holds(staged), touched: true };
    }
    root.forget(change.path);
    if (out.kind !== "dir") host.fs.rename(stage.root, at, this.#trash(), trashName, { replace: false });
    this.#noteDisplaced(expected.stat, out, trashName);
    const trash = out.kind === "dir" ? "" : trashName;
    const placed = this.#finished(staged, change.path, { before, seen });
    return this.#done(change, staged.entry, placed, { trash, stage: at, oldIno: out.ino });
  }

  /** A name that is to be one of a file, and is one of it already. */
  #isThat(change: Change, staged: Staged): Placed {
    if (!this.#staging().discard(staged)) return this.#stale(change.path);
    return this.#done({ ...change, action: "metadata" }, staged.entry, this.#context.root.stat(change.path));
  }

  /** It cannot go: what the session does not know of, or must not see, is in it. */
  #notEmpty({ path, old }: Change): Placed {
    const why = whyNotEmpty(this.#context, path, this.#held);
    if (why.transient) this.#context.markDirty(path);
    return { result: { path, status: "failed", entry: old, problem: why }, record: undefined, item: undefined };
  }

  #removeEmptyDir(at: RelPath): boolean {
    const { host, stage } = this.#context;
    try {
      host.fs.rmdir(stage.root, at);
      return true;
    } catch (error) {
      if (isCode(error, "ENOTEMPTY", "EEXIST")) return false;
      throw error;
    }
  }

  #exchange(at: RelPath, parent: Fd, name: string): boolean {
    const { host, stage } = this.#context;
    try {
      host.fs.exchange(stage.root, at, parent, name);
      return true;
    } catch (error) {
      if (isCode(error, "ENOSYS", "EINVAL", "ENOTSUP", "EOPNOTSUPP")) return false;
      throw error;
    }
  }

  /** The new ctime is taken over also where the disk refuses another look: it is not to make an edit of the damage. */
  async #orStillDamaged(placed: Promise<Placed>, path: RelPath, displaced: Displaced): Promise<Placed> {
    try {
      return await placed;
    } catch (error) {
      const { stat, linked } = displaced;
      this.#context.store.transaction({ durable: false }, () => keepDamaged(this.#context, path, stat.ino, true, linked));
      throw error;
    }
  }

  async #replaceByLink(
    change: Change,
    staged: Staged,
    expected: Displaced,
    trashName: string,
  ): Promise<Placed> {
    const { host, root, stage } = this.#context;
    const name = nameOf(change.path);
    const wasDir = expected.stat.kind === "dir";
    const isDir = staged.entry.kind === "dir";
    // Trying to swap took a moment: what comes next takes the file's name or moves its ctime.
    const now = root.statIfThere(change.path);
    const isSame = now !== undefined && sameFile(now, expected.stat) && (wasDir || now.ctimeNs === expected.stat.ctimeNs);
    if (!isSame) return this.#stale(change.path);
    // Not later: nothing may come between the last look at the path and what takes its place.
    const before = this.#stagedBefore(staged);
    if (!wasDir && !isDir && !(await this.#keepByLink(change.path, expected, trashName))) {
      return this.#stale(change.path);
    }
    const parent = root.parent(change.path);
    if (wasDir) host.fs.rmdir(parent, name);
    else if (isDir) host.fs.rename(parent, name, this.#trash(), trashName, { replace: false });
    try {
      host.fs.rename(stage.root, staged.at, parent, name, { replace: !wasDir && !isDir });
    } catch (error) {
      if (!wasDir && !isDir) throw error;
      if (!wasDir) host.fs.rename(this.#trash(), trashName, parent, name, { replace: false });
      return { ...this.#failed(change.path, error), touched: true };
    }
    const seen = host.fs.stat(parent, name);
    root.forget(change.path);
    if (!wasDir) {
      // The link holds the old inode: an edit that came in the last moment is in it, and is put back beside.
      const kept = host.fs.stat(this.#trash(), trashName);
      if (!sameFile(kept, expected.stat)) this.#rescue(change.path, trashName);
      this.#noteDisplaced(expected.stat, kept, trashName);
    }
    const trash = wasDir ? "" : trashName;
    const placed = this.#finished(staged, change.path, { before, seen });
    return this.#done(change, staged.entry, placed, { trash, stage: staged.at, oldIno: expected.stat.ino });
  }

  /**
   * Gives the old file a second name in the trash. That name must be durable before a rename takes the first one away:
   * the two are in different directories, and after a power loss one may have happened without the other. That takes a
   * while, so the ctime that the link left counts, too. False when the path shows something else by then.
   */
  async #keepByLink(path: RelPath, expected: Displaced, trashName: string): Promise<boolean> {
    const { host, root, durable } = this.#context;
    const trash = this.#trash();
    host.fs.link(root.parent(path), nameOf(path), trash, trashName);
    const linked = host.fs.stat(trash, trashName);
    expected.linked = linked;
    if (durable !== "none") await this.#syncTrash();
    const now = root.statIfThere(path);
    if (now !== undefined && sameFile(now, expected.stat) && now.ctimeNs === linked.ctimeNs) return true;
    host.fs.unlink(trash, trashName);
    return false;
  }

  /**
   * Makes the names in the trash durable. A directory that goes before what was taken out of it is safe could take that
   * along in a power loss: the two renames are in different directories, and the disk may keep the later one alone.
   * @throws {FsError}
   */
  async #syncTrash(): Promise<void> {
    const { names } = this.#context;
    await names.one(this.#trash());
    if (!this.#trashIsNamed) await names.one(this.#context.trash);
    this.#trashIsNamed = true;
    this.#emptied.clear();
  }

  #rescue(path: RelPath, trashName: string): void {
    const { host, root } = this.#context;
    const beside = rescueName(parentOf(path), nameOf(path), trashName);
    host.fs.link(this.#trash(), trashName, root.parent(path), nameOf(beside));
    this.#context.markDirty(beside);
  }

  #remove(change: Change, trashName: string): Placed {
    const { host, root, durable } = this.#context;
    const { path } = change;
    const old = change.old!;
    const expected = this.#expected(path, old);
    if (expected === undefined) {
      if (root.statIfThere(path) === undefined) return removed(change, "", 0n);
      return this.#stale(path);
    }
    const parent = root.parent(path);
    const name = nameOf(path);
    root.forget(path);
    if (expected.stat.kind === "dir") {
      try {
        host.fs.rmdir(parent, name);
      } catch (error) {
        if (!isCode(error, "ENOTEMPTY", "EEXIST")) throw error;
        return this.#notEmpty(change);
      }
      return removed(change, "", expected.stat.ino);
    }
    const trash = this.#trash();
    host.fs.rename(parent, name, trash, trashName, { replace: false });
    const out = host.fs.stat(trash, trashName);
    if (!sameFile(out, expected.stat)) {
      host.fs.rename(trash, trashName, parent, name, { replace: false });
      return { ...this.#stale(path), touched: true };
    }
    if (durable !== "none") this.#emptied.add(parentOf(path));
    this.#noteDisplaced(expected.stat, out, trashName);
    return removed(change, trashName, out.ino);
  }

  #metadata(change: Change, entry: Entry): Placed {
    const { host, root, preserve } = this.#context;
    const expected = this.#expected(change.path, change.old!);
    if (expected === undefined) return this.#stale(change.path);
    if (entry.kind === "symlink" || entry.kind === "other") {
      return this.#done(change, entry, this.#ownedLink(change.path, entry, expected.stat));
    }
    const isDir = entry.kind === "dir";
    const parent = root.parent(change.path);
    const fd = isDir ? host.fs.openDir(parent, nameOf(change.path)) : root.openRead(change.path);
    try {
      const setsTime = entry.kind === "file" && preserve.mtime && entry.mtimeNs !== expected.stat.mtimeNs;
      const damage = setsTime ? this.#damageOf(fd, expected) : undefined;
      // Setting the time would hide an edit from every later scan.
      const now = host.fs.fstat(fd);
      if (!sameFile(now, expected.stat) || (!isDir && now.ctimeNs !== expected.stat.ctimeNs)) return this.#stale(change.path);
      if (damage !== undefined) return this.#damaged(change.path, damage);
      changeMetadata(host.fs, fd, expected.stat, entry, preserve);
      const known = expected.record.entry;
      const full = entry.kind === "file" && known.kind === "file" ? { ...entry, sum: known.sum ?? entry.sum } : entry;
      const after = host.fs.fstat(fd);
      if (after.kind === "file" && after.nlink > 1) this.#staging().times.restated(now, after);
      const done = this.#done({ ...change, old: known }, full, after);
      return after.mtimeNs === now.mtimeNs ? done : this.#inDoubt(done, after);
    } finally {
      host.fs.close(fd);
    }
  }

  /** What #inDoubt has read again would be taken for such an edit, were it damaged already. */
  #damageOf(fd: Fd, { record, stat }: { record: IndexRecord; stat: Stat }): Damage | undefined {
    if (stat.size > REREAD_BYTES_MAX) return undefined;
    const { times } = this.#staging();
    // A link that was made a moment before is no sign of an edit.
    const known = times.explains(record.ctimeNs, stat) ? { ...record, ctimeNs: stat.ctimeNs } : record;
    return damageOf(known, stat, this.#staging().hash(fd), this.#context.host.clock.nowMs());
  }

  #damaged(path: RelPath, damage: Damage): Placed {
    const found = damageProblem(path, damage);
    return { result: { path, status: "failed", entry: undefined, problem: found }, record: undefined, item: undefined };
  }

  /** Setting a time hides that somebody wrote a moment before: the next look reads a small file again. */
  #inDoubt(done: Placed, stat: Stat): Placed {
    const { record } = done;
    if (record?.entry.kind !== "file" || stat.size > REREAD_BYTES_MAX) return done;
    if (stat.size !== record.entry.size) this.#context.markDirty(done.result.path);
    return { ...done, record: { ...record, racy: true } };
  }

  /** A symlink has no metadata but its owner. */
  #ownedLink(path: RelPath, entry: Entry, stat: Stat): Stat {
    const { host, root, preserve } = this.#context;
    if (entry.kind !== "symlink" || entry.owner === undefined || preserve.owner === "none") return stat;
    const { uid, gid } = ownerIds(host.fs, entry.owner, preserve.owner);
    host.fs.chownAt(root.parent(path), nameOf(path), uid, gid);
    return root.stat(path);
  }

  /** Renames an entry with everything below it. What is inside is not touched, so nothing in it can be lost. */
  move(move: Move): Placed {
    const { host, root, index } = this.#context;
    try {
      const record = index.get(move.from);
      const stat = root.statIfThere(move.from);
      if (record === undefined || stat === undefined || stat.ino !== record.ino) return this.#staleMove(move);
      if (stat.kind !== "dir" && !this.#isAsRecorded(record, stat)) return this.#staleMove(move);
      root.forget(move.from);
      const changed: Changed[] = [{ dir: parentOf(move.from) }, { dir: parentOf(move.to) }];
      // A directory that goes to another one has its own ".." changed.
      if (stat.kind === "dir") changed.push({ dir: move.from, movesTo: move.to });
      if (!withLentModes(this.#context, changed, () => this.#rename(move, stat))) return this.#occupied(move.to);
      root.forget(move.from);
      const after = host.fs.stat(root.parent(move.to), nameOf(move.to));
      if (after.nlink > 1) this.#staging().times.moved(undefined, stat, after);
      const entry = record.entry;
      const item: RunItem = {
        path: move.to,
        action: "move",
        from: move.from,
        trash: "",
        stage: "",
        old: entry,
        oldIno: stat.ino,
        new: entry,
        newIno: stat.ino,
      };
      const moved = { ino: stat.ino, mtimeNs: stat.mtimeNs, ctimeNs: after.ctimeNs };
      return { result: { path: move.to, status: "done", entry }, record: recordOf(entry, moved), item };
    } catch (error) {
      // That it has left its old place tells a session that it was moved, and did not appear at the new one by itself.
      this.#context.markDirty(move.from);
      return this.#failed(move.to, error);
    }
  }

  /** False when something else has the new name. */
  #rename({ from, to }: Move, stat: Stat): boolean {
    const { host, root } = this.#context;
    const toParent = root.parent(to);
    const fromParent = root.parent(from);
    try {
      host.fs.rename(fromParent, nameOf(from), toParent, nameOf(to), { replace: false });
    } catch (error) {
      if (!isCode(error, "EEXIST", "ENOTEMPTY")) throw error;
      if (!this.#isOtherSpelling(toParent, nameOf(to), stat)) return false;
      host.fs.rename(fromParent, nameOf(from), toParent, nameOf(to), { replace: true });
    }
    return true;
  }

  /** Is what stands at `name` the moved entry itself, which a disk that folds case shows under any spelling? */
  #isOtherSpelling(dir: Fd, name: string, moved: Stat): boolean {
    const { fs } = this.#context.host;
    return fs.stat(dir, name).ino === moved.ino && !fs.list(dir).some((item) => item.name === name);
  }
}

/** The same inode with the same bytes, as far as a stat can tell. ctime is left out: our own rename moved it. */
function sameFile(a: Stat, b: Stat): boolean {
  return a.ino === b.ino && a.kind === b.kind && (a.kind === "dir" || (a.size === b.size && a.mtimeNs === b.mtimeNs));
}

function removed(change: Change, trash: string, oldIno: bigint): Placed {
  const { path, old } = change;
  const item: RunItem = {
    path,
    action: "remove",
    from: "",
    trash,
    stage: "",
    old,
    oldIno,
    new: undefined,
    newIno: 0n,
  };
  return { result: { path, status: "done", entry: undefined }, record: undefined, item };
}

