/**
 * One run of changes on one side (reference: two-state invariant of Unison, transitions of Mutagen, ALICE OSDI'14).
 *
 * push stages. commit: 1 makes staged bytes durable · 2 reads them back when asked · 3 journals the intent, durably ·
 * 4 places every op in order, each one atomic and checked · 5 makes the renames durable · 6 commits index, own-write
 * log and the run's record in one durable transaction · then reports. A crash before 3 leaves only stage leftovers;
 * between 3 and 6 each path is old or new, and recovery (recover.ts) sorts out displaced content by the intent.
 */
import type { Problem } from "#model/observation.ts";
import { type Change, type Move, nameOfChange } from "#model/plan.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import { type Fd, FsError, isNotThere } from "#platform/file-system.ts";
import type { Application, ApplyOp, CommitReply, OpResult } from "#sync/endpoint/endpoint.ts";
import { type ApplyContext, problem, problemOf } from "#sync/apply/apply-context.ts";
import { hidesMoved, ignoredHere } from "#sync/apply/held-places.ts";
import { openOrMakeDir } from "#sync/apply/private-area.ts";
import { type Placed, Placement, recordOf } from "#sync/apply/placement.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import { setRecords } from "#sync/index/set-records.ts";
import { IGNORE_FILE } from "#sync/scan/ignore.ts";
import { type Staged, Staging } from "#sync/apply/staging.ts";

/** Directories synced one by one after placing; with more, one sync of the file system is cheaper. */
const DIR_SYNC_MAX = 32;
/** Ops placed before other work gets a turn; about 10 ms. */
const TURN_OPS = 1000;
/** Results reported at once. */
const RESULTS_PER_BATCH = 1024;

type Pending = {
  readonly op: ApplyOp;
  /** Neither this nor a failure while it is being made together with others. */
  staged: Staged | undefined;
  /** Comes along with the staged directory that is its ancestor. */
  readonly inTree: boolean;
  failure: Problem | undefined;
  /** Name in the run's trash for what it displaces; "" for none. Given when the intent is written. */
  trashName: string;
  intent: RunItem | undefined;
};

/** What is not in its place, so that nothing below it is, and why. */
type FailedTrees = Map<RelPath, Problem | undefined>;

/** Does it take an entry out of the root that undo must find again? */
function displaces({ op, inTree, failure }: Pending): boolean {
  if (inTree || failure !== undefined || op.type === "move") return false;
  return op.change.old !== undefined && op.change.action !== "metadata";
}

const pathOf = (op: ApplyOp): RelPath => (op.type === "move" ? op.move.to : op.change.path);

export class Applier implements Application {
  readonly #context: ApplyContext;
  readonly #runId: string;
  readonly #signal: AbortSignal;
  /** What push() fills, and what the commit under way places. */
  #staging: Staging;
  #placing: Staging;
  readonly #placement: Placement;
  readonly #startedMs: number;
  #pending: Pending[] = [];
  #pushing: Promise<void> | undefined;
  #trashFd: Fd | undefined;

  constructor(context: ApplyContext, runId: string, signal: AbortSignal) {
    this.#context = context;
    this.#runId = runId;
    this.#signal = signal;
    this.#staging = new Staging(context, signal);
    this.#placing = new Staging(context, signal);
    this.#placement = new Placement(context, () => this.#placing, () => this.#trash());
    this.#startedMs = Math.max(0, Math.floor(context.host.clock.nowMs()));
  }

  #trash(): Fd {
    this.#trashFd ??= openOrMakeDir(this.#context.host.fs, this.#context.trash, this.#runId);
    return this.#trashFd;
  }

  /** Stages at once. During a commit only what depends on nothing that it places. */
  push(ops: readonly ApplyOp[]): Promise<void> {
    const pushing = this.#push(ops);
    this.#pushing = pushing;
    return pushing;
  }

  async #push(ops: readonly ApplyOp[]): Promise<void> {
    this.#signal.throwIfAborted();
    const { together } = this.#staging;
    await together.room();
    try {
      for (const op of ops) {
        const one = this.#stage(op);
        this.#pending.push(one instanceof Promise ? await one : one);
      }
    } finally {
      together.begin();
    }
  }

  /** Waits for what was pushed and is still being made. Never rejects. */
  async settled(): Promise<void> {
    await Promise.allSettled([this.#pushing]);
    await Promise.allSettled([this.#staging.together.settled(), this.#placing.together.settled()]);
  }

  #stage(op: ApplyOp): Pending | Promise<Pending> {
    if (op.type === "move") {
      const { index, ignores, hasRules } = this.#context;
      const isHidden = hasRules(parentOf(op.move.to)) && hidesMoved(op.move, index, ignores);
      const failure = isHidden ? ignoredHere(op.move.to) : undefined;
      return { op, staged: undefined, inTree: false, failure, trashName: "", intent: undefined };
    }
    const { change, bytes } = op;
    const inTree = this.#staging.inTree(change.path);
    // The bytes are in the stage in a moment; kept here they would fill the memory until the commit.
    const kept: ApplyOp = { type: "change", change };
    const base: Pending = { op: kept, inTree, staged: undefined, failure: undefined, trashName: "", intent: undefined };
    const isDir = (change.new ?? change.old)?.kind === "dir";
    if (this.#context.ignores(change.path, isDir)) {
      return { ...base, failure: ignoredHere(change.path) };
    }
    if (change.action !== "content" || change.new === undefined) return base;
    if (inTree) {
      const told = (outcome: Staged | Problem): void => {
        if ("at" in outcome) base.staged = outcome;
        else base.failure = outcome;
      };
      if (this.#staging.stageTogether(change, bytes, told)) return base;
    }
    const outcome = (staged: Staged | Problem): Pending =>
      "at" in staged ? { ...base, staged } : { ...base, failure: staged };
    const staged = this.#staging.stage(change, bytes);
    return staged instanceof Promise ? staged.then(outcome) : outcome(staged);
  }

  async commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const { store } = this.#context;
    const pending = this.#pending;
    this.#pending = [];
    const seqBefore = this.#context.lastSeq();
    this.#placing = this.#staging;
    this.#staging = new Staging(this.#context, this.#signal);
    if (pending.length === 0) {
      this.#closePlaced();
      return { seqBefore, seqAfter: seqBefore };
    }
    await this.#placing.together.settled();
    this.#context.assertRoot();
    const broken = await this.#makeDurable(pending);
    const placed = broken ?? (await this.#placeAll(pending));
    const results = placed.map((one) => one.result);
    // Where the group failed: links that were staged had moved the ctime of what is in its place.
    if (this.#placing.times.any) store.transaction({ durable: false }, () => this.#placing.times.settle(this.#context));
    for (let at = 0; at < results.length; at += RESULTS_PER_BATCH) {
      onResults(results.slice(at, at + RESULTS_PER_BATCH));
    }
    this.#closePlaced();
    return { seqBefore, seqAfter: this.#context.lastSeq() };
  }

  /** Returns failures for everything when the bytes could not be made durable: then nothing may be placed. */
  async #makeDurable(pending: readonly Pending[]): Promise<Placed[] | undefined> {
    try {
      await this.#placing.makeDurable();
      return undefined;
    } catch (error) {
      return pending.map(({ op, staged, inTree }) => {
        const path = pathOf(op);
        if (staged !== undefined && !inTree) this.#placing.discard(staged);
        return failure(problemOf(path, error));
      });
    }
  }

  async #placeAll(staged: readonly Pending[]): Promise<Placed[]> {
    const { store, journal, durable } = this.#context;
    const pending = this.#withTrash(staged);
    const intents = this.#intents(pending);
    let keys: string[] = [];
    if (intents.length > 0) {
      keys = store.transaction({ durable: durable !== "none" }, () => journal.addIntent(this.#runId, intents));
    }
    // Somebody may have moved a directory that is open since the scan, which may have seen it in its new place, too: what
    // goes from it there would look like their removal.
    this.#context.root.clear();
    const placed: Placed[] = [];
    const failedTrees: FailedTrees = new Map();
    for (const one of pending) {
      const outcome = this.#place(one, failedTrees);
      placed.push(outcome instanceof Promise ? await outcome : outcome);
      if (placed.length % TURN_OPS === 0) await this.#context.host.clock.sleep(0, this.#signal);
    }
    const synced = await this.#syncDirs(pending, placed);
    if (synced !== undefined) return placed.map((one) => this.#unsynced(one, synced));
    this.#placement.synced();
    store.transaction({ durable: durable !== "none" }, () => this.#record(pending, placed, keys));
    return placed;
  }

  /** The trash must exist before anything is renamed into it; where it cannot, what displaces nothing goes on. */
  #withTrash(pending: readonly Pending[]): readonly Pending[] {
    if (!pending.some(displaces)) return pending;
    try {
      this.#trash();
      return pending;
    } catch (error) {
      return pending.map((one) => {
        if (!displaces(one)) return one;
        const found = problemOf(pathOf(one.op), error);
        if (one.staged !== undefined) this.#placing.discard(one.staged);
        return { ...one, staged: undefined, failure: found };
      });
    }
  }

  #intents(pending: readonly Pending[]): RunItem[] {
    const items: RunItem[] = [];
    for (const one of pending) {
      const { op, inTree, failure: problemFound } = one;
      if (inTree || problemFound !== undefined) continue;
      if (displaces(one)) one.trashName = this.#context.nextTrashName();
      one.intent = op.type === "move" ? this.#moveIntent(op.move) : this.#changeIntent(op.change, one);
      items.push(one.intent);
    }
    return items;
  }

  #moveIntent({ from, to }: Move): RunItem {
    const record = this.#context.index.get(from);
    const ino = record?.ino ?? 0n;
    const entry = record?.entry;
    return { path: to, action: "move", from, trash: "", stage: "", old: entry, oldIno: ino, new: entry, newIno: ino };
  }

  #changeIntent(change: Change, { staged, trashName }: Pending): RunItem {
    const oldIno = this.#context.index.get(change.path)?.ino ?? 0n;
    const base = { path: change.path, from: "", trash: trashName, stage: staged?.at ?? "", old: change.old, oldIno };
    if (change.action === "metadata") return { ...base, action: "metadata", new: change.new, newIno: oldIno };
    return { ...base, action: nameOfChange(change), new: staged?.entry ?? change.new, newIno: staged?.ino ?? 0n };
  }

  #place(one: Pending, failedTrees: FailedTrees): Placed | Promise<Placed> {
    const { op, staged, inTree, failure: problemFound } = one;
    const path = pathOf(op);
    if (problemFound !== undefined) {
      failedTrees.set(path, problemFound);
      return failure(problemFound);
    }
    if (op.type === "move") return this.#placement.move(op.move);
    if (inTree) return this.#placedWithTree(one, failedTrees);
    if (staged !== undefined && !this.#placing.isLinked(staged)) {
      this.#placing.discard(staged);
      return failure(problem(path, "STALE", "the file it is a link to did not get its place", true));
    }
    if (staged !== undefined && this.#placing.isSpoiled(staged)) {
      this.#placing.discard(staged);
      const found = problem(path, "EIO", "something unfinished in its stage cannot be removed", true);
      failedTrees.set(path, found);
      return failure(found);
    }
    if (staged === undefined || !this.#isReadBack(staged)) return this.#placeChange(one, op.change, failedTrees);
    return this.#readBack(path, staged, this.#context.stage, staged.at).then((unread) => {
      if (unread === undefined) return this.#placeChange(one, op.change, failedTrees);
      this.#placing.discard(staged);
      return failure(unread);
    });
  }

  #placeChange(one: Pending, change: Change, failedTrees: FailedTrees): Placed | Promise<Placed> {
    const placed = this.#placement.change(change, one.staged, one.trashName);
    if (placed instanceof Promise) return placed.then((later) => this.#placed(one, later, failedTrees));
    return this.#placed(one, placed, failedTrees);
  }

  #placed({ op, staged }: Pending, placed: Placed, failedTrees: FailedTrees): Placed {
    if (placed.result.status === "done") return placed;
    failedTrees.set(pathOf(op), placed.result.problem);
    // What broke off in the middle is left to recovery: the stage may hold the only name of what was displaced. But
    // where it still holds what was staged nothing was, and keeping that would fill the disk try by try.
    if (staged !== undefined && this.#placing.discard(staged)) return { ...placed, unsettled: false };
    return placed;
  }

  #placedWithTree({ op, staged }: Pending, failedTrees: FailedTrees): Placed | Promise<Placed> {
    const path = pathOf(op);
    const isLost = failedTrees.size > 0 && failedTrees.has(parentOf(path));
    if (staged === undefined || op.type === "move" || isLost) {
      const found = withoutDirectory(path, failedTrees.get(parentOf(path)));
      failedTrees.set(path, found);
      return failure(found);
    }
    if (!this.#placing.isLinked(staged)) {
      return failure(problem(path, "STALE", "the file it is a link to did not get its place", true));
    }
    if (!this.#isReadBack(staged)) return this.#treeItem(path, staged);
    return this.#readBack(path, staged, this.#context.root, path).then((unread) =>
      unread === undefined ? this.#treeItem(path, staged) : failure(unread),
    );
  }

  #treeItem(path: RelPath, staged: Staged): Placed {
    const { entry, ino } = staged;
    const item: RunItem = {
      path,
      action: "create",
      from: "",
      trash: "",
      stage: "",
      old: undefined,
      oldIno: 0n,
      new: entry,
      newIno: ino,
    };
    // The rename of its directory did not touch this inode, so what fstat said while staging still holds.
    return { result: { path, status: "done", entry }, record: recordOf(entry, staged), item };
  }

  #isReadBack({ entry }: Staged): boolean {
    return this.#context.verifyReadBack && entry.kind === "file" && entry.linkTo === undefined;
  }

  /** When asked for: reads a new file again, where it lies now. Returns what speaks against it. */
  async #readBack(path: RelPath, { entry }: Staged, area: Confined, at: RelPath): Promise<Problem | undefined> {
    try {
      const fd = area.openRead(at);
      try {
        if (entry.kind === "file" && (await this.#placing.hashInTurns(fd)) === entry.sum) return undefined;
      } finally {
        area.fs.close(fd);
      }
      return problem(path, "CORRUPT", "the disk returned other bytes than were written", false);
    } catch (error) {
      return problemOf(path, error);
    }
  }

  /**
   * Makes the renames durable. Only then may the index claim them, and a scan tell of those in a step that broke off: the
   * controller takes for agreed what it finds where it was on its way.
   */
  async #syncDirs(pending: readonly Pending[], placed: readonly Placed[]): Promise<Problem | undefined> {
    const { host, root, durable, names } = this.#context;
    if (durable === "none") return undefined;
    const dirs = new Set<RelPath>(this.#placing.finishedLate());
    const files: RelPath[] = [];
    /** Directories that this very group removed need no sync of their own: their parents' covers them. */
    const gone = new Set<RelPath>();
    let all = names.isDoubtful;
    for (const [at, { item, unsettled, touched }] of placed.entries()) {
      const tried = item ?? (unsettled === true || touched === true ? pending[at]!.intent : undefined);
      // What came along inside a staged subtree has neither a stage name nor a directory of its own to sync.
      if (tried === undefined || isCameAlong(tried)) continue;
      if (tried.action !== "metadata") dirs.add(parentOf(tried.path));
      else if (tried.new?.kind === "dir") dirs.add(tried.path);
      else if (tried.new?.kind === "file") files.push(tried.path);
      // Nobody can open it: its owner is nothing that could be synced alone.
      else all = true;
      if (tried.from !== "") dirs.add(parentOf(tried.from));
      if (item?.old?.kind === "dir" && item.action !== "move") gone.add(item.path);
      all ||= dirs.size + files.length > DIR_SYNC_MAX;
      if (all) break;
    }
    try {
      if (all) await names.everything();
      else {
        // First what was displaced: a directory must not be gone for good before what was taken out of it is safe.
        if (this.#trashFd !== undefined) await names.one(this.#trashFd);
        for (const file of files) if (await this.#syncPath(() => root.openRead(file))) return undefined;
        if (dirs.delete("")) await names.one(root.root);
        for (const dir of dirs) {
          if (await this.#syncPath(() => host.fs.openDir(root.parent(dir), nameOf(dir)), gone.has(dir))) return undefined;
        }
      }
      return undefined;
    } catch (error) {
      return problemOf("", error);
    }
  }

  /**
   * Opens for itself: a cached descriptor could be closed by others while the sync runs. True when everything was synced
   * because what cannot be opened cannot be synced alone: somebody may have given the directory another name since.
   */
  async #syncPath(open: () => Fd, mayBeGone = false): Promise<boolean> {
    const { host, names } = this.#context;
    let fd: Fd;
    try {
      fd = open();
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      if (mayBeGone && isNotThere(error)) return false;
      await names.everything();
      return true;
    }
    try {
      await names.one(fd);
    } finally {
      host.fs.close(fd);
    }
    return false;
  }

  /** It is there, but a power loss may take it back: nobody may count on it before it is synced and seen again. */
  #unsynced({ result, item }: Placed, problemFound: Problem): Placed {
    const { path } = result;
    this.#context.markDirty(path);
    if (item?.action === "move") this.#context.markDirty(item.from);
    return failure({ ...problemFound, path });
  }

  #record(pending: readonly Pending[], placed: readonly Placed[], keys: readonly string[]): void {
    const { index, journal, logPaths, links, preserve, replaced } = this.#context;
    const items: RunItem[] = [];
    const paths: RelPath[] = [];
    /** Inodes of several names of which one was moved, replaced or removed. */
    const left = new Set<bigint>();
    /** Of entries that came along in a new directory: nothing else is to be done for them, so they wait for each other. */
    let cameAlong: { path: RelPath; record: IndexRecord }[] = [];
    for (const { result, record, item } of placed) {
      if (item === undefined) continue;
      items.push(item);
      paths.push(result.path);
      if (item.trash !== "") replaced(result.path);
      if (record !== undefined && isCameAlong(item) && isPlain(record) && nameOf(item.path) !== IGNORE_FILE) {
        cameAlong.push({ path: item.path, record });
        continue;
      }
      if (cameAlong.length > 0) {
        setRecords(index, cameAlong);
        cameAlong = [];
      }
      if (item.action === "move") {
        // A controller that does not hear of the outcome learns it from the log, and nothing there stands for a subtree.
        for (const [from, known] of index.walk(item.from)) {
          const to = item.path + from.slice(item.from.length);
          paths.push(from, to);
          if (known.entry.kind !== "file" || !links.leave(known.ino, from)) continue;
          links.join(known.ino, to);
          left.add(known.ino);
        }
        // The disk had nothing there, whatever the index still says.
        index.deleteSubtree(item.path);
        index.moveSubtree(item.from, item.path);
      }
      const before = links.any && item.old !== undefined ? index.get(item.path) : undefined;
      if (before !== undefined && before.ino !== record?.ino && links.leave(before.ino, item.path)) left.add(before.ino);
      if (record?.entry.kind !== "dir" && this.#wasDir(item)) this.#forgetBelow(item.path, paths);
      if (record === undefined) index.delete(item.path);
      else index.set(item.path, nameOf(item.path) === IGNORE_FILE ? { ...record, racy: true } : record);
      // Our own write of an ignore file changes what can be seen: the next scan must look at its directory as at a
      // change of somebody else's.
      if (nameOf(item.path) === IGNORE_FILE) this.#context.markDirty(item.path);
      if (record?.entry.kind !== "file" || record.entry.linkTo === undefined) continue;
      links.join(record.ino, record.entry.linkTo);
      links.join(record.ino, item.path);
    }
    setRecords(index, cameAlong);
    this.#placing.times.settle(this.#context);
    if (preserve.hardlinks) for (const ino of left) this.#regroup(ino);
    if (paths.length > 0) logPaths(paths);
    journal.addItems(this.#runId, this.#startedMs, items);
    journal.clearIntent(keys);
    journal.clearLentModes();
    const unsettled = placed.flatMap((one, at) => (one.unsettled === true ? (pending[at]!.intent ?? []) : []));
    if (unsettled.length > 0) journal.addIntent(this.#runId, unsettled);
  }

  /**
   * Who leads the names that an inode has now is for the next scan to say, also after a crash. What it finds is news to a
   * controller that skips the echo of our writes.
   */
  #regroup(ino: bigint): void {
    const { links, markDirty } = this.#context;
    const [first] = links.members(ino);
    if (first === undefined) return;
    links.unsettle(ino);
    markDirty(first);
  }

  /** Also where a person removed the directory that was to be put aside: then a create came, and the index still has it. */
  #wasDir({ path, action, old, stage }: RunItem): boolean {
    if (action !== "create") return old?.kind === "dir";
    // What came inside a staged directory needs no look-up: that directory was new.
    return stage !== "" && this.#context.index.get(path)?.entry.kind === "dir";
  }

  /** A directory that went was empty: what the index still has below it went unnoticed, and no scan comes there again. */
  #forgetBelow(dir: RelPath, paths: RelPath[]): void {
    const { index } = this.#context;
    if (index.children(dir).length === 0) return;
    for (const [below] of [...index.walk(dir)]) {
      if (below === dir) continue;
      index.delete(below);
      paths.push(below);
    }
  }

  close(): void {
    this.#staging.close();
    this.#closePlaced();
  }

  #closePlaced(): void {
    this.#placing.close();
    if (this.#trashFd === undefined) return;
    this.#context.host.fs.close(this.#trashFd);
    this.#trashFd = undefined;
  }
}

/** Came it inside a staged directory, which was new with all that is in it? */
function isCameAlong(item: RunItem): boolean {
  return item.action === "create" && item.stage === "";
}

/** Is it no name of a file that has others? */
function isPlain({ entry }: IndexRecord): boolean {
  return entry.kind !== "file" || entry.linkTo === undefined;
}

/** Of what came along with a directory that could not be created, for a reason that may pass or not. */
function withoutDirectory(path: RelPath, why: Problem | undefined): Problem {
  const message = "the directory it belongs to could not be created";
  return why === undefined || why.transient ? problem(path, "STALE", message, true) : problem(path, why.code, message, false);
}

function failure(found: Problem): Placed {
  const { path } = found;
  const status = found.code === "STALE" ? "stale" : "failed";
  return { result: { path, status, entry: undefined, problem: found }, record: undefined, item: undefined };
}

