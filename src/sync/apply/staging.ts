/**
 * Brings new entries into the stage, complete with metadata, before anything becomes visible.
 *
 * An entry that goes into an existing directory is staged by itself and placed by one rename. A new directory is
 * staged with everything that belongs below it, and the whole subtree appears by one rename: readers never see half
 * of it, and 100,000 new files cost 100,000 creations but no renames and no journal records.
 */
import { type DirEntry, type Entry, type FileEntry, compareContent, keptMode } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, joinPath, nameOf, parentOf } from "#model/path.ts";
import type { Change } from "#model/plan.ts";
import { type Fd, FsError, type MadeFile, type Stat, isCode } from "#platform/file-system.ts";
import { type ApplyContext, problem, problemOf } from "#sync/apply/apply-context.ts";
import { Turns, copyInTurns, sumInTurns } from "#sync/apply/in-turns.ts";
import { MadeTogether } from "#sync/apply/made-together.ts";
import { OwnTimes } from "#sync/apply/own-times.ts";
import { copyMetadata, creationMode, modeFor, ownerIds, setCreatedMetadata } from "#sync/apply/metadata.ts";
import { removeTree } from "#sync/apply/private-area.ts";
import { Summer, sumOf } from "#sync/chunk/sum.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import { damageOf } from "#sync/scan/damage.ts";

/** Files staged by themselves that are synced one by one; with more, one sync of the file system is cheaper. */
const SINGLE_SYNC_MAX = 32;
/** A file of which the index has a sum is read before it gets a further name up to here: nothing else has a turn meanwhile. */
const READ_LEADER_BYTES_MAX = 4 << 20;
/** For bytes that are read back and hashed, without a pause in between. */
const readBuffer = new Uint8Array(1 << 20);

export type Staged = {
  /** Path in the stage. A name without "/" is placed by a rename; below it everything comes along. */
  readonly at: RelPath;
  readonly entry: Entry;
  readonly ino: bigint;
  readonly ctimeNs: bigint;
  /** As the disk keeps it, which may be coarser than the entry's. */
  readonly mtimeNs: bigint;
};

/** The name in the stage of the tree that a staged path belongs to. */
function treeOf(at: RelPath): string {
  return at.split("/", 1)[0]!;
}

export class Staging {
  readonly #context: ApplyContext;
  /** Directories staged in this group: path in the root → path in the stage. */
  readonly #dirs = new Map<RelPath, RelPath>();
  /** The directory asked about last, and where it is staged: neighbours come together. */
  #last: { readonly dir: RelPath; readonly at: RelPath | undefined } = { dir: "", at: undefined };
  /** Files staged in this group that may lead a hard-link group: path in the root → what is staged. */
  readonly #leaders = new Map<RelPath, Staged>();
  /** Files in their places that were read before this group gave them further names. */
  readonly #readLeaders = new Map<RelPath, FileEntry>();
  /**
   * Staged directories whose mode keeps even their owner from writing into them, or from moving them elsewhere: they
   * get it in their place. By the name in the stage of the tree that they belong to, parents first.
   */
  readonly #late = new Map<string, { path: RelPath; entry: DirEntry }[]>();
  /** Names in the stage of trees that hold something unfinished which the disk does not let go. */
  readonly #spoiled = new Set<string>();
  /** What staging and placing this group made of the ctimes of files with several names. */
  readonly times = new OwnTimes();
  /** Files of staged directories that are made many at a time. */
  readonly together: MadeTogether;
  /** What must be made durable: descriptors kept open, until there are too many. */
  #unsynced: Fd[] = [];
  #needsSyncAll = false;

  readonly #turns: Turns;

  /** @param signal ends what takes long */
  constructor(context: ApplyContext, signal: AbortSignal) {
    this.#context = context;
    this.#turns = new Turns(() => context.host.clock.sleep(0, signal));
    this.together = new MadeTogether(context);
  }

  /** Is `path` inside a subtree that is being staged, and so placed together with it? */
  inTree(path: RelPath): boolean {
    return this.#stagedParent(path) !== undefined;
  }

  /** Where the directory of `path` is staged; undefined when this group does not make it. */
  #stagedParent(path: RelPath): RelPath | undefined {
    const { dir } = this.#last;
    if (path.lastIndexOf("/") === dir.length && path.startsWith(dir)) return this.#last.at;
    const parent = parentOf(path);
    this.#last = { dir: parent, at: this.#dirs.get(parent) };
    return this.#last.at;
  }

  #noteDir(path: RelPath, at: RelPath): void {
    this.#dirs.set(path, at);
    this.#last = { dir: path, at };
  }

  /**
   * Stages what a change wants to be there. Returns a problem, and leaves nothing behind, when it cannot. A promise where it
   * takes long, which rejects with the signal's reason: then what is there stays, as after a crash.
   */
  stage(change: Change, bytes: Uint8Array | undefined): Staged | Problem | Promise<Staged | Problem> {
    const entry = change.new;
    if (entry === undefined) return problem(change.path, "UNSUPPORTED", "nothing to stage", false);
    const parent = this.#stagedParent(change.path);
    const at = parent === undefined ? this.#context.nextStageName() : joinPath(parent, nameOf(change.path));
    try {
      if (entry.kind === "dir") return this.#stageDir(change.path, entry, at);
      if (entry.kind === "symlink") return this.#stageSymlink(entry, at);
      if (entry.kind === "file") {
        const staged = this.#stageFile(change, entry, at, bytes);
        if (!(staged instanceof Promise)) return this.#mayLead(change, staged);
        return staged.then((later) => this.#mayLead(change, later), (error: unknown) => this.#failed(change, at, error));
      }
      return problem(change.path, "UNSUPPORTED", `a ${entry.what} cannot be created`, false);
    } catch (error) {
      return this.#failed(change, at, error);
    }
  }

  #mayLead({ path, new: entry }: Change, staged: Staged | Problem): Staged | Problem {
    const mayLead = this.#context.preserve.hardlinks && entry?.kind === "file" && entry.linkTo === undefined;
    if (mayLead && "at" in staged) this.#leaders.set(path, staged);
    return staged;
  }

  #failed({ path, new: entry }: Change, at: RelPath, error: unknown): Problem {
    const found = problemOf(path, error);
    if (!this.remove(at, entry?.kind === "dir")) this.#spoiled.add(treeOf(at));
    return found;
  }

  /**
   * As stage(), for a plain new file that belongs to a staged directory, which is made by the next `together.begin()`;
   * `told` hears what became of it. False, and nothing done, where that takes more or will not go well: stage() tells.
   */
  stageTogether(change: Change, bytes: Uint8Array | undefined, told: (outcome: Staged | Problem) => void): boolean {
    const { seeds, preserve } = this.#context;
    const { path, new: entry } = change;
    if (bytes === undefined || entry?.kind !== "file" || !this.#isPlain(change, entry)) return false;
    const parent = this.#stagedParent(path);
    if (parent === undefined) return false;
    const sum = sumOf(bytes, seeds);
    if (bytes.length !== entry.size || (entry.sum !== undefined && entry.sum !== sum)) return false;
    const name = nameOf(path);
    const at = joinPath(parent, name);
    const known = entry.sum === sum ? entry : { ...entry, sum };
    const file = { name, bytes, mode: modeFor(entry, preserve), mtimeNs: preserve.mtime ? entry.mtimeNs : undefined };
    return this.together.add(parent, file, (made) => told(this.#outcome(path, at, known, made)));
  }

  #isPlain(change: Change, entry: FileEntry): boolean {
    const { preserve } = this.#context;
    if (change.heals === true || change.from !== undefined || entry.linkTo !== undefined) return false;
    if (preserve.xattrs || preserve.hardlinks || (preserve.owner !== "none" && entry.owner !== undefined)) return false;
    return modeFor(entry, preserve) === creationMode(entry, preserve);
  }

  #outcome(path: RelPath, at: RelPath, entry: FileEntry, made: MadeFile | FsError): Staged | Problem {
    if (!(made instanceof FsError)) return { at, entry, ino: made.ino, ctimeNs: made.ctimeNs, mtimeNs: made.mtimeNs };
    if (!this.remove(at, false)) this.#spoiled.add(treeOf(at));
    return problemOf(path, made);
  }

  #stageDir(path: RelPath, entry: DirEntry, at: RelPath): Staged {
    const { host, stage, preserve } = this.#context;
    // Created with the owner's full access so that children can be added; the real mode is set when it is placed.
    host.fs.mkdir(stage.parent(at), nameOf(at), 0o700);
    this.#noteDir(path, at);
    this.#needsSyncAll = true;
    const fd = stage.dir(at);
    setCreatedMetadata(host.fs, fd, entry, { ...preserve, mode: false, owner: "none" });
    if ((modeFor(entry, preserve) & 0o700) === 0o700) this.#setDirMode(fd, entry);
    else this.#finishLate(path, entry, at);
    const stat = host.fs.fstat(fd);
    return { at, entry, ino: stat.ino, ctimeNs: stat.ctimeNs, mtimeNs: stat.mtimeNs };
  }

  #finishLate(path: RelPath, entry: DirEntry, at: RelPath): void {
    const tree = treeOf(at);
    const late = this.#late.get(tree);
    if (late === undefined) this.#late.set(tree, [{ path, entry }]);
    else late.push({ path, entry });
  }

  #setDirMode(fd: Fd, entry: DirEntry): void {
    const { host, preserve } = this.#context;
    if (preserve.owner !== "none" && entry.owner !== undefined) {
      const { uid, gid } = ownerIds(host.fs, entry.owner, preserve.owner);
      host.fs.chown(fd, uid, gid);
    }
    host.fs.chmod(fd, modeFor(entry, preserve));
  }

  /** Sets the modes that would have been in the way until now. Call when the staged tree is in its place. */
  finishTree(at: string): void {
    const late = this.#late.get(at) ?? [];
    for (const { path, entry } of late.toReversed()) this.#setDirMode(this.#context.root.dir(path), entry);
  }

  /** Directories that were changed after everything staged was made durable. */
  *finishedLate(): Iterable<RelPath> {
    for (const late of this.#late.values()) for (const { path } of late) yield path;
  }

  #stageSymlink(entry: Entry & { kind: "symlink" }, at: RelPath): Staged {
    const { host, stage, preserve } = this.#context;
    const dir = stage.parent(at);
    host.fs.symlink(entry.target, dir, nameOf(at));
    if (preserve.owner !== "none" && entry.owner !== undefined) {
      const { uid, gid } = ownerIds(host.fs, entry.owner, preserve.owner);
      host.fs.chownAt(dir, nameOf(at), uid, gid);
    }
    this.#needsSyncAll = true;
    const stat = host.fs.stat(dir, nameOf(at));
    return { at, entry, ino: stat.ino, ctimeNs: stat.ctimeNs, mtimeNs: stat.mtimeNs };
  }

  #stageFile(
    change: Change,
    entry: FileEntry,
    at: RelPath,
    bytes: Uint8Array | undefined,
  ): Staged | Problem | Promise<Staged | Problem> {
    const { received } = this.#context;
    if (change.heals === true) return this.#stageHealed(change.path, entry, at, bytes);
    if (entry.linkTo !== undefined) return this.#stageLink(change.path, entry, entry.linkTo, at);
    const mode = this.#keptMode(change);
    if (change.from !== undefined) return this.#stageCopy(change.path, change.from, entry, at, mode);
    if (bytes !== undefined || entry.size === 0) return this.#stageBytes(change.path, entry, at, bytes, mode);
    const file = received.get(change.path);
    if (file === undefined) return problem(change.path, "STALE", "its content did not arrive", true);
    received.delete(change.path);
    return this.#stageReceived(file.name, { ...entry, sum: file.sum, size: file.size }, at, mode);
  }

  /** Of a file that is replaced where the session carries no modes. Undefined: it gets what the session says. */
  #keptMode({ path, old }: Change): number | undefined {
    const { preserve, root } = this.#context;
    if (preserve.mode || old?.kind !== "file") return undefined;
    const there = root.statIfThere(path);
    return there?.kind === "file" ? keptMode(there.mode) : undefined;
  }

  /** Makes an empty file in the stage. */
  #createFile(at: RelPath, entry: FileEntry, mode: number | undefined): Fd {
    const { host, stage, preserve } = this.#context;
    return host.fs.create(stage.parent(at), nameOf(at), creationMode(entry, preserve) & (mode ?? 0o777));
  }

  /** As setCreatedMetadata, with the mode that it keeps. */
  #setMetadata(fd: Fd, entry: FileEntry, mode: number | undefined): void {
    const { host, preserve } = this.#context;
    if (mode === undefined) return setCreatedMetadata(host.fs, fd, entry, preserve);
    setCreatedMetadata(host.fs, fd, { ...entry, mode }, { ...preserve, mode: true });
    host.fs.chmod(fd, mode);
  }

  /**
   * The bytes that were agreed on, for a file whose own are damaged. All else stays as the damaged file has it, also what
   * the session does not carry.
   */
  #stageHealed(path: RelPath, entry: FileEntry, at: RelPath, bytes: Uint8Array | undefined): Staged | Problem {
    const { received, root, host, stage } = this.#context;
    const { linkTo } = entry;
    // The file that has its first name is another one by then, or it is damaged still.
    if (linkTo !== undefined) return this.#leaders.has(linkTo) ? this.#stageLink(path, entry, linkTo, at) : notAgreed(path);
    const file = bytes === undefined && entry.size > 0 ? received.get(path) : undefined;
    if (file !== undefined) {
      received.delete(path);
      if (file.sum !== entry.sum) {
        host.fs.unlink(stage.root, file.name);
        return notAgreed(path);
      }
      host.fs.rename(stage.root, file.name, stage.parent(at), nameOf(at), { replace: false });
    } else {
      const staged = this.#stageBytes(path, entry, at, bytes);
      if (!("at" in staged)) return notAgreed(path);
    }
    const source = root.openRead(path);
    try {
      return this.#finishFile(at, entry, (fd) => copyMetadata(host.fs, source, fd));
    } finally {
      host.fs.close(source);
    }
  }

  #stageBytes(path: RelPath, entry: FileEntry, at: RelPath, bytes: Uint8Array | undefined, mode?: number): Staged | Problem {
    const { host, seeds } = this.#context;
    const content = bytes ?? new Uint8Array(0);
    const sum = sumOf(content, seeds);
    if (content.length !== entry.size || (entry.sum !== undefined && entry.sum !== sum)) {
      return problem(path, "CORRUPT", "the content that arrived is not what was announced", true);
    }
    const fd = this.#createFile(at, entry, mode);
    let keep = false;
    try {
      if (content.length > 0) host.fs.write(fd, content, 0);
      this.#setMetadata(fd, entry, mode);
      const stat = host.fs.fstat(fd);
      keep = this.#keepForSync(fd);
      const known = entry.sum === sum ? entry : { ...entry, sum };
      return { at, entry: known, ino: stat.ino, ctimeNs: stat.ctimeNs, mtimeNs: stat.mtimeNs };
    } finally {
      if (!keep) host.fs.close(fd);
    }
  }

  /** Takes over a descriptor to sync later, or notes that everything must be synced. */
  #keepForSync(fd: Fd): boolean {
    if (this.#context.durable === "none") return false;
    if (this.#unsynced.length < SINGLE_SYNC_MAX && !this.#needsSyncAll) {
      this.#unsynced.push(fd);
      return true;
    }
    this.#needsSyncAll = true;
    return false;
  }

  /** A large file lies in the stage already; it only gets its metadata and its place. */
  #stageReceived(name: string, entry: FileEntry, at: RelPath, mode: number | undefined): Staged {
    const { host, stage, preserve } = this.#context;
    if (at !== name) host.fs.rename(stage.root, name, stage.parent(at), nameOf(at), { replace: false });
    return this.#finishFile(at, entry, (fd) => {
      host.fs.chmod(fd, creationMode(entry, preserve) & (mode ?? 0o777));
      this.#setMetadata(fd, entry, mode);
    });
  }

  #finishFile(at: RelPath, entry: FileEntry, setMetadata: (fd: Fd) => void): Staged {
    const { host, stage } = this.#context;
    const fd = stage.openRead(at);
    let keep = false;
    try {
      setMetadata(fd);
      const stat = host.fs.fstat(fd);
      keep = this.#keepForSync(fd);
      return { at, entry, ino: stat.ino, ctimeNs: stat.ctimeNs, mtimeNs: stat.mtimeNs };
    } finally {
      if (!keep) host.fs.close(fd);
    }
  }

  /**
   * Another name for a file that is here: staged in this group, or placed before. A leader that is about to be replaced
   * would lend its old bytes, so what is linked must be known to hold what the entry says. All else is the file's and not the name's:
   * what the leader has is what is reported, whatever the plan had seen under the other name, a moment earlier or later.
   */
  #stageLink(path: RelPath, entry: FileEntry, leader: RelPath, at: RelPath): Staged | Problem {
    const { host, stage, root, markDirty } = this.#context;
    const staged = this.#leaders.get(leader);
    const notHere = (): Problem => {
      markDirty(leader);
      return problem(path, "STALE", "the file it is a link to is not here, or has another content", true);
    };
    const held = staged?.entry ?? this.#placedLeader(leader);
    if (held?.kind !== "file" || compareContent(held, entry) !== "same") return notHere();
    const [area, name] = staged === undefined ? [root, leader] : [stage, staged.at];
    const before = area.stat(name);
    host.fs.link(area.parent(name), nameOf(name), stage.parent(at), nameOf(at));
    this.#needsSyncAll = true;
    const after = host.fs.stat(stage.parent(at), nameOf(at));
    // Written since it was looked at: that is not the file that is to get the name, nor its time what the disk makes of one.
    if (staged === undefined && !this.#isAsRecorded(leader, after)) {
      host.fs.unlink(stage.parent(at), nameOf(at));
      return notHere();
    }
    this.times.moved(leader, before, after);
    const { ino, ctimeNs, mtimeNs } = after;
    return { at, entry: { ...held, linkTo: leader }, ino, ctimeNs, mtimeNs };
  }

  /**
   * The entry of a leader that is in its place already; undefined when it is not there as the index knows it. It is read: a
   * further name moves its ctime, and another session of this directory, which does not know why, would take damage for an
   * edit. And a power loss may have taken what the index had learned of it, though it is agreed on.
   */
  #placedLeader(leader: RelPath): FileEntry | undefined {
    const { index, root } = this.#context;
    const record = index.get(leader);
    const stat = root.statIfThere(leader);
    if (record?.entry.kind !== "file" || stat === undefined || !this.#isAsRecorded(leader, stat)) return undefined;
    const { entry } = record;
    if (entry.size === 0 || (entry.sum !== undefined && entry.size > READ_LEADER_BYTES_MAX)) return entry;
    const known = this.#readLeaders.get(leader) ?? this.#readLeader(leader, record, entry);
    if (known !== undefined) this.#readLeaders.set(leader, known);
    return known;
  }

  #readLeader(leader: RelPath, record: IndexRecord, entry: FileEntry): FileEntry | undefined {
    const { root, host, damaged } = this.#context;
    let fd: Fd;
    try {
      fd = root.openRead(leader);
    } catch (error) {
      // What nobody may read no session takes for an edit.
      if (entry.sum !== undefined && isCode(error, "EACCES", "EPERM")) return entry;
      throw error;
    }
    try {
      const sum = this.hash(fd);
      const stat = host.fs.fstat(fd);
      if (!this.#isAsRecorded(leader, stat)) return undefined;
      if (entry.sum === undefined || entry.sum === sum) return { ...entry, sum };
      const damage = damageOf(record, stat, sum, host.clock.nowMs());
      if (damage !== undefined) damaged(leader, damage);
      return undefined;
    } finally {
      host.fs.close(fd);
    }
  }

  /** But for its ctime, which links made in this run have moved. */
  #isAsRecorded(path: RelPath, stat: Stat): boolean {
    const record = this.#context.index.get(path);
    if (record?.entry.kind !== "file" || stat.ino !== record.ino || stat.size !== record.entry.size) return false;
    return stat.mtimeNs === (record.diskMtimeNs ?? record.entry.mtimeNs);
  }

  /** Is a staged link still one to the file that has its leader's name? To be asked when the leader is in its place. */
  isLinked(staged: Staged): boolean {
    if (staged.entry.kind !== "file" || staged.entry.linkTo === undefined) return true;
    return this.#context.root.statIfThere(staged.entry.linkTo)?.ino === staged.ino;
  }

  /** Content that this side already has under another path. What was copied is hashed, not what was promised. */
  async #stageCopy(
    path: RelPath, from: RelPath, entry: FileEntry, at: RelPath, mode: number | undefined,
  ): Promise<Staged | Problem> {
    const { host, root } = this.#context;
    const source = root.openRead(from);
    let target: Fd;
    try {
      target = this.#createFile(at, entry, mode);
    } catch (error) {
      host.fs.close(source);
      throw error;
    }
    let keep = false;
    try {
      const done = await copyInTurns(host.fs, source, target, entry.size, this.#turns);
      const sum = await this.hashInTurns(target);
      if (done !== entry.size || (entry.sum !== undefined && sum !== entry.sum)) {
        this.#context.markDirty(from);
        if (!this.remove(at, false)) this.#spoiled.add(treeOf(at));
        return problem(path, "STALE", "the local copy to reuse has changed", true);
      }
      this.#setMetadata(target, entry, mode);
      const stat = host.fs.fstat(target);
      keep = this.#keepForSync(target);
      return { at, entry: { ...entry, sum }, ino: stat.ino, ctimeNs: stat.ctimeNs, mtimeNs: stat.mtimeNs };
    } finally {
      host.fs.close(source);
      if (!keep) host.fs.close(target);
    }
  }

  hash(fd: Fd): string {
    const { host, seeds } = this.#context;
    const summer = new Summer(seeds);
    for (let at = 0; ; ) {
      const count = host.fs.read(fd, readBuffer, at);
      if (count === 0) return summer.digest();
      summer.update(readBuffer.subarray(0, count));
      at += count;
    }
  }

  /** As hash(), for what may be large. Rejects with the signal's reason. */
  hashInTurns(fd: Fd): Promise<string> {
    return sumInTurns(this.#context.host.fs, fd, this.#context.seeds, this.#turns);
  }

  /** Makes what was staged durable. A failure means that nothing of the group may be placed. */
  async makeDurable(): Promise<void> {
    const { host, root, durable } = this.#context;
    try {
      if (durable === "none") return;
      if (this.#needsSyncAll) await host.fs.syncAll(root.root);
      else for (const fd of this.#unsynced) await host.fs.sync(fd);
    } finally {
      this.#endStaging();
    }
  }

  /** Is it still the staged entry that lies under its name, and not what was exchanged for it? */
  holds(staged: Staged): boolean {
    return this.#context.stage.statIfThere(staged.at)?.ino === staged.ino;
  }

  /**
   * Takes a staged entry, with everything below it, out of the stage again. False, and nothing done, when something else
   * lies under its name, or when the disk does not say.
   */
  discard(staged: Staged): boolean {
    const { host, stage } = this.#context;
    try {
      if (!this.holds(staged)) return false;
      stage.forget(staged.at);
      if (staged.entry.kind === "dir") removeTree(host.fs, stage.parent(staged.at), nameOf(staged.at));
      else this.#unlink(staged);
      return true;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      return false;
    }
  }

  #unlink({ at, entry }: Staged): void {
    const { host, stage, root } = this.#context;
    const before = stage.stat(at);
    host.fs.unlink(stage.parent(at), nameOf(at));
    if (before.nlink < 2 || entry.kind !== "file" || entry.linkTo === undefined) return;
    const after = root.statIfThere(entry.linkTo);
    if (after !== undefined) this.times.moved(entry.linkTo, before, after);
  }

  /** Does it hold something unfinished that could not be taken out? Then it must not appear. */
  isSpoiled(staged: Staged): boolean {
    return this.#spoiled.has(staged.at);
  }

  /** Takes something out of the stage again; what is not there is fine. False when the disk keeps it. */
  remove(at: RelPath, isDir: boolean): boolean {
    const { host, stage } = this.#context;
    try {
      stage.forget(at);
      if (isDir) host.fs.rmdir(stage.parent(at), nameOf(at));
      else host.fs.unlink(stage.parent(at), nameOf(at));
      return true;
    } catch (error) {
      if (!isCode(error, "ENOENT", "ENOTDIR", "ENOTEMPTY", "EIO", "EROFS")) throw error;
      return isCode(error, "ENOENT", "ENOTDIR");
    }
  }

  /** Releases descriptors; the group starts anew. */
  close(): void {
    this.#endStaging();
    this.#late.clear();
    this.#spoiled.clear();
  }

  #endStaging(): void {
    for (const fd of this.#unsynced) this.#context.host.fs.close(fd);
    this.#unsynced = [];
    this.#needsSyncAll = false;
    this.#dirs.clear();
    this.#last = { dir: "", at: undefined };
    this.#leaders.clear();
    this.#readLeaders.clear();
  }
}

function notAgreed(path: RelPath): Problem {
  return problem(path, "STALE", "the other side's content is not, or no longer, the one that was agreed on", true);
}
