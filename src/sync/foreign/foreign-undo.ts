/** Sorts out what a crash left of a run, takes runs back, and forgets old ones with what they had kept. */
import type { Entry } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import { RUNS_KEPT_MAX, RUN_KEPT_MS } from "#sync/apply/prune-runs.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";
import { makeTrashDir, notedChanges, notedKey, returnDisplaced, trashDir } from "#sync/foreign/foreign-application.ts";
import { type ForeignContext, foreignProblem, isError, problemFrom } from "#sync/foreign/foreign-context.ts";
import { type ForeignEntry, isExpected } from "#sync/foreign/foreign-files.ts";
import { moveByCopy } from "#sync/foreign/foreign-placement.ts";
import { type ForeignRecord, expectedOf } from "#sync/foreign/foreign-record.ts";
import type { Store, Table } from "#sync/index/store.ts";

/**
 * Call at open. Of each change that was begun and not recorded: was it done? A file that had made room for a new one, which
 * never came, goes back to its place.
 */
export async function recoverForeign(context: ForeignContext, sessionId: string, signal: AbortSignal): Promise<void> {
  const { journal, store, host } = context;
  const noted = notedChanges(store);
  for (const [runId, items] of journal.openIntents()) {
    const done: RunItem[] = [];
    for (const item of items) {
      const dir = trashDir(context, sessionId, runId);
      const keptAs = item.trash === "" ? undefined : `${dir}/${item.trash}`;
      const isDone = noted.get(notedKey(runId, item)) !== undefined || (await recoverItem(context, item, keptAs, signal));
      if (isDone) done.push(item);
      context.mark(item.path);
    }
    store.transaction({ durable: true }, () => {
      journal.addItems(runId, Math.floor(host.clock.nowMs()), done);
      journal.clearIntentsOf(runId);
      for (const [key] of [...noted.entries(`${runId}/`)]) noted.delete(key);
    });
  }
  for (const [runId] of [...undoSteps(store).entries()]) await undoOf(context, sessionId, runId, signal).recover();
}

/** Was it done, so that an undo has to take it back? */
async function recoverItem(
  context: ForeignContext,
  item: RunItem,
  keptAs: RelPath | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const { files, index } = context;
  if (await returnDisplaced(context, item, keptAs, signal)) return false;
  const there = await files.stat(item.path, signal);
  const record = index.get(item.path);
  const isOld = record !== undefined && isExpected(there, expectedOf(item.path, record));
  const kept = keptAs === undefined ? undefined : await files.stat(keptAs, signal);
  if (kept === undefined || keptAs === undefined) {
    // Nothing tells a change of metadata from one that was not made; taking it back sets the old one again.
    return item.action !== "move" && !isOld && (there === undefined) === (item.new === undefined);
  }
  if (isOld) {
    // The copy was made, and the change was not.
    await files.remove(keptAs, {}, signal);
    return false;
  }
  return true;
}

/** By run that is being taken back: how many steps are done, and how many of them took something back. */
const undoSteps = (store: Store): Table => store.table("undo-step");

type Done = { readonly steps: number; readonly restored: number };

function doneOf(bytes: Uint8Array | undefined): Done | undefined {
  if (bytes === undefined) return undefined;
  const [steps = 0, restored = 0] = Buffer.from(bytes).toString().split(" ").map(Number);
  return { steps, restored };
}

function undoOf(context: ForeignContext, sessionId: string, runId: string, signal: AbortSignal): Undo {
  const [source, target] = [runId, `undo-${runId}`].map((name) => trashDir(context, sessionId, name));
  return new Undo(context, { runId, source: source!, target: target! }, signal);
}

/**
 * Takes a run back, in reverse order. What somebody has changed since is left alone and reported. One that was cut off is
 * gone on with.
 */
export function undoForeign(
  context: ForeignContext,
  sessionId: string,
  runId: string,
  signal: AbortSignal,
): Promise<{ restored: number; problems: Problem[] }> {
  return undoOf(context, sessionId, runId, signal).run();
}

type UndoPlaces = {
  readonly runId: string;
  /** Trash of the run that is taken back, and of this undo. */
  readonly source: RelPath;
  readonly target: RelPath;
};

class Undo {
  readonly #context: ForeignContext;
  readonly #places: UndoPlaces;
  readonly #signal: AbortSignal;
  /** What the step at hand takes away is kept under this name: the same when an undo that was cut off is gone on with. */
  #name = "";
  /** The step at hand may have been taken already, or half of it, when an undo was cut off. */
  #isRepeated = false;

  constructor(context: ForeignContext, places: UndoPlaces, signal: AbortSignal) {
    this.#context = context;
    this.#places = places;
    this.#signal = signal;
  }

  get #steps(): RunItem[] {
    return this.#context.journal.items(this.#places.runId).toReversed();
  }

  async run(): Promise<{ restored: number; problems: Problem[] }> {
    const { journal, store, index, log } = this.#context;
    const { runId, target } = this.#places;
    const steps = undoSteps(store);
    const done = doneOf(steps.get(runId));
    const note = (now: Done): void => steps.set(runId, Buffer.from(`${now.steps} ${now.restored}`));
    if (done === undefined) store.transaction({ durable: true }, () => note({ steps: 0, restored: 0 }));
    await makeTrashDir(this.#context, target, this.#signal);
    let restored = done?.restored ?? 0;
    const problems: Problem[] = [];
    for (const [step, item] of this.#steps.entries()) {
      if (step < (done?.steps ?? 0)) continue;
      this.#begin(step, done?.steps === step);
      let found: Problem | undefined;
      try {
        found = await this.#take(item);
      } catch (error) {
        found = problemFrom(item.path, error);
        await this.#giveBack(item);
      }
      if (found === undefined) restored++;
      else problems.push(found);
      // What is there now is news to whoever looks next, whatever size and time it has.
      const paths = item.action === "move" ? [item.path, item.from] : [item.path];
      store.transaction({ durable: true }, () => {
        for (const path of paths) for (const [each] of [...index.walk(path)]) index.delete(each);
        log.append(paths);
        note({ steps: step + 1, restored });
      });
      for (const path of paths) this.#context.mark(path);
    }
    store.transaction({ durable: true }, () => {
      journal.setUndone(runId);
      steps.delete(runId);
    });
    return { restored, problems };
  }

  #begin(step: number, isRepeated: boolean): void {
    this.#name = step.toString(36);
    this.#isRepeated = isRepeated;
  }

  /**
   * At open: what an undo had taken away for something that did not come any more has left an empty place, which would
   * pass for a removal.
   */
  async recover(): Promise<void> {
    const done = doneOf(undoSteps(this.#context.store).get(this.#places.runId));
    const item = done === undefined ? undefined : this.#steps[done.steps];
    if (done === undefined || item === undefined) return;
    this.#begin(done.steps, true);
    const there = await this.#context.files.stat(item.path, this.#signal);
    if (await this.#isHalfTaken(item, there)) await this.#restore(item);
    this.#context.mark(item.path);
  }

  /** Is what the run had put there taken away, and what was there before not back yet? */
  async #isHalfTaken({ action, old, new: entry }: RunItem, there: ForeignEntry | undefined): Promise<boolean> {
    const isReplaced = action !== "move" && action !== "metadata" && old !== undefined && entry !== undefined;
    return isReplaced && there === undefined && this.#wasTakenAway(entry);
  }

  /** Has an undo that was cut off taken away what the run had put there? Of a directory nothing is kept. */
  async #wasTakenAway(entry: Entry): Promise<boolean> {
    if (!this.#isRepeated) return false;
    return entry.kind === "dir" || (await this.#context.files.stat(`${this.#places.target}/${this.#name}`, this.#signal)) !== undefined;
  }

  /** Had the step been taken as a whole when an undo was cut off? What was kept is then at its place. */
  async #isTaken({ action, old, new: entry, trash }: RunItem, there: ForeignEntry | undefined): Promise<boolean> {
    if (!this.#isRepeated) return false;
    if (action === "create") return there === undefined && entry !== undefined && this.#wasTakenAway(entry);
    if (action === "metadata" || there === undefined || there.kind !== old?.kind) return false;
    if (old.kind === "dir") return true;
    const isAsOld = trash !== "" && (old.kind !== "file" || there.size === old.size);
    return isAsOld && (await this.#context.files.stat(`${this.#places.source}/${trash}`, this.#signal)) === undefined;
  }

  /** What cannot come back leaves in place what was to go for it. Where that is refused, too, the undo has to be repeated. */
  async #giveBack(item: RunItem): Promise<void> {
    const { files, preserve } = this.#context;
    this.#isRepeated = true;
    if (!(await this.#isHalfTaken(item, await files.stat(item.path, this.#signal)))) return;
    if (item.new?.kind === "dir") await files.makeDir(item.path, preserve.mode ? item.new.mode : undefined, this.#signal);
    else await files.rename(`${this.#places.target}/${this.#name}`, item.path, this.#signal);
  }

  async #take(item: RunItem): Promise<Problem | undefined> {
    const { files } = this.#context;
    const there = await files.stat(item.path, this.#signal);
    if (item.action === "move") return this.#moveBack(item, there);
    if (await this.#isTaken(item, there)) return undefined;
    if (item.action === "remove") {
      if (there !== undefined) return there.kind === "dir" && item.old?.kind === "dir" ? undefined : changed(item.path);
      return this.#restore(item);
    }
    if (await this.#isHalfTaken(item, there)) return this.#restore(item);
    if (there === undefined || !this.#isAsLeft(item, there)) return changed(item.path);
    if (item.action === "metadata") return this.#metadataBack(item);
    if (item.action === "create") return this.#takeAway(item, there);
    const lost = await this.#lost(item);
    if (lost !== undefined) return lost;
    await this.#takeAway(item, there);
    return this.#restore(item);
  }

  /** Does the path still hold what the run put there? */
  #isAsLeft({ path, new: entry, action }: RunItem, there: ForeignEntry): boolean {
    const record = this.#context.index.get(path);
    if (entry === undefined || record === undefined || record.entry.kind !== entry.kind) return false;
    if (!isExpected(there, expectedOf(path, record))) return false;
    if (action === "metadata" || entry.kind !== "file" || record.entry.kind !== "file") return true;
    return record.entry.size === entry.size && (record.entry.sum ?? entry.sum) === (entry.sum ?? record.entry.sum);
  }

  async #takeAway({ path }: RunItem, there: ForeignEntry): Promise<Problem | undefined> {
    const { files, abilities } = this.#context;
    if (there.kind !== "dir") {
      const keepAs = abilities.keeps ? `${this.#places.target}/${this.#name}` : undefined;
      await files.remove(path, { expect: there, keepAs }, this.#signal);
      return undefined;
    }
    try {
      await files.removeDir(path, this.#signal);
    } catch (error) {
      if (isError(error, "EXISTS")) return changed(path);
      if (!isError(error, "NOT_FOUND")) throw error;
    }
    return undefined;
  }

  /** Why the old content cannot come back, before anything is taken away for it. */
  async #lost(item: RunItem): Promise<Problem | undefined> {
    if (item.old === undefined || item.old.kind === "dir") return undefined;
    const kept = item.trash === "" ? undefined : await this.#context.files.stat(`${this.#places.source}/${item.trash}`, this.#signal);
    if (kept !== undefined) return undefined;
    return foreignProblem(item.path, "UNSUPPORTED", "what was there before was not kept", false);
  }

  async #restore(item: RunItem): Promise<Problem | undefined> {
    const { files, preserve } = this.#context;
    const { old, path } = item;
    if (old === undefined) return undefined;
    if (old.kind === "dir") {
      await files.makeDir(path, preserve.mode ? old.mode : undefined, this.#signal);
      return undefined;
    }
    const lost = await this.#lost(item);
    if (lost !== undefined) return lost;
    await files.rename(`${this.#places.source}/${item.trash}`, path, this.#signal);
    return undefined;
  }

  async #metadataBack({ path, old }: RunItem): Promise<Problem | undefined> {
    const { files, preserve, abilities } = this.#context;
    if (old?.kind === "file" && preserve.mtime) await files.setTime(path, old.mtimeNs, this.#signal);
    if (old !== undefined && "mode" in old && preserve.mode && abilities.modes) await files.setMode(path, old.mode, this.#signal);
    return undefined;
  }

  async #moveBack(item: RunItem, there: ForeignEntry | undefined): Promise<Problem | undefined> {
    const { files, abilities, index } = this.#context;
    const isBack = (await files.stat(item.from, this.#signal)) !== undefined;
    if (there === undefined) return this.#isRepeated && isBack ? undefined : changed(item.path);
    const isOneStep = abilities.renames === "atomic" || (abilities.renames === "copies" && there.kind !== "dir");
    const isGoneOn = this.#isRepeated && !isOneStep;
    if (isBack && !isGoneOn) return changed(item.from);
    if (isOneStep) {
      await files.rename(item.path, item.from, this.#signal);
      return undefined;
    }
    const all: [RelPath, ForeignRecord][] = [...index.walk(item.path)];
    const place = (path: RelPath): RelPath => item.from + path.slice(item.path.length);
    for (const [path, record] of all) {
      const isThere = isGoneOn && (await files.stat(record.entry.kind === "dir" ? place(path) : path, this.#signal)) !== undefined;
      if (isGoneOn && isThere === (record.entry.kind === "dir")) continue;
      if (record.entry.kind === "dir") await files.makeDir(place(path), modeOf(record.entry), this.#signal);
      else if (abilities.renames === "none") await moveByCopy(this.#context, path, place(path), record, this.#signal);
      else await files.rename(path, place(path), this.#signal);
    }
    for (const [path, record] of all.toReversed()) {
      if (record.entry.kind === "dir") await this.#takeAway({ ...item, path }, { path, kind: "dir", size: 0 });
    }
    return undefined;
  }
}

function modeOf(entry: Entry): number | undefined {
  return "mode" in entry ? entry.mode : undefined;
}

function changed(path: RelPath): Problem {
  return foreignProblem(path, "CHANGED", "it was changed after the run; left as it is", false);
}

/** Call at open, after recovery: old runs go, with what they had kept. What cannot be removed now is tried again next time. */
export async function pruneForeignRuns(context: ForeignContext, sessionId: string, signal: AbortSignal): Promise<void> {
  const { journal, host, store } = context;
  const runs = journal.runs().sort((a, b) => b.startedMs - a.startedMs);
  const oldestMs = host.clock.nowMs() - RUN_KEPT_MS;
  for (const { runId } of runs.filter((run, at) => at >= RUNS_KEPT_MAX || run.startedMs < oldestMs)) {
    const dirs = [runId, `undo-${runId}`].map((name) => trashDir(context, sessionId, name));
    const isGone = await Promise.all(dirs.map((dir) => removeTrash(context, dir, signal)));
    if (isGone.every(Boolean)) store.transaction({ durable: false }, () => journal.forget(runId));
  }
}

/** @returns false when something of it is still there */
async function removeTrash({ files }: ForeignContext, dir: RelPath, signal: AbortSignal): Promise<boolean> {
  try {
    const inside: RelPath[] = [];
    for await (const batch of files.list(dir, signal)) inside.push(...batch.map(({ path }) => path));
    for (const path of inside) await files.remove(path, {}, signal);
    await files.removeDir(dir, signal);
    return true;
  } catch (error) {
    if (isError(error, "NOT_FOUND")) return true;
    if (isError(error, "DENIED", "EXISTS", "UNSUPPORTED")) return false;
    throw error;
  }
}
