/**
 * One run of changes on a foreign system. push() stages on the local disk; commit() writes down what it is about to do,
 * durably, does it in order, each change checked just before or by the system itself, and records what became of it.
 * What is replaced or removed is kept in the trash of our directory there where the system can do that.
 *
 * Changes of files that follow each other go on at the same time; directories and moves wait for all before them.
 */
import type { Entry, FileEntry } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import { type Change, nameOfChange } from "#model/plan.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";
import { sumOf } from "#sync/chunk/sum.ts";
import type { Application, ApplyOp, CommitReply, OpResult } from "#sync/endpoint/endpoint.ts";
import { eachParallel, foreignProblem, isError, problemFrom } from "#sync/foreign/foreign-context.ts";
import type { ForeignContext } from "#sync/foreign/foreign-context.ts";
import { hashForeign, readForeign } from "#sync/foreign/foreign-content.ts";
import type { ForeignScan } from "#sync/foreign/foreign-scan.ts";
import { type Placed, ForeignPlacement, failedPlaced } from "#sync/foreign/foreign-placement.ts";
import { ForeignPlaces } from "#sync/foreign/foreign-places.ts";
import { type ForeignRecord, isFile } from "#sync/foreign/foreign-record.ts";
import { makeIfMissing } from "#sync/foreign/foreign-root.ts";
import { bringBackLateEdit } from "#sync/foreign/late-edits.ts";
import { type Bundle, type ForeignStage, type StagedContent, hasSum } from "#sync/foreign/foreign-stage.ts";
import type { Store, Table } from "#sync/index/store.ts";

/** Changes whose intent is written at once; also how many may have to be looked for after a crash. */
const INTENT_OPS_MAX = 256;

type Pending = {
  readonly op: ApplyOp;
  readonly content: StagedContent | undefined;
  readonly problem: Problem | undefined;
};

class Batch {
  readonly pending: Pending[] = [];
  bundle: Bundle | undefined;
}

export type ForeignApplicationOptions = {
  readonly context: ForeignContext;
  readonly stage: ForeignStage;
  readonly runId: string;
  readonly sessionId: string;
  readonly verifyReadBack: boolean;
  /** What is out of sight there. */
  readonly rules: Pick<ForeignScan, "ignoring" | "ignores" | "hidesMoved">;
  readonly signal: AbortSignal;
};

const pathOf = (op: ApplyOp): RelPath => (op.type === "move" ? op.move.to : op.change.path);

/**
 * Changes of an open intent of which the index knows already. To whoever looks after a crash they would seem not to have
 * been made: what is there is what the index says.
 */
export const notedChanges = (store: Store): Table => store.table("intent-noted");
export const notedKey = (runId: string, { action, path, trash }: RunItem): string => `${runId}/${action} ${trash} ${path}`;

export class ForeignApplication implements Application {
  readonly #options: ForeignApplicationOptions;
  readonly #placement: ForeignPlacement;
  readonly #places: ForeignPlaces;
  readonly #startedMs: number;
  readonly #trashPrefix: string;
  #trashNames = 0;
  #hasTrash = false;
  #batch = new Batch();
  #committing: Promise<unknown> = Promise.resolve();

  constructor(options: ForeignApplicationOptions) {
    this.#options = options;
    const { host } = options.context;
    this.#placement = new ForeignPlacement(options.context, options.signal);
    this.#places = new ForeignPlaces(options.context, options.rules, options.signal);
    this.#startedMs = Math.floor(host.clock.nowMs());
    // A run may go on after the connection was lost: its names must not be those from before.
    this.#trashPrefix = Buffer.from(host.random.bytes(3)).toString("hex");
  }

  async push(ops: readonly ApplyOp[]): Promise<void> {
    for (const op of ops) {
      this.#options.signal.throwIfAborted();
      this.#batch.pending.push(await this.#staged(op));
    }
  }

  async #staged(op: ApplyOp): Promise<Pending> {
    const entry = op.type === "change" && op.change.action === "content" ? op.change.new : undefined;
    if (op.type === "move" || entry?.kind !== "file") return { op, content: undefined, problem: undefined };
    const content = await this.#content(op.change, entry, op.bytes);
    const bare: ApplyOp = { type: "change", change: op.change };
    return "fd" in content
      ? { op: bare, content, problem: undefined }
      : { op: bare, content: undefined, problem: content };
  }

  async #content({ path, from }: Change, entry: FileEntry, bytes: Uint8Array | undefined): Promise<StagedContent | Problem> {
    const { context, stage, signal } = this.#options;
    if (from === undefined && bytes === undefined && entry.size > 0) {
      return stage.received(path, entry) ?? foreignProblem(path, "STALE", "its content did not arrive", true);
    }
    this.#batch.bundle ??= stage.bundle();
    if (from === undefined) {
      // Nothing need come along of an empty file.
      if (bytes === undefined) return this.#batch.bundle.add(new Uint8Array(0));
      if (bytes.length !== entry.size || !hasSum(entry, sumOf(bytes, context.seeds))) return corrupt(path);
      return this.#batch.bundle.add(bytes);
    }
    // Before anything of this run is done: what it is to be copied from may go with it.
    const record = context.index.get(from);
    if (!isFile(record)) return gone(path);
    try {
      const copied = await this.#batch.bundle.addAll(readForeign(context, from, record, signal), context.seeds);
      return copied.size === entry.size && hasSum(entry, copied.sum) ? copied : gone(path);
    } catch (error) {
      context.mark(from);
      return problemFrom(path, error);
    }
  }

  async commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const batch = this.#batch;
    this.#batch = new Batch();
    const committing = this.#committing.then(() => this.#commit(batch, onResults));
    this.#committing = committing.catch(() => undefined);
    return committing;
  }

  async #commit(batch: Batch, onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const { context, signal } = this.#options;
    const { log } = context;
    const seqBefore = log.last();
    try {
      if (batch.pending.length > 0) await context.assertRoot(signal);
      for (let at = 0; at < batch.pending.length; at += INTENT_OPS_MAX) {
        onResults(await this.#perform(batch.pending.slice(at, at + INTENT_OPS_MAX)));
      }
    } finally {
      for (const { content } of batch.pending) content?.release();
      batch.bundle?.[Symbol.dispose]();
    }
    return { seqBefore, seqAfter: log.last() };
  }

  async #perform(pending: readonly Pending[]): Promise<OpResult[]> {
    const { context, runId } = this.#options;
    const { store, journal } = context;
    const items = pending.map(({ op, problem }) => (problem === undefined ? this.#intentOf(op) : undefined));
    if (items.some((item) => item?.trash !== "" && item !== undefined)) await this.#makeTrash();
    const intents = items.filter((item) => item !== undefined);
    const keys = store.transaction({ durable: true }, () => journal.addIntent(runId, intents));
    const placed: Placed[] = [];
    try {
      await this.#inOrder(pending, async (one, at) => {
        placed[at] = this.#noted(await this.#one(one, items[at]), items[at]);
      });
    } finally {
      // What was done before it broke off is known; the rest is for recovery, by its intent.
      this.#record(pending, items, placed, keys);
    }
    return placed.map(({ result }) => result);
  }

  /** What comes later in the same run finds it in the index. */
  #noted(placed: Placed, item: RunItem | undefined): Placed {
    const { context, runId } = this.#options;
    const { store, index, log } = context;
    if (placed.paths.length === 0) return placed;
    store.transaction({ durable: false }, () => {
      placed.note(index);
      log.append(placed.paths);
      if (item !== undefined && placed.isChanged) notedChanges(store).set(notedKey(runId, item), new Uint8Array(1));
    });
    return placed;
  }

  /** Runs of changes of files go on at the same time. */
  async #inOrder(pending: readonly Pending[], work: (one: Pending, at: number) => Promise<void>): Promise<void> {
    const { parallel } = this.#options.context.abilities;
    for (let at = 0; at < pending.length; ) {
      let end = at;
      while (end < pending.length && isOfFile(pending[end]!.op)) end++;
      if (end === at) await work(pending[at]!, at++);
      else {
        const from = at;
        await eachParallel(Array.from({ length: end - from }, (_, step) => from + step), parallel, (index) => work(pending[index]!, index));
        at = end;
      }
    }
  }

  #record(pending: readonly Pending[], items: readonly (RunItem | undefined)[], placed: readonly Placed[], keys: string[]): void {
    const { context, runId } = this.#options;
    const { store, journal } = context;
    const done = pending.flatMap((_, at) => {
      const item = items[at];
      const one = placed[at];
      return item !== undefined && one?.isChanged === true ? [{ ...item, new: one.result.entry }] : [];
    });
    const isWhole = pending.every((_, at) => placed[at] !== undefined);
    store.transaction({ durable: true }, () => {
      journal.addItems(runId, this.#startedMs, done);
      if (!isWhole) {
        const open = items.filter((item, at): item is RunItem => item !== undefined && placed[at] === undefined);
        journal.addIntent(runId, open);
      }
      journal.clearIntent(keys);
      for (const item of done) notedChanges(store).delete(notedKey(runId, item));
    });
  }

  async #one({ op, content, problem }: Pending, item: RunItem | undefined): Promise<Placed> {
    if (problem !== undefined) return failedPlaced(problem);
    try {
      const isHidden = op.type === "move" ? await this.#options.rules.hidesMoved(op.move) : await this.#ignores(op.change);
      if (isHidden) return failedPlaced(foreignProblem(pathOf(op), "IGNORED", "it is ignored on that side", false));
      if (op.type === "move") return await this.#placement.move(op.move.from, op.move.to);
      const before = this.#options.context.index.get(op.change.path);
      const placed = await this.#placement.change(op.change, content, this.#trashPath(item?.trash ?? ""));
      if (placed.isChanged && item !== undefined) await this.#look(item, before);
      return this.#options.verifyReadBack && content !== undefined ? await this.#verified(op.change, placed) : placed;
    } catch (error) {
      const path = pathOf(op);
      const found = problemFrom(path, error);
      // Where that is refused, too, recovery has to do it: nothing that is there then may be believed.
      if (item !== undefined) await returnDisplaced(this.#options.context, item, this.#trashPath(item.trash), this.#options.signal);
      const isOther = isError(error, "STALE", "EXISTS", "NOT_FOUND");
      // To look again, and try again, would change nothing.
      const lasting = isOther ? await this.#places.whyRefused(op) : undefined;
      if (lasting !== undefined) return failedPlaced(lasting);
      this.#options.context.mark(path);
      if (op.type === "move") this.#options.context.mark(op.move.from);
      return isOther ? this.#placement.stale(path) : failedPlaced(found);
    }
  }

  /** Was that what the index knew to be there, which had the name? */
  async #look({ path, trash }: RunItem, before: ForeignRecord | undefined): Promise<void> {
    const { context, runId, signal } = this.#options;
    const tag = `${runId.slice(0, 8)}-${trash}`;
    await bringBackLateEdit(context, { path, before, keptAs: this.#trashPath(trash), tag }, signal);
  }

  async #ignores({ path, new: entry, old }: Change): Promise<boolean> {
    return this.#options.rules.ignores(path, (entry ?? old)?.kind === "dir");
  }

  async #verified({ path, new: entry }: Change, placed: Placed): Promise<Placed> {
    const { context, signal } = this.#options;
    if (placed.result.status !== "done" || entry?.kind !== "file" || entry.sum === undefined) return placed;
    const record = placed.record;
    if (record === undefined || !isFile(record)) return placed;
    const sum = await hashForeign(context, path, record, signal);
    if (sum === entry.sum) return placed;
    // What is there now is what a person has to look at: it must neither count as sent nor as edited.
    context.mark(path);
    const found = { ...record, entry: { ...record.entry, sum } };
    return { ...placed, result: failedPlaced(corrupt(path)).result, note: (index) => index.set(path, found) };
  }

  #intentOf(op: ApplyOp): RunItem {
    const { index } = this.#options.context;
    const bare = { from: "", trash: "", stage: "", oldIno: 0n, newIno: 0n };
    if (op.type === "move") {
      const entry = index.get(op.move.from)?.entry;
      return { ...bare, path: op.move.to, from: op.move.from, action: "move", old: entry, new: entry };
    }
    const { change } = op;
    const trash = this.#displaces(change) ? `${this.#trashPrefix}${(this.#trashNames++).toString(36)}` : "";
    return { ...bare, path: change.path, action: nameOfChange(change), trash, old: change.old, new: change.new };
  }

  #displaces({ old, action }: Change): boolean {
    const { abilities } = this.#options.context;
    return abilities.keeps && action !== "metadata" && (old?.kind === "file" || old?.kind === "symlink");
  }

  #trashPath(name: string): RelPath | undefined {
    return name === "" ? undefined : `${trashDir(this.#options.context, this.#options.sessionId, this.#options.runId)}/${name}`;
  }

  async #makeTrash(): Promise<void> {
    const { context, sessionId, runId, signal } = this.#options;
    if (this.#hasTrash) return;
    await makeTrashDir(context, trashDir(context, sessionId, runId), signal);
    this.#hasTrash = true;
  }

  /** Lets go of what was pushed and not committed, when the commit that is under way has ended: it uses the stage. */
  async close(): Promise<void> {
    await this.#committing;
    for (const { content } of this.#batch.pending) content?.release();
    this.#batch.bundle?.[Symbol.dispose]();
    this.#batch = new Batch();
  }
}

/**
 * What had made room for something that did not come goes back to its place: its absence would pass for its removal. What
 * is kept there is a rename's or a copy's; only such systems keep anything.
 * @returns whether it did
 */
export async function returnDisplaced(
  { files }: Pick<ForeignContext, "files">,
  item: RunItem,
  keptAs: RelPath | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  if (keptAs === undefined || item.new === undefined) return false;
  if ((await files.stat(item.path, signal)) !== undefined || (await files.stat(keptAs, signal)) === undefined) return false;
  await files.rename(keptAs, item.path, signal);
  return true;
}

/** Where a run keeps what it displaces. */
export function trashDir({ area }: Pick<ForeignContext, "area">, sessionId: string, runId: string): RelPath {
  return `${area}/trash/${sessionId}/${runId}`;
}

/** Makes it, with the directories above it. */
export async function makeTrashDir(
  { files }: Pick<ForeignContext, "files">,
  dir: RelPath,
  signal: AbortSignal,
): Promise<void> {
  if (dir === "") return;
  await makeTrashDir({ files }, parentOf(dir), signal);
  await makeIfMissing(files, dir, signal);
}

function isOfFile(op: ApplyOp): boolean {
  if (op.type === "move") return false;
  const kinds: (Entry | undefined)[] = [op.change.old, op.change.new];
  return kinds.every((entry) => entry?.kind !== "dir");
}

function corrupt(path: RelPath): Problem {
  return foreignProblem(path, "CORRUPT", "the bytes that arrived are not those that were read", true);
}

function gone(path: RelPath): Problem {
  return foreignProblem(path, "STALE", "its content is no longer where it was", true);
}
