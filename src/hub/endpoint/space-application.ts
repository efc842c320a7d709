/**
 * The changes that a session makes in its space: content goes into the store as it is pushed, and all that was pushed
 * becomes one commit. What is pushed while a commit is under way belongs to the next: it has an intake of its own, so
 * that the end of the one commit lets go of nothing that the other is about to refer to.
 */
import type { ArrivingFiles } from "#hub/endpoint/arriving-files.ts";
import { type LinkView, seenEntry } from "#hub/endpoint/link-view.ts";
import type { SpacePlaces } from "#hub/endpoint/space-places.ts";
import type { SpaceStage } from "#hub/endpoint/space-stage.ts";
import type { Intake, NamedContent } from "#hub/space-service.ts";
import { NO_SUMS } from "#hub/sums/sums.ts";
import type { ChangeResult, ContentRef, Expect, RefusalCode, SpaceChange, Version } from "#hub/space.ts";
import { type Entry, type FileEntry, type Preserve, keptMode, sameEntry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Change, Move } from "#model/plan.ts";
import { filledDirectory } from "#sync/apply/held-places.ts";
import type { Application, ApplyOp, CommitReply, OpResult } from "#sync/endpoint/endpoint.ts";

export type ApplicationOptions = {
  readonly view: LinkView;
  readonly places: SpacePlaces;
  readonly stage: SpaceStage;
  readonly arriving: ArrivingFiles;
  /** What the session carries. */
  readonly preserve: Preserve;
  /** Up to which sequence the session knows what is in the space; its own changes move it on. */
  readonly seen: { sequence: number };
  readonly runId: string;
  readonly traceId: string;
  /** Around each commit. */
  readonly within: <T>(work: () => Promise<T>) => Promise<T>;
  readonly signal: AbortSignal;
};

/** What was pushed: a change of the space, or why it cannot be one. */
type Pending = { readonly op: ApplyOp; readonly change: SpaceChange | undefined; readonly problem: Problem | undefined };

/** What others committed: after what the session had seen, up to the last before its own commit. */
type Span = { readonly since: number; readonly before: number };

/** Results handed over together. */
const RESULTS_PER_BATCH = 1000;

/** What one commit will make. */
class Batch {
  readonly pending: Pending[] = [];
  /** One for all that is pushed until the commit. */
  intake: Intake | undefined;
  /** Content of what it puts: hard links refer to their leader, which is not committed yet. */
  readonly content = new Map<RelPath, NamedContent>();
  readonly staged: RelPath[] = [];
}

export class SpaceApplication implements Application {
  readonly #options: ApplicationOptions;
  #batch = new Batch();
  #pushing: Promise<unknown> = Promise.resolve();
  #committing: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: ApplicationOptions) {
    this.#options = options;
  }

  push(ops: readonly ApplyOp[]): Promise<void> {
    const pushing = this.#push(ops);
    this.#pushing = Promise.allSettled([this.#pushing, pushing]);
    return pushing;
  }

  async #push(ops: readonly ApplyOp[]): Promise<void> {
    for (const op of ops) {
      this.#options.signal.throwIfAborted();
      // Nobody would let go any more of what it takes.
      if (this.#isClosed) throw closed();
      const batch = this.#batch;
      batch.pending.push(await this.#take(op));
    }
  }

  async #take(op: ApplyOp): Promise<Pending> {
    // The bytes are in the store in a moment; kept here they would fill the memory until the commit.
    if (op.type === "move") return { op, change: this.#moveOf(op.move), problem: undefined };
    const { change } = op;
    const kept: ApplyOp = { type: "change", change };
    const { mode, mtime } = this.#options.preserve;
    const there = mode && mtime ? undefined : await this.#there(change);
    if (this.#isClosed) throw closed();
    if (change.new === undefined) return { op: kept, change: this.#removeOf(change, there), problem: undefined };
    if (change.new.kind !== "file") {
      return { op: kept, change: this.#putOf(change, there, change.new, undefined), problem: undefined };
    }
    const found = await this.#contentOf(change, change.new, op.bytes);
    if ("code" in found) return { op: kept, change: undefined, problem: found };
    const entry: FileEntry = { ...change.new, sum: found.sum, size: found.content.size };
    this.#batch.content.set(change.path, found);
    return { op: kept, change: this.#putOf(change, there, entry, found.content), problem: undefined };
  }

  #moveOf({ from, to }: Move): SpaceChange {
    const { view, seen } = this.#options;
    // What goes along is what the session has seen: a removal in it that nobody told of yet would never be told.
    const expect = { kind: "unchangedSince", sequence: seen.sequence } as const;
    return { type: "move", from: view.outer(from), to: view.outer(to), expect };
  }

  /**
   * What the change is to replace. A session that carries no modes, or no times, does not know those of the space: what is
   * the same but for them is what it means. Undefined: it is as the session says.
   */
  async #there({ path, old }: Change): Promise<Version | undefined> {
    const { preserve, view } = this.#options;
    if (old === undefined) return undefined;
    const version = await view.version(path);
    return sameEntry(version?.entry, old, preserve) ? version : undefined;
  }

  #removeOf({ path, old }: Change, there: Version | undefined): SpaceChange {
    return { type: "remove", path: this.#options.view.outer(path), expect: expected(old, there), recursive: false };
  }

  #putOf({ path, old }: Change, there: Version | undefined, entry: Entry, content: ContentRef | undefined): SpaceChange {
    const { view, preserve } = this.#options;
    const kept = preserve.mode ? entry : withModeOf(there?.entry, entry);
    return { type: "put", path: view.outer(path), expect: expected(old, there), entry: kept, content, makeParents: false };
  }

  async #contentOf(
    change: Change,
    entry: FileEntry,
    bytes: Uint8Array | undefined,
  ): Promise<NamedContent | Problem> {
    const { path, action, from } = change;
    if (bytes !== undefined) return this.#store(path, entry, bytes);
    if (action === "metadata") return this.#existing(path, path, entry);
    if (from !== undefined) return this.#existing(path, from, entry);
    if (entry.linkTo !== undefined) return this.#existing(path, entry.linkTo, entry);
    if (entry.size === 0) return this.#store(path, entry, new Uint8Array(0));
    return this.#received(path, entry);
  }

  get #taking(): Intake {
    const { view } = this.#options;
    return (this.#batch.intake ??= view.spaces.intake(view.who, view.space));
  }

  async #store(path: RelPath, entry: FileEntry, bytes: Uint8Array): Promise<NamedContent | Problem> {
    const stored = await this.#taking.store(bytes);
    return entry.sum !== undefined && entry.sum !== stored.sum ? corrupt(path) : stored;
  }

  /** Content that the space has at another path (or at this one): no bytes move. */
  async #existing(path: RelPath, from: RelPath, entry: FileEntry): Promise<NamedContent | Problem> {
    const own = this.#batch.content.get(from);
    // Otherwise what is meant is what the space has there now: two files may change places.
    if (own !== undefined && (entry.sum === undefined || entry.sum === own.sum)) return own;
    const version = await this.#options.view.version(from);
    const there = version?.entry;
    const isThere = there?.kind === "file" && version?.content !== undefined && there.sum !== undefined;
    if (!isThere || (entry.sum !== undefined && entry.sum !== there.sum)) return stale(path);
    if (!(await this.#taking.hold(version.content!))) return stale(path);
    return { content: version.content!, sum: there.sum!, sums: NO_SUMS };
  }

  async #received(path: RelPath, entry: FileEntry): Promise<NamedContent | Problem> {
    const { arriving, signal } = this.#options;
    const stored = await arriving.content(path, entry.size, this.#taking, signal);
    if (stored === undefined) return stale(path);
    if (entry.sum !== undefined && entry.sum !== stored.sum) {
      arriving.settled(path, false);
      return corrupt(path);
    }
    this.#batch.staged.push(path);
    return stored;
  }

  async commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const batch = this.#batch;
    this.#batch = new Batch();
    const committing = this.#commit(batch, onResults);
    this.#committing = committing.catch(() => undefined);
    return committing;
  }

  async #commit({ pending, intake, staged }: Batch, onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    await using _held = intake;
    const { view, seen, runId, traceId, within, arriving } = this.#options;
    const changes = pending.flatMap(({ change }) => (change === undefined ? [] : [change]));
    const request = { changes, intake, atomic: false, cause: "edit", traceId, runId } as const;
    const outcome = await within(async () => view.spaces.commit(view.who, view.space, request)).catch((error: unknown) => {
      for (const path of staged) arriving.settled(path, false);
      throw error;
    });
    const span = { since: seen.sequence, before: outcome.before };
    if (outcome.before === seen.sequence) seen.sequence = outcome.after;
    let at = 0;
    const results: OpResult[] = [];
    for (const { op, change, problem } of pending) {
      if (change === undefined) results.push(failed(problem!));
      else {
        const result = outcome.results[at++]!;
        results.push(await this.#resultOf(op, result, span));
      }
    }
    for (let from = 0; from < results.length; from += RESULTS_PER_BATCH) {
      onResults(results.slice(from, from + RESULTS_PER_BATCH));
    }
    const of = new Set(staged);
    for (const { path, status } of of.size === 0 ? [] : results) if (of.has(path)) arriving.settled(path, status === "done");
    for (const path of staged) this.#options.stage.drop(path);
    return { seqBefore: outcome.before, seqAfter: outcome.after };
  }

  async #resultOf(op: ApplyOp, result: ChangeResult, span: Span): Promise<OpResult> {
    const path = pathOf(op);
    if (isHeld(result)) return failed(await this.#held(path, span));
    const isNew = op.type === "change" && op.change.old === undefined;
    const taken = isNew && result.status === "stale" ? await this.#options.places.taken(path).catch(() => undefined) : undefined;
    return taken === undefined ? resultOf(op, result) : failed(taken);
  }

  /**
   * A directory stays for the sake of what came into it since the scan, which another round sees, or of what the link
   * must not see: then trying again at once would send a large file in vain, time and again. In the words of a host's
   * disk: whoever reads them does not ask which of the two sides is a space.
   */
  async #held(path: RelPath, span: Span): Promise<Problem> {
    // The commit is made, and its results have to be told: what cannot be looked at now, another round looks at.
    const isNews = await this.#isNews(path, span).catch(() => true);
    const held = isNews ? undefined : await this.#options.places.held(path).catch(() => undefined);
    return held ?? { ...filledDirectory(path), side: "beta", transient: isNews };
  }

  /** Is there anything below the path that somebody put there within the span? */
  async #isNews(path: RelPath, { since, before }: Span): Promise<boolean> {
    if (since === before) return false;
    for await (const { sequence, entry } of this.#options.view.changedSince(since, path)) {
      if (sequence > before) return false;
      if (entry !== undefined) return true;
    }
    return false;
  }

  /**
   * Lets go of what was stored and not committed, when the commit that is under way has ended: it uses the stage. So may what
   * is being taken, which is let go of with the rest.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#pushing;
    const { intake, staged } = this.#batch;
    this.#batch = new Batch();
    for (const path of staged) this.#options.arriving.settled(path, false);
    await this.#committing;
    await intake?.[Symbol.asyncDispose]();
  }
}

function expected(old: Entry | undefined, there: Version | undefined): Expect {
  return there === undefined ? { kind: "entry", entry: old } : { kind: "sequence", sequence: there.sequence };
}

function withModeOf(there: Entry | undefined, entry: Entry): Entry {
  if (there?.kind === "file" && entry.kind === "file") return { ...entry, mode: keptMode(there.mode) };
  return there?.kind === "dir" && entry.kind === "dir" ? { ...entry, mode: there.mode } : entry;
}

function closed(): SynclineError {
  const message = "the session that pushed this has ended";
  return new SynclineError({ code: "INTERRUPTED", op: "apply", message, retryable: true });
}

function failed(problem: Problem): OpResult {
  return { path: problem.path, status: "failed", entry: undefined, problem };
}

function corrupt(path: RelPath): Problem {
  const message = "the bytes that arrived are not those that were read";
  return { path, side: "beta", code: "CORRUPT", message, transient: true };
}

function stale(path: RelPath): Problem {
  return { path, side: "beta", code: "STALE", message: "its content is no longer where it was", transient: true };
}

/** Told where no later round brings it either. */
function overtaken(path: RelPath): Problem {
  return { path, side: "beta", code: "STALE", message: "it changed after the plan was made", transient: true };
}

function refused(path: RelPath, code: RefusalCode, message: string): Problem {
  return { path, side: "beta", code, message, transient: code === "NO_PARENT" };
}

function isHeld(result: ChangeResult): boolean {
  return result.status === "refused" && (result.code === "NOT_EMPTY" || result.code === "IS_A_DIRECTORY");
}

const pathOf = (op: ApplyOp): RelPath => (op.type === "move" ? op.move.to : op.change.path);

function resultOf(op: ApplyOp, result: ChangeResult): OpResult {
  const path = pathOf(op);
  if (result.status === "done") return { path, status: "done", entry: result.version.entry };
  if (result.status === "stale") return { path, status: "stale", entry: seenEntry(result.version), problem: overtaken(path) };
  return failed(refused(path, result.code, result.message));
}
