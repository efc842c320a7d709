/**
 * One run of changes on one side (reference: two-state invariant of Unison, transitions of Mutagen, ALICE OSDI'14).
 *
 * push stages. commit: 1 makes staged bytes durable · 2 reads them back when asked · 3 journals the intent, durably ·
 * 4 places every op in order, each one atomic and checked · 5 makes the renames durable · 6 commits index, own-write
 * log and the run's record in one durable transaction · then reports. A crash before 3 leaves only stage leftovers;
 * between 3 and 6 each path is old or new, and recovery (recover.ts) sorts out displaced content by the intent.
 */
import type { Problem } from "#model/observation.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import { type Fd, isCode } from "#platform/file-system.ts";
import type { Application, ApplyOp, CommitReply, OpResult } from "#sync/endpoint/endpoint.ts";
import { type ApplyContext, problem, problemOf } from "#sync/apply/apply-context.ts";
import { openOrMakeDir } from "#sync/apply/private-area.ts";
import { type Placed, Placement } from "#sync/apply/placement.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";
import { type Staged, Staging } from "#sync/apply/staging.ts";

/** Directories synced one by one after placing; with more, one sync of the file system is cheaper. */
const DIR_SYNC_MAX = 32;
/** Ops placed before other work gets a turn; about 10 ms. */
const TURN_OPS = 1000;
/** Results reported at once. */
const RESULTS_PER_BATCH = 1024;

type Pending = {
  readonly op: ApplyOp;
  readonly staged: Staged | undefined;
  /** Comes along with the staged directory that is its ancestor. */
  readonly inTree: boolean;
  readonly failure: Problem | undefined;
  /** Name in the run's trash for what it displaces; "" for none. Given when the intent is written. */
  trashName: string;
  intent: RunItem | undefined;
};

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
  readonly #staging: Staging;
  readonly #placement: Placement;
  readonly #startedMs: number;
  #pending: Pending[] = [];
  #trashFd: Fd | undefined;

  constructor(context: ApplyContext, runId: string, signal: AbortSignal) {
    this.#context = context;
    this.#runId = runId;
    this.#signal = signal;
    this.#staging = new Staging(context);
    this.#placement = new Placement(context, this.#staging, () => this.#trash());
    this.#startedMs = Math.max(0, Math.floor(context.host.clock.nowMs()));
  }

  #trash(): Fd {
    this.#trashFd ??= openOrMakeDir(this.#context.host.fs, this.#context.trash, this.#runId);
    return this.#trashFd;
  }

  /** Stages at once. Not to be called during commit. */
  async push(ops: readonly ApplyOp[]): Promise<void> {
    this.#signal.throwIfAborted();
    for (const op of ops) this.#pending.push(this.#stage(op));
  }

  #stage(op: ApplyOp): Pending {
    if (op.type === "move") return { op, staged: undefined, inTree: false, failure: undefined, trashName: "", intent: undefined };
    const { change, bytes } = op;
    const inTree = this.#staging.inTree(change.path);
    const base = { op, inTree, staged: undefined, failure: undefined, trashName: "", intent: undefined };
    const isDir = (change.new ?? change.old)?.kind === "dir";
    if (this.#context.ignores(change.path, isDir)) {
      return { ...base, failure: problem(change.path, "IGNORED", "it is ignored on this side", false) };
    }
    if (change.action !== "content" || change.new === undefined) return base;
    const staged = this.#staging.stage(change, bytes);
    return "at" in staged ? { ...base, staged } : { ...base, failure: staged };
  }

  async commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const pending = this.#pending;
    this.#pending = [];
    const seqBefore = this.#context.lastSeq();
    if (pending.length === 0) {
      this.close();
      return { seqBefore, seqAfter: seqBefore };
    }
    this.#context.assertRoot();
    const broken = await this.#makeDurable(pending);
    const placed = broken ?? (await this.#placeAll(pending));
    const results = placed.map((one) => one.result);
    for (let at = 0; at < results.length; at += RESULTS_PER_BATCH) {
      onResults(results.slice(at, at + RESULTS_PER_BATCH));
    }
    this.close();
    return { seqBefore, seqAfter: this.#context.lastSeq() };
  }

  /** Returns failures for everything when the bytes could not be made durable: then nothing may be placed. */
  async #makeDurable(pending: readonly Pending[]): Promise<Placed[] | undefined> {
    try {
      await this.#staging.makeDurable();
      return undefined;
    } catch (error) {
      return pending.map(({ op, staged, inTree }) => {
        const path = pathOf(op);
        if (staged !== undefined && !inTree) this.#staging.remove(staged.at, staged.entry.kind === "dir");
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
    const placed: Placed[] = [];
    const failedTrees = new Set<RelPath>();
    for (const one of pending) {
      const outcome = this.#place(one, failedTrees);
      placed.push(outcome instanceof Promise ? await outcome : outcome);
      if (placed.length % TURN_OPS === 0) await this.#context.host.clock.sleep(0, this.#signal);
    }
    const synced = await this.#syncDirs(placed);
    if (synced !== undefined) return placed.map(({ result }) => failure({ ...synced, path: result.path }));
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
        if (one.staged !== undefined) this.#discard(one.staged);
        return { ...one, staged: undefined, failure: found };
      });
    }
  }

  #intents(pending: readonly Pending[]): RunItem[] {
    const items: RunItem[] = [];
    for (const one of pending) {
      const { op, staged, inTree, failure: problemFound } = one;
      if (inTree || problemFound !== undefined || op.type === "move") continue;
      const { change } = op;
      if (displaces(one)) one.trashName = this.#context.nextTrashName();
      one.intent = {
        path: change.path,
        action: change.new === undefined ? "remove" : change.old === undefined ? "create" : "replace",
        from: "",
        trash: one.trashName,
        stage: staged?.at ?? "",
        old: change.old,
        oldIno: this.#context.index.get(change.path)?.ino ?? 0n,
        new: staged?.entry ?? change.new,
        newIno: staged?.ino ?? 0n,
      };
      items.push(one.intent);
    }
    return items;
  }

  #place(one: Pending, failedTrees: Set<RelPath>): Placed | Promise<Placed> {
    const { op, staged, inTree, failure: problemFound } = one;
    const path = pathOf(op);
    if (problemFound !== undefined) {
      failedTrees.add(path);
      return failure(problemFound);
    }
    if (op.type === "move") return this.#placement.move(op.move);
    if (inTree) return this.#placedWithTree(one, failedTrees);
    if (staged !== undefined && !this.#staging.isLinked(staged)) {
      this.#discard(staged);
      return failure(problem(path, "STALE", "the file it is a link to did not get its place", true));
    }
    if (staged !== undefined && !this.#readBack(staged)) {
      return failure(problem(path, "CORRUPT", "the disk returned other bytes than were written", false));
    }
    const placed = this.#placement.change(op.change, staged, one.trashName);
    if (placed instanceof Promise) return placed.then((later) => this.#placed(one, later, failedTrees));
    return this.#placed(one, placed, failedTrees);
  }

  #placed({ op, staged }: Pending, placed: Placed, failedTrees: Set<RelPath>): Placed {
    if (placed.result.status === "done") return placed;
    failedTrees.add(pathOf(op));
    // What broke off in the middle is left to recovery: the stage may hold the only name of what was displaced.
    if (staged !== undefined && placed.unsettled !== true) this.#discard(staged);
    return placed;
  }

  #placedWithTree({ op, staged }: Pending, failedTrees: Set<RelPath>): Placed {
    const path = pathOf(op);
    if (staged === undefined || op.type === "move" || failedTrees.has(parentOf(path))) {
      failedTrees.add(path);
      return failure(problem(path, "STALE", "the directory it belongs to could not be created", true));
    }
    if (!this.#staging.isLinked(staged)) {
      return failure(problem(path, "STALE", "the file it is a link to did not get its place", true));
    }
    if (!this.#context.verifyReadBack) return this.#treeItem(path, staged);
    const { root, host } = this.#context;
    if (staged.entry.kind !== "file") return this.#treeItem(path, staged);
    const fd = root.openRead(path);
    try {
      if (this.#staging.hash(fd) === staged.entry.sum) return this.#treeItem(path, staged);
    } finally {
      host.fs.close(fd);
    }
    return failure(problem(path, "CORRUPT", "the disk returned other bytes than were written", false));
  }

  #treeItem(path: RelPath, staged: Staged): Placed {
    const { entry, ino, ctimeNs } = staged;
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
    return { result: { path, status: "done", entry }, record: { entry, ino, ctimeNs, racy: false }, item };
  }

  #readBack(staged: Staged): boolean {
    return !this.#context.verifyReadBack || this.#staging.readBack(staged);
  }

  #discard(staged: Staged): void {
    // A staged subtree that could not be placed is cleared with the stage at the next open.
    if (this.#staging.holds(staged)) this.#staging.remove(staged.at, staged.entry.kind === "dir");
  }

  /** Makes the renames durable. Only then may the index claim them. */
  async #syncDirs(placed: readonly Placed[]): Promise<Problem | undefined> {
    const { host, root, durable } = this.#context;
    if (durable === "none") return undefined;
    const dirs = new Set<RelPath>();
    const files: RelPath[] = [];
    for (const { item } of placed) {
      // What came along inside a staged subtree has neither a stage name nor a directory of its own to sync.
      if (item === undefined || (item.action === "create" && item.stage === "")) continue;
      if (item.action !== "metadata") dirs.add(parentOf(item.path));
      else if (item.new?.kind === "dir") dirs.add(item.path);
      else if (item.new?.kind === "file") files.push(item.path);
      if (item.from !== "") dirs.add(parentOf(item.from));
      if (dirs.size + files.length > DIR_SYNC_MAX) break;
    }
    try {
      if (dirs.size + files.length > DIR_SYNC_MAX) await host.fs.syncAll(root.root);
      else {
        for (const file of files) await this.#syncPath(() => root.openRead(file));
        // A directory that this very group removed needs no sync of its own: its parent's covers it.
        if (dirs.delete("")) await host.fs.sync(root.root);
        for (const dir of dirs) await this.#syncPath(() => host.fs.openDir(root.parent(dir), nameOf(dir)));
        if (this.#trashFd !== undefined) await host.fs.sync(this.#trashFd);
      }
      return undefined;
    } catch (error) {
      return problemOf("", error);
    }
  }

  /** Opens for itself: a cached descriptor could be closed by others while the sync runs. */
  async #syncPath(open: () => Fd): Promise<void> {
    let fd: Fd;
    try {
      fd = open();
    } catch (error) {
      if (isCode(error, "ENOENT", "ENOTDIR", "ELOOP", "EACCES")) return;
      throw error;
    }
    try {
      await this.#context.host.fs.sync(fd);
    } finally {
      this.#context.host.fs.close(fd);
    }
  }

  #record(pending: readonly Pending[], placed: readonly Placed[], keys: readonly string[]): void {
    const { index, journal, logPaths } = this.#context;
    const items: RunItem[] = [];
    const paths: RelPath[] = [];
    for (const { result, record, item } of placed) {
      if (item === undefined) continue;
      items.push(item);
      paths.push(result.path);
      if (item.action === "move") {
        paths.push(item.from);
        index.moveSubtree(item.from, item.path);
      }
      if (record === undefined) index.delete(item.path);
      else index.set(item.path, record);
    }
    if (paths.length > 0) logPaths(paths);
    journal.addItems(this.#runId, this.#startedMs, items);
    journal.clearIntent(keys);
    const unsettled = placed.flatMap((one, at) => (one.unsettled === true ? (pending[at]!.intent ?? []) : []));
    if (unsettled.length > 0) journal.addIntent(this.#runId, unsettled);
  }

  close(): void {
    this.#staging.close();
    if (this.#trashFd === undefined) return;
    this.#context.host.fs.close(this.#trashFd);
    this.#trashFd = undefined;
  }
}

function failure(found: Problem): Placed {
  const { path } = found;
  const status = found.code === "STALE" ? "stale" : "failed";
  return { result: { path, status, entry: undefined, problem: found }, record: undefined, item: undefined };
}

